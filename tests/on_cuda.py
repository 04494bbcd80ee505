"""The tests of device 'cuda'.  test_cuda.py runs this file in Numba's simulator, in a separate process;
`python -m benchmarks.cuda` runs it on a GPU."""

import copy
import gc
import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from types import SimpleNamespace
from weakref import ReferenceType

import numpy as np
import pytest
from batches import BATCH_CHAINS, batch_of_images
from cases import CASES, LAYOUTS, PLAIN, laid_out, leaf, on_device
from helpers import TOLERANCES, assert_close, derivative, results, with_weights
from hypothesis import given, settings, strategies as st
from test_module_calls import EVENTS, PURE, Dropped, Normalized, Plain, SeveralResults, expect_equal, log_of

import minigrad as mg
from minigrad import data, nn, optim, viz
from minigrad.errors import DeviceError, DtypeError, GraphError, ValidationError
from minigrad.models import LeNet5
from minigrad.nn import functional as F
from minigrad.ops.cuda import conv2d
from minigrad.ops.cuda.matmul import SHAPES, gemm_kernel
from minigrad.ops.cuda.reduction import split_reduction
from minigrad.ops.cuda.softmax import softmax_kernel
from minigrad.runtime.cuda import device_error, driver, mma
from minigrad.runtime.cuda.driver import cuda
from minigrad.runtime.cuda.elementwise import _flat_kernel, elementwise
from minigrad.runtime.cuda.epilogue import _kernel_with_epilogue, add_epilogues
from minigrad.runtime.cuda.gpu import STAGING_BYTES, Gpu, current_gpu
from minigrad.runtime.cuda.joining import join_launches
from minigrad.runtime.cuda.kernel import kernel
from minigrad.runtime.cuda.pool import round_up
from minigrad.runtime.cuda.step import Step
from minigrad.runtime.fingerprint import kernel_fingerprint
from minigrad.runtime.kernel import Memory
from minigrad.transforms.batch import plan_batch

SLACK = 4  # times the tolerance of the CPU: a GPU adds in another order, and its exponentials differ in the last digit
EXAMPLES = int(os.environ.get("MINIGRAD_EXAMPLES", "2" if driver.SIMULATED else "25"))


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_operations_and_gradients_equal_numpy(name, dtype, data):
    call = data.draw(CASES[name])
    found = results(call, dtype, "cuda")
    for actual, expected in zip(found, results(call, dtype, "numpy"), strict=True):
        assert_close(actual, expected, dtype, SLACK)
    for repeated, first in zip(results(call, dtype, "cuda"), found, strict=True):
        np.testing.assert_array_equal(repeated, first)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "cross_entropy", "nll_loss", "std", "conv2d"])
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_second_gradients_equal_numpy(name, data):
    call = data.draw(CASES[name])
    found = []
    for device in ("cuda", "numpy"):
        total, leaves = derivative(call, with_weights(call), 1, create_graph=True, device=device)
        total.backward()
        found.append([np.zeros(x.shape) if x.grad is None else x.grad.numpy() for x in leaves])
    for actual, expected in zip(*found, strict=True):
        assert_close(actual, expected, "float64", SLACK)


@pytest.mark.parametrize("chain", BATCH_CHAINS)
def test_batches_of_transformed_images_equal_the_cpus(chain):
    images, numbers, seeds = batch_of_images(chain)
    plan = plan_batch(BATCH_CHAINS[chain](), images.shape)
    gpu, cpu = mg.device("cuda"), mg.device("cpu")
    found = gpu.to_host(plan(gpu, gpu.from_host(images), numbers, seeds))
    np.testing.assert_allclose(found, plan(cpu, images, numbers, seeds), rtol=0, atol=1.01 / 255)


def test_cross_entropy_and_nll_loss_skip_ignored_labels():
    labels, all_ignored = (mg.tensor(numbers, device="cuda") for numbers in ([-100, 0], [-100, -100]))
    for loss in (F.cross_entropy, F.nll_loss):
        x = mg.tensor([[-np.inf, np.inf], [0.0, 0.0]], device="cuda", requires_grad=True)
        assert np.isfinite(loss(x, labels).item())
        (loss(x, labels) + loss(x, all_ignored)).backward()
        assert x.grad.tolist()[0] == [0, 0]
        assert np.isnan(loss(x, all_ignored).item())


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_operations_on_whole_numbers_equal_numpy_exactly(name, data):
    call = data.draw(PLAIN[name])
    for dtype in ("float32", "int64", "uint8"):
        inputs = [abs(x).astype(dtype) if dtype == "uint8" else x.astype(dtype) for x in call.inputs]
        expected = call.reference(*inputs)
        found = call.run(*[on_device(x, "cuda") for x in inputs]).numpy()
        np.testing.assert_array_equal(found, expected, strict=True)


# ---- training


