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

import numpy as np

from .engine.activation import sigmoid, tanh
from .engine.buffers import empty, zeros
from .engine.cpu import GROUPS
from .engine.jit import kernel, shared
from .engine.product import (
    ceil_div,
    fill_row_addresses,
    matmul,
    odd_step,
    pack_panel,
    panel_numbers,
    panel_width,
    product,
    row_addresses,
    scratch,
    tile_count,
)
from .engine.vector import NOTHING_AHEAD, TO_ZEROS


def _running(lengths, N, T):
    """The order of the samples by falling length, and the first internal row of each step (T + 1 numbers)."""
    if lengths is None:
        return np.arange(N, dtype=np.int64), np.arange(T + 1, dtype=np.int64) * N
    counts = np.count_nonzero(lengths[:, None] > np.arange(T), axis=0)
    return np.argsort(-lengths, kind="stable"), np.concatenate(([0], np.cumsum(counts)))


@kernel
def multiply_rows(rows, a, a_start, a_rows, depth, weights, columns, c, c_start, c_rows, ahead):
    """c = a times packed weights (all panels of ``columns`` columns), for some rows that share one set of offsets a_rows.

    Row r of a is at a_start + a_rows[r]; row r of c is at c_start numbers beyond the address c_rows[r], and is written up to
    a whole lane group. ahead: the rows at ahead + a_rows[r] of a will be read next, and are fetched meanwhile, a few of them
    beside each of the first panels; negative for none.
    """
    width = panel_width(a)
    group = width // GROUPS
    tiles = tile_count(rows)
    for p in range(ceil_div(columns, width)):
        groups = ceil_div(min(width, columns - p * width), group)
        for i in range(tiles):
            first, last = i * rows // tiles, (i + 1) * rows // tiles
            ahead_1, ahead_2 = NOTHING_AHEAD, NOTHING_AHEAD
            if ahead >= 0 and first + 2 * p < last:
                ahead_1 = a.ctypes.data + (ahead + a_rows[first + 2 * p]) * a.itemsize
                ahead_2 = a.ctypes.data + (ahead + a_rows[min(first + 2 * p + 1, last - 1)]) * a.itemsize
            product(
                last - first, groups, a, a_start, a_rows, first, 1, weights, p * depth * width, width, depth,
                c_rows, first, c_start + p * width, TO_ZEROS, ahead_1, ahead_2,
            )  # fmt: skip


