"""mg.load of files that torch.save wrote (vectors/torch_files/, by the make.py there), and of files that attack it."""

import io
import pickle
import random
import re
import struct
import warnings
import zipfile
from collections import Counter, OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.errors import DataError, DtypeError

FILES = Path(__file__).parent / "vectors" / "torch_files"


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_a_state_dict_fits_the_same_model():
    state = mg.load(FILES / "state_dict.pt", map_location="cpu", weights_only=True)
    assert isinstance(state, OrderedDict) and list(state)[:3] == ["conv.weight", "conv.bias", "norm.weight"]
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), fc=nn.Linear(8, 3)))
    keys = model.load_state_dict(state, strict=False)
    assert keys.missing_keys == [] and all(key.startswith("norm.") for key in keys.unexpected_keys)
    assert (model.conv.weight == state["conv.weight"]).all()


def test_a_checkpoint_has_all_its_values():
    found = mg.load(FILES / "checkpoint.pth", lambda storage, location: storage)
    plain = {name: found[name] for name in ("epoch", "best", "name", "flags", "history", "classes", "size", "big")}
    assert plain == {
        "epoch": 3,
        "best": 0.5,
        "name": "run é",
        "flags": (True, False, None),
        "history": [1, 2.5, [3]],
        "classes": {"a", "b"},
        "size": (4, 1, 4, 4),
        "big": 2**80,
    }
    assert found["optimizer"]["param_groups"][0]["lr"] == 0.01 and found["optimizer"]["state"][0]["step"].item() == 1
    assert isinstance(found["size"], mg.Size)
    assert found["schedule"]["milestones"] == Counter({2: 1, 4: 1})
    model = nn.Linear(8, 3)
    optimizer = mg.optim.Adam(model.parameters(), lr=1)
    state = found["optimizer"]
    state = {"state": {0: state["state"][4], 1: state["state"][5]}, "param_groups": state["param_groups"]}
    state["param_groups"][0]["params"] = [0, 1]
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize("name", ["tensors.pt", "tensors_protocol4.pt"])
def test_views_dtypes_and_parameters(name):
    mg.names._said.clear()
    with pytest.warns(UserWarning, match="float16 and bfloat16 tensors become float32") as said:
        found = mg.load(FILES / name)
    assert len(said) == 1 and said[0].filename == __file__
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = {"base": base, "transposed": base.T, "column": base[:, 1], "steps": base[::2, 1::2], "same": base}
    expected |= {"expanded": np.zeros(5, np.float32), "scalar": np.array(7), "empty": np.zeros((0, 3), np.float32)}
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key].numpy(), array, strict=True)
    assert found["grad"].requires_grad and not found["base"].requires_grad
    assert isinstance(found["parameter"], nn.Parameter) and found["parameter"].requires_grad
    assert isinstance(found["frozen"], nn.Parameter) and not found["frozen"].requires_grad
    kinds = {"float16": "float32", "bfloat16": "float32", "int8": "int32", "int16": "int32", "float64": "float64"}
    for dtype in ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"):
        assert found[dtype].dtype == kinds.get(dtype, dtype)
        assert found[dtype].tolist() == ([False, True, True] if dtype == "bool" else [0, 1, 100])
    np.testing.assert_array_equal(found["fractions"].numpy(), np.float32([0.10009765625, -2.5, np.inf, np.nan]))
    found["base"].add_(1)  # the same tensor in PyTorch: both keys see a change
    assert (found["same"] == found["base"]).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("module.pt", "holds torch.nn.modules.linear.Linear, but only tensors, containers and plain values are read"),
        ("complex.pt", "holds torch.ComplexFloatStorage, but only tensors"),
        ("script.pt", "is a TorchScript program, not a file of torch.save; load it in PyTorch"),
        ("legacy.pt", "is a bare pickle, as torch.save wrote before PyTorch 1.6; read it with torch.load, and save it"),
    ],
)
def test_other_contents_are_refused_by_name(name, message):
    with pytest.raises(DataError, match=re.escape(f"{FILES / name}: {message}")):
        mg.load(FILES / name, weights_only=False)


