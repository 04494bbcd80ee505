"""Short runs of examples/train_mnist.py that are killed and resumed.

    python tests/killed_training.py 200            kill runs 200 times at random moments, and resume after each
    python tests/killed_training.py run FOLDER     one run; with KILLED_AT=fsync:3 it kills itself at the third fsync

A run appends a byte to the file `steps` in its folder for each training step.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from itertools import count, islice
from pathlib import Path

from helpers import load_example, process_environment

import minigrad as mg
from minigrad import data
from minigrad.train import loop

STEPS, EVERY = 20, 3  # steps per epoch, and between two checkpoints
FLAGS = "--epochs", "2", "--batch-size", "64", "--checkpoint-every", str(EVERY)


def main():
    if sys.argv[1] == "run":
        run(Path(sys.argv[2]), *sys.argv[3:])
    else:
        kill_at_random_moments(int(sys.argv[1]))


def run(folder, *flags):
    """Train in this process, with short epochs, one batch of test digits and no pictures."""
    example = load_example("train_mnist")
    iterate, length = data.DataLoader.iterate_from, data.DataLoader.__len__
    data.DataLoader.iterate_from = lambda loader, batch: islice(iterate(loader, batch), max(0, len(loader) - batch))
    data.DataLoader.__len__ = lambda loader: min(length(loader), STEPS if loader.shuffle else 1)
    example.viz.save = lambda *arguments: None
    done = os.open(folder / "steps", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    record = loop.record
    loop.record = lambda step: followed_by(lambda: os.write(done, b"."), record(step))
    if "KILLED_AT" in os.environ:
        arrange_kill(os.environ["KILLED_AT"])
    sys.argv = ["train_mnist.py", "--out", str(folder), *FLAGS, *flags]
    example.main()


def followed_by(action, function):
    """Return a function that calls `function`, then `action`, and returns the result of the first."""

    def call(*arguments):
        result = function(*arguments)
        action()
        return result

    return call


def arrange_kill(moment):
    """Make this process kill itself at the n-th call of a function; the moment is its name and n, as in fsync:3."""
    name, n = moment.split(":")
    owner = {"fsync": os, "replace": Path, "evaluate": loop}[name]
    function, calls = getattr(owner, name), count(1)

    def call_or_die(*arguments):
        if next(calls) == int(n):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    setattr(owner, name, call_or_die)


def start(folder, *flags, **variables):
    """Start or resume a run in a new process."""
    folder.mkdir(exist_ok=True)
    resume = ["--resume"] if (folder / "last.safetensors").exists() else []
    return subprocess.Popen(
        [sys.executable, __file__, "run", str(folder), *resume, *flags],
        env=process_environment(**variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def saved_steps(folder):
    """Return the number of steps in the checkpoint."""
    path = folder / "last.safetensors"
    return len(mg.load(path)["loss"]) if path.exists() else 0


def done_steps(folder):
    """Return the number of steps that runs in the folder did, with those that were lost and repeated."""
    path = folder / "steps"
    return path.stat().st_size if path.exists() else 0


def content(folder):
    """Return the content of every file of a run, by name, without the seconds that epochs took."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("lenet5")}
    for name in ("last.safetensors", "best.safetensors"):
        state = mg.load(folder / name)
        state["rows"] = [{**row, "seconds": 0} for row in state["rows"]]
        state["position"]["seconds"] = 0
        found[name] = repr(as_bytes(state))
    return found


def as_bytes(value):
    """Return a value with the bytes of its tensors."""
    if isinstance(value, dict):
        return {key: as_bytes(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_bytes(part) for part in value]
    return value.numpy().tobytes() if hasattr(value, "numpy") else value


def kill_at_random_moments(kills):
    """Kill runs: half of them during training, the others at any time, also while checkpoints are loaded."""
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        process, begun = start(root / "straight"), time.perf_counter()
        training = wait_for_first_step(process, root / "straight", 0)
        assert process.wait() == 0
        ended = time.perf_counter()
        straight = content(root / "straight")
        runs, lost = 0, []
        while len(lost) < kills:
            folder = root / f"run {runs}"
            saved, done = saved_steps(folder), done_steps(folder)
            process = start(folder)
            if len(lost) % 2:
                wait_for_first_step(process, folder, done)
                time.sleep(random.uniform(0, ended - training))
            else:
                time.sleep(random.uniform(0, ended - begun))
            process.kill()
            if process.wait() == 0:
                assert content(folder) == straight, f"run {runs} gave other files"
                runs += 1
            else:
                lost.append(saved + done_steps(folder) - done - saved_steps(folder))
                assert lost[-1] <= EVERY, lost
        assert start(root / f"run {runs}").wait() == 0 and content(root / f"run {runs}") == straight
    counts = {n: lost.count(n) for n in sorted(set(lost))}
    print(f"{kills} kills in {runs + 1} runs of {2 * STEPS} steps, a checkpoint every {EVERY}: all ended with the same")
    print(f"bits; steps lost by a kill, and how often: {counts}")


def wait_for_first_step(process, folder, done):
    """Wait until a process has done a step or has ended; return the time."""
    while process.poll() is None and done_steps(folder) == done:
        time.sleep(0.005)
    return time.perf_counter()


if __name__ == "__main__":
    main()
