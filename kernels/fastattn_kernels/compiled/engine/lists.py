"""Lists of arrays as one long line of numbers, so that a kernel passes over all of them in one launch.

A list is given to a kernel as a table of addresses. The line is cut into blocks of at most BLOCK numbers that never cross from
one array into the next; shares take whole blocks.
"""

import ctypes
import struct

import numpy as np

from ...contracts import lists_of_lines
from .compiling import from_python, kernel
from .vector import number_at

BLOCK = 1 << 14

_FLOATS = (np.dtype("float32"), np.dtype("float64"))
_SINGLE_LINE = 0x1 | 0x100 | 0x400  # of an array's flags: C-contiguous, aligned, writeable

# An array as NumPy lays it down, after what all of Python's objects begin with: the address of its numbers, how many axes it
# has, the address of its shape, that of its strides, its base, its dtype, its flags. A step of an optimizer measures forty
# arrays and more; read in compiled code they take a microsecond, asked one by one a hundred.
_DATA = object.__basicsize__ // 8
_AXES, _SHAPE, _DTYPE, _FLAGS, _HEAD = _DATA + 1, _DATA + 2, _DATA + 5, _DATA + 6, _DATA + 7
_TYPE = _DATA - 1  # of the object: the last of what all begin with


def _laid_down_so() -> bool:
    """Whether this version of NumPy lays arrays down as it says above."""
    for array in (np.zeros((3, 5), np.float32), np.zeros((1, 2, 7))[:, 1], np.frombuffer(b"01234567")):
        head = struct.unpack(f"{_HEAD}q", ctypes.string_at(id(array), 8 * _HEAD))
        flags = array.flags.c_contiguous * 0x1 | array.flags.aligned * 0x100 | array.flags.writeable * 0x400
        shape = struct.unpack(f"{array.ndim}q", ctypes.string_at(head[_SHAPE], 8 * array.ndim))
        known = array.__array_interface__["data"][0], id(np.ndarray), id(array.dtype), array.ndim, flags
        if known != (head[_DATA], head[_TYPE], head[_DTYPE], head[_AXES] & 0xFFFFFFFF, head[_FLAGS] & _SINGLE_LINE):
            return False
        if shape != array.shape:
            return False
    return True


_CAN_READ = hasattr(ctypes, "pythonapi") and struct.calcsize("P") == 8 and _laid_down_so()


@from_python
def _measure(arrays, of_arrays, of_dtype, addresses, sizes):
    """Read the addresses of the numbers of lists of arrays, and the sizes of the first list's.

    arrays: their own addresses (number of lists, number of arrays). Returns 0, or 1 if one of them is no array, or not of this
    dtype, or not one line of numbers, or of another shape than the array at its place in the first list.
    """
    for row in range(arrays.shape[0]):
        for i in range(arrays.shape[1]):
            array, first = arrays[row, i], arrays[0, i]
            if number_at(array, _TYPE) != of_arrays or number_at(array, _DTYPE) != of_dtype:
                return 1
            axes, flags = number_at(array, _AXES) & 0xFFFFFFFF, number_at(array, _FLAGS)
            if flags & _SINGLE_LINE != _SINGLE_LINE or axes != number_at(first, _AXES) & 0xFFFFFFFF:
                return 1
            size, shape, expected = 1, number_at(array, _SHAPE), number_at(first, _SHAPE)
            for k in range(axes):
                if number_at(shape, k) != number_at(expected, k):
                    return 1
                size *= number_at(shape, k)
            addresses[row, i] = number_at(array, _DATA)
            sizes[i] = size
    return 0


_tables: dict[bytes, tuple[np.ndarray, int]] = {}  # by the sizes of arrays: an optimizer asks for the same at every step


def _blocks(sizes):
    key = sizes.tobytes()
    known = _tables.get(key)
    if known is None:
        if len(_tables) >= 64:
            _tables.clear()
        blocks = [
            (i, start, min(start + BLOCK, size)) for i, size in enumerate(sizes.tolist()) for start in range(0, size, BLOCK)
        ]
        known = _tables[key] = np.array(blocks, np.int64).reshape(-1, 3), int(sizes.sum())
    return known


def line(*lists):
    """Several lists of arrays of like shapes as lines of numbers. An error if they are not alike, or not of one dtype.

    The addresses of the arrays (number of lists, number of arrays), int64; the blocks of a line, each which array, and from
    which number to which (number of blocks, 3), int64; and how many numbers a line has.
    """
    count = len(lists[0])
    dtype = getattr(lists[0][0], "dtype", None)
    addresses, sizes = np.empty((len(lists), count), np.int64), np.empty(count, np.int64)
    can_read = _CAN_READ and (dtype is _FLOATS[0] or dtype is _FLOATS[1]) and all(len(arrays) == count for arrays in lists)
    if can_read:
        arrays = np.array([id(array) for arrays in lists for array in arrays], np.int64).reshape(addresses.shape)
    if not can_read or _measure(arrays, id(np.ndarray), id(dtype), addresses, sizes):
        lists_of_lines(*lists)  # says what is wrong, or finds nothing: an array of a class of its own, for instance
        addresses[:] = [[a.__array_interface__["data"][0] for a in arrays] for arrays in lists]
        sizes[:] = [array.size for array in lists[0]]
    return addresses, *_blocks(sizes)


@kernel
def block_range(share, shares, table):
    """The blocks that a share takes: first, and one beyond the last."""
    return share * table.shape[0] // shares, (share + 1) * table.shape[0] // shares
