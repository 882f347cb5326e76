"""Softmax over the last axis."""

from .engine.activation import exp
from .engine.buffers import empty
from .engine.compiling import reduction
from .engine.jit import leaf, shared
from .engine.padding import all_lengths
from .engine.values import Place


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
def exponentials(x, shift):
    """x = exp(x - shift) in place; returns the sum."""
    for i in range(x.size):
        x[i] = exp(x[i] - shift)
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


# The rows are worked on in place: loops that read one row and write another that may be the same would not vectorise.


@leaf
def softmax_row(row: Place, count: int):
    """A row of so many numbers becomes its softmax. It may be empty."""
    if count == 0:
        return
    x = row.numbers[row.at : row.at + count]
    total = exponentials(x, highest(x))
    for i in range(x.size):
        x[i] = x[i] / total


@leaf
def softmax_backward_row(gradient: Place, softmax: Place, count: int):
    """d, the gradient of a row y that is a softmax, becomes that of its argument: y (d - dot(d, y))."""
    d, y = gradient.numbers[gradient.at : gradient.at + count], softmax.numbers[softmax.at : softmax.at + count]
    inner = dot(d, y)
    for i in range(y.size):
        d[i] = y[i] * (d[i] - inner)


@shared
def _forward(share, shares, x, lengths, y):
    N = lengths.size
    for n in range(share * N // shares, (share + 1) * N // shares):
        y[n, : lengths[n]] = x[n, : lengths[n]]
        softmax_row(Place(y[n], 0), lengths[n])
        y[n, lengths[n] :] = 0


@shared
def _backward(share, shares, dy, y, lengths, dx):
    N = lengths.size
    for n in range(share * N // shares, (share + 1) * N // shares):
        real = lengths[n]
        dx[n, :real] = dy[n, :real]
        softmax_backward_row(Place(dx[n], 0), Place(y[n], 0), real)
        dx[n, real:] = 0


def softmax_forward(x, lengths):
    y = empty(x.shape, x.dtype)
    _forward(x, all_lengths(lengths, *x.shape), y, work=20 * x.size)
    return y


def softmax_backward(dy, y, lengths):
    dx = empty(y.shape, y.dtype)
    _backward(dy, y, all_lengths(lengths, *y.shape), dx, work=4 * y.size)
    return dx
