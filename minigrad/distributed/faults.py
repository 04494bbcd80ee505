"""What happens when a rank fails: its message names the rank and the step, and all ranks end.

an error         is printed by the rank that does not catch it, which then ends the job
a killed rank    is noticed by the launcher, which ends the others.  Open MPI names the rank.  MPICH names the process,
                 whose rank the first line of the job tells
a rank that hangs is noticed by those that wait for it; see waiting.py
"""

import atexit
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any

from .collectives import wait_for_the_end
from .group import current_group

FORWARDING = 0.3  # seconds in which the launcher passes on what a rank has printed; it drops the rest at the end


def watch() -> None:
    """Let errors and signals of this rank end all ranks."""
    sys.excepthook = _end_after_error
    atexit.register(_wait_for_all)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end_quietly)


def _say(text: str) -> None:
    sys.stderr.flush()
    os.write(2, f"minigrad: {current_group().name()}: {text}\n".encode())  # not print(), which a signal may interrupt


def _end_all_ranks() -> None:
    sys.stdout.flush()
    time.sleep(FORWARDING)
    current_group().comm.Abort(1)


def _end_after_error(kind: Any, error: Any, trace: Any) -> None:
    print("".join(traceback.format_exception(kind, error, trace)), end="", file=sys.stderr)
    _say(f"{kind.__name__}: {error}; ending all ranks")
    _end_all_ranks()


def _end_quietly(number: int, frame: Any) -> None:
    """End this rank, as the launcher asks."""
    _say("ended from outside, by the launcher or a user")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _wait_for_all() -> None:
    """At the end of the program, wait without using a core: MPI's own end would not sleep, nor give up."""
    try:
        wait_for_the_end(current_group())
    except BaseException as error:
        _end_after_error(type(error), error, error.__traceback__)
