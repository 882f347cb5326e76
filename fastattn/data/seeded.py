"""Random choices that are the same on every platform and in every version of Python."""

from __future__ import annotations

import operator
import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Seeded:
    """Choices from a seed, stable for ever: corpora and held-out parts must not change when Python or NumPy does.

    NumPy's Generator may change its streams between versions (NEP 19), and so may most of Python's `random`; of
    that module only `random()` with an integer seed is promised to keep its sequence ("Notes on
    Reproducibility" in its documentation).
    """

    def __init__(self, seed: int) -> None:
        """Raises TypeError for a seed that is no integer, ValueError for a negative one (Python drops the sign)."""
        number = operator.index(seed)
        if number < 0:
            raise ValueError(f"seed must be 0 or more, got {number}")
        self._random = random.Random(number).random

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return self._random()

    def below(self, limit: int) -> int:
        """An integer in 0 .. limit - 1. Its bias is about limit / 2**53: nothing, for the sizes used here."""
        return int(self._random() * limit)

    def choose(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]
