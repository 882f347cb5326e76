"""Lists of arrays as one long line of numbers, so that a kernel passes over all of them in one launch.

A list is given to a kernel as a table of addresses. The line is cut into blocks of at most BLOCK numbers that never cross from
one array into the next; shares take whole blocks.
"""

import weakref

import numpy as np

from .compiling import kernel

BLOCK = 1 << 14


# By the identity of the arrays, with weak references that show whether they are still those: an optimizer asks for the same
# ones at every step. An array with a weak reference to it cannot be resized, so its address stays what it was.
_known: dict[tuple[int, ...], tuple[list[weakref.ref], tuple[np.ndarray, np.ndarray, int]]] = {}


def line(*lists):
    """Several lists of arrays of like shapes as lines of numbers.

    The addresses of the arrays (number of lists, number of arrays), int64; the blocks of a line, each which array, and from
    which number to which (number of blocks, 3), int64; and how many numbers a line has.
    """
    key = (len(lists), *[id(array) for arrays in lists for array in arrays])
    references, known = _known.get(key, ((), None))
    for reference in references:
        if reference() is None:
            known = None
    if known is None:
        if len(_known) >= 64:
            _known.clear()
        addresses = np.array([[a.__array_interface__["data"][0] for a in arrays] for arrays in lists], np.int64)
        sizes = [array.size for array in lists[0]]
        blocks = [(i, start, min(start + BLOCK, size)) for i, size in enumerate(sizes) for start in range(0, size, BLOCK)]
        known = addresses, np.array(blocks, np.int64).reshape(-1, 3), sum(sizes)
        _known[key] = [weakref.ref(array) for arrays in lists for array in arrays], known
    return known


@kernel
def block_range(share, shares, table):
    """The blocks that a share takes: first, and one beyond the last."""
    return share * table.shape[0] // shares, (share + 1) * table.shape[0] // shares
