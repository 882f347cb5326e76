"""What a fit goes by, and where it stands."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np

from fastattn.data import batches, token_batches
from fastattn.layers.checks import Array

from .averages import Checkpoints, MovingAverage
from .parallel import Communicator, Division
from .records import EpochRecord, History, StepRecord, record_of
from .samples import Samples, StoredSamples
from .schedule import Constant, Done, Schedule
from .state import State
from .stopping import Clock, Metric, Watch

# Where a fit is when it lets others do something: between two steps, between the batches of a validation, after an epoch,
# or after the last one.
Where = Literal["step", "validation", "epoch", "end"]


@dataclass
class Meter:
    """Adds up the losses and the tokens of some steps, and the time that they took."""

    loss: float = 0.0
    target_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` has made of one. ValueError, TypeError or KeyError for anything else."""
        return cls(float(content["loss"]), int(content["target_tokens"]), int(content["tokens"]), float(content["seconds"]))

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
    skip_nonfinite: int  # how many steps may be skipped
    on_step: Callable[[StepRecord], object] | None
    log_every: int
    clock: Clock
    base_lr: float
    progress: bool | None
    epochs_done: int = 0
    steps: int = 0
    skipped: int = 0  # of them
    step_seconds: float = 0.0  # of the last step
    compiling_seconds: float = 0.0  # of all steps
    first_loss: float = math.nan  # before the first update
    warned: bool = False
    ended: str = ""  # why, if it ends before its last epoch
    scores: list[float] = field(default_factory=list)
    sums: list[Array] = field(default_factory=list)  # of accumulated gradients
    since_record: Meter = field(default_factory=Meter)
    between: Callable[[Where], object] | None = None
    first_epoch: int = 1
    in_epoch: bool = False  # from its first step until its callbacks were called
    place: int = 0  # the steps of the epoch that are done
    meter: Meter = field(default_factory=Meter)  # of the epoch
    recent: list[float] = field(default_factory=list)  # losses of the epoch that are not yet in the trainer's list
    learning_rate: float | None = None  # of the last step
    records: History = field(default_factory=History)
    is_steady: bool = False  # whether it stands where it could go on from
    shards: int = 1  # of a step's batch
    wire: str = "dense"
    division: Division | None = None  # among the shards, if there are several
    communicator: Communicator | None = None  # of several ranks

    def begin_epoch(self) -> None:
        self.in_epoch, self.place, self.meter, self.recent = True, 0, Meter(), []

    def end_epoch(self) -> None:
        self.in_epoch = False
        self.epochs_done += 1

    def options(self) -> dict[str, Any]:
        """What must be the same for a fit that goes on from the state of another."""
        plain = (
            "max_epoch",
            "batch_size",
            "batch_tokens",
            "accumulate",
            "max_grad",
            "eval_interval",
            "seed",
            "window",
            "metric",
        )
        return {
            **{name: getattr(self, name) for name in plain},
            "schedule": repr(self.schedule) if isinstance(self.schedule, Constant | None) else "a function",
            "patience": self.watch.patience,
            "keep": None if self.kept is None else self.keeps,
            "average_count": self.kept.count if self.averages and self.kept is not None else None,
            "ema": self.ema.decay if self.ema is not None else 0.0,
            "max_minutes": None if self.clock.limit == math.inf else self.clock.limit / 60,
            "samples": len(self.samples.source_lengths),
            "validation": 0 if self.validation is None else len(self.validation.source_lengths),
            **({} if self.shards == 1 else {"shards": self.shards}),
            **({"wire": self.wire} if self.wire == "bfloat16" else {}),
            **({"skip_nonfinite": self.skip_nonfinite} if self.skip_nonfinite else {}),  # earlier versions had none
        }

    def agree_on_time(self) -> None:
        """On several ranks, where anything goes by the time, it is that of rank 0, and stands still until the next call."""
        has_limit = self.clock.limit < math.inf or not isinstance(self.schedule, Constant | None)
        if self.communicator is not None and has_limit:
            self.clock.told, self.step_seconds = self.communicator.bcast((self.clock.running, self.step_seconds))

    def state(self) -> State:
        """Where it stands, to go on from."""
        numbers = {name: getattr(self, name) for name in KEPT}
        if self.learning_rate is not None:
            numbers["learning_rate"] = float(self.learning_rate)
        numbers["skipped"] = self.skipped
        numbers["first_loss"] = None if math.isnan(self.first_loss) else self.first_loss
        numbers |= {"meter": asdict(self.meter), "since_record": asdict(self.since_record)}
        numbers["records"] = [asdict(record) for record in self.records]
        return State({**numbers, "scores": [*self.scores], "recent": [*self.recent]}).with_parts(
            watch=self.watch.state(),
            clock=self.clock.state(),
            ema=None if self.ema is None else self.ema.state(),
            kept=None if self.kept is None else self.kept.state(),
        )

    def put(self, state: State, params: list[Array]) -> None:
        """Goes on from a state of a run with the same options. ValueError where it is not of that kind."""
        for name in KEPT:
            setattr(self, name, state.count(name) if KEPT[name] == (int,) else state.number(name, *KEPT[name]))
        self.skipped = state.count("skipped") if "skipped" in state.numbers else 0  # earlier versions had none
        first_loss = state.number("first_loss", float, type(None))
        self.first_loss = math.nan if first_loss is None else first_loss
        self.scores, self.recent = ([float(x) for x in state.number(name, list)] for name in ("scores", "recent"))
        self.meter, self.since_record = (Meter.of(state.number(name, dict)) for name in ("meter", "since_record"))
        self.records = History(record_of(record) for record in state.number("records", list))
        for name, own in (("watch", self.watch), ("clock", self.clock)):
            if (part := state.part(name)) is not None:
                own.put(part)
        for name, other in (("ema", self.ema), ("kept", self.kept)):
            part = state.part(name)
            if (part is None) != (other is None):
                raise ValueError(f"the state has {'no' if part is None else 'a'} part {name!r}, the fit does not")
            if part is not None and other is not None:
                other.put(part, params)

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
        losses = [record.valid_loss or 0.0 for record in self.records] if self.scores else []
        return Done(part, self.steps, seconds, self.scores, losses)

    def seconds_left(self, part_of_epoch: float) -> float:
        """As long as until now, but for what has been compiled: that is done once."""
        done = self.done(part_of_epoch)
        return (done.seconds - self.compiling_seconds) * (1 - done) / done


# The numbers of a run that are kept as they are, each with its types.
KEPT: dict[str, tuple[type, ...]] = {
    "epochs_done": (int,),
    "steps": (int,),
    "step_seconds": (float,),
    "compiling_seconds": (float,),
    "warned": (bool,),
    "ended": (str,),
    "base_lr": (float,),
    "first_epoch": (int,),
    "in_epoch": (bool,),
    "place": (int,),
    "learning_rate": (float, type(None)),
}
