"""A training run, from settings to a model in a folder or in memory: what `fastattn train` does, for Python as well.

Here nothing is known of what a trained model is used for: a `Run` is told the class of it. That of a `TrainingRun` (`whole`) is
`Translator`.
"""

import contextlib
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np

from fastattn import backend
from fastattn.data import (
    PLAIN,
    FileError,
    FolderLock,
    PairsFile,
    StoredCorpus,
    date_pairs,
    encode_pairs,
    split_dates,
    split_pairs,
)
from fastattn.data.files import finish_set, is_temporary, manifest_bytes, write_set
from fastattn.data.locks import LOCK
from fastattn.data.pairs import STANDARD_INPUT, Pair, checked_pair, passed_over, shown_name
from fastattn.models import AttentionSeq2seq
from fastattn.models.saved import digest_of

from .card import HELD_OUT, LICENSE
from .checkpoints import CHECKPOINTS, Checkpoint, CheckpointFolder, pairs_digest
from .interruptions import Noted, interruptions_held, interruptions_noted
from .model_folder import HISTORY, IN_MEMORY, ModelFolderError, history_text, holds_model, locked, model_files
from .optimizer import SGD, Adam, AdamW, Optimizer
from .parallel import SHARDS, Communicator, RankError, check_same, checked_shards, share_of_cores, together, versions
from .progress import Where
from .records import DivergedError, EpochRecord, History, Outcome, StepRecord, TrainingWarning, record_of
from .settings import (
    CHANGEABLE,
    DATE_EPOCHS,
    EPOCHS,
    SECTIONS,
    VALID_FRACTION,
    DataSettings,
    Settings,
    SettingsError,
    TrainingSettings,
)
from .state import State, StateError, differences
from .stored import SourceLimit, stored_pairs
from .text_model import TextModel
from .trainer import Trainer

LOG_EVERY = 100
# A checkpoint after an epoch is left out where the last one is younger than so many times what it took to write it.
REST = 50
LONGEST_EXAMPLE = 100
APART = 1.0  # seconds, within which a rank takes a signal for the one before
Encoded = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Model = TypeVar("Model", bound=TextModel)


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


@dataclass(frozen=True)
class Given:
    """Pairs in memory, in place of those in files; each as the reader of a file would give it."""

    pairs: list[Pair] | None = None
    valid: list[Pair] | None = None

    @classmethod
    def checked(cls, settings: Settings, pairs: Iterable[Pair] | None, valid: Iterable[Pair] | None) -> Self:
        """TypeError or ValueError for what is no pair; SettingsError where the settings name a file, too."""
        data = settings.data
        for name, given in (("pairs", pairs), ("valid", valid)):
            file = getattr(data, name)
            if given is not None and file is not None:
                raise SettingsError(f"data.{name} is {file}, and there are {name} in memory; expected one of them")
            if given is not None and data.token_cache is not None:
                raise SettingsError(f"data.token_cache needs pairs in a file, but there are {name} in memory")
        if valid is not None and data.valid_fraction is not None:
            raise SettingsError(f"data.valid_fraction is {data.valid_fraction}, and valid is given; expected one of them")
        return cls(
            None if pairs is None else _checked_pairs("pairs", pairs, data),
            None if valid is None else _checked_pairs("valid", valid, data),
        )


def _checked_pairs(name: str, pairs: Iterable[Pair], data: DataSettings) -> list[Pair]:
    """Normalised, and with their features."""
    if isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
        raise TypeError(f"{name} is {pairs!r:.100}; expected pairs of texts (source, target)")
    check = SourceLimit(data)
    found = []
    for number, pair in enumerate(pairs, start=1):
        source, target = checked_pair(pair, number, name)
        for side, text in zip(("source", "target"), (source, target)):
            if not text.strip():
                raise ValueError(f"{name}: the {side} of pair {number} is empty")
        try:
            source, target = data.reading.source(str(source)), data.reading.normalized(str(target))
        except ValueError as error:
            raise ValueError(f"{name}: pair {number}: {error}") from error
        check(name, number, source)
        found.append((source, target))
    if not found:
        raise ValueError(f"{name} holds no pair; expected at least 1")
    return found


