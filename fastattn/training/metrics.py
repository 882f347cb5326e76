"""How good answers are: how many are exactly right, and how many tokens are wrong."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Counts over a list of answers, and the two rates that follow from them."""

    pairs: int
    exact_matches: int
    reference_tokens: int
    token_errors: int

    @property
    def exact_match(self) -> float:
        """The part of the answers that are right in every token, from 0 to 1."""
        return self.exact_matches / self.pairs

    @property
    def token_error_rate(self) -> float:
        """Token errors over reference tokens: 0 is perfect; answers longer than the references can bring it above 1."""
        return self.token_errors / self.reference_tokens


def edit_distance(answer: Sequence[str], reference: Sequence[str]) -> int:
    """The fewest insertions, deletions and replacements of a token that turn one into the other (Levenshtein 1966)."""
    previous = list(range(len(reference) + 1))
    for i, token in enumerate(answer, start=1):
        current = [i]
        for j, expected in enumerate(reference):
            current.append(min(previous[j] + (token != expected), previous[j + 1] + 1, current[j] + 1))
        previous = current
    return previous[-1]


def score(answers: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Score:
    """Compares lists of tokens, an answer with the reference in the same place.

    ValueError when there are not as many of one as of the other, when there are none, or when the references hold no
    token.
    """
    if len(answers) != len(references) or not references:
        raise ValueError(f"{len(answers)} answers and {len(references)} references given; expected the same, at least 1")
    reference_tokens = sum(map(len, references))
    if not reference_tokens:
        raise ValueError("the references hold no token; expected at least 1")
    distances = [
        0 if answer == reference else edit_distance(answer, reference)
        for answer, reference in zip(answers, references, strict=True)
    ]
    return Score(
        pairs=len(references),
        exact_matches=distances.count(0),
        reference_tokens=reference_tokens,
        token_errors=sum(distances),
    )
