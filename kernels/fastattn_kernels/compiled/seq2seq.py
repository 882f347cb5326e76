"""A whole small model in a few launches; what it computes stands in ``reference/seq2seq.py``.

With small weights a launch, and the Python around it, take as long as many a kernel. So a share takes its samples from their
token ids to the gradient of their scores in one launch, and back to the dz of both LSTMs in another. Two more make the
gradients of the weights: the sums by token, then all products. The parts are those that the layers' kernels are made of.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .attention import attend, attend_backward
from .cross_entropy import loss_and_gradient
from .engine.buffers import empty, places_of
from .engine.compiling import kernel
from .engine.jit import shared
from .engine.padding import all_lengths, block_of_samples, samples_of
from .engine.product import (
    evenly_spaced,
    matmul,
    odd_step,
    panel_numbers,
    row_addresses,
    scaled,
    scratch,
    weight_gradients,
)
from .lstm import backward_of_samples, forward_of_samples, gradients, running, sum_by_token

# Pieces of memory. What a forward keeps of the encoder's LSTM and, _DECODER further on, of the decoder's:
_INPUTS, _H_PREV, _GATES, _CS, _HS, _DECODER = 0, 1, 2, 3, 4, 5
# of both, a row for each target: context, state and a one; then the gradient of the scores.
_JOINED, _SCORES = 10, 11
# What a backward needs of each LSTM, and of both.
_DHS, _DH, _DC, _SUMS, _DECODER_TOO = 0, 1, 2, 3, 4
_DJOINED = 8
# The weights, as everywhere: the encoder's W, Wx, Wh, b; the decoder's; those of the affine map.
_WX, _WH, _B, _OF_DECODER, _W_OUT, _B_OUT = 1, 2, 3, 4, 8, 9


@kernel
def _piece(memory, places, i):
    return memory[places[i, 0] : places[i, 1]]


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
    share, shares, sizes, block, order1, starts1, order2, starts2, lengths1, lengths2, firsts, x, t, weights, memory, places,
    own, packed_numbers, states, a, losses, factor, panels, tiles,
):  # fmt: skip
    """From token ids to the gradient of the scores, for a loss whose gradient is 1. own: what is packed, and projected."""
    N, T1, T2, D, H, V1, V2, input_step, h_step, gate_step, joined_step = sizes
    panel, tile, none, NH = panels[share], tiles[share], memory[:0], N * H
    samples, mine1, mine2 = _samples(share, shares, block, order1, order2)
    packed, projected = own[share, :packed_numbers], own[share, packed_numbers:]
    hs1, hs2, joined = _piece(memory, places, _HS), _piece(memory, places, _DECODER + _HS), _piece(memory, places, _JOINED)
    scores, h1 = _piece(memory, places, _SCORES), states[:NH]
    forward_of_samples(
        share, shares, mine1, order1, starts1, x, T1, evenly_spaced(V1, 1), weights[0], none, none, D, H, weights[_WX],
        weights[_WH], weights[_B], True, packed, projected, _piece(memory, places, _INPUTS), input_step,
        _piece(memory, places, _H_PREV), h_step, _piece(memory, places, _GATES), gate_step, _piece(memory, places, _CS),
        hs1, h1, states[NH : 2 * NH], panel, tile,
    )  # fmt: skip
    forward_of_samples(
        share, shares, mine2, order2, starts2, t, T2 + 1, evenly_spaced(V2, 1), weights[_OF_DECODER], h1, none, D, H,
        weights[_OF_DECODER + _WX], weights[_OF_DECODER + _WH], weights[_OF_DECODER + _B], True, packed, projected,
        _piece(memory, places, _DECODER + _INPUTS), input_step, _piece(memory, places, _DECODER + _H_PREV), h_step,
        _piece(memory, places, _DECODER + _GATES), gate_step, _piece(memory, places, _DECODER + _CS),
        hs2, states[2 * NH : 3 * NH], states[3 * NH :], panel, tile,
    )  # fmt: skip
    for n in samples:
        attend(
            T1, lengths1[n], T2, lengths2[n], H, 2 * H, hs1, n * T1 * H, hs2, n * T2 * H, a, n * T2 * T1, joined,
            firsts[n] * joined_step, joined_step, panel, tile,
        )  # fmt: skip
    rows = _rows_of(samples, firsts)
    for row in rows:
        joined[row * joined_step + 2 * H] = 1
    matmul(
        0, 1, rows.size, V2, 2 * H, joined, 0, scaled(rows, joined_step), 1, weights[_W_OUT], 0, evenly_spaced(2 * H, V2), 1,
        row_addresses(scores, rows, V2), 0, weights[_B_OUT], panel, tile,
    )  # fmt: skip
    for n in samples:
        for step in range(lengths2[n]):
            row, target = firsts[n] + step, t[n * (T2 + 1) + step + 1]
            losses[row] = loss_and_gradient(scores[row * V2 : (row + 1) * V2], target, factor[0])


@shared
def _backward(
    share, shares, sizes, block, order1, starts1, order2, starts2, lengths1, lengths2, firsts, weights, memory, places, a,
    dloss, more, more_places, own, packed_numbers, dh0, dc0, panels, tiles,
):  # fmt: skip
    """From the gradient of the scores, times dloss, to both LSTMs' dz, in the place of their gates. own: packed, and ds."""
    _, T1, T2, _, H, _, V2, _, h_step, gate_step, _ = sizes
    panel, tile, none = panels[share], tiles[share], memory[:0]
    samples, mine1, mine2 = _samples(share, shares, block, order1, order2)
    rows, dscores, djoined = _rows_of(samples, firsts), _piece(memory, places, _SCORES), _piece(more, more_places, _DJOINED)
    packed, ds = own[share, :packed_numbers], own[share, packed_numbers:]
    dhs1, dhs2 = _piece(more, more_places, _DHS), _piece(more, more_places, _DECODER_TOO + _DHS)
    hs1, hs2 = _piece(memory, places, _HS), _piece(memory, places, _DECODER + _HS)
    if dloss[0] != 1:
        for row in rows:
            gradient = dscores[row * V2 : (row + 1) * V2]
            for v in range(V2):
                gradient[v] *= dloss[0]
    matmul(
        0, 1, rows.size, 2 * H, V2, dscores, 0, scaled(rows, V2), 1, weights[_W_OUT], 0, evenly_spaced(V2, 1), V2,
        row_addresses(djoined, rows, 2 * H), 0, none, panel, tile,
    )  # fmt: skip
    for n in samples:
        attend_backward(
            T1, lengths1[n], T2, lengths2[n], H, 2 * H, djoined, firsts[n] * 2 * H, 2 * H, hs1, n * T1 * H, hs2, n * T2 * H,
            a, n * T2 * T1, dhs1, dhs2, ds, panel, tile,
        )  # fmt: skip
    backward_of_samples(
        mine2, order2, starts2, dhs2, none, none, H, weights[_OF_DECODER + _WH], True, packed,
        _piece(memory, places, _DECODER + _GATES), gate_step, _piece(memory, places, _DECODER + _CS),
        _piece(more, more_places, _DECODER_TOO + _DH), h_step, _piece(more, more_places, _DECODER_TOO + _DC), dh0, dc0,
    )  # fmt: skip
    backward_of_samples(
        mine1, order1, starts1, dhs1, dh0, none, H, weights[_WH], True, packed, _piece(memory, places, _GATES), gate_step,
        _piece(memory, places, _CS), _piece(more, more_places, _DH), h_step, _piece(more, more_places, _DC), none, none,
    )  # fmt: skip


