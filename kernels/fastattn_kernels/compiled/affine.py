"""Affine map of every position: x W + b."""

import numpy as np

from .engine.buffers import empty, flat, flat_or_nothing
from .engine.compiling import kernel
from .engine.cpu import GROUP_BYTES, TILE
from .engine.jit import shared
from .engine.padding import real_rows, zeros_at_padding
from .engine.product import (
    DEPTH_OF_COLUMNS,
    ceil_div,
    even_matrix,
    matmul,
    odd_step,
    row_addresses,
    same_row,
    scaled,
    scratch,
    scratch_of,
    weight_gradients,
    zeros_for,
)
from .engine.values import EvenRows, Matrix, Rows
from .engine.vector import copy, copy_transposed

_LARGE = 8 << 20  # bytes of dW that no cache near a core keeps
_SMALL = 1 << 18  # bytes of x that stay in a cache, wherever in it they fall


@shared
def _forward(share, shares, x, rows, W, b, out, panels, tiles):
    K, V = W.shape
    of_x, to_out = Matrix(x, 0, scaled(rows, K), 0, 1), Rows(row_addresses(out, rows, V), 0, 0)
    addends = same_row(b, rows.size) if b.size > 0 else zeros_for(to_out)
    own = scratch_of(share, panels, tiles)
    matmul(share, shares, rows.size, V, K, of_x, even_matrix(W.reshape(W.size), 0, K, V, 1), to_out, addends, own)


def affine_forward(x, W, b, lengths):
    N, T, K = x.shape
    V = W.shape[1]
    rows = real_rows(lengths, N, T)
    out = zeros_at_padding(empty((N, T, V), x.dtype), lengths)
    panels, tiles = scratch(x.dtype)
    _forward(
        flat(x), rows, W, flat_or_nothing(b, x.dtype), flat(out), panels, tiles,
        shares=len(tiles), work=2 * rows.size * K * V,
    )  # fmt: skip
    return out


@shared
def _compact(share, shares, x, rows, compact, step):
    """Copy the real rows of x one after another, ``step`` apart, and a one after each."""
    K = x.shape[1]
    flat = x.reshape(x.size)
    for i in range(share * rows.size // shares, (share + 1) * rows.size // shares):
        copy(flat, rows[i] * K, compact, i * step, K)
        compact[i * step + K] = 1


@shared
def _transpose(share, shares, x, rows, block, transposed, step):
    """Copy the real rows of x, in blocks, to columns of ``transposed``, whose rows are ``step`` apart, the last one of ones."""
    K = x.shape[1]
    flat = x.reshape(x.size)
    blocks = ceil_div(rows.size, block)
    for first in range(share * blocks // shares * block, min((share + 1) * blocks // shares * block, rows.size), block):
        last, whole = min(first + block, rows.size), 0
        if last - first == block and rows[last - 1] == rows[first] + block - 1:
            whole = K // block * block
            for k in range(0, whole, block):
                copy_transposed(flat, rows[first] * K + k, K, transposed, k * step + first, step)
        for i in range(first, last):
            for k in range(whole, K):
                transposed[k * step + i] = x[rows[i], k]
            transposed[K * step + i] = 1


@kernel
def _sum_rows(rows, first, last, out, sums):
    """Of some columns of a matrix, the sums over all rows, as a product with ones adds them up: block after block."""
    for j in range(first, last):
        sums[j] = 0
    for start in range(0, rows.rows.size, DEPTH_OF_COLUMNS):
        for j in range(first, last):
            out[j] = 0
        for i in range(start, min(start + DEPTH_OF_COLUMNS, rows.rows.size)):
            row = rows.numbers[rows.rows[i] + first : rows.rows[i] + last]
            total = out[first:last]
            for j in range(total.size):
                total[j] += row[j]
        for j in range(first, last):
            sums[j] += out[j]


@shared
def _backward(share, shares, dout, rows, W, x, x_row_step, x_step, dx, dW, db, has_ones, panels, tiles):
    """has_ones: whether x has a row of ones; else db is summed up beside the product."""
    K, V = W.shape
    own = scratch_of(share, panels, tiles)
    of_dout, to_dx = Matrix(dout, 0, scaled(rows, V), 0, 1), Rows(row_addresses(dx, rows, K), 0, 0)
    transposed = even_matrix(W.reshape(W.size), 0, V, 1, V)
    matmul(share, shares, rows.size, K, V, of_dout, transposed, to_dx, zeros_for(to_dx), own)
    inputs = EvenRows(x, 0, x_row_step)
    of_ones = db if has_ones else db[:0]
    weight_gradients(share, shares, K, V, rows.size, inputs, x_step, of_dout, dW.reshape(dW.size), of_ones, own)
    if not has_ones and db.size > 0:
        _sum_rows(of_dout, share * V // shares, (share + 1) * V // shares, np.empty(V, db.dtype), db)


def affine_backward(dout, x, W, dW, db, lengths):
    N, T, K = x.shape
    V = W.shape[1]
    dtype = x.dtype
    rows = real_rows(lengths, N, T)
    # dW passes through the cache once for each block of the rows; on most machines these blocks are longer where x is read
    # along rows.
    is_large = K * V * dtype.itemsize > _LARGE and TILE.depth > TILE.depth_of_columns
    panels, tiles = scratch(dtype)
    dx = zeros_at_padding(empty((N, T, K), dtype), lengths)
    has_ones = is_large or lengths is not None or x.nbytes > _SMALL
    if not has_ones:
        inputs, steps = flat(x), (1, K)
    else:
        step = odd_step(rows.size if is_large else K + 1, dtype)
        inputs, steps = empty((K + 1 if is_large else rows.size) * step, dtype), (step, 1) if is_large else (1, step)
        if is_large:
            _transpose(x.reshape(N * T, K), rows, GROUP_BYTES // dtype.itemsize, inputs, step, work=2 * inputs.size)
        else:
            _compact(x.reshape(N * T, K), rows, inputs, step, work=2 * inputs.size)
    _backward(
        flat(dout), rows, W, inputs, *steps, flat(dx), dW, flat_or_nothing(db, dtype), has_ones, panels, tiles,
        shares=len(tiles), work=4 * rows.size * K * V,
    )  # fmt: skip
    return dx
