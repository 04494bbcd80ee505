"""What several ranks must do; test_distributed.py starts it under mpiexec, with the names of checks.

    mpiexec -n 2 python tests/distributed_ranks.py averages sampler ...

Each rank runs all checks.  Rank 0 prints one JSON object for each check: its name, and the error of each rank.
"""

import copy
import json
import re
import sys
import traceback

import numpy as np
import pytest

import minigrad as mg
from minigrad import distributed as dist, nn
from minigrad.nn import functional as F

CHECKS = {}
MOST_THREADS = mg.get_num_threads()


def check(function):
    """A decorator that adds a function to the checks."""
    CHECKS[function.__name__] = function
    return function


def main():
    mg.set_num_threads(1)
    dist.init(required=True, timeout=60)
    for name in sys.argv[1:]:
        error = error_of(CHECKS.get(name, staged_through_the_host))
        found = [None] * dist.get_world_size()
        dist.all_gather_object(found, error)
        if dist.get_rank() == 0:
            print(json.dumps({"check": name, "errors": found}), flush=True)


def error_of(function):
    """Call a function with a seed of its own; return its error as text, "" if there is none."""
    mg.manual_seed(5)
    try:
        function(dist.get_rank(), dist.get_world_size())
    except Exception:
        return traceback.format_exc()
    return ""


def expect_error(kind, words, function, *arguments):
    """Expect that a call raises an error with these words."""
    with pytest.raises(kind, match=re.escape(words)):
        function(*arguments)


def equal(actual, expected, note=""):
    np.testing.assert_array_equal(actual.detach().numpy(), expected.detach().numpy(), err_msg=note)


def all_equal_on_all_ranks(tensors):
    """Expect that tensors have the same bits on all ranks."""
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, [x.detach().numpy().tobytes() for x in tensors])
    assert all(values == found[0] for values in found)


# ---- the same bits as one process


class Net(nn.Module):
    """A small convolutional net with a layer that is used twice and a buffer."""

    def __init__(self, norm=True):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.fc = nn.Linear(64, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv2(x)))), 2)
        return self.fc(x.flatten(1))


def batches(seed, ranks, size=6):
    """One batch for each rank."""
    rng = np.random.default_rng(seed)
    return [
        (mg.tensor(rng.normal(size=(size, 1, 8, 8)).astype("float32")), mg.tensor(rng.integers(0, 3, size)))
        for _ in range(ranks)
    ]


OPTIMIZERS = {
    "momentum": lambda params: mg.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=1e-4),
    "adam": lambda params: mg.optim.Adam(params, lr=0.01),
}


@check
def same_bits(rank, ranks):
    """N ranks learn, plain and recorded, what one process learns that adds up the gradients of N batches."""
    for optimizer in OPTIMIZERS:
        for recorded in (False, True):
            for clip in (None, 0.05):
                _compare_with_one_process(optimizer, recorded, clip, rank, ranks)


def _compare_with_one_process(optimizer_name, recorded, clip, rank, ranks):
    mg.manual_seed(1)
    alone = Net(norm=False)
    model = dist.DistributedDataParallel(copy.deepcopy(alone), bucket_cap_mb=0.0005)
    assert len(model._reducer.buckets) > 2
    ours, theirs = OPTIMIZERS[optimizer_name](model.parameters()), OPTIMIZERS[optimizer_name](alone.parameters())

    def step(x, y):
        ours.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        ours.step()
        return loss.detach()

    run = mg.graph(step) if recorded else step
    for k in range(4):
        given = batches(k, ranks)
        run(*given[rank])
        theirs.zero_grad()
        for x, y in given:
            F.cross_entropy(alone(x), y).backward()
        for p in alone.parameters():
            p.grad.div_(ranks)
        if clip is not None:
            nn.utils.clip_grad_norm_(alone.parameters(), clip)
        theirs.step()
        for (name, p), q in zip(alone.named_parameters(), model.parameters(), strict=True):
            equal(q, p, f"{name}, step {k}, {optimizer_name}, recorded {recorded}, clip {clip}")
    if recorded:
        names = [part.function.__name__ for part in run._replays[0].program.parts if not isinstance(part, bytes)]
        assert names.count("_send") == len(model._reducer.buckets)
        between = [type(part) for part in run._replays[0].program.parts]
        sends = [i for i, part in enumerate(run._replays[0].program.parts) if not isinstance(part, bytes)]
        assert bytes in between[sends[0] : sends[-1]], "kernels run between the exchanges"


