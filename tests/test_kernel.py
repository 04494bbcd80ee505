"""Kernels: arguments of every kind, elementwise loops, register tiles, batch-innermost memory."""

import itertools

import numpy as np
import pytest
from cases import LAYOUTS, draw_broadcastable_shapes, laid_out, sizes
from hypothesis import given, strategies as st

import minigrad as mg
from minigrad import ops
from minigrad.ops.matmul import gemm
from minigrad.runtime import memory, tile, turn
from minigrad.runtime.elementwise import Elementwise
from minigrad.runtime.kernel import (
    Array1,
    Array2,
    Array3,
    Array4,
    ArrayList,
    Bytes,
    Ints,
    Memory,
    Shorts,
    Tile,
    get_array,
    kernel,
)

FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")


@kernel
def doubled(task, x: Array1, out: Array1):
    """Twice x."""
    out[task] = x[task] + x[task]


# ---- arguments and tasks


@kernel
def use_all_arguments(
    task, a: Array1, b: Array2, c: Array3, d: Array4, m: Memory, numbers: Ints, bits: Bytes, shorts: Shorts,
    rows: ArrayList, scale: float, step, out: Array2,
):  # fmt: skip
    """Use the shape and an element of an argument of every kind."""
    M, N = b.shape
    P, Q, R, S = d.shape
    total = a[task] + b[task, N - 1] + c[0, task, c.shape[2] - 1] + d[P - 1, 0, task, S - 1] + m[task]
    total += get_array(rows, 0)[task] * get_array(rows, 1)[get_array(rows, 1).shape[0] - 1]
    out[task, 0] = scale * total
    out[task, step] = numbers[task] + bits[task] + shorts[task]


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_a_kernel_takes_arguments_of_every_kind(dtype):
    random = np.random.default_rng(0)
    a, b, c, d = (random.normal(size=shape).astype(dtype) for shape in ((3,), (3, 2), (2, 3, 4), (2, 1, 3, 5)))
    m = np.asfortranarray(random.normal(size=(3, 2)).astype(dtype))  # read in the order of memory
    rows = [random.normal(size=4).astype(dtype), random.normal(size=(2, 3)).astype(dtype)]
    numbers, bits, shorts = (
        np.array([-(2**40), 5, 6]),
        np.array([1, 255, 3], np.uint8),
        np.array([65535, 1, 2], np.uint16),
    )
    out = np.zeros((3, 2), dtype)
    use_all_arguments(3, a, b, c, d, m, numbers, bits, shorts, ArrayList(rows), 0.5, 1, out)
    total = a + b[:, -1] + c[0, :, -1] + d[-1, 0, :, -1] + m[:, 0] + rows[0][:3] * rows[1][-1, -1]
    np.testing.assert_allclose(out[:, 0], 0.5 * total, rtol=1e-5 if dtype == FLOAT32 else 1e-12)
    np.testing.assert_allclose(out[:, 1], numbers + bits.astype(int) + shorts, rtol=1e-7)


def test_a_launch_of_0_tasks_does_nothing():
    out = np.full(2, 7, np.float32)
    doubled(0, out, out)
    assert out.tolist() == [7, 7]


def test_run_small_gives_the_result_of_a_launch():
    x = np.arange(1000, dtype=np.float32)
    out, again = np.empty_like(x), np.empty_like(x)
    doubled.run_small(1000, 1, x, out)
    doubled(1000, x, again)
    np.testing.assert_array_equal(out, again)
    np.testing.assert_array_equal(out, 2 * x)


def test_every_task_of_a_launch_runs_once():
    out = np.zeros(100_000, np.float64)
    add_one(len(out), out)
    assert (out == 1).all()


@kernel
def add_one(task, out: Array1):
    """Add 1 to an element."""
    out[task] += 1


# ---- elementwise kernels


def _square_minus(a, b):
    return a * a - b


def _choose(c, a, b):
    return a if c else b


square_minus, choose = Elementwise(_square_minus), Elementwise(_choose, (Bytes, Memory, Memory, Memory))
squared = Elementwise(lambda a: a * a)