def archive(description, **files):
    """Return a file of torch.save with another description."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", files.pop("compression", zipfile.ZIP_STORED)) as made:
        made.writestr("a/data.pkl", description)
        for name, content in files.items():
            made.writestr(f"a/data/{name[1:]}", content)
    buffer.seek(0)
    return buffer


class Attack:
    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("function", [eval, exec, print, getattr, __import__, open, pickle.loads, np.load])
def test_functions_are_refused_and_not_called(protocol, function, capsys):
    with pytest.raises(DataError, match="load: (holds|uses) .*; load it in PyTorch, and save its state_dict"):
        mg.load(archive(pickle.dumps([1, Attack(function, "print('attacked')")], protocol)))
    assert capsys.readouterr().out == ""


BAD = {
    "a name that leads on from one that is allowed": b"ccollections\nOrderedDict.__init__\n.",
    "a tensor that is called": pickle.dumps(1)[:-1] + b")R.",
    "an allowed function with wrong arguments": b"ctorch\nSize\n(I1\nI2\ntR.",
    "a storage that is called": b"ctorch\nFloatStorage\n)R.",
    "the state of a list": b"](K\x01tb.",
    "an item of a number": b"K\x01K\x02K\x03s.",
    "an item of a tuple": b")K\x02a.",
    "keys that take forever to hash": b"}))\x86K\x01s.",
    "an empty stack": b".",
    "more than one result": b"K\x01K\x02.",
    "a missing mark": b"K\x01t.",
    "a missing memo": b"h\x05.",
    "an extension": b"\x82\x01.",
    "an object by its id": b"P1\n.",
    "an instance": b"(ios\nsystem\n.",
    "no end": b"K\x01",
    "no pickle": b"\xff\xfe",
    "a persistent id that is no storage": b"K\x01Q.",
    "a long string that ends early": b"X\xff\xff\xff\x7fabc.",
    "a huge memo": b"K\x01r\xff\xff\xff\x7fQ.",
}


@pytest.mark.parametrize("description", BAD.values(), ids=BAD)
def test_descriptions_that_torch_save_does_not_write_are_refused(description):
    with pytest.raises(DataError, match=r"^load: (its description cannot be read|holds|uses) "):
        mg.load(archive(description))


def view(size, stride, offset=0, storage=b"abcdabcd", count=2):
    """Return a file with one float32 tensor."""

    def number(value):
        return b"\x8a\x08" + struct.pack("<q", value)

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    place = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + number(count) + b"tQ"
    text = b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + number(offset) + numbers(size) + numbers(stride)
    return archive(b"\x80\x02" + text + b"\x89ccollections\nOrderedDict\n)RtR.", _0=storage)


def test_views_must_lie_in_their_storage():
    assert mg.load(view([2], [1])).shape == (2,) and mg.load(view([3, 0], [5, 1])).shape == (3, 0)
    wrong = [([3], [1], 0), ([2], [1], 1), ([2], [-1], 1), ([-1], [1], 0), ([1], [1], -1), ([2, 2], [1], 0)]
    wrong += [([2**40], [0], 0), ([2**62, 4], [0, 0], 0)]
    for size, stride, offset in wrong:
        with pytest.raises(DataError, match="its description cannot be read"):
            mg.load(view(size, stride, offset))
    for content, count in [(b"abcd", 2), (b"abcdabcd", 3), (b"abcdabc", 2), (b"abcdabcd", -1)]:
        with pytest.raises(DataError, match="its description cannot be read"):
            mg.load(view([1], [1], storage=content, count=count))


def test_compressed_archives_are_refused():
    with pytest.raises(DataError, match=r"^load: data.pkl is compressed"):
        mg.load(archive(pickle.dumps([0] * 1000), compression=zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("name", ["state_dict.pt", "checkpoint.pth", "tensors.pt", "legacy.pt"])
def test_damaged_files_give_a_clear_error_or_right_types(name, tmp_path):
    content, draw = (FILES / name).read_bytes(), random.Random(name)
    for _ in range(150):
        damaged = bytearray(content)
        if draw.random() < 0.5:
            del damaged[draw.randrange(len(damaged)) :]
        for _ in range(draw.randrange(3)):
            damaged[draw.randrange(len(damaged) or 1) :][:1] = b""
            if damaged:
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path = tmp_path / "damaged"
        path.write_bytes(damaged)
        with suppress(DataError):  # and no other error
            mg.load(path)


# ---- modules, open files


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = self.again = nn.Linear(2, 2)
        self.act, self.sizes = mg.relu, [1, (2, 3)]
        self.rest = nn.Sequential(nn.Dropout(), nn.ReLU())
        self.register_buffer("count", mg.ones(2), persistent=False)
        self.first.bias.requires_grad_(False)

    def forward(self, x):
        return self.rest(self.act(self.again(self.first(x))))


def saved(value):
    buffer = io.BytesIO()
    mg.save(value, buffer)
    buffer.seek(0)
    return buffer


def test_a_module_is_rebuilt_if_its_class_is_confirmed():
    net, x = Net().eval(), mg.randn(3, 2)
    loaded = mg.load(saved(net), classes=[Net])
    assert type(loaded) is Net and (loaded(x) == net(x)).all() and not loaded.training
    assert (
        loaded.first is loaded.again
        and loaded.sizes == [1, (2, 3)]
        and list(loaded.state_dict()) == list(net.state_dict())
    )
    assert not loaded.first.bias.requires_grad and loaded.first.weight.requires_grad
    assert repr(mg.load(saved(nn.Sequential(nn.Linear(1, 2))))) == repr(nn.Sequential(nn.Linear(1, 2)))
    checkpoint = mg.load(saved({"model": net, "epoch": 1}), classes=[Net])
    assert checkpoint["epoch"] == 1 and type(checkpoint["model"]) is Net


def test_a_module_is_refused_by_name_without_its_class():
    with pytest.raises(DataError, match=r"uses test_torch_files.Net; if you trust its author, load it with classes="):
        mg.load(saved(Net()), weights_only=False)
    net = Net()
    net.register_forward_hook(print)
    with pytest.raises(DtypeError, match="^save: the module has hooks, which a file cannot hold; remove them first"):
        mg.save(net, io.BytesIO())
    net = Net()
    net.thing = object()
    with pytest.raises(DtypeError, match="^save: thing is an object; make it a tensor"):
        mg.save(net, io.BytesIO())


@pytest.mark.parametrize("name", ["os:system", "builtins:eval", "minigrad.serialization:save", "minigrad:Tensor.numpy"])
def test_names_in_a_description_are_not_imported(name):
    content = saved(nn.ReLU()).getvalue().replace(b"minigrad.nn.activation:ReLU", name.encode())
    with pytest.raises(DataError):
        mg.load(io.BytesIO(content), classes=[Net])


def test_map_location_is_a_device_a_dict_or_a_function():
    for place in ("numpy", mg.device("numpy"), {"cpu": "numpy"}, lambda storage, location: storage.to("numpy")):
        assert mg.load(FILES / "state_dict.pt", map_location=place)["fc.bias"].device == "numpy"
    state = mg.load(saved({"x": mg.ones(1)}), map_location="numpy")
    assert state["x"].device == "numpy"
