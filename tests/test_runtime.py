"""The ground: the compile cache, how kernels get their arguments, elementwise loops, register tiles, threads, CPUs."""

import importlib.metadata
import itertools
import os
import platform
import shutil
import stat
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from cases import LAYOUTS, broadcastable, laid_out, sizes
from hypothesis import given, strategies as st

import minigrad as mg
from minigrad import ops
from minigrad.ops.matmul import gemm
from minigrad.runtime import cache, fingerprint as marks, kernel as kernels, memory, target, threads, tile
from minigrad.runtime.elementwise import elementwise
from minigrad.runtime.fingerprint import fingerprint
from minigrad.runtime.kernel import (
    Array1,
    Array2,
    Array3,
    Array4,
    ArrayList,
    Arrays,
    Bytes,
    Ints,
    Kernel,
    Memory,
    Shorts,
    Tile,
    item,
    kernel,
)

FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")


@pytest.fixture
def compiled():
    """The names of kernels as they are compiled, not loaded."""
    names = []

    def listen(name, seconds):
        assert seconds > 0
        names.append(name)

    kernels.listeners.append(listen)
    yield names
    kernels.listeners.remove(listen)


def doubled(task, x: Array1, out: Array1):
    """Twice x."""
    out[task] = x[task] + x[task]


def twice(values, dtype="float32"):
    """The kernel above, as a process that has never met it would run it."""
    x = np.array(values, dtype)
    out = np.empty_like(x)
    Kernel(doubled)(len(x), x, out)
    return out.tolist()


# ---- the compile cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "kernels")
    return tmp_path / "kernels"


def test_a_kept_kernel_is_not_compiled_again(folder, compiled):
    assert twice([1, 2]) == twice([1, 2]) == [2, 4]
    assert compiled == ["test_runtime.doubled"]
    assert twice([1, 2], "float64") == [2, 4]
    assert compiled == ["test_runtime.doubled"] * 2
    assert len([file for file in folder.iterdir() if file.name.startswith("test_runtime.doubled-")]) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
        lambda data: b"\0" * len(data),
    ],
    ids=["empty", "mark only", "one byte short", "half", "one bit changed", "zeros"],
)
def test_a_damaged_file_is_compiled_anew(folder, compiled, damage):
    twice([1])
    (file,) = folder.glob("test_runtime.doubled-*")
    file.write_bytes(damage(file.read_bytes()))
    assert twice([3]) == [6]
    assert len(compiled) == 2
    assert twice([3]) == [6]
    assert len(compiled) == 2, "the damaged file was replaced"


@pytest.mark.parametrize("damage", ["renamed", "moved"])
def test_a_file_counts_under_its_own_name_only(folder, monkeypatch, compiled, damage):
    """Machine code of another kernel, or for another CPU, is not run."""
    twice([1])
    twice([1], "float64")
    (file,), (other,) = folder.glob("test_runtime.doubled-f-*"), folder.glob("test_runtime.doubled-d-*")
    if damage == "renamed":
        shutil.copy(other, file)
    else:
        shutil.copytree(folder, folder.with_name("elsewhere"))
        monkeypatch.setattr(cache, "folder", lambda: folder.with_name("elsewhere"))
    assert twice([3]) == [6]
    assert len(compiled) == 3


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch, compiled):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "file" / "kernels")
    monkeypatch.setattr(cache, "_said", [])
    with pytest.warns(UserWarning, match="not kept on disk.*MINIGRAD_CACHE_DIR"):
        assert twice([1]) == [2]
    assert twice([1]) == [2], "no second warning"
    assert len(compiled) == 2


def test_no_half_written_file_is_left_in_the_folder(folder):
    twice([1])
    assert {file.name.partition("-")[0] for file in folder.iterdir()} <= {"test_runtime.doubled", "execute"}


def test_an_edit_of_the_runtime_starts_another_folder(tmp_path, monkeypatch):
    shutil.copytree(cache.SOURCES, tmp_path / "runtime")
    monkeypatch.setattr(cache, "SOURCES", tmp_path / "runtime")
    before = cache.key()
    assert cache.key() == before
    with open(tmp_path / "runtime" / "tile.py", "a", encoding="utf-8") as file:
        file.write("\n")
    assert cache.key() != before


