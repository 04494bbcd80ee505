"""mg.save and mg.load of NumPy's .npz files, damaged files, and files that attack the reader."""

import io
import random
import re
import struct
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.numpy

import minigrad as mg
from minigrad import models
from minigrad.errors import DataError, DtypeError, FileError, ValidationError

STATE = {
    "fc.weight": mg.tensor([[1.0, 2.0], [3.0, 4.0]]).T,
    "a/b é": mg.tensor(7),
    "mask": mg.tensor([True, False]),
    "file": mg.zeros(0, 3, dtype=mg.float64),
    "": mg.tensor([1, 2], dtype=mg.int32),
    "allow_pickle": mg.tensor([255], dtype=mg.uint8),
}


def assert_same(found, expected):
    """Two dicts have the same names, dtypes, shapes and bits, in the same order."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(value), strict=True)


@pytest.mark.parametrize("state", [STATE, OrderedDict(), models.LeNet5().state_dict()], ids=["names", "empty", "model"])
def test_numpy_reads_what_save_writes(state, tmp_path):
    path = tmp_path / "new folder" / "weights.npz"
    mg.save(state, path)
    with np.load(path, allow_pickle=False) as found:
        assert_same(dict(found), state)
    assert_same(mg.load(path), state)
    assert_same(mg.load(io.BytesIO(path.read_bytes())), state)  # by its content
    assert mg.load(path, device="numpy").keys() == state.keys()


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_load_reads_what_numpy_writes(write, tmp_path):
    square = np.arange(6.0).reshape(2, 3)
    written = {"fortran": np.asfortranarray(square), "part": square[:, ::2], "zeros": np.zeros((300, 300), np.float32)}
    written |= {"big": np.arange(3, dtype=">i8"), "scalar": np.float32(0.5), "empty": np.zeros((2, 0), np.uint8)}
    write(tmp_path / "arrays.npz", square, **written)
    found = mg.load(tmp_path / "arrays.npz")
    assert_same(found, {**written, "big": np.arange(3), "scalar": np.array(0.5, np.float32), "arr_0": square})


def test_small_dtypes_are_converted_with_one_warning(tmp_path):
    kinds = {"float16": "float32", "int8": "int32", "int16": "int32"}
    written = {kind: np.array([0, 1, 100], kind) for kind in kinds}
    np.savez(tmp_path / "small.npz", **written)
    mg.names._said.clear()
    with pytest.warns(UserWarning, match="int8 and int16 tensors become int32") as said:
        found = mg.load(tmp_path / "small.npz")
    assert len(said) == 1 and said[0].filename == __file__
    assert_same(found, {kind: written[kind].astype(here) for kind, here in kinds.items()})


ONLY = "but a .npz file holds a flat dict name -> Tensor; for other objects use a name that ends with .safetensors"


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ([mg.ones(1)], f"save: the object is a list, {ONLY}"),
        (mg.ones(1), f"save: the object is a Tensor, {ONLY}"),
        ({"model": STATE}, f"save: model is a dict, {ONLY}"),
        ({"x": mg.ones(1), "epoch": 3}, f"save: epoch is an int, {ONLY}"),
        ({"x": np.ones(1)}, f"save: x is an ndarray, {ONLY}"),
        ({3: mg.ones(1)}, f"save: key 3 is an int, {ONLY}"),
        ({"a\0b": mg.ones(1)}, r"save: 'a\x00b' cannot name an array of a .npz file; use at most 65000 bytes"),
        ({"a.npy": mg.ones(1)}, "save: 'a.npy' cannot name an array of a .npz file; "),
        ({"\udc80": mg.ones(1)}, r"save: '\udc80' cannot name an array of a .npz file; "),
        ({"é" * 40000: mg.ones(1)}, "é' cannot name an array of a .npz file; "),
    ],
)
def test_save_refuses_other_objects_and_names_and_keeps_the_old_file(obj, message, tmp_path):
    path = tmp_path / "weights.NPZ"
    mg.save(STATE, path)
    with pytest.raises((DtypeError, ValidationError), match=re.escape(message)):
        mg.save(obj, path)
    assert_same(mg.load(path), STATE)


def test_an_interrupted_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    mg.save(STATE, path)

    def interrupted(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mg.save({"x": mg.ones(1)}, path)
    assert_same(mg.load(path), STATE)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileError, match="is a folder; give the name of a file"):
        mg.save(STATE, tmp_path)


def npy(array, allow_pickle=False):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def archive(*members, method=zipfile.ZIP_STORED):
    """Return the bytes of a zip archive of (name, content)."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as made:
        warnings.simplefilter("ignore")  # of names that appear twice
        for name, content in members:
            made.writestr(name, content)
    return buffer.getvalue()


def declare(content, size):
    """Return the bytes of an archive of one member with another size in its two headers."""
    changed, place = bytearray(content), content.rindex(b"PK\x01\x02")
    changed[place + 24 : place + 28] = changed[22:26] = struct.pack("<I", size)
    return bytes(changed)


def hide_last(content):
    """Return the bytes of an archive of two members; the directory has the second as a comment on the first."""
    changed, first, last = bytearray(content), content.index(b"PK\x01\x02"), content.rindex(b"PK\x01\x02")
    changed[first + 32 : first + 34] = struct.pack("<H", content.index(b"PK\x05\x06") - last)
    return bytes(changed)


class Attack:
    def __reduce__(self):
        return print, ("attacked",)


