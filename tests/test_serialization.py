"""save and load: safetensors files, checkpoints of nested Python values, damaged files, interrupted writes."""

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
from helpers import process_environment
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
    """Return what must be equal in two arrays."""
    return array.dtype, array.shape, array.tobytes()


def is_same(a, b):
    """Whether two values have equal types, orders and bits."""
    if isinstance(a, mg.Tensor):
        return isinstance(b, mg.Tensor) and content(a.numpy()) == content(b.numpy())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return is_same(list(a), list(b)) and is_same(list(a.values()), list(b.values()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(is_same(x, y) for x, y in zip(a, b, strict=True))
    return repr(a) == repr(b)  # nan equals nan, -0.0 does not equal 0.0


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("saved") / "file.safetensors"


@settings(deadline=None)
@given(st.dictionaries(names.filter(lambda name: name != "__metadata__"), tensors, max_size=5))
def test_save_of_a_dict_of_tensors_writes_plain_safetensors(file, obj):
    save(obj, file)
    array_by_name = safetensors.numpy.load_file(file)
    assert {name: content(a) for name, a in array_by_name.items()} == {
        name: content(t.numpy()) for name, t in obj.items()
    }
    assert is_same(load(file), obj)


@settings(deadline=None)
@given(arrays)
def test_load_reads_files_of_the_safetensors_library(file, array):
    safetensors.numpy.save_file({"x.y": array}, file, {"format": "pt"})
    assert is_same(load(file), {"x.y": mg.tensor(array)})


@settings(deadline=None)
@given(
    checkpoints.filter(lambda obj: not isinstance(obj, dict))
    | st.dictionaries(names, checkpoints).map(lambda obj: {**obj, "epoch": 3})
)
def test_load_returns_the_values_and_types_that_were_saved(file, obj):
    save(obj, file)
    assert is_same(load(file), obj)


def test_tensors_of_a_checkpoint_are_named_by_their_path(file):
    x, y = mg.tensor([1.0]), mg.tensor([2.0])
    save({"model": {"fc.bias": x}, "state": {0: (y, 0.5)}}, file)
    assert {name: a.tolist() for name, a in safetensors.numpy.load_file(file).items()} == {
        "model.fc.bias": [1.0],
        "state.0.0": [2.0],
    }


def test_paths_with_the_same_dotted_name_are_kept_apart(file):
    x, y, z = mg.tensor([1.0]), mg.tensor([2.0]), mg.tensor([3.0])
    obj = {"a": {"b": x}, "a.b": y, "__metadata__": z}
    save(obj, file)
    assert is_same(load(file), obj)


def test_save_takes_tensors_of_any_layout_graph_and_device(file):
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]], device="numpy", requires_grad=True)
    save({"leaf": x, "made": x.T * 2}, file)
    back = load(file)
    assert back["leaf"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert back["made"].tolist() == [[2.0, 6.0], [4.0, 8.0]]
    assert not back["leaf"].requires_grad
    assert back["leaf"].device == "cpu"


def test_load_puts_tensors_on_the_given_device(file):
    save({"x": mg.tensor([1.0])}, file)
    assert load(file, device="numpy")["x"].device == "numpy"
    with pytest.raises(DeviceError, match=re.escape("device 'abacus' is unknown; use 'cpu', 'cuda' or 'numpy'")):
        load(file, device="abacus")


def test_save_makes_missing_folders(tmp_path):
    save({}, tmp_path / "new" / "run 1" / "empty.safetensors")
    assert load(str(tmp_path / "new" / "run 1" / "empty.safetensors")) == {}


def test_an_interrupted_save_keeps_the_old_file(tmp_path, monkeypatch):
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
def test_save_names_an_unsupported_value_and_writes_nothing(obj, message, tmp_path):
    with pytest.raises(MinigradError, match=re.escape(message)) as caught:
        save(obj, tmp_path / "file")
    assert isinstance(caught.value, TypeError) == ("int of" not in message)
    assert not list(tmp_path.iterdir())


def nested(kind, depth):
    """Return a number inside `depth` containers."""
    value = 0.5
    for _ in range(depth):
        value = {"a": value} if kind is dict else kind([value])
    return value


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_save_takes_100_nested_containers_and_refuses_more(file, kind):
    save(nested(kind, 100), file)
    assert is_same(load(file), nested(kind, 100))
    for depth in (101, 100_000):
        with pytest.raises(
            ValidationError, match="is more than 100 containers deep; check whether one contains itself"
        ):
            save(nested(kind, depth), file)


def test_save_refuses_a_container_that_contains_itself(file):
    loop, ring = [1], {"a": {}}
    loop += [loop, loop]
    ring["a"]["b"] = ring
    for obj, where in ((loop, "1.1.1"), (ring, "a.b.a")):
        with pytest.raises(ValidationError, match=f"save: {where}... is more than 100 containers deep"):
            save(obj, file)


def test_save_refuses_more_plain_values_than_readers_accept(file, monkeypatch):
    """The safetensors library reads at most 100 MB of metadata."""
    save({"x": 1}, file)
    monkeypatch.setattr("minigrad.serialization.MAX_HEADER", 3000)
    with pytest.raises(
        ValidationError, match=r"take 4,\d\d\d bytes, but load\(\) reads at most 3,000; convert long lists"
    ):
        save({"loss": [0.5] * 800}, file)
    assert load(file) == {"x": 1}


@pytest.mark.parametrize("path", [3, None, object(), ["a"]])
def test_save_and_load_refuse_a_path_of_another_type(path):
    for call in (lambda: save({}, path), lambda: load(path)):
        with pytest.raises(DtypeError, match=f"path is {type_with_article(path)}; give the name of a file"):
            call()


def test_load_names_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'none'}: no such file; check the folder and the name")):
        load(tmp_path / "none")


