"""What is saved comes back: plain dicts of tensors as everyone's safetensors, checkpoints with all their types.

And a file is whole or refused, wherever it lies and whatever becomes of its writer.
"""

import contextlib
import errno
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.checks import type_with_article
from minigrad.errors import DataError, DeviceError, DtypeError, FileError, MinigradError, ValidationError
from minigrad.runtime import files
from minigrad.runtime.files import printable_path, write_whole
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
    assert same(load(file), obj)


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
        ({"x": np.zeros(2)}, "save: x is an ndarray; make it a tensor"),
        (object(), "save: the object is an object; make it a tensor"),
        ({"state": {(1, 2): 3}}, "save: key (1, 2) of state is a tuple; make it a str or an int"),
        ({None: 3}, "save: key None of the object is None; make it a str or an int"),
        ({"n": [10**5000]}, "save: n.0 is or has an int of 16610 bits; make it a string"),
        ({"n": {-(10**5000): 1}}, "save: n is or has an int of 16610 bits; make it a string"),
    ],
)
def test_unsupported_values_are_named_and_nothing_is_written(obj, message, tmp_path):
    with pytest.raises(MinigradError, match=re.escape(message)) as caught:
        save(obj, tmp_path / "file")
    assert isinstance(caught.value, TypeError) == ("int of" not in message)
    assert not list(tmp_path.iterdir())


def nested(kind, depth):
    made = 0.5
    for _ in range(depth):
        made = {"a": made} if kind is dict else kind([made])
    return made


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_a_hundred_containers_in_each_other_come_back_and_more_are_refused(file, kind):
    save(nested(kind, 100), file)
    assert same(load(file), nested(kind, 100))
    for depth in (101, 100_000):
        with pytest.raises(
            ValidationError, match="is more than 100 containers deep; check whether one contains itself"
        ):
            save(nested(kind, depth), file)


def test_what_contains_itself_is_refused(file):
    loop, ring = [1], {"a": {}}
    loop += [loop, loop]
    ring["a"]["b"] = ring
    for obj, where in ((loop, "1.1.1"), (ring, "a.b.a")):
        with pytest.raises(ValidationError, match=f"save: {where}... is more than 100 containers deep"):
            save(obj, file)


def test_more_plain_values_than_readers_take_are_refused(file, monkeypatch):
    """What is written can be read: safetensors' own readers stop at 100 MB of description."""
    save({"x": 1}, file)
    monkeypatch.setattr("minigrad.serialization.MAX_HEADER", 3000)
    with pytest.raises(
        ValidationError, match=r"take 4,\d\d\d bytes, but load\(\) reads at most 3,000; convert long lists"
    ):
        save({"loss": [0.5] * 800}, file)
    assert load(file) == {"x": 1}


@pytest.mark.parametrize("path", [3, None, object(), ["a"]])
def test_what_is_no_path_is_refused(path):
    for call in (lambda: save({}, path), lambda: load(path)):
        with pytest.raises(DtypeError, match=f"path is {type_with_article(path)}; give the name of a file"):
            call()


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
        with pytest.raises(DataError, match=re.escape(f"{path}: damaged, or not a safetensors file: {size} bytes (")):
            load(path)


def test_dtypes_that_tensors_lack_are_named(tmp_path):
    path = tmp_path / "half"
    safetensors.numpy.save_file({"w": np.zeros(2, np.float16)}, path)
    message = f"{path}: tensor 'w' is F16, expected one of F32, F64, I64, I32, U8, BOOL; convert it before saving"
    with pytest.raises(DataError, match=re.escape(message)):
        load(path)


@pytest.mark.parametrize(
    "description", ["{", "{}", '{"tensor": "y"}', '{"heap": []}', '{"dict": 3}', '{"crc32": 1}', "1" * 5000]
)
def test_a_damaged_description(tmp_path, description):
    path = tmp_path / "file"
    safetensors.numpy.save_file({"x": np.zeros(2)}, path, {"minigrad": description})
    with pytest.raises(DataError, match=re.escape(f"{path}: its description cannot be read (")):
        load(path)


@pytest.mark.parametrize("opening", ["[", '{"dict": [[0, ', '{"crc32": 1, "value": ['])
def test_a_description_nested_too_deep(tmp_path, opening):
    path = tmp_path / "file"
    safetensors.numpy.save_file({"x": np.zeros(2)}, path, {"minigrad": opening * 100_000})
    with pytest.raises(DataError, match=r"its description is nested too deep; save it"):
        load(path)


