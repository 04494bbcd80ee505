"""Datasets and DataLoader: batches, order, random numbers, the thread that prepares batches, refused arguments."""

import concurrent.futures
import gc
import multiprocessing
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import DEVICES
from hypothesis import given, strategies as st
from PIL import Image

import minigrad as mg
from minigrad import datasets, transforms
from minigrad.data import (
    DataLoader,
    Dataset,
    ImageDataset,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
    mean_and_std,
    random_split,
)
from minigrad.datasets import MNIST
from minigrad.errors import DeviceError, DtypeError, GraphError, LoaderError, ShapeError, ValidationError
from minigrad.nn import functional as F
from minigrad.ops.images import gather_images
from minigrad.random import manual_seed
from minigrad.runtime.device import CPU, NUMPY
from minigrad.streams import generator


class Numbers(Dataset):
    """Sample i is i.  `seen` lists the samples that were read; reading the sample `broken` is an error."""

    def __init__(self, n, broken=None):
        self.n, self.broken, self.seen = n, broken, []

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == self.broken:
            raise OSError(f"sample {index} is on fire")
        self.seen.append(index)
        return index


def image_dataset(n, channels=1, height=5, width=4):
    """Return n random images with the labels 0 ... n-1."""
    pixels = np.random.default_rng(n).integers(0, 256, (n, channels, height, width), dtype=np.uint8)
    return ImageDataset(pixels, np.arange(n))


def samples_of(loader):
    """Return the samples of one epoch, in order."""
    return [sample for batch in loader for sample in batch.tolist()]


def loader_threads():
    """Return the running threads of all loaders."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("minigrad-data")]


def wait_until(condition):
    """Wait up to a minute for another thread to make the condition true."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.001)


# ---- gather_images


@st.composite
def gather_arguments(draw):
    """Return images, indices, scale, shift and pad."""
    sides = st.integers(1, 9)
    random = np.random.default_rng(draw(st.integers(0, 99)))
    M, C = draw(sides), draw(st.integers(1, 3))
    images = random.integers(0, 256, (M, C, draw(sides), draw(sides)), dtype=np.uint8)
    images.flags.writeable = draw(st.booleans())
    indices = random.integers(0, M, draw(st.sampled_from([0, 1, 7, 8, 33])))
    scale, shift = random.normal(size=(2, C)).astype(draw(st.sampled_from([np.float32, np.float64])))
    return images, indices, scale, shift, draw(st.integers(0, 2))


@given(gather_arguments())
def test_gather_images_equals_its_formula_on_every_device(case):
    images, indices, scale, shift, pad = case
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    expected = padded[indices].astype(np.float64) * scale[:, None, None] + shift[:, None, None]
    rounding = 300 * np.finfo(scale.dtype).eps  # of products up to 255 * |scale|
    for device in (CPU, NUMPY):
        out = gather_images(device, *case)
        assert out.dtype == scale.dtype
        np.testing.assert_allclose(out, expected, rtol=0, atol=rounding * (1 + abs(scale).max() + abs(shift).max()))


def test_gather_images_returns_batch_innermost_memory():
    images = np.zeros((9, 3, 5, 4), np.uint8)
    out = gather_images(CPU, images, np.arange(7), np.ones(3, np.float32), np.zeros(3, np.float32), 1)
    assert out.shape == (7, 3, 7, 6) and out.transpose(1, 2, 3, 0).flags.c_contiguous


@pytest.mark.parametrize("index", [-1, 9])
def test_gather_images_refuses_an_index_out_of_range(index):
    one, images = np.ones(1, np.float32), np.zeros((9, 1, 2, 2), np.uint8)
    with pytest.raises(ValidationError, match=f"^images: index {index} is out of range for 9 images; use 0 to 8$"):
        gather_images(CPU, images, np.array([0, index]), one, one, 0)


def test_gather_images_refuses_other_dtypes_strides_and_channels():
    one, images = np.ones(1, np.float32), np.zeros((9, 1, 2, 2), np.uint8)
    with pytest.raises(DtypeError, match=r"^images: expected C-contiguous uint8 .*, got float32 \(9, 1, 2, 2\)"):
        gather_images(CPU, images.astype(np.float32), np.array([0]), one, one, 0)
    with pytest.raises(DtypeError, match=r"^images: .* with strides \(8, 4, 2, 1\); use np.ascontiguousarray$"):
        gather_images(CPU, images[::2], np.array([0]), one, one, 0)
    with pytest.raises(ShapeError, match=r"^images: 1 channels, but scale has shape \(2,\) and shift \(1,\); give 1"):
        gather_images(CPU, images, np.array([0]), np.ones(2, np.float32), one, 0)


# ---- batches


