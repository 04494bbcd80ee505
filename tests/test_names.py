"""Names that scripts for PyTorch use around their model, on a machine without a GPU too."""

import importlib
import io
import subprocess
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.errors import DeviceError

NAMES = """
nn.parallel.DistributedDataParallel distributed.get_rank utils.data.DistributedSampler
nn.functional nn.init nn.utils.clip_grad_norm_ nn.parameter.Parameter nn.modules.Linear
nn.modules.loss.MSELoss nn.modules.batchnorm._BatchNorm nn.modules.conv._ConvNd nn.modules.loss._Loss
optim.lr_scheduler.StepLR optim.swa_utils.AveragedModel utils.data.DataLoader
utils.data.random_split accelerator.is_available accelerator.current_accelerator accelerator.device_count
accelerator.synchronize backends.cudnn.benchmark backends.cudnn.deterministic backends.cudnn.enabled
backends.cudnn.is_available backends.mps.is_available backends.mkldnn.enabled backends.cuda.matmul.allow_tf32
backends.cuda.is_built amp.autocast amp.GradScaler autocast cuda.amp.autocast cuda.amp.GradScaler
cuda.is_available cuda.manual_seed_all cuda.get_device_name cuda.current_device cuda.synchronize
cuda.set_device jit.script jit.trace jit.export set_float32_matmul_precision set_num_threads get_num_threads
use_deterministic_algorithms set_printoptions version.cuda
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_names_are_found_after_one_import(name):
    code = f"import minigrad as torch; torch.{name}"
    if name in ("nn.functional", "optim.lr_scheduler.StepLR", "utils.data.DataLoader"):  # one in a process of its own
        subprocess.run([sys.executable, "-c", code], check=True)
    exec(code)


@pytest.mark.parametrize(
    "name", ["backends.cudnn", "cuda.amp", "utils.data", "nn.modules", "nn.functional", "optim.lr_scheduler", "version"]
)
def test_modules_can_be_imported(name):
    subprocess.run([sys.executable, "-c", f"import minigrad.{name} as found; found.__name__"], check=True)
    assert importlib.import_module(f"minigrad.{name}")


def test_settings_without_effect_are_taken():
    mg.backends.cudnn.benchmark, mg.backends.cudnn.deterministic = True, True
    mg.use_deterministic_algorithms(True, warn_only=True)
    assert not mg.backends.mps.is_available()
    before = mg.get_float32_matmul_precision()
    try:
        mg.backends.cuda.matmul.allow_tf32 = True
        assert mg.get_float32_matmul_precision() == "high" and mg.backends.cuda.matmul.allow_tf32
    finally:
        mg.set_float32_matmul_precision(before)
    assert [int(part) for part in mg.torch_version.split(".")] >= [2, 0, 0]


@pytest.mark.skipif(mg.cuda.is_available(), reason="there is a GPU")
def test_device_cuda_is_an_object_without_a_gpu():
    device = mg.device("cuda")
    assert isinstance(device, mg.device) and device == mg.device("cuda:0") == "cuda" != mg.device("cpu")
    assert (device.type, str(device), repr(device), hash(device)) == ("cuda", "cuda", "device('cuda')", hash("cuda"))
    assert mg.cuda.device_count() == mg.accelerator.device_count() == 0 == mg.cuda.memory_allocated()
    assert mg.accelerator.current_accelerator() is None
    mg.cuda.empty_cache()
    for use in (lambda: mg.zeros(2, device="cuda"), lambda: nn.Linear(2, 2).to(device), mg.ones(2).cuda):
        with pytest.raises(DeviceError, match="^device 'cuda': looked for"):
            use()
    for use in (mg.cuda.get_device_name, mg.cuda.current_device, mg.cuda.synchronize):
        with pytest.raises(DeviceError, match="^device 'cuda': looked for"):
            use()


def test_cuda_seeds_are_those_of_all_devices():
    drawn = []
    for seed in (mg.manual_seed, mg.cuda.manual_seed, mg.cuda.manual_seed_all):
        seed(3)
        drawn.append(mg.randn(3).tolist())
    assert drawn[0] == drawn[1] == drawn[2]


def test_a_loop_with_autocast_and_scaler_is_the_plain_loop():
    def train(mixed):
        mg.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer, scaler = mg.optim.SGD(model.parameters(), lr=0.1), mg.amp.GradScaler("cpu", enabled=mixed)
        for _ in range(3):
            optimizer.zero_grad()
            if mixed:
                with mg.autocast("cpu", dtype=None):
                    loss = model(mg.ones(4, 3)).square().mean()
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                scaler.step(optimizer)
                scaler.update()
            else:
                model(mg.ones(4, 3)).square().mean().backward()
                optimizer.step()
        return model.weight.tolist()

    mg.names._said.clear()
    with pytest.warns(UserWarning, match="^autocast: has no effect; minigrad computes in the dtype of the") as said:
        assert train(True) == train(False)
    assert len(said) == 1 and said[0].filename == __file__


def test_jit_and_compile_keep_functions_and_models():
    mg.names._said.clear()
    model = nn.Linear(2, 2)
    with pytest.warns(UserWarning, match="^compile: returns the function as it is; record training steps") as said:
        assert mg.compile(len, mode="max-autotune") is len
    assert len(said) == 1 and said[0].filename == __file__
    with pytest.warns(UserWarning, match="^jit.script: "):
        assert mg.jit.script(len) is len
    with pytest.warns(UserWarning, match="^jit.trace: "):
        assert mg.jit.trace(len, mg.ones(1, 2)) is len
    assert mg.compile(model) is mg.jit.script(model) is mg.jit.trace(model, mg.ones(1, 2)) is model

    @mg.compile(fullgraph=True)
    def twice(x):
        return 2 * x

    @mg.jit.ignore
    def thrice(x):
        return 3 * x

    assert twice(2) == 4 and thrice(2) == 6 and mg.jit.ignore(drop=True)(thrice) is thrice
    assert not mg.jit.is_scripting()


def test_data_parallel_runs_the_model_on_one_device():
    mg.names._said.clear()
    with pytest.warns(UserWarning, match="^DataParallel: minigrad uses one device") as said:
        model = nn.DataParallel(nn.Linear(2, 2), device_ids=[0, 1])
    assert said[0].filename == __file__ and list(model.state_dict()) == ["module.weight", "module.bias"]
    assert (model(mg.ones(1, 2)) == model.module(mg.ones(1, 2))).all()


def test_print_options():
    x = mg.tensor([1.0, 2.51234567])
    try:
        mg.set_printoptions(precision=2)
        assert repr(x) == "tensor([1.  , 2.51])"
        mg.set_printoptions(sci_mode=True)
        assert repr(x) == "tensor([1.00e+00, 2.51e+00])"
        mg.set_printoptions(profile="short")
        assert repr(mg.zeros(2000)) == "tensor([0., 0., ..., 0., 0.])"
        mg.set_printoptions(profile="full", linewidth=20)
        assert "..." not in repr(mg.zeros(2000))
    finally:
        mg.set_printoptions(profile="default")
    assert repr(x) == "tensor([1.    , 2.5123])"


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: mg.randnn, "mg has no 'randnn'; there is randn, rand, randint"),
        (lambda: nn.linear, "mg.nn has no 'linear'; there is Linear"),
        (lambda: nn.functional.ReLu, "mg.nn.functional has no 'ReLu'; there is relu"),
        (lambda: nn.utils.total_norm, "mg.nn.utils has no 'total_norm'; there is get_total_norm"),
        (lambda: nn.init.xyzzy, "mg.nn.init has no 'xyzzy'"),
        (lambda: mg.optim.Adamw, "mg.optim has no 'Adamw'; there is AdamW, Adam"),
        (lambda: mg.optim.lr_scheduler.StepLr, "mg.optim.lr_scheduler has no 'StepLr'; there is StepLR"),
        (lambda: mg.utils.data.DataLoder, "mg.utils.data has no 'DataLoder'; there is DataLoader"),
        (lambda: mg.backends.cudnn.benchmarks, "mg.backends.cudnn has no 'benchmarks'; there is benchmark"),
        (lambda: mg.cuda.is_availabel, "mg.cuda has no 'is_availabel'; there is is_available"),
        (lambda: mg.zeros(1).reshpe, "Tensor has no 'reshpe'; there is reshape"),
        (lambda: mg.zeros(1).__abc__, "Tensor has no '__abc__'"),
        (lambda: mg.zeros(1).__cuda_array_interface__, "__cuda_array_interface__: the tensor is on 'cpu', not on"),
    ],
)
def test_unknown_names_are_errors_with_the_nearest(use, message):
    with pytest.raises(AttributeError) as caught:
        use()
    assert str(caught.value).startswith(message)


# ---- nn.init, containers, Module


def test_fixed_initial_weights():
    np.testing.assert_array_equal(nn.init.eye_(mg.ones(2, 3)).numpy(), np.eye(2, 3))
    for shape, groups in [((4, 3, 5), 1), ((4, 2, 3, 4), 2), ((2, 3, 3, 1, 2), 1)]:
        filters = np.split(nn.init.dirac_(mg.ones(*shape), groups).numpy(), groups)
        for weight in filters:
            middle = weight[(..., *(size // 2 for size in shape[2:]))]
            np.testing.assert_array_equal(middle, np.eye(*middle.shape))
            assert weight.sum() == middle.sum()


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 3, 4)])
def test_orthogonal_weights(shape):
    w = nn.init.orthogonal_(mg.zeros(*shape, dtype=mg.float64), gain=2).numpy().reshape(shape[0], -1)
    np.testing.assert_allclose(np.linalg.svd(w)[1], 2)


def test_sparse_weights_have_as_many_zeros_in_each_column():
    w = nn.init.sparse_(mg.ones(1001, 4), sparsity=0.1).numpy()
    assert ((w == 0).sum(axis=0) == 101).all()
    np.testing.assert_allclose(w[w != 0].std(), 0.01, rtol=0.1)


@pytest.mark.parametrize(
    ("settings", "mean", "std"),  # measured in PyTorch 2.13
    [
        ({}, 0, 0.8796),
        ({"a": -1, "b": 0.5}, -0.2071, 0.4152),
        ({"mean": 1, "std": 2, "a": -1, "b": 3}, 1, 1.0810),
        ({"a": 9, "b": 10}, 9.1089, 0.1073),
        ({"std": 0.02}, 0, 0.02),
        ({"a": -1e6, "b": 1e6}, 0, 1),
    ],
)
def test_truncated_normal_weights(settings, mean, std):
    w = nn.init.trunc_normal_(mg.zeros(200_000, dtype=mg.float64), **settings).numpy()
    np.testing.assert_allclose([w.mean(), w.std()], [mean, std], atol=0.01)
    assert w.min() >= settings.get("a", -2) and w.max() <= settings.get("b", 2)


def test_initial_weights_follow_a_generator():
    for name in ("uniform_", "normal_", "xavier_uniform_", "kaiming_normal_", "trunc_normal_", "orthogonal_"):
        first, second = (getattr(nn.init, name)(mg.zeros(3, 4), generator=mg.Generator()).tolist() for _ in range(2))
        assert first == second


def test_sequences_of_modules_insert_pop_and_add():
    for kind in (nn.ModuleList, lambda layers: nn.Sequential(*layers)):
        a, b, c, d = nn.Tanh(), nn.ReLU(), nn.Sigmoid(), nn.Dropout()
        layers = kind([a, b])
        assert list(layers.insert(1, c)) == [a, c, b] and list(layers._modules) == ["0", "1", "2"]
        assert layers.pop(0) is a and layers.pop() is b and list(layers) == [c]
        layers += [d]
        assert list(layers + kind([a])) == [c, d, a] and list(layers) == [c, d]
        with pytest.raises(mg.errors.DtypeError):
            layers.insert(0, mg.relu)
        assert list(layers) == [c, d]


def test_dicts_of_modules():
    heads = nn.ModuleDict([("a", nn.ReLU()), ("b", nn.Tanh())])
    assert isinstance(heads.pop("a"), nn.ReLU) and list(heads) == ["b"]
    heads.clear()
    assert len(heads) == 0


def test_lists_and_dicts_of_parameters():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = nn.ParameterList([nn.Parameter(mg.ones(2)), mg.zeros(3)])
            self.named = nn.ParameterDict({"a": mg.ones(4)})
            self.named["b"] = mg.ones(1)

    model = Model()
    assert list(model.state_dict()) == ["weights.0", "weights.1", "named.a", "named.b"]
    assert all(isinstance(p, nn.Parameter) for p in [*model.weights, *model.named.values()])
    assert len(model.weights) == 2 and model.weights[-1].shape == (3,) and [len(p) for p in model.weights[:1]] == [2]
    model.weights.append(mg.ones(5))
    assert model.weights.pop().shape == (5,) and model.named.pop("a").shape == (4,) and "a" not in model.named
    assert repr(model.weights) == "ParameterList(\n  (0): Parameter float32 (2,)\n  (1): Parameter float32 (3,)\n)"


def test_state_dicts_can_keep_and_assign_tensors():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    assert first.state_dict(keep_vars=True)["weight"] is first.weight
    weight, given = second.weight, first.double().state_dict()
    second.load_state_dict(given, assign=True)
    assert second.weight is weight and weight.dtype == mg.float64 and weight.requires_grad
    given["weight"].zero_()
    assert not weight.detach().numpy().any()
    with pytest.raises(mg.errors.StateError):
        second.load_state_dict({"weight": given["weight"]}, assign=True)


def test_buffers_by_path():
    model = nn.Sequential(nn.Module())
    model[0].register_buffer("mean", mg.ones(2), persistent=False)
    assert model.get_buffer("0.mean") is model[0].mean and list(model.state_dict()) == []
    with pytest.raises(AttributeError, match="^get_buffer: Module has no buffer 'std'"):
        model.get_buffer("0.std")
    buffer = io.BytesIO()
    mg.save(model.state_dict(), buffer)
    buffer.seek(0)
    assert mg.load(buffer) == {}