@pytest.mark.parametrize(
    "module, name, value",
    [
        (target, "NAME", "haswell"),
        (target, "FEATURES", "+avx2"),
        (cache.config, "OPT", "1"),
        (cache.config, "SLP_VECTORIZE", 1),
        (cache.numba, "__version__", "0.1"),
    ],
)
def test_another_cpu_version_or_setting_starts_another_folder(monkeypatch, module, name, value):
    before = cache.key()
    monkeypatch.setattr(module, name, value)
    assert cache.key() != before


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path))
    assert cache.home() == tmp_path
    monkeypatch.delenv("MINIGRAD_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.home() == tmp_path / "xdg" / "minigrad"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache.home() == tmp_path / "local" / "minigrad"


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A process that has not looked for its cache folder yet, and the place where it looks."""
    monkeypatch.setattr(cache, "_said", [])
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "a" / "kernels"))
    return cache.folder.__wrapped__, tmp_path / "a" / "kernels"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


POSIX = pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX only")


@POSIX
def test_the_folder_is_made_for_nobody_else(fresh):
    find, place = fresh
    assert find() == place / cache.key()
    assert {mode(path) for path in (place.parent, place, place / cache.key())} == {0o700}


@POSIX
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("linked", [False, True], ids=["plain", "linked"])
def test_a_folder_that_others_can_write_to_is_not_used(fresh, monkeypatch, tmp_path, depth, linked):
    """Itself, or one above it, in which it could be exchanged."""
    find, place = fresh
    path = find()
    open_to_all = (path, *path.parents)[depth]
    open_to_all.chmod(0o777)
    if linked:
        (tmp_path / "link").symlink_to(place)
        monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "link"))
    with pytest.warns(UserWarning, match=f"another user can write to {open_to_all};"):
        assert find() is None
    assert find() is None, "no second warning"
    if depth:
        open_to_all.chmod(0o1777)  # as /tmp: what is in it cannot be exchanged
        assert find() == path


@POSIX
@pytest.mark.parametrize(
    "owner, mode, shared, ours",
    [
        ("me", 0o755, False, True),
        ("root", 0o755, False, True),
        ("other", 0o755, False, False),
        ("other", 0o1777, True, False),
        ("root", 0o1777, True, True),
        ("root", 0o1777, False, False),
        ("me", 0o702, False, False),
        ("me", 0o720, False, False),
    ],
)
def test_whose_folder_it_is(monkeypatch, owner, mode, shared, ours):
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    uid = {"me": 4321, "root": 0, "other": 4322}[owner]
    status = os.stat_result((mode, 0, 0, 1, uid, 98765, 0, 0, 0, 0))
    assert cache._is_ours(status, shared) == ours


def test_what_was_used_longest_ago_is_removed(fresh, monkeypatch):
    find, place = fresh
    names = [f"{number:016x}" for number in range(10)]
    for age, name in enumerate([*names, "ffffffffffffffff", "notes"]):
        (place / name).mkdir(parents=True)
        (place / name / ("execute" if name in names else "mine")).touch()
        os.utime(place / name, (1000 - age, 1000 - age))
    path = find()
    monkeypatch.setattr(cache, "folder", lambda: path)
    monkeypatch.setattr(cache, "MAX_BYTES", 500)
    for age, name in enumerate("abc"):
        (path / name).write_bytes(bytes(200))
        os.utime(path / name, (1000 - age, 1000 - age))
    cache.save_bytes("d", bytes(50))
    kept = {folder.name for folder in place.iterdir()}
    assert kept == {path.name, "ffffffffffffffff", "notes", *names[: cache.FOLDERS - 1]}
    assert {file.name for file in path.iterdir()} == {"a", "b", "d"}


def process(code, **environment):
    """What a fresh Python process prints."""
    path = os.pathsep.join([str(cache.SOURCES.parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", textwrap.dedent(code)],
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_second_process_compiles_nothing(tmp_path):
    code = """
        import minigrad as mg
        from minigrad.runtime import kernel
        names = []
        kernel.listeners.append(lambda name, seconds: names.append(name))
        x = mg.tensor([1.0, 2.0], requires_grad=True)
        (x + x).sum().backward()
        print(len(names), x.grad.tolist()[0])
    """
    first, value = process(code, MINIGRAD_CACHE_DIR=str(tmp_path))
    assert int(first) >= 1 and value == "2.0"
    assert process(code, MINIGRAD_CACHE_DIR=str(tmp_path)) == ["0", "2.0"]


def test_kernels_can_be_collected_before_they_run(folder, compiled):
    """For a warm start: nothing runs, nothing is compiled, and the jobs compile what is missing."""
    run, x, out = Kernel(doubled), np.ones(2, "f4"), np.zeros(2, "f4")
    with kernels.missing() as jobs:
        run(2, x, out)
        run(2, x, out)
    assert (len(jobs), compiled, out.tolist()) == (1, [], [0, 0])
    for job in jobs.values():
        job()
    assert compiled == ["test_runtime.doubled"]
    run(2, x, out)
    assert (len(compiled), out.tolist()) == (1, [2, 2])


# ---- kernels of one name are different kernels


def test_two_kernels_of_one_name_do_not_share_a_file():
    """Two nameless functions of one file."""
    x, out = np.float32([3]), np.empty(1, "f4")
    for function, expected in ((lambda a: a + a, 6), (lambda a: a * a * a, 27)):
        elementwise(function)(x, out)
        assert out.item() == expected


def test_two_kernels_that_differ_in_what_they_close_over_do_not_share_a_file():
    x, out = np.float32([3]), np.empty(1, "f4")

    def times(factor):
        def scaled(a):
            return a * factor

        return elementwise(scaled)

    for factor in (np.float32(2), np.float32(5)):
        times(factor)(x, out)
        assert out.item() == 3 * factor


def test_two_sessions_can_use_one_name_for_two_kernels(tmp_path):
    """What is typed at a prompt has no file."""
    for body, expected in (("a + a", "6.0"), ("a * a * a", "27.0")):
        code = f"""
            import numpy as np
            from minigrad.runtime.elementwise import elementwise
            def fresh(a): return {body}
            x = np.array([3.0], 'f4'); out = np.empty(1, 'f4')
            elementwise(fresh)(x, out); print(out.item())
        """
        assert process(code, MINIGRAD_CACHE_DIR=str(tmp_path)) == [expected]


def compiled_from(text, **names):
    """The function `f` that a source text defines."""
    scope = {"__name__": "mine", "np": np, "helper": kernels.helper, **names}
    exec(textwrap.dedent(text), scope)
    return scope["f"]


SAME = """
    {before}
    def f(task, x, out):
        out[task] = {value}
"""


@pytest.mark.parametrize(
    "before, value",
    [
        ("", "x[task] * 3"),
        ("", "x[task] * 2.0"),
        ("", "out[task] * 2"),
        ("", "(lambda a: a * 2)(x[task])"),
        ("", "(lambda a: a * 3)(x[task])"),
        ("n = 2", "x[task] * n"),
        ("n = np.float32(2)", "x[task] * n"),
        ("n = 3", "x[task] * n"),
        ("n = np.ones(3)", "x[task] * n[0]"),
        ("n = np.array([1, 1, 2])", "x[task] * n[0]"),
        ("n = (1, (2, 3))", "x[task] * n[0]"),
        ("n = (1, (2, np.float32(3)))", "x[task] * n[0]"),
        ("g = helper(lambda a: a)", "g(x[task])"),
        ("g = helper(lambda a: a + 1)", "g(x[task])"),
        ("g = helper(lambda a, b=1: a + b)", "g(x[task])"),
        ("g = helper(lambda a, b=2: a + b)", "g(x[task])"),
        ("g = helper(lambda a: a); h = helper(lambda a: g(a))", "h(x[task])"),
        ("g = helper(lambda a: -a); h = helper(lambda a: g(a))", "h(x[task])"),
        ("import types; m = types.ModuleType('m'); m.n = 1", "x[task] * m.n"),
        ("import types; m = types.ModuleType('m'); m.n = 2", "x[task] * m.n"),
        ("import types; m = types.ModuleType('m'); m.g = helper(lambda a: a)", "m.g(x[task])"),
        ("import types; m = types.ModuleType('m'); m.g = helper(lambda a: a + 1)", "m.g(x[task])"),
    ],
)
def test_a_fingerprint_follows_all_that_a_kernel_names(before, value):
    """And stays as it is where nothing changes but comments, and what it does not name."""
    everything = [(before, value), ("", "x[task] * 2"), ("# other\n    k = 7", value if not before else "x[task] * 2")]
    one, two, three = (fingerprint(compiled_from(SAME.format(before=b, value=v))) for b, v in everything)
    assert one != two
    assert three == (one if not before else two)
    assert one == fingerprint(compiled_from(SAME.format(before=before, value=value)))


def test_a_fingerprint_follows_the_kinds_of_arguments():
    """The same loop on bytes and on floats."""
    x, c, out = np.float32([3, 4]), np.array([True, False]), np.empty(2, "f4")
    for kind, first, expected in ((Bytes, c, [3, 0]), (Memory, np.float32([0, 2]), [0, 4])):
        elementwise(_kept, (kind, Memory))(first, x, out)
        assert out.tolist() == expected


def _kept(c, a):
    return a if c else a - a


def test_a_fingerprint_follows_the_file_of_an_overloaded_function(tmp_path):
    """The overload is not named by the kernel, and stands beside the function."""
    found = set()
    for text in ("# one", "# two"):
        (tmp_path / "mine.py").write_text(f"def g(a): return a  {text}")
        scope = {"__name__": "mine"}
        exec(compile((tmp_path / "mine.py").read_text(), tmp_path / "mine.py", "exec"), scope)
        marks._file.cache_clear()
        found.add(fingerprint(compiled_from(SAME.format(before="", value="g(x[task])"), g=scope["g"])))
    assert len(found) == 2


# ---- arguments of every kind


@kernel
def everything(
    task, a: Array1, b: Array2, c: Array3, d: Array4, m: Memory, numbers: Ints, bits: Bytes, shorts: Shorts,
    rows: ArrayList, scale: float, step, out: Array2,
):  # fmt: skip
    """One of each kind, seen by shape and by element."""
    M, N = b.shape
    P, Q, R, S = d.shape
    total = a[task] + b[task, N - 1] + c[0, task, c.shape[2] - 1] + d[P - 1, 0, task, S - 1] + m[task]
    total += item(rows, 0)[task] * item(rows, 1)[item(rows, 1).shape[0] - 1]
    out[task, 0] = scale * total
    out[task, step] = numbers[task] + bits[task] + shorts[task]


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_a_kernel_takes_arguments_of_every_kind(dtype):
    random = np.random.default_rng(0)
    a, b, c, d = (random.normal(size=shape).astype(dtype) for shape in ((3,), (3, 2), (2, 3, 4), (2, 1, 3, 5)))
    m = np.asfortranarray(random.normal(size=(3, 2)).astype(dtype))  # memory without regard to strides
    rows = [random.normal(size=4).astype(dtype), random.normal(size=(2, 3)).astype(dtype)]
    numbers, bits, shorts = (
        np.array([-(2**40), 5, 6]),
        np.array([1, 255, 3], np.uint8),
        np.array([65535, 1, 2], np.uint16),
    )
    out = np.zeros((3, 2), dtype)
    everything(3, a, b, c, d, m, numbers, bits, shorts, Arrays(rows), 0.5, 1, out)
    total = a + b[:, -1] + c[0, :, -1] + d[-1, 0, :, -1] + m[:, 0] + rows[0][:3] * rows[1][-1, -1]
    np.testing.assert_allclose(out[:, 0], 0.5 * total, rtol=1e-5 if dtype == FLOAT32 else 1e-12)
    np.testing.assert_allclose(out[:, 1], numbers + bits.astype(int) + shorts, rtol=1e-7)


def test_no_tasks_are_no_work():
    out = np.full(2, 7, np.float32)
    Kernel(doubled)(0, out, out)
    assert out.tolist() == [7, 7]


def test_few_tasks_run_on_one_thread_with_the_same_result():
    x = np.arange(1000, dtype=np.float32)
    out, again = np.empty_like(x), np.empty_like(x)
    Kernel(doubled).run_small(1000, 1, x, out)
    Kernel(doubled)(1000, x, again)
    np.testing.assert_array_equal(out, again)
    np.testing.assert_array_equal(out, 2 * x)


def test_every_task_runs_once():
    out = np.zeros(100_000, np.float64)
    count(len(out), out)
    assert (out == 1).all()


@kernel
def count(task, out: Array1):
    """1 more."""
    out[task] += 1


# ---- elementwise


def _mixed(a, b):
    return a * a - b


def _chosen(c, a, b):
    return a if c else b


mixed, chosen = elementwise(_mixed), elementwise(_chosen, (Bytes, Memory, Memory))
squared = elementwise(lambda a: a * a)


@given(data=st.data())
def test_elementwise_follows_any_strides_and_broadcasts(data):
    first, second, third = broadcastable(data.draw, 3)
    layout = st.sampled_from(LAYOUTS)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    a, b = (laid_out(random.normal(size=shape).astype("f4"), data.draw(layout)) for shape in (first, second))
    c = laid_out(random.normal(size=third) > 0, data.draw(layout)) if third else np.array(True)
    whole = np.broadcast_shapes(first, second)
    out = laid_out(np.zeros(whole, "f4"), data.draw(layout))
    mixed(a, b, out)
    np.testing.assert_allclose(out, a * a - b, rtol=1e-5, atol=1e-6)
    out = laid_out(np.zeros(np.broadcast_shapes(whole, third), "f4"), data.draw(layout))
    chosen(c, a, b, out)
    np.testing.assert_array_equal(out, np.where(c, a, b))


@pytest.mark.parametrize("shape", [(70_000,), (300, 301), (7, 5, 2000), (40_000, 2)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_elementwise_in_pieces(shape, layout):
    """More elements than a task takes: pieces begin in the middle of rows."""
    x = laid_out(np.arange(np.prod(shape), dtype="f4").reshape(shape) % 1000, layout)
    out = np.empty_like(x)
    mixed(x, x[..., :1], out)
    np.testing.assert_array_equal(out, x * x - x[..., :1])


def test_elementwise_writes_nothing_but_its_elements():
    memory = np.full((6, 8), np.nan, np.float32)
    out = memory[1:5:2, 1:7:3]
    mixed(np.ones((2, 2), "f4"), np.float32(3), out)
    assert out.tolist() == [[-2, -2], [-2, -2]]
    assert np.isnan(memory).sum() == 48 - 4


@given(shape=st.lists(sizes | st.just(0), max_size=4), data=st.data())
def test_empty_arrays_are_no_work(shape, data):
    x = laid_out(np.ones(shape, "f4"), data.draw(st.sampled_from(LAYOUTS)))
    out = np.empty_like(x)
    mixed(x, x, out)
    assert not out.any()


# ---- register tiles


@given(rows=st.integers(1, 40), width=st.integers(1, 300), dtype=st.sampled_from([FLOAT32, FLOAT64]))
def test_a_tile_fits_its_output(rows, width, dtype):
    height, cols, masked = tile.choose(rows, width, dtype)
    assert 1 <= height <= min(rows, tile.MAX_ROWS)
    assert 1 <= cols <= tile.MAX_COLS
    assert not masked or width % tile.lanes(dtype), "whole vectors need no mask"
    assert masked or cols * tile.lanes(dtype) <= width, "the last block may overlap the one before it"


LANES = tile.lanes(FLOAT32)
NARROW = sorted({1, 2, LANES // 2, LANES - 1})


def guarded(shape, fill=np.nan):
    """An array with other memory before and behind it, and that memory."""
    size, edge = int(np.prod(shape)), 64
    whole = np.full(size + 2 * edge, fill, np.float32)
    return whole[edge : edge + size].reshape(shape), (whole[:edge], whole[edge + size :])


@pytest.mark.parametrize(
    "M, N",
    [
        *itertools.product(range(1, 14), (3, LANES + 1)),  # every number of rows, masked and not
        *itertools.product((4,), NARROW),  # every mask
        *itertools.product((4,), (LANES, 2 * LANES, 2 * LANES + 1, 3 * LANES + 1, 4 * LANES, 9 * LANES - 1)),
    ],
)
def test_a_tile_covers_every_shape_and_nothing_else(M, N):
    random = np.random.default_rng(0)
    (a, _), (b, _), (out, edges) = guarded((M, 5)), guarded((5, N)), guarded((M, N))
    a[...], b[...] = random.integers(-8, 8, a.shape), random.integers(-8, 8, b.shape)
    gemm(a, b, out)
    np.testing.assert_array_equal(out, a @ b)
    assert all(np.isnan(edge).all() for edge in edges)
    bias = random.integers(-8, 8, M).astype("f4")
    gemm(a, b, out, bias)
    np.testing.assert_array_equal(out, a @ b + bias[:, None])


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
@pytest.mark.parametrize(
    "layouts", [*itertools.product(("plain", "mirrored", "sliced", "reversed"), repeat=2)], ids="-".join
)
def test_products_of_any_strides(layouts, dtype):
    random = np.random.default_rng(0)
    for M, K, N in ((4, 3, 17), (17, 40, 4), (6, 1, 6)):
        a, b = (
            laid_out(random.integers(-8, 8, shape).astype(dtype), layout)
            for shape, layout in zip(((M, K), (K, N)), layouts, strict=True)
        )
        np.testing.assert_array_equal(ops.matmul(mg.device("cpu"), a, b), a @ b)


@kernel
def tile_facts(task, x: Array1, out: Array1, tile: Tile):
    """What a kernel knows of its tile."""
    out[0], out[1], out[2], out[3] = tile.rows, tile.cols, tile.lanes, tile.width


@pytest.mark.parametrize("shape", [(1, 1, True), (5, 2, False)])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_a_kernel_knows_its_tile(dtype, shape):
    out = np.zeros(4, dtype)
    tile_facts(1, out, out, shape)
    assert out.tolist() == [shape[0], shape[1], tile.lanes(dtype), shape[1] * tile.lanes(dtype)]


# ---- memory


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 4), (17, 2, 3, 5)])
def test_batch_innermost_memory(shape):
    x = memory.empty_batch_last(shape, FLOAT32)
    assert x.shape == shape
    inside = memory.batch_last(x)
    assert inside.flags.c_contiguous and np.shares_memory(inside, x) == bool(x.size)
    assert memory.batch_first(inside).shape == shape
    plain = np.arange(x.size, dtype="f4").reshape(shape)
    np.testing.assert_array_equal(memory.batch_first(memory.batch_last(plain)), plain)


# ---- threads


def test_threads_launch_at_once():
    """Kernels started from several Python threads do not disturb each other."""
    inputs = [np.arange(200_000, dtype=np.float32) + offset for offset in range(4)]
    expected = [np.empty_like(x) for x in inputs]
    for x, out in zip(inputs, expected, strict=True):
        mixed(x, x, out)
    different = []

    def work(number):
        out = np.empty_like(inputs[number])
        for _ in range(30):
            mixed(inputs[number], inputs[number], out)
            if not np.array_equal(out, expected[number]):
                different.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not different


def test_the_number_of_threads_holds_in_every_thread():
    mg.set_num_threads(1)
    seen = []

    def look():
        twice([1])
        seen.append((mg.get_num_threads(), threads.numba.get_num_threads()))

    worker = threading.Thread(target=look)
    worker.start()
    worker.join()
    assert seen == [(1, 1)]


PROGRAM = """
    import numpy as np
    from minigrad.runtime import threads
    from minigrad.runtime.kernel import Array1, Memory, kernel
    @kernel
    def count(task, x: Array1, out: Memory):
        out[task] = out[task] + x[0]
    x, sizes = np.ones(1, np.float32), [1, 2, 3, 64, -5, 7, -1, 1000] * 20
    count(1, x, np.zeros(1, np.float32))
    arrays = [np.zeros(abs(size), np.float32) for size in sizes]
    address = count.compiled["f", None]
    program = b"".join(count.pack(5, address, n, id(x), id(a)) for n, a in zip(sizes, arrays, strict=True))
    for _ in range(50):
        threads.execute(program, len(program))
    print(threads.get_num_threads(), all((array == 50).all() for array in arrays))
"""


@pytest.mark.parametrize("number", [1, 2, 3, 8])
def test_every_task_of_a_program_runs_once(number):
    """Also with more threads than cores, some of which come late."""
    assert process(PROGRAM, NUMBA_NUM_THREADS=str(number)) == [str(number), "True"]


def installed(package):
    try:
        return bool(importlib.metadata.files(package))
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.mark.skipif(not installed("tbb") or "NUMBA_THREADING_LAYER" in os.environ, reason="needs the package tbb")
def test_tbb_is_used_where_it_is_installed():
    assert threads.threading_layer() == "tbb"


LAUNCHES = """
    import threading
    import numpy as np
    import minigrad as mg
    from minigrad.runtime import threads
    x = mg.tensor(np.arange(100_000.0), dtype=mg.float32)
    expected, wrong, start = x.numpy() * 2, [], threading.Barrier(2)
    def work():
        start.wait()
        for _ in range(500):
            if not np.array_equal((x + x).numpy(), expected):
                wrong.append(1)
    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    print(threads.threading_layer(), len(wrong))
"""


def test_a_layer_that_cannot_launch_twice_at_once_is_guarded():
    """From the very first launch on, which comes from two threads here."""
    assert process(LAUNCHES, NUMBA_THREADING_LAYER="workqueue") == ["workqueue", "0"]


# ---- other CPUs than this one


CONVOLUTION = """
    import numpy as np
    import minigrad as mg
    from minigrad.nn import functional as F
    from minigrad.runtime import tile
    random = np.random.default_rng(0)
    arrays = [random.integers(-4, 5, shape) for shape in ((17, 2, 5, 4), (6, 2, 3, 3), (6,))]
    found = []
    for device in ("cpu", "numpy"):
        x, w, b = (mg.tensor(a, dtype=mg.float32, device=device, requires_grad=True) for a in arrays)
        out = F.conv2d(x, w, b, padding=1)
        out.backward(out.detach())
        found.append([out.detach().numpy(), x.grad.numpy(), w.grad.numpy(), b.grad.numpy()])
    for actual, expected in zip(*found):
        np.testing.assert_array_equal(actual, expected)  # whole numbers: exact in any order
    print(tile.VECTOR_BYTES, tile.choose(6, 1000, np.dtype("float32"))[1])
"""


X86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86-64 only")


@X86
def test_a_convolution_on_the_least_cpu():
    """What every x86-64 has, whatever this one has."""
    assert process(CONVOLUTION, NUMBA_CPU_NAME="x86-64") == ["16", "2"]


@X86
@pytest.mark.skipif("vfmadd" not in target.INSTRUCTIONS, reason="needs AVX2")
def test_a_convolution_on_haswell():
    environment = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
    assert process(CONVOLUTION, **environment) == ["32", "2"]


MACHINE_CODE = """
    import re
    from minigrad.ops.matmul import gemm_kernel
    from minigrad.runtime import cache, kernel, target
    code = gemm_kernel._compile(kernel.FLOATS["f"], (4, 2, False))._library.get_asm_str()
    print(cache.key(), target.VECTOR_BYTES, *sorted(set(re.findall("%([xyz]mm)", code))))
"""


@X86
def test_machine_code_tiles_and_cache_follow_one_cpu():
    """NUMBA_CPU_NAME alone gives the instructions of that CPU and no others, those of this machine included."""
    keys = set()
    for name, width, widest in (("x86-64", "16", "xmm"), ("haswell", "32", "ymm"), ("skylake-avx512", "64", "zmm")):
        key, *found = process(MACHINE_CODE, NUMBA_CPU_NAME=name)
        assert (found[0], found[-1]) == (width, widest)
        keys.add(key)
    assert len(keys) == 3


# ---- settings of the environment


def error(code, **environment):
    """The error of our own that a fresh process ends with."""
    text = f"try:\n{textwrap.indent(textwrap.dedent(code), '    ')}\nexcept Exception as error:\n"
    text += "    print(type(error).__mro__[1].__name__, type(error).__name__, error)"
    return " ".join(process(text, **environment))


RUN = "import minigrad as mg; print((mg.ones(100_000) * 2).sum().item())"


@pytest.mark.parametrize(
    "name, value, kind, advice",
    [
        ("NUMBA_NUM_THREADS", "0", "ValidationError", "'0'; unset it, or use a whole number from 1 to 1024"),
        ("NUMBA_NUM_THREADS", "-2", "ValidationError", "'-2'; unset it"),
        ("NUMBA_NUM_THREADS", "abc", "ValidationError", "'abc'; unset it"),
        ("NUMBA_NUM_THREADS", "1000000", "ValidationError", "'1000000'; unset it"),
        ("NUMBA_THREADING_LAYER", "nonsense", "ValidationError", "'nonsense'; unset it, or use default, tbb, omp"),
        ("NUMBA_DISABLE_JIT", "1", "DeviceError", "NUMBA_DISABLE_JIT is set"),
    ],
)
def test_a_setting_that_cannot_be_is_named(name, value, kind, advice):
    said = error(RUN, **{name: value})
    assert said.startswith(f"MinigradError {kind} ")
    assert name in said and advice in said


@X86
@pytest.mark.skipif("zmm" in target.INSTRUCTIONS, reason="needs a machine without AVX-512")
def test_code_that_this_machine_cannot_run_is_not_run():
    said = error(RUN, NUMBA_CPU_NAME="skylake-avx512")
    assert "DeviceError" in said and "zmm, which this machine" in said


def test_a_layer_that_cannot_be_started_is_named(monkeypatch):
    def fail():
        raise ValueError("No threading layer could be loaded.")

    monkeypatch.setattr(threads.numba, "get_num_threads", fail)
    monkeypatch.setattr(threads.numba.config, "THREADING_LAYER", "tbb")
    with pytest.raises(mg.errors.DeviceError, match="layer 'tbb'; install the package tbb.*could be loaded"):
        threads._start_layer()


def test_a_compiler_that_was_started_for_another_cpu_is_refused(monkeypatch):
    monkeypatch.setattr(target, "FEATURES", "+other")
    with pytest.raises(mg.errors.DeviceError, match=r"expected .* \+other; import minigrad before"):
        target.context.__wrapped__()


def test_device_numpy_needs_no_compiler():
    code = "import minigrad as mg; print((mg.ones(4, device='numpy') * 2).sum().item())"
    assert process(code, NUMBA_DISABLE_JIT="1") == ["8.0"]


@pytest.mark.skipif(not installed("tbb"), reason="needs the package tbb")
@pytest.mark.parametrize("name", ["tbb", "safe"])
def test_tbb_is_found_when_it_is_asked_for(name):
    code = RUN + "\nfrom minigrad.runtime import threads; print(threads.threading_layer())"
    assert process(code, NUMBA_THREADING_LAYER=name) == ["200000.0", "tbb"]


HOMELESS = """
    import os, pwd, warnings
    def nobody(uid): raise KeyError(uid)
    pwd.getpwuid = nobody
    for name in ("HOME", "XDG_CACHE_HOME", "MINIGRAD_CACHE_DIR"): os.environ.pop(name, None)
    import minigrad as mg
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        print((mg.ones(3) * 2).sum().item(), len(said), "MINIGRAD_CACHE_DIR" in str(said[0].message))
"""


@POSIX
def test_no_home_means_no_cache():
    assert process(HOMELESS) == ["6.0", "1", "True"]


# ---- forks


FORKS = """
    import os, signal, sys, threading, time
    import numpy as np
    import minigrad as mg
    from minigrad.nn import functional as F

    def step(seed):
        random = np.random.default_rng(seed)
        x = mg.tensor(random.normal(size=(16, 3, 12, 12)), dtype=mg.float32, requires_grad=True)
        w = mg.tensor(random.normal(size=(8, 3, 3, 3)), dtype=mg.float32, requires_grad=True)
        y = (F.conv2d(x, w, padding=1).flatten(1) @ mg.ones(8 * 144, 64)).relu().sum()
        y.backward()
        return y.item(), w.grad.numpy().tobytes()

    def busy(seed):
        while not done:
            step(seed), mg.randn(2000), recorded(square)

    def child():
        mg.randn(5)
        return step(0) == expected and recorded(square).item() == 300**3 and mg.get_num_threads() == 1

    square, recorded = mg.ones(300, 300), mg.graph(lambda x: (x @ x).sum())
    recorded(square)
    expected, done, ends = step(0), False, []
    workers = [threading.Thread(target=busy, args=(seed,)) for seed in range(1, 5)]
    for worker in workers: worker.start()
    for _ in range(25):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)  # a child that hangs is one that fails
            os._exit(0 if child() else 1)
        ends.append(os.waitpid(pid, 0)[1])
    done = True
    for worker in workers: worker.join()
    print("ends", *sorted(set(ends)))
