"""What a training run tells of itself: a record a line of steps, a record an epoch, and how it ended."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from fastattn.data.words import html_table
from fastattn.drawing import draw_history, picture_of_history


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
    ``seconds``: the time of the training steps alone; validation, callbacks and making kernels ready are left out;
    ``tokens_per_second``: over that time, and counting what ``Samples.tokens`` counts. ``valid_token_error_rate``: the
    fewest insertions, deletions and replacements (Levenshtein 1966) that turn the answers into the targets, over the tokens
    of the targets.
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


def epoch_line(record: EpochRecord, last: int | None) -> str:
    """An epoch in a line. last: the number of the last one."""
    parts = [f"epoch {record.epoch}/{last}", f"loss {record.loss:.4f}"]
    if record.learning_rate is not None:
        parts.append(f"learning rate {record.learning_rate:.3g}")
    if record.valid_loss is not None:
        held_out = [f"held out: loss {record.valid_loss:.4f}"]
        if record.valid_exact_match is not None:
            held_out.append(f"exact match {record.valid_exact_match:.2%}")
        if record.valid_token_error_rate is not None:
            held_out.append(f"token error rate {record.valid_token_error_rate:.2%}")
        parts.append(", ".join(held_out))
    return "  ".join([*parts, f"{record.tokens_per_second:,.0f} tokens/s", f"{record.seconds:.1f} s"])


# The columns of a history, each with what stands in it; None where an epoch has nothing to say of it.
COLUMNS: dict[str, Callable[[EpochRecord], str | None]] = {
    "epoch": lambda record: str(record.epoch),
    "loss": lambda record: _filled("{:.4f}", record.loss),
    "held-out loss": lambda record: _filled("{:.4f}", record.valid_loss),
    "exact match": lambda record: _filled("{:.2%}", record.valid_exact_match),
    "token errors": lambda record: _filled("{:.2%}", record.valid_token_error_rate),
    "tokens/s": lambda record: _filled("{:,.0f}", record.tokens_per_second),
    "seconds": lambda record: _filled("{:.1f}", record.seconds),
    "best": lambda record: "*" if record.best else None,
}
ROWS = 12  # of a history that is shown


def _filled(form: str, value: float | None) -> str | None:
    return None if value is None else form.format(value)


class History(list[EpochRecord]):
    """The records of some epochs, a list that is shown as a table: a row an epoch, of many the first ones and the last."""

    def _table(self) -> list[list[str]]:
        """The header and the rows, without columns of which there is nothing to say."""
        rows = [[of(record) for of in COLUMNS.values()] for record in self]
        used = [i for i in range(len(COLUMNS)) if any(row[i] is not None for row in rows)]
        table = [[name for i, name in enumerate(COLUMNS) if i in used], *([row[i] or "" for i in used] for row in rows)]
        if len(self) > ROWS:
            table[1 + ROWS // 2 : -(ROWS // 2)] = [["..."] * len(used)]
        return table

    def __repr__(self) -> str:
        if not self:
            return "[]"
        table = self._table()
        widths = [max(map(len, column)) for column in zip(*table)]
        return "\n".join("  ".join(text.rjust(width) for text, width in zip(row, widths)).rstrip() for row in table)

    def plot(self, ax: Any = None) -> Any:
        """Draws the learning curve into ``ax``, axes of matplotlib, or into a new figure, and returns the axes.

        ValueError for no epochs; MissingExtraError without matplotlib.
        """
        return draw_history(self, ax)

    def _repr_html_(self) -> str:
        """The table and, of more than one epoch and where matplotlib is installed, the learning curve."""
        head, *rows = self._table() if self else [["no epochs"]]
        table = html_table(head, rows)
        if len(self) < 2 or importlib.util.find_spec("matplotlib") is None:
            return table
        curve = base64.b64encode(picture_of_history(self)).decode()
        return f'{table}<img alt="the learning curve" style="max-width: 45em" src="data:image/png;base64,{curve}">'


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

    def _repr_html_(self) -> str:
        return f"<p>{escape(str(self))}</p>"