@shared
def pack_forward(share, shares, Wx, Wh, b, weights):
    """[Wx; Wh; b] into panels, every row of all panels by one share."""
    D, H = Wx.shape[0], Wh.shape[0]
    K = D + H + 1
    width = panel_width(weights)
    flat_Wx, flat_Wh = Wx.reshape(Wx.size), Wh.reshape(Wh.size)
    Wx_rows, Wh_rows, b_rows = np.arange(D) * 4 * H, np.arange(H) * 4 * H, np.zeros(1, np.int64)
    panels = ceil_div(4 * H, width)
    for p in range(share * panels // shares, (share + 1) * panels // shares):
        column, at = p * width, p * K * width
        count = min(width, 4 * H - column)
        pack_panel(flat_Wx, column, Wx_rows, 0, D, 1, count, width, weights, at)
        pack_panel(flat_Wh, column, Wh_rows, 0, H, 1, count, width, weights, at + D * width)
        pack_panel(b, column, b_rows, 0, 1, 1, count, width, weights, at + (D + H) * width)


@kernel
def forward_row(H, gates, z, cs, c_prev, c, h):
    """One row of one step: z becomes the gates in their place; c, and h. z, c_prev and c are places in flat arrays."""
    # Short loops, each over few rows: one loop over all of them would need too many checks for overlap to vectorise.
    f, g, i, o = gates[z : z + H], gates[z + H : z + 2 * H], gates[z + 2 * H : z + 3 * H], gates[z + 3 * H : z + 4 * H]
    old, new = cs[c_prev : c_prev + H], cs[c : c + H]
    for row in (f, i, o):
        for j in range(H):
            row[j] = sigmoid(row[j])
    for j in range(H):
        g[j] = tanh(g[j])
    for j in range(H):
        new[j] = f[j] * old[j] + g[j] * i[j]
    for j in range(H):
        h[j] = o[j] * tanh(new[j])


@shared
def _forward(share, shares, order, starts, xs, h0, c0, weights, inputs, input_step, gates, gate_step, cs, hs, h_last, c_last):
    N, T, D = xs.shape
    H = hs.shape[2]
    K = D + H + 1
    mine = ceil_div(N - share, shares)
    input_rows, gate_rows = np.empty(mine, np.int64), np.empty(mine, np.int64)
    fill_row_addresses(gates, share * gate_step, shares * gate_step, gate_rows)
    for i in range(mine):
        r = share + i * shares
        n = order[r]
        input_rows[i] = r * input_step
        cs[r * H : (r + 1) * H] = c0[n]
        h_last[n] = h0[n]
        c_last[n] = c0[n]
        if r < starts[1]:
            inputs[r * input_step + D : r * input_step + D + H] = h0[n]
    for t in range(T):
        start, after = starts[t], starts[t + 1]
        running = after - start
        running_next = starts[t + 2] - after if t + 1 < T else 0
        rows = ceil_div(running - share, shares) if running > share else 0
        for i in range(rows):
            row = start * input_step + input_rows[i]
            inputs[row : row + D] = xs[order[share + i * shares], t]
            inputs[row + K - 1] = 1
        multiply_rows(rows, inputs, start * input_step, input_rows, K, weights, 4 * H, gates, start * gate_step, gate_rows, -1)
        for i in range(rows):
            r = share + i * shares
            n = order[r]
            c, c_prev = (N + start + r) * H, ((N + starts[t - 1] if t > 0 else 0) + r) * H
            h = hs[n, t]
            forward_row(H, gates, (start + r) * gate_step, cs, c_prev, c, h)
            if r < running_next:
                h_next = (after + r) * input_step + D
                inputs[h_next : h_next + H] = h
            else:
                h_last[n] = h
                c_last[n] = cs[c : c + H]
        for i in range(rows, mine):
            hs[order[share + i * shares], t] = 0


def lstm_forward(xs, h0, c0, Wx, Wh, b, lengths):
    N, T, D = xs.shape
    H = Wh.shape[0]
    K = D + H + 1
    dtype = xs.dtype
    h0 = zeros((N, H), dtype) if h0 is None else h0
    c0 = zeros((N, H), dtype) if c0 is None else c0
    order, starts = _running(lengths, N, T)
    R = int(starts[-1])
    input_step, gate_step = odd_step(K, dtype), odd_step(4 * H, dtype)
    weights = empty(panel_numbers(K, 4 * H, dtype), dtype)
    inputs, gates, cs = empty(R * input_step, dtype), empty(R * gate_step, dtype), empty((N + R) * H, dtype)
    hs, h_last, c_last = empty((N, T, H), dtype), empty((N, H), dtype), empty((N, H), dtype)
    pack_forward(Wx, Wh, b, weights, work=4 * weights.size)
    _forward(
        order, starts, xs, h0, c0, weights, inputs, input_step, gates, gate_step, cs, hs, h_last, c_last, work=8 * R * K * H
    )
    return hs, h_last, c_last, (N, T, D, order, starts, inputs, input_step, gates, gate_step, cs)


@shared
def _pack_backward(share, shares, Wx, Wh, weights):
    """[Wx; Wh] transposed into panels."""
    D, H = Wx.shape[0], Wh.shape[0]
    width = panel_width(weights)
    flat_Wx, flat_Wh, rows = Wx.reshape(Wx.size), Wh.reshape(Wh.size), np.arange(4 * H)
    panels, blocks = ceil_div(D + H, width), ceil_div(4 * H, 64)
    for task in range(share * panels * blocks // shares, (share + 1) * panels * blocks // shares):
        p, k = task // blocks, task % blocks * 64
        k_last = min(k + 64, 4 * H)
        at = (p * 4 * H + k) * width
        first, last = p * width, min((p + 1) * width, D + H)
        split = min(max(first, D), last)  # the columns before it are of Wx, the others of Wh
        if first < split:
            pack_panel(flat_Wx, first * 4 * H, rows, k, k_last, 4 * H, split - first, split - first, weights, at)
        if split < last:
            end = width - (split - first)
            pack_panel(flat_Wh, (split - D) * 4 * H, rows, k, k_last, 4 * H, last - split, end, weights, at + split - first)


@kernel
def _backward_row(H, dhs, dh, dc, z, cs, c, c_prev, dz):
    """One row of one step: dhs + dh, and dc, which becomes dc of the step before, and the gates z give dz."""
    f, g, i, o = 0, H, 2 * H, 3 * H
    for j in range(H):
        tanh_c = tanh(cs[c + j])
        dh_j = dhs[j] + dh[j]
        dh_o = dh_j * z[o + j]
        dc_j = dc[j] + (dh_o - dh_o * tanh_c * tanh_c)
        dz_f = dc_j * cs[c_prev + j]
        dz_g = dc_j * z[i + j]
        dz_i = dc_j * z[g + j]
        dz_o = dh_j * tanh_c
        dz[f + j] = dz_f * (z[f + j] - z[f + j] * z[f + j])
        dz[g + j] = dz_g - dz_g * z[g + j] * z[g + j]
        dz[i + j] = dz_i * (z[i + j] - z[i + j] * z[i + j])
        dz[o + j] = dz_o * (z[o + j] - z[o + j] * z[o + j])
        dc[j] = dc_j * z[f + j]


@shared
def _backward(
    share, shares, order, starts, dhs, dh_last, dc_last, weights, gates, gate_step, cs, dinputs, dinput_step, dc, dxs, dh0, dc0
):
    """The gates of every row become its dz, in their place."""
    N, T, H = dhs.shape
    D = dxs.shape[2]
    mine = ceil_div(N - share, shares)
    gate_rows, dinput_rows, dz = np.empty(mine, np.int64), np.empty(mine, np.int64), np.empty(4 * H, gates.dtype)
    fill_row_addresses(dinputs, share * dinput_step, shares * dinput_step, dinput_rows)
    for i in range(mine):
        r = share + i * shares
        gate_rows[i] = r * gate_step
        dinputs[r * dinput_step + D : r * dinput_step + D + H] = dh_last[order[r]]
        dc[r] = dc_last[order[r]]
    for t in range(T - 1, -1, -1):
        start = starts[t]
        running = starts[t + 1] - start
        start_prev = starts[t - 1] if t > 0 else 0
        rows = ceil_div(running - share, shares) if running > share else 0
        for i in range(rows):
            r = share + i * shares
            c, c_prev = (N + start + r) * H, ((N + start_prev if t > 0 else 0) + r) * H
            dh = dinputs[r * dinput_step + D : r * dinput_step + D + H]
            z = gates[(start + r) * gate_step : (start + r) * gate_step + 4 * H]
            _backward_row(H, dhs[order[r], t], dh, dc[r], z, cs, c, c_prev, dz)
            for j in range(4 * H):
                z[j] = dz[j]
        multiply_rows(
            rows, gates, start * gate_step, gate_rows, 4 * H, weights, D + H, dinputs, 0, dinput_rows,
            start_prev * gate_step if t > 0 else -1,
        )  # fmt: skip
        for i in range(rows):
            r = share + i * shares
            dxs[order[r], t] = dinputs[r * dinput_step : r * dinput_step + D]
        for i in range(rows, mine):
            dxs[order[share + i * shares], t] = 0
    for i in range(mine):
        r = share + i * shares
        dh0[order[r]] = dinputs[r * dinput_step + D : r * dinput_step + D + H]
        dc0[order[r]] = dc[r]


@shared
def _weight_gradients(share, shares, H, inputs, input_step, dz, dz_rows, dW_rows, panels, tiles):
    """[dWx; dWh; db] = inputs^T dz."""
    matmul(
        share, shares, dW_rows.size, 4 * H, dz_rows.size, inputs, 0, np.arange(dW_rows.size), input_step, dz, 0, dz_rows, 1,
        dW_rows, 0, tiles[share][:0], panels[share], tiles[share],
    )  # fmt: skip


def lstm_backward(dhs, dh_last, dc_last, Wx, Wh, cache, dWx, dWh, db):
    N, T, D, order, starts, inputs, input_step, gates, gate_step, cs = cache
    H = Wh.shape[0]
    dtype = dhs.dtype
    R = int(starts[-1])
    dh_last = zeros((N, H), dtype) if dh_last is None else dh_last
    dc_last = zeros((N, H), dtype) if dc_last is None else dc_last
    weights = empty(panel_numbers(4 * H, D + H, dtype), dtype)
    dinput_step = odd_step(D + H, dtype)
    dinputs, dc = empty(N * dinput_step, dtype), empty((N, H), dtype)
    dxs, dh0, dc0 = empty((N, T, D), dtype), empty((N, H), dtype), empty((N, H), dtype)
    _pack_backward(Wx, Wh, weights, work=4 * weights.size)
    _backward(
        order, starts, dhs, dh_last, dc_last, weights, gates, gate_step, cs, dinputs, dinput_step, dc, dxs, dh0, dc0,
        work=8 * R * (D + H) * H,
    )  # fmt: skip
    dW_rows = np.concatenate((row_addresses(dWx), row_addresses(dWh), row_addresses(db[None])))
    panels, tiles = scratch(dtype)
    _weight_gradients(
        H, inputs, input_step, gates, np.arange(R) * gate_step, dW_rows, panels, tiles,
        shares=len(tiles), work=8 * R * (D + H) * H,
    )  # fmt: skip
    return dxs, dh0, dc0
