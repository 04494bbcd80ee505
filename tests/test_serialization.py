"""What is saved comes back: plain dicts of tensors as everyone's safetensors, checkpoints with all their types."""

import json
import re

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.errors import DataError, DeviceError, DtypeError
from minigrad.serialization import load, save

DTYPES = [np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_]

arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
tensors = arrays.map(mg.tensor)
names = st.text(max_size=8) | st.sampled_from(["a", "a.b", "b", "0", "__metadata__", "tensor"])
numbers = st.integers() | st.floats() | st.booleans()
checkpoints = st.recursive(
    tensors | numbers | st.text() | st.none(),
    lambda part: (
        st.lists(part, max_size=4)
        | st.lists(part, max_size=4).map(tuple)
        | st.dictionaries(names | st.integers(), part, max_size=4)
    ),
    max_leaves=12,
)


def content(array):
    return array.dtype, array.shape, array.tobytes()


def same(a, b):
    """Equal in kind, in order and to the bit."""
    if isinstance(a, mg.Tensor):
        return isinstance(b, mg.Tensor) and content(a.numpy()) == content(b.numpy())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return repr(a) == repr(b)  # nan is nan, -0.0 is not 0.0


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("saved") / "file.safetensors"


@settings(deadline=None)
@given(st.dictionaries(names.filter(lambda name: name != "__metadata__"), tensors, max_size=5))
def test_a_dict_of_tensors_is_plain_safetensors(file, obj):
    save(obj, file)
    by_others = safetensors.numpy.load_file(file)
    assert {name: content(a) for name, a in by_others.items()} == {name: content(t.numpy()) for name, t in obj.items()}
    back = load(file)
    assert back.keys() == obj.keys()
    assert all(same(obj[name], back[name]) for name in obj)


@settings(deadline=None)
@given(arrays)
def test_files_of_others_load(file, array):
    safetensors.numpy.save_file({"x.y": array}, file, {"format": "pt"})
    assert same(load(file), {"x.y": mg.tensor(array)})


@settings(deadline=None)
@given(
    checkpoints.filter(lambda obj: not isinstance(obj, dict))
    | st.dictionaries(names, checkpoints).map(lambda obj: {**obj, "epoch": 3})
)
def test_checkpoints_come_back_as_they_were(file, obj):
    save(obj, file)
    assert same(load(file), obj)


def test_tensors_of_a_checkpoint_have_dotted_names(file):
    x, y = mg.tensor([1.0]), mg.tensor([2.0])
    save({"model": {"fc.bias": x}, "state": {0: (y, 0.5)}}, file)
    assert {name: a.tolist() for name, a in safetensors.numpy.load_file(file).items()} == {
        "model.fc.bias": [1.0],
        "state.0.0": [2.0],
    }


def test_two_paths_of_one_name_stay_apart(file):
    x, y, z = mg.tensor([1.0]), mg.tensor([2.0]), mg.tensor([3.0])
    obj = {"a": {"b": x}, "a.b": y, "__metadata__": z}
    save(obj, file)
    assert same(load(file), obj)


def test_any_layout_graph_and_device_is_saved(file):
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]], device="numpy", requires_grad=True)
    save({"leaf": x, "made": x.T * 2}, file)
    back = load(file)
    assert back["leaf"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert back["made"].tolist() == [[2.0, 6.0], [4.0, 8.0]]
    assert not back["leaf"].requires_grad
    assert back["leaf"].device == "cpu"


def test_tensors_go_to_the_device_asked_for(file):
    save({"x": mg.tensor([1.0])}, file)
    assert load(file, device="numpy")["x"].device == "numpy"
    with pytest.raises(DeviceError, match=re.escape("device 'abacus' is unknown; use 'cpu', 'cuda' or 'numpy'")):
        load(file, device="abacus")


def test_folders_are_made(tmp_path):
    save({}, tmp_path / "new" / "run 1" / "empty.safetensors")
    assert load(str(tmp_path / "new" / "run 1" / "empty.safetensors")) == {}


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    save({"x": mg.tensor([1.0])}, path)

    def interrupted(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save({"x": mg.tensor([2.0])}, path)
    assert load(path)["x"].item() == 1.0
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (
            {"model": {"layers": [1, {2}]}},
            "save: model.layers.1 is a set; make it a tensor, a number, a string, None, or",
        ),
        ({"x": np.zeros(2)}, "save: x is a ndarray; make it a tensor"),
        (object(), "save: the object is a object; make it a tensor"),
        ({"state": {(1, 2): 3}}, "save: key (1, 2) of state is a tuple; make it a str or an int"),
        ({None: 3}, "save: key None of the object is a NoneType; make it a str or an int"),
    ],
)
def test_unsupported_values_are_named_and_nothing_is_written(obj, message, tmp_path):
    with pytest.raises(DtypeError, match=re.escape(message)):
        save(obj, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'none'}: no such file; check the folder and the name")):
        load(tmp_path / "none")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}: cannot be read (")):
        load(tmp_path)


@pytest.mark.parametrize("obj", [{"x": mg.tensor([1.0, 2.0])}, {"x": mg.tensor([1.0, 2.0]), "epoch": 3}])
def test_a_truncated_file(tmp_path, obj):
    path = tmp_path / "file"
    save(obj, path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=re.escape(f"{path}: damaged, or not safetensors: {size} bytes (")):
            load(path)


def test_dtypes_that_tensors_lack_are_named(tmp_path):
    path = tmp_path / "half"
    safetensors.numpy.save_file({"w": np.zeros(2, np.float16)}, path)
    message = f"{path}: tensor 'w' is F16, expected one of F32, F64, I64, I32, U8, BOOL; convert it before saving"
    with pytest.raises(DataError, match=re.escape(message)):
        load(path)


@pytest.mark.parametrize("description", ["{", "{}", '{"tensor": "y"}', '{"heap": []}', '{"dict": 3}'])
def test_a_damaged_description(tmp_path, description):
    path = tmp_path / "file"
    safetensors.numpy.save_file({"x": np.zeros(2)}, path, {"minigrad": description})
    with pytest.raises(DataError, match=re.escape(f"{path}: its description cannot be followed (")):
        load(path)


def test_the_description_is_json_among_the_metadata(file):
    save({"x": mg.tensor([1.0]), 7: (None, [True])}, file)
    with safetensors.safe_open(file, "numpy") as opened:
        assert json.loads(opened.metadata()["minigrad"]) == {
            "dict": [["x", {"tensor": "x"}], [7, {"tuple": [None, {"list": [True]}]}]]
        }
