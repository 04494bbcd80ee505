"""The CPU that kernels are compiled for: this one, or the one that NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name.

The shapes of register tiles (tile.py) and the name of the cache folder (cache.py) both follow from what stands here.
"""

import platform
from functools import cache

from llvmlite import binding
from numba.core import codegen, config
from numba.core.registry import cpu_target

from ..errors import DeviceError

MACHINE = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
LEAST = {"x86_64": "+64bit,+sse2"}.get(MACHINE, "")  # what every CPU of the kind has
PROBE = """
define <16 x float> @probe(<16 x float> %a, <16 x float> %b) {
    %c = call <16 x float> @llvm.fmuladd.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %b)
    ret <16 x float> %c
}
declare <16 x float> @llvm.fmuladd.v16f32(<16 x float>, <16 x float>, <16 x float>)
"""


def _chosen() -> tuple[str, str]:
    """Name and features of the CPU, as Numba will hand them to LLVM.

    Where a name is given without features Numba would add those of the present machine, and code for a small CPU would
    hold instructions that only this one has.
    """
    if config.CPU_NAME and config.CPU_FEATURES is None:
        config.CPU_FEATURES = LEAST
    config.CPU_NAME = config.CPU_NAME or None
    name = config.CPU_NAME or binding.get_host_cpu_name()
    return name, codegen.get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES


def _instructions(name: str, features: str) -> set[str]:
    """Which of the wide instructions LLVM uses for a CPU."""
    machine = binding.Target.from_default_triple().create_target_machine(cpu=name, features=features)
    code = machine.emit_assembly(binding.parse_assembly(PROBE))
    return {word for word in ("zmm", "ymm", "vfmadd") if word in code}


codegen.initialize_llvm()
NAME, FEATURES = _chosen()
INSTRUCTIONS = _instructions(NAME, FEATURES)
VECTOR_BYTES = 64 if "zmm" in INSTRUCTIONS else 32 if "ymm" in INSTRUCTIONS else 16
REGISTERS = 32 if VECTOR_BYTES == 64 or MACHINE == "aarch64" else 16  # SIMD registers


@cache
def context():
    """Numba's target, whose code runs here and is for the CPU above.

    Raises   DeviceError   Numba's compiler is off, or compiles for another CPU, or this machine lacks instructions
    """
    if config.DISABLE_JIT:
        raise DeviceError("minigrad: NUMBA_DISABLE_JIT is set, device 'cpu' compiles; unset it, or use device 'numpy'")
    _expect_instructions()
    found = cpu_target.target_context
    _, name, features = found.codegen().magic_tuple()
    if (name, features) != (NAME, FEATURES):
        raise DeviceError(
            f"minigrad: Numba compiles for {name} with {features or 'its own features'}, expected {NAME} with "
            f"{FEATURES or 'its own features'}; import minigrad before Numba compiles anything"
        )
    return found


def _expect_instructions() -> None:
    if config.CPU_NAME is None and config.CPU_FEATURES is None:
        return
    here = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    missing = INSTRUCTIONS - _instructions(*here)
    if missing:
        raise DeviceError(
            f"minigrad: code for {NAME} uses {', '.join(sorted(missing))}, which this machine ({here[0]}) lacks; unset "
            "NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, or name a CPU whose code runs here"
        )
