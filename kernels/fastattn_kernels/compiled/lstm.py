"""LSTM over a whole sequence; the mathematics and its notation stand in ``reference/lstm.py``.

How it is arranged
------------------
Only real steps are stored. The samples are put in order of falling length, so that at step t the first few of them are still
running; step t owns the rows ``starts[t]`` to ``starts[t + 1]`` of every internal array, R rows in all (the "packed sequence"
of other libraries). Padding costs neither memory nor time, and cannot be seen in the result.

- ``inputs``: a row is [x_t | h_(t-1) | 1], so that a step is one product with [Wx; Wh; b], and all weight gradients are one
  product of ``inputs`` transposed with dz. Each step writes its h into the rows of the next.
- ``gates``: a row is f | g | i | o, 4H numbers. The backward puts dz in their place.
- ``cs``: c0 of every sample, then c of every row.

A share takes every ``shares``-th sample through the whole sequence, and waits for nobody.
"""

from functools import cache, lru_cache

import numpy as np

from .engine.buffers import empty
from .engine.cpu import GROUPS
from .engine.gates import gates_backward, gates_forward
from .engine.jit import kernel, num_shares, separate, shared
from .engine.product import (
    ceil_div,
    fill_row_addresses,
    matmul,
    odd_step,
    pack_panel,
    panel_numbers,
    panel_width,
    products,
    scratch,
    tile_count,
)
from .engine.vector import NOTHING_AHEAD, TO_ZEROS, clear, copy


@lru_cache(maxsize=32)
def _all_running(N, T):
    return np.arange(N, dtype=np.int64), np.arange(T + 1, dtype=np.int64) * N


def _running(lengths, N, T):
    """The order of the samples by falling length, and the first internal row of each step (T + 1 numbers)."""
    if lengths is None:
        return _all_running(N, T)
    counts = np.count_nonzero(lengths[:, None] > np.arange(T), axis=0)
    return np.argsort(-lengths, kind="stable"), np.concatenate(([0], np.cumsum(counts)))


# Packed weights that stay in the second-level cache while all rows pass.
_BLOCK_BYTES = 384 << 10