@given(data=st.data())
def test_elementwise_takes_any_strides_and_broadcasts(data):
    first, second, third = draw_broadcastable_shapes(data.draw, 3)
    layout = st.sampled_from(LAYOUTS)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    a, b = (laid_out(random.normal(size=shape).astype("f4"), data.draw(layout)) for shape in (first, second))
    c = laid_out(random.normal(size=third) > 0, data.draw(layout)) if third else np.array(True)
    whole = np.broadcast_shapes(first, second)
    out = laid_out(np.zeros(whole, "f4"), data.draw(layout))
    square_minus(a, b, out)
    np.testing.assert_allclose(out, a * a - b, rtol=1e-5, atol=1e-6)
    out = laid_out(np.zeros(np.broadcast_shapes(whole, third), "f4"), data.draw(layout))
    choose(c, a, b, out)
    np.testing.assert_array_equal(out, np.where(c, a, b))


@pytest.mark.parametrize("shape", [(70_000,), (300, 301), (7, 5, 2000), (40_000, 2)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_elementwise_of_several_tasks(shape, layout):
    """With more elements than one task processes, tasks begin in the middle of rows."""
    x = laid_out(np.arange(np.prod(shape), dtype="f4").reshape(shape) % 1000, layout)
    out = np.empty_like(x)
    square_minus(x, x[..., :1], out)
    np.testing.assert_array_equal(out, x * x - x[..., :1])


def test_elementwise_writes_only_elements_of_its_output():
    memory = np.full((6, 8), np.nan, np.float32)
    out = memory[1:5:2, 1:7:3]
    square_minus(np.ones((2, 2), "f4"), np.float32(3), out)
    assert out.tolist() == [[-2, -2], [-2, -2]]
    assert np.isnan(memory).sum() == 48 - 4


@given(shape=st.lists(sizes | st.just(0), max_size=4), data=st.data())
def test_elementwise_of_empty_arrays_does_nothing(shape, data):
    x = laid_out(np.ones(shape, "f4"), data.draw(st.sampled_from(LAYOUTS)))
    out = np.empty_like(x)
    square_minus(x, x, out)
    assert not out.any()


# ---- tiles


@given(rows=st.integers(1, 40), width=st.integers(1, 300), dtype=st.sampled_from([FLOAT32, FLOAT64]))
def test_tile_choose_fits_the_output(rows, width, dtype):
    height, cols, vector = tile.choose_tile(rows, width, dtype)
    assert 1 <= height <= min(rows, tile.MAX_ROWS)
    assert 1 <= cols <= tile.MAX_COLS
    assert vector == tile.lanes(dtype) or width < 2 * vector < 2 * tile.lanes(dtype), "vectors are as wide as possible"
    assert cols * vector <= width, "the last block may overlap the one before it"


LANES = tile.lanes(FLOAT32)
NARROW = sorted({1, 2, LANES // 2, LANES - 1})


def array_between_guards(shape, fill=np.nan):
    """Return an array inside a larger buffer, and the parts of the buffer before and after it."""
    size, edge = int(np.prod(shape)), 64
    buffer = np.full(size + 2 * edge, fill, np.float32)
    return buffer[edge : edge + size].reshape(shape), (buffer[:edge], buffer[edge + size :])


@pytest.mark.parametrize(
    "M, N",
    [
        *itertools.product(range(1, 14), (3, LANES + 1)),  # every number of rows, narrow and whole vectors
        *itertools.product((4,), NARROW),  # every width of vectors
        *itertools.product((4,), (LANES, 2 * LANES, 2 * LANES + 1, 3 * LANES + 1, 4 * LANES, 9 * LANES - 1)),
        *itertools.product((33, 300), (600, 1024)),  # rows of b far apart
    ],
)
def test_gemm_writes_every_element_of_any_shape_and_no_other_memory(M, N):
    random = np.random.default_rng(0)
    (a, _), (b, _), (out, guards) = (array_between_guards(shape) for shape in ((M, 5), (5, N), (M, N)))
    a[...], b[...] = random.integers(-8, 8, a.shape), random.integers(-8, 8, b.shape)
    gemm(a, b, out)
    np.testing.assert_array_equal(out, a @ b)
    assert all(np.isnan(guard).all() for guard in guards)
    bias = random.integers(-8, 8, M).astype("f4")
    gemm(a, b, out, bias)
    np.testing.assert_array_equal(out, a @ b + bias[:, None])


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
@pytest.mark.parametrize(
    "layouts", [*itertools.product(("plain", "Fortran", "sliced", "reversed"), repeat=2)], ids="-".join
)
def test_matmul_takes_any_strides(layouts, dtype):
    random = np.random.default_rng(0)
    for M, K, N in ((4, 3, 17), (17, 40, 4), (6, 1, 6)):
        a, b = (
            laid_out(random.integers(-8, 8, shape).astype(dtype), layout)
            for shape, layout in zip(((M, K), (K, N)), layouts, strict=True)
        )
        np.testing.assert_array_equal(ops.matmul(mg.device("cpu"), a, b), a @ b)


@kernel
def write_tile_attributes(task, x: Array1, out: Array1, tile: Tile):
    """Write the attributes of the tile."""
    out[0], out[1], out[2], out[3] = tile.rows, tile.cols, tile.lanes, tile.width


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 2, 4)])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_a_kernel_reads_the_attributes_of_its_tile(dtype, shape):
    out = np.zeros(4, dtype)
    write_tile_attributes(1, out, out, shape)
    assert out.tolist() == [*shape, shape[1] * shape[2]]


# ---- batch-innermost memory


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 4), (17, 2, 3, 5)])
def test_batch_innermost_memory_and_its_views(shape):
    x = memory.empty_batch_innermost(shape, FLOAT32)
    assert x.shape == shape
    inside = memory.move_batch_last(x)
    assert inside.flags.c_contiguous and np.shares_memory(inside, x) == bool(x.size)
    assert memory.move_batch_first(inside).shape == shape
    plain = np.arange(x.size, dtype="f4").reshape(shape)
    np.testing.assert_array_equal(memory.move_batch_first(memory.move_batch_last(plain)), plain)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64, np.dtype("int64")])
