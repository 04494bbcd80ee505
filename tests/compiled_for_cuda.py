"""Compile every kernel of device 'cuda' for one compute capability, without a GPU, and check the machine code.

    python compiled_for_cuda.py 9.0
    python compiled_for_cuda.py 12.0 large      only those of large shapes and of training, which depend most on the GPU

The script calls everything that on_cuda.py tests on float32, and trains LeNet-5, with a driver that launches nothing.
Each kernel that would be launched is compiled to PTX, linked and checked.  If `ptxas` is found, it is asked for the
stack and the spilled registers of each kernel.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings, strategies as st

from minigrad.runtime.cuda import driver, simulated

CAPABILITY = tuple(map(int, sys.argv[1].split(".")))
simulated.ATTRIBUTES = {16: 132, 75: CAPABILITY[0], 76: CAPABILITY[1]}
simulated.cuModuleLoadData = lambda image: (0, image)
simulated.cuModuleGetFunction = lambda module, name: (0, name)
simulated.cuLaunchKernel = lambda *launch: (0,)
driver.api, driver.check_driver = simulated, lambda: 1

from batches import BATCH_CHAINS, batch_of_images  # noqa: E402
from cases import CASES, PLAIN, on_device  # noqa: E402

import minigrad as mg  # noqa: E402 - with the driver above
from minigrad import data, optim  # noqa: E402
from minigrad.models import LeNet5  # noqa: E402
from minigrad.nn import functional as F  # noqa: E402
from minigrad.runtime.cuda.kernel import Kernel  # noqa: E402
from minigrad.transforms.batch import plan_batch  # noqa: E402

two_examples = settings(
    max_examples=2, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
REDUCING = {f"cuda.mathematics.{name}-a" for name in ("sin", "cos", "tan")}  # NVIDIA's reduce large angles in float64
problems: list[str] = []
count = 0


def compile_and_check(kernel, kinds):
    """Compile and link a kernel, and add what should not be in it to `problems`; replaces Kernel._compile."""
    global count
    ptx, entry = kernel.ptx(kinds, CAPABILITY)
    driver.link(ptx, CAPABILITY)
    count += 1
    if kernel.name.removesuffix("-flat") in REDUCING:
        return entry.encode() + b"\n"
    floats = {kind[0].char if isinstance(kind, tuple) else kind.char for kind in kinds} & {"f", "d"}
    if floats == {"f"} and re.search(r"\.f64", ptx):
        problems.append(f"{kernel.name} {kinds}: computes in float64")
    if ".local" in ptx:
        problems.append(f"{kernel.name} {kinds}: has arrays in local memory")
    if floats != {"d"}:
        problems.extend(f"{kernel.name} {kinds}: {spill}" for spill in find_spills(ptx))
    return entry.encode() + b"\n"


def find_ptxas():
    """NVIDIA's assembler: in the package that numba-cuda installs, or on the path, where it may be another version."""
    import nvidia

    inside = [path for folder in nvidia.__path__ for path in Path(folder).glob("**/bin/ptxas*")]
    return inside[0] if inside else shutil.which("ptxas")


PTXAS = find_ptxas()


