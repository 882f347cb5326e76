"""Matrix products, in plain Numba around the register tiles of `vector`.

A product c = a b is cut into panels of PANEL columns (four lane groups) and tiles of at most TILE.rows rows. The panel of b is
copied ("packed") so that its rows stand one after another, as the inner loop reads them; a is read, and c written, where it is.
Every element is the sum over k in order, with one accumulator for each block of k: the same bits however rows and columns are
divided.
"""

from functools import cache, lru_cache

import numpy as np
from numba import carray
from numba.extending import overload

from .buffers import empty, on_huge_pages
from .compiling import kernel
from .cpu import GROUP_BYTES, GROUPS, MAX_ROWS, TILE
from .jit import num_shares, separate
from .vector import (
    DOT_ROWS,
    NOTHING_AHEAD,
    TILES_PER_GROUP,
    TO_ZEROS,
    add_tile_dots,
    add_tile_products,
    copy,
    copy_transposed,
    pointer_to,
)

_TILE_ROWS, _VECTOR_BYTES = TILE.rows, TILE.vector_bytes
# A packed block of b is so many rows of so many panels, which stay in the second-level cache while all of a passes.
_DEPTH, _DEPTH_OF_COLUMNS, _BLOCK = TILE.depth, TILE.depth_of_columns, TILE.block


def panel_width(array):
    """Columns of a panel for the dtype of ``array``, in compiled code: a constant there, which an array's itemsize is not."""


@overload(panel_width, inline="always")
def _panel_width(array):
    width = GROUPS * GROUP_BYTES * 8 // array.dtype.bitwidth
    return lambda array: width


@kernel
def ceil_div(n, d):
    return (n + d - 1) // d


@kernel
def tile_count(rows):
    """How many tiles ``rows`` rows are cut into; tile i holds the rows i * rows // count to (i + 1) * rows // count."""
    return ceil_div(rows, _TILE_ROWS)


@kernel
def _products_in_parts(
    rows, tiles, groups, a, a_start, a_rows, a_first, a_step, b, b_start, b_step, b_tile_step, depth,
    c_rows, c_first, c_start, addends, addend_first, addend_start, ahead, ahead_first,
):  # fmt: skip
    part = panel_width(a) // TILES_PER_GROUP
    for i in range(TILES_PER_GROUP):
        column = i * part
        add_tile_products(
            rows, tiles, 1, a, a_start, a_rows, a_first, a_step, b, b_start + column, b_step, b_tile_step, depth,
            c_rows, c_first, c_start + column, addends, addend_first, addend_start + column, ahead, ahead_first,
        )  # fmt: skip


# `add_tile_products`, where a lane group fits into a tile.
products = add_tile_products if TILES_PER_GROUP == 1 else _products_in_parts


@kernel
def evenly_spaced(count, step):
    """0, step, 2 step, ..., so many of them."""
    result = np.empty(count, np.int64)
    for i in range(count):
        result[i] = i * step
    return result


@kernel
def scaled(rows, step):
    """rows[0] step, rows[1] step, ..."""
    result = np.empty(rows.size, np.int64)
    for i in range(rows.size):
        result[i] = rows[i] * step
    return result


@separate("v n i n n n n v n")
def pack_panel(b, b_start, b_rows, k_first, k_last, b_step, columns, panel, panel_start):
    """Copy the rows k_first..k_last of b, ``columns`` numbers of each, into a panel, and zeros after them.

    Number j of row k stands at b_start + b_rows[k] + j b_step. The panel's first row begins at panel_start.
    """
    width = panel_width(panel)
    if b_step == 1:
        for k in range(k_last - k_first):
            start, at = b_start + b_rows[k_first + k], panel_start + k * width
            source, target = b[start : start + columns], panel[at : at + width]
            for j in range(columns):
                target[j] = source[j]
            for j in range(columns, width):
                panel[at + j] = 0
        return
    block = width // GROUPS
    for k_block in range(k_first, k_last, block):  # a transposition, in square blocks
        count, at = min(block, k_last - k_block), panel_start + (k_block - k_first) * width
        first = b_start + b_rows[k_block]
        whole = 0
        if count == block and b_rows[k_block + block - 1] == b_rows[k_block] + block - 1:
            whole = columns // block * block
            for j in range(0, whole, block):
                copy_transposed(b, first + j * b_step, b_step, panel, at + j, width)
        target = panel[at : at + count * width]
        for j in range(whole, columns):
            for k in range(count):
                target[k * width + j] = b[b_start + b_rows[k_block + k] + j * b_step]
        for k in range(count):
            for j in range(columns, width):
                target[k * width + j] = 0


