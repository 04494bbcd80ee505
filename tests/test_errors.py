"""The error messages of the package: `where: what is wrong, with both numbers; what to do`, each in full."""

import ast
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import errors, ops
from minigrad.errors import DeviceError, DtypeError, GraphError, ShapeError, ValidationError
from minigrad.nn import functional as F
from minigrad.ops.images import gather_images
from minigrad.ops.op import Dispatch
from minigrad.runtime import threads
from minigrad.runtime.kernel import ArrayList, Memory, kernel

ROOT = Path(mg.__file__).parent
T, zeros = mg.tensor, mg.zeros
x2, x23, image = zeros(2), zeros(2, 3), zeros(1, 3, 8, 8)
whole, flags, logits = T([1, 2]), T([True, False]), zeros(2, 4)
weight = zeros(4, 3, 3, 3)
double = zeros(2, 3, dtype=mg.float64)
u8 = np.zeros((5, 2, 4, 4), np.uint8)
pixels, picks, one_each = zeros(2).array, np.array([0, 4]), np.ones(2, np.float32)


# (call, error, the whole message)

TENSOR = [
    (lambda: T("abc"), DtypeError, "tensor: str of dtype <U3 is not numeric; give numbers"),
    (lambda: T([1, None]), DtypeError, "tensor: list of dtype object is not numeric; give numbers"),
    (lambda: T([1j]), DtypeError, "tensor: list of dtype complex128 is not numeric; give numbers"),
    (
        lambda: T([[1, 2], [3]]),
        ShapeError,
        "tensor: the rows have different lengths; make the nested lists rectangular",
    ),
    (
        lambda: T([1], dtype="float16"),
        DtypeError,
        "tensor: dtype float16 is not supported; use float32, float64, int64, int32, uint8, bool",
    ),
    (
        lambda: T(np.zeros(2, np.float16)),
        DtypeError,
        "tensor: dtype float16 is not supported; use float64, float32, int64, int32, uint8, bool",
    ),
    (lambda: T([1], dtype="float"[:3]), DtypeError, "tensor: 'flo' is neither a dtype nor a device"),
    (lambda: x2.to(3), DtypeError, "to: 3 is neither a dtype nor a device"),
    (lambda: x2.item(), ShapeError, "item: the shape (2,) has 2 elements, expected 1; use tolist()"),
    (lambda: bool(x2), ShapeError, "bool: the shape (2,) has 2 elements, expected 1; use any() or all()"),
    (lambda: len(T(1.0)), DtypeError, "len: a tensor of 0 dimensions has no length"),
    (lambda: [1, 2][T(1.0)], DtypeError, "index: only whole numbers can index, got float32"),
    (lambda: x2[T([0.5])], DtypeError, "index: a float32 tensor cannot index; use whole numbers or bool"),
    (lambda: x23 @ 2, DtypeError, "matmul: expected a Tensor, got int; use mg.tensor(...)"),
    (lambda: x2 @ T(1.0), ShapeError, "matmul: shapes (2,) and (); a single number has no axis, use *"),
    (lambda: x2.clip(), ValidationError, "clip: min and max are both None; give at least one"),
    (lambda: x23.flatten(1, 0), ShapeError, "flatten: start_dim 1 lies after end_dim 0; exchange them"),
    (lambda: x23.permute(0, 0), ShapeError, "permute: (0, 0) is no permutation of 2 axes; name each axis once"),
    (lambda: image.t(), ShapeError, "t: the tensor has 4 dimensions (1, 3, 8, 8), expected at most 2; use permute"),
    (
        lambda: x23.expand(4, 3),
        ShapeError,
        "expand: shapes (2, 3) and (4, 3) do not broadcast: axis -2 has sizes 2 and 4; make them equal, or one of "
        "them 1",
    ),
    (lambda: x23.expand(1, 3), ShapeError, "expand: (2, 3) does not stretch to (1, 3); only sizes of 1 can grow"),
    (lambda: mg.relu(1.0), DtypeError, "relu: expected a Tensor, got float; use mg.tensor(...)"),
]
ARITHMETIC = [
    (lambda: x2 + "a", DtypeError, "add: expected a Tensor, got str; use mg.tensor(...)"),
    (lambda: x2 * [1, 2], DtypeError, "mul: expected a Tensor, got list; use mg.tensor(...)"),
    (lambda: x2 < None, DtypeError, "lt: expected a Tensor or a real number, got NoneType"),
    (lambda: x2 * 1j, DtypeError, "mul: expected a Tensor or a real number, got complex"),
    (lambda: None in x2, DtypeError, "eq: expected a Tensor or a real number, got NoneType"),
    (lambda: x2.clip(min="a"), DtypeError, "clip: expected a Tensor, got str; use mg.tensor(...)"),
    (lambda: flags**flags, DtypeError, "pow: bool tensors have no powers; convert one with .long()"),
    (
        lambda: x23 + x2,
        ShapeError,
        "add: shapes (2, 3) and (2,) do not broadcast: axis -1 has sizes 2 and 3; make them equal, or one of them 1",
    ),
    (
        lambda: x2 > zeros(3),
        ShapeError,
        "gt: shapes (2,) and (3,) do not broadcast: axis -1 has sizes 2 and 3; make them equal, or one of them 1",
    ),
    (lambda: whole.relu(), DtypeError, "relu: expected a float tensor, got int64; convert it with .float()"),
    (
        lambda: F.leaky_relu(whole),
        DtypeError,
        "leaky_relu: expected a float tensor, got int64; convert it with .float()",
    ),
    (lambda: whole.softmax(0), DtypeError, "softmax: expected a float tensor, got int64; convert it with .float()"),
    (lambda: whole.mean(), DtypeError, "mean: expected a float tensor, got int64; convert it with .float()"),
    (lambda: whole**-1, DtypeError, "pow: whole numbers have no negative powers here; convert the base with .float()"),
    (lambda: -flags, DtypeError, "neg: a bool tensor has no negative; use ~x"),
    (
        lambda: mg.where(x2, x2, x2),
        DtypeError,
        "where: the condition is float32, expected a bool tensor; compare first, as in x > 0",
    ),
    (
        lambda: x23 @ x23,
        ShapeError,
        "matmul: (2, 3) @ (2, 3): the left has 3 columns, the right 2 rows; they must be equal (transpose one?)",
    ),
    (
        lambda: zeros(2, 1, 3) @ zeros(3, 3, 1),
        ShapeError,
        "matmul: shapes (2,) and (3,) do not broadcast: axis -1 has sizes 2 and 3; make them equal, or one of them 1",
    ),
    (
        lambda: T([[1]]) @ T([[1.0]]),
        DtypeError,
        "matmul: expected two tensors of floats or of whole numbers, got int64 and float32; convert them with .float()",
    ),
]
AXES = [
    (lambda: x23.sum(2), ShapeError, "sum: dim 2 is out of range for 2 dimensions; use -2 to 1"),
    (lambda: x23.mean((0, -3)), ShapeError, "mean: dim -3 is out of range for 2 dimensions; use -2 to 1"),
    (lambda: x23.amax("a"), DtypeError, "amax: dim is 'a'; give a whole number"),
    (lambda: x23.sum(True), DtypeError, "sum: dim is True; give a whole number"),
    (lambda: x23.sum((0, -2)), ShapeError, "sum: dim (0, -2) names an axis twice; name each once"),
    (lambda: x23.softmax(2), ShapeError, "softmax: dim 2 is out of range for 2 dimensions; use -2 to 1"),
    (lambda: x23.argmax(5), ShapeError, "argmax: dim 5 is out of range for 2 dimensions; use -2 to 1"),
    (lambda: x23.size(2), ShapeError, "size: dim 2 is out of range for 2 dimensions; use -2 to 1"),
    (lambda: x23.transpose(0, 2), ShapeError, "transpose: dim 2 is out of range for 2 dimensions; use -2 to 1"),
    (lambda: x23.unsqueeze(3), ShapeError, "unsqueeze: dim 3 is out of range for 3 dimensions; use -3 to 2"),
    (lambda: zeros(0, 3).amax(0), ShapeError, "amax: axis 0 of shape (0, 3) has no elements to choose from"),
    (lambda: zeros(0).argmax(), ShapeError, "argmax: axis 0 of shape (0,) has no elements to choose from"),
]
SHAPES = [
    (lambda: x23.reshape(4), ShapeError, "reshape: (2, 3) has 6 elements, (4,) would need 4; let one size be -1"),
    (
        lambda: x23.reshape(-1, 4),
        ShapeError,
        "reshape: 6 elements (2, 3) do not divide into (-1, 4); choose other sizes",
    ),
    (
        lambda: x23.reshape(-1, -1),
        ShapeError,
        "reshape: (-1, -1) is not a shape; use sizes of 0 or more and at most one -1",
    ),
    (
        lambda: x23.reshape(-2, 3),
        ShapeError,
        "reshape: (-2, 3) is not a shape; use sizes of 0 or more and at most one -1",
    ),
    (
        lambda: zeros(-1),
        ShapeError,
        "zeros: (-1,) is not a shape; use whole numbers of 0 or more, and names for dtype= and device=",
    ),
    (
        lambda: mg.ones(2, "cpu"),
        ShapeError,
        "ones: (2, 'cpu') is not a shape; use whole numbers of 0 or more, and names for dtype= and device=",
    ),
    (
        lambda: mg.eye(2, -1),
        ShapeError,
        "eye: (2, -1) is not a shape; use whole numbers of 0 or more, and names for dtype= and device=",
    ),
    (
        lambda: x2[5],
        ShapeError,
        "index: index 5 is out of bounds for axis 0 with size 2 (shape (2,)); positions count from 0, or "
        "backwards from -1",
    ),
    (
        lambda: x2.__setitem__(5, 0.0),
        ShapeError,
        "index: index 5 is out of bounds for axis 0 with size 2 (shape (2,)); positions count from 0, or "
        "backwards from -1",
    ),
    (
        lambda: x2.__setitem__(..., zeros(3)),
        ShapeError,
        "assign: a value of shape (3,) does not fit in (2,); reshape it",
    ),
    (lambda: x2.gather(0, x2), DtypeError, "gather: the index is a float32, expected whole numbers"),
    (lambda: x23.gather(0, whole), ShapeError, "gather: the index has 1 dimensions, x has 2; make them equal"),
    (lambda: x2.gather(0, T([0, 2])), ShapeError, "gather: index 2 is out of range for size 2"),
    (lambda: x2.gather(0, T([-1, 1])), ShapeError, "gather: index -1 is out of range for size 2"),
    (
        lambda: mg.cat([x23, zeros(2, 4)]),
        ShapeError,
        "cat: shapes (2, 3) and (2, 4) do not fit; they may differ only along dim 0",
    ),
    (lambda: mg.stack([x23, zeros(2, 4)]), ShapeError, "stack: shapes (2, 3) and (2, 4) do not fit; make them equal"),
    (lambda: mg.cat([]), ShapeError, "cat: the list of tensors is empty; give at least one"),
    (
        lambda: F.pad(x2, (1,)),
        ShapeError,
        "pad: 1 margins for 1 dimensions; give (before, after) for each axis, the last axis first",
    ),
    (
        lambda: F.pad(x2, (1, 1, 1, 1)),
        ShapeError,
        "pad: 4 margins for 1 dimensions; give (before, after) for each axis, the last axis first",
    ),
    (lambda: F.pad(x2, (-2, -1)), ValidationError, "pad: margins ((-2, -1),) cut off more than there is of shape (2,)"),
    (lambda: mg.arange(0, 3, 0), ValidationError, "arange: step is 0; give a step up or down"),
    (lambda: mg.randint(3, 3, (2,)), ValidationError, "randint: low is 3 and high is 3; high must be larger than low"),
]
LAYERS = [
    (lambda: F.linear(T(1.0), x23), ShapeError, "linear: x is a single number, expected (..., in_features)"),
    (lambda: F.linear([1.0], x23), DtypeError, "linear: expected a Tensor, got list; use mg.tensor(...)"),
    (
        lambda: F.linear(x23, zeros(3)),
        ShapeError,
        "linear: weight has 1 dimensions (3,), expected 2 (out_features, in_features)",
    ),
    (
        lambda: F.linear(x23, zeros(5, 4)),
        ShapeError,
        "linear: x has 3 features (x (2, 3)), weight reads 4 (weight (5, 4)); build the layer with in_features=3, or "
        "flatten x differently",
    ),
    (
        lambda: F.linear(x23, zeros(5, 3), x2),
        ShapeError,
        "linear: bias has shape (2,), weight gives 5 features; use shape (5,)",
    ),
    (
        lambda: F.linear(x23, double),
        DtypeError,
        "linear: x is float32, weight is float64; convert one with .to(mg.float32)",
    ),
    (
        lambda: F.conv2d(image, zeros(4, 3)),
        ShapeError,
        "conv2d: weight has 2 dimensions (4, 3), expected 4 (F, C/groups, KH, KW)",
    ),
    (
        lambda: F.conv2d(image, zeros(4, 1, 3, 3)),
        ShapeError,
        "conv2d: weight reads 1 channels but x has 3 (x (1, 3, 8, 8), weight (4, 1, 3, 3), groups 1); build the layer "
        "with in_channels=3",
    ),
    (
        lambda: F.conv2d(zeros(8, 8), weight),
        ShapeError,
        "conv2d: x has 2 dimensions (8, 8), expected 4 (N, C, H, W) or 3 (C, H, W); reshape it first",
    ),
    (
        lambda: F.conv2d(image, zeros(4, 1, 3, 3), groups=3),
        ShapeError,
        "conv2d: 4 filters do not divide into 3 groups; use a divisor",
    ),
    (
        lambda: F.conv2d(image, weight, x2),
        ShapeError,
        "conv2d: bias has shape (2,), weight has 4 filters; use shape (4,)",
    ),
    (
        lambda: F.conv2d(image, weight, groups=0),
        ValidationError,
        "conv2d: groups is 0; use a whole number of 1 or more",
    ),
    (
        lambda: F.conv2d(image, weight, stride=0),
        ValidationError,
        "conv2d: stride is 0; use a whole number of 1 or more, or a pair of them",
    ),
    (
        lambda: F.conv2d(image, weight, dilation=(1, 0)),
        ValidationError,
        "conv2d: dilation is (1, 0); use a whole number of 1 or more, or a pair of them",
    ),
    (
        lambda: F.conv2d(image, weight, padding=-1),
        ValidationError,
        "conv2d: padding is -1; use a whole number of 0 or more, or a pair of them",
    ),
    (
        lambda: F.conv2d(image, weight, stride=(1, 2, 3)),
        ValidationError,
        "conv2d: stride is (1, 2, 3); use a whole number of 1 or more, or a pair of them",
    ),
    (
        lambda: F.conv2d(image, weight, padding="full"),
        ValidationError,
        "conv2d: padding is 'full'; use a number, a pair, 'same' or 'valid'",
    ),
    (
        lambda: F.conv2d(image, weight, stride=2, padding="same"),
        ValidationError,
        "conv2d: padding='same' needs stride 1, but stride is (2, 2); use stride=1, or padding in pixels",
    ),
    (
        lambda: F.conv2d(image, weight, dilation=4),
        ShapeError,
        "conv2d: a window of 9x9 does not fit in 8x8 pixels with padding 0x0; use larger images, a smaller window or "
        "more padding",
    ),
    (
        lambda: F.conv2d(zeros(1, 3, 8, 8, dtype=mg.uint8), weight),
        DtypeError,
        "conv2d: expected a float tensor, got uint8; convert it with .float()",
    ),
    (
        lambda: F.conv2d(image, weight.double()),
        DtypeError,
        "conv2d: x is float32, weight is float64; convert one with .to(mg.float32)",
    ),
    (
        lambda: F.max_pool2d(image, 2, padding=2),
        ValidationError,
        "max_pool2d: padding 2 is more than half of the window's height 2; every window must hold a pixel",
    ),
    (
        lambda: F.avg_pool2d(image, (4, 2), padding=(2, 2)),
        ValidationError,
        "avg_pool2d: padding 2 is more than half of the window's width 2; every window must hold a pixel",
    ),
    (
        lambda: F.max_pool2d(image, 0),
        ValidationError,
        "max_pool2d: kernel_size is 0; use a whole number of 1 or more, or a pair of them",
    ),
    (
        lambda: F.max_pool2d(image, 9),
        ShapeError,
        "max_pool2d: a window of 9x9 does not fit in 8x8 pixels with padding 0x0; use larger images, a smaller window "
        "or more padding",
    ),
    (
        lambda: F.max_pool2d(zeros(8, 8), 2),
        ShapeError,
        "max_pool2d: x has 2 dimensions (8, 8), expected 4 (N, C, H, W) or 3 (C, H, W); reshape it first",
    ),
    (
        lambda: F.max_pool2d(zeros(1, 1, 257, 257), 257),
        ValidationError,
        "max_pool2d: a window of 257x257 has more than 65536 pixels; use amax",
    ),
    (
        lambda: F.avg_pool2d(T(u8), 2),
        DtypeError,
        "avg_pool2d: expected a float tensor, got uint8; convert it with .float()",
    ),
    (
        lambda: F.avg_pool2d(image, 2, divisor_override=0),
        ValidationError,
        "avg_pool2d: divisor_override is 0; use a whole number of 1 or more",
    ),
    (lambda: F.dropout(x2, 1.5), ValidationError, "dropout: p is 1.5; use a number from 0 to 1"),
]
LOSSES = [
    (
        lambda: F.cross_entropy(logits, T([0, 4])),
        ValidationError,
        "cross_entropy: label 4 is out of range for 4 classes (0 to 3); build the last layer with more outputs, or use "
        "ignore_index",
    ),
    (
        lambda: F.cross_entropy(logits, T([0, 1, 2])),
        ShapeError,
        "cross_entropy: x (2, 4) is (N, classes, ...), so labels need shape (2,), got (3,)",
    ),
    (
        lambda: F.cross_entropy(x2, whole),
        ShapeError,
        "cross_entropy: x (2,) is (N, classes, ...), so labels need shape (N,), got (2,)",
    ),
    (
        lambda: F.cross_entropy(logits, x2),
        DtypeError,
        "cross_entropy: labels are float32, expected whole numbers (class indices); use labels.long(), or "
        "labels.argmax(1) for one-hot rows",
    ),
    (
        lambda: F.cross_entropy(whole.reshape(1, 2), T([0])),
        DtypeError,
        "cross_entropy: expected a float tensor, got int64; convert it with .float()",
    ),
    (
        lambda: F.cross_entropy(logits, T([0, 1]), weight=x2),
        ShapeError,
        "cross_entropy: weight has shape (2,), x has 4 classes; give one for each",
    ),
    (
        lambda: F.cross_entropy(logits, T([0, 1]), label_smoothing=2),
        ValidationError,
        "cross_entropy: label_smoothing is 2; use a number from 0 to 1",
    ),
    (
        lambda: F.cross_entropy(logits, T([0, 1]), reduction="avg"),
        ValidationError,
        "cross_entropy: reduction is 'avg'; use 'mean', 'sum' or 'none'",
    ),
    (
        lambda: F.cross_entropy(logits, T([0, 1]), weight=mg.ones(4, requires_grad=True)),
        GraphError,
        "cross_entropy: weight requires grad, but the loss has no gradient with respect to class weights; give "
        "weight.detach()",
    ),
    (
        lambda: F.max_pool2d(zeros(1, 1, 0, 3), (1, 2)),
        ShapeError,
        "max_pool2d: x (1, 1, 0, 3) has images without a pixel; every window must hold one",
    ),
    (
        lambda: F.nll_loss(logits, T([0, -1])),
        ValidationError,
        "nll_loss: label -1 is out of range for 4 classes (0 to 3); build the last layer with more outputs, or use "
        "ignore_index",
    ),
    (
        lambda: F.mse_loss(x2, x23),
        ShapeError,
        "mse_loss: x is (2,), target (2, 3); make the shapes equal, because broadcasting would average over unrelated "
        "pairs",
    ),
    (lambda: F.mse_loss(x2, x2, "avg"), ValidationError, "mse_loss: reduction is 'avg'; use 'mean', 'sum' or 'none'"),
]
RUNTIME = [
    (lambda: zeros(2, device="gpu"), DeviceError, "device 'gpu' is unknown; use 'cpu', 'cuda' or 'numpy'"),
    (
        lambda: mg.device("cuda:1"),
        DeviceError,
        "device 'cuda:1': one GPU is used, the first that CUDA_VISIBLE_DEVICES lets through; set that to the number of "
        "the one you want, and use 'cuda'",
    ),
    (lambda: x2 + zeros(2, device="numpy"), DeviceError, "add: tensors on 'cpu' and 'numpy'; move one with .to('cpu')"),
    (
        lambda: mg.set_float32_matmul_precision("medium"),
        ValidationError,
        "set_float32_matmul_precision: precision is 'medium'; use 'highest' or 'high'",
    ),
    (lambda: mg.manual_seed(-1), ValidationError, "manual_seed: seed is -1; use a whole number from 0 to 2**64 - 1"),
    (lambda: mg.manual_seed(1.0), ValidationError, "manual_seed: seed is 1.0; use a whole number from 0 to 2**64 - 1"),
    (lambda: ops.unknown, AttributeError, "ops: there is no operation 'unknown'; declare it in a file of minigrad/ops"),
    (
        lambda: Dispatch("twice", np.add)["tpu"],
        DeviceError,
        "twice: no kernel for device 'tpu'; there is one for numpy, cpu",
    ),
    (
        lambda: ArrayList([np.zeros((2, 2))[:, 0]]),
        DtypeError,
        "ArrayList: an array (2,) is not C-contiguous; use np.ascontiguousarray",
    ),
    (lambda: ArrayList([1.0]), DtypeError, "ArrayList: expected NumPy arrays, got float; use np.asarray"),
    (lambda: _fill(1, [1.0]), DtypeError, "test_errors._fill: argument 'out' is a list, expected a NumPy array"),
    (
        lambda: gather_images(mg.device("cpu"), u8, np.array([0, 5]), one_each, one_each, 0),
        ValidationError,
        "images: index 5 is out of range for 5 images; use 0 to 4",
    ),
    (
        lambda: gather_images(mg.device("cpu"), u8, picks, np.ones(3, "f4"), one_each, 0),
        ShapeError,
        "images: 2 channels, but scale has shape (3,) and shift (2,); give 2 numbers in each",
    ),
    (
        lambda: gather_images(mg.device("cpu"), u8.astype("f4"), picks, one_each, one_each, 0),
        DtypeError,
        "images: expected C-contiguous uint8 (M, C, H, W), got float32 (5, 2, 4, 4) with strides (128, 64, 16, 4); use "
        "np.ascontiguousarray",
    ),
]


