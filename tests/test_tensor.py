"""Tensors: creation, repr, conversion to Python and NumPy, dtypes, indexing, copies."""

import copy
import pickle

import numpy as np
import pytest
from cases import draw_key, index_as_pytorch, laid_out, shapes
from helpers import DEVICES
from hypothesis import given, strategies as st

import minigrad as mg
from minigrad.errors import DtypeError, ShapeError, ValidationError
from minigrad.nn import functional as F

T = mg.tensor
FLOATS, WHOLE = (mg.float32, mg.float64), (mg.int64, mg.int32, mg.uint8)


# ---- creation


@pytest.mark.parametrize(
    "data, dtype",
    [
        (1.5, mg.float32),
        (2, mg.int64),
        (True, mg.bool),
        ([1, 2.5], mg.float32),
        ([], mg.float32),
        (np.float64(1), mg.float64),
        (np.zeros(2), mg.float64),
        (np.zeros(2, "f4"), mg.float32),
        (range(3), mg.int64),
        (np.zeros(2, "u1"), mg.uint8),
        ([[True], [False]], mg.bool),
        (np.int32(3), mg.int32),
    ],
)
def test_tensor_infers_the_dtype_of_its_data(data, dtype):
    x = T(data)
    assert x.dtype == dtype
    np.testing.assert_array_equal(x.numpy(), np.array(data))


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int64", "int32", "uint8", "bool", mg.float64, np.int32, float, bool]
)
def test_dtype_can_be_a_name_a_numpy_dtype_or_a_python_type(dtype):
    assert T([0, 1], dtype=dtype).dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    "data, dtype",
    [
        ([np.float64(1.5)], mg.float64),
        ([2.0, np.float64(1.5)], mg.float64),
        ([[1], [np.float64(1.5)]], mg.float64),
        ([np.float32(1.5), 1], mg.float32),
        ([np.int32(1), np.int32(2)], mg.int32),
        ([np.int32(1), 1], mg.int64),
        ([np.int32(1), 1.5], mg.float32),
        ([np.uint8(1)], mg.uint8),
        ([np.zeros(2), np.ones(2)], mg.float64),
        ([T(1.5, dtype=mg.float64), 1.0], mg.float64),
        ([T(1, dtype=mg.int32)], mg.int32),
        ([True, 2.5], mg.float32),
        ([[]], mg.float32),
        ([2**70, 1.0], mg.float32),
    ],
    ids=str,
)
def test_tensor_of_a_list_has_the_widest_dtype_in_it(data, dtype):
    assert T(data).dtype == dtype
    np.testing.assert_allclose(T(data).numpy().astype(float), np.array(data, float), rtol=1e-7)


def test_tensor_of_a_list_of_one_element_tensors():
    assert T([T([1.0]), T([[2.0]])]).shape == (2,)


def test_tensor_keeps_the_digits_of_python_numbers():
    assert T([0.1], dtype=mg.float64).item() == 0.1
    assert T([2**62 + 1, -(2**63)]).tolist() == [2**62 + 1, -(2**63)]
    assert T([2**70], dtype=mg.float32).item() == 2.0**70
    assert T([1.7, -1.7], dtype=mg.int64).tolist() == [1, -1], "fractions are cut off"
    assert T([0.5, np.nan, 0.0], dtype=mg.bool).tolist() == [True, True, False]


@pytest.mark.parametrize(
    "make",
    [
        lambda: T([300], dtype=mg.uint8),
        lambda: T(np.array([300]), dtype=mg.uint8),
        lambda: T(-1, dtype=mg.uint8),
        lambda: T([2**40], dtype=mg.int32),
        lambda: T([2**63]),
        lambda: T([2**63, -1]),
        lambda: T([np.nan], dtype=mg.int64),
        lambda: T([[0.0], [np.inf]], dtype=mg.int32),
        lambda: T([1e20], dtype=mg.int64),
        lambda: mg.full((2,), 300, dtype=mg.uint8),
        lambda: mg.full((2,), np.nan, dtype=mg.int64),
        lambda: mg.full((2,), 2**63),
        lambda: mg.arange(300, dtype=mg.uint8),
        lambda: mg.arange(-1, 3, dtype=mg.uint8),
        lambda: mg.arange(2**40, 2**40 + 2, dtype=mg.int32),
        lambda: mg.randint(0, 300, (2,), dtype=mg.uint8),
        lambda: mg.randint(0, 2**64, (2,)),
        lambda: mg.zeros(2, dtype=mg.uint8).fill_(300),
        lambda: mg.zeros(2, dtype=mg.int64).fill_(np.nan),
        lambda: mg.zeros(2, dtype=mg.uint8).copy_(T([1, 300])),
        lambda: mg.zeros(2, dtype=mg.uint8).__setitem__(0, 300),
        lambda: mg.zeros(2, dtype=mg.uint8).__setitem__([0], -1),
        lambda: mg.zeros(2, dtype=mg.int64).__setitem__(T([True, False]), np.inf),
        lambda: mg.zeros(2, dtype=mg.uint8) + 300,
        lambda: mg.zeros(2, dtype=mg.uint8).clip(max=300),
        lambda: F.pad(mg.zeros(2, dtype=mg.uint8), (1, 1), value=300),
    ],
    ids=range(26),
)
def test_numbers_out_of_the_range_of_the_dtype_are_refused(make):
    with pytest.raises(DtypeError, match="does not fit in (uint8|int32|int64) "):
        make()


