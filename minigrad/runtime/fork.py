"""Forks: locks that no child finds held by a thread that it does not have."""

import os
from collections.abc import Callable
from typing import Any


def wait_for(lock: Callable[[], Any]) -> None:
    """Let every fork wait until no other thread holds a lock, and what it guards is whole.

    lock   gives the lock, which may be replaced only by who holds it

    Locks that are taken inside others come first: a fork takes them in the order opposite to that of these calls.
    """
    held: list[Any] = []

    def acquire() -> None:
        found = lock()
        found.acquire()
        held.append(found)

    def release() -> None:
        held.pop().release()

    at_fork(before=acquire, after_in_parent=release, after_in_child=release)


def at_fork(**calls: Callable[[], object]) -> None:
    """os.register_at_fork, where there are forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**calls)