@kernel
def _fill(task, out: Memory):
    """1 everywhere."""
    out[task] = out[task]


LATER = [
    (
        lambda: zeros(1).expand(3).add_(1),
        GraphError,
        "add in place: the tensor is expanded, so several of its elements share memory; change x.clone()",
    ),
    (lambda: setattr(zeros(2), "data", [1, 2]), DtypeError, "data: expected a Tensor, got list; use mg.tensor(...)"),
    (
        lambda: mg.rand(2, dtype=mg.int64),
        DtypeError,
        "rand: random numbers are float32 or float64, not int64; use randint for whole numbers",
    ),
    (lambda: mg.linspace(0, 1, -1), ValidationError, "linspace: -1 steps; give 0 or more"),
    (lambda: mg.from_numpy([1.0]), DtypeError, "from_numpy: expected a NumPy array, got list; use mg.tensor(...)"),
    (
        lambda: mg.from_numpy(RECORDS["a"]),
        DtypeError,
        "from_numpy: elements of 4 bytes with strides (5,) do not lie at multiples of their size; copy the array",
    ),
    (
        lambda: mg.from_numpy(np.frombuffer(bytearray(9), np.uint8)[1:].view(np.float64)),
        DtypeError,
        "from_numpy: elements of 8 bytes with strides (8,) do not lie at multiples of their size; copy the array",
    ),
    (
        lambda: mg.from_numpy(np.zeros(2, ">f4")),
        DtypeError,
        "from_numpy: >f4 is not in the byte order of this machine; give array.astype('float32')",
    ),
    (
        lambda: mg.from_numpy(np.ma.masked_array([1.0, 2.0], [0, 1])),
        DtypeError,
        "from_numpy: the array is masked, a tensor has no mask; give array.filled(value)",
    ),
    (
        lambda: mg.from_numpy(T([1.0, 2.0]).numpy()).add_(1),
        ValidationError,
        "add in place: the memory is read-only; change x.clone()",
    ),
    (
        lambda: mg.ones(3, 2).T.view(-1),
        ShapeError,
        "view: a tensor (2, 3) with this memory cannot be seen as (6,) without a copy; use reshape",
    ),
    (lambda: mg.cat([1, 2]), DtypeError, "cat: expected tensors, got int; use mg.tensor(...)"),
    (lambda: mg.where(True, x2, x2), DtypeError, "where: the condition is a bool, expected a bool tensor, as x > 0 is"),
    (lambda: T(1.0).size(0), ShapeError, "size: dim 0 of a single number, which has no axis; use unsqueeze(0) first"),
    (lambda: x2.reshape("a"), ShapeError, "reshape: ('a',) is not a shape; use whole numbers"),
    (lambda: x23.expand(3), ShapeError, "expand: 1 sizes (3,) for 2 axes; give at least as many"),
    (lambda: F.dropout(T([1])), DtypeError, "dropout: x is int64, expected floats; convert it with .float()"),
    (
        lambda: T([True]) - T([True]),
        DtypeError,
        "sub: bool tensors have no difference; use a != b, or convert them with .long()",
    ),
    (
        lambda: T(np.array([1], np.uint8)) + 300,
        DtypeError,
        "add: 300 does not fit in uint8 (0 to 255); use a wider dtype",
    ),
    (
        lambda: zeros(2, dtype=mg.uint8).copy_(T([1, 300])),
        DtypeError,
        "assign: 300 does not fit in uint8 (0 to 255); use a wider dtype",
    ),
    (lambda: x2.__setitem__(0, None), DtypeError, "assign: expected a Tensor or a real number, got NoneType"),
    (
        lambda: mg.Tensor(3, 4),
        ValidationError,
        "Tensor: expected one list or array, got int, int; use mg.zeros(...) for sizes, mg.tensor(...) for a number, "
        "and dtype= and device= by name",
    ),
    (lambda: T([1], dtype="cpu"), DtypeError, "tensor: expected a dtype, got the device 'cpu'; give it as device="),
    (
        lambda: x2[1.0],
        DtypeError,
        "index: a float cannot index; use whole numbers, slices, lists, tensors, None or ...",
    ),
    (
        lambda: x2[1.5:],
        DtypeError,
        "index: slice(1.5, None, None) cannot index; use whole numbers from, to and as the step",
    ),
    (lambda: x2[::0], ValidationError, "index: slice(None, None, 0) has a step of 0; use 1 or more"),
    (
        lambda: x2[T([True, False, True])],
        ShapeError,
        "index: a mask of shape (3,) at axis 0 of shape (2,); make the sizes equal",
    ),
    (
        lambda: x2[[0], 0, 0],
        ShapeError,
        "index: the key indexes 3 axes and has '...' 0 times, but the shape is (2,); index at most 1 axes, and use "
        "'...' at most once",
    ),
    (lambda: x2[[0, [1]],], ShapeError, "index: the rows have different lengths; make the nested lists rectangular"),
    (lambda: mg.arange(0, 1, 0), ValidationError, "arange: step is 0; give a step up or down"),
    (lambda: mg.arange(3, 0), ValidationError, "arange: no steps of 1 lead from 3 to 0; give finite numbers that do"),
    (
        lambda: mg.arange(0, 3, 0.5, dtype=mg.int64),
        DtypeError,
        "arange: numbers from 0 in steps of 0.5 cannot be int64; use dtype=mg.float32",
    ),
    (
        lambda: mg.linspace(0, 1, 3, dtype=mg.int64),
        DtypeError,
        "linspace: int64 does not hold fractions; use a float dtype, and .to() afterwards",
    ),
    (
        lambda: mg.randint(0.5, 2, (2,)),
        ValidationError,
        "randint: from 0.5 up to 2; give whole numbers, and the shape as (2, 3)",
    ),
    (lambda: x2.gather(0, T([[0]])), ShapeError, "gather: the index has 2 dimensions, x has 1; make them equal"),
    (
        lambda: T([1]).copy_(x2[:1]),
        DtypeError,
        "assign: float32 values do not fit in a int64 tensor; convert one of them",
    ),
    (lambda: mg.cat([T(1.0), T(1.0)]), ShapeError, "cat: single numbers have no axis to be joined along; use stack"),
    (
        lambda: zeros(2, 2).gather(0, T([[0, 0, 0]])),
        ShapeError,
        "gather: the index (1, 3) is larger than x (2, 2) in a dim other than 0; make it smaller",
    ),
    (lambda: F.pad(x2, (-3, 2)), ValidationError, "pad: margins ((-3, 2),) cut off more than there is of shape (2,)"),
]