@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 45),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    prefetch=st.integers(0, 3),
)
def test_loader_gives_every_sample_once_per_epoch(n, batch_size, shuffle, drop_last, prefetch):
    loader = DataLoader(image_dataset(n), batch_size, shuffle, seed=0, drop_last=drop_last, prefetch=prefetch)
    for _ in range(2):
        sizes = [len(labels) for _, labels in loader]
        seen = [label for _, labels in loader for label in labels.tolist()]
        assert len(sizes) == len(loader)
        assert all(size == batch_size for size in sizes[: None if drop_last else -1])
        assert len(set(seen)) == len(seen) == (n // batch_size * batch_size if drop_last else n)
        assert shuffle or seen == sorted(seen)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
def test_loader_normalizes_and_pads_images(device, dtype):
    dataset, mean, std = image_dataset(10, channels=3), np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.6, 0.7])
    loader = DataLoader(dataset, 4, normalize=(mean, list(std)), pad=1, dtype=dtype, device=device)
    batches = list(loader)
    images = np.concatenate([images.numpy() for images, _ in batches])
    padded = np.pad(dataset.images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    assert images.dtype == dtype and {images.device.type for images, _ in batches} == {device}
    np.testing.assert_allclose(images, (padded / 255 - mean[:, None, None]) / std[:, None, None], atol=1e-6)
    assert np.concatenate([labels.numpy() for _, labels in batches]).tolist() == list(range(10))
    assert {str(labels.dtype) for _, labels in batches} == {"int64"}


def test_loader_scales_images_to_0_to_1_by_default():
    images, _ = next(iter(DataLoader(ImageDataset(np.array([[[0, 255]]], np.uint8), [0]), pad=1)))
    np.testing.assert_allclose(images.numpy(), [[[[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]]], rtol=1e-6)
    assert not np.signbit(images.numpy()).any()


def test_loader_normalizes_a_subset_of_a_subset_of_mnist():
    digits = MNIST(train=False)
    part = Subset(Subset(digits, range(100, 200)), [5, 50])
    images, labels = next(iter(DataLoader(part, 2, normalize=(0.1307, 0.3081))))
    assert images.shape == (2, 1, 28, 28)
    expected = (digits.images[[105, 150]] / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(images.numpy()[:, 0], expected, atol=1e-6)
    assert labels.tolist() == digits.labels[[105, 150]].tolist()


def test_loader_gives_the_samples_of_the_image_dataset():
    dataset = image_dataset(6, channels=2)
    images, labels = next(iter(DataLoader(dataset, 6)))
    for i in range(6):
        np.testing.assert_allclose(images.numpy()[i], dataset[i][0], atol=1e-7)
        assert labels[i].item() == dataset[i][1]


def test_loader_calls_an_overridden_getitem():
    class Inverted(ImageDataset):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return 1 - image, label

    dataset = Inverted(np.zeros((3, 2, 2), np.uint8), [0, 1, 2])
    for source in (dataset, Subset(dataset, [2, 1])):
        assert all((images.numpy() == 1).all() for images, _ in DataLoader(source, 2))


def test_image_dataset_takes_strided_and_memory_mapped_images(tmp_path):
    mapped = np.memmap(tmp_path / "images", np.uint8, "w+", shape=(4, 6, 5))
    mapped[...] = np.arange(120).reshape(4, 6, 5)
    for source in (mapped, mapped[::2, ::-1]):
        images, _ = next(iter(DataLoader(ImageDataset(source, range(len(source))), 4)))
        np.testing.assert_allclose(images.numpy()[:, 0] * 255, source, rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_loader_gives_the_rows_of_a_tensor_dataset(device):
    x, y = mg.tensor(np.random.default_rng(0).normal(size=(7, 2, 3))), mg.tensor(np.arange(7))
    batches = list(DataLoader(TensorDataset(x, y), 3, shuffle=True, seed=5, device=device))
    rows = np.concatenate([labels.numpy() for _, labels in batches])
    assert sorted(rows) == list(range(7))
    np.testing.assert_array_equal(np.concatenate([xs.numpy() for xs, _ in batches]), x.numpy()[rows])
    assert all(xs.device == device and xs.dtype == mg.float64 for xs, _ in batches)
    assert batches[0][0].array.transpose(1, 2, 0).flags.c_contiguous


def test_batches_do_not_share_memory():
    for dataset in (image_dataset(6), TensorDataset(mg.tensor(np.ones((6, 2)))), Numbers(6)):
        held = [batch if isinstance(batch, mg.Tensor) else batch[0] for batch in DataLoader(dataset, 2)]
        assert not any(np.shares_memory(a.array, b.array) for a in held for b in held if a is not b)


def test_collate_fn_gets_a_list_of_samples():
    assert list(DataLoader(Numbers(5), 2, collate_fn=tuple)) == [(0, 1), (2, 3), (4,)]


def test_loader_takes_a_list():
    assert samples_of(DataLoader([10, 20, 30], 2)) == [10, 20, 30]


def test_default_collate_stacks_arrays_numbers_and_tensors():
    samples = [(np.full((2, 3), i, np.float32), (i, 0.5), mg.tensor([i, i])) for i in range(4)]
    arrays, (whole, parts), tensors = default_collate(samples, "numpy")
    assert (arrays.shape, arrays.dtype, arrays.device) == ((4, 2, 3), mg.float32, "numpy")
    assert arrays.array.transpose(1, 2, 0).flags.c_contiguous
    assert (whole.tolist(), whole.dtype) == ([0, 1, 2, 3], mg.int64)
    assert (parts.tolist(), parts.dtype) == ([0.5] * 4, mg.float64)
    assert tensors.tolist() == [[i, i] for i in range(4)]


@pytest.mark.parametrize(
    "samples, dtype",
    [
        ([0.5, 2], mg.float64),
        ([1, 2], mg.int64),
        ([True, False], mg.bool),
        ([np.float64(0.5)], mg.float64),
        ([np.float32(0.5)], mg.float32),
        ([np.int32(1)], mg.int32),
        ([np.zeros(2)], mg.float64),
        ([np.zeros(2, "f4"), np.zeros(2)], mg.float64),
        ([np.zeros(2, "f4"), np.zeros(2, int)], mg.float32),
        ([mg.tensor(1), mg.tensor(0.5)], mg.float32),
    ],
    ids=str,
)
def test_default_collate_gives_the_dtypes_of_pytorch(samples, dtype):
    assert default_collate(samples).dtype == dtype
    assert next(iter(DataLoader(samples, len(samples)))).dtype == dtype


def test_default_collate_refuses_samples_of_different_shapes_or_lengths():
    with pytest.raises(ShapeError, match=r"^default_collate: .* have shapes \(2,\) and \(3,\); make them equal, or"):
        default_collate([np.zeros(2), np.zeros(3)])
    with pytest.raises(ShapeError, match="^default_collate: samples of one batch have lengths 2 and 1; make them"):
        default_collate([(1, 2), (3,)])


# ---- order


@given(seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 10**6))
def test_order_depends_only_on_seed_and_epoch(seed, epoch):
    first = DataLoader(Numbers(20), 3, True, seed=seed, prefetch=0)
    again = DataLoader(TensorDataset(mg.tensor(np.arange(20))), 7, True, seed=seed, prefetch=2)
    first.epoch = again.epoch = epoch
    for _ in range(2):
        assert samples_of(first) == [number for (batch,) in again for number in batch.tolist()]
    assert first.epoch == again.epoch == epoch + 2


def test_order_differs_between_epochs_and_seeds():
    orders = [samples_of(loader) for seed in (0, 1) for loader in [DataLoader(Numbers(50), 5, True, seed=seed)] * 3]
    assert len(set(map(tuple, orders))) == 6


def test_manual_seed_fixes_the_order():
    def order():
        manual_seed(3)
        return samples_of(DataLoader(Numbers(50), 5, True))

    assert order() == order()


def test_a_loader_without_shuffle_draws_no_seed():
    draws = []
    for shuffle in (False, True):
        manual_seed(3)
        DataLoader(Numbers(5), shuffle=shuffle)
        draws.append(generator().integers(2**63))
    manual_seed(3)
    assert draws[0] == generator().integers(2**63) != draws[1]


def test_two_iterators_of_a_loader_are_independent():
    loader = DataLoader(Numbers(20), 1, True, seed=0)
    pairs = [(a.item(), b.item()) for a, b in zip(loader, loader, strict=True)]
    again = DataLoader(Numbers(20), 1, True, seed=0)
    assert [a for a, _ in pairs] == samples_of(again) and [b for _, b in pairs] == samples_of(again)


# ---- random numbers


class Noisy(Numbers):
    """Samples of random numbers from every random function."""

    def __getitem__(self, index):
        super().__getitem__(index)
        dropped = F.dropout(mg.ones(4), 0.5)
        return index, mg.rand(2), mg.randn(2), mg.randint(0, 99, (2,)), mg.randperm(3), dropped


def collate_with_noise(samples):
    """Collate samples and add a random number and the seed."""
    return default_collate(samples), mg.rand(1), mg.initial_seed()


def run_epochs(loader, n=1):
    """Return all batches of n epochs, as a string."""
    return repr([list(loader) for _ in range(n)])


@pytest.mark.parametrize("collate_fn", [None, collate_with_noise])
@pytest.mark.parametrize("shuffle", [False, True])
def test_random_numbers_of_samples_do_not_depend_on_prefetch(shuffle, collate_fn):
    def run(prefetch):
        manual_seed(3)
        loader = DataLoader(Noisy(11), 3, shuffle, prefetch=prefetch, collate_fn=collate_fn)
        return run_epochs(loader, 2)

    expected = run(0)
    assert [run(prefetch) for prefetch in (0, 1, 1, 2, 20)] == [expected] * 5


def test_random_numbers_of_samples_differ_between_batches_epochs_seeds_and_loaders():
    class Draws(Numbers):
        def __getitem__(self, index):
            return mg.rand(1)

    manual_seed(3)
    loaders = [DataLoader(Draws(6), 2), DataLoader(Draws(6), 2), DataLoader(Draws(6), 2, True)]
    loaders += [DataLoader(Draws(6), 2, seed=seed) for seed in (0, 1)]
    drawn = [value for loader in loaders for _ in range(2) for batch in loader for value in batch.flatten().tolist()]
    assert len(set(drawn)) == len(drawn) == 5 * 2 * 6


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_random_numbers_of_samples_depend_only_on_seed_and_epoch(prefetch):
    manual_seed(1)
    loader = DataLoader(Noisy(7), 2, True, seed=5, prefetch=prefetch)
    run_epochs(loader, 2)
    third = run_epochs(loader)
    manual_seed(2)
    again = DataLoader(Noisy(7), 2, True, seed=5)
    again.epoch = 2
    assert run_epochs(again) == third


def test_random_numbers_of_samples_are_the_documented_ones():
    """These numbers must stay the same in later versions, so that a run can be resumed."""

    class Draws(Numbers):
        def __getitem__(self, index):
            return mg.rand(1, dtype=mg.float64), str(mg.initial_seed())

    ((values, seeds),) = DataLoader(Draws(2), 2, seed=5)
    assert seeds == ["18074882946671919669", "1952936728445087881"]
    assert values.flatten().tolist() == [0.5939065172822876, 0.8956343632032837]
    for seed, value in zip(seeds, values, strict=True):
        manual_seed(int(seed))
        assert mg.rand(1, dtype=mg.float64).item() == value.item()


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_random_numbers_of_samples_do_not_affect_those_of_the_caller(prefetch):
    def run(loaders):
        manual_seed(3)
        made, drawn = [DataLoader(Noisy(8), 2, prefetch=prefetch) for _ in range(loaders)], []
        for _ in zip(range(4), *made):  # noqa: B905
            drawn.append((mg.rand(2).tolist(), F.dropout(mg.ones(9), 0.5).tolist(), mg.initial_seed()))
        return drawn

    assert run(0) == run(1) == run(2)
    assert run(1)[0][2] == 3


def test_random_numbers_of_two_loaders_do_not_affect_each_other():
    def make():
        return [DataLoader(Noisy(8), 2, seed=seed, prefetch=prefetch) for seed, prefetch in ((1, 2), (2, 1), (3, 0))]

    alone = [list(loader) for loader in make()]
    together = list(zip(*zip(*make(), strict=True), strict=True))
    assert repr(alone) == repr([list(batches) for batches in together])


def test_manual_seed_in_a_sample_affects_the_rest_of_the_sample_only():
    class Seeding(Numbers):
        def __getitem__(self, index):
            first = mg.rand(1)
            if index == 1:
                manual_seed(100)
            return mg.cat([first, mg.rand(1)])

    def run(prefetch):
        manual_seed(3)
        batches = [batch.tolist() for batch in DataLoader(Seeding(6), 3, prefetch=prefetch)]
        return batches, mg.initial_seed(), mg.rand(1).item()

    expected = run(0)
    assert run(1) == run(2) == expected
    manual_seed(100)
    assert expected[0][0][1][1] == mg.rand(1).item()
    assert len({number for batch in expected[0] for pair in batch for number in pair}) == 12
    manual_seed(3)
    assert expected[1:] == (3, mg.rand(1).item())


def test_a_recorded_function_in_a_sample_draws_the_random_numbers_of_the_loader():
    @mg.graph
    def half(x):
        return F.dropout(x, 0.5)

    half(mg.ones(20))

    class Halved(Numbers):
        def __getitem__(self, index):
            return half(mg.ones(20))

    assert run_epochs(DataLoader(Halved(4), 2, seed=1)) == run_epochs(DataLoader(Halved(4), 2, seed=1, prefetch=0))


def test_samples_are_made_with_the_grad_mode_of_the_caller():
    def recording(samples):
        return mg.is_grad_enabled()

    for prefetch in (0, 2):
        loader = DataLoader(Numbers(4), 2, prefetch=prefetch, collate_fn=recording)
        assert list(loader) == [True, True]
        with mg.no_grad():
            assert list(loader) == [False, False]


# ---- the thread that prepares batches


def test_prefetch_limits_the_number_of_batches_made_ahead(monkeypatch):
    dataset, asked, submit = Numbers(20), [], ThreadPoolExecutor.submit
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda *job: (asked.append(job), submit(*job))[1])
    iterator = iter(DataLoader(dataset, 2, prefetch=3))
    assert next(iterator).tolist() == [0, 1]
    wait_until(lambda: len(dataset.seen) == 8)
    assert len(asked) == 4  # the thread runs only the jobs that were submitted


def test_prefetch_0_starts_no_thread():
    wait_until(lambda: not loader_threads())  # those of earlier tests
    dataset = Numbers(4)
    iterator = iter(DataLoader(dataset, 2, prefetch=0))
    next(iterator)
    assert dataset.seen == [0, 1] and not loader_threads()


def test_break_ends_the_thread():
    loader = DataLoader(image_dataset(100), 2, prefetch=2)
    for _ in loader:
        break
    wait_until(lambda: not loader_threads())
    assert sum(len(labels) for _, labels in loader) == 100
    wait_until(lambda: not loader_threads())


def test_deleting_an_iterator_ends_the_thread():
    loader = DataLoader(Numbers(100), 2)
    iterator, unused = iter(loader), iter(loader)
    next(iterator)
    del iterator, unused
    gc.collect()
    wait_until(lambda: not loader_threads())


def test_break_does_not_wait_for_a_slow_sample():
    released = threading.Event()

    class Slow(Numbers):
        def __getitem__(self, index):
            if index:
                released.wait()
            return index

    for _ in DataLoader(Slow(10)):
        break
    assert loader_threads() and not released.is_set()
    released.set()
    wait_until(lambda: not loader_threads())


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_in_a_sample_is_raised_at_its_batch(prefetch):
    seen = []
    with pytest.raises(OSError, match="^sample 5 is on fire$"):
        for batch in DataLoader(Numbers(10, broken=5), 2, prefetch=prefetch):
            seen.append(batch.tolist())
    assert seen == [[0, 1], [2, 3]]
    wait_until(lambda: not loader_threads())


class Broken(Numbers):
    """A dataset that raises an error at one sample."""

    def __init__(self, n, error, at=2):
        super().__init__(n)
        self.error, self.at = error, at

    def __getitem__(self, index):
        if index == self.at:
            raise self.error
        return super().__getitem__(index)


def broken_collate(samples):
    """Raise StopIteration."""
    return next(iter([]))


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_stop_iteration_in_a_sample_or_collate_fn_is_an_error_and_not_the_end(prefetch):
    iterator, seen = iter(DataLoader(Broken(8, StopIteration("empty")), 2, prefetch=prefetch)), []
    with pytest.raises(LoaderError, match="^DataLoader: __getitem__ or collate_fn raised StopIteration in batch 1"):
        for batch in iterator:
            seen.append(batch.tolist())
    assert seen == [[0, 1]]
    assert [batch.tolist() for batch in iterator] == [[4, 5], [6, 7]]
    with pytest.raises(RuntimeError, match="StopIteration in batch 0") as caught:
        list(DataLoader(Numbers(4), prefetch=prefetch, collate_fn=broken_collate))
    assert isinstance(caught.value.__cause__, StopIteration)
    assert "broken_collate" in "".join(traceback.format_exception(caught.value))


class OddError(Exception):
    """An error that minigrad does not know."""


@pytest.mark.parametrize("error", [OddError, IndexError, StopAsyncIteration, GeneratorExit, KeyboardInterrupt])
@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_errors_of_samples_keep_their_type_and_the_next_batch_follows(prefetch, error):
    iterator = iter(DataLoader(Broken(6, error("at 2")), 2, prefetch=prefetch))
    assert next(iterator).tolist() == [0, 1]
    with pytest.raises(error) as caught:
        next(iterator)
    assert caught.value.args == ("at 2",)
    assert "__getitem__" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert next(iterator).tolist() == [4, 5]
    assert [next(iterator, "end") for _ in range(3)] == ["end"] * 3


def test_keyboard_interrupt_loses_no_batch(monkeypatch):
    """The caller presses Ctrl-C while it waits for the thread."""
    wait = concurrent.futures.Future.exception

    def interrupted(self, timeout=None):
        monkeypatch.setattr(concurrent.futures.Future, "exception", wait)
        raise KeyboardInterrupt

    iterator = iter(DataLoader(Numbers(6), 2))
    assert next(iterator).tolist() == [0, 1]
    monkeypatch.setattr(concurrent.futures.Future, "exception", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    assert [batch.tolist() for batch in iterator] == [[2, 3], [4, 5]]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_recorded_function_refuses_to_read_a_loader(prefetch):
    iterator = iter(DataLoader([1.0, 2.0], prefetch=prefetch))
    with pytest.raises(GraphError, match="^graph: iterating over a DataLoader inside a recorded function"):
        mg.graph(lambda: next(iterator))()


@pytest.mark.parametrize("prefetch", [0, 1])
def test_loader_follows_a_dataset_that_grows_shrinks_or_is_replaced(prefetch):
    dataset = list(range(5))
    loader = DataLoader(dataset, 2, prefetch=prefetch)
    assert (len(loader), samples_of(loader)) == (3, [0, 1, 2, 3, 4])
    dataset += [5, 6]
    assert (len(loader), samples_of(loader)) == (4, [0, 1, 2, 3, 4, 5, 6])
    del dataset[1:]
    assert (len(loader), samples_of(loader)) == (1, [0])
    images = image_dataset(4)
    loader = DataLoader(Subset(images, [0, 2]), 2, prefetch=prefetch)
    list(loader)
    images.images = 255 - images.images
    ((batch, _),) = loader
    np.testing.assert_allclose(batch.numpy(), images.images[[0, 2]] / 255, rtol=1e-6)
    loader.dataset = Subset(images, [3])
    assert [labels.tolist() for _, labels in loader] == [[3]]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_iterator_refuses_to_be_used_after_a_fork():
    iterator = iter(DataLoader(Numbers(50), 5))
    next(iterator)

    def child():
        with pytest.raises(LoaderError, match=r"^DataLoader: this iterator belongs to process \d+, .*; make a new"):
            next(iterator)
        sys.exit(17)

    process = multiprocessing.get_context("fork").Process(target=child, daemon=True)
    process.start()
    process.join(timeout=10)
    assert process.exitcode == 17


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_loader_works_after_a_fork():
    loader = DataLoader(image_dataset(50), 5)
    assert len(list(loader)) == 10
    gc.collect()  # iterators that the errors of earlier tests refer to
    wait_until(lambda: not loader_threads())
    child = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(len(list(loader))), daemon=True)
    child.start()
    child.join()
    assert child.exitcode == 10


# ---- random_split, Subset, iteration


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_random_split_gives_every_sample_to_one_part(lengths, seed):
    parts = random_split(Numbers(sum(lengths)), lengths, seed=seed)
    assert [len(part) for part in parts] == lengths
    assert sorted(sample for part in parts for sample in part) == list(range(sum(lengths)))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 60), st.integers(0, 99))
