"""The loss, in two steps or fused; the mathematics stands in ``reference/cross_entropy.py``."""

import math

import numpy as np

from .engine.activation import exp
from .engine.buffers import empty
from .engine.compiling import kernel, reduction
from .engine.jit import shared
from .engine.padding import real_rows, zeros_at_padding
from .engine.vector import copy
from .norm import scale
from .softmax import exponentials, highest

PROBABILITY_FLOOR = 1e-30


@reduction
def sum_of_exponentials(x, shift):
    """The sum of exp(x - shift)."""
    total = x.dtype.type(0)
    for i in range(x.size):
        total += exp(x[i] - shift)
    return total


@reduction
def sum_of(x):
    """The sum of a row."""
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@kernel
def _loss(log_sum, of_target, scores, smoothing):
    """The cross entropy of a softmax with a target, of which the part ``smoothing`` is spread over all tokens.

    scores: the row, which only a smoothed target looks at.
    """
    if smoothing == 0:
        return np.float64(log_sum) - np.float64(of_target)
    mean = np.float64(sum_of(scores)) / scores.size
    return np.float64(log_sum) - (1 - np.float64(smoothing)) * np.float64(of_target) - np.float64(smoothing) * mean


@shared
def _log_sums(share, shares, scores, t, rows, smoothing, log_sums, losses):
    """Of each row that has a target: the logarithm of its sum of exponentials, and the loss of the target."""
    for i in range(share * rows.size // shares, (share + 1) * rows.size // shares):
        row = scores[rows[i]]
        shift = highest(row)
        log_sums[i] = shift + row.dtype.type(math.log(sum_of_exponentials(row, shift)))
        losses[i] = _loss(log_sums[i], row[t[rows[i]]], row, smoothing)


@kernel
def _subtract_target(gradient, target, factor, smoothing):
    """gradient -= factor (1 at the target), of which the part ``smoothing`` is spread over all tokens."""
    if smoothing == 0:
        gradient[target] -= factor
        return
    spread = factor * smoothing / gradient.dtype.type(gradient.size)
    for v in range(gradient.size):
        gradient[v] -= spread
    gradient[target] -= factor * (gradient.dtype.type(1) - smoothing)


@shared
def _softmax_minus_target(share, shares, scores, t, rows, smoothing, log_sums, factors, dscores):
    """dscores = factor (softmax(scores) - (v is the target)) for these rows, the target smoothed."""
    V = scores.shape[1]
    for i in range(share * rows.size // shares, (share + 1) * rows.size // shares):
        out = dscores[rows[i]]
        copy(scores[rows[i]], 0, out, 0, V)
        log_sum, factor = log_sums[i], factors[i]
        for v in range(V):
            out[v] = exp(out[v] - log_sum) * factor
        _subtract_target(out, t[rows[i]], factor, smoothing)


@kernel
def loss_and_gradient(scores, target, factor, smoothing):
    """The loss of one row of scores, in whose place factor (softmax(scores) - (v is the target)) comes to stand."""
    of_target, shift = scores[target], highest(scores)
    without_log_sum = _loss(scores.dtype.type(0), of_target, scores, smoothing) if smoothing != 0 else 0.0
    total = exponentials(scores, shift)
    scale = factor / total
    for v in range(scores.size):
        scores[v] *= scale
    _subtract_target(scores, target, factor, smoothing)
    log_sum = np.float64(shift + scores.dtype.type(math.log(total)))
    return log_sum + without_log_sum if smoothing != 0 else log_sum - np.float64(of_target)


@shared
def _losses_and_gradients(share, shares, scores, t, rows, smoothing, factors, losses):
    """:func:`loss_and_gradient` of each row that has a target, while it is in a cache."""
    for i in range(share * rows.size // shares, (share + 1) * rows.size // shares):
        losses[i] = loss_and_gradient(scores[rows[i]], t[rows[i]], factors[i], smoothing)


def _flat(scores, t):
    N, T, V = scores.shape
    return scores.reshape(N * T, V), t.reshape(N * T)


def _zero_elsewhere(dscores, rows):
    """Zeros in all rows but these."""
    if rows.size < len(dscores):
        without_target = np.ones(len(dscores), bool)
        without_target[rows] = False
        dscores[without_target] = 0


def _mean_factors(dloss, rows, dtype):
    return np.full(rows.size, dloss / max(rows.size, 1), dtype)


def softmax_cross_entropy_forward(scores, t, lengths, overwrite, smoothing):
    flat_scores, flat_t = _flat(scores, t)
    rows = real_rows(lengths, *t.shape)
    rows = rows[flat_t[rows] >= 0]
    losses, smoothing = empty(rows.size, np.float64), scores.dtype.type(smoothing)
    if overwrite:  # dscores for a dloss of 1
        _zero_elsewhere(flat_scores, rows)
        factors = _mean_factors(1, rows, scores.dtype)
        _losses_and_gradients(flat_scores, flat_t, rows, smoothing, factors, losses, work=20 * scores.size)
        log_sums = None
    else:
        log_sums = empty(rows.size, scores.dtype)
        _log_sums(flat_scores, flat_t, rows, smoothing, log_sums, losses, work=20 * scores.size)
    return float(losses.sum() / max(rows.size, 1)), (scores, t, rows, log_sums, smoothing)


def _scores_gradient(cache, factors):
    scores, t, rows, log_sums, smoothing = cache
    flat_scores, flat_t = _flat(scores, t)
    dscores = empty(scores.shape, scores.dtype)
    flat_dscores = dscores.reshape(flat_scores.shape)
    _zero_elsewhere(flat_dscores, rows)
    _softmax_minus_target(flat_scores, flat_t, rows, smoothing, log_sums, factors, flat_dscores, work=20 * scores.size)
    return dscores


def softmax_cross_entropy_backward(dloss, cache):
    scores, _, rows, log_sums, _ = cache
    if log_sums is None:
        if dloss != 1:
            scale([scores], dloss)
        return scores
    return _scores_gradient(cache, _mean_factors(dloss, rows, scores.dtype))


def target_probability_forward(scores, t, lengths):
    N, T, _ = scores.shape
    _, cache = softmax_cross_entropy_forward(scores, t, lengths, False, 0)
    flat_scores, flat_t = _flat(scores, t)
    _, _, rows, log_sums, _ = cache
    y = zeros_at_padding(empty((N, T), scores.dtype), lengths)
    p = np.exp(flat_scores[rows, flat_t[rows]] - log_sums)
    y.reshape(N * T)[rows] = np.maximum(p, scores.dtype.type(PROBABILITY_FLOOR))
    return y, (cache, y)


def target_probability_backward(dy, cache):
    cache, y = cache
    rows = cache[2]
    return _scores_gradient(cache, -(dy * y).reshape(y.size)[rows])


def cross_entropy_forward(y, lengths):
    real = y.reshape(y.size)[real_rows(lengths, *y.shape)]
    return float(-np.log(np.maximum(real, y.dtype.type(PROBABILITY_FLOOR))).sum(dtype=np.float64) / real.size)


def cross_entropy_backward(dloss, y, lengths):
    rows = real_rows(lengths, *y.shape)
    dy = zeros_at_padding(empty(y.shape, y.dtype), lengths)
    floored = np.maximum(y.reshape(y.size)[rows], y.dtype.type(PROBABILITY_FLOOR))
    dy.reshape(y.size)[rows] = y.dtype.type(-dloss / rows.size) / floored
    return dy
