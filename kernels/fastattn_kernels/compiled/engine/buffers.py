"""Aligned memory that is used again, and never while anyone still holds it.

A training step makes some tens of megabytes of arrays; taken fresh from the system each time they would cost a page fault
for every 4 KiB. So blocks are kept, and one is handed out again only when its reference count proves that no array, view
or exported buffer of it is alive: a caller may keep any array that a kernel returned for as long as it likes.
"""

import sys
import threading
from typing import Any

import numpy as np

_ALIGNMENT = 64  # a cache line, and an AVX-512 register
_SMALL = 1 << 13  # bytes; below this the allocator is as quick as this pool
_KEEP = 512  # an idle block is given back after so many further requests

_lock = threading.Lock()
_idle: dict[int, list[list[Any]]] = {}  # size in bytes -> [block, the number of the request that last took it]
_requests = 0


def _references(entry: list[Any]) -> int:
    return sys.getrefcount(entry[0])


_UNHELD = _references([np.empty(1, np.uint8)])  # what an unheld block counts, whatever this Python counts


def _size_class(nbytes: int) -> int:
    """The next size of the form 4, 5, 6 or 7 times a power of two, so that batches of like size share blocks."""
    step = 1 << max(nbytes.bit_length() - 3, 12)
    return -(-nbytes // step) * step


def _block(nbytes: int) -> Any:
    """An unheld block of at least ``nbytes``, an old one if there is one."""
    global _requests
    size = _size_class(nbytes)
    with _lock:
        _requests += 1
        for entry in _idle.setdefault(size, []):
            if _references(entry) == _UNHELD:
                entry[1] = _requests
                return entry[0]
        for entries in _idle.values():
            entries[:] = [e for e in entries if _requests - e[1] < _KEEP or _references(e) != _UNHELD]
        block = np.empty(size, np.uint8)
        _idle[size].append([block, _requests])
        return block


def empty(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Like ``np.empty``: a C-contiguous array whose data starts on a cache line."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape)) if isinstance(shape, tuple) else shape
    nbytes = count * dtype.itemsize
    block = np.empty(nbytes + _ALIGNMENT, np.uint8) if nbytes < _SMALL else _block(nbytes + _ALIGNMENT)
    start = -block.__array_interface__["data"][0] % _ALIGNMENT
    return np.ndarray(shape, dtype, block, start)


def zeros(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Like ``np.zeros``, aligned."""
    array = empty(shape, dtype)
    array.fill(0)
    return array
