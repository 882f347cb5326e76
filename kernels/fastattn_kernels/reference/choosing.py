"""Which token comes next: log probabilities of scores, the best successors of a beam, and draws.

All log probabilities here are float64, whatever the scores are, for a search adds them up. A row of scores that holds a NaN, or
whose highest score is infinite, gives no probabilities: each of its tokens counts as having the log probability -inf.
"""

import numpy as np

from .padding import without_padding


def _log_probabilities(scores):
    """scores (..., V) -> log(softmax(scores)), by the highest score subtracted."""
    scores = scores.astype(np.float64)
    highest = scores.max(axis=-1, keepdims=True)
    usable = np.isfinite(highest)  # a row's highest is NaN where it holds one
    shifted = np.where(usable, scores, 0) - np.where(usable, highest, 0)
    return np.where(usable, shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), -np.inf)


def best_successors(scores, totals, firsts, count, forbidden):
    """One step of a beam search: the best ways to go on from the hypotheses of each sample.

    scores (R, V), those of the next token of each of R hypotheses; totals (R,) float64, their log probabilities so far.
    Those of sample n are the rows firsts[n] to firsts[n + 1] - 1; firsts (N + 1,) int64. A hypothesis of the total s that is
    followed by the token v has the total s + log(softmax(scores)_v).

    forbidden: ids in ascending order that nothing is followed by; they have their part in the softmax.

    Of each sample, the ``count`` successors with the highest totals, best first; of equal ones first the lowest row, then the
    lowest id. Returns, each (N, count), the rows that they follow, their tokens, the tokens' log probabilities and the new
    totals. Where a sample has fewer successors, the rest are rows of -1, ids of 0, and -inf.
    """
    N, allowed = len(firsts) - 1, np.setdiff1d(np.arange(scores.shape[1]), forbidden)
    log_p = _log_probabilities(scores)
    rows, tokens = np.full((N, count), -1), np.zeros((N, count), np.int64)
    of_tokens, sums = np.full((N, count), -np.inf), np.full((N, count), -np.inf)
    for n in range(N):
        first, end = firsts[n], firsts[n + 1]
        values = (totals[first:end, None] + log_p[first:end, allowed]).ravel()
        best = np.argsort(-values, kind="stable")[:count]
        row, token = first + best // len(allowed), allowed[best % len(allowed)]
        found = slice(len(best))
        rows[n, found], tokens[n, found], of_tokens[n, found], sums[n, found] = row, token, log_p[row, token], values[best]
    return rows, tokens, of_tokens, sums


def draw_tokens(scores, temperature, top_k, top_p, uniforms, forbidden):
    """A token for each row of scores (R, V), drawn by a number of uniforms (R,), each from 0 to less than 1.

    p = softmax(scores / temperature) of the tokens that are not ``forbidden``, ids in ascending order. Of these, only the top_k
    most probable tokens can be drawn (0: all), of equal ones the lowest ids; and of those only the fewest, most probable first,
    that have at least the part top_p of their sum ("nucleus sampling", Holtzman et al. 2020, section 3.1; 1: all). The token is
    the first whose sum of all up to it, by id, is above the uniform number times the whole.

    Returns tokens (R,) int64, and their log softmax(scores) (R,): temperature and choice have no part in it. Where there are no
    probabilities the token is the lowest.
    """
    log_p, allowed = _log_probabilities(scores), np.setdiff1d(np.arange(scores.shape[1]), forbidden)
    tokens = np.full(len(scores), allowed[0])
    for r, (row, uniform) in enumerate(zip(log_p, uniforms)):
        if np.isinf(row[allowed]).all():
            continue
        p = np.zeros(len(row))
        p[allowed] = np.exp((row[allowed] - row[allowed].max()) / temperature)
        order = np.argsort(-p, kind="stable")[: top_k or None]
        sums = np.cumsum(p[order])
        if top_p < 1:
            order = order[: 1 + np.searchsorted(sums, top_p * sums[-1])]
        kept = np.zeros(len(p))
        kept[order] = p[order]
        sums = np.cumsum(kept)
        tokens[r] = min(np.searchsorted(sums, uniform * sums[-1], side="right"), np.flatnonzero(kept)[-1])
    return tokens, log_p[np.arange(len(scores)), tokens]


def mean_log_probability(scores):
    """scores (M, R, V), of M models -> (R, V): the logarithm of the mean of their probabilities, in the dtype of the scores."""
    log_p = _log_probabilities(scores)
    highest = log_p.max(axis=0)
    highest[np.isinf(highest)] = 0
    with np.errstate(divide="ignore"):
        return (highest + np.log(np.exp(log_p - highest).mean(axis=0))).astype(scores.dtype)


def target_log_probability(scores, t, lengths):
    """scores (N, T, V), t (N, T) -> (N, T) float64: log(softmax(scores)) of the target, zero at padding."""
    log_p = _log_probabilities(without_padding(scores, lengths))
    return without_padding(np.take_along_axis(log_p, t[:, :, None], axis=2)[:, :, 0], lengths)