def _is_path(given: object) -> bool:
    """Or nothing at all."""
    return given is None or isinstance(given, str | os.PathLike)


class _Stopped(BaseException):
    """A signal was noted; the step is done."""


class _FolderLost(BaseException):
    """The folder is no longer the one that this run writes to."""


class Run(Generic[Model]):
    """A run that is ready to begin: its pairs are read, its model has its first weights, its folder can be written.

    ``settings``: those given, with what follows from the corpus filled in, so that the same settings make the same run;
    ``corpus``; ``translator``: the model with its vocabularies, trained when `train` has ended; ``folder``, None for a run that
    writes nothing; ``history``: a record of every epoch so far; ``saved``: the epoch whose weights stand in the folder, if any
    do; ``checkpoint``: the step of the last checkpoint, if there is one; ``outcome``: when `train` has ended, which weights
    were kept and why.

    communicator: one of mpi4py's, whose ranks make the same run together, each on its share of the cores of its host: all of
    them make such an object, and call ``train``. The first alone writes and shows progress, and has a ``folder``; on it alone
    callbacks are called.

    ``make``: the class of the translator. pairs, valid: sources and targets, in place of the files that the settings name; a
    source with features is source, tab, features, as for `Translator.translate`.

    PairsError, SettingsError, MissingExtraError or ModelFolderError, which say what to mend, where it cannot begin; ValueError
    or TypeError for pairs that are none.
    """

    make: Callable[..., Model]

    def __init__(
        self,
        settings: Settings,
        folder: str | os.PathLike[str] | None = None,
        *,
        pairs: Iterable[Pair] | None = None,
        valid: Iterable[Pair] | None = None,
        overwrite: bool = False,
        make: Callable[..., Model] | None = None,
        resumed: tuple[Checkpoint, CheckpointFolder] | None = None,
        communicator: Communicator | None = None,
    ) -> None:
        if make is not None:
            self.make = make
        self.communicator = communicator
        self._is_first = communicator is None or communicator.rank == 0
        self._is_kept = folder is not None  # by the first
        self.folder = None if folder is None or not self._is_first else Path(folder)
        if communicator is not None:
            backend.use_at_most(share_of_cores(communicator))
            check_same(communicator, {**versions(), **_bound(settings)})
            settings = _divided(settings, communicator, resumed is not None)
        with together(communicator):
            given = Given.checked(settings, pairs, valid)
            self.settings = _resolved(settings, given)
        if communicator is not None and self.settings.data.token_cache is not None:
            own = _turn(communicator)
            for turn in range(3):
                with together(communicator):
                    if turn == own:
                        _read_corpus(self.settings, given)  # who comes first writes what the others read
        with together(communicator):
            self._prepare(given, overwrite, resumed)

    def _prepare(self, given: Given, overwrite: bool, resumed: tuple[Checkpoint, CheckpointFolder] | None) -> None:
        """All that can fail on some ranks alone."""
        self._overwrite = overwrite or resumed is not None
        if self.folder is not None:
            _check_folder(self.folder, self._overwrite)
        self.corpus = _read_corpus(self.settings, given)
        translator = _new_translator(self.settings, self.corpus, self.make)
        self._train_pairs = _encoded(translator, self.corpus.train)
        self._valid = _encoded(translator, self.corpus.valid) if len(self.corpus.valid) else None
        _check_sizes(self.settings.training, self.corpus, self._train_pairs)
        if self.folder is not None:
            _check_writing(self.folder)
        self.translator = translator
        self.saved: int | None = None
        self.checkpoint: int | None = None
        self.outcome: Outcome | None = None
        self._set_history(History())
        self.translator.settings, self.translator.about = self.settings, self._described()
        if self.folder is not None:
            self._checkpoints = CheckpointFolder(self.folder, self.settings.training.keep_checkpoints)
            self._lock = FolderLock(self.folder)
        self._digests: dict[str, str] = {}
        self._state: State | None = None
        self._noted = Noted()
        if resumed is not None:
            self._go_on_from(*resumed)

    @classmethod
    def resume(cls, folder: str | os.PathLike[str], *, communicator: Communicator | None = None, **choices: Any) -> Self:
        """The run that was interrupted in this folder, ready to go on from its newest whole checkpoint.

        ``train`` then gives what the run would have given without the interruption, to the bit. choices: other settings, by
        their names; of those that would change the result, and of the data, none may differ. Pairs that were not in a file are
        given again. With a communicator any number of ranks may go on, up to the shards: the first reads the checkpoint. A
        TrainingWarning names a damaged checkpoint, which is set aside.

        ModelFolderError where there is no whole checkpoint, or somebody else is writing to the folder; SettingsError, with what
        differs, for other settings or other data; and the errors of a new run.
        """
        folder = Path(folder)
        found = None
        with together(communicator):
            if communicator is None or communicator.rank == 0:
                found = _newest(folder)
        if communicator is not None:
            found = communicator.bcast(found)
        assert found is not None
        checkpoints, checkpoint, damaged = found
        for words in damaged:
            warnings.warn(f"{words}; the run goes on from {checkpoint.path.name}", TrainingWarning, stacklevel=2)
        try:
            before = Settings.from_toml(checkpoint.about["settings"])
        except (KeyError, ValueError, AttributeError) as error:
            raise ModelFolderError(checkpoint.path, f"its settings cannot be read: {error}") from error
        in_memory = {name: choices.pop(name) for name in ("pairs", "valid") if not _is_path(choices.get(name))}
        settings = before.replaced(**choices)
        if differing := differences(_bound(settings), _bound(before)):
            raise SettingsError(f"{folder} cannot be resumed with other settings: {'; '.join(differing)}")
        return cls(settings, folder, **in_memory, resumed=(checkpoint, checkpoints), communicator=communicator)

    def _set_history(self, history: History) -> None:
        """The translator has the same list."""
        self.history = self.translator.history = history

    def _go_on_from(self, checkpoint: Checkpoint, checkpoints: CheckpointFolder) -> None:
        """SettingsError for a checkpoint of other data."""
        about = checkpoint.about
        data = about.get("data")
        if differing := differences(self._data(), data if isinstance(data, dict) else {}):
            raise SettingsError(f"{self.folder} cannot be resumed with other data: {'; '.join(differing)}")
        checkpoints.keep = self.settings.training.keep_checkpoints
        self._checkpoints, self._state = checkpoints, checkpoint.state
        try:
            run = checkpoint.state.part("run")
            self._set_history(History(record_of(record) for record in ([] if run is None else run.number("records", list))))
            self.checkpoint = checkpoint.state.number("step", int)
            self.saved = State(about).number("saved", int, type(None))
        except (ValueError, TypeError) as error:
            raise ModelFolderError(checkpoint.path, f"does not hold a run: {error}") from error
        if about.get("backend") != backend.get_backend():
            warnings.warn(
                f"the run was begun with the {about.get('backend')} kernels, and goes on with the {backend.get_backend()} "
                "ones: the last bits of the weights may differ",
                TrainingWarning,
                stacklevel=5,
            )

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
        terminal. DivergedError as `Trainer.fit` raises it: the folder then holds the epoch that ``saved`` names.

        The first Ctrl-C or SIGTERM takes effect when the step is done and a checkpoint is written, the next one at once. A
        TrainingWarning says that a checkpoint could not be written, and the training goes on. ModelFolderError where somebody
        else writes to the folder, or has removed or changed it: what the run has is then saved in a new folder beside it.
        """
        with interruptions_noted(apart=0.0 if self.communicator is None else APART) as self._noted, self._in_folder():
            try:
                try:
                    self._train(tuple(callbacks), on_step, progress)
                except _Stopped:
                    if self._is_kept and self.settings.training.checkpoint_every is not None:
                        self._write_checkpoint()
            except _FolderLost:
                raise self._rescued() from None
            except StateError as error:
                raise ModelFolderError(Path(self.folder or "") / CHECKPOINTS, f"the run cannot be resumed: {error}") from error

    @property
    def _folder(self) -> Path:
        """Of a run that has one."""
        assert self.folder is not None
        return self.folder

    @contextlib.contextmanager
    def _in_folder(self) -> Iterator[None]:
        """Nobody else writes to the folder meanwhile, if there is one."""
        if self.folder is None:
            yield
            return
        _check_writing(self.folder)
        with locked(self.folder) as self._lock:
            _check_folder(self.folder, self._overwrite)  # another run may have ended since the first look
            finish_set(self.folder)
            self._manifest = manifest_bytes(self.folder)
            yield

    def _train(
        self,
        callbacks: tuple[Callable[[EpochRecord], object], ...],
        on_step: Callable[[StepRecord], object] | None,
        progress: bool | None,
    ) -> None:
        training = self.settings.training
        self._checkpointed, self._cost, self._is_lost = time.monotonic(), 0.0, False
        if isinstance(self._train_pairs, StoredCorpus):
            x: Any = self._train_pairs
            t = source_lengths = target_lengths = None
        else:
            x, source_lengths, t, target_lengths = self._train_pairs
        trainer = self._trainer = Trainer(self.translator.model, _new_optimizer(training), self.communicator)
        state, self._state = self._state, None
        trainer.fit(
            x,
            t,
            training.epochs or EPOCHS,
            training.batch_size,
            training.max_grad,
            source_lengths=source_lengths,
            target_lengths=target_lengths,
            validation_data=self._valid,
            callbacks=[self._finish_epoch, *(callbacks if self._is_first else ())],
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
            skip_nonfinite=training.skip_nonfinite,
            max_minutes=training.max_minutes,
            on_step=on_step if self._is_first else None,
            log_every=training.log_every or LOG_EVERY,
            between=self._between,
            state=state,
            shards=training.shards or 1,
            wire=training.wire,  # type: ignore[arg-type]
        )
        self.outcome = self.translator.outcome = trainer.outcome
        self.translator.about = self._described()
        with together(self.communicator):
            if self.folder is not None and (training.average != "none" or not holds_model(self.folder)):
                self._save()

    def _finish_epoch(self, record: EpochRecord) -> None:
        self.history.append(record)
        if self.folder is None:
            return
        try:
            if self.settings.training.keep == "best" and not record.best:
                self._write({HISTORY: history_text(self.history)})
            else:
                self._save()
                self.saved = record.epoch
        except _FolderLost:
            self._is_lost = True  # said when the epoch is over: only then there is a state to be saved

    def _save(self) -> None:
        self._write(self._files())

    def _files(self) -> dict[str, bytes | str]:
        return model_files(self.translator, self.history, self._described(), self.settings)

    def _write(self, files: dict[str, bytes | str]) -> None:
        with interruptions_held():
            if not self._is_ours():
                raise _FolderLost
            write_set(self._folder, files)
            self._manifest = manifest_bytes(self._folder)

    def _is_ours(self) -> bool:
        """Not where the folder was removed or replaced, or somebody has written to it who did not ask for the lock."""
        return self._lock.is_held and manifest_bytes(self._folder) == self._manifest

    def _between(self, where: Where) -> None:
        """Stops if a signal has come, to any rank; writes a checkpoint if it is time."""
        number, is_lost = self._noted.number, self._is_lost
        is_time = where != "validation" and self._is_time(where)
        if self.communicator is not None:
            number, is_lost, is_time = _agreed(self.communicator, number, is_lost, is_time)
        if number is not None:
            if self._noted.number is None:
                self._noted.note(number)  # it takes effect here, too
            raise _Stopped
        if is_lost:
            raise _FolderLost
        if is_time:
            self._write_checkpoint(where)

    def _is_time(self, where: Where) -> bool:
        every = self.settings.training.checkpoint_every
        if every is None or self.folder is None:
            return False
        if where == "end" or isinstance(every, int):
            return where != "step" or self._trainer.step % int(every) == 0
        age = time.monotonic() - self._checkpointed
        return age >= (60 * float(every.removesuffix("m")) if where == "step" else REST * self._cost)

    def _write_checkpoint(self, where: Where = "step") -> None:
        """A TrainingWarning where it cannot be written; what was there is as it was."""
        began = time.monotonic()
        is_lost = self.folder is not None and not self._is_ours()
        if is_lost if self.communicator is None else any(self.communicator.allgather(is_lost)):
            raise _FolderLost
        state = self._trainer.state()  # all ranks have a part in it
        self._check_finite(state)  # on all ranks, that all end
        if self.folder is None:
            return
        try:
            self._write_checkpoint_to(self._checkpoints, state, where)
        except OSError as error:
            warnings.warn(
                f"no checkpoint was written at step {self._trainer.step}: {error.filename}: {error.strerror or error}",
                TrainingWarning,
                stacklevel=2,
            )
        else:
            self.checkpoint = self._trainer.step
        self._checkpointed = time.monotonic()
        self._cost = self._checkpointed - began

    def _check_finite(self, state: State) -> None:
        """DivergedError for a state that nobody could go on from."""
        names = {f"weights/{i}": name for i, name in enumerate(self.translator.model.named_params())}
        for name, array in state.arrays.items():
            if not np.isfinite(array).all():
                what, step = names.get(name, f"{name} of the state"), self._trainer.step
                raise DivergedError(f"{what} holds NaN or infinity at step {step}, of which no checkpoint is written")

    def _write_checkpoint_to(self, checkpoints: CheckpointFolder, state: State, where: Where) -> None:
        about = {
            "settings": self.settings.to_toml(),
            "data": self._data(),
            "saved": self.saved,
            "backend": backend.get_backend(),
        }
        is_best = where in ("epoch", "end") and bool(self.history[-1].best)
        trainer = self._trainer
        checkpoints.write(about, state, epoch=trainer.epoch, step=trainer.step, is_best=is_best)

    def _rescued(self) -> ModelFolderError | RankError:
        """Saves in a new folder what the run has; the error that says so."""
        what = "was removed, or something else was written to it, while this run did"
        state = self._trainer.state() if self.outcome is None else None
        if self.folder is None:
            return RankError(0, f"the folder {what}")
        for number in range(1, 1000):
            folder = self._folder.with_name(f"{self._folder.name}-rescued-{number}")
            with contextlib.suppress(FileExistsError):
                try:
                    folder.mkdir(parents=True)
                    if state is not None:
                        self._write_checkpoint_to(CheckpointFolder(folder, 1), state, "step")
                        return ModelFolderError(
                            self._folder,
                            f"{what}; where it stands is saved in {folder}: go on with fastattn train --resume {folder}",
                        )
                    write_set(folder, self._files())
                    return ModelFolderError(self._folder, f"{what}; the model is saved in {folder}")
                except FileExistsError:
                    raise
                except OSError as error:
                    return ModelFolderError(self._folder, f"{what}; and {folder} cannot be written: {error.strerror or error}")
        return ModelFolderError(self._folder, what)

    def _data(self) -> dict[str, str]:
        """What tells the data of this run from others."""
        if not self._digests:
            self._digests["the training pairs"] = pairs_digest(self._train_pairs)
            self._digests["the held-out pairs"] = "none" if self._valid is None else pairs_digest(self._valid)
            for side in ("source", "target"):
                content = getattr(self.translator, f"{side}_vocabulary").to_json()
                self._digests[f"the {side} vocabulary"] = f"SHA-256 {digest_of(content)[:32]}"
        return self._digests

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
            **({} if (name := self.settings.card.license) is None else {LICENSE: name}),
            **self._held_out(),
        }

    def _held_out(self) -> dict[str, Any]:
        """What the held-out pairs say of the weights as they stand, once an epoch has ended."""
        if self.outcome is not None:
            told: Any = self.outcome
            epochs = self.outcome.epochs
        elif self.history:
            told, epochs = self.history[-1], (self.history[-1].epoch,)
        else:
            return {}
        figures = {name: getattr(told, f"valid_{name}") for name in ("exact_match", "token_error_rate", "loss")}
        return {HELD_OUT: {"epochs": list(epochs), **{name: value for name, value in figures.items() if value is not None}}}


def _newest(folder: Path) -> tuple[CheckpointFolder, Checkpoint, list[str]]:
    """The newest whole checkpoint, and what is wrong with newer ones. ModelFolderError if there is none."""
    if not folder.is_dir():
        raise ModelFolderError(folder, "is not a folder" if folder.exists() else "no such folder")
    with locked(folder):
        checkpoints = CheckpointFolder(folder, 1)
        try:
            return checkpoints, *checkpoints.newest()
        except FileError as error:
            raise ModelFolderError(error.path, error.reason) from error


def _agreed(communicator: Communicator, number: int | None, is_lost: bool, is_time: bool) -> tuple[int | None, bool, bool]:
    """What is so on any rank."""
    everywhere = np.empty((communicator.size, 3), np.int64)
    communicator.Allgather(np.array([number or 0, is_lost, is_time], np.int64), everywhere)
    signal, lost, time = everywhere.max(axis=0).tolist()
    return signal or None, bool(lost), bool(time)


def _turn(communicator: Communicator) -> int:
    """When a rank comes to write what others may read: first rank 0, then a rank of each other host, then the others."""
    hosts = communicator.allgather(platform.node())
    if communicator.rank == 0:
        return 0
    return 1 if hosts.index(hosts[communicator.rank]) == communicator.rank else 2


def _divided(settings: Settings, communicator: Communicator, is_resumed: bool) -> Settings:
    """The settings with the shards that they have on MPI. SettingsError for more ranks than these."""
    shards = settings.training.shards
    if shards is None and not is_resumed:
        shards = SHARDS
        settings = settings.replaced(shards=shards)
    try:
        checked_shards(shards or 1, communicator.size)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    if settings.data.pairs == STANDARD_INPUT and communicator.size > 1:
        raise SettingsError("data.pairs is -, but only one rank has the standard input; expected a file")
    return settings


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
    elif folder.is_dir() and (folder / CHECKPOINTS).is_dir():
        if not overwrite:
            reason = "holds the checkpoints of a run that has not ended; go on with it (--resume), or say that they may be "
            raise ModelFolderError(folder, f"{reason}replaced (--overwrite)")
    elif folder.is_dir() and any(path.name != LOCK and not is_temporary(path.name) for path in folder.iterdir()):
        raise ModelFolderError(folder, "holds other things than a model; give another folder (--out)")


def _check_writing(folder: Path) -> None:
    """Makes the folder. ModelFolderError, now and not after the first epoch, if no file can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder), locked(folder):
            pass
    except OSError as error:
        raise ModelFolderError(folder, f"cannot be written: {error.strerror}") from error


