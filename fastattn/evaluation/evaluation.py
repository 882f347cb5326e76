"""All figures of a list of answers together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fastattn.data import Vocabulary
from fastattn.data.vocabulary import TokenKind

from .bootstrap import RESAMPLES, Intervals, intervals
from .corpus import CorpusScore, bleu, chrf
from .lengths import LengthBucket, by_length
from .metrics import Comparison, Score, compare, total


@dataclass(frozen=True)
class Evaluation:
    """Answers, what they were compared with, and what came of it.

    references: for each source all texts that are right. comparisons and score: against the nearest of them. first_score:
    against the first of each source alone. separator: what stands between two tokens of the targets' text.
    """

    sources: Sequence[str]
    answers: Sequence[str]
    references: Sequence[Sequence[str]]
    separator: str
    comparisons: list[Comparison]
    score: Score
    first_score: Score
    by_length: list[LengthBucket]
    intervals: Intervals | None = None
    bleu: CorpusScore | None = None
    chrf: CorpusScore | None = None

    @property
    def pairs(self) -> int:
        """How many references there are, of all sources together."""
        return sum(map(len, self.references))

    def to_json(self) -> dict[str, Any]:
        """The figures, without the answers, of JSON's types; rates from 0 to 1, BLEU and chrF from 0 to 100."""
        result: dict[str, Any] = {"sources": len(self.sources), "pairs": self.pairs, **_figures(self.score)}
        result["first_reference"] = _figures(self.first_score)
        result["by_length"] = [
            {"from": bucket.low, "to": bucket.high, "sources": bucket.score.pairs, **_figures(bucket.score)}
            for bucket in self.by_length
        ]
        if self.intervals is not None:
            result["intervals"] = {
                name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self.intervals).items()
            }
        for name, figure in (("bleu", self.bleu), ("chrf", self.chrf)):
            if figure is not None:
                result[name] = {key: value for key, value in asdict(figure).items() if key != "name" and value is not None}
        return result


def _figures(score: Score) -> dict[str, Any]:
    return {
        "exact_matches": score.exact_matches,
        "exact_match": score.exact_match,
        "reference_tokens": score.reference_tokens,
        "token_errors": score.token_errors,
        "token_error_rate": score.token_error_rate,
        "reference_characters": score.reference_characters,
        "character_errors": score.character_errors,
        "character_error_rate": score.character_error_rate,
    }


def evaluate(
    sources: Sequence[str],
    answers: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    source_tokens: TokenKind | Vocabulary = "char",
    target_tokens: TokenKind | Vocabulary = "char",
    resamples: int = RESAMPLES,
    seed: int = 0,
    length_bounds: Sequence[int] | None = None,
    bleu_tokenize: str | None = None,
    with_chrf: bool = False,
) -> Evaluation:
    """Compares the answer to each source with the texts that are right for it, and makes all figures of it.

    source_tokens, target_tokens: what a token is, as in `Vocabulary`, or the vocabulary of a model. resamples, seed: of
    the intervals; 0 resamples for none. length_bounds: as in `by_length`. bleu_tokenize: as in `bleu`; None for no BLEU.

    ValueError when there are not as many of one as of another, when there are none, or when a source has no reference;
    MissingExtraError for BLEU or chrF without sacrebleu.
    """
    if len(sources) != len(answers):
        raise ValueError(f"{len(sources)} sources and {len(answers)} answers given; expected the same")
    of_sources, of_targets = (
        tokens if isinstance(tokens, Vocabulary) else Vocabulary((), tokens) for tokens in (source_tokens, target_tokens)
    )
    separator = " " if of_targets.token_kind == "space" else ""
    given = [of_targets.tokenize(answer) for answer in answers]
    expected = [[of_targets.tokenize(text) for text in texts] for texts in references]
    comparisons = compare(given, expected, separator=separator)
    return Evaluation(
        sources=sources,
        answers=answers,
        references=references,
        separator=separator,
        comparisons=comparisons,
        score=total(comparisons),
        first_score=total(compare(given, [texts[:1] for texts in expected], separator=separator)),
        by_length=by_length(comparisons, [len(of_sources.tokenize(text)) for text in sources], length_bounds),
        intervals=intervals(comparisons, resamples=resamples, seed=seed) if resamples else None,
        bleu=bleu(answers, references, tokenize=bleu_tokenize, resamples=resamples) if bleu_tokenize else None,
        chrf=chrf(answers, references, resamples=resamples) if with_chrf else None,
    )