@check
def same_bits_for_any_number_of_threads(rank, ranks):
    found = []
    for threads in (1, MOST_THREADS):
        mg.set_num_threads(threads)
        mg.manual_seed(1)
        model = dist.DistributedDataParallel(nn.Sequential(nn.Conv2d(1, 8, 5), nn.Flatten(), nn.Linear(4608, 10)))
        x = mg.randn(64, 1, 28, 28)
        (model(x) ** 2).mean().backward()
        found.append([p.grad.clone() for p in model.parameters()])
    mg.set_num_threads(1)
    for a, b in zip(*found, strict=True):
        equal(a, b)


@check
def accumulation(rank, ranks):
    """no_sync() adds up gradients of one rank, plain and recorded; the next backward pass averages the sums."""
    for recorded in (False, True):
        mg.manual_seed(1)
        alone = Net(norm=False)
        model = dist.DistributedDataParallel(copy.deepcopy(alone), bucket_cap_mb=0.0005)

        def learn(x, y, first, model=model):
            if first:
                model.zero_grad()
            F.cross_entropy(model(x), y).backward()

        run = mg.graph(learn) if recorded else learn
        for k in range(3):
            with model.no_sync():
                run(*batches(2 * k, ranks)[rank], True)
            if k == 0:
                local = batches(2 * k, ranks)[rank]
                alone.zero_grad()
                F.cross_entropy(alone(local[0]), local[1]).backward()
                equal(model.module.fc.weight.grad, alone.fc.weight.grad, "nothing is exchanged inside no_sync()")
            run(*batches(2 * k + 1, ranks)[rank], False)
            sums = None
            for r in range(ranks):
                alone.zero_grad()
                for seed in (2 * k, 2 * k + 1):
                    x, y = batches(seed, ranks)[r]
                    F.cross_entropy(alone(x), y).backward()
                own = [p.grad.clone() for p in alone.parameters()]
                sums = own if sums is None else [a + b for a, b in zip(sums, own, strict=True)]
            for p, total in zip(model.parameters(), sums, strict=True):
                equal(p.grad, total / ranks, f"recorded {recorded}, step {k}")


# ---- parameters that are not used, and buffers


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 2) for _ in range(3)])

    def forward(self, x, which):
        return sum(self.layers[i](x) for i in which)


@check
def unused_parameters(rank, ranks):
    """A layer that only some ranks use counts as 0 on the others; one that none uses keeps its gradient."""
    model = dist.DistributedDataParallel(Branches(), bucket_cap_mb=1e-5)
    x = mg.ones(2, 3)
    for _ in range(2):
        model.zero_grad()
        model(x, [0] if rank == 0 else [1]).sum().backward()
        equal(model.module.layers[0].bias.grad, mg.full((2,), 2 / ranks))
        np.testing.assert_allclose(model.module.layers[1].bias.grad.numpy(), 2 * (ranks - 1) / ranks, rtol=1e-6)
        assert model.module.layers[2].weight.grad is None
    model(x, [2]).sum().backward()  # adds to nothing, and leaves the others as they are
    equal(model.module.layers[0].bias.grad, mg.full((2,), 2 / ranks))
    equal(model.module.layers[2].bias.grad, mg.full((2,), 2.0))


@check
def parameters_that_only_no_sync_reaches(rank, ranks):
    """Their gradients are averaged by the next backward pass, which does not reach them; plain and recorded."""
    for recorded in (False, True):
        model = dist.DistributedDataParallel(Branches(), bucket_cap_mb=1e-5)

        def learn(x, which, first, model=model):
            if first:
                model.zero_grad()
            model(x, which).sum().backward()

        run = mg.graph(learn) if recorded else learn
        for _ in range(4):
            with model.no_sync():
                run(mg.ones(2, 3), [0] if rank == 0 else [1], True)
            run(mg.ones(2, 3), [1], False)
            equal(model.module.layers[0].bias.grad, mg.full((2,), 2 / ranks))
            assert model.module.layers[2].bias.grad is None


