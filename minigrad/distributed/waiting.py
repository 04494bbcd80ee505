"""Waiting for messages of other ranks, with a limit, and without using a core for long."""

import os
import time
from collections.abc import Sequence
from typing import Any

from ..errors import RankError
from .group import Group

FIRST_POLLS = 200  # one after the other, about 100 us; most messages have come by then
SHORTEST_SLEEP, LONGEST_SLEEP = 20e-6, 10e-3  # seconds; the system adds some 50 us
SLEEP_SHARE = 0.05  # of the time waited so far

let_others_run = getattr(os, "sched_yield", lambda: time.sleep(0))  # where ranks share a core


def wait(
    group: Group, requests: Sequence[Any], ranks: Sequence[int | None], what: str, limit: float | None = None
) -> None:
    """Wait until all requests are complete.

    ranks   for each request the rank at its other end; None for a request of all ranks together
    what    is waited for, for the message
    limit   seconds; None for the limit of init()

    Raises   RankError   they are not complete in time
    """
    is_complete = group.mpi.Request.Testall
    for _ in range(FIRST_POLLS):
        if is_complete(requests):
            return
        let_others_run()
    start, waited, limit = time.monotonic(), 0.0, group.timeout if limit is None else limit
    while not is_complete(requests):
        waited = time.monotonic() - start
        if waited > limit:
            raise RankError(_message(group, requests, ranks, what, waited))
        time.sleep(min(max(SLEEP_SHARE * waited, SHORTEST_SLEEP), LONGEST_SLEEP))


def _message(group: Group, requests: Sequence[Any], ranks: Sequence[int | None], what: str, waited: float) -> str:
    missing = {rank for request, rank in zip(requests, ranks, strict=True) if not request.Test()}
    named = ", ".join(str(rank) for rank in sorted(rank for rank in missing if rank is not None))
    who = f"rank {named} did not arrive" if named else "another rank did not arrive"
    return (
        f"distributed: {group.name()}: waited {waited:.0f} s for {what}: {who}; look for an "
        "error or an endless loop there, or give init() a longer timeout"
    )
