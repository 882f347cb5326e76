"""The hyperbolic tangent."""

from __future__ import annotations

from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .base import Layer
from .checks import Array


class Tanh(Layer):
    """tanh of each number. It has no weights."""

    def forward(self, x: ArrayLike) -> Array:
        """x (N, T, D) -> (N, T, D), to be read: backward reads the same memory."""
        return checks.read_only(self._forward(x))

    def _forward(self, x: ArrayLike) -> Array:
        """What forward gives, for who does not overwrite it."""
        x = checks.floats("x", x, ("N", "T", "D"))
        kernels = backend.kernels()
        y = kernels.tanh_forward(x)
        self._keep(kernels, y)
        return y

    def backward(self, dy: ArrayLike) -> Array:
        """dy (N, T, D) -> dx (N, T, D)."""
        kernels, y = self._recall()
        return kernels.tanh_backward(checks.floats("dy", dy, y.shape, y.dtype), y)
