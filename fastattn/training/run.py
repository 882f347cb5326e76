"""A training run, from settings to a model in a folder: what `fastattn train` does, for Python as well."""

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastattn.data import (
    PLAIN,
    PairsFile,
    StoredCorpus,
    atomic_write,
    date_pairs,
    encode_pairs,
    split_dates,
    split_pairs,
)
from fastattn.data.pairs import Pair, passed_over, shown_name
from fastattn.models import AttentionSeq2seq

from .interruptions import interruptions_held
from .model_folder import HISTORY, ModelFolderError, history_text, holds_model, save
from .optimizer import SGD, Adam, AdamW, Optimizer
from .records import EpochRecord, History, Outcome, StepRecord
from .settings import DATE_EPOCHS, EPOCHS, VALID_FRACTION, DataSettings, Settings, SettingsError, TrainingSettings
from .stored import SourceLimit, stored_pairs
from .trainer import Trainer
from .translator import Translator

CONFIG_TOML = "config.toml"
LOG_EVERY = 100
LONGEST_EXAMPLE = 100
Encoded = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class SplitPairs:
    """Pairs to train on, and pairs held out, if there are any; ``passed_over``: lines that were no pairs, in words."""

    name: str
    train: list[Pair] | StoredCorpus
    valid: list[Pair] | StoredCorpus
    passed_over: str = ""

    @property
    def example(self) -> str:
        """A source, of those held out if there are some; a short one if there is one."""
        if isinstance(self.train, StoredCorpus) or isinstance(self.valid, StoredCorpus):
            assert isinstance(self.train, StoredCorpus)  # on disk are all pairs or none
            return self.train.first_source
        pairs = self.valid or self.train
        return next((source for source, _ in pairs if len(source) <= LONGEST_EXAMPLE), pairs[0][0])


