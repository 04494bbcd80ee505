"""minigrad.distributed: N ranks compute what one process computes, and a rank that fails ends the job by name.

The checks of several ranks stand in distributed_ranks.py; a job of 2 ranks and one of 4 run all of them.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import distributed_ranks
import numpy as np
import pytest
from helpers import process_environment

import minigrad as mg
from minigrad import distributed as dist, nn
from minigrad.distributed import agreement, exchange, launch, waiting
from minigrad.distributed.group import Group
from minigrad.distributed.reducer import Reducer, split_into_buckets
from minigrad.errors import DeviceError, DivergenceError, DtypeError, RankError, StateError, ValidationError
from minigrad.ops.rank_mean import rank_mean_dispatch

HERE = Path(__file__).parent
BESIDE_PYTHON = Path(sys.executable).parent / "mpiexec"
MPIEXEC = str(BESIDE_PYTHON) if BESIDE_PYTHON.exists() else shutil.which("mpiexec")
try:
    import mpi4py
except ImportError:
    mpi4py = None
needs_mpi = pytest.mark.skipif(mpi4py is None or MPIEXEC is None, reason="needs `pip install mpi4py mpich`")
VARIABLES = {  # Open MPI refuses more ranks than cores, and root, without them
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "NUMBA_NUM_THREADS": "2",
}


def run_ranks(ranks, script, *arguments, options=(), **variables):
    """Run a script of this folder on several ranks; return the finished process, with its seconds."""
    command = [MPIEXEC, *options, "-n", str(ranks), sys.executable, str(HERE / script), *arguments]
    start = time.monotonic()
    environment = process_environment(**VARIABLES, **variables)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    done.seconds = time.monotonic() - start
    return done


# ---- several ranks


@pytest.fixture(scope="module", params=[2, 4])
def found(request):
    """The errors of each check on all ranks."""
    done = run_ranks(request.param, "distributed_ranks.py", *distributed_ranks.CHECKS)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["check"]: row["errors"] for row in rows}


@needs_mpi
@pytest.mark.parametrize("name", distributed_ranks.CHECKS)
def test_on_several_ranks(found, name):
    for rank, error in enumerate(found[name]):
        assert not error, f"rank {rank}: {error}"


@needs_mpi
@pytest.mark.simulator
def test_a_model_on_cuda_is_exchanged_through_the_host():
    done = run_ranks(2, "distributed_ranks.py", "staged_through_the_host", NUMBA_ENABLE_CUDASIM="1")
    assert json.loads(done.stdout)["errors"] == ["", ""], done.stdout + done.stderr


def processes(done):
    """The numbers of the processes of a job."""
    return [int(number) for number in re.findall(r"process (\d+)", done.stdout)]


def is_alive(process):
    """Whether a process of this machine runs, or waits for its parent, by Linux's table."""
    return Path(f"/proc/{process}").exists()


FAULTS = {  # how a rank fails: what the job says
    "raise": r"ValueError: a sample is damaged\n(.|\n)*rank 1 of 2, step 3: ValueError",
    "stop": r"rank 0 of 2, step 3: waited 2 s for the gradients of 1.bias to 0.weight: rank 1 did not arrive",
    "loop": r"rank 0 of 2, step 3: waited 2 s for the gradients of 1.bias to 0.weight: rank 1 did not arrive",
    "nan": r"the gradient of [01]\.(weight|bias) has a nan on rank 1 in step 3",
    "kill": r"1: (\d+) on(.|\n)*(process rank 1 with PID|PID) \1",  # Open MPI's words, or MPICH's
}


