"""Means of a model's weights: over the steps of a fit, or over some of its epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from fastattn.layers.checks import Array

from .interruptions import interruptions_held
from .state import State

Weights = list[Array]


def copied(params: Sequence[Array]) -> Weights:
    return [param.copy() for param in params]


def put(params: Sequence[Array], weights: Sequence[Array]) -> None:
    """Changes the arrays of ``params`` in place, all of them or none."""
    with interruptions_held():
        for param, weight in zip(params, weights, strict=True):
            param[...] = weight


@contextmanager
def weights_of(params: Sequence[Array], weights: Sequence[Array] | None) -> Iterator[None]:
    """Within the block ``params`` hold these weights, afterwards their own again. None: they are left alone."""
    if weights is None:
        yield
        return
    own = copied(params)
    try:
        put(params, weights)
        yield
    finally:
        put(params, own)


class MovingAverage:
    """The exponential moving average of weights, of which the last have the most (Polyak and Juditsky 1992; for the decay,
    Kingma and Ba 2015, section 7.2).

    After k steps ``mean`` is the sum of the weights after each step i, times (1 - decay) decay^(k - i) / (1 - decay^k): these
    factors add up to 1, so that the weights before the first step have no part in it.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.mean: Weights = []
        self._scratch: Weights = []

    def update(self, params: Sequence[Array]) -> None:
        """After a step."""
        self.steps += 1
        if self.steps == 1:
            self.mean, self._scratch = copied(params), copied(params)
            return
        part = (1 - self.decay) / (1 - self.decay**self.steps)
        for mean, param, scratch in zip(self.mean, params, self._scratch, strict=True):
            np.subtract(param, mean, out=scratch)
            scratch *= part
            mean += scratch

    def state(self) -> State:
        """To go on from."""
        return State({"steps": self.steps}).with_parts(mean=State.of_list(self.mean))

    def put(self, state: State, params: Sequence[Array]) -> None:
        """Goes on from a state. ValueError unless it is that of an average of such ``params``."""
        mean, self.steps = state.part("mean"), state.count("steps")
        self.mean = mean.as_list(params) if self.steps and mean is not None else []
        self._scratch = copied(self.mean)


class Checkpoints:
    """The weights after some epochs: of the ``count`` with the highest ranks; of equal ones the first."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: list[tuple[tuple[float, float], int, Weights]] = []

    def see(self, rank: tuple[float, float], epoch: int, params: Sequence[Array]) -> None:
        """After an epoch."""
        if len(self._kept) == self.count:
            worst = min(self._kept, key=lambda kept: (kept[0], -kept[1]))
            if rank <= worst[0]:
                return
            self._kept = [kept for kept in self._kept if kept is not worst]  # before the copy, for the memory
        self._kept.append((rank, epoch, copied(params)))

    @property
    def epochs(self) -> tuple[int, ...]:
        """In their order."""
        return tuple(sorted(epoch for _, epoch, _ in self._kept))

    def state(self) -> State:
        """To go on from."""
        numbers = {"kept": [[*rank, epoch] for rank, epoch, _ in self._kept]}
        return State(numbers).with_parts(**{str(i): State.of_list(weights) for i, (_, _, weights) in enumerate(self._kept)})

    def put(self, state: State, params: Sequence[Array]) -> None:
        """Goes on from a state. ValueError unless it is that of weights like ``params``, of at most ``count`` epochs."""
        kept = []
        for i, (first, second, epoch) in enumerate(state.number("kept", list)):
            part = state.part(str(i))
            assert part is not None
            kept.append(((float(first), float(second)), int(epoch), part.as_list(params)))
        if len(kept) > self.count:
            raise ValueError(f"the weights of {len(kept)} epochs were kept; expected at most {self.count}")
        self._kept = kept

    def mean(self) -> Weights:
        """The mean of each array, added up in float64 in the order of the epochs."""
        kept = [weights for _, _, weights in sorted(self._kept, key=lambda kept: kept[1])]
        sums = [np.zeros(array.shape) for array in kept[0]]
        for weights in kept:
            for total, array in zip(sums, weights, strict=True):
                total += array
        return [(total / len(kept)).astype(array.dtype) for total, array in zip(sums, kept[0])]