def test_stratified_random_split_keeps_the_shares_of_the_classes(labels, first, seed):
    n, labels = len(labels), np.array(labels)
    first = min(first, n)
    parts = random_split(TensorDataset(labels), [first, n - first], seed=seed, stratify=labels)
    assert sorted(np.concatenate([part.indices for part in parts])) == list(range(n))
    for label in np.unique(labels):
        assert abs((labels[parts[0].indices] == label).sum() - (labels == label).sum() * first / n) <= 1.5
    again = random_split(image_dataset(n), [first, n - first], seed=seed, stratify=labels)
    np.testing.assert_array_equal(again[0].indices, parts[0].indices)


def test_stratified_random_split_finds_the_labels_of_a_data_set():
    images = ImageDataset(np.zeros((30, 2, 2), np.uint8), np.arange(30) // 10)
    for dataset, counts in [(images, [5] * 3), (Subset(images, range(20)), [5, 5, 0]), (images + images, [10] * 3)]:
        half = random_split(dataset, [0.5, 0.5], seed=0, stratify=True)[0]
        assert np.bincount([label for _, label in half], minlength=3).tolist() == counts
    with pytest.raises(ValidationError, match=r"^random_split: a Numbers has no .targets or .labels; give the label"):
        random_split(Numbers(4), [2, 2], stratify=True)
    with pytest.raises(ShapeError, match=r"^random_split: stratify has shape \(3,\) for 4 samples; give each sample"):
        random_split(Numbers(4), [2, 2], stratify=[0, 1, 1])


@pytest.mark.parametrize("as_images", [False, True])
def test_mean_and_std_are_those_of_all_pixels(as_images):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 2), np.uint8)
    numbers = pixels / np.float32(255)
    dataset = ImageDataset(pixels, range(5)) if as_images else [(mg.tensor(image), 0) for image in numbers]
    mean, std = mean_and_std(dataset)
    np.testing.assert_allclose(mean, numbers.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std, numbers.std((0, 2, 3)), rtol=1e-6)


