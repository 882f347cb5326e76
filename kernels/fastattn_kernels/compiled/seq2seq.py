"""A whole small model in a few launches; what it computes stands in ``reference/seq2seq.py``.

With small weights a launch, and the Python around it, take as long as many a kernel. So a share takes its samples from their
token ids to the gradient of their scores in one launch, and back to the dz of both LSTMs in another. Two more make the
gradients of the weights: the sums by token, then all products. The parts are those that the layers' kernels are made of.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .attention import Attended, Extent, attend, attend_backward
from .cross_entropy import loss_and_gradient
from .engine.buffers import empty, flat, places_of
from .engine.compiling import kernel
from .engine.jit import shared
from .engine.padding import all_lengths, block_of_samples, samples_of
from .engine.product import (
    even_matrix,
    evenly_spaced,
    matmul,
    odd_step,
    panel_numbers,
    row_addresses,
    same_row,
    scaled,
    scratch,
    scratch_of,
    weight_gradients,
    zeros_for,
)
from .engine.values import EvenRows, Indices, Matrix, Packed, Place, Rows, without_names
from .lstm import (
    Activations,
    Order,
    Prepared,
    Sizes,
    State,
    StateGradient,
    WeightGradients,
    Weights,
    backward_of_samples,
    forward_of_samples,
    gradients,
    positions_of,
    running,
    sum_by_token,
)

# Pieces of memory. What a forward keeps of the encoder's LSTM and, _DECODER further on, of the decoder's:
_INPUTS, _H_PREV, _GATES, _CS, _HS, _DECODER = 0, 1, 2, 3, 4, 5
# of both, a row for each target: context, state and a one; then the gradient of the scores.
_JOINED, _SCORES = 10, 11
# What a backward needs of each LSTM, and of both.
_DHS, _DH, _DC, _SUMS, _DECODER_TOO = 0, 1, 2, 3, 4
_DJOINED = 8
# The weights, as everywhere: the encoder's W, Wx, Wh, b; the decoder's; those of the affine map.
_WX, _WH, _B, _OF_DECODER, _W_OUT, _B_OUT = 1, 2, 3, 4, 8, 9


class Shape(NamedTuple):
    """Of a batch, of a model, and how far apart the rows are of what is kept."""

    N: int
    T1: int
    T2: int
    D: int
    H: int
    V1: int
    V2: int
    input_step: int
    h_step: int
    gate_step: int
    joined_step: int


class Layout(NamedTuple):
    """Where the samples and steps of both sides stand, and their lengths. firsts: each sample's first target."""

    order1: Order
    order2: Order
    positions1: Indices
    positions2: Indices
    lengths1: Indices
    lengths2: Indices
    firsts: Indices


class Tokens(NamedTuple):
    """The tokens of the rows of both LSTMs, and t (N, T2 + 1), flat."""

    source: Indices
    target: Indices
    t: Indices


@kernel
def _piece(memory, places, i):
    return memory[places[i, 0] : places[i, 1]]


@kernel
def _sizes_of(shape):
    return Sizes(shape.D, shape.H, shape.input_step, shape.h_step, shape.gate_step)


@kernel
def _kept(memory, places, decoder, positions, tokens):
    """What is kept of the encoder's LSTM, or of the decoder's (_DECODER)."""
    h_prev, gates = _piece(memory, places, decoder + _H_PREV), _piece(memory, places, decoder + _GATES)
    return Activations(positions, tokens, h_prev, gates, _piece(memory, places, decoder + _CS), memory[:0])


@kernel
def _attended(n, shape, hs1, hs2):
    """The states of a sample, or their gradients: keys and values, queries and states."""
    T1, T2, H = shape.T1, shape.T2, shape.H
    keys, queries = Place(hs1, n * T1 * H), EvenRows(hs2, n * T2 * H, H)
    return Attended(keys, keys, queries, queries)


@kernel
def _extent(n, shape, lengths1, lengths2):
    return Extent(shape.T1, lengths1[n], shape.T2, lengths2[n], shape.H, shape.H, shape.H)


