"""What `fastattn train` shows of a run beside its lines: the learning curve as a picture, and TensorBoard's files."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastattn.training import EpochRecord, StepRecord

PICTURE = "learning-curve.png"


def plot(history: "Sequence[EpochRecord]", folder: Path) -> None:
    """Draws the losses of all epochs and, on a scale of its own, the rates of the held-out pairs. OSError as `open` has it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from fastattn.data import atomic_write

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="loss (nats a token)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    epochs = [record.epoch for record in history]
    lines = axes.plot(epochs, [record.loss for record in history], color="C0", marker=".", label="training loss")
    if held_out := [record.valid_loss for record in history if record.valid_loss is not None]:
        lines += axes.plot(epochs, held_out, color="C1", marker=".", label="held-out loss")
    rates = (("valid_exact_match", "exact match", "C2"), ("valid_token_error_rate", "token error rate", "C3"))
    if history[0].valid_exact_match is not None:
        right = axes.twinx()
        right.set(ylabel="held out", ylim=(0, 1))
        right.yaxis.set_major_formatter("{x:.0%}")
        for field, label, color in rates:
            values = [getattr(record, field) for record in history]
            lines += right.plot(epochs, values, color=color, marker=".", linestyle="--", label=label)
    axes.set_ylim(bottom=0)
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines))
    axes.grid(alpha=0.3)
    stream = io.BytesIO()
    # Without the version of matplotlib, so that the same run draws the same bytes.
    figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    atomic_write(folder / PICTURE, stream.getvalue())


class Board:
    """Writes records for TensorBoard, a number a chart."""

    def __init__(self, folder: str) -> None:
        from tensorboardX import SummaryWriter

        try:
            self._writer: Any = SummaryWriter(folder)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error

    def add_epoch(self, record: "EpochRecord") -> None:
        """Charts by epoch."""
        names = ("loss", "valid_loss", "valid_exact_match", "valid_token_error_rate", "learning_rate", "tokens_per_second")
        self._add("epoch", record, names, record.epoch)

    def add_steps(self, record: "StepRecord") -> None:
        """Charts by step."""
        self._add("step", record, ("loss", "learning_rate", "gradient_norm", "tokens_per_second"), record.step)

    def _add(self, group: str, record: Any, names: "Sequence[str]", place: int) -> None:
        for name in names:
            if (value := getattr(record, name)) is not None:
                self._writer.add_scalar(f"{group}/{name}", value, place)
        self._writer.flush()

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()
