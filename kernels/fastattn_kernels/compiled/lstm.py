"""LSTM over a whole sequence; the mathematics and its notation stand in ``reference/lstm.py``.

How it is arranged
------------------
Only real steps are stored. The samples are put in order of falling length, so that at step t the first ``n_t`` of them are
still running; step t owns the rows ``starts[t]`` to ``starts[t + 1]`` of every internal array, R rows in all (the "packed
sequence" of other libraries). Padding costs neither memory nor time, and cannot be seen in the result.

- ``inputs``: a row is [x_t | h_(t-1) | 1], so that a step is one product with [Wx; Wh; b], and all weight gradients are one
  product of ``inputs`` transposed with dz. Each step writes its h into the rows of the next.
- The packed weights interleave the gates: a panel holds f, g, i, o of the same few hidden units (UNITS = a quarter of a panel),
  so that a tile of z becomes c and h while it is in the first-level cache.
- ``gates`` and ``dz``: a row is f | g | i | o, each of H rounded up to whole units. ``cs``: c0, then c of every row.

A share takes every ``shares``-th sample through the whole sequence, and waits for nobody.
"""

import numpy as np

from .engine.activation import sigmoid, tanh
from .engine.buffers import empty, zeros
from .engine.jit import kernel, num_shares, shared
from .engine.product import (
    add_product,
    ceil_div,
    matmul,
    odd_step,
    panel_width,
    row_addresses,
    scratch_sizes,
    tile_count,
)


def _running(lengths, N, T):
    """The order of the samples by falling length, and the first internal row of each step (T + 1 numbers)."""
    if lengths is None:
        return np.arange(N), np.arange(T + 1) * N
    counts = np.count_nonzero(lengths[:, None] > np.arange(T), axis=0)
    return np.argsort(-lengths, kind="stable"), np.concatenate(([0], np.cumsum(counts)))


