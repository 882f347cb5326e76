"""From what the decoder has at a step to the scores of the next token."""

from __future__ import annotations

from numpy.typing import ArrayLike

from fastattn.layers import Affine, Embedding, Tanh
from fastattn.layers.base import Layer
from fastattn.layers.checks import Array


class TanhAffine(Layer):
    """tanh(x W + b) at every position. weights: W (K, V), and b (V,) or none."""

    def __init__(self, *weights: Array) -> None:
        super().__init__()
        self.affine, self.tanh = Affine(*weights), Tanh()
        self.params, self.grads = self.affine.params, self.affine.grads

    def forward(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """x (N, T, K) -> (N, T, V), zeros at padding if there is no b."""
        return self.tanh._forward(self.affine.forward(x, lengths=lengths))

    def backward(self, dout: ArrayLike) -> Array:
        """dout (N, T, V) -> dx (N, T, K)."""
        return self.affine.backward(self.tanh.backward(dout))

    def _use_up(self) -> None:
        self.affine._use_up()
        self.tanh._use_up()


class TiedAffine(Layer):
    """x E^T + b at every position, E (V, D) being the weights of an embedding (Press and Wolf 2017).

    ``params`` is b (V,) alone. What E gets from here, `add_gradient` adds to the embedding's own gradient.
    """

    def __init__(self, embedding: Embedding, b: Array) -> None:
        super().__init__()
        self.embedding = embedding
        self.affine = Affine(embedding.params[0].T, b)  # which copies E^T, and gets it anew for each forward
        self.params, self.grads = self.affine.params[1:], self.affine.grads[1:]

    def weights(self) -> list[Array]:
        """E^T (D, V), as it is now, and b."""
        self.affine.params[0][...] = self.embedding.weights()[0].T
        return self.affine.weights()

    def forward(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """x (N, T, D) -> (N, T, V), zeros at padding."""
        self.weights()
        return self.affine.forward(x, lengths=lengths)

    def backward(self, dout: ArrayLike) -> Array:
        """dout (N, T, V) -> dx (N, T, D)."""
        return self.affine.backward(dout)

    def _use_up(self) -> None:
        self.affine._use_up()

    def add_gradient(self) -> None:
        """After the embedding's backward, which overwrites its gradient."""
        self.embedding.grads[0] += self.affine.grads[0].T
