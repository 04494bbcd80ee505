"""Architecture: allowed imports, what `import minigrad` loads, and what every kernel and operation must have."""

import ast
import builtins
import doctest
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from helpers import find_dispatches, find_kernels, process_environment

import minigrad
from minigrad.ops.op import OPS

ROOT = Path(minigrad.__file__).parent
SOURCES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.glob("**/*.py"))
}
LEVELS = [  # from the lowest level up; the name of a package stands for its modules, the longest name counts
    {
        "minigrad.runtime",
        "minigrad.errors",
        "minigrad.shapes",
        "minigrad.checks",
        "minigrad.dependency",
        "minigrad.names",
        "minigrad.notebook",
        "minigrad.compiler",
    },
    {"minigrad.ops"},
    {
        "minigrad.tensors",
        "minigrad.element_type",
        "minigrad.methods",
        "minigrad.tape",
        "minigrad.storage",
        "minigrad.streams",
    },
    {
        *("minigrad.nn.functional", "minigrad.functions", "minigrad.creation", "minigrad.dtypes", "minigrad.linalg"),
        *("minigrad.products", "minigrad.random", "minigrad.autograd"),
        *("minigrad.replay", "minigrad.precompile"),
    },
    {
        *("minigrad.nn", "minigrad.optim", "minigrad.data", "minigrad.datasets", "minigrad.viz", "minigrad.models"),
        *("minigrad.utils", "minigrad.transforms", "minigrad.distributed"),
    },
    {
        "minigrad.serialization",
        "minigrad.testing",
        "minigrad.profiler",
        "minigrad.cuda",
        "minigrad.amp",
        "minigrad.backends",
        "minigrad.jit",
        "minigrad.module_files",
        "minigrad.torch_files",
        "minigrad.npz_files",
        "minigrad.onnx",
    },
    {"minigrad", "minigrad.viz.__main__"},
]


def level_of(module):
    """Return the index of a module's level in LEVELS."""
    for name in (module.rsplit(".", n)[0] for n in range(module.count(".") + 1)):
        for index, level in enumerate(LEVELS):
            if name in level:
                return index
    raise AssertionError(f"{module} is not in LEVELS")


def package_of(module):
    """Return the package that a module is in; a package is in itself."""
    return module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]


@cache
def syntax_tree(module):
    """Return the parsed source of a module."""
    return ast.parse(SOURCES[module].read_text(encoding="utf-8"))


