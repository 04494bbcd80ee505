"""What train.fit must do on several ranks; test_distributed_training.py starts it under mpiexec.

    mpiexec -n 2 python tests/distributed_training.py check FOLDER NAME ...    checks, as in distributed_ranks.py
    mpiexec -n 2 python tests/distributed_training.py run FOLDER [FAULT]       a run that resumes if it can; at step 13
                                                                               rank 1 is killed, or gets Ctrl-C

A run prints the digest of its weights, and its number of steps.
"""

import os
import re
import signal
import sys
import zlib
from pathlib import Path

import distributed_ranks
import numpy as np
import pytest

import minigrad as mg
from minigrad import data, datasets, distributed as dist, nn, optim, train, transforms
from minigrad.errors import RankError, ValidationError
from minigrad.nn import functional as F

CHECKS, FOLDER = {}, Path()  # filled by `check` and main
DIGITS, BATCH = 240, 48


def check(function):
    """A decorator that adds a function to the checks."""
    CHECKS[function.__name__] = function
    return function


def main():
    global FOLDER
    mode, FOLDER, *names = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]
    if mode == "check":
        distributed_ranks.CHECKS = CHECKS
        sys.argv[1:] = names
        distributed_ranks.main()
    else:
        dist.init(required=True)
        weights, history = fit(FOLDER, epochs=4, resume=True, checkpoint_every=3, on_step=fault(*names))
        if dist.get_rank() == 0:
            print(zlib.crc32(np.concatenate([w.ravel() for w in weights]).tobytes()), len(history.loss))


def fault(kind=None):
    def act(run):
        if kind and run.step == 13 and run.ranks.rank == 1:
            os.kill(os.getpid(), getattr(signal, kind))

    return act


def fit(folder=None, batch=BATCH, digits=DIGITS, epochs=2, resume=False, shuffle=True, **settings):
    """Train a small network on rotated digits; return its weights and the history."""
    mg.manual_seed(3)
    images = datasets.MNIST(transform=transforms.Compose([transforms.RandomRotation(10), transforms.ToTensor()]))
    settings = {"loader": data.DataLoader(data.Subset(images, range(digits)), batch, shuffle, seed=1), **settings}
    loader = settings.pop("loader")
    layers = [nn.Conv2d(1, 4, 5, stride=2), nn.ReLU(), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.Flatten()]
    model = nn.Sequential(*layers[: settings.pop("layers", 2)], nn.Flatten(), nn.Linear(576, 10))
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    settings = {"distributed": True, "clip_norm": 1.0, "validation": validation(), **settings}
    resume = resume and (Path(folder) / "last.safetensors").exists()
    history = train.fit(
        model, loader, F.cross_entropy, optimizer, epochs, folder=folder, resume=resume, progress=False, **settings
    )  # fmt: skip
    return [p.detach().numpy().copy() for p in model.parameters()], history


def validation():
    test = datasets.MNIST(train=False, transform=transforms.ToTensor())
    return data.DataLoader(data.Subset(test, range(101)), 50, seed=1)


def assert_equal(found, expected):
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, other)