def test_to_an_integer_dtype_wraps_as_in_pytorch():
    assert T([300, -1]).to(mg.uint8).tolist() == [44, 255]
    assert T([np.nan, -1.5, 300.0]).to(mg.int64).tolist() == [-(2**63), -1, 300]
    assert T([np.nan, 0.0]).bool().tolist() == [True, False]


def test_tensor_class_makes_float32_as_in_pytorch():
    assert mg.Tensor([1, 2]).dtype == mg.Tensor(np.zeros(2)).dtype == mg.Tensor(T([True])).dtype == mg.float32
    assert mg.Tensor([1], dtype=mg.int64, device="numpy").device == "numpy"


def test_tensor_copies_its_data():
    array = np.zeros(2, np.float32)
    x, again = T(array), T(T(array))
    array += 1
    assert x.tolist() == again.tolist() == [0, 0]
    copied = T(x)
    x += 1
    assert copied.tolist() == [0, 0]


def test_tensor_of_tensors_copies_their_values():
    rows = [T([1.0, 2.0]), T([3.0, 4.0], requires_grad=True)]
    assert T(rows).tolist() == [[1, 2], [3, 4]]
    assert not T(rows).requires_grad
    assert T(T([1.0], requires_grad=True)).tolist() == [1]


def test_from_numpy_shares_memory():
    array = laid_out(np.arange(6.0).reshape(2, 3), "Fortran")
    x = mg.from_numpy(array)
    array[0, 1] = 9
    x += 1
    assert array.tolist() == x.tolist() == [[1, 10, 3], [4, 5, 6]]
    assert x.array.strides == array.strides


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_from_numpy_of_a_memmap_shares_the_file(tmp_path, mode):
    """Changes go to the file as with the memmap; a change of a read-only memmap is refused."""
    np.arange(6, dtype=np.float32).tofile(tmp_path / "numbers")
    mapped = np.memmap(tmp_path / "numbers", np.float32, mode, shape=(2, 3))
    x = mg.from_numpy(mapped)
    del mapped
    assert (x @ x.T).tolist() == [[5, 14], [14, 50]]
    changes = (
        lambda: x.mul_(2),
        lambda: x.__setitem__(0, 7.0),
        x.zero_,
        lambda: x.copy_(x + 1),
        lambda: x.view(-1).sub_(x.view(-1)),
    )
    for change in changes:
        if mode == "r":
            with pytest.raises(ValidationError, match="in place: the memory is read-only; change x.clone()"):
                change()
        else:
            change()
    assert x.tolist() == ([[0, 1, 2], [3, 4, 5]] if mode == "r" else [[0, 0, 0], [0, 0, 0]])
    on_disk = [0, 0, 0, 0, 0, 0] if mode == "r+" else [0, 1, 2, 3, 4, 5]
    assert np.fromfile(tmp_path / "numbers", np.float32).tolist() == on_disk
    x = mg.from_numpy(np.memmap(tmp_path / "numbers", np.float32, "r")).requires_grad_()
    (x * x).sum().backward()
    assert x.grad.tolist() == [2 * n for n in on_disk]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2).view(np.recarray),
        np.arange(6.0)[::-2],
        np.arange(4.0).reshape(2, 2).T,
        np.zeros(3, [("a", "f8"), ("b", "i8")])["a"],
    ],
    ids=["subclass", "backwards", "transposed", "a field of records"],
)
def test_from_numpy_of_strided_arrays_shares_memory(array):
    x = mg.from_numpy(array)
    assert (x + 1).tolist() == (np.asarray(array) + 1).tolist()
    x.mul_(3)
    assert np.asarray(array).tolist() == x.tolist()


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda: mg.zeros(2, 3), np.zeros((2, 3), "f4")),
        (lambda: mg.zeros((2, 3)), np.zeros((2, 3), "f4")),
        (lambda: mg.ones([2], dtype=mg.int64), np.ones(2, int)),
        (lambda: mg.full((2,), 7), np.full(2, 7)),
        (lambda: mg.full((2,), 0.5), np.full(2, 0.5, "f4")),
        (lambda: mg.full((), True), np.array(True)),
        (lambda: mg.zeros_like(T([1, 2])), np.zeros(2, int)),
        (lambda: mg.ones_like(T([1, 2]), dtype=mg.float64), np.ones(2)),
        (lambda: mg.arange(4), np.arange(4)),
        (lambda: mg.arange(1, 4), np.arange(1, 4)),
        (lambda: mg.arange(4, 1, -2), np.arange(4, 1, -2)),
        (lambda: mg.arange(0, 1, 0.25), np.arange(0, 1, 0.25, "f4")),
        (lambda: mg.arange(3, dtype=mg.float64), np.arange(3.0)),
        (lambda: mg.linspace(-1, 1, 5), np.linspace(-1, 1, 5, dtype="f4")),
        (lambda: mg.eye(3), np.eye(3, dtype="f4")),
        (lambda: mg.eye(2, 3), np.eye(2, 3, dtype="f4")),
        (lambda: mg.eye(2, 0, dtype=mg.int64), np.eye(2, 0, dtype=int)),
        (lambda: mg.arange(0, 1e4, 0.1)[-1], np.float32(9999.9).reshape(())),
        (lambda: mg.arange(2**53, 2**53 + 3), np.arange(2**53, 2**53 + 3)),
        (lambda: mg.arange(3, 3), np.arange(0)),
        (lambda: mg.arange(T(3)), np.arange(3)),
        (lambda: mg.linspace(0, 1, 3, dtype=mg.float64), np.linspace(0, 1, 3)),
        (lambda: mg.full((2,), np.float64(0.5)), np.full(2, 0.5, "f4")),
        (lambda: mg.full((2,), 1.5, dtype=mg.int64), np.full(2, 1)),
        (lambda: mg.zeros(T(2), dtype=None), np.zeros(2, "f4")),
        (lambda: mg.cat([mg.zeros(0), T([[1.0], [2.0]]), mg.zeros(0)], dim=1), np.array([[1], [2]], "f4")),
        (lambda: mg.cat([T([1.0]), mg.zeros(0, dtype=mg.float64)]), np.array([1.0])),
        (lambda: mg.cat([mg.zeros(0), mg.zeros(0)]), np.zeros(0, "f4")),
        (lambda: mg.stack([mg.zeros(0), mg.zeros(0)]), np.zeros((2, 0), "f4")),
        (lambda: mg.cat([T([1]), T([2, 3])]), np.array([1, 2, 3])),
        (lambda: mg.stack([T([1, 2]), T([3, 4])], dim=-1), np.array([[1, 3], [2, 4]])),
        (lambda: mg.where(T([True, False]), T([1.0, 2.0]), 5), np.array([1, 5], "f4")),
    ],
    ids=range(32),
)
def test_creation_functions_equal_numpys(make, expected):
    np.testing.assert_array_equal(make().numpy(), expected, strict=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: mg.zeros(2, **o),
        lambda **o: mg.ones(2, **o),
        lambda **o: mg.full((2,), 1.0, **o),
        lambda **o: mg.rand(2, **o),
        lambda **o: mg.randn(2, **o),
        lambda **o: mg.arange(2.0, **o),
        lambda **o: T([1.0, 2.0], **o),
    ],
    ids=range(7),
)
def test_creation_functions_take_device_dtype_and_requires_grad(make):
    x = make(device="numpy", requires_grad=True)
    assert x.device == "numpy"
    assert x.requires_grad and x.is_leaf
    assert make(dtype=mg.float64).dtype == mg.float64


