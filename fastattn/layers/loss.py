"""The loss of a sequence of guesses: the mean over the real positions of -log(probability of the target).

In two layers, Softmax and CEloss, or in one, SoftmaxCrossEntropy, which works on logarithms and is what the models use.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .base import Layer
from .checks import Array


class Softmax(Layer):
    """The probability that the softmax of the scores gives to the target.

    It is never less than 1e-30, so that the loss and its gradient stay finite where a probability underflows.
    """

    def forward(self, a: ArrayLike, t: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """a (N, T, V), the scores; t (N, T), integers from 0 to V - 1 -> y (N, T), zeros at padding, to be read."""
        a = checks.floats("a", a, ("N", "T", "V"))
        t, lengths = checks.ids("t", t, a.shape[:2], a.shape[2], lengths)
        kernels = backend.kernels()
        y, cache = kernels.target_probability_forward(a, t, lengths)
        self._keep(kernels, cache, a.shape, a.dtype)
        return checks.read_only(y)

    def backward(self, dy: ArrayLike) -> Array:
        """dy (N, T) -> da (N, T, V)."""
        kernels, cache, shape, dtype = self._recall()
        return kernels.target_probability_backward(checks.floats("dy", dy, shape[:2], dtype), cache)


class CEloss(Layer):
    """Cross entropy, from the probability of the target."""

    def forward(self, y: ArrayLike, *, lengths: ArrayLike | None = None) -> float:
        """y (N, T), the probability of each target -> the mean of -log(y) over the real positions."""
        y = checks.floats("y", y, ("N", "T"))
        lengths = checks.lengths("lengths", lengths, *y.shape)
        kernels = backend.kernels()
        self._keep(kernels, y, lengths)
        return kernels.cross_entropy_forward(y, lengths)

    def backward(self, dloss: float = 1) -> Array:
        """dloss, the gradient of the loss -> dy (N, T)."""
        kernels, y, lengths = self._recall()
        return kernels.cross_entropy_backward(float(dloss), y, lengths)


class SoftmaxCrossEntropy(Layer):
    """Softmax and cross entropy in one, from the scores, exact however small a probability is.

    overwrite_scores: the caller gives the scores away: forward may put their gradient in their place, which backward then
    returns, once for each forward. That saves memory, and passes over it. ignore_label: the number that stands in t where
    there is no target; such positions count as little as padding. label_smoothing: while ``training`` is True, as it is at
    first, this share of each target is taken from it and given to all tokens equally (Szegedy et al. 2016, section 7).
    """

    def __init__(self, overwrite_scores: bool = False, ignore_label: int | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.overwrite_scores = overwrite_scores
        self.ignore_label = ignore_label
        self.label_smoothing = checks.ratio("label_smoothing", label_smoothing)
        self.training = True

    def forward(self, scores: ArrayLike, t: ArrayLike, *, lengths: ArrayLike | None = None) -> float:
        """scores (N, T, V); t (N, T), integers from 0 to V - 1 or ``ignore_label`` -> the mean loss of a target.

        It is 0 where every target is to be ignored.
        """
        scores = checks.floats("scores", scores, ("N", "T", "V"))
        t, lengths = checks.ids("t", t, scores.shape[:2], scores.shape[2], lengths, ignored=self.ignore_label)
        kernels = backend.kernels()
        smoothing = self.label_smoothing if self.training else 0.0
        loss, cache = kernels.softmax_cross_entropy_forward(scores, t, lengths, self.overwrite_scores, smoothing)
        self._keep(kernels, cache, self.overwrite_scores)
        return loss

    def backward(self, dloss: float = 1) -> Array:
        """dloss, the gradient of the loss -> dscores (N, T, V)."""
        kernels, cache, overwrite = self._recall()
        dloss = float(dloss)
        if overwrite:
            self._use_up()
        return kernels.softmax_cross_entropy_backward(dloss, cache)
