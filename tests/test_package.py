"""The package as a user gets it: public names, wheel and source distribution, types, and the API reference."""

import inspect
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "tests" / "user_program.py"
HIDDEN_BUT_SHIPPED = {".ci", ".github", ".pre-commit-config.yaml"}
MADE = {"__pycache__", "build", "dist", "runs", "minigrad.egg-info"}


def not_shipped(folder, names):
    """The names in a folder of the project that no distribution holds."""
    return {name for name in names if name in MADE or (name.startswith(".") and name not in HIDDEN_BUT_SHIPPED)}


def run(*command, **settings):
    """The output of a command, which must succeed."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, encoding="utf-8", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- public names


def test_dir_lists_the_public_names_alone():
    assert dir(mg) == sorted([*mg.__all__, "__version__"])
    assert len(set(mg.__all__)) == len(mg.__all__)
    assert {"Tensor", "tensor", "device", "dtype", "float32", "graph", "save", "sum"} <= {*mg.__all__}
    assert {"cuda", "data", "datasets", "errors", "models", "nn", "optim", "random", "viz"} <= {*mg.__all__}
    assert not {"annotations", "difflib", "importlib", "ops", "runtime", "tape", "tensors"} & {*dir(mg)}


@pytest.mark.parametrize("name", mg.__all__)
def test_public_names_exist(name):
    assert getattr(mg, name) is not None


def test_star_import_gives_the_public_names():
    scope = {}
    exec("from minigrad import *", scope)
    assert set(scope) - {"__builtins__"} == {*mg.__all__}


def test_dtype_and_device_are_classes():
    assert isinstance(mg.float32, mg.dtype)
    assert isinstance(mg.bool, mg.dtype)
    assert isinstance(mg.ones(1).device, mg.device)


FUNCTIONS = [name for name in mg.__all__ if hasattr(getattr(mg, name), "__wrapped__")]


def test_methods_that_are_functions_are_found():
    assert {"sum", "relu", "softmax", "max", "reshape", "any", "clip", "matmul"} <= {*FUNCTIONS}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_has_the_signature_and_docstring_of_the_method(name):
    function, method = getattr(mg, name), getattr(mg.Tensor, name)
    names, defaults = zip(*[(p.name, p.default) for p in inspect.signature(method).parameters.values()], strict=True)
    parameters = inspect.signature(function).parameters.values()
    assert [p.name for p in parameters] == ["input", *names[1:]]
    assert [p.default for p in parameters] == [*defaults]
    assert function.__doc__ == method.__doc__


def test_help_of_a_function_reads_like_a_function():
    assert str(inspect.signature(mg.sum)) == "(input, dim=None, keepdim=False, *, dtype=None)"
    assert mg.sum.__module__ == "minigrad.functions"
    assert mg.sum.__qualname__ == "sum"


def test_function_computes_what_the_method_computes():
    x = mg.tensor([[1.0, 5.0], [4.0, 2.0]])
    assert mg.sum(input=x).item() == 12.0
    assert mg.sum(x, 1).tolist() == mg.sum(x, dim=1).tolist() == [6.0, 6.0]
    assert mg.max(x, dim=0).indices.tolist() == [1, 0]
    assert mg.reshape(x, 4).shape == mg.reshape(x, (4,)).shape == (4,)


@pytest.mark.parametrize("function", [*(getattr(mg, name) for name in FUNCTIONS), F.sigmoid, F.softmax])
@pytest.mark.parametrize(("value", "kind"), [([1, 2], "list"), (np.ones(2), "ndarray"), (None, "NoneType")])
def test_function_of_anything_but_a_tensor_is_an_error(function, value, kind):
    with pytest.raises(mg.errors.DtypeError, match=f"expected a Tensor, got {kind}; use mg.tensor"):
        function(value)


def test_error_names_the_function():
    with pytest.raises(mg.errors.DtypeError, match="^sum: "):
        mg.sum([1, 2])


# ---- the distributions


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """A folder with the source distribution, and the wheel that is built from it; no network."""
    folder = tmp_path_factory.mktemp("distributions")
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=not_shipped)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, tree)
    return folder


def the_file(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


def test_source_distribution_holds_what_the_tests_read(distributions):
    with tarfile.open(the_file(distributions, "*.tar.gz")) as archive:
        names = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in archive.getnames()}
    tree = distributions / "tree"
    files = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    assert not {name for name in files if ".egg-info" not in name} - names
    assert {"tests/conftest.py", "tests/cases.py", "tests/user_program.py", "benchmarks/harness.py"} <= names
    assert {"examples/train_mnist.py", "examples/pictures/filters.png", "CHANGELOG.md", "CONTRIBUTING.md"} <= names
    assert {".ci/run", ".github/workflows/test.yml", ".pre-commit-config.yaml", "docs/module.html.jinja2"} <= names
    assert not [name for name in names if "__pycache__" in name]


def test_wheel_holds_the_package_alone(distributions):
    wheel = the_file(distributions, "*.whl")
    assert wheel.name == f"minigrad-{mg.__version__}-py3-none-any.whl"
    names = {*zipfile.ZipFile(wheel).namelist()}
    assert {name.partition("/")[0] for name in names} == {"minigrad", f"minigrad-{mg.__version__}.dist-info"}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "minigrad").rglob("*.py")}
    assert sources <= names
    assert {"minigrad/py.typed", "minigrad/datasets/mnist/t10k-labels-idx1-ubyte.gz"} <= names


def test_version_stands_in_one_place():
    version = mg.__version__
    found = [
        path.name
        for path in [ROOT / "pyproject.toml", *(ROOT / "minigrad").rglob("*.py")]
        if f'"{version}"' in path.read_text(encoding="utf-8")
    ]
    assert found == ["__init__.py"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("[", "").replace("]", "")


BUILD_EDITABLE = "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"


def test_editable_install_is_a_plain_path(distributions):
    """Type checkers and editors follow a path in a .pth file; they do not run an import hook."""
    code = "from setuptools import build_meta; print(build_meta.build_editable(r'{}'))".format(
        distributions / "editable"
    )
    (distributions / "editable").mkdir()
    run(sys.executable, "-c", code, cwd=distributions / "tree")
    archive = zipfile.ZipFile(the_file(distributions / "editable", "*.whl"))
    (pth,) = [name for name in archive.namelist() if "dist-info" not in name]
    assert Path(archive.read(pth).decode().strip()) == distributions / "tree"


# ---- the wheel, installed


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory):
    """The interpreter of an environment in which the wheel is installed; what it depends on is found in ours."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    wheel = the_file(distributions, "*.whl")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", site, wheel)
    (site / "dependencies.pth").write_text(str(Path(np.__file__).parents[1]))
    return python


