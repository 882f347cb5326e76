"""Beam search in one launch; what it computes stands in ``reference/beam.py``.

A share takes its samples through all steps. A sample has ``beam`` slots, of which its open hypotheses take the first, the most
probable one slot 0; a slot is a row of the arrays of `Slots`. What a hypothesis follows is a slot of the step before, so that
states stand there twice: a step reads one half and writes the other.

h~ is the tanh of [context | h] Wc, and the context a weighted sum of the values. A sample has several rows a step, with these
values in common: so they go through their part of Wc once, before the first step (``maps_values``), and the sum of what comes
out is added to h times its part. A beam of 1, which has one row a step, does without.

Hypotheses that follow the same one have its state in common. So the product of [what is fed | h] with its weights is made once
for each that is followed (``parts``), and not for each that follows.
"""

from typing import Any, NamedTuple

import numpy as np

from .affine import affine_forward
from .choosing import offer_successors
from .engine.activation import tanh
from .engine.buffers import empty, flat, flat_or_nothing, pieces
from .engine.compiling import kernel
from .engine.gates import gates_forward
from .engine.jit import leaf, shared
from .engine.padding import all_lengths, block_of_samples, samples_of
from .engine.product import (
    even_matrix,
    multiply_rows,
    odd_step,
    pack_matrix,
    panel_numbers,
    row_addresses,
    same_row,
    scaled,
    scratch,
    scratch_of,
    zeros_for,
)
from .engine.values import Floats, Indices, Matrix, Place, Rows
from .engine.vector import clear, copy
from .input_feeding import Shape, Source, attend_step, packed_part
from .lstm import Sizes, Weights, project

_LOWEST = float(np.finfo(np.float64).min)


class Limits(NamedTuple):
    """Of a search; end_id is negative where nothing ends an answer. Of the model: whether it feeds, and has Wc and Wp.

    maps_values: whether the values have been through their part of Wc.
    """

    beam: int
    n_best: int
    start_id: int
    sample_size: int
    end_id: int
    feeds: int
    has_attentional: int
    has_projection: int
    maps_values: int
    attends: int
    score_step: int
    projection_step: int


class Prepared(NamedTuple):
    """Weights, packed, one after another (see `_products`). biases: a row for each layer, and one for the scores.

    projected: x Wx + b of the first layer for each token, or empty. vectors: the embedding.
    """

    packed: Floats
    places: Indices
    biases: Floats
    output_biases: Floats
    projected: Floats
    vectors: Floats


class Slots(NamedTuple):
    """Rows of the slots; ``inputs`` and ``cs`` have two halves of all layers. inputs: [what is fed | h]."""

    inputs: Floats
    cs: Floats
    parts: Floats
    gates: Floats
    between: Floats
    joined: Floats
    queries: Floats
    outs: Floats
    projections: Floats
    scores: Floats
    weights: Floats  # of attention: with Limits.attends for each sample, step and slot, else for each slot


class History(NamedTuple):
    """Of each sample, step and candidate, flat: the slot that it follows, its token. opened: which candidate of the step before
    stands in a slot."""

    slots: Indices
    tokens: Indices
    opened: Indices


@shared
def _prepare_layer(share, shares, layer, shape: Shape, Wx, Wh, b, prepared: Prepared):
    """For a layer that is not the first."""
    H, L = shape.H, shape.L
    pack_matrix(share, shares, even_matrix(Wh, 0, H, 4 * H, 1), packed_part(prepared, layer, H, 4 * H), 0)
    pack_matrix(share, shares, even_matrix(Wx, 0, H, 4 * H, 1), packed_part(prepared, L + layer, H, 4 * H), 0)
    if share == 0:
        clear(prepared.biases, layer * shape.gate_step, shape.gate_step)
        copy(b, 0, prepared.biases, layer * shape.gate_step, 4 * H)


