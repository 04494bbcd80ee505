"""One rank of benchmarks/distributed.py, which starts it:

    mpiexec -n 2 python benchmarks/distributed_rank.py minigrad LeNet-5 20
    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 python benchmarks/distributed_rank.py torch LeNet-5 20

In each turn rank 0 first trains alone while the others wait, then all ranks train side by side without an exchange,
and then together.  Rank 0 prints the seconds of all steps as JSON, by the name of the work.
"""

import json
import sys
import time
from importlib import import_module

import numpy as np
from layers import resnet20
from rivals import torch_lenet

NETWORKS = {"LeNet-5": (torch_lenet, (128, 1, 32, 32)), "ResNet-20": (resnet20, (64, 3, 32, 32))}
TURNS, FIRST_STEPS = 5, 4  # of a job of some seconds; of a shorter one, two turns


def main():
    library, network, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    rank = {"minigrad": Minigrad, "torch": Torch}[library](network)
    for step in (rank.alone, rank.together):
        for _ in range(FIRST_STEPS):
            step()
    turns = TURNS if seconds > TURNS else 2
    steps = rank.agree(max(1, int(seconds / (3 * turns) / time_of(rank.alone))))
    times = {name: [] for name in ("one rank", "side by side", "together", "exposed", "exchange alone")}
    for _ in range(turns):
        rank.wait_for_all()
        if rank.number == 0:
            times["one rank"] += [time_of(rank.alone) for _ in range(steps)]
        for name, step in (
            ("side by side", rank.alone),
            ("together", rank.together),
            ("exchange alone", rank.exchange),
        ):
            rank.wait_for_all()
            times[name] += [time_of(step) for _ in range(steps)] if step else []
            if name == "together":
                times["exposed"] += rank.exposed(steps)
    if rank.number == 0:
        print(json.dumps(times))
    rank.end()


def time_of(step):
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def random_batch(shape):
    """Return images and labels."""
    random = np.random.default_rng(0)
    return random.normal(size=shape).astype("float32"), random.integers(0, 10, shape[0])


def make_step(library, model, images, labels):
    """Return a function that trains a model by one step on a batch, with PyTorch's names."""
    nn, optim = import_module(f"{library.__name__}.nn"), import_module(f"{library.__name__}.optim")
    loss_of, optimizer = nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step(images, labels):
        optimizer.zero_grad()
        loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    recorded = library.graph(step) if hasattr(library, "graph") else step
    return lambda: recorded(images, labels)


class Minigrad:
    """A rank over MPI; steps are recorded by mg.graph."""

    def __init__(self, network):
        import minigrad as mg
        from minigrad import distributed

        mg.set_num_threads(1)
        distributed.init(required=True)
        self.number, self.distributed = distributed.get_rank(), distributed
        build, shape = NETWORKS[network]
        batch = [mg.tensor(values) for values in random_batch(shape)]
        self.alone = make_step(mg, build(mg.nn), *batch)
        model = distributed.DistributedDataParallel(build(mg.nn))
        self.together = make_step(mg, model, *batch)
        self.reducer, self.waits = model._reducer, []
        if self.reducer:
            self.reducer._wait = self.note_wait(self.reducer._wait)

    def note_wait(self, wait):
        """Note when backward has ended, and when the means are there."""

        def noted(*arguments):
            start = time.perf_counter()
            wait(*arguments)
            self.waits.append((start, time.perf_counter()))

        return noted

    def exposed(self, steps):
        """The seconds in each of the last steps from the end of the last rank's backward until all have the means."""
        found = [None] * self.distributed.get_world_size()
        self.distributed.all_gather_object(found, self.waits[-steps:])
        ended, complete = np.array(found).max(0).T
        return (complete - ended).tolist()

    def exchange(self):
        """Exchange the gradients while nothing else runs."""
        for b, bucket in enumerate(self.reducer.buckets):
            gradients = [p.grad.array for p in bucket.params]
            self.reducer._send(b, frozenset(range(len(gradients))), None, gradients)
        self.reducer._wait()

    def agree(self, number):
        found = [number]
        self.distributed.broadcast_object_list(found)
        return found[0]

    def wait_for_all(self):
        self.distributed.barrier(timeout=600)

    def end(self):
        """Nothing is left to do."""


class Torch:
    """A rank of PyTorch over gloo."""

    exchange = None

    def exposed(self, steps):
        """Not known."""
        return []

    def __init__(self, network):
        import torch
        import torch.distributed as distributed

        torch.set_num_threads(1)
        distributed.init_process_group("gloo")
        self.number, self.torch, self.distributed = distributed.get_rank(), torch, distributed
        build, shape = NETWORKS[network]
        batch = [torch.from_numpy(values) for values in random_batch(shape)]
        self.alone = make_step(torch, build(torch.nn), *batch)
        self.together = make_step(torch, torch.nn.parallel.DistributedDataParallel(build(torch.nn)), *batch)

    def agree(self, number):
        found = self.torch.tensor([number])
        self.distributed.broadcast(found, 0)
        return int(found)

    def wait_for_all(self):
        self.distributed.barrier()

    def end(self):
        self.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