"""
FORKING = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
EACH_LAYER = pytest.mark.parametrize("layer", ["tbb", "omp", "workqueue"])


@FORKING
@EACH_LAYER
def test_forks_while_other_threads_compute(layer):
    """Each child computes alone, the same bits, and ends."""
    assert process(FORKS, NUMBA_THREADING_LAYER=layer)[-2:] == ["ends", "0"]


POOL = """
    import multiprocessing, os
    import minigrad as mg
    x = mg.ones(100_000)
    (x + x).sum()
    def work(number):
        return (x * number).sum().item() == 100_000 * number, os.getpid()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(work, range(1, 9)).get(timeout=120)
    print(all(right for right, _ in found), len({process for _, process in found}) <= 2, (x + x)[1].item())
"""


@FORKING
@EACH_LAYER
def test_a_pool_of_forked_processes(layer):
    """No worker dies, to be replaced by another for ever."""
    assert process(POOL, NUMBA_THREADING_LAYER=layer)[-3:] == ["True", "True", "2.0"]


UNSTARTED = """
    import os, signal, threading
    import minigrad as mg
    mg.set_num_threads(1)
    compiling = threading.Thread(target=lambda: (mg.rand(4) * 2 - 1).exp())
    if {compiling}: compiling.start()
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        right = mg.tanh(mg.zeros(100_000)).sum().item() == 0
        os._exit(0 if right else 1)
    print(os.waitpid(pid, 0)[1])
    if {compiling}: compiling.join()