def _walk_run_code(tree):
    """Yield the nodes of a syntax tree, except those that only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        yield node
        children = node.orelse if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else [node]
        for child in children:
            yield from _walk_run_code(child)


def imports(module):
    """Yield the name of every module that a module imports when it runs, inside functions too."""
    package = package_of(module)
    for node in _walk_run_code(syntax_tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                yield f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in SOURCES else origin


def imports_by_string(module):
    """Yield the name of every module that a module imports with import_module("name")."""
    for node in ast.walk(syntax_tree(module)):
        if isinstance(node, ast.Call) and re.search(r"import_module$|__import__$", ast.unparse(node.func)):
            if isinstance(node.args[0], ast.Constant):
                yield importlib.util.resolve_name(node.args[0].value, package_of(module))
            else:
                yield "minigrad"  # the name is computed and may be any


def minigrad_imports(module):
    """Return the other modules of minigrad that a module imports."""
    return {name for name in imports(module) if name in SOURCES and name != module}


def test_imports_are_found():
    assert {"minigrad.ops", "minigrad.tape", "minigrad.errors", "numpy"} <= set(imports("minigrad.tensors"))
    assert {"minigrad.ops.op", "minigrad.runtime.tile"} <= minigrad_imports("minigrad.ops.conv2d")
    assert {"minigrad.functions", "minigrad.replay"} <= minigrad_imports("minigrad")
    assert {"minigrad.ops.cuda", "minigrad.runtime.cuda.device"} <= minigrad_imports("minigrad.cuda")
    assert set(imports_by_string("minigrad")) == {"minigrad"}
    assert len(SOURCES) > 40


@pytest.mark.parametrize("module", SOURCES)
def test_modules_import_only_their_own_and_lower_levels(module):
    for name in {*minigrad_imports(module), *imports_by_string(module)}:
        assert level_of(name) <= level_of(module), f"{module} imports {name}"


def test_imports_have_no_cycle():
    try:
        imported = {module: {*minigrad_imports(module), *imports_by_string(module)} for module in SOURCES}
        del imported["minigrad"]  # which all others are imported through
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        pytest.fail(f"cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("module", [name for name in SOURCES if not name.startswith("minigrad.runtime")])
def test_only_the_runtime_imports_numba(module):
    names = {*imports(module), *imports_by_string(module)}
    assert not {name.partition(".")[0] for name in names} & {"numba", "llvmlite"}


@pytest.mark.parametrize("module", [name for name in SOURCES if name.startswith("minigrad.ops")])
def test_operations_do_not_branch_on_the_device(module):
    """Dispatch selects the implementation for a device by one dictionary lookup."""
    for node in ast.walk(syntax_tree(module)):
        if isinstance(node, ast.If | ast.IfExp | ast.Match):
            condition = node.subject if isinstance(node, ast.Match) else node.test
            names = {name.id for name in ast.walk(condition) if isinstance(name, ast.Name)}
            assert "device" not in names, f"{module}, line {node.lineno}"


def test_scipy_is_not_imported():
    """SciPy would make every start slower."""
    assert not any(name.startswith("scipy") for module in SOURCES for name in imports(module))


# ---- what `import minigrad` loads

PARTS = {module.name for module in pkgutil.iter_modules(minigrad.__path__)}
LATER = set(minigrad.LATER)


def docstring_examples():
    """Yield every example in a docstring as a syntax tree, with the name of its module."""
    for module in SOURCES:
        for node in ast.walk(syntax_tree(module)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
                if found:
                    yield module, ast.parse("".join(example.source for example in found))


def dotted_names(tree):
    """Return the names that an example uses from `import minigrad as mg`, such as nn.functional.relu."""
    chains = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {chain.removeprefix("mg.") for chain in chains if re.fullmatch(r"mg(\.\w+)+", chain)}


USED_NAMES = {name for _, tree in docstring_examples() for name in dotted_names(tree)}
USED_NAMES = sorted(USED_NAMES | PARTS | {"optim.lr_scheduler.StepLR"})
IMPORT_MINIGRAD = """
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
def loaded_names():
    """Return what a new process finds after `import minigrad as mg`."""
    command, names = [sys.executable, "-c", IMPORT_MINIGRAD], json.dumps(USED_NAMES)
    run = subprocess.run(command, input=names, env=process_environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_import_minigrad_does_not_load_lazy_modules(loaded_names):
    """The lazy modules and the libraries they need would make the import slower."""
    assert set(loaded_names["loaded"]) & {*SOURCES} >= {"minigrad", "minigrad.tensors"}
    late = {name for name in loaded_names["loaded"] if name.startswith(tuple(f"minigrad.{part}" for part in LATER))}
    assert not late | ({"matplotlib", "PIL", "tqdm"} & {*loaded_names["loaded"]})


def test_import_minigrad_gives_access_to_every_module_and_all_names_in_examples(loaded_names):
    assert {"optim.SGD", "randn", "viz"} <= {*USED_NAMES}
    assert loaded_names["missing"] == []
    assert {*loaded_names["listed"]} == {*minigrad.__all__, "__version__"}
    assert loaded_names["same"]


def test_lazy_modules_are_declared_for_type_checkers():
    """They are imported under `if TYPE_CHECKING`."""
    (block,) = [node for node in syntax_tree("minigrad").body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    assert {alias.name for node in block.body for alias in node.names} == LATER <= PARTS


@pytest.mark.parametrize(
    ("name", "near"), [("Tensr", "Tensor"), ("optimm", "optim"), ("vis", "viz"), ("randnn", "randn")]
)
def test_a_misspelt_name_of_minigrad_is_an_error_with_the_nearest_name(name, near):
    with pytest.raises(AttributeError, match=f"^mg has no '{name}'; there is {near}\\b"):
        getattr(minigrad, name)
    with pytest.raises(ImportError, match=f"cannot import name '{name}' from 'minigrad'"):
        exec(f"from minigrad import {name}")
    assert not hasattr(minigrad, "__wrapped__")


def test_all_names_in_docstring_examples_exist():
    """Every name is defined by the example, by its module, or builtin."""
    count = 0
    for module, tree in docstring_examples():
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


# ---- kernels and operations

DISPATCHES, KERNELS = find_dispatches(), find_kernels()


def test_kernels_and_dispatches_are_found():
    assert {"conv2d", "matmul", "add", "max_pool2d_back", "adam", "images"} <= set(DISPATCHES)
    assert {"conv2d.conv2d_kernel", "matmul.gemm_kernel", "arithmetic.add", "reduction.sum_kernel"} <= set(KERNELS)


@pytest.mark.parametrize("name", DISPATCHES)
def test_every_dispatch_has_an_implementation_for_numpy_and_cpu(name):
    assert {"numpy", "cpu"} <= set(DISPATCHES[name])


@pytest.mark.parametrize("name", DISPATCHES)
def test_implementations_of_a_dispatch_have_the_same_signature(name):
    dispatch = DISPATCHES[name]
    signatures = []
    for implementation in [dispatch.reference, *dispatch.values()]:
        parameters = inspect.signature(implementation).parameters.values()
        if parameters and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            signatures.append([p.name for p in parameters if p.default is p.empty])
    assert all(signature == signatures[0] for signature in signatures)
    for signature in signatures:
        assert not {"out", "dx", "dw"} & set(signature[:1]), "outputs follow inputs"


@pytest.mark.parametrize("name", [name for name, operation in OPS.items() if operation.rule])
def test_backward_formulas_have_known_arguments(name):
    """Every argument is an input or a setting of the operation, the shape of an input, the output, or saved."""
    operation = OPS[name]
    parameters = inspect.signature(operation.forward).parameters
    inputs = operation.inputs
    known = {*parameters, *inputs, *[f"{name}_shape" for name in inputs], "out", "saved", "shapes"}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    assert takes_any or {name for name, _, _ in operation.sources} <= known