@check
def ranks_get_the_bits_of_one_process_that_accumulates(rank, ranks):
    found, history = fit()
    expected, alone = fit(batch=BATCH // ranks, accumulate=ranks, distributed=False)
    assert_equal(found, expected)
    np.testing.assert_allclose(history["loss"], alone["loss"], rtol=1e-6)
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(history[name], alone[name], rtol=1e-5)
    assert_equal(fit(graph=False)[0], expected)


@check
def unequal_parts_count_by_their_samples(rank, ranks):
    """Batches of 7 and one of 3 samples, of which one of 4 ranks has none."""
    settings = {"batch": 7, "digits": 24, "clip_norm": None, "epochs": 1}
    found, history = fit(**settings)
    expected, alone = fit(**settings, distributed=False)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(history["train_loss"], alone["train_loss"], rtol=1e-5)
    assert history["train_accuracy"] == alone["train_accuracy"]


@check
def batches_that_are_there_as_a_whole_are_divided(rank, ranks):
    batches = [(mg.full((8, 1, 28, 28), float(k)), mg.arange(8)) for k in range(3)]
    found, _ = fit(loader=batches)
    expected, _ = fit(loader=batches, distributed=False)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


@check
def a_run_resumes_with_the_same_bits_and_on_one_rank(rank, ranks):
    """With dropout, whose random numbers each rank has of its own."""
    expected, _ = fit(epochs=3, layers=5)
    fit(FOLDER / "parts", epochs=1, layers=5)
    mg.rand(rank + 1)
    found, history = fit(FOLDER / "parts", epochs=3, layers=5, resume=True)
    assert_equal(found, expected)
    fit(FOLDER / "fewer", epochs=1)
    whole, _ = fit(epochs=2)
    if rank == 0:
        alone, history = fit(FOLDER / "fewer", resume=True, distributed=False)
        assert len(history.loss) == 2 * DIGITS // BATCH
        for mine, other in zip(alone, whole, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-4)


@check
def two_runs_in_one_job_work(rank, ranks):
    fit(layers=5)
    model, batches = nn.Linear(4, 2), [(mg.ones(8, 4), mg.arange(8) % 2)] * 2
    optimizer = optim.SGD(model.parameters(), 0.1)
    history = train.fit(model, batches, F.cross_entropy, optimizer, 1, distributed=True, progress=False)
    assert len(history.loss) == 2
    wrapped = dist.DistributedDataParallel(model)
    with pytest.raises(ValidationError, match="^fit: model is a DistributedDataParallel; give model.module, and"):
        train.fit(wrapped, batches, F.cross_entropy, optimizer, 1)
    rows = train.ranks.Ranks(rank, ranks).gather(mg.rand(4).numpy())
    assert len({row.tobytes() for row in rows}) == ranks


@check
def dropout_differs_between_ranks(rank, ranks):
    model = dist.DistributedDataParallel(nn.Linear(2, 2))
    own = F.dropout(mg.ones(64), 0.5).numpy()
    rows = train.ranks.Ranks(rank, ranks).gather(own)
    assert model.training and len({row.tobytes() for row in rows}) == ranks


@check
def the_first_rank_alone_writes_and_all_stop_together(rank, ranks):
    _, history = fit(FOLDER / "stops", epochs=5, on_epoch=lambda run: run.ranks.rank == ranks - 1 and run.epoch == 2)
    assert history.stopped == "on_epoch returned True" and len(history.rows) == 2
    names = [path.name for path in (FOLDER / "stops").iterdir()]
    assert sorted(names) == ["best.safetensors", "last.safetensors", "log.csv"]


@check
def what_differs_between_ranks_is_named(rank, ranks):
    with pytest.raises(RankError, match="^fit: the ranks differ: setting accumulate is 1 on rank 0, 2 on rank"):
        fit(accumulate=1 + (rank > 0))
    with pytest.raises(RankError, match="^fit: the ranks differ: setting samples is 240 on rank"):
        fit(digits=DIGITS + (rank == 1))
    with pytest.raises(RankError, match="^fit: the ranks differ: setting patience is 2 on rank 0, 3 on rank"):
        fit(patience=2 + (rank > 0))
    with pytest.raises(RankError, match="^fit: the ranks differ: setting validation is True on rank 0, False on rank"):
        fit(**({"validation": None} if rank else {}))
    batches = [(mg.full((8, 1, 28, 28), float(rank)), mg.arange(8))]
    with pytest.raises(RankError, match="^fit: the ranks have parts of different batches; give the loader shuffle"):
        fit(loader=batches)
    mg.manual_seed(rank)
    order = data.RandomSampler(range(DIGITS), generator=mg.Generator().manual_seed(rank))
    dataset = data.Subset(datasets.MNIST(transform=transforms.ToTensor()), range(DIGITS))
    with pytest.raises(RankError, match="^fit: the ranks have parts of different batches; give the loader shuffle"):
        fit(loader=data.DataLoader(dataset, BATCH, sampler=order))


@check
def batches_need_a_sample_for_each_rank(rank, ranks):
    with pytest.raises(ValidationError, match=f"^fit: batches of 1 samples cannot be divided among {ranks} ranks; use"):
        fit(batch=1)
    with pytest.raises(ValidationError, match=re.escape("fit: a data set of 1 samples cannot be divided among")):
        fit(digits=1)


@check
def evaluate_adds_up_the_parts(rank, ranks):
    mg.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    found = train.evaluate(model, validation(), F.cross_entropy, distributed=True)
    alone = train.evaluate(model, validation(), F.cross_entropy)
    assert found["accuracy"] == alone["accuracy"]
    np.testing.assert_allclose(found["loss"], alone["loss"], rtol=1e-6)


@check
def data_is_loaded_once_and_shared(rank, ranks):
    made = []
    digits = dist.load_once(lambda: made.append(rank) or datasets.MNIST(train=False))
    assert made == [0] * (rank == 0) and not digits.images.flags.writeable
    expected = datasets.MNIST(train=False)
    np.testing.assert_array_equal(digits.images, expected.images)
    np.testing.assert_array_equal(digits.labels, expected.labels)
    assert dist.load_once(lambda: {"no": "arrays"}) == {"no": "arrays"}


if __name__ == "__main__":
    main()
