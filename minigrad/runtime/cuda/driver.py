"""Every import of numba.cuda, of the CUDA driver's bindings and of the linker; says what is missing if there is no GPU.

With NUMBA_ENABLE_CUDASIM=1 kernels run as Python in Numba's simulator, and `api` is the driver of `simulated.py`.
"""

import contextlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np

from ...errors import DeviceError

if not hasattr(np, "row_stack"):  # numba-cuda 0.30 uses it; NumPy 2.5 has removed it
    np.row_stack = np.vstack

SIMULATED = bool(numba.config.ENABLE_CUDASIM)
OLDEST_CAPABILITY = (7, 5)  # the oldest that current CUDA compilers support
INSTALL = "install minigrad with the extra [cuda], as in pip install -e '.[cuda]'"


def _import_api() -> Any:
    """The functions of the driver, named as in `cuda.bindings.driver`."""
    if SIMULATED:
        from . import simulated

        return simulated
    for package in ("numba_cuda", "cuda.bindings", "cuda.core"):
        if not _is_installed(package):
            raise DeviceError(f"device 'cuda': looked for the Python package {package}: it is missing; {INSTALL}")
    from cuda.bindings import driver

    return driver


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


api = _import_api()

if SIMULATED:
    cuda = api.make_cuda()
else:
    from numba import cuda  # after _import_api, which has found numba-cuda


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for functions that kernels call."""
    return function if SIMULATED else cuda.jit(device=True)(function)


def check_driver() -> int:
    """Start the driver and return the number of GPUs.

    Raises   DeviceError   there is no driver, or no GPU
    """
    try:
        status, *_ = api.cuInit(0)
    except (RuntimeError, OSError, ImportError) as error:  # the library itself is missing
        raise DeviceError(
            "device 'cuda': looked for NVIDIA's driver (libcuda): it is not on this machine "
            f"({type(error).__name__}); install it, or use device 'cpu'"
        ) from None
    count = 0 if status else api.cuDeviceGetCount()[1]
    if not count:
        found = f"it reports {_status_name(status)}" if status else "it finds no GPU"
        raise DeviceError(
            f"device 'cuda': looked for an NVIDIA GPU: the driver is here, but {found}; check CUDA_VISIBLE_DEVICES"
        )
    return count


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the driver; return its only value, a tuple of several values, or None.

    Raises   DeviceError   the driver returns an error; `.code` is its number
    """
    status, *values = getattr(api, name)(*arguments)
    if status:
        error = DeviceError(f"CUDA: {name} returned {_status_name(status)}{ADVICE.get(int(status), '')}")
        error.code = int(status)
        raise error
    return values[0] if len(values) == 1 else (tuple(values) or None)


def _status_name(status: Any) -> str:
    return getattr(status, "name", None) or f"error {int(status)}"


OUT_OF_MEMORY = 2
ADVICE = {  # by the driver's error number
    35: "; the driver is older than the CUDA libraries: update it, or install an older numba-cuda",
    209: "; the kernel was built for another GPU: clear the kernel cache",
    218: "; the driver cannot read the kernel: update it",
    222: "; the driver is older than the compiler: update it, or install the CUDA libraries of its version",
    700: "; a kernel accessed memory outside its arrays: restart the process, later results are not reliable",
}


def versions() -> dict[str, str]:
    """The versions of the packages that the backend uses."""
    found = {"numba": numba.__version__, "numpy": np.__version__}
    for package in ("numba-cuda", "cuda-bindings", "cuda-core"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


# ---- compiling


def compile_kernel(
    function: Any, kinds: tuple[Any, ...], capability: tuple[int, int], bounds: tuple[int, int] | None = None
) -> tuple[str, str]:
    """Return a kernel as PTX, and the name of its entry.

    kinds    for each argument (dtype, ndim) of an array, or the dtype of a number
    bounds   the threads of a block, and the blocks that a multiprocessor should hold; None: any
    """
    from numba.cuda import types

    def numba_type(kind):
        if isinstance(kind, tuple):
            return types.Array(numba.from_dtype(kind[0]), kind[1], "C")
        return numba.from_dtype(kind)

    signature = types.void(*map(numba_type, kinds))
    with _force_capability(capability):
        text, _ = cuda.compile(
            function, signature, device=False, abi="numba", cc=capability, output="ptx", launch_bounds=bounds
        )
    text = re.sub(r"\.shared \.align \d+", ".shared .align 16", text)  # tile.load_four reads 16 bytes at once
    return text, text.partition(".visible .entry ")[2].partition("(")[0].strip()


@contextlib.contextmanager
def _force_capability(capability: tuple[int, int]) -> Iterator[None]:
    """Compile helpers for this capability: numba-cuda asks the GPU of this process, which may be another or none."""
    from numba.cuda import dispatcher

    before = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = before


def link(ptx: str, capability: tuple[int, int]) -> bytes:
    """Return machine code (a cubin) for a GPU of this compute capability."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch="sm_{}{}".format(*capability))
    return bytes(Linker(ObjectCode.from_ptx(ptx.encode()), options=options).link("cubin").code)


def newest_capability() -> tuple[int, int]:
    """The newest compute capability that the installed compiler supports."""
    from numba.cuda.cudadrv import nvrtc

    return max(nvrtc.get_supported_ccs())