@check
def unused_parameters_in_a_recording(rank, ranks):
    """Each rank may record its own branch; an exchange that a replay does not expect is an error."""
    model = dist.DistributedDataParallel(Branches(), bucket_cap_mb=1e-5)

    @mg.graph
    def learn(x, which):
        model.zero_grad()
        model(x, which).sum().backward()

    for _ in range(3):
        learn(mg.ones(2, 3), [0] if rank == 0 else [1])
        equal(model.module.layers[0].bias.grad, mg.full((2,), 2 / ranks))
    if rank:
        learn(mg.ones(2, 3), [2])
    else:
        expect_error(mg.errors.RankError, "other parameters get gradients", learn, mg.ones(2, 3), [0])


@check
def buffers_are_those_of_rank_0(rank, ranks):
    for recorded in (False, True):
        mg.manual_seed(rank)
        net = Net()
        mg.manual_seed(1)
        model = dist.DistributedDataParallel(net)
        all_equal_on_all_ranks(list(model.state_dict().values()))
        reference = copy.deepcopy(net)

        def learn(x, y, model=model):
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()

        run = mg.graph(learn) if recorded else learn
        for k in range(3):
            run(*batches(k, ranks)[rank])
            reference(batches(k, ranks)[0][0])
            all_equal_on_all_ranks(list(model.buffers()))
            equal(net.norm.running_var, reference.norm.running_var)
            assert net.norm.num_batches_tracked.item() == k + 1


@check
def synchronised_norm(rank, ranks):
    """SyncBatchNorm gives values, gradients and statistics of the batch of all ranks."""
    for recorded in (False, True):
        mg.manual_seed(1)
        alone = Net().double()
        net = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(alone))
        assert type(net.norm) is nn.SyncBatchNorm
        model = dist.DistributedDataParallel(net)

        def learn(x, y, model=model):
            model.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss.detach()

        run = mg.graph(learn) if recorded else learn
        for k in range(3):
            given = [(x.double(), y) for x, y in batches(k, ranks)]
            loss = run(*given[rank])
            dist.all_reduce(loss, dist.ReduceOp.AVG)
            alone.zero_grad()
            expected = F.cross_entropy(alone(mg.cat([x for x, _ in given])), mg.cat([y for _, y in given]))
            expected.backward()
            np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-12)
            for p, q in zip(net.parameters(), alone.parameters(), strict=True):
                np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-8, atol=1e-12)
            for b, c in zip(net.buffers(), alone.buffers(), strict=True):
                np.testing.assert_allclose(b.numpy(), c.numpy(), rtol=1e-12)


# ---- collectives


