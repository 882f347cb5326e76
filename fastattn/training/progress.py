"""What a fit goes by, and where it stands."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fastattn.data import batches, token_batches
from fastattn.layers.checks import Array

from .averages import Checkpoints, MovingAverage
from .records import EpochRecord, StepRecord
from .samples import Samples, StoredSamples
from .schedule import Done, Schedule
from .stopping import Clock, Metric, Watch


@dataclass
class Meter:
    """Adds up the losses and the tokens of some steps, and the time that they took."""

    loss: float = 0.0
    target_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def add(self, loss: float, target_tokens: int, tokens: int, seconds: float) -> None:
        self.loss += loss * target_tokens
        self.target_tokens += target_tokens
        self.tokens += tokens
        self.seconds += seconds

    @property
    def mean_loss(self) -> float:
        """Of a target token."""
        return self.loss / self.target_tokens


@dataclass
class Run:
    """One fit: what it goes by, checked, and where it stands."""

    samples: Samples | StoredSamples
    max_epoch: int
    batch_size: int
    batch_tokens: int | None
    accumulate: int
    max_grad: float | None
    eval_interval: int
    validation: Samples | StoredSamples | None
    callbacks: tuple[Callable[[EpochRecord], object], ...]
    schedule: Schedule | None
    seed: int
    window: int
    metric: Metric
    watch: Watch
    kept: Checkpoints | None  # what the model has the weights of, or the mean, in the end; None: of the last step
    keeps: str  # which epochs those are, "last" or "best"
    averages: bool  # whether it is a mean
    ema: MovingAverage | None
    on_step: Callable[[StepRecord], object] | None
    log_every: int
    clock: Clock
    base_lr: float
    progress: bool | None
    epochs_done: int = 0
    steps: int = 0
    step_seconds: float = 0.0  # of the last step
    compiling_seconds: float = 0.0  # of all steps
    first_loss: float = math.nan  # before the first update
    warned: bool = False
    ended: str = ""  # why, if it ends before its last epoch
    scores: list[float] = field(default_factory=list)
    sums: list[Array] = field(default_factory=list)  # of accumulated gradients
    since_record: Meter = field(default_factory=Meter)

    def order(self, epoch: int) -> list[list[Array]]:
        """The epoch's steps, and of each the samples of its batches."""
        rng = np.random.default_rng((self.seed, epoch))
        lengths = self.samples.source_lengths, self.samples.target_lengths
        if self.batch_tokens is None:
            order = batches(*lengths, self.batch_size, rng, window=self.window)
        else:
            order = token_batches(*lengths, self.batch_tokens, rng, window=self.window)
        return [order[first : first + self.accumulate] for first in range(0, len(order), self.accumulate)]

    def done(self, part_of_epoch: float) -> Done:
        seconds = self.clock.seconds
        part = max((self.epochs_done + part_of_epoch) / self.max_epoch, self.clock.part(seconds))
        return Done(part, self.steps, seconds, self.scores)

    def seconds_left(self, part_of_epoch: float) -> float:
        """As long as until now, but for what has been compiled: that is done once."""
        done = self.done(part_of_epoch)
        return (done.seconds - self.compiling_seconds) * (1 - done) / done
