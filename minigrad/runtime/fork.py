"""Locks in forked processes: a child must not find a lock held by a thread that exists only in its parent."""

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any


def wait_for(lock: Callable[[], Any]) -> None:
    """Make every fork wait for a lock and hold it, so that the data that it guards are consistent.

    lock   returns the lock; only a thread that holds it may replace it

    A fork acquires the locks in the reverse order of these calls.  Register a lock before the locks that are held when
    it is acquired.
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

    A fork does not wait for it.  Therefore it may only guard data that each holder writes before reading them, or that
    may be left half-written.
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
        if self.held is not None:  # None in a child that was forked by the holder
            self.held.release()


_locks: "weakref.WeakSet[Lock]" = weakref.WeakSet()


def at_fork(**calls: Callable[[], object]) -> None:
    """Call os.register_at_fork, if the system can fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**calls)


at_fork(after_in_child=lambda: [lock._renew() for lock in list(_locks)])