def test_random_functions_follow_manual_seed():
    def draw():
        return [mg.randn(3).tolist(), mg.rand(3).tolist(), mg.randint(0, 9, (3,)).tolist(), mg.randperm(5).tolist()]

    first = draw()
    assert draw() != first
    mg.manual_seed(0)
    assert draw() == first
    assert mg.initial_seed() == 0


def test_random_functions_have_their_distributions():
    normal, uniform, whole = mg.randn(100, 100), mg.rand(100, 100), mg.randint(-2, 3, (1000,))
    assert (
        set(mg.randint(3, (100,)).tolist()) == {0, 1, 2} and mg.randint(0, 256, (2,), dtype=mg.uint8).dtype == mg.uint8
    )
    assert abs(normal.mean().item()) < 0.05 and abs(normal.std().item() - 1) < 0.05
    assert uniform.amin().item() >= 0 and uniform.amax().item() < 1 and abs(uniform.mean().item() - 0.5) < 0.02
    assert sorted(set(whole.tolist())) == [-2, -1, 0, 1, 2]
    assert sorted(mg.randperm(50).tolist()) == list(range(50))
    assert mg.rand(3, dtype=mg.float64).dtype == mg.float64


# ---- repr and format


@pytest.mark.parametrize(
    "x, text",
    [
        (T([1.0, 2.5]), "tensor([1. , 2.5])"),
        (T([[1, 2], [3, 4]]), "tensor([[1, 2],\n        [3, 4]])"),
        (T(3.14159), "tensor(3.1416)"),
        (T([True]), "tensor([ True])"),
        (T([1.0], dtype=mg.float64), "tensor([1.], dtype=float64)"),
        (T([1], dtype=mg.uint8), "tensor([1], dtype=uint8)"),
        (T([1.0], device="numpy"), "tensor([1.], device='numpy')"),
        (T([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (T([1.0], requires_grad=True) * 2, "tensor([2.], grad_fn=<mul>)"),
        (mg.zeros(0), "tensor([])"),
    ],
    ids=range(10),
)
def test_repr(x, text):
    assert repr(x) == text


def test_format():
    assert f"{T(0.12345):.2f}" == "0.12"
    assert f"{T([1.0])}" == "tensor([1.])"


def test_repr_of_a_large_tensor_is_short():
    assert len(repr(mg.zeros(10_000))) < 100


# ---- conversion to Python


@pytest.mark.parametrize("x, number", [(T(1.5), 1.5), (T([[2]]), 2), (T([True]), True), (T(7, dtype=mg.uint8), 7)])
def test_item_float_int_and_bool(x, number):
    assert x.item() == number and type(x.item()) is type(number)
    assert float(x) == number and int(x) == int(number) and bool(x) is True


def test_an_integer_tensor_is_an_index_in_python():
    assert list(range(T(3))) == [0, 1, 2]
    assert [10, 20, 30][T(1)] == 20


def test_len_iteration_and_in():
    x = T([[1, 2], [3, 4]])
    assert len(x) == 2
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    first, second = x
    assert second.tolist() == [3, 4]
    assert 3 in x and 5 not in x and T(4) in x
    with pytest.raises(DtypeError, match="len: a tensor of 0 dimensions has no length"):
        iter(T(1.0))


def test_shape_size_ndim_and_numel():
    x = mg.zeros(2, 3, 4)
    assert (x.shape, x.size(), x.size(-1), x.ndim, x.dim(), x.numel(), len(x)) == ((2, 3, 4), (2, 3, 4), 4, 3, 3, 24, 2)


def test_a_tensor_is_a_dictionary_key_by_identity():
    x, y = T([1.0]), T([1.0])
    assert {x: 1, y: 2}[x] == 1


def test_any_and_all():
    x = T([[0.0, np.nan], [0.0, 0.0]])
    assert x.any(dim=1).tolist() == [True, False] and x.all(dim=0, keepdim=True).tolist() == [[False, False]]
    assert x.any((0, 1)).item() is True and mg.zeros(2, 0).any(1).tolist() == [False, False]
    assert T([1, 2], device="numpy").all().device == "numpy"
    assert T([False, True]).any().item() is True
    assert T([False, True]).all().item() is False
    assert mg.zeros(0).all().item() is True


# ---- conversion to NumPy


def test_numpy_functions_take_tensors():
    x = T([[1.0, 2.0], [3.0, 4.0]])
    assert np.asarray(x).dtype == np.float32
    assert np.array(x, dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.sum(x.numpy(), axis=0), [4, 6])
    changed = np.array(x)
    changed[0, 0] = 9
    assert x[0, 0].item() == 1


@pytest.mark.parametrize("other", [np.float64(2), np.float32(2), np.int64(2), np.array([2.0, 2.0], "f4")])
def test_arithmetic_with_numpy_values_gives_tensors_on_either_side(other):
    x = T([1.0, 3.0], requires_grad=True)
    for y, expected in ((x * other, [2, 6]), (other * x, [2, 6]), (other - x, [1, -1]), (x / other, [0.5, 1.5])):
        assert isinstance(y, mg.Tensor) and y.requires_grad and y.dtype == mg.float32
        assert y.tolist() == expected
    assert isinstance(other == x, mg.Tensor)


# ---- dtypes


@pytest.mark.parametrize(
    "a, b, result",
    [
        (mg.float32, mg.float32, mg.float32),
        (mg.float32, mg.float64, mg.float64),
        (mg.float32, mg.int64, mg.float32),
        (mg.float32, mg.bool, mg.float32),
        (mg.float64, mg.uint8, mg.float64),
        (mg.int64, mg.int32, mg.int64),
        (mg.uint8, mg.int32, mg.int32),
        (mg.bool, mg.uint8, mg.uint8),
        (mg.bool, mg.int64, mg.int64),
    ],
    ids=str,
)
def test_dtype_of_the_result_of_two_tensors(a, b, result):
    x, y = T([2, 3], dtype=a), T([1, 1], dtype=b)
    for out in (x + y, y * x, x - y if result != mg.bool else x, x.maximum(y), mg.where(x > y, x, y)):
        assert out.dtype == result
    assert (x / y).dtype == (result if result in FLOATS else mg.float32)
    assert (x > y).dtype == mg.bool


@pytest.mark.parametrize(
    "dtype, number, result",
    [
        (mg.float32, 2.5, mg.float32),
        (mg.float32, 2, mg.float32),
        (mg.float64, 2.5, mg.float64),
        (mg.int64, 2, mg.int64),
        (mg.int64, 2.5, mg.float32),
        (mg.uint8, 2, mg.uint8),
        (mg.bool, 2, mg.int64),
        (mg.bool, True, mg.bool),
    ],
)
def test_dtype_of_the_result_with_a_python_number(dtype, number, result):
    assert (T([1], dtype=dtype) * number).dtype == result
    assert (number * T([1], dtype=dtype)).dtype == result


def test_sum_of_uint8_and_bool_is_int64():
    x = mg.full((1000,), 255).to(mg.uint8)
    assert x.sum().item() == 255_000 and x.sum().dtype == mg.int64
    assert T([True, True]).sum().item() == 2


def test_long_int_bool_double_float_and_type_as():
    x = T([0.0, 1.7, -2.7])
    assert x.long().tolist() == x.int().tolist() == [0, 1, -2]
    assert x.bool().tolist() == [False, True, True]
    assert (x.double().dtype, x.int().dtype, x.type_as(T([1])).dtype) == (mg.float64, mg.int32, mg.int64)
    assert T([1, 2]).float().dtype == mg.float32


def test_to_converts_dtype_and_device():
    x = T([1.0])
    assert x.to(mg.float32) is x.to("cpu") is x.cpu() is x.float() is x
    y = x.to("numpy", mg.float64)
    assert (y.device, y.dtype) == ("numpy", mg.float64)
    assert x.to(y).device == y.device and x.to(y).dtype == y.dtype
    assert x.to(dtype="int64").dtype == mg.int64
    assert x.to(device=mg.device("numpy")).device == "numpy"
    assert (
        mg.device("cpu") == "cpu" != "numpy"
        and str(mg.device("cpu")) == "cpu"
        and repr(mg.device("cpu")) == "device('cpu')"
    )


def test_gradients_flow_through_conversions():
    x = T([1.0, 2.0], requires_grad=True)
    (x.double() * x.to("numpy").cpu()).sum().backward()
    assert x.grad.tolist() == [2, 4] and x.grad.dtype == mg.float32


ZERO_DIM, ONE_DIM = (), (2,)


@pytest.mark.parametrize(
    "a, b, result",
    [
        (("float32", ONE_DIM), ("float64", ZERO_DIM), mg.float32),
        (("float32", ZERO_DIM), ("float64", ZERO_DIM), mg.float64),
        (("int64", ONE_DIM), ("float64", ZERO_DIM), mg.float64),
        (("int64", ONE_DIM), ("float32", ZERO_DIM), mg.float32),
        (("int32", ONE_DIM), ("int64", ZERO_DIM), mg.int32),
        (("uint8", ONE_DIM), ("int64", ZERO_DIM), mg.uint8),
        (("bool", ONE_DIM), ("int64", ZERO_DIM), mg.int64),
        (("bool", ONE_DIM), ("uint8", ZERO_DIM), mg.uint8),
        (("float64", ZERO_DIM), ("int64", ONE_DIM), mg.float64),
        (("float64", ZERO_DIM), ("bool", ONE_DIM), mg.float64),
        (("float32", (1,)), ("float64", ONE_DIM), mg.float64),
    ],
    ids=str,
)
def test_a_zero_dimensional_tensor_does_not_widen_the_dtype_of_its_kind(a, b, result):
    x, y = (mg.ones(*shape, dtype=dtype) for dtype, shape in (a, b))
    flags = T([True, False])
    for out in (x + y, y * x, x.maximum(y), mg.where(flags, x, y), mg.where(flags, y, x), x.clip(max=y)):
        assert out.dtype == result
    assert (x / y).dtype == (y / x).dtype == (result if result in FLOATS else mg.float32)
    assert (x < y).dtype == mg.bool
    if x.ndim and x.dtype == result:
        x *= y
        assert x.dtype == result


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), 0.5])
def test_dtype_of_the_result_with_a_numpy_number(number):
    for dtype, result in ((mg.float32, mg.float32), (mg.float64, mg.float64), (mg.int64, mg.float32)):
        assert (T([1], dtype=dtype) * number).dtype == (number + T(1, dtype=dtype)).dtype == result
    assert (T([200], dtype=mg.uint8) + np.int64(5)).tolist() == [205]
    assert (T([200], dtype=mg.uint8) + np.int64(5)).dtype == mg.uint8
    assert mg.where(T([True]), T(1.0, dtype=mg.float64), number).dtype == mg.float64