def test_load_refuses_a_folder(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}: cannot be read (")):
        load(tmp_path)


@pytest.mark.parametrize("obj", [{"x": mg.tensor([1.0, 2.0])}, {"x": mg.tensor([1.0, 2.0]), "epoch": 3}])
def test_load_refuses_a_truncated_file(tmp_path, obj):
    path = tmp_path / "file"
    save(obj, path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=re.escape(f"{path}: damaged, or not a safetensors file: {size} bytes (")):
            load(path)


def test_load_names_an_unsupported_dtype(tmp_path):
    path = tmp_path / "half"
    safetensors.numpy.save_file({"w": np.zeros(2, np.float16)}, path)
    message = f"{path}: tensor 'w' is F16, expected one of F32, F64, I64, I32, U8, BOOL; convert it before saving"
    with pytest.raises(DataError, match=re.escape(message)):
        load(path)


@pytest.mark.parametrize(
    "description", ["{", "{}", '{"tensor": "y"}', '{"heap": []}', '{"dict": 3}', '{"crc32": 1}', "1" * 5000]
)
def test_load_refuses_a_damaged_description(tmp_path, description):
    path = tmp_path / "file"
    safetensors.numpy.save_file({"x": np.zeros(2)}, path, {"minigrad": description})
    with pytest.raises(DataError, match=re.escape(f"{path}: its description cannot be read (")):
        load(path)


@pytest.mark.parametrize("opening", ["[", '{"dict": [[0, ', '{"crc32": 1, "value": ['])
def test_load_refuses_a_description_that_is_nested_too_deep(tmp_path, opening):
    path = tmp_path / "file"
    safetensors.numpy.save_file({"x": np.zeros(2)}, path, {"minigrad": opening * 100_000})
    with pytest.raises(DataError, match=r"its description is nested too deep; save it"):
        load(path)


def test_load_reads_a_description_without_checksum(tmp_path):
    path = tmp_path / "file"
    safetensors.numpy.save_file({"x": np.zeros(2, np.float32)}, path, {"minigrad": '{"list": [{"tensor": "x"}, 3]}'})
    assert is_same(load(path), [mg.zeros(2), 3])


PLAIN = {"fc.weight": mg.tensor([[1.0, 2.0]]), "a": mg.tensor([3, 4]), "mask": mg.tensor([True, False])}
WHOLE = {"model": PLAIN, "epoch": 3, "loss": [0.1, float("nan")], 7: (None, True, "\udc80")}


@pytest.mark.parametrize("obj", [PLAIN, WHOLE], ids=["plain", "whole"])
def test_load_of_a_file_with_a_changed_bit_is_refused_or_right(tmp_path, obj):
    """Each byte has one bit changed in turn."""
    path = tmp_path / "file"
    save(obj, path)
    whole = path.read_bytes()
    for i in range(len(whole)):
        changed = bytearray(whole)
        changed[i] ^= 1 << i % 8
        path.write_bytes(changed)
        with contextlib.suppress(DataError):
            assert is_same(load(path), obj), i


def test_the_description_is_json_in_the_metadata(file):
    save({"x": mg.tensor([1.0]), 7: (None, [True])}, file)
    with safetensors.safe_open(file, "numpy") as opened:
        note = json.loads(opened.metadata()["minigrad"])
    assert note["value"] == {"dict": [["x", {"tensor": "x"}], [7, {"tuple": [None, {"list": [True]}]}]]}


# ---- paths, permissions, interrupted writes


def files_in(folder):
    """Return the names of all files, as bytes."""
    return sorted(os.listdir(os.fsencode(folder)))


NAMES = [b"caf\xe9", b"two\nlines", b".hidden", b"-", b"a b$%", b"x" * 255, "\u00e9".encode() * 127, b"\xff" * 255]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [bytes, str, "Path"])
def test_save_and_load_take_any_legal_file_name(tmp_path, name, kind):
    path = os.fsencode(tmp_path) + b"/" + name
    path = path if kind is bytes else os.fsdecode(path) if kind is str else tmp_path / os.fsdecode(name)
    for value in (1, 2):
        save({"x": value}, path)
        assert load(path) == {"x": value}
        assert files_in(tmp_path) == [name]


