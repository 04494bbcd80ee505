"""Every import of numba.cuda, of the CUDA driver's bindings and of the linker; says what is missing if there is no GPU.

With NUMBA_ENABLE_CUDASIM=1 kernels run as Python in Numba's simulator, and `api` is the driver of `simulated.py`.
"""

import contextlib
import importlib.metadata
import importlib.util
import re
import threading
from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np

from ...errors import DeviceError
from .. import fork

SIMULATED = bool(numba.config.ENABLE_CUDASIM)
OLDEST_CAPABILITY = (7, 5)  # the oldest that current CUDA compilers support
MAX_WORDS = 512  # of the arguments of a launch: 4096 bytes, the limit of all GPUs
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


def _import_cuda() -> Any:
    """Numba's CUDA target; after _import_api, which has found numba-cuda.

    numba-cuda 0.30 asks for np.row_stack while it is imported; NumPy 2.5 has removed it.
    """
    if SIMULATED:
        return api.make_cuda()
    missing = not hasattr(np, "row_stack")
    if missing:
        np.row_stack = np.vstack  # type: ignore[attr-defined]
    try:
        from numba import cuda
        from numba.cuda.np import arrayobj  # noqa: F401 - asks for np.row_stack
    finally:
        if missing:
            del np.row_stack  # type: ignore[attr-defined]
    return cuda


cuda = _import_cuda()


@cache
def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for functions that kernels call.  The compiler refuses a kernel that has the same function twice."""
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
        advice = ADVICE.get(int(status), "; check CUDA_VISIBLE_DEVICES")
        raise DeviceError(f"device 'cuda': looked for an NVIDIA GPU: the driver is here, but {found}{advice}")
    check_driver_version()
    return count


def check_driver_version() -> None:
    """Compare the CUDA version of the driver with that of the installed packages.

    Raises   DeviceError   the driver is older than the packages
    """
    installed = versions()["cuda-bindings"].partition(".")[0]
    supported = call("cuDriverGetVersion")
    if not SIMULATED and installed.isdigit() and supported < 1000 * int(installed):
        raise DeviceError(
            f"device 'cuda': looked for a driver of CUDA {installed}, for which the installed packages are made: the "
            f"driver is of CUDA {dotted_version(supported)}; update the driver, or install minigrad with the extra "
            "[cuda], which is made for CUDA 12"
        )


def dotted_version(version: int) -> str:
    """A version as the driver counts it, 12090, as text, "12.9"."""
    return f"{version // 1000}.{version % 1000 // 10}"


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the driver; return its only value, a tuple of several values, or None.

    Raises   DeviceError   the driver returns an error; `.code` is its number
    """
    status, *values = getattr(api, name)(*arguments)
    if status:
        raise error_of(name, status)
    return values[0] if len(values) == 1 else (tuple(values) or None)


def error_of(name: str, status: Any) -> DeviceError:
    """The error of a function that returned this status; `.code` is its number."""
    error = DeviceError(f"CUDA: {name} returned {_status_name(status)}{ADVICE.get(int(status), '')}")
    error.code = int(status)
    return error


def _status_name(status: Any) -> str:
    return getattr(status, "name", None) or f"error {int(status)}"


OUT_OF_MEMORY = 2
ADVICE = {  # by the driver's error number
    3: "; this process was forked from one that used CUDA: start it with multiprocessing's method 'spawn'",
    35: "; the driver is older than the CUDA libraries: update it, or install an older numba-cuda",
    200: "; the file of the kernel is damaged, or was built for another version of CUDA: clear the kernel cache",
    209: "; the kernel was built for another GPU: clear the kernel cache",
    218: "; the driver cannot read the kernel: update it",
    222: "; the driver is older than the compiler: update it, or install the CUDA libraries of its version",
    700: "; a kernel accessed memory outside its arrays: restart the process, later results are not reliable",
}


def versions() -> dict[str, str]:
    """The versions of the packages that the backend uses."""
    found = {"numba": numba.__version__, "numpy": np.__version__}
    for package in ("numba-cuda", "cuda-bindings", "cuda-core", "cuda-toolkit"):
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


_compiling = threading.RLock()  # held while numba-cuda's function is replaced
fork.wait_for(lambda: _compiling)


@contextlib.contextmanager
def _force_capability(capability: tuple[int, int]) -> Iterator[None]:
    """Compile helpers for this capability: numba-cuda asks the GPU of this process, which may be another or none."""
    from numba.cuda import dispatcher

    with _compiling:
        before = dispatcher.get_current_device
        dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
        try:
            yield
        finally:
            dispatcher.get_current_device = before


def build_image(ptx: str, capability: tuple[int, int], gpu: tuple[int, int]) -> bytes:
    """Return what the driver loads: machine code, or the PTX if it was compiled for an older generation than the GPU's.

    capability   that the PTX was compiled for
    gpu          capability of the GPU.  Machine code runs on GPUs of its own major number only; PTX is compiled by the
                 driver
    """
    return link(ptx, capability) if capability[0] == gpu[0] else ptx.encode() + b"\0"


def link(ptx: str, capability: tuple[int, int]) -> bytes:
    """Return machine code (a cubin) for a GPU of this compute capability."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch="sm_{}{}".format(*capability))
    return bytes(Linker(ObjectCode.from_ptx(ptx.encode()), options=options).link("cubin").code)


def newest_capability(gpu: tuple[int, int] | None = None) -> tuple[int, int]:
    """The newest compute capability that the installed compiler supports, and this GPU if one is given."""
    from numba.cuda.cudadrv import nvrtc

    supported = nvrtc.get_supported_ccs()
    return max(one for one in supported if gpu is None or one <= gpu)