def test_gradients_of_mixed_dtypes_have_the_dtypes_of_the_leaves():
    x, factor = mg.ones(2, requires_grad=True), T(3.0, dtype=mg.float64, requires_grad=True)
    (x * factor).sum().backward()
    assert (x.grad.dtype, x.grad.tolist()) == (mg.float32, [3, 3])
    assert (factor.grad.dtype, factor.grad.tolist()) == (mg.float64, 2)


def test_integers_are_compared_with_numbers_out_of_their_range():
    x = T([3, 200], dtype=mg.uint8)
    assert (x < 300).tolist() == [True, True] and (x > -1).tolist() == [True, True]
    assert (x == 259).tolist() == [False, False] and (T([1], dtype=mg.int32) < 2**40).tolist() == [True]
    assert (x / 300).dtype == mg.float32 and (x / 300).tolist() == pytest.approx([0.01, 2 / 3])


# ---- equality with other objects


@pytest.mark.parametrize("other", [None, "a", object(), [1, 2], (1.0,), {}, 1j])
def test_a_tensor_is_not_equal_to_other_objects(other):
    x = T([1.0, 2.0])
    assert (x == other) is False and (x != other) is True
    assert (other == x) is False and x not in [other] and other not in [x]


def test_in_takes_only_numbers():
    x = T([1.0, 2.0])
    assert 2 in x and np.float32(1) in x and T(2) in x and float("nan") not in x
    for other in (None, "a", [1]):
        with pytest.raises(DtypeError, match="^eq: expected a Tensor"):
            other in x  # noqa: B015


