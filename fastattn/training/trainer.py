"""Training: epochs of shuffled batches, with a progress bar, validation, and a stop when the loss is no number."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from fastattn.data import batches
from fastattn.layers import checks
from fastattn.layers.checks import Array

from .interruptions import interruptions_held
from .optimizer import Optimizer, checked_number
from .samples import Samples
from .schedule import Schedule


class DivergedError(ArithmeticError):
    """The loss, or the norm of the gradients, is NaN or infinite. The message names the epoch and the step."""


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch came to.

    ``loss``, ``valid_loss``: the mean over all target tokens, in nats; ``valid_exact_match``: the part, from 0 to 1,
    of the held-out samples that greedy search gets right in every token (both None without validation data).
    ``seconds``: the time of the training steps alone, validation and callbacks left out; ``tokens_per_second``: over
    that time, and counting what ``Samples.tokens`` counts.
    """

    epoch: int
    loss: float
    valid_loss: float | None
    valid_exact_match: float | None
    tokens_per_second: float
    seconds: float


class Trainer:
    """Trains ``model`` by ``optimizer``: ``Trainer(model, Adam()).fit(x, t)``.

    The model has ``params``, ``grads``, ``forward(x, t)`` -> loss and ``backward()``; the optimizer
    ``update(params, grads, max_norm=max_grad)``, which returns the norm (see `Optimizer`). ``loss_list`` holds the mean
    loss of every ``eval_interval`` steps of an epoch, and of the steps left at its end; ``epoch`` and ``step`` count
    over all fits.
    """

    def __init__(self, model: Any, optimizer: Optimizer):
        self.model = model
        self.optimizer = optimizer
        self.loss_list: list[float] = []
        self.epoch = 0
        self.step = 0

    def fit(
        self,
        x: ArrayLike,
        t: ArrayLike,
        max_epoch: int = 10,
        batch_size: int = 32,
        max_grad: float | None = None,
        eval_interval: int = 20,
        *,
        source_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
        validation_data: Sequence[ArrayLike] | None = None,
        callbacks: Iterable[Callable[[EpochRecord], object]] = (),
        schedule: Schedule | None = None,
        seed: int | None = None,
        bucket: bool = True,
        progress: bool | None = None,
    ) -> list[EpochRecord]:
        """``max_epoch`` epochs over x (N, T1) and t (N, T2), token ids; returns a record of each.

        Every row of t begins with the start symbol. source_lengths, target_lengths (N,): the real tokens of each row,
        the start symbol with them; a batch is cut to its longest member. max_grad: the global norm that gradients are
        scaled down to. validation_data: (x, t), or (x, source_lengths, t, target_lengths) as `encode_pairs` gives
        them, gone through after each epoch with dropout off. callbacks: called with the record of each epoch.
        schedule: what the optimizer's ``lr`` is multiplied with at each step, a function of the part of the fit's steps
        that is done (see `schedule`); afterwards ``lr`` is what it was. seed: of the order of the samples, together with
        the number of the epoch: without a schedule, ten fits of one epoch are one fit of ten.
        bucket: whether samples of like lengths share a batch. progress: a bar on standard error, with loss, tokens a
        second and time left; None: if that is a terminal.

        Ctrl-C takes effect between updates, never within one; so the weights are those of a whole number of steps.
        ValueError or TypeError for arguments that cannot be; DivergedError, before the weights are updated, when the
        loss or the norm of the gradients is NaN or infinite.
        """
        samples = Samples.checked(x, t, source_lengths, target_lengths)
        validation = None if validation_data is None else Samples.held_out(validation_data)
        max_epoch = checks.size("max_epoch", max_epoch)
        batch_size = checks.size("batch_size", batch_size)
        eval_interval = checks.size("eval_interval", eval_interval)
        if max_grad is not None:
            checked_number("max_grad", max_grad, 0, low_is_allowed=False)
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        elif seed < 0:
            raise ValueError(f"seed is {seed}; expected at least 0")
        callbacks = tuple(callbacks)
        records = []
        first, last = self.epoch, self.epoch + max_epoch
        base_lr = self.optimizer.lr if schedule is not None else 0.0
        with tqdm(
            total=max_epoch * samples.tokens,
            unit=" tokens",
            unit_scale=True,
            disable=None if progress is None else not progress,
            leave=False,
            dynamic_ncols=True,
        ) as bar:
            for _ in range(max_epoch):
                self.epoch += 1
                bar.set_description(f"epoch {self.epoch}/{last}")
                rng = np.random.default_rng((seed, self.epoch))
                order = batches(samples.source_lengths, samples.target_lengths, batch_size, rng, window=50 if bucket else 1)

                def set_lr(step: int, steps: int, epochs_done: int = self.epoch - 1 - first) -> None:
                    if schedule is not None:
                        self.optimizer.lr = base_lr * schedule((epochs_done + step / steps) / max_epoch)

                try:
                    loss, seconds = self._train_epoch(samples, order, set_lr, max_grad, eval_interval, bar)
                finally:
                    if schedule is not None:
                        self.optimizer.lr = base_lr
                valid_loss, valid_exact_match = None, None
                if validation is not None:
                    valid_loss, valid_exact_match = self._validate(validation, batch_size)
                record = EpochRecord(self.epoch, loss, valid_loss, valid_exact_match, samples.tokens / seconds, seconds)
                records.append(record)
                bar.clear()  # a callback may print
                for callback in callbacks:
                    callback(record)
                bar.refresh()
        return records

    def _train_epoch(
        self,
        samples: Samples,
        order: Sequence[Array],
        set_lr: Callable[[int, int], None],
        max_grad: float | None,
        eval_interval: int,
        bar: tqdm,
    ) -> tuple[float, float]:
        """The mean loss over the epoch's target tokens, and the seconds that it took. set_lr(steps done, of how many)."""
        _set_training(self.model, True)
        began = time.perf_counter()
        total = 0.0
        recent: list[float] = []
        for step, chosen in enumerate(order, start=1):
            batch = samples.batch(chosen)
            set_lr(step - 1, len(order))
            loss = self._train_step(batch, max_grad, f"epoch {self.epoch}, step {step} of {len(order)}")
            total += loss * batch.target_tokens
            recent.append(loss)
            if len(recent) == eval_interval or step == len(order):
                self.loss_list.append(sum(recent) / len(recent))
                recent = []
            bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            bar.update(batch.tokens)
        return total / samples.target_tokens, time.perf_counter() - began

    def _train_step(self, batch: Samples, max_grad: float | None, place: str) -> float:
        loss = batch.loss(self.model)
        if not math.isfinite(loss):
            raise DivergedError(f"the loss is {loss} at {place}; a lower learning rate or max_grad may help")
        self.model.backward()
        with interruptions_held():
            norm = self.optimizer.update(self.model.params, self.model.grads, max_norm=max_grad)
            if norm is not None and not math.isfinite(norm):
                raise DivergedError(f"the norm of the gradients is {norm} at {place}; a lower learning rate may help")
            self.step += 1
        return loss

    def _validate(self, samples: Samples, batch_size: int) -> tuple[float, float | None]:
        """The mean loss over all target tokens; the exact match, or None for a model that cannot generate."""
        can_generate = hasattr(self.model, "generate")
        # Samples of like lengths together: the order changes nothing but the speed.
        order = np.lexsort((samples.target_lengths, samples.source_lengths))
        total, right = 0.0, 0
        _set_training(self.model, False)
        try:
            for first in range(0, len(order), batch_size):
                batch = samples.batch(order[first : first + batch_size])
                total += batch.loss(self.model) * batch.target_tokens
                right += batch.exact_matches(self.model) if can_generate else 0
        finally:
            _set_training(self.model, True)
        loss = total / samples.target_tokens
        if not math.isfinite(loss):
            raise DivergedError(f"the validation loss is {loss} after epoch {self.epoch}, step {self.step} in all")
        return loss, right / len(order) if can_generate else None


def _set_training(model: Any, training: bool) -> None:
    """Dropout on or off, in a model that has such a switch."""
    switch = getattr(model, "train" if training else "eval", None)
    if switch is not None:
        switch()