@shared
def _prepare(
    share, shares, shape: Shape, limits: Limits, fed, V, Wx, Wh, b, Wq, Wc, Wp, W_out, b_out, prepared: Prepared, panels, tiles
):  # fmt: skip
    """For the first layer and what stands after the last; the projection of all tokens, if it is to be."""
    H, D, L, joined = shape.H, shape.D, shape.L, shape.E + shape.H
    first = packed_part(prepared, 0, fed + H, 4 * H)
    if fed > 0:
        pack_matrix(share, shares, even_matrix(Wx, D * 4 * H, fed, 4 * H, 1), first, 0)
    pack_matrix(share, shares, even_matrix(Wh, 0, H, 4 * H, 1), first, fed)
    if Wq.size > 0:
        pack_matrix(share, shares, even_matrix(Wq, 0, H, shape.A, 1), packed_part(prepared, 2 * L, H, shape.A), 0)
    width = joined
    if limits.has_attentional > 0:
        depth = H if limits.maps_values > 0 else joined
        pack_matrix(share, shares, even_matrix(Wc, 0, depth, shape.K, 1), packed_part(prepared, 2 * L + 1, depth, shape.K), 0)
        width = shape.K
    if limits.has_projection > 0:
        pack_matrix(share, shares, even_matrix(Wp, 0, width, D, 1), packed_part(prepared, 2 * L + 2, width, D), 0)
        width = D
    pack_matrix(share, shares, even_matrix(W_out, 0, width, V, 1), packed_part(prepared, 2 * L + 3, width, V), 0)
    if share == 0:
        clear(prepared.biases, 0, shape.gate_step)
        copy(b, 0, prepared.biases, 0, 4 * H)
        clear(prepared.output_biases, 0, limits.score_step)
        copy(b_out, 0, prepared.output_biases, 0, V)
    if prepared.projected.size > 0:
        vectors = even_matrix(prepared.vectors, 0, V, D, 1)
        sizes = Sizes(D, H, 0, 0, shape.gate_step)
        weights, own = Weights(Wx[: D * 4 * H], Wh, b), scratch_of(share, panels, tiles)
        project(share, shares, sizes, vectors, weights, prepared.projected, own)
    else:
        pack_matrix(share, shares, even_matrix(Wx, 0, D, 4 * H, 1), packed_part(prepared, L, D, 4 * H), 0)


@leaf
def _sum_of_rows(H: int, part: Place, projected: Place, gates: Place):
    """The gates of the first layer before their activation."""
    a, b = part.numbers[part.at : part.at + 4 * H], projected.numbers[projected.at : projected.at + 4 * H]
    out = gates.numbers[gates.at : gates.at + 4 * H]
    for j in range(4 * H):
        out[j] = a[j] + b[j]


@leaf
def _end_layer(layer: int, slot: int, before: int, after: int, fed: int, shape: Shape, slots: Slots):
    """After a product with the weights of a layer: the state of a slot, and what the next layer reads.

    before, after: the row of the state that is followed, and of the slot's own.
    """
    H, at = shape.H, after * shape.input_step + (fed if layer == 0 else 0)
    gates_forward(
        H, Place(slots.gates, slot * shape.gate_step), Place(slots.cs, before * H), Place(slots.cs, after * H),
        Place(slots.inputs, at),
    )  # fmt: skip
    read_at = slot * shape.h_step
    to, to_at = slots.between, read_at
    if layer == shape.L - 1:
        to, to_at = slots.joined, slot * shape.joined_step + shape.E
    if shape.residual > 0 and layer > 0:
        h, read, out = slots.inputs[at : at + H], slots.between[read_at : read_at + H], to[to_at : to_at + H]
        for j in range(H):
            out[j] = h[j] + read[j]
    else:
        copy(slots.inputs, at, to, to_at, H)


@leaf
def _tanh_row(K: int, row: Place):
    out = row.numbers[row.at : row.at + K]
    for j in range(K):
        out[j] = tanh(out[j])


@kernel
def _penalty(length, alpha):
    return ((5.0 + length) / 6.0) ** alpha