@separate("n v n i n v n v n i n")
def multiply_rows(rows, a, a_start, a_rows, depth, weights, columns, c, c_start, c_rows, ahead):
    """c = a times packed weights (all panels of ``columns`` columns), for some rows that share one set of offsets a_rows.

    Row r of a is at a_start + a_rows[r]; row r of c is at c_start numbers beyond the address c_rows[r], and is written up to
    a whole lane group. ahead: the rows at ahead + a_rows[r] of a will be read next, and are fetched meanwhile, a few of them
    beside each of the first panels; negative for none.
    """
    width = panel_width(a)
    tiles = tile_count(rows)
    whole, rest = columns // width, ceil_div(columns % width, width // GROUPS)  # panels, and lane groups after them
    ahead_address = a.ctypes.data + ahead * a.itemsize if ahead >= 0 else NOTHING_AHEAD
    # Some panels at a time, which stay in the second-level cache while all of a passes.
    block = max(1, _BLOCK_BYTES // (depth * width * a.itemsize))
    for p in range(0, whole + 1, block):
        for i in range(tiles):
            first = i * rows // tiles
            row_count = (i + 1) * rows // tiles - first
            if p < whole:
                products(
                    row_count, min(block, whole - p), GROUPS, a, a_start, a_rows, first, 1,
                    weights, p * depth * width, width, depth * width, depth,
                    c_rows, first, c_start + p * width, TO_ZEROS, ahead_address, p,
                )  # fmt: skip
            if rest > 0 and p + block > whole:
                products(
                    row_count, 1, rest, a, a_start, a_rows, first, 1,
                    weights, whole * depth * width, width, 0, depth,
                    c_rows, first, c_start + whole * width, TO_ZEROS, ahead_address, whole,
                )  # fmt: skip


@separate("n n n n v v v v")
def _pack_forward(share, shares, D, H, Wx, Wh, b, weights):
    """A share of packing [Wx; Wh; b] into panels; the arrays are flat."""
    K = D + H + 1
    width = panel_width(weights)
    Wx_rows, Wh_rows, b_rows = np.arange(D) * 4 * H, np.arange(H) * 4 * H, np.zeros(1, np.int64)
    panels = ceil_div(4 * H, width)
    for p in range(share * panels // shares, (share + 1) * panels // shares):
        column, at = p * width, p * K * width
        count = min(width, 4 * H - column)
        pack_panel(Wx, column, Wx_rows, 0, D, 1, count, width, weights, at)
        pack_panel(Wh, column, Wh_rows, 0, H, 1, count, width, weights, at + D * width)
        pack_panel(b, column, b_rows, 0, 1, 1, count, width, weights, at + (D + H) * width)


@separate("n n n n v v v")
def _pack_backward(share, shares, D, H, Wx, Wh, weights):
    """A share of packing [Wx; Wh] transposed into panels, 64 rows of a panel at a time; the arrays are flat."""
    width = panel_width(weights)
    rows = np.arange(4 * H)
    panels, blocks = ceil_div(D + H, width), ceil_div(4 * H, 64)
    for task in range(share * panels * blocks // shares, (share + 1) * panels * blocks // shares):
        p, k = task // blocks, task % blocks * 64
        k_last, at = min(k + 64, 4 * H), (p * 4 * H + k) * width
        first, last = p * width, min((p + 1) * width, D + H)
        split = min(max(first, D), last)  # the columns before it are of Wx, the others of Wh
        if first < split:
            pack_panel(Wx, first * 4 * H, rows, k, k_last, 4 * H, split - first, split - first, weights, at)
        if split < last:
            end = width - (split - first)
            pack_panel(Wh, (split - D) * 4 * H, rows, k, k_last, 4 * H, last - split, end, weights, at + split - first)


@shared
def pack_forward(share, shares, Wx, Wh, b, weights):
    """[Wx; Wh; b] into panels."""
    _pack_forward(share, shares, Wx.shape[0], Wh.shape[0], Wx.reshape(Wx.size), Wh.reshape(Wh.size), b, weights)


@shared
def pack_backward(share, shares, Wx, Wh, weights):
    """[Wx; Wh] transposed into panels."""
    _pack_backward(share, shares, Wx.shape[0], Wh.shape[0], Wx.reshape(Wx.size), Wh.reshape(Wh.size), weights)


# Packed weights up to this many bytes are packed by every share for itself: quicker than a launch, and than fetching from
# another core's cache.
_OWN_WEIGHTS = 1 << 18


def _packed(numbers, dtype):
    """Memory for packed weights: (shares, numbers) if every share has its own, (1, numbers) if they are packed beforehand."""
    return empty((num_shares() if numbers * dtype.itemsize <= _OWN_WEIGHTS else 1, numbers), dtype)


@kernel
def _copy_state(source, start, target, position, H):
    """Copy the state of a sample; an empty source stands for zeros."""
    if source.size > 0:
        copy(source, start, target, position, H)
    else:
        clear(target, position, H)


@shared
def _forward(
    share, shares, T, order, starts, xs, h0, c0, Wx, Wh, b, packed, inputs, input_step, gates, gate_step, cs, hs, h_last, c_last
):
    N = order.size
    D, H = Wx.shape[0], Wh.shape[0]
    K = D + H + 1
    weights = packed[share % packed.shape[0]]
    if packed.shape[0] > 1:
        _pack_forward(0, 1, D, H, Wx.reshape(Wx.size), Wh.reshape(Wh.size), b, weights)
    mine = ceil_div(N - share, shares)
    input_rows, gate_rows = np.empty(mine, np.int64), np.empty(mine, np.int64)
    fill_row_addresses(gates, share * gate_step, shares * gate_step, gate_rows)
    for i in range(mine):
        r = share + i * shares
        n = order[r]
        input_rows[i] = r * input_step
        _copy_state(c0, n * H, cs, r * H, H)
        copy(cs, r * H, c_last, n * H, H)
        _copy_state(h0, n * H, h_last, n * H, H)
        if r < starts[1]:
            copy(h_last, n * H, inputs, r * input_step + D, H)
    for t in range(T):
        start, after = starts[t], starts[t + 1]
        running = after - start
        running_next = starts[t + 2] - after if t + 1 < T else 0
        rows = ceil_div(running - share, shares) if running > share else 0
        for i in range(rows):
            row = start * input_step + input_rows[i]
            copy(xs, (order[share + i * shares] * T + t) * D, inputs, row, D)
            inputs[row + K - 1] = 1
        multiply_rows(rows, inputs, start * input_step, input_rows, K, weights, 4 * H, gates, start * gate_step, gate_rows, -1)
        for i in range(rows):
            r = share + i * shares
            n = order[r]
            h, c, c_prev = (n * T + t) * H, (N + start + r) * H, ((N + starts[t - 1] if t > 0 else 0) + r) * H
            gates_forward(H, gates, (start + r) * gate_step, cs, c_prev, c, hs, h)
            if r < running_next:
                copy(hs, h, inputs, (after + r) * input_step + D, H)
            else:
                copy(hs, h, h_last, n * H, H)
                copy(cs, c, c_last, n * H, H)
        for i in range(rows, mine):
            clear(hs, (order[share + i * shares] * T + t) * H, H)


def _flat(array):
    return array.reshape(array.size)


@cache
def _nothing(dtype):
    return np.empty(0, dtype)


def _flat_state(state, dtype):
    """A state or its gradient, flat; empty for None, which stands for zeros."""
    return _nothing(dtype) if state is None else state.reshape(state.size)


def lstm_forward(xs, h0, c0, Wx, Wh, b, lengths):
    N, T, D = xs.shape
    H = Wh.shape[0]
    K = D + H + 1
    dtype = xs.dtype
    order, starts = _running(lengths, N, T)
    R = int(starts[-1])
    input_step, gate_step = odd_step(K, dtype), odd_step(4 * H, dtype)
    packed = _packed(panel_numbers(K, 4 * H, dtype), dtype)
    inputs, gates, cs = empty(R * input_step, dtype), empty(R * gate_step, dtype), empty((N + R) * H, dtype)
    hs, h_last, c_last = empty((N, T, H), dtype), empty((N, H), dtype), empty((N, H), dtype)
    if len(packed) == 1:
        pack_forward(Wx, Wh, b, packed[0], work=4 * packed.size)
    _forward(
        T, order, starts, _flat(xs), _flat_state(h0, dtype), _flat_state(c0, dtype), Wx, Wh, b, packed,
        inputs, input_step, gates, gate_step, cs, _flat(hs), _flat(h_last), _flat(c_last),
        shares=len(packed) if len(packed) > 1 else None, work=8 * R * K * H,
    )  # fmt: skip
    return hs, h_last, c_last, (N, T, D, order, starts, inputs, input_step, gates, gate_step, cs)


@shared
def _backward(
    share, shares, T, order, starts, dhs, dh_last, dc_last, Wx, Wh, packed, gates, gate_step, cs, dinputs, dinput_step, dc,
    dxs, dh0, dc0,
):  # fmt: skip
    """The gates of every row become its dz, in their place."""
    N = order.size
    D, H = Wx.shape[0], Wh.shape[0]
    weights = packed[share % packed.shape[0]]
    if packed.shape[0] > 1:
        _pack_backward(0, 1, D, H, Wx.reshape(Wx.size), Wh.reshape(Wh.size), weights)
    mine = ceil_div(N - share, shares)
    gate_rows, dinput_rows = np.empty(mine, np.int64), np.empty(mine, np.int64)
    fill_row_addresses(dinputs, share * dinput_step, shares * dinput_step, dinput_rows)
    for i in range(mine):
        r = share + i * shares
        gate_rows[i] = r * gate_step
        _copy_state(dh_last, order[r] * H, dinputs, r * dinput_step + D, H)
        _copy_state(dc_last, order[r] * H, dc, r * H, H)
    for t in range(T - 1, -1, -1):
        start = starts[t]
        running = starts[t + 1] - start
        start_prev = starts[t - 1] if t > 0 else 0
        rows = ceil_div(running - share, shares) if running > share else 0
        for i in range(rows):
            r = share + i * shares
            c, c_prev = (N + start + r) * H, ((N + start_prev if t > 0 else 0) + r) * H
            gates_backward(
                H, dhs, (order[r] * T + t) * H, dinputs, r * dinput_step + D, dc, r * H,
                gates, (start + r) * gate_step, cs, c, c_prev,
            )  # fmt: skip
        multiply_rows(
            rows, gates, start * gate_step, gate_rows, 4 * H, weights, D + H, dinputs, 0, dinput_rows,
            start_prev * gate_step if t > 0 else -1,
        )  # fmt: skip
        for i in range(rows):
            r = share + i * shares
            copy(dinputs, r * dinput_step, dxs, (order[r] * T + t) * D, D)
        for i in range(rows, mine):
            clear(dxs, (order[share + i * shares] * T + t) * D, D)
    for i in range(mine):
        r = share + i * shares
        copy(dinputs, r * dinput_step + D, dh0, order[r] * H, H)
        copy(dc, r * H, dc0, order[r] * H, H)


@shared
def _weight_gradients(share, shares, R, inputs, input_step, dz, dz_step, dWx, dWh, db, panels, tiles):
    """[dWx; dWh; db] = inputs^T dz, over R rows."""
    D, H = dWx.shape[0], dWh.shape[0]
    K = D + H + 1
    dW_rows = np.empty(K, np.int64)
    fill_row_addresses(dWx.reshape(dWx.size), 0, 4 * H, dW_rows[:D])
    fill_row_addresses(dWh.reshape(dWh.size), 0, 4 * H, dW_rows[D : D + H])
    fill_row_addresses(db, 0, 0, dW_rows[D + H :])
    matmul(
        share, shares, K, 4 * H, R, inputs, 0, np.arange(K), input_step, dz, 0, np.arange(R) * dz_step, 1,
        dW_rows, 0, tiles[share][:0], panels[share], tiles[share],
    )  # fmt: skip


def lstm_backward(dhs, dh_last, dc_last, Wx, Wh, cache, dWx, dWh, db):
    N, T, D, order, starts, inputs, input_step, gates, gate_step, cs = cache
    H = Wh.shape[0]
    dtype = dhs.dtype
    R = int(starts[-1])
    packed = _packed(panel_numbers(4 * H, D + H, dtype), dtype)
    dinput_step = odd_step(D + H, dtype)
    dinputs, dc = empty(N * dinput_step, dtype), empty(N * H, dtype)
    dxs, dh0, dc0 = empty((N, T, D), dtype), empty((N, H), dtype), empty((N, H), dtype)
    if len(packed) == 1:
        pack_backward(Wx, Wh, packed[0], work=4 * packed.size)
    _backward(
        T, order, starts, _flat(dhs), _flat_state(dh_last, dtype), _flat_state(dc_last, dtype), Wx, Wh, packed,
        gates, gate_step, cs, dinputs, dinput_step, dc, _flat(dxs), _flat(dh0), _flat(dc0),
        shares=len(packed) if len(packed) > 1 else None, work=8 * R * (D + H) * H,
    )  # fmt: skip
    panels, tiles = scratch(dtype)
    _weight_gradients(
        R, inputs, input_step, gates, gate_step, dWx, dWh, db, panels, tiles,
        shares=len(tiles), work=8 * R * (D + H) * H,
    )  # fmt: skip
    return dxs, dh0, dc0
