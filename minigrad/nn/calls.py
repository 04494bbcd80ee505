"""Calls of modules, recorded and replayed without being asked, so that a plain loop runs at the speed of mg.graph.

    for images, labels in loader:
        loss = criterion(model(images), labels)      # from its third call on, model(images) is one program
        optimizer.zero_grad()
        loss.backward()                              # and its gradients are another one
        optimizer.step()

The first call of a module with arguments of some shape runs plainly; if kernels are missing, all are compiled first.
The second one is recorded as by mg.graph.  Its nodes are kept by the replay; the results get one node of the whole
module.  The first backward pass records the walk through the kept nodes, and later ones replay it.

A replay takes the place of a call only if
- the arguments are tensors on device cpu or cuda, of the same shapes, dtypes and layouts, and plain values;
- the module is a formula: its forward does nothing but compute tensors (see formula.py), and everything that it reads
  is in the same state (see ../dependency.py);
- its memory is free: the results of the call before were walked back or are deleted.  Otherwise there are further
  recordings, each with memory of its own.

Where the graph itself is needed, as for a second derivative or for grad_fn.next_functions, the kept nodes become part
of it, and the recording is dropped.
"""

import gc
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..compiler import run_plainly
from ..errors import GraphError, MinigradError
from ..ops.op import ObservedOps
from ..precompile import compile_together
from ..replay import PLAIN, Assumptions, Call, CallRecording, map_parts, map_tensors, tensors_in
from ..runtime.device import CPU
from ..runtime.memory import clone, may_share_memory, outermost_first, owns_buffer, when_full
from ..runtime.program import Place, Recording, byte_range, find_place
from ..runtime.threads import IDLE, local
from ..streams import use_stream
from ..tape import Node, OutputNode, StandIn, mode, newest_node, reachable, walk_back
from ..tensors import Tensor, _array_ops, _make
from .formula import Guard, NotAFormulaError, hold, read_formula

KEPT_RECORDINGS = 8  # of one module
KEPT_KEYS = 8  # of calls that were not recorded
KEPT_BACKWARDS = 4  # of one recording: for other results or inputs that need a gradient


class ModuleCalls:
    """The recordings of one module.

    recordings    the most recently used one first
    seen          keys of calls that ran once, and are recorded next time
    refused       keys of calls that cannot be replayed
    expanded      keys of recordings that were dropped, see `drop`
    plain         whether its calls are not recorded: they cannot be replayed, or change too often
    reason        why the last call that was refused cannot be replayed
    """

    def __init__(self) -> None:
        self.recordings: list[RecordedCall] = []
        self.seen: list[Any] = []
        self.refused: list[Any] = []
        self.expanded: list[Any] = []
        self.plain, self.reason = False, ""
        self.call_count = self.record_count = 0

    def find(self, key: Any) -> "RecordedCall | None":
        """A recording that can be replayed now; the caller releases its lock."""
        for i, recording in enumerate(self.recordings):
            if recording.key == key and recording.lock.acquire(blocking=False):
                if recording.is_free() and recording.is_valid():
                    if i:
                        self.recordings = [recording, *[x for x in self.recordings if x is not recording]]
                    return recording
                recording.lock.release()
        return None

    def has_seen(self, key: Any) -> bool:
        """Whether a call with this key ran before; note it."""
        found = key in self.seen
        if not found:
            self.seen = [key, *self.seen[: KEPT_KEYS - 1]]
        return found

    def refuse(self, key: Any, reason: str) -> None:
        """Do not record calls with a key; nor any calls, if there are no recordings: those inside may be replayed."""
        self.reason, self.refused = reason, [key, *self.refused[: KEPT_KEYS - 1]]
        self.plain = not self.recordings

    def drop(self, recording: "RecordedCall") -> None:
        """Remove a recording whose nodes became part of a graph; at the second time such calls are not recorded."""
        self.recordings = [other for other in self.recordings if other is not recording]
        if recording.key in self.expanded:
            self.refuse(recording.key, "its graph is used itself")
        self.expanded = [recording.key, *self.expanded[: KEPT_KEYS - 1]]


