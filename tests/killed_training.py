"""A short run of examples/train_mnist.py that is killed: at a given moment, or 200 times at random ones.

    python tests/killed_training.py 200            kill -9 at random moments; after each, --resume goes on
    python tests/killed_training.py run FOLDER     one run, which others kill, or which kills itself: KILLED_AT=fsync:3

A run appends a byte to the file `steps` in its folder for each step of training.
"""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from itertools import count, islice
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "train_mnist.py"
STEPS, EVERY = 20, 3  # steps in an epoch, and between two checkpoints
FLAGS = "--epochs", "2", "--batch-size", "64", "--checkpoint-every", str(EVERY)


def main():
    if sys.argv[1] == "run":
        run(Path(sys.argv[2]), *sys.argv[3:])
    else:
        kill_at_random(int(sys.argv[1]))


def run(folder, *flags):
    """Train in this process, with short epochs, a small test, and no pictures."""
    from minigrad import data

    specification = importlib.util.spec_from_file_location("train_mnist", EXAMPLE)
    example = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(example)
    every, length = data.DataLoader.__iter__, data.DataLoader.__len__
    data.DataLoader.__iter__ = lambda loader: islice(every(loader), len(loader))
    data.DataLoader.__len__ = lambda loader: min(length(loader), STEPS if loader.shuffle else 1)
    example.draw = lambda *arguments: None
    done = os.open(folder / "steps", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    graph = example.mg.graph
    example.mg.graph = lambda step: noting(graph(step), lambda: os.write(done, b"."))
    die(os.environ.get("KILLED_AT"), example)
    sys.argv = ["train_mnist.py", "--out", str(folder), *FLAGS, *flags]
    example.main()


def noting(function, note):
    """The function, which makes a note of each of its calls."""

    def noted(*arguments):
        result = function(*arguments)
        note()
        return result

    return noted


def die(moment, example):
    """Arrange for this process to be killed where it calls a function for the n-th time, as in fsync:3."""
    if not moment:
        return
    name, n = moment.split(":")
    holder = {"fsync": os, "replace": Path, "evaluate": example}[name]
    function, calls = getattr(holder, name), count(1)

    def deadly(*arguments):
        if next(calls) == int(n):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    setattr(holder, name, deadly)


def started(folder, *flags, **environment):
    """A run in a process of its own."""
    folder.mkdir(exist_ok=True)
    resume = ["--resume"] if (folder / "checkpoint.safetensors").exists() else []
    return subprocess.Popen(
        [sys.executable, __file__, "run", str(folder), *resume, *flags],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def saved_steps(folder):
    """How many steps the checkpoint knows of."""
    import minigrad as mg

    path = folder / "checkpoint.safetensors"
    return len(mg.load(path)["run"]["loss"]) if path.exists() else 0


def done_steps(folder):
    """How many steps were done in the folder, those that were lost and done again included."""
    path = folder / "steps"
    return path.stat().st_size if path.exists() else 0


def content(folder):
    """The files of a run that ended, and whether there are others."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files.pop("steps")
    return files


def kill_at_random(kills):
    """Half of them while it trains, the others from the start on, when Python loads and checkpoints are read."""
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        process, begun = started(place / "straight"), time.perf_counter()
        training = until_first_step(process, place / "straight", 0)
        assert process.wait() == 0
        ended = time.perf_counter()
        straight = content(place / "straight")
        runs, lost = 0, []
        while len(lost) < kills:
            folder = place / f"run {runs}"
            saved, done = saved_steps(folder), done_steps(folder)
            process = started(folder)
            if len(lost) % 2:
                until_first_step(process, folder, done)
                time.sleep(random.uniform(0, ended - training))
            else:
                time.sleep(random.uniform(0, ended - begun))
            process.kill()
            if process.wait() == 0:
                assert content(folder) == straight, f"run {runs} ended otherwise"
                runs += 1
            else:
                lost.append(saved + done_steps(folder) - done - saved_steps(folder))
                assert lost[-1] <= EVERY, lost
        assert started(place / f"run {runs}").wait() == 0 and content(place / f"run {runs}") == straight
    counts = {n: lost.count(n) for n in sorted(set(lost))}
    print(f"{kills} kills in {runs + 1} runs of {2 * STEPS} steps, a checkpoint every {EVERY}: all ended with the same")
    print(f"bits; steps lost by a kill, and how often: {counts}")


def until_first_step(process, folder, done):
    """Wait for a step of a process, or its end; the time then."""
    while process.poll() is None and done_steps(folder) == done:
        time.sleep(0.005)
    return time.perf_counter()


if __name__ == "__main__":
    main()
