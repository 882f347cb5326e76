"""Lengths as the compiled kernels use them."""

from functools import lru_cache

import numpy as np

# What a step needs again and again where there is no padding; nobody writes to these.


@lru_cache(maxsize=32)
def _all_rows(count):
    return np.arange(count, dtype=np.int64)


@lru_cache(maxsize=32)
def _full_lengths(N, T):
    return np.full(N, T, np.int64)


def real_rows(lengths, N, T):
    """The flat positions n T + t of the real steps (int64), sample by sample."""
    if lengths is None:
        return _all_rows(N * T)
    return np.flatnonzero(np.arange(T) < lengths[:, None]).astype(np.int64, copy=False)


def all_lengths(lengths, N, T):
    """The lengths as an array (N,), T for each sample where there are none."""
    return _full_lengths(N, T) if lengths is None else lengths


def zeros_at_padding(array, lengths):
    """Fill an array (N, T, ...) with zeros if a part of it is padding, which a kernel that writes real steps will not touch."""
    if lengths is not None:
        array.fill(0)
    return array
