"""The global norm of a list of gradients, and their scaling."""

import numpy as np
from numba import carray

from .engine.buffers import empty
from .engine.compiling import reduction
from .engine.jit import shared
from .engine.lists import block_range, line
from .engine.vector import pointer_to


@reduction
def _sum_of_squares(x):
    total = 0.0
    for i in range(x.size):
        number = np.float64(x[i])
        total += number * number
    return total


@shared
def _squared_norms(share, shares, arrays, table, like, sums):
    first, last = block_range(share, shares, table)
    for i in range(first, last):
        index, start, end = table[i]
        sums[i] = _sum_of_squares(carray(pointer_to(arrays[0, index], like), end)[start:end])


def squared_norm(arrays):
    if not arrays:
        return 0.0
    addresses, table, size = line(arrays)
    sums = empty(len(table), np.float64)
    _squared_norms(addresses, table, np.empty(0, arrays[0].dtype), sums, work=2 * size)
    return float(sums.sum())


@shared
def _scale(share, shares, arrays, table, factor):
    first, last = block_range(share, shares, table)
    f = factor[0]  # read once: for all the compiler knows, x may be the same memory
    for i in range(first, last):
        index, start, end = table[i]
        x = carray(pointer_to(arrays[0, index], factor), end)[start:end]
        for j in range(x.size):
            x[j] *= f


def scale(arrays, factor):
    if not arrays:
        return
    addresses, table, size = line(arrays)
    _scale(addresses, table, np.array([factor], arrays[0].dtype), work=size)
