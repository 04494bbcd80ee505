"""Forks: no child finds a lock held by a thread that it does not have."""

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any


def wait_for(lock: Callable[[], Any]) -> None:
    """Make every fork hold a lock, so that no other thread holds it and the data that it guards is consistent.

    lock   gives the lock, which may be replaced only by who holds it

    A fork acquires locks in the reverse order of these calls: register an inner lock before the one it is taken inside.
    """
    held: list[Any] = []

    def acquire() -> None:
        found = lock()
        found.acquire()
        held.append(found)

    def release() -> None:
        held.pop().release()

    at_fork(before=acquire, after_in_parent=release, after_in_child=release)


class Lock:
    """A lock that is replaced by a free one in a forked child.

    A fork does not wait for it, so it may guard only what each holder fills anew.
    """

    def __init__(self) -> None:
        self._renew()
        _locks.add(self)

    def _renew(self) -> None:
        self.lock, self.held = threading.Lock(), None

    def __enter__(self) -> None:
        lock = self.lock
        lock.acquire()
        self.held = lock

    def __exit__(self, *_: object) -> None:
        if self.held is not None:  # else this is a child, forked by who held it
            self.held.release()


_locks: "weakref.WeakSet[Lock]" = weakref.WeakSet()


def at_fork(**calls: Callable[[], object]) -> None:
    """os.register_at_fork, where there are forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**calls)


at_fork(after_in_child=lambda: [lock._renew() for lock in list(_locks)])