def test_mean_and_std_of_bytes_are_those_of_numbers():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 1, 4, 4), np.uint8)
    expected = mean_and_std(ImageDataset(pixels, range(3)))
    np.testing.assert_allclose(mean_and_std([mg.tensor(image) for image in pixels]), expected, rtol=1e-6)


def test_mean_and_std_refuse_images_that_differ():
    with pytest.raises(ShapeError, match=r"^mean_and_std: image 1 has shape \(1, 2, 2\), expected \(C, H, W\) with as"):
        mean_and_std([np.zeros((3, 2, 2)), np.zeros((1, 2, 2))])
    with pytest.raises(ValidationError, match="^mean_and_std: the data set has 0 samples, expected 1 or more"):
        mean_and_std([])


def test_image_dataset_gives_pictures_to_its_transform():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), np.uint8)
    dataset = ImageDataset(pixels, [4, 5], lambda picture: picture.transpose(0), lambda label: -label)
    picture, label = dataset[1]
    assert (picture.mode, picture.size, label) == ("RGB", (5, 4), -5)
    np.testing.assert_array_equal(np.asarray(picture), pixels[1].transpose(1, 2, 0)[:, ::-1])
    grey = ImageDataset(pixels[:, 0], [4, 5], np.asarray)
    np.testing.assert_array_equal(next(iter(DataLoader(grey, 2)))[0].numpy(), pixels[:, 0])
    with pytest.raises(ShapeError, match="^ImageDataset: an image of 2 channels is no PIL image, which has 1, 3 or 4"):
        ImageDataset(pixels[:, :2], [4, 5], np.asarray)[0]
    with pytest.raises(ShapeError, match=r"^ImageDataset: images \(2, 8, 9, 3\) look like \(N, H, W, C\), which would"):
        ImageDataset(np.zeros((2, 8, 9, 3), np.uint8), [4, 5])
    with pytest.raises(ShapeError, match=r"^ImageDataset: images have 2 sizes, as \(2, 2\) and \(3, 2\); make them"):
        ImageDataset([np.zeros((2, 2), np.uint8), np.zeros((3, 2), np.uint8)], [4, 5])


