"""How far figures would lie elsewhere with other sources of the same kind: intervals by the bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .metrics import Comparison

RESAMPLES = 1000
CONFIDENCE = 0.95

Range = tuple[float, float]


@dataclass(frozen=True)
class Intervals:
    """(low, high) of each rate, from 0 to 1, and how they were made. None where no characters were counted."""

    exact_match: Range
    token_error_rate: Range
    character_error_rate: Range | None
    confidence: float
    resamples: int
    seed: int


def intervals(
    comparisons: Sequence[Comparison], *, resamples: int = RESAMPLES, seed: int = 0, confidence: float = CONFIDENCE
) -> Intervals:
    """Percentile bootstrap (Efron 1979; Efron and Tibshirani 1993, section 13.3).

    So many times as many sources are drawn as there are, with replacement, each with its answer, and the rates computed
    of what was drawn. An interval leaves (1 - confidence) / 2 of these rates out on each side, as `numpy.quantile`
    does. The draws are those of `numpy.random.default_rng(seed)`; all rates come from the same ones. A draw whose
    references hold no token has no rate, and does not count.

    ValueError for no comparisons, resamples below 1, a negative seed, or a confidence that is not between 0 and 1.
    """
    if not comparisons:
        raise ValueError("no comparisons given; expected at least 1")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be more than 0 and less than 1, got {confidence}")
    with_characters = all(c.character_errors is not None for c in comparisons)
    counts = np.array(
        [
            (c.token_errors == 0, 1, c.token_errors, len(c.reference), c.character_errors or 0, c.reference_characters or 0)
            for c in comparisons
        ],
        dtype=np.float64,  # sums of counts are exact below 2^53
    )
    sums = resampled_sums(counts, resamples, seed)
    low = (1 - confidence) / 2

    def interval(column: int) -> Range:
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = sums[:, column] / sums[:, column + 1]
        rates = rates[np.isfinite(rates)]
        if not len(rates):
            return float("nan"), float("nan")
        ends = np.quantile(rates, [low, 1 - low])
        return float(ends[0]), float(ends[1])

    return Intervals(
        exact_match=interval(0),
        token_error_rate=interval(2),
        character_error_rate=interval(4) if with_characters else None,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def resampled_sums(counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """counts (S, K), a row a source -> (resamples, K): the sums over S rows drawn with replacement."""
    rng = np.random.default_rng(seed)
    S = len(counts)
    sums = np.empty((resamples, counts.shape[1]))
    for row in sums:
        # How often each source was drawn, rather than the rows of all that were.
        row[:] = np.bincount(rng.integers(0, S, S), minlength=S) @ counts
    return sums