@kernel
def _followed(rows, parents, is_followed, followed):
    """The slots that are followed, each once; returns how many. is_followed: 0 for all slots, before and after."""
    count = 0
    for r in range(rows):
        if is_followed[parents[r]] == 0:
            is_followed[parents[r]] = 1
            followed[count] = parents[r]
            count += 1
    for i in range(count):
        is_followed[followed[i]] = 0
    return count


@kernel
def _enter_answer(n, n_best, score, total, step, place, scores, totals, steps, places):
    """An answer among the best of its sample, after those that are as good."""
    at = n_best
    while at > 0 and scores[n, at - 1] < score:
        at -= 1
    if at == n_best:
        return
    for i in range(n_best - 1, at, -1):
        scores[n, i], totals[n, i] = scores[n, i - 1], totals[n, i - 1]
        steps[n, i], places[n, i] = steps[n, i - 1], places[n, i - 1]
    scores[n, at], totals[n, at], steps[n, at], places[n, at] = score, total, step, place


@kernel
def _trace(n, limits, T1, history, log_ps, weights, steps, places, ids, log_p, attention):
    """Follow the best answers of a sample from their ends to their beginnings."""
    for i in range(limits.n_best):
        place = places[n, i]
        for t in range(steps[n, i], -1, -1):
            row = (n * limits.sample_size + t) * limits.beam
            ids[n, i, t], log_p[n, i, t] = history.tokens[row + place], log_ps[row + place]
            slot = history.slots[row + place]
            if limits.attends > 0:
                copy(weights, (row + slot) * T1, attention, ((n * limits.n_best + i) * limits.sample_size + t) * T1, T1)
            place = history.opened[row + slot]


