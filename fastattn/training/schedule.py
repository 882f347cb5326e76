"""Schedules: how an optimizer's learning rate goes on over a training run, as factors.

A schedule is a function of the part of the run that is done, a `Done`: a number from 0, before the first step, to 1, after
the last, which also knows how many steps were made and what validation said. The factor is what the optimizer's ``lr``
is multiplied with. All schedules here are 1 at their highest, and rise to it in a line over ``warmup_steps``:

    warm-up = min(1, (step + 1) / warmup_steps)     step: the steps before this one
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any, Self

from fastattn.layers import checks

from .optimizer import checked_number
from .stopping import Watch


class Done(float):
    """The part of a fit that is done, from 0 to 1, and what else a schedule may go by.

    The part is that of the steps or, with a limit of time, that of the time where it is the larger. ``step``: the steps of
    this fit before the one that is to come; ``seconds``: since the fit began; ``scores``: the metric after each
    validation of the fit, a higher one the better; ``losses``: the loss after each of these validations, which says what
    of equal scores is better, or none.
    """

    step: int
    seconds: float
    scores: Sequence[float]
    losses: Sequence[float]

    def __new__(
        cls,
        part: float,
        step: int = 0,
        seconds: float = 0.0,
        scores: Sequence[float] = (),
        losses: Sequence[float] = (),
    ) -> Self:
        self = super().__new__(cls, part)
        self.step, self.seconds, self.scores, self.losses = step, seconds, scores, losses
        return self


Schedule = Callable[[Done], float]


def _known(done: float, name: str) -> Any:
    """``step``, ``scores`` or ``losses``; TypeError for a plain number, which has none."""
    if not isinstance(done, Done):
        raise TypeError(f"the schedule goes by the {name}; expected a Done, got {done!r}")
    return getattr(done, name)


@dataclass(frozen=True)
class Constant:
    """The learning rate as it is, after the warm-up."""

    warmup_steps: int = 0

    def __post_init__(self) -> None:
        checks.size("warmup_steps", self.warmup_steps, lowest=0)

    def __call__(self, done: float) -> float:
        return self._fallen(done) * (self._warmth(_known(done, "step")) if self.warmup_steps else 1.0)

    def _warmth(self, step: int) -> float:
        return min(1.0, (step + 1) / self.warmup_steps)

    def _fallen(self, done: float) -> float:
        """The factor but for the warm-up."""
        return 1.0


@dataclass(frozen=True)
class _Falling(Constant):
    """Falls to zero over the part of the run that is left after ``hold``."""

    hold: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_number("hold", self.hold, 0, 1)

    def _left(self, done: float) -> float:
        """From 1, until ``hold`` of the run is done, in a line to 0."""
        return min(1.0, (1.0 - done) / (1.0 - self.hold))


@dataclass(frozen=True)
class Linear(_Falling):
    """Falls in a straight line to zero: late steps are small, so that the last epoch does not land on a spike of Adam's.

    min(1, (1 - done) / (1 - hold)): with ``hold=0.3`` it stays for three tenths of the run and falls over the rest.
    """

    def _fallen(self, done: float) -> float:
        return self._left(done)


@dataclass(frozen=True)
class Cosine(_Falling):
    """Falls along half a wave of the cosine to zero, without restarts (Loshchilov and Hutter 2017, equation 5).

    (1 + cos(pi (1 - left))) / 2, where left is the factor of `Linear`.
    """

    def _fallen(self, done: float) -> float:
        return (1 + math.cos(math.pi * (1 - self._left(done)))) / 2


@dataclass(frozen=True)
class InverseSqrt(Constant):
    """Rises in a line over the warm-up, then falls with the root of the step (Vaswani et al. 2017, section 5.3).

    min((step + 1) / warmup_steps, sqrt(warmup_steps / (step + 1))): equation 3 without its constant, so that the peak is
    the optimizer's ``lr``.
    """

    warmup_steps: int = 4000

    def __post_init__(self) -> None:
        checks.size("warmup_steps", self.warmup_steps)

    def _fallen(self, done: float) -> float:
        return min(1.0, math.sqrt(self.warmup_steps / (_known(done, "step") + 1)))


@dataclass(frozen=True)
class Plateau(Constant):
    """Is multiplied by ``factor`` each time that ``patience`` validations in a row were no better than the best before.

    What is better, the metric of `Trainer.fit` says, and of equal scores the loss, as it says which epoch is the best: while
    a model gets nothing right yet, all exact matches are 0. The count begins anew after each fall.
    """

    factor: float = 0.5
    patience: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_number("factor", self.factor, 0, 1, low_is_allowed=False)
        checks.size("patience", self.patience)

    def _fallen(self, done: float) -> float:
        watch, falls = Watch(self.patience), 0
        for score, loss in zip_longest(_known(done, "scores"), _known(done, "losses"), fillvalue=0.0):
            watch.see((score, -loss))
            if watch.is_over:
                falls += 1
                watch.waited = 0
        return self.factor**falls


constant, linear = Constant(), Linear()

KINDS: dict[str, type[Constant]] = {
    "constant": Constant,
    "linear": Linear,
    "inverse_sqrt": InverseSqrt,
    "cosine": Cosine,
    "plateau": Plateau,
}
# Each with its defaults.
SCHEDULES: dict[str, Schedule] = {name: kind() for name, kind in KINDS.items()}


# The options that a schedule may have, each with its name in its class and with its default.
OPTIONS = {
    "warmup_steps": ("warmup_steps", 0),
    "hold": ("hold", 0.0),
    "plateau_factor": ("factor", 0.5),
    "plateau_patience": ("patience", 1),
}


def make_schedule(
    name: str,
    *,
    warmup_steps: int | None = None,
    hold: float | None = None,
    plateau_factor: float | None = None,
    plateau_patience: int | None = None,
) -> Schedule:
    """The schedule of that name, with the options that are not None.

    ValueError for a name that is unknown, for an option that cannot be, and for one that the schedule does not have,
    unless it is at its default.
    """
    if name not in KINDS:
        raise ValueError(f"schedule is {name!r}; expected one of {', '.join(KINDS)}")
    given = {"warmup_steps": warmup_steps, "hold": hold, "plateau_factor": plateau_factor, "plateau_patience": plateau_patience}
    has = {field.name for field in fields(KINDS[name])}
    options: dict[str, Any] = {}
    for option, value in given.items():
        field, default = OPTIONS[option]
        if field in has:
            if value is not None:
                options[field] = value
        elif value is not None and value != default:
            holders = [other for other, kind in KINDS.items() if field in {f.name for f in fields(kind)}]
            raise ValueError(f"{option} is {value!r}, but schedule {name!r} has none; expected schedule {' or '.join(holders)}")
    return KINDS[name](**options)
