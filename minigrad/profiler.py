"""Profiling: the time of each operation."""

import time
from dataclasses import dataclass
from typing import Any, Self

from .errors import GraphError
from .runtime import kernel as kernels
from .runtime.memory import is_array
from .runtime.threads import IDLE, Observer, local


@dataclass
class Row:
    """The measurements of an operation.

    calls     number of calls
    seconds   time in its kernels and the Python around them, without compiling
    compile   seconds of compiling
    flops     number of multiplications and additions; 0 for operations that only move or select elements
    bytes     size of the arrays that it reads and writes, each counted once per call
    """

    calls: int = 0
    seconds: float = 0.0
    compile: float = 0.0
    flops: int = 0
    bytes: int = 0


class profile(Observer):
    """Time each operation inside a `with` block, and print a table at its end.

    quiet   True: do not print the table; str(p) is the table and p.rows has the numbers

    The table has a line for each operation, including gradients and optimisers: calls, milliseconds, share of the time
    in the block, GFLOP/s, GB/s, and seconds of compiling, which do not count as time.  The line "between operations" is
    the rest.  Functions of mg.graph are not replayed in the block, so that their operations are timed separately.

    Raises   GraphError   inside another profile, or while mg.graph is recording
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
        self._current: Row | None = None  # of the operation that is running

    def __enter__(self) -> Self:
        if local.observer is not IDLE:
            raise GraphError("profile: this thread is already being recorded or profiled; end that first")
        local.observer = self
        kernels.compile_listeners.append(self._add_compile_time)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._start
        kernels.compile_listeners.remove(self._add_compile_time)
        local.observer = IDLE
        if not self.quiet:
            print(self)

    def run(self, operation: Any, device: Any, arrays: Any, settings: dict[str, Any]) -> Any:
        """Run and time an operation."""
        row = self._row(operation.name)
        result = self._time(row, operation.forward, device, *arrays, **settings)
        if not operation.view:
            row.bytes += _count_bytes([*arrays, result])
        if operation.flops is not None:
            row.flops += operation.flops(result, *arrays)
        return result

    def launch(self, kernel: Any, address: int, tasks: int, arguments: tuple[Any, ...]) -> None:
        """Run a kernel, and time it if it does not belong to an operation, as those of optimisers."""
        if self._current is not None:
            kernel.replay(address, tasks, arguments)
            return
        row = self._row(kernel.name)
        self._time(row, kernel.replay, address, tasks, arguments)
        row.bytes += _count_bytes(arguments)

    def _time(self, row: Row, function: Any, *args: Any, **settings: Any) -> Any:
        outer, self._current, compiled = self._current, row, row.compile
        start = time.perf_counter()
        try:
            return function(*args, **settings)
        finally:
            row.calls += 1
            row.seconds += time.perf_counter() - start - (row.compile - compiled)
            self._current = outer

    def _row(self, name: str) -> Row:
        return self.rows.setdefault(name, Row())

    def _add_compile_time(self, name: str, seconds: float) -> None:
        row = self._row(name) if self._current is None else self._current
        row.compile += seconds

    def __str__(self) -> str:
        rows = sorted(self.rows.items(), key=lambda item: -item[1].seconds)
        compiling = sum(row.compile for _, row in rows)
        total = self.seconds - compiling
        rest = Row(seconds=total - sum(row.seconds for _, row in rows))
        lines = [_format_row(name, row, total) for name, row in [*rows, ("between operations", rest)]]
        end = f"{1e3 * total:.2f} ms" + (f", and {compiling:.2f} s of compiling" if compiling else "")
        return "\n".join([HEADER, *lines, end])


HEADER = f"{'operation':28}{'calls':>7}{'ms':>10}{'share':>8}{'GFLOP/s':>10}{'GB/s':>8}{'compile s':>11}"


def _format_row(name: str, row: Row, total: float) -> str:
    """Return a line of the table, without numbers that are 0."""

    def rate(count: float) -> str:
        return f"{count / row.seconds / 1e9:.1f}" if count and row.seconds else ""

    calls, compiling = row.calls or "", f"{row.compile:.2f}" if row.compile else ""
    share = row.seconds / total if total else 0.0
    return (
        f"{name:28}{calls:>7}{1e3 * row.seconds:>10.3f}{share:>8.1%}"
        f"{rate(row.flops):>10}{rate(row.bytes):>8}{compiling:>11}"
    ).rstrip()


def _count_bytes(values: Any) -> int:
    """Return the size of all arrays in nested lists."""
    total = 0
    for value in values:
        if is_array(value):
            total += value.nbytes
        elif hasattr(value, "arrays"):
            total += _count_bytes(value.arrays)
        elif isinstance(value, list | tuple):
            total += _count_bytes(value)
    return total