def test_random_split_takes_fractions_and_follows_its_seed():
    assert [len(part) for part in random_split(Numbers(11), [0.5, 0.25, 0.25], seed=1)] == [6, 3, 2]
    same, other = (list(random_split(Numbers(30), [0.5, 0.5], seed=seed)[0]) for seed in (1, 2))
    assert list(random_split(Numbers(30), [0.5, 0.5], seed=1)[0]) == same != other


@pytest.mark.parametrize("lengths", [[], [4, 5], [-1, 11], [0.5, 0.4], [1.5, -0.5]])
def test_random_split_refuses_lengths_that_do_not_add_up(lengths):
    message = (
        "^random_split: lengths .* add up to .*; use lengths of 0 or more that add up to 10 samples, or shares that"
    )
    with pytest.raises(ValidationError, match=message):
        random_split(Numbers(10), lengths)


def test_subset_refuses_indices_out_of_range_or_not_whole():
    with pytest.raises(ValidationError, match="^Subset: index 10 is out of range for 10 samples; use 0 to 9$"):
        Subset(Numbers(10), [0, 10])
    with pytest.raises(
        DtypeError, match=r"^Subset: indices are float64 \(1,\), expected whole numbers \(N,\); give a list"
    ):
        Subset(Numbers(10), [0.5])
    assert list(Subset(Numbers(10), [])) == []