def test_messages_escape_file_names_that_are_not_utf8(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(DataError) as caught:
        load(path)
    assert str(caught.value).encode().endswith(rb"/caf\xe9: no such file; check the folder and the name")


def test_save_keeps_the_mode_of_a_replaced_file_and_follows_the_umask_for_a_new_one(tmp_path):
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
def test_save_keeps_the_owner_of_a_replaced_file(tmp_path):
    save({"x": 1}, tmp_path / "file")
    os.chown(tmp_path / "file", 12345, 23456)
    save({"x": 2}, tmp_path / "file")
    about = (tmp_path / "file").stat()
    assert (about.st_uid, about.st_gid) == (12345, 23456)


def test_save_and_load_follow_symbolic_links(tmp_path):
    (tmp_path / "there").mkdir()
    for link, target in (("a", "there/file"), ("b", "a"), ("c", "there/new/dangling")):
        (tmp_path / link).symlink_to(target)
    for value, link in enumerate("abc"):
        save({"x": value}, tmp_path / link)
        assert (tmp_path / link).is_symlink() and load(tmp_path / link) == {"x": value}
    assert load(tmp_path / "there" / "file") == {"x": 1}
    assert load(tmp_path / "there" / "new" / "dangling") == {"x": 2}


def test_save_and_load_refuse_what_is_no_regular_file(tmp_path):
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
    "fault, reason",
    [
        (
            ("fsync", OSError(errno.ENOSPC, "No space left on device")),
            "cannot be written (No space left on device); free",
        ),
        (("fsync", OSError(errno.EIO, "Input/output error")), "cannot be written (Input/output error); free"),
        (("access", None), "is write-protected; change its mode, or choose another file"),
    ],
)
def test_save_names_the_reason_of_a_failed_write_and_keeps_the_old_file(tmp_path, monkeypatch, fault, reason):
    save({"x": 1}, tmp_path / "file")

    def fails(*arguments):
        if fault[1] is not None:
            raise fault[1]

    with monkeypatch.context() as patched:
        patched.setattr(os, fault[0], fails)
        with pytest.raises(FileError, match=re.escape(f"{tmp_path / 'file'}: {reason}")) as caught:
            save({"x": 2}, tmp_path / "file")
    assert isinstance(caught.value, OSError)
    assert load(tmp_path / "file") == {"x": 1} and files_in(tmp_path) == [b"file"]