@kernel
def _samples(share, shares, block, order, other_order):
    """A share's samples, where they stand in one order of all of them, rising, and where in another, rising as well."""
    mine, N = samples_of(share, shares, order.size, block), order.size
    samples, others, is_mine = np.empty(mine.size, np.int64), np.empty(mine.size, np.int64), evenly_spaced(N, 0)
    for i in range(mine.size):
        samples[i] = order[mine[i]]
        is_mine[samples[i]] = 1
    count = 0
    for r in range(N):
        if is_mine[other_order[r]] == 1:
            others[count] = r
            count += 1
    return samples, mine, others


@kernel
def _rows_of(samples, firsts):
    """The rows of some samples: sample n has those from firsts[n] to firsts[n + 1]."""
    count = 0
    for n in samples:
        count += firsts[n + 1] - firsts[n]
    rows, count = np.empty(count, np.int64), 0
    for n in samples:
        for row in range(firsts[n], firsts[n + 1]):
            rows[count] = row
            count += 1
    return rows


@shared
def _forward(
    share, shares, shape: Shape, block, layout: Layout, tokens: Tokens, weights, memory, places, own, packed_numbers, states, a,
    losses, numbers, panels, tiles,
):  # fmt: skip
    """From token ids to the gradient of the scores, for a loss whose gradient is 1. own: what is packed, and projected.

    numbers: by what the gradient of each target is multiplied, the scale of attention, the part of a target that is spread.
    """
    N, T1, T2, H, V2 = shape.N, shape.T1, shape.T2, shape.H, shape.V2
    joined_step, firsts, NH = shape.joined_step, layout.firsts, N * H
    scratch, none, sizes = scratch_of(share, panels, tiles), memory[:0], _sizes_of(shape)
    samples, mine1, mine2 = _samples(share, shares, block, layout.order1.samples, layout.order2.samples)
    prepared = Prepared(1, Packed(own[share], 0, H, 4 * H), own[share, packed_numbers:])
    hs1, hs2, joined = _piece(memory, places, _HS), _piece(memory, places, _DECODER + _HS), _piece(memory, places, _JOINED)
    scores, h1 = _piece(memory, places, _SCORES), states[:NH]
    forward_of_samples(
        share, shares, mine1, layout.order1, sizes, weights[0], _piece(memory, places, _INPUTS),
        Weights(weights[_WX], weights[_WH], weights[_B]), prepared, _kept(memory, places, 0, layout.positions1, tokens.source),
        State(none, none), State(h1, states[NH : 2 * NH]), EvenRows(hs1, 0, H), scratch,
    )  # fmt: skip
    forward_of_samples(
        share, shares, mine2, layout.order2, sizes, weights[_OF_DECODER], _piece(memory, places, _DECODER + _INPUTS),
        Weights(weights[_OF_DECODER + _WX], weights[_OF_DECODER + _WH], weights[_OF_DECODER + _B]), prepared,
        _kept(memory, places, _DECODER, layout.positions2, tokens.target), State(h1, none),
        State(states[2 * NH : 3 * NH], states[3 * NH :]), EvenRows(hs2, 0, H), scratch,
    )  # fmt: skip
    for n in samples:
        attend(
            _extent(n, shape, layout.lengths1, layout.lengths2), _attended(n, shape, hs1, hs2), none, numbers[1:],
            Place(a, n * T2 * T1), EvenRows(joined, firsts[n] * joined_step, joined_step), scratch,
        )  # fmt: skip
    rows = _rows_of(samples, firsts)
    for row in rows:
        joined[row * joined_step + 2 * H] = 1
    matmul(
        0, 1, rows.size, V2, 2 * H, Matrix(joined, 0, scaled(rows, joined_step), 0, 1),
        even_matrix(weights[_W_OUT], 0, 2 * H, V2, 1), Rows(row_addresses(scores, rows, V2), 0, 0),
        same_row(weights[_B_OUT], rows.size), scratch,
    )  # fmt: skip
    for n in samples:
        for step in range(layout.lengths2[n]):
            row, target = firsts[n] + step, tokens.t[n * (T2 + 1) + step + 1]
            losses[row] = loss_and_gradient(scores[row * V2 : (row + 1) * V2], target, numbers[0], numbers[2])