@separate("v n i n n n n n n v n n")
def pack_panels(b, b_start, b_rows, k_first, k_last, b_step, columns, p_first, p_last, panels, start, panel_step):
    """:func:`pack_panel` for the panels p_first..p_last of ``columns`` columns: to start, start + panel_step, and so on.

    The memory of b is read in pieces as long as they can be: a row in all panels, or of b transposed, a column of one.
    """
    width = panel_width(panels)
    p = p_first
    if b_step == 1:
        p = max(p_first, min(p_last, columns // width))
        for k in range(k_first, k_last):
            row, at = b_start + b_rows[k], start + (k - k_first) * width
            for i in range(p - p_first):
                copy(b, row + (p_first + i) * width, panels, at + i * panel_step, width)
    while p < p_last:
        count, at = min(width, columns - p * width), start + (p - p_first) * panel_step
        pack_panel(b, b_start + p * width * b_step, b_rows, k_first, k_last, b_step, count, panels, at)
        p += 1


@separate("n n n n v n n v")
def pack_matrix(share, shares, rows, columns, b, row_step, column_step, panels):
    """A share of packing a matrix, 64 rows of a panel at a time; number j of its row k is b[k row_step + j column_step]."""
    width = panel_width(panels)
    b_rows = evenly_spaced(rows, row_step)
    panel_count, blocks = ceil_div(columns, width), ceil_div(rows, 64)
    for task in range(share * panel_count * blocks // shares, (share + 1) * panel_count * blocks // shares):
        p, k = task // blocks, task % blocks * 64
        at = (p * rows + k) * width
        pack_panels(b, 0, b_rows, k, min(k + 64, rows), column_step, columns, p, p + 1, panels, at, 0)


# So much of a packed matrix stays in the second-level cache while all rows pass.
_BLOCK_BYTES = 384 << 10


@separate("n v n i n v n n i i n n")
def multiply_rows(rows, a, a_start, a_rows, depth, weights, columns, c_start, c_rows, addends, addend_start, ahead):
    """c = a times a packed matrix (all panels of ``columns`` columns), for some rows that share one set of offsets a_rows.

    Row r of a is at a_start + a_rows[r]; row r of c is at c_start numbers beyond the address c_rows[r], and is written up to
    a whole lane group. To it is added what stands addend_start numbers beyond the address addends[r], of which a whole lane
    group is read, too; nothing if addends is empty. ahead: the rows at ahead + a_rows[r] of a will be read next, and are
    fetched meanwhile, a few of them beside each of the first panels; negative for none.
    """
    width = panel_width(a)
    tiles = tile_count(rows)
    whole, rest = columns // width, ceil_div(columns % width, width // GROUPS)  # panels, and lane groups after them
    ahead_address = a.ctypes.data + ahead * a.itemsize if ahead >= 0 else NOTHING_AHEAD
    addend_rows = addends if addends.size > 0 else c_rows
    # Some panels at a time, which stay in the second-level cache while all of a passes.
    block = max(1, _BLOCK_BYTES // (depth * width * a.itemsize))
    for p in range(0, whole + 1, block):
        for i in range(tiles):
            first = i * rows // tiles
            row_count = (i + 1) * rows // tiles - first
            addend_first = first if addends.size > 0 else TO_ZEROS
            if p < whole:
                products(
                    row_count, min(block, whole - p), GROUPS, a, a_start, a_rows, first, 1,
                    weights, p * depth * width, width, depth * width, depth,
                    c_rows, first, c_start + p * width, addend_rows, addend_first, addend_start + p * width, ahead_address, p,
                )  # fmt: skip
            if rest > 0 and p + block > whole:
                products(
                    row_count, 1, rest, a, a_start, a_rows, first, 1,
                    weights, whole * depth * width, width, 0, depth, c_rows, first, c_start + whole * width,
                    addend_rows, addend_first, addend_start + whole * width, ahead_address, whole,
                )  # fmt: skip


@kernel
def fill_row_addresses(array, start, step, rows):
    """rows[r] = the address of the number start + r step of a flat array."""
    first = array.ctypes.data
    for r in range(rows.size):
        rows[r] = first + (start + r * step) * array.itemsize


@kernel
def row_addresses(array, rows, step):
    """The addresses of the numbers rows[0] step, rows[1] step, ... of a flat array."""
    addresses = np.empty(rows.size, np.int64)
    for i in range(rows.size):
        addresses[i] = array.ctypes.data + rows[i] * step * array.itemsize
    return addresses


@kernel
def even_row_addresses(array, count, step):
    """The addresses of the numbers 0, step, 2 step, ... of a flat array, so many of them."""
    addresses = np.empty(count, np.int64)
    fill_row_addresses(array, 0, step, addresses)
    return addresses


@kernel
def _edge_tile(
    rows,
    columns,
    a,
    a_start,
    a_rows,
    a_first,
    a_step,
    panels,
    at,
    depth,
    c_rows,
    c_start,
    to_c,
    bias,
    column,
    tile,
    tile_rows,
):
    """A tile whose last lane group is not whole: made in scratch memory, so that nothing beyond the row of c is touched."""
    width = panel_width(a)
    for r in range(rows):
        c = carray(pointer_to(c_rows[a_first + r], a), c_start + columns)[c_start:]
        row = tile[r * width : r * width + columns]
        for j in range(columns):
            row[j] = c[j] if to_c else (bias[column + j] if bias.size > 0 else 0)
    products(
        rows, 1, ceil_div(columns, width // GROUPS), a, a_start, a_rows, a_first, a_step,
        panels, at, width, 0, depth, tile_rows, 0, 0, tile_rows, 0, 0, NOTHING_AHEAD, 0,
    )  # fmt: skip
    for r in range(rows):
        c = carray(pointer_to(c_rows[a_first + r], a), c_start + columns)[c_start:]
        row = tile[r * width : r * width + columns]
        for j in range(columns):
            c[j] = row[j]


@separate("n n n n n v n i n v n i n i n v v v")
def matmul(
    share,
    shares,
    rows,
    columns,
    depth,
    a,
    a_start,
    a_rows,
    a_step,
    b,
    b_start,
    b_rows,
    b_step,
    c_rows,
    c_start,
    bias,
    panels,
    tile,
):
    """One share of c = a b + bias, for c of ``rows`` x ``columns``.

    Number k of row r of a:      a[a_start + a_rows[r] + k a_step]
    number j of row k of b:      b[b_start + b_rows[k] + j b_step]
    row r of c:                  at the address c_rows[r], c_start numbers further on
    bias:                        ``columns`` numbers, or an empty array for none
    panels, tile: this share's own rows of what `scratch` gives.

    The shares divide the tiles of c, panel by panel.
    """
    width = panel_width(a)
    group = width // GROUPS
    tiles = tile_count(rows)
    depth_block = _DEPTH if a_step == 1 else _DEPTH_OF_COLUMNS
    panel_block = _BLOCK // depth_block
    tasks = tiles * ceil_div(columns, width)
    first_task, last_task = share * tasks // shares, (share + 1) * tasks // shares
    if first_task == last_task:
        return
    # The tile stands in for c where the last columns of c are no whole group.
    tile_rows, bias_rows = even_row_addresses(tile, MAX_ROWS, width), even_row_addresses(bias, MAX_ROWS, 0)
    last_panel = (last_task - 1) // tiles + 1
    for p_first in range(first_task // tiles, last_panel, panel_block):
        p_last = min(p_first + panel_block, last_panel)
        for k_first in range(0, max(depth, 1), depth_block):
            k_count = min(depth_block, depth - k_first)
            pack_panels(
                b, b_start, b_rows, k_first, k_first + k_count, b_step, columns, p_first, p_last, panels, 0, depth_block * width
            )  # fmt: skip
            for i in range(tiles):
                row = i * rows // tiles
                row_count = (i + 1) * rows // tiles - row
                # The rows of a for the next tile; where they are not spaced as these are, others are fetched in vain.
                ahead = NOTHING_AHEAD
                if a_step == 1 and i + 1 < tiles:
                    ahead = a.ctypes.data + (a_start + k_first + a_rows[row + row_count] - a_rows[row]) * a.itemsize
                # The panels of this block in which tile i is this share's, all but an edge at a time.
                p, p_end = max(p_first, ceil_div(first_task - i, tiles)), min(p_last, ceil_div(last_task - i, tiles))
                while p < p_end:
                    column, at = p * width, (p - p_first) * depth_block * width
                    count = min(width, columns - column)
                    side_by_side = max(1, min(p_end, columns // width) - p)
                    addends, addend_first, addend_start = c_rows, row, c_start + column
                    if k_first == 0:
                        addends, addend_first, addend_start = bias_rows, 0 if bias.size > 0 else TO_ZEROS, column
                    if count % group == 0:
                        products(
                            row_count, side_by_side, count // group, a, a_start + k_first * a_step, a_rows, row, a_step,
                            panels, at, width, depth_block * width, k_count, c_rows, row, c_start + column,
                            addends, addend_first, addend_start, ahead, 0,
                        )  # fmt: skip
                    else:
                        _edge_tile(
                            row_count, count, a, a_start + k_first * a_step, a_rows, row, a_step, panels, at, k_count,
                            c_rows, c_start + column, k_first > 0, bias, column, tile, tile_rows,
                        )  # fmt: skip
                    p += side_by_side


@separate("n n n n n v n n v n i v v v v")
def weight_gradients(
    share, shares, K, V, depth, x, x_row_step, x_step, dout, dout_start, dout_rows, dW, db, panels, tile
):  # fmt: skip
    """One share of [dW; db] = [x | 1]^T dout: dW has K rows of V numbers; db has V, or is empty if nobody wants it.

    Number k of row i of x, whose number K is 1 if there is a db, is x[i x_step + k x_row_step]; row i of dout is at
    dout_start + dout_rows[i], and there are ``depth`` rows of both. panels, tile: as for :func:`matmul`.
    """
    rows = K + 1 if db.size > 0 else K
    c_rows = np.empty(rows, np.int64)
    fill_row_addresses(dW, 0, V, c_rows[:K])
    fill_row_addresses(db, 0, 0, c_rows[K:])
    matmul(
        share, shares, rows, V, depth, x, 0, evenly_spaced(rows, x_row_step), x_step, dout, dout_start, dout_rows, 1,
        c_rows, 0, tile[:0], panels, tile,
    )  # fmt: skip


@separate("n n n v n n v n n v n n v")
def dots(rows, columns, depth, a, a_start, a_step, b, b_start, b_step, c, c_start, c_step, tile):
    """c = a b^T for rows of a and b that are contiguous: c[r, j] = sum over k of a[r, k] b[j, k]. ``tile``: 16 numbers."""
    lanes = _VECTOR_BYTES // a.itemsize
    whole = depth // lanes
    for r_first in range(0, rows, DOT_ROWS):
        r_count = min(DOT_ROWS, rows - r_first)
        for j_first in range(0, columns, DOT_ROWS):
            j_count = min(DOT_ROWS, columns - j_first)
            for i in range(DOT_ROWS * DOT_ROWS):
                tile[i] = 0
            add_tile_dots(
                r_count,
                j_count,
                a,
                a_start + r_first * a_step,
                a_step,
                b,
                b_start + j_first * b_step,
                b_step,
                whole,
                tile,
            )
            for r in range(r_count):
                for j in range(j_count):
                    total = tile[r * DOT_ROWS + j]
                    for k in range(whole * lanes, depth):
                        total += a[a_start + (r_first + r) * a_step + k] * b[b_start + (j_first + j) * b_step + k]
                    c[c_start + (r_first + r) * c_step + j_first + j] = total


@cache
def _scratch(dtype, shares):
    width = GROUPS * GROUP_BYTES // dtype.itemsize
    return on_huge_pages(shares * _BLOCK * width, dtype).reshape(shares, -1), empty((shares, MAX_ROWS * width), dtype)


def scratch(dtype):
    """The scratch memory of :func:`matmul` for every share: panels and tiles, a row each.

    It is the same at every call. That is safe, for one launch runs at a time, and nothing stays in it from one to the next.
    """
    return _scratch(dtype, num_shares())


@lru_cache(maxsize=256)
def odd_step(n, dtype):
    """n rounded up to an odd number of cache lines: rows that far apart fall into different sets of the cache."""
    numbers = GROUP_BYTES // np.dtype(dtype).itemsize
    lines = -(-n // numbers)
    return (lines + 1 - lines % 2) * numbers


@lru_cache(maxsize=256)
def panel_numbers(depth, columns, dtype):
    """How many numbers the panels of a packed matrix take."""
    width = GROUPS * GROUP_BYTES // np.dtype(dtype).itemsize
    return -(-columns // width) * width * depth
