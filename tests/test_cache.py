"""The compile cache: which file is read, when a kernel is compiled again, and who may write to the folder."""

import os
import shutil
import stat
import sys
import textwrap

import numpy as np
import pytest
from helpers import run_python

from minigrad.runtime import cache, fingerprint as marks, kernel as kernels, target
from minigrad.runtime.elementwise import Elementwise
from minigrad.runtime.fingerprint import kernel_fingerprint
from minigrad.runtime.kernel import Array1, Bytes, Kernel, Memory

FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")


@pytest.fixture
def compiled():
    """Return a list to which the name of every kernel is added when it is compiled, not loaded."""
    names = []

    def listen(name, seconds):
        assert seconds > 0
        names.append(name)

    kernels.compile_listeners.append(listen)
    yield names
    kernels.compile_listeners.remove(listen)


def doubled(task, x: Array1, out: Array1):
    """Twice x."""
    out[task] = x[task] + x[task]


def run_doubled(values, dtype="float32"):
    """Run a new Kernel of `doubled`, which loads or compiles its code."""
    x = np.array(values, dtype)
    out = np.empty_like(x)
    Kernel(doubled)(len(x), x, out)
    return out.tolist()


# ---- files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return an empty cache folder, in use during the test."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "kernels")
    return tmp_path / "kernels"


def test_a_cached_kernel_is_not_compiled_again(folder, compiled):
    assert run_doubled([1, 2]) == run_doubled([1, 2]) == [2, 4]
    assert compiled == ["test_cache.doubled"]
    assert run_doubled([1, 2], "float64") == [2, 4]
    assert compiled == ["test_cache.doubled"] * 2
    assert len([file for file in folder.iterdir() if file.name.startswith("test_cache.doubled-")]) == 2


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
def test_a_damaged_cache_file_is_compiled_again_and_replaced(folder, compiled, damage):
    run_doubled([1])
    (file,) = folder.glob("test_cache.doubled-*")
    file.write_bytes(damage(file.read_bytes()))
    assert run_doubled([3]) == [6]
    assert len(compiled) == 2
    assert run_doubled([3]) == [6]
    assert len(compiled) == 2, "the damaged file was replaced"


@pytest.mark.parametrize("damage", ["renamed", "moved"])
def test_a_cache_file_under_another_name_or_in_another_folder_is_not_loaded(folder, monkeypatch, compiled, damage):
    """A file that was renamed or moved holds code for another kernel or another CPU."""
    run_doubled([1])
    run_doubled([1], "float64")
    (file,), (other,) = folder.glob("test_cache.doubled-f-*"), folder.glob("test_cache.doubled-d-*")
    if damage == "renamed":
        shutil.copy(other, file)
    else:
        shutil.copytree(folder, folder.with_name("elsewhere"))
        monkeypatch.setattr(cache, "folder", lambda: folder.with_name("elsewhere"))
    assert run_doubled([3]) == [6]
    assert len(compiled) == 3


def test_a_cache_folder_that_cannot_be_written_gives_one_warning(tmp_path, monkeypatch, compiled):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "file" / "kernels")
    monkeypatch.setattr(cache, "_warned", [])
    with pytest.warns(UserWarning, match="not kept on disk.*MINIGRAD_CACHE_DIR"):
        assert run_doubled([1]) == [2]
    assert run_doubled([1]) == [2], "no second warning"
    assert len(compiled) == 2


def test_no_temporary_file_is_left_in_the_cache_folder(folder):
    run_doubled([1])
    assert {file.name.partition("-")[0] for file in folder.iterdir()} <= {"test_cache.doubled", "execute"}


def test_cache_key_changes_with_the_sources_of_the_runtime(tmp_path, monkeypatch):
    shutil.copytree(cache.SOURCES, tmp_path / "runtime")
    monkeypatch.setattr(cache, "SOURCES", tmp_path / "runtime")
    before = cache.folder_name()
    assert cache.folder_name() == before
    with open(tmp_path / "runtime" / "tile.py", "a", encoding="utf-8") as file:
        file.write("\n")
    assert cache.folder_name() != before


