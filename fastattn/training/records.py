"""What a training run tells of itself: a record a line of steps, a record an epoch, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class DivergedError(ArithmeticError):
    """The loss, or the norm of the gradients, is NaN or infinite. The message names the epoch and the step."""


class TrainingWarning(UserWarning):
    """A training that goes on, and that most likely learns nothing."""


@dataclass(frozen=True)
class StepRecord:
    """What the steps since the last record came to.

    ``step`` counts over all fits. ``loss``: the mean over the target tokens of these steps, in nats; ``learning_rate``
    and ``gradient_norm``: those of the last one, the norm before clipping; ``tokens_per_second`` as in `EpochRecord`;
    ``seconds_left``: how long the fit has still to go, if it goes on as until now.
    """

    epoch: int
    step: int
    loss: float
    learning_rate: float | None
    gradient_norm: float
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch came to.

    ``loss``, ``valid_loss``: the mean over all target tokens, in nats; ``valid_exact_match``: the part, from 0 to 1,
    of the held-out samples that greedy search gets right in every token (both None without validation data).
    ``seconds``: the time of the training steps alone, validation and callbacks left out; ``tokens_per_second``: over
    that time, and counting what ``Samples.tokens`` counts. ``valid_token_error_rate``: the fewest insertions, deletions
    and replacements (Levenshtein 1966) that turn the answers into the targets, over the tokens of the targets.
    ``step``: the steps so far, over all fits; ``learning_rate``: that of the last of them. ``best``: whether no epoch of
    the fit before this one was as good by the fit's metric; None without validation data.
    """

    epoch: int
    loss: float
    valid_loss: float | None
    valid_exact_match: float | None
    tokens_per_second: float
    seconds: float
    valid_token_error_rate: float | None = None
    step: int | None = None
    learning_rate: float | None = None
    best: bool | None = None


def record_of(content: Mapping[str, Any]) -> EpochRecord:
    """The record whose fields were kept. ValueError or TypeError for anything that cannot be one."""
    record = EpochRecord(**content)
    if type(record.epoch) is not int or any(not isinstance(value, int | float | None) for value in content.values()):
        raise ValueError(f"{content!r:.100} is no record of an epoch")
    return record


@dataclass(frozen=True)
class Outcome:
    """Whose weights a fit left in the model, and why. ``str(outcome)`` is a sentence that says so.

    ``epochs``: those whose weights were kept, or of whose weights the mean was; ``valid_...``: what validation says of just
    these weights; ``kept``: which and why; ``ended``: why the training ended.
    """

    epochs: tuple[int, ...]
    kept: str
    ended: str
    valid_loss: float | None = None
    valid_exact_match: float | None = None
    valid_token_error_rate: float | None = None

    def __str__(self) -> str:
        return f"{self.kept}; {self.ended}"
