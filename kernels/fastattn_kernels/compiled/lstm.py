"""LSTM over a whole sequence; the mathematics and its notation stand in ``reference/lstm.py``.

How it is arranged
------------------
Only real steps are stored. The samples are put in order of falling length, so that at step t the first few of them are still
running; step t owns the rows ``starts[t]`` to ``starts[t + 1]`` of every internal array, R rows in all (the "packed sequence"
of other libraries). Padding costs neither memory nor time, and cannot be seen in the result.

- ``x``: the rows that the LSTM is given. From arrays that is a row for each real step. From token ids it is the embedding's
  whole W, a row for each token: what follows from x alone is then computed V times and not R times.
- ``inputs``: a row is [x | 1]; kept for the backward, where one product gives dWx and db.
- ``projected``: x Wx + b, for each row of x. From arrays it is made where the gates are to stand.
- ``h_prev``: a row is h_(t-1), which the step before it wrote there. Where the first state is zeros, step 0 has no rows in it,
  and no product with Wh.
- ``gates``: a row is f | g | i | o, 4H numbers. The backward puts dz in their place.
- ``cs``: c0 of every sample, then c of every row.
- ``sums``: the sum of dz over the steps that had the same row of x: what dWx, db and dx are made of.

A share takes its samples through the whole sequence, and waits for nobody.
"""

from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from .embedding import embedding_backward, embedding_forward
from .engine.buffers import empty, pieces
from .engine.compiling import kernel
from .engine.cpu import GROUP_BYTES
from .engine.gates import gates_backward, gates_forward
from .engine.jit import num_shares, separate, shared
from .engine.padding import block_of_samples, real_rows, samples_of, zeros_at_padding
from .engine.product import (
    ceil_div,
    even_row_addresses,
    evenly_spaced,
    matmul,
    multiply_rows,
    odd_step,
    pack_matrix,
    panel_numbers,
    row_addresses,
    scaled,
    scratch,
    weight_gradients,
)
from .engine.vector import clear, copy


@lru_cache(maxsize=32)
def _all_running(N, T):
    return np.arange(N, dtype=np.int64), np.arange(T + 1, dtype=np.int64) * N


def running(lengths, N, T):
    """The order of the samples by falling length, and the first internal row of each step (T + 1 numbers)."""
    if lengths is None:
        return _all_running(N, T)
    counts = np.count_nonzero(lengths[:, None] > np.arange(T), axis=0)
    return np.argsort(-lengths, kind="stable"), np.concatenate(([0], np.cumsum(counts)))


@lru_cache(maxsize=32)
def _all_positions(N, T):
    return (np.arange(N, dtype=np.int64) * T + np.arange(T)[:, None]).ravel()


def _positions(order, lengths, N, T):
    """Where the step of each internal row stands in an array (N, T, ...): n T + t."""
    if lengths is None:
        return _all_positions(N, T)
    t, r = np.nonzero(lengths[order] > np.arange(T)[:, None])
    return order[r] * T + t


# Packed weights up to this many bytes are packed by every share for itself (but in a forward from arrays): quicker than a
# launch, and than fetching from another core's cache.
_OWN_WEIGHTS = 1 << 18


def _copies(numbers, dtype):
    """How many copies of packed weights to make: one for each share, or one beforehand."""
    return num_shares() if numbers * dtype.itemsize <= _OWN_WEIGHTS else 1


def _flat(array):
    return array.reshape(array.size)


@cache
def _nothing(dtype):
    return np.empty(0, dtype)


def _flat_state(state, dtype):
    """A state or its gradient, flat; empty for None, which stands for zeros, or for what nobody wants."""
    return _nothing(dtype) if state is None else state.reshape(state.size)


@kernel
def _copy_state(source, start, target, position, H):
    """Copy the state of a sample; an empty source stands for zeros."""
    if source.size > 0:
        copy(source, start, target, position, H)
    else:
        clear(target, position, H)


@separate("n n n n i v v v v n v v")
def project(share, shares, D, H, x_rows, x, Wx, b, projected, step, panels, tile):
    """A share of x Wx + b for the rows x_rows of x, whose results stand ``step`` apart; all arrays are flat."""
    matmul(
        share, shares, x_rows.size, 4 * H, D, x, 0, scaled(x_rows, D), 1, Wx, 0, evenly_spaced(D, 4 * H), 1,
        even_row_addresses(projected, x_rows.size, step), 0, b, panels, tile,
    )  # fmt: skip