# ---- indexing


@given(data=st.data())
def test_index_equals_numpys_with_pytorchs_order_of_axes(data):
    shape = data.draw(shapes)
    array = np.arange(float(np.prod(shape))).reshape(shape)
    key = draw_key(data.draw, shape)
    expected = index_as_pytorch(array, key)
    np.testing.assert_array_equal(mg.from_numpy(array)[key].numpy(), expected)
    as_tensors = tuple(T(part) if isinstance(part, list | np.ndarray) else part for part in key)
    np.testing.assert_array_equal(mg.from_numpy(array)[as_tensors].numpy(), expected)


@given(data=st.data())
def test_assign_equals_numpys(data):
    shape = data.draw(shapes)
    array = np.zeros(shape)
    key = draw_key(data.draw, shape)
    x = mg.from_numpy(array.copy())
    indices = index_as_pytorch(np.arange(array.size).reshape(shape), key)
    array.reshape(-1)[indices] = 3
    x[key] = T(3.0, dtype=mg.float64)
    np.testing.assert_array_equal(x.numpy(), array)


CUBE = np.arange(24).reshape(2, 3, 4)
EYE = np.eye(2, 3, dtype=bool)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "key, indices",
    [
        ((0, slice(None), [0, 1]), CUBE[0][:, [0, 1]]),
        (([0, 1], slice(None), 0), CUBE[:, :, 0][[0, 1]]),
        ((T(1), slice(None), [0, -1]), CUBE[1][:, [0, -1]]),
        ((np.int64(1), ..., T([[0], [1]])), CUBE[1][:, [[0], [1]]]),
        ((slice(1, None), 0, [1, 1]), CUBE[1:, 0][:, [1, 1]]),
        (([1, 0], None, slice(None, None, 2), [2, 3]), CUBE[:, None][[1, 0], :, ::2, [2, 3]]),
        (([1, 0], [0, 2]), CUBE[[1, 0], [0, 2]]),
        ((True, slice(None), [0, 1]), CUBE[None][[0, 0], :, [0, 1]]),
        (False, CUBE[None][:0]),
        (T(True), CUBE[None]),
        (T(1, dtype=mg.int32), CUBE[1]),
        (T(EYE), CUBE[EYE]),
        ((T(EYE), slice(1, 3)), CUBE[EYE][:, 1:3]),
        ((slice(None), T(np.ones((3, 4), bool))), CUBE.reshape(2, 12)),
        ((T(EYE), 2), CUBE[:, :, 2][EYE]),
        (range(2), CUBE),
        ((slice(None), (0, 2)), CUBE[:, [0, 2]]),
        ((slice(T(1), None), slice(np.int64(0), 2)), CUBE[1:, :2]),
        ([], CUBE[:0]),
        (([True, False], slice(None), [False, True, True, False]), CUBE[[0, 0], :, [1, 2]]),
    ],
    ids=range(20),
)
def test_index_and_assign_read_keys_as_pytorch_does(key, indices, device):
    """Reading, assigning and gradients; `indices` are the flat indices of the selection, in PyTorch's order of axes."""
    if isinstance(key, mg.Tensor):
        key = key.to(device)
    x = T(CUBE, dtype=mg.float64, device=device, requires_grad=True)
    selected = x[key]
    assert selected.shape == indices.shape and selected.tolist() == indices.tolist()
    weights = np.arange(1.0, indices.size + 1).reshape(indices.shape)
    selected.backward(T(weights, device=device))
    expected = np.zeros(24)
    np.add.at(expected, indices, weights)
    np.testing.assert_array_equal(x.grad.cpu().numpy(), expected.reshape(CUBE.shape))
    value = T(-weights, device=device, requires_grad=True)
    y = x * 1
    y[key] = value
    expected = CUBE.astype(float).reshape(-1)
    expected[indices] = -weights
    np.testing.assert_array_equal(y.detach().cpu().numpy().reshape(-1), expected)
    (y * y.detach()).sum().backward()
    np.testing.assert_array_equal(value.grad.cpu().numpy(), expected[indices])


