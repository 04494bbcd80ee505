"""Text in pictures and tables: names, numbers, shapes and columns."""

from collections.abc import Collection, Sequence
from typing import Any


def format_name(name: Any) -> str:
    """Return a name of any type as text that can be drawn; a lone surrogate, as in a file name, becomes \\\\udce9.

    >>> format_name(7), format_name("caf\\udce9")
    ('7', 'caf\\\\udce9')
    """
    return str(name).encode("utf-8", "backslashreplace").decode()


def shorten(text: str, letters: int) -> str:
    """Return text of at most so many letters, with its middle left out if it is longer.

    >>> shorten("a very long name of a class", 11)
    'a ver…class'
    """
    half = letters // 2
    return text if len(text) <= letters else f"{text[: letters - half - 1]}…{text[-half:]}"


def format_number(value: float, form: str = ".4g") -> str:
    """Return a number with a true minus sign; zero has none.

    >>> format_number(-0.5), format_number(-0.001, ".2f"), format_number(0.5, "+.1f")
    ('−0.5', '0.00', '+0.5')
    """
    rounded = float(f"{value:{form}}") + 0.0  # -0.0 + 0.0 is 0.0
    return f"{rounded:{form}}".replace("-", "−")


def format_count(n: int, noun: str, plural: str | None = None, form: str = "") -> str:
    """Return a number and its noun, in the singular or plural.

    >>> format_count(1, "filter"), format_count(1200, "parameter", form=","), format_count(2, "leaf", "leaves")
    ('1 filter', '1,200 parameters', '2 leaves')
    """
    return f"{n:{form}} {noun if n == 1 else plural or noun + 's'}"


def format_shape(sizes: Sequence[int]) -> str:
    """Return sizes as in `6×28×28`."""
    return "×".join(map(str, sizes))


def format_table(lines: Sequence[Sequence[str]], text_columns: Collection[int]) -> list[str]:
    """Return lines with aligned columns: those in `text_columns` to the left, the others to the right.

    >>> format_table([("layer", "bytes"), ("conv1", "18,816")], text_columns={0})
    ['layer   bytes', 'conv1  18,816']
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column in text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
