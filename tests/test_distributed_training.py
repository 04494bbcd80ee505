"""train.fit on several ranks: the same bits as one process, faults, and resuming on other numbers of ranks.

The checks of several ranks stand in distributed_training.py.
"""

import json

import distributed_training
import pytest
from test_distributed import needs_mpi, run_ranks

import minigrad as mg
from minigrad import distributed, nn, optim, train
from minigrad.errors import DeviceError
from minigrad.nn import functional as F

SCRIPT = "distributed_training.py"


def errors_of(ranks, folder, checks):
    """The errors of each check on all ranks."""
    done = run_ranks(ranks, SCRIPT, "check", str(folder), *checks)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["check"]: row["errors"] for row in rows}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What all checks give on four ranks."""
    return errors_of(4, tmp_path_factory.mktemp("runs"), distributed_training.CHECKS)


@needs_mpi
@pytest.mark.parametrize("name", distributed_training.CHECKS)
def test_on_four_ranks(found, name):
    assert not any(found[name]), found[name]


@needs_mpi
def test_three_ranks_get_the_bits_of_one_process_that_accumulates(tmp_path):
    """A third of a number is rounded, as a half is not."""
    name = "ranks_get_the_bits_of_one_process_that_accumulates"
    assert errors_of(3, tmp_path, [name]) == {name: [""] * 3}


@needs_mpi
def test_a_run_whose_rank_is_killed_or_interrupted_resumes_with_the_same_bits(tmp_path):
    whole = run_ranks(2, SCRIPT, "run", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.split()[1] == "20"
    killed = run_ranks(2, SCRIPT, "run", str(tmp_path / "killed"), "SIGKILL")
    assert killed.returncode != 0 and killed.seconds < 30
    interrupted = run_ranks(2, SCRIPT, "run", str(tmp_path / "stopped"), "SIGINT")
    assert interrupted.returncode == 0 and interrupted.stdout.split()[1] == "14", interrupted.stderr
    for folder in ("killed", "stopped"):
        assert run_ranks(2, SCRIPT, "run", str(tmp_path / folder)).stdout == whole.stdout


def test_fit_without_a_launcher_says_how_to_start_it():
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), 0.1)
    with pytest.raises(DeviceError, match=r"^init: no MPI launcher started this program; pip install mpi4py mpich"):
        train.fit(model, [(mg.ones(2, 2), mg.tensor([0, 1]))], F.cross_entropy, optimizer, 1, distributed=True)


def test_one_process_loads_its_data_itself():
    assert distributed.load_once(lambda: [3]) == [3]
