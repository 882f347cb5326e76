"""How messages say numbers of things."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """As in "1 epoch", "2 epochs", "1,000 epochs"; the noun is one whose plural has an s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
