"""Profile: where the time of a training step goes, by operation."""

import time
from dataclasses import dataclass
from typing import Any, Self

from .errors import GraphError
from .runtime import kernel as kernels
from .runtime.memory import is_array
from .runtime.threads import IDLE, Observer, local


@dataclass
class Row:
    """What is known of an operation.

    calls     count
    seconds   in its kernels and the Python around them, without compiling
    compile   seconds of compiling
    flops     multiplications and additions; 0 for operations that only move or choose
    bytes     of the arrays that it reads and writes, each once
    """

    calls: int = 0
    seconds: float = 0.0
    compile: float = 0.0
    flops: int = 0
    bytes: int = 0


class profile(Observer):
    """Time what is computed inside `with`, by operation, and print a table at its end.

    quiet   True: print nothing; str(p) is the table, p.rows has the numbers

    One line for each operation, gradients and optimisers included: calls, milliseconds and their share of the time
    inside, GFLOP/s, GB/s, and seconds of compiling apart.  What is left is Python between operations.  Functions of
    mg.graph run unrecorded inside, so that their operations can be told apart.

    Raises   GraphError   inside another profile, or while a function is recorded
    Example
    >>> import minigrad as mg
    >>> with mg.profile(quiet=True) as p:
    ...     y = mg.ones(64, 64) @ mg.ones(64, 64)
    >>> p.rows["matmul"].calls, p.rows["matmul"].flops
    (1, 524288)
    """

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.rows: dict[str, Row] = {}
        self.seconds = 0.0
        self._open: Row | None = None  # of the operation that is running

    def __enter__(self) -> Self:
        if local.observer is not IDLE:
            raise GraphError("profile: this thread is being recorded or profiled already; leave that first")
        local.observer = self
        kernels.compile_listeners.append(self._compiled)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._start
        kernels.compile_listeners.remove(self._compiled)
        local.observer = IDLE
        if not self.quiet:
            print(self)

    def run(self, operation: Any, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        """Time an operation."""
        row = self._row(operation.name)
        result = self._timed(row, operation.forward, device, *arrays, **settings)
        if not operation.view:
            row.bytes += _bytes([*arrays, result])
        if operation.flops is not None:
            row.flops += operation.flops(result, *arrays)
        return result

    def launch(self, kernel: Any, address: int, tasks: int, arguments: tuple[Any, ...]) -> None:
        """Run a kernel; one that belongs to no operation, as an optimiser's, is timed by itself."""
        if self._open is not None:
            kernel.replay(address, tasks, arguments)
            return
        row = self._row(kernel.name)
        self._timed(row, kernel.replay, address, tasks, arguments)
        row.bytes += _bytes(arguments)

    def _timed(self, row: Row, function: Any, *args: Any, **settings: Any) -> Any:
        outer, self._open, compiled = self._open, row, row.compile
        start = time.perf_counter()
        try:
            return function(*args, **settings)
        finally:
            row.calls += 1
            row.seconds += time.perf_counter() - start - (row.compile - compiled)
            self._open = outer

    def _row(self, name: str) -> Row:
        return self.rows.setdefault(name, Row())

    def _compiled(self, name: str, seconds: float) -> None:
        row = self._row(name) if self._open is None else self._open
        row.compile += seconds

    def __str__(self) -> str:
        rows = sorted(self.rows.items(), key=lambda item: -item[1].seconds)
        compiling = sum(row.compile for _, row in rows)
        total = self.seconds - compiling
        rest = Row(seconds=total - sum(row.seconds for _, row in rows))
        lines = [_line(name, row, total) for name, row in [*rows, ("between operations", rest)]]
        end = f"{1e3 * total:.2f} ms" + (f", and {compiling:.2f} s of compiling" if compiling else "")
        return "\n".join([HEAD, *lines, end])


HEAD = f"{'operation':28}{'calls':>7}{'ms':>10}{'share':>8}{'GFLOP/s':>10}{'GB/s':>8}{'compile s':>11}"


def _line(name: str, row: Row, total: float) -> str:
    """A row as text; numbers that say nothing are left out."""

    def rate(count: float) -> str:
        return f"{count / row.seconds / 1e9:.1f}" if count and row.seconds else ""

    calls, compiling = row.calls or "", f"{row.compile:.2f}" if row.compile else ""
    share = row.seconds / total if total else 0.0
    return (
        f"{name:28}{calls:>7}{1e3 * row.seconds:>10.3f}{share:>8.1%}"
        f"{rate(row.flops):>10}{rate(row.bytes):>8}{compiling:>11}"
    ).rstrip()


def _bytes(values: Any) -> int:
    """Of all arrays among values, at any depth."""
    total = 0
    for value in values:
        if is_array(value):
            total += value.nbytes
        elif hasattr(value, "arrays"):
            total += _bytes(value.arrays)
        elif isinstance(value, list | tuple):
            total += _bytes(value)
    return total
