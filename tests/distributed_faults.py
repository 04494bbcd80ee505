"""A short training in which the last rank fails; test_distributed.py starts it under mpiexec.

mpiexec -n 2 python tests/distributed_faults.py stop
"""

import os
import signal
import sys
import time

import minigrad as mg
from minigrad import distributed as dist, nn

FAILS_AT, STEPS = 3, 6


def fail(how):
    """Fail in one of these ways."""
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if how == "raise":
        raise ValueError("a sample is damaged")
    while how == "loop":
        time.sleep(0)


def main():
    mg.set_num_threads(1)
    dist.init(required=True, timeout=2.0, first_timeout=60.0)
    print(f"process {os.getpid()}", flush=True)
    mg.manual_seed(0)
    model = dist.DistributedDataParallel(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    for step in range(STEPS):
        fails = step == FAILS_AT and dist.get_rank() == dist.get_world_size() - 1
        if fails:
            fail(sys.argv[1])
        x = mg.full((3, 4), float("nan") if fails and sys.argv[1] == "nan" else 1.0)
        model(x).sum().backward()
    print("the end")


if __name__ == "__main__":
    main()
