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


@pytest.fixture(scope="module", params=[3, 4])
def found(request, tmp_path_factory):
    """The errors of each check on all ranks."""
    done = run_ranks(request.param, SCRIPT, "check", str(tmp_path_factory.mktemp("runs")), *distributed_training.CHECKS)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["check"]: row["errors"] for row in rows}


@needs_mpi
@pytest.mark.parametrize("name", distributed_training.CHECKS)
def test_on_several_ranks(found, name):
    for rank, error in enumerate(found[name]):
        assert not error, f"rank {rank}: {error}"


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
