"""How good answers are: how many are exactly right, and how many tokens and characters are wrong."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

Tokens = Sequence[Hashable]


@dataclass(frozen=True)
class Comparison:
    """An answer beside the reference that it is measured against, both as tokens.

    chosen: the place of that reference among those of its source, from 0. The last two are None where no characters
    were counted.
    """

    answer: Tokens
    reference: Tokens
    chosen: int
    token_errors: int
    reference_characters: int | None = None
    character_errors: int | None = None


@dataclass(frozen=True)
class Score:
    """Counts over a list of answers, and the rates that follow from them.

    A pair is an answer and the reference that it is measured against. The two counts of characters are None where none
    were counted.
    """

    pairs: int
    exact_matches: int
    reference_tokens: int
    token_errors: int
    reference_characters: int | None = None
    character_errors: int | None = None

    @property
    def exact_match(self) -> float:
        """The part of the answers that are right in every token, from 0 to 1."""
        return self.exact_matches / self.pairs

    @property
    def token_error_rate(self) -> float:
        """Token errors over reference tokens: 0 is perfect; answers longer than the references can bring it above 1.

        NaN where the references hold no token.
        """
        return self.token_errors / self.reference_tokens if self.reference_tokens else float("nan")

    @property
    def character_error_rate(self) -> float | None:
        """The same for characters; None where none were counted."""
        if self.character_errors is None or self.reference_characters is None:
            return None
        return self.character_errors / self.reference_characters if self.reference_characters else float("nan")


def edit_distance(answer: Tokens, reference: Tokens) -> int:
    """The fewest insertions, deletions and replacements of a token that turn one into the other (Levenshtein 1966)."""
    return Levenshtein.distance(*numbered(answer, reference))


def numbered(*sequences: Tokens) -> list[list[int]]:
    """The sequences with a number for each token, the same for equal ones.

    rapidfuzz compares what is no character by its hash, which two tokens may share.
    """
    numbers: dict[Hashable, int] = {}
    return [[numbers.setdefault(token, len(numbers)) for token in sequence] for sequence in sequences]


def compare(
    answers: Sequence[Tokens], references: Sequence[Sequence[Tokens]], *, separator: str | None = None
) -> list[Comparison]:
    """Each answer beside the nearest of the references in the same place: a list of tokens beside a list of such lists.

    The nearest has the fewest token errors; of several such it is the first. separator: what stands between two tokens
    of the text, "" or " ", for the errors in characters, against the same reference; None counts no characters.

    ValueError when there are not as many of one as of the other, when there are none, or when an answer has no
    reference. TypeError for a str in the place of a list of tokens.
    """
    _check_counts(answers, references)
    for index, (answer, alternatives) in enumerate(zip(answers, references, strict=True)):
        for name, given in (
            ("the answer", answer),
            ("the references", alternatives),
            *(("a reference", r) for r in alternatives),
        ):
            if isinstance(given, str):
                raise TypeError(f"{name} in place {index}: {given!r} given; expected a list")
        if not alternatives:
            raise ValueError(f"the answer in place {index} has no reference; expected at least 1")
    return [_compare(*both, separator) for both in zip(answers, references, strict=True)]


def _check_counts(answers: Sequence[object], references: Sequence[object]) -> None:
    if len(answers) != len(references) or not references:
        raise ValueError(f"{len(answers)} answers and {len(references)} references given; expected the same, at least 1")


def _compare(answer: Tokens, references: Sequence[Tokens], separator: str | None) -> Comparison:
    given, *expected = numbered(answer, *references)
    distances = [Levenshtein.distance(given, tokens) for tokens in expected]
    chosen = distances.index(min(distances))
    reference = references[chosen]
    if separator is None:
        return Comparison(answer, reference, chosen, distances[chosen])
    answer_text, text = (separator.join(map(str, tokens)) for tokens in (answer, reference))
    return Comparison(answer, reference, chosen, distances[chosen], len(text), Levenshtein.distance(answer_text, text))


def total(comparisons: Iterable[Comparison]) -> Score:
    """The counts of all comparisons together.

    ValueError when there are none, or when the references hold no token.
    """
    result = sum_up(comparisons)
    if not result.pairs:
        raise ValueError("no comparisons given; expected at least 1")
    if not result.reference_tokens:
        raise ValueError("the references hold no token; expected at least 1")
    return result


def sum_up(comparisons: Iterable[Comparison]) -> Score:
    """As `total`, of whatever there is."""
    comparisons = list(comparisons)
    characters = [(c.reference_characters, c.character_errors) for c in comparisons]
    counted = [(size, errors) for size, errors in characters if size is not None and errors is not None]
    complete = len(counted) == len(comparisons)
    return Score(
        pairs=len(comparisons),
        exact_matches=sum(not c.token_errors for c in comparisons),
        reference_tokens=sum(len(c.reference) for c in comparisons),
        token_errors=sum(c.token_errors for c in comparisons),
        reference_characters=sum(size for size, _ in counted) if complete else None,
        character_errors=sum(errors for _, errors in counted) if complete else None,
    )


def score(answers: Sequence[Tokens], references: Sequence[Tokens]) -> Score:
    """Compares lists of tokens, an answer with the one reference in the same place.

    ValueError when there are not as many of one as of the other, when there are none, or when the references hold no
    token.
    """
    _check_counts(answers, references)
    return total(_compare(answer, [reference], None) for answer, reference in zip(answers, references, strict=True))
