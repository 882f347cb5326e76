"""Embedding: a row of W for each token id."""

from .engine.buffers import empty
from .engine.jit import shared
from .engine.padding import real_rows, zeros_at_padding


@shared
def _forward(share, shares, W, ids, rows, xs):
    for i in range(share * rows.size // shares, (share + 1) * rows.size // shares):
        source, target = W[ids[rows[i]]], xs[rows[i]]
        for d in range(target.size):
            target[d] = source[d]


@shared
def _backward(share, shares, dxs, ids, rows, dW):
    # A share has some columns of dW for itself and adds up all positions in their order; rows would be shared unevenly,
    # for some symbols are far more frequent than others.
    D = dW.shape[1]
    first, last = share * D // shares, (share + 1) * D // shares
    for i in range(rows.size):
        row = rows[i]
        target, source = dW[ids[row]], dxs[row]
        for d in range(first, last):
            target[d] += source[d]


_FEW = 2048  # numbers that NumPy has copied before a launch has begun


def embedding_forward(W, ids, lengths):
    (N, T), D = ids.shape, W.shape[1]
    if lengths is None and N * T * D <= _FEW:
        return W.take(ids, axis=0)
    xs = zeros_at_padding(empty((N, T, D), W.dtype), lengths)
    _forward(W, ids.reshape(N * T), real_rows(lengths, N, T), xs.reshape(N * T, D), work=4 * xs.size)
    return xs


def embedding_backward(dxs, ids, dW, lengths):
    N, T, D = dxs.shape
    dW.fill(0)
    _backward(dxs.reshape(N * T, D), ids.reshape(N * T), real_rows(lengths, N, T), dW, work=4 * dxs.size)