@pytest.mark.parametrize(
    "shape", [(7, 1, 32, 32), (64, 3, 33, 31), (1100, 2), (2, 1100), (9, 130), (1, 3, 40, 50), (3, 4, 5, 60)]
)
def test_turned_copies(shape, dtype):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    for part in (x, x[::2], x[::-1], x[..., 1:], x[..., ::-1]):
        inside = turn.move_batch_last(part)
        assert inside.flags.c_contiguous
        np.testing.assert_array_equal(memory.move_batch_first(inside), part)
        np.testing.assert_array_equal(turn.contiguous(memory.move_batch_first(inside)), part)


@pytest.mark.parametrize("shape", [(5, 37, 41), (4, 7, 64), (2, 512, 3)])
def test_copies_of_several_turned_matrices(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("f4")
    for part in (x, x[::2], x[::-1], x[:, ::2], x[:, ::-1], x[:, :, 1:]):
        turned = part.transpose(0, 2, 1)
        made = turn.contiguous(turned)
        assert made.flags.c_contiguous
        np.testing.assert_array_equal(made, turned)


def test_the_plan_of_an_elementwise_kernel_depends_on_the_size_of_elements():
    """Every second float32 and all float64 have the same shape and strides, in bytes."""
    far, zero = mg.tensor(np.arange(10, dtype="f4"))[::2], mg.zeros(10)[::2]
    near, other = mg.tensor([1.0, 2, 3, 4, 5], dtype=mg.float64), mg.tensor([0.0, 0, 9, 9, 0], dtype=mg.float64)
    for _ in range(2):
        assert (far > zero).tolist() == [False, True, True, True, True]
        assert (near > other).tolist() == [True, True, False, False, True]
        assert near.isnan().tolist() == [False] * 5
        assert mg.tensor(np.array([0, np.nan] * 5, "f4"))[::2].isnan().tolist() == [False] * 5