_recorded: weakref.WeakSet[ModuleCalls] = weakref.WeakSet()


def _give_up_recordings() -> None:
    """Replay no more calls on a device that is out of memory: each recording has memory of its own."""
    for calls in list(_recorded):
        if any(recording.device is not CPU for recording in calls.recordings):
            calls.plain, calls.recordings, calls.reason = True, [], "the device ran out of memory"
    gc.collect()


when_full.append(_give_up_recordings)


def call(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Replay a call of a module, or run it; called where no call of another module is running."""
    calls = module._calls
    if calls.plain:
        return module._run(args, kwargs)  # calls of the modules inside may be replayed
    key = None if sys.gettrace() is not None or mode.anomaly is not None else _key(args, kwargs)
    if key is None:
        return _run_whole(module, args, kwargs)
    calls.call_count += 1
    recording = calls.find(key)
    if recording is not None:
        try:
            return recording.replay(args if type(key) is tuple else tensors_in((args, kwargs)))
        except (MinigradError, ReplayError):  # before anything was computed; a plain call names the layer
            return _run_whole(module, args, kwargs)
        finally:
            recording.lock.release()
    if key in calls.refused:
        return _run_whole(module, args, kwargs)
    if not calls.has_seen(key):
        return run_first(module, args, kwargs)
    calls.record_count += 1
    if calls.record_count > KEPT_RECORDINGS and 4 * calls.record_count > calls.call_count:
        calls.plain, calls.recordings, calls.reason = True, [], "it is recorded too often"
        return module._run(args, kwargs)
    return _record(module, calls, key, args, kwargs)


def run_first(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a call whose kernels may be missing."""
    with compile_together(partial(_go_through, module, args, kwargs)):
        return _run_whole(module, args, kwargs)


def _run_whole(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return run_plainly(module._run, args, kwargs)


def _go_through(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Make a call of a module and its backward pass where nothing is computed.

    Only formulas are gone through, because others could have side effects.  Hooks do not run, random numbers come from
    another stream, and the backward pass stops at the arguments.
    """
    read_formula(module)
    tensors, start = [*(x for _, x in module._named_tensors()), *tensors_in((args, kwargs))], newest_node()
    versions = [(x._storage, x._storage.version) for x in tensors]
    try:
        with use_stream(0):
            results = [x for x in tensors_in(_run_whole(module, args, kwargs)) if x._edge is not None]
            walk_back([(x._edge, clone(x.array)) for x in results], _array_ops.__getitem__, keep=True, after=start)
    finally:
        for storage, version in versions:
            storage.version = version


def _key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What calls that can share a recording have in common; None if a call cannot be replayed.

    It is a tuple if the only argument is a tensor, and else a list.
    """
    if len(args) == 1 and not kwargs and type(args[0]) is Tensor:
        x, array = args[0], args[0].array
        place = x.device.placement(array) if array.size else None
        key = mode.grad_enabled, array.shape, array.strides, array.dtype, x._edge is not None, place
        return None if place is None else key
    if not _is_plain((args, kwargs)):
        return None
    call = Call(_key, None, args, kwargs)
    edges = [id(x._edge) for x in call.tensors if x._edge is not None]
    places = [x.device.placement(x.array) if x.array.size else None for x in call.tensors]
    return None if None in places or len(set(edges)) < len(edges) else [*call.key, places]


def _is_plain(value: Any) -> bool:
    """Whether a value consists of tensors, of plain values, and of tuples, lists and dicts of these."""
    if type(value) in (tuple, list):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(map(_is_plain, value.values()))
    return type(value) in (Tensor, *PLAIN) or isinstance(value, np.generic | np.dtype)


# ---- recording


class _ModuleRecording(CallRecording):
    """A recording that notes what a replay could not repeat, where that of mg.graph refuses it."""

    def uses(self, dependency: Any) -> None:
        """Note a dependency."""
        node = dependency._node if isinstance(dependency, Tensor) else None
        if node is not None and node.number < self.first_node and id(dependency._storage) not in self.inside:
            self.spoil("a tensor with a graph that was made outside")
        try:
            self.note(dependency)
        except GraphError as error:
            self.spoil(str(error))

    def writes(self, tensor: Any) -> None:
        """Note a write to the memory of an argument."""
        if any(may_share_memory(given.array, tensor.array) for given in self.inputs):
            self.spoil("an argument that is changed in place")

    def read_grad(self, tensor: Any) -> None:
        """Note that a gradient is used."""
        self.spoil("a gradient")

    write_grad = read_grad

    def refuse(self, where: str, advice: str) -> None:
        """Note what a replay could not repeat."""
        self.spoil(where)


class ReplayError(Exception):
    """The reason why a replay could not take the place of a call."""


def _record(module: Any, calls: ModuleCalls, key: Any, args: Any, kwargs: Any) -> Any:
    """Run a call, and keep its recording if it can be replayed."""
    try:
        guards = read_formula(module)
    except NotAFormulaError as error:
        calls.refuse(key, str(error))
        return module._run(args, kwargs)
    inputs, enabled = tensors_in((args, kwargs)), mode.grad_enabled
    recording = local.observer = _ModuleRecording(inputs)
    for x in inputs:
        recording.makes(x, constant=False)
    before = list(map(_identity_of, inputs))
    try:
        recording.uses(module)
        result = _run_whole(module, args, kwargs)
    finally:
        local.observer = IDLE
    if list(map(_identity_of, inputs)) != before or mode.grad_enabled is not enabled or _key(args, kwargs) != key:
        recording.spoil("an argument or a mode that is changed")
    try:
        recorded = RecordedCall(calls, recording, guards, key, (args, kwargs), result)
    except (ReplayError, GraphError) as error:
        calls.refuse(key, str(error))
        return result
    if not calls.plain:
        calls.recordings = [recorded, *calls.recordings[: KEPT_RECORDINGS - 1]]
        _recorded.add(calls)
    return recorded.give(inputs, recorded.first)


def _identity_of(x: Tensor) -> Any:
    """What a call must leave as it is in an argument."""
    hooks = {name: list(table) for name, table in (x._hooks or {}).items()}
    return id(x.array), id(x._storage), x._storage.version, x._leaf, id(x._node), id(x._grad), x._alias, hooks


def _check(recording: Any, arguments: Any, inputs: list[Tensor], result: Any) -> None:
    """Refuse a call that a replay could not stand for."""
    spoilt = recording.changed_object()
    if spoilt is not None:
        raise ReplayError(spoilt)
    if not _is_plain(_without_fields(result)):
        raise ReplayError("a result that is no tensor, nor a tuple, list or dict of tensors")
    used = [used for used, _ in recording.used.values()]
    known = [vars(module) for module in used if hasattr(module, "_modules")]
    lists = [id(x) for x in _containers(result)]
    if len(set(lists)) < len(lists) or set(lists) & {id(x) for x in _containers([known, arguments])}:
        raise ReplayError("a list or dict that is no new one")
    results, outside = tensors_in(result), [found for found in used if isinstance(found, Tensor)]
    own = [*inputs, *results]
    if any(x.device is not own[0].device or x.device.moving_program is None for x in own):
        raise ReplayError("tensors on another device")
    for i, x in enumerate(own):
        others = [*own[i + 1 :], *outside]
        if any(may_share_memory(x.array, other.array) for other in others):
            raise ReplayError("arguments and results that share memory")
    constants = {id(storage) for storage, _, _ in recording.constants}
    for x in results:
        first, stop = byte_range(x.array)
        whole = x.array.size and stop - first == x.array.nbytes and owns_buffer(x.array)
        made = id(x._storage) in recording.inside and id(x._storage) not in constants
        if not whole or not made or x._hooks or x._leaf:
            raise ReplayError("a result that has no memory of its own")


def _without_fields(value: Any) -> Any:
    """A value with tuples in place of named tuples."""
    if isinstance(value, tuple):
        return object() if hasattr(value, "__dict__") else tuple(map(_without_fields, value))
    return value


def _containers(value: Any) -> Iterator[Any]:
    """The lists and dicts in a value, at any depth."""
    if isinstance(value, list | dict):
        yield value
    if isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _containers(part)


class _Layout:
    """How an array lies in its memory, all of which it owns."""

    def __init__(self, array: Any, device: Any):
        self.new_array = device.allocate
        order = tuple(range(array.ndim)) if array.flags.c_contiguous else outermost_first(array)
        self.shape, self.dtype = tuple([array.shape[axis] for axis in order]), array.dtype
        self.axes = None if array.flags.c_contiguous else sorted(range(array.ndim), key=order.__getitem__)

    def allocate(self) -> Any:
        """An uninitialised array."""
        memory = self.new_array(self.shape, self.dtype)
        return memory if self.axes is None else memory.transpose(self.axes)


class _End:
    """An edge that leads out of a kept graph, to a parameter or to an argument.

    Each has an object of its own, so that the gradients of a parameter that is used twice are given one by one, and are
    added in the order of a plain backward pass.

    target   the parameter, or the number of the argument
    """

    def __init__(self, target: Any, device: Any):
        self.target, self.device = target, device


class _KeptNode:
    """A node of the recorded call, without what differs from call to call.

    arrays     (kept, out, saved) of the node, with a Place for each array in the memory of an argument or a result
    versions   as in the node, with the number of that argument or result in place of its storage
    """

    def __init__(self, node: Node, ranges: Any, numbers: dict[int, int]):
        def place(array: Any) -> Any:
            return find_place(array, ranges) or array

        self.node, kind = node, node.device.array_type
        self.arrays = map_parts(kind, place, (node.kept, node.out, node.saved))
        self.versions = [(position, numbers.get(id(storage), storage), n) for position, storage, n in node.versions]
        settings: list[Any] = []
        map_parts(kind, lambda array: settings.append(find_place(array, ranges)), node.settings)
        if any(settings):
            raise ReplayError("a setting that holds an argument")

    def bind(self, call: "ModuleNode") -> None:
        """Give the node the arrays and versions of a call."""
        node = self.node
        node.kept, node.out, node.saved = map_parts(Place, lambda place: place.of(call.arrays), self.arrays)
        node.versions = [
            (position, call.storages[storage] if type(storage) is int else storage, call.seen.get(storage, n))
            for position, storage, n in self.versions
        ]

    def release(self) -> None:
        """Take them away."""
        self.node.kept, self.node.out, self.node.saved = self.arrays
        self.node.versions = []


class RecordedCall(Assumptions):
    """A recorded call: its program, and the nodes behind its results.

    key         of the calls that it can stand for
    device      of all arguments, results and parameters
    program     of the forward pass; its inputs are the arguments and the results, whose memory each replay gives
    writes      storages from outside, with the number of writes of a replay, such as running means
    roots       for each result its node, or None
    nodes       all nodes of the recorded call
    edges       where their gradients go: parameters, and numbers of arguments
    read        numbers of the arguments and results that the nodes read
    watched     storages from outside that they read
    node        a weak reference to the node of the last results, which still needs the memory
    backwards   recorded backward passes, with what they were given and asked for; see _Backward
    """

    def __init__(self, calls: ModuleCalls, recording: Any, guards: list[Guard], key: Any, arguments: Any, result: Any):
        inputs, results, self.calls = tensors_in(arguments), tensors_in(result), calls
        _check(recording, arguments, inputs, result)
        super().__init__(list(recording.used.values()))
        self.device: Any = next((x.device for x in (*results, *inputs)), CPU)
        self.key, self.guards, self.count, self.start = key, guards, len(inputs), recording.first_node
        self.outside = {id(used._storage) for used, _ in recording.used.values() if isinstance(used, Tensor)}
        self.lock, self.backward_lock = threading.Lock(), threading.RLock()
        self.first = [x.array for x in (*inputs, *results)]  # until they are given
        self.layouts = [_Layout(x.array, self.device) for x in results]
        self.result = map_tensors(lambda _: _make(np.empty(0), CPU, None), result)
        self.writes = [(s, s.version - before) for s, before in recording.outside.values() if s.version != before]
        self.roots: list[Any] = [x.node for x in results]
        found = reachable(*[node for node in self.roots if node is not None], after=self.start)  # newest first
        if any(type(node) is not Node or node.hooks or node.changed() for node in found):
            raise ReplayError("a node of another kind, with hooks, or with values that were changed")
        if any(edge is not None and edge.device is not self.device for node in found for edge in (node, *node.edges)):
            raise ReplayError("a tensor on another device")
        self.ends, places = _find_ends(found, inputs)
        self.edges: list[Any] = [end.target for end in self.ends]
        ranges = list(map(byte_range, self.first))
        numbers = {id(x._storage): i for i, x in enumerate((*inputs, *results))}
        self.nodes = [_KeptNode(node, ranges, numbers) for node in found]
        used = {storage for kept in self.nodes for _, storage, _ in kept.versions}
        self.read = [storage for storage in used if type(storage) is int]
        self.watched = [s for s in used if type(s) is not int and id(s) not in recording.inside]
        ended: list[Any] = [self.first[edge] if type(edge) is int else edge.array for edge in self.edges]
        self.shapes, self.dtypes = [x.shape for x in ended], [x.dtype for x in ended]
        self.only = next((i for i, root in enumerate(self.roots) if root is not None), -1)  # of one result with a node
        self.root: Any = self.roots[self.only] if self.roots else None
        self.alone = sum(root is not None for root in self.roots) == 1
        self.program = _whole_program(recording, self.first, self.device)
        self.program.check_first()
        if not all(self.program.names(i) for i in range(self.count, len(self.first))):
            raise ReplayError("a result that is a constant")
        self.first[self.count :] = self.program.apart(self.first[self.count :])
        for end, (node, i) in zip(self.ends, places, strict=True):  # from here on the nodes are ours
            node.edges[i] = end
        for kept in self.nodes:
            kept.release()
        self.node: Any = None
        self.backwards: list[tuple[Any, _Backward | None]] = []
        self.expanded = False

    def is_free(self) -> bool:
        """Whether its memory is not needed by results that still await their backward pass."""
        node = None if self.node is None else self.node()
        return not self.expanded and (node is None or node.freed)

    def is_valid(self) -> bool:
        """Whether everything that it depends on is as it was."""
        return hold(self.guards) and super().is_valid()

    def replay(self, inputs: Sequence[Tensor]) -> Any:
        """The results for other arguments.

        Raises   ReplayError   an argument has the memory of a tensor that the module itself uses
        """
        if any(id(x._storage) in self.outside for x in inputs):
            raise ReplayError("an argument that the module itself uses")
        arrays = [x.array for x in inputs]
        arrays += [layout.allocate() for layout in self.layouts]
        self.program(arrays)
        for storage, writes in self.writes:
            storage.version += writes
        return self.give(inputs, arrays)

    def give(self, inputs: Sequence[Tensor], arrays: list[Any]) -> Any:
        """The results as tensors with their node."""
        self.first = []
        made = [_make(array, self.device, None) for array in arrays[self.count :]]
        if self.edges:
            node = ModuleNode(self, inputs, made, arrays)
            self.node = weakref.ref(node)
            for i, root in enumerate(self.roots):
                if root is not None:
                    made[i]._node = node if self.alone else ModuleOutput(node, i, self.device)
        given = iter(made)
        return map_tensors(lambda _: next(given), self.result)

    # ---- backward

    def walk(
        self, call: "ModuleNode", gradients: dict[int, Any], needed: Any, do: Any, tensors: Any = None
    ) -> list[Any]:
        """The gradient for each edge, by a walk through the kept nodes."""
        if not self.expanded:
            for kept in self.nodes:
                kept.bind(call)
        seeds = [(self.roots[i], g) for i, g in gradients.items()]
        ends = call.edges if self.expanded else self.ends
        wanted = None if needed is None else [end for end, need in zip(ends, needed, strict=True) if need]
        after = call.number if self.expanded else self.start
        try:
            found = {id(end): part for end, part in walk_back(seeds, lambda _: do, True, tensors, wanted, None, after)}
        finally:
            if not self.expanded:
                for kept in self.nodes:
                    kept.release()
        return [found.pop(id(end), None) for end in ends]  # a real edge has one sum for all its places

    def expand(self, call: "ModuleNode") -> None:
        """Make the kept nodes the graph of a call.  There are no further replays, which would overwrite its memory."""
        if self.expanded:
            return
        with self.backward_lock:
            stand_ins = {id(end): edge for end, edge in zip(self.ends, call.edges, strict=True)}
            for i, kept in enumerate(sorted(self.nodes, key=lambda kept: kept.node.number), 1):
                kept.bind(call)
                kept.node.edges = [stand_ins.get(id(edge), edge) for edge in kept.node.edges]
                kept.node.number = call.number + i / (len(self.nodes) + 1)  # after the arguments, before what follows
            self.expanded = True
            self.calls.drop(self)

    def root_of(self, call: "ModuleNode", index: int, hooks: Any) -> Node:
        """The kept node of a result, as part of the graph of a call, with the hooks of the node that stood for it."""
        self.expand(call)
        root = self.roots[index]
        root.hooks = root.hooks or hooks
        return root

    def backward(self, call: "ModuleNode", gradients: dict[int, Any], needed: Any) -> list[Any]:
        """The gradient for each edge; the first walk of a kind is recorded."""
        do = _array_ops[self.device]
        with self.backward_lock:
            if self.expanded or call.is_stale():
                return self.walk(call, gradients, needed, do)
            key = needed, [(i, g.strides, self.device.placement(g)) for i, g in gradients.items()]
            for known, backward in self.backwards:
                if known == key and (backward is None or backward.is_valid()):
                    return backward.run(call, gradients) if backward else self.walk(call, gradients, needed, do)
            recording = local.observer = _BackwardRecording()
            try:
                parts = self.walk(call, gradients, needed, ObservedOps(self.device))
            finally:
                local.observer = IDLE
            made = _Backward.of(recording, [*call.arrays, *gradients.values()], parts, self.device)
            others = [pair for pair in self.backwards if pair[0] != key]
            self.backwards = [(key, made), *others[: KEPT_BACKWARDS - 1]]
            return made.first if made else parts


def _find_ends(nodes: list[Node], inputs: list[Tensor]) -> tuple[list[_End], list[tuple[Node, int]]]:
    """The edges that lead out of the nodes, and where they are, in the order in which a backward pass takes them."""
    inside = {id(node) for node in nodes}
    numbers: dict[int, Any] = {id(x._edge): i for i, x in enumerate(inputs) if x._edge is not None}
    ends, places = [], []
    for node in nodes:
        for i, edge in enumerate(node.edges or ()):
            if edge is not None and id(edge) not in inside:
                if id(edge) not in numbers and isinstance(edge, Node):
                    raise ReplayError("a graph that was made outside")
                ends.append(_End(numbers.get(id(edge), edge), edge.device))
                places.append((node, i))
    return ends, places


def _whole_program(recording: Any, given: list[Any], device: Any) -> Any:
    """The program of a recording that uses all given arrays where they are."""
    program = recording.program(given, [True] * len(given), device.moving_program)
    if program.copied:
        raise ReplayError("a Python function that takes arguments in lists")
    return program


class _BackwardRecording(Recording):
    """A recording of a backward pass.

    used      the settings that it depends on, with their states
    refused   whether something was done that a replay could not repeat
    """

    def __init__(self) -> None:
        super().__init__()
        self.used: list[tuple[Any, Any]] = []
        self.refused = False

    def uses(self, dependency: Any) -> None:
        """Note a setting."""
        if not isinstance(dependency, Tensor):
            self.used.append((dependency, dependency._replay_state()))

    def refuse(self, where: str, advice: str) -> None:
        """Note what a replay could not repeat."""
        self.refused = True


class _Backward(Assumptions):
    """A recorded backward pass.

    program   its inputs are the arrays of the call, the gradients of results, and the memory of the gradients it gives
    first     the gradients of the recorded walk
    parts     for each edge the place of its gradient in these, an array to be copied, or None
    fresh     the layouts of the memory that each replay gives
    """

    @classmethod
    def of(cls, recording: _BackwardRecording, given: list[Any], parts: list[Any], device: Any) -> "_Backward | None":
        """The replay of a backward pass; None if there can be none."""
        if recording.refused or any(may_share_memory(x, y) for i, x in enumerate(given) for y in given[i + 1 :]):
            return None
        try:
            return cls(recording, given, parts, device)
        except (ReplayError, GraphError):
            return None

    def __init__(self, recording: _BackwardRecording, given: list[Any], parts: list[Any], device: Any):
        super().__init__(recording.used)
        memory = list(given)
        for part in parts:
            if part is not None and find_place(part, list(map(byte_range, memory))) is None:
                first, stop = byte_range(part)
                block = recording.allocation_of(part)
                shared = any(part is not x and x is not None and may_share_memory(part, x) for x in parts)
                whole = stop - first == part.nbytes and owns_buffer(part) and not shared
                memory += [] if block is None else [part if whole else block]
        ranges = list(map(byte_range, memory))
        self.parts = [part if part is None else find_place(part, ranges) or part for part in parts]
        self.fresh = [_Layout(array, device) for array in memory[len(given) :]]
        self.program = _whole_program(recording, memory, device)
        memory[len(given) :] = self.program.apart(memory[len(given) :])
        self.first = self._given(memory)

    def run(self, call: "ModuleNode", gradients: dict[int, Any]) -> list[Any]:
        """The gradient for each edge."""
        memory = [*call.arrays, *gradients.values(), *[layout.allocate() for layout in self.fresh]]
        self.program(memory)
        self.first = []
        return self._given(memory)

    def _given(self, memory: list[Any]) -> list[Any]:
        """The gradients in this memory."""
        return [
            part.of(memory) if type(part) is Place else part if part is None else clone(part) for part in self.parts
        ]


class ModuleNode(StandIn):
    """The node of a replayed call.

    call       the recorded call
    arrays     of the arguments and the results
    storages   of the same
    seen       the versions that the nodes inside rely on, by storage, or by number of an argument or result
    """

    __slots__ = ("arrays", "call", "seen", "storages")

    def __init__(self, call: RecordedCall, inputs: Sequence[Tensor], made: list[Tensor], arrays: list[Any]):
        edges = [inputs[edge]._edge if type(edge) is int else edge for edge in call.edges]
        root = call.root
        super().__init__(root.op, call.device, edges, call.shapes, call.dtypes, [], [], None, None, root.settings)
        self.call, self.arrays = call, arrays
        self.storages = [x._storage for x in (*inputs, *made)]
        self.seen: dict[Any, int] = {i: self.storages[i].version for i in call.read}
        for storage in call.watched:
            self.seen[storage] = storage.version

    def is_stale(self) -> bool:
        """Whether a value that the nodes inside rely on was changed in place after the call."""
        storages = self.storages
        for storage, version in self.seen.items():
            if (storages[storage] if type(storage) is int else storage).version != version:
                return True
        return False

    def free(self) -> None:
        super().free()
        self.arrays, self.storages, self.seen = [], [], {}

    @property
    def is_expanded(self) -> bool:
        return self.call.expanded and not self.freed

    def expanded(self) -> Node:
        return self if self.freed else self.call.root_of(self, self.call.only, self.hooks)

    def contributions(self, do: Any, g: Any, tensors: Any, needed: Any) -> Any:
        gradients = g if type(g) is dict else {self.call.only: g}
        if tensors is not None:
            self.call.expand(self)
        if tensors is not None or local.observer is not IDLE or mode.anomaly is not None:
            parts = self.call.walk(self, gradients, needed, do, tensors)
        else:
            parts = self.call.backward(self, gradients, needed)
        return [None if part is None else partial(_identity, part) for part in parts]


class ModuleOutput(OutputNode, StandIn):
    """One of several results of a replayed call."""

    __slots__ = ()

    @property
    def is_expanded(self) -> bool:
        return self.edges is not None and self.edges[0].is_expanded

    def expanded(self) -> Node:
        if self.edges is None or self.edges[0].freed:
            return self
        return self.edges[0].call.root_of(self.edges[0], self.index, self.hooks)


def _identity(value: Any) -> Any:
    return value