def test_save_names_the_reason_if_a_folder_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="cannot be written \\(Not a directory\\); free disk space, or choose a folder"):
        save({}, tmp_path / "file" / "weights")


def run_child(code, *arguments):
    """Run code that uses write_whole in a new process, which may be killed; return the completed process."""
    head = "import os, signal, sys; from minigrad.runtime.files import write_whole\n"
    command = [sys.executable, "-c", head + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, env=process_environment(), timeout=300)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_a_full_disk_keeps_the_old_file(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    ended = run_child(
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
    assert (tmp_path / "file").read_bytes() == b"old" and files_in(tmp_path) == [b"file"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize("moment", ["fsync", "replace", "unlink"])
def test_a_killed_save_keeps_a_whole_file_and_the_next_save_removes_leftovers(tmp_path, moment):
    (tmp_path / "file").write_bytes(b"old")
    kill = f"os.{moment} = lambda *arguments, **named: os.kill(os.getpid(), signal.SIGKILL); "
    assert run_child(kill + "write_whole(sys.argv[1], b'new')", tmp_path / "file").returncode == -signal.SIGKILL
    found = files_in(tmp_path)
    assert (tmp_path / "file").read_bytes() == (b"new" if moment == "unlink" else b"old")
    assert len(found) == (1 if moment == "unlink" else 2)
    write_whole(tmp_path / "another", b"more")
    assert files_in(tmp_path) == [b"another", b"file"]


@pytest.mark.skipif(files.fcntl is None, reason="files are not locked here")
def test_save_does_not_remove_the_temporary_file_of_another_save(tmp_path):
    """In this process, and in one that was forked or started elsewhere: a locked file is no rest."""
    with files._temporary_file(tmp_path) as (file, beside):
        file.write(b"half")
        write_whole(tmp_path / "file", b"whole")
        assert run_child("write_whole(sys.argv[1], b'theirs')", tmp_path / "theirs").returncode == 0
        assert beside.exists()
        beside.replace(tmp_path / "done")
    assert files_in(tmp_path) == [b"done", b"file", b"theirs"]


@pytest.mark.skipif(files.fcntl is None, reason="files are not locked here")
def test_save_makes_a_new_temporary_file_if_its_own_was_removed_before_it_was_locked(tmp_path, monkeypatch):
    lock, taken = files._lock, []

    def lock_after_removal(file, wait):
        if wait and not taken:
            taken.append(file.name)
            files._remove_leftovers(tmp_path)
        return lock(file, wait)

    monkeypatch.setattr(files, "_lock", lock_after_removal)
    write_whole(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert taken and files_in(tmp_path) == [b"file"]


def test_save_syncs_the_content_before_it_replaces_the_old_file(tmp_path, monkeypatch):
    """The order is: content synced, file renamed, folder synced."""
    done, sync, replace = [], os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda opened: (done.append(stat.S_ISDIR(os.fstat(opened).st_mode)), sync(opened)))
    monkeypatch.setattr(type(tmp_path), "replace", lambda old, new: (done.append("renamed"), replace(old, new)))
    save({"x": 1}, tmp_path / "file")
    assert done == [False, "renamed", True]


def test_shown_escapes_bytes_that_are_not_utf8():
    assert printable_path(os.fsdecode(b"/caf\xe9")) == "/caf\\xe9" and printable_path("/café") == "/café"
