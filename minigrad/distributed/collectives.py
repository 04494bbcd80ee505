"""Functions that every rank calls, in the same order: barrier, broadcast, all_reduce, and objects of all ranks.

Each begins with a barrier of messages between pairs of ranks, so that a rank that does not arrive can be named.
"""

import pickle
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np

from ..checks import brief, index_in_range, type_with_article
from ..errors import DtypeError, ValidationError
from ..ops.rank_mean import rank_mean_dispatch
from ..runtime.threads import call_on_host, local
from ..tensors import Tensor
from .group import Group, current_group
from .waiting import wait

MOST_ELEMENTS = 2**20  # of an all_reduce at a time: it takes memory for those of all ranks


class ReduceOp:
    """What all_reduce computes of the elements of all ranks."""

    SUM, AVG, MIN, MAX, PRODUCT = "sum", "avg", "min", "max", "product"


UFUNCS: dict[str, np.ufunc] = {"sum": np.add, "min": np.minimum, "max": np.maximum, "product": np.multiply}


def barrier(timeout: float | None = None) -> None:
    """Wait until all ranks have come here.

    timeout   seconds; None for that of init().  Give a longer one where one rank works alone, as on a checkpoint

    Raises   RankError   a rank does not come in time; the message names it
    Example
    >>> barrier()
    """
    group = current_group()
    if group.size > 1:
        call_on_host(_meet, group, timeout)


def wait_for_the_end(group: Group) -> None:
    """Wait until all ranks have come to the end of the program."""
    if group.size > 1:
        _meet(group, group.first_timeout, "the end of the program", group.end_comm)


def _meet(group: Group, timeout: float | None = None, what: str = "a barrier", comm: Any = None) -> None:
    others, nothing, comm = group.others(), bytearray(0), group.comm if comm is None else comm
    requests = [comm.Irecv(nothing, rank) for rank in others] + [comm.Isend(nothing, rank) for rank in others]
    wait(group, requests, others * 2, what, timeout)


def broadcast(tensor: Tensor, src: int = 0) -> None:
    """Overwrite a tensor with its values on one rank.

    tensor   of the same shape and dtype on all ranks; on "cuda" it is sent through the memory of the host
    src      the rank that keeps its values

    Raises   DtypeError        tensor is no tensor
             OutOfRangeError   there is no such rank
    Example
    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0])
    >>> broadcast(x)
    >>> x
    tensor([1., 2.])
    """
    src = index_in_range("broadcast", src, current_group().size, "ranks")
    _change("broadcast", tensor, partial(_broadcast, current_group(), src))


def _broadcast(group: Group, src: int, values: np.ndarray) -> None:
    _meet(group, what="a broadcast")
    wait(group, [group.comm.Ibcast(values.view(np.uint8), src)], [None], "a broadcast")


def all_reduce(tensor: Tensor, op: str = ReduceOp.SUM) -> None:
    """Overwrite a tensor with the sum of its values on all ranks, or with what another ReduceOp gives.

    tensor   of the same shape and dtype on all ranks; on "cuda" it is sent through the memory of the host
    op       ReduceOp.SUM, AVG (floats only), MIN, MAX or PRODUCT

    The values of the ranks are added in the order of the ranks: all ranks get the same bits, in every run.
    Raises   DtypeError        tensor is no tensor, or AVG of whole numbers
             ValidationError   there is no such op
    Example
    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0])
    >>> all_reduce(x)
    >>> x
    tensor([1., 2.])
    """
    if op not in (*UFUNCS, ReduceOp.AVG):
        raise ValidationError(f"all_reduce: op is {brief(op)}; use ReduceOp.SUM, AVG, MIN, MAX or PRODUCT")
    if op == ReduceOp.AVG and isinstance(tensor, Tensor) and tensor.dtype.kind != "f":
        raise DtypeError(f"all_reduce: the mean of {tensor.dtype} numbers is no such number; use .float(), or SUM")
    _change("all_reduce", tensor, partial(_all_reduce, current_group(), op))


