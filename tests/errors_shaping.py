"""The error messages of shapes, selection, creation and random numbers; see test_errors.py."""

import numpy as np

import minigrad as mg
from minigrad.errors import DeviceError, DtypeError, GraphError, OutOfRangeError, ShapeError, ValidationError
from minigrad.nn import functional as F

T, zeros = mg.tensor, mg.zeros
x2, x23, image = zeros(2), zeros(2, 3), zeros(1, 3, 4, 4)
places, flags = T([0, 1]), T([True, False])
shared = zeros(2)
view = shared.view(2)

# (call, error, the whole message)

SHAPING = [
    (
        lambda: x2.view(mg.int32),
        DtypeError,
        "view: memory cannot be read as int32; convert the numbers with .to(mg.int32)",
    ),
    (lambda: x23.movedim((0, 1), 0), ShapeError, "movedim: 2 axes (0, 1) and 1 places (0,); give as many"),
    (lambda: x23.movedim((0, 0), (0, 1)), ShapeError, "movedim: dim (0, 0) names an axis twice; name each once"),
    (
        lambda: x23.select(0, 2),
        OutOfRangeError,
        "index: index 2 is out of bounds for axis 0 with size 2 (shape (2, 3)); positions count from 0, "
        "or backwards from -1",
    ),
    (lambda: x23.narrow(1, 1, 3), ValidationError, "narrow: length is 3; use a whole number from 0 to 2"),
    (
        lambda: x23.unflatten(1, (2, 2)),
        ShapeError,
        "unflatten: (3,) has 3 elements, (2, 2) would need 4; let one size be -1",
    ),
    (lambda: x2.unfold(0, 3, 1), ValidationError, "unfold: size is 3; use a whole number from 0 to 2"),
    (lambda: x2.unfold(0, 1, 0), ValidationError, "unfold: step is 0; use a whole number of 1 or more"),
    (lambda: x23.split([1, 2]), ShapeError, "split: sizes [1, 2] add up to 3, axis 0 has 2; make them equal"),
    (lambda: x23.split(0), ValidationError, "split: split_size is 0; use a whole number of 1 or more"),
    (lambda: x23.chunk(0), ValidationError, "chunk: chunks is 0; use a whole number of 1 or more"),
    (lambda: x23.tensor_split(0), ValidationError, "tensor_split: sections is 0; use a whole number of 1 or more"),
    (lambda: x23.repeat(2), ShapeError, "repeat: 1 numbers (2,) for 2 axes; give one for each"),
    (lambda: x23.repeat(2, -1), ValidationError, "repeat: a number is -1; use a whole number of 0 or more"),
    (
        lambda: x23.repeat_interleave(T([1, 1]), 1),
        ValidationError,
        "repeat_interleave: repeats are [1, 1]; use whole numbers of 0 or more, one for all places or 3",
    ),
    (
        lambda: x23.repeat_interleave(-1),
        ValidationError,
        "repeat_interleave: repeats are -1; use whole numbers of 0 or more, one for all places or 6",
    ),
    (lambda: x2.fliplr(), ShapeError, "flip: dim 1 is out of range for 1 dimensions; use -1 to 0"),
    (lambda: x23.flip(0, 0), ShapeError, "flip: dim (0, 0) names an axis twice; name each once"),
    (lambda: x23.roll((1, 2), 0), ShapeError, "roll: 2 shifts (1, 2) for 1 axes (0,); give one for each"),
    (lambda: x23.roll(0.5, 0), ValidationError, "roll: a shift is 0.5; use a whole number"),
    (lambda: x23.rot90(1, (0,)), ValidationError, "rot90: dims are (0,); give two axes"),
    (
        lambda: x23.new_zeros(-1),
        ShapeError,
        "new_full: (-1,) is not a shape; use whole numbers of 0 or more, and names for dtype= and device=",
    ),
    (lambda: mg.hstack([]), ShapeError, "hstack: the list of tensors is empty; give at least one"),
    (lambda: mg.vstack([1.0]), DtypeError, "vstack: expected tensors, got float; use mg.tensor(...)"),
    (lambda: mg.atleast_2d(3), DtypeError, "atleast_2d: expected tensors, got int; use mg.tensor(...)"),
    (
        lambda: mg.broadcast_tensors(x2, x23),
        ShapeError,
        "broadcast_tensors: shapes (2,) and (2, 3) do not broadcast: axis -1 has sizes 2 and 3; make "
        "them equal, or one of them 1",
    ),
]
IN_PLACE = [
    (
        lambda: x23.unfold(1, 2, 1).add_(1),
        GraphError,
        "add in place: the tensor is made of overlapping windows, so several of its elements share "
        "memory; change x.clone()",
    ),
    (
        lambda: shared.unsqueeze_(0),
        GraphError,
        "unsqueeze_: other tensors or arrays use this memory; write x = x.unsqueeze(...)",
    ),
    (
        lambda: mg.ones(2, requires_grad=True).unsqueeze_(0),
        GraphError,
        "unsqueeze_ in place: a leaf that requires grad would lose its gradient; change it inside "
        "no_grad(), or write x = x + y",
    ),
]
SELECTION = [
    (
        lambda: x23.index_select(0, x2),
        DtypeError,
        "index_select: the index is float32, expected an int64 or int32 tensor; convert it with .long()",
    ),
    (
        lambda: x23.index_select(0, [0]),
        DtypeError,
        "index_select: the index is list, expected an int64 or int32 tensor; convert it with .long()",
    ),
    (
        lambda: x23.index_select(0, T([[0]])),
        ShapeError,
        "index_select: the index has 2 dimensions (1, 1), expected 1; flatten it",
    ),
    (
        lambda: x23.sum()[0],
        OutOfRangeError,
        "index: too many indices for array: array is 0-dimensional, but 1 were indexed (shape ()); "
        "it is one number: use x.item()",
    ),
    (
        lambda: x23.index_select(0, T([2])),
        OutOfRangeError,
        "index: index 2 is out of bounds for axis 0 with size 2 (shape (2, 3)); positions count from 0, "
        "or backwards from -1",
    ),
    (
        lambda: x23.index_add(0, places, x2),
        ShapeError,
        "index_add: source has shape (2,), index asks for (2, 3); make them equal",
    ),
    (
        lambda: x23.index_add(0, places, [1.0]),
        ShapeError,
        "index_add: source has shape (1,), index asks for (2, 3); make them equal",
    ),
    (
        lambda: x23.index_copy(0, places, zeros(2, 3, dtype=mg.float64)),
        DtypeError,
        "scatter: src is float64 and x float32; convert src with .to(mg.float32)",
    ),
    (
        lambda: x23.index_fill(0, T([2]), 1.0),
        OutOfRangeError,
        "scatter: index 2 is out of range for x (2, 3); positions count from 0",
    ),
    (
        lambda: zeros(2, dtype=mg.uint8).index_fill(0, places, 300),
        DtypeError,
        "scatter: 300 does not fit in uint8 (0 to 255); use a wider dtype",
    ),
    (lambda: x2.scatter(0, places, x2, reduce="amin"), ValidationError, "scatter: reduce is 'amin'; use None or 'add'"),
    (
        lambda: x2.scatter(0, x2, x2),
        DtypeError,
        "scatter: the index is float32, expected an int64 or int32 tensor; convert it with .long()",
    ),
    (
        lambda: x2.scatter(0, [0], 1.0),
        DtypeError,
        "scatter: the index is list, expected an int64 or int32 tensor; convert it with .long()",
    ),
    (
        lambda: x2.scatter(0, T([-1]), 1.0),
        OutOfRangeError,
        "scatter: index -1 is out of range for x (2,); positions count from 0",
    ),
    (
        lambda: x23.scatter(0, places, 1.0),
        ShapeError,
        "scatter: the index (2,) does not fit in x (2, 3); give it as many dimensions, and no larger "
        "sizes than those of x in dims other than 0",
    ),
    (
        lambda: x23.scatter(0, T([[0, 0, 0, 0]]), 1.0),
        ShapeError,
        "scatter: the index (1, 4) does not fit in x (2, 3); give it as many dimensions, and no larger "
        "sizes than those of x in dims other than 0",
    ),
    (
        lambda: x2.scatter(0, T([0, 1, 1]), x2),
        ShapeError,
        "scatter: the index (3,) is larger than src (2,); make src as large",
    ),
    (
        lambda: x2.scatter(0, places, zeros(2, dtype=mg.float64)),
        DtypeError,
        "scatter: src is float64 and x float32; convert src with .to(mg.float32)",
    ),
    (lambda: x2.scatter(0, places, None), DtypeError, "scatter: expected a Tensor or a real number, got NoneType"),
    (
        lambda: x2.take(T([2])),
        OutOfRangeError,
        "index: index 2 is out of bounds for axis 0 with size 2 (shape (2,)); positions count from 0, or "
        "backwards from -1",
    ),
    (
        lambda: x23.take_along_dim(places, 1),
        ShapeError,
        "take_along_dim: 1 dimensions of indices, 2 of x; make them equal",
    ),
    (
        lambda: x23.masked_select(x23),
        DtypeError,
        "masked_select: the mask is float32, expected a bool tensor; compare first, as in x > 0",
    ),
    (
        lambda: x23.masked_select([True]),
        DtypeError,
        "masked_select: the mask is list, expected a bool tensor; compare first, as in x > 0",
    ),
    (
        lambda: x23.masked_select(flags),
        ShapeError,
        "masked_select: shapes (2, 3) and (2,) do not broadcast: axis -1 has sizes 2 and 3; make them "
        "equal, or one of them 1",
    ),
    (
        lambda: x2.masked_fill(places, 0),
        DtypeError,
        "masked_fill: the mask is int64, expected a bool tensor; compare first, as in x > 0",
    ),
    (
        lambda: x2.masked_fill(flags, x2),
        ShapeError,
        "masked_fill: value has 1 dimensions, expected 0; use mg.where(mask, value, x)",
    ),
    (lambda: x2.masked_fill(flags, "a"), DtypeError, "masked_fill: expected a Tensor or a real number, got str"),
    (
        lambda: zeros(2, dtype=mg.int64).masked_fill(flags, float("inf")),
        DtypeError,
        "masked_fill: inf does not fit in int64 (-9223372036854775808 to 9223372036854775807); use a wider dtype",
    ),
    (lambda: F.one_hot(x2), DtypeError, "one_hot: classes are float32, expected int64; convert them with .long()"),
    (
        lambda: F.one_hot(zeros(0, dtype=mg.int64)),
        ValidationError,
        "one_hot: there are no classes to count; give num_classes",
    ),
    (
        lambda: F.one_hot(T([3]), 2),
        OutOfRangeError,
        "scatter: index 3 is out of range for x (1, 2); positions count from 0",
    ),
    (lambda: F.unfold(x2, 2), ShapeError, "unfold: the input has 1 dimensions (2,), expected (N, C, H, W)"),
    (
        lambda: F.unfold(image, 5),
        ShapeError,
        "unfold: a window (5, 5), dilation (1, 1), does not fit in 4x4 pixels; add padding",
    ),
    (lambda: F.fold(x23, (4, 4), 2), ShapeError, "fold: the input is (1, 2, 3), expected (N, C*4, 9) for 4x4 pixels"),
]
RANDOM = [
    (lambda: x2.normal_(0, -1), ValidationError, "normal_: std is -1; use a number of 0 or more"),
    (lambda: places.normal_(), DtypeError, "normal_: expected a float tensor, got int64; convert it with .float()"),
    (lambda: x2.uniform_(2, 1), ValidationError, "uniform_: to is 1; use a number of 2 or more"),
    (lambda: x2.exponential_(0), ValidationError, "exponential_: lambd is 0; use a number above 0"),
    (lambda: x2.bernoulli_(2), ValidationError, "bernoulli_: p is 2; use a number from 0 to 1"),
    (lambda: x2.random_(3, 3), ValidationError, "random_: to is 3; use a whole number of 4 or more"),
    (
        lambda: zeros(2, dtype=mg.uint8).random_(300),
        DtypeError,
        "random_: 299 does not fit in uint8 (0 to 255); use a wider dtype",
    ),
    (lambda: places.bernoulli(), DtypeError, "bernoulli: expected a float tensor, got int64; convert it with .float()"),
    (lambda: T([1.5]).bernoulli(), ValidationError, "bernoulli: a probability is not between 0 and 1; clip them"),
    (
        lambda: x2.normal_(generator=3),
        DtypeError,
        "generator: expected a mg.Generator or None, got int; use mg.Generator()",
    ),
    (
        lambda: mg.rand(2, generator=np.random.default_rng()),
        DtypeError,
        "generator: expected a mg.Generator or None, got Generator; use mg.Generator()",
    ),
    (lambda: mg.normal(0.0, 1.0), ValidationError, "normal: mean and std are numbers; give the shape as size="),
    (lambda: mg.normal(x2, -1.0), ValidationError, "normal: std is -1.0; use a number of 0 or more"),
    (lambda: mg.normal(0.0, T([-1.0])), ValidationError, "normal: a number in std is negative; use numbers from 0 on"),
    (
        lambda: places.multinomial(1),
        DtypeError,
        "multinomial: weights are int64 (2,), expected floats (n) or (rows, n)",
    ),
    (
        lambda: x2.multinomial(1),
        ValidationError,
        "multinomial: a weight is negative or not finite, or a row is 0; use weights from 0",
    ),
    (
        lambda: T([1.0, 0.0]).multinomial(2),
        ValidationError,
        "multinomial: 2 samples of 1 weights above 0; use replacement=True",
    ),
    (
        lambda: T([1.0]).multinomial(0),
        ValidationError,
        "multinomial: num_samples is 0; use a whole number of 1 or more",
    ),
    (lambda: mg.Generator("tpu"), DeviceError, "device 'tpu' is unknown; use 'cpu', 'cuda' or 'numpy'"),
    (
        lambda: mg.Generator().manual_seed(-1),
        ValidationError,
        "manual_seed: seed is -1; use a whole number from 0 to 2**64 - 1",
    ),
    (
        lambda: mg.Generator().set_state(x2),
        DtypeError,
        "set_state: expected uint8 (128,), got float32 (2,); give the result of get_state",
    ),
]
CREATION = [
    (
        lambda: zeros(2, dtypes=mg.float64),
        DtypeError,
        "zeros: there is no argument 'dtypes'; use dtype=, device= and requires_grad=",
    ),
    (
        lambda: zeros(2, pin_memory=True),
        ValidationError,
        "zeros: pin_memory is True, but there is no pinned memory here; leave it out",
    ),
    (
        lambda: zeros(2, dtype="complex64"),
        DtypeError,
        "zeros: dtype complex64 is not supported; use float32, float64, int64, int32, uint8, bool",
    ),
    (
        lambda: mg.empty(2.5),
        ShapeError,
        "empty: (2.5,) is not a shape; use whole numbers of 0 or more, and names for dtype= and device=",
    ),
    (lambda: mg.zeros_like([1.0]), DtypeError, "zeros_like: expected tensors, got list; use mg.tensor(...)"),
    (lambda: mg.logspace(0, 1, -1), ValidationError, "logspace: -1 steps; give 0 or more"),
    (
        lambda: mg.logspace(0, 1, 2, dtype=mg.int64),
        DtypeError,
        "logspace: int64 does not hold fractions; use a float dtype, and .to() afterwards",
    ),
    (
        lambda: mg.randint_like(x2, 3, 3),
        ValidationError,
        "randint: low is 3 and high is 3; high must be larger than low",
    ),
    (lambda: mg.scalar_tensor("a"), DtypeError, "scalar_tensor: expected a Tensor or a real number, got str"),
]
MESSAGES = [*SHAPING, *IN_PLACE, *SELECTION, *RANDOM, *CREATION]
