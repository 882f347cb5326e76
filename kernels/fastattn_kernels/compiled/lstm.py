"""LSTM over a whole sequence, in one direction or both; the mathematics and its notation stand in ``reference/lstm.py``.

How it is arranged
------------------
Only real steps are stored. The samples are put in order of falling length, so that at step t the first few of them are still
running; step t owns the rows ``starts[t]`` to ``starts[t + 1]`` of every internal array, R rows in all (the "packed sequence"
of other libraries). Padding costs neither memory nor time, and cannot be seen in the result.

- ``positions``: where the step of each row stands in an array (N, T, ...). A direction that reads from the last step to the
  first differs from the other in these alone: nothing is turned round.
- ``x``: the rows that the LSTM is given. From arrays that is a row for each real step. From token ids it is the embedding's
  whole W, a row for each token: what follows from x alone is then computed V times and not R times.
- ``inputs``: a row is [x | 1]; kept for the backward, where one product gives dWx and db. Both directions share it.
- ``projected``: x Wx + b, for each row of x. From arrays it is made where the gates are to stand.
- ``h_prev``: a row is h_(t-1), which the step before it wrote there, times the mask of recurrent dropout, if there is one.
  Where the first state is zeros, step 0 has no rows in it, and no product with Wh.
- ``gates``: a row is f | g | i | o, 4H numbers. The backward puts dz in their place.
- ``cs``: c0 of every sample, then c of every row.
- ``sums``: the sum of dz over the steps that had the same row of x: what dWx, db and dx are made of.

A share takes its samples through the whole sequence, and waits for nobody. With two directions, it does one of them.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .embedding import embedding_backward, embedding_forward
from .engine.buffers import empty, flat, nothing, pieces
from .engine.compiling import kernel
from .engine.cpu import GROUP_BYTES
from .engine.gates import gates_backward, gates_forward
from .engine.jit import SERIAL_BELOW, leaf, num_shares, separate, shared
from .engine.padding import block_of_samples, real_rows, samples_of, zeros_at_padding
from .engine.product import (
    ceil_div,
    even_matrix,
    even_row_addresses,
    evenly_spaced,
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
    weight_gradients,
    zeros_for,
)
from .engine.values import EvenRows, Floats, Indices, Matrix, Packed, Place, Rows, Scratch
from .engine.vector import TO_ZEROS, clear, copy


class Order(NamedTuple):
    """The samples by falling length, and the first row of each step, T + 1 numbers."""

    samples: Indices
    starts: Indices


class Sizes(NamedTuple):
    """Of an LSTM's weights, and how far apart the rows are of what a forward keeps."""

    D: int
    H: int
    input_step: int
    h_step: int
    gate_step: int


class Weights(NamedTuple):
    """Flat."""

    Wx: Floats
    Wh: Floats
    b: Floats


class State(NamedTuple):
    """A state or its gradient, flat. Empty: zeros, or nobody wants it."""

    h: Floats
    c: Floats


class Prepared(NamedTuple):
    """Wh, packed, and x Wx + b. own: whether a share makes both for itself; else they are there."""

    own: int
    Wh: Packed
    projected: Floats


class Activations(NamedTuple):
    """What the steps leave, flat; see the top of this file. tokens: of each row, or empty where x is given as arrays."""

    positions: Indices
    tokens: Indices
    h_prev: Floats
    gates: Floats
    cs: Floats
    mask: Floats  # a row for each sample, or empty


@lru_cache(maxsize=32)
def _all_running(N, T):
    return np.arange(N, dtype=np.int64), np.arange(T + 1, dtype=np.int64) * N


def running(lengths, N, T):
    """The order of the samples by falling length, and the first internal row of each step (T + 1 numbers)."""
    if lengths is None:
        return Order(*_all_running(N, T))
    counts = np.count_nonzero(lengths[:, None] > np.arange(T), axis=0)
    return Order(np.argsort(-lengths, kind="stable"), np.concatenate(([0], np.cumsum(counts))))


@lru_cache(maxsize=64)
def _all_positions(N, T, step, backwards):
    steps = np.arange(T - 1, -1, -1) if backwards else np.arange(T)
    return (np.arange(N, dtype=np.int64) * step + steps[:, None]).ravel()


