"""Greedy search in one launch; what it computes stands in ``reference/search.py``.

The weights are packed once; where the tokens are few, the input projection of each is made once. A share then takes its
samples through all steps, and leaves out those that have ended.
"""

import numpy as np

from .engine.buffers import empty, zeros
from .engine.compiling import kernel
from .engine.gates import gates_forward
from .engine.jit import shared
from .engine.padding import all_lengths, block_of_samples, samples_of
from .engine.product import (
    dots,
    even_matrix,
    multiply_rows,
    odd_step,
    panel_numbers,
    row_addresses,
    same_row,
    scaled,
    scratch,
    scratch_of,
)
from .engine.values import EvenRows, Matrix, Packed, Place, Rows
from .engine.vector import clear, copy
from .lstm import Sizes, Weights, pack_rows, project
from .softmax import softmax_row


@shared
def _prepare(
    share, shares, W, Wx, Wh, b, W_out, b_out, x_weights, biases, projected, gate_step, h_weights, output_weights,
    output_biases, panels, tiles,
):  # fmt: skip
    """Pack the weights; pad the biases with zeros to a whole lane group; project the vectors of all tokens, if it is to be."""
    (V, D), H = W.shape, Wh.shape[0]
    weights = Weights(Wx.reshape(Wx.size), Wh.reshape(Wh.size), b)
    if projected.size > 0:
        vectors = even_matrix(W.reshape(W.size), 0, V, D, 1)
        sizes = Sizes(D, H, 0, 0, gate_step)
        project(share, shares, sizes, vectors, weights, projected, scratch_of(share, panels, tiles))
    else:
        pack_rows(share, shares, weights.Wx, Packed(x_weights, 0, D, 4 * H))
    pack_rows(share, shares, weights.Wh, Packed(h_weights, 0, H, 4 * H))
    pack_rows(share, shares, W_out.reshape(W_out.size), Packed(output_weights, 0, 2 * H, V))
    if share == 0:
        for bias, padded in ((b, biases), (b_out, output_biases)):
            copy(bias, 0, padded, 0, bias.size)
            clear(padded, bias.size, padded.size - bias.size)


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
    share, shares, block, hs_enc, lengths, h0, W, x_weights, biases, projected, h_weights, output_weights, output_biases,
    start_id, end_id, gates, gate_step, cs, outputs, output_step, scores, score_step, ids, attention, tiles,
):  # fmt: skip
    N, T1, H = hs_enc.shape
    (V, D), sample_size = W.shape, ids.shape[1]
    samples = samples_of(share, shares, N, block)  # those that are still running
    mine = samples.size
    tokens = np.empty(mine, np.int64)
    for i in range(mine):
        tokens[i] = start_id
    enc, weights, vectors = hs_enc.reshape(hs_enc.size), attention.reshape(attention.size), W.reshape(W.size)
    output_rows = scaled(samples, output_step)  # context and state
    gate_rows, score_rows = row_addresses(gates, samples, gate_step), row_addresses(scores, samples, score_step)
    to_gates, to_scores = Rows(gate_rows, 0, 0), Rows(score_rows, 0, 0)
    of_biases, of_output_biases = same_row(biases, mine), same_row(output_biases, mine)
    of_x, of_h, of_outputs = Packed(x_weights, 0, D, 4 * H), Packed(h_weights, 0, H, 4 * H), Packed(output_weights, 0, 2 * H, V)
    for n in samples:
        outputs[n * output_step + H : n * output_step + 2 * H] = h0[n]
    running = mine
    for step in range(sample_size):
        addends = to_gates
        if projected.size > 0:
            addends = Rows(row_addresses(projected, tokens[:running], gate_step), 0, 0)
        else:
            x = Matrix(vectors, 0, scaled(tokens[:running], D), 0, 1)
            multiply_rows(running, x, of_x, to_gates, of_biases, -1)
        multiply_rows(running, Matrix(outputs, H, output_rows, 0, 1), of_h, to_gates, addends, -1)
        for i in range(running):
            n = samples[i]
            out = outputs[n * output_step : n * output_step + 2 * H]
            state = Place(cs, n * H)
            gates_forward(H, Place(gates, n * gate_step), state, state, Place(outputs, n * output_step + H))
            at = (n * sample_size + step) * T1
            of_sample = EvenRows(enc, n * T1 * H, H)
            dots(1, lengths[n], H, EvenRows(out, H, H), of_sample, EvenRows(weights, at, T1), tiles[share])
            softmax_row(Place(weights, at), lengths[n])
            _context(hs_enc[n], lengths[n], weights[at : at + lengths[n]], out[:H])
        multiply_rows(running, Matrix(outputs, 0, output_rows, 0, 1), of_outputs, to_scores, of_output_biases, -1)
        left = 0
        for i in range(running):
            n = samples[i]
            token = _first_highest(scores[n * score_step : n * score_step + V])
            ids[n, step] = token
            if token != end_id:
                samples[left], tokens[left], output_rows[left] = n, token, output_rows[i]
                gate_rows[left], score_rows[left] = gate_rows[i], score_rows[i]
                left += 1
        running = left
        if running == 0:
            break


def greedy_search(hs_enc, h0, W, Wx, Wh, b, W_out, b_out, lengths_enc, start_id, sample_size, end_id):
    N, T1, H = hs_enc.shape
    V, D = W.shape
    dtype = hs_enc.dtype
    gate_step, output_step, score_step = odd_step(4 * H, dtype), odd_step(2 * H, dtype), odd_step(V, dtype)
    is_projected = N * sample_size >= 2 * V
    projected = empty(V * gate_step if is_projected else 0, dtype)
    x_weights = empty(0 if is_projected else panel_numbers(D, 4 * H, dtype), dtype)
    h_weights, output_weights = empty(panel_numbers(H, 4 * H, dtype), dtype), empty(panel_numbers(2 * H, V, dtype), dtype)
    biases, output_biases = empty(gate_step, dtype), empty(score_step, dtype)
    panels, tiles = scratch(dtype)
    _prepare(
        W, Wx, Wh, b, W_out, b_out, x_weights, biases, projected, gate_step, h_weights, output_weights, output_biases,
        panels, tiles, shares=len(tiles), work=4 * (h_weights.size + output_weights.size) + 2 * projected.size * D,
    )  # fmt: skip
    ids = np.full((N, sample_size), 0 if end_id is None else end_id, np.int64)
    attention = zeros((N, sample_size, T1), dtype)
    _search(
        block_of_samples(lengths_enc, N), hs_enc, all_lengths(lengths_enc, N, T1), h0, W, x_weights, biases, projected,
        h_weights, output_weights, output_biases, start_id, -1 if end_id is None else end_id,
        empty(N * gate_step, dtype), gate_step, zeros(N * H, dtype), empty(N * output_step, dtype), output_step,
        empty(N * score_step, dtype), score_step, ids, attention, tiles,
        shares=len(tiles), work=2 * N * sample_size * ((D + H) * 4 * H + 2 * H * V) if N > 1 else 0,
    )  # fmt: skip
    return ids, attention
