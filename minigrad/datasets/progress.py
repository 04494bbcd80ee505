"""Progress bars for work on many files or bytes."""

from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def show_progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Return the items, with a progress bar if they take more than two seconds."""
    from tqdm import tqdm  # imported here, because most programs show no bar

    return tqdm(items, what, total, leave=False, delay=2, unit=" files")
