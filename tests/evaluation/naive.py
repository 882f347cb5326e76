"""Brute force, to compare with."""

import functools


def distance(a, b):
    """The edit distance by its definition: the last token of either is left out, or both are."""

    @functools.cache
    def of(i, j):
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return of(len(a), len(b))


def nearest(answer, references):
    """(place, errors) of the reference with the fewest errors, the first of such."""
    errors = [distance(answer, reference) for reference in references]
    best = 0
    for place, number in enumerate(errors):
        if number < errors[best]:
            best = place
    return best, errors[best]


def drawn(rng, count, longest=6, symbols=("AH", "N", "NN", "T")):
    """Lists of tokens."""
    return [[symbols[i] for i in rng.integers(0, len(symbols), size)] for size in rng.integers(0, longest + 1, count)]
