"""Answers and references side by side, token by token; and what is given most often for what."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from .metrics import Comparison, Tokens, numbered

# (expected, given); None where nothing stands.
Aligned = tuple[Hashable | None, Hashable | None]


@dataclass(frozen=True)
class Confusion:
    """A token of an answer in the place of another: how often, and the first comparison that has it, by its place.

    expected is None for a token too many, given None for one that is missing.
    """

    expected: Hashable | None
    given: Hashable | None
    count: int
    example: int


def align(answer: Tokens, reference: Tokens) -> list[Aligned]:
    """(expected, given) for each token, with the fewest errors: as many pairs differ as `edit_distance` counts.

    None is expected where the answer has a token too many, and given where it has none.
    """
    pairs: list[Aligned] = []
    given, expected = numbered(answer, reference)
    for step in Levenshtein.opcodes(expected, given):
        if step.tag == "delete":
            pairs += [(token, None) for token in reference[step.src_start : step.src_end]]
        elif step.tag == "insert":
            pairs += [(None, token) for token in answer[step.dest_start : step.dest_end]]
        else:
            sides = reference[step.src_start : step.src_end], answer[step.dest_start : step.dest_end]
            pairs += zip(*sides, strict=True)
    return pairs


def confusions(comparisons: Iterable[Comparison]) -> list[Confusion]:
    """All errors of all answers by what was given for what: the most frequent first, of equal counts the first met."""
    counts: dict[Aligned, list[int]] = {}  # -> [how often, first comparison]
    for place, comparison in enumerate(comparisons):
        if not comparison.token_errors:
            continue
        for expected, given in align(comparison.answer, comparison.reference):
            if expected != given:
                counts.setdefault((expected, given), [0, place])[0] += 1
    found = [Confusion(*tokens, *numbers) for tokens, numbers in counts.items()]
    return sorted(found, key=lambda confusion: -confusion.count)


def worst(comparisons: Iterable[Comparison]) -> list[int]:
    """The places of the answers that are wrong: the most errors first, of equal ones the shortest reference, then the
    first.
    """
    wrong = [(-c.token_errors, len(c.reference), place) for place, c in enumerate(comparisons) if c.token_errors]
    return [place for _, _, place in sorted(wrong)]
