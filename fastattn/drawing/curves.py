"""The learning curve of a training."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from fastattn.data import require

from .figures import new_axes


def draw_history(history: Sequence[Any], ax: Any = None, *, is_shown: bool = True) -> Any:
    """Draws the losses of all epochs and, on a scale of its own, the rates of the held-out pairs; returns the axes.

    history: an `EpochRecord` of each. ax: axes of matplotlib, or None for a new figure, which in a notebook is shown
    (``is_shown``). ValueError for no epochs; MissingExtraError without matplotlib.
    """
    require("matplotlib", "plot", "drawing")
    from matplotlib.ticker import MaxNLocator

    if not history:
        raise ValueError("the history has no epochs; expected at least 1")
    is_own = ax is None
    if is_own:
        ax = new_axes(7, 4, is_shown=is_shown)
    ax.set(xlabel="epoch", ylabel="loss (nats a token)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    epochs = [record.epoch for record in history]
    lines = ax.plot(epochs, [record.loss for record in history], color="C0", marker=".", label="training loss")
    if held_out := [record.valid_loss for record in history if record.valid_loss is not None]:
        lines += ax.plot(epochs, held_out, color="C1", marker=".", label="held-out loss")
    rates = (("valid_exact_match", "exact match", "C2"), ("valid_token_error_rate", "token error rate", "C3"))
    if history[0].valid_exact_match is not None:
        right = ax.twinx()
        right.set(ylabel="held out", ylim=(0, 1))
        right.yaxis.set_major_formatter("{x:.0%}")
        for field, label, color in rates:
            values = [getattr(record, field) for record in history]
            lines += right.plot(epochs, values, color=color, marker=".", linestyle="--", label=label)
    ax.set_ylim(bottom=0)
    if is_own:
        ax.figure.legend(handles=lines, loc="outside lower center", ncols=len(lines))
    else:
        ax.legend(handles=lines)
    ax.grid(alpha=0.3)
    return ax


def picture_of_history(history: Sequence[Any]) -> bytes:
    """The curve as a PNG file holds it: the same run draws the same bytes."""
    stream = io.BytesIO()
    # Without the version of matplotlib.
    draw_history(history, is_shown=False).figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    return stream.getvalue()