def test_iteration_over_datasets_ends():
    assert [label for _, label in image_dataset(3)] == [0, 1, 2]
    assert [label.item() for (label,) in TensorDataset(mg.tensor([4, 5]))] == [4, 5]
    assert list(Subset(Numbers(10), [7, 2])) == [7, 2]
    assert list(Numbers(3)) == [0, 1, 2]


@pytest.mark.parametrize(("error", "seen"), [(IndexError, IndexError), (StopIteration, RuntimeError)])
def test_an_error_in_a_sample_does_not_end_the_iteration_silently(error, seen):
    for dataset in (Broken(5, error("at 2")), Subset(Broken(5, error("at 2")), [1, 2])):
        with pytest.raises(seen):
            list(dataset)


# ---- refused arguments


def test_dataset_names_a_missing_method():
    class Empty(Dataset):
        pass

    with pytest.raises(
        NotImplementedError, match="^Empty: __len__ is missing; define it to return the number of samples$"
    ):
        len(Empty())
    with pytest.raises(NotImplementedError, match="^Empty: __getitem__ is missing; define it to return a sample$"):
        Empty()[0]


def test_image_dataset_refuses_other_dtypes_and_shapes():
    images = np.zeros((3, 2, 2), np.uint8)
    with pytest.raises(DtypeError, match="^ImageDataset: images are float64, expected uint8; use TensorDataset$"):
        ImageDataset(images.astype(float), [0, 1, 2])
    with pytest.raises(DtypeError, match="^ImageDataset: labels are float64, expected whole numbers; number the"):
        ImageDataset(images, [0.0, 1.0, 2.0])
    with pytest.raises(ShapeError, match=r"^ImageDataset: images have 2 dimensions \(3, 4\), expected 3 .* reshape"):
        ImageDataset(images.reshape(3, 4), [0, 1, 2])
    with pytest.raises(
        ShapeError, match=r"^ImageDataset: labels have shape \(2,\) for 3 images; give each image a label"
    ):
        ImageDataset(images, [0, 1])


