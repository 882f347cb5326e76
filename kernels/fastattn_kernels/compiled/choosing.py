"""Which token comes next; what it is stands in ``reference/choosing.py``."""

import math

import numpy as np

from .cross_entropy import sum_of, sum_of_exponentials
from .engine.buffers import empty
from .engine.compiling import kernel
from .engine.jit import shared
from .engine.padding import all_lengths
from .softmax import highest

_BLOCK = 64  # scores that are passed over together where the highest of them is too low


@kernel
def _log_sum(row):
    """The logarithm of the sum of a row's exponentials; infinite where there are no probabilities."""
    shift = highest(row)
    if np.isnan(sum_of(row)) or not np.isfinite(shift):
        return np.inf
    return np.float64(shift) + math.log(np.float64(sum_of_exponentials(row, shift)))


@kernel
def _log_probability(score, log_sum):
    return -np.inf if log_sum == np.inf else np.float64(score) - log_sum


@kernel
def _insert(found, row, token, log_p, total, rows, tokens, of_tokens, sums):
    """Enter a successor into a sample's list of the best, after all that are as good. Returns how many stand there then."""
    at = min(found, sums.size - 1)
    while at > 0 and sums[at - 1] < total:
        rows[at], tokens[at], of_tokens[at], sums[at] = rows[at - 1], tokens[at - 1], of_tokens[at - 1], sums[at - 1]
        at -= 1
    rows[at], tokens[at], of_tokens[at], sums[at] = row, token, log_p, total
    return min(found + 1, sums.size)


@kernel
def _is_among(token, ids):
    found = False
    for i in range(ids.size):
        found = found or ids[i] == token
    return found


@kernel
def offer_successors(scores, total, number, forbidden, found, rows, tokens, of_tokens, sums):
    """Enter what follows one hypothesis, with these scores and this total, into a sample's list. Returns how many stand there.

    number: what the hypothesis is called there. Whether a token is forbidden is asked of those alone that would be entered.
    """
    count, log_sum = sums.size, _log_sum(scores)
    for first in range(0, scores.size, _BLOCK):
        block = scores[first : min(first + _BLOCK, scores.size)]
        if found == count and total + _log_probability(highest(block), log_sum) <= sums[count - 1]:
            continue
        for v in range(block.size):
            log_p = _log_probability(block[v], log_sum)
            if (found < count or total + log_p > sums[count - 1]) and not _is_among(first + v, forbidden):
                found = _insert(found, number, first + v, log_p, total + log_p, rows, tokens, of_tokens, sums)
    return found


