"""Dropout (Srivastava et al. 2014)."""

import numpy as np
from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .base import Layer
from .checks import Array


class Dropout(Layer):
    """While ``training`` is True, zeroes each number with probability ``ratio`` and divides the others by 1 - ratio.

    ratio: 0 <= ratio < 1. seed: a whole number or a Generator (None: from the system), from which each forward draws a
    new mask.
    """

    def __init__(self, ratio: float, *, seed: int | np.random.Generator | None = None) -> None:
        super().__init__()
        if not 0 <= ratio < 1:
            raise ValueError(f"ratio is {ratio!r}; expected 0 <= ratio < 1")
        self.ratio = float(ratio)
        self.training = True
        self._generator = np.random.default_rng(seed)

    @property
    def drops(self) -> bool:
        """Whether a forward would drop anything."""
        return self.training and self.ratio > 0

    def forward(self, x: ArrayLike) -> Array:
        """x (N, T, D) -> (N, T, D); ``x`` itself when nothing is to be dropped."""
        x = checks.floats("x", x, ("N", "T", "D"))
        kernels = backend.kernels()
        seed = None
        if self.drops:
            seed = self._generator.integers(2**64, dtype=np.uint64)
        self._keep(kernels, seed, x.shape, x.dtype)
        return x if seed is None else kernels.dropout(x, self.ratio, seed)

    def backward(self, dout: ArrayLike) -> Array:
        """dout (N, T, D) -> dx (N, T, D), by the mask of the last forward."""
        kernels, seed, shape, dtype = self._recall()
        dout = checks.floats("dout", dout, shape, dtype)
        return dout if seed is None else kernels.dropout(dout, self.ratio, seed)