def positions_of(order, lengths, N, T, backwards=False, step=None):
    """Where the step of each internal row stands in an array (N, ``step``, ...): n step + t; step None: T."""
    step = step or T
    if lengths is None:
        return _all_positions(N, T, step, backwards)
    lengths = lengths[order.samples]
    t, r = np.nonzero(lengths > np.arange(T)[:, None])
    return order.samples[r] * step + (lengths[r] - 1 - t if backwards else t)


@lru_cache(maxsize=32)
def _all_turned(N, T):
    return (np.arange(N, dtype=np.int64) + np.arange(T - 1, -1, -1)[:, None] * N).ravel()


def _turned(order, lengths, N, T):
    """For each row of the forward direction, the row of the backward direction that stands at the same position."""
    if lengths is None:
        return _all_turned(N, T)
    lengths = lengths[order.samples]
    t, r = np.nonzero(lengths > np.arange(T)[:, None])
    return order.starts[lengths[r] - 1 - t] + r


# Packed weights up to this many bytes are packed by every share for itself (but in a forward from arrays): quicker than a
# launch, and than fetching from another core's cache.
_OWN_WEIGHTS = 1 << 18


def _copies(numbers, dtype):
    """How many copies of packed weights to make: one for each share, or one beforehand."""
    return num_shares() if numbers * dtype.itemsize <= _OWN_WEIGHTS else 1


def _direction(states, d, dtype):
    """What is given for a direction (G, N, H), flat; empty for None, which stands for zeros, or for what nobody wants."""
    return nothing(dtype) if states is None else flat(states[d])


@kernel
def copy_state(source, start, target, position, H):
    """Copy the state of a sample; an empty source stands for zeros."""
    if source.size > 0:
        copy(source, start, target, position, H)
    else:
        clear(target, position, H)


@kernel
def copy_masked(source, start, target, position, mask, mask_at, H):
    """Copy a row, times a row of a mask, if there is a mask."""
    if mask.size == 0:
        copy(source, start, target, position, H)
    else:
        row, factors, masked = source[start : start + H], mask[mask_at : mask_at + H], target[position : position + H]
        for j in range(H):
            masked[j] = row[j] * factors[j]


@separate
def project(share: int, shares: int, sizes: Sizes, x: Matrix, weights: Weights, projected: Floats, scratch: Scratch):
    """A share of x Wx + b for rows of x, whose results stand gate_step apart."""
    columns, count = 4 * sizes.H, x.rows.size
    Wx = even_matrix(weights.Wx, 0, sizes.D, columns, 1)
    to = Rows(even_row_addresses(projected, count, sizes.gate_step), 0, 0)
    matmul(share, shares, count, columns, sizes.D, x, Wx, to, same_row(weights.b, count), scratch)


@kernel
def pack_rows(share, shares, W, packed):
    """Pack a flat matrix, row after row, to be multiplied with."""
    pack_matrix(share, shares, even_matrix(W, 0, packed.depth, packed.columns, 1), packed, 0)


@kernel
def pack_transposed(share, shares, W, packed):
    """Pack the transpose of a flat matrix."""
    pack_matrix(share, shares, even_matrix(W, 0, packed.depth, 1, packed.depth), packed, 0)


@shared
def _prepare(share, shares, directions, sizes: Sizes, x, weights1: Weights, weights2: Weights, prepared1: Prepared,
             prepared2: Prepared, rows1, rows2, panels, tiles):  # fmt: skip
    """Pack Wh, and project all rows of x."""
    own = scratch_of(share, panels, tiles)
    for d in range(directions):
        weights, prepared, rows = (weights1, prepared1, rows1) if d == 0 else (weights2, prepared2, rows2)
        pack_rows(share, shares, weights.Wh, prepared.Wh)
        project(share, shares, sizes, Matrix(x, 0, rows, 0, 1), weights, prepared.projected, own)


class Running(NamedTuple):
    """A share's places in the order of the samples, rising; of each, where its rows begin in step 0; memory for addresses."""

    places: Indices
    h_rows: Indices
    gate_rows: Indices
    projected_rows: Indices