LONE, RECORDS = T(1.0), np.array([(1, 2), (3, 4)], dtype=[("a", "f4"), ("b", "u1")])

MESSAGES = [*TENSOR, *ARITHMETIC, *AXES, *SHAPES, *LAYERS, *LOSSES, *RUNTIME, *LATER]
for _file in sorted(Path(__file__).parent.glob("errors_*.py")):
    MESSAGES += importlib.import_module(_file.stem).MESSAGES


@pytest.mark.parametrize("call, kind, message", MESSAGES, ids=[text for _, _, text in MESSAGES])
def test_message(call, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize("call, kind, message", MESSAGES, ids=[text for _, _, text in MESSAGES])
def test_message_starts_with_where(call, kind, message):
    """A message starts with a function or a device, and no comma, space or bracket is left over."""
    assert re.match(r"(device '\S+' is|device '\S+':|[\w.~]+( in place)?:) ", message)
    assert not re.search(r"\s{2}|\s[,;:]|[,;:]\s*$|\($", message)
    assert message.count("(") == message.count(")")


ELSEWHERE = (
    "set_rng_state:",
    "backward:",
    "grad:",
    "data:",
    "requires_grad:",
    "set_num_threads:",
    "{} in place:",
    "from_dlpack:",
    "__cuda_array_interface__:",
    "device '{}': DLPack",
    "device '{}': memory",
    "minigrad:",
    "set_flush_denormal:",
)  # tested below, in test_autograd.py, test_dlpack.py, test_cache.py, test_threads.py and test_cpu_target.py
SOURCES = [
    *("tensors.py", "creation.py", "shapes.py", "random.py", "products.py", "linalg.py", "utils/images.py"),
    *(
        str(path.relative_to(ROOT))
        for part in ("methods", "nn/functional", "ops", "runtime", "transforms")
        for path in sorted((ROOT / part).glob("*.py"))
    ),
]
SOURCES.remove("runtime/files.py")  # test_serialization.py tests its messages


def raised_messages(source):
    """Yield the message of every raise statement in a source file, with {} for what is filled in."""
    for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))):
        error = node.exc if isinstance(node, ast.Raise) else None
        if (
            isinstance(error, ast.Call)
            and error.args
            and getattr(error.func, "id", "")[:1].isupper()  # otherwise a function makes the error
            and error.func.id not in ("GraphError", "TypeError")
        ):
            (text,) = error.args
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in parts)


