"""Token ids to vectors."""

from __future__ import annotations

from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .base import Layer
from .checks import Array


class Embedding(Layer):
    """A row of W for each token id.

    W (V, D), float32 or float64.
    """

    def __init__(self, W: ArrayLike) -> None:
        super().__init__(checks.floats("W", W, ("V", "D")))

    def forward(self, ids: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """ids (N, T), integers from 0 to V - 1 -> (N, T, D), zeros at padding.

        IndexError for an id out of range, unless it stands at padding, where any integer may.
        """
        (W,) = self.weights()
        ids, lengths = checks.ids("ids", ids, ("N", "T"), len(W), lengths)
        kernels = backend.kernels()
        self._keep(kernels, ids, lengths)
        return kernels.embedding_forward(W, ids, lengths)

    def backward(self, dout: ArrayLike) -> None:
        """dout (N, T, D). Token ids have no gradient, so nothing is returned."""
        kernels, ids, lengths = self._recall()
        (W,) = self.weights()
        dout = checks.floats("dout", dout, (*ids.shape, W.shape[1]), W.dtype)
        kernels.embedding_backward(dout, ids, self.grads[0], lengths)
