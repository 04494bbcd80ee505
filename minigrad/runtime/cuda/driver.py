"""Every import of numba.cuda, of the CUDA driver's bindings and of the linker; and what is missing where there is none.

With NUMBA_ENABLE_CUDASIM=1 kernels run in Numba's simulator, as Python, and `api` is the driver of `simulated.py`.
"""

import contextlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np

from ...errors import DeviceError

if not hasattr(np, "row_stack"):  # numba-cuda 0.30 looks for it; NumPy 2.5 has dropped it
    np.row_stack = np.vstack

SIMULATED = bool(numba.config.ENABLE_CUDASIM)
OLDEST = (7, 5)  # compute capability: what the present CUDA compilers still build for
INSTALL = "install minigrad with the extra [cuda], as in pip install -e '.[cuda]'"


def _api() -> Any:
    """The driver's functions, as `cuda.bindings.driver` has them."""
    if SIMULATED:
        from . import simulated

        return simulated
    for package in ("numba_cuda", "cuda.bindings", "cuda.core"):
        if not _installed(package):
            raise DeviceError(f"device 'cuda': looked for the Python package {package}: it is missing; {INSTALL}")
    from cuda.bindings import driver

    return driver


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


api = _api()

from numba import cuda  # noqa: E402 - only now is it known that it is the right one


def check_driver() -> int:
    """Start the driver; the number of GPUs.

    Raises   DeviceError   there is no driver, or no GPU
    """
    try:
        status, *_ = api.cuInit(0)
    except (RuntimeError, OSError, ImportError) as error:  # the library itself is not there
        raise DeviceError(
            "device 'cuda': looked for NVIDIA's driver (libcuda): it is not on this machine "
            f"({type(error).__name__}); install it, or use device 'cpu'"
        ) from None
    count = 0 if status else api.cuDeviceGetCount()[1]
    if not count:
        found = f"it says {_name(status)}" if status else "it knows of no GPU"
        raise DeviceError(
            f"device 'cuda': looked for an NVIDIA GPU: the driver is here, but {found}; is CUDA_VISIBLE_DEVICES set?"
        )
    return count


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the driver; its result, None or the value alone where there is one.

    Raises   DeviceError   the driver refuses; `.code` is its number
    """
    status, *values = getattr(api, name)(*arguments)
    if status:
        error = DeviceError(f"CUDA: {name} says {_name(status)}{ADVICE.get(int(status), '')}")
        error.code = int(status)
        raise error
    return values[0] if len(values) == 1 else (tuple(values) or None)


def _name(status: Any) -> str:
    return getattr(status, "name", None) or f"error {int(status)}"


OUT_OF_MEMORY = 2
ADVICE = {
    35: "; the driver is older than the CUDA libraries: update it, or install an older numba-cuda",
    209: "; the kernel was built for another GPU: clear the kernel cache",
    218: "; the driver cannot read the kernel: update it",
    222: "; the driver is older than the compiler: update it, or install the CUDA libraries of its version",
    700: "; a kernel read or wrote outside its arrays: what follows in this process cannot be trusted, start anew",
}


def versions() -> dict[str, str]:
    """The versions of all that takes part."""
    found = {"numba": numba.__version__, "numpy": np.__version__}
    for package in ("numba-cuda", "cuda-bindings", "cuda-core"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


# ---- compiling


def compile_kernel(function: Any, kinds: tuple[Any, ...], capability: tuple[int, int]) -> tuple[str, str]:
    """A kernel as PTX, and the name of its entry.  kinds: (dtype, ndim) of an array, or the dtype of a number."""
    from numba.cuda import types

    def numba_type(kind):
        if isinstance(kind, tuple):
            return types.Array(numba.from_dtype(kind[0]), kind[1], "C")
        return numba.from_dtype(kind)

    signature = types.void(*map(numba_type, kinds))
    with _numba_believes(capability):
        text, _ = cuda.compile(function, signature, device=False, abi="numba", cc=capability, output="ptx")
    text = re.sub(r"\.shared \.align \d+", ".shared .align 16", text)  # four floats are read at once, see tile.py
    return text, text.partition(".visible .entry ")[2].partition("(")[0].strip()


@contextlib.contextmanager
def _numba_believes(capability: tuple[int, int]) -> Iterator[None]:
    """Functions that kernels call are compiled by numba-cuda for the GPU that it finds by itself; here it is told."""
    from numba.cuda import dispatcher

    before = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = before


def link(ptx: str, capability: tuple[int, int]) -> bytes:
    """Machine code for a GPU of this compute capability."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch="sm_{}{}".format(*capability))
    return bytes(Linker(ObjectCode.from_ptx(ptx.encode()), options=options).link("cubin").code)


def newest_capability() -> tuple[int, int]:
    """The newest GPU that the installed compiler knows."""
    from numba.cuda.cudadrv import nvrtc

    return max(nvrtc.get_supported_ccs())
