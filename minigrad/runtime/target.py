"""The CPU that kernels are compiled for: this one, or the one in NUMBA_CPU_NAME and NUMBA_CPU_FEATURES.

It decides the shapes of register tiles (tile.py) and the name of the cache folder (cache.py).
"""

import platform
from functools import cache

from llvmlite import binding
from numba.core import codegen, config
from numba.core.registry import cpu_target

from ..errors import DeviceError

MACHINE = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
BASELINE_FEATURES = {"x86_64": "+64bit,+sse2"}.get(MACHINE, "")  # of every CPU of this machine type
PROBE_CODE = """
define <16 x float> @probe(<16 x float> %a, <16 x float> %b) {
    %c = call <16 x float> @llvm.fmuladd.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %b)
    ret <16 x float> %c
}
declare <16 x float> @llvm.fmuladd.v16f32(<16 x float>, <16 x float>, <16 x float>)
"""


def _choose_cpu() -> tuple[str, str]:
    """The name and the features of the CPU, as Numba passes them to LLVM.

    If only a name is set, Numba would add the features of this machine, and code for an older CPU would use
    instructions that it lacks; so the baseline features are set.
    """
    if config.CPU_NAME and config.CPU_FEATURES is None:
        config.CPU_FEATURES = BASELINE_FEATURES
    config.CPU_NAME = config.CPU_NAME or None
    name = config.CPU_NAME or binding.get_host_cpu_name()
    return name, codegen.get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES


def _vector_instructions(name: str, features: str) -> set[str]:
    """The vector registers and instructions that LLVM uses for a CPU: "zmm", "ymm" and "vfmadd" or fewer."""
    machine = binding.Target.from_default_triple().create_target_machine(cpu=name, features=features)
    code = machine.emit_assembly(binding.parse_assembly(PROBE_CODE))
    return {word for word in ("zmm", "ymm", "vfmadd") if word in code}


codegen.initialize_llvm()
CPU_NAME, CPU_FEATURES = _choose_cpu()
INSTRUCTIONS = _vector_instructions(CPU_NAME, CPU_FEATURES)
VECTOR_BYTES = 64 if "zmm" in INSTRUCTIONS else 32 if "ymm" in INSTRUCTIONS else 16
VECTOR_REGISTERS = 32 if VECTOR_BYTES == 64 or MACHINE == "aarch64" else 16


@cache
def target_context():
    """Numba's target context, checked to generate code for the CPU above, which runs on this machine.

    Raises   DeviceError   Numba's compiler is off, or compiles for another CPU, or this machine lacks instructions
    """
    if config.DISABLE_JIT:
        raise DeviceError("minigrad: NUMBA_DISABLE_JIT is set, device 'cpu' compiles; unset it, or use device 'numpy'")
    _expect_instructions()
    context = cpu_target.target_context
    _, name, features = context.codegen().magic_tuple()
    if (name, features) != (CPU_NAME, CPU_FEATURES):
        raise DeviceError(
            f"minigrad: Numba compiles for {name} with {features or 'its own features'}, expected {CPU_NAME} with "
            f"{CPU_FEATURES or 'its own features'}; import minigrad before Numba compiles anything"
        )
    return context


def _expect_instructions() -> None:
    if config.CPU_NAME is None and config.CPU_FEATURES is None:
        return
    host = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    present = _vector_instructions(*host)
    missing = INSTRUCTIONS - present - ({"ymm"} if "zmm" in present else set())  # zmm registers contain ymm registers
    if missing:
        raise DeviceError(
            f"minigrad: code for {CPU_NAME} uses {', '.join(sorted(missing))}, which this machine ({host[0]}) lacks; "
            "unset NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, or name a CPU whose code runs here"
        )