def _bound(settings: Settings) -> dict[str, Any]:
    """The settings that a run that is resumed must have, by section and name."""
    chosen = {
        f"{section.title()}.{name}": getattr(getattr(settings, section.title()), name)
        for section in SECTIONS
        for name, _ in section.settings()
        if name not in CHANGEABLE
    }
    return {
        **chosen,
        "data.pairs": "a file" if settings.data.pairs is not None else None,
        "data.token_cache": "a folder" if settings.data.token_cache is not None else None,
    }


def _resolved(settings: Settings, given: Given) -> Settings:
    """The settings with the defaults that depend on others. SettingsError for those that the dates have no use for."""
    choices: dict[str, Any] = {}
    data, training = settings.data, settings.training
    is_of_dates = data.pairs is None and given.pairs is None
    has_valid = data.valid is not None or given.valid is not None
    if is_of_dates and (has_valid or data.valid_fraction is not None):
        raise SettingsError("data.valid and data.valid_fraction need PAIRS.tsv: of the dates, a tenth is held out")
    if is_of_dates and data.reading != PLAIN:
        name = next(name for name in data.changed() if hasattr(PLAIN, name))
        raise SettingsError(f"data.{name} is {getattr(data, name)!r}, but needs PAIRS.tsv: the built-in dates are no file")
    if data.valid_fraction == 0 and training.needs_held_out is not None:
        raise SettingsError(
            f"training.{training.needs_held_out}, which goes by held-out pairs, but data.valid_fraction is 0; expected more"
        )
    if settings.training.epochs is None:
        choices["epochs"] = DATE_EPOCHS if is_of_dates else EPOCHS
    if not is_of_dates and not has_valid and data.valid_fraction is None:
        choices["valid_fraction"] = VALID_FRACTION
    return settings.replaced(**choices)


