"""What pictures and tables say in words and numbers."""

from collections.abc import Collection, Sequence
from typing import Any


def plain(name: Any) -> str:
    """A name of any kind as text that can be drawn; half a surrogate pair, as in names of files, becomes \\\\udce9.

    >>> plain(7), plain("caf\\udce9")
    ('7', 'caf\\\\udce9')
    """
    return str(name).encode("utf-8", "backslashreplace").decode()


def counted(n: int, what: str, several: str | None = None, form: str = "") -> str:
    """A number, in a format, and its noun.

    >>> counted(1, "filter"), counted(1200, "parameter", form=","), counted(2, "leaf", "leaves")
    ('1 filter', '1,200 parameters', '2 leaves')
    """
    return f"{n:{form}} {what if n == 1 else several or what + 's'}"


def times(sizes: Sequence[int]) -> str:
    """Sizes, as in `6×28×28`."""
    return "×".join(map(str, sizes))


def table(lines: Sequence[Sequence[str]], words: Collection[int]) -> list[str]:
    """Lines whose columns stand below each other; those of `words` begin, the others end at the same place.

    >>> table([("layer", "bytes"), ("conv1", "18,816")], words={0})
    ['layer   bytes', 'conv1  18,816']
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column in words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
