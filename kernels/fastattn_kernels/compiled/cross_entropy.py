"""The loss, in two steps or fused; the mathematics stands in ``reference/cross_entropy.py``."""

import math

import numpy as np

from .engine.activation import exp
from .engine.buffers import empty
from .engine.jit import reduction, shared
from .engine.padding import real_rows, zeros_at_padding
from .engine.vector import copy
from .softmax import highest

PROBABILITY_FLOOR = 1e-30


@reduction
def _sum_of_exponentials(x, shift):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += exp(x[i] - shift)
    return total


@shared
def _log_sums(share, shares, scores, t, rows, log_sums, losses):
    """Of each real row: the logarithm of its sum of exponentials, and the loss of its target."""
    for i in range(share * rows.size // shares, (share + 1) * rows.size // shares):
        row = scores[rows[i]]
        shift = highest(row)
        log_sums[i] = shift + row.dtype.type(math.log(_sum_of_exponentials(row, shift)))
        losses[i] = np.float64(log_sums[i]) - np.float64(row[t[rows[i]]])


@shared
def _softmax_minus_target(share, shares, scores, t, rows, log_sums, factors, dscores, overwrite):
    """dscores = factor (softmax(scores) - (v is the target)) for the real rows. With ``overwrite`` the two are one array."""
    V = scores.shape[1]
    for i in range(share * rows.size // shares, (share + 1) * rows.size // shares):
        out = dscores[rows[i]]
        if not overwrite:
            copy(scores[rows[i]], 0, out, 0, V)
        log_sum, factor = log_sums[i], factors[i]
        for v in range(V):
            out[v] = exp(out[v] - log_sum) * factor
        out[t[rows[i]]] -= factor


def _flat(scores, t):
    N, T, V = scores.shape
    return scores.reshape(N * T, V), t.reshape(N * T)


def softmax_cross_entropy_forward(scores, t, lengths):
    N, T, _ = scores.shape
    rows = real_rows(lengths, N, T)
    log_sums, losses = empty(rows.size, scores.dtype), empty(rows.size, np.float64)
    _log_sums(*_flat(scores, t), rows, log_sums, losses, work=20 * scores.size)
    return float(losses.sum() / rows.size), (scores, t, lengths, rows, log_sums)


def _scores_gradient(cache, factors, overwrite):
    scores, t, lengths, rows, log_sums = cache
    if overwrite:
        dscores = scores
        if lengths is not None:
            dscores[np.arange(scores.shape[1]) >= lengths[:, None]] = 0
    else:
        dscores = zeros_at_padding(empty(scores.shape, scores.dtype), lengths)
    flat_scores, flat_t = _flat(scores, t)
    _softmax_minus_target(
        flat_scores, flat_t, rows, log_sums, factors, dscores.reshape(flat_scores.shape), overwrite, work=20 * scores.size
    )
    return dscores


def softmax_cross_entropy_backward(dloss, cache, overwrite):
    scores, rows = cache[0], cache[3]
    return _scores_gradient(cache, np.full(rows.size, dloss / rows.size, scores.dtype), overwrite)


def target_probability_forward(scores, t, lengths):
    N, T, _ = scores.shape
    _, cache = softmax_cross_entropy_forward(scores, t, lengths)
    flat_scores, flat_t = _flat(scores, t)
    rows, log_sums = cache[3], cache[4]
    y = zeros_at_padding(empty((N, T), scores.dtype), lengths)
    p = np.exp(flat_scores[rows, flat_t[rows]] - log_sums)
    y.reshape(N * T)[rows] = np.maximum(p, scores.dtype.type(PROBABILITY_FLOOR))
    return y, (cache, y)


def target_probability_backward(dy, cache):
    cache, y = cache
    rows = cache[3]
    return _scores_gradient(cache, -(dy * y).reshape(y.size)[rows], False)


def cross_entropy_forward(y, lengths):
    real = y.reshape(y.size)[real_rows(lengths, *y.shape)]
    return float(-np.log(np.maximum(real, y.dtype.type(PROBABILITY_FLOOR))).sum(dtype=np.float64) / real.size)


def cross_entropy_backward(dloss, y, lengths):
    rows = real_rows(lengths, *y.shape)
    dy = zeros_at_padding(empty(y.shape, y.dtype), lengths)
    floored = np.maximum(y.reshape(y.size)[rows], y.dtype.type(PROBABILITY_FLOOR))
    dy.reshape(y.size)[rows] = y.dtype.type(-dloss / rows.size) / floored
    return dy
