"""Functions of arrays, without gradients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastattn.layers import CEloss, SoftmaxLayer, checks
from fastattn.layers.checks import Array

LOG_OFFSET = 1e-7  # added to a probability before its logarithm is taken


def _as_floats(x: ArrayLike) -> Array:
    """An array of whole numbers as float64; any other as it is."""
    array = np.asarray(x)
    return array.astype(np.float64) if array.dtype.kind in "iu" else array


def softmax(x: ArrayLike) -> Array:
    """x (V,) or (N, V) -> the same shape, each row positive and adding up to 1."""
    x = _as_floats(x)
    return SoftmaxLayer()._forward(x[None])[0] if x.ndim == 1 else SoftmaxLayer()._forward(x)


def sigmoid(x: ArrayLike) -> Array:
    """1 / (1 + exp(-x)) of each number, by tanh, which does not overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * _as_floats(x))


def cross_entropy_error(y: ArrayLike, t: ArrayLike) -> float:
    """y (N, V) or (V,), probabilities; t, token ids (N,) or one, or one-hot of y's shape -> the mean of -log(y[t] + 1e-7)."""
    y, t = np.asarray(y), np.asarray(t)
    is_one_hot = t.shape == y.shape
    y = checks.floats("y", np.atleast_2d(y), ("N", "V"))
    ids = np.atleast_2d(t).argmax(axis=1) if is_one_hot else t.reshape(-1)
    checked, _ = checks.ids("t", ids[None], (1, len(y)), y.shape[1], None)
    y_of_target = np.take_along_axis(y, checked.T, axis=1)  # (N, 1)
    return CEloss().forward(y_of_target + y.dtype.type(LOG_OFFSET))