def test_a_description_from_before_there_were_checksums(tmp_path):
    path = tmp_path / "file"
    safetensors.numpy.save_file({"x": np.zeros(2, np.float32)}, path, {"minigrad": '{"list": [{"tensor": "x"}, 3]}'})
    assert same(load(path), [mg.zeros(2), 3])


PLAIN = {"fc.weight": mg.tensor([[1.0, 2.0]]), "a": mg.tensor([3, 4]), "mask": mg.tensor([True, False])}
WHOLE = {"model": PLAIN, "epoch": 3, "loss": [0.1, float("nan")], 7: (None, True, "\udc80")}


@pytest.mark.parametrize("obj", [PLAIN, WHOLE], ids=["plain", "whole"])
def test_no_changed_bit_is_taken_for_what_was_saved(tmp_path, obj):
    """Any bit of the file: an error of ours, or all the same the right values."""
    path = tmp_path / "file"
    save(obj, path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with contextlib.suppress(DataError):
            assert same(load(path), obj), place


def test_the_description_is_json_among_the_metadata(file):
    save({"x": mg.tensor([1.0]), 7: (None, [True])}, file)
    with safetensors.safe_open(file, "numpy") as opened:
        note = json.loads(opened.metadata()["minigrad"])
    assert note["value"] == {"dict": [["x", {"tensor": "x"}], [7, {"tuple": [None, {"list": [True]}]}]]}


# ---- where a file lies, and what becomes of its writer


def folder_of(tmp_path):
    return sorted(os.listdir(os.fsencode(tmp_path)))


NAMES = [b"caf\xe9", b"two\nlines", b".hidden", b"-", b"a b$%", b"x" * 255, "\u00e9".encode() * 127, b"\xff" * 255]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [bytes, str, "Path"])
def test_any_legal_name_is_taken(tmp_path, name, kind):
    path = os.fsencode(tmp_path) + b"/" + name
    path = path if kind is bytes else os.fsdecode(path) if kind is str else tmp_path / os.fsdecode(name)
    for value in (1, 2):
        save({"x": value}, path)
        assert load(path) == {"x": value}
        assert folder_of(tmp_path) == [name]


def test_names_in_messages_can_be_printed(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(DataError) as caught:
        load(path)
    assert str(caught.value).encode().endswith(rb"/caf\xe9: no such file; check the folder and the name")


def test_a_replaced_file_keeps_its_mode_and_a_new_one_has_the_usual(tmp_path):
    path = tmp_path / "file"
    before = os.umask(0o027)
    try:
        save({"x": 1}, path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        for mode in (0o600, 0o664, 0o755):
            path.chmod(mode)
            save({"x": mode}, path)
            assert stat.S_IMODE(path.stat().st_mode) == mode and load(path) == {"x": mode}
    finally:
        os.umask(before)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives files away")
def test_a_replaced_file_keeps_its_owner(tmp_path):
    save({"x": 1}, tmp_path / "file")
    os.chown(tmp_path / "file", 12345, 23456)
    save({"x": 2}, tmp_path / "file")
    about = (tmp_path / "file").stat()
    assert (about.st_uid, about.st_gid) == (12345, 23456)


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    for link, target in (("a", "there/file"), ("b", "a"), ("c", "there/new/dangling")):
        (tmp_path / link).symlink_to(target)
    for value, link in enumerate("abc"):
        save({"x": value}, tmp_path / link)
        assert (tmp_path / link).is_symlink() and load(tmp_path / link) == {"x": value}
    assert load(tmp_path / "there" / "file") == {"x": 1}
    assert load(tmp_path / "there" / "new" / "dangling") == {"x": 2}


def test_what_is_no_regular_file_is_refused_and_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "to null").symlink_to("/dev/null")
    plug = socket.socket(socket.AF_UNIX)
    plug.bind(os.path.relpath(tmp_path / "socket"))
    plug.close()
    kinds = {"folder": "a folder", "pipe": "a pipe", "loop": "a link to itself", "socket": "a socket"}
    for path, what in (*((tmp_path / name, what) for name, what in kinds.items()), ("/dev/null", "a device"),
                       (tmp_path / "to null", "a device"), ("", "a folder")):  # fmt: skip
        before = os.lstat(path or ".")
        with pytest.raises(FileError, match=re.escape(f"{path}: is {what}; give the name of a file")):
            save({}, path)
        assert os.path.samestat(before, os.lstat(path or "."))
        with pytest.raises(DataError, match="cannot be read|no such file"):
            load(path)
    with pytest.raises(FileError, match="new/: is the name of a folder; add the name of a file"):
        save({}, f"{tmp_path}/new/")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "spoilt, reason",
    [
        (
            ("fsync", OSError(errno.ENOSPC, "No space left on device")),
            "cannot be written (No space left on device); free",
        ),
        (("fsync", OSError(errno.EIO, "Input/output error")), "cannot be written (Input/output error); free"),
        (("access", None), "is write-protected; change its mode, or choose another file"),
    ],
)
def test_what_cannot_be_written_is_said_and_the_old_file_stays(tmp_path, monkeypatch, spoilt, reason):
    save({"x": 1}, tmp_path / "file")

    def fails(*arguments):
        if spoilt[1] is not None:
            raise spoilt[1]

    with monkeypatch.context() as patched:
        patched.setattr(os, spoilt[0], fails)
        with pytest.raises(FileError, match=re.escape(f"{tmp_path / 'file'}: {reason}")) as caught:
            save({"x": 2}, tmp_path / "file")
    assert isinstance(caught.value, OSError)
    assert load(tmp_path / "file") == {"x": 1} and folder_of(tmp_path) == [b"file"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="cannot be written \\(Not a directory\\); free disk space, or choose a folder"):
        save({}, tmp_path / "file" / "weights")


