"""Training: epochs of shuffled batches, with a progress bar, validation, and a stop when the loss is no number."""

from __future__ import annotations

import difflib
import functools
import inspect
import itertools
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from fastattn import backend
from fastattn.data import StoredCorpus
from fastattn.data.words import counted
from fastattn.layers import checks
from fastattn.layers.checks import Array

from .averages import Checkpoints, MovingAverage, put, weights_of
from .display import Display, new_display
from .interruptions import interruptions_held
from .optimizer import Optimizer, checked_number, global_norm
from .parallel import (
    SHARDS,
    WIRES,
    Alone,
    Communicator,
    Division,
    check_same,
    checked_shards,
    digest_of_arrays,
    digest_of_state,
    share_of_cores,
    tell_failures,
    together,
    versions,
)
from .progress import Meter, Run, Where
from .records import DivergedError, EpochRecord, History, Outcome, StepRecord, TrainingWarning
from .samples import Comparison, Counted, Lengths, Samples, StoredSamples
from .schedule import SCHEDULES, Plateau, Schedule
from .state import State, StateError, differences
from .stopping import METRICS, Clock, Metric, Watch, rank_of, said, score_of

P = ParamSpec("P")
R = TypeVar("R")


def _unknown_arguments_named(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with a TypeError that says what is expected in the place of an argument that it does not have."""
    known = list(inspect.signature(function).parameters)[1:]

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1) or [", ".join(known)]
                raise TypeError(f"{function.__name__} has no argument {name!r}; expected {near[0]}")
        return function(*args, **kwargs)

    return checked


class Trainer:
    """Trains ``model`` by ``optimizer``: ``Trainer(model, Adam()).fit(x, t)``.

    The model has ``params``, ``grads``, ``forward(x, t)`` -> loss and ``backward()``; the optimizer
    ``update(params, grads, max_norm=max_grad)``, which returns the norm (see `Optimizer`). ``loss_list`` holds the mean
    loss of every ``eval_interval`` steps of an epoch, and of the steps left at its end; ``epoch`` and ``step`` count
    over all fits. ``outcome``: which weights the last fit left in the model, and why (see `Outcome`).

    communicator: one of mpi4py's, such as ``MPI.COMM_WORLD``: all of its ranks train the model together, each with a part of
    every batch, and have the same weights afterwards (docs/many-machines.md). They do all the same: each makes such a trainer,
    of the same model, and calls `fit` with the same. A rank uses its share of the cores of its host, unless the number of
    threads has been set.

    TypeError for a model or an optimizer that lacks any of that.
    """

    def __init__(self, model: Any, optimizer: Optimizer, communicator: Communicator | None = None):
        lacking = [name for name in ("params", "grads", "forward", "backward") if not hasattr(model, name)]
        if lacking or isinstance(model, type):
            raise TypeError(f"model is {model!r}; expected a model, with params, grads, forward and backward")
        if not callable(getattr(optimizer, "update", None)) or isinstance(optimizer, type):
            raise TypeError(f"optimizer is {optimizer!r}; expected an optimizer such as Adam(0.001), with an update")
        self.model = model
        self.optimizer = optimizer
        self.communicator = communicator
        if communicator is not None:
            backend.use_at_most(share_of_cores(communicator))
        self.loss_list: list[float] = []
        self.epoch = 0
        self.step = 0
        self.outcome: Outcome | None = None
        self._run: Run | None = None

    @_unknown_arguments_named
    def fit(
        self,
        x: ArrayLike | StoredCorpus,
        t: ArrayLike | None = None,
        max_epoch: int = 10,
        batch_size: int = 32,
        max_grad: float | None = None,
        eval_interval: int = 20,
        *,
        source_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
        validation_data: Sequence[ArrayLike] | StoredCorpus | None = None,
        callbacks: Iterable[Callable[[EpochRecord], object]] = (),
        schedule: Schedule | str | None = None,
        seed: int | None = None,
        bucket: bool = True,
        progress: bool | None = None,
        batch_tokens: int | None = None,
        accumulate: int = 1,
        metric: Metric = "exact_match",
        patience: int | None = None,
        keep: Literal["last", "best"] = "last",
        average: Literal["none", "last", "best"] = "none",
        average_count: int = 5,
        ema: float = 0.0,
        skip_nonfinite: int = 0,
        max_minutes: float | None = None,
        on_step: Callable[[StepRecord], object] | None = None,
        log_every: int = 100,
        between: Callable[[Where], object] | None = None,
        state: State | None = None,
        shards: int | None = None,
        wire: Literal["dense", "sparse", "bfloat16"] = "dense",
    ) -> History:
        """``max_epoch`` epochs over x (N, T1) and t (N, T2), token ids; returns a record of each (`History`).

        In their place x may be a `StoredCorpus`, whose ids are on disk, and so may validation_data.

        Every row of t begins with the start symbol. source_lengths, target_lengths (N,): the real tokens of each row,
        the start symbol with them; a batch is cut to its longest member. max_grad: the global norm that gradients are
        scaled down to. validation_data: (x, t), or (x, source_lengths, t, target_lengths) as `encode_pairs` gives
        them, gone through after each epoch with dropout off. callbacks: called with the record of each epoch.
        schedule: what the optimizer's ``lr`` is multiplied with at each step, a function of the part of the fit's steps
        that is done, or the name of one (see `schedule`); afterwards ``lr`` is what it was. seed: of the order of the
        samples, together with the number of the epoch: ten fits of one epoch are one fit of ten, unless a schedule or one
        of the options below looks at the whole of a fit. bucket: whether samples of like lengths share a batch. progress:
        a bar on standard error, with loss, learning rate, tokens a second and time left; in a notebook a widget, or a line an
        epoch where there is no ipywidgets; None: in a terminal and in a notebook.

        docs/training.md has more of these, each with its formula and its source:

        - batch_tokens: a batch holds at most so many tokens, of sources, targets and padding; ``batch_size`` is then that of
          the validation alone. accumulate: a step is made by the gradients of so many batches, as if they were one.
        - metric: what the best epoch is known by, "exact_match", "token_error_rate" or "loss", all of the validation data.
          patience: training ends when so many epochs in a row were no better than the best before. keep: "last" or "best",
          the epoch whose weights the model has in the end.
        - average: "last" or "best", the model has in the end the mean of the weights after so many epochs, the last or the
          best ``average_count``. ema: the decay of an exponential moving average of the weights after each step, which is
          what is validated, what callbacks find in the model, and what it has in the end; 0: none. ``average`` goes with
          neither ``ema`` nor ``keep="best"``.
        - skip_nonfinite: so many steps of the fit may have a loss or gradients that are NaN or infinite; they change no weight,
          and a TrainingWarning says which they were.
        - max_minutes: training ends early enough for the last validation to be over by then; a schedule goes by the time where
          that is further on than the steps. At least one step is made.
        - on_step: called with a `StepRecord` after every ``log_every`` steps.
        - between: called with "step" between two steps, with "validation" between the batches of one, with "epoch" after the
          callbacks of one, with "end" after those of the last. In it, but not in a validation, and after a fit that it ended by
          an exception, `Trainer.state` is the state of the fit. state: such a state, of the same data and options, to go on
          from: the bits are those of a fit that was never interrupted.
        - shards: the parts of a step's batch whose gradients are added up in one fixed tree, a power of two; on so many ranks
          the bits are the same as on one (docs/many-machines.md). None: 8 with a communicator, 1 without. 1: the batch is
          undivided. wire: how gradients go from rank to rank.

        With a communicator, callbacks, on_step and between are called on every rank, and between must do the same on each.
        Ctrl-C takes effect between updates, never within one; so the weights are those of a whole number of steps.
        A TrainingWarning says when the loss of an epoch is far above that of the first step. ValueError or TypeError for
        arguments that cannot be; DivergedError, before the weights are updated, when the loss or the norm of the gradients
        is NaN or infinite, which says where that begins; and when a weight is after an epoch.
        """
        samples = _samples(x, t, source_lengths, target_lengths)
        validation = _held_out(validation_data)
        max_epoch = checks.size("max_epoch", max_epoch)
        batch_size = checks.size("batch_size", batch_size)
        eval_interval = checks.size("eval_interval", eval_interval)
        if max_grad is not None:
            checked_number("max_grad", max_grad, 0, low_is_allowed=False)
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
            if self.communicator is not None:
                seed = self.communicator.bcast(seed)
        elif seed < 0:
            raise ValueError(f"seed is {seed}; expected at least 0")
        if batch_tokens is not None:
            batch_tokens = checks.size("batch_tokens", batch_tokens)
        if schedule is not None and (isinstance(schedule, type) or not callable(schedule)) and not isinstance(schedule, str):
            raise TypeError(f"schedule is {schedule!r}; expected one of {', '.join(SCHEDULES)}, or a function of the part done")
        if isinstance(schedule, str):
            _check_choice("schedule", schedule, SCHEDULES)
            schedule = SCHEDULES[schedule]
        _check_choice("wire", wire, WIRES)
        communicator = self.communicator
        if shards is None:
            shards = SHARDS if communicator is not None else 1
        shards = checked_shards(checks.size("shards", shards), 1 if communicator is None else communicator.size)
        if shards > 1 and not isinstance(self.optimizer, Optimizer):
            raise TypeError(f"{type(self.optimizer).__name__} cannot be divided; expected one of fastattn's optimizers")
        if communicator is not None and communicator.rank:
            progress = False
        _check_choice("keep", keep, ("last", "best"))
        _check_choice("average", average, ("none", "last", "best"))
        average_count = checks.size("average_count", average_count)
        ema = checked_number("ema", ema, 0, 1)
        if average != "none" and (ema or keep == "best"):
            other = f"ema is {ema:g}" if ema else 'keep is "best"'
            raise ValueError(f"average is {average!r} and {other}; expected one of them: the model has room for one in the end")
        needs = {
            "patience": patience is not None,
            'keep="best"': keep == "best",
            'average="best"': average == "best",
            "the schedule": isinstance(schedule, Plateau),
        }
        self._check_metric(metric, validation, [name for name, is_chosen in needs.items() if is_chosen])
        kept = Checkpoints(average_count) if average != "none" else Checkpoints(1) if keep == "best" else None
        run = Run(
            samples=samples,
            max_epoch=max_epoch,
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            accumulate=checks.size("accumulate", accumulate),
            max_grad=max_grad,
            eval_interval=eval_interval,
            validation=validation,
            callbacks=tuple(callbacks),
            schedule=schedule,
            seed=seed,
            window=50 if bucket else 1,
            metric=metric,
            watch=Watch(None if patience is None else checks.size("patience", patience)),
            kept=kept,
            keeps="best" if "best" in (keep, average) else "last",
            averages=average != "none",
            ema=MovingAverage(ema) if ema else None,
            skip_nonfinite=checks.size("skip_nonfinite", skip_nonfinite, 0),
            on_step=on_step,
            log_every=checks.size("log_every", log_every),
            clock=Clock(max_minutes),
            base_lr=self.optimizer.lr if schedule is not None else 0.0,
            progress=progress,
            between=between,
            first_epoch=self.epoch + 1,
            shards=shards,
            wire=wire,
            communicator=communicator if communicator is not None and communicator.size > 1 else None,
        )
        if batch_tokens is not None:
            run.order(self.epoch + 1)  # its errors come before anything changes
        if state is not None:
            try:
                self._put(run, state)
            except StateError:
                raise
            except (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, OverflowError) as error:
                raise StateError(f"the state is not one that a fit gave: {error!r:.200}") from error
        if run.communicator is not None:
            check_same(run.communicator, self._facts(run))
        if shards > 1:
            run.division = Division(communicator or Alone(), shards, wire, self.model.params, self.optimizer)
        return self._fit(run)

    def state(self) -> State:
        """Where the fit stands that is going on, or that an exception out of ``between`` has ended: `fit` goes on from it.

        It has copies of all arrays. On several ranks it is the same on each, and all call it. ValueError where there is no such
        fit; TypeError for an optimizer without a ``state``.
        """
        run = self._run
        if run is None or not run.is_steady:
            raise ValueError("no fit stands between two steps; expected a call within between, or after it ended a fit")
        if not hasattr(self.optimizer, "state"):
            raise TypeError(f"{type(self.optimizer).__name__} has no state; expected one of fastattn's optimizers")
        optimizer = self.optimizer.state() if run.division is None else run.division.optimizer_state()
        if run.division is not None:
            optimizer.numbers["numbers"]["lr"] = self.optimizer.lr
        if run.schedule is not None:
            optimizer.numbers["numbers"]["lr"] = run.base_lr
        numbers: dict[str, Any] = {"epoch": self.epoch, "step": self.step, "options": run.options()}
        if hasattr(self.model, "step"):
            numbers["masks"] = {"step": self.model.step, "seeds": [d.seed for d in getattr(self.model, "dropouts", ())]}
        return State(numbers, {"loss_list": np.array(self.loss_list, np.float64)}).with_parts(
            weights=State.of_list(self.model.params), optimizer=optimizer, run=run.state()
        )

    def _put(self, run: Run, state: State) -> None:
        """Goes on from a state. ValueError for one of other options, of another model, or of another optimizer."""
        if differing := differences(run.options(), state.number("options", dict)):
            raise StateError(f"the state is that of another fit: {'; '.join(differing)}")
        parts = {name: state.part(name) for name in ("weights", "optimizer", "run")}
        weights, optimizer, of_run = parts["weights"], parts["optimizer"], parts["run"]
        if weights is None or optimizer is None or of_run is None:
            raise StateError("the state lacks weights, optimizer or run")
        params = weights.as_list(self.model.params)
        run.put(of_run, params)
        self.optimizer.put(optimizer, params)
        put(self.model.params, params)
        self.epoch, self.step = state.count("epoch"), state.count("step")
        self.loss_list = [float(loss) for loss in state.arrays.get("loss_list", [])]
        if hasattr(self.model, "step"):
            masks = State(state.number("masks", dict))
            self.model.step = masks.count("step")
            for dropout, seed in zip(getattr(self.model, "dropouts", ()), masks.number("seeds", list), strict=True):
                dropout.seed = checks.seed("seed", seed)

    def _facts(self, run: Run) -> dict[str, Any]:
        """What must be the same on all ranks."""
        masks = [(d.seed, d.ratio) for d in getattr(self.model, "dropouts", ())]
        return {
            **versions(),
            **run.options(),
            "wire": run.wire,
            "the model": type(self.model).__name__,
            "the weights": digest_of_arrays(self.model.params),
            "dropout's masks": (getattr(self.model, "step", 0), masks),
            "the optimizer": digest_of_state(self.optimizer.state()),
            "the epoch": self.epoch,
            "the samples": run.samples.digest,
            "the validation data": None if run.validation is None else run.validation.digest,
        }

    def _pause(self, run: Run, where: Where) -> None:
        """Lets others do something. In a validation the model may have other weights than its own."""
        if run.between is None:
            return
        run.is_steady = where != "validation"
        try:
            run.between(where)
        except BaseException:
            run.is_steady = True
            raise
        run.is_steady = False

    def _check_metric(self, metric: Metric, validation: Samples | StoredSamples | None, needed_by: Sequence[str]) -> None:
        """ValueError for a metric that somebody goes by and that there is not."""
        _check_choice("metric", metric, METRICS)
        if needed_by and validation is None:
            raise ValueError(f"{needed_by[0]} goes by the {METRICS[metric]}, but there is no validation_data")
        if needed_by and metric != "loss" and not hasattr(self.model, "generate"):
            raise ValueError(
                f'{needed_by[0]} goes by the {METRICS[metric]}, but the model cannot generate; expected metric="loss"'
            )

    def _fit(self, run: Run) -> History:
        self.outcome, self._run = None, run
        records = run.records
        last = run.first_epoch - 1 + run.max_epoch
        done = run.epochs_done * run.samples.tokens + (run.meter.tokens if run.in_epoch else 0)
        display = new_display(run.progress, run.max_epoch * run.samples.tokens, last, done)
        with display, backend.compilation.told(display.compiling):
            while run.in_epoch or (run.epochs_done < run.max_epoch and not run.ended):
                if not run.in_epoch:  # or else it goes on from a state
                    run.begin_epoch()
                    self.epoch += 1
                display.begin_epoch(self.epoch)
                try:
                    meter = self._train_epoch(run, display)
                finally:
                    if run.schedule is not None:
                        self.optimizer.lr = run.base_lr
                self._check_epoch(meter)
                self._warn_if_it_is_lost(run, meter.mean_loss)
                run.agree_on_time()
                stopped = run.clock.seconds
                with weights_of(self.model.params, run.ema.mean if run.ema else None):
                    record = self._finish_epoch(run, meter, run.learning_rate)
                    records.append(record)
                    display.end_epoch(record)
                    with display.cleared(), together(run.communicator):
                        for callback in run.callbacks:
                            callback(record)
                run.agree_on_time()
                run.end_epoch()
                # The mean of several epochs is validated once more, in the end.
                run.clock.reserve = (run.clock.seconds - stopped) * (2 if run.averages else 1)
                if run.watch.is_over:
                    run.ended = (
                        f"no better {METRICS[run.metric]} for {counted(run.watch.waited, 'epoch')}, up to epoch {self.epoch}"
                    )
                elif run.clock.is_up(run.step_seconds):
                    run.ended = f"the time, {run.clock.limit / 60:g} minutes, was up in epoch {self.epoch}"
                self._pause(run, "end" if run.ended or run.epochs_done == run.max_epoch else "epoch")
            self.outcome = self._leave_weights(run, records)
        if run.division is not None:
            run.division.leave(self.model.params)
        self._run = None
        return records

    def _train_epoch(self, run: Run, display: Display) -> Meter:
        """All steps of an epoch, or those for which there is time, but for the first step of a fit."""
        _set_training(self.model, True)
        order = run.order(self.epoch)
        meter, recent = run.meter, run.recent
        run.agree_on_time()
        began, compiled = time.perf_counter(), backend.compilation.seconds
        for step, chosen in enumerate([] if run.ended else order[run.place :], start=run.place + 1):
            if run.schedule is not None:
                self.optimizer.lr = run.base_lr * run.schedule(run.done((step - 1) / len(order)))
            is_logged = run.on_step is not None and (run.steps + 1) % run.log_every == 0
            place = f"epoch {self.epoch}, step {step} of {len(order)}"
            parts: Sequence[Counted]
            update: Callable[[], tuple[float, float | None]]
            if run.division is None:
                parts = batches = [run.samples.batch(samples) for samples in chosen]
                update = functools.partial(self._updated, run, batches, is_logged, place)
            else:
                parts = [Lengths.of(run.samples, samples) for samples in chosen]
                update = functools.partial(self._updated_in_shards, run, run.division, chosen, parts, place)
            loss, norm = self._train_step(run, update)
            if loss is not None and math.isnan(run.first_loss):
                run.first_loss = loss
            run.steps += 1
            if loss is not None:
                recent.append(loss)
            if len(recent) == run.eval_interval:
                self.loss_list.append(sum(recent) / len(recent))
                recent.clear()
            tokens, target_tokens = sum(part.tokens for part in parts), sum(part.target_tokens for part in parts)
            compiling = backend.compilation.seconds - compiled
            compiled += compiling
            run.compiling_seconds += compiling
            said = ""
            if display.shows_steps and loss is not None:
                left = tqdm.format_interval(run.seconds_left(step / len(order)))
                said = f"loss {loss:.4f}, lr {self._learning_rate or 0:.1e}, {left} left"
            display.step(tokens, said, compiling)
            seconds = time.perf_counter() - began
            began += seconds
            seconds -= compiling
            for adding in (meter, run.since_record):
                if loss is not None:
                    adding.add(loss, target_tokens, tokens, seconds)
            if is_logged and run.on_step is not None and norm is not None:
                with display.cleared():
                    run.on_step(self._step_record(run, norm, step / len(order)))
                run.since_record = Meter()
                began, compiled = time.perf_counter(), backend.compilation.seconds
            if run.steps > 1:  # the first may have loaded kernels
                run.step_seconds = seconds
            run.agree_on_time()
            if run.clock.is_up(run.step_seconds):
                run.ended = f"the time, {run.clock.limit / 60:g} minutes, was up in epoch {self.epoch}"
            run.place, run.learning_rate = step, self._learning_rate
            if run.between is not None:
                self._pause(run, "step")
                began, compiled = time.perf_counter(), backend.compilation.seconds
            if run.ended:
                break
        if recent:
            self.loss_list.append(sum(recent) / len(recent))
            recent.clear()
        return meter

    def _train_step(self, run: Run, update: Callable[[], tuple[float, float | None]]) -> tuple[float | None, float | None]:
        """The loss and the norm, as ``update`` gives them, which makes the step; None and None for one that is skipped."""
        try:
            return update()
        except DivergedError as error:
            if run.skipped >= run.skip_nonfinite:
                if run.skipped:
                    raise DivergedError(f"{error}; {counted(run.skipped, 'step')} had been skipped") from None
                raise
            run.skipped += 1
            self.step += 1
            words = f"{error}; the step is skipped, {run.skipped} of at most {run.skip_nonfinite}"
            if run.communicator is None or run.communicator.rank == 0:
                warnings.warn(words, TrainingWarning, stacklevel=6)  # where fit is called
            return None, None

    def _updated(self, run: Run, parts: Sequence[Samples], wants_norm: bool, place: str) -> tuple[float, float | None]:
        """The mean loss over the target tokens of all parts; the norm of the gradients, if it is known or wanted."""
        if len(parts) == 1:
            loss = self._loss(parts[0], place)
            self.model.backward()
            grads = self.model.grads
        else:
            loss = self._accumulate(run, parts, place)
            grads = run.sums
        with interruptions_held():
            max_norm = run.max_grad
            if max_norm is None and isinstance(self.optimizer, Optimizer):
                max_norm = sys.float_info.max  # nothing is clipped, and no step is made by gradients that are none
            norm = self.optimizer.update(self.model.params, grads, max_norm=max_norm)
            if norm is not None and not math.isfinite(norm):
                begins = _first_nonfinite(self.model, grads)
                where = f", first in that of {begins}" if begins else ", though each of them is finite"
                raise DivergedError(f"the norm of the gradients is {norm} at {place}{where}; a lower learning rate may help")
            self.step += 1
            if run.ema is not None:
                run.ema.update(self.model.params)
        return loss, global_norm(grads) if norm is None and wants_norm else norm

    def _loss(self, batch: Samples, place: str) -> float:
        loss = batch.loss(self.model)
        self._check_loss(loss, place)
        return loss

    def _check_loss(self, loss: float, place: str) -> None:
        if not math.isfinite(loss):
            begins = _first_nonfinite(self.model, self.model.params)
            where = f", and so is {begins}" if begins else ""
            raise DivergedError(f"the loss is {loss} at {place}{where}; a lower learning rate or max_grad may help")

    def _check_epoch(self, meter: Meter) -> None:
        """DivergedError after an epoch that left weights which nobody can use, or that made no step at all."""
        if not meter.target_tokens:
            raise DivergedError(f"no step of epoch {self.epoch} had a loss and gradients that are finite")
        if begins := _first_nonfinite(self.model, self.model.params):
            raise DivergedError(f"{begins} holds NaN or infinity after epoch {self.epoch}, step {self.step} in all")

    def _accumulate(self, run: Run, parts: Sequence[Samples], place: str) -> float:
        """The loss of all parts as one batch; its gradients are left in ``run.sums``."""
        if not run.sums:
            run.sums = [np.empty_like(grad) for grad in self.model.grads]
        tokens = sum(part.target_tokens for part in parts)
        firsts = itertools.accumulate((len(part.x) for part in parts[:-1]), initial=0)
        return self._add_up(zip(firsts, parts, strict=True), tokens, run.sums, place)

    def _add_up(self, parts: Iterable[tuple[int, Samples]], tokens: int, sums: Sequence[Array], place: str | None) -> float:
        """The part that some parts of a batch have in its loss; that in its gradients is left in ``sums``.

        Each part comes with the place of its first sample in the batch, and has the weight of its target tokens among those
        of the batch. The parts' masks are those of one batch: of one step, and each part's samples stand where they would.
        place: for a DivergedError; None: there is none.
        """
        model = self.model
        has_masks = hasattr(model, "step") and hasattr(model, "first_sample")
        before = (model.step, model.first_sample) if has_masks else (0, 0)
        total = 0.0
        try:
            for number, (first, part) in enumerate(parts):
                if has_masks:
                    model.step, model.first_sample = before[0], before[1] + first
                weight = part.target_tokens / tokens
                total += (part.loss(model) if place is None else self._loss(part, place)) * weight
                model.backward()
                for summed, grad in zip(sums, model.grads, strict=True):
                    if number:
                        grad *= weight  # a backward overwrites it
                        summed += grad
                    else:
                        np.multiply(grad, weight, out=summed)
        finally:
            if has_masks:
                model.first_sample = before[1]
        return total

    def _updated_in_shards(
        self, run: Run, division: Division, chosen: Sequence[Array], parts: Sequence[Counted], place: str
    ) -> tuple[float, float]:
        """As `_updated`: the loss and the norm of the sum of all shards, of which this rank has some.

        chosen: the samples of each part. A shard has a piece of each, by its place among the shards; it may be empty.
        """
        model, shards = self.model, division.shards
        tokens = sum(part.target_tokens for part in parts)
        firsts = [*itertools.accumulate((len(samples) for samples in chosen[:-1]), initial=0)]
        step = getattr(model, "step", None)
        losses: list[float] = []

        def pieces(shard: int) -> Iterator[tuple[int, Samples]]:
            for first, samples in zip(firsts, chosen, strict=True):
                begin, end = (len(samples) * number // shards for number in (shard, shard + 1))
                if begin < end:
                    yield first + begin, run.samples.batch(samples[begin:end])

        def gradients() -> Iterator[Array]:
            for shard in division.own:
                if step is not None:
                    model.step = step
                line = division.new_line()
                sums = division.by_param(line)
                if all(len(samples) * shard // shards == len(samples) * (shard + 1) // shards for samples in chosen):
                    for empty in sums:
                        empty[...] = 0
                losses.append(self._add_up(pieces(shard), tokens, sums, None))
                yield line

        failed: Exception | None = None
        try:
            total = division.add_up(gradients())
        except Exception as error:
            if run.communicator is None:
                raise
            failed = error
        loss = sum(division.meet(losses, failed))
        if step is not None:
            model.step = step + 1  # also where all shards were empty
        self._check_loss(loss, place)
        with interruptions_held():
            norm = division.update(model.params, total, run.max_grad, self.optimizer.lr)
            if not math.isfinite(norm):
                raise DivergedError(f"the norm of the gradients is {norm} at {place}; a lower learning rate may help")
            self.step += 1
            if run.ema is not None:
                run.ema.update(model.params)
        return loss, norm

    @property
    def _learning_rate(self) -> float | None:
        """None for an optimizer of another's making that has none."""
        return getattr(self.optimizer, "lr", None)

    def _step_record(self, run: Run, norm: float, part_of_epoch: float) -> StepRecord:
        since = run.since_record
        return StepRecord(
            epoch=self.epoch,
            step=self.step,
            loss=since.mean_loss,
            learning_rate=self._learning_rate,
            gradient_norm=norm,
            tokens_per_second=since.tokens / since.seconds,
            seconds_left=run.seconds_left(part_of_epoch),
        )

    def _warn_if_it_is_lost(self, run: Run, loss: float) -> None:
        if not run.warned and loss > 2 * run.first_loss + 2:
            run.warned = True
            warnings.warn(
                f"the loss of epoch {self.epoch} is {loss:.4g}, far above the {run.first_loss:.4g} of the first step; "
                "a lower learning rate or max_grad may help",
                TrainingWarning,
                stacklevel=5,  # where fit is called
            )

    def _finish_epoch(self, run: Run, meter: Meter, learning_rate: float | None) -> EpochRecord:
        """Validates the weights as they stand in the model, and keeps a copy if they may be wanted in the end."""
        loss, exact_match, token_error_rate = (None, None, None) if run.validation is None else self._validate(run)
        record = EpochRecord(
            self.epoch,
            meter.mean_loss,
            loss,
            exact_match,
            meter.tokens / meter.seconds,
            meter.seconds,
            token_error_rate,
            self.step,
            learning_rate,
        )
        if getattr(record, f"valid_{run.metric}") is not None:
            run.scores.append(score_of(record, run.metric))
            record = replace(record, best=run.watch.see(rank_of(record, run.metric)))
        if run.kept is not None:
            rank = (self.epoch, 0.0) if run.keeps == "last" else rank_of(record, run.metric)
            run.kept.see(rank, self.epoch, self.model.params)
        return record

    def _validate(self, run: Run) -> tuple[float, float | None, float | None]:
        """The mean loss over all target tokens; exact match and token error rate, None for a model that cannot generate."""
        samples = run.validation
        assert samples is not None
        can_generate = hasattr(self.model, "generate")
        end_id, longest = samples.end_id, samples.longest_answer
        # Samples of like lengths together: the order changes nothing but the speed.
        order = np.lexsort((samples.target_lengths, samples.source_lengths))
        batches = [order[first : first + run.batch_size] for first in range(0, len(order), run.batch_size)]
        rank, ranks = (0, 1) if run.communicator is None else (run.communicator.rank, run.communicator.size)
        found: list[tuple[float, Comparison]] = []
        failed: Exception | None = None
        _set_training(self.model, False)
        try:
            for first in range(0, len(batches), ranks):
                if first + rank < len(batches) and failed is None:
                    try:
                        batch = samples.batch(batches[first + rank])
                        loss = batch.loss(self.model) * batch.target_tokens
                        answers = batch.compare_answers(self.model, end_id, longest) if can_generate else Comparison()
                        found.append((loss, answers))
                    except Exception as error:
                        if run.communicator is None:
                            raise
                        failed = error  # told when all ranks have made all pauses
                if run.in_epoch:  # and not of the mean in the end
                    self._pause(run, "validation")
        finally:
            _set_training(self.model, True)
        if run.communicator is not None:
            tell_failures(run.communicator, failed)
            by_rank = run.communicator.allgather(found)
            found = [one for together in itertools.zip_longest(*by_rank) for one in together if one is not None]
        total, answers = 0.0, Comparison()
        for loss, some in found:  # in the order of the batches
            total += loss
            answers += some
        loss = total / samples.target_tokens
        if not math.isfinite(loss):
            raise DivergedError(f"the validation loss is {loss} after epoch {self.epoch}, step {self.step} in all")
        if not can_generate:
            return loss, None, None
        return loss, answers.exact_matches / len(order), answers.token_errors / answers.target_tokens

    def _leave_weights(self, run: Run, records: Sequence[EpochRecord]) -> Outcome:
        """Puts the weights that are kept into the model, and says which they are."""
        record = records[-1]
        epochs: tuple[int, ...] = (self.epoch,)
        kept = f"epoch {self.epoch} was kept, the last"
        if run.ema is not None:
            kept = f"the moving average of the weights up to epoch {self.epoch} was kept"
        if run.kept is not None:
            put(self.model.params, run.kept.mean())
            epochs = run.kept.epochs
            if run.averages:
                why = f"the best by {METRICS[run.metric]}" if run.keeps == "best" else "the last"
                of_epochs = f"epoch{'s' * (len(epochs) > 1)} {', '.join(map(str, epochs))}"
                kept = f"the mean of the weights of {of_epochs} was kept, {why}"
                if run.validation is not None:
                    loss, exact_match, errors = self._validate(run)
                    record = replace(record, valid_loss=loss, valid_exact_match=exact_match, valid_token_error_rate=errors)
            else:
                record = next(record for record in records if record.epoch == epochs[0])
                average = "the moving average of the weights up to " if run.ema else ""
                kept = f"{average}epoch {record.epoch} was kept, the best: {said(record, run.metric)}"
        elif run.ema is not None:
            put(self.model.params, run.ema.mean)
        all_epochs = "the one epoch was made" if run.max_epoch == 1 else f"all {counted(run.max_epoch, 'epoch')} were made"
        ended = run.ended or all_epochs
        return Outcome(epochs, kept, ended, record.valid_loss, record.valid_exact_match, record.valid_token_error_rate)


def _samples(
    x: ArrayLike | StoredCorpus, t: ArrayLike | None, source_lengths: ArrayLike | None, target_lengths: ArrayLike | None
) -> Samples | StoredSamples:
    if isinstance(x, StoredCorpus):
        if not (t is source_lengths is target_lengths is None):
            raise TypeError(
                "x is a StoredCorpus, which has targets and lengths; expected no t, source_lengths or target_lengths"
            )
        return StoredSamples(x)
    if t is None:
        raise TypeError("fit has x and no t; expected the targets, or a StoredCorpus for x")
    return Samples.checked(x, t, source_lengths, target_lengths)


def _held_out(data: Sequence[ArrayLike] | StoredCorpus | None) -> Samples | StoredSamples | None:
    if data is None or isinstance(data, StoredCorpus):
        return None if data is None else StoredSamples(data)
    return Samples.held_out(data)


def _first_nonfinite(model: Any, arrays: Sequence[np.ndarray]) -> str:
    """The name of the first parameter to which an array belongs that holds NaN or infinity; "" if none does."""
    names = list(model.named_params()) if hasattr(model, "named_params") else []
    for i, array in enumerate(arrays):
        if not np.isfinite(array).all():
            return names[i] if i < len(names) else f"params[{i}]"
    return ""


def _check_choice(name: str, given: object, known: Iterable[str]) -> None:
    if given not in (choices := list(known)):
        raise ValueError(f"{name} is {given!r}; expected one of {', '.join(choices)}")


def _set_training(model: Any, training: bool) -> None:
    """Dropout on or off, in a model that has such a switch."""
    switch = getattr(model, "train" if training else "eval", None)
    if switch is not None:
        switch()
