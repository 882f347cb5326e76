"""Schedules: how an optimizer's learning rate goes on over a training run, as factors by the part of the steps that is done."""

from collections.abc import Callable

Schedule = Callable[[float], float]  # from 0, before the first step, to 1, after the last -> a factor


def constant(done: float) -> float:
    """The learning rate as it is."""
    return 1.0


def linear(done: float) -> float:
    """Falls in a straight line to zero: late steps are small, so that the last epoch does not land on a spike of Adam's."""
    return 1.0 - done


SCHEDULES: dict[str, Schedule] = {"constant": constant, "linear": linear}
