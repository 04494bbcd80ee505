"""Kernels compiled for another CPU by NUMBA_CPU_NAME, and minigrad without a compiler."""

import platform

import pytest
from helpers import DOUBLE_AND_SUM, error_of_python, run_python

import minigrad as mg
from minigrad.runtime import target

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
    print(tile.VECTOR_BYTES, tile.choose_tile(6, 1000, np.dtype("float32"))[1])
"""


X86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86-64 only")


@X86
def test_conv2d_compiled_for_the_baseline_x86_64_equals_numpy():
    """The instructions that every x86-64 CPU has."""
    assert run_python(CONVOLUTION, NUMBA_CPU_NAME="x86-64") == ["16", "2"]


@X86
@pytest.mark.skipif("vfmadd" not in target.INSTRUCTIONS, reason="needs AVX2")
def test_conv2d_compiled_for_haswell_equals_numpy():
    environment = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
    assert run_python(CONVOLUTION, **environment) == ["32", "2"]


MACHINE_CODE = """
    import re
    from minigrad.ops.matmul import gemm_kernel
    from minigrad.runtime import cache, kernel, target
    code = gemm_kernel._compile(kernel.FLOATS["f"], (4, 2, target.VECTOR_BYTES // 4))._library.get_asm_str()
    print(cache.folder_name(), target.VECTOR_BYTES, *sorted(set(re.findall("%([xyz]mm)", code))))
"""


@X86
def test_machine_code_vector_width_and_cache_key_follow_the_cpu_name():
    """NUMBA_CPU_NAME alone selects the instructions of that CPU, also if this machine has others."""
    keys = set()
    for name, width, widest in (("x86-64", "16", "xmm"), ("haswell", "32", "ymm"), ("skylake-avx512", "64", "zmm")):
        key, *found = run_python(MACHINE_CODE, NUMBA_CPU_NAME=name)
        assert (found[0], found[-1]) == (width, widest)
        keys.add(key)
    assert len(keys) == 3


@X86
@pytest.mark.skipif("zmm" in target.INSTRUCTIONS, reason="needs a machine without AVX-512")
def test_a_cpu_name_with_instructions_that_this_machine_lacks_is_refused():
    said = error_of_python(DOUBLE_AND_SUM, NUMBA_CPU_NAME="skylake-avx512")
    assert "DeviceError" in said and "zmm, which this machine" in said


def test_a_compiler_that_was_set_up_for_another_cpu_is_refused(monkeypatch):
    monkeypatch.setattr(target, "CPU_FEATURES", "+other")
    with pytest.raises(mg.errors.DeviceError, match=r"expected .* \+other; import minigrad before"):
        target.target_context.__wrapped__()


def test_device_numpy_works_without_the_compiler():
    code = "import minigrad as mg; print((mg.ones(4, device='numpy') * 2).sum().item())"
    assert run_python(code, NUMBA_DISABLE_JIT="1") == ["8.0"]
