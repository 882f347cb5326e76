"""Lists of arrays as one long line of numbers, so that a kernel passes over all of them in one launch.

A list is given to a kernel as a table of addresses. The line is cut into blocks of at most BLOCK numbers that never cross from
one array into the next; shares take whole blocks.
"""

import weakref
from functools import lru_cache

import numpy as np

from .compiling import kernel

BLOCK = 1 << 14


# By the identity of the arrays, with weak references that show whether they are still those: an optimizer asks for the same
# ones at every step. An array with a weak reference to it cannot be resized, so its address stays what it was.
_known: dict[tuple[int, ...], tuple[list[weakref.ref], np.ndarray]] = {}


def addresses(*lists):
    """The addresses of the arrays of several lists of like shapes: (number of lists, number of arrays), int64."""
    key = (len(lists), *[id(a) for arrays in lists for a in arrays])
    references, table = _known.get(key, ([], None))
    if table is None or any(r() is None for r in references):
        if len(_known) >= 64:
            _known.clear()
        table = np.array([[a.__array_interface__["data"][0] for a in arrays] for arrays in lists], np.int64)
        _known[key] = [weakref.ref(a) for arrays in lists for a in arrays], table
    return table


def blocks(arrays):
    """The blocks of the arrays of a list: which array, and from which number to which, (number of blocks, 3) int64."""
    return _blocks(tuple(array.size for array in arrays))


@lru_cache(maxsize=64)
def _blocks(sizes):
    table = [(index, first, min(first + BLOCK, size)) for index, size in enumerate(sizes) for first in range(0, size, BLOCK)]
    return np.array(table, np.int64).reshape(-1, 3)


@kernel
def block_range(share, shares, table):
    """The blocks that a share takes: first, and one beyond the last."""
    return share * table.shape[0] // shares, (share + 1) * table.shape[0] // shares
