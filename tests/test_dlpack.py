"""Memory shared with other libraries by DLPack; for memory of a GPU see on_cuda.py."""

import re

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import DeviceError, DtypeError, GraphError
from minigrad.runtime import dlpack


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
def test_from_dlpack_shares_memory_with_numpy_both_ways(dtype):
    array = np.ones((2, 3), dtype)
    x = mg.from_dlpack(array.T)
    assert (x.shape, x.dtype, x.device) == ((3, 2), np.dtype(dtype), "cpu")
    array[0, 1] = 0
    assert x[1, 0].item() == 0
    assert np.shares_memory(np.from_dlpack(x), array)


def test_from_dlpack_shares_memory_with_pytorch_both_ways():
    torch = pytest.importorskip("torch")
    x = mg.zeros(2, 3)
    torch.from_dlpack(x)[1, 2] = 7
    assert x[1, 2].item() == 7
    assert mg.from_dlpack(torch.arange(3)).tolist() == [0, 1, 2]


def test_as_tensor_copies_only_for_another_dtype_or_device():
    array, x = np.zeros(2, np.float32), mg.ones(2)
    assert mg.as_tensor(x) is x
    mg.as_tensor(array).fill_(3)
    assert array.tolist() == [3, 3]
    assert mg.as_tensor([1, 2], mg.float32, "numpy").device == "numpy"
    assert mg.as_tensor(array, mg.float64, "numpy").dtype == mg.float64


def test_from_dlpack_refuses_what_cannot_be_shared():
    with pytest.raises(DtypeError, match=r"^from_dlpack: list has no __dlpack__; use mg.tensor\(...\)$"):
        mg.from_dlpack([1, 2])
    with pytest.raises(DtypeError, match="^from_dlpack: dtype complex64 is not supported|^from_numpy: dtype complex64"):
        mg.from_dlpack(np.ones(2, np.complex64))
    with pytest.raises(GraphError, match=r"^dlpack: the tensor requires grad; give x.detach\(\)$"):
        mg.ones(2, requires_grad=True).__dlpack__()
    with pytest.raises(AttributeError, match="^__cuda_array_interface__: the tensor is on 'cpu', not on a GPU$"):
        _ = mg.ones(2).__cuda_array_interface__


def test_import_capsule_refuses_host_memory():
    capsule = np.ones(2).__dlpack__()
    with pytest.raises(
        DeviceError, match=re.escape("from_dlpack: memory on device (1, 0); expected the first GPU, (2, 0)")
    ):
        dlpack.import_capsule(capsule)
    for call, message in (
        (
            lambda: mg.device("cpu").borrow(capsule),
            "device 'cpu': DLPack capsules are for the GPU; give the array itself",
        ),
        (lambda: mg.device("cpu").adopt({}, None), "device 'cpu': memory of the GPU is for device 'cuda'"),
    ):
        with pytest.raises(DeviceError, match=f"^{re.escape(message)}$"):
            call()


class DeviceArrayStub:
    """A host array with the attributes of a device array that export_capsule reads."""

    def __init__(self, array):
        self.array, self.address = array, array.ctypes.data

    def __getattr__(self, name):
        return getattr(self.array, name)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
def test_import_capsule_returns_what_export_capsule_was_given_once(dtype):
    array = DeviceArrayStub(np.ones((4, 3), dtype)[::2])
    before, capsule = len(dlpack._exported), dlpack.export_capsule(array)
    address, shape, steps, found, release = dlpack.import_capsule(capsule)
    assert (address, shape, steps, found) == (array.address, (2, 3), (6, 1), np.dtype(dtype))
    with pytest.raises(DtypeError, match="^from_dlpack: the capsule was consumed before; ask for a new one$"):
        dlpack.import_capsule(capsule)
    del capsule
    assert len(dlpack._exported) == before + 1
    release()
    assert len(dlpack._exported) == before


def test_export_capsule_frees_the_array_if_nobody_consumes_it():
    before, capsule = len(dlpack._exported), dlpack.export_capsule(DeviceArrayStub(np.ones(3)))
    assert len(dlpack._exported) == before + 1
    del capsule
    assert len(dlpack._exported) == before


def test_import_capsule_refuses_unknown_dtypes():
    capsule = dlpack.export_capsule(DeviceArrayStub(np.ones(3)))
    dlpack._ManagedTensor.from_address(dlpack._get_pointer(capsule, dlpack.NAME)).tensor.code = 4  # bfloat16
    with pytest.raises(DtypeError, match="^from_dlpack: dtype code 4 with 1 lanes; convert it to float32 first$"):
        dlpack.import_capsule(capsule)
