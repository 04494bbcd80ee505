"""Tensor: an array on a device, with the history of how it was computed.

The public mathematics of tensors are methods, here and by subject in methods/; `minigrad.exp(x)` calls `x.exp()`.
Functions that belong to layers are in nn/functional/.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from math import prod
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from . import ops, shapes
from .dependency import Dependency, Identity, changed, snapshot
from .element_type import TYPES, bool_, dtype, float32, float64, int32, int64, uint8
from .errors import DeviceError, DtypeError, GraphError, ShapeError, ValidationError
from .methods import (
    Differentiation,
    Elementwise,
    Inspection,
    LinearAlgebra,
    RandomNumbers,
    Reductions,
    Selection,
    Shaping,
)
from .methods.base import numpy_names
from .methods.reduction import Extremes
from .names import unknown_name
from .notebook import tensor_with_images
from .ops.arithmetic import add_dispatch
from .ops.movement import Position, is_basic
from .ops.op import ArrayOps, ObservedOps, Op, find as find_operation
from .ops.promotion import expect_fits, result_type, widest
from .runtime import fork
from .runtime.device import CPU, device as Device
from .runtime.memory import (
    can_view_as,
    clone,
    contiguous,
    copy,
    empty_like,
    may_share_memory,
    outermost_first,
    owns_buffer,
)
from .runtime.threads import IDLE, local
from .storage import DETACHED, FOLLOWS, UNRECORDED, Alias, Storage, overlaps_itself
from .tape import Node, enable_grad, expanded, mode, no_grad, run_at_end, run_hooks, walk_back

PRINTED: dict[str, Any] = {"threshold": 1000, "precision": 4}  # of np.array2string; see set_printoptions
DTYPES = (float32, float64, int64, int32, uint8, bool_)
# names of the builtins for use in the class, where float, int and bool are methods
Float: TypeAlias = float
Int: TypeAlias = int
Bool: TypeAlias = bool
Dims: TypeAlias = int | Sequence[int] | None


class Tensor(
    Elementwise, Reductions, LinearAlgebra, Shaping, Selection, RandomNumbers, Inspection, Differentiation, Dependency
):
    """An n-dimensional array with gradients.

    data            numbers, nested lists, a NumPy array or another tensor; copied
    dtype           float32 (default), float64, int64, int32, uint8 or bool; mg.tensor defaults to the data's dtype
    device          'cpu' (default), 'cuda' or 'numpy'
    requires_grad   whether operations on it are recorded, so that backward() fills `.grad`

    Raises   DtypeError        the data is not numeric, or gradients are asked for whole numbers
             ValidationError   sizes are given, as in Tensor(3, 4): use mg.zeros(3, 4)
             DeviceError       there is no such device here
    Example
    >>> import minigrad as mg
    >>> x = mg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([[2., 4.],
            [6., 8.]])
    """

    __slots__ = ("__weakref__", "_alias", "_grad", "_hooks", "_leaf", "_node", "_storage", "array", "device")
    __array_priority__ = 1000  # NumPy leaves mixed arithmetic to us

    array: Any
    device: Device
    _leaf: Bool  # a leaf that requires grad
    _node: Node | None  # of an alias, the node at the last access; see `node`
    _grad: Tensor | None
    _hooks: dict[str, Any] | None  # of a leaf; see tape.gradient_hooks
    _storage: Storage  # shared by all tensors on the same memory
    _alias: Alias | None  # how it follows from another tensor on its storage; None for the first one

    def __init__(self, *data: Any, dtype: Any = float32, device: str | Device = CPU, requires_grad: Bool = False):
        if len(data) != 1 or type(data[0]) is int:
            given = ", ".join(type(value).__name__ for value in data) or "nothing"
            raise ValidationError(
                f"Tensor: expected one list or array, got {given}; use mg.zeros(...) for sizes, mg.tensor(...) for a "
                "number, and dtype= and device= by name"
            )
        where = Device(device)
        _constant(_make(where.from_host(_host_array(data[0], dtype)), where, None, tensor=self))
        if requires_grad:
            self.requires_grad_()

    def _replay_state(self) -> Any:
        return Identity(self.array), self._leaf, Identity(self._node), self._hooks and snapshot(self._hooks)

    def _replay_name(self, part: str) -> str:
        return f"a tensor {self.shape}"

    # ---- properties

    @property
    def shape(self) -> shapes.Size:
        """The sizes of all axes."""
        return shapes.Size(self.array.shape)

    @property
    def ndim(self) -> Int:
        """The number of axes."""
        return self.array.ndim

    @property
    def dtype(self) -> dtype:
        """The type of an element: mg.float32, mg.int64, ..."""
        found = self.array.dtype
        return TYPES.get(found, found)

    @overload
    def size(self, dim: None = None) -> shapes.Size: ...
    @overload
    def size(self, dim: Int) -> Int: ...
    def size(self, dim: Int | None = None) -> Any:
        """The shape, or the size of one axis."""
        return self.shape if dim is None else self.shape[shapes.existing_axis(dim, self.ndim, "size")]

    def dim(self) -> Int:
        """The number of axes."""
        return self.ndim

    def numel(self) -> Int:
        """The number of elements."""
        return self.array.size

    @property
    def node(self) -> Node | None:
        """The operation that made this value; None for a leaf.  An alias follows the present value of its base."""
        alias = self._alias
        if alias is not None and alias.node is not alias.base._node:
            self._follow(alias)
        self._node = expanded(self._node, always=False)
        return self._node

    def _expand(self) -> Node | None:
        """The node, or the one in whose place it stands."""
        self._node = expanded(self.node)
        return self._node

    def _follow(self, alias: Alias) -> None:
        """Record the views again, from the present value of the base."""
        alias.node = alias.base._node
        if alias.history is not FOLLOWS or self._leaf or self._base is None:
            return
        before, mode.grad_enabled = mode.grad_enabled, True
        try:
            found = alias.base
            for operation, settings in alias.steps:
                found = apply(operation, found, **settings)
        finally:
            mode.grad_enabled = before
        self._node = found._node

    @property
    def requires_grad(self) -> Bool:
        """Whether operations on this tensor are recorded."""
        return self._leaf or self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: Bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> Bool:
        """True unless the tensor is the result of a recorded operation; only leaves receive `.grad`."""
        return self.node is None

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward() has accumulated here, in the tensor's shape; None before."""
        local.observer.read_grad(self)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise DtypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
            if value.device != self.device:
                raise DeviceError(f"grad: it is on '{value.device}', the tensor on '{self.device}'; move it with .to()")
            if value.shape != self.shape:
                raise ShapeError(f"grad: a gradient of shape {value.shape} does not fit a tensor of shape {self.shape}")
        local.observer.write_grad(self)
        self._grad = value

    @property
    def data(self) -> Tensor:
        """The same values outside the graph; shares memory."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise DtypeError(f"data: expected a Tensor, got {type(value).__name__}; use mg.tensor(...)")
        if self._leaf and value.dtype.kind != "f":
            raise DtypeError(f"data: {value.dtype} values for a tensor that requires grad; convert them with .float()")
        if value.shape != self.shape:
            raise ShapeError(f"data: values of shape {value.shape} do not fit a tensor of shape {self.shape}")
        self._storage.version += 1  # what was computed from the old values cannot be differentiated any more
        self.array, self.device = value.array, value.device
        _join(self, value, (), DETACHED)
        changed()

    def __len__(self) -> Int:
        if not self.ndim:
            raise DtypeError("len: a tensor of 0 dimensions has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        text = np.array2string(self._host(), separator=", ", prefix="tensor(", **PRINTED)
        notes = [] if self.dtype in (float32, int64, bool_) else [f"dtype={self.dtype}"]
        notes += [] if self.device is CPU else [f"device='{self.device}'"]
        if self.node is not None:
            notes.append(f"grad_fn=<{self.node.op.name}>")
        elif self._leaf:
            notes.append("requires_grad=True")
        return "tensor(" + ", ".join([text, *notes]) + ")"

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the text and, of images, their pictures; None: the text alone."""
        return tensor_with_images(repr(self), self.shape, self._host)

    def __format__(self, specification: str) -> str:
        return repr(self) if self.ndim and not specification else format(self.item(), specification)

    if not TYPE_CHECKING:  # type checkers would accept every name

        def __getattr__(self, name):
            if hasattr(type(self), name):
                return object.__getattribute__(self, name)  # a property failed: raise its own error
            raise unknown_name("Tensor", name, dir(type(self)), obj=self)

    __hash__ = object.__hash__

    # ---- to and from Python and NumPy

    def item(self) -> Float | Int | Bool:
        """The only element, as a Python number.

        Raises   ShapeError   there is not exactly one element
        """
        if self.numel() != 1:
            raise ShapeError(f"item: the shape {self.shape} has {self.numel()} elements, expected 1; use tolist()")
        return self._host().reshape(-1)[0].item()

    def tolist(self) -> Any:
        """The elements as nested lists."""
        return self._host().tolist()

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array that shares memory.  It is read-only, because a write would not be seen by
        backward(); copy it to change it.

        Raises   GraphError   the tensor is part of a graph; use x.detach().numpy()
        """
        if self.requires_grad and mode.grad_enabled:
            raise GraphError("numpy: the tensor requires grad; use x.detach().numpy()")
        view = self._host().view()
        view.flags.writeable = False
        self._storage.lent = True
        return view

    def _host(self) -> np.ndarray:
        local.observer.refuse("reading the values of a tensor", "return the tensor, and read it outside")
        return self.device.to_host(self.array)

    def __array__(self, dtype: Any = None, copy: Bool | None = None) -> np.ndarray:
        array = self.numpy()
        return array.astype(dtype or array.dtype) if copy or (dtype and dtype != array.dtype) else array

    def __dlpack__(self, **asked: Any) -> Any:
        """The memory as a DLPack capsule, for other libraries: torch.from_dlpack(x), cupy.from_dlpack(x).

        Raises   GraphError   the tensor is part of a graph; use x.detach()
        """
        if self.requires_grad:
            raise GraphError("dlpack: the tensor requires grad; give x.detach()")
        local.observer.refuse("lending the memory of a tensor", "return the tensor, and lend it outside")
        self._storage.lent = True
        return self.device.lend(self.array, **asked)

    def __dlpack_device__(self) -> tuple[Int, Int]:
        return (1 if self.device.index is None else 2), self.device.index or 0

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The memory of a tensor on "cuda", in the form that Numba, CuPy and PyTorch read."""
        if self.device.index is None:
            raise AttributeError(f"__cuda_array_interface__: the tensor is on '{self.device}', not on a GPU")
        if self.requires_grad:
            raise GraphError("__cuda_array_interface__: the tensor requires grad; give x.detach()")
        self._storage.lent = True
        return self.array.interface

    def __bool__(self) -> Bool:
        if self.numel() != 1:
            raise ShapeError(
                f"bool: the shape {self.shape} has {self.numel()} elements, expected 1; use any() or all()"
            )
        return Bool(self.item())

    def __float__(self) -> Float:
        return Float(self.item())

    def __int__(self) -> Int:
        return Int(self.item())

    def __index__(self) -> Int:
        if self.dtype.kind not in "iu":
            raise DtypeError(f"index: only whole numbers can index, got {self.dtype}")
        return Int(self.item())

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> Bool:
        return bool(apply(ops.eq, self.detach(), value).any())

    # ---- the graph

    def requires_grad_(self, requires_grad: Bool = True) -> Tensor:
        """Switch the recording of operations on this leaf on or off.

        Raises   DtypeError   whole numbers have no gradient
                 GraphError   switching off the result of a recorded operation; use detach()
        """
        if requires_grad and self.dtype.kind != "f":
            raise DtypeError(f"requires_grad: only float tensors have gradients, this one is {self.dtype}")
        if not requires_grad and self.node is not None:
            raise GraphError("requires_grad: only leaves can be switched off; use x.detach()")
        self._leaf = requires_grad and self.node is None
        changed()
        return self

    def detach(self) -> Tensor:
        """The same values outside the graph; shares memory."""
        local.observer.uses(self)
        return _join(_make(self.array, self.device, None), self, (), DETACHED)

    def backward(
        self, gradient: Any = None, retain_graph: Bool | None = None, create_graph: Bool = False, inputs: Any = None
    ) -> None:
        """Add the gradient of this value to `.grad` of every leaf it was computed from.

        gradient       like self   weights of the elements; 1 for a single number
        retain_graph   keep the graph for another backward; the value of create_graph if None
        create_graph   record the gradient itself, so that it can be differentiated again
        inputs         the only tensors whose .grad changes; may be results, too

        Raises   GraphError   nothing was recorded, the graph was freed, or a value that is needed was changed
                 ShapeError   no gradient given for more than one element, or of another shape
        """
        backward(self, gradient, retain_graph, create_graph, inputs)

    @property
    def _edge(self) -> Node | Tensor | None:
        """What a gradient of this tensor goes to."""
        return self.node or (self if self._leaf else None)

    def _seed(self, gradient: Tensor | None) -> Tensor:
        if gradient is None:
            if self.numel() != 1:
                raise ShapeError(
                    f"backward: the shape {self.shape} has {self.numel()} elements; give gradient= of that shape, "
                    "or reduce to one number first, for example with .sum()"
                )
            return _make(self.device.full(self.shape, 1, self.dtype), self.device, None)
        if not isinstance(gradient, Tensor):
            gradient = tensor(gradient, self.dtype, self.device)
        if gradient.shape != self.shape:
            raise ShapeError(f"backward: gradient has shape {gradient.shape}, the tensor {self.shape}; make them equal")
        if gradient.device != self.device:
            raise DeviceError(
                f"backward: gradient is on '{gradient.device}', the tensor on '{self.device}'; "
                f"move it with .to('{self.device}')"
            )
        return gradient.to(self.dtype)

    # ---- moving

    def to(
        self, *targets: Any, non_blocking: Bool = False, copy: Bool = False, memory_format: Any = None, **named: Any
    ) -> Tensor:
        """The tensor on another device or of another dtype; itself where nothing changes.

        targets        x.to("numpy"), x.to(mg.float64), x.to("cpu", mg.float32), x.to(other), x.to(dtype=mg.float64)
        copy           whether the result is a copy where nothing changes
        non_blocking, memory_format   for PyTorch's scripts, without effect: a copy is complete when `to` returns, and
                       kernels choose their layouts

        Raises   DeviceError   there is no such device here
                 DtypeError    neither a dtype nor a device
        """
        result = self
        for target in (*targets, *named.values()):
            if isinstance(target, Tensor):
                result = result.to(target.device, target.dtype)
            elif isinstance(target, Device) or (isinstance(target, str) and target not in _dtype_names):
                where = Device(target)
                result = result if where is result.device else apply(ops.transfer, result, target=where)
            elif target is not None:
                dtype = _known_dtype(target, "to")
                result = result if dtype == result.dtype else apply(ops.cast, result, dtype=dtype)
        return result.clone() if copy and result is self else result

    def cpu(self) -> Tensor:
        """The tensor on the CPU."""
        return self.to(CPU)

    def cuda(self) -> Tensor:
        """The tensor on the GPU.

        Raises   DeviceError   there is none here
        """
        return self.to("cuda")

    def float(self) -> Tensor:
        """As float32."""
        return self.to(float32)

    def double(self) -> Tensor:
        """As float64."""
        return self.to(float64)

    def long(self) -> Tensor:
        """As int64; fractions are cut off."""
        return self.to(int64)

    def int(self) -> Tensor:
        """As int32; fractions are cut off."""
        return self.to(int32)

    def bool(self) -> Tensor:
        """As bool: True where not zero."""
        return self.to(bool_)

    def type_as(self, other: Tensor) -> Tensor:
        """With the dtype of `other`."""
        return self.to(other.dtype)

    def clone(self, *, memory_format: Any = None) -> Tensor:
        """A copy; gradients pass through.  memory_format has no effect, see `to`."""
        return apply(ops.clone, self)

    def contiguous(self, memory_format: Any = None) -> Tensor:
        """The tensor itself if its elements are in C order, as PyTorch would store them; otherwise a copy.

        Kernels take any layout, so this is never needed for speed, and memory_format has no effect.
        """
        return self if self._in_c_order() else self.clone()

    def _in_c_order(self) -> Bool:
        """Whether the elements would be in C order if those of the storage's root were."""
        return self._located(lambda root: np.empty(root.shape, np.bool_)).flags.c_contiguous

    def _located(self, memory_of: Callable[[Any], Any]) -> Any:
        """memory_of(root array), with this tensor's views applied."""
        base, alias = self._base, self._alias
        return memory_of(self.array) if base is None or alias is None else alias.found_in(base._located(memory_of))

    def _to_c_order(self) -> None:
        """Move the memory of all tensors on this storage, so that its root is in C order, as PyTorch's tensors are."""
        storage, root = self._storage, self._root()
        if storage.lent or root.array.flags.c_contiguous:
            return
        root.array = contiguous(root.array)
        for reference in list(storage.aliases):
            alias = reference()
            if alias is not None and alias._storage is storage:
                alias.array = alias._located(lambda array: array)
        changed()

    @property
    def _base(self) -> Tensor | None:
        """The tensor that this one is an alias of; None for a root, and for an alias whose base left the storage."""
        alias = self._alias
        return None if alias is None or alias.base._storage is not self._storage else alias.base

    def _root(self) -> Tensor:
        """The first tensor on this storage."""
        base = self._base
        return self if base is None else base._root()

    # ---- arithmetic, element by element, with broadcasting

    def __add__(self, other: Any) -> Tensor:
        return apply(ops.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return apply(ops.add, other, self)

    def __sub__(self, other: Any) -> Tensor:
        return apply(ops.sub, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return apply(ops.sub, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return apply(ops.mul, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return apply(ops.mul, other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return apply(ops.div, self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return apply(ops.div, other, self)

    def __pow__(self, exponent: Any) -> Tensor:
        return apply(ops.pow, self, exponent)

    def __rpow__(self, base: Any) -> Tensor:
        return apply(ops.pow, base, self)

    def __matmul__(self, other: Tensor) -> Tensor:
        if not isinstance(other, Tensor):
            raise DtypeError(f"matmul: expected a Tensor, got {type(other).__name__}; use mg.tensor(...)")
        if not self.ndim or not other.ndim:
            raise ShapeError(f"matmul: shapes {self.shape} and {other.shape}; a single number has no axis, use *")
        left = self.unsqueeze(0) if self.ndim == 1 else self
        right = other.unsqueeze(1) if other.ndim == 1 else other
        out = apply(ops.matmul, left, right)
        out = out.squeeze(-1) if other.ndim == 1 else out
        return out.squeeze(-2 if other.ndim > 1 else -1) if self.ndim == 1 else out

    def __neg__(self) -> Tensor:
        return apply(ops.neg, self)

    def __abs__(self) -> Tensor:
        return apply(ops.abs, self)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return apply(ops.eq, self, other) if isinstance(other, _COMPARABLE) else NotImplemented

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return apply(ops.ne, self, other) if isinstance(other, _COMPARABLE) else NotImplemented

    def __lt__(self, other: Any) -> Tensor:
        return apply(ops.lt, self, other)

    def __le__(self, other: Any) -> Tensor:
        return apply(ops.le, self, other)

    def __gt__(self, other: Any) -> Tensor:
        return apply(ops.gt, self, other)

    def __ge__(self, other: Any) -> Tensor:
        return apply(ops.ge, self, other)

    def __iadd__(self, other: Any) -> Tensor:
        return self._change(ops.add, other)

    def __isub__(self, other: Any) -> Tensor:
        return self._change(ops.sub, other)

    def __imul__(self, other: Any) -> Tensor:
        return self._change(ops.mul, other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._change(ops.div, other)

    def add(self, other: Any, *, alpha: Float = 1) -> Tensor:
        """self + alpha * other."""
        return self + (other if alpha == 1 else other * alpha)

    def sub(self, other: Any, *, alpha: Float = 1) -> Tensor:
        """self - alpha * other."""
        return self - (other if alpha == 1 else other * alpha)

    def mul(self, other: Any) -> Tensor:
        """self * other."""
        return self * other

    def div(self, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        """self / other; whole numbers give float32.  rounding_mode "trunc" or "floor" rounds."""
        return self / other if rounding_mode is None else self._divide_rounded(other, rounding_mode)

    def pow(self, exponent: Any) -> Tensor:
        """self to the power of `exponent`, a number or a tensor."""
        return self**exponent

    def neg(self) -> Tensor:
        """-self."""
        return -self

    def abs(self) -> Tensor:
        """The absolute value; the gradient at 0 is 0."""
        return apply(ops.abs, self)

    def exp(self) -> Tensor:
        """e to the power of each element.

        Example
        >>> import minigrad as mg
        >>> mg.tensor([0.0, 1.0]).exp()
        tensor([1.    , 2.7183])
        """
        return apply(ops.exp, self)

    def log(self) -> Tensor:
        """The natural logarithm; -inf at 0 and nan below."""
        return apply(ops.log, self)

    def sqrt(self) -> Tensor:
        """The square root; nan below 0."""
        return apply(ops.sqrt, self)

    def square(self) -> Tensor:
        """self * self."""
        return self * self

    def maximum(self, other: Any) -> Tensor:
        """The larger of two elements; at a tie each gets half of the gradient."""
        return apply(ops.maximum, self, other)

    def minimum(self, other: Any) -> Tensor:
        """The smaller of two elements; at a tie each gets half of the gradient."""
        return apply(ops.minimum, self, other)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Every element limited to min..max, which are numbers, tensors or None; where min is above max it becomes max.

        The gradient goes to the element inside the limits, both included, and to the limit outside.

        Raises   ValidationError   neither end is given
        Example
        >>> import minigrad as mg
        >>> mg.tensor([-2.0, 0.5, 2.0]).clip(0, 1)
        tensor([0. , 0.5, 1. ])
        """
        if min is None and max is None:
            raise ValidationError("clip: min and max are both None; give at least one")
        return apply(ops.clip, self, min, max)

    clamp = clip

    # ---- activations

    def relu(self) -> Tensor:
        """max(x, 0); the gradient at 0 is 0.

        Source   Fukushima 1969; Nair & Hinton 2010
        Example
        >>> import minigrad as mg
        >>> mg.relu(mg.tensor([-1.0, 2.0]))
        tensor([0., 2.])
        """
        return apply(ops.relu, self)

    def sigmoid(self) -> Tensor:
        """1 / (1 + e**-x), between 0 and 1."""
        return apply(ops.sigmoid, self)

    def tanh(self) -> Tensor:
        """The hyperbolic tangent, between -1 and 1."""
        return apply(ops.tanh, self)

    def softmax(self, dim: Int, dtype: Any = None) -> Tensor:
        """e**x divided by its sum along `dim`: positive, adding up to 1; x is converted to `dtype` first.

        Example
        >>> import minigrad as mg
        >>> mg.tensor([0.0, 0.0]).softmax(0)
        tensor([0.5, 0.5])
        """
        x = self if dtype is None else self.to(dtype)
        return apply(ops.softmax, x, axis=shapes.axis_number(dim, self.ndim, "softmax"))

    def log_softmax(self, dim: Int, dtype: Any = None) -> Tensor:
        """The logarithm of softmax, computed without overflow; x is converted to `dtype` first."""
        x = self if dtype is None else self.to(dtype)
        return apply(ops.log_softmax, x, axis=shapes.axis_number(dim, self.ndim, "log_softmax"))

    # ---- reductions; dim is an axis, several, or None for all

    @numpy_names
    def sum(self, dim: Dims = None, keepdim: Bool = False, *, dtype: Any = None) -> Tensor:
        """The sum over `dim`; whole numbers give int64.

        dtype   of the elements before they are added, and of the result

        Example
        >>> import minigrad as mg
        >>> mg.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(dim=0)
        tensor([4., 6.])
        """
        if dtype is not None:
            return self.to(dtype).sum(dim, keepdim).to(dtype)
        return apply(ops.sum, self, axes=shapes.axes_tuple(dim, self.ndim, "sum"), keepdim=keepdim)

    @numpy_names
    def mean(self, dim: Dims = None, keepdim: Bool = False, *, dtype: Any = None) -> Tensor:
        """The mean over `dim`; nan over no elements.

        dtype   of the elements before they are added, and of the result

        Raises   DtypeError   whole numbers have no mean of their own dtype; use x.float(), or dtype=
        """
        x = self if dtype is None else self.to(dtype)
        return apply(ops.mean, x, axes=shapes.axes_tuple(dim, self.ndim, "mean"), keepdim=keepdim)

    @numpy_names
    def var(self, dim: Any = None, unbiased: Any = None, keepdim: Bool = False, *, correction: Any = None) -> Tensor:
        """The variance over `dim`: the sum of squared deviations from the mean, divided by max(n - correction, 0).

        unbiased     a correction of 1 if True, of 0 if False; x.var(False) is x.var(unbiased=False)
        correction   1 if neither is given

        It is computed in float64, so that squares of float32 neither overflow nor underflow.
        """
        return self._variance("var", dim, unbiased, keepdim, correction).to(self.dtype)

    @numpy_names
    def std(self, dim: Any = None, unbiased: Any = None, keepdim: Bool = False, *, correction: Any = None) -> Tensor:
        """The standard deviation, with the arguments of `var`; its gradient is 0 where all numbers are equal."""
        return apply(ops.deviation, self._variance("std", dim, unbiased, keepdim, correction)).to(self.dtype)

    def _variance(self, where: str, dim: Any, unbiased: Any, keepdim: Bool, correction: Any) -> Tensor:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        if unbiased is not None and correction is not None:
            raise ValidationError(f"{where}: unbiased is {unbiased} and correction is {correction}; give one of them")
        correction = correction if correction is not None else 1 if unbiased is None else Int(unbiased)
        axes = shapes.axes_tuple(dim, self.ndim, where)
        count = prod(self.shape[axis] for axis in axes) - correction
        wide = self.double() if self.dtype == float32 else self
        centred = wide - wide.mean(axes, keepdim=True)
        return (centred * centred).sum(axes, keepdim) / max(count, 0)

    @numpy_names
    def amax(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        """The largest element over `dim`; equal largest elements share the gradient.

        Raises   ShapeError   a dimension of size 0
        """
        return apply(ops.amax, self, axes=shapes.axes_tuple(dim, self.ndim, "amax"), keepdim=keepdim)

    @numpy_names
    def amin(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        """The smallest element over `dim`; equal smallest elements share the gradient.

        Raises   ShapeError   a dimension of size 0
        """
        return apply(ops.amin, self, axes=shapes.axes_tuple(dim, self.ndim, "amin"), keepdim=keepdim)

    @overload
    def max(self, dim: None = None) -> Tensor: ...
    @overload
    def max(self, dim: Int, keepdim: Bool = False) -> Extremes: ...
    @overload
    def max(self, dim: Tensor) -> Tensor: ...
    @numpy_names
    def max(self, dim: Any = None, keepdim: Bool = False) -> Any:
        """The largest element.  With `dim`, (values, indices) along it; the first largest element gets the gradient.

        Example
        >>> import minigrad as mg
        >>> mg.tensor([3.0, 1.0, 3.0]).max(dim=0).indices
        tensor(0)
        """
        return self._extreme(dim, keepdim, self.amax, self.argmax, ops.maximum)

    @overload
    def min(self, dim: None = None) -> Tensor: ...
    @overload
    def min(self, dim: Int, keepdim: Bool = False) -> Extremes: ...
    @overload
    def min(self, dim: Tensor) -> Tensor: ...
    @numpy_names
    def min(self, dim: Any = None, keepdim: Bool = False) -> Any:
        """The smallest element.  With `dim`, (values, indices) along it; the first smallest one gets the gradient."""
        return self._extreme(dim, keepdim, self.amin, self.argmin, ops.minimum)

    def _extreme(self, dim, keepdim, whole, place, pairwise):
        if isinstance(dim, Tensor):
            return apply(pairwise, self, dim)
        if dim is None:
            return whole()
        if not self.ndim:
            return Extremes(whole(), place(dim))
        indices = place(dim, keepdim=True)
        values = self.gather(dim, indices)
        return Extremes(values, indices) if keepdim else Extremes(values.squeeze(dim), indices.squeeze(dim))

    @numpy_names
    def argmax(self, dim: Int | None = None, keepdim: Bool = False) -> Tensor:
        """The index of the largest element along `dim` (int64); the first one at a tie.

        dim   an axis, or None for an index into the flattened tensor

        Raises   ShapeError   a dimension of size 0
        Example
        >>> import minigrad as mg
        >>> mg.tensor([[1.0, 5.0], [7.0, 2.0]]).argmax(dim=1)
        tensor([1, 0])
        """
        axis = None if dim is None or shapes.axis_number(dim, self.ndim, "argmax") >= self.ndim else dim % self.ndim
        return apply(ops.argmax, self, axis=axis, keepdim=keepdim)

    @numpy_names
    def argmin(self, dim: Int | None = None, keepdim: Bool = False) -> Tensor:
        """The index of the smallest element along `dim` (int64); the first one at a tie."""
        axis = None if dim is None or shapes.axis_number(dim, self.ndim, "argmin") >= self.ndim else dim % self.ndim
        return apply(ops.argmin, self, axis=axis, keepdim=keepdim)

    @numpy_names
    def any(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        """Whether any element over `dim` is not zero; nan is not zero.  uint8 gives uint8.

        Example
        >>> import minigrad as mg
        >>> mg.tensor([[0, 1], [0, 0]]).any(dim=1)
        tensor([ True, False])
        """
        return ((self != 0).sum(dim, keepdim) != 0).to(uint8 if self.dtype == uint8 else bool_)

    @numpy_names
    def all(self, dim: Dims = None, keepdim: Bool = False) -> Tensor:
        """Whether no element over `dim` is zero.  uint8 gives uint8.

        Example
        >>> import minigrad as mg
        >>> mg.tensor([[1, 1], [0, 1]]).all(dim=1)
        tensor([ True, False])
        """
        return ((self == 0).sum(dim, keepdim) == 0).to(uint8 if self.dtype == uint8 else bool_)

    # ---- shape

    def reshape(self, *sizes: Any, shape: Any = None) -> Tensor:
        """The same elements in another shape; one size may be -1.  A view where the memory allows it.

        Raises   ShapeError   the number of elements differs
        """
        wanted = shapes.given_sizes(sizes, shape)
        return self._reshape(shapes.resolve(wanted, self.numel(), self.shape, "reshape"))

    def view(self, *shape: Any, size: Any = None) -> Tensor:
        """The same elements in another shape, in the same memory; one size may be -1.

        Raises   ShapeError   the number of elements differs, or the memory does not allow it
                 DtypeError   another dtype is asked for
        """
        wanted = shapes.given_sizes(shape, size)
        if any(isinstance(part, np.dtype | dtype) for part in wanted):
            raise DtypeError(
                f"view: memory cannot be read as {wanted[0]}; convert the numbers with .to(mg.{wanted[0]})"
            )
        sizes = shapes.resolve(wanted, self.numel(), self.shape, "view")
        if not can_view_as(self.array, sizes):
            self._to_c_order()
        if not can_view_as(self.array, sizes):
            raise ShapeError(
                f"view: a tensor {self.shape} with this memory cannot be seen as {sizes} without a copy; use reshape"
            )
        return self._reshape(sizes)

    def _reshape(self, shape: tuple[Int, ...]) -> Tensor:
        result = apply(ops.reshape, self, shape=shape)
        if result._alias is None and not self._root().array.flags.c_contiguous:  # a copy, which a view may replace
            self._to_c_order()
            return apply(ops.reshape, self, shape=shape)
        return result

    def flatten(self, start_dim: Int = 0, end_dim: Int = -1) -> Tensor:
        """Axes start_dim to end_dim merged into one.

        Example
        >>> import minigrad as mg
        >>> mg.zeros(8, 16, 5, 5).flatten(1).shape
        (8, 400)
        """
        first = shapes.axis_number(start_dim, self.ndim, "flatten")
        last = shapes.axis_number(end_dim, self.ndim, "flatten")
        if first > last:
            raise ShapeError(f"flatten: start_dim {start_dim} lies after end_dim {end_dim}; exchange them")
        shape = self.array.shape
        return self._reshape((*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :]))

    def permute(self, *order: Any, dims: Any = None) -> Tensor:
        """The axes in another order; a view.

        Raises   ShapeError   not every axis exactly once
        """
        wanted = shapes.given_sizes(order, dims)
        axes = tuple(shapes.axis_number(dim, self.ndim, "permute") for dim in wanted)
        if sorted(axes) != list(range(self.ndim)):
            raise ShapeError(f"permute: {tuple(wanted)} is no permutation of {self.ndim} axes; name each axis once")
        return apply(ops.permute, self, axes=axes)

    def transpose(self, dim0: Int, dim1: Int) -> Tensor:
        """Two axes exchanged; a view."""
        axes = list(range(self.ndim)) or [0]
        a, b = (shapes.axis_number(dim, self.ndim, "transpose") for dim in (dim0, dim1))
        axes[a], axes[b] = axes[b], axes[a]
        return apply(ops.permute, self, axes=tuple(axes)) if self.ndim else self

    def t(self) -> Tensor:
        """The transpose of a matrix; at most 2 dimensions."""
        if self.ndim > 2:
            raise ShapeError(f"t: the tensor has {self.ndim} dimensions {self.shape}, expected at most 2; use permute")
        return self.T

    @property
    def T(self) -> Tensor:
        """All axes in reverse order; a view."""
        return apply(ops.permute, self, axes=tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged; a view."""
        return self.transpose(-2, -1)

    def squeeze(self, dim: Dims = None) -> Tensor:
        """Without axes of size 1, or without those axes `dim` whose size is 1."""
        if dim is None:
            return self.reshape([size for size in self.shape if size != 1])
        axes = shapes.axes_tuple(dim, self.ndim, "squeeze") if dim != () and dim != [] else ()
        kept = [size for axis, size in enumerate(self.shape) if axis not in axes or size != 1]
        return self.reshape(kept) if len(kept) < self.ndim else self

    def unsqueeze(self, dim: Int) -> Tensor:
        """With a new axis of size 1 at place `dim`."""
        axis = shapes.axis_number(dim, self.ndim + 1, "unsqueeze")
        return self.reshape((*self.shape[:axis], 1, *self.shape[axis:]))

    def expand(self, *sizes: Any, size: Any = None) -> Tensor:
        """Axes of size 1 repeated to the given sizes; -1 leaves an axis as it is."""
        wanted = shapes.given_sizes(sizes, size)
        if len(wanted) < self.ndim:
            raise ShapeError(f"expand: {len(wanted)} sizes {tuple(wanted)} for {self.ndim} axes; give at least as many")
        padded = (1,) * (len(wanted) - self.ndim) + self.shape
        kept = (-1,) * (len(wanted) - self.ndim) + self.shape  # -1 cannot stand for a new axis
        shape = tuple(old if new == -1 else new for new, old in zip(wanted, kept, strict=True))
        if min(shape, default=0) < 0 or shapes.broadcast("expand", padded, shape) != shape:
            raise ShapeError(f"expand: {self.shape} does not stretch to {shape}; only sizes of 1 can grow")
        return apply(ops.expand, self, shape=shape)

    def gather(self, dim: Int, index: Tensor) -> Tensor:
        """The elements at `index` along `dim`: out[i][j] = self[index[i][j]][j] for dim 0.

        index   whole numbers, of the same number of dimensions
        """
        axis = shapes.existing_axis(dim, self.ndim, "gather")
        return apply(ops.gather, self, index, axis=axis)

    def matmul(self, other: Tensor) -> Tensor:
        """The matrix product: (..., n, k) @ (..., k, m) -> (..., n, m).

        A 1-D operand is a row on the left, a column on the right; leading axes broadcast.

        Raises   ShapeError   the inner sizes differ
        """
        return self @ other

    # ---- indexing

    def __getitem__(self, key: Any) -> Tensor:
        key, positions = _split_positions(key, self.device)
        if is_basic(key):
            return apply(ops.index, self, key=key)
        if local.observer is not IDLE and any(part.dtype == bool_ for part in positions):
            local.observer.refuse("indexing with a mask", "its shape depends on values: use mg.where(mask, x, 0)")
        return apply(ops.take, self, *positions, key=key)

    def __setitem__(self, key: Any, value: Any) -> None:
        key, positions = _split_positions(key, self.device)
        if is_basic(key):
            apply(ops.index, self, key=key).copy_(value)
            return
        if local.observer is not IDLE and np.ndim(value) and any(part.dtype == bool_ for part in positions):
            local.observer.refuse(
                "assigning several values with a mask", "their number depends on values: use mg.where"
            )
        self._change(ops.put, value, *positions, key=key)

    # ---- changes in place

    def _run(self, operation: Op, *others: Any, **settings: Any) -> Tensor:
        return apply(operation, self, *others, **settings)

    def _run_after(self, operation: Op, other: Any) -> Tensor:
        return apply(operation, other, self)

    def _change(self, operation: Op, *others: Any, **settings: Any) -> Tensor:
        """self becomes operation(self, *others), in its own memory.

        The write increases the storage's version, so that a backward that needs the old value refuses.  In a graph, the
        tensor takes the history of the new value; if it is an alias, so does its base.
        """
        recorded = mode.grad_enabled and any(isinstance(x, Tensor) and x.requires_grad for x in (self, *others))
        self._refuse_change(operation.name, recorded)
        alone = recorded and not self._storage.shared
        source = self
        if recorded and not alone and 0 in operation.keeps:  # the gradient needs the value that is overwritten
            source = _make(clone(self.array), self.device, self.node)  # by a call that a recording sees
        before = self._node
        result = apply(operation, source, *others, **settings)
        if result.shape != self.shape:
            raise ShapeError(
                f"{operation.name} in place: the result has shape {result.shape}, the tensor {self.shape}; "
                "use x = x + y"
            )
        if result.dtype != self.dtype:
            raise DtypeError(
                f"{operation.name} in place: the result is {result.dtype}, the tensor {self.dtype}; "
                f"convert it first, with .to(mg.{result.dtype})"
            )
        if alone:  # nothing else uses this memory: take the new array, and the old one stays valid for the graph
            self.array, self._node, self._storage = result.array, result._node, result._storage
            changed()
            self._still_retained(before)
            return self
        local.observer.writes(self)
        copy(self.array, result.array)
        self._storage.version += 1
        if recorded:
            self._take_history(result)
            changed()
            self._still_retained(before)
        return self

    def _refuse_change(self, name: str, recorded: Bool) -> None:
        """Refuse a change in place that would be lost, or that would make a gradient wrong."""
        array, alias = self.array, self._alias
        if overlaps_itself(array):
            how = "expanded" if 0 in array.strides else "made of overlapping windows"
            raise GraphError(
                f"{name} in place: the tensor is {how}, so several of its elements share memory; change x.clone()"
            )
        if not array.flags.writeable:
            raise ValidationError(f"{name} in place: the memory is read-only; change x.clone()")
        if recorded and self._leaf:
            raise GraphError(
                f"{name} in place: a leaf that requires grad would lose its gradient; "
                "change it inside no_grad(), or write x = x + y"
            )
        if alias is None or alias.history is DETACHED or self._base is None:
            return
        if recorded and alias.base._leaf:
            raise GraphError(
                f"{name} in place: this is a view of a leaf that requires grad, which would lose its gradient; "
                "use no_grad() to change it, or change a view of x.clone()"
            )
        if alias.history is UNRECORDED and mode.grad_enabled and (recorded or alias.base.requires_grad):
            raise GraphError(
                f"{name} in place: this view was made inside no_grad(), so the graph would miss the change; "
                "make the view outside, or change it inside no_grad()"
            )

    def _take_history(self, result: Tensor) -> None:
        """Take the history of the value that was written here."""
        alias, base = self._alias, self._base
        if alias is None or base is None or alias.history is not FOLLOWS:
            self._node = result._node
            return
        settings = {"steps": alias.steps, "order": outermost_first(base.array)}
        base._node = _node(ops.view_scatter, base.device, (base, result), settings)

    def add_(self, other: Any, *, alpha: Float = 1) -> Tensor:
        """self += alpha * other."""
        return self._change(ops.add, other if alpha == 1 else other * alpha)

    def sub_(self, other: Any, *, alpha: Float = 1) -> Tensor:
        """self -= alpha * other."""
        return self._change(ops.sub, other if alpha == 1 else other * alpha)

    def mul_(self, other: Any) -> Tensor:
        """self *= other."""
        return self._change(ops.mul, other)

    def copy_(self, other: Any) -> Tensor:
        """The values of `other`, broadcast, written here."""
        return self._change(ops.assign, other)

    def fill_(self, value: Float) -> Tensor:
        """Every element set to `value`."""
        return self._change(ops.assign, value)

    def zero_(self) -> Tensor:
        """Every element set to 0."""
        return self.fill_(0)

    def _become(self, name: str, view: Tensor) -> Tensor:
        """self takes the shape of a view of itself.

        Raises   GraphError   other tensors or arrays use the memory, or it is a leaf that requires grad
        """
        self._refuse_change(name, mode.grad_enabled and self.requires_grad)
        if view is self:
            return self
        follows = self._base is not None and self._alias is not None and self._alias.history is FOLLOWS
        array, node, alias = view.array, view.node, view._alias
        if not follows and self._storage.shared:
            users = [user for user in (reference() for reference in self._storage.aliases) if user is not None]
            if self._storage.lent or any(user is not self and user._alias is not alias for user in users):
                raise GraphError(f"{name}: other tensors or arrays use this memory; write x = x.{name[:-1]}(...)")
        self.array, self._node = array, node
        if follows:
            self._alias = alias
        changed()
        return self

    def relu_(self) -> Tensor:
        """Every negative element set to 0."""
        return self._change(ops.relu)

    # ---- new tensors of the same dtype on the same device

    def new(self, *data: Any) -> Tensor:
        """An old name of new_empty, for sizes, and of new_tensor, for a list."""
        listed = len(data) == 1 and isinstance(data[0], list | np.ndarray)
        return self.new_tensor(data[0]) if listed else self.new_empty(*data or (0,))

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: Bool = False) -> Tensor:
        """mg.tensor(data), with the dtype and the device of self."""
        return tensor(data, device=device or self.device).to(dtype or self.dtype).requires_grad_(requires_grad)

    def new_full(
        self, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: Bool = False
    ) -> Tensor:
        """mg.full(size, fill_value), with the dtype and the device of self."""
        return self._filled("new_full", size, fill_value, dtype, device).requires_grad_(requires_grad)

    def _filled(self, where: str, size: Any, value: Any, dtype: Any = None, device: Any = None) -> Tensor:
        place, kind = Device(device or self.device), _known_dtype(dtype or self.dtype, where)
        result_type(where, value)  # refuses what is no number
        expect_fits(where, value, kind)
        return _constant(_make(place.full(shapes.given_shape(where, (), size), value, kind), place, None))

    # ---- copying and pickling

    def __deepcopy__(self, memo: dict) -> Tensor:
        if self.node is not None:
            raise GraphError("deepcopy: only leaves can be copied; use x.detach().clone()")
        copy = type(self).__new__(type(self))
        memo[id(self)] = copy
        _make(self.detach().clone().array, self.device, None, tensor=copy)
        copy._leaf, copy._grad = self._leaf, deepcopy(self._grad, memo)
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        if self.node is not None:
            raise GraphError("pickle: only leaves can be saved; use x.detach()")
        return _restored, (type(self), np.array(self._host()), str(self.device), self._leaf)


# ---- recording


def apply(operation: Op, *inputs: Any, **settings: Any) -> Tensor:
    """Run an operation on tensors, and record it if one of them requires grad.

    inputs   tensors of one device; also numbers and arrays where the operation takes them, None for what is left out

    Raises   DeviceError   the tensors are on different devices
    """
    device: Device | None = None
    arrays: list[Any] = []
    edges: list[Node | Tensor | None] = []
    wanted = False
    for value in inputs:
        if isinstance(value, Tensor):
            if value.device is not device:
                device = _agree(operation, device, value.device)
            edge = (value._node if value._alias is None else value.node) or (value if value._leaf else None)
            wanted = wanted or edge is not None
            arrays.append(value.array)
            edges.append(edge)
        elif isinstance(value, list | tuple | str | dict):
            raise DtypeError(f"{operation.name}: expected a Tensor, got {type(value).__name__}; use mg.tensor(...)")
        else:
            arrays.append(value)
            edges.append(None)
    if device is None:
        raise DtypeError(f"{operation.name}: expected a Tensor, got {type(inputs[0]).__name__}; use mg.tensor(...)")
    observer, recorded = local.observer, mode.grad_enabled
    if observer is IDLE:
        out = operation.forward(device, *arrays, **settings)
    else:
        for value in inputs:
            if isinstance(value, Tensor):
                observer.uses(value)
        out = observer.run(operation, device, arrays, settings)
    out, saved = out if type(out) is tuple else (out, None)
    if operation is ops.transfer:
        device = settings["target"]
    result = _make(out, device, None)
    if observer is not IDLE:
        observer.makes(result, constant=False)
    if operation.view and may_share_memory(out, arrays[0]):
        _join(result, inputs[0], ((operation, settings),), FOLLOWS if recorded else UNRECORDED)
    if wanted and recorded and out.dtype.kind == "f":
        keeps = operation.kept_of(arrays) if operation.keeps_rest else operation.keeps
        kept = [arrays[i] for i in keeps]
        versions: list[tuple[Any, Storage, Int]] = []
        for i in keeps:
            if isinstance(inputs[i], Tensor):
                storage = inputs[i]._storage
                versions.append((i, storage, storage.version))
        if operation.keeps_out:
            versions.append(("out", result._storage, result._storage.version))
        shapes = [array.shape if hasattr(array, "shape") else () for array in arrays]
        dtypes = [getattr(array, "dtype", None) for array in arrays]
        out_kept, saved_kept = out if operation.keeps_out else None, saved if operation.keeps_saved else None
        result._node = Node(operation, device, edges, shapes, dtypes, kept, versions, out_kept, saved_kept, settings)
        if mode.anomaly is not None:
            mode.anomaly.check_result(result._node, [out], arrays)
    return result


def _node(operation: Op, device: Device, inputs: tuple[Tensor, ...], settings: dict[str, Any]) -> Node:
    """A node for an operation that keeps no inputs, and whose value is already computed."""
    edges = [x.node or (x if x._leaf else None) for x in inputs]
    shapes, dtypes = [x.shape for x in inputs], [x.dtype for x in inputs]
    return Node(operation, device, edges, shapes, dtypes, [], [], None, None, settings)


def _agree(operation, device, other):
    """The common device of an operation's tensors."""
    if device is not None:
        raise DeviceError(f"{operation.name}: tensors on '{device}' and '{other}'; move one with .to('{device}')")
    return other


class _TensorOps:
    """`do` on tensors: every operation is recorded."""

    def __getattr__(self, name: str):
        bound = partial(apply, find_operation(name))
        setattr(self, name, bound)
        return bound


class _ArrayOpsByDevice(dict):
    def __missing__(self, device):
        self[device] = ArrayOps(device)
        return self[device]


_tensor_ops = _TensorOps()
_array_ops = _ArrayOpsByDevice()


def _recorded(array, edge, device, storage):
    """A kept array as a tensor with the history and the storage that it had."""
    if isinstance(edge, Tensor) or array is None:
        return edge
    if not hasattr(array, "shape"):
        return array
    return _make(array, device, edge, storage)


def as_list(where: str, what: str, given: Any) -> list[Any]:
    """A tensor or a sequence of tensors as a list."""
    found = list(given) if isinstance(given, list | tuple) else [given]
    for x in found:
        if not isinstance(x, Tensor):
            raise DtypeError(f"{where}: {what} is a {type(x).__name__}, expected a tensor or a tuple of tensors")
    return found


def backward(
    tensors: Any, grad_tensors: Any = None, retain_graph: Any = None, create_graph: Bool = False, inputs: Any = None
) -> None:
    """Add the gradients of the sum of several tensors to `.grad` of the leaves, in one pass; see Tensor.backward.

    grad_tensors   weights of the elements of each tensor, like it; 1 for None, where it is a single number

    Raises   ValidationError   the number of grad_tensors differs, or inputs is empty
    Example
    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> mg.autograd.backward([x.sum(), (x * x).sum()])
    >>> x.grad
    tensor([3., 5.])
    """
    if isinstance(inputs, list | tuple) and not inputs:
        raise ValidationError("backward: inputs is empty; leave it out for all leaves")
    with run_at_end():
        parts = differentiate("backward", tensors, grad_tensors, retain_graph, create_graph, inputs)
        if create_graph or inputs is not None:
            _refuse_exchange(parts)
        _add_gradients(parts, create_graph)


def _refuse_exchange(parts: list[tuple[Tensor, Any]]) -> None:
    if any(x._hooks and x._hooks.get("complete") for x, _ in parts):
        raise GraphError(
            "backward: create_graph=True and inputs= do not average gradients over ranks; leave them out, or use the "
            "`module` of the DistributedDataParallel"
        )


def _add_gradients(parts: list[tuple[Tensor, Any]], create_graph: Bool) -> None:
    with _adding:  # other threads may add to the same leaf
        for x, part in parts:
            if part is None or (not x._leaf and x.retains_grad):  # retain_grad has kept it
                continue
            local.observer.read_grad(x)
            if x._grad is None and not create_graph:
                x._grad = part
            else:
                _accumulate(x, part, create_graph)
            for hook in list(x._hooks["after"].values()) if x._hooks else ():
                hook(x)


def differentiate(
    where: str, outputs: Any, gradients: Any, retain_graph: Bool | None, create_graph: Bool, inputs: Any
) -> list[tuple[Tensor, Any]]:
    """Pairs (input, its gradient), None where the sum of the outputs does not depend on it; of all leaves if inputs is
    None."""
    if create_graph and retain_graph is False:
        raise GraphError(f"{where}: create_graph=True needs the graph; leave out retain_graph=False")
    outputs = as_list(where, "an output", outputs)
    wanted = None if inputs is None else as_list(where, "an input", inputs)
    if not isinstance(gradients, list | tuple):
        gradients = [None] * len(outputs) if gradients is None else [gradients]
    if len(gradients) != len(outputs):
        raise ValidationError(f"{where}: {len(gradients)} gradients for {len(outputs)} tensors; give one for each")
    for output in outputs:
        if not output.requires_grad:
            raise GraphError(
                f"{where}: nothing was recorded for this tensor; does an input have requires_grad=True, "
                "and was it computed outside no_grad?"
            )
    for x in wanted or ():
        if not x.requires_grad:
            raise GraphError(f"{where}: an input of shape {x.shape} does not require grad; use requires_grad_()")
    for x in [*outputs, *(wanted or ())] if create_graph else ():
        x._expand()
    seeds = [(output._edge, output._seed(gradient)) for output, gradient in zip(outputs, gradients, strict=True)]
    taken = {id(_base(seed.array)) for _, seed in seeds}
    reached = walk(seeds, Bool(retain_graph), create_graph, taken, wanted and [x._edge for x in wanted])
    if wanted is not None:
        found = {id(edge): part for edge, part in reached}
        reached = [(x, found.get(id(x._edge))) for x in wanted]
    return [(x, part if create_graph or part is None else _own(part, x, taken)) for x, part in reached]


def walk(seeds, keep, create_graph, taken, wanted=None, after=0):
    """walk_back from pairs (edge, tensor), with hooks; it returns tensors with create_graph, else arrays.

    taken   gets the ids of arrays that hooks have returned, and may keep
    """
    if create_graph:
        with enable_grad():
            return walk_back(
                seeds, lambda _: _tensor_ops, True, _recorded, wanted, lambda hooks, g, _: run_hooks(hooks, g), after
            )

    def hooked(hooks, g, device):
        result = run_hooks(hooks, _make(g, device, None).clone()).array  # a copy: a hook may keep and change it
        taken.add(id(_base(result)))
        return result

    operations = _array_ops.__getitem__ if local.observer is IDLE else ObservedOps
    with no_grad():
        return walk_back([(edge, x.array) for edge, x in seeds], operations, keep, None, wanted, hooked, after)


def _own(array, leaf: Tensor, taken: set[int]) -> Tensor:
    """A gradient for a leaf: memory that nothing else uses, in the layout of the leaf's values."""
    owner = id(_base(array))
    if owner in taken or array.strides != leaf.array.strides or not owns_buffer(array):
        fresh = empty_like(leaf.array)
        copy(fresh, array)
        array, owner = fresh, id(_base(fresh))
    taken.add(owner)
    return _make(array, leaf.device, None)


_adding = threading.RLock()
fork.wait_for(lambda: _adding)


def _accumulate(leaf: Tensor, part: Tensor, create_graph: Bool) -> None:
    """Add to a leaf's gradient: in place, unless one of the two belongs to a graph."""
    grad = leaf._grad
    if grad is None:
        leaf._grad = part.clone()
    elif create_graph or grad.requires_grad or not grad.array.flags.writeable:
        leaf._grad = grad + part
    else:
        add_dispatch[leaf.device.type](grad.array, part.array, grad.array)
        grad._storage.version += 1


def _base(array):
    return array if array.base is None else array.base


_new_tensor = Tensor.__new__


def _make(array, device, node, storage=None, tensor=None) -> Tensor:
    """A tensor on an array; `tensor` is an object to be filled, in place of a new one."""
    tensor = _new_tensor(Tensor) if tensor is None else tensor
    tensor.array, tensor.device, tensor._node = array, device, node
    tensor._storage = Storage() if storage is None else storage
    tensor._leaf, tensor._grad, tensor._alias, tensor._hooks = False, None, None, None
    return tensor


def _constant(tensor: Tensor) -> Tensor:
    """Tell the observer that this tensor was made from Python's numbers."""
    local.observer.makes(tensor, constant=True)
    return tensor


def _join(tensor: Tensor, source: Tensor, steps: tuple[Any, ...], history: str) -> Tensor:
    """Put a tensor on the storage of another tensor, from which it follows by `steps`."""
    alias = source._alias
    if alias is not None and source._base is not None and alias.history is FOLLOWS:
        source, steps = alias.base, alias.steps + steps
    tensor._storage, tensor._alias = source._storage, Alias(source, steps, history)
    source._storage.add(tensor)
    return tensor


def _restored(kind, array, device, leaf):
    tensor = _make(Device(device).from_host(array), Device(device), None, tensor=kind.__new__(kind))
    tensor._leaf = leaf
    return tensor


# ---- data from outside


def tensor(data: Any, dtype: Any = None, device: str | Device = CPU, requires_grad: Bool = False) -> Tensor:
    """A tensor from numbers, nested lists, a NumPy array or another tensor; the values are copied.

    dtype   that of the data if None: Python floats are float32, whole numbers int64, and NumPy's numbers, arrays and
            tensors keep their own; of several the widest

    Raises   DtypeError   as Tensor; also a number that the dtype does not hold, as 300 in uint8, or nan in int64
    Example
    >>> tensor([1, 2]).dtype
    minigrad.int64
    """
    where = Device(device)
    made = _constant(_make(where.from_host(_host_array(data, dtype)), where, None))
    return made.requires_grad_() if requires_grad else made


_COMPARABLE = (Tensor, Int, Float, np.generic, np.ndarray)  # what == compares element by element
_dtype_names = {str(dtype) for dtype in DTYPES}


def _known_dtype(dtype: Any, where: str) -> np.dtype:
    if isinstance(dtype, Device) or (isinstance(dtype, str) and dtype.split(":")[0] in ("cpu", "cuda", "numpy")):
        raise DtypeError(f"{where}: expected a dtype, got the device '{dtype}'; give it as device=")
    try:
        found = np.dtype(float32 if dtype is None else dtype)
    except TypeError:
        if dtype != "bfloat16":  # which NumPy knows once another package has been imported
            raise DtypeError(f"{where}: {dtype!r} is neither a dtype nor a device") from None
        found = dtype
    if found not in DTYPES:
        raise DtypeError(f"{where}: dtype {found} is not supported; use {', '.join(map(str, DTYPES))}")
    return found


def _host_array(data: Any, dtype: Any) -> np.ndarray:
    """A fresh NumPy array of a supported dtype."""
    array, dtypes = _found("tensor", data)
    if any(found.kind not in "fiub" for found in dtypes):
        raise DtypeError(f"tensor: {type(data).__name__} of dtype {array.dtype} is not numeric; give numbers")
    if dtype is None and dtypes:
        dtype = widest("tensor", *dtypes)
    wanted = _known_dtype(dtype, "tensor")
    if wanted.kind in "iu" and array.dtype != wanted and array.size:
        for number in (array.min(), array.max()):
            expect_fits("tensor", number, wanted)
    with np.errstate(all="ignore"):
        return array.astype(wanted, copy=False)


def _found(where: str, data: Any) -> tuple[np.ndarray, set[np.dtype]]:
    """NumPy's array of the data, and the dtypes of the numbers, arrays and tensors in it."""
    dtypes: set[np.dtype] = set()
    plain = _without_tensors(data, dtypes)
    try:
        array = np.array(plain)
        if array.dtype.kind in "fu" and not any(found.kind in "fu" for found in dtypes) and dtypes:
            array = np.array(plain, object)  # whole numbers beyond int64, which NumPy would round
    except ValueError:
        raise ShapeError(f"{where}: the rows have different lengths; make the nested lists rectangular") from None
    return array, dtypes


_PYTHON: dict[type, np.dtype] = {Float: float32, Int: int64, Bool: bool_}  # the dtypes of Python's numbers


def _without_tensors(data: Any, dtypes: set[np.dtype], inside: Bool = False) -> Any:
    """The data with arrays in place of tensors, and numbers in place of one-element tensors inside lists; adds the
    dtypes of its parts to `dtypes`."""
    if isinstance(data, list | tuple):
        kinds = set(map(type, data))
        if kinds <= _PYTHON.keys():
            dtypes.update([_PYTHON[kind] for kind in kinds])
            return data
        return [_without_tensors(part, dtypes, inside=True) for part in data]
    if isinstance(data, Tensor):
        data = data.detach().numpy().reshape(() if inside and data.numel() == 1 else data.shape)
    dtypes.add(_PYTHON[type(data)] if type(data) in _PYTHON else np.asarray(data).dtype)
    return data


def _split_positions(key: Any, device: Device) -> tuple[Any, list[Tensor]]:
    """A key of numbers, slices, None, ..., arrays of whole numbers and masks, with a Position for each tensor; and the
    tensors, on the device of what is indexed, as inputs of the operation."""
    if isinstance(key, list) and len(key) < 32 and any(isinstance(part, _NESTED) for part in key):
        warnings.warn(
            "index: a list that holds lists, tensors, slices, None or ... is read as a tuple, as PyTorch does for now; "
            "write x[a, b], or x[mg.tensor(...)]",
            stacklevel=3,
        )
        key = tuple(key)
    tensors: list[Tensor] = []
    plain = tuple([_plain_part(part, tensors) for part in key]) if isinstance(key, tuple) else _plain_part(key, tensors)
    return plain, [positions.to(device) for positions in tensors]


_NESTED = (Tensor, np.ndarray, list, tuple, range, slice, type(None), type(...))


def _plain_part(part: Any, tensors: list[Tensor]) -> Any:
    """One part of a key; a tensor is appended to the list."""
    if part is None or part is Ellipsis:
        return part
    if isinstance(part, slice):
        return _plain_slice(part)
    if isinstance(part, list | tuple | range | np.ndarray | np.bool_ | Bool):
        array, _ = _found("index", part)
        part = array if array.size or isinstance(part, np.ndarray) else array.astype(int64)
    elif not hasattr(part, "__index__"):
        raise DtypeError(
            f"index: a {type(part).__name__} cannot index; use whole numbers, slices, lists, tensors, None or ..."
        )
    elif not isinstance(part, Tensor):
        return part.__index__()
    if part.dtype == uint8:
        warnings.warn(
            "index: uint8 is read as a mask, as PyTorch does for now; use .bool() for a mask, .long() for positions",
            stacklevel=4,
        )
        part = part.bool() if isinstance(part, Tensor) else part.astype(bool_)
    if part.dtype.kind not in "iub":
        raise DtypeError(f"index: a {part.dtype} tensor cannot index; use whole numbers or bool")
    if not isinstance(part, Tensor):
        return part if part.ndim or part.dtype == bool_ else int(part)
    if not part.ndim and part.dtype != bool_ and local.observer is IDLE:
        return int(part)
    tensors.append(part)
    return Position(len(tensors) - 1)


def _plain_slice(part: slice) -> slice:
    """A slice with Python's numbers."""
    try:
        plain = slice(*[None if end is None else index(end) for end in (part.start, part.stop, part.step)])
    except TypeError:
        raise DtypeError(f"index: {part} cannot index; use whole numbers from, to and as the step") from None
    if plain.step == 0:
        raise ValidationError(f"index: {part} has a step of 0; use 1 or more")
    return plain
