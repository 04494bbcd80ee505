"""Progress bars for work on many files or bytes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


def show_progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Return the items, with a progress bar if they take more than two seconds."""
    from tqdm import tqdm  # imported here, because most programs show no bar

    return tqdm(items, what, total, leave=False, delay=2, unit=" files")


@contextmanager
def show_bytes(what: str, start: int, total: int | None) -> Iterator[Callable[[int], object]]:
    """Show a progress bar; yield a function that is told the number of new bytes."""
    from tqdm import tqdm

    with tqdm(desc=what, initial=start, total=total, unit="B", unit_scale=True, leave=False) as bar:
        yield bar.update
