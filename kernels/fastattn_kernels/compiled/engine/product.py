"""Matrix products, in plain Numba around the register tiles of `vector`.

A product c = a b is cut into panels of PANEL columns (four lane groups) and tiles of at most TILE.rows rows. The panel of b is
copied ("packed") so that its rows stand one after another, as the inner loop reads them; a is read where it is. A tile of c is
added up in scratch memory that never leaves the first-level cache, where the caller can still work on it before it is stored.
Every element is the sum over k in order, with one accumulator: the same bits however rows, columns and k are divided.
"""

import numpy as np
from numba import carray

from .cpu import GROUP_BYTES, GROUPS, MAX_ROWS, TILE
from .jit import kernel, separate
from .vector import DOT_ROWS, TILE_GROUPS, TILES_PER_GROUP, add_tile_dots, add_tile_product, pointer_to

# How many rows of b are packed at a time: a packed block (at most 96 KiB) stays in the second-level cache while all of a passes.
DEPTH_BLOCK = 384
_TILE_ROWS = TILE.rows


@kernel
def panel_width(array):
    """Columns of a panel for the dtype of ``array``: 64 for float32, 32 for float64."""
    return GROUPS * GROUP_BYTES // array.itemsize


@kernel
def ceil_div(n, d):
    return (n + d - 1) // d


@kernel
def tile_count(rows):
    """How many tiles ``rows`` rows are cut into; tile i holds the rows i * rows // count to (i + 1) * rows // count."""
    return ceil_div(rows, _TILE_ROWS)


@kernel
def add_product(rows, groups, a, a_start, a_rows, a_first, a_step, b, b_start, b_step, depth, tile):
    """Add a (rows x depth) times b (depth x groups lane groups) to ``tile``, whose rows are PANEL apart.

    Row r of a stands at a_start + a_rows[a_first + r], its numbers a_step apart; row k of b at b_start + k b_step.
    """
    width = panel_width(tile)
    if TILE_GROUPS == GROUPS:
        add_tile_product(rows, groups, a, a_start, a_rows, a_first, a_step, b, b_start, b_step, depth, tile, 0, width)
    else:
        tile_width = width // GROUPS // TILES_PER_GROUP * TILE_GROUPS
        for column in range(0, groups * width // GROUPS, tile_width):
            for row in range(0, rows, _TILE_ROWS):
                add_tile_product(
                    min(rows - row, _TILE_ROWS), TILE_GROUPS, a, a_start, a_rows, a_first + row, a_step,
                    b, b_start + column, b_step, depth, tile, row * width + column, width,
                )  # fmt: skip


@kernel
def pack_panel(b, b_start, b_rows, k_first, k_last, b_step, columns, panel, panel_start):
    """Copy the rows k_first..k_last of b, ``columns`` numbers of each, into a panel, with zeros up to its width.

    Number j of row k stands at b_start + b_rows[k] + j b_step.
    """
    width = panel_width(panel)
    if b_step == 1:
        for k in range(k_first, k_last):
            source = b_start + b_rows[k]
            target = panel_start + (k - k_first) * width
            for j in range(columns):
                panel[target + j] = b[source + j]
            for j in range(columns, width):
                panel[target + j] = 0
    else:
        for k_block in range(k_first, k_last, 16):  # a transposition: sixteen rows at a time share their cache lines
            k_end = min(k_block + 16, k_last)
            for j in range(columns):
                for k in range(k_block, k_end):
                    panel[panel_start + (k - k_first) * width + j] = b[b_start + b_rows[k] + j * b_step]
            for k in range(k_block, k_end):
                for j in range(columns, width):
                    panel[panel_start + (k - k_first) * width + j] = 0


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
    panel,
    tile,
):
    """One share of c = a b + bias, for c of ``rows`` x ``columns``.

    Number k of row r of a:      a[a_start + a_rows[r] + k a_step]
    number j of row k of b:      b[b_start + b_rows[k] + j b_step]
    row r of c:                  at the address c_rows[r], c_start numbers further on
    bias:                        ``columns`` numbers, or an empty array for none
    panel, tile: scratch memory of DEPTH_BLOCK x PANEL and MAX_ROWS x PANEL numbers, this share's own.

    The shares divide the tiles of c, panel by panel.
    """
    width = panel_width(a)
    group = width // GROUPS
    tiles = tile_count(rows)
    tasks = tiles * ceil_div(columns, width)
    first_task, last_task = share * tasks // shares, (share + 1) * tasks // shares
    for k_first in range(0, max(depth, 1), DEPTH_BLOCK):
        k_last = min(k_first + DEPTH_BLOCK, depth)
        packed = -1
        for task in range(first_task, last_task):
            p = task // tiles
            column = p * width
            count = min(width, columns - column)
            if packed != p:
                pack_panel(b, b_start + column * b_step, b_rows, k_first, k_last, b_step, count, panel, 0)
                packed = p
            first_row = (task - p * tiles) * rows // tiles
            row_count = (task - p * tiles + 1) * rows // tiles - first_row
            if k_first > 0:
                for r in range(row_count):
                    c = carray(pointer_to(c_rows[first_row + r], a), c_start + columns)
                    for j in range(count):
                        tile[r * width + j] = c[c_start + column + j]
            elif bias.size > 0:
                for r in range(row_count):
                    for j in range(count):
                        tile[r * width + j] = bias[column + j]
            else:
                tile[: row_count * width] = 0
            add_product(
                row_count, ceil_div(count, group), a, a_start + k_first * a_step, a_rows, first_row, a_step,
                panel, 0, width, k_last - k_first, tile,
            )  # fmt: skip
            for r in range(row_count):
                c = carray(pointer_to(c_rows[first_row + r], a), c_start + columns)
                for j in range(count):
                    c[c_start + column + j] = tile[r * width + j]


@separate("n n n v n n v n n v n n v")
def dots(rows, columns, depth, a, a_start, a_step, b, b_start, b_step, c, c_start, c_step, tile):
    """c = a b^T for rows of a and b that are contiguous: c[r, j] = sum over k of a[r, k] b[j, k]. ``tile``: 16 numbers."""
    group = GROUP_BYTES // a.itemsize
    whole = depth // group
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
                    for k in range(whole * group, depth):
                        total += a[a_start + (r_first + r) * a_step + k] * b[b_start + (j_first + j) * b_step + k]
                    c[c_start + (r_first + r) * c_step + j_first + j] = total


def scratch_sizes(dtype):
    """The lengths of the panel and tile that :func:`matmul` needs for a dtype."""
    width = GROUPS * GROUP_BYTES // np.dtype(dtype).itemsize
    return DEPTH_BLOCK * width, MAX_ROWS * width


def row_addresses(array, rows=None):
    """The addresses (int64) of the rows of a 2-D array whose rows are contiguous; ``rows`` picks some, in that order."""
    index = np.arange(array.shape[0]) if rows is None else rows
    return array.__array_interface__["data"][0] + index * array.strides[0]


def odd_step(n, dtype):
    """n rounded up to an odd number of cache lines: rows that far apart fall into different sets of the cache."""
    numbers = GROUP_BYTES // np.dtype(dtype).itemsize
    lines = -(-n // numbers)
    return (lines + 1 - lines % 2) * numbers