@pytest.fixture
def program(tmp_path):
    """The user's program in an empty folder, without configuration of mypy or pyright."""
    return Path(shutil.copy(PROGRAM, tmp_path))


def test_program_runs_with_the_wheel(installed, program):
    where = "import minigrad; print(minigrad.__file__, minigrad.__version__)"
    file, version = run(installed, "-c", where, cwd=program.parent).split()
    assert Path(file).is_relative_to(installed.parents[1])
    assert version == mg.__version__
    text = run(installed, "-X", "utf8", program, program.parent, cwd=program.parent)
    assert "SmallCNN on one image" in text
    assert "accuracy" in text
    assert (program.parent / "small_cnn.safetensors").exists()


def test_mypy_strict_accepts_the_program(installed, program):
    command = [
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--cache-dir=cache",
        "--python-executable",
        installed,
        program,
    ]
    run(sys.executable, *command, cwd=program.parent)


def test_pyright_accepts_the_program(installed, program):
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    run(sys.executable, "-m", "pyright", "--pythonpath", installed, program, cwd=program.parent, env=environment)


# ---- the API reference


def test_reference_builds_without_warnings(tmp_path):
    pytest.importorskip("pdoc")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pdoc", "-t", str(ROOT / "docs"), "-o", str(tmp_path), "minigrad"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    page = (tmp_path / "minigrad" / "nn" / "functional.html").read_text(encoding="utf-8")
    assert "\nstride    pixels  " in page, "the blocks of arguments keep their columns"
    assert 'errors.html#ShapeError">ShapeError</a>' in page
    assert not (tmp_path / "minigrad" / "runtime.html").exists()
