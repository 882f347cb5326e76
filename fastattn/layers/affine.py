"""The same affine map at every position."""

from __future__ import annotations

from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .base import Layer
from .checks import Array


class Affine(Layer):
    """x W + b at every position; x W without b, and ``params`` is then W alone.

    W (K, V), b (V,), both float32 or both float64.
    """

    def __init__(self, W: ArrayLike, b: ArrayLike | None = None) -> None:
        W = checks.floats("W", W, ("K", "V"))
        super().__init__(W, *([] if b is None else [checks.floats("b", b, (W.shape[1],), W.dtype)]))

    def forward(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """x (N, T, K) -> (N, T, V), zeros at padding."""
        W, b = _with_bias(self.weights())
        x = checks.floats("x", x, ("N", "T", len(W)), W.dtype)
        lengths = checks.lengths("lengths", lengths, *x.shape[:2])
        kernels = backend.kernels()
        self._keep(kernels, x, lengths)
        return kernels.affine_forward(x, W, b, lengths)

    def backward(self, dout: ArrayLike) -> Array:
        """dout (N, T, V) -> dx (N, T, K)."""
        kernels, x, lengths = self._recall()
        W, _ = _with_bias(self.weights())
        dout = checks.floats("dout", dout, (*x.shape[:2], W.shape[1]), W.dtype)
        dW, db = _with_bias(self.grads)
        return kernels.affine_backward(dout, x, W, dW, db, lengths)


def _with_bias(arrays: list[Array]) -> tuple[Array, Array | None]:
    """W and b, or their gradients; None for b where there is none."""
    return arrays[0], arrays[1] if len(arrays) > 1 else None
