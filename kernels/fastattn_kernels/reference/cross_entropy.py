"""The loss: the mean over the real positions of -log(probability of the target), in two steps or fused.

The two steps are `target_probability` (softmax, then the probability of the target) and `cross_entropy`. A probability
can underflow to zero, and its logarithm is then infinite; so the probability is kept at or above PROBABILITY_FLOOR, which
leaves 1 / probability, and with it the whole backward chain, finite. The fused form works on logarithms and has no floor.
"""

import numpy as np

from .padding import real_positions, without_padding, zeros_elsewhere

# Far below any probability that matters; its reciprocal, times any sensible gradient, is finite in float32.
PROBABILITY_FLOOR = 1e-30


def _log_softmax(scores):
    """scores (..., V) -> log(softmax(scores)), by the highest score subtracted."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _of_target(values, t):
    """values (N, T, V), t (N, T) -> (N, T): values[n, i, t[n, i]]."""
    return np.take_along_axis(values, t[:, :, None], axis=2)[:, :, 0]


def _minus_target(p, t, smoothing=0):
    """p (N, T, V) less 1 - smoothing at the target of each position, and less smoothing / V everywhere."""
    difference = p - p.dtype.type(smoothing / p.shape[2])
    of_target = _of_target(difference, t)[:, :, None] - p.dtype.type(1 - smoothing)
    np.put_along_axis(difference, t[:, :, None], of_target, axis=2)
    return difference


def target_probability_forward(scores, t, lengths):
    """scores (N, T, V), t (N, T) -> y (N, T), the softmax probability of the target, and a cache.

    y is at least PROBABILITY_FLOOR; it is zero at padding.
    """
    scores = without_padding(scores, lengths)
    p = np.exp(_log_softmax(scores))
    y = np.maximum(_of_target(p, t), scores.dtype.type(PROBABILITY_FLOOR))
    return without_padding(y, lengths), (p, y, t, lengths)


def target_probability_backward(dy, cache):
    """dy (N, T) -> dscores (N, T, V) = dy * y * ((v is the target) - p_v)."""
    p, y, t, lengths = cache
    return without_padding(-(dy * y)[:, :, None] * _minus_target(p, t), lengths)


def cross_entropy_forward(y, lengths):
    """y (N, T), the probability of the target -> the mean of -log(y) over the real positions, as a Python float."""
    real = real_positions(lengths, *y.shape)
    return float(-np.log(np.maximum(y[real], y.dtype.type(PROBABILITY_FLOOR))).sum(dtype=np.float64) / real.sum())


def cross_entropy_backward(dloss, y, lengths):
    """dloss, a number -> dy (N, T)."""
    real = real_positions(lengths, *y.shape)
    floored = np.maximum(np.where(real, y, 1), y.dtype.type(PROBABILITY_FLOOR))
    return np.where(real, y.dtype.type(-dloss / real.sum()) / floored, 0).astype(y.dtype, copy=False)


def softmax_cross_entropy_forward(scores, t, lengths, overwrite, smoothing):
    """scores (N, T, V), t (N, T) -> the mean over the targets of -(sum over v of q_v log(softmax(scores)_v)), and a cache.

    q is 1 - smoothing at the target, and smoothing / V on every token besides, the target among them (Szegedy et al. 2016,
    section 7; 0 <= smoothing < 1): without smoothing the loss is that of the target alone.
    A position with a negative id in t has no target, and is left out as padding is. Without any target the loss is 0.
    With ``overwrite``, the memory of the scores is the cache's from here on; there is then one backward at most.
    """
    has_target = real_positions(lengths, *t.shape) & (t >= 0)
    log_p = _log_softmax(zeros_elsewhere(scores, has_target))
    total = -_of_target(log_p, t)[has_target].sum(dtype=np.float64)
    if smoothing:  # not 0 times the others' logarithms, of which one may be infinite
        total = (1 - smoothing) * total - smoothing * log_p[has_target].mean(axis=1, dtype=np.float64).sum()
    return float(total / max(has_target.sum(), 1)), (log_p, t, has_target, smoothing)


def softmax_cross_entropy_backward(dloss, cache):
    """dloss, a number -> dscores (N, T, V) = (softmax(scores) - q) * dloss / number of targets."""
    log_p, t, has_target, smoothing = cache
    factor = log_p.dtype.type(dloss / max(has_target.sum(), 1))
    return zeros_elsewhere(_minus_target(np.exp(log_p), t, smoothing) * factor, has_target)