"""


@FORKING
@pytest.mark.parametrize("compiling", [False, True], ids=["before the first kernel", "while one is compiled"])
def test_a_child_forked_early_compiles_for_itself(compiling, tmp_path):
    assert process(UNSTARTED.format(compiling=compiling), MINIGRAD_CACHE_DIR=str(tmp_path)) == ["0"]


@FORKING
def test_a_forked_process_has_one_thread():
    code = """
        import os
        import minigrad as mg
        mg.ones(3) + 1
        if not (pid := os.fork()):
            try:
                mg.set_num_threads(2)
            except mg.errors.ValidationError as error:
                os._exit(5 if "forked" in str(error) else 6)
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert process(code)[-1:] == ["5"]


@FORKING
def test_a_forked_process_does_not_use_the_gpu_of_its_parent():
    code = """
        import os
        import minigrad as mg
        x = mg.ones(3, device="cuda")
        if not (pid := os.fork()):
            try:
                x + x
            except mg.errors.DeviceError as error:
                os._exit(5 if "forked" in str(error) else 6)
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert process(code, NUMBA_ENABLE_CUDASIM="1")[-1:] == ["5"]


# ---- denormal numbers


TINY = {"float32": [1e-39, -3e-42, 1e-45], "float64": [1e-310, -3e-315, 5e-324]}


@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize("size", [3, 300_000])
@pytest.mark.parametrize("number", [1, 2])
def test_denormal_numbers_are_taken_for_0(dtype, size, number):
    """Read and written, on every thread, in one task and in many; restored for NumPy afterwards."""
    if number > threads.numba.config.NUMBA_NUM_THREADS:
        pytest.skip("needs two threads")
    mg.set_num_threads(number)
    x = mg.tensor(np.resize(TINY[dtype], size), dtype=getattr(mg, dtype))
    least = float(np.finfo(dtype).tiny)
    assert mg.set_flush_denormal(True)
    assert not (x * 1e10).numpy().any()
    assert not (mg.full((size,), least, dtype=x.dtype) * 0.5).numpy().any()
    assert (x.numpy() * x.numpy().dtype.type(1)).all(), "NumPy computes with them"
    np.testing.assert_array_equal(x.clone().numpy(), x.numpy())  # moved, they stay


@pytest.mark.usefixtures("ieee")
@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize("size", [3, 300_000])
def test_denormal_numbers_can_be_kept(dtype, size):
    x = np.resize(np.array(TINY[dtype], dtype), size)
    np.testing.assert_array_equal((mg.tensor(x, dtype=getattr(mg, dtype)) * 3).numpy(), x * x.dtype.type(3))


def test_the_results_of_flushing_are_the_same_recorded_and_plain():
    def decay(x):
        for _ in range(4):
            x = x * 0.1
        return x

    x, recorded = mg.full((70_000,), 3e-36), mg.graph(decay)
    expected = decay(x).numpy()
    assert not expected.any()
    for _ in range(2):
        np.testing.assert_array_equal(recorded(x).numpy(), expected)


def test_exp_and_log_at_the_edge_of_the_normal_numbers():
    x = mg.tensor([-87.3, -87.4, -95.0, -103.0])
    found = mg.exp(x).numpy()
    np.testing.assert_allclose(found[0], np.exp(np.float64(np.float32(-87.3))), rtol=4e-7)
    assert found[1:].tolist() == [0, 0, 0]
    assert mg.log(mg.tensor([1e-39, 0.0])).tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("mode", [1, 0, None, "on"])
def test_set_flush_denormal_takes_a_bool(mode):
    with pytest.raises(mg.errors.DtypeError, match="True or False"):
        mg.set_flush_denormal(mode)
