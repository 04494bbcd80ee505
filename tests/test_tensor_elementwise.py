"""Functions of each element: whole numbers, in place, in recordings; dtypes by PyTorch's names.

parity_elementwise.py has the values.
"""

import inspect
import math

import numpy as np
import pytest
from helpers import DEVICES

import minigrad as mg
from minigrad.errors import GraphError, ValidationError
from minigrad.methods.elementwise import Elementwise

IN_PLACE = [name[:-1] for name in vars(Elementwise) if name.endswith("_") and not name.startswith("_")]
UNARY = [
    "sin",
    "acosh",
    "exp",
    "log",
    "sqrt",
    "erfc",
    "log1p",
    "rsqrt",
    "reciprocal",
    "sigmoid",
    "tanh",
    "exp2",
    "logit",
]


@pytest.mark.parametrize("dtype", [mg.int64, mg.int32, mg.uint8, mg.bool])
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_whole_numbers_and_bool_give_float32(name, dtype):
    x = mg.tensor([0, 1, 1], dtype=dtype)
    found = getattr(x, name)()
    assert found.dtype == mg.float32
    np.testing.assert_array_equal(found.numpy(), getattr(x.float(), name)().numpy())


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_returns_the_tensor_itself_with_the_values_of_the_method(name):
    numbers = ([1, 2], [2, 1]) if name.startswith("bitwise") else ([1.25, 2.5], [0.5, 1.5])
    x, other = map(mg.tensor, numbers)
    values = {"other": other, "end": other, "tensor1": other, "tensor2": other, "weight": 0.5, "exponent": 2}
    values |= {"min": 2, "max": 3}
    args = [values[key] for key in inspect.signature(getattr(x, name)).parameters if key in values]
    expected = getattr(x, name)(*args).to(x.dtype)
    view, address = x[:], x.data_ptr()
    assert getattr(x, f"{name}_")(*args) is x
    np.testing.assert_array_equal(x.numpy(), expected.numpy())
    np.testing.assert_array_equal(view.numpy(), expected.numpy())
    assert x.data_ptr() == address
    assert getattr(x, f"{name}_").__name__ == f"{name}_"


@pytest.mark.parametrize("operator", ["%", "//", "**", "&", "|", "^", "<<", ">>"])
def test_operators_of_numbers_and_in_place_equal_numpys(operator):
    numbers = np.array([[1, 2], [3, 4]])
    scope = {"x": mg.tensor(numbers), "a": numbers.copy(), "y": mg.tensor(numbers)}
    kept = scope["x"]
    for text in (f"7 {operator} {{}}", f"{{}} {operator} 2", f"{{}} {operator} {{}}"):
        theirs = eval(text.format("a", "a"), scope)
        np.testing.assert_array_equal(eval(text.format("x", "y"), scope).numpy(), theirs, strict=True)
    exec(f"x {operator}= 2\na {operator}= 2", scope)
    assert scope["x"] is kept
    np.testing.assert_array_equal(kept.numpy(), scope["a"])


def test_in_place_keeps_gradients_right_or_refuses():
    x = mg.ones(2, requires_grad=True)
    with pytest.raises(GraphError, match="^sin in place:"):
        x.sin_()
    y = x * 2
    out = y.sin()
    y.cos_()  # nothing else uses the memory of y, so its old value stays
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.cos([2, 2]), 1e-6)
    y = x * 2
    view, out = y[0], y.sin()
    view.cos_()
    with pytest.raises(GraphError, match=r"^backward: .*changed"):
        out.sum().backward()
    with mg.no_grad():
        x.clamp_(max=0.5)
    assert x.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("device", DEVICES)
def test_recordings_repeat_functions_in_place_and_without(device):
    @mg.graph
    def step(x, n):
        y = x.clone()
        y[0].sin_().mul_(2)
        y.clamp_(-1, 0.5).atan2_(x)
        return y.nan_to_num().lerp(x, 0.3), (n % 3) << 1, ~n & 5, x.isnan() | (x > 0), n // 2, x.round(decimals=1)

    for seed in range(3):
        random = np.random.default_rng(seed)
        x, n = (
            mg.tensor(random.normal(size=(2, 3)), device=device),
            mg.tensor(random.integers(0, 9, 4), device=device),
        )
        for found, expected in zip(step(x, n), step.__wrapped__(x, n), strict=True):
            np.testing.assert_array_equal(found.numpy(), expected.numpy(), strict=True)
    assert len(step._replays) == 1


@pytest.mark.parametrize("device", DEVICES)
def test_a_replay_refuses_to_divide_whole_numbers_by_zero(device):
    step = mg.graph(lambda a, b: a // b)
    seven = mg.tensor([7, 7], device=device)
    assert step(seven, mg.tensor([2, 3], device=device)).tolist() == [3, 2]
    with pytest.raises(ValidationError, match="^floor_divide: whole numbers cannot be divided by 0"):
        step(seven, mg.tensor([2, 0], device=device))
    assert (mg.zeros(0, dtype=mg.int64) // 0).shape == (0,)


def test_positive_shares_the_tensor_and_sub_alpha_reaches_subtract():
    x = mg.tensor([1.0, -2.0])
    assert +x is x
    assert x.subtract(x, alpha=3).tolist() == [-2, 4]
    assert x.divide(2, rounding_mode="floor").tolist() == [0, -1]


# ---- dtypes and inspection


def test_names_of_dtypes():
    assert (mg.float, mg.double, mg.int, mg.long) == (mg.float32, mg.float64, mg.int32, mg.int64)
    assert mg.zeros(1, dtype=mg.long).dtype == mg.tensor([1.5]).to(mg.long).dtype == mg.int64
    assert mg.finfo(mg.float32).eps == np.finfo(np.float32).eps and mg.iinfo(mg.uint8).max == 255
    assert (mg.pi, mg.e, mg.inf) == (math.pi, math.e, math.inf) and math.isnan(mg.nan)


def test_types_of_tensors_make_tensors_and_name_them():
    for kind in (mg.FloatTensor, mg.DoubleTensor, mg.LongTensor, mg.IntTensor, mg.ByteTensor, mg.BoolTensor):
        x = kind([0, 1])
        assert x.dtype == kind.dtype and isinstance(x, kind) and x.type() == repr(kind) == f"torch.{kind.__name__}"
        assert mg.ones(2).type(kind).dtype == mg.ones(2).type(x.type()).dtype == kind.dtype
        assert kind(2, 3).tolist() == [[0] * 3] * 2 and kind().shape == (0,)
    assert not isinstance([1.0], mg.FloatTensor)


def test_strides_are_those_of_c_order_whatever_the_memory_is():
    x = mg.from_numpy(np.zeros((2, 3, 4), order="F"))
    assert (x + 1).stride() == (12, 4, 1) and (x + 1).is_contiguous()
    assert x.T.stride() == (1, 4, 12) or x.stride() == (12, 4, 1)
    assert mg.zeros(4, 6).T.stride() == (1, 6) and not mg.zeros(4, 6).T.is_contiguous()
    assert mg.zeros(4, 6)[1:, ::2].stride(-1) == 2
    assert (x.element_size(), x.itemsize, x.nbytes, x.nelement(), x.ndimension()) == (8, 8, 192, 24, 3)
    assert not x.is_cuda and x.is_floating_point() and not mg.BoolTensor([True]).is_floating_point()
    assert not x.is_complex()