@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (1, 3, 4), (1, 1, 1, 4)], ids=str)
def test_assign_broadcasts_a_value_and_gives_it_its_gradient(shape):
    value = T(np.arange(1.0, np.prod(shape) + 1).reshape(shape), requires_grad=True)
    y = mg.zeros(2, 3, 4, dtype=mg.float64, requires_grad=True) * 1
    y[1, :, [0, 1, 3, 2]] = value
    expected = np.zeros((3, 4))
    expected[:, [0, 1, 3, 2]] = value.detach().numpy().reshape(shape[-2:])
    np.testing.assert_array_equal(y[1].detach().numpy(), expected)
    y.sum().backward()
    assert value.grad.tolist() == np.full(shape, 12 / max(np.prod(shape), 1)).tolist()


def test_a_list_of_lists_as_key_is_read_as_a_tuple_with_a_warning():
    x = T(CUBE)
    for key in ([[0, 1], [1, 0]], [(0, 1), (1, 0)], [T([0, 1]), np.array([1, 0])]):
        with pytest.warns(UserWarning, match="a list that holds lists, tensors, .* is read as a tuple"):
            assert x[key].tolist() == CUBE[[0, 1], [1, 0]].tolist()
    with pytest.warns(UserWarning, match="read as a tuple"):
        assert x[[0, slice(0, 1), None]].tolist() == CUBE[0, :1, None].tolist()
    assert x[[[0, 1]] * 32].shape == (32, 2, 3, 4)  # a list of 32 or more is an array
    assert x[T([[0, 1], [1, 0]])].shape == (2, 2, 3, 4)


