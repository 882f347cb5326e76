"""BLEU and chrF, by sacrebleu."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastattn.data import require

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

# Those of sacrebleu's that need nothing else to be installed.
BLEU_TOKENIZERS = ("13a", "intl", "char", "zh", "none")


@dataclass(frozen=True)
class CorpusScore:
    """A score from 0 to 100, with sacrebleu's signature, which says how it was made.

    mean, half_width: of the scores of resamples, and half the width of the interval that holds 95 % of them; None
    without resamples.
    """

    name: str
    score: float
    signature: str
    mean: float | None = None
    half_width: float | None = None


def require_sacrebleu() -> None:
    """MissingExtraError, an ImportError, where it is not installed."""
    require("sacrebleu", "evaluation", "BLEU or chrF")


def bleu(
    answers: Sequence[str], references: Sequence[Sequence[str]], *, tokenize: str = "13a", resamples: int = 0
) -> CorpusScore:
    """BLEU (Papineni et al. 2002) of texts, as sacrebleu (Post 2018) computes it: up to 4-grams, of words.

    references: for each answer all texts that are right. tokenize: what sacrebleu takes for words, one of
    BLEU_TOKENIZERS; "none": what stands between spaces, "char": characters.

    MissingExtraError without sacrebleu; ValueError for another tokenizer, or not as many references as answers, at least 1.
    """
    if tokenize not in BLEU_TOKENIZERS:
        raise ValueError(f"tokenize must be one of {', '.join(BLEU_TOKENIZERS)}, got {tokenize!r}")
    require_sacrebleu()
    from sacrebleu.metrics import BLEU

    # force: tokens with spaces between are no mistake here, and need no warning.
    return _scored(BLEU(tokenize=tokenize, force=True), answers, references, resamples)


def chrf(answers: Sequence[str], references: Sequence[Sequence[str]], *, resamples: int = 0) -> CorpusScore:
    """chrF (Popović 2015) of texts, as sacrebleu computes it: of up to 6 characters, recall counted twice.

    MissingExtraError without sacrebleu; ValueError when there are not as many references as answers, at least 1.
    """
    require_sacrebleu()
    from sacrebleu.metrics import CHRF

    return _scored(CHRF(), answers, references, resamples)


def _scored(metric: Metric, answers: Sequence[str], references: Sequence[Sequence[str]], resamples: int) -> CorpusScore:
    if len(answers) != len(references) or not answers:
        raise ValueError(f"{len(answers)} answers and {len(references)} references given; expected the same, at least 1")
    # sacrebleu wants a list of the first references, one of the second, ..., with None for those that there are not.
    columns = [[texts[n] if n < len(texts) else None for texts in references] for n in range(max(map(len, references)))]
    result = metric.corpus_score(list(answers), columns, n_bootstrap=resamples)  # type: ignore[arg-type]
    signature = str(metric.get_signature())
    if resamples <= 1:
        return CorpusScore(result.name, result.score, signature)
    # What it says of its resamples stands in its JSON, and there only if their mean is not 0.
    said = json.loads(result.format(width=6, signature=signature, is_json=True))
    return CorpusScore(result.name, result.score, signature, said.get("confidence_mean", 0.0), said.get("confidence_var", 0.0))
