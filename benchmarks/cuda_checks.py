"""What `benchmarks.cuda` checks: first steps, the tests, every tile at many sizes, large arrays, sanitizers."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
from cuda_gpu import get_gpu, is_simulated
from harness import FLOAT

import minigrad as mg
from minigrad.nn import functional as F

ROOT = Path(__file__).parents[1]
TESTS = "tests/on_cuda.py"
TOLERANCE = 2e-5  # of a result's largest element, against float64
SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")
SANITIZED = "lenet or optimizers or tiles or graph"  # tests that compute-sanitizer repeats; it is slow


def take_first_steps():
    """One addition, one graph and one copy from a new thread; rows."""
    x = mg.tensor([1.0, 2.0]).to("cuda")
    steps = {
        "an addition": lambda: (x + 1).tolist() == [2, 3],
        "a graph": lambda: mg.graph(lambda y: y * 2)(x).tolist() == [2, 4],
        "a copy from a new thread": lambda: _in_new_thread(lambda: mg.tensor([3.0]).to("cuda").tolist() == [3]),
    }
    rows = [{"work": "first step", "what": name, "right": bool(step())} for name, step in steps.items()]
    print("\nfirst steps: " + ", ".join(f"{row['what']} {'right' if row['right'] else 'WRONG'}" for row in rows))
    return rows


def _in_new_thread(function):
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()


def run_tests():
    """Run the tests of the device, which compile every kernel and leave them in the cache; a row with pytest's last
    line."""
    print(f"\n{TESTS}", flush=True)
    options, last = ["-p", "no:cacheprovider", "-p", "no:benchmark", "-n", "auto"], ""
    command = [sys.executable, "-m", "pytest", *options, TESTS]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    if process.returncode:
        raise RuntimeError(f"{TESTS} failed: {last}; see above")
    return {"work": "tests", "result": last}


# ---- every tile, at sizes that fill it or do not


def check_tiles(images, sides):
    """Compute products and convolutions with every tile, at many sizes, twice; compare with float64, return a row.

    images   batch sizes of the convolutions
    sides    rows, columns and lengths of the products
    """
    from minigrad.ops.cuda import conv2d, matmul

    cases = 0
    for shape, (M, N, K) in product(matmul.SHAPES, product(sides, sides, sides)):
        with mock.patch.object(matmul, "_choose_shape", lambda *_, shape=shape: shape):
            _check_product(M, N, K)
        cases += 1
    tiles = [[tile] for tile in conv2d.TILES]
    for tile, N, (C, M), groups in product(tiles, images, ((1, 6), (3, 16), (6, 7)), (1, 2)):
        limits = {"TILES": tile, "MIN_ROWS": 2**30, "MAX_WASTE": 2**30}  # this tile, even where it is half empty
        with mock.patch.multiple(conv2d, **limits):
            _check_convolution(N, C * groups, M * groups, groups, 1 + N % 2)
        cases += 1
    for N, stride in product(images, (1, 2)):  # through shared memory
        with mock.patch.object(conv2d, "MIN_ROWS", 1), mock.patch.object(get_gpu(), "multiprocessors", 1):
            _check_convolution(N, 9, 40, 1, stride)
        cases += 1
    print(f"\n{cases} products and convolutions with every tile: equal to float64, and the same bits twice")
    return {"work": "tiles", "cases": cases, "right": True}


def _check_product(M, N, K):
    random = np.random.default_rng(M + N + K)
    a, b = random.normal(size=(M, K)).astype(FLOAT), random.normal(size=(K, N)).astype(FLOAT)
    _compare(lambda: (mg.from_numpy(a).to("cuda") @ mg.from_numpy(b).to("cuda"),), (a.astype("f8") @ b,), K)


def _check_convolution(N, C, M, groups, stride):
    random = np.random.default_rng(N)
    x, w = random.normal(size=(N, C, 9, 8)), random.normal(size=(M, C // groups, 3, 3))

    def results(dtype, device):
        leaves = [mg.from_numpy(a.astype(dtype)).to(device).requires_grad_() for a in (x, w)]
        out = F.conv2d(*leaves, stride=stride, padding=1, groups=groups)
        (out * out.detach()).sum().backward()
        return out, *[leaf.grad for leaf in leaves]

    expected = [value.detach().numpy() for value in results("f8", "cpu")]
    _compare(lambda: results("f4", "cuda"), expected, 9 * C * N)


def _compare(call, expected, terms):
    """Two calls give the same bits, close to float64."""
    first, second = ([value.detach().numpy() for value in call()] for _ in range(2))
    for found, again, value in zip(first, second, expected, strict=True):
        np.testing.assert_array_equal(found, again)
        np.testing.assert_allclose(found, value, rtol=0, atol=TOLERANCE * np.sqrt(terms) * np.abs(value).max())


def check_large(elements):
    """Arrays of more bytes and elements than 32 bits can count; a row.

    elements   of the array; more than 2**31 on a GPU
    """
    x = mg.zeros(elements, dtype=mg.uint8, device="cuda")
    x[-2] = 7
    assert x[-4:].tolist() == [0, 0, 7, 0] and x.argmax().item() == elements - 2
    del x
    floats = mg.full((elements // 4 + 1,), 0.5, device="cuda")
    assert (floats + floats)[-2:].tolist() == [1, 1]
    print(f"\narrays of {elements:,} bytes: right")
    return {"work": "large arrays", "bytes": elements, "right": True}


# ---- NVIDIA's sanitizer


def run_sanitizers():
    """Repeat some tests under compute-sanitizer, where it is installed; rows with its last line."""
    if is_simulated() or shutil.which("compute-sanitizer") is None:
        print("\ncompute-sanitizer is not here")
        return [{"work": "sanitizer", "result": "not here"}]
    rows = []
    for tool in SANITIZERS:
        tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "-o", "addopts="]
        command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", *tests, TESTS, "-k", SANITIZED]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
        last = (done.stdout.strip().splitlines() or [""])[-1]
        print(f"{tool}: {last}")
        rows.append({"work": "sanitizer", "tool": tool, "code": done.returncode, "result": last})
        if done.returncode == 9:
            raise RuntimeError(f"compute-sanitizer --tool {tool}: {done.stdout[-2000:]}")
    return rows