class SmallNet(nn.Module):
    """A convolution, pooling, dropout and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.drop, self.out = nn.Conv2d(1, 2, 3, padding=1), nn.Dropout(0.5), nn.Linear(18, 3)

    def forward(self, x):
        return self.out(self.drop(F.max_pool2d(self.conv(x).relu(), 2).flatten(1)))


OPTIMIZERS = {
    "sgd": lambda params: optim.SGD(params, lr=0.1, weight_decay=0.01),
    "momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda params: optim.Adam(params, lr=0.01, amsgrad=True),
    "adamw": lambda params: optim.AdamW(params, lr=0.01),
    "adagrad": lambda params: optim.Adagrad(params, lr=0.1),
    "adadelta": optim.Adadelta,
    "rmsprop": lambda params: optim.RMSprop(params, lr=0.01, momentum=0.9, centered=True, eps=1e-3),
}


def train(
    device, make_optimizer, model=SmallNet, size=6, classes=3, steps=3, batches=(2, 2, 2), wrap=lambda step: step
):
    """Take some steps, on the same numbers for every device; return the losses and the weights."""
    mg.manual_seed(0)
    random, net = np.random.default_rng(0), model().to(device)
    optimizer = make_optimizer(net.parameters())

    @wrap
    def step(images, labels):
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    losses = []
    for batch in batches[:steps]:
        images = mg.tensor(random.normal(size=(batch, 1, size, size)), mg.float32).to(device)
        losses.append(step(images, mg.tensor(random.integers(0, classes, batch)).to(device)).item())
    return losses, [p.detach().cpu().numpy() for p in net.parameters()]


def assert_same_training(found, expected, tolerance):
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=tolerance)
    for mine, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_give_the_weights_of_numpy_and_repeat_exactly(name):
    """With dropout, whose random numbers are the same on every device."""
    found = train("cuda", OPTIMIZERS[name])
    assert_same_training(found, train("numpy", OPTIMIZERS[name]), 2e-5)
    repeated = train("cuda", OPTIMIZERS[name])
    assert found[0] == repeated[0]
    assert all((a == b).all() for a, b in zip(found[1], repeated[1], strict=True))


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_graph_trains_exactly_as_plain_calls(name):
    """Each batch shape has its own recording: one for 3 images, one for 1."""
    settings = {"steps": 5, "batches": (3, 3, 3, 1, 3)}
    plain = train("cuda", OPTIMIZERS[name], **settings)
    recorded = train("cuda", OPTIMIZERS[name], **settings, wrap=mg.graph)
    assert plain[0] == recorded[0]
    assert all((a == b).all() for a, b in zip(plain[1], recorded[1], strict=True))


# ---- calls of modules that are replayed without being asked

KINDS = [Normalized, Dropped] if driver.SIMULATED else PURE  # the simulator is slow
KINDS_OF_EVENTS = [SeveralResults] if driver.SIMULATED else [Normalized, SeveralResults]
FEW_EVENTS = ["_twice", "_argument_requires_grad", "_second_derivative", "_changed_weights", "_functions"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_calls_and_their_backward_passes_are_replayed_with_the_bits_of_plain_calls(kind):
    expect_equal(kind, ["", "", "", "", "_evaluation", "", "_evaluation", "", ""], "cuda")
    run = log_of(kind, [""] * 4, plainly=False, device="cuda")
    found = run.model._calls
    assert [recording.key[0] for recording in found.recordings] == [True], found.reason
    assert all(backward for _, backward in found.recordings[0].backwards)


@pytest.mark.parametrize("event", FEW_EVENTS if driver.SIMULATED else EVENTS)
def test_an_event_after_a_replay_gives_the_bits_of_plain_calls(event):
    for kind in KINDS_OF_EVENTS:
        expect_equal(kind, ["", "", "", event, "", event, event, ""], "cuda")


def expect_plain(model, *args):
    """Call a model, and compare the result with that of a plain call."""
    found = model(*args).detach()
    np.testing.assert_array_equal(found.numpy(), mg.compiler.run_plainly(model, *args).detach().numpy())
    return found


def test_arguments_of_every_layout_are_replayed():
    model, x = Plain().to("cuda"), mg.randn(4, 8).to("cuda")
    with mg.no_grad():
        for view in [lambda x: x[1:, :4], lambda x: x.T[2:5], lambda x: x[:1, 4:].expand(3, 4)] * 4:
            expect_plain(model, view(x))
            x = x + 1
        assert len(model._calls.recordings) == 3
        for _ in range(3):
            expect_plain(model, x[1:, :4].flip(0))


def test_arguments_of_every_alignment_are_replayed(monkeypatch):
    """The kernel of a convolution reads four images at once if they are aligned."""
    monkeypatch.setattr("minigrad.ops.cuda.conv2d.MIN_ROWS", 1)
    monkeypatch.setattr(current_gpu(), "multiprocessors", 1)
    model, numbers = nn.Conv2d(1, 2, 2).to("cuda"), mg.randn(40, device="cuda")
    with mg.no_grad():
        for start in (0, 1, 4, 1, 0, 2, 3, 4):
            expect_plain(model, numbers[start : start + 36].view(1, 3, 3, 4).permute(3, 0, 1, 2))
    assert [recording.key[-1][1] for recording in model._calls.recordings] == [True, False]


def test_results_and_gradients_keep_their_values_and_their_memory():
    model, kept = Plain().to("cuda"), []
    for step in range(6):
        model.zero_grad()
        result = model(mg.full((3, 4), step - 2.5, device="cuda"))
        (result * result).sum().backward()
        kept.append([(x, x.numpy().copy()) for x in (result.detach(), *[p.grad for p in model.first.parameters()])])
    for x, values in chain.from_iterable(kept):
        np.testing.assert_array_equal(x.numpy(), values)


def test_memory_stays_constant_over_replayed_steps_and_is_freed_with_the_model():
    def take_steps():
        model, x, found = Dropped().to("cuda"), mg.ones(3, 4, device="cuda"), []
        for _ in range(8):
            model.zero_grad()
            model(x).sum().backward()
            found.append({**mg.cuda.memory_stats(), "peak": 0})
        assert model._calls.recordings
        assert found[4] == found[-1]

    used = []
    for _ in range(3):  # the first time allocates tables that stay
        take_steps()
        gc.collect()
        used.append(mg.cuda.memory_allocated())
    assert used[1] == used[2]


def test_recordings_are_given_up_when_the_device_is_out_of_memory(monkeypatch):
    model, x, api, refused = Plain().to("cuda"), mg.ones(3, 4, device="cuda"), driver.api, []
    expected = [model(x).detach().numpy() for _ in range(4)][-1]
    assert model._calls.recordings

    def fail_twice(size):
        if len(refused) < 2:
            refused.append(size)
            return 2, 0
        return api.cuMemAlloc(size)

    replace_driver_function(monkeypatch, "cuMemAlloc", fail_twice)
    assert mg.ones(54_321, device="cuda")[-1].item() == 1
    assert len(refused) == 2
    assert not model._calls.recordings and model._calls.reason == "the device ran out of memory"
    np.testing.assert_array_equal(model(x).detach().numpy(), expected)


def test_a_module_is_replayed_on_the_device_of_its_argument():
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    for device in ("cpu", "cuda") * 4:
        found = model(mg.tensor([[1.0, 1.0, -3.0]], device=device))
        assert found.device == device
        np.testing.assert_allclose(found.numpy(), np.tanh([[1, 1, 0]]), rtol=1e-6)
    assert len(model._calls.recordings) == 2


def test_borrowed_memory_as_an_argument():
    model, x = Plain().to("cuda"), mg.randn(6, 4, device="cuda")
    with mg.no_grad():
        for first in (0, 1, 2, 3, 0):
            expect_plain(model, mg.from_dlpack(x[first : first + 3]))
    assert model._calls.recordings


class Passes(nn.Module):
    """Its backward pass launches no kernel: both gradients are that of the result."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(mg.ones(2, 4))

    def forward(self, x):
        return x + self.weight


class Parts(Passes):
    """Its backward pass gives parts of one block."""

    def forward(self, x):
        left, right = mg.cat([x, self.weight], dim=1).tanh().chunk(2, dim=1)
        return left * right


@pytest.mark.parametrize("kind", [Passes, Parts])
def test_gradients_that_share_memory_inside_a_replay(kind):
    model, found = kind().to("cuda"), []
    for step in range(5):
        for run in (model, lambda x: mg.compiler.run_plainly(model, x)):
            x = mg.full((2, 4), step / 4, device="cuda", requires_grad=True)
            model.zero_grad()
            run(x).backward(mg.full((2, 4), step - 1.0, device="cuda"))
            found.append([x.grad, model.weight.grad])
    for mine, expected in zip(found[::2], found[1::2], strict=True):
        for x, other in zip(mine, expected, strict=True):
            np.testing.assert_array_equal(x.numpy(), other.numpy())
    assert model._calls.recordings and model._calls.recordings[0].backwards[0][1] is not None


class Multiplies(nn.Module):
    """Multiplies its argument by a buffer; both are kept for the backward pass."""

    def __init__(self, buffer):
        super().__init__()
        self.register_buffer("buffer", buffer)

    def forward(self, x):
        return (x * self.buffer).tanh()


def test_borrowed_memory_that_a_buffer_has_too():
    memory = mg.ones(3, device="cuda")
    model = Multiplies(mg.from_dlpack(memory))
    for i in range(5):
        x = (mg.from_dlpack(memory) if i < 3 else mg.full((3,), float(i), device="cuda")).requires_grad_()
        expect_plain(model, x)
        (expected,) = mg.autograd.grad(mg.compiler.run_plainly(model, x).sum(), x)
        model(x).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), expected.numpy())


def test_a_wrong_index_in_a_replayed_call_is_reported_once_when_python_waits():
    model = nn.Sequential(nn.Embedding(5, 2), nn.Flatten()).to("cuda")
    for _ in range(4):
        model(mg.tensor([[0, 4]]).to("cuda"))
    assert model._calls.recordings
    model(mg.tensor([[0, 7]]).to("cuda"))
    with pytest.raises(IndexError, match="7"):
        mg.cuda.synchronize()
    mg.cuda.synchronize()
    assert model(mg.tensor([[1, 1]]).to("cuda")).shape == (1, 4)


def test_threads_share_a_model():
    model, inputs = Plain().to("cuda"), [mg.randn(3, 4, device="cuda") for _ in range(3)]
    expected = [mg.compiler.run_plainly(model, x).detach().numpy() for x in inputs]

    def work(x):
        return [model(x).detach().numpy() for _ in range(5 if driver.SIMULATED else 20)]

    with ThreadPoolExecutor(3) as executor:
        for results, values in zip(executor.map(work, inputs), expected, strict=True):
            for result in results:
                np.testing.assert_array_equal(result, values)


def test_the_precision_of_a_backward_pass_is_that_of_its_time(monkeypatch):
    monkeypatch.setattr("minigrad.ops.cuda.tf32.MIN_MULTIPLY_ADDS", 0)
    model, x = nn.Sequential(nn.Linear(5, 3)).to("cuda"), mg.randn(3, 5, device="cuda", requires_grad=True)
    found = {"highest": [], "high": []}
    try:
        for precision in ("highest", "highest", "highest", "high", "highest", "high"):
            x.grad = None
            result = model(x)
            mg.set_float32_matmul_precision(precision)
            result.backward(mg.ones(3, 3, device="cuda") / 3)
            mg.set_float32_matmul_precision("highest")
            found[precision].append(x.grad.numpy())
    finally:
        mg.set_float32_matmul_precision("highest")
    for gradients in found.values():
        assert all((gradient == gradients[0]).all() for gradient in gradients)
    assert (found["highest"][0] != found["high"][0]).any()


