"""What all ranks must have in common, compared before it can do harm."""

from collections import defaultdict
from typing import Any

from ..errors import RankError
from .collectives import gather
from .group import current_group

MOST_DIFFERENCES = 5  # that a message shows


def expect_agreement(where: str, **facts: Any) -> None:
    """Refuse facts that differ between ranks.  All ranks call it together.

    where   begins the message
    facts   plain values by name; of a dict each entry is compared

    Raises   RankError   on all ranks; it names what differs, and on which ranks
    Example
    >>> expect_agreement("fit", samples=60000, batch_size=64)
    """
    named = {f"{name}{part}": value for name, fact in facts.items() for part, value in _entries(fact)}
    all_facts = gather(current_group(), named)
    names = dict.fromkeys(name for rank_facts in all_facts for name in rank_facts)
    differences = [text for name in names if (text := _difference(name, all_facts))]
    if differences:
        more = f"; and {len(differences) - MOST_DIFFERENCES} more" if len(differences) > MOST_DIFFERENCES else ""
        raise RankError(
            f"{where}: the ranks differ: {'; '.join(differences[:MOST_DIFFERENCES])}{more}; start all ranks with the "
            "same program and settings"
        )


def _entries(fact: Any) -> list[tuple[str, Any]]:
    return [(f" {name}", value) for name, value in fact.items()] if isinstance(fact, dict) else [("", fact)]


def _difference(name: str, all_facts: list[dict[str, Any]]) -> str:
    """How a fact differs between the ranks; "" if it does not."""
    ranks: dict[str, list[int]] = defaultdict(list)
    for rank, facts in enumerate(all_facts):
        ranks[repr(facts[name]) if name in facts else "missing"].append(rank)
    if len(ranks) == 1:
        return ""
    return f"{name} is " + ", ".join(f"{value} on {_named(found)}" for value, found in ranks.items())


def _named(ranks: list[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"
