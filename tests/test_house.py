"""The house rules: which file may import which, what a kernel's columns are, and what their machine code holds."""

import ast
import builtins
import doctest
import gc
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import pytest

import minigrad
from minigrad import ops
from minigrad.ops.op import OPS, Dispatch
from minigrad.runtime import tile
from minigrad.runtime.kernel import Kernel, Tile

ROOT = Path(minigrad.__file__).parent
SOURCES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.glob("**/*.py"))
}
FLOORS = [  # from the ground up; a name stands for all within it, the longest one counts
    {"minigrad.runtime", "minigrad.checks", "minigrad.errors", "minigrad.shapes", "minigrad.dependency"},
    {"minigrad.ops"},
    {"minigrad.tensors", "minigrad.tape", "minigrad.storage"},
    {"minigrad.nn.functional", "minigrad.creation", "minigrad.random"},
    {"minigrad.nn", "minigrad.optim", "minigrad.data", "minigrad.datasets", "minigrad.viz", "minigrad.models"},
    {
        "minigrad.serialization",
        "minigrad.testing",
        "minigrad.precompile",
        "minigrad.replay",
        "minigrad.profiler",
        "minigrad.cuda",
    },
    {"minigrad"},
]


def floor(module):
    """On which floor a module lives."""
    for name in (module.rsplit(".", n)[0] for n in range(module.count(".") + 1)):
        for height, floor in enumerate(FLOORS):
            if name in floor:
                return height
    raise AssertionError(f"{module} has no floor")


def package_of(module):
    return module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]


def tree_of(module):
    return ast.parse(SOURCES[module].read_text(encoding="utf-8"))


def imports(module):
    """Every import of a module, wherever it stands: modules of minigrad and others, by name."""
    package = package_of(module)
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                yield f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in SOURCES else origin


def imports_by_string(module):
    """Every module that a module imports later, with import_module("name")."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Call) and re.search(r"import_module$|__import__$", ast.unparse(node.func)):
            if isinstance(node.args[0], ast.Constant):
                yield importlib.util.resolve_name(node.args[0].value, package_of(module))
            else:
                yield "minigrad"  # a name that is computed may be any


def inside(module):
    return {name for name in imports(module) if name in SOURCES and name != module}


def test_the_walk_finds_imports():
    """Or the tests below would hold for nothing."""
    assert {"minigrad.ops", "minigrad.tape", "minigrad.errors", "numpy"} <= set(imports("minigrad.tensors"))
    assert {"minigrad.ops.op", "minigrad.runtime.tile"} <= inside("minigrad.ops.conv2d")
    assert {"minigrad.nn", "minigrad.viz"} <= inside("minigrad")
    assert set(imports_by_string("minigrad.runtime.device")) == {"minigrad.runtime.cuda.device"}
    assert set(imports_by_string("minigrad")) == {"minigrad"}
    assert len(SOURCES) > 40


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_down(module):
    for name in {*inside(module), *imports_by_string(module)}:
        assert floor(name) <= floor(module), f"{module} climbs to {name}"


def test_imports_go_in_no_circle():
    try:
        TopologicalSorter({module: inside(module) for module in SOURCES if module.count(".") != 0}).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("module", [name for name in SOURCES if not name.startswith("minigrad.runtime")])
def test_only_the_runtime_imports_numba(module):
    names = {*imports(module), *imports_by_string(module)}
    assert not {name.partition(".")[0] for name in names} & {"numba", "llvmlite"}


@pytest.mark.parametrize("module", [name for name in SOURCES if name.startswith("minigrad.ops")])
def test_an_operation_never_asks_on_which_device_it_runs(module):
    """The device is one dictionary lookup, in Dispatch."""
    for node in ast.walk(ast.parse(SOURCES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.If | ast.IfExp | ast.Match):
            question = node.subject if isinstance(node, ast.Match) else node.test
            asked = {name.id for name in ast.walk(question) if isinstance(name, ast.Name)}
            assert "device" not in asked, f"{module}, line {node.lineno}"


def test_no_scipy():
    """Merely having it costs 0.12 s at each start."""
    assert not any(name.startswith("scipy") for module in SOURCES for name in imports(module))


# ---- `import minigrad` alone

PARTS = {module.name for module in pkgutil.iter_modules(minigrad.__path__)}
LATER = set(minigrad.LATER)


def examples():
    """The Python of every docstring's example, with the name of its module."""
    for module in SOURCES:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
                if found:
                    yield module, ast.parse("".join(example.source for example in found))


