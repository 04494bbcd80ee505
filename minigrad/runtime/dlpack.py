"""DLPack: GPU memory shared with another library without a copy.

A capsule holds a structure with the address, dtype, shape and strides of an array, and a function that the consumer
calls when it no longer uses the memory.  NumPy supports DLPack itself, so host arrays do not need this file.

Source: the DLPack specification, version 0.8, https://dmlc.github.io/dlpack
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DeviceError, DtypeError

CUDA = 2  # DLPack's number for the type of device
CODES = {"i": 0, "u": 1, "f": 2, "b": 6}  # DLPack's numbers for the kinds of dtypes, by NumPy's letter
NAME, USED_NAME = b"dltensor", b"used_dltensor"


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


class _ManagedTensor(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_ManagedTensor))
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p)
_get_pointer_unreferenced = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)  # for a capsule that is being deleted: py_object would add a reference to it
_set_name = ctypes.pythonapi.PyCapsule_SetName
_set_name.restype, _set_name.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)

_exported: dict[int, Any] = {}  # by the address of the structure, what must live until the consumer is done


@_Deleter
def _delete_exported(managed: Any) -> None:
    """Called by the consumer when it is done."""
    _exported.pop(ctypes.addressof(managed.contents), None)


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _delete_capsule(capsule: int) -> None:
    """Called when a capsule is deleted; frees the export if nobody consumed it."""
    if _is_valid(capsule, NAME):
        _exported.pop(_get_pointer_unreferenced(capsule, NAME), None)


def export_capsule(array: Any) -> Any:
    """Return a capsule for a device array, which stays alive until the consumer is done."""
    dtype, ndim = array.dtype, array.ndim
    shape = (ctypes.c_int64 * ndim)(*array.shape)
    strides = (ctypes.c_int64 * ndim)(*[stride // array.itemsize for stride in array.strides])
    managed = _ManagedTensor()
    managed.tensor = _Tensor(
        array.address, CUDA, 0, ndim, CODES[dtype.kind], 8 * dtype.itemsize, 1, shape, strides, 0
    )  # fmt: skip
    managed.deleter = ctypes.cast(_delete_exported, ctypes.c_void_p)
    address = ctypes.addressof(managed)
    _exported[address] = managed, shape, strides, array
    return _new_capsule(address, NAME, ctypes.cast(_delete_capsule, ctypes.c_void_p))


def import_capsule(capsule: Any) -> tuple[int, tuple[int, ...], tuple[int, ...], np.dtype, Callable[[], None]]:
    """Consume a capsule; return address, shape, strides in elements, dtype, and a function that releases the memory.

    Raises   DtypeError    a dtype that tensors do not support, or a capsule that was consumed before
             DeviceError   the memory is not on the first GPU
    """
    try:
        managed = _ManagedTensor.from_address(_get_pointer(capsule, NAME))
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
    steps = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else dense_strides(shape)
    _set_name(capsule, USED_NAME)
    return tensor.data + tensor.byte_offset, shape, steps, dtype, lambda: _release(managed)


def _release(managed: _ManagedTensor) -> None:
    if managed.deleter:
        _Deleter(managed.deleter)(ctypes.pointer(managed))


def dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of C order, in elements."""
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