@pytest.mark.parametrize(
    "module, name, value",
    [
        (target, "CPU_NAME", "haswell"),
        (target, "CPU_FEATURES", "+avx2"),
        (cache.config, "OPT", "1"),
        (cache.config, "SLP_VECTORIZE", 1),
        (cache.numba, "__version__", "0.1"),
    ],
)
def test_cache_key_changes_with_cpu_versions_and_settings(monkeypatch, module, name, value):
    before = cache.folder_name()
    monkeypatch.setattr(module, name, value)
    assert cache.folder_name() != before


def test_cache_home_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path))
    assert cache.root_folder() == tmp_path
    monkeypatch.delenv("MINIGRAD_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.root_folder() == tmp_path / "xdg" / "minigrad"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache.root_folder() == tmp_path / "local" / "minigrad"


@pytest.fixture
def new_process(tmp_path, monkeypatch):
    """Return the function that finds the cache folder, as in a new process, and the folder of MINIGRAD_CACHE_DIR."""
    monkeypatch.setattr(cache, "_warned", [])
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "a" / "kernels"))
    return cache.folder.__wrapped__, tmp_path / "a" / "kernels"


def mode(path):
    """Return the permission bits of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


POSIX = pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX only")


@POSIX
def test_cache_folder_is_made_without_permissions_for_others(new_process):
    find, home = new_process
    assert find() == home / cache.folder_name()
    assert {mode(path) for path in (home.parent, home, home / cache.folder_name())} == {0o700}


@POSIX
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("linked", [False, True], ids=["plain", "linked"])
def test_cache_folder_that_others_can_write_to_is_not_used(new_process, monkeypatch, tmp_path, depth, linked):
    """The folder itself or a parent of it, in which it could be replaced."""
    find, home = new_process
    path = find()
    open_to_all = (path, *path.parents)[depth]
    open_to_all.chmod(0o777)
    if linked:
        (tmp_path / "link").symlink_to(home)
        monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "link"))
    with pytest.warns(UserWarning, match=f"another user can write to {open_to_all};"):
        assert find() is None
    assert find() is None, "no second warning"
    if depth:
        open_to_all.chmod(0o1777)  # as /tmp: nobody can replace the folders of others
        assert find() == path


@POSIX
@pytest.mark.parametrize(
    "owner, mode, shared, expected",
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
def test_cache_folder_is_used_only_if_no_other_user_can_write_to_it(monkeypatch, owner, mode, shared, expected):
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    uid = {"me": 4321, "root": 0, "other": 4322}[owner]
    status = os.stat_result((mode, 0, 0, 1, uid, 98765, 0, 0, 0, 0))
    assert cache._is_protected(status, shared) == expected


WITHOUT_HOME = """
    import os, pwd, warnings
    def nobody(uid): raise KeyError(uid)
    pwd.getpwuid = nobody
    for name in ("HOME", "XDG_CACHE_HOME", "MINIGRAD_CACHE_DIR"): os.environ.pop(name, None)
    import minigrad as mg
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        print((mg.ones(3) * 2).sum().item(), len(warned), "MINIGRAD_CACHE_DIR" in str(warned[0].message))
"""


@POSIX
def test_without_a_home_folder_kernels_are_not_cached():
    assert run_python(WITHOUT_HOME) == ["6.0", "1", "True"]


def test_cache_removes_the_least_recently_used_folders_and_files(new_process, monkeypatch):
    find, home = new_process
    names = [f"{number:016x}" for number in range(10)]
    for age, name in enumerate([*names, "ffffffffffffffff", "notes"]):
        (home / name).mkdir(parents=True)
        (home / name / ("execute" if name in names else "mine")).touch()
        os.utime(home / name, (1000 - age, 1000 - age))
    path = find()
    monkeypatch.setattr(cache, "folder", lambda: path)
    monkeypatch.setattr(cache, "MAX_BYTES", 500)
    for age, name in enumerate("abc"):
        (path / name).write_bytes(bytes(200))
        os.utime(path / name, (1000 - age, 1000 - age))
    cache.save_bytes("d", bytes(50))
    kept = {folder.name for folder in home.iterdir()}
    assert kept == {path.name, "ffffffffffffffff", "notes", *names[: cache.MAX_FOLDERS - 1]}
    assert {file.name for file in path.iterdir()} == {"a", "b", "d"}


def test_a_second_process_compiles_nothing(tmp_path):
    code = """
        import minigrad as mg
        from minigrad.runtime import kernel
        names = []
        kernel.compile_listeners.append(lambda name, seconds: names.append(name))
        x = mg.tensor([1.0, 2.0], requires_grad=True)
        (x + x).sum().backward()
        print(len(names), x.grad.tolist()[0])
    """
    first, value = run_python(code, MINIGRAD_CACHE_DIR=str(tmp_path))
    assert int(first) >= 1 and value == "2.0"
    assert run_python(code, MINIGRAD_CACHE_DIR=str(tmp_path)) == ["0", "2.0"]


def test_missing_collects_kernels_that_must_be_compiled(folder, compiled):
    """Inside kernels.missing() nothing runs and nothing is compiled; its jobs compile the missing kernels."""
    run, x, out = Kernel(doubled), np.ones(2, "f4"), np.zeros(2, "f4")
    with kernels.collect_missing_kernels() as jobs:
        run(2, x, out)
        run(2, x, out)
    assert (len(jobs), compiled, out.tolist()) == (1, [], [0, 0])
    for job in jobs.values():
        job()
    assert compiled == ["test_cache.doubled"]
    run(2, x, out)
    assert (len(compiled), out.tolist()) == (1, [2, 2])


# ---- fingerprints of kernels


def test_two_kernels_of_the_same_name_are_different():
    """Both kernels are lambdas in one file."""
    x, out = np.float32([3]), np.empty(1, "f4")
    for function, expected in ((lambda a: a + a, 6), (lambda a: a * a * a, 27)):
        Elementwise(function)(x, out)
        assert out.item() == expected


def test_two_kernels_with_different_closures_are_different():
    x, out = np.float32([3]), np.empty(1, "f4")

    def make_kernel(factor):
        def scaled(a):
            return a * factor

        return Elementwise(scaled)

    for factor in (np.float32(2), np.float32(5)):
        make_kernel(factor)(x, out)
        assert out.item() == 3 * factor


def test_kernels_of_the_same_name_in_two_sessions_are_different(tmp_path):
    """Functions that are typed at a prompt have no source file."""
    for body, expected in (("a + a", "6.0"), ("a * a * a", "27.0")):
        code = f"""
            import numpy as np
            from minigrad.runtime.elementwise import Elementwise
            def fresh(a): return {body}
            x = np.array([3.0], 'f4'); out = np.empty(1, 'f4')
            Elementwise(fresh)(x, out); print(out.item())
        """
        assert run_python(code, MINIGRAD_CACHE_DIR=str(tmp_path)) == [expected]


def function_from(text, **names):
    """Return the function `f` that a source text defines."""
    scope = {"__name__": "mine", "np": np, "helper": kernels.helper, **names}
    exec(textwrap.dedent(text), scope)
    return scope["f"]


SOURCE = """
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
def test_fingerprint_changes_with_everything_that_a_kernel_uses(before, value):
    """Comments and names that the kernel does not use do not affect its fingerprint."""
    everything = [(before, value), ("", "x[task] * 2"), ("# other\n    k = 7", value if not before else "x[task] * 2")]
    one, two, three = (kernel_fingerprint(function_from(SOURCE.format(before=b, value=v))) for b, v in everything)
    assert one != two
    assert three == (one if not before else two)
    assert one == kernel_fingerprint(function_from(SOURCE.format(before=before, value=value)))


