"""Beam search: of the ways to go on from the most probable hypotheses, the most probable ones, step by step.

After Sutskever, Vinyals and Le 2014, section 3.2; answers are ordered by the length-normalised score of Wu et al. 2016, section
7, equation 14.
"""

from typing import Any

import numpy as np

from .activation import add, tanh_forward
from .affine import affine_forward
from .attention import attention_forward
from .choosing import best_successors
from .embedding import embedding_forward
from .lstm import lstm_forward


def _one_step(token, state, W, lstms, attention, output, feeds, residual, length):
    """token (R,) and the state (h, c, fed) of R hypotheses of one sample -> scores (R, V), weights (R, T1), the new state."""
    h, c, fed = state  # (L, R, H), (L, R, H), (R, K)
    Wc, Wp, W_out, b_out = output
    ys = embedding_forward(W, token[:, None], None)  # (R, 1, D)
    if feeds:
        ys = np.concatenate((ys, fed[:, None]), axis=2)  # (R, 1, D + K)
    h_next, c_next = np.empty_like(h), np.empty_like(c)
    for i in range(len(h)):
        hs, h_i, c_i, _ = lstm_forward(ys, lstms[3 * i : 3 * i + 3], h[i : i + 1], c[i : i + 1], None, None)
        ys, h_next[i], c_next[i] = add(hs, ys) if residual and i > 0 else hs, h_i[0], c_i[0]
    out, a = ys, None  # (R, 1, H)
    if attention is not None:
        keys, values, Wq, v, scale = attention  # (1, T1, ...): the sample's; its hypotheses are as steps of one target
        states = ys.transpose(1, 0, 2)
        queries = states if Wq is None else affine_forward(states, Wq, None, None)
        out, a = attention_forward(keys, values, queries, states, v, scale, length, None)
        out, a = out.transpose(1, 0, 2), a[0]
    if Wc is not None:
        out = tanh_forward(affine_forward(out, Wc, None, None))
    fed = out[:, 0] if feeds else None
    if Wp is not None:
        out = affine_forward(out, Wp, None, None)
    return affine_forward(out, W_out, b_out, None)[:, 0], a, (h_next, c_next, fed)


def _search_one(first, beam, n_best, alpha, sample_size, end_id, forbidden, step):
    """One sample. step: (tokens, state) -> scores, weights, state. Returns the best answers: score, tokens, log p, weights."""
    tokens, state = first
    totals = np.zeros(1)
    pasts: list[Any] = [((), (), ())]  # of each hypothesis: its tokens, their log probabilities, their weights
    answers: list[Any] = []
    for length in range(1, sample_size + 1):
        scores, a, state = step(tokens, state)
        found = best_successors(scores, totals, np.array([0, len(tokens)]), beam, forbidden)
        rows, tokens, log_p, totals = (given[0] for given in found)
        opened, following = [], []
        for i in np.flatnonzero(rows >= 0):
            past = tuple(
                (*each, new) for each, new in zip(pasts[rows[i]], (tokens[i], log_p[i], None if a is None else a[rows[i]]))
            )
            if tokens[i] == end_id or length == sample_size:
                answers.append((totals[i] / ((5 + length) / 6) ** alpha, *past))
            else:
                opened.append(i)
                following.append(past)
        answers = sorted(answers, key=lambda answer: -answer[0])[:n_best]  # of equal ones, what ended first stays first
        if not opened:
            break
        # A log probability only falls, and the penalty only rises: no open hypothesis can come above this.
        bound = totals[opened[0]] / ((5 + sample_size) / 6) ** alpha
        if len(answers) == n_best and bound <= answers[-1][0]:
            break
        tokens, totals, pasts = tokens[opened], totals[opened], following
        h, c, fed = state
        followed = rows[opened]
        state = h[:, followed], c[:, followed], None if fed is None else fed[followed]
    return answers


def beam_search(
    W, lstms, attention, output, h0, c0, feeds, residual, lengths_enc, limits, beam, n_best, alpha, attends, forbidden
):
    """The n_best best answers of each of N samples, by a decoder of L layers from its first states h0, c0 (L, N, H).

    W (V, D) embeds the tokens. lstms: [Wx, Wh, b] of each layer, one after another; with ``feeds``, the first reads h~ of the
    step before after the token, as in ``input_feeding_forward``. residual: from the second layer on, what a layer reads is
    added to what it gives. attention: (keys (N, T1, A), values (N, T1, E), Wq, v, scale), as there; None for none. output:
    (Wc, Wp, W_out, b_out): h~ = tanh([context | state] Wc), or what stands there itself where Wc is None; times Wp unless that
    is None; times W_out plus b_out it is the scores. limits: (start_id, sample_size, end_id), end_id None for no end.
    forbidden: ids in ascending order that no answer holds.

    Each step takes the ``beam`` most probable successors of a sample's open hypotheses (``best_successors``). Those that end,
    or are sample_size long, are answers; the others are the open hypotheses of the next step. The score of an answer is its
    log probability over ((5 + length) / 6)^alpha, the end counted. A sample is done when it has n_best answers, and no open
    hypothesis can come above the last of them. Of equal answers that one comes first which ended first, or was the better
    candidate.

    Returns ids (N, n_best, sample_size), after an answer's end ``end_id`` (0 for None); lengths (N, n_best), 0 where there
    are fewer answers; scores (N, n_best) float64, -inf there; log probabilities of the tokens (N, n_best, sample_size) float64;
    with ``attends`` the weights (N, n_best, sample_size, T1), else None. These two are zeros after the end.
    """
    start_id, sample_size, end_id = limits
    N, shape = h0.shape[1], (h0.shape[1], n_best, sample_size)
    ids = np.full(shape, 0 if end_id is None else end_id, np.int64)
    lengths, scores = np.zeros((N, n_best), np.int64), np.full((N, n_best), -np.inf)
    log_p = np.zeros(shape)
    weights = np.zeros((*shape, attention[0].shape[1]), h0.dtype) if attends else None
    K = len(lstms[0]) - W.shape[1]
    for n in range(N):
        length = None if lengths_enc is None else lengths_enc[n : n + 1]
        of_sample = None if attention is None else (attention[0][n : n + 1], attention[1][n : n + 1], *attention[2:])

        def step(tokens, state, of_sample=of_sample, length=length):
            return _one_step(tokens, state, W, lstms, of_sample, output, feeds, residual, length)

        state = h0[:, n : n + 1], c0[:, n : n + 1], np.zeros((1, K), h0.dtype) if feeds else None
        found = _search_one((np.array([start_id]), state), beam, n_best, alpha, sample_size, end_id, forbidden, step)
        for i, (score, tokens, of_tokens, a) in enumerate(found):
            scores[n, i], lengths[n, i] = score, len(tokens)
            ids[n, i, : len(tokens)], log_p[n, i, : len(tokens)] = tokens, of_tokens
            if weights is not None:
                weights[n, i, : len(tokens)] = a
    return ids, lengths, scores, log_p, weights
