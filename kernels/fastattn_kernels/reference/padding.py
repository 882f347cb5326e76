"""Lengths to masks: the one place of the reference set that knows what padding is."""

import numpy as np


def real_positions(lengths, N, T):
    """A boolean mask (N, T): True at the real steps of each sample, False at padding. ``lengths`` None: all True."""
    if lengths is None:
        return np.ones((N, T), dtype=bool)
    return np.arange(T) < np.asarray(lengths)[:, None]


def without_padding(x, lengths):
    """``x`` (N, T, ...) with zeros at padding, whatever stood there (NaN too)."""
    return x if lengths is None else zeros_elsewhere(x, real_positions(lengths, *x.shape[:2]))


def zeros_elsewhere(x, kept):
    """``x`` (N, T, ...) where ``kept`` (N, T) is True, zeros at all other positions, whatever stood there."""
    if kept.all():
        return x
    return np.where(kept.reshape(kept.shape + (1,) * (x.ndim - 2)), x, x.dtype.type(0))