def test_raised_messages_finds_messages():
    assert "pad: mode is {}; use {}" in set(raised_messages("nn/functional/shaping.py"))


@pytest.mark.parametrize("source", SOURCES)
def test_every_message_has_a_row(source):
    """A new error needs a row in this file."""
    for text in raised_messages(source):
        pattern = ".*".join(re.escape(piece) for piece in text.split("{}"))
        printed = any(re.fullmatch(pattern, message) for _, _, message in MESSAGES)
        assert printed or text.startswith(ELSEWHERE), text


def test_set_num_threads_refuses_numbers_out_of_range():
    most = threads.numba.config.NUMBA_NUM_THREADS
    for wrong in (0, most + 1, 1.5, True):
        with pytest.raises(
            ValidationError, match=f"^set_num_threads: {wrong} threads asked for; use a whole number from 1 to {most}$"
        ):
            mg.set_num_threads(wrong)


def test_index_out_of_range_is_an_index_error():
    with pytest.raises(IndexError):
        x2[5]
    assert [row.item() for row in x2] == [0, 0]  # a for loop ends at IndexError


@pytest.mark.parametrize(
    "kind, builtin",
    [
        (ShapeError, ValueError),
        (ValidationError, ValueError),
        (DtypeError, TypeError),
        (DeviceError, RuntimeError),
        (GraphError, RuntimeError),
        (errors.StateError, RuntimeError),
        (errors.DataError, ValueError),
        (errors.FileError, OSError),
        (errors.RankError, RuntimeError),
    ],
)
def test_every_error_class_is_a_minigrad_error_and_a_builtin_error(kind, builtin):
    assert issubclass(kind, errors.MinigradError) and issubclass(kind, builtin)