class TrainingRun:
    """A run that is ready to begin: its pairs are read, its model has its first weights, its folder can be written.

    ``settings``: those given, with what follows from the corpus filled in, so that the same settings make the same run;
    ``corpus``; ``translator``: the model with its vocabularies, trained when `train` has ended; ``folder``; ``history``: a
    record of every epoch so far; ``saved``: the epoch whose weights stand in the folder, if any do; ``outcome``: when `train`
    has ended, which weights were kept and why.

    PairsError, SettingsError, MissingExtraError or ModelFolderError, which say what to mend, where it cannot begin.
    """

    def __init__(self, settings: Settings, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self.settings = _resolved(settings)
        _check_folder(self.folder, overwrite)
        self.corpus = _read_corpus(self.settings)
        translator = _new_translator(self.settings, self.corpus)
        self._train = _encoded(translator, self.corpus.train)
        self._valid = _encoded(translator, self.corpus.valid) if len(self.corpus.valid) else None
        _check_sizes(self.settings.training, self.corpus, self._train)
        _check_writing(self.folder)
        self.translator = translator
        self.history = History()
        self.saved: int | None = None
        self.outcome: Outcome | None = None

    def train(
        self,
        callbacks: Iterable[Callable[[EpochRecord], object]] = (),
        *,
        on_step: Callable[[StepRecord], object] | None = None,
        progress: bool | None = None,
    ) -> None:
        """Goes through all epochs; writes the folder after each, and then calls ``callbacks`` with its record.

        With keep "best" the folder is written after each epoch that is the best so far. on_step: called with a record
        of the steps after every ``log_every`` of them, or 100. progress: a bar on standard error; None: if that is a
        terminal. DivergedError, and interruptions, as `Trainer.fit` raises them: the folder then holds the epoch that
        ``saved`` names.
        """
        training = self.settings.training
        if isinstance(self._train, StoredCorpus):
            x: Any = self._train
            t = source_lengths = target_lengths = None
        else:
            x, source_lengths, t, target_lengths = self._train
        trainer = Trainer(self.translator.model, _new_optimizer(training))
        trainer.fit(
            x,
            t,
            training.epochs or EPOCHS,
            training.batch_size,
            training.max_grad,
            source_lengths=source_lengths,
            target_lengths=target_lengths,
            validation_data=self._valid,
            callbacks=[self._finish_epoch, *callbacks],
            schedule=training.new_schedule(),
            seed=training.seed,
            progress=progress,
            batch_tokens=training.batch_tokens,
            accumulate=training.accumulate,
            metric=training.metric,  # type: ignore[arg-type]  # a Choice has checked it, as the two below
            patience=training.patience,
            keep=training.keep,  # type: ignore[arg-type]
            average=training.average,  # type: ignore[arg-type]
            average_count=training.average_count,
            ema=training.ema,
            max_minutes=training.max_minutes,
            on_step=on_step,
            log_every=training.log_every or LOG_EVERY,
        )
        self.outcome = trainer.outcome
        if training.average != "none":
            self._save()

    def _finish_epoch(self, record: EpochRecord) -> None:
        self.history.append(record)
        if self.settings.training.keep == "best" and not record.best:
            atomic_write(self.folder / HISTORY, history_text(self.history))
        else:
            self._save()
            self.saved = record.epoch

    def _save(self) -> None:
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


def train(
    settings: Settings,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    callbacks: Iterable[Callable[[EpochRecord], object]] = (),
    on_step: Callable[[StepRecord], object] | None = None,
    progress: bool | None = None,
) -> TrainingRun:
    """Trains a model and writes it to ``folder`` after every epoch, with `config.toml`, which holds the settings.

    overwrite: whether a model that stands there may be replaced. callbacks, on_step, progress, errors: as in `TrainingRun`
    and its ``train``. The run that is returned has the trained model in ``translator``.
    """
    run = TrainingRun(settings, folder, overwrite=overwrite)
    run.train(callbacks, on_step=on_step, progress=progress)
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
    data, training = settings.data, settings.training
    if data.pairs is None and (data.valid is not None or data.valid_fraction is not None):
        raise SettingsError("data.valid and data.valid_fraction need PAIRS.tsv: of the dates, a tenth is held out")
    if data.pairs is None and data.reading != PLAIN:
        name = next(name for name in data.changed() if hasattr(PLAIN, name))
        raise SettingsError(f"data.{name} is {getattr(data, name)!r}, but needs PAIRS.tsv: the built-in dates are no file")
    if data.valid_fraction == 0 and training.needs_held_out is not None:
        raise SettingsError(
            f"training.{training.needs_held_out}, which goes by held-out pairs, but data.valid_fraction is 0; expected more"
        )
    if settings.training.epochs is None:
        choices["epochs"] = DATE_EPOCHS if settings.data.pairs is None else EPOCHS
    if settings.data.pairs is not None and settings.data.valid is None and settings.data.valid_fraction is None:
        choices["valid_fraction"] = VALID_FRACTION
    return settings.replaced(**choices)


def _read_corpus(settings: Settings) -> SplitPairs:
    data = settings.data
    if data.token_cache is not None:
        stored = stored_pairs(data, settings.model.share_embeddings, settings.training.seed)
        name = shown_name(data.pairs or "")
        words = passed_over(stored.blank_lines, stored.comment_lines)
        return SplitPairs(name, stored.train, [] if stored.valid is None else stored.valid, words)
    if data.pairs is None:
        return SplitPairs("the built-in dates", *split_dates(date_pairs()))
    file = _read_pairs(data.pairs, data)
    name = shown_name(data.pairs)
    if data.valid is not None:
        valid = _read_pairs(data.valid, data)
        words = passed_over(file.blank_lines + valid.blank_lines, file.comment_lines + valid.comment_lines)
        return SplitPairs(name, file.pairs, valid.pairs, words)
    if not data.valid_fraction:
        return SplitPairs(name, file.pairs, [], file.passed_over())
    try:
        return SplitPairs(name, *split_pairs(file.pairs, data.valid_fraction, settings.training.seed), file.passed_over())
    except ValueError as error:
        raise SettingsError(f"{name}: {error}; with a valid fraction of 0 none are held out") from error


def _read_pairs(path: str, data: DataSettings) -> PairsFile:
    file = PairsFile.read(path, data.reading)
    check = SourceLimit(data)
    for (source, _), line in zip(file.pairs, file.lines, strict=True):
        check(path, line, source)
    return file


def _new_translator(settings: Settings, corpus: SplitPairs) -> Translator:
    """An untrained model with the vocabularies of what it is to be trained on."""
    data = settings.data
    if isinstance(corpus.train, StoredCorpus):
        source_vocabulary, target_vocabulary = corpus.train.source_vocabulary, corpus.train.target_vocabulary
        longest = int(corpus.train.target_lengths.max()) - 2  # the start symbol counts, and the end
    else:
        source_vocabulary, target_vocabulary = data.vocabularies(corpus.train, settings.model.share_embeddings)
        longest = max(len(target_vocabulary.tokenize(target)) for _, target in corpus.train)
    config = settings.model.config(len(source_vocabulary), len(target_vocabulary))
    return Translator(
        AttentionSeq2seq.from_config(config, seed=settings.training.seed),
        source_vocabulary,
        target_vocabulary,
        reverse_source=data.reverse_source,
        max_target_tokens=2 * (longest + 1),  # the end symbol counts
        reading=data.reading,
    )


def _encoded(translator: Translator, pairs: list[Pair] | StoredCorpus) -> Encoded | StoredCorpus:
    if isinstance(pairs, StoredCorpus):
        return pairs
    return encode_pairs(
        pairs, translator.source_vocabulary, translator.target_vocabulary, reverse_source=translator.reverse_source
    )


def _check_sizes(training: TrainingSettings, corpus: SplitPairs, encoded: Encoded | StoredCorpus) -> None:
    """SettingsError for a pair that no batch has room for."""
    if training.batch_tokens is None:
        return
    if isinstance(encoded, StoredCorpus):
        sizes = encoded.source_lengths + encoded.target_lengths
    else:
        sizes = encoded[1] + encoded[3]
    longest = int(sizes.argmax())
    if sizes[longest] > training.batch_tokens:
        shown = ""
        if not isinstance(corpus.train, StoredCorpus):
            source, target = corpus.train[longest]
            shown = f", {source[:40]!r} and {target[:40]!r}"
        raise SettingsError(
            f"training.batch_tokens is {training.batch_tokens}, but {corpus.name} has a pair of {sizes[longest]} tokens"
            f"{shown}; expected at least {sizes[longest]}"
        )


def _new_optimizer(training: TrainingSettings) -> Optimizer:
    if training.optimizer == "adam":
        return Adam(training.learning_rate)
    if training.optimizer == "sgd":
        return SGD(training.learning_rate)
    return AdamW(training.learning_rate, **({} if training.weight_decay is None else {"weight_decay": training.weight_decay}))
