"""Softmax over the last axis."""

import numpy as np

from .padding import real_positions


def softmax_forward(x, lengths):
    """x (N, T) -> y (N, T), each row the softmax over its real positions, zeros at padding.

    A row with no real position is all zeros.
    """
    real = real_positions(lengths, *x.shape)
    highest = np.max(x, axis=1, keepdims=True, initial=-np.inf, where=real)
    exponentials = np.where(real, np.exp(np.where(real, x - highest, 0)), 0)
    total = exponentials.sum(axis=1, keepdims=True)
    return (exponentials / np.where(total > 0, total, 1)).astype(x.dtype, copy=False)


def softmax_backward(dy, y, lengths):
    """dy, y (N, T) -> dx (N, T) = y * (dy - sum over the row of dy * y), zeros at padding."""
    dy = np.where(real_positions(lengths, *y.shape), dy, 0)
    return y * (dy - np.sum(dy * y, axis=1, keepdims=True))