@shared
def _search(
    share, shares, block, shape: Shape, limits: Limits, alpha, source: Source, lengths, prepared: Prepared, slots: Slots,
    history: History, log_ps, best_scores, best_totals, best_steps, best_places, ids, log_p, attention, tiles, forbidden,
):  # fmt: skip
    N, T1, L, V, D, H = shape.N, shape.T1, shape.L, shape.V, shape.D, shape.H
    beam, S, R = limits.beam, limits.sample_size, shape.N * limits.beam
    fed = shape.K if limits.feeds > 0 else 0
    joined = shape.E + H
    gate_step, input_step, joined_step = shape.gate_step, shape.input_step, shape.joined_step
    samples = samples_of(share, shares, N, block)
    widths = np.ones(samples.size, np.int64)
    rows_at_most = samples.size * beam
    rows, parents, tokens = np.empty(rows_at_most, np.int64), np.empty(rows_at_most, np.int64), np.empty(rows_at_most, np.int64)
    followed, is_followed = np.empty(rows_at_most, np.int64), np.zeros(R, np.int64)
    totals = np.zeros(R, np.float64)
    found_rows, found_tokens = np.empty(beam, np.int64), np.empty(beam, np.int64)
    found_log_p, found_totals = np.empty(beam, np.float64), np.empty(beam, np.float64)
    running, count = samples.size, samples.size
    for i in range(running):
        rows[i] = parents[i] = samples[i] * beam
        tokens[i] = limits.start_id
    highest_penalty = _penalty(S, alpha)
    for t in range(S):
        old, new = t % 2 * L * R, (1 - t % 2) * L * R  # the first rows of both halves
        unique = _followed(count, parents, is_followed, followed)
        of_rows, of_followed = rows[:count], followed[:unique]
        to_gates = Rows(row_addresses(slots.gates, of_rows, gate_step), 0, 0)
        to_parts = Rows(row_addresses(slots.parts, of_followed, gate_step), 0, 0)
        from_parts = Rows(row_addresses(slots.parts, parents[:count], gate_step), 0, 0)
        state_rows = scaled(of_followed, input_step)
        for layer in range(L):
            width = fed + H if layer == 0 else H
            by_token = layer == 0 and prepared.projected.size > 0
            read = Matrix(slots.inputs, (old + layer * R) * input_step, state_rows, 0, 1)
            addends = same_row(prepared.biases[layer * gate_step : (layer + 1) * gate_step], unique)
            if by_token:
                addends = zeros_for(to_parts)
            multiply_rows(unique, read, packed_part(prepared, layer, width, 4 * H), to_parts, addends, -1)
            if by_token:
                for r in range(count):
                    _sum_of_rows(
                        H, Place(slots.parts, parents[r] * gate_step), Place(prepared.projected, tokens[r] * gate_step),
                        Place(slots.gates, rows[r] * gate_step),
                    )  # fmt: skip
            elif layer == 0:
                x = Matrix(prepared.vectors, 0, scaled(tokens[:count], D), 0, 1)
                multiply_rows(count, x, packed_part(prepared, L, D, 4 * H), to_gates, from_parts, -1)
            else:
                x = Matrix(slots.between, 0, scaled(of_rows, shape.h_step), 0, 1)
                multiply_rows(count, x, packed_part(prepared, L + layer, H, 4 * H), to_gates, from_parts, -1)
            for r in range(count):
                _end_layer(layer, rows[r], old + layer * R + parents[r], new + layer * R + rows[r], fed, shape, slots)
        joined_rows = scaled(of_rows, joined_step)
        if shape.E > 0:
            if slots.queries.size > 0:
                to_queries = Rows(row_addresses(slots.queries, of_rows, shape.query_step), 0, 0)
                top = Matrix(slots.joined, shape.E, joined_rows, 0, 1)
                multiply_rows(count, top, packed_part(prepared, 2 * L, H, shape.A), to_queries, zeros_for(to_queries), -1)
            for r in range(count):
                n, at = rows[r] // beam, rows[r] * joined_step
                query = Place(slots.joined, at + shape.E)
                if slots.queries.size > 0:
                    query = Place(slots.queries, rows[r] * shape.query_step)
                weights_row = (n * S + t) * beam + rows[r] % beam if limits.attends > 0 else rows[r]
                scores = Place(slots.weights, weights_row * T1)
                attend_step(shape, lengths[n], n, source, query, scores, Place(slots.joined, at), tiles[share])
        out, out_rows, width = slots.joined, joined_rows, joined
        if limits.has_attentional > 0:
            to_outs = Rows(row_addresses(slots.outs, of_rows, shape.out_step), 0, 0)
            start, depth, addends = 0, joined, zeros_for(to_outs)
            if limits.maps_values > 0:
                start, depth, addends = shape.E, H, Rows(row_addresses(slots.joined, of_rows, joined_step), 0, 0)
            of_joined = Matrix(slots.joined, start, joined_rows, 0, 1)
            multiply_rows(count, of_joined, packed_part(prepared, 2 * L + 1, depth, shape.K), to_outs, addends, -1)
            for r in range(count):
                _tanh_row(shape.K, Place(slots.outs, rows[r] * shape.out_step))
                if fed > 0:
                    copy(slots.outs, rows[r] * shape.out_step, slots.inputs, (new + rows[r]) * input_step, fed)
            out, out_rows, width = slots.outs, scaled(of_rows, shape.out_step), shape.K
        if limits.has_projection > 0:
            to_projections = Rows(row_addresses(slots.projections, of_rows, limits.projection_step), 0, 0)
            projection = packed_part(prepared, 2 * L + 2, width, D)
            multiply_rows(count, Matrix(out, 0, out_rows, 0, 1), projection, to_projections, zeros_for(to_projections), -1)
            out, out_rows, width = slots.projections, scaled(of_rows, limits.projection_step), D
        to_scores = Rows(row_addresses(slots.scores, of_rows, limits.score_step), 0, 0)
        biases = same_row(prepared.output_biases, count)
        multiply_rows(count, Matrix(out, 0, out_rows, 0, 1), packed_part(prepared, 2 * L + 3, width, V), to_scores, biases, -1)

        left, next_count = 0, 0
        for i in range(running):
            n, found = samples[i], 0
            for k in range(widths[i]):
                slot = n * beam + k
                of_slot = slots.scores[slot * limits.score_step : slot * limits.score_step + V]
                found = offer_successors(
                    of_slot, totals[slot], k, forbidden, found, found_rows, found_tokens, found_log_p, found_totals
                )  # fmt: skip
            at, opened = (n * S + t) * beam, 0
            for j in range(found):
                history.slots[at + j], history.tokens[at + j] = found_rows[j], found_tokens[j]
                log_ps[at + j] = found_log_p[j]
                if found_tokens[j] == limits.end_id or t + 1 == S:
                    score = max(found_totals[j] / _penalty(t + 1, alpha), _LOWEST)
                    _enter_answer(
                        n, limits.n_best, score, found_totals[j], t, j, best_scores, best_totals, best_steps, best_places
                    )  # fmt: skip
            # A hypothesis that cannot come to a better score any more is left: what follows it takes no place of one that can,
            # for it is less probable than all of these.
            for j in range(found if t + 1 < S else 0):
                bound = max(found_totals[j] / highest_penalty, _LOWEST)
                if found_tokens[j] != limits.end_id and bound > best_scores[n, limits.n_best - 1]:
                    slot = n * beam + opened
                    rows[next_count + opened], tokens[next_count + opened] = slot, found_tokens[j]
                    parents[next_count + opened] = n * beam + found_rows[j]
                    totals[slot] = found_totals[j]
                    history.opened[at + beam + opened] = j
                    opened += 1
            if opened > 0:
                samples[left], widths[left] = n, opened
                left += 1
                next_count += opened
        running, count = left, next_count
        if running == 0:
            break
    for n in samples_of(share, shares, N, block):
        _trace(n, limits, T1, history, log_ps, slots.weights, best_steps, best_places, ids, log_p, attention)
        for i in range(limits.n_best):
            best_scores[n, i] = -np.inf
            if best_steps[n, i] >= 0:
                best_scores[n, i] = best_totals[n, i] / _penalty(best_steps[n, i] + 1, alpha)