@shared
def _pack_forward(share, shares, Wx, Wh, b, weights):
    """[Wx; Wh; b] into panels of interleaved gates, with zeros for the units beyond H."""
    D, H = Wx.shape[0], Wh.shape[0]
    K = D + H + 1
    width = panel_width(weights)
    units = width // 4
    panels = ceil_div(H, units)
    for task in range(share * panels * K // shares, (share + 1) * panels * K // shares):
        p, k = task // K, task % K
        source = Wx[k] if k < D else (Wh[k - D] if k < K - 1 else b)
        count = min(units, H - p * units)
        for gate in range(4):
            target = task * width + gate * units
            for j in range(count):
                weights[target + j] = source[gate * H + p * units + j]
            for j in range(count, units):
                weights[target + j] = 0


@kernel
def _gates_to_state(rows, tile, states):
    """A tile of z and, in ``states``, c_prev -> the gates in the tile; c and h in ``states``, two groups of units a row."""
    width = panel_width(tile)
    units = width // 4
    for r in range(rows):
        z = r * width
        s = 2 * r * units
        for j in range(units):
            tile[z + j] = sigmoid(tile[z + j])
        for j in range(units, 2 * units):
            tile[z + j] = tanh(tile[z + j])
        for j in range(2 * units, width):
            tile[z + j] = sigmoid(tile[z + j])
        for j in range(units):
            states[s + j] = tile[z + j] * states[s + j] + tile[z + units + j] * tile[z + 2 * units + j]
        for j in range(units):
            states[s + units + j] = tile[z + 3 * units + j] * tanh(states[s + j])


@shared
def _forward(
    share,
    shares,
    order,
    starts,
    xs,
    h0,
    c0,
    weights,
    inputs,
    input_step,
    gates,
    gate_step,
    cs,
    hs,
    h_last,
    c_last,
    tiles,
    states,
):
    tile, state = tiles[share], states[share]
    N, T, D = xs.shape
    H = hs.shape[2]
    K = D + H + 1
    width = panel_width(tile)
    units = width // 4
    panels = ceil_div(H, units)
    cell_step = panels * units
    mine = ceil_div(N - share, shares)
    my_rows = np.empty(mine, np.int64)
    for i in range(mine):
        r = share + i * shares
        n = order[r]
        my_rows[i] = r * input_step
        cs[r * cell_step : (r + 1) * cell_step] = 0
        cs[r * cell_step : r * cell_step + H] = c0[n]
        h_last[n] = h0[n]
        c_last[n] = c0[n]
        if r < starts[1]:
            inputs[r * input_step + D : r * input_step + D + H] = h0[n]

    for t in range(T):
        start, after = starts[t], starts[t + 1]
        running = after - start
        running_next = starts[t + 2] - after if t + 1 < T else 0
        c_start = (N + start) * cell_step
        c_prev_start = (N + starts[t - 1]) * cell_step if t > 0 else 0
        rows = ceil_div(running - share, shares) if running > share else 0
        for i in range(rows):
            row = start * input_step + my_rows[i]
            n = order[share + i * shares]
            for d in range(D):
                inputs[row + d] = xs[n, t, d]
            inputs[row + K - 1] = 1
        tiles = tile_count(rows)
        for p in range(panels):
            unit = p * units
            count = min(units, H - unit)
            for tile_index in range(tiles):
                first = tile_index * rows // tiles
                tile_rows = (tile_index + 1) * rows // tiles - first
                for i in range(tile_rows):
                    r = share + (first + i) * shares
                    for j in range(units):
                        state[2 * i * units + j] = cs[c_prev_start + r * cell_step + unit + j]
                tile[: tile_rows * width] = 0
                add_product(tile_rows, 4, inputs, start * input_step, my_rows, first, 1, weights, p * K * width, width, K, tile)
                _gates_to_state(tile_rows, tile, state)
                for i in range(tile_rows):
                    r = share + (first + i) * shares
                    n = order[r]
                    gate_row = (start + r) * gate_step + unit
                    for gate in range(4):
                        for j in range(units):
                            gates[gate_row + gate * cell_step + j] = tile[i * width + gate * units + j]
                    s = 2 * i * units
                    for j in range(units):
                        cs[c_start + r * cell_step + unit + j] = state[s + j]
                    for j in range(count):
                        hs[n, t, unit + j] = state[s + units + j]
                    if r < running_next:
                        h_next = (after + r) * input_step + D + unit
                        for j in range(count):
                            inputs[h_next + j] = state[s + units + j]
                    else:
                        for j in range(count):
                            h_last[n, unit + j] = state[s + units + j]
                            c_last[n, unit + j] = state[s + j]
        for i in range(rows, mine):
            hs[order[share + i * shares], t] = 0


def lstm_forward(xs, h0, c0, Wx, Wh, b, lengths):
    N, T, D = xs.shape
    H = Wh.shape[0]
    dtype = xs.dtype
    panel_size, tile_size = scratch_sizes(dtype)
    units = 64 // dtype.itemsize
    panels = -(-H // units)
    h0 = zeros((N, H), dtype) if h0 is None else h0
    c0 = zeros((N, H), dtype) if c0 is None else c0
    order, starts = _running(lengths, N, T)
    R = int(starts[-1])
    K = D + H + 1
    input_step, gate_step = odd_step(K, dtype), odd_step(4 * panels * units, dtype)
    weights = empty(panels * K * 4 * units, dtype)
    inputs = empty(R * input_step, dtype)
    gates = empty(R * gate_step, dtype)
    cs = empty((N + R) * panels * units, dtype)
    hs, h_last, c_last = empty((N, T, H), dtype), empty((N, H), dtype), empty((N, H), dtype)
    tiles, states = empty((num_shares(), tile_size), dtype), empty((num_shares(), tile_size // 2), dtype)
    work = 8 * R * K * H
    _pack_forward(Wx, Wh, b, weights, work=20 * K * H)
    _forward(order, starts, xs, h0, c0, weights, inputs, input_step, gates, gate_step, cs, hs, h_last, c_last,
        tiles, states, work=work,
    )  # fmt: skip
    return hs, h_last, c_last, (N, T, D, order, starts, inputs, input_step, gates, gate_step, cs)


@shared
def _pack_backward(share, shares, Wh, weights):
    """Wh transposed into panels of hidden units; its rows are f | g | i | o, each rounded up to whole units with zeros."""
    H = Wh.shape[0]
    width = panel_width(weights)
    units = width // 4
    cell_step = ceil_div(H, units) * units
    panels = ceil_div(H, width)
    tasks = panels * 4 * cell_step // units
    for task in range(share * tasks // shares, (share + 1) * tasks // shares):
        p = task * units // (4 * cell_step)
        k_first = task * units - p * 4 * cell_step
        gate, unit = k_first // cell_step, k_first % cell_step
        target = task * units * width
        count = min(units, H - unit)
        weights[target : target + units * width] = 0
        for j in range(min(width, H - p * width)):
            for i in range(count):
                weights[target + i * width + j] = Wh[p * width + j, gate * H + unit + i]


@kernel
def _backward_row(H, cell_step, dhs, dh, dc, gates, gate, cs, c, c_prev, dz):
    """One row of one step: from dh and dc (which becomes dc of the step before) to the row of dz. All but dhs and dh are flat."""
    f, g, i, o = gate, gate + cell_step, gate + 2 * cell_step, gate + 3 * cell_step
    for j in range(H):
        tanh_c = tanh(cs[c + j])
        dh_j = dhs[j] + dh[j]
        dh_o = dh_j * gates[o + j]
        dc_j = dc[j] + (dh_o - dh_o * tanh_c * tanh_c)
        dz_f = dc_j * cs[c_prev + j]
        dz_g = dc_j * gates[i + j]
        dz_i = dc_j * gates[g + j]
        dz_o = dh_j * tanh_c
        dz[f + j] = dz_f * (gates[f + j] - gates[f + j] * gates[f + j])
        dz[g + j] = dz_g - dz_g * gates[g + j] * gates[g + j]
        dz[i + j] = dz_i * (gates[i + j] - gates[i + j] * gates[i + j])
        dz[o + j] = dz_o * (gates[o + j] - gates[o + j] * gates[o + j])
        dc[j] = dc_j * gates[f + j]
    for first in (f, g, i, o):
        for j in range(H, cell_step):
            dz[first + j] = 0


@shared
def _backward(share, shares, order, starts, dhs, dh_last, dc_last, weights, gates, gate_step, cs, dz, dh, dc, dh0, dc0, tiles):
    tile = tiles[share]
    N, T, H = dhs.shape
    width = panel_width(tile)
    group = width // 4
    cell_step = ceil_div(H, group) * group
    mine = ceil_div(N - share, shares)
    my_rows = np.empty(mine, np.int64)
    for i in range(mine):
        r = share + i * shares
        my_rows[i] = r * gate_step
        dh[r] = dh_last[order[r]]
        dc[r] = dc_last[order[r]]
    for t in range(T - 1, -1, -1):
        start = starts[t]
        running = starts[t + 1] - start
        c_start = (N + start) * cell_step
        c_prev_start = (N + starts[t - 1]) * cell_step if t > 0 else 0
        rows = ceil_div(running - share, shares) if running > share else 0
        for i in range(rows):
            r = share + i * shares
            _backward_row(
                H, cell_step, dhs[order[r], t], dh[r], dc[r], gates, (start + r) * gate_step,
                cs, c_start + r * cell_step, c_prev_start + r * cell_step, dz,
            )  # fmt: skip
        tiles = tile_count(rows)
        for p in range(ceil_div(H, width)):
            count = min(width, H - p * width)
            for tile_index in range(tiles):
                first = tile_index * rows // tiles
                tile_rows = (tile_index + 1) * rows // tiles - first
                tile[: tile_rows * width] = 0
                add_product(
                    tile_rows, ceil_div(count, group), dz, start * gate_step, my_rows, first, 1,
                    weights, p * 4 * cell_step * width, width, 4 * cell_step, tile,
                )  # fmt: skip
                for i in range(tile_rows):
                    r = share + (first + i) * shares
                    for j in range(count):
                        dh[r, p * width + j] = tile[i * width + j]
    for i in range(mine):
        r = share + i * shares
        dh0[order[r]] = dh[r]
        dc0[order[r]] = dc[r]


@shared
def _products(
    share, shares, H, R, inputs, input_step, dz, gate_step, dz_rows, Wx, columns_of_Wx, dW_rows, dx_rows, panels, tiles
):
    """dxs = dz Wx^T, and [dWx; dWh; db] = inputs^T dz, gate by gate."""
    panel, tile = panels[share], tiles[share]
    D = Wx.shape[0]
    cell_step = columns_of_Wx.size // 4
    none = tile[:0]
    matmul(
        share, shares, R, D, 4 * cell_step, dz, 0, dz_rows, 1, Wx.reshape(Wx.size), 0, columns_of_Wx, 4 * H,
        dx_rows, 0, none, panel, tile,
    )  # fmt: skip
    columns_of_inputs = np.arange(dW_rows.size)
    for gate in range(4):
        matmul(
            share, shares, dW_rows.size, H, R, inputs, 0, columns_of_inputs, input_step, dz, gate * cell_step, dz_rows, 1,
            dW_rows, gate * H, none, panel, tile,
        )  # fmt: skip


def lstm_backward(dhs, dh_last, dc_last, Wx, Wh, cache, dWx, dWh, db):
    N, T, D, order, starts, inputs, input_step, gates, gate_step, cs = cache
    H = Wh.shape[0]
    dtype = dhs.dtype
    R = int(starts[-1])
    panel_size, tile_size = scratch_sizes(dtype)
    width = tile_size // 6
    units = width // 4
    cell_step = -(-H // units) * units
    dh_last = zeros((N, H), dtype) if dh_last is None else dh_last
    dc_last = zeros((N, H), dtype) if dc_last is None else dc_last
    weights = empty(-(-H // width) * 4 * cell_step * width, dtype)
    dz = empty(R * gate_step, dtype)
    dh, dc = empty((N, H), dtype), empty((N, H), dtype)
    dxs, dh0, dc0 = empty((N, T, D), dtype), empty((N, H), dtype), empty((N, H), dtype)
    panels, tiles = empty((num_shares(), panel_size), dtype), empty((num_shares(), tile_size), dtype)
    _pack_backward(Wh, weights, work=20 * H * H)
    _backward(order, starts, dhs, dh_last, dc_last, weights, gates, gate_step, cs, dz, dh, dc, dh0, dc0, tiles,
        work=8 * R * H * H,
    )  # fmt: skip
    if R < N * T:
        dxs.fill(0)
    # The row of dxs that belongs to each internal row: step t, sample order[r].
    steps = np.repeat(np.arange(T), np.diff(starts))
    sample_rows = order[np.arange(R) - starts[steps]] * T + steps
    columns_of_Wx = np.minimum(np.arange(cell_step), H - 1) + H * np.arange(4)[:, None]  # dz is zero beyond H
    dW_rows = np.concatenate((row_addresses(dWx), row_addresses(dWh), row_addresses(db[None])))
    _products(H, R, inputs, input_step, dz, gate_step, np.arange(R) * gate_step, Wx, columns_of_Wx.ravel(), dW_rows,
        row_addresses(dxs.reshape(N * T, D), sample_rows), panels, tiles, work=16 * R * (D + H) * H,
    )  # fmt: skip
    return dxs, dh0, dc0
