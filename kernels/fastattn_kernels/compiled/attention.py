"""Attention, in parts and as a whole; the mathematics stands in ``reference/attention.py``.

A sample's dot products are of rows that are contiguous, and its contexts a product with the rows of the values as they stand:
nothing is packed or transposed unless many target steps share it. Padding is left out by each sample's own lengths.
"""

from typing import NamedTuple

import numpy as np

from .engine.additive import additive_scores, additive_scores_backward
from .engine.buffers import empty, flat, nothing
from .engine.compiling import kernel
from .engine.cpu import GROUPS
from .engine.jit import leaf, separate, shared
from .engine.padding import all_lengths, block_of_samples, samples_of
from .engine.product import (
    dots,
    even_matrix,
    even_row_addresses,
    fill_row_addresses,
    matmul,
    panel_width,
    products,
    scratch,
    scratch_of,
    tile_count,
    zeros_for,
)
from .engine.values import Ahead, EvenRows, Floats, Indices, Matrix, Panels, Place, Rows, Scratch
from .engine.vector import NOTHING_AHEAD, TO_ZEROS, clear, copy
from .softmax import softmax_backward_row, softmax_row

_ROWS_TO_PACK = 32


@shared
def _score_forward(share, shares, hs, h, lengths, s, tiles):
    N, T, H = hs.shape
    flat_hs, flat_h, flat_s = hs.reshape(hs.size), h.reshape(h.size), s.reshape(s.size)
    for n in range(share * N // shares, (share + 1) * N // shares):
        dots(
            1,
            lengths[n],
            H,
            EvenRows(flat_h, n * H, H),
            EvenRows(flat_hs, n * T * H, H),
            EvenRows(flat_s, n * T, T),
            tiles[share],
        )
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
        dots(
            1,
            lengths[n],
            H,
            EvenRows(flat_dc, n * H, H),
            EvenRows(flat_hs, n * T * H, H),
            EvenRows(flat_da, n * T, T),
            tiles[share],
        )
        da[n, lengths[n] :] = 0


def weighted_sum_backward(dc, hs, a, lengths):
    N, T, H = hs.shape
    dhs, da = empty((N, T, H), hs.dtype), empty((N, T), hs.dtype)
    _, tiles = scratch(hs.dtype)
    _weighted_sum_backward(dc, hs, a, all_lengths(lengths, N, T), dhs, da, tiles, shares=len(tiles), work=4 * hs.size)
    return dhs, da


@leaf
def add_weighted_rows(
    rows: int, columns: int, depth: int, a: Matrix, b: EvenRows, c: EvenRows, c_rows: Indices, accumulate: int, scratch: Scratch
):  # fmt: skip
    """c = (or +=) the product of a, ``rows`` x ``depth``, with the ``depth`` > 0 rows of b, of ``columns`` numbers.

    c_rows: memory for the addresses of the rows of c. The last columns, if they are no whole lane group, pass through the
    scratch memory: its panels for b, its tile for c.
    """
    width = panel_width(a.numbers)
    group = width // GROUPS
    tiles = tile_count(rows)
    fill_row_addresses(c.numbers, c.start, c.step, c_rows[:rows])
    whole, rest = columns // width, columns % width // group  # panels, and lane groups after them
    nothing_ahead = Ahead(NOTHING_AHEAD, 0)
    for i in range(tiles):
        first = i * rows // tiles
        of_a = Matrix(a.numbers, a.start, a.rows, a.first + first, a.step)
        for at, count, groups in ((0, whole, GROUPS), (whole * width, 1, rest)):
            if count > 0 and groups > 0:
                of_c = Rows(c_rows, first, at)
                products(
                    (i + 1) * rows // tiles - first, count, groups, depth, of_a, Panels(b.numbers, b.start + at, b.step, width),
                    of_c, Rows(c_rows, first if accumulate else TO_ZEROS, at), nothing_ahead,
                )  # fmt: skip
    column = columns // group * group
    count = columns - column
    if count == 0:
        return
    edge, tile = scratch.panels, scratch.tile
    edge_rows = edge.size // group
    to_tile = Rows(scratch.tile_rows, 0, 0)
    for k_first in range(0, depth, edge_rows):
        k_count = min(edge_rows, depth - k_first)
        for k in range(k_count):
            source = b.start + (k_first + k) * b.step + column
            for j in range(count):
                edge[k * group + j] = b.numbers[source + j]
            for j in range(count, group):
                edge[k * group + j] = 0
        for i in range(tiles):
            first = i * rows // tiles
            row_count = (i + 1) * rows // tiles - first
            old = accumulate or k_first > 0
            for r in range(row_count):
                at = c.start + (first + r) * c.step + column
                for j in range(group):
                    tile[r * width + j] = c.numbers[at + j] if old and j < count else 0
            of_a = Matrix(a.numbers, a.start + k_first * a.step, a.rows, a.first + first, a.step)
            products(row_count, 1, 1, k_count, of_a, Panels(edge, 0, group, 0), to_tile, to_tile, nothing_ahead)
            for r in range(row_count):
                at = c.start + (first + r) * c.step + column
                for j in range(count):
                    c.numbers[at + j] = tile[r * width + j]


@separate
def _dot_products(rows: int, columns: int, depth: int, a: EvenRows, b: Place, c: EvenRows, scratch: Scratch):
    """c[r, j] = the dot product of row r of a with row j of b, ``depth`` numbers each, which stand one after another in b.

    From some rows of a on it pays to pack b transposed, and to run at the speed of a matrix product.
    """
    if rows < _ROWS_TO_PACK:
        dots(rows, columns, depth, a, EvenRows(b.numbers, b.at, depth), c, scratch.tile)
        return
    to_c = Rows(even_row_addresses(c.numbers, rows, c.step), 0, c.start)
    transposed = even_matrix(b.numbers, b.at, depth, 1, depth)
    of_a = even_matrix(a.numbers, a.start, rows, a.step, 1)
    matmul(0, 1, rows, columns, depth, of_a, transposed, to_c, zeros_for(to_c), scratch)


class Extent(NamedTuple):
    """Of a sample's attention: its steps, those that are real, and how wide keys and queries, values, and states are."""

    T1: int
    real1: int
    T2: int
    real2: int
    A: int
    E: int
    S: int


class Attended(NamedTuple):
    """What goes into a sample's attention, or its gradients; keys and values one after another. states: none if S is 0.

    Of the gradients, those of the values are empty where the values are the keys, and those of the states where the states are
    the queries: they are then added to the others.
    """

    keys: Place
    values: Place
    queries: EvenRows
    states: EvenRows


@separate
def attend(
    extent: Extent, given: Attended, v: Floats, scale: Floats, weights: Place, contexts: EvenRows, scratch: Scratch
):  # fmt: skip
    """The contexts of a sample's real target steps, each with the state after it, and all of its weights, T2 rows of T1.

    v: of additive attention, or empty. scale: a number by which dot products are multiplied.
    """
    T1, real1, T2, real2, A, E, S = extent
    keys, values, queries, states = given
    if v.size > 0:
        for t in range(real2):
            query, scores = (
                Place(queries.numbers, queries.start + t * queries.step),
                Place(weights.numbers, weights.at + t * T1),
            )
            additive_scores(real1, A, EvenRows(keys.numbers, keys.at, A), query, v, scores)
    else:
        _dot_products(real2, real1, A, queries, keys, EvenRows(weights.numbers, weights.at, T1), scratch)
    for t in range(real2):
        at = weights.at + t * T1
        scale_row(weights.numbers[at : at + real1], scale)
        softmax_row(Place(weights.numbers, at), real1)
        clear(weights.numbers, at + real1, T1 - real1)
    clear(weights.numbers, weights.at + real2 * T1, (T2 - real2) * T1)
    if real1 > 0:
        of_weights = even_matrix(weights.numbers, weights.at, real2, T1, 1)
        of_values = EvenRows(values.numbers, values.at, E)
        add_weighted_rows(real2, E, real1, of_weights, of_values, contexts, np.empty(real2, np.int64), False, scratch)
    for t in range(real2):
        at = contexts.start + t * contexts.step
        if real1 == 0:
            clear(contexts.numbers, at, E)
        copy(states.numbers, states.start + t * states.step, contexts.numbers, at + E, S)


@kernel
def scale_row(row, scale):
    """A row times the one number in ``scale``."""
    factor = scale[0]
    if factor != 1:
        for j in range(row.size):
            row[j] *= factor


@shared
def _forward(
    share, shares, block, shape, keys, values, queries, states, v, scale, lengths_enc, lengths_dec, cs, a, edges, tiles
):  # fmt: skip
    """shape: N, T1, T2 and the widths, as in `Extent`. The arrays are flat."""
    N, T1, T2, A, E, S = shape
    width = E + S
    scratch = scratch_of(share, edges, tiles)
    for n in samples_of(share, shares, N, block):  # as the LSTM's, without lengths: they are in this core's cache
        real2 = lengths_dec[n]
        attend(
            Extent(T1, lengths_enc[n], T2, real2, A, E, S),
            Attended(
                Place(keys, n * T1 * A), Place(values, n * T1 * E), EvenRows(queries, n * T2 * A, A),
                EvenRows(states, n * T2 * S, S),
            ),
            v, scale, Place(a, n * T2 * T1), EvenRows(cs, n * T2 * width, width), scratch,
        )  # fmt: skip
        clear(cs, n * T2 * width + real2 * width, (T2 - real2) * width)


def _shape(keys, values, queries, states):
    N, T1, A = keys.shape
    return N, T1, queries.shape[1], A, values.shape[2], 0 if states is None else states.shape[2]


def attention_forward(keys, values, queries, states, v, scale, lengths_enc, lengths_dec):
    shape, dtype = _shape(keys, values, queries, states), keys.dtype
    N, T1, T2, A, E, S = shape
    panels, tiles = scratch(dtype)
    cs, a = empty((N, T2, E + S), dtype), empty((N, T2, T1), dtype)
    _forward(
        block_of_samples(lengths_enc, N), shape, flat(keys), flat(values), flat(queries),
        nothing(dtype) if states is None else flat(states), nothing(dtype) if v is None else v, np.full(1, scale, dtype),
        all_lengths(lengths_enc, N, T1), all_lengths(lengths_dec, N, T2), flat(cs), flat(a), panels, tiles,
        shares=len(tiles), work=N * T1 * T2 * ((20 if v is not None else 2) * A + 2 * E),
    )  # fmt: skip
    return cs, a


@separate
def attend_backward(
    extent: Extent, given: Attended, gradients: Attended, v: Floats, scale: Floats, weights: Place, dcontexts: EvenRows,
    dv: Place, ds: Floats, scratch: Scratch,
):  # fmt: skip
    """Undoes :func:`attend`: writes a sample's gradients, and adds to that of v. ds: memory for T2 x T1 numbers."""
    T1, real1, T2, real2, A, E, S = extent
    keys, values, queries, _ = given
    dkeys, dvalues, dqueries, dstates = gradients
    values_are_keys, states_are_queries = dvalues.numbers.size == 0, S > 0 and dstates.numbers.size == 0
    for t in range(T2):  # what is beside the contexts, or zeros, for the rest to be added to
        at, at_state = dqueries.start + t * dqueries.step, dcontexts.start + t * dcontexts.step + E
        if states_are_queries and t < real2:
            copy(dcontexts.numbers, at_state, dqueries.numbers, at, A)
        else:
            clear(dqueries.numbers, at, A)
        if S > 0 and not states_are_queries:
            if t < real2:
                copy(dcontexts.numbers, at_state, dstates.numbers, dstates.start + t * dstates.step, S)
            else:
                clear(dstates.numbers, dstates.start + t * dstates.step, S)
    if real1 == 0 or real2 == 0:
        clear(dkeys.numbers, dkeys.at, T1 * A)
        if not values_are_keys:
            clear(dvalues.numbers, dvalues.at, T1 * E)
        return
    c_rows = np.empty(max(real1, real2), np.int64)
    _dot_products(real2, real1, E, dcontexts, values, EvenRows(ds, 0, T1), scratch)  # da
    for t in range(real2):
        softmax_backward_row(Place(ds, t * T1), Place(weights.numbers, weights.at + t * T1), real1)
        scale_row(ds[t * T1 : t * T1 + real1], scale)
    of_keys, to_dkeys = EvenRows(keys.numbers, keys.at, A), EvenRows(dkeys.numbers, dkeys.at, A)
    of_columns, columns = even_matrix(weights.numbers, weights.at, real1, 1, T1), even_matrix(ds, 0, real1, 1, T1)
    if v.size == 0:
        rows = even_matrix(ds, 0, real2, T1, 1)
        add_weighted_rows(real2, A, real1, rows, of_keys, dqueries, c_rows, True, scratch)
    if values_are_keys:
        add_weighted_rows(real1, E, real2, of_columns, dcontexts, to_dkeys, c_rows, False, scratch)
    else:
        to_dvalues = EvenRows(dvalues.numbers, dvalues.at, E)
        add_weighted_rows(real1, E, real2, of_columns, dcontexts, to_dvalues, c_rows, False, scratch)
        clear(dvalues.numbers, dvalues.at + real1 * E, (T1 - real1) * E)
    if v.size == 0:
        add_weighted_rows(real1, A, real2, columns, queries, to_dkeys, c_rows, values_are_keys, scratch)
    else:
        if not values_are_keys:
            clear(dkeys.numbers, dkeys.at, real1 * A)
        for t in range(real2):
            query = Place(queries.numbers, queries.start + t * queries.step)
            dquery = Place(dqueries.numbers, dqueries.start + t * dqueries.step)
            additive_scores_backward(real1, A, of_keys, query, v, Place(ds, t * T1), to_dkeys, dquery, dv)
    clear(dkeys.numbers, dkeys.at + real1 * A, (T1 - real1) * A)


@shared
def _backward(
    share, shares, block, shape, dcs, keys, values, queries, states, v, scale, a, lengths_enc, lengths_dec, dkeys, dvalues,
    dqueries, dstates, dvs, ds, edges, tiles,
):  # fmt: skip
    """dvs: a row for each sample, for its part of the gradient of v."""
    N, T1, T2, A, E, S = shape
    width = E + S
    scratch = scratch_of(share, edges, tiles)
    for n in samples_of(share, shares, N, block):  # as the LSTM's, without lengths: they are in this core's cache
        at1, at2 = n * T1, n * T2
        clear(dvs, n * v.size, v.size)
        attend_backward(
            Extent(T1, lengths_enc[n], T2, lengths_dec[n], A, E, S),
            Attended(Place(keys, at1 * A), Place(values, at1 * E), EvenRows(queries, at2 * A, A), EvenRows(states, at2 * S, S)),
            Attended(
                Place(dkeys, at1 * A), Place(dvalues, at1 * E), EvenRows(dqueries, at2 * A, A), EvenRows(dstates, at2 * S, S)
            ),
            v, scale, Place(a, at2 * T1), EvenRows(dcs, at2 * width, width), Place(dvs, n * v.size), ds[share], scratch,
        )  # fmt: skip


def attention_backward(dcs, keys, values, queries, states, v, scale, a, lengths_enc, lengths_dec, dv):
    shape, dtype = _shape(keys, values, queries, states), keys.dtype
    N, T1, T2, A, E, _ = shape
    none = nothing(dtype)
    dkeys, dqueries = empty(keys.shape, dtype), empty(queries.shape, dtype)
    dvalues = None if values is keys else empty(values.shape, dtype)
    dstates = None if states is None or states is queries else empty(states.shape, dtype)
    dvs = none if v is None else empty(N * v.size, dtype)
    panels, tiles = scratch(dtype)
    ds = empty((len(tiles), T2 * T1), dtype)
    _backward(
        block_of_samples(lengths_enc, N), shape, flat(dcs), flat(keys), flat(values), flat(queries),
        none if states is None else flat(states), none if v is None else v, np.full(1, scale, dtype), flat(a),
        all_lengths(lengths_enc, N, T1), all_lengths(lengths_dec, N, T2), flat(dkeys),
        none if dvalues is None else flat(dvalues), flat(dqueries), none if dstates is None else flat(dstates), dvs, ds,
        panels, tiles, shares=len(tiles), work=N * T1 * T2 * ((30 if v is not None else 4) * A + 4 * E),
    )  # fmt: skip
    if v is not None:
        np.sum(dvs.reshape(N, v.size), axis=0, out=dv)
    return dkeys, dvalues, dqueries, dstates
