"""Results by the length of the source."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .metrics import Comparison, Score, sum_up

BUCKETS = 5


@dataclass(frozen=True)
class LengthBucket:
    """The score of the sources of some lengths; low and high: the smallest and the largest of their lengths, in tokens."""

    low: int
    high: int
    score: Score


def by_length(
    comparisons: Sequence[Comparison], lengths: Sequence[int], bounds: Sequence[int] | None = None
) -> list[LengthBucket]:
    """The comparisons in buckets by the lengths of their sources, from short to long; a bucket without any is left out.

    bounds: the largest length of each bucket, rising; what is longer stands in one more. None: at most five, with about
    as many sources in each as lengths allow, for those of one length stay together.

    ValueError when there are not as many lengths as comparisons, or for bounds that do not rise.
    """
    if len(comparisons) != len(lengths):
        raise ValueError(f"{len(comparisons)} comparisons and {len(lengths)} lengths given; expected the same")
    if not lengths:
        return []
    if bounds is None:
        parts = np.arange(1, BUCKETS) / BUCKETS
        bounds = sorted(set(np.quantile(lengths, parts, method="inverted_cdf").tolist()))
    elif any(a >= b for a, b in itertools.pairwise(bounds)):
        raise ValueError(f"the bounds of lengths must rise, got {list(bounds)}")
    numbers = np.searchsorted(bounds, lengths)  # the first bucket whose bound is not below
    result = []
    for number in range(len(bounds) + 1):
        places = np.flatnonzero(numbers == number).tolist()
        if places:
            sizes = [lengths[place] for place in places]
            result.append(LengthBucket(min(sizes), max(sizes), sum_up(comparisons[place] for place in places)))
    return result
