"""Lengths as the compiled kernels use them."""

from functools import lru_cache

import numpy as np

from .compiling import kernel
from .jit import num_shares

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


def block_of_samples(lengths, N, directions=1):
    """How many samples that follow one another a share takes at a time (see `samples_of`).

    With two directions, half of the shares take those of each, if there is an even number of shares.
    """
    shares = num_shares() // directions if num_shares() % directions == 0 else num_shares()
    if lengths is None:
        return -(-N // shares)
    return max(1, min(4, N // (4 * shares)))


@kernel
def samples_of(share, shares, N, block):
    """The numbers of a share's samples, rising: blocks of some that follow one another, dealt forwards and backwards by turns.

    So each share has about as many steps as any other where samples are sorted by length; without lengths, a block is
    all of a share's. At every border between two shares a core fetches, ahead of its time, what the other is about to write:
    with blocks of one sample, an LSTM of 64 units took a fifth longer.
    """
    mine, count = np.empty(N, np.int64), 0
    for i, first in enumerate(range(0, N, block)):
        turn = i % shares
        if i // shares % 2 == 1:
            turn = shares - 1 - turn
        if turn == share:
            for n in range(first, min(first + block, N)):
                mine[count] = n
                count += 1
    return mine[:count]
