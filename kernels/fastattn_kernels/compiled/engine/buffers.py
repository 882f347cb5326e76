"""Aligned memory that is used again, and never while anyone still holds it.

A training step makes some tens of megabytes of arrays; taken fresh from the system each time they would cost a page fault
for every 4 KiB. So blocks are kept, and one is handed out again only when its reference count proves that no array, view
or exported buffer of it is alive: a caller may keep any array that a kernel returned for as long as it likes.
"""

import math
import sys
import threading
from functools import cache, lru_cache
from typing import Any

import numpy as np

_ALIGNMENT = 64  # a cache line, and an AVX-512 register
_SMALL = 1 << 15  # bytes; below this the allocator is quicker than this pool
_HUGE_PAGE = 1 << 21
_KEEP = 512  # an idle block is given back after so many further requests

_lock = threading.RLock()
_is_busy = False  # while a thread looks for a block; seen as True only by a signal handler that interrupted it
_blocks: dict[int, list["_Block"]] = {}  # by size in bytes
_requests = 0


class _Block:
    """Memory of which arrays are views: where it is aligned, and the number of the request that took it last."""

    __slots__ = ("last", "memory", "start")

    def __init__(self, size: int, request: int) -> None:
        self.memory = np.empty(size, np.uint8)
        self.start = -self.memory.__array_interface__["data"][0] % _ALIGNMENT
        self.last = request


_probe = _Block(1, 0)
_UNHELD = sys.getrefcount(_probe.memory)  # what a block without views counts, whatever this Python counts


@lru_cache(maxsize=1024)
def _size_class(nbytes: int) -> int:
    """The next size of the form 4, 5, 6 or 7 times a power of two, so that batches of like size share blocks."""
    step = 1 << max(nbytes.bit_length() - 3, 12)
    return -(-nbytes // step) * step


def _unheld(blocks: list[_Block]) -> _Block | None:
    """The first of some blocks that has no views."""
    for block in blocks:
        if sys.getrefcount(block.memory) == _UNHELD:
            return block
    return None


def _free_block(size: int) -> _Block:
    """A block without views, an old one if there is one. The lock must be held."""
    global _requests
    _requests += 1
    if _requests % _KEEP == 0:
        for blocks in _blocks.values():
            blocks[:] = [b for b in blocks if _requests - b.last < _KEEP or sys.getrefcount(b.memory) != _UNHELD]
    block = _unheld(_blocks.setdefault(size, []))
    if block is None:  # of a size up to twice as large
        larger = sorted(other for other in _blocks if size < other <= 2 * size)
        block = next(filter(None, (_unheld(_blocks[other]) for other in larger)), None)
    if block is None:
        block = _Block(size, _requests)
        _blocks[size].append(block)
    block.last = _requests
    return block


def empty(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Like ``np.empty``: a C-contiguous array, whose data starts on a cache line unless it is small.

    A signal handler may ask for memory in the middle of a request of its own thread, between the choice of a block and the
    making of its array, when the block counts as free. It gets memory that is not of the pool.
    """
    global _is_busy
    dtype = np.dtype(dtype)
    nbytes = (math.prod(shape) if isinstance(shape, tuple) else shape) * dtype.itemsize + _ALIGNMENT
    if nbytes < _SMALL:
        return np.empty(shape, dtype)
    with _lock:
        if _is_busy:
            block = _Block(nbytes, 0)
            return np.ndarray(shape, dtype, block.memory, block.start)
        try:
            _is_busy = True
            block = _free_block(_size_class(nbytes))
            return np.ndarray(shape, dtype, block.memory, block.start)
        finally:
            _is_busy = False


def lock_for_fork() -> None:
    """Before a fork: no other thread is in the middle of a request."""
    _lock.acquire()


def unlock_after_fork() -> None:
    """After a fork, in the parent and in the child."""
    _lock.release()


def flat(array: np.ndarray) -> np.ndarray:
    """A C-contiguous array as one line of numbers."""
    return array.ravel()  # half of the time that reshape takes


@cache
def nothing(dtype: Any) -> np.ndarray:
    """An empty array, for a kernel that is given none."""
    return np.empty(0, dtype)


def flat_or_nothing(array: np.ndarray | None, dtype: Any) -> np.ndarray:
    """An array as one line of numbers; an empty one for None."""
    return nothing(dtype) if array is None else flat(array)


def zeros(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Like ``np.zeros``, aligned."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


@lru_cache(maxsize=256)
def places_of(counts: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, int]:
    """Where pieces of so many numbers stand in one array, each from a cache line on: (pieces, 2); and how long that is."""
    line = _ALIGNMENT // dtype.itemsize
    starts = np.cumsum([0] + [-(-count // line) * line for count in counts])
    return np.stack((starts[:-1], starts[:-1] + counts), axis=1), int(starts[-1])


def pieces(dtype: Any, *counts: int) -> list[np.ndarray]:
    """Flat arrays of so many numbers out of one block: quicker than a block for each. On cache lines unless it is small."""
    places, numbers = places_of(counts, np.dtype(dtype))
    memory = empty(numbers, dtype)
    return [memory[start:end] for start, end in places.tolist()]


def on_huge_pages(numbers: int, dtype: Any) -> np.ndarray:
    """A flat array, not of the pool, in pages of 2 MiB where the system has some to give.

    For memory that is read over and over: a core finds the addresses of a few large pages sooner than of many small ones. NumPy
    asks the system for such pages from 4 MiB on; of a larger block, only what is written takes memory.
    """
    nbytes = numbers * np.dtype(dtype).itemsize
    memory = np.empty(nbytes + 2 * _HUGE_PAGE, np.uint8)
    start = -memory.__array_interface__["data"][0] % _HUGE_PAGE
    return memory[start : start + nbytes].view(dtype)