def _all_reduce(group: Group, op: str, values: np.ndarray) -> None:
    _meet(group, what="an all_reduce")
    for start in range(0, values.size, MOST_ELEMENTS):
        own = values[start : start + MOST_ELEMENTS]
        rows = np.empty((group.size, own.size), own.dtype)
        wait(group, [group.comm.Iallgather(own.view(np.uint8), rows.view(np.uint8))], [None], "an all_reduce")
        if own.dtype.kind == "f" and op in (ReduceOp.SUM, ReduceOp.AVG):
            rank_mean_dispatch["cpu"](rows, group.size if op == ReduceOp.AVG else 1, own)
        else:
            own[...] = reduce(UFUNCS[op], rows)


def _change(where: str, tensor: Tensor, change: Callable[[np.ndarray], None]) -> None:
    """Let a function overwrite the elements of a tensor, a flat NumPy array; each replay of a recording does so."""
    if not isinstance(tensor, Tensor):
        raise DtypeError(f"{where}: expected a Tensor, got {type_with_article(tensor)}; use mg.tensor(...)")
    if current_group().size == 1:
        return
    local.observer.uses(tensor)
    local.observer.writes(tensor)
    if isinstance(tensor.array, np.ndarray):
        call_on_host(_change_flat, change, tensor.array)
    else:
        local.observer.refuse(f"{where} of a tensor on '{tensor.device}'", "call it outside")
        values = tensor.device.to_host(tensor.array)
        _change_flat(change, values)
        tensor.array.assign(tensor.device.from_host(values))
    tensor._storage.version += 1


def _change_flat(change: Callable[[np.ndarray], None], array: np.ndarray) -> None:
    values = np.ascontiguousarray(array).reshape(-1)
    change(values)
    if not np.may_share_memory(values, array):
        array[...] = values.reshape(array.shape)


# ---- objects


def all_gather_object(object_list: list[Any], obj: Any) -> None:
    """Fill a list with one object of each rank, in the order of the ranks.

    object_list   as long as there are ranks
    obj           this rank's object, which can be pickled

    Raises   ValidationError   the list has another length
    Example
    >>> found = [None]
    >>> all_gather_object(found, "a")
    >>> found
    ['a']
    """
    group = current_group()
    if len(object_list) != group.size:
        raise ValidationError(
            f"all_gather_object: the list has {len(object_list)} entries for {group.size} ranks; use [None] * "
            f"{group.size}"
        )
    object_list[:] = gather(group, obj)


def gather(group: Group, value: Any) -> list[Any]:
    """The values of all ranks."""
    local.observer.refuse("an exchange of objects", "exchange them outside")
    if group.size == 1:
        return [value]
    _meet(group, what="objects of all ranks")
    own = np.frombuffer(pickle.dumps(value), np.uint8)
    lengths = np.empty(group.size, np.int64)
    wait(group, [group.comm.Iallgather(np.array([own.size]), lengths)], [None], "the lengths of objects")
    data = np.empty(lengths.sum(), np.uint8)
    wait(group, [group.comm.Iallgatherv(own, (data, lengths))], [None], "objects of all ranks")
    return [pickle.loads(part.tobytes()) for part in np.split(data, np.cumsum(lengths)[:-1])]


def broadcast_object_list(object_list: list[Any], src: int = 0) -> None:
    """Overwrite the entries of a list with those on one rank.

    object_list   objects that can be pickled; as long on all ranks
    src           the rank that keeps its own

    Raises   OutOfRangeError   there is no such rank
    Example
    >>> settings = [3, "a"]
    >>> broadcast_object_list(settings)
    >>> settings
    [3, 'a']
    """
    group = current_group()
    src = index_in_range("broadcast_object_list", src, group.size, "ranks")
    object_list[:] = gather(group, list(object_list) if group.rank == src else None)[src]
