"""LSTM layers with attention inside the recurrence; the mathematics stands in ``reference/input_feeding.py``.

A share takes its samples through all target steps, attention included, and waits for nobody. Rows of real target steps stand
one after another, sample by sample: row firsts[n] + t is that of step t of sample n, in all arrays here.

- ``inputs``: of each layer, a row is [what it reads | h_(t-1) | 1]: the first layer reads what is fed, h~ of the step before,
  the others the output of the layer below. One product with [Wx; Wh] makes a step's gates, one with dz the gradients of both.
- ``projected``: x Wx + b of the first layer, as in `lstm`: for each token, or for each row, where the gates are to stand.
- ``gates``, ``cs``: of each layer, as in `lstm`; a sample's rows of ``cs`` begin with c0.
- ``joined``: a row is [context | output of the last layer], of which h~ is made.

What is summed over target steps and not needed in the recurrence, the gradients of keys, values and weights, is left to
products after it.
"""

from typing import Any, NamedTuple

import numpy as np

from .attention import add_weighted_rows, scale_row
from .dropout import dropout
from .embedding import embedding_backward
from .engine.activation import tanh
from .engine.additive import additive_scores, additive_scores_backward
from .engine.buffers import empty, flat, flat_or_nothing, nothing, pieces
from .engine.compiling import kernel
from .engine.gates import gates_backward, gates_forward
from .engine.jit import leaf, separate, shared
from .engine.padding import all_lengths, block_of_samples, real_rows, samples_of, zeros_at_padding
from .engine.product import (
    dots,
    even_matrix,
    even_row_addresses,
    fill_row_addresses,
    matmul,
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
from .engine.values import EvenRows, Floats, Indices, Matrix, Packed, Place, Rows, Scratch
from .engine.vector import clear, copy, multiply_add
from .lstm import Sizes, Weights, copy_masked, copy_state, project, sum_by_token
from .softmax import softmax_backward_row, softmax_row


class Shape(NamedTuple):
    """Of a batch and of the layers (L of them; V is 0 where x is given as arrays), and how far apart rows are."""

    N: int
    T1: int
    T2: int
    L: int
    V: int
    D: int
    H: int
    K: int
    A: int
    E: int
    input_step: int
    gate_step: int
    h_step: int
    joined_step: int
    query_step: int
    out_step: int
    residual: int


class Batch(NamedTuple):
    """The samples by falling length; their lengths; the first row of each sample, and the number of rows."""

    order: Indices
    lengths1: Indices
    lengths2: Indices
    firsts: Indices
    tokens: Indices  # of each row, or empty


class Source(NamedTuple):
    """What is attended to, flat, as in `attention`. v: empty unless additive. scale: one number."""

    keys: Floats
    values: Floats
    v: Floats
    scale: Floats


class Masks(NamedTuple):
    """recurrent: (L, N, H). drops: of the gaps between layers, (L - 1, N, T2, H). Both flat, and empty for none."""

    recurrent: Floats
    drops: Floats


class Kept(NamedTuple):
    """What the steps leave; see the top of this file. queries: empty where the output of the last layer is the query."""

    inputs: Floats
    gates: Floats
    cs: Floats
    joined: Floats
    queries: Floats
    weights: Floats
    outs: Floats


class States(NamedTuple):
    """h and c of all layers (L, N, H), and what is fed (N, K): empty for zeros."""

    h: Floats
    c: Floats
    feed: Floats


@kernel
def _width(shape, layer):
    """How much a layer reads beside h."""
    return shape.K if layer == 0 else shape.H


@kernel
def _my_samples(share, shares, block, batch):
    """A share's samples by falling length."""
    places = samples_of(share, shares, batch.order.size, block)
    samples = np.empty(places.size, np.int64)
    for i in range(places.size):
        samples[i] = batch.order[places[i]]
    return samples


@kernel
def _firsts(samples, firsts):
    """The first rows of some samples."""
    rows = np.empty(samples.size, np.int64)
    for i in range(samples.size):
        rows[i] = firsts[samples[i]]
    return rows


@kernel
def _of_layers(array, rows, shape, step, offset):
    """Of each layer, the addresses of some rows of its part of an array, whose parts are ``offset`` numbers long."""
    addresses = np.empty((shape.L, rows.size), np.int64)
    for layer in range(shape.L):
        for i in range(rows.size):
            addresses[layer, i] = array.ctypes.data + (layer * offset + rows[i] * step) * array.itemsize
    return addresses


@kernel
def _weighted_sum(real, values, weights, total):
    """total = the sum over ``real`` rows of the values, each times its weight; all are places, rows, or a flat array."""
    total[:] = 0
    E, t = total.size, 0
    while t + 4 <= real:  # four rows at a time: the total is read and written less often
        at, w = values.start + t * values.step, weights.at + t
        a, b = values.numbers[at : at + E], values.numbers[at + values.step : at + values.step + E]
        c = values.numbers[at + 2 * values.step : at + 2 * values.step + E]
        d = values.numbers[at + 3 * values.step : at + 3 * values.step + E]
        wa, wb, wc, wd = weights.numbers[w], weights.numbers[w + 1], weights.numbers[w + 2], weights.numbers[w + 3]
        for j in range(E):
            total[j] = multiply_add(wa, a[j], multiply_add(wb, b[j], multiply_add(wc, c[j], multiply_add(wd, d[j], total[j]))))
        t += 4
    while t < real:
        at, wa = values.start + t * values.step, weights.numbers[weights.at + t]
        a = values.numbers[at : at + E]
        for j in range(E):
            total[j] = multiply_add(wa, a[j], total[j])
        t += 1


@kernel
def _tanh_rows(given, out):
    for j in range(out.size):
        out[j] = tanh(given[j])


@leaf
def attend_step(
    shape: Shape, real1: int, n: int, source: Source, query: Place, scores: Place, context: Place, tile: Floats
):  # fmt: skip
    """The weights and the context of one target step of sample n."""
    T1, A, E = shape.T1, shape.A, shape.E
    keys = EvenRows(source.keys, n * T1 * A, A)
    if source.v.size > 0:
        additive_scores(real1, A, keys, query, source.v, scores)
    else:
        dots(1, real1, A, EvenRows(query.numbers, query.at, A), keys, EvenRows(scores.numbers, scores.at, T1), tile)
        scale_row(scores.numbers[scores.at : scores.at + real1], source.scale)
    softmax_row(scores, real1)
    clear(scores.numbers, scores.at + real1, T1 - real1)
    values = EvenRows(source.values, n * T1 * E, E)
    _weighted_sum(real1, values, scores, context.numbers[context.at : context.at + E])


@leaf
def _begin(n: int, shape: Shape, batch: Batch, first: States, last: States, masks: Masks, kept: Kept):
    """What stands before the first step of sample n: its states, and the first row of its inputs."""
    N, H, K, R = shape.N, shape.H, shape.K, batch.firsts[shape.N]
    for layer in range(shape.L):
        state = (layer * N + n) * H
        copy_state(first.h, state, last.h, state, H)
        copy_state(first.c, state, last.c, state, H)
        copy(last.c, state, kept.cs, (layer * (N + R) + batch.firsts[n] + n) * H, H)
        at = (layer * R + batch.firsts[n]) * shape.input_step
        copy_masked(last.h, state, kept.inputs, at + _width(shape, layer), masks.recurrent, state, H)
    copy_state(first.feed, n * K, kept.inputs, batch.firsts[n] * shape.input_step, K)


@leaf
def _end_layer(n: int, t: int, layer: int, shape: Shape, batch: Batch, last: States, masks: Masks, kept: Kept):
    """After a product with the weights of a layer: its gates, its state, and what the next step and the next layer read."""
    N, T2, H, L, R = shape.N, shape.T2, shape.H, shape.L, batch.firsts[shape.N]
    row, state, width = batch.firsts[n] + t, (layer * N + n) * H, _width(shape, layer)
    at = (layer * R + row) * shape.input_step
    c = (layer * (N + R) + row + n + 1) * H
    gates = Place(kept.gates, (layer * R + row) * shape.gate_step)
    gates_forward(H, gates, Place(kept.cs, c - H), Place(kept.cs, c), Place(last.h, state))
    copy(kept.cs, c, last.c, state, H)
    kept.inputs[at + width + H] = 1
    if t + 1 < batch.lengths2[n]:
        copy_masked(last.h, state, kept.inputs, at + shape.input_step + width, masks.recurrent, state, H)
    to, to_at = kept.inputs, at + R * shape.input_step
    if layer == L - 1:
        to, to_at = kept.joined, row * shape.joined_step + shape.E
    copy(last.h, state, to, to_at, H)
    out = to[to_at : to_at + H]
    if shape.residual > 0 and layer > 0:
        read = kept.inputs[at : at + H]
        for j in range(H):
            out[j] += read[j]
    if layer < L - 1 and masks.drops.size > 0:
        drop = masks.drops[((layer * N + n) * T2 + t) * H : ((layer * N + n) * T2 + t) * H + H]
        for j in range(H):
            out[j] *= drop[j]


class Prepared(NamedTuple):
    """Weights, packed, one after another: of each layer [Wx; Wh], then Wq, then Wc. biases: a row for each layer."""

    packed: Floats
    places: Indices
    biases: Floats
    projected: Floats


@kernel
def packed_part(prepared, i, depth, columns):
    return Packed(prepared.packed, prepared.places[i], depth, columns)


@kernel
def _pack_layer(share, shares, layer, shape, Wx, Wh, b, prepared):
    """Pack what a layer multiplies with, and pad its bias with zeros to whole lane groups."""
    H, width = shape.H, _width(shape, layer)
    packed = packed_part(prepared, layer, width + H, 4 * H)
    first = Wx.size - width * 4 * H  # the rows for x come before those for what is fed
    pack_matrix(share, shares, even_matrix(Wx, first, width, 4 * H, 1), packed, 0)
    pack_matrix(share, shares, even_matrix(Wh, 0, H, 4 * H, 1), packed, width)
    if share == 0:
        clear(prepared.biases, layer * shape.gate_step, shape.gate_step)
        copy(b, 0, prepared.biases, layer * shape.gate_step, 4 * H)


@shared
def _prepare_layer(share, shares, layer, shape: Shape, Wx, Wh, b, prepared: Prepared):
    """For a layer that is not the first."""
    _pack_layer(share, shares, layer, shape, Wx, Wh, b, prepared)


@shared
def _prepare(share, shares, shape: Shape, x, x_rows, Wx, Wh, b, Wq, Wc, prepared: Prepared, panels, tiles):
    """Pack the weights of the first layer, Wq and Wc, and project all rows of x."""
    L, H, E, K, D = shape.L, shape.H, shape.E, shape.K, shape.D
    _pack_layer(share, shares, 0, shape, Wx, Wh, b, prepared)
    if Wq.size > 0:
        pack_matrix(share, shares, even_matrix(Wq, 0, H, shape.A, 1), packed_part(prepared, L, H, shape.A), 0)
    pack_matrix(share, shares, even_matrix(Wc, 0, E + H, K, 1), packed_part(prepared, L + 1, E + H, K), 0)
    sizes = Sizes(D, H, 0, 0, shape.gate_step)
    rows = Matrix(x, 0, scaled(x_rows, D), 0, 1)
    scratch = scratch_of(share, panels, tiles)
    project(share, shares, sizes, rows, Weights(Wx[: D * 4 * H], Wh, b), prepared.projected, scratch)


@shared
def _forward(
    share, shares, block, shape: Shape, batch: Batch, source: Source, masks: Masks, prepared: Prepared, kept: Kept,
    first: States, last: States, before_tanh, tiles,
):  # fmt: skip
    T1, T2, L, V = shape.T1, shape.T2, shape.L, shape.V
    H, K, A, E, R = shape.H, shape.K, shape.A, shape.E, batch.firsts[shape.N]
    input_step, gate_step, joined_step, query_step = shape.input_step, shape.gate_step, shape.joined_step, shape.query_step
    samples = _my_samples(share, shares, block, batch)
    rows = _firsts(samples, batch.firsts)
    input_rows, joined_rows = scaled(rows, input_step), scaled(rows, joined_step)
    gate_addresses = _of_layers(kept.gates, rows, shape, gate_step, R * gate_step)
    query_addresses = row_addresses(kept.queries, rows, query_step)
    projected_rows, out_addresses = np.empty(samples.size, np.int64), row_addresses(before_tanh, samples, shape.out_step)
    to_out = Rows(out_addresses, 0, 0)
    for n in samples:
        _begin(n, shape, batch, first, last, masks, kept)
    running = samples.size
    for t in range(T2):
        while running > 0 and batch.lengths2[samples[running - 1]] <= t:
            running -= 1
        if running == 0:
            break
        for layer in range(L):
            width = _width(shape, layer)
            to_gates = Rows(gate_addresses[layer], 0, t * gate_step)
            addends = to_gates
            if layer > 0:
                addends = same_row(prepared.biases[layer * gate_step : (layer + 1) * gate_step], running)
            elif V > 0:
                for i in range(running):
                    at = batch.tokens[rows[i] + t] * gate_step
                    projected_rows[i] = prepared.projected.ctypes.data + at * prepared.projected.itemsize
                addends = Rows(projected_rows, 0, 0)
            read = Matrix(kept.inputs, (layer * R + t) * input_step, input_rows, 0, 1)
            multiply_rows(running, read, packed_part(prepared, layer, width + H, 4 * H), to_gates, addends, -1)
            for i in range(running):
                _end_layer(samples[i], t, layer, shape, batch, last, masks, kept)
        if kept.queries.size > 0:
            top = Matrix(kept.joined, t * joined_step + E, joined_rows, 0, 1)
            to_queries = Rows(query_addresses, 0, t * query_step)
            multiply_rows(running, top, packed_part(prepared, L, H, A), to_queries, zeros_for(to_queries), -1)
        for i in range(running):
            n = samples[i]
            at = (rows[i] + t) * joined_step
            query = Place(kept.joined, at + E) if kept.queries.size == 0 else Place(kept.queries, (rows[i] + t) * query_step)
            scores = Place(kept.weights, (n * T2 + t) * T1)
            attend_step(shape, batch.lengths1[n], n, source, query, scores, Place(kept.joined, at), tiles[share])
        joined = Matrix(kept.joined, t * joined_step, joined_rows, 0, 1)
        multiply_rows(running, joined, packed_part(prepared, L + 1, E + H, K), to_out, zeros_for(to_out), -1)
        for i in range(running):
            n, at = samples[i], samples[i] * shape.out_step
            out = kept.outs[(n * T2 + t) * K : (n * T2 + t + 1) * K]
            _tanh_rows(before_tanh[at : at + K], out)
            if t + 1 < batch.lengths2[n]:
                copy(kept.outs, (n * T2 + t) * K, kept.inputs, (rows[i] + t + 1) * input_step, K)
    for n in samples:
        real = batch.lengths2[n]
        clear(kept.outs, (n * T2 + real) * K, (T2 - real) * K)
        clear(kept.weights, (n * T2 + real) * T1, (T2 - real) * T1)


class _Cache(NamedTuple):
    """What a forward keeps for its backward."""

    shape: Any
    batch: Any
    block: int
    masks: Any
    kept: Any
    x: Any
    x_rows: Any
    lengths2: Any


def _places(*numbers):
    """Where arrays of so many numbers begin that stand one after another, and how long they are together."""
    return np.concatenate(([0], np.cumsum(numbers[:-1]))).astype(np.int64), int(np.sum(numbers))


def input_feeding_forward(
    x, ids, keys, values, lstms, Wc, Wq, v, scale, h0, c0, feed0, mask, drop, residual, lengths_enc, lengths_dec
):
    dtype = x.dtype
    (N, T1, A), E, L, H, K = keys.shape, values.shape[2], len(lstms) // 3, len(lstms[1]), Wc.shape[1]
    T2, D = (x if ids is None else ids).shape[1], x.shape[-1]
    lengths1, lengths2 = all_lengths(lengths_enc, N, T1), all_lengths(lengths_dec, N, T2)
    firsts = np.zeros(N + 1, np.int64)
    np.cumsum(lengths2, out=firsts[1:])
    R = int(firsts[-1])
    # As for an LSTM, it pays to project each token once if there are fewer of them than half of the steps.
    by_token = ids is not None and 2 * len(x) <= R
    real = real_rows(lengths_dec, N, T2)
    tokens = flat(ids)[real] if ids is not None else nothing(np.int64)
    x_rows = real
    if by_token:
        x_rows = real_rows(None, len(x), 1)
    elif ids is not None:
        x_rows = tokens
    V = len(x) if by_token else 0
    shape = Shape(
        N, T1, T2, L, V, D, H, K, A, E, odd_step(max(K, H) + H + 1, dtype), odd_step(4 * H, dtype), odd_step(H, dtype),
        odd_step(E + H, dtype), odd_step(A, dtype), odd_step(K, dtype), int(residual),
    )  # fmt: skip
    order = np.arange(N) if lengths_dec is None else np.argsort(-lengths2, kind="stable")
    batch = Batch(order, lengths1, lengths2, firsts, tokens if by_token else tokens[:0])
    inputs, gates, cs, joined, queries = pieces(
        dtype, L * R * shape.input_step, L * R * shape.gate_step, L * (N + R) * H, R * shape.joined_step,
        R * shape.query_step if Wq is not None else 0,
    )  # fmt: skip
    widths = [K] + [H] * (L - 1)
    places, packed_numbers = _places(
        *[panel_numbers(width + H, 4 * H, dtype) for width in widths],
        panel_numbers(H, A, dtype),
        panel_numbers(E + H, K, dtype),
    )
    packed, biases, projected, before_tanh = pieces(
        dtype, packed_numbers, L * shape.gate_step, V * shape.gate_step, N * shape.out_step
    )
    prepared = Prepared(packed, places, biases, projected if V else gates)
    panels, tiles = scratch(dtype)
    weights = [flat(weight) for weight in lstms]
    _prepare(
        shape, flat(x), x_rows, *weights[:3], flat_or_nothing(Wq, dtype), flat(Wc), prepared, panels, tiles,
        shares=len(tiles), work=8 * x_rows.size * D * H + 4 * packed_numbers,
    )  # fmt: skip
    for layer in range(1, L):
        _prepare_layer(layer, shape, *weights[3 * layer : 3 * layer + 3], prepared, work=64 * H * H)
    outs, a = empty((N, T2, K), dtype), empty((N, T2, T1), dtype)
    h_last, c_last = empty((2, L, N, H), dtype)
    drops = nothing(dtype)
    if drop is not None and L > 1:
        ratio, seeds = drop
        drops = np.concatenate([flat(dropout(np.ones((N, T2, H), dtype), ratio, seed, False)) for seed in seeds])
    masks = Masks(flat_or_nothing(mask, dtype), drops)
    kept = Kept(inputs, gates, cs, joined, queries, flat(a), flat(outs))
    source = Source(flat(keys), flat(values), flat_or_nothing(v, dtype), np.full(1, scale, dtype))
    block = block_of_samples(lengths_dec, N)
    _forward(
        block, shape, batch, source, masks, prepared, kept,
        States(flat_or_nothing(h0, dtype), flat_or_nothing(c0, dtype), flat_or_nothing(feed0, dtype)),
        States(flat(h_last), flat(c_last), nothing(dtype)), before_tanh, tiles,
        shares=len(tiles), work=8 * R * L * H * H + 4 * R * T1 * E,
    )  # fmt: skip
    return outs, a, h_last, c_last, _Cache(shape, batch, block, masks, kept, (x[...], ids), x_rows, lengths_dec)


class Falling(NamedTuple):
    """Gradients as they fall from step to step: dh and dc of each layer, what is fed; and rows to work in, for each sample."""

    dh: Floats
    dc: Floats
    feed: Floats
    dy: Floats
    dread: Floats


class StepGradients(NamedTuple):
    """Of every row: of the product before tanh, of [context | output], of the query; of the scores (N, T2, T1)."""

    dproduct: Floats
    djoined: Floats
    dqueries: Floats
    ds: Floats


class SourceGradients(NamedTuple):
    """dvalues: empty where the values are the keys. dvs: a row for each sample."""

    dkeys: Floats
    dvalues: Floats
    dvs: Floats


@leaf
def attend_step_backward(
    shape: Shape, real1: int, n: int, source: Source, query: Place, weights: Place, ds: Place, dcontext: Place, dquery: Place,
    into: SourceGradients, tile: Floats,
):  # fmt: skip
    """From the gradient of the context to that of the scores and of the query; additive attention's keys and v as well."""
    T1, A, E = shape.T1, shape.A, shape.E
    values, keys = EvenRows(source.values, n * T1 * E, E), EvenRows(source.keys, n * T1 * A, A)
    dots(1, real1, E, EvenRows(dcontext.numbers, dcontext.at, E), values, EvenRows(ds.numbers, ds.at, T1), tile)
    softmax_backward_row(ds, weights, real1)
    if source.v.size == 0:
        scale_row(ds.numbers[ds.at : ds.at + real1], source.scale)
        _weighted_sum(real1, keys, ds, dquery.numbers[dquery.at : dquery.at + A])
    else:
        clear(dquery.numbers, dquery.at, A)
        dkeys = EvenRows(into.dkeys, n * T1 * A, A)
        additive_scores_backward(real1, A, keys, query, source.v, ds, dkeys, dquery, Place(into.dvs, n * A))


@separate
def _source_gradients(
    n: int, shape: Shape, batch: Batch, source: Source, kept: Kept, steps: StepGradients, into: SourceGradients,
    scratch: Scratch,
):  # fmt: skip
    """What all target steps of sample n add up to for its keys and values."""
    T1, T2, A, E, real1, real2 = shape.T1, shape.T2, shape.A, shape.E, batch.lengths1[n], batch.lengths2[n]
    first, joined_step = batch.firsts[n], shape.joined_step
    c_rows, are_keys = np.empty(real1, np.int64), into.dvalues.size == 0
    dcontexts = EvenRows(steps.djoined, first * joined_step, joined_step)
    weights = even_matrix(kept.weights, n * T2 * T1, real1, 1, T1)
    dkeys = EvenRows(into.dkeys, n * T1 * A, A)
    if are_keys:
        add_weighted_rows(real1, E, real2, weights, dcontexts, dkeys, c_rows, source.v.size > 0, scratch)
    else:
        dvalues = EvenRows(into.dvalues, n * T1 * E, E)
        add_weighted_rows(real1, E, real2, weights, dcontexts, dvalues, c_rows, False, scratch)
    if source.v.size == 0:
        queries = EvenRows(kept.joined, first * joined_step + E, joined_step)
        if kept.queries.size > 0:
            queries = EvenRows(kept.queries, first * shape.query_step, shape.query_step)
        ds = even_matrix(steps.ds, n * T2 * T1, real1, 1, T1)
        add_weighted_rows(real1, A, real2, ds, queries, dkeys, c_rows, are_keys, scratch)


@leaf
def _begin_layer_backward(
    n: int, t: int, layer: int, shape: Shape, batch: Batch, kept: Kept, falling: Falling
):  # fmt: skip
    """dy of a layer's output, at ``falling.dy``, turns its gates into their dz."""
    N, H, R = shape.N, shape.H, batch.firsts[shape.N]
    row, state = batch.firsts[n] + t, layer * N + n
    c = (layer * (N + R) + row + n + 1) * H
    gates_backward(
        H, Place(falling.dy, n * shape.h_step), Place(falling.dh, state * shape.h_step), Place(falling.dc, state * H),
        Place(kept.gates, (layer * R + row) * shape.gate_step), Place(kept.cs, c), Place(kept.cs, c - H),
    )  # fmt: skip


@leaf
def _end_layer_backward(n: int, t: int, layer: int, shape: Shape, masks: Masks, falling: Falling):
    """After the products of dz: the masks, and dy of the layer below."""
    N, T2, H = shape.N, shape.T2, shape.H
    state = layer * N + n
    if masks.recurrent.size > 0:
        dh, mask = falling.dh[state * shape.h_step :][:H], masks.recurrent[state * H : state * H + H]
        for j in range(H):
            dh[j] *= mask[j]
    if layer == 0:
        return
    dread, dy = falling.dread[n * shape.h_step :][:H], falling.dy[n * shape.h_step :][:H]
    if shape.residual > 0:
        for j in range(H):
            dread[j] += dy[j]
    if masks.drops.size > 0:
        at = (((layer - 1) * N + n) * T2 + t) * H
        drop = masks.drops[at : at + H]
        for j in range(H):
            dread[j] *= drop[j]
    copy(falling.dread, n * shape.h_step, falling.dy, n * shape.h_step, H)


@kernel
def _tanh_backward_rows(dout, dfed, out, dproduct):
    one = out.dtype.type(1)
    for j in range(out.size):
        dproduct[j] = (dout[j] + dfed[j]) * (one - out[j] * out[j])


@shared
def _backward(
    share, shares, block, shape: Shape, batch: Batch, source: Source, masks: Masks, prepared: Prepared, kept: Kept, douts,
    last: States, falling: Falling, steps: StepGradients, into: SourceGradients, first: States, panels, tiles,
):  # fmt: skip
    """prepared: the transposes of Wx and Wh of each layer, of Wq and of Wc."""
    N, T1, T2, L = shape.N, shape.T1, shape.T2, shape.L
    H, K, A, E, R = shape.H, shape.K, shape.A, shape.E, batch.firsts[shape.N]
    gate_step, joined_step, query_step, h_step, out_step = (
        shape.gate_step, shape.joined_step, shape.query_step, shape.h_step, shape.out_step,
    )  # fmt: skip
    scratch = scratch_of(share, panels, tiles)
    samples = _my_samples(share, shares, block, batch)
    rows = _firsts(samples, batch.firsts)
    gate_rows, out_rows, query_rows = scaled(rows, gate_step), scaled(rows, out_step), scaled(rows, query_step)
    joined_addresses = row_addresses(steps.djoined, rows, joined_step)
    dh_addresses = _of_layers(falling.dh, samples, shape, h_step, N * h_step)
    to_dread, to_feed = Rows(row_addresses(falling.dread, samples, h_step), 0, 0), Rows(
        row_addresses(falling.feed, samples, out_step), 0, 0
    )  # fmt: skip
    for n in samples:
        for layer in range(L):
            copy_state(last.h, (layer * N + n) * H, falling.dh, (layer * N + n) * h_step, H)
            copy_state(last.c, (layer * N + n) * H, falling.dc, (layer * N + n) * H, H)
        clear(falling.feed, n * out_step, K)
        clear(into.dkeys, n * T1 * A, T1 * A)
        clear(into.dvs, n * source.v.size, source.v.size)
    running = 0
    for t in range(T2 - 1, -1, -1):
        while running < samples.size and batch.lengths2[samples[running]] > t:
            running += 1
        for i in range(running):
            n, at = samples[i], (samples[i] * T2 + t) * K
            _tanh_backward_rows(
                douts[at : at + K], falling.feed[samples[i] * out_step :][:K], kept.outs[at : at + K],
                steps.dproduct[(rows[i] + t) * out_step :][:K],
            )  # fmt: skip
        to_joined = Rows(joined_addresses, 0, t * joined_step)
        dproduct = Matrix(steps.dproduct, t * out_step, out_rows, 0, 1)
        multiply_rows(running, dproduct, packed_part(prepared, 2 * L + 1, K, E + H), to_joined, zeros_for(to_joined), -1)
        for i in range(running):
            n, row = samples[i], rows[i] + t
            at, at_weights = row * joined_step, (n * T2 + t) * T1
            query, dquery = Place(kept.joined, at + E), Place(falling.dread, n * h_step)
            if kept.queries.size > 0:
                query, dquery = Place(kept.queries, row * query_step), Place(steps.dqueries, row * query_step)
            attend_step_backward(
                shape, batch.lengths1[n], n, source, query, Place(kept.weights, at_weights), Place(steps.ds, at_weights),
                Place(steps.djoined, at), dquery, into, tiles[share],
            )  # fmt: skip
        if kept.queries.size > 0:
            dqueries = Matrix(steps.dqueries, t * query_step, query_rows, 0, 1)
            multiply_rows(running, dqueries, packed_part(prepared, 2 * L, A, H), to_dread, zeros_for(to_dread), -1)
        for i in range(running):
            at, n = (rows[i] + t) * joined_step + E, samples[i]
            dtop, of_query = steps.djoined[at : at + H], falling.dread[n * h_step :][:H]
            dy = falling.dy[n * h_step :][:H]
            for j in range(H):
                dy[j] = dtop[j] + of_query[j]
        for layer in range(L - 1, -1, -1):
            for i in range(running):
                _begin_layer_backward(samples[i], t, layer, shape, batch, kept, falling)
            dz = Matrix(kept.gates, (layer * R + t) * gate_step, gate_rows, 0, 1)
            to_dh = Rows(dh_addresses[layer], 0, 0)
            multiply_rows(running, dz, packed_part(prepared, 2 * layer + 1, 4 * H, H), to_dh, zeros_for(to_dh), -1)
            to_read = to_feed if layer == 0 else to_dread
            of_read = packed_part(prepared, 2 * layer, 4 * H, _width(shape, layer))
            multiply_rows(running, dz, of_read, to_read, zeros_for(to_read), -1)
            for i in range(running):
                _end_layer_backward(samples[i], t, layer, shape, masks, falling)
    for n in samples:
        for layer in range(L):
            copy(falling.dh, (layer * N + n) * h_step, first.h, (layer * N + n) * H, H)
            copy(falling.dc, (layer * N + n) * H, first.c, (layer * N + n) * H, H)
        copy(falling.feed, n * out_step, first.feed, n * K, K)
        _source_gradients(n, shape, batch, source, kept, steps, into, scratch)
        if into.dvalues.size > 0:
            real1 = batch.lengths1[n]
            clear(into.dvalues, (n * T1 + real1) * E, (T1 - real1) * E)


@kernel
def _pack_back(share, shares, i, W, first, depth, columns, prepared):
    """Pack the transpose of a matrix of ``columns`` rows of ``depth`` numbers, from some number of W on."""
    pack_matrix(share, shares, even_matrix(W, first, depth, 1, depth), packed_part(prepared, i, depth, columns), 0)


@kernel
def _pack_layer_back(share, shares, layer, shape, Wx, Wh, prepared):
    depth, width = 4 * shape.H, _width(shape, layer)
    _pack_back(share, shares, 2 * layer, Wx, Wx.size - width * depth, depth, width, prepared)
    _pack_back(share, shares, 2 * layer + 1, Wh, 0, depth, shape.H, prepared)


@shared
def _prepare_layer_back(share, shares, layer, shape: Shape, Wx, Wh, prepared: Prepared):
    """For a layer that is not the first."""
    _pack_layer_back(share, shares, layer, shape, Wx, Wh, prepared)


@shared
def _prepare_back(share, shares, shape: Shape, Wx, Wh, Wq, Wc, prepared: Prepared):
    """Pack the transposes of the first layer's weights, of Wq and of Wc."""
    H, K = shape.H, shape.K
    _pack_layer_back(share, shares, 0, shape, Wx, Wh, prepared)
    if Wq.size > 0:
        _pack_back(share, shares, 2 * shape.L, Wq, 0, shape.A, H, prepared)
    _pack_back(share, shares, 2 * shape.L + 1, Wc, 0, K, shape.E + H, prepared)


@shared
def _sum_by_token(share, shares, shape: Shape, batch: Batch, gates, sums):
    sum_by_token(share, shares, shape.V, shape.H, batch.tokens, EvenRows(gates, 0, shape.gate_step), sums)


@kernel
def _gradients_of_layer(share, shares, layer, shape, R, kept, dWx, dWh, db, scratch):
    """[dWx; dWh; db] = [what the layer reads | h | 1]^T dz, but for the rows of dWx that are for x."""
    H, width = shape.H, _width(shape, layer)
    c_rows = np.empty(width + H + 1, np.int64)
    fill_row_addresses(dWx, dWx.size - width * 4 * H, 4 * H, c_rows[:width])
    fill_row_addresses(dWh, 0, 4 * H, c_rows[width : width + H])
    fill_row_addresses(db, 0, 0, c_rows[width + H :])
    inputs = even_matrix(kept.inputs, layer * R * shape.input_step, width + H + 1, 1, shape.input_step)
    dz = even_matrix(kept.gates, layer * R * shape.gate_step, R, shape.gate_step, 1)
    to = Rows(c_rows, 0, 0)
    matmul(share, shares, width + H + 1, 4 * H, R, inputs, dz, to, zeros_for(to), scratch)


@shared
def _layer_gradients(share, shares, layer, shape: Shape, R, kept: Kept, dWx, dWh, db, panels, tiles):
    """For a layer that is not the first."""
    _gradients_of_layer(share, shares, layer, shape, R, kept, dWx, dWh, db, scratch_of(share, panels, tiles))


@shared
def _gradients(
    share, shares, shape: Shape, R, kept: Kept, steps: StepGradients, xs, sums, Wx, dWx, dWh, db, dx, dx_rows, dWc, dWq,
    panels, tiles,
):  # fmt: skip
    """Those of x, of the first layer, of Wc, and of Wq. xs: the rows of x, sums: those of dz that go with them."""
    D, H, K, A, E, gate_step = shape.D, shape.H, shape.K, shape.A, shape.E, shape.gate_step
    scratch = scratch_of(share, panels, tiles)
    _gradients_of_layer(share, shares, 0, shape, R, kept, dWx, dWh, db, scratch)
    count = dx_rows.size
    of_sums = even_matrix(sums, 0, count, gate_step, 1)
    to_dWx = Rows(even_row_addresses(dWx, D, 4 * H), 0, 0)
    matmul(share, shares, D, 4 * H, count, even_matrix(xs, 0, D, 1, D), of_sums, to_dWx, zeros_for(to_dWx), scratch)
    to_dx = Rows(row_addresses(dx, dx_rows, D), 0, 0)
    matmul(share, shares, count, D, 4 * H, of_sums, even_matrix(Wx, 0, 4 * H, 1, 4 * H), to_dx, zeros_for(to_dx), scratch)
    joined_step = shape.joined_step
    to_dWc = Rows(even_row_addresses(dWc, E + H, K), 0, 0)
    dproduct = even_matrix(steps.dproduct, 0, R, shape.out_step, 1)
    joined = even_matrix(kept.joined, 0, E + H, 1, joined_step)
    matmul(share, shares, E + H, K, R, joined, dproduct, to_dWc, zeros_for(to_dWc), scratch)
    if dWq.size > 0:
        to_dWq = Rows(even_row_addresses(dWq, H, A), 0, 0)
        top, dqueries = even_matrix(kept.joined, E, H, 1, joined_step), even_matrix(steps.dqueries, 0, R, shape.query_step, 1)
        matmul(share, shares, H, A, R, top, dqueries, to_dWq, zeros_for(to_dWq), scratch)


def input_feeding_backward(douts, dh_last, dc_last, keys, values, lstms, Wc, Wq, v, scale, cache, grads_lstms, dWc, dWq, dv):
    shape, batch, block, masks, kept, (x, ids), x_rows, lengths_dec = cache
    N, T1, T2, L, V, D, H, K, A, E = shape[:10]
    dtype, R = douts.dtype, int(batch.firsts[-1])
    none = nothing(dtype)
    by_sample = N * shape.h_step
    falling = Falling(*pieces(dtype, L * by_sample, L * N * H, N * shape.out_step, by_sample, by_sample))
    steps = StepGradients(
        *pieces(
            dtype, R * shape.out_step, R * shape.joined_step, R * shape.query_step if Wq is not None else 0, N * T2 * T1
        )
    )  # fmt: skip
    dkeys, dvalues = empty(keys.shape, dtype), None if values is keys else empty(values.shape, dtype)
    dvs = none if v is None else empty(N * A, dtype)
    into = SourceGradients(flat(dkeys), flat_or_nothing(dvalues, dtype), dvs)
    dh0, dc0, dfeed0 = empty((L, N, H), dtype), empty((L, N, H), dtype), empty((N, K), dtype)
    weights = [flat(weight) for weight in lstms]
    widths = [K] + [H] * (L - 1)
    places, packed_numbers = _places(
        *[panel_numbers(4 * H, columns, dtype) for width in widths for columns in (width, H)],
        panel_numbers(A, H, dtype), panel_numbers(K, E + H, dtype),
    )  # fmt: skip
    prepared = Prepared(empty(packed_numbers, dtype), places, none, none)
    _prepare_back(shape, *weights[:2], flat_or_nothing(Wq, dtype), flat(Wc), prepared, work=4 * packed_numbers)
    for layer in range(1, L):
        _prepare_layer_back(layer, shape, *weights[3 * layer : 3 * layer + 2], prepared, work=64 * H * H)
    panels, tiles = scratch(dtype)
    source = Source(flat(keys), flat(values), flat_or_nothing(v, dtype), np.full(1, scale, dtype))
    _backward(
        block, shape, batch, source, masks, prepared, kept, flat(douts),
        States(flat_or_nothing(dh_last, dtype), flat_or_nothing(dc_last, dtype), none), falling, steps, into,
        States(flat(dh0), flat(dc0), flat(dfeed0)), panels, tiles,
        shares=len(tiles), work=8 * R * L * H * H + 8 * R * T1 * E,
    )  # fmt: skip
    grads = [flat(grad) for grad in grads_lstms]
    for layer in range(1, L):
        of_layer = grads[3 * layer : 3 * layer + 3]
        _layer_gradients(layer, shape, R, kept, *of_layer, panels, tiles, shares=len(tiles), work=16 * R * H * H)
    sums, dx_rows = kept.gates, real_rows(None, R, 1)
    if V:
        occurs = np.zeros((V, 1), bool)
        occurs[batch.tokens] = True
        # Whatever stands in the vector of a token that does not occur, NaN too, must not come into dWx.
        xs, dx, dx_rows = np.where(occurs, x, x.dtype.type(0)), empty(x.shape, dtype), x_rows
        sums = empty(V * shape.gate_step, dtype)
        _sum_by_token(shape, batch, kept.gates, sums, work=4 * R * H)
    elif ids is None:
        xs, dx, dx_rows = x.reshape(N * T2, D)[x_rows], zeros_at_padding(empty(x.shape, dtype), lengths_dec), x_rows
    else:
        xs, dx = x[x_rows], empty((R, D), dtype)
    _gradients(
        shape, R, kept, steps, flat(xs), sums, weights[0], *grads[:3], flat(dx), dx_rows, flat(dWc),
        flat_or_nothing(dWq, dtype), panels, tiles, shares=len(tiles), work=8 * R * (E + H) * K,
    )  # fmt: skip
    if dv is not None:
        np.sum(dvs.reshape(N, A), axis=0, out=dv)
    if ids is not None and not V:
        by_row, dx = dx.reshape(1, R, D), empty(x.shape, dtype)
        embedding_backward(by_row, x_rows.reshape(1, R), dx, None)
    return dx, dkeys, dvalues, dh0, dc0, dfeed0