@needs_mpi
@pytest.mark.parametrize("how", FAULTS)
def test_a_rank_that_fails_ends_the_job(how):
    done = run_ranks(2, "distributed_faults.py", how)
    assert done.returncode != 0
    assert re.search(FAULTS[how], done.stderr + done.stdout), done.stderr + done.stdout
    assert done.seconds < 30
    assert "the end" not in done.stdout
    deadline = time.monotonic() + 5
    while any(map(is_alive, processes(done))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(processes(done)) == 2
    assert not any(map(is_alive, processes(done)))


# ---- one process


def test_one_process_is_rank_0_of_1():
    dist.init()
    assert (dist.get_rank(), dist.get_world_size(), dist.get_local_rank(), dist.is_initialized()) == (0, 1, 0, True)
    model = dist.DistributedDataParallel(nn.Linear(3, 2))
    plain = nn.Linear(3, 2)
    plain.load_state_dict(model.module.state_dict())
    for net in (model, plain):
        net(mg.ones(4, 3)).sum().backward()
    np.testing.assert_array_equal(model.module.weight.grad.numpy(), plain.weight.grad.numpy())
    assert list(model.state_dict()) == ["module.weight", "module.bias"]
    assert nn.parallel.DistributedDataParallel is dist.DistributedDataParallel


@pytest.fixture
def new_group(monkeypatch):
    """Let init() find a group that has not joined a job."""
    group = Group()
    for module in (launch, agreement):
        monkeypatch.setattr(module, "current_group", lambda: group)
    for name in launch.SIZES:
        monkeypatch.delenv(name, raising=False)
    return group


COMMAND = r"pip install mpi4py mpich, then start it with: mpiexec -n 2 python "


def test_init_says_how_to_start_several_ranks(new_group, monkeypatch):
    with pytest.raises(DeviceError, match=f"^init: no MPI launcher started this program; {COMMAND}"):
        dist.init(required=True)
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(DeviceError, match=f"^init: an MPI launcher started this program, but .*mpi4py.*; {COMMAND}"):
        dist.init()
    assert not new_group.is_initialized
    monkeypatch.setattr(sys, "orig_argv", ["python3", "a b.py", "--distributed"])
    assert dist.launch_command(4) == "mpiexec -n 4 python 'a b.py' --distributed"


def test_init_refuses_the_launcher_of_another_mpi(new_group, monkeypatch):
    alone = SimpleNamespace(COMM_WORLD=SimpleNamespace(size=1), Get_library_version=lambda: "MPICH Version: 5\nmore")
    monkeypatch.setattr(launch, "_import_mpi", lambda: alone)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(DeviceError, match=r"^init: the launcher started 2 ranks, but .* \(MPICH Version: 5\) sees 1; "):
        dist.init()
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    dist.init(timeout=3.0)
    assert new_group.is_initialized and new_group.size == 1 and new_group.timeout == 3.0


@pytest.mark.parametrize("name", ["timeout", "first_timeout"])
def test_init_refuses_times_that_are_not_above_0(name):
    with pytest.raises(ValidationError, match=f"^init: {name} is 0; use a number of"):
        dist.init(**{name: 0})


LAZY = nn.LazyLinear(2)
REFUSED = [
    (lambda: dist.DistributedDataParallel(3), DtypeError, "module is an int, expected a Module"),
    (lambda: dist.DistributedDataParallel(nn.ReLU()), StateError, "no parameter of the model requires a gradient"),
    (lambda: dist.DistributedDataParallel(LAZY), StateError, "a lazy layer has no weights yet"),
    (lambda: dist.all_reduce([1]), DtypeError, "all_reduce: expected a Tensor, got a list"),
    (lambda: dist.all_reduce(mg.ones(1), "mode"), ValidationError, "all_reduce: op is 'mode'; use ReduceOp.SUM"),
    (lambda: dist.all_reduce(mg.arange(2), "avg"), DtypeError, "all_reduce: the mean of int64 numbers"),
    (lambda: dist.all_gather_object([], 1), ValidationError, "the list has 0 entries for 1 ranks"),
    (lambda: mg.data.DistributedSampler([1], 2, 0), ValidationError, "2 ranks share 1 samples"),
    (lambda: mg.data.DistributedSampler([1, 2], 2, 2), ValidationError, "rank is 2; use a whole number from 0 to 1"),
]


@pytest.mark.parametrize(("call", "kind", "words"), REFUSED, ids=[words for _, _, words in REFUSED])
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=re.escape(words)):
        call()


# ---- parts


def test_waiting_ends_with_the_names_of_the_ranks_that_are_missing():
    class Request:
        def __init__(self, done):
            self.done = done

        def Test(self):
            return self.done

        @staticmethod
        def Testall(requests):
            return all(request.done for request in requests)

    group = Group()
    group.mpi, group.rank, group.size, group.timeout, group.step = SimpleNamespace(Request=Request), 1, 4, 0.01, 7
    waiting.wait(group, [Request(True)], [0], "nothing")
    requests = [Request(True), Request(False), Request(False)]
    with pytest.raises(
        RankError, match=r"^distributed: rank 1 of 4, step 7: waited 0 s for a test: rank 2, 3 did not "
    ):
        waiting.wait(group, requests, [0, 3, 2], "a test")
    with pytest.raises(RankError, match=r"another rank did not arrive"):
        waiting.wait(group, requests[1:2], [None], "a test")


def test_differences_between_ranks_are_named(monkeypatch):
    facts = [{"samples": 10}, {"samples": 12}, {"samples": 12}]
    monkeypatch.setattr(agreement, "gather", lambda group, value: facts)
    with pytest.raises(RankError, match=r"^fit: the ranks differ: samples is 10 on rank 0, 12 on ranks 1, 2; start "):
        dist.expect_agreement("fit", samples=10)
    many = [{str(i): rank for i in range(7)} for rank in range(2)]
    monkeypatch.setattr(agreement, "gather", lambda group, value: many)
    with pytest.raises(RankError, match=r"4 is 0 on rank 0, 1 on rank 1; and 2 more; start"):
        dist.expect_agreement("fit", samples=10)


class NoMessages:
    """A communicator that sends nothing."""

    Dup = Recv_init = Send_init = lambda self, *arguments: self