@shared
def _sums(share, shares, sizes, order1, starts1, order2, starts2, x, t, memory, places, more, more_places):
    _, T1, T2, _, H, V1, V2, _, _, gate_step, _ = sizes
    sum_by_token(
        share, shares, V1, order1, starts1, x, T1, _piece(memory, places, _GATES), gate_step, H,
        _piece(more, more_places, _SUMS),
    )  # fmt: skip
    sum_by_token(
        share, shares, V2, order2, starts2, t, T2 + 1, _piece(memory, places, _DECODER + _GATES), gate_step, H,
        _piece(more, more_places, _DECODER_TOO + _SUMS),
    )  # fmt: skip


@shared
def _gradients(share, shares, sizes, R1, R2, weights, grads, memory, places, more, more_places, panels, tiles):
    _, _, _, D, H, V1, V2, input_step, h_step, gate_step, joined_step = sizes
    panel, tile = panels[share], tiles[share]
    gradients(
        share, shares, D, H, R1, _piece(memory, places, _H_PREV), h_step, _piece(memory, places, _GATES), gate_step,
        evenly_spaced(V1, 1), _piece(memory, places, _INPUTS), input_step, _piece(more, more_places, _SUMS), weights[_WX],
        grads[_WX], grads[_WH], grads[_B], grads[0], panel, tile,
    )  # fmt: skip
    gradients(
        share, shares, D, H, R2, _piece(memory, places, _DECODER + _H_PREV), h_step,
        _piece(memory, places, _DECODER + _GATES), gate_step, evenly_spaced(V2, 1),
        _piece(memory, places, _DECODER + _INPUTS), input_step, _piece(more, more_places, _DECODER_TOO + _SUMS),
        weights[_OF_DECODER + _WX], grads[_OF_DECODER + _WX], grads[_OF_DECODER + _WH], grads[_OF_DECODER + _B],
        grads[_OF_DECODER], panel, tile,
    )  # fmt: skip
    weight_gradients(
        share, shares, 2 * H, V2, R2, _piece(memory, places, _JOINED), 1, joined_step, _piece(memory, places, _SCORES), 0,
        evenly_spaced(R2, V2), grads[_W_OUT], grads[_B_OUT], panel, tile,
    )  # fmt: skip


