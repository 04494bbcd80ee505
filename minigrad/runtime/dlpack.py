"""DLPack: memory of the GPU handed from one library to another without a copy.

A capsule holds a structure that says where the memory is, its dtype, shape and strides, and a function to call when the
consumer has done with it.  NumPy speaks DLPack itself, so host arrays need nothing of this file.

Source: the DLPack specification, version 0.8, https://dmlc.github.io/dlpack
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DeviceError, DtypeError

CPU, CUDA = 1, 2  # kinds of device
CODES = {"i": 0, "u": 1, "f": 2, "b": 6}  # of dtypes, by NumPy's letter
NAME, USED = b"dltensor", b"used_dltensor"


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p)
_pointer_of_dying = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)  # for a capsule without references: one more would bring it back
_set_name = ctypes.pythonapi.PyCapsule_SetName
_set_name.restype, _set_name.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)

_lent: dict[int, Any] = {}  # what consumers hold, by the address of its structure


@_Deleter
def _delete(managed: Any) -> None:
    """The consumer has done."""
    _lent.pop(ctypes.addressof(managed.contents), None)


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _unused(capsule: int) -> None:
    """A capsule that nobody consumed is gone."""
    if _is_valid(capsule, NAME):
        _lent.pop(_pointer_of_dying(capsule, NAME), None)


def lend(array: Any) -> Any:
    """A capsule for an array of the GPU, which lives until the consumer has done."""
    dtype, ndim = array.dtype, array.ndim
    shape = (ctypes.c_int64 * ndim)(*array.shape)
    strides = (ctypes.c_int64 * ndim)(*[step // array.itemsize for step in array.strides])
    managed = _Managed()
    managed.tensor = _Tensor(
        array.address, CUDA, 0, ndim, CODES[dtype.kind], 8 * dtype.itemsize, 1, shape, strides, 0
    )  # fmt: skip
    managed.deleter = ctypes.cast(_delete, ctypes.c_void_p)
    address = ctypes.addressof(managed)
    _lent[address] = managed, shape, strides, array
    return _new(address, NAME, ctypes.cast(_unused, ctypes.c_void_p))


def borrow(capsule: Any) -> tuple[int, tuple[int, ...], tuple[int, ...], np.dtype, Callable[[], None]]:
    """The address, shape, strides in elements and dtype of another library's memory of the GPU, and what to call when
    it is no longer used.

    Raises   DtypeError    a dtype that tensors do not have, or a capsule that was consumed before
             DeviceError   memory that is not the GPU's
    """
    try:
        managed = _Managed.from_address(_pointer(capsule, NAME))
    except ValueError:
        raise DtypeError("from_dlpack: the capsule was consumed before; ask for a new one") from None
    tensor = managed.tensor
    letters = {code: letter for letter, code in CODES.items()}
    if tensor.device_type != CUDA or tensor.device_id:
        raise DeviceError(
            f"from_dlpack: memory on device ({tensor.device_type}, {tensor.device_id}); expected the first GPU, (2, 0)"
        )
    if tensor.lanes != 1 or tensor.code not in letters:
        raise DtypeError(
            f"from_dlpack: dtype code {tensor.code} with {tensor.lanes} lanes; convert it to float32 first"
        )
    letter = letters[tensor.code]
    dtype = np.dtype("bool" if letter == "b" else f"{letter}{tensor.bits // 8}")
    shape = tuple(tensor.shape[: tensor.ndim])
    steps = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else _dense(shape)
    _set_name(capsule, USED)
    return tensor.data + tensor.byte_offset, shape, steps, dtype, lambda: _free(managed)


def _free(managed: _Managed) -> None:
    if managed.deleter:
        _Deleter(managed.deleter)(ctypes.pointer(managed))


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of C order."""
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