def _read_corpus(settings: Settings, given: Given) -> SplitPairs:
    data = settings.data
    if data.token_cache is not None:
        stored = stored_pairs(data, settings.model.share_embeddings, settings.training.seed)
        name = shown_name(data.pairs or "")
        words = passed_over(stored.blank_lines, stored.comment_lines)
        return SplitPairs(name, stored.train, [] if stored.valid is None else stored.valid, words)
    name = IN_MEMORY if data.pairs is None else shown_name(data.pairs)
    file = _read_pairs(data.pairs, given.pairs, data)
    if file is None:
        return SplitPairs("the built-in dates", *split_dates(date_pairs()))
    valid = _read_pairs(data.valid, given.valid, data)
    if valid is not None:
        words = passed_over(file.blank_lines + valid.blank_lines, file.comment_lines + valid.comment_lines)
        return SplitPairs(name, file.pairs, valid.pairs, words)
    if not data.valid_fraction:
        return SplitPairs(name, file.pairs, [], file.passed_over())
    try:
        return SplitPairs(name, *split_pairs(file.pairs, data.valid_fraction, settings.training.seed), file.passed_over())
    except ValueError as error:
        raise SettingsError(f"{name}: {error}; with a valid fraction of 0 none are held out") from error


def _read_pairs(path: str | None, given: list[Pair] | None, data: DataSettings) -> PairsFile | None:
    """Those in memory, or else those of the file; None where there is neither."""
    if given is not None:
        return PairsFile(IN_MEMORY, given, [*range(1, len(given) + 1)], 0, 0)
    if path is None:
        return None
    file = PairsFile.read(path, data.reading)
    check = SourceLimit(data)
    for (source, _), line in zip(file.pairs, file.lines, strict=True):
        check(path, line, source)
    return file


def _new_translator(settings: Settings, corpus: SplitPairs, make: Callable[..., Model]) -> Model:
    """An untrained model with the vocabularies of what it is to be trained on."""
    data = settings.data
    if isinstance(corpus.train, StoredCorpus):
        source_vocabulary, target_vocabulary = corpus.train.source_vocabulary, corpus.train.target_vocabulary
        longest = int(corpus.train.target_lengths.max()) - 2  # the start symbol counts, and the end
    else:
        source_vocabulary, target_vocabulary = data.vocabularies(corpus.train, settings.model.share_embeddings)
        longest = max(len(target_vocabulary.tokenize(target)) for _, target in corpus.train)
    config = settings.model.config(len(source_vocabulary), len(target_vocabulary))
    return make(
        AttentionSeq2seq.from_config(config, seed=settings.training.seed),
        source_vocabulary,
        target_vocabulary,
        reverse_source=data.reverse_source,
        max_target_tokens=2 * (longest + 1),  # the end symbol counts
        reading=data.reading,
    )


def _encoded(translator: TextModel, pairs: list[Pair] | StoredCorpus) -> Encoded | StoredCorpus:
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