@shared
def _prepare(share, shares, x_rows, x, Wx, Wh, b, packed, projected, step, panels, tiles):
    """Pack Wh, and project all rows of x."""
    D, H = Wx.shape[0], Wh.shape[0]
    pack_matrix(share, shares, H, 4 * H, Wh.reshape(Wh.size), 4 * H, 1, packed)
    project(share, shares, D, H, x_rows, x, Wx.reshape(Wx.size), b, projected, step, panels[share], tiles[share])


@separate("n n i i i i n i v v v n n v v v n v v v n v n v n v v v v v v")
def forward_of_samples(
    share, shares, mine, order, starts, ids, id_step, x_rows, x, h0, c0, D, H, Wx, Wh, b, own, packed, projected,
    inputs, input_step, h_prev, h_step, gates, gate_step, cs, hs, h_last, c_last, panel, tile,
):  # fmt: skip
    """What a share does: the places ``mine``, rising, in the order of the samples. All arrays are flat.

    ids: of sample n from n id_step on; empty where x is given as arrays. own: whether Wh is to be packed, and the tokens
    projected, by the share for itself; else ``packed`` and ``projected`` are there.
    """
    T = starts.size - 1
    V = x.size // D if ids.size > 0 else 0
    if own > 0:
        pack_matrix(0, 1, H, 4 * H, Wh, 4 * H, 1, packed)
        project(0, 1, D, H, x_rows, x, Wx, b, projected, gate_step, panel, tile)
    occurs = evenly_spaced(V, 0)
    if V > 0:
        for t in range(T):
            for r in range(starts[t + 1] - starts[t]):
                occurs[ids[order[r] * id_step + t]] = 1
    for v in range(share * V // shares, (share + 1) * V // shares):
        if occurs[v] > 0:
            copy(x, v * D, inputs, v * input_step, D)
        else:  # whatever stands there, NaN too, must not come into dWx
            clear(inputs, v * input_step, D)
        inputs[v * input_step + D] = 1
    first_row = starts[1] if h0.size == 0 else 0  # the first that has a row of h_prev
    h_rows, gate_rows = scaled(mine, h_step), row_addresses(gates, mine, gate_step)
    projected_rows = np.empty(mine.size, np.int64)
    for r in mine:
        n = order[r]
        _copy_state(c0, n * H, cs, r * H, H)
        copy(cs, r * H, c_last, n * H, H)
        _copy_state(h0, n * H, h_last, n * H, H)
        if first_row == 0 and r < starts[1]:
            copy(h0, n * H, h_prev, r * h_step, H)
    rows_now = mine.size
    for t in range(T):
        start, after = starts[t], starts[t + 1]
        while rows_now > 0 and mine[rows_now - 1] >= after - start:
            rows_now -= 1
        running_next = starts[t + 2] - after if t + 1 < T else 0
        addends, addend_start = gate_rows, start * gate_step
        if V > 0:
            addends, addend_start = projected_rows, 0
            for i in range(rows_now):
                token = ids[order[mine[i]] * id_step + t]
                projected_rows[i] = projected.ctypes.data + token * gate_step * gates.itemsize
                if start < first_row:
                    copy(projected, token * gate_step, gates, (start + mine[i]) * gate_step, 4 * H)
        else:
            for i in range(rows_now):
                r = mine[i]
                copy(x, (order[r] * T + t) * D, inputs, (start + r) * input_step, D)
                inputs[(start + r) * input_step + D] = 1
        if start >= first_row:
            multiply_rows(
                rows_now, h_prev, (start - first_row) * h_step, h_rows, H, packed, 4 * H,
                start * gate_step, gate_rows, addends, addend_start, -1,
            )  # fmt: skip
        for i in range(rows_now):
            r = mine[i]
            n = order[r]
            h, c, c_prev = (n * T + t) * H, (order.size + start + r) * H, ((order.size + starts[t - 1] if t > 0 else 0) + r) * H
            gates_forward(H, gates, (start + r) * gate_step, cs, c_prev, c, hs, h)
            if r < running_next:
                copy(hs, h, h_prev, (after - first_row + r) * h_step, H)
            else:
                copy(hs, h, h_last, n * H, H)
                copy(cs, c, c_last, n * H, H)
        for i in range(rows_now, mine.size):
            clear(hs, (order[mine[i]] * T + t) * H, H)


@shared
def _forward(
    share, shares, block, order, starts, ids, x_rows, x, h0, c0, Wx, Wh, b, packed, projected, inputs, input_step,
    h_prev, h_step, gates, gate_step, cs, hs, h_last, c_last, panels, tiles,
):  # fmt: skip
    copies = packed.shape[0]  # more than one: nothing is prepared
    forward_of_samples(
        share, shares, samples_of(share, shares, order.size, block), order, starts, ids, starts.size - 1, x_rows, x, h0, c0,
        Wx.shape[0], Wh.shape[0], Wx.reshape(Wx.size), Wh.reshape(Wh.size), b, copies > 1, packed[share % copies],
        projected[share % projected.shape[0]], inputs, input_step, h_prev, h_step, gates, gate_step, cs, hs, h_last, c_last,
        panels[share], tiles[share],
    )  # fmt: skip


class _Kept(NamedTuple):
    """What a forward keeps for its backward. V: the number of tokens, 0 where x was given as arrays."""

    V: int
    lengths: Any
    order: Any
    starts: Any
    ids: Any  # (N T,), or empty
    x_rows: Any
    inputs: Any
    input_step: int
    h_prev: Any
    h_step: int
    gates: Any
    gate_step: int
    cs: Any
    from_zeros: bool


def _sequence_forward(x, ids, N, T, h0, c0, Wx, Wh, b, lengths):
    """Both forwards: from x (N, T, D), or from x (V, D) and the ids (N, T) of its rows."""
    D, H = Wx.shape[0], Wh.shape[0]
    dtype = x.dtype
    order, starts = running(lengths, N, T)
    R = int(starts[-1])
    V = 0 if ids is None else len(x)
    x_rows = real_rows(None, V, 1) if V else _positions(order, lengths, N, T)
    input_step, h_step, gate_step = odd_step(D + 1, dtype), odd_step(H, dtype), odd_step(4 * H, dtype)
    weight_numbers, h_count = panel_numbers(H, 4 * H, dtype), R if h0 is not None else R - int(starts[1])
    # A share with weights of its own projects all of V, too; with many shares that would be the greater part of its work.
    copies = _copies(weight_numbers, dtype) if 0 < V * num_shares() <= R else 1
    own = copies > 1
    inputs, h_prev, gates, cs = pieces(dtype, x_rows.size * input_step, h_count * h_step, R * gate_step, (N + R) * H)
    packed, projected = pieces(dtype, copies * weight_numbers, copies * V * gate_step)
    packed = packed.reshape(copies, -1)
    projected = projected.reshape(copies, -1) if V else gates.reshape(1, -1)
    hs, last = empty((N, T, H), dtype), empty((2, N, H), dtype)
    h_last, c_last = last
    panels, tiles = scratch(dtype)
    x_flat, ids_flat = _flat(x), _nothing(np.int64) if ids is None else _flat(ids)
    if not own:
        _prepare(
            x_rows, x_flat, Wx, Wh, b, packed[0], projected[0], gate_step, panels, tiles,
            shares=len(tiles), work=4 * packed.size + 8 * x_rows.size * D * H,
        )  # fmt: skip
    _forward(
        block_of_samples(lengths, N), order, starts, ids_flat, x_rows, x_flat, _flat_state(h0, dtype), _flat_state(c0, dtype),
        Wx, Wh, b, packed, projected, inputs, input_step, h_prev, h_step, gates, gate_step, cs, _flat(hs), _flat(h_last),
        _flat(c_last), panels, tiles,
        shares=min(len(tiles), copies) if own else len(tiles), work=8 * R * (D + H) * H,
    )  # fmt: skip
    from_zeros = h0 is None and c0 is None
    kept = _Kept(
        V, lengths, order, starts, ids_flat, x_rows, inputs, input_step, h_prev, h_step, gates, gate_step, cs, from_zeros
    )  # fmt: skip
    return hs, h_last, c_last, kept


def lstm_forward(xs, h0, c0, Wx, Wh, b, lengths):
    N, T, _ = xs.shape
    return _sequence_forward(xs, None, N, T, h0, c0, Wx, Wh, b, lengths)


@shared
def _pack_transposed(share, shares, W, panels):
    K, V = W.shape
    pack_matrix(share, shares, V, K, W.reshape(W.size), 1, V, panels)


@separate("i i i v v v n v n v v n v v n v v v")
def backward_of_samples(
    mine, order, starts, dhs, dh_last, dc_last, H, Wh, own, packed, gates, gate_step, cs, dh, dh_step, dc, dh0, dc0
):  # fmt: skip
    """What a share does, as in :func:`forward_of_samples`: the gates of every row become its dz, in their place.

    dh0, dc0: empty if nobody wants them. own: whether Wh is to be packed by the share for itself.
    """
    N, T = order.size, starts.size - 1
    if own > 0:
        pack_matrix(0, 1, 4 * H, H, Wh, 1, 4 * H, packed)
    gate_rows, dh_rows = scaled(mine, gate_step), row_addresses(dh, mine, dh_step)
    for r in mine:
        _copy_state(dh_last, order[r] * H, dh, r * dh_step, H)
        _copy_state(dc_last, order[r] * H, dc, r * H, H)
    rows = 0
    for t in range(T - 1, -1, -1):
        start = starts[t]
        start_prev = starts[t - 1] if t > 0 else 0
        while rows < mine.size and mine[rows] < starts[t + 1] - start:
            rows += 1
        for i in range(rows):
            r = mine[i]
            c, c_prev = (N + start + r) * H, ((N + start_prev if t > 0 else 0) + r) * H
            gates_backward(
                H, dhs, (order[r] * T + t) * H, dh, r * dh_step, dc, r * H, gates, (start + r) * gate_step, cs, c, c_prev
            )
        if t > 0 or dh0.size > 0:
            multiply_rows(
                rows, gates, start * gate_step, gate_rows, 4 * H, packed, H, 0, dh_rows,
                gate_rows[:0], 0, start_prev * gate_step if t > 0 else -1,
            )  # fmt: skip
    if dh0.size > 0:
        for r in mine:
            copy(dh, r * dh_step, dh0, order[r] * H, H)
            copy(dc, r * H, dc0, order[r] * H, H)


@shared
def _backward(
    share, shares, block, order, starts, dhs, dh_last, dc_last, Wh, packed, gates, gate_step, cs, dh, dh_step, dc, dh0, dc0
):  # fmt: skip
    copies = packed.shape[0]
    backward_of_samples(
        samples_of(share, shares, order.size, block), order, starts, dhs, dh_last, dc_last, Wh.shape[0], Wh.reshape(Wh.size),
        copies > 1, packed[share % copies], gates, gate_step, cs, dh, dh_step, dc, dh0, dc0,
    )  # fmt: skip


@separate("n n n i i i n v n n v")
def sum_by_token(share, shares, V, order, starts, ids, id_step, dz, step, H, sums):
    """sums[v] = the sum of dz over the steps that had token v. A share has some columns, in whole cache lines."""
    T = starts.size - 1
    line = GROUP_BYTES // dz.itemsize
    lines = ceil_div(4 * H, line)
    first, last = share * lines // shares * line, min((share + 1) * lines // shares * line, 4 * H)
    for v in range(V):
        clear(sums, v * step + first, last - first)
    for t in range(T):
        for row in range(starts[t], starts[t + 1]):
            token = ids[order[row - starts[t]] * id_step + t]
            total, added = sums[token * step + first : token * step + last], dz[row * step + first : row * step + last]
            for j in range(total.size):
                total[j] += added[j]


@shared
def _sum_by_token(share, shares, V, order, starts, ids, dz, step, H, sums):
    sum_by_token(share, shares, V, order, starts, ids, starts.size - 1, dz, step, H, sums)


@separate("n n n n n v n v n i v n v v v v v v v v")
def gradients(
    share, shares, D, H, R, h_prev, h_step, dz, step, x_rows, inputs, input_step, sums, Wx, dWx, dWh, db, dx, panel, tile
):  # fmt: skip
    """dWh = h_prev^T dz over the rows that have an h_prev; [dWx; db] = inputs^T sums; dx = sums Wx^T. All arrays are flat."""
    rows = evenly_spaced(max(R, x_rows.size), step)
    first_row = R - h_prev.size // h_step
    weight_gradients(
        share, shares, H, 4 * H, R - first_row, h_prev, 1, h_step, dz, first_row * step, rows, dWh, db[:0], panel, tile
    )
    weight_gradients(share, shares, D, 4 * H, x_rows.size, inputs, 1, input_step, sums, 0, rows, dWx, db, panel, tile)
    matmul(
        share, shares, x_rows.size, D, 4 * H, sums, 0, rows, 1, Wx, 0, evenly_spaced(4 * H, 1), 4 * H,
        row_addresses(dx, x_rows, D), 0, tile[:0], panel, tile,
    )  # fmt: skip


@shared
def _gradients(
    share, shares, R, h_prev, h_step, dz, step, x_rows, inputs, input_step, sums, Wx, dWx, dWh, db, dx, panels, tiles
):  # fmt: skip
    gradients(
        share, shares, dWx.shape[0], dWh.shape[0], R, h_prev, h_step, dz, step, x_rows, inputs, input_step, sums,
        Wx.reshape(Wx.size), dWx.reshape(dWx.size), dWh.reshape(dWh.size), db, dx, panels[share], tiles[share],
    )  # fmt: skip


def _sequence_backward(dhs, dh_last, dc_last, Wx, Wh, kept, dx, dWx, dWh, db, state_gradient):
    """Both backwards; dx, which is written, has the shape of the forward's x. Returns dh0, dc0; None twice if not wanted."""
    (N, _, H), D, V = dhs.shape, len(Wx), kept.V
    order, starts, gates, gate_step = kept.order, kept.starts, kept.gates, kept.gate_step
    dtype = dhs.dtype
    R = int(starts[-1])
    weight_numbers, dh_step = panel_numbers(4 * H, H, dtype), odd_step(H, dtype)
    copies = _copies(weight_numbers, dtype)
    packed, dh, dc, sums = pieces(dtype, copies * weight_numbers, N * dh_step, N * H, V * gate_step)
    packed = packed.reshape(copies, -1)
    dh0, dc0 = (empty((N, H), dtype), empty((N, H), dtype)) if state_gradient else (None, None)
    if copies == 1:
        _pack_transposed(Wh, packed[0], work=4 * packed.size)
    _backward(
        block_of_samples(kept.lengths, N), order, starts, _flat(dhs), _flat_state(dh_last, dtype), _flat_state(dc_last, dtype),
        Wh, packed, gates, gate_step, kept.cs, dh, dh_step, dc, _flat_state(dh0, dtype), _flat_state(dc0, dtype),
        shares=copies if copies > 1 else None, work=8 * R * H * H,
    )  # fmt: skip
    if V:
        _sum_by_token(V, order, starts, kept.ids, gates, gate_step, H, sums, work=4 * R * H)
    panels, tiles = scratch(dtype)
    _gradients(
        R, kept.h_prev, kept.h_step, gates, gate_step, kept.x_rows, kept.inputs, kept.input_step, sums if V else gates,
        Wx, dWx, dWh, db, _flat(dx), panels, tiles, shares=len(tiles), work=8 * R * (D + H) * H,
    )  # fmt: skip
    return dh0, dc0


def lstm_backward(dhs, dh_last, dc_last, Wx, Wh, cache, dWx, dWh, db):
    N, T, _ = dhs.shape
    dxs = zeros_at_padding(empty((N, T, len(Wx)), dhs.dtype), cache.lengths)
    dh0, dc0 = _sequence_backward(dhs, dh_last, dc_last, Wx, Wh, cache, dxs, dWx, dWh, db, True)
    return dxs, dh0, dc0


def embedding_lstm_forward(W, ids, h0, c0, Wx, Wh, b, lengths):
    N, T = ids.shape
    steps = N * T if lengths is None else int(lengths.sum())
    if 2 * len(W) <= steps:
        hs, h_last, c_last, kept = _sequence_forward(W, ids, N, T, h0, c0, Wx, Wh, b, lengths)
    else:
        xs = embedding_forward(W, ids, lengths)
        hs, h_last, c_last, kept = _sequence_forward(xs, None, N, T, h0, c0, Wx, Wh, b, lengths)
    return hs, h_last, c_last, (kept, ids)


def embedding_lstm_backward(dhs, dh_last, dc_last, Wx, Wh, cache, dW, dWx, dWh, db):
    kept, ids = cache
    N, T, _ = dhs.shape
    dx = dW if kept.V else empty((N, T, len(Wx)), dhs.dtype)
    dh0, dc0 = _sequence_backward(dhs, dh_last, dc_last, Wx, Wh, kept, dx, dWx, dWh, db, not kept.from_zeros)
    if not kept.V:
        embedding_backward(dx, ids, dW, kept.lengths)
    return dh0, dc0
