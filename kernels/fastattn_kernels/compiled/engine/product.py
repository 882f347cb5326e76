"""Matrix products, in plain Numba around the register tiles of `vector`.

A product c = a b is cut into panels of PANEL columns (four lane groups) and tiles of at most TILE.rows rows. The panel of b is
copied ("packed") so that its rows stand one after another, as the inner loop reads them; a is read, and c written, where it is.
Every element is the sum over k in order, with one accumulator for each block of k: the same bits however rows and columns are
divided.
"""

from functools import cache, lru_cache

import numpy as np
from numba.extending import overload

from .buffers import empty, on_huge_pages
from .compiling import kernel
from .cpu import GROUP_BYTES, GROUPS, MAX_ROWS, TILE
from .jit import leaf, num_shares, separate
from .values import Ahead, EvenRows, Floats, Matrix, Packed, Panels, Place, Rows, Scratch
from .vector import (
    DOT_ROWS,
    NOTHING_AHEAD,
    TILES_PER_GROUP,
    TO_ZEROS,
    add_tile_dots,
    add_tile_products,
    clear,
    copy,
    copy_from,
    copy_to,
    copy_transposed,
)

_TILE_ROWS, _VECTOR_BYTES = TILE.rows, TILE.vector_bytes
# A packed block of b is so many rows of so many panels, which stay in the second-level cache while all of a passes.
_DEPTH, DEPTH_OF_COLUMNS, _BLOCK = TILE.depth, TILE.depth_of_columns, TILE.block


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
def _products_in_parts(rows, tiles, groups, depth, a, b, c, addends, ahead):
    part = panel_width(a.numbers) // TILES_PER_GROUP
    for i in range(TILES_PER_GROUP):
        column = i * part
        add_tile_products(
            rows, tiles, 1, depth, a, Panels(b.numbers, b.start + column, b.row_step, b.panel_step),
            Rows(c.addresses, c.first, c.start + column), Rows(addends.addresses, addends.first, addends.start + column), ahead,
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


@kernel
def even_matrix(numbers, start, count, row_step, step):
    """A matrix of ``count`` rows that are row_step apart."""
    return Matrix(numbers, start, evenly_spaced(count, row_step), 0, step)


@leaf
def _pack_panel(b: Matrix, k_first: int, k_last: int, columns: int, panel: Place):
    """Copy the rows k_first..k_last of b, ``columns`` numbers of each, into a panel, and zeros after them."""
    numbers, panels = b.numbers, panel.numbers
    width = panel_width(panels)
    if b.step == 1:
        for k in range(k_last - k_first):
            start, at = b.start + b.rows[b.first + k_first + k], panel.at + k * width
            source, target = numbers[start : start + columns], panels[at : at + width]
            for j in range(columns):
                target[j] = source[j]
            for j in range(columns, width):
                panels[at + j] = 0
        return
    block = width // GROUPS
    for k_block in range(k_first, k_last, block):  # a transposition, in square blocks
        count, at = min(block, k_last - k_block), panel.at + (k_block - k_first) * width
        rows = b.rows[b.first + k_block : b.first + k_block + count]
        first = b.start + rows[0]
        whole = 0
        if count == block and rows[block - 1] == rows[0] + block - 1:
            whole = columns // block * block
            for j in range(0, whole, block):
                copy_transposed(numbers, first + j * b.step, b.step, panels, at + j, width)
        target = panels[at : at + count * width]
        for j in range(whole, columns):
            for k in range(count):
                target[k * width + j] = numbers[b.start + rows[k] + j * b.step]
        for k in range(count):
            for j in range(columns, width):
                target[k * width + j] = 0


@leaf
def _pack_panels(b: Matrix, k_first: int, k_last: int, columns: int, p_first: int, p_last: int, panels: Panels):
    """:func:`_pack_panel` for the panels p_first..p_last of ``columns`` columns: to panel 0, 1, ... of ``panels``.

    The memory of b is read in pieces as long as they can be: a row in all panels, or of b transposed, a column of one.
    """
    width = panel_width(panels.numbers)
    p = p_first
    if b.step == 1:
        p = max(p_first, min(p_last, columns // width))
        for k in range(k_first, k_last):
            row, at = b.start + b.rows[b.first + k], panels.start + (k - k_first) * width
            for i in range(p - p_first):
                copy(b.numbers, row + (p_first + i) * width, panels.numbers, at + i * panels.panel_step, width)
    while p < p_last:
        count, at = min(width, columns - p * width), panels.start + (p - p_first) * panels.panel_step
        columns_of_panel = Matrix(b.numbers, b.start + p * width * b.step, b.rows, b.first, b.step)
        _pack_panel(columns_of_panel, k_first, k_last, count, Place(panels.numbers, at))
        p += 1


@leaf
def pack_matrix(share: int, shares: int, b: Matrix, packed: Packed, first: int):
    """A share of packing all rows of a matrix, from row ``first`` of the packed one on: 64 rows of a panel at a time."""
    width, depth = panel_width(packed.numbers), b.rows.size
    panel_count, blocks = ceil_div(packed.columns, width), ceil_div(depth, 64)
    for task in range(share * panel_count * blocks // shares, (share + 1) * panel_count * blocks // shares):
        p, k = task // blocks, task % blocks * 64
        block = Panels(packed.numbers, packed.start + (p * packed.depth + first + k) * width, width, 0)
        _pack_panels(b, k, min(k + 64, depth), packed.columns, p, p + 1, block)


# So much of a packed matrix stays in the second-level cache while all rows pass.
_BLOCK_BYTES = 384 << 10


@leaf
def multiply_rows(rows: int, a: Matrix, weights: Packed, c: Rows, addends: Rows, ahead: int):
    """c = a times a packed matrix + addends (zeros if addends.first is TO_ZEROS), for some rows; a's numbers are 1 apart.

    c is written, and an addend read, up to a whole lane group of columns. ahead: where the start of a is for the rows that will
    be read next, and are fetched meanwhile, a few of them beside each of the first panels; negative for none.
    """
    width = panel_width(a.numbers)
    tiles = tile_count(rows)
    depth = weights.depth
    whole, rest = weights.columns // width, ceil_div(weights.columns % width, width // GROUPS)  # panels; lane groups after them
    ahead_address = a.numbers.ctypes.data + ahead * a.numbers.itemsize if ahead >= 0 else NOTHING_AHEAD
    # Some panels at a time, which stay in the second-level cache while all of a passes.
    block = max(1, _BLOCK_BYTES // (depth * width * a.numbers.itemsize))
    for p in range(0, whole + 1, block):
        for i in range(tiles):
            first = i * rows // tiles
            row_count = (i + 1) * rows // tiles - first
            of_a = Matrix(a.numbers, a.start, a.rows, a.first + first, 1)
            addend_first = addends.first + first if addends.first != TO_ZEROS else TO_ZEROS
            if p < whole:
                products(
                    row_count, min(block, whole - p), GROUPS, depth, of_a,
                    Panels(weights.numbers, weights.start + p * depth * width, width, depth * width),
                    Rows(c.addresses, c.first + first, c.start + p * width),
                    Rows(addends.addresses, addend_first, addends.start + p * width), Ahead(ahead_address, p),
                )  # fmt: skip
            if rest > 0 and p + block > whole:
                products(
                    row_count, 1, rest, depth, of_a, Panels(weights.numbers, weights.start + whole * depth * width, width, 0),
                    Rows(c.addresses, c.first + first, c.start + whole * width),
                    Rows(addends.addresses, addend_first, addends.start + whole * width), Ahead(ahead_address, whole),
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
def zeros_for(rows):
    """For addends: nothing is added to these rows."""
    return Rows(rows.addresses, TO_ZEROS, 0)


@kernel
def same_row(array, count):
    """A row of a flat array, so many times, for addends: a bias."""
    return Rows(even_row_addresses(array, count, 0), 0, 0)


@kernel
def _edge_tile(rows, columns, depth, a, panel, c, addends, scratch):
    """A tile whose last lane group is not whole: made in scratch memory, so that nothing beyond the row of c is touched."""
    width = panel_width(scratch.tile)
    for r in range(rows):
        if addends.first == TO_ZEROS:
            clear(scratch.tile, r * width, columns)
        else:
            copy_from(addends.addresses[addends.first + r], addends.start, scratch.tile, r * width, columns)
    to_tile = Rows(scratch.tile_rows, 0, 0)
    products(rows, 1, ceil_div(columns, width // GROUPS), depth, a, panel, to_tile, to_tile, Ahead(NOTHING_AHEAD, 0))
    for r in range(rows):
        copy_to(scratch.tile, r * width, c.addresses[c.first + r], c.start, columns)


@kernel
def _even_step(b, depth):
    """How far apart the rows of a matrix are, if they rise, are evenly spaced and more than one; else 0."""
    step = max(0, b.rows[b.first + 1] - b.rows[b.first]) if depth > 1 else 0
    for k in range(2, depth):
        if b.rows[b.first + k] - b.rows[b.first + k - 1] != step:
            return 0
    return step


@leaf
def matmul(
    share: int, shares: int, rows: int, columns: int, depth: int, a: Matrix, b: Matrix, c: Rows, addends: Rows, scratch: Scratch
):  # fmt: skip
    """One share of c = a b + addends, for c of ``rows`` x ``columns``.

    The sums are added to the rows of ``addends``, which may be those of c: `same_row` of a bias, or `zeros_for`. ``scratch``:
    this share's own (see `scratch`). The shares divide the tiles of c, panel by panel.

    Of b, what a single tile of c reads is read once, and so where it stands, without being packed: but for the last columns,
    where they are no whole lane group.
    """
    width = panel_width(a.numbers)
    group = width // GROUPS
    tiles = tile_count(rows)
    depth_block = _DEPTH if a.step == 1 else DEPTH_OF_COLUMNS
    panel_block = _BLOCK // depth_block
    tasks = tiles * ceil_div(columns, width)
    first_task, last_task = share * tasks // shares, (share + 1) * tasks // shares
    if first_task == last_task:
        return
    last_panel = (last_task - 1) // tiles + 1
    b_step = _even_step(b, depth) if tiles == 1 and b.step == 1 else 0  # 0: b is packed
    for p_first in range(first_task // tiles, last_panel, panel_block):
        p_last = min(p_first + panel_block, last_panel)
        for k_first in range(0, max(depth, 1), depth_block):
            k_count = min(depth_block, depth - k_first)
            packed = Panels(scratch.panels, 0, width, depth_block * width)
            if b_step == 0:
                _pack_panels(b, k_first, k_first + k_count, columns, p_first, p_last, packed)
            elif p_last * width > columns and columns % group > 0:
                edge = Panels(scratch.panels, (p_last - 1 - p_first) * depth_block * width, width, 0)
                _pack_panels(b, k_first, k_first + k_count, columns, p_last - 1, p_last, edge)
            for i in range(tiles):
                row = i * rows // tiles
                row_count = (i + 1) * rows // tiles - row
                of_a = Matrix(a.numbers, a.start + k_first * a.step, a.rows, a.first + row, a.step)
                # The rows of a for the next tile; where they are not spaced as these are, others are fetched in vain.
                ahead = Ahead(NOTHING_AHEAD, 0)
                if a.step == 1 and i + 1 < tiles:
                    further = a.rows[a.first + row + row_count] - a.rows[a.first + row]
                    ahead = Ahead(a.numbers.ctypes.data + (a.start + k_first + further) * a.numbers.itemsize, 0)
                # The panels of this block in which tile i is this share's, all but an edge at a time.
                p, p_end = max(p_first, ceil_div(first_task - i, tiles)), min(p_last, ceil_div(last_task - i, tiles))
                while p < p_end:
                    column = p * width
                    count = min(width, columns - column)
                    side_by_side = max(1, min(p_end, columns // width) - p)
                    of_b = Panels(scratch.panels, (p - p_first) * depth_block * width, width, depth_block * width)
                    if b_step > 0 and count % group == 0:
                        of_b = Panels(b.numbers, b.start + b.rows[b.first + k_first] + column, b_step, width)
                    of_c = Rows(c.addresses, c.first + row, c.start + column)
                    added = of_c
                    if k_first == 0:
                        addend_first = addends.first + row if addends.first != TO_ZEROS else TO_ZEROS
                        added = Rows(addends.addresses, addend_first, addends.start + column)
                    if count % group == 0:
                        products(row_count, side_by_side, count // group, k_count, of_a, of_b, of_c, added, ahead)
                    else:
                        _edge_tile(row_count, count, k_count, of_a, of_b, of_c, added, scratch)
                    p += side_by_side


@kernel
def scratch_of(share, panels, tiles):
    """A share's part of what :func:`scratch` gives."""
    tile = tiles[share]
    return Scratch(panels[share], tile, even_row_addresses(tile, MAX_ROWS, panel_width(tile)))


@separate
def weight_gradients(
    share: int, shares: int, K: int, V: int, depth: int, x: EvenRows, x_step: int, dout: Matrix, dW: Floats, db: Floats,
    scratch: Scratch,
):  # fmt: skip
    """One share of [dW; db] = [x | 1]^T dout: dW has K rows of V numbers; db has V, or is empty if nobody wants it.

    Row k of x is that of the input k at all positions, x_step apart, and row K is of ones if there is a db; dout has a row for
    each of the ``depth`` positions.
    """
    rows = K + 1 if db.size > 0 else K
    c_rows = np.empty(rows, np.int64)
    fill_row_addresses(dW, 0, V, c_rows[:K])
    fill_row_addresses(db, 0, 0, c_rows[K:])
    gradients = Rows(c_rows, 0, 0)
    inputs = even_matrix(x.numbers, x.start, rows, x.step, x_step)
    matmul(share, shares, rows, V, depth, inputs, dout, gradients, zeros_for(gradients), scratch)


@leaf
def dots(rows: int, columns: int, depth: int, a: EvenRows, b: EvenRows, c: EvenRows, tile: Floats):
    """c = a b^T: number j of row r of c is the dot product of row r of a with row j of b, ``depth`` numbers each.

    ``tile``: 16 numbers.
    """
    lanes = _VECTOR_BYTES // tile.itemsize
    whole = depth // lanes
    for r_first in range(0, rows, DOT_ROWS):
        r_count = min(DOT_ROWS, rows - r_first)
        for j_first in range(0, columns, DOT_ROWS):
            j_count = min(DOT_ROWS, columns - j_first)
            for i in range(DOT_ROWS * DOT_ROWS):
                tile[i] = 0
            a_start, b_start = a.start + r_first * a.step, b.start + j_first * b.step
            add_tile_dots(
                r_count, j_count, whole, EvenRows(a.numbers, a_start, a.step), EvenRows(b.numbers, b_start, b.step), tile
            )
            for r in range(r_count):
                for j in range(j_count):
                    total = tile[r * DOT_ROWS + j]
                    for k in range(whole * lanes, depth):
                        total += a.numbers[a_start + r * a.step + k] * b.numbers[b_start + j * b.step + k]
                    c.numbers[c.start + (r_first + r) * c.step + j_first + j] = total


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