@leaf
def _inputs_of_tokens(share: int, shares: int, sizes: Sizes, tokens: Indices, occurs: Indices, x: Floats, inputs: Floats):
    """A share of the rows [x | 1] of all tokens. occurs: a number for each token, zeros."""
    D, V = sizes.D, occurs.size
    for i in range(tokens.size):
        occurs[tokens[i]] = 1
    for v in range(share * V // shares, (share + 1) * V // shares):
        if occurs[v] > 0:
            copy(x, v * D, inputs, v * sizes.input_step, D)
        else:  # whatever stands there, NaN too, must not come into dWx
            clear(inputs, v * sizes.input_step, D)
        inputs[v * sizes.input_step + D] = 1


@leaf
def _begin(places: Indices, order: Order, sizes: Sizes, kept: Activations, first: State, last: State):
    """The states before the first step."""
    H = sizes.H
    for i in range(places.size):
        r = places[i]
        n = order.samples[r]
        copy_state(first.c, n * H, kept.cs, r * H, H)
        copy(kept.cs, r * H, last.c, n * H, H)
        copy_state(first.h, n * H, last.h, n * H, H)
        if first.h.size > 0 and r < order.starts[1]:
            copy_masked(first.h, n * H, kept.h_prev, r * sizes.h_step, kept.mask, n * H, H)


@leaf
def _step(
    t: int, rows_now: int, mine: Running, order: Order, sizes: Sizes, x: Floats, inputs: Floats, prepared: Prepared,
    kept: Activations, first_row: int, last: State, hs: EvenRows,
):  # fmt: skip
    """Step t of the first of a share's rows, those that are still running; zeros at padding. first_row: of h_prev."""
    D, H, input_step, h_step, gate_step = sizes
    samples, starts = order
    positions, tokens, h_prev, gates, cs, mask = kept
    N, T = samples.size, starts.size - 1
    start, after = starts[t], starts[t + 1]
    running_next = starts[t + 2] - after if t + 1 < T else 0
    to_gates = Rows(mine.gate_rows, 0, start * gate_step)
    addends = to_gates
    if tokens.size > 0:
        addends = Rows(mine.projected_rows, 0, 0)
        for i in range(rows_now):
            token = tokens[start + mine.places[i]]
            mine.projected_rows[i] = prepared.projected.ctypes.data + token * gate_step * gates.itemsize
            if start < first_row:
                copy(prepared.projected, token * gate_step, gates, (start + mine.places[i]) * gate_step, 4 * H)
    elif inputs.size > 0:
        for i in range(rows_now):
            row = start + mine.places[i]
            copy(x, positions[row] * D, inputs, row * input_step, D)
            inputs[row * input_step + D] = 1
    if start >= first_row:
        h_before = Matrix(h_prev, (start - first_row) * h_step, mine.h_rows, 0, 1)
        multiply_rows(rows_now, h_before, prepared.Wh, to_gates, addends, -1)
    for i in range(rows_now):
        r = mine.places[i]
        row, n = start + r, samples[r]
        h, c, c_prev = hs.start + positions[row] * hs.step, (N + row) * H, ((N + starts[t - 1] if t > 0 else 0) + r) * H
        gates_forward(H, Place(gates, row * gate_step), Place(cs, c_prev), Place(cs, c), Place(hs.numbers, h))
        if r < running_next:
            copy_masked(hs.numbers, h, h_prev, (after - first_row + r) * h_step, mask, n * H, H)
        else:
            copy(hs.numbers, h, last.h, n * H, H)
            copy(cs, c, last.c, n * H, H)
    for i in range(rows_now, mine.places.size):
        clear(hs.numbers, hs.start + (samples[mine.places[i]] * T + t) * hs.step, H)


@separate
def forward_of_samples(
    share: int, shares: int, mine: Indices, order: Order, sizes: Sizes, x: Floats, inputs: Floats, weights: Weights,
    prepared: Prepared, kept: Activations, first: State, last: State, hs: EvenRows, scratch: Scratch,
):  # fmt: skip
    """What a share does in one direction: the places ``mine``, rising, in the order of the samples.

    inputs: empty if the other direction writes them. first, last: the states before and after. hs: a row for each position.
    """
    starts = order.starts
    V = x.size // sizes.D if kept.tokens.size > 0 else 0
    if prepared.own > 0:
        pack_rows(0, 1, weights.Wh, prepared.Wh)
        rows = evenly_spaced(V, sizes.D) if V > 0 else scaled(kept.positions, sizes.D)
        project(0, 1, sizes, Matrix(x, 0, rows, 0, 1), weights, prepared.projected, scratch)
    if V > 0 and inputs.size > 0:
        _inputs_of_tokens(share, shares, sizes, kept.tokens, evenly_spaced(V, 0), x, inputs)
    first_row = starts[1] if first.h.size == 0 else 0  # the first that has a row of h_prev
    gate_rows = row_addresses(kept.gates, mine, sizes.gate_step)
    running = Running(mine, scaled(mine, sizes.h_step), gate_rows, np.empty(mine.size, np.int64))
    _begin(mine, order, sizes, kept, first, last)
    rows_now = mine.size
    for t in range(starts.size - 1):
        while rows_now > 0 and mine[rows_now - 1] >= starts[t + 1] - starts[t]:
            rows_now -= 1
        _step(t, rows_now, running, order, sizes, x, inputs, prepared, kept, first_row, last, hs)


@kernel
def _part(share, shares, directions, d):
    """Which share of how many a share is of a direction: each has half of the shares, if they are even. (0, 0): of none."""
    if directions == 1 or shares % 2 == 1:
        return share, shares
    return (share // 2, shares // 2) if share % 2 == d else (0, 0)


@kernel
def _own(share, prepared, copies, numbers, projected_numbers):
    """The share's own copy of what is prepared, where there is more than one."""
    if copies == 1:
        return prepared
    Wh, at = prepared.Wh, share * projected_numbers
    own = prepared.projected[at : at + projected_numbers]
    return Prepared(prepared.own, Packed(Wh.numbers, Wh.start + share * numbers, Wh.depth, Wh.columns), own)


@shared
def _forward(
    share, shares, directions, block, copies, numbers, projected_numbers, order: Order, sizes: Sizes, x, inputs,
    weights1: Weights, weights2: Weights, prepared1: Prepared, prepared2: Prepared, kept1: Activations, kept2: Activations,
    first1: State, first2: State, last1: State, last2: State, hs1: EvenRows, hs2: EvenRows, panels, tiles,
):  # fmt: skip
    scratch = scratch_of(share, panels, tiles)
    N = order.samples.size
    part, parts = _part(share, shares, directions, 0)
    if parts > 0:
        forward_of_samples(
            part, parts, samples_of(part, parts, N, block), order, sizes, x, inputs, weights1,
            _own(share, prepared1, copies, numbers, projected_numbers), kept1, first1, last1, hs1, scratch,
        )  # fmt: skip
    part, parts = _part(share, shares, directions, 1)
    if parts > 0 and directions == 2:
        forward_of_samples(
            part, parts, samples_of(part, parts, N, block), order, sizes, x, inputs[:0], weights2,
            _own(share, prepared2, copies, numbers, projected_numbers), kept2, first2, last2, hs2, scratch,
        )  # fmt: skip


class _Kept(NamedTuple):
    """What a forward keeps for its backward. V: the number of tokens, 0 where x was given as arrays."""

    V: int
    lengths: Any
    order: Any
    sizes: Any
    inputs: Any
    activations: Any  # of each direction
    turned: Any  # see `_turned`
    from_zeros: bool


def of_direction(arrays, d):
    """Three arrays that there are for each direction: the weights Wx, Wh, b, or their gradients."""
    return arrays[3 * d : 3 * d + 3]


def _both(directions):
    """What there is for each direction, for a kernel, which is given two in any case."""
    return directions[0], directions[-1]


def _sequence_forward(x, ids, N, T, weights, h0, c0, mask, lengths):
    """Both forwards: from x (N, T, D), or from x (V, D) and the ids (N, T) of its rows."""
    G, (D, H), dtype = len(weights) // 3, (weights[0].shape[0], weights[1].shape[0]), x.dtype
    order = running(lengths, N, T)
    R = int(order.starts[-1])
    V = 0 if ids is None else len(x)
    sizes = Sizes(D, H, odd_step(D + 1, dtype), odd_step(H, dtype), odd_step(4 * H, dtype))
    positions = [positions_of(order, lengths, N, T, backwards=d == 1) for d in range(G)]
    tokens = [flat(ids)[where] if V else nothing(np.int64) for where in positions]
    rows = [real_rows(None, V, 1) if V else where for where in positions]
    weight_numbers, h_count = panel_numbers(H, 4 * H, dtype), R if h0 is not None else R - int(order.starts[1])
    # A share with weights of its own projects all of V, too; with many shares that would be the greater part of its work.
    copies = _copies(weight_numbers, dtype) if 0 < V * num_shares() <= R else 1
    to_prepare, to_step = G * (4 * weight_numbers + 8 * rows[0].size * D * H), 8 * G * R * (D + H) * H
    alone = not V and to_prepare + to_step < SERIAL_BELOW  # one share in one launch
    own = alone or copies > 1
    inputs, *arrays = pieces(
        dtype, rows[0].size * sizes.input_step, *[h_count * sizes.h_step, R * sizes.gate_step, (N + R) * H] * G
    )
    each = 1 if own else G  # shares that prepare for themselves do so anew for each direction
    if V:
        packed, projected = pieces(dtype, copies * each * weight_numbers, copies * each * V * sizes.gate_step)
    else:
        packed, projected = empty(copies * each * weight_numbers, dtype), nothing(dtype)
    hs, last = empty((N, T, G * H), dtype), empty((2, G, N, H), dtype)
    panels, tiles = scratch(dtype)
    kept = []
    for d in range(G):
        h_prev, gates, cs = of_direction(arrays, d)
        kept.append(Activations(positions[d], tokens[d], h_prev, gates, cs, _direction(mask, d, dtype)))
    prepared = [
        Prepared(
            own,
            Packed(packed, 0 if own else d * weight_numbers, H, 4 * H),
            (projected if own else projected[d * V * sizes.gate_step :]) if V else kept[d].gates,
        )
        for d in range(G)
    ]
    flat_weights = [Weights(*map(flat, of_direction(weights, d))) for d in range(G)]
    flat_hs = flat(hs)
    if not own:
        _prepare(
            G, sizes, flat(x), *_both(flat_weights), *_both(prepared),
            *_both([scaled_rows * D for scaled_rows in rows]), panels, tiles,
            shares=len(tiles), work=to_prepare,
        )  # fmt: skip
    _forward(
        G, block_of_samples(lengths, N, G), copies, weight_numbers, V * sizes.gate_step, order, sizes, flat(x), inputs,
        *_both(flat_weights), *_both(prepared), *_both(kept),
        *_both([State(_direction(h0, d, dtype), _direction(c0, d, dtype)) for d in range(G)]),
        *_both([State(flat(last[0, d]), flat(last[1, d])) for d in range(G)]),
        *_both([EvenRows(flat_hs, d * H, G * H) for d in range(G)]), panels, tiles,
        shares=min(len(tiles), copies) if own else len(tiles), work=to_step,
    )  # fmt: skip
    turned = _turned(order, lengths, N, T) if G == 2 and not V else None
    return hs, last[0], last[1], _Kept(V, lengths, order, sizes, inputs, kept, turned, h0 is None and c0 is None)


def lstm_forward(xs, weights, h0, c0, mask, lengths):
    N, T, _ = xs.shape
    return _sequence_forward(xs, None, N, T, weights, h0, c0, mask, lengths)


class StateGradient(NamedTuple):
    """The gradients of a state: of the last one, which is given; as it falls from step to step; of the first one."""

    last: State
    dh: Floats  # rows as far apart as those of h_prev
    dc: Floats
    first: State


@shared
def _pack_transposed(share, shares, W1, W2, packed1: Packed, packed2: Packed, directions):
    pack_transposed(share, shares, W1, packed1)
    if directions == 2:
        pack_transposed(share, shares, W2, packed2)


@leaf
def _begin_backward(places: Indices, order: Order, sizes: Sizes, gradient: StateGradient):
    """The gradients of the states after the last step."""
    H = sizes.H
    for i in range(places.size):
        r = places[i]
        copy_state(gradient.last.h, order.samples[r] * H, gradient.dh, r * sizes.h_step, H)
        copy_state(gradient.last.c, order.samples[r] * H, gradient.dc, r * H, H)


@leaf
def _undo_step(
    t: int, rows: int, places: Indices, gate_rows: Indices, dh_rows: Indices, order: Order, sizes: Sizes, dhs: EvenRows,
    gradient: StateGradient, packed: Packed, kept: Activations,
):  # fmt: skip
    """Step t of a share: the gates of its first rows become their dz, of which dh of the step before is made."""
    H, h_step, gate_step = sizes.H, sizes.h_step, sizes.gate_step
    samples, starts = order
    N, start = samples.size, starts[t]
    start_prev = starts[t - 1] if t > 0 else 0
    for i in range(rows):
        r = places[i]
        row = start + r
        c, c_prev = (N + row) * H, ((N + start_prev if t > 0 else 0) + r) * H
        gates_backward(
            H, Place(dhs.numbers, dhs.start + kept.positions[row] * dhs.step), Place(gradient.dh, r * h_step),
            Place(gradient.dc, r * H), Place(kept.gates, row * gate_step), Place(kept.cs, c), Place(kept.cs, c_prev),
        )  # fmt: skip
    if t == 0 and gradient.first.h.size == 0:
        return
    to_dh, dz = Rows(dh_rows, 0, 0), Matrix(kept.gates, start * gate_step, gate_rows, 0, 1)
    multiply_rows(rows, dz, packed, to_dh, Rows(dh_rows, TO_ZEROS, 0), start_prev * gate_step if t > 0 else -1)
    if kept.mask.size > 0:
        for i in range(rows):
            at, mask_at = places[i] * h_step, samples[places[i]] * H
            row, factors = gradient.dh[at : at + H], kept.mask[mask_at : mask_at + H]
            for j in range(H):
                row[j] *= factors[j]


@separate
def backward_of_samples(
    mine: Indices, order: Order, sizes: Sizes, dhs: EvenRows, gradient: StateGradient, Wh: Floats, own: int, packed: Packed,
    kept: Activations,
):  # fmt: skip
    """What a share does, as in :func:`forward_of_samples`: the gates of every row become its dz, in their place.

    own: whether the transpose of Wh is to be packed by the share for itself.
    """
    H, starts = sizes.H, order.starts
    if own > 0:
        pack_transposed(0, 1, Wh, packed)
    gate_rows, dh_rows = scaled(mine, sizes.gate_step), row_addresses(gradient.dh, mine, sizes.h_step)
    _begin_backward(mine, order, sizes, gradient)
    rows = 0
    for t in range(starts.size - 2, -1, -1):
        while rows < mine.size and mine[rows] < starts[t + 1] - starts[t]:
            rows += 1
        _undo_step(t, rows, mine, gate_rows, dh_rows, order, sizes, dhs, gradient, packed, kept)
    if gradient.first.h.size > 0:
        for r in mine:
            n = order.samples[r]
            copy(gradient.dh, r * sizes.h_step, gradient.first.h, n * H, H)
            copy(gradient.dc, r * H, gradient.first.c, n * H, H)


@shared
def _backward(
    share, shares, directions, block, copies, numbers, order: Order, sizes: Sizes, dhs1: EvenRows, dhs2: EvenRows,
    gradient1: StateGradient, gradient2: StateGradient, Wh1, Wh2, packed1: Packed, packed2: Packed, kept1: Activations,
    kept2: Activations,
):  # fmt: skip
    N, own = order.samples.size, copies > 1
    at = share * numbers if own else 0
    part, parts = _part(share, shares, directions, 0)
    if parts > 0:
        packed = Packed(packed1.numbers, packed1.start + at, packed1.depth, packed1.columns)
        backward_of_samples(samples_of(part, parts, N, block), order, sizes, dhs1, gradient1, Wh1, own, packed, kept1)
    part, parts = _part(share, shares, directions, 1)
    if parts > 0 and directions == 2:
        packed = Packed(packed2.numbers, packed2.start + at, packed2.depth, packed2.columns)
        backward_of_samples(samples_of(part, parts, N, block), order, sizes, dhs2, gradient2, Wh2, own, packed, kept2)


@leaf
def sum_by_token(
    share: int, shares: int, V: int, H: int, tokens: Indices, dz: EvenRows, sums: Floats
):  # fmt: skip
    """sums[v] = the sum of dz over the rows that had token v; as far apart as dz. A share has some columns, in cache lines."""
    line = GROUP_BYTES // sums.itemsize
    lines, step = ceil_div(4 * H, line), dz.step
    first, last = share * lines // shares * line, min((share + 1) * lines // shares * line, 4 * H)
    for v in range(V):
        clear(sums, v * step + first, last - first)
    for row in range(tokens.size):
        token = tokens[row]
        total, added = sums[token * step + first : token * step + last], dz.numbers[row * step + first : row * step + last]
        for j in range(total.size):
            total[j] += added[j]


@shared
def _sum_by_token(share, shares, V, sizes: Sizes, tokens1, tokens2, dz1, dz2, sums1, sums2, directions):
    sum_by_token(share, shares, V, sizes.H, tokens1, EvenRows(dz1, 0, sizes.gate_step), sums1)
    if directions == 2:
        sum_by_token(share, shares, V, sizes.H, tokens2, EvenRows(dz2, 0, sizes.gate_step), sums2)


class WeightGradients(NamedTuple):
    """Flat, to be overwritten."""

    dWx: Floats
    dWh: Floats
    db: Floats


@separate
def gradients(
    share: int, shares: int, R: int, sizes: Sizes, kept: Activations, inputs: Floats, sums: Matrix, Wx: Floats,
    grads: WeightGradients, dx: Rows, added: Rows, scratch: Scratch,
):  # fmt: skip
    """dWh = h_prev^T dz over the rows that have an h_prev; [dWx; db] = inputs^T sums; dx = sums Wx^T + added."""
    D, H, input_step, h_step, gate_step = sizes
    count = sums.rows.size
    first_row = R - kept.h_prev.size // h_step
    dz = even_matrix(kept.gates, first_row * gate_step, R - first_row, gate_step, 1)
    none = kept.gates[:0]
    weight_gradients(share, shares, H, 4 * H, R - first_row, EvenRows(kept.h_prev, 0, 1), h_step, dz, grads.dWh, none, scratch)
    weight_gradients(share, shares, D, 4 * H, count, EvenRows(inputs, 0, 1), input_step, sums, grads.dWx, grads.db, scratch)
    matmul(share, shares, count, D, 4 * H, sums, even_matrix(Wx, 0, 4 * H, 1, 4 * H), dx, added, scratch)


@shared
def _gradients(
    share, shares, directions, R, sizes: Sizes, kept1: Activations, kept2: Activations, inputs, sums1, sums2, rows1, rows2,
    Wx1, Wx2, grads1: WeightGradients, grads2: WeightGradients, dx, x_rows, panels, tiles,
):  # fmt: skip
    """rows1, rows2: for each row of x, that of the sums of a direction."""
    own = scratch_of(share, panels, tiles)
    to_dx = Rows(row_addresses(dx, x_rows, sizes.D), 0, 0)
    of_x = Matrix(sums1, 0, scaled(rows1, sizes.gate_step), 0, 1)
    gradients(share, shares, R, sizes, kept1, inputs, of_x, Wx1, grads1, to_dx, zeros_for(to_dx), own)
    if directions == 2:
        of_x = Matrix(sums2, 0, scaled(rows2, sizes.gate_step), 0, 1)
        gradients(share, shares, R, sizes, kept2, inputs, of_x, Wx2, grads2, to_dx, to_dx, own)


def _sequence_backward(dhs, dh_last, dc_last, weights, kept, dx, grads, state_gradient):
    """Both backwards; dx, which is written, has the shape of the forward's x. Returns dh0, dc0; None twice if not wanted."""
    G, N, dtype = len(weights) // 3, len(dhs), dhs.dtype
    V, order, sizes, activations = kept.V, kept.order, kept.sizes, kept.activations
    D, H, _, h_step, gate_step = sizes
    R = int(order.starts[-1])
    weight_numbers = panel_numbers(4 * H, H, dtype)
    copies = _copies(weight_numbers, dtype)
    own = copies > 1
    panels, *arrays = pieces(dtype, copies * (1 if own else G) * weight_numbers, *[N * h_step, N * H, V * gate_step] * G)
    packed = [Packed(panels, 0 if own else d * weight_numbers, 4 * H, H) for d in range(G)]
    dh0, dc0 = (empty((G, N, H), dtype), empty((G, N, H), dtype)) if state_gradient else (None, None)
    gradient, token_sums = [], []
    for d in range(G):
        dh, dc, of_tokens = of_direction(arrays, d)
        last = State(_direction(dh_last, d, dtype), _direction(dc_last, d, dtype))
        gradient.append(StateGradient(last, dh, dc, State(_direction(dh0, d, dtype), _direction(dc0, d, dtype))))
        token_sums.append(of_tokens)
    Wx, Wh = ([flat(W) for W in weights[first::3]] for first in (0, 1))
    if not own:
        _pack_transposed(*_both(Wh), *_both(packed), G, work=G * 4 * weight_numbers)
    flat_dhs = flat(dhs)
    _backward(
        G, block_of_samples(kept.lengths, N, G), copies, weight_numbers, order, sizes,
        *_both([EvenRows(flat_dhs, d * H, G * H) for d in range(G)]), *_both(gradient), *_both(Wh), *_both(packed),
        *_both(activations), shares=copies if own else None, work=8 * G * R * H * H,
    )  # fmt: skip
    sums, rows = [a.gates for a in activations], [real_rows(None, R, 1), kept.turned]
    x_rows = activations[0].positions
    if V:
        sums, rows = token_sums, [real_rows(None, V, 1)] * 2
        x_rows = rows[0]
        _sum_by_token(
            V, sizes, *_both([a.tokens for a in activations]), *_both([a.gates for a in activations]), *_both(sums), G,
            work=4 * G * R * H,
        )  # fmt: skip
    panels, tiles = scratch(dtype)
    _gradients(
        G, R, sizes, *_both(activations), kept.inputs, *_both(sums), *_both(rows[:G]), *_both(Wx),
        *_both([WeightGradients(*[flat(grad) for grad in of_direction(grads, d)]) for d in range(G)]), flat(dx), x_rows,
        panels, tiles, shares=len(tiles), work=8 * G * R * (D + H) * H,
    )  # fmt: skip
    return dh0, dc0


def lstm_backward(dhs, dh_last, dc_last, weights, cache, grads):
    N, T, _ = dhs.shape
    dxs = zeros_at_padding(empty((N, T, cache.sizes.D), dhs.dtype), cache.lengths)
    dh0, dc0 = _sequence_backward(dhs, dh_last, dc_last, weights, cache, dxs, grads, True)
    return dxs, dh0, dc0


def embedding_lstm_forward(W, ids, weights, h0, c0, mask, lengths):
    N, T = ids.shape
    steps = N * T if lengths is None else int(lengths.sum())
    if 2 * len(W) <= steps:
        hs, h_last, c_last, kept = _sequence_forward(W, ids, N, T, weights, h0, c0, mask, lengths)
    else:
        xs = embedding_forward(W, ids, lengths)
        hs, h_last, c_last, kept = _sequence_forward(xs, None, N, T, weights, h0, c0, mask, lengths)
    return hs, h_last, c_last, (kept, ids)


def embedding_lstm_backward(dhs, dh_last, dc_last, weights, cache, dW, grads):
    kept, ids = cache
    N, T, _ = dhs.shape
    dx = dW if kept.V else empty((N, T, kept.sizes.D), dhs.dtype)
    dh0, dc0 = _sequence_backward(dhs, dh_last, dc_last, weights, kept, dx, grads, not kept.from_zeros)
    if not kept.V:
        embedding_backward(dx, ids, dW, kept.lengths)
    return dh0, dc0
