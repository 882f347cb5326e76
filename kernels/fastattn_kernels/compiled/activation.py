"""Functions of single numbers, and sums of two arrays."""

import numpy as np

from .engine.activation import tanh
from .engine.buffers import empty, flat
from .engine.jit import shared


@shared
def _tanh(share, shares, x, y):
    first, last = share * x.size // shares, (share + 1) * x.size // shares
    given, out = x[first:last], y[first:last]
    for i in range(out.size):
        out[i] = tanh(given[i])


@shared
def _tanh_backward(share, shares, dy, y, dx):
    first, last = share * y.size // shares, (share + 1) * y.size // shares
    d, of_y, out, one = dy[first:last], y[first:last], dx[first:last], y.dtype.type(1)
    for i in range(out.size):
        out[i] = d[i] * (one - of_y[i] * of_y[i])


@shared
def _add(share, shares, x, y, total):
    first, last = share * x.size // shares, (share + 1) * x.size // shares
    a, b, out = x[first:last], y[first:last], total[first:last]
    for i in range(out.size):
        out[i] = a[i] + b[i]


# So few numbers NumPy is done with before a launch has begun. Sums and products are the same bits there.
_FEW = 1 << 16


def tanh_forward(x):
    y = empty(x.shape, x.dtype)
    _tanh(flat(x), flat(y), work=20 * x.size)
    return y


def tanh_backward(dy, y):
    if y.size <= _FEW:
        return dy * (y.dtype.type(1) - y * y)
    dx = empty(y.shape, y.dtype)
    _tanh_backward(flat(dy), flat(y), flat(dx), work=4 * y.size)
    return dx


def add(x, y):
    total = empty(x.shape, x.dtype)
    if x.size <= _FEW:
        return np.add(x, y, out=total)
    _add(flat(x), flat(y), flat(total), work=2 * x.size)
    return total
