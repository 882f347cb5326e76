"""A whole run: from settings to a `Translator`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from fastattn.data.pairs import Pair

from .parallel import Communicator
from .records import EpochRecord, StepRecord
from .run import Run
from .settings import Settings
from .translator import Translator


class TrainingRun(Run[Translator]):
    __doc__ = Run.__doc__

    make = Translator


def train(
    settings: Settings,
    folder: str | os.PathLike[str] | None = None,
    *,
    pairs: Iterable[Pair] | None = None,
    valid: Iterable[Pair] | None = None,
    overwrite: bool = False,
    callbacks: Iterable[Callable[[EpochRecord], object]] = (),
    on_step: Callable[[StepRecord], object] | None = None,
    progress: bool | None = None,
    communicator: Communicator | None = None,
) -> TrainingRun:
    """Trains a model and writes it to ``folder``, if there is one, after every epoch, with `config.toml`, the settings.

    pairs, valid, overwrite (whether a model that stands there may be replaced), callbacks, on_step, progress, communicator,
    errors: as in `TrainingRun` and its ``train``. The run that is returned has the trained model in ``translator``.
    """
    run = TrainingRun(settings, folder, pairs=pairs, valid=valid, overwrite=overwrite, communicator=communicator)
    run.train(callbacks, on_step=on_step, progress=progress)
    return run