# What every share has for itself: packed weights, and a row for each token, of up to so many bytes.
_OWN_BYTES = 1 << 20
# And it projects all tokens: so many operations, or a small part of those of the steps, are less than a launch and a wait.
_SMALL_PROJECTION, _SMALL_PART = 4_000_000, 8


class _Kept(NamedTuple):
    """What a forward keeps for its backward."""

    sizes: Any
    block: Any
    layout: Any  # what `_layout` gives
    x: Any
    t: Any
    memory: Any
    places: Any
    a: Any


@lru_cache(maxsize=32)
def _whole(N, T1, T2):
    """The layout of a batch without padding."""
    return _layout(None, None, N, T1, T2)


def _layout(lengths1, lengths2, N, T1, T2):
    """The order of the samples and the first rows of the steps, of both sides; both lengths; each sample's first target."""
    lengths = all_lengths(lengths2, N, T2)
    firsts = np.zeros(N + 1, np.int64)
    np.cumsum(lengths, out=firsts[1:])
    return *running(lengths1, N, T1), *running(lengths2, N, T2), all_lengths(lengths1, N, T1), lengths, firsts


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
    if source_lengths is None and target_lengths is None:
        layout = _whole(N, T1, T2)
    else:
        layout = _layout(source_lengths, None if target_lengths is None else target_lengths - 1, N, T1, T2)
    starts1, starts2 = layout[1], layout[3]
    R1, R2 = int(starts1[-1]), int(starts2[-1])
    panels, tiles = scratch(dtype)
    copies = len(tiles)
    input_step, h_step, gate_step = odd_step(D + 1, dtype), odd_step(H, dtype), odd_step(4 * H, dtype)
    joined_step = odd_step(2 * H + 1, dtype)
    places, numbers = places_of(
        (
            V1 * input_step, (R1 - int(starts1[1])) * h_step, R1 * gate_step, (N + R1) * H, N * T1 * H,
            V2 * input_step, R2 * h_step, R2 * gate_step, (N + R2) * H, N * T2 * H,
            R2 * joined_step, R2 * V2,
        ),
        dtype,
    )  # fmt: skip
    sizes = (N, T1, T2, D, H, V1, V2, input_step, h_step, gate_step, joined_step)
    memory, states, a, losses = empty(numbers, dtype), empty(4 * N * H, dtype), empty((N, T2, T1), dtype), np.empty(R2)
    packed_numbers = panel_numbers(H, 4 * H, dtype)
    own = empty((copies, packed_numbers + max(V1, V2) * gate_step), dtype)
    x, t = x.reshape(x.size), t.reshape(t.size)
    block = block_of_samples(target_lengths if source_lengths is None else source_lengths, N)
    _forward(
        sizes, block, *layout, x, t, tuple([w.reshape(w.size) for w in weights]), memory, places, own, packed_numbers,
        states, a.reshape(a.size), losses, np.full(1, 1 / R2, dtype), panels, tiles,
        shares=copies, work=8 * (R1 + R2) * (D + H) * H,
    )  # fmt: skip
    return float(losses.sum() / R2), a, states.reshape(4, N, H), _Kept(sizes, block, layout, x, t, memory, places, a)


def seq2seq_backward(dloss, weights, cache, grads):
    sizes, block, layout, x, t, memory, places, a = cache
    N, T1, T2, D, H, V1, V2, _, h_step, gate_step, _ = sizes
    order1, starts1, order2, starts2, *_ = layout
    dtype, R1, R2 = memory.dtype, int(starts1[-1]), int(starts2[-1])
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
    weights, grads = tuple([w.reshape(w.size) for w in weights]), tuple([g.reshape(g.size) for g in grads])
    work = 8 * (R1 + R2) * (D + H) * H
    _backward(
        sizes, block, *layout, weights, memory, places, a.reshape(a.size), np.full(1, dloss, dtype), more, more_places, own,
        packed_numbers, dh0.reshape(N * H), dc0.reshape(N * H), panels, tiles, shares=copies, work=work,
    )  # fmt: skip
    _sums(sizes, order1, starts1, order2, starts2, x, t, memory, places, more, more_places, work=4 * (R1 + R2) * H)
    _gradients(sizes, R1, R2, weights, grads, memory, places, more, more_places, panels, tiles, shares=copies, work=work)
    return dh0, dc0
