"""The same affine map at every position."""

from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .base import Layer
from .checks import Array


class Affine(Layer):
    """x W + b at every position.

    W (K, V), b (V,), both float32 or both float64.
    """

    def __init__(self, W: ArrayLike, b: ArrayLike) -> None:
        W = checks.floats("W", W, ("K", "V"))
        super().__init__(W, checks.floats("b", b, (W.shape[1],), W.dtype))

    def forward(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """x (N, T, K) -> (N, T, V), zeros at padding."""
        W, b = self.weights()
        x = checks.floats("x", x, ("N", "T", len(W)), W.dtype)
        lengths = checks.lengths("lengths", lengths, *x.shape[:2])
        kernels = backend.kernels()
        self._keep(kernels, x, lengths)
        return kernels.affine_forward(x, W, b, lengths)

    def backward(self, dout: ArrayLike) -> Array:
        """dout (N, T, V) -> dx (N, T, K)."""
        kernels, x, lengths = self._recall()
        W, _ = self.weights()
        dout = checks.floats("dout", dout, (*x.shape[:2], W.shape[1]), W.dtype)
        dW, db = self.grads
        return kernels.affine_backward(dout, x, W, dW, db, lengths)