@shared
def _backward(
    share, shares, shape: Shape, block, layout: Layout, tokens: Tokens, weights, memory, places, a, numbers, more, more_places,
    own, packed_numbers, dh0, dc0, panels, tiles,
):  # fmt: skip
    """From the gradient of the scores, times dloss, to both LSTMs' dz, in the place of their gates. own: packed, and ds.

    numbers: dloss, and the scale of the scores.
    """
    T1, T2, H, V2, firsts = shape.T1, shape.T2, shape.H, shape.V2, layout.firsts
    scratch, none, sizes, dloss = scratch_of(share, panels, tiles), memory[:0], _sizes_of(shape), numbers[0]
    samples, mine1, mine2 = _samples(share, shares, block, layout.order1.samples, layout.order2.samples)
    rows, dscores, djoined = _rows_of(samples, firsts), _piece(memory, places, _SCORES), _piece(more, more_places, _DJOINED)
    packed, ds = Packed(own[share], 0, 4 * H, H), own[share, packed_numbers:]
    dhs1, dhs2 = _piece(more, more_places, _DHS), _piece(more, more_places, _DECODER_TOO + _DHS)
    hs1, hs2 = _piece(memory, places, _HS), _piece(memory, places, _DECODER + _HS)
    if dloss != 1:
        for row in rows:
            gradient = dscores[row * V2 : (row + 1) * V2]
            for v in range(V2):
                gradient[v] *= dloss
    to_djoined = Rows(row_addresses(djoined, rows, 2 * H), 0, 0)
    matmul(
        0, 1, rows.size, 2 * H, V2, Matrix(dscores, 0, scaled(rows, V2), 0, 1), even_matrix(weights[_W_OUT], 0, V2, 1, V2),
        to_djoined, zeros_for(to_djoined), scratch,
    )  # fmt: skip
    for n in samples:
        into = _attended(n, shape, dhs1, dhs2)
        attend_backward(
            _extent(n, shape, layout.lengths1, layout.lengths2), _attended(n, shape, hs1, hs2),
            Attended(into.keys, Place(none, 0), into.queries, EvenRows(none, 0, 0)), none, numbers[1:], Place(a, n * T2 * T1),
            EvenRows(djoined, firsts[n] * 2 * H, 2 * H), Place(none, 0), ds, scratch,
        )  # fmt: skip
    backward_of_samples(
        mine2, layout.order2, sizes, EvenRows(dhs2, 0, H),
        StateGradient(
            State(none, none), _piece(more, more_places, _DECODER_TOO + _DH), _piece(more, more_places, _DECODER_TOO + _DC),
            State(dh0, dc0),
        ),
        weights[_OF_DECODER + _WH], True, packed, _kept(memory, places, _DECODER, layout.positions2, tokens.target),
    )  # fmt: skip
    backward_of_samples(
        mine1, layout.order1, sizes, EvenRows(dhs1, 0, H),
        StateGradient(
            State(dh0, none), _piece(more, more_places, _DH), _piece(more, more_places, _DC), State(none, none)
        ),
        weights[_WH], True, packed, _kept(memory, places, 0, layout.positions1, tokens.source),
    )  # fmt: skip


@shared
def _sums(share, shares, shape: Shape, tokens: Tokens, memory, places, more, more_places):
    step = shape.gate_step
    sum_by_token(
        share, shares, shape.V1, shape.H, tokens.source, EvenRows(_piece(memory, places, _GATES), 0, step),
        _piece(more, more_places, _SUMS),
    )  # fmt: skip
    sum_by_token(
        share, shares, shape.V2, shape.H, tokens.target, EvenRows(_piece(memory, places, _DECODER + _GATES), 0, step),
        _piece(more, more_places, _DECODER_TOO + _SUMS),
    )  # fmt: skip