X = npy(np.ones(3))
PICKLED = npy(np.array([Attack()], object), allow_pickle=True)
ZEROS = archive(("x.npy", npy(np.zeros(100_000))), method=zipfile.ZIP_DEFLATED)
OVERLAPPING = archive(("x.npy", X), ("y.npy", X))
OVERLAPPING = OVERLAPPING.replace(struct.pack("<II", len(X), len(X)), struct.pack("<II", 2000, 2000))
BAD = {
    "objects": (archive(("x.npy", PICKLED)), "array 'x' is object, expected one of float32, float64"),
    "complex": (archive(("x.npy", npy(np.zeros(2, complex)))), "array 'x' is complex128, expected one of"),
    "uint16": (archive(("x.npy", npy(np.zeros(2, np.uint16)))), "array 'x' is uint16, expected one of"),
    "text": (archive(("x.npy", npy(np.array(["a"])))), "array 'x' is <U1, expected one of"),
    "fields": (archive(("x.npy", npy(np.zeros(2, "f4,i4")))), "array 'x' is [('f0', '<f4'), ('f1', '<i4')], expected"),
    "another member": (archive(("x.npy", X), ("readme", b"")), "'readme' is not an array as numpy.savez writes it"),
    "another method": (archive(("x.npy", X), method=zipfile.ZIP_LZMA), "'x.npy' is not an array as numpy.savez"),
    "two of one name": (archive(("x.npy", X), ("x.npy", X)), "has two arrays named 'x'; save it again"),
    "a longer shape": (archive(("x.npy", X.replace(b"(3,)", b"(4,)"))), "damaged, or not an .npz file of NumPy ("),
    "a huge shape": (archive(("x.npy", X.replace(b"(3,), }          ", b"(99999999999,), }"))), "damaged, or not an"),
    "a shape below 0": (archive(("x.npy", X.replace(b"(3,), ", b"(-3,),"))), "damaged, or not an .npz file of NumPy ("),
    "a dtype of text": (archive(("x.npy", X.replace(b"'<f8'", b"'!!!'"))), "damaged, or not an .npz file of NumPy ("),
    "a header of Python": (archive(("x.npy", X.replace(b"(3,), }", b"f(3)}  "))), "damaged, or not an .npz"),
    "an open header": (archive(("x.npy", X.replace(b"(3,), }", b"((((((("))), "array 'x': its header cannot be read ("),
    "another version": (archive(("x.npy", X[:6] + b"\3" + X[7:])), "array 'x' has version (3, 0) of the format, "),
    "no array": (archive(("x.npy", b"text")), "damaged, or not an .npz file of NumPy ("),
    "a bomb": (declare(ZEROS, 2**31), "damaged: array 'x' has 2147483648 bytes, but its "),
    "a stored bomb": (declare(archive(("x.npy", X)), 10**9), "damaged: array 'x' has 1000000000 bytes, but its 152"),
    "overlapping members": (OVERLAPPING, "damaged: its arrays take more than its "),
    "a hidden member": (hide_last(archive(("x.npy", X), ("y.npy", X))), "damaged: its directory does not list all of"),
    "a wrong checksum": (archive(("x.npy", X)).replace(X, X[:-1] + b"!"), "damaged, or not an .npz file of NumPy (Bad"),
    "no archive": (b"text", "damaged, or not an .npz file of NumPy ("),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_other_contents_are_refused_by_name(content, message, tmp_path, capsys):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{path}: {message}")):
        mg.load(path)
    assert capsys.readouterr().out == ""


def test_load_names_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="none.npz: no such file; check the folder and the name"):
        mg.load(tmp_path / "none.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_load_of_a_file_with_a_changed_byte_or_a_missing_end_is_refused_or_right(method, tmp_path):
    arrays = {"weight": np.arange(12, dtype=np.float32).reshape(3, 4), "é": np.array([3, 4])}
    content = archive(*[(f"{name}.npy", npy(array)) for name, array in arrays.items()], method=method)
    draw, refused = random.Random(0), 0
    damaged = [content[:size] for size in range(0, len(content), 7)]
    for place in range(len(content)):
        damaged.append(content[:place] + bytes([content[place] ^ draw.randrange(1, 256)]) + content[place + 1 :])
    path = tmp_path / "damaged.npz"
    for changed in damaged:
        path.write_bytes(changed)
        try:
            found = mg.load(path)
        except DataError:
            refused += 1
        else:
            assert_same(found, arrays)
    assert refused > len(damaged) / 2


def test_weights_go_to_numpy_and_safetensors_with_the_keys_layouts_and_dtypes_of_pytorch(tmp_path):
    """As safetensors.torch.load_file reads them, and back from a file that it could have written."""
    state = models.resnet18(num_classes=3).state_dict()
    shapes = {"conv1.weight": (64, 3, 7, 7), "layer2.0.downsample.0.weight": (128, 64, 1, 1), "fc.weight": (3, 512)}
    for name in ("weights.safetensors", "weights.npz"):
        mg.save(state, tmp_path / name)
        read = np.load if name.endswith(".npz") else safetensors.numpy.load_file
        arrays = dict(read(tmp_path / name))
        assert sorted(arrays) == sorted(state) and {key: arrays[key].shape for key in shapes} == shapes
        tracked = [key for key, array in arrays.items() if array.dtype != np.float32]
        assert all(key.endswith("num_batches_tracked") and arrays[key].dtype == np.int64 for key in tracked)
        assert len(tracked) == 20 and all(array.flags.c_contiguous for array in arrays.values())
    safetensors.numpy.save_file(arrays, tmp_path / "back.safetensors", {"format": "pt"})
    model = models.resnet18(num_classes=3)
    model.load_state_dict(mg.load(tmp_path / "back.safetensors"))
    assert all((value == state[key]).all() for key, value in model.state_dict().items())
