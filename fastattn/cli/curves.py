"""What `fastattn train` shows of a run beside its lines: the learning curve as a picture, and TensorBoard's files."""

import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastattn.training import EpochRecord

PICTURE = "learning-curve.png"


def check_extra(flag: str, module: str, extra: str) -> None:
    """UserError, which names the extra, if the module that a flag needs is not there."""
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{flag} needs {module}; install it with: pip install 'fastattn[{extra}]'")


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
    if exact := [record.valid_exact_match for record in history if record.valid_exact_match is not None]:
        right = axes.twinx()
        right.set(ylabel="held out", ylim=(0, 1))
        right.yaxis.set_major_formatter("{x:.0%}")
        lines += right.plot(epochs, exact, color="C2", marker=".", linestyle="--", label="exact match")
    axes.set_ylim(bottom=0)
    axes.legend(handles=lines, loc="center right")
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
        for name in ("loss", "valid_loss", "valid_exact_match", "tokens_per_second"):
            value = getattr(record, name)
            if value is not None:
                self._writer.add_scalar(f"epoch/{name}", value, record.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()
