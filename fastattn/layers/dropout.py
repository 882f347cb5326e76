"""Dropout (Srivastava et al. 2014)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .base import Layer
from .checks import Array

_WORD = 2**64
_OF_SAMPLE = 0x9E3779B97F4A7C15  # by which the kernel's hash multiplies the index of a sample; also SplitMix64's step


def mask_seed(seed: int, step: int, place: int, first_sample: int = 0) -> np.uint64:
    """The kernel's seed for a mask of (seed, step, place): each mixed in by a step of SplitMix64 (Steele et al. 2014).

    The masks are then those that a batch has from its sample ``first_sample`` on.
    """
    z = 0
    for number in (seed, step, place):
        z = (z + int(number) + _OF_SAMPLE) % _WORD
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % _WORD
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % _WORD
        z ^= z >> 31
    return np.uint64((z + int(first_sample) * _OF_SAMPLE) % _WORD)


class Dropout(Layer):
    """While ``training`` is True, zeroes each number with probability ``ratio`` and divides the others by 1 - ratio.

    ratio: 0 <= ratio < 1. whole: drop whole positions, all numbers of one together.

    What is dropped is a function of four numbers and of where a number stands, whatever the threads and the padding:
    ``seed``; ``step``, which counts the forwards that dropped something; ``place``, which tells several layers of one seed
    apart; ``first_sample``, the index of the first sample where the batch is a part of a larger one, whose masks it then
    has. All four may be set. seed: a whole number from 0 to 2^64 - 1, or a Generator, from which it is drawn when it is first
    needed (None: from the system).
    """

    def __init__(self, ratio: float, *, seed: int | np.random.Generator | None = None, whole: bool = False) -> None:
        super().__init__()
        self.ratio = checks.ratio("ratio", ratio)
        self.whole = whole
        self.training = True
        self.step = 0
        self.place = 0
        self.first_sample = 0
        self._seed: int | np.random.Generator
        if seed is None or isinstance(seed, np.random.Generator):
            self._seed = np.random.default_rng(seed)
        else:
            self.seed = seed

    @property
    def seed(self) -> int:
        """The seed of all masks."""
        if isinstance(self._seed, np.random.Generator):
            self._seed = int(self._seed.integers(_WORD, dtype=np.uint64))
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = checks.seed("seed", seed)

    @property
    def drops(self) -> bool:
        """Whether a forward would drop anything."""
        return self.training and self.ratio > 0

    def _next(self) -> np.uint64:
        """The kernel's seed for one forward, which is counted."""
        seed = mask_seed(self.seed, self.step, self.place, self.first_sample)
        self.step += 1
        return seed

    def mask(self, N: int, H: int, dtype: np.dtype) -> Array | None:
        """(N, H), zeros and 1 / (1 - ratio): one mask for all steps of a sequence. None when nothing is to be dropped.

        It counts as a forward, and has no backward: who multiplies by it multiplies the gradient by it.
        """
        if not self.drops:
            return None
        return backend.kernels().dropout(np.ones((N, 1, H), dtype), self.ratio, self._next(), False)[:, 0]

    def forward(self, x: ArrayLike) -> Array:
        """x (N, T, D) -> (N, T, D); ``x`` itself when nothing is to be dropped."""
        x = checks.floats("x", x, ("N", "T", "D"))
        kernels = backend.kernels()
        how = (self.ratio, self._next(), self.whole) if self.drops else None
        self._keep(kernels, how, x.shape, x.dtype)
        return x if how is None else kernels.dropout(x, *how)

    def backward(self, dout: ArrayLike) -> Array:
        """dout (N, T, D) -> dx (N, T, D), by the mask of the last forward."""
        kernels, how, shape, dtype = self._recall()
        dout = checks.floats("dout", dout, shape, dtype)
        return dout if how is None else kernels.dropout(dout, *how)


def between(layers: int, ratio: float, seed: int | np.random.Generator | None) -> list[Dropout]:
    """What is dropped between layers: a `Dropout` for each gap, of one seed, each gap a place."""
    checks.ratio("dropout", ratio)
    dropouts = [Dropout(ratio, seed=seed) for _ in range(layers - 1)]
    for place, dropout in enumerate(dropouts):
        dropout.place = place
    return dropouts