def _products(shape: Any, limits: Any, fed: int, V: int, by_token: bool, has_query: bool) -> list[tuple[int, int]]:
    """Rows and columns of the packed weights: of each layer [fed; Wh]; of each layer Wx; Wq, Wc, Wp, W_out. 0 for none."""
    H, D, joined = shape.H, shape.D, shape.E + shape.H
    width = shape.K if limits.has_attentional else joined
    return [
        *[(fed + H if layer == 0 else H, 4 * H) for layer in range(shape.L)],
        *[((0 if by_token else D) if layer == 0 else H, 4 * H) for layer in range(shape.L)],
        (H if has_query else 0, shape.A),
        ((H if limits.maps_values else joined) if limits.has_attentional else 0, shape.K),
        (width if limits.has_projection else 0, D),
        (D if limits.has_projection else width, V),
    ]


def beam_search(
    W, lstms, attention, output, h0, c0, feeds, residual, lengths_enc, limits, beam, n_best, alpha, attends, forbidden
):
    start_id, sample_size, end_id = limits
    dtype, (L, N, H), (V, D) = h0.dtype, h0.shape, W.shape
    keys, values, Wq, v, scale = (None, None, None, None, 1) if attention is None else attention
    Wc, Wp, W_out, b_out = output
    (T1, A), E = (1, 1) if keys is None else keys.shape[1:], 0 if values is None else values.shape[2]
    K = 0 if Wc is None else Wc.shape[1]
    maps_values = Wc is not None and values is not None and beam > 1
    if maps_values:
        values, Wc, E = affine_forward(values, Wc[:E], None, lengths_enc), Wc[E:], K
    fed, R = K if feeds else 0, N * beam
    by_token = R * sample_size >= 2 * V
    shape = Shape(
        N, T1, sample_size, L, V, D, H, K, A, E, odd_step(fed + H, dtype), odd_step(4 * H, dtype), odd_step(H, dtype),
        odd_step(E + H, dtype), odd_step(A, dtype), odd_step(max(K, 1), dtype), int(residual),
    )  # fmt: skip
    bounds = Limits(
        beam, n_best, start_id, sample_size, -1 if end_id is None else end_id, int(feeds), int(Wc is not None),
        int(Wp is not None), int(maps_values), int(attends), odd_step(V, dtype), odd_step(D, dtype),
    )  # fmt: skip
    products = _products(shape, bounds, fed, V, by_token, Wq is not None)
    sizes = [panel_numbers(depth, columns, dtype) for depth, columns in products]
    places = np.concatenate(([0], np.cumsum(sizes[:-1]))).astype(np.int64)
    packed, biases, output_biases, projected = pieces(
        dtype, sum(sizes), L * shape.gate_step, bounds.score_step, V * shape.gate_step if by_token else 0
    )
    prepared = Prepared(packed, places, biases, output_biases, projected, flat(W))
    panels, tiles = scratch(dtype)
    weights = [flat(weight) for weight in lstms]
    _prepare(
        shape, bounds, fed, V, *weights[:3], *[flat_or_nothing(each, dtype) for each in (Wq, Wc, Wp, W_out)], b_out, prepared,
        panels, tiles, shares=len(tiles), work=4 * sum(sizes) + 2 * projected.size * D,
    )  # fmt: skip
    for layer in range(1, L):
        _prepare_layer(layer, shape, *weights[3 * layer : 3 * layer + 3], prepared, work=64 * H * H)
    inputs, cs, parts, gates, between, joined, queries, outs, projections, scores = pieces(
        dtype, 2 * L * R * shape.input_step, 2 * L * R * H, R * shape.gate_step, R * shape.gate_step, R * shape.h_step,
        R * shape.joined_step, R * shape.query_step if Wq is not None else 0, R * shape.out_step if Wc is not None else 0,
        R * bounds.projection_step if Wp is not None else 0, R * bounds.score_step,
    )  # fmt: skip
    first = inputs[: L * R * shape.input_step].reshape(L, N, beam, shape.input_step)[:, :, 0]  # of each sample, slot 0
    first[0, :, :fed] = 0
    first[0, :, fed : fed + H], first[1:, :, :H] = h0[0], h0[1:]
    cs[: L * R * H].reshape(L, N, beam, H)[:, :, 0] = c0
    steps = N * sample_size * beam
    of_attention = empty((steps if attends else R) * T1, dtype)
    slots = Slots(inputs, cs, parts, gates, between, joined, queries, outs, projections, scores, of_attention)
    history = History(*(np.empty(steps + beam, np.int64) for _ in range(3)))
    shape_of_answers = N, n_best, sample_size
    ids = np.full(shape_of_answers, 0 if end_id is None else end_id, np.int64)
    log_p, found = np.zeros(shape_of_answers), np.zeros((*shape_of_answers, T1) if attends else 0, dtype)
    best_scores, best_totals = np.full((N, n_best), -np.inf), np.full((N, n_best), -np.inf)
    best_steps, best_places = np.full((N, n_best), -1), np.zeros((N, n_best), np.int64)
    source = Source(
        flat_or_nothing(keys, dtype), flat_or_nothing(values, dtype), flat_or_nothing(v, dtype), np.full(1, scale, dtype)
    )
    _search(
        block_of_samples(lengths_enc, N), shape, bounds, float(alpha), source, all_lengths(lengths_enc, N, T1), prepared, slots,
        history, np.empty(steps), best_scores, best_totals, best_steps, best_places, ids, log_p, flat(found), tiles, forbidden,
        shares=len(tiles), work=2 * R * sample_size * sum(depth * columns for depth, columns in products) if N > 1 else 0,
    )  # fmt: skip
    return ids, best_steps + 1, best_scores, log_p, found if attends else None