def one_of(ranks):
    group = Group()
    group.size, group.comm, group.mpi = ranks, NoMessages(), SimpleNamespace(Prequest=SimpleNamespace(Startall=id))
    return group


def test_a_bucket_finds_the_rank_and_the_parameter_of_a_nan():
    params = [mg.zeros(2, 3), mg.zeros(30)]
    bucket = exchange.Bucket(one_of(3), NoMessages(), 0, ["a.weight", "b.weight"], params)
    bucket.start([np.ones((2, 3)), None], [True, False])
    assert bucket.used.tolist() == [1, 0]
    bucket.own[0], bucket.received[1], bucket.received[2] = 1, 4, 7
    bucket._average()
    assert set(bucket.own[0]) == {4}
    bucket.received[2, 7] = np.nan
    with pytest.raises(DivergenceError, match=r"the gradient of b.weight has a nan on rank 2 in step 0; lower"):
        bucket._average()


def test_a_backward_pass_after_one_that_failed_is_refused():
    model = dist.DistributedDataParallel(nn.Linear(3, 2))
    group = one_of(2)
    Reducer(group, model, ["weight", "bias"], list(model.parameters()), None)
    with pytest.raises(AttributeError):  # there is no other rank to wait for
        model(mg.ones(1, 3)).sum().backward()
    with pytest.raises(RankError, match="a backward pass starts after one that failed while it exchanged gradients"):
        model(mg.ones(1, 3)).sum().backward()


def test_a_model_that_was_converted_after_it_was_wrapped_is_refused():
    model = dist.DistributedDataParallel(nn.Linear(3, 2))
    Reducer(one_of(2), model, ["weight", "bias"], list(model.parameters()), None)
    model.double()
    with pytest.raises(StateError, match=r"bias is now float64 on 'cpu', but was float32 on 'cpu' when the model was"):
        model(mg.ones(1, 3, dtype=mg.float64)).sum().backward()


def test_buckets_hold_the_last_parameters_first():
    sizes = [10, 20000, 5, 7, 30000]
    params = [mg.zeros(size) for size in sizes] + [mg.zeros(3, dtype=mg.float64)]
    assert split_into_buckets(params) == [[5], [4], [3, 2, 1, 0]]  # 40 bytes are no bucket of their own
    assert split_into_buckets(params[:2], 1) == [[1], [0]]
    resnet = list(mg.models.resnet20().parameters())
    assert sorted(sum(split_into_buckets(resnet), [])) == list(range(len(resnet)))  # noqa: RUF017
    assert 6 <= len(split_into_buckets(resnet)) <= 10


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_rank_mean_is_the_sum_in_order_divided(ranks, dtype):
    for size in (1, 4097, 20000):
        rows = np.random.default_rng(size).normal(size=(ranks, size)).astype(dtype)
        expected, out = rows[0].copy(), np.empty(size, dtype)
        for row in rows[1:]:
            expected += row
        for backend in ("cpu", "numpy"):
            rank_mean_dispatch[backend](rows, ranks, out)
            np.testing.assert_array_equal(out, expected / np.dtype(dtype).type(ranks))


@pytest.mark.parametrize(("n", "ranks", "drop"), [(10, 3, False), (10, 3, True), (3, 3, True), (11, 4, False)])
def test_distributed_sampler_gives_every_rank_as_many_samples(n, ranks, drop):
    samplers = [mg.data.DistributedSampler(range(n), ranks, rank, drop_last=drop) for rank in range(ranks)]
    orders = []
    for epoch in range(2):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        parts = [list(sampler) for sampler in samplers]
        assert {len(part) for part in parts} == {len(samplers[0])} == {n // ranks if drop else -(-n // ranks)}
        together = [number for part in parts for number in part]
        assert len(set(together)) == (len(together) if drop else n)
        orders.append(parts)
    assert n == ranks or orders[0] != orders[1]


def test_gradients_are_told_while_backward_goes_on():
    """The hooks by which gradients are exchanged early."""
    from minigrad.tape import HookHandle, gradient_hooks, when_backward_ends

    log = []
    w, v = (mg.ones(2, requires_grad=True) for _ in range(2))
    for name, leaf in (("w", w), ("v", v)):
        HookHandle(
            gradient_hooks(leaf, "complete"), lambda leaf, g, name=name: log.append((name, g.tolist(), leaf.grad))
        )
    v.register_hook(lambda g: g * 3)
    product = w * v
    product.register_hook(lambda g: (log.append("product"), when_backward_ends(lambda: log.append("end")))[0])
    (product + v).sum().backward()
    assert log[0] == "product" and log[3] == "end"
    assert sorted(log[1:3]) == [("v", [6, 6], None), ("w", [1, 1], None)]
    log.clear()
    y = (w * 2).exp()
    y.register_hook(lambda g: log.append("exp"))
    (y + v).sum().backward()
    assert [entry if isinstance(entry, str) else entry[0] for entry in log] == ["v", "exp", "w"]