@kernel
def _gradients_of(share, shares, shape, R, V, kept, inputs, sums, Wx, grads, dW, scratch):
    """Those of an embedding and its LSTM."""
    to_dW = Rows(row_addresses(dW, evenly_spaced(V, 1), shape.D), 0, 0)
    of_sums = even_matrix(sums, 0, V, shape.gate_step, 1)
    gradients(share, shares, R, _sizes_of(shape), kept, inputs, of_sums, Wx, grads, to_dW, zeros_for(to_dW), scratch)


@shared
def _gradients(
    share, shares, shape: Shape, R1, R2, weights, grads, memory, places, more, more_places, panels, tiles
):  # fmt: skip
    scratch, H, V2, nowhere = scratch_of(share, panels, tiles), shape.H, shape.V2, np.empty(0, np.int64)
    _gradients_of(
        share, shares, shape, R1, shape.V1, _kept(memory, places, 0, nowhere, nowhere),
        _piece(memory, places, _INPUTS), _piece(more, more_places, _SUMS), weights[_WX],
        WeightGradients(grads[_WX], grads[_WH], grads[_B]), grads[0], scratch,
    )  # fmt: skip
    _gradients_of(
        share, shares, shape, R2, V2, _kept(memory, places, _DECODER, nowhere, nowhere),
        _piece(memory, places, _DECODER + _INPUTS), _piece(more, more_places, _DECODER_TOO + _SUMS), weights[_OF_DECODER + _WX],
        WeightGradients(grads[_OF_DECODER + _WX], grads[_OF_DECODER + _WH], grads[_OF_DECODER + _B]), grads[_OF_DECODER],
        scratch,
    )  # fmt: skip
    weight_gradients(
        share, shares, 2 * H, V2, R2, EvenRows(_piece(memory, places, _JOINED), 0, 1), shape.joined_step,
        even_matrix(_piece(memory, places, _SCORES), 0, R2, V2, 1), grads[_W_OUT], grads[_B_OUT], scratch,
    )  # fmt: skip


# What every share has for itself: packed weights, and a row for each token, of up to so many bytes.
_OWN_BYTES = 1 << 20
# And it projects all tokens: so many operations, or a small part of those of the steps, are less than a launch and a wait.
_SMALL_PROJECTION, _SMALL_PART = 4_000_000, 8


class _Kept(NamedTuple):
    """What a forward keeps for its backward."""

    batch: Any  # Shape, block, Layout and Tokens, without names
    memory: Any
    places: Any
    a: Any


@lru_cache(maxsize=32)
def _whole(N, T1, T2):
    """The layout of a batch without padding."""
    return _layout(None, None, N, T1, T2)


def _layout(lengths1, lengths2, N, T1, T2):
    """The layout of a batch, with names and without."""
    order1, order2 = running(lengths1, N, T1), running(lengths2, N, T2)
    lengths = all_lengths(lengths2, N, T2)
    firsts = np.zeros(N + 1, np.int64)
    np.cumsum(lengths, out=firsts[1:])
    positions = positions_of(order1, lengths1, N, T1), positions_of(order2, lengths2, N, T2)
    layout = Layout(order1, order2, *positions, all_lengths(lengths1, N, T1), lengths, firsts)
    return layout, without_names(layout)


