"""Stopping a training run between two steps when the user presses Ctrl-C."""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any


class StopRequest:
    """Inside, the first Ctrl-C or SIGTERM sets `requested`, and the second stops the program as usual.

    Only the main thread of Python receives signals; in another thread nothing is changed.

    is_alone   whether this is the only rank.  Several ranks stop when all know that one of them was asked to: `agreed`
    """

    def __init__(self, is_alone: bool = True):
        self.is_alone, self.agreed, self.requested = is_alone, False, False

    @property
    def is_due(self) -> bool:
        """Whether to stop before the next step."""
        return self.requested if self.is_alone else self.agreed

    def __enter__(self) -> "StopRequest":
        self.handlers: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self.handlers = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore_handlers()
        with contextlib.suppress(OSError):  # not print(), which the signal may have interrupted
            os.write(2, b"\nstopping after this step; a second Ctrl-C stops at once\n")

    def _restore_handlers(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def __exit__(self, *error: object) -> None:
        self._restore_handlers()