def test_a_refused_in_place_operation_changes_nothing():
    x = mg.ones(2, requires_grad=True)
    y = x * 2
    with pytest.raises(ShapeError):
        y += zeros(3)
    y.sum().backward()
    assert x.grad.tolist() == [2, 2]


# ---- unusual arguments work or raise an error of minigrad's own

ACCEPTED = {
    "clip of whole numbers by a fraction": (lambda: T([1, 2, 3]).clip(min=1.5), [1.5, 2, 3]),
    "clip of whole numbers at one end": (lambda: T([1, 2, 3]).clip(min=2), [2, 2, 3]),
    "amin of bool": (lambda: flags.amin(), False),
    "where of a whole number and a fraction": (lambda: mg.where(flags, 1, 2.5), [1, 2.5]),
    "squeeze of a single number": (lambda: LONE.squeeze(0), 1),
    "transpose of a single number": (lambda: LONE.transpose(0, 0), 1),
    "argmax along an axis of a single number": (lambda: LONE.argmax(0), 0),
    "max along an axis of a single number": (lambda: LONE.max(dim=0).values, 1),
    "pad of a single number by nothing": (lambda: F.pad(LONE, []), 1),
    "full of a whole number as its shape": (lambda: mg.full(3, 1.0), [1, 1, 1]),
    "a window that is a NumPy number": (lambda: F.max_pool2d(image, np.int64(2)), [[[[0] * 4] * 4] * 3]),
    "a selection of nothing": (lambda: x2[[]], []),
    "nested lists of tensors that record": (lambda: T([[LONE.clone().requires_grad_()]]), [[1]]),
}

