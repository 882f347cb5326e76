"""Dropout with a mask that is a hash of the position; the hash stands in ``reference/dropout.py``."""

import numpy as np

from .engine.buffers import empty
from .engine.jit import shared

_N, _T, _J = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _40 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(40)


@shared
def _dropout(share, shares, x, threshold, factor, seed, whole, out):
    N, T, D = x.shape
    for row in range(share * N * T // shares, (share + 1) * N * T // shares):
        n, t = row // T, row % T
        key = seed + np.uint64(n) * _N + np.uint64(t) * _T
        x_row, out_row = x[n, t], out[n, t]
        for j in range(D):
            z = key if whole else key + np.uint64(j) * _J
            z = (z ^ (z >> _30)) * _FIRST
            z = (z ^ (z >> _27)) * _SECOND
            z = (z ^ (z >> _31)) >> _40
            out_row[j] = x_row[j] * factor if z >= threshold else x.dtype.type(0)


def dropout(x, ratio, seed, whole):
    out = empty(x.shape, x.dtype)
    # uniform < ratio, for uniform a multiple of 2^-24, in whole numbers
    threshold = np.uint64(np.ceil(ratio * 2.0**24))
    _dropout(x, threshold, x.dtype.type(1 / (1 - ratio)), np.uint64(seed), whole, out, work=20 * x.size)
    return out