def dotted_names(tree):
    """What an example takes from `import minigrad as mg`, as nn.functional.relu."""
    chains = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {chain.removeprefix("mg.") for chain in chains if re.fullmatch(r"mg(\.\w+)+", chain)}


ASKED = sorted(PARTS.union({"optim.lr_scheduler.StepLR"}, *(dotted_names(tree) for _, tree in examples())))
FRESH = """
import sys, minigrad as mg
loaded, listed = list(sys.modules), dir(mg)
import json, operator, threading
found, missing = [], []
threads = [threading.Thread(target=lambda: found.append(mg.data.DataLoader)) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for name in json.load(sys.stdin):
    try:
        operator.attrgetter(name)(mg)
    except AttributeError as error:
        missing.append(f"{name}: {error}")
import minigrad.nn as nn
from minigrad import optim
same = nn is mg.nn and optim is mg.optim and len(found) == 8 and set(found) == {mg.data.DataLoader}
print(json.dumps({"loaded": loaded, "listed": listed, "missing": missing, "same": same}))
"""


@pytest.fixture(scope="module")
def fresh():
    """What a new process finds that imports minigrad and nothing else."""
    run = subprocess.run([sys.executable, "-c", FRESH], input=json.dumps(ASKED), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_layers_and_tools_are_imported_when_first_asked_for(fresh):
    """Each would make the import longer: Matplotlib alone takes as long as all the rest."""
    assert set(fresh["loaded"]) & {*SOURCES} >= {"minigrad", "minigrad.tensors"}
    late = {name for name in fresh["loaded"] if name.startswith(tuple(f"minigrad.{part}" for part in LATER))}
    assert not late | ({"matplotlib", "PIL", "tqdm"} & {*fresh["loaded"]})


def test_import_minigrad_alone_finds_every_part_and_what_examples_use(fresh):
    assert {"optim.SGD", "randn", "viz"} <= {*ASKED}
    assert fresh["missing"] == []
    assert {*fresh["listed"]} >= PARTS
    assert fresh["same"]


def test_parts_that_come_later_are_there_for_type_checkers():
    """Under `if TYPE_CHECKING`."""
    (block,) = [node for node in tree_of("minigrad").body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    assert {alias.name for node in block.body for alias in node.names} == LATER <= PARTS


@pytest.mark.parametrize(
    ("name", "near"), [("Tensr", "Tensor"), ("optimm", "optim"), ("vis", "viz"), ("randnn", "randn")]
)
def test_a_misspelt_name_is_an_error_that_names_the_nearest(name, near):
    with pytest.raises(AttributeError, match=f"^minigrad has no attribute '{name}'; did you mean '{near}'\\?$"):
        getattr(minigrad, name)
    with pytest.raises(ImportError, match=f"cannot import name '{name}' from 'minigrad'"):
        exec(f"from minigrad import {name}")
    assert not hasattr(minigrad, "__wrapped__")


def test_the_names_in_examples_are_there():
    """Made by the example itself, builtin, or of the module whose docstring it stands in."""
    count = 0
    for module, tree in examples():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        made = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        made |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        made |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        made |= {
            (alias.asname or alias.name).partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        if names - made:
            made |= {*dir(builtins), *vars(importlib.import_module(module))}
        assert names <= made, f"an example in {module}"
        count += 1
    assert count > 100


# ---- kernels and columns

for _module in pkgutil.iter_modules(ops.__path__, "minigrad.ops."):
    if not _module.ispkg:  # the cuda columns want a GPU; test_cuda.py compiles them without
        importlib.import_module(_module.name)
COLUMNS = {columns.name: columns for columns in gc.get_objects() if type(columns) is Dispatch}
KERNELS = {
    kernel.name: kernel
    for kernel in gc.get_objects()
    if isinstance(kernel, Kernel) and kernel.source.__module__.startswith("minigrad.")
}


def test_kernels_and_columns_are_found():
    assert {"conv2d", "matmul", "add", "max_pool2d_back", "adam", "images"} <= set(COLUMNS)
    assert {"conv2d.conv2d_kernel", "matmul.gemm_kernel", "arithmetic._add", "reduction.sum_kernel"} <= set(KERNELS)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_kernel_has_a_judge_and_a_cpu_column(name):
    assert {"numpy", "cpu"} <= set(COLUMNS[name])


@pytest.mark.parametrize("name", COLUMNS)
def test_the_columns_of_a_kernel_have_one_signature(name):
    signatures = []
    for column in COLUMNS[name].values():
        parameters = [] if isinstance(column, np.ufunc) else inspect.signature(column).parameters.values()
        if parameters and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            signatures.append([p.name for p in parameters if p.default is p.empty])
    assert all(signature == signatures[0] for signature in signatures)
    for signature in signatures:
        assert not {"out", "dx", "dw"} & set(signature[:1]), "what is filled stands behind what is read"


@pytest.mark.parametrize("name", OPS)
def test_a_rule_names_what_there_is(name):
    """Every argument of a gradient rule is an input, its shape, a setting, or what the forward gives."""
    operation = OPS[name]
    if operation.rule is None:
        return
    parameters = inspect.signature(operation.forward).parameters
    known = set(parameters) | {f"{name}_shape" for name in parameters} | {"out", "saved", "shapes"}
    assert set(list(inspect.signature(operation.rule).parameters)[2:]) <= known


# ---- machine code

COMPUTES = re.compile(r"\b(fadd|fsub|fmul|fdiv|frem|fneg|fpext|sitofp|uitofp)\b[^\n]*\bdouble\b|call[^\n]*\bdouble\b")
FORMS = {"few": (4, 1, True), "many": (6, 2, False)}


def test_the_search_for_float64_finds_it():
    doubled = Kernel(KERNELS["reduction.sum_kernel"].function)
    assert COMPUTES.search(doubled.llvm("d", FORMS["few"]))


@pytest.mark.parametrize("name", KERNELS)
def test_float32_stays_float32(name):
    """Numba makes float64 of x * 0.5 or max(x, 0.0); a kernel may convert its arguments, and must not compute in it."""
    kernel = KERNELS[name]
    code = kernel.llvm("f", FORMS["few"] if Tile in kernel.kinds else None)
    found = COMPUTES.search(code)
    assert found is None, found.group()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name in KERNELS if re.match(r"(conv2d|matmul)\..*(conv2d|gemm)", name)])
def test_a_tile_is_multiplied_by_whole_vectors(name, form):
    """One fused multiply-add for each vector of the tile, on vectors as wide as the machine's."""
    rows, cols, masked = FORMS[form]
    code = KERNELS[name].llvm("f", (rows, cols, masked))
    vector = f"<{tile.VECTOR_BYTES // 4} x float>"
    calls = re.findall(rf"call[^\n]*{re.escape(vector)} @llvm\.(?:fmuladd|fma)\.", code)
    assert len(calls) >= rows * cols
    assert ("llvm.masked.load" in code) == masked


@pytest.mark.parametrize("name", [name for name in KERNELS if re.match(r"pool2d|reduction.sum", name)])
def test_one_row_of_a_tile_is_whole_vectors(name):
    """Pooling and sums read and write vectors as wide as the machine's, and nothing narrower."""
    code = KERNELS[name].llvm("f", (1, 4, False))
    sizes = {int(lanes) for lanes in re.findall(r"(?:load|store) <(\d+) x float>", code)}
    assert sizes == {tile.VECTOR_BYTES // 4}


def test_registers_are_not_spilt_to_memory():
    """The accumulators of a tile live in registers: no vector is allocated on the stack."""
    code = KERNELS["matmul.gemm_kernel"].llvm("f", tile.choose(6, 1000, np.dtype("float32")))
    assert not re.search(r"alloca[^\n]*x float>", code)