def child(code, *arguments):
    """A process that runs some code with minigrad's files; its exit status."""
    head = "import os, signal, sys; from minigrad.runtime.files import write_whole\n"
    return subprocess.run([sys.executable, "-c", head + textwrap.dedent(code), *map(str, arguments)], timeout=300)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_a_full_disk_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    ended = child(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_whole(sys.argv[1], bytes(100_000))
        except OSError as error:
            sys.exit(7 if "File too large" in str(error) else 1)
        """,
        tmp_path / "file",
    )
    assert ended.returncode == 7
    assert (tmp_path / "file").read_bytes() == b"old" and folder_of(tmp_path) == [b"file"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize("moment", ["fsync", "replace", "unlink"])
def test_a_killed_save_leaves_the_old_file_or_the_new_and_the_next_removes_its_rests(tmp_path, moment):
    (tmp_path / "file").write_bytes(b"old")
    kill = f"os.{moment} = lambda *arguments, **named: os.kill(os.getpid(), signal.SIGKILL); "
    assert child(kill + "write_whole(sys.argv[1], b'new')", tmp_path / "file").returncode == -signal.SIGKILL
    found = folder_of(tmp_path)
    assert (tmp_path / "file").read_bytes() == (b"new" if moment == "unlink" else b"old")
    assert len(found) == (1 if moment == "unlink" else 2)
    write_whole(tmp_path / "another", b"more")
    assert folder_of(tmp_path) == [b"another", b"file"]


@pytest.mark.skipif(files.fcntl is None, reason="files are not locked here")
def test_what_another_save_has_in_hand_stays(tmp_path):
    """In this process, and in one that was forked or started elsewhere: a locked file is no rest."""
    with files._temporary_file(tmp_path) as (file, beside):
        file.write(b"half")
        write_whole(tmp_path / "file", b"whole")
        assert child("write_whole(sys.argv[1], b'theirs')", tmp_path / "theirs").returncode == 0
        assert beside.exists()
        beside.replace(tmp_path / "done")
    assert folder_of(tmp_path) == [b"done", b"file", b"theirs"]


@pytest.mark.skipif(files.fcntl is None, reason="files are not locked here")
def test_a_file_that_is_taken_for_a_rest_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    lock, taken = files._lock, []

    def removed_first(file, wait):
        if wait and not taken:
            taken.append(file.name)
            files._remove_leftovers(tmp_path)
        return lock(file, wait)

    monkeypatch.setattr(files, "_lock", removed_first)
    write_whole(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert taken and folder_of(tmp_path) == [b"file"]


def test_content_is_on_the_disk_before_the_old_file_is_gone(tmp_path, monkeypatch):
    """And the folder's new entry after."""
    done, sync, replace = [], os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda opened: (done.append(stat.S_ISDIR(os.fstat(opened).st_mode)), sync(opened)))
    monkeypatch.setattr(type(tmp_path), "replace", lambda old, new: (done.append("renamed"), replace(old, new)))
    save({"x": 1}, tmp_path / "file")
    assert done == [False, "renamed", True]


def test_shown_paths_are_text():
    assert printable_path(os.fsdecode(b"/caf\xe9")) == "/caf\\xe9" and printable_path("/café") == "/café"