def test_tensor_dataset_refuses_tensors_of_different_lengths():
    with pytest.raises(
        ShapeError, match=r"^TensorDataset: shapes \(2,\), \(3,\) do not have the same number of rows; make"
    ):
        TensorDataset(mg.tensor([1, 2]), mg.tensor([1, 2, 3]))
    with pytest.raises(ShapeError, match=r"^TensorDataset: shapes \(\) do not have"):
        TensorDataset(mg.tensor(1))
    with pytest.raises(ValidationError, match="^TensorDataset: no tensors; give at least one$"):
        TensorDataset()


@pytest.mark.parametrize(
    "setting, error, message",
    [
        ({"batch_size": 0}, ValidationError, "batch_size is 0; use a whole number of 1 or more$"),
        ({"batch_size": 2.0}, ValidationError, "batch_size is 2.0; use a whole number of 1 or more$"),
        ({"batch_size": True}, ValidationError, "batch_size is True; use a whole number of 1 or more$"),
        ({"prefetch": -1}, ValidationError, "prefetch is -1; use a whole number of 0 or more$"),
        ({"pad": -1}, ValidationError, "pad is -1; use a whole number of 0 or more$"),
        ({"seed": -1}, ValidationError, r"seed is -1; use a whole number from 0 to 2\*\*64 - 1$"),
        ({"seed": 0.5}, ValidationError, "seed is 0.5; use a whole number"),
        ({"dtype": "colour"}, DtypeError, "'colour' is neither a dtype"),
        ({"dtype": np.int64}, DtypeError, "dtype is int64; use float32 or float64$"),
        (
            {"normalize": (0.5, 0)},
            ValidationError,
            r"normalize has mean \[0.5 0.5\] and std \[0. 0.\]; use a finite mean",
        ),
        (
            {"normalize": (np.nan, 1)},
            ValidationError,
            r"normalize has mean \[nan nan\] and std \[1. 1.\]; use a finite",
        ),
        (
            {"normalize": 0.5},
            ValidationError,
            r"normalize is 0.5 for images of 2 channels; give \(mean, std\), each one",
        ),
        (
            {"normalize": ([1, 2, 3], 1)},
            ValidationError,
            r"normalize is \(\[1, 2, 3\], 1\) for images of 2 channels; give",
        ),
    ],
)
def test_loader_refuses_arguments_out_of_range(setting, error, message):
    with pytest.raises(error, match=f"^DataLoader: {message}"):
        DataLoader(image_dataset(4, channels=2), **setting)


@pytest.mark.parametrize("setting", [{"normalize": np.ones(2)}, {"pad": 1}, {"dtype": mg.float64}])
@pytest.mark.parametrize("dataset", [Numbers(3), TensorDataset(mg.tensor([1.0]))])
def test_loader_refuses_image_arguments_for_other_samples(dataset, setting):
    with pytest.raises(ValidationError, match=f"^DataLoader: .*, not to these samples of {type(dataset).__name__}; do"):
        DataLoader(dataset, **setting)


def test_loader_refuses_a_generator_an_empty_dataset_and_an_unknown_device():
    with pytest.raises(
        DtypeError, match="^DataLoader: dataset is a generator without __len__ or __getitem__; give a Dataset or a"
    ):
        DataLoader(number for number in range(3))
    with pytest.raises(
        ValidationError, match="^DataLoader: the data set has 0 samples, expected 1 or more; check how it was"
    ):
        DataLoader([])
    with pytest.raises(DeviceError, match="^device .tpu. is unknown"):
        DataLoader(Numbers(3), device="tpu")


