"""Dot-product attention, in parts and as a whole; the mathematics stands in ``reference/attention.py``.

A sample's scores are dot products of rows that are contiguous, and its contexts a product with the rows of hs as they stand:
nothing is packed or transposed unless many target steps share it. Padding is left out by each sample's own lengths.
"""

import numpy as np

from .engine.buffers import empty
from .engine.compiling import kernel
from .engine.cpu import GROUPS, MAX_ROWS
from .engine.jit import separate, shared
from .engine.padding import all_lengths, block_of_samples, samples_of
from .engine.product import (
    dots,
    even_row_addresses,
    evenly_spaced,
    fill_row_addresses,
    matmul,
    panel_width,
    products,
    scratch,
    tile_count,
)
from .engine.vector import NOTHING_AHEAD, TO_ZEROS, clear, copy
from .softmax import softmax_backward_row, softmax_row

_ROWS_TO_PACK = 32


@shared
def _score_forward(share, shares, hs, h, lengths, s, tiles):
    N, T, H = hs.shape
    flat_hs, flat_h, flat_s = hs.reshape(hs.size), h.reshape(h.size), s.reshape(s.size)
    for n in range(share * N // shares, (share + 1) * N // shares):
        dots(1, lengths[n], H, flat_h, n * H, H, flat_hs, n * T * H, H, flat_s, n * T, T, tiles[share])
        s[n, lengths[n] :] = 0


def attention_score_forward(hs, h, lengths):
    N, T, _ = hs.shape
    s = empty((N, T), hs.dtype)
    _, tiles = scratch(hs.dtype)
    _score_forward(hs, h, all_lengths(lengths, N, T), s, tiles, shares=len(tiles), work=2 * hs.size)
    return s


@kernel
def _outer_and_sum(weights, row, rows, d_rows, d_row):
    """d_rows[t] = weights[t] row, and d_row = the sum over t of weights[t] rows[t]."""
    d_row[:] = 0
    for t in range(weights.size):
        weight, d_rows_t, rows_t = weights[t], d_rows[t], rows[t]
        for j in range(row.size):
            d_rows_t[j] = weight * row[j]
        for j in range(row.size):
            d_row[j] += weight * rows_t[j]


@shared
def _score_backward(share, shares, ds, hs, h, lengths, dhs, dh):
    N = lengths.size
    for n in range(share * N // shares, (share + 1) * N // shares):
        _outer_and_sum(ds[n, : lengths[n]], h[n], hs[n], dhs[n], dh[n])
        dhs[n, lengths[n] :] = 0


def attention_score_backward(ds, hs, h, lengths):
    N, T, H = hs.shape
    dhs, dh = empty((N, T, H), hs.dtype), empty((N, H), hs.dtype)
    _score_backward(ds, hs, h, all_lengths(lengths, N, T), dhs, dh, work=4 * hs.size)
    return dhs, dh


@shared
def _weighted_sum_forward(share, shares, hs, a, lengths, c):
    N = lengths.size
    for n in range(share * N // shares, (share + 1) * N // shares):
        c_n = c[n]
        c_n[:] = 0
        for t in range(lengths[n]):
            weight, row = a[n, t], hs[n, t]
            for j in range(row.size):
                c_n[j] += weight * row[j]


def weighted_sum_forward(hs, a, lengths):
    N, T, H = hs.shape
    c = empty((N, H), hs.dtype)
    _weighted_sum_forward(hs, a, all_lengths(lengths, N, T), c, work=2 * hs.size)
    return c


@shared
def _weighted_sum_backward(share, shares, dc, hs, a, lengths, dhs, da, tiles):
    N, T, H = hs.shape
    flat_hs, flat_dc, flat_da = hs.reshape(hs.size), dc.reshape(dc.size), da.reshape(da.size)
    for n in range(share * N // shares, (share + 1) * N // shares):
        row = dc[n]
        for t in range(lengths[n]):
            weight, dhs_t = a[n, t], dhs[n, t]
            for j in range(row.size):
                dhs_t[j] = weight * row[j]
        dhs[n, lengths[n] :] = 0
        dots(1, lengths[n], H, flat_dc, n * H, H, flat_hs, n * T * H, H, flat_da, n * T, T, tiles[share])
        da[n, lengths[n] :] = 0


def weighted_sum_backward(dc, hs, a, lengths):
    N, T, H = hs.shape
    dhs, da = empty((N, T, H), hs.dtype), empty((N, T), hs.dtype)
    _, tiles = scratch(hs.dtype)
    _weighted_sum_backward(dc, hs, a, all_lengths(lengths, N, T), dhs, da, tiles, shares=len(tiles), work=4 * hs.size)
    return dhs, da


@separate("n v n i n v n n n n v n n i n v v")
def _add_weighted_rows(
    rows, a, a_start, a_rows, a_step, b, b_start, b_step, H, depth, c, c_start, c_step, c_rows, accumulate, edge, tile
):
    """c = (or +=) the product of a, ``rows`` x ``depth``, with the ``depth`` > 0 rows of b; rows of b and c are H numbers.

    Number k of row r of a is a[a_start + a_rows[r] + k a_step]; the rows of b and c are b_step and c_step apart. c_rows:
    memory for the addresses of the rows of c. The last columns, if they are no whole lane group, pass through ``edge``, a
    panel's memory for b, and ``tile``, a tile's for c.
    """
    width = panel_width(tile)
    group = width // GROUPS
    tiles = tile_count(rows)
    fill_row_addresses(c, c_start, c_step, c_rows[:rows])
    whole, rest = H // width, H % width // group  # panels, and lane groups after them
    for i in range(tiles):
        first = i * rows // tiles
        for at, count, groups in ((0, whole, GROUPS), (whole * width, 1, rest)):
            if count > 0 and groups > 0:
                products(
                    (i + 1) * rows // tiles - first, count, groups, a, a_start, a_rows, first, a_step,
                    b, b_start + at, b_step, width, depth,
                    c_rows, first, at, c_rows, first if accumulate else TO_ZEROS, at, NOTHING_AHEAD, 0,
                )  # fmt: skip
    column = H // group * group
    count = H - column
    if count == 0:
        return
    edge_rows = edge.size // group
    tile_rows = even_row_addresses(tile, MAX_ROWS, group)
    for k_first in range(0, depth, edge_rows):
        k_count = min(edge_rows, depth - k_first)
        for k in range(k_count):
            source = b_start + (k_first + k) * b_step + column
            for j in range(count):
                edge[k * group + j] = b[source + j]
            for j in range(count, group):
                edge[k * group + j] = 0
        for i in range(tiles):
            first = i * rows // tiles
            row_count = (i + 1) * rows // tiles - first
            old = accumulate or k_first > 0
            for r in range(row_count):
                for j in range(group):
                    tile[r * group + j] = c[c_start + (first + r) * c_step + column + j] if old and j < count else 0
            products(
                row_count, 1, 1, a, a_start + k_first * a_step, a_rows, first, a_step,
                edge, 0, group, 0, k_count, tile_rows, 0, 0, tile_rows, 0, 0, NOTHING_AHEAD, 0,
            )  # fmt: skip
            for r in range(row_count):
                for j in range(count):
                    c[c_start + (first + r) * c_step + column + j] = tile[r * group + j]


@separate("n n n v n n v n v n n v v")
def _scores(rows, columns, H, a, a_start, a_step, b, b_start, c, c_start, c_step, packed, tile):
    """c[r, j] = the dot product of row r of a with row j of b, H numbers each; the rows of a and c are a_step and c_step apart.

    From some rows of a on it pays to pack b transposed, into ``packed``, and to run at the speed of a matrix product.
    """
    if rows < _ROWS_TO_PACK:
        dots(rows, columns, H, a, a_start, a_step, b, b_start, H, c, c_start, c_step, tile)
        return
    matmul(
        0, 1, rows, columns, H, a, a_start, evenly_spaced(rows, a_step), 1, b, b_start, evenly_spaced(H, 1), H,
        even_row_addresses(c, rows, c_step), c_start, tile[:0], packed, tile,
    )  # fmt: skip


@separate("n n n n n n v n v n v n v n n v v")
def attend(
    T1, real1, T2, real2, H, width, enc, enc_at, dec, dec_at, weights, weights_at, contexts, contexts_at, context_step,
    edge, tile,
):  # fmt: skip
    """The contexts of a sample's real target steps, and all of its weights. All arrays are flat.

    A row of enc and dec is H numbers, one of weights T1; one of contexts is ``width`` numbers, H, or 2H with the target state
    after the context, and they are context_step apart.
    """
    _scores(real2, real1, H, dec, dec_at, H, enc, enc_at, weights, weights_at, T1, edge, tile)
    for t in range(real2):
        softmax_row(weights, weights_at + t * T1, real1)
        clear(weights, weights_at + t * T1 + real1, T1 - real1)
    clear(weights, weights_at + real2 * T1, (T2 - real2) * T1)
    if real1 > 0:
        _add_weighted_rows(
            real2, weights, weights_at, evenly_spaced(real2, T1), 1, enc, enc_at, H, H, real1, contexts, contexts_at,
            context_step, np.empty(real2, np.int64), False, edge, tile,
        )  # fmt: skip
    for t in range(real2):
        if real1 == 0:
            clear(contexts, contexts_at + t * context_step, H)
        copy(dec, dec_at + t * H, contexts, contexts_at + t * context_step + H, width - H)


@shared
def _forward(share, shares, block, hs_enc, hs_dec, lengths_enc, lengths_dec, cs, a, edges, tiles):
    N, T1, H = hs_enc.shape
    T2, width = cs.shape[1:]
    enc, dec, weights, contexts = hs_enc.reshape(N * T1 * H), hs_dec.reshape(N * T2 * H), a.reshape(a.size), cs.reshape(cs.size)
    for n in samples_of(share, shares, N, block):  # as the LSTM's, without lengths: they are in this core's cache
        real2, at_c = lengths_dec[n], n * T2 * width
        attend(
            T1, lengths_enc[n], T2, real2, H, width, enc, n * T1 * H, dec, n * T2 * H, weights, n * T2 * T1, contexts, at_c,
            width, edges[share], tiles[share],
        )  # fmt: skip
        clear(contexts, at_c + real2 * width, (T2 - real2) * width)


def attention_forward(hs_enc, hs_dec, lengths_enc, lengths_dec, join):
    N, T1, H = hs_enc.shape
    T2 = hs_dec.shape[1]
    panels, tiles = scratch(hs_enc.dtype)
    cs, a = empty((N, T2, 2 * H if join else H), hs_enc.dtype), empty((N, T2, T1), hs_enc.dtype)
    _forward(
        block_of_samples(lengths_enc, N), hs_enc, hs_dec, all_lengths(lengths_enc, N, T1), all_lengths(lengths_dec, N, T2),
        cs, a, panels, tiles, shares=len(tiles), work=4 * N * T1 * T2 * H,
    )  # fmt: skip
    return cs, a


@separate("n n n n n n v n n v n v n v n v v v v v")
def attend_backward(
    T1, real1, T2, real2, H, width, dcontexts, contexts_at, context_step, enc, enc_at, dec, dec_at, weights, weights_at,
    denc, ddec, ds, edge, tile,
):  # fmt: skip
    """Undoes :func:`attend`: writes the gradients of a sample's states, which stand as the states do. ds: T2 x T1 numbers."""
    for t in range(real2):  # what is beside the contexts, or zeros, for the rest to be added to
        if width > H:
            copy(dcontexts, contexts_at + t * context_step + H, ddec, dec_at + t * H, H)
        else:
            clear(ddec, dec_at + t * H, H)
    clear(ddec, dec_at + real2 * H, (T2 - real2) * H)
    if real1 == 0 or real2 == 0:
        clear(denc, enc_at, T1 * H)
        return
    rows, columns = evenly_spaced(real2, T1), evenly_spaced(real1, 1)
    c_rows = np.empty(max(real1, real2), np.int64)
    _scores(real2, real1, H, dcontexts, contexts_at, context_step, enc, enc_at, ds, 0, T1, edge, tile)  # da
    for t in range(real2):
        softmax_backward_row(ds, t * T1, weights, weights_at + t * T1, real1)
    _add_weighted_rows(real2, ds, 0, rows, 1, enc, enc_at, H, H, real1, ddec, dec_at, H, c_rows, True, edge, tile)
    _add_weighted_rows(
        real1, weights, weights_at, columns, T1, dcontexts, contexts_at, context_step, H, real2, denc, enc_at, H, c_rows,
        False, edge, tile,
    )  # fmt: skip
    _add_weighted_rows(real1, ds, 0, columns, T1, dec, dec_at, H, H, real2, denc, enc_at, H, c_rows, True, edge, tile)
    clear(denc, enc_at + real1 * H, (T1 - real1) * H)


@shared
def _backward(share, shares, block, dcs, hs_enc, hs_dec, a, lengths_enc, lengths_dec, dhs_enc, dhs_dec, ds, edges, tiles):
    N, T1, H = hs_enc.shape
    T2, width = dcs.shape[1:]
    enc, dec, weights, dc = hs_enc.reshape(N * T1 * H), hs_dec.reshape(N * T2 * H), a.reshape(a.size), dcs.reshape(dcs.size)
    denc, ddec = dhs_enc.reshape(N * T1 * H), dhs_dec.reshape(N * T2 * H)
    for n in samples_of(share, shares, N, block):  # as the LSTM's, without lengths: they are in this core's cache
        attend_backward(
            T1, lengths_enc[n], T2, lengths_dec[n], H, width, dc, n * T2 * width, width, enc, n * T1 * H, dec, n * T2 * H,
            weights, n * T2 * T1, denc, ddec, ds[share], edges[share], tiles[share],
        )  # fmt: skip


def attention_backward(dcs, hs_enc, hs_dec, a, lengths_enc, lengths_dec):
    N, T1, H = hs_enc.shape
    T2 = hs_dec.shape[1]
    dtype = hs_enc.dtype
    dhs_enc, dhs_dec = empty((N, T1, H), dtype), empty((N, T2, H), dtype)
    panels, tiles = scratch(dtype)
    ds = empty((len(tiles), T2 * T1), dtype)
    _backward(
        block_of_samples(lengths_enc, N), dcs, hs_enc, hs_dec, a, all_lengths(lengths_enc, N, T1),
        all_lengths(lengths_dec, N, T2), dhs_enc, dhs_dec, ds, panels, tiles, shares=len(tiles), work=8 * N * T1 * T2 * H,
    )  # fmt: skip
    return dhs_enc, dhs_dec