def _is_small(W, H, steps):
    """Whether each share can project all tokens for itself."""
    V, D = W.shape
    operations = 8 * V * (D + 16) * H
    return 4 * V * H * W.itemsize <= _OWN_BYTES and operations <= max(_SMALL_PROJECTION, steps * H * H // _SMALL_PART)


def seq2seq_as_one(weights, x, t, source_lengths, target_lengths):
    W1, _, Wh1, _, W2, _, _, _, W_out, _ = weights
    (N, T1), T2, H = x.shape, t.shape[1] - 1, len(Wh1)
    # The choice is the same for any number of threads, for the two ways do not round alike.
    return (
        max(Wh1.nbytes, W_out.nbytes) <= _OWN_BYTES
        and _is_small(W1, H, N * T1 if source_lengths is None else int(source_lengths.sum()))
        and _is_small(W2, H, N * T2 if target_lengths is None else int(target_lengths.sum()) - N)
    )


def seq2seq_forward(weights, x, t, source_lengths, target_lengths):
    W1, _, Wh1, _, W2, _, _, _, _, _ = weights
    (N, T1), T2 = x.shape, t.shape[1] - 1
    (V1, D), H, V2, dtype = W1.shape, len(Wh1), len(W2), W1.dtype
    lengths = None if target_lengths is None else target_lengths - 1
    is_whole = source_lengths is None and target_lengths is None
    layout, plain_layout = _whole(N, T1, T2) if is_whole else _layout(source_lengths, lengths, N, T1, T2)
    R1, R2 = len(layout.positions1), len(layout.positions2)
    x, t = flat(x), flat(t)
    tokens = Tokens(x[layout.positions1], t[positions_of(layout.order2, lengths, N, T2, step=T2 + 1)], t)
    panels, tiles = scratch(dtype)
    copies = len(tiles)
    input_step, h_step, gate_step = odd_step(D + 1, dtype), odd_step(H, dtype), odd_step(4 * H, dtype)
    joined_step = odd_step(2 * H + 1, dtype)
    places, numbers = places_of(
        (
            V1 * input_step, (R1 - int(layout.order1.starts[1])) * h_step, R1 * gate_step, (N + R1) * H, N * T1 * H,
            V2 * input_step, R2 * h_step, R2 * gate_step, (N + R2) * H, N * T2 * H,
            R2 * joined_step, R2 * V2,
        ),
        dtype,
    )  # fmt: skip
    shape = Shape(N, T1, T2, D, H, V1, V2, input_step, h_step, gate_step, joined_step)
    memory, states, a, losses = empty(numbers, dtype), empty(4 * N * H, dtype), empty((N, T2, T1), dtype), np.empty(R2)
    packed_numbers = panel_numbers(H, 4 * H, dtype)
    own = empty((copies, packed_numbers + max(V1, V2) * gate_step), dtype)
    block = block_of_samples(target_lengths if source_lengths is None else source_lengths, N)
    batch = tuple(shape), block, plain_layout, tuple(tokens)
    _forward(
        *batch, tuple([flat(w) for w in weights]), memory, places, own, packed_numbers, states, flat(a),
        losses, np.array((1 / R2, 1, 0), dtype), panels, tiles, shares=copies, work=8 * (R1 + R2) * (D + H) * H,
    )  # fmt: skip
    return float(losses.sum() / R2), a, states.reshape(4, N, H), _Kept(batch, memory, places, a)


def seq2seq_backward(dloss, weights, cache, grads):
    batch, memory, places, a = cache
    shape, _, _, tokens = batch
    N, T1, T2, D, H, V1, V2, _, h_step, gate_step, _ = shape
    dtype, R1, R2 = memory.dtype, tokens[0].size, tokens[1].size
    panels, tiles = scratch(dtype)
    copies = len(tiles)
    more_places, numbers = places_of(
        (
            N * T1 * H, N * h_step, N * H, V1 * gate_step, N * T2 * H, N * h_step, N * H, V2 * gate_step,
            R2 * 2 * H,
        ),
        dtype,
    )  # fmt: skip
    more, dh0, dc0 = empty(numbers, dtype), empty((N, H), dtype), empty((N, H), dtype)
    packed_numbers = panel_numbers(4 * H, H, dtype)
    own = empty((copies, packed_numbers + T1 * T2), dtype)
    weights, grads = tuple([flat(w) for w in weights]), tuple([flat(g) for g in grads])
    work = 8 * (R1 + R2) * (D + H) * H
    _backward(
        *batch, weights, memory, places, flat(a), np.array((dloss, 1), dtype), more, more_places, own,
        packed_numbers, flat(dh0), flat(dc0), panels, tiles, shares=copies, work=work,
    )  # fmt: skip
    _sums(shape, tokens, memory, places, more, more_places, work=4 * (R1 + R2) * H)
    _gradients(
        shape, R1, R2, weights, grads, memory, places, more, more_places, panels, tiles,
        shares=copies, work=work,
    )  # fmt: skip
    return dh0, dc0
