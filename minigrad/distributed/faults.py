"""What happens when a rank fails: its message names the rank and the step, and all ranks end.

an error         is printed by the rank that does not catch it, which then ends the job
a killed rank    is noticed by the launcher, which ends the others.  Open MPI names the rank.  MPICH names the process;
                 with `mpiexec -disable-auto-cleanup` it only tells the others, which name rank and step, and end
a rank that hangs is noticed by those that wait for it; see waiting.py
"""

import atexit
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from .collectives import barrier
from .group import Group, current_group

LONGEST_DEATH = 1.0  # seconds from the launcher's notice until a process has left the table


def watch(group: Group) -> None:
    """Let errors and signals of this rank end all ranks."""
    sys.excepthook = _end_after_error
    atexit.register(_wait_for_all)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end_quietly)
        if "PMI_SIZE" in os.environ and hasattr(signal, "SIGUSR1"):  # MPICH sends it when a process has died
            signal.signal(signal.SIGUSR1, _end_after_death)


def _say(text: str) -> None:
    print(f"minigrad: {current_group().name()}: {text}", file=sys.stderr, flush=True)


def _end_all_ranks() -> None:
    sys.stdout.flush()
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


def _end_after_death(number: int, frame: Any) -> None:
    """Name the ranks whose processes have died, and end the others."""
    deadline = time.monotonic() + LONGEST_DEATH
    while not (dead := _dead_ranks()) and time.monotonic() < deadline:
        time.sleep(0.01)
    _say(f"rank {', '.join(map(str, dead)) or 'on another machine'} died; ending all ranks")
    _end_all_ranks()


def _dead_ranks() -> list[int]:
    """The ranks of this machine whose processes have ended."""
    group = current_group()
    host = group.processes[group.rank][0] if group.processes else ""
    return [rank for rank, (name, pid) in enumerate(group.processes) if name == host and not _is_alive(pid)]


def _is_alive(pid: int) -> bool:
    """Whether a process of this machine runs, by Linux's table of processes; True where there is none."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return not Path("/proc/self").exists()
    return state not in "ZX"


def _wait_for_all() -> None:
    """At the end of the program, wait without using a core: MPI's own end would not sleep, nor give up."""
    try:
        barrier(current_group().first_timeout)
    except BaseException as error:
        _end_after_error(type(error), error, error.__traceback__)