@check
def collectives(rank, ranks):
    for dtype in (mg.float32, mg.float64, mg.int64, mg.uint8):
        x = mg.arange(6).to(dtype) + rank
        dist.all_reduce(x)
        equal(x, sum((mg.arange(6).to(dtype) + r for r in range(1, ranks)), mg.arange(6).to(dtype)))
    transposed = mg.arange(6.0).reshape(2, 3).t()
    dist.broadcast(transposed.mul_(rank), src=1)
    equal(transposed, mg.arange(6.0).reshape(2, 3).t())
    for op, expected in (("MIN", 1), ("MAX", ranks), ("PRODUCT", np.prod(range(1, ranks + 1)))):
        x = mg.tensor([rank + 1])
        dist.all_reduce(x, getattr(dist.ReduceOp, op))
        assert x.item() == expected, op
    numbers = np.random.default_rng(0).normal(size=(ranks, 3 * 2**20 // 2)).astype("float32")
    x = mg.tensor(numbers[rank])
    dist.all_reduce(x, dist.ReduceOp.AVG)
    total = numbers[0]
    for row in numbers[1:]:
        total = total + row
    np.testing.assert_array_equal(x.numpy(), total / np.float32(ranks))
    listed = [{"a": rank}, [rank]]
    dist.broadcast_object_list(listed, src=ranks - 1)
    assert listed == [{"a": ranks - 1}, [ranks - 1]]
    dist.barrier()


@check
def collectives_in_a_recording(rank, ranks):
    @mg.graph
    def mean(x):
        y = x * 2
        dist.all_reduce(y, dist.ReduceOp.AVG)
        return y + 1

    for k in range(4):
        equal(mean(mg.tensor([float(rank), k])), mg.tensor([ranks - 1.0 + 1, 2.0 * k + 1]))


@check
def sampler(rank, ranks):
    mine = mg.data.DistributedSampler(range(23), seed=3)
    mine.set_epoch(2)
    found = [None] * ranks
    dist.all_gather_object(found, list(mine))
    assert {len(part) for part in found} == {-(-23 // ranks)}
    assert {number for part in found for number in part} == set(range(23))
    expect_error(mg.errors.ValidationError, f"{ranks} ranks share 1 samples", mg.data.DistributedSampler, [0])


def staged_through_the_host(rank, ranks):
    """Gradients, buffers and tensors on the GPU are exchanged; a recording is refused."""
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).to("cuda")
    model = dist.DistributedDataParallel(net)
    reference = copy.deepcopy(net)
    inputs = [mg.tensor(np.random.default_rng(r).normal(size=(4, 3)), mg.float32, device="cuda") for r in range(ranks)]
    (model(inputs[rank]) ** 2).sum().backward()
    for x in inputs:
        (reference(x) ** 2).sum().backward()
    for p, q in zip(net.parameters(), reference.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.cpu().numpy(), q.grad.cpu().numpy() / ranks, rtol=1e-5, atol=1e-6)
    all_equal_on_all_ranks([b.cpu() for b in net.buffers()])
    x = mg.ones(3, device="cuda") * rank
    dist.all_reduce(x)
    assert x.cpu().tolist() == [sum(range(ranks))] * 3
    expect_error(
        mg.errors.GraphError, "averaging gradients on 'cuda'", mg.graph(lambda x: model(x).sum().backward()), inputs[0]
    )
    expect_error(mg.errors.GraphError, "all_reduce of a tensor on 'cuda'", mg.graph(dist.all_reduce), x * 1)


# ---- seeds, and differences


@check
def random_streams(rank, ranks):
    """Parameters are those of rank 0; dropout differs between the ranks, and follows from the seed."""
    masks = []
    for _ in range(2):
        mg.manual_seed(7)
        model = dist.DistributedDataParallel(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)))
        masks.append((model(mg.ones(4, 8)) != 0).numpy().tobytes())
        all_equal_on_all_ranks(list(model.parameters()))
        dist.DistributedDataParallel(nn.Linear(2, 2))  # a second model keeps the streams
    assert masks[0] == masks[1]
    found = [None] * ranks
    dist.all_gather_object(found, masks[0])
    assert len(set(found)) == ranks


@check
def differences(rank, ranks):
    """Ranks that differ are named."""
    last, wrap = rank == ranks - 1, dist.DistributedDataParallel
    expect_error(
        mg.errors.RankError,
        f"tensor weight is ((2, 3), 'float32', True) on rank{'s' * (ranks > 2)} 0",
        wrap,
        nn.Linear(4 if last else 3, 2),
    )
    expect_error(mg.errors.RankError, f"missing on rank {ranks - 1}", wrap, nn.Linear(3, 2, bias=not last))
    mg.manual_seed(rank)
    expect_error(mg.errors.RankError, "seed is 0 on rank 0, 1 on rank 1", wrap, nn.Linear(3, 2))
    mg.manual_seed(0)
    dist.expect_agreement("fit", samples=10, names={"a": 1})
    expect_error(
        mg.errors.RankError,
        f"fit: the ranks differ: samples is 10 on rank{'s' * (ranks > 2)}",
        lambda: dist.expect_agreement("fit", samples=11 if last else 10),
    )


@check
def refusals(rank, ranks):
    model = dist.DistributedDataParallel(nn.Linear(3, 2))
    loss = model(mg.ones(1, 3)).sum()
    for settings in ({"create_graph": True}, {"inputs": list(model.parameters())}):
        expect_error(mg.errors.GraphError, "do not average gradients", lambda s: loss.backward(**s), settings)
    expect_error(mg.errors.GraphError, "exchange of objects", mg.graph(lambda: dist.broadcast_object_list([1])))
    expect_error(mg.errors.OutOfRangeError, f"index {ranks} is out of range", dist.broadcast, mg.ones(1), ranks)
    assert type(copy.deepcopy(model)) is nn.Linear


if __name__ == "__main__":
    main()
