"""Softmax over the last axis."""

from .engine.activation import exp
from .engine.buffers import empty
from .engine.jit import kernel, reduction, shared
from .engine.padding import all_lengths


@reduction
def highest(x):
    """The highest number of a row that is not empty."""
    result = x[0]
    for i in range(x.size):
        result = max(result, x[i])
    return result


@reduction
def dot(x, y):
    """The dot product of two rows."""
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@reduction
def exponentials(x, shift, y):
    """y = exp(x - shift); returns the sum."""
    for i in range(x.size):
        y[i] = exp(x[i] - shift)
    total = y.dtype.type(0)
    for i in range(x.size):
        total += y[i]
    return total


@kernel
def softmax_row(x, y):
    """The softmax of the row x into the row y. x and y may be the same, and may be empty."""
    if x.size == 0:
        return
    total = exponentials(x, highest(x), y)
    for i in range(y.size):
        y[i] = y[i] / total


@kernel
def softmax_backward_row(dy, y, dx):
    """dx = y (dy - dot(dy, y)). dy and dx may be the same."""
    inner = dot(dy, y)
    for i in range(y.size):
        dx[i] = y[i] * (dy[i] - inner)


@shared
def _forward(share, shares, x, lengths, y):
    N = lengths.size
    for n in range(share * N // shares, (share + 1) * N // shares):
        softmax_row(x[n, : lengths[n]], y[n, : lengths[n]])
        y[n, lengths[n] :] = 0


@shared
def _backward(share, shares, dy, y, lengths, dx):
    N = lengths.size
    for n in range(share * N // shares, (share + 1) * N // shares):
        real = lengths[n]
        softmax_backward_row(dy[n, :real], y[n, :real], dx[n, :real])
        dx[n, real:] = 0


def softmax_forward(x, lengths):
    y = empty(x.shape, x.dtype)
    _forward(x, all_lengths(lengths, *x.shape), y, work=20 * x.size)
    return y


def softmax_backward(dy, y, lengths):
    dx = empty(y.shape, y.dtype)
    _backward(dy, y, all_lengths(lengths, *y.shape), dx, work=4 * y.size)
    return dx
