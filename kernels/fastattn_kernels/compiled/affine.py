"""Affine map of every position: x W + b."""

import numpy as np

from .engine.buffers import empty
from .engine.jit import shared
from .engine.padding import real_rows, zeros_at_padding
from .engine.product import matmul, odd_step, row_addresses, scratch


@shared
def _forward(share, shares, x, rows, W, b, out, panels, tiles):
    K, V = W.shape
    out_rows = row_addresses(out, rows, V)
    matmul(
        share, shares, rows.size, V, K, x, 0, rows * K, 1, W.reshape(W.size), 0, np.arange(K) * V, 1,
        out_rows, 0, b, panels[share], tiles[share],
    )  # fmt: skip


def affine_forward(x, W, b, lengths):
    N, T, K = x.shape
    V = W.shape[1]
    rows = real_rows(lengths, N, T)
    out = zeros_at_padding(empty((N, T, V), x.dtype), lengths)
    panels, tiles = scratch(x.dtype)
    _forward(x.reshape(x.size), rows, W, b, out.reshape(out.size), panels, tiles, shares=len(tiles), work=2 * rows.size * K * V)
    return out


@shared
def _compact(share, shares, x, rows, compact, step):
    """Copy the real rows of x one after another, ``step`` apart."""
    K = x.shape[1]
    for i in range(share * rows.size // shares, (share + 1) * rows.size // shares):
        source = x[rows[i]]
        for k in range(K):
            compact[i * step + k] = source[k]


@shared
def _backward(share, shares, dout, rows, W, x, x_step, dx, dW, db, panels, tiles):
    K, V = W.shape
    dx_rows, dW_rows = row_addresses(dx, rows, K), row_addresses(dW.reshape(dW.size), np.arange(K), V)
    panel, tile = panels[share], tiles[share]
    none = tile[:0]
    flat_dout, dout_rows = dout.reshape(dout.size), rows * V
    # dx = dout W^T
    matmul(
        share, shares, rows.size, K, V, flat_dout, 0, dout_rows, 1, W.reshape(W.size), 0, np.arange(V), V,
        dx_rows, 0, none, panel, tile,
    )  # fmt: skip
    # dW = x^T dout
    matmul(
        share, shares, K, V, rows.size, x, 0, np.arange(K), x_step, flat_dout, 0, dout_rows, 1,
        dW_rows, 0, none, panel, tile,
    )  # fmt: skip
    first, last = share * V // shares, (share + 1) * V // shares
    db[first:last] = 0
    for i in range(rows.size):
        row = dout[rows[i]]
        for v in range(first, last):
            db[v] += row[v]


def affine_backward(dout, x, W, dW, db, lengths):
    N, T, K = x.shape
    V = W.shape[1]
    dtype = x.dtype
    rows = real_rows(lengths, N, T)
    step = odd_step(K, dtype)
    compact = empty(rows.size * step, dtype)
    panels, tiles = scratch(dtype)
    dx = zeros_at_padding(empty((N, T, K), dtype), lengths)
    _compact(x.reshape(N * T, K), rows, compact, step, work=2 * compact.size)
    _backward(
        dout.reshape(N * T, V), rows, W, compact, step, dx.reshape(dx.size), dW, db, panels, tiles,
        shares=len(tiles), work=4 * rows.size * K * V,
    )  # fmt: skip
    return dx