def test_fingerprint_changes_with_the_kinds_of_arguments():
    """The condition of the same loop is an array of bytes or of floats."""
    x, c, out = np.float32([3, 4]), np.array([True, False]), np.empty(2, "f4")
    for kind, first, expected in ((Bytes, c, [3, 0]), (Memory, np.float32([0, 2]), [0, 4])):
        Elementwise(_kept_where, (kind, Memory, Memory))(first, x, out)
        assert out.tolist() == expected


def _kept_where(c, a):
    return a if c else a - a


def test_fingerprint_changes_with_the_file_of_an_overloaded_function(tmp_path):
    """A kernel does not name the overload, which is in the file of the function."""
    found = set()
    for text in ("# one", "# two"):
        (tmp_path / "mine.py").write_text(f"def g(a): return a  {text}")
        scope = {"__name__": "mine"}
        exec(compile((tmp_path / "mine.py").read_text(), tmp_path / "mine.py", "exec"), scope)
        marks._hash_file.cache_clear()
        found.add(kernel_fingerprint(function_from(SOURCE.format(before="", value="g(x[task])"), g=scope["g"])))
    assert len(found) == 2


def test_the_first_call_of_a_module_compiles_its_kernels_together_and_changes_nothing_else(tmp_path):
    """Weights, buffers, versions and random numbers are the same with an empty cache and with a full one."""
    code = """
        import minigrad as mg
        from minigrad import nn, precompile
        from minigrad.runtime import kernel
        names, together = [], []
        kernel.compile_listeners.append(lambda name, seconds: names.append(name))
        compile_jobs = precompile._compile
        precompile._compile = lambda jobs, workers: (together.append(len(jobs)), compile_jobs(jobs, workers))
        precompile._count_workers = lambda: 2
        mg.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 2))
        x = mg.rand(4, 3, requires_grad=True)
        scaled, hooked = x * 2, []
        scaled.register_hook(hooked.append)
        model[0].weight.register_hook(hooked.append)
        names.clear()
        loss = model(scaled).square().sum()
        loss.backward()
        assert len(hooked) == 2
        tensors = [*model.state_dict().values(), *[p.grad for p in model.parameters()], mg.rand(2), loss]
        print(len(together), [x._storage.version for x in model.state_dict().values()], [x.tolist() for x in tensors])
        print(model[1].num_batches_tracked.item())
    """
    cold = run_python(code, MINIGRAD_CACHE_DIR=str(tmp_path))
    warm = run_python(code, MINIGRAD_CACHE_DIR=str(tmp_path))
    assert (cold[0], warm[0], cold[-1], cold[1:]) == ("1", "0", "1", warm[1:])