@pytest.mark.parametrize("key", [T([1, 0], dtype=mg.uint8), np.array([1, 0], np.uint8)], ids=["tensor", "array"])
def test_a_uint8_key_is_read_as_a_mask_with_a_warning(key):
    x = T(CUBE)
    with pytest.warns(UserWarning, match="uint8 is read as a mask, .* use .bool"):
        assert x[key].tolist() == CUBE[:1].tolist()
    with pytest.warns(UserWarning, match="uint8 is read as a mask"):
        x[key] = 0
    assert x[0].sum().item() == 0 and x[1].tolist() == CUBE[1].tolist()


def test_a_change_of_a_tensor_in_a_slice_does_not_affect_an_earlier_index():
    x, start = T(CUBE, dtype=mg.float32, requires_grad=True), T(1)
    y = x[start:, [0]].sum()
    start -= 1
    y.backward()
    assert x.grad[0].sum().item() == 0 and x.grad[1].sum().item() == 4


def test_index_and_assign_take_a_mask():
    x = T([1.0, -2.0, 3.0])
    assert x[x > 0].tolist() == [1, 3]
    x[x < 0] = 0
    assert x.tolist() == [1, 0, 3]


def test_index_by_numbers_and_slices_is_a_view_and_by_lists_a_copy():
    x = mg.zeros(3, 3)
    x[1][2] = 5
    x[:, 0].fill_(7)
    x[[0, 1]][0] = 9
    assert x.tolist() == [[7, 0, 0], [7, 0, 5], [7, 0, 0]]


def test_reshape_transpose_and_flatten_share_memory():
    x = mg.zeros(2, 6)
    for view in (x.reshape(3, 4), x.T, x.flatten(), x.unsqueeze(0), x.permute(1, 0), x.transpose(0, 1), x.view(-1)):
        assert np.shares_memory(view.array, x.array)
    assert x.contiguous() is x
    assert not np.shares_memory(x.clone().array, x.array)


# ---- integers and bool


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_reductions_of_integers_equal_numpys(dtype):
    data = [[3, 0, 7], [2, 9, 2]]
    x = T(data, dtype=dtype)
    for name in ("sum", "amax", "amin", "argmax", "argmin"):
        reduce = getattr(np, name)
        for axis in (0, 1, None):
            np.testing.assert_array_equal(
                getattr(x, name)(axis).numpy(), reduce(np.array(data), axis=axis), err_msg=name
            )
    assert x.max().item() == 9 and x.min(1).values.tolist() == [0, 2]


def test_arithmetic_of_integers():
    x = T([7, -2])
    assert (x + 1).tolist() == [8, -1] and (-x).tolist() == [-7, 2] and abs(x).tolist() == [7, 2]
    assert (x**2).tolist() == [49, 4] and (2 ** T([1, 3])).tolist() == [2, 8]
    assert (x / 2).tolist() == [3.5, -1] and x.clip(0, 5).tolist() == [5, 0]
    assert (~T([True, False])).tolist() == [False, True]


def test_in_place_arithmetic_of_integers():
    x = T([1, 2])
    x += 1
    x *= T([2, 3])
    assert x.tolist() == [4, 9]


# ---- functions and methods