@shared
def _best_successors(share, shares, scores, totals, firsts, forbidden, rows, tokens, of_tokens, sums):
    N = sums.shape[0]
    for n in range(share * N // shares, (share + 1) * N // shares):
        found = 0
        for r in range(firsts[n], firsts[n + 1]):
            found = offer_successors(scores[r], totals[r], r, forbidden, found, rows[n], tokens[n], of_tokens[n], sums[n])


def best_successors(scores, totals, firsts, count, forbidden):
    N = len(firsts) - 1
    rows, tokens = np.full((N, count), -1), np.zeros((N, count), np.int64)
    of_tokens, sums = np.full((N, count), -np.inf), np.full((N, count), -np.inf)
    _best_successors(scores, totals, firsts, forbidden, rows, tokens, of_tokens, sums, work=10 * scores.size)
    return rows, tokens, of_tokens, sums


@kernel
def _comes_before(p, a, b):
    """Whether token a is more probable than b, or as probable with the lower id."""
    return p[a] > p[b] or (p[a] == p[b] and a < b)


@kernel
def _sift(heap, size, at, p):
    """Put one of a heap, whose first is the most probable, where it belongs, if those below it stand right."""
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _comes_before(p, heap[child + 1], heap[child]):
            child += 1
        if not _comes_before(p, heap[child], heap[at]):
            break
        heap[at], heap[child] = heap[child], heap[at]
        at = child


@kernel
def _keep_probable(p, total, top_k, top_p, heap, order, sums):
    """Set to zero what cannot be drawn. total: the sum of p."""
    V = p.size
    for v in range(V):
        heap[v] = v
    for at in range(V // 2 - 1, -1, -1):
        _sift(heap, V, at, p)
    limit = min(top_k, V) if top_k > 0 else V
    count, reached = 0, 0.0
    while count < limit and (top_k > 0 or count == 0 or reached < top_p * total):
        order[count] = heap[0]
        reached += p[heap[0]]
        sums[count] = reached
        heap[0] = heap[V - 1 - count]
        count += 1
        _sift(heap, V - count, 0, p)
    if top_k > 0 and top_p < 1:
        last = count
        count = 1
        while count < last and sums[count - 1] < top_p * reached:
            count += 1
    for i in range(count):
        sums[i] = p[order[i]]
    p[:] = 0
    for i in range(count):
        p[order[i]] = sums[i]


@kernel
def _drawn(p, uniform):
    """The first token whose sum of all up to it is above the part ``uniform`` of the whole."""
    total = 0.0
    for v in range(p.size):
        total += p[v]
    reached, last = 0.0, 0
    for v in range(p.size):
        if p[v] > 0:
            reached += p[v]
            last = v
            if reached > uniform * total:
                break
    return last


@kernel
def _highest_allowed(scores, forbidden):
    shift = -np.inf
    for v in range(scores.size):
        if scores[v] > shift and not _is_among(v, forbidden):
            shift = np.float64(scores[v])
    return shift


@shared
def _draw_tokens(share, shares, scores, temperature, top_k, top_p, uniforms, forbidden, tokens, of_tokens):
    R, V = scores.shape
    p, sums = np.empty(V, np.float64), np.empty(V, np.float64)
    heap, order = np.empty(V, np.int64), np.empty(V, np.int64)
    for r in range(share * R // shares, (share + 1) * R // shares):
        row = scores[r]
        log_sum = _log_sum(row)
        shift, total = _highest_allowed(row, forbidden), 0.0
        if log_sum == np.inf or shift == -np.inf:
            tokens[r], of_tokens[r] = 0, -np.inf
            while _is_among(tokens[r], forbidden):
                tokens[r] += 1
            continue
        for v in range(V):
            p[v] = 0.0 if _is_among(v, forbidden) else math.exp((np.float64(row[v]) - shift) / temperature)
            total += p[v]
        if top_k > 0 or top_p < 1:
            _keep_probable(p, total, top_k, top_p, heap, order, sums)
        tokens[r] = _drawn(p, uniforms[r])
        of_tokens[r] = _log_probability(row[tokens[r]], log_sum)


def draw_tokens(scores, temperature, top_k, top_p, uniforms, forbidden):
    tokens, of_tokens = np.empty(len(scores), np.int64), np.empty(len(scores))
    chosen = float(temperature), top_k, float(top_p), uniforms, forbidden
    _draw_tokens(scores, *chosen, tokens, of_tokens, work=100 * scores.size)
    return tokens, of_tokens


@shared
def _mean_log_probability(share, shares, scores, out):
    M, R, V = scores.shape
    log_sums, log_p = np.empty(M, np.float64), np.empty(M, np.float64)
    for r in range(share * R // shares, (share + 1) * R // shares):
        for m in range(M):
            log_sums[m] = _log_sum(scores[m, r])
        for v in range(V):
            shift = -np.inf
            for m in range(M):
                log_p[m] = _log_probability(scores[m, r, v], log_sums[m])
                shift = max(shift, log_p[m])
            total = 0.0
            if shift > -np.inf:
                for m in range(M):
                    total += math.exp(log_p[m] - shift)
                out[r, v] = shift + math.log(total / M)
            else:
                out[r, v] = -np.inf


def mean_log_probability(scores):
    out = empty(scores.shape[1:], scores.dtype)
    _mean_log_probability(scores, out, work=50 * scores.size)
    return out


@shared
def _target_log_probability(share, shares, scores, t, lengths, out):
    N, T = t.shape
    for i in range(share * N * T // shares, (share + 1) * N * T // shares):
        n, step = i // T, i % T
        out[n, step] = 0
        if step < lengths[n]:
            row = scores[n, step]
            out[n, step] = _log_probability(row[t[n, step]], _log_sum(row))


def target_log_probability(scores, t, lengths):
    out = np.empty(t.shape)
    _target_log_probability(scores, t, all_lengths(lengths, *t.shape), out, work=10 * scores.size)
    return out