def find_spills(ptx):
    """The stack and the spills that the assembler reports, if not 0."""
    global PTXAS
    if PTXAS is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.ptx").write_text(ptx)
        command = [PTXAS, "-v", f"-arch=sm_{CAPABILITY[0]}{CAPABILITY[1]}", "kernel.ptx", "-o", "kernel.cubin"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    report = done.stdout + done.stderr
    if done.returncode and "Unsupported .version" in report:  # an assembler older than the compiler
        PTXAS = None
        return
    assert not done.returncode, report
    for number, what in re.findall(r"(\d+) bytes (stack frame|spill stores|spill loads)", report):
        if int(number):
            yield f"{number} bytes of {what}"


SIZES = 32, 300, 1000, 4096  # of matrices: each for tiles of another size
READ_INDICES = {"max_unpool2d"}  # it reads positions from memory, in which no kernel has written here


def call_operations():
    """Call every operation of the tables, and its gradient."""
    for strategy in [strategy for name, strategy in CASES.items() if name not in READ_INDICES]:

        @two_examples
        @given(data=st.data())
        def call_with_gradient(strategy, data):
            call = data.draw(strategy)
            leaves = call.leaves("float32", "cuda")
            call.run(*leaves).sum().backward()

        call_with_gradient(strategy)
    for strategy in PLAIN.values():

        @two_examples
        @given(data=st.data())
        def call_plain(strategy, data):
            call = data.draw(strategy)
            for dtype in ("float32", "int64"):
                call.run(*[on_device(x.astype(dtype), "cuda") for x in call.inputs])

        call_plain(strategy)


def call_large():
    """Train, and call the large shapes that use other kernels."""
    train_lenet(64, 32)
    call_recorded()
    for N, C, F_ in ((1, 3, 8), (64, 64, 64), (256, 6, 16)):
        x, w = (mg.ones(*shape, device="cuda", requires_grad=True) for shape in ((N, C, 28, 28), (F_, C, 3, 3)))
        F.conv2d(x, w, padding=1).sum().backward()
    for size in SIZES:
        x = mg.ones(size, size, device="cuda")
        x @ x
    mg.set_float32_matmul_precision("high")
    x, w = mg.ones(64, 64, 28, 28, device="cuda", requires_grad=True), mg.ones(64, 64, 3, 3, device="cuda")
    F.conv2d(x, w, padding=1).sum().backward()
    mg.ones(1000, 1000, device="cuda") @ mg.ones(1000, 1000, device="cuda")
    x = mg.ones(64, 6, 28, 28, device="cuda")
    x.sum((0, 2, 3)), x.sum(), x.amax(), x.argmax()
    x = mg.ones(2, 2, 6, 6, device="cuda", requires_grad=True)
    (F.max_pool2d(x, 2) ** 2).sum().backward(create_graph=True)
    x.grad.sum().backward()
    pictures = data.ImageDataset(np.zeros((4, 1, 28, 28), np.uint8), np.zeros(4, np.int64))
    next(iter(data.DataLoader(pictures, 2, device="cuda", prefetch=0)))
    for chain in BATCH_CHAINS.values():
        images, numbers, seeds = batch_of_images(chain)
        plan_batch(chain(), images.shape)(mg.device("cuda"), mg.device("cuda").from_host(images), numbers, seeds)


def call_recorded():
    """Record products, convolutions and poolings of all sizes with ReLU and GELU, which become their epilogues."""
    products = [(mg.ones(size, size, device="cuda"), mg.ones(size, size, device="cuda")) for size in SIZES]
    images = [mg.ones(C, 28, 28, N, device="cuda").permute(3, 0, 1, 2) for N, C in ((64, 64), (256, 6))]
    for activation in (F.relu, F.gelu):
        for precision in ("highest", "high"):
            mg.set_float32_matmul_precision(precision)
            for x, w in products:
                mg.graph(lambda x, w, activation=activation: activation(x @ w))(x, w)
            for x in images:
                w = mg.ones(16, x.shape[1], 3, 3, device="cuda")
                mg.graph(lambda x, w, activation=activation: activation(F.conv2d(x, w)))(x, w)
        mg.set_float32_matmul_precision("highest")
        for pool in (F.max_pool2d, F.avg_pool2d):
            mg.graph(lambda x, activation=activation, pool=pool: activation(pool(x, 2)))(images[1])


def train_lenet(N, size):
    """Take a step with each optimiser, and record a step."""
    model = LeNet5(image_size=size).to("cuda")
    images, labels = mg.ones(N, 1, size, size, device="cuda"), mg.zeros(N, dtype=mg.int64, device="cuda")
    F.cross_entropy(model(images), labels).backward()
    for kind, options in (
        *[(optim.SGD, {}), (optim.SGD, {"momentum": 0.9}), (optim.SGD, {"momentum": 0.9, "nesterov": True})],
        *[(optim.Adam, {}), (optim.Adam, {"amsgrad": True}), (optim.Adagrad, {}), (optim.Adadelta, {})],
        *[(optim.RMSprop, {"momentum": m, "centered": c}) for m in (0, 0.9) for c in (False, True)],
    ):
        kind(model.parameters(), **options).step()
    mg.graph(lambda images, labels: F.cross_entropy(model(images), labels).backward())(images, labels)


if __name__ == "__main__":
    Kernel._compile = compile_and_check
    if "large" not in sys.argv:
        call_operations()
    call_large()
    print(f"{count} kernels compiled for {sys.argv[1]}, {'checked by ptxas' if PTXAS else 'no ptxas for them'}")
    if problems:
        sys.exit("\n".join(problems))
