"""Lengths as the compiled kernels use them."""

import numpy as np


def real_rows(lengths, N, T):
    """The flat positions n T + t of the real steps (int64), sample by sample."""
    if lengths is None:
        return np.arange(N * T, dtype=np.int64)
    return np.flatnonzero(np.arange(T) < lengths[:, None]).astype(np.int64, copy=False)


def all_lengths(lengths, N, T):
    """The lengths as an array (N,), T for each sample where there are none."""
    return np.full(N, T, np.int64) if lengths is None else lengths


def zeros_at_padding(array, lengths):
    """Fill an array (N, T, ...) with zeros if a part of it is padding, which a kernel that writes real steps will not touch."""
    if lengths is not None:
        array.fill(0)
    return array
