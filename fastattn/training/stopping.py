"""When a training ends before its last epoch: no better validation for some time, or the time is up."""

import math
import time
from collections.abc import Callable
from typing import Literal

from .optimizer import checked_number
from .records import EpochRecord
from .state import State

Rank = tuple[float, float]
Metric = Literal["exact_match", "token_error_rate", "loss"]
METRICS: dict[str, str] = {"exact_match": "exact match", "token_error_rate": "token error rate", "loss": "validation loss"}


def score_of(record: EpochRecord, metric: str) -> float:
    """What the metric says of an epoch that was validated: the higher, the better."""
    value = getattr(record, f"valid_{metric}")
    return value if metric == "exact_match" else -value


def rank_of(record: EpochRecord, metric: str) -> Rank:
    """What epochs are ordered by: their scores, and equal ones by the validation loss.

    While a model gets nothing right yet, all exact matches are 0.
    """
    assert record.valid_loss is not None
    return score_of(record, metric), -record.valid_loss


def said(record: EpochRecord, metric: str) -> str:
    """The metric of an epoch, for people to read."""
    value = getattr(record, f"valid_{metric}")
    return f"{METRICS[metric]} {value:.4f}" if metric == "loss" else f"{METRICS[metric]} {value:.2%}"


class Watch:
    """Sees ranks one by one, and counts how many since the best; of equal ones the first is the best.

    patience: how many ranks in a row may be no better than the best before it is over; None: any number.
    """

    def __init__(self, patience: int | None = None) -> None:
        self.patience = patience
        self.best: Rank = (-math.inf, -math.inf)
        self.waited = 0

    def see(self, rank: Rank) -> bool:
        """Whether the rank is higher than all before."""
        if better := rank > self.best:
            self.best, self.waited = rank, 0
        else:
            self.waited += 1
        return better

    def state(self) -> State:
        """To go on from."""
        return State({"best": None if self.best[0] == -math.inf else [*self.best], "waited": self.waited})

    def put(self, state: State) -> None:
        """Goes on from a state."""
        best, self.waited = state.number("best", list, type(None)), state.number("waited", int)
        self.best = (-math.inf, -math.inf) if best is None else (float(best[0]), float(best[1]))

    @property
    def is_over(self) -> bool:
        return self.patience is not None and self.waited >= self.patience


class Clock:
    """The time of a fit, and its limit if there is one.

    What comes after the last step, above all a validation, has to end within the limit, too: ``reserve`` is how long it
    took at most until now, in seconds, and the steps have the rest.
    """

    def __init__(self, max_minutes: float | None, now: Callable[[], float] = time.perf_counter) -> None:
        limit = math.inf if max_minutes is None else 60 * checked_number("max_minutes", max_minutes, 0, low_is_allowed=False)
        self.now, self.began, self.limit, self.reserve = now, now(), limit, 0.0
        self.told: float | None = None

    @property
    def running(self) -> float:
        """The seconds since the clock was made."""
        return self.now() - self.began

    @property
    def seconds(self) -> float:
        """The same, or what was told: several processes go by the clock of one."""
        return self.running if self.told is None else self.told

    def state(self) -> State:
        """To go on from: the time that was used counts."""
        return State({"seconds": self.seconds, "reserve": self.reserve})

    def put(self, state: State) -> None:
        """Goes on from a state."""
        self.began = self.now() - state.number("seconds", float)
        self.reserve = state.number("reserve", float)

    def part(self, seconds: float) -> float:
        """The part of the time for steps that is over after so many seconds, from 0 to 1; without a limit 0."""
        time_for_steps = self.limit - self.reserve
        return min(1.0, seconds / time_for_steps) if time_for_steps > 0 else 1.0

    def is_up(self, next_step: float = 0.0) -> bool:
        """Whether a step of so many seconds would end too late."""
        return self.seconds + next_step >= self.limit - self.reserve