# ---- memory, copies and interchange


def test_memory_stats_stay_constant_over_steps():
    """A step frees what it uses, so later steps allocate nothing from the driver."""
    x, w = mg.randn(4, 3, device="cuda"), mg.randn(2, 3, device="cuda", requires_grad=True)

    def step():
        w.grad = None
        F.linear(x, w).sum().backward()

    step(), step()
    before = mg.cuda.memory_stats()
    for _ in range(1000 if not driver.SIMULATED else 20):
        step()
    after = mg.cuda.memory_stats()
    assert {**after, "peak": 0} == {**before, "peak": 0}
    assert after["peak"] >= after["in_use"] > 0


def test_graph_frees_its_memory_when_deleted():
    mg.ones(1000, device="cuda") * 2 + 1  # allocates tables that stay
    gc.collect()
    before = mg.cuda.memory_allocated()
    double = mg.graph(lambda x: x * 2 + 1)
    x = mg.ones(1000, device="cuda")
    double(x), double(x)
    del double, x
    gc.collect()
    assert mg.cuda.memory_allocated() == before


def test_allocate_out_of_memory_says_how_much_and_frees_unused_blocks():
    mg.cuda.empty_cache()
    unused = mg.ones(1 << 20, device="cuda")
    del unused
    frees, too_much = mg.cuda.memory_stats()["frees"], 1 << 45
    with pytest.raises(MemoryError, match=r"^device 'cuda': out of memory: [\d,]+ bytes requested; [\d,]+ in use"):
        mg.device("cuda").allocate((too_much,), np.dtype("float32"))
    assert mg.cuda.memory_stats()["frees"] > frees
    assert mg.ones(3, device="cuda").tolist() == [1, 1, 1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_to_and_numpy_round_trip_every_layout(layout):
    array = laid_out(np.arange(24.0).reshape(2, 3, 4), layout)
    moved = mg.from_numpy(array).to("cuda")
    np.testing.assert_array_equal(moved.numpy(), array)
    np.testing.assert_array_equal(moved[:, 1:, ::2].numpy(), array[:, 1:, ::2])
    np.testing.assert_array_equal(moved.permute(2, 0, 1).cpu().numpy(), array.transpose(2, 0, 1))


def test_mg_cuda_reports_the_gpu_and_its_memory():
    assert mg.cuda.is_available() and mg.cuda.device_count() == 1
    assert mg.cuda.get_device_name() == mg.cuda.report()["device"]
    assert mg.cuda.get_device_capability() >= (7, 5)
    assert {"numba", "numba-cuda", "driver", "memory"} <= set(mg.cuda.report())
    assert repr(mg.ones(2, device="cuda:0")) == "tensor([1., 1.], device='cuda')"
    assert mg.cuda.max_memory_allocated() >= mg.cuda.memory_allocated() > 0
    mg.cuda.synchronize()
    mg.cuda.empty_cache()
    assert mg.cuda.memory_reserved() >= mg.cuda.memory_allocated()


def test_the_name_of_the_gpu_ends_at_the_first_nul(monkeypatch):
    """A driver fills the 256 bytes that it is given."""
    monkeypatch.setattr(driver.api, "cuDeviceGetName", lambda size, device: (0, b"NVIDIA H100\0".ljust(size, b"\0")))
    assert Gpu().name == "NVIDIA H100"
    monkeypatch.setattr(driver.api, "cuDeviceGetName", lambda size, device: (0, b"NVIDIA H100\0\x80\0"))
    assert Gpu().name == "NVIDIA H100"


def test_reductions_of_any_length_fit_the_grid():
    """All axes of a grid but the first have at most 65,535 blocks."""
    with pytest.raises(DeviceError, match="^CUDA: cuLaunchKernel returned "):
        softmax_kernel[(1, 70_000), 1](*[mg.ones(1, device="cuda").array] * 2, 1, 1, 1)
    assert split_reduction(1, 10**9, 1)[0] <= 65_535


def test_save_deepcopy_and_pickle_keep_weights_and_device(tmp_path):
    model, other = SmallNet().to("cuda"), SmallNet()
    mg.save(model.state_dict(), tmp_path / "small.safetensors")
    other.load_state_dict(mg.load(tmp_path / "small.safetensors"))
    np.testing.assert_array_equal(other.conv.weight.detach().numpy(), model.conv.weight.detach().numpy())
    copied = copy.deepcopy(model)
    assert copied.out.bias.device == "cuda"
    assert pickle.loads(pickle.dumps(model.out.bias)).device == "cuda"


def test_copies_to_the_gpu_of_small_and_large_arrays_in_turn():
    arrays = [np.random.default_rng(i).normal(size=size) for i, size in enumerate((10, 100_000, 3, 70_000, 1))]
    moved = [mg.tensor(array).to("cuda") for array in arrays]
    for tensor, array in zip(moved, arrays, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array)


# ---- threads


def in_new_thread(function):
    """Call a function in a thread that has never used the GPU; return its result, or raise its error."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()


def drop_a_graph():
    step = mg.graph(lambda x: x + 1)
    step(mg.ones(4, device="cuda"))
    graphs = [step]
    del step
    in_new_thread(graphs.clear)
    gc.collect()


class Interface:
    """An object of another library with a CUDA array interface."""

    def __init__(self, tensor):
        self.tensor, self.__cuda_array_interface__ = tensor, tensor.__cuda_array_interface__


IN_A_NEW_THREAD = {
    "to": lambda x: mg.tensor([1.0, 2.0]).to("cuda").tolist() == [1, 2],
    "item": lambda x: x.sum().item() == 6,
    "numpy": lambda x: x.numpy().tolist() == [1, 2, 3],
    "a kernel that was never compiled": lambda x: (x**3 - x * 2).tolist() == [-1, 4, 21],
    "from_dlpack": lambda x: mg.from_dlpack(x).tolist() == [1, 2, 3],
    "as_tensor": lambda x: mg.as_tensor(Interface(x)).tolist() == [1, 2, 3],
    "report": lambda x: mg.cuda.report()["memory"],
    "synchronize": lambda x: mg.cuda.synchronize() is None,
    "memory_stats": lambda x: mg.cuda.memory_stats()["in_use"] > 0,
    "empty_cache": lambda x: mg.cuda.empty_cache() is None,
    "graph": lambda x: mg.graph(lambda y: y * 2)(x).tolist() == [2, 4, 6],
    "the end of a graph": lambda x: drop_a_graph() is None,
    "seconds": lambda x: current_gpu().measure_seconds(lambda: x + 1) >= 0,
}


@pytest.mark.parametrize("name", IN_A_NEW_THREAD)
def test_the_gpu_can_be_used_in_a_thread_that_never_used_it(name):
    x = mg.tensor([1.0, 2.0, 3.0]).to("cuda")
    mg.zeros(1000, device="cuda")  # freed, so that empty_cache has something to return
    assert in_new_thread(lambda: IN_A_NEW_THREAD[name](x))


def test_a_graph_is_replayed_in_another_thread():
    step = mg.graph(lambda x: x * 2)
    x = mg.ones(3, device="cuda")
    assert step(x).tolist() == [2, 2, 2]
    assert in_new_thread(lambda: step(x + 2).tolist()) == [6, 6, 6]


def test_no_failed_check_is_lost_or_mixed_with_another():
    """Two checks fail before Python waits; each raises its own error, with its own value, once."""
    x = mg.ones(2, 3, device="cuda")
    F.cross_entropy(x, mg.tensor([0, 7]).to("cuda"))
    F.nll_loss(x, mg.tensor([9, 0]).to("cuda"))
    found = set()
    for _ in range(2):
        with pytest.raises(ValidationError) as raised:
            mg.cuda.synchronize()
        found.add(str(raised.value).partition(" is out")[0])
    assert found == {"cross_entropy: label 7", "nll_loss: label 9"}
    mg.cuda.synchronize()


def test_a_failed_check_of_another_thread_is_raised():
    x, labels = mg.ones(2, 3, device="cuda"), mg.tensor([0, 5]).to("cuda")
    in_new_thread(lambda: F.cross_entropy(x, labels))
    with pytest.raises(ValidationError, match="^cross_entropy: label 5 is out of range"):
        mg.cuda.synchronize()
    mg.cuda.synchronize()


def test_a_check_that_is_repeated_needs_no_more_memory():
    p = mg.full((4,), 0.5, device="cuda")
    before = len(device_error._arrays)
    for _ in range(5):
        F.binary_cross_entropy(p, p)
        mg.bernoulli(p)
    assert len(device_error._arrays) <= before + 2


def test_more_checks_than_one_page_holds():
    x = mg.ones(device_error.CHECKS + 2, 1, device="cuda")
    for rows in range(1, device_error.CHECKS + 3):
        F.embedding(mg.tensor([0]).to("cuda"), x[:rows])
    F.embedding(mg.tensor([5]).to("cuda"), x[:3])
    with pytest.raises(IndexError, match="5"):
        mg.cuda.synchronize()
    mg.cuda.synchronize()


# ---- failures of the driver


def test_memory_that_the_driver_does_not_take_back_stays_in_the_pool(monkeypatch):
    mg.cuda.empty_cache()
    mg.zeros(100_000, device="cuda")  # freed
    before = mg.cuda.memory_stats()
    with monkeypatch.context() as patch:
        replace_driver_function(patch, "cuCtxSynchronize", lambda: (700,))
        with pytest.raises(DeviceError, match="^CUDA: cuCtxSynchronize returned error 700; a kernel accessed memory"):
            mg.cuda.empty_cache()
    assert mg.cuda.memory_stats() == before
    mg.cuda.empty_cache()
    assert mg.cuda.memory_stats()["held"] == before["held"] - round_up(400_000)


def test_large_arrays_are_copied_through_little_pinned_memory():
    numbers = np.arange(2 * STAGING_BYTES // 4 + 5, dtype=np.float32)
    np.testing.assert_array_equal(mg.from_numpy(numbers).to("cuda").numpy(), numbers)
    assert all(buffer.size <= STAGING_BYTES for buffer in current_gpu()._staging)


def test_a_capture_that_fails_raises_its_cause_and_ends(monkeypatch):
    def fail(stream):
        streams.append(stream)
        raise ZeroDivisionError("in the capture")

    streams, destroyed, destroy = [], [], driver.api.cuStreamDestroy
    with monkeypatch.context() as patch:
        replace_driver_function(patch, "cuStreamDestroy", lambda stream: (destroyed.append(stream), destroy(stream))[1])
        with pytest.raises(ZeroDivisionError, match="^in the capture"):
            current_gpu().capture_graph(fail)
    assert streams == destroyed
    assert mg.graph(lambda x: x + 1)(mg.ones(2, device="cuda")).tolist() == [2, 2]


@pytest.mark.parametrize(("bindings", "supported", "fits"), [("13.0.1", 12090, False), ("12.9.1", 12020, True)])
def test_a_driver_older_than_the_packages_is_refused(bindings, supported, fits, monkeypatch):
    monkeypatch.setattr(driver, "SIMULATED", False)
    monkeypatch.setattr(driver, "versions", lambda: {"cuda-bindings": bindings})
    replace_driver_function(monkeypatch, "cuDriverGetVersion", lambda: (0, supported))
    if fits:
        driver.check_driver_version()
    else:
        with pytest.raises(
            DeviceError, match=r"^device 'cuda': looked for a driver of CUDA 13, .* is of CUDA 12\.9; upd"
        ):
            driver.check_driver_version()


def test_the_name_of_a_kernels_file_tells_what_it_was_built_with(monkeypatch):
    kinds = (np.dtype(bool), 1), (np.dtype(np.float32), 2), np.dtype(np.int64)
    names, here = {softmax_kernel._file_name(kinds)}, driver.versions()
    assert "-b11f42i8-" in next(iter(names))
    for package in ("numba-cuda", "cuda-bindings", "cuda-toolkit"):
        with monkeypatch.context() as patch:
            patch.setattr(driver, "versions", partial(dict, here, **{package: "99.1"}))
            names.add(softmax_kernel._file_name(kinds))
    monkeypatch.setattr(current_gpu(), "capability", (12, 1))
    names.add(softmax_kernel._file_name(kinds))
    assert len(names) == 5 and all(re.fullmatch(r"[\w.-]+", name) for name in names)


def test_a_gpu_newer_than_the_compiler_gets_ptx(monkeypatch):
    monkeypatch.setattr(driver, "link", lambda ptx, capability: b"machine code")
    assert driver.build_image("text", (9, 0), (10, 0)) == b"text\0"
    assert driver.build_image("text", (10, 0), (10, 3)) == b"machine code"


def test_dlpack_shares_memory_both_ways():
    x = mg.tensor(np.arange(12.0, dtype="f4").reshape(3, 4)).to("cuda")
    y = mg.from_dlpack(x.T)
    assert y.shape == (4, 3)
    y += 1
    np.testing.assert_array_equal(x.numpy(), np.arange(1, 13, dtype="f4").reshape(3, 4))
    capsule = x.__dlpack__()
    del capsule  # not consumed
    with pytest.raises(GraphError, match=r"^dlpack: the tensor requires grad; give x.detach\(\)$"):
        mg.ones(2, device="cuda", requires_grad=True).__dlpack__()
    assert x.__dlpack_device__() == (2, 0)


def test_dlpack_memory_lives_until_the_consumer_is_done():
    mg.ones(1000, device="cuda").sum()  # allocates tables that stay
    gc.collect()
    before = mg.cuda.memory_allocated()
    x = mg.ones(1000, device="cuda")
    y = mg.from_dlpack(x)
    del x
    gc.collect()
    assert mg.cuda.memory_allocated() > before
    assert y.sum().item() == 1000
    del y
    gc.collect()
    assert mg.cuda.memory_allocated() == before


def test_cuda_array_interface_shares_memory_both_ways():
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]]).to("cuda")
    other = SimpleNamespace(__cuda_array_interface__=x[:, 1].__cuda_array_interface__)
    y = mg.as_tensor(other)
    y *= 10
    assert x.tolist() == [[1, 20], [3, 40]]
    assert not hasattr(x.cpu(), "__cuda_array_interface__")


def test_data_loader_batches_on_the_gpu():
    random = np.random.default_rng(0)
    pictures = data.ImageDataset(random.integers(0, 256, (5, 2, 4, 3), np.uint8), random.integers(0, 7, 5))
    for device_batch, host_batch in zip(*[
        data.DataLoader(pictures, 2, shuffle=True, seed=1, normalize=((0.1, 0.2), (0.3, 0.4)), pad=1, device=device)
        for device in ("cuda", "numpy")
    ], strict=True):  # fmt: skip
        for mine, other in zip(device_batch, host_batch, strict=True):
            assert mine.device == "cuda"
            np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=0, atol=1e-6)


# ---- errors


def test_add_refuses_tensors_on_two_devices():
    with pytest.raises(DeviceError, match=r"^add: tensors on 'cuda' and 'cpu'; move one with .to\('cuda'\)$"):
        mg.ones(2, device="cuda") + mg.ones(2)


def test_cross_entropy_reports_a_wrong_label_once_when_python_waits():
    layer = nn.Linear(2, 3).to("cuda")
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    loss = F.cross_entropy(layer(mg.ones(2, 2, device="cuda")), mg.tensor([0, 3]).to("cuda"))
    loss.backward()
    optimizer.step()
    with pytest.raises(ValidationError, match=r"^cross_entropy: label 3 is out of range for 3 classes \(0 to 2\)"):
        loss.item()
    assert np.isfinite(layer.weight.detach().numpy()).all()  # the error is raised once, and the weights are valid


def test_graph_changes_nothing_after_an_error_while_recording():
    w = mg.ones(3, device="cuda", requires_grad=True)

    @mg.graph
    def step(x):
        loss = (w * x).sum()
        if loss.item() > 0:
            w.data -= 1

    with pytest.raises(GraphError, match="^graph: reading the values of a tensor inside a recorded function"):
        step(mg.ones(3, device="cuda"))
    assert w.tolist() == [1, 1, 1]
    assert (w * 2).sum().item() == 6


def test_graph_refuses_kernels_on_two_devices():
    with pytest.raises(GraphError, match="^graph: the function runs kernels on two devices"):
        mg.graph(lambda x: [x * 2, mg.ones(300) * 2])(mg.ones(3, device="cuda"))


def test_numpy_cannot_read_a_device_array():
    array = mg.ones(3, device="cuda").array
    for read in (np.asarray, np.sum, lambda x: x + 1, lambda x: np.ones(3) * x, np.exp):
        with pytest.raises((DeviceError, TypeError)):
            read(array)


def test_a_kernel_refuses_host_arrays():
    with pytest.raises(
        DtypeError, match=r"^cuda.softmax.softmax_kernel: an argument is a ndarray, expected an array on"
    ):
        softmax_kernel[1, 1](np.ones(3), np.ones(3), 1, 3, 1)


def replace_driver_function(monkeypatch, name, function):
    """Replace one function of the driver."""
    monkeypatch.setattr(driver, "api", SimpleNamespace(**{**vars(driver.api), name: function}))


@pytest.mark.parametrize(
    "name, answer, message",
    [
        ("cuDeviceGetCount", (0, 0), "^device 'cuda': looked for an NVIDIA GPU: the driver is here, but it finds no"),
        ("cuInit", (3,), "^device 'cuda': looked for an NVIDIA GPU: .* reports error 3; this process was forked from"),
        (
            "cuInit",
            (100,),
            "^device 'cuda': looked for an NVIDIA GPU: the driver is here, but it reports error 100; check CUDA_",
        ),
        (
            "cuDeviceGetAttribute",
            (0, 6),
            r"^device 'cuda': looked for a GPU of compute capability 7.5 or more: found .*6.6",
        ),
    ],
)
def test_gpu_error_if_it_is_missing_or_too_old(name, answer, message, monkeypatch):
    replace_driver_function(monkeypatch, name, lambda *_: answer)
    with pytest.raises(DeviceError, match=message):
        Gpu()


def test_gpu_error_without_a_driver(monkeypatch):
    def missing(*_):
        raise RuntimeError("libcuda.so.1: cannot open shared object file")

    replace_driver_function(monkeypatch, "cuInit", missing)
    with pytest.raises(
        DeviceError, match=r"^device 'cuda': looked for NVIDIA's driver \(libcuda\): it is not on this mach"
    ):
        Gpu()


@pytest.mark.parametrize("code", driver.ADVICE)
def test_driver_errors_come_with_advice(code, monkeypatch):
    replace_driver_function(monkeypatch, "cuModuleLoadData", lambda image: (code, None))
    with pytest.raises(DeviceError, match=f"^CUDA: cuModuleLoadData returned error {code}; ") as raised:
        driver.call("cuModuleLoadData", b"")
    assert raised.value.code == code
    assert str(raised.value).endswith(driver.ADVICE[code])


# ---- viz


def test_viz_shows_the_same_for_a_model_on_the_gpu_and_on_the_cpu(tmp_path):
    on_cpu, on_gpu = SmallNet(), SmallNet().to("cuda")
    on_gpu.load_state_dict(on_cpu.state_dict())
    images, labels = np.random.default_rng(0).normal(size=(4, 1, 6, 6)).astype("f4"), np.array([0, 1, 2, 1])
    for show in (
        lambda model: viz.saliency_map(model, images[0], target=0),
        lambda model: viz.grad_cam_map(model, images[0], target=0),
        lambda model: str(viz.explain_pixel(model, images[0], "conv", 1, 2, 3)),
        lambda model: str(viz.summary(model, (1, 6, 6))),
    ):
        np.testing.assert_array_equal(show(on_gpu), show(on_cpu))
    viz.report(on_gpu, images, labels, tmp_path / "report.html")
    assert on_gpu.conv.weight.device == "cuda" and on_gpu.training


# ---- large shapes use other kernels than small ones: tiles of every size, parts of long sums


@pytest.fixture
def _multiprocessors(request, monkeypatch):
    """A GPU with this number of multiprocessors: the more, the smaller the tiles."""
    monkeypatch.setattr(current_gpu(), "multiprocessors", request.param)


@pytest.mark.parametrize("_multiprocessors", [1, 2, 4, 200], indirect=True)
@pytest.mark.parametrize("shapes", [((33, 17), (17, 40)), ((5, 70), (70, 6)), ((2, 9, 20), (2, 20, 33))])
def test_matmul_with_tiles_of_every_size(shapes, _multiprocessors):
    random = np.random.default_rng(0)
    a, b = (random.normal(size=shape) for shape in shapes)
    for left in (a, np.asfortranarray(a)):
        found = on_device(left.astype("f4"), "cuda") @ on_device(b.astype("f4"), "cuda")
        np.testing.assert_allclose(found.numpy(), a @ b, rtol=0, atol=2e-5)


def compare_conv2d(images, filters, **settings):
    """A convolution of images and filters of these shapes, with a bias, and its gradients are NumPy's."""
    random = np.random.default_rng(0)
    arrays = [random.normal(size=shape) for shape in (images, filters, filters[:1])]

    def run(device):
        leaves = [leaf(x, "plain", "float32", device) for x in arrays]
        out = F.conv2d(*leaves, padding=1, **settings)
        (out * out).sum().backward()
        return [out.detach().numpy(), *[x.grad.numpy() for x in leaves]]

    for mine, other in zip(run("cuda"), run("numpy"), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("_multiprocessors", [1, 4, 200], indirect=True)
@pytest.mark.parametrize("channels", [(3, 17), (4, 5)])
def test_conv2d_with_tiles_of_every_size(channels, _multiprocessors):
    C, F_ = channels
    compare_conv2d((5, C, 6, 5), (F_, C, 3, 3))


@pytest.mark.parametrize("_multiprocessors", [200], indirect=True)
@pytest.mark.parametrize("channels, parts", [(2, 1), (3, 2), (6, 4)])
def test_conv2d_of_few_windows_shares_their_taps(channels, parts, _multiprocessors):
    assert conv2d._choose_tiling(5, 3, 9 * channels, 16, 1).parts == parts
    compare_conv2d((3, channels, 4, 4), (5, channels, 3, 3))


def test_conv2d_wastes_no_work_on_images_that_are_not_there():
    for images in (1, 3, 64, 65, 100, 130, 256):
        tiling = conv2d._choose_tiling(16, images, 25, 10_000, 1)
        needed = -(-images // tiling.lanes) * tiling.lanes
        assert tiling.grid[1] * tiling.lanes * tiling.cols <= conv2d.MAX_WASTE * needed


@pytest.mark.parametrize("_multiprocessors", [1], indirect=True)
@pytest.mark.parametrize("images, stride, groups", [(4, 1, 1), (3, (2, 1), 2), (8, (1, 2), 1)])
def test_conv2d_with_many_filters(images, stride, groups, _multiprocessors, monkeypatch):
    """Filters and windows pass through shared memory, four images at once if their number allows it."""
    monkeypatch.setattr("minigrad.ops.cuda.conv2d.MIN_ROWS", 1)
    compare_conv2d((images, 4, 5, 4), (10, 4 // groups, 3, 2), stride=stride, groups=groups)


@pytest.fixture
def _tf32(monkeypatch):
    """Use TF32 for products of any size."""
    monkeypatch.setattr("minigrad.ops.cuda.tf32.MIN_MULTIPLY_ADDS", 0)
    mg.set_float32_matmul_precision("high")
    yield
    mg.set_float32_matmul_precision("highest")


def assert_tf32_close(found, exact, sizes):
    """TF32 has 10 fraction bits: the error is at most 2**-10 of the sum of absolute values, and not 0."""
    error = abs(found.astype(np.float64) - exact)
    assert (error <= 2**-10 * sizes + 1e-6).all()
    assert error.max() > 1e-6


@pytest.mark.usefixtures("_tf32")
@pytest.mark.parametrize("shapes", [((33, 17), (17, 20)), ((5, 70), (70, 6)), ((2, 9, 20), (2, 20, 13))])
def test_matmul_in_tf32(shapes):
    random = np.random.default_rng(0)
    a, b = (random.normal(size=shape).astype("f4").astype("f8") for shape in shapes)
    for left in (a, np.asfortranarray(a)):
        for right in (b, np.asfortranarray(b)):
            found = on_device(left.astype("f4", order="K"), "cuda") @ on_device(right.astype("f4", order="K"), "cuda")
            assert_tf32_close(found.numpy(), a @ b, abs(a) @ abs(b))


@pytest.mark.usefixtures("_tf32")
@pytest.mark.parametrize("pads, dilation", [(0, 1), (1, 1), ((2, 1), (1, 2))])
def test_conv2d_in_tf32(pads, dilation):
    random = np.random.default_rng(0)
    arrays = [random.normal(size=shape).astype("f4").astype("f8") for shape in ((3, 2, 6, 7), (5, 2, 3, 2), (5,))]

    def run(device, dtype, numbers):
        x, w, b = (leaf(number, "plain", dtype, device) for number in numbers)
        out = F.conv2d(x, w, b, padding=pads, dilation=dilation)
        out.sum().backward()
        return out.detach().numpy(), x.grad.numpy()

    found = run("cuda", "float32", arrays)
    exact, sizes = run("numpy", "float64", arrays), run("numpy", "float64", [abs(x) for x in arrays])
    for mine, other, size in zip(found, exact, sizes, strict=True):
        assert_tf32_close(mine, other, size)


def test_fragment_lines_load_the_fragments_of_the_ptx_isa():
    """For mma.m16n8k8, .tf32: thread `lane` holds a at rows lane / 4 (+ 8 for a1, a3) and columns lane % 4 (+ 4 for
    a2, a3), b at rows lane % 4 (+ 4 for b1) and column lane / 4."""
    random, rows = np.random.default_rng(0), (40, 24)
    left, right = random.normal(size=8 * rows[0]), random.normal(size=8 * rows[1])
    held = {}
    names = {"position": int, "mma": lambda *arguments: held[lane].append(arguments[4:]) or (0, 0, 0, 0)}
    lines = mma.fragment_lines(2, 2, *rows)
    exec("\n    ".join(["def multiply(acc, a, a_at, b, b_at, lane):", *lines]), names)  # as a function of the host
    multiply = names["multiply"]
    for lane in range(32):
        held[lane] = []
        multiply([0] * 16, left, 3, right, 5, lane)
    for result, (i, j) in enumerate(np.ndindex(2, 2)):
        a, b = np.zeros((16, 8)), np.zeros((8, 8))
        for lane in range(32):
            numbers, group, member = held[lane][result], lane // 4, lane % 4
            for number in range(4):
                a[group + number % 2 * 8, member + number // 2 * 4] = numbers[number]
            b[member, group], b[member + 4, group] = numbers[4:]
        np.testing.assert_array_equal(a, left.reshape(8, -1)[:, 3 + 16 * i :][:, :16].T)
        np.testing.assert_array_equal(b, right.reshape(8, -1)[:, 5 + 8 * j :][:, :8])


def test_matmul_does_not_use_tf32_by_default():
    assert mg.get_float32_matmul_precision() == "highest"
    x = np.random.default_rng(0).normal(size=(8, 8)).astype("f4")
    np.testing.assert_allclose((on_device(x, "cuda") @ on_device(x, "cuda")).numpy(), x @ x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("_multiprocessors", [1, 50], indirect=True)
@pytest.mark.parametrize("shape, axis", [((1000,), 0), ((2, 700), 1), ((700, 3), 0), ((3, 300, 2), 1)])
def test_sum_amax_and_argmax_in_parts(shape, axis, _multiprocessors):
    x = np.random.default_rng(0).normal(size=shape).round(1)  # with equal elements
    mine = on_device(x.astype("f4"), "cuda")
    np.testing.assert_allclose(mine.sum(axis).numpy(), x.sum(axis), rtol=0, atol=1e-3)
    np.testing.assert_array_equal(mine.amax(axis).numpy(), x.astype("f4").max(axis))
    np.testing.assert_array_equal(mine.argmax(axis).numpy(), x.argmax(axis))
    x[(7,) * len(shape) if min(shape) > 7 else (0,) * len(shape)] = np.nan
    np.testing.assert_array_equal(on_device(x, "cuda").argmax(axis).numpy(), x.argmax(axis))


@pytest.mark.parametrize("numbers, total", [([np.inf], np.inf), ([np.inf, -np.inf], np.nan), ([3e38, 3e38], np.inf)])
@pytest.mark.parametrize("shape, axis", [((5,), 0), ((700,), 0), ((2, 300), 1), ((130, 3), 0)])
def test_sum_and_mean_of_infinities_and_overflows(shape, axis, numbers, total):
    x = np.zeros(shape, np.float32)
    for i, number in enumerate(numbers):
        x[(slice(None),) * axis + (2 * i,)] = number
    expected = np.full(x.max(axis).shape, total)
    np.testing.assert_array_equal(on_device(x, "cuda").sum(axis).numpy(), expected)
    np.testing.assert_array_equal(on_device(x, "cuda").mean(axis).numpy(), expected)


def test_sum_and_mean_keep_rounding_errors():
    x = np.full((258, 3), 0.25, np.float32)  # 256 quarters beside 2**24, where float32 numbers are 2 apart
    x[0], x[1] = 2.0**24, 0
    assert on_device(x, "cuda").sum(0).tolist() == [2**24 + 64] * 3
    line = np.full(5000, 0.1, np.float32)
    assert on_device(line, "cuda").mean().item() == pytest.approx(0.1, rel=1e-7)


@pytest.mark.parametrize("K", [511, 512, 513, 1040])
def test_matmul_and_linear_over_a_long_k(K):
    random = np.random.default_rng(0)
    a, b, c = (random.integers(-2, 3, shape).astype("float32") for shape in ((3, K), (5, K), (5,)))
    np.testing.assert_array_equal((on_device(a, "cuda") @ on_device(b, "cuda").T).numpy(), a @ b.T)
    np.testing.assert_array_equal(F.linear(*[on_device(x, "cuda") for x in (a, b, c)]).numpy(), a @ b.T + c)


def test_mean_of_ones_is_1_and_div_is_correctly_rounded():
    for n in (41, 47, 55):
        assert mg.ones(n, device="cuda").mean().item() == 1
    x = np.arange(1, 300, dtype=np.float32)
    np.testing.assert_array_equal((on_device(x, "cuda") / 41).numpy(), x / np.float32(41))


def test_lenet5_gives_the_weights_of_numpy():
    """Two steps of LeNet-5 on two images."""
    settings = {"model": lambda: LeNet5(image_size=28), "size": 28, "classes": 10, "steps": 2}
    found, expected = (train(device, OPTIMIZERS["momentum"], **settings) for device in ("cuda", "numpy"))
    assert_same_training(found, expected, 1e-5)


# ---- epilogues of recorded kernels


@pytest.fixture
def launches(monkeypatch):
    """For each recording, how many launches it has, how many after operations became epilogues, and the kernels after
    launches were joined."""
    counts = []

    def note_epilogues(launches):
        counts.append((len(launches), len(added := add_epilogues(launches))))
        return added

    def note_joins(launches):
        joined = join_launches(launches)
        counts[-1] += ([launch.kernel.name for launch in joined],)
        for step in map(Step, joined):
            check_uses(step)
        return joined

    monkeypatch.setattr("minigrad.runtime.cuda.program.add_epilogues", note_epilogues)
    monkeypatch.setattr("minigrad.runtime.cuda.program.join_launches", note_joins)
    return counts


def check_uses(step):
    """A launch notes the place of each address among its words: there is one for each array, within its block."""
    assert len(step.launch.arguments) == len(step.arrays)
    for use in step.launch.arguments:
        owner = use.owner() if isinstance(use.owner, ReferenceType) else use.owner
        if owner is not None:  # temporary memory of the recording may be free
            assert 0 <= step.words[use.word] - owner.address <= owner.nbytes


def count_epilogues(launches, recorded, *inputs):
    """The operations that became epilogues; checks that the replay has the numbers of the first, plain call."""
    first, replayed = recorded(*inputs).numpy(), recorded(*inputs).numpy()
    np.testing.assert_array_equal(replayed, first)
    before, after, _ = launches.pop()
    return before - after


def gradient(function):
    """The function x -> the gradient of function(x) ** 2 / 2."""

    def run(x):
        x = x.detach().requires_grad_()
        out = function(x)
        return mg.autograd.grad(out, x, out.detach())[0]

    return run


def on_gpu(*shape):
    return on_device(np.random.default_rng(len(shape)).normal(size=shape).astype("f4"), "cuda")


def batch_innermost():
    """Images (8, 4, 6, 5) in the memory order of the kernels."""
    return on_gpu(4, 6, 5, 8).permute(3, 0, 1, 2)


PRODUCERS = {
    "matmul": lambda x: x.reshape(32, 30) @ on_gpu(30, 9),
    "linear": lambda x: F.linear(x.reshape(32, 30), on_gpu(5, 30), on_gpu(5)),
    "conv2d": lambda x: F.conv2d(x, on_gpu(6, 4, 3, 3), on_gpu(6)),
    "gradient of conv2d": gradient(lambda x: F.conv2d(x, on_gpu(6, 4, 3, 3), stride=2)),
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "gradient of max_pool2d": gradient(lambda x: F.max_pool2d(x, 3, 1)),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2, padding=1),
    "gradient of avg_pool2d": gradient(lambda x: F.avg_pool2d(x, 2)),
}
FOLLOWERS = {
    "relu": lambda y, other: y.relu(),
    "add": lambda y, other: other + y,
    "gelu": lambda y, other: F.gelu(y),
    "square": lambda y, other: y * y,
    "leaky_relu": lambda y, other: F.leaky_relu(y, 0.1),
    "relu_": lambda y, other: y.relu_(),
}


@pytest.mark.parametrize(
    "producer, follower",
    [
        *[(p, f) for p in PRODUCERS for f in ("relu", "add")],
        *[("linear", f) for f in list(FOLLOWERS)[2:]],
        ("max_pool2d", "gelu"),
    ],
)
def test_a_recorded_element_wise_operation_is_part_of_the_kernel_before_it(producer, follower, launches):
    """The operation reads what the kernel computes; its numbers are those of plain calls."""
    x, produce, follow = batch_innermost(), PRODUCERS[producer], FOLLOWERS[follower]
    other = produce(x * 2).detach()
    assert count_epilogues(launches, mg.graph(lambda x: follow(produce(x), other)), x) == 1


@pytest.mark.parametrize("_multiprocessors", [1], indirect=True)
@pytest.mark.parametrize("name", ["conv2d", "gradient of conv2d"])
def test_epilogues_of_convolutions_with_many_filters(name, _multiprocessors, launches, monkeypatch):
    monkeypatch.setattr("minigrad.ops.cuda.conv2d.MIN_ROWS", 1)
    x, produce = batch_innermost(), PRODUCERS[name]
    assert count_epilogues(launches, mg.graph(lambda x: produce(x).relu()), x) == 1


@pytest.mark.usefixtures("_tf32")
@pytest.mark.parametrize("name", ["matmul", "conv2d"])
def test_epilogues_in_tf32(name, launches):
    x, produce = batch_innermost(), PRODUCERS[name]
    assert count_epilogues(launches, mg.graph(lambda x: produce(x).relu()), x) == 1


def test_an_epilogue_of_a_product_in_parts_of_k_follows_the_last(launches, monkeypatch):
    monkeypatch.setattr("minigrad.ops.cuda.matmul.MAX_TERMS", 8)
    x, w = on_gpu(5, 30), on_gpu(30, 40)
    assert count_epilogues(launches, mg.graph(lambda x: (x @ w).relu()), x) == 1


@pytest.mark.parametrize("_multiprocessors", [1], indirect=True)
@pytest.mark.parametrize("min_rows", [1, 24])
def test_epilogues_of_weight_gradients_that_are_one_part(min_rows, _multiprocessors, launches, monkeypatch):
    monkeypatch.setattr("minigrad.ops.cuda.conv2d.MIN_ROWS", min_rows)
    monkeypatch.setattr("minigrad.ops.cuda.conv2d.BLOCKS", 1)
    x, w = batch_innermost(), on_gpu(6, 4, 2, 2)
    recorded = mg.graph(lambda w: gradient(lambda w: F.conv2d(x, w))(w).relu())
    assert count_epilogues(launches, recorded, w) == 1


# Functions whose last operation is no epilogue, because it would read or write too early.


def memory_in_use(x, w, other):
    """ReLU fills memory that another product reads after the first."""
    t = other * 3
    y, z = x @ w, t @ w
    del t
    return y.relu() + z


def memory_of_a_factor(x, w, other):
    """ReLU fills memory that the product reads."""
    t = x * 3
    y = t @ w
    del t
    return y.relu()


def changed_operand(x, w, other):
    """`t` changes after the product."""
    t = other * 3
    y = x @ w
    t[3:] = 1.0
    return t + y


def changed_result(x, w, other):
    """The product changes before ReLU."""
    y = x @ w
    y[3:] = 1.0
    return y.relu()


def single_element(x, w, other):
    """The product is one element, which is multiplied by all of `other`."""
    return (x[:1] @ w[:, :1]) * other


def element_of_the_result(x, w, other):
    """All elements of the product are multiplied by one of them."""
    y = x @ w
    return y * y[19, 18]


def filled_operand(x, w, other):
    """A sum that replaces one of its terms would be added again by a kernel that stores a value twice."""
    t = other * 3
    y = x @ w
    elementwise(lambda a, b: a + b, (Memory,) * 3, "add")(t.array, y.array, t.array)
    return t


def unknown_kernel(x, w, other):
    """A kernel in between takes int64 numbers and does not declare what it writes: it could be addresses."""
    y = x @ w
    t = other.gather(1, (other[:, :3] > 0).long())
    return y.relu() + t.sum()


def rounded_apart(x, w, other):
    """The product of two single numbers may be rounded before it is added to the matrix product, or not."""
    filled = mg.empty_like(other)
    y = x @ w
    formula = elementwise(lambda a, b, c: a + b * c, (Memory,) * 4, "formula")
    formula(y.array, 0.1, 0.3, filled.array)
    return filled


def two_readers(x, w, other):
    """The second is no epilogue; it reads the product from memory."""
    y = x @ w
    return y.relu() - F.gelu(y)


TOO_EARLY = memory_in_use, memory_of_a_factor, changed_operand, changed_result, single_element
TOO_EARLY += element_of_the_result, filled_operand, unknown_kernel, rounded_apart, two_readers


@pytest.mark.parametrize("function", TOO_EARLY)
def test_an_element_wise_operation_that_cannot_run_earlier_stays_where_it_is(function, launches):
    x, w = on_gpu(20, 20), on_gpu(20, 20)
    other = (x @ w) * 3
    expected = function(x, w, other).numpy()
    recorded = mg.graph(lambda x: function(x, w, other))
    assert count_epilogues(launches, recorded, x) == (function is two_readers)
    np.testing.assert_array_equal(recorded(x).numpy(), expected)


def test_kernels_with_different_epilogues_have_different_files():
    """Also if the formulas have the same name."""
    first, names = gemm_kernel(SHAPES[-1], True, True), set()
    for formula, letters in ((lambda x: x * x, "a"), (lambda x: x * x * x, "a"), (lambda x, y: x * y, "aa")):
        for same in [("x0",), ("x1",)][: len(letters)]:
            kernel = _kernel_with_epilogue(first, _flat_kernel(formula, "formula", letters), same)
            names.add(kernel_fingerprint(kernel.function))
    assert len(names) == 4


def test_a_step_of_lenet5_has_8_epilogues_and_at_most_24_launches(launches, monkeypatch):
    """ReLU of two poolings and two products, and its gradient of three products and a convolution.  In the simulator
    two reductions have more parts."""
    monkeypatch.setattr(current_gpu(), "multiprocessors", 132)
    replace_driver_function(monkeypatch, "cuLaunchKernel", lambda *launch: (0,))
    model = LeNet5(image_size=32).to("cuda")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(images, labels):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    images, labels = mg.ones(64, 1, 32, 32, device="cuda"), mg.zeros(64, dtype=mg.int64, device="cuda")
    step(images, labels)  # makes the state of the optimiser
    mg.graph(step)(images, labels)
    before, after, kernels = launches.pop()
    assert (before, after, len(kernels)) == ((45, 37, 32) if driver.SIMULATED else (42, 34, 24))


# ---- joined launches


def joined(launches, recorded, *inputs):
    """The kernels of which the joint launches of a recording consist, those side by side and those one after the other;
    checks that replays have the numbers of plain calls."""
    plain = recorded.function(*inputs)
    recorded(*inputs)
    for replayed, expected in zip(recorded(*inputs), plain, strict=True):
        np.testing.assert_array_equal(replayed.detach().numpy(), expected.detach().numpy())
    names = [re.sub(r"(cuda|\w+)\.|-[\w-]+", "", name) for name in launches.pop()[2]]
    side_by_side, in_turn = ([name.split(sign) for name in names if sign in name] for sign in "&;")
    return side_by_side, in_turn


@pytest.fixture
def many_multiprocessors(monkeypatch):
    """A GPU on which all launches of a test are small."""
    monkeypatch.setattr(current_gpu(), "multiprocessors", 132)


@pytest.mark.usefixtures("many_multiprocessors")
def test_the_gradients_of_a_linear_layer_run_side_by_side(launches):
    leaves, g = [x.requires_grad_() for x in (on_gpu(40, 9), on_gpu(5, 9), on_gpu(5))], on_gpu(40, 5)
    gradients = mg.graph(lambda g: mg.autograd.grad(F.linear(*leaves), leaves, g))
    groups = [["gemm", "gemm", "gemm", "column_sum_kernel"]]
    if not driver.SIMULATED:  # the shared memory of three products is too much
        groups = [["gemm", "gemm"], ["gemm", "column_sum_kernel"]]
    assert joined(launches, gradients, g)[0] == groups


@pytest.mark.usefixtures("many_multiprocessors")
def test_a_sum_of_parts_runs_beside_a_product(launches, monkeypatch):
    """Its grid has several rows."""
    monkeypatch.setattr("minigrad.ops.cuda.reduction.MIN_SHARED_PART", 1)
    x, y = on_gpu(3, 600), on_gpu(600, 7)
    side_by_side, _ = joined(launches, mg.graph(lambda x, y: (x @ y, x.sum(1))), x, y)
    assert side_by_side == [["gemm", "row_sum_kernel"]]


@pytest.mark.usefixtures("many_multiprocessors")
def test_products_with_different_epilogues_run_side_by_side(launches):
    """Their outputs are of the same types and differ in what they compute."""
    x, y = on_gpu(5, 9), on_gpu(9, 7)

    def activated(x, y):
        first, second = x @ y, x @ y
        return first.relu(), second.abs(), first, second

    side_by_side, _ = joined(launches, mg.graph(activated), x, y)
    assert any("gemm+relu" in group and "gemm+abs" in group for group in side_by_side), side_by_side


@pytest.mark.usefixtures("many_multiprocessors")
def test_products_of_several_tiles_run_side_by_side(launches):
    x, y, z = on_gpu(3, 4), on_gpu(4, 3), on_gpu(300, 300) if not driver.SIMULATED else on_gpu(9, 9)
    joined(launches, mg.graph(lambda x, y, z: (x @ y, z @ z)), x, y, z)


@pytest.mark.usefixtures("many_multiprocessors")
def test_launches_of_several_dtypes_run_beside_each_other(launches):
    x, y, n = on_gpu(3, 100), on_gpu(3, 100).double(), on_gpu(3, 100).long()
    side_by_side, _ = joined(launches, mg.graph(lambda x, y, n: (x.sum(1), y.sum(1), n.sum(1))), x, y, n)
    assert side_by_side == [["row_sum_kernel"] * 3]


@pytest.mark.usefixtures("many_multiprocessors")
def test_launches_that_need_each_other_do_not_run_side_by_side(launches):
    x = on_gpu(40, 40)
    assert joined(launches, mg.graph(lambda x: ((x @ x) @ x,)), x)[0] == []
    assert joined(launches, mg.graph(lambda x: ((x @ x).sum(1),)), x)[0] == []


@pytest.mark.parametrize("_multiprocessors", [1], indirect=True)
def test_launches_that_fill_the_gpu_do_not_run_side_by_side(_multiprocessors, launches):
    x = on_gpu(300, 20)
    assert joined(launches, mg.graph(lambda x: (x @ x.T, (x + 1) @ x.T)), x)[0] == []


@pytest.mark.usefixtures("many_multiprocessors")
@pytest.mark.parametrize("seed", range(20))
def test_joined_launches_of_random_programs_have_the_numbers_of_plain_calls(seed, launches):
    """Products and sums of random earlier results, of which some are deleted, so that their memory is used again."""
    operations = [
        lambda a, b: a @ b * 0.02,
        lambda a, b: a.T @ b,
        lambda a, b: a.sum(1) * 0.1 + b,
        lambda a, b: b.sum(0, keepdim=True) + a,
        lambda a, b: (a @ b).relu(),
    ]
    plan = np.random.default_rng(seed).integers(0, (5, 99, 99, 2), (12, 4)).tolist()

    def function(x):
        values = [x, x * 0.5, x + 1]
        for kind, i, j, deleted in plan:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(operations[kind](a, b).clamp(-2, 2))
            if deleted and len(values) > 4:
                del values[i % len(values)]
        return values

    joined(launches, mg.graph(function), on_gpu(33, 33))


def test_the_launches_of_a_small_loss_run_one_after_the_other_in_one_block(launches):
    logits, labels = on_gpu(10, 12).T, mg.arange(12, device="cuda") % 10
    loss = mg.graph(lambda labels: [F.cross_entropy(logits, labels)])
    assert joined(launches, loss, labels)[1] == [["range_kernel", "cross_entropy_kernel", "reduce_kernel"]]
    with pytest.raises(ValidationError, match="label 10 is out of range for 10 classes"):
        loss(labels + 1)[0].item()
    assert np.isfinite(loss(labels)[0].item())


@pytest.mark.skipif(not driver.SIMULATED, reason="tests the simulator")
def test_simulator_ends_when_a_thread_fails_or_misses_a_barrier():
    @kernel
    def failing(x):
        cuda.syncthreads()
        if cuda.threadIdx.x == 1:
            x[99] = 1
        cuda.syncthreads()

    @kernel
    def missing(x):
        if cuda.threadIdx.x == 1:
            cuda.syncthreads()

    x = mg.zeros(3, device="cuda").array
    with pytest.raises(IndexError, match="out of bounds"):
        failing[2, 3](x)
    with pytest.raises(AssertionError, match="threads of a block met different numbers of barriers"):
        missing[1, 3](x)


def test_graph_keeps_the_memory_of_its_recording_when_the_device_runs_out(monkeypatch):
    """The replays use the memory that the recording freed."""
    mg.ones(1000, device="cuda") * 2 + 1  # allocates tables that stay
    api, refused = driver.api, []

    def fail_once(size):
        if not refused:
            refused.append(size)
            return 2, 0
        return api.cuMemAlloc(size)

    @mg.graph
    def function(x):
        y = (x * 2 + 1) * 3  # the first product is freed
        replace_driver_function(monkeypatch, "cuMemAlloc", fail_once)
        z = mg.zeros(2, 12_345, device="cuda") + y.sum()
        monkeypatch.setattr(driver, "api", api)
        return z[0, :2] + y[:2]

    x = mg.ones(1000, device="cuda")
    for _ in range(3):
        assert function(x).tolist() == [9009.0, 9009.0]
    assert refused