def test_compile_together_leaves_out_what_fails(tmp_path):
    code = """
        import minigrad as mg
        from minigrad.precompile import compile_together
        x = mg.tensor([1.0, 2.0])
        def step():
            (x * x).exp()
            raise ValueError("not the same as inside")
        with compile_together(step):
            print((x * x).tolist(), (x + x).tolist())
    """
    assert run_python(code, MINIGRAD_CACHE_DIR=str(tmp_path)) == ["[1.0,", "4.0]", "[2.0,", "4.0]"]


def test_compiling_ahead_draws_no_random_numbers(tmp_path):
    """A module that draws some, and is a formula, gives the same numbers with an empty cache and with a full one."""
    (tmp_path / "noisy.py").write_text(
        "import minigrad as mg\n"
        "class Noisy(mg.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = mg.nn.Linear(4, 3)\n"
        "    def forward(self, x):\n"
        "        return mg.tanh(self.fc(x)) + mg.rand(2, 3)\n"
    )
    code = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import minigrad as mg
        from noisy import Noisy
        from minigrad import precompile
        precompile._count_workers = lambda: 2
        mg.manual_seed(0)
        print(Noisy()(mg.ones(2, 4)).tolist(), mg.rand(1).item())
    """
    cache = str(tmp_path / "kernels")
    assert run_python(code, MINIGRAD_CACHE_DIR=cache) == run_python(code, MINIGRAD_CACHE_DIR=cache)


@pytest.mark.skipif(sys.platform != "linux", reason="compiles in one process elsewhere")
def test_a_failure_while_compiling_in_several_processes_leaves_nothing_behind(tmp_path):
    code = """
        import os, signal
        from tqdm import tqdm
        from minigrad import precompile

        def fail():
            raise KeyboardInterrupt

        workers = precompile._count_workers()
        precompile._compile([lambda: None] * 3, 2)
        assert precompile._count_workers() == workers  # the bar has left a thread
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            try:
                precompile._compile([fail] * 4, 2)
            except KeyboardInterrupt:
                print("stopped")
        assert len(os.listdir("/proc/self/fd")) == before
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            print("no child")
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        precompile._compile([lambda: None] * 4, 2)
    """
    assert run_python(code, MINIGRAD_CACHE_DIR=str(tmp_path)) == ["stopped"] * 3 + ["no", "child"]
