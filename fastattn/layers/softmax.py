"""Softmax over the steps of a sequence, as attention uses it."""

from __future__ import annotations

from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .base import Layer
from .checks import Array


class SoftmaxLayer(Layer):
    """Each row becomes positive and adds up to 1. It has no weights."""

    def forward(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """x (N, T) -> (N, T), each row the softmax over its real positions, zeros at padding; to be read, as backward does."""
        return checks.read_only(self._forward(x, lengths))

    def _forward(self, x: ArrayLike, lengths: ArrayLike | None = None) -> Array:
        """What forward gives, for who does not overwrite it."""
        x = checks.floats("x", x, ("N", "T"))
        lengths = checks.lengths("lengths", lengths, *x.shape)
        kernels = backend.kernels()
        out = kernels.softmax_forward(x, lengths)
        self._keep(kernels, out, lengths)
        return out

    def backward(self, dout: ArrayLike) -> Array:
        """dout (N, T) -> dx (N, T)."""
        kernels, out, lengths = self._recall()
        dout = checks.floats("dout", dout, out.shape, out.dtype)
        return kernels.softmax_backward(dout, out, lengths)
