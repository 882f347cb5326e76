"""What a run tells, written for TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from fastattn.data import require

from .records import EpochRecord, StepRecord


class Board:
    """Writes records for TensorBoard, a number a chart: ``add_epoch`` is a callback of a run, ``add_steps`` its ``on_step``.

    MissingExtraError without tensorboardX; OSError where the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        tensorboard = require("tensorboardX", "tensorboard", "--tensorboard")
        self._writer: Any = tensorboard.SummaryWriter(os.fspath(folder))

    def add_epoch(self, record: EpochRecord) -> None:
        """Charts by epoch."""
        names = ("loss", "valid_loss", "valid_exact_match", "valid_token_error_rate", "learning_rate", "tokens_per_second")
        self._add("epoch", record, names, record.epoch)

    def add_steps(self, record: StepRecord) -> None:
        """Charts by step."""
        self._add("step", record, ("loss", "learning_rate", "gradient_norm", "tokens_per_second"), record.step)

    def _add(self, group: str, record: Any, names: Sequence[str], place: int) -> None:
        for name in names:
            if (value := getattr(record, name)) is not None:
                self._writer.add_scalar(f"{group}/{name}", value, place)
        self._writer.flush()

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()