@pytest.mark.parametrize(
    "name",
    [
        "relu",
        "sigmoid",
        "tanh",
        "exp",
        "log",
        "sqrt",
        "abs",
        "neg",
        "sum",
        "mean",
        "var",
        "std",
        "max",
        "min",
        "argmax",
    ],
)
def test_functions_equal_their_methods(name):
    x = T([0.5, 2.0])
    assert getattr(mg, name)(x).tolist() == getattr(x, name)().tolist()


def test_max_of_all_along_a_dim_and_of_two_tensors():
    x, y = T([[1.0, 4.0], [3.0, 2.0]]), T([[2.0, 2.0], [2.0, 2.0]])
    assert mg.max(x).item() == 4
    values, indices = mg.max(x, dim=1)
    assert (values.tolist(), indices.tolist()) == ([4, 3], [1, 0])
    assert mg.max(x, y).tolist() == [[2, 4], [3, 2]]
    assert mg.min(x, 0, keepdim=True).indices.tolist() == [[0, 1]]


# ---- copies


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), copy.copy])
@pytest.mark.parametrize("layout", ["plain", "batch innermost"])
def test_copies_and_pickles_are_equal_and_independent(copied, layout):
    x = mg.from_numpy(laid_out(np.arange(24.0).reshape(2, 3, 2, 2), layout)).to("numpy").requires_grad_()
    y = copied(x)
    assert (y.device, y.dtype, y.requires_grad, y.is_leaf) == ("numpy", mg.float64, True, True)
    assert y.tolist() == x.tolist()
    with mg.no_grad():
        y.zero_()
    assert x.detach().numpy().any(), "a copy does not share memory"


def test_deepcopy_of_a_list_copies_a_shared_tensor_once():
    x = mg.ones(2)
    first, second = copy.deepcopy([x, x])
    assert first is second and first is not x


# ---- a program as in tutorials of PyTorch


def test_a_model_and_its_filters_as_in_tutorials():
    import minigrad as torch
    import minigrad.nn as nn

    class SimpleCNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 6, kernel_size=3, padding=1)
            self.pool = nn.MaxPool2d(2, 2)
            self.fc1 = nn.Linear(6 * 16 * 16, 10)

        def forward(self, x):
            x = self.pool(torch.relu(self.conv1(x)))
            x = x.view(-1, 6 * 16 * 16)
            return self.fc1(x)

    model = SimpleCNN()
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    filters = model.conv1.weight.data
    for i in range(6):
        picture = filters[i].cpu().numpy()
        low, high = picture.min(), picture.max()
        picture = (picture - low) / (high - low)
        assert np.transpose(picture, (1, 2, 0)).shape == (3, 3, 3)


# ---- details as in PyTorch


@pytest.mark.parametrize("join", [mg.cat, mg.stack])
def test_cat_and_stack_have_the_dtype_of_a_sum(join):
    """float32 and int64 give float32, as float32 + int64 does."""
    assert join([T([1.0]), T([2])]).dtype == mg.float32


def test_where_takes_two_numbers():
    flags = T([True, False])
    assert mg.where(flags, 1, 2.5).tolist() == [1, 2.5]
    assert mg.where(flags, True, False).dtype == mg.bool


def test_arange_of_a_numpy_integer_is_int64():
    assert mg.arange(np.int64(3)).dtype == mg.int64


def test_index_by_an_empty_list_is_empty():
    assert T([1.0, 2.0])[[]].shape == (0,)
    assert T([1.0])[T([], dtype=mg.int64)].shape == (0,)


def test_a_zero_dimensional_tensor_accepts_dim_0():
    x = T(3.0)
    assert x.squeeze(0).shape == x.transpose(0, 0).shape == ()
    assert x.max(dim=0).values.item() == 3 and x.argmax(0).item() == 0


@pytest.mark.parametrize("low, high", [(2, None), (None, 2), (1, 2)])
def test_clip_of_integers_equals_numpys(low, high):
    np.testing.assert_array_equal(T([1, 2, 3]).clip(low, high).numpy(), np.clip([1, 2, 3], low, high), strict=True)


def test_amin_of_bool_is_bool():
    assert T([True, False]).amin().item() is False


@pytest.mark.parametrize("name", ["amin", "amax", "min", "max", "sum", "mean", "var", "std"])
def test_reductions_of_a_zero_dimensional_tensor_are_tensors(name):
    x = T(3.0, requires_grad=True)
    out = getattr(x, name)()
    assert isinstance(out.array, np.ndarray) and out.shape == ()
    assert out.detach().numpy().shape == ()


def test_errors_have_public_class_names():
    with pytest.raises(ShapeError) as caught:
        T([1.0])[3]
    assert not type(caught.value).__name__.startswith("_")


@pytest.mark.parametrize("dim", [[], ()], ids=str)
def test_sum_and_mean_over_an_empty_dim_are_over_all_axes(dim):
    assert mg.ones(2, 3).sum(dim).item() == 6 and mg.ones(2, 3).mean(dim, keepdim=True).shape == (1, 1)
