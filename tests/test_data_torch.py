"""DataLoader, samplers and data sets as PyTorch's scripts use them; minigrad.utils.data is minigrad.data."""

import threading
import time
from collections import namedtuple

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import DtypeError, ShapeError, ValidationError
from minigrad.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    get_worker_info,
    random_split,
)

Pair = namedtuple("Pair", "x y")
NUMBERS = TensorDataset(mg.tensor(np.arange(10)))
IMAGES = mg.data.ImageDataset(np.arange(10, dtype=np.uint8).reshape(10, 1, 1), np.arange(10))


class Count(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


def seeded(seed):
    return mg.Generator().manual_seed(seed)


def numbers_in(loader):
    return [batch[-1].tolist() if isinstance(batch, tuple) else batch.tolist() for batch in loader]


def test_utils_data_is_data():
    assert mg.utils.data.DataLoader is mg.data.DataLoader is DataLoader
    assert set(mg.utils.data.__all__) == set(mg.data.__all__)


def test_arguments_of_pytorch_that_change_nothing_are_taken():
    settings = {"num_workers": 4, "pin_memory": True, "persistent_workers": True, "prefetch_factor": 2, "timeout": 0}
    settings |= {"multiprocessing_context": None, "pin_memory_device": "", "in_order": True}
    loader = DataLoader(NUMBERS, batch_size=4, shuffle=None, **settings)
    assert numbers_in(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3 and loader.dataset is NUMBERS and loader.num_workers == 4 and len(loader.sampler) == 10
    assert next(iter(loader))[0].tolist() == [0, 1, 2, 3]
    assert [number for number, (x,) in enumerate(loader)] == [0, 1, 2]


def test_loader_refuses_unknown_arguments():
    with pytest.raises(TypeError, match="num_worker"):
        DataLoader(NUMBERS, num_worker=1)


class Reported(mg.data.Dataset):
    """Samples that say which worker read them, after a while in which others can begin."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        info = get_worker_info()
        time.sleep(0.002)
        return index, info.id, info.num_workers, threading.get_ident(), mg.rand(1).item()


def test_workers_read_in_order_and_know_their_numbers():
    started = []
    settings = {"shuffle": True, "seed": 3, "worker_init_fn": started.append}
    loaders = [DataLoader(Reported(), 4, num_workers=workers, **settings) for workers in (3, 1)]
    batches = [[[column.tolist() for column in batch] for batch in loader] for loader in loaders]
    read = [np.concatenate(column) for column in zip(*batches[0], strict=True)]
    assert set(read[1]) == {0, 1, 2} and set(read[2]) == {3} and len(set(read[3])) == 3
    assert sorted(started) == [0, 0, 1, 2] and get_worker_info() is None
    for several, one in zip(*batches, strict=True):
        assert several[0] == one[0] and several[4] == one[4]  # the same samples with the same random numbers


def test_a_sample_draws_the_same_numbers_in_any_batch_and_others_when_it_comes_again():
    class Noisy(mg.data.Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, index):
            return index, mg.rand(1).item()

    def drawn(loader):
        return [pair for x, y in loader for pair in zip(x.tolist(), y.tolist(), strict=True)]

    expected = dict(drawn(DataLoader(Noisy(), 6, seed=1)))
    assert dict(drawn(DataLoader(Noisy(), 4, shuffle=True, seed=1))) == expected
    assert dict(drawn(DataLoader(Subset(Noisy(), [4, 2]), 1, seed=1))) == {i: expected[i] for i in (4, 2)}
    again = drawn(DataLoader(Noisy(), 2, sampler=[3, 3, 5, 3], seed=1))
    assert again[0] == (3, expected[3]) and again[2] == (5, expected[5])
    assert len({value for _, value in again}) == 4
    loader = DataLoader(Noisy(), 4, seed=1)
    assert drawn(loader) != drawn(loader)  # another epoch


@pytest.mark.parametrize("settings", [{"shuffle": True}, {"num_workers": 2}, {"prefetch": 0, "shuffle": True}])
def test_iterate_from_gives_the_rest_of_an_epoch(settings):
    whole, part = (DataLoader(NUMBERS, 3, seed=7, **settings) for _ in range(2))
    first, second = numbers_in(whole), numbers_in(whole)
    assert first[2:] == [x.tolist() for (x,) in part.iterate_from(2)]
    assert second == numbers_in(part) and list(part.iterate_from(9)) == []
    with pytest.raises(ValidationError, match=r"^DataLoader: batch is -1; use a whole number of 0 or more"):
        part.iterate_from(-1)


@pytest.mark.parametrize("dataset", [NUMBERS, IMAGES, Subset(IMAGES, range(10)), list(range(10)), mg.arange(10)])
@pytest.mark.parametrize("prefetch", [0, 1])
def test_loader_reads_in_the_order_of_a_sampler(dataset, prefetch):
    order = [3, 1, 4, 1, 5]
    assert numbers_in(DataLoader(dataset, 2, sampler=order, prefetch=prefetch)) == [[3, 1], [4, 1], [5]]
    loader = DataLoader(dataset, 2, sampler=mg.tensor(order), drop_last=True, prefetch=prefetch)
    assert numbers_in(loader) == [[3, 1], [4, 1]] and len(loader) == 2
    loader = DataLoader(dataset, batch_sampler=[[9], [0, 2, 4]], prefetch=prefetch)
    assert numbers_in(loader) == [[9], [0, 2, 4]] == numbers_in(loader) and len(loader) == 2


def test_sampler_counts_in_the_subset():
    assert numbers_in(DataLoader(Subset(IMAGES, [7, 8, 9]), 2, sampler=[2, 0])) == [[9, 7]]


def test_samplers_may_be_endless_and_their_numbers_any_keys():
    class Endless(Sampler):
        def __iter__(self):
            while True:
                yield 2

    batches = iter(DataLoader(NUMBERS, 3, sampler=Endless()))
    assert [next(batches)[0].tolist() for _ in range(4)] == [[2, 2, 2]] * 4
    assert numbers_in(DataLoader({"a": 1, "b": 2}, 2, sampler=["b", "a"])) == [[2, 1]]


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"batch_sampler": [[1]], "shuffle": True},
            "DataLoader: batch_sampler and shuffle contradict each other; give",
        ),
        ({"batch_sampler": [[1]], "batch_size": 2}, "DataLoader: batch_sampler and batch_size contradict each other"),
        ({"sampler": [1], "shuffle": True}, "DataLoader: sampler and shuffle contradict each other"),
        ({"batch_size": None, "drop_last": True}, "DataLoader: batch_size=None and drop_last contradict each other"),
        ({"num_workers": -1}, "DataLoader: num_workers is -1; use a whole number of 0 or more"),
    ],
)
def test_loader_refuses_arguments_that_contradict_each_other(settings, message):
    with pytest.raises(ValidationError, match=f"^{message}"):
        DataLoader(NUMBERS, **settings)
    if "shuffle" in settings and "sampler" in settings:
        with pytest.raises(ValidationError, match="^DataLoader: IterableDataset and shuffle contradict"):
            DataLoader(Count(3), shuffle=True)


def test_batch_size_none_gives_single_samples():
    assert [x.shape for (x,) in DataLoader(NUMBERS, batch_size=None)] == [()] * 10
    samples = list(DataLoader([{"x": np.ones(2), "name": "a"}], batch_size=None))
    assert samples[0]["x"].dtype == mg.float64 and samples[0]["name"] == "a"
    assert list(DataLoader(Count(3), batch_size=None, collate_fn=lambda x: x + 1)) == [1, 2, 3]
    assert len(DataLoader(NUMBERS, batch_size=None)) == 10


def test_iterable_data_sets():
    loader = DataLoader(Count(5), batch_size=2)
    assert numbers_in(loader) == [[0, 1], [2, 3], [4]] == numbers_in(loader)
    assert numbers_in(DataLoader(Count(5), batch_size=2, drop_last=True)) == [[0, 1], [2, 3]]
    with pytest.raises(TypeError):
        len(loader)
    with pytest.raises(NotImplementedError, match="__iter__ is missing"):
        iter(IterableDataset())


@pytest.mark.parametrize("shuffle", [True, False])
def test_generator_decides_the_order_of_each_epoch(shuffle):
    loader, again = (DataLoader(NUMBERS, 5, shuffle=shuffle, generator=seeded(1)) for _ in range(2))
    first, second = numbers_in(loader), numbers_in(loader)
    assert numbers_in(again) == first and numbers_in(again) == second
    assert (first != second) == shuffle


def test_concatenated_data_sets():
    both = ConcatDataset([[1, 2], [], [3]])
    assert [both[i] for i in range(-3, 3)] == [1, 2, 3, 1, 2, 3] and len(both) == 3
    assert numbers_in(DataLoader(both, 3)) == [[1, 2, 3]]

    class Ones(Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return 1

    assert list(Ones() + range(5, 6)) == [1, 1, 5]
    with pytest.raises(IndexError, match="^ConcatDataset: index 3 is out of range for 3 samples"):
        both[3]
    with pytest.raises(ValidationError, match="^ConcatDataset: no data sets"):
        ConcatDataset([])


def test_samplers():
    assert list(SequentialSampler("abc")) == [0, 1, 2] and len(SequentialSampler("abc")) == 3
    mg.manual_seed(0)
    orders = [list(RandomSampler(range(20))) for _ in range(2)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1]) == list(range(20))
    assert list(RandomSampler(range(20), generator=seeded(0))) == list(RandomSampler(range(20), generator=seeded(0)))
    many = list(RandomSampler(range(3), num_samples=7))
    assert len(many) == 7 and sorted(many[:3]) == sorted(many[3:6]) == [0, 1, 2]
    drawn = list(RandomSampler(range(3), replacement=True, num_samples=3000))
    np.testing.assert_allclose(np.bincount(drawn) / 3000, 1 / 3, atol=0.05)
    assert sorted(SubsetRandomSampler([5, 7, 9])) == [5, 7, 9] and len(SubsetRandomSampler([5, 7, 9])) == 3
    weighted = list(WeightedRandomSampler(mg.tensor([1.0, 0.0, 3.0]), 4000))
    np.testing.assert_allclose(np.bincount(weighted) / 4000, [0.25, 0, 0.75], atol=0.04)
    assert sorted(WeightedRandomSampler([1, 2, 3], 3, replacement=False)) == [0, 1, 2]
    assert list(BatchSampler(SequentialSampler("abcde"), 2, True)) == [[0, 1], [2, 3]]
    assert len(BatchSampler(SequentialSampler("abcde"), 2, False)) == 3
    with pytest.raises(NotImplementedError, match="^Sampler: __iter__ is missing"):
        iter(Sampler())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: WeightedRandomSampler([1, -1], 1), "WeightedRandomSampler: weights of shape .* with 2 above 0 for 1"),
        (lambda: WeightedRandomSampler([1, 0], 2, replacement=False), "WeightedRandomSampler: .* with 1 above 0 for 2"),
        (lambda: RandomSampler(range(3), num_samples=0), "RandomSampler: num_samples is 0; use a whole number of 1"),
        (lambda: BatchSampler([1], 0), "BatchSampler: batch_size is 0; use a whole number of 1"),
    ],
)
def test_samplers_refuse_wrong_numbers(make, message):
    with pytest.raises(ValidationError, match=f"^{message}"):
        make()


def test_random_split_takes_a_generator_and_shares():
    parts, again = (random_split(range(10), [0.7, 0.3], generator=seeded(0)) for _ in range(2))
    assert [len(part) for part in parts] == [7, 3]
    assert list(parts[0]) == list(again[0]) and sorted([*parts[0], *parts[1]]) == list(range(10))
    assert list(random_split(range(10), [10], seeded(1))[0]) == list(random_split(range(10), [10], seeded(1))[0])


def test_collating_dicts_strings_named_tuples_and_numbers():
    batch = default_collate([{"x": 1, "y": "s", "z": Pair(1.5, [2])}, {"x": 2, "y": "t", "z": Pair(2.5, [3])}])
    assert batch["x"].tolist() == [1, 2] and batch["y"] == ["s", "t"]
    assert batch["z"].x.dtype == mg.float64 and batch["z"].y[0].tolist() == [2, 3]
    for sample, dtype in [
        (np.float32(1), "float32"),
        (np.float64(1), "float64"),
        (np.int32(1), "int32"),
        (True, "bool"),
    ]:
        assert default_collate([sample]).dtype == dtype
    with pytest.raises(ShapeError, match="^default_collate: samples of one batch have keys "):
        default_collate([{"x": 1}, {"y": 1}])
    with pytest.raises(DtypeError, match="^default_collate: a sample is or has None; make it a tensor"):
        default_collate([None, None])


def test_convert():
    converted = default_convert(
        {"a": np.ones(2), "b": [1, np.float32(2)], "c": "x", "d": Pair(np.zeros(1, bool), None)}
    )
    assert converted["a"].dtype == mg.float64 and converted["b"][1].dtype == mg.float32
    assert converted["b"][0] == 1 and converted["c"] == "x" and converted["d"].x.dtype == mg.bool