def test_epoch_below_0_is_refused():
    loader = DataLoader(Numbers(3))
    with pytest.raises(ValidationError, match="^DataLoader: epoch is -1; use a whole number of 0 or more$"):
        loader.epoch = -1


# ---- transforms of whole batches


def changing(*more):
    steps = [transforms.RandomAffine(20, (0.1, 0.1), (0.8, 1.2)), transforms.RandomCrop(6, padding=1)]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(0.3, 0.5), *more])


@pytest.mark.parametrize("settings", [{}, {"num_workers": 3}, {"prefetch": 0}])
def test_a_transform_of_whole_batches_gives_the_samples_of_getitem(settings):
    """A transform that is not planned is applied image by image, with the same random numbers."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    several, single = (
        DataLoader(
            Subset(ImageDataset(pixels, range(20), transform), range(3, 18)), 4, shuffle=True, seed=9, **settings
        )
        for transform in (changing(), changing(lambda image: image))
    )
    for _ in range(2):
        for (images, labels), (expected, same) in zip(several, single, strict=True):
            np.testing.assert_array_equal(labels.numpy(), same.numpy())
            np.testing.assert_allclose(images.numpy(), expected.numpy(), rtol=0, atol=1e-6)
    assert several._read.__name__ == "read" and not hasattr(single._read, "__name__")  # a partial


def test_loader_follows_a_new_transform():
    dataset = ImageDataset(np.full((2, 4, 4), 255, np.uint8), [0, 1], transforms.ToTensor())
    loader = DataLoader(dataset, 2)
    assert next(iter(loader))[0].max().item() == 1
    dataset.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0, 0.5)])
    assert next(iter(loader))[0].max().item() == 2
    dataset.transform.transforms.append(transforms.Normalize(1, 0.5))
    np.testing.assert_allclose(next(iter(loader))[0].numpy(), 2, rtol=1e-6)
    dataset.transform.transforms.append(lambda image: -image)
    np.testing.assert_allclose(next(iter(loader))[0].numpy(), -2, rtol=1e-6)


@pytest.mark.parametrize(
    "transform", [None, transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()])]
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_image_folder_of_one_size_is_read_as_bytes(tmp_path, transform, mode):
    random = np.random.default_rng(0)
    for number in range(6):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (7, 9, 3), np.uint8)).save(folder / f"{number}.png")
    folder = datasets.ImageFolder(tmp_path, transform, size=5, mode=mode)
    settings = {} if transform else {"normalize": (0.5, 0.25), "pad": 1}
    images, labels = next(iter(DataLoader(folder, 6, seed=1, **settings)))
    expected, same = next(iter(DataLoader(folder, 6, seed=1, collate_fn=default_collate)))
    if transform is None:
        expected = (np.pad(expected.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1))) - 0.5) / 0.25
    np.testing.assert_allclose(images.numpy(), np.asarray(expected), rtol=0, atol=1e-5)
    assert labels.tolist() == same.tolist() == [0, 0, 0, 1, 1, 1]


# ---- parts of batches, for ranks that train together


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize(
    "settings", [{"shuffle": True}, {"sampler": [0, 1, 1, 1, 5, 5, 9, 3, 2, 2]}, {"num_workers": 2}]
)
def test_parts_have_the_samples_and_random_numbers_of_the_whole_batch(ranks, settings):
    class Noisy(Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, index):
            return index + mg.rand(())

    whole = list(DataLoader(Noisy(), 4, seed=3, **settings).iterate_from(1))
    parts = [list(DataLoader(Noisy(), 4, seed=3, **settings).iterate_part(1, rank, ranks)) for rank in range(ranks)]
    for batch, found in zip(whole, zip(*parts, strict=True), strict=True):
        assert len({check for _, _, check in found}) == 1
        row = [part[:2] for part in found]
        kept = [part.numpy() for part, share in row if share]
        np.testing.assert_array_equal(np.concatenate(kept), batch.numpy())
        for part, share in row:
            assert share == pytest.approx(len(part) * ranks / len(batch) if share else 0)
            assert share or part.tolist() == batch[:1].tolist()
        assert sum(share for _, share in row) == pytest.approx(ranks)


def test_parts_of_images_in_memory_are_those_of_the_whole_batch():
    digits = Subset(MNIST(train=False), range(9))
    loaders = [DataLoader(digits, 4, shuffle=True, seed=1, normalize=(0.5, 0.5)) for _ in range(3)]
    whole, *parts = list(loaders[0]), *(list(loaders[1 + rank].iterate_part(0, rank, 2)) for rank in range(2))
    for (images, labels), *row in zip(whole, *parts, strict=True):
        kept = [(part, share) for part, share, _ in row if share]
        np.testing.assert_array_equal(np.concatenate([x.numpy() for (x, _), _ in kept]), images.numpy())
        np.testing.assert_array_equal(np.concatenate([y.numpy() for (_, y), _ in kept]), labels.numpy())


def test_a_stream_has_no_parts():
    class Numbers(IterableDataset):
        def __iter__(self):
            return iter([mg.zeros(2)])

    with pytest.raises(ValidationError, match="^DataLoader: an IterableDataset has no parts; make one for each rank"):
        DataLoader(Numbers(), 1).iterate_part(0, 0, 2)
