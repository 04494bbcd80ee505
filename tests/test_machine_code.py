"""The machine code of the compiled kernels: float32 arithmetic only, whole vectors, nothing spilled."""

import re

import numpy as np
import pytest
from helpers import find_kernels

from minigrad.runtime import tile
from minigrad.runtime.kernel import Kernel, Tile

KERNELS = {  # bits are those of whole numbers, which backend cpu leaves to NumPy
    name: kernel for name, kernel in find_kernels().items() if not name.startswith("mathematics.bitwise")
}
WIDE = {"scan.recurrence_kernel", "warp.moved_kernel", "warp.means_kernel"}  # float64 totals, and places as Pillow's
FLOAT64_ARITHMETIC = re.compile(
    r"\b(fadd|fsub|fmul|fdiv|frem|fneg|fpext|sitofp|uitofp)\b[^\n]*\bdouble\b|call[^\n]*\bdouble\b"
)
LANES = tile.VECTOR_BYTES // 4
FORMS = {"narrow vectors": (4, 1, 2), "whole vectors": (6, 2, LANES)}  # rows, columns in vectors, lanes


def test_float64_arithmetic_is_found_in_a_float64_kernel():
    doubled = Kernel(KERNELS["reduction.sum_kernel"].function)
    assert FLOAT64_ARITHMETIC.search(doubled.llvm("d", FORMS["narrow vectors"]))


@pytest.mark.parametrize("name", [name for name in KERNELS if name not in WIDE])
def test_kernels_of_float32_compute_in_float32(name):
    """Numba computes x * 0.5 or max(x, 0.0) of a float32 in float64.  A kernel may only convert its arguments."""
    kernel = KERNELS[name]
    code = kernel.llvm("f", FORMS["narrow vectors"] if Tile in kernel.kinds else None)
    found = FLOAT64_ARITHMETIC.search(code)
    assert found is None, found.group()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name in KERNELS if re.match(r"(conv2d|matmul)\..*(conv2d|gemm)", name)])
def test_convolution_and_matmul_kernels_multiply_whole_vectors(name, form):
    """There is a fused multiply-add for each vector of the tile."""
    rows, cols, vector = FORMS[form]
    code = KERNELS[name].llvm("f", FORMS[form])
    calls = re.findall(rf"call[^\n]*<{vector} x float> @llvm\.(?:fmuladd|fma)\.", code)
    assert len(calls) >= rows * cols


@pytest.mark.parametrize("name", [name for name in KERNELS if re.match(r"pool2d|reduction.sum", name)])
def test_pooling_and_sum_kernels_load_and_store_whole_vectors(name):
    """Pooling and sums load and store vectors of the full width of the machine only."""
    code = KERNELS[name].llvm("f", (1, 4, LANES))
    sizes = {int(lanes) for lanes in re.findall(r"(?:load|store) <(\d+) x float>", code)}
    assert sizes == {LANES}


def test_gemm_spills_no_registers():
    """The accumulators of a tile are in registers: no vector is allocated on the stack."""
    code = KERNELS["matmul.gemm_kernel"].llvm("f", tile.choose_tile(6, 1000, np.dtype("float32")))
    assert not re.search(r"alloca[^\n]*x float>", code)
