"""The GPU of `benchmarks.cuda`: its peak and clock, and whether PyTorch can be compared with."""

import shutil
import subprocess
from importlib import util

if util.find_spec("torch"):
    import torch

from harness import version

GRAPH, PLAIN = "minigrad, mg.graph", "minigrad"
PYTORCH = f"PyTorch {'.'.join(version('torch').split('.')[:2])}" if version("torch") else "PyTorch"
EAGER, CAPTURED, COMPILED = f"{PYTORCH} eager", f"{PYTORCH} CUDA graph", f"{PYTORCH} compiled"


def get_gpu():
    """minigrad's GPU, with its clock and properties."""
    from minigrad.runtime.cuda.gpu import current_gpu

    return current_gpu()


def get_driver():
    """minigrad's module for NVIDIA's driver; it can be imported only if there is a GPU."""
    from minigrad.runtime.cuda import driver

    return driver


def is_simulated():
    """Whether kernels run in Numba's simulator."""
    return get_driver().SIMULATED


def find_peak():
    """TFLOP/s of float32: multiply-adds of all lanes at the highest clock, counted twice; None in the simulator."""
    if is_simulated():
        return None
    lanes = 64 if get_gpu().capability in ((7, 5), (8, 0)) else 128
    return 2 * get_gpu().multiprocessors * lanes * highest_clock() / 1e12


def highest_clock():
    """Hz; None in the simulator."""
    if is_simulated():
        return None
    call, attributes = get_driver().call, get_driver().api.CUdevice_attribute
    return 1e3 * call("cuDeviceGetAttribute", attributes.CU_DEVICE_ATTRIBUTE_CLOCK_RATE, call("cuDeviceGet", 0))


def why_no_pytorch():
    """Why there is no PyTorch to compare with; None if there is."""
    if not version("torch"):
        return "not installed, so there is no rival"
    if is_simulated():
        return "not compared with the simulator"
    if not torch.cuda.is_available():
        return f"{torch.__version__} is installed but finds no GPU, so there is no rival"
    return None


def configure_pytorch():
    """Set how PyTorch computes; return its version and settings in words."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, TF32 off"


def query_clock(work):
    """The GPU's clock in Hz while `work` runs, as nvidia-smi reports it; None if that is not there."""
    if shutil.which("nvidia-smi") is None or is_simulated():
        return None
    work()  # queued; the GPU runs it while nvidia-smi asks
    command = ["nvidia-smi", "--id=0", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.split()
    get_gpu().synchronize()
    return 1e6 * float(text[0]) if text else None
