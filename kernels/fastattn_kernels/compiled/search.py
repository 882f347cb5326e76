"""Greedy search in one launch; what it computes stands in ``reference/search.py``.

The weights are packed once. A share then takes its samples through all steps, and leaves out those that have ended.
"""

import numpy as np

from .engine.buffers import empty, zeros
from .engine.gates import gates_forward
from .engine.jit import kernel, shared
from .engine.padding import all_lengths
from .engine.product import ceil_div, dots, fill_row_addresses, odd_step, pack_panel, panel_numbers, panel_width, scratch
from .engine.vector import copy
from .lstm import multiply_rows, pack_forward
from .softmax import softmax_row


@shared
def _pack_output(share, shares, W, b, weights):
    """[W; b] into panels."""
    K, V = W.shape
    width = panel_width(weights)
    flat, rows, b_rows = W.reshape(W.size), np.arange(K) * V, np.zeros(1, np.int64)
    panels = ceil_div(V, width)
    for p in range(share * panels // shares, (share + 1) * panels // shares):
        column, at = p * width, p * (K + 1) * width
        count = min(width, V - column)
        pack_panel(flat, column, rows, 0, K, 1, count, width, weights, at)
        pack_panel(b, column, b_rows, 0, 1, 1, count, width, weights, at + K * width)


@kernel
def _context(hs, real, a, context):
    """context = the sum over the real steps of a_t hs_t."""
    context[:] = 0
    for t in range(real):
        weight, row = a[t], hs[t]
        for j in range(context.size):
            context[j] += weight * row[j]


@kernel
def _first_highest(scores):
    best = 0
    for v in range(scores.size):
        if np.isnan(scores[v]):
            return v  # as NumPy's argmax
        if scores[v] > scores[best]:
            best = v
    return best


@shared
def _search(
    share, shares, hs_enc, lengths, h0, W, lstm_weights, output_weights, V, start_id, end_id, inputs, input_step,
    gates, gate_step, cs, outputs, output_step, scores, score_step, ids, attention, tiles,
):  # fmt: skip
    N, T1, H = hs_enc.shape
    D, sample_size = W.shape[1], ids.shape[1]
    mine = ceil_div(N - share, shares)
    samples = share + np.arange(mine) * shares  # the samples that are still running
    tokens = np.full(mine, start_id)
    enc, weights = hs_enc.reshape(hs_enc.size), attention.reshape(attention.size)
    input_rows, output_rows = samples * input_step, samples * output_step
    gate_rows, score_rows = np.empty(mine, np.int64), np.empty(mine, np.int64)
    fill_row_addresses(gates, share * gate_step, shares * gate_step, gate_rows)
    fill_row_addresses(scores, share * score_step, shares * score_step, score_rows)
    for n in samples:
        inputs[n * input_step + D : n * input_step + D + H] = h0[n]
        inputs[n * input_step + D + H] = 1
        outputs[n * output_step + 2 * H] = 1
    running = mine
    for step in range(sample_size):
        for i in range(running):
            copy(W[tokens[i]], 0, inputs, input_rows[i], D)
        multiply_rows(running, inputs, 0, input_rows, D + H + 1, lstm_weights, 4 * H, gates, 0, gate_rows, -1)
        for i in range(running):
            n = samples[i]
            out = outputs[n * output_step : n * output_step + 2 * H]
            gates_forward(H, gates, n * gate_step, cs, n * H, n * H, outputs, n * output_step + H)
            copy(out, H, inputs, input_rows[i] + D, H)
            at = (n * sample_size + step) * T1
            dots(1, lengths[n], H, out, H, H, enc, n * T1 * H, H, weights, at, T1, tiles[share])
            softmax_row(weights, at, lengths[n])
            _context(hs_enc[n], lengths[n], weights[at : at + lengths[n]], out[:H])
        multiply_rows(running, outputs, 0, output_rows, 2 * H + 1, output_weights, V, scores, 0, score_rows, -1)
        left = 0
        for i in range(running):
            n = samples[i]
            token = _first_highest(scores[n * score_step : n * score_step + V])
            ids[n, step] = token
            if token != end_id:
                samples[left], tokens[left] = n, token
                input_rows[left], output_rows[left] = input_rows[i], output_rows[i]
                gate_rows[left], score_rows[left] = gate_rows[i], score_rows[i]
                left += 1
        running = left
        if running == 0:
            break


def greedy_search(hs_enc, h0, W, Wx, Wh, b, W_out, b_out, lengths_enc, start_id, sample_size, end_id):
    N, T1, H = hs_enc.shape
    V, D = W.shape
    dtype = hs_enc.dtype
    input_step, gate_step, output_step = odd_step(D + H + 1, dtype), odd_step(4 * H, dtype), odd_step(2 * H + 1, dtype)
    score_step = odd_step(V, dtype)
    lstm_weights = empty(panel_numbers(D + H + 1, 4 * H, dtype), dtype)
    output_weights = empty(panel_numbers(2 * H + 1, V, dtype), dtype)
    pack_forward(Wx, Wh, b, lstm_weights, work=4 * lstm_weights.size)
    _pack_output(W_out, b_out, output_weights, work=4 * output_weights.size)
    ids = np.full((N, sample_size), 0 if end_id is None else end_id, np.int64)
    _, tiles = scratch(dtype)
    attention = zeros((N, sample_size, T1), dtype)
    _search(
        hs_enc, all_lengths(lengths_enc, N, T1), h0, W, lstm_weights, output_weights, V, start_id,
        -1 if end_id is None else end_id, empty(N * input_step, dtype), input_step, empty(N * gate_step, dtype), gate_step,
        zeros(N * H, dtype), empty(N * output_step, dtype), output_step, empty(N * score_step, dtype), score_step,
        ids, attention, tiles, shares=len(tiles), work=2 * N * sample_size * ((D + H) * 4 * H + 2 * H * V) if N > 1 else 0,
    )  # fmt: skip
    return ids, attention