REFUSED = {
    "where of a Python bool": lambda: mg.where(True, x2, x2),
    "size of a single number": lambda: LONE.size(0),
    "cat of single numbers": lambda: mg.cat([LONE, LONE]),
    "cat of numbers": lambda: mg.cat([1, 2]),
    "rand of whole numbers": lambda: mg.rand(2, dtype=mg.int64),
    "from_numpy of a list": lambda: mg.from_numpy([1.0]),
    "a stride of None": lambda: F.conv2d(image, weight, stride=None),
    "'same' with a flat weight": lambda: F.conv2d(image, x23, padding="same"),
    "dropout of whole numbers": lambda: F.dropout(whole),
    "expand to fewer axes": lambda: x23.expand(3),
    "writing to an expanded tensor": lambda: zeros(1).expand(3).add_(1),
    "gather beyond another axis": lambda: zeros(2, 2).gather(0, T([[0, 0, 0]])),
    "gather with a list": lambda: x23.gather(0, [[0, 0]]),
    "linspace of -1 steps": lambda: mg.linspace(0, 1, -1),
    "eye of -1": lambda: mg.eye(-1),
    "reshape to a word": lambda: x2.reshape("a"),
    "data that is no tensor": lambda: setattr(zeros(2), "data", np.zeros(2)),
    "labels as a list": lambda: F.cross_entropy(logits, [0, 1]),
    "mse_loss with a number": lambda: F.mse_loss(x2, 0.0),
    "conv2d of a list": lambda: F.conv2d([1.0], weight),
    "uint8 and a larger number": lambda: T(np.array([1], np.uint8)) + 300,
    "a difference of bools": lambda: flags - flags,
    "an array that is a scalar": lambda: mg.from_numpy(np.float64(1)).numpy(),
    "a window of a fraction": lambda: F.max_pool2d(image, 2.5),
    "cutting more than there is on one side": lambda: F.pad(x2, (-3, 2)),
    "a grad on another device": lambda: setattr(zeros(2), "grad", zeros(2, device="numpy")),
    "a key beyond the axes": lambda: x2[T([2])],
    "a key beyond int64": lambda: x2[2**70],
    "a word as a key": lambda: x2["a"],
    "a set as a key": lambda: x2[{0}],
    "two times ...": lambda: x2[..., [0], ...],
    "a number where axes are": lambda: T(1.0)[[]],
    "positions below 0 in gather": lambda: x2.gather(0, T([-1])),
    "a range of words": lambda: mg.arange("a"),
    "a range to infinity": lambda: mg.arange(float("inf")),
    "a range of bools": lambda: mg.arange(2, dtype=mg.bool),
    "linspace of words": lambda: mg.linspace("a", 1, 2),
    "linspace of a fraction of steps": lambda: mg.linspace(0, 1, 2.5),
    "full of None": lambda: mg.full((2,), None),
    "sizes that are bools": lambda: mg.ones(True),
    "a device in the place of a dtype": lambda: mg.full((2,), 1.0, dtype="cuda"),
    "a dtype in the place of a size": lambda: mg.zeros((2, 3), mg.float64),
    "uneven lists with tensors": lambda: T([T([1.0]), T([1.0, 2.0])]),
    "data of another dtype": lambda: setattr(mg.ones(2, requires_grad=True), "data", whole),
    "reshape to a fraction": lambda: x2.reshape(2.5),
    "randperm of -1": lambda: mg.randperm(-1),
    "randn of whole numbers": lambda: mg.randn(2, dtype=mg.int64),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_unusual_arguments_are_accepted(name):
    call, expected = ACCEPTED[name]
    assert call().tolist() == expected


@pytest.mark.parametrize("name", REFUSED)
def test_meaningless_arguments_are_refused(name):
    with pytest.raises(errors.MinigradError):
        REFUSED[name]()


def test_from_numpy_refuses_strides_that_are_no_multiple_of_the_element_size():
    """Such an array is a field of packed records."""
    with pytest.raises(errors.MinigradError, match=r"^from_numpy: elements of 4 bytes with strides \(5,\) do not lie"):
        mg.from_numpy(RECORDS["a"])
