"""The machine code of the compiled kernels: float32 arithmetic only, whole vectors, nothing spilled."""

import re

import numpy as np
import pytest
from helpers import find_kernels

from minigrad.runtime import tile
from minigrad.runtime.kernel import Kernel, Tile

KERNELS = find_kernels()
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
