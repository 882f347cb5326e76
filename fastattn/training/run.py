"""A training run, from settings to a model in a folder: what `fastattn train` does, for Python as well."""

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fastattn.data import Vocabulary, atomic_write, date_pairs, encode_pairs, read_pairs, split_dates, split_pairs
from fastattn.data.pairs import Pair
from fastattn.models import AttentionSeq2seq

from .interruptions import interruptions_held
from .model_folder import ModelFolderError, holds_model, save
from .optimizer import SGD, Adam, AdamW, Optimizer
from .schedule import SCHEDULES
from .settings import DATE_EPOCHS, EPOCHS, VALID_FRACTION, Settings, SettingsError, TrainingSettings
from .trainer import EpochRecord, Trainer
from .translator import Translator

CONFIG_TOML = "config.toml"
Encoded = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Corpus:
    """Pairs to train on, and pairs held out, of which there may be none."""

    name: str
    train: list[Pair]
    valid: list[Pair]


class TrainingRun:
    """A run that is ready to begin: its pairs are read, its model has its first weights, its folder can be written.

    ``settings``: those given, with what follows from the corpus filled in, so that the same settings make the same run;
    ``corpus``; ``translator``: the model with its vocabularies, trained when `train` has ended; ``folder``; ``history``: a
    record of every epoch so far.

    PairsError, SettingsError or ModelFolderError, which say what to mend, where it cannot begin.
    """

    def __init__(self, settings: Settings, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self.settings = _resolved(settings)
        _check_folder(self.folder, overwrite)
        self.corpus = _read_corpus(self.settings)
        _check_writing(self.folder)
        self.translator = _new_translator(self.settings, self.corpus)
        self._train = self._encoded(self.corpus.train)
        self._valid = self._encoded(self.corpus.valid) if self.corpus.valid else None
        self.history: list[EpochRecord] = []

    def train(self, callbacks: Iterable[Callable[[EpochRecord], object]] = (), *, progress: bool | None = None) -> None:
        """Goes through all epochs; writes the folder after each, and then calls ``callbacks`` with its record.

        progress: a bar on standard error; None: if that is a terminal. DivergedError, and interruptions, as `Trainer.fit`
        raises them: the folder then holds the last epoch that ended.
        """
        training = self.settings.training
        x, source_lengths, t, target_lengths = self._train
        Trainer(self.translator.model, _new_optimizer(training)).fit(
            x,
            t,
            training.epochs or EPOCHS,
            training.batch_size,
            training.max_grad,
            source_lengths=source_lengths,
            target_lengths=target_lengths,
            validation_data=self._valid,
            callbacks=[self._finish_epoch, *callbacks],
            schedule=SCHEDULES[training.schedule],
            seed=training.seed,
            progress=progress,
        )

    def _finish_epoch(self, record: EpochRecord) -> None:
        self.history.append(record)
        with interruptions_held():
            save(self.folder, self.translator, self.history, self._described())
            atomic_write(self.folder / CONFIG_TOML, self.settings.to_toml())

    def _described(self) -> dict[str, Any]:
        """What config.json says of the run, for people to read; config.toml has all of it."""
        training = self.settings.training
        return {
            "corpus": os.fsencode(self.corpus.name).decode(errors="replace"),  # a file's name may be any bytes; JSON's text not
            "train_pairs": len(self.corpus.train),
            "valid_pairs": len(self.corpus.valid),
            "epochs": training.epochs,
            "batch_size": training.batch_size,
            "optimizer": {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}[training.optimizer],
            "learning_rate": training.learning_rate,
            "schedule": training.schedule,
            "max_grad": training.max_grad,
            "seed": training.seed,
        }

    def _encoded(self, pairs: list[Pair]) -> Encoded:
        translator = self.translator
        return encode_pairs(
            pairs, translator.source_vocabulary, translator.target_vocabulary, reverse_source=translator.reverse_source
        )


def train(
    settings: Settings,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    callbacks: Iterable[Callable[[EpochRecord], object]] = (),
    progress: bool | None = None,
) -> TrainingRun:
    """Trains a model and writes it to ``folder`` after every epoch, with `config.toml`, which holds the settings.

    overwrite: whether a model that stands there may be replaced. callbacks, progress, errors: as in `TrainingRun` and its
    ``train``. The run that is returned has the trained model in ``translator``.
    """
    run = TrainingRun(settings, folder, overwrite=overwrite)
    run.train(callbacks, progress=progress)
    return run


def _check_folder(folder: Path, overwrite: bool) -> None:
    """ModelFolderError unless the folder may be written: new, empty, or with a model that is to be replaced.

    A model takes long to train, so that none is replaced unasked; and a folder of other things is no place for one.
    """
    if folder.exists() and not folder.is_dir():
        raise ModelFolderError(folder, "is not a folder")
    if holds_model(folder):
        if not overwrite:
            reason = "holds a model already; give another folder (--out), or say that it may be replaced (--overwrite)"
            raise ModelFolderError(folder, reason)
    elif folder.is_dir() and any(folder.iterdir()):
        raise ModelFolderError(folder, "holds other things than a model; give another folder (--out)")


def _check_writing(folder: Path) -> None:
    """Makes the folder. ModelFolderError, now and not after the first epoch, if no file can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ModelFolderError(folder, f"cannot be written: {error.strerror}") from error


def _resolved(settings: Settings) -> Settings:
    """The settings with the defaults that depend on others. SettingsError for those that the dates have no use for."""
    choices: dict[str, Any] = {}
    if settings.data.pairs is None and (settings.data.valid is not None or settings.data.valid_fraction is not None):
        raise SettingsError("data.valid and data.valid_fraction need PAIRS.tsv: of the dates, a tenth is held out")
    if settings.training.epochs is None:
        choices["epochs"] = DATE_EPOCHS if settings.data.pairs is None else EPOCHS
    if settings.data.pairs is not None and settings.data.valid is None and settings.data.valid_fraction is None:
        choices["valid_fraction"] = VALID_FRACTION
    return settings.replaced(**choices)


def _read_corpus(settings: Settings) -> Corpus:
    data = settings.data
    if data.pairs is None:
        return Corpus("the built-in dates", *split_dates(date_pairs()))
    pairs = read_pairs(data.pairs)
    if data.valid is not None:
        return Corpus(data.pairs, pairs, read_pairs(data.valid))
    if not data.valid_fraction:
        return Corpus(data.pairs, pairs, [])
    try:
        return Corpus(data.pairs, *split_pairs(pairs, data.valid_fraction, settings.training.seed))
    except ValueError as error:
        raise SettingsError(f"{data.pairs}: {error}; with a valid fraction of 0 none are held out") from error


def _new_translator(settings: Settings, corpus: Corpus) -> Translator:
    """An untrained model with the vocabularies of what it is to be trained on."""
    data = settings.data
    sources, targets = ([pair[side] for pair in corpus.train] for side in (0, 1))
    if settings.model.share_embeddings:
        sources = targets = [*chain(sources, targets)]
    source_vocabulary = Vocabulary.from_texts(sources, data.source_tokens)  # type: ignore[arg-type]
    target_vocabulary = Vocabulary.from_texts(targets, data.target_tokens)  # type: ignore[arg-type]
    config = settings.model.config(len(source_vocabulary), len(target_vocabulary))
    longest = max(len(target_vocabulary.tokenize(target)) for _, target in corpus.train)
    return Translator(
        AttentionSeq2seq.from_config(config, seed=settings.training.seed),
        source_vocabulary,
        target_vocabulary,
        reverse_source=data.reverse_source,
        max_target_tokens=2 * (longest + 1),  # the end symbol counts
    )


def _new_optimizer(training: TrainingSettings) -> Optimizer:
    if training.optimizer == "adam":
        return Adam(training.learning_rate)
    if training.optimizer == "sgd":
        return SGD(training.learning_rate)
    return AdamW(training.learning_rate, **({} if training.weight_decay is None else {"weight_decay": training.weight_decay}))
