"""The few functions written in LLVM's own language: what Numba's loops cannot be made to say.

A matrix product runs at the speed of the machine only if its running sums stay in vector registers for the whole inner loop.
A compiler does not find that by itself; so here the loop is spelt out, one instruction after another, with llvmlite, and the
algorithms around it stay plain Numba. Everything here works on flat positions in arrays and checks nothing.

How to read it: `builder.gep(p, [i])` is the pointer p + i; `phi` is a variable of a loop, given its value before the loop and
its value at the end of each round; `<16 x float>` is a vector of 16 numbers, which LLVM lays into one register or several.

`add_tile_products` is the inner loop of every matrix product. For a tile of `rows` x `groups` lane groups it does

    for k in range(depth):
        for r in range(rows):                      # unrolled: each r has its own registers
            c[r, :] += a[row r, k] * b[k, :]       # a is one number, broadcast; b[k, :] is shared by all rows

Each element's sum runs over k in order, whatever the tile's shape: a result does not depend on how the work was cut up.
`add_tile_dots` is its sibling for products of a with b transposed, in which both run along k: sums of whole vectors.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .code_cache import CHECK_BOUNDS
from .cpu import GROUP_BYTES, GROUPS, TILE
from .jit import leaf
from .values import Ahead, EvenRows, Floats, Matrix, Panels, Rows

_i32 = ir.IntType(32)
_i64 = ir.IntType(64)
_FIRST_LEVEL, _SECOND_LEVEL = 3, 2  # LLVM's words for where a prefetch puts a line

_TILE_BYTES = TILE.vectors * TILE.vector_bytes
TILES_PER_GROUP = max(1, GROUP_BYTES // _TILE_BYTES)  # a lane group takes several tiles where the registers do not hold it
# Rounds of k that the inner loop does at once: a small tile would spend as long on counting as on multiplying.
_UNROLL = 1 if TILE.rows * TILE.vectors > 12 else 4
TO_ZEROS = -1  # as the first of the addends' rows: the sums of a tile are added to zeros
NOTHING_AHEAD = 0  # as an address of `values.Ahead`: the tile looks ahead to no rows
# add_tile_dots does up to so many dot products squared at once, which need as many registers and some more.
DOT_ROWS = 4 if TILE.rows * TILE.vectors > 12 else 3


def number_type(dtype):
    return {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}[dtype]


def data(context, builder, array_type, array):
    """The pointer to the first element of an array."""
    return context.make_array(array_type)(context, builder, array).data


def check_range(context, builder, array_type, array, start, count):
    """With ``FASTATTN_CHECK_BOUNDS``, end the function with an IndexError unless array[start : start + count] is there."""
    if not CHECK_BOUNDS:
        return
    size = context.make_array(array_type)(context, builder, array).nitems
    is_beyond = builder.icmp_signed(">", builder.add(start, count), size)
    is_beyond = builder.or_(is_beyond, builder.icmp_signed("<", start, _i64(0)))
    with cgutils.if_unlikely(builder, builder.and_(is_beyond, builder.icmp_signed("!=", count, _i64(0)))):
        context.call_conv.return_user_exc(builder, IndexError, ("a range is out of bounds",))


def even_row(context, builder, even_rows_type, even_rows, index):
    """The pointer to the first number of a row of `values.EvenRows`."""
    array, start, step = cgutils.unpack_tuple(builder, even_rows)
    at = builder.add(start, builder.mul(index, step))
    return builder.gep(data(context, builder, even_rows_type.types[0], array), [at])


def fused_multiply_add(builder, vector, number, lanes):
    """LLVM's fused multiply-add for a vector type; on a machine without FMA it becomes a product and a sum."""
    name = f"llvm.fmuladd.v{lanes}f{32 if isinstance(number, ir.FloatType) else 64}"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)


def load_vector(builder, pointer, vector, itemsize):
    load = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    load.align = itemsize  # rows of users' arrays start anywhere
    return load


def store_vector(builder, value, pointer, itemsize):
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = itemsize


def _prefetch(builder, pointer, level, write=False):
    """Have the cache line at a pointer fetched, for writing, into a cache. The pointer may be any: it cannot fault."""
    pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    function_type = ir.FunctionType(ir.VoidType(), [pointer.type, _i32, _i32, _i32])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
    builder.call(function, [pointer, _i32(int(write)), _i32(level), _i32(1)])


def broadcast(builder, number, vector):
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(_i32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_i32, vector.count), None))


def _sum_loop(builder, depth, vector, count, add_to, unroll=1, look_ahead=lambda k: None):
    """Emit `for k in range(depth): sums = add_to(k, sums)` from zeros, the sums in registers; returns them after the loop.

    ``unroll`` rounds are done at once, after a look ahead from the first of them, and those that are left one by one.
    """
    sums, start = [ir.Constant(vector, None)] * count, _i64(0)
    whole = builder.and_(depth, _i64(-unroll))
    for rounds, end in ((unroll, whole), (1, depth))[unroll == 1 :]:
        entry = builder.block
        loop, after = builder.append_basic_block("k"), builder.append_basic_block("k.end")
        builder.cbranch(builder.icmp_signed("<", start, end), loop, after)

        builder.position_at_end(loop)
        k = builder.phi(_i64)
        variables = [builder.phi(vector) for _ in sums]
        look_ahead(k)
        new_sums = variables
        for i in range(rounds):
            new_sums = add_to(builder.add(k, _i64(i)), new_sums)
        next_k = builder.add(k, _i64(rounds))
        builder.cbranch(builder.icmp_signed("<", next_k, end), loop, after)
        for variable, before, new in zip([k, *variables], [start, *sums], [next_k, *new_sums]):
            variable.add_incoming(before, entry)
            variable.add_incoming(new, loop)

        builder.position_at_end(after)
        totals = [builder.phi(vector) for _ in sums]
        for total, before, new in zip(totals, sums, new_sums):
            total.add_incoming(before, entry)
            total.add_incoming(new, loop)
        sums, start = totals, end
    return sums


@intrinsic
def _emit_tile_products(typingctx, rows, tiles, groups, depth, a, b, c, addends, ahead):
    """The body of :func:`add_tile_products`: a loop for each shape that a tile can have."""
    n = types.intp
    signature = types.void(n, n, n, n, a, b, c, addends, ahead)

    def emit(context, builder, signature, arguments):
        rows, tiles, groups, depth = arguments[:4]
        (a, a_start, a_rows, a_first, a_step), (b, b_start, b_step, b_tile_step), (c_rows, c_first, c_start), (
            addends, addend_first, addend_start,
        ), (ahead, turn) = (cgutils.unpack_tuple(builder, value) for value in arguments[4:])  # fmt: skip
        of_a, of_b, of_c, of_addends = (value.types for value in signature.args[4:8])
        number, itemsize = number_type(of_a[0].dtype), of_a[0].dtype.bitwidth // 8
        lanes = TILE.vector_bytes // itemsize
        panel = _i64(GROUPS * GROUP_BYTES // itemsize)
        vector = ir.VectorType(number, lanes)
        fma = fused_multiply_add(builder, vector, number, lanes)
        to_zeros = builder.icmp_signed("==", addend_first, _i64(TO_ZEROS))
        addend_first = builder.select(to_zeros, _i64(0), addend_first)
        places = (
            (of_a[0], a, a_start), (of_a[2], a_rows, a_first), (of_b[0], b, b_start), (of_c[0], c_rows, c_first),
            (of_addends[0], addends, addend_first),
        )  # fmt: skip
        a, a_rows, b, c_rows, addends = (
            builder.gep(data(context, builder, array_type, array), [start]) for array_type, array, start in places
        )
        zeros = ir.Constant(ir.ArrayType(number, GROUPS * GROUP_BYTES // itemsize), None)
        zeros = builder.gep(cgutils.global_constant(builder, "fastattn_zeros", zeros), [_i64(0), _i64(0)])
        addend_step = builder.select(to_zeros, _i64(0), panel)
        is_ahead = builder.icmp_signed("!=", ahead, _i64(NOTHING_AHEAD))
        ahead = builder.inttoptr(ahead, number.as_pointer())

        def emit_tiles(row_count, vectors, along_rows):
            first_rows_of_c, first_addends = (
                [
                    builder.gep(builder.inttoptr(builder.load(builder.gep(rows, [_i64(r)])), number.as_pointer()), [start])
                    for r in range(row_count)
                ]
                for rows, start in ((c_rows, c_start), (addends, addend_start))
            )
            first_addends = [builder.select(to_zeros, zeros, row) for row in first_addends]
            rows_of_a = [builder.gep(a, [builder.load(builder.gep(a_rows, [_i64(r)]))]) for r in range(row_count)]
            registers = [(r, v) for r in range(row_count) for v in range(vectors)]
            with cgutils.for_range(builder, tiles, intp=_i64) as loop:
                column = builder.mul(loop.index, panel)
                rows_of_c = [builder.gep(row, [column]) for row in first_rows_of_c]
                for row in rows_of_c:  # c's memory arrives while the sums are made
                    for start in range(0, vectors * lanes, GROUP_BYTES // itemsize):
                        _prefetch(builder, builder.gep(row, [_i64(start)]), _FIRST_LEVEL, write=True)
                tile_of_b = builder.gep(b, [builder.mul(loop.index, b_tile_step)])
                # With nothing ahead it is b's first row, which is in the cache: a prefetch that is cheaper than a branch.
                rows_ahead = []
                for i in range(2 if along_rows else 0):
                    r = builder.add(builder.mul(builder.add(turn, loop.index), _i64(2)), _i64(i))
                    is_there = builder.and_(is_ahead, builder.icmp_signed("<", r, _i64(row_count)))
                    place = builder.load(builder.gep(a_rows, [builder.select(is_there, r, _i64(0))]))
                    rows_ahead.append(builder.select(is_there, builder.gep(ahead, [place]), tile_of_b))

                def look_ahead(k):
                    for row in rows_ahead:
                        _prefetch(builder, builder.gep(row, [k]), _SECOND_LEVEL)

                def number_of_a(r, k):
                    if along_rows:
                        return builder.load(builder.gep(rows_of_a[r], [k]))
                    return builder.load(builder.gep(builder.gep(rows_of_a[0], [builder.mul(k, a_step)]), [_i64(r)]))

                def add_row_of_b(k, sums):
                    b_row = builder.gep(tile_of_b, [builder.mul(k, b_step)])
                    b_vectors = [
                        load_vector(builder, builder.gep(b_row, [_i64(v * lanes)]), vector, itemsize) for v in range(vectors)
                    ]
                    a_vectors = [broadcast(builder, number_of_a(r, k), vector) for r in range(row_count)]
                    return [builder.call(fma, [a_vectors[r], b_vectors[v], s]) for (r, v), s in zip(registers, sums)]

                sums = _sum_loop(builder, depth, vector, len(registers), add_row_of_b, _UNROLL, look_ahead)
                addend_column = builder.mul(loop.index, addend_step)
                for (r, v), total in zip(registers, sums):
                    place = builder.gep(builder.gep(first_addends[r], [addend_column]), [_i64(v * lanes)])
                    total = builder.fadd(total, load_vector(builder, place, vector, itemsize))
                    store_vector(builder, total, builder.gep(rows_of_c[r], [_i64(v * lanes)]), itemsize)
            builder.branch(done)

        done = builder.append_basic_block("tiles.done")
        shapes = builder.switch(builder.add(builder.mul(rows, _i64(GROUPS + 1)), groups), done)
        for row_count in range(1, TILE.rows + 1):
            for group_count in range(1, GROUPS + 1):
                block = builder.append_basic_block(f"tiles.{row_count}.{group_count}")
                shapes.add_case(_i64(row_count * (GROUPS + 1) + group_count), block)
                builder.position_at_end(block)
                # A loop for each of the two forms of a: one for both would want more registers than there are.
                with builder.if_else(builder.icmp_signed("==", a_step, _i64(1)), likely=None) as (rows_form, columns_form):
                    for form, along_rows in ((rows_form, True), (columns_form, False)):
                        with form:
                            emit_tiles(row_count, TILE.vectors * group_count // GROUPS, along_rows)
                builder.unreachable()
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def _emit_tile_dots(typingctx, rows, columns, depth, a, b, tile):
    """The body of :func:`add_tile_dots`. There is one loop for all shapes: rows that are not there repeat the last."""
    n = types.intp
    signature = types.void(n, n, n, a, b, tile)

    def emit(context, builder, signature, arguments):
        rows, columns, depth, a, b, tile = arguments
        dtype = signature.args[5].dtype
        number, itemsize = number_type(dtype), dtype.bitwidth // 8
        lanes = TILE.vector_bytes // itemsize
        vector = ir.VectorType(number, lanes)
        fma = fused_multiply_add(builder, vector, number, lanes)

        def row_pointers(even_rows_type, even_rows, count):
            last = builder.sub(count, _i64(1))
            indices = [builder.select(builder.icmp_signed("<", _i64(i), count), _i64(i), last) for i in range(DOT_ROWS)]
            return [even_row(context, builder, even_rows_type, even_rows, i) for i in indices]

        a_rows = row_pointers(signature.args[3], a, rows)
        b_rows = row_pointers(signature.args[4], b, columns)

        def add_group(k, sums):
            position = builder.mul(k, _i64(lanes))
            a_vectors = [load_vector(builder, builder.gep(row, [position]), vector, itemsize) for row in a_rows]
            b_vectors = [load_vector(builder, builder.gep(row, [position]), vector, itemsize) for row in b_rows]
            pairs = [(x, y) for x in a_vectors for y in b_vectors]
            return [builder.call(fma, [x, y, s]) for (x, y), s in zip(pairs, sums)]

        totals = _sum_loop(builder, depth, vector, DOT_ROWS**2, add_group)
        # The lanes of each total are added up in an order that is the same for every element.
        name = f"llvm.vector.reduce.fadd.v{lanes}f{itemsize * 8}"
        reduce = cgutils.get_or_insert_function(builder.module, ir.FunctionType(number, [number, vector]), name)
        pointer = data(context, builder, signature.args[5], tile)
        for i, total in enumerate(totals):
            place = builder.gep(pointer, [_i64(i)])
            builder.store(builder.call(reduce, [builder.load(place), total], fastmath=("reassoc",)), place)
        return context.get_dummy_value()

    return signature, emit


@leaf
def add_tile_products(
    rows: int, tiles: int, groups: int, depth: int, a: Matrix, b: Panels, c: Rows, addends: Rows, ahead: Ahead
):  # fmt: skip
    """Make tiles of c = a b that stand side by side, a panel's width apart: of each, whole lane groups of some rows.

    Unless the numbers of a's rows are 1 apart, each row begins one number after the row before it, as in a matrix that is read
    transposed. Of b, the first tile has panel 0, the next one panel 1. The sums of row r are added to that row of the addends,
    and as much further on for each next tile as c; if addends.first is TO_ZEROS, to zeros (addends.addresses is then any array
    of ``rows`` numbers). 1 <= rows <= TILE.rows, 1 <= groups <= GROUPS.
    """
    _emit_tile_products(rows, tiles, groups, depth, a, b, c, addends, ahead)


@leaf
def add_tile_dots(rows: int, columns: int, depth: int, a: EvenRows, b: EvenRows, tile: Floats):
    """tile[r, c] += the dot product of row r of a with row c of b, for r < rows <= DOT_ROWS, c < columns <= DOT_ROWS.

    ``depth`` counts whole registers (TILE.vector_bytes); the tile is flat.
    """
    _emit_tile_dots(rows, columns, depth, a, b, tile)


@intrinsic
def _emit_copy_transposed(typingctx, source, start, step, target, position, target_step):
    """The body of :func:`copy_transposed`: in each round, pairs of rows swap the halves of ever smaller blocks."""
    n = types.intp
    signature = types.void(source, n, n, target, n, n)

    def emit(context, builder, signature, arguments):
        source, start, step, target, position, target_step = arguments
        number, itemsize = number_type(signature.args[0].dtype), signature.args[0].dtype.bitwidth // 8
        lanes = GROUP_BYTES // itemsize
        vector = ir.VectorType(number, lanes)
        source = builder.gep(data(context, builder, signature.args[0], source), [start])
        target = builder.gep(data(context, builder, signature.args[3], target), [position])
        rows = [load_vector(builder, builder.gep(source, [builder.mul(_i64(i), step)]), vector, itemsize) for i in range(lanes)]
        half = lanes // 2
        while half:
            upper = [j if not j & half else lanes + j - half for j in range(lanes)]
            lower = [j + half if not j & half else lanes + j for j in range(lanes)]
            masks = [ir.Constant(ir.VectorType(_i32, lanes), [_i32(j) for j in order]) for order in (upper, lower)]
            for i in range(lanes):
                if not i & half:
                    pair = rows[i], rows[i + half]
                    rows[i], rows[i + half] = (builder.shuffle_vector(*pair, mask) for mask in masks)
            half //= 2
        for i, row in enumerate(rows):
            store_vector(builder, row, builder.gep(target, [builder.mul(_i64(i), target_step)]), itemsize)
        return context.get_dummy_value()

    return signature, emit


@leaf
def copy_transposed(source: Floats, start: int, step: int, target: Floats, position: int, target_step: int):
    """Copy a square block, a lane group of numbers each way, transposed: number j of row i to number i of row j.

    Row i of the source is at start + i step, row j of the target at position + j target_step.
    """
    _emit_copy_transposed(source, start, step, target, position, target_step)


@intrinsic
def copy(typingctx, source, start, target, position, count):
    """target[position : position + count] = source[start : start + count] for two flat arrays that do not overlap.

    Numba's own assignment between slices spends longer on its checks than on a short row.
    """
    n = types.intp
    signature = types.void(source, n, target, n, n)

    def emit(context, builder, signature, arguments):
        source, start, target, position, count = arguments
        check_range(context, builder, signature.args[0], source, start, count)
        check_range(context, builder, signature.args[2], target, position, count)
        source = builder.gep(data(context, builder, signature.args[0], source), [start])
        target = builder.gep(data(context, builder, signature.args[2], target), [position])
        cgutils.raw_memcpy(builder, target, source, count, signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def copy_from(typingctx, address, start, target, position, count):
    """target[position : position + count] = the numbers from ``start`` beyond an address on, for a flat array."""
    signature = types.void(types.int64, types.intp, target, types.intp, types.intp)

    def emit(context, builder, signature, arguments):
        address, start, target, position, count = arguments
        number = number_type(signature.args[2].dtype)
        check_range(context, builder, signature.args[2], target, position, count)
        source = builder.gep(builder.inttoptr(address, number.as_pointer()), [start])
        target = builder.gep(data(context, builder, signature.args[2], target), [position])
        cgutils.raw_memcpy(builder, target, source, count, signature.args[2].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def copy_to(typingctx, source, position, address, start, count):
    """The numbers from ``start`` beyond an address on = source[position : position + count], for a flat array."""
    signature = types.void(source, types.intp, types.int64, types.intp, types.intp)

    def emit(context, builder, signature, arguments):
        source, position, address, start, count = arguments
        number = number_type(signature.args[0].dtype)
        check_range(context, builder, signature.args[0], source, position, count)
        source = builder.gep(data(context, builder, signature.args[0], source), [position])
        target = builder.gep(builder.inttoptr(address, number.as_pointer()), [start])
        cgutils.raw_memcpy(builder, target, source, count, signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def clear(typingctx, array, position, count):
    """array[position : position + count] = 0 for a flat array."""
    signature = types.void(array, types.intp, types.intp)

    def emit(context, builder, signature, arguments):
        array, position, count = arguments
        check_range(context, builder, signature.args[0], array, position, count)
        pointer = builder.gep(data(context, builder, signature.args[0], array), [position])
        itemsize = _i64(signature.args[0].dtype.bitwidth // 8)
        cgutils.memset(builder, pointer, builder.mul(count, itemsize), 0)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def multiply_add(typingctx, x, y, z):
    """x * y + z, rounded once where the machine can. Vectorises in a loop, and is the same in every loop."""
    signature = x(x, x, x)

    def emit(context, builder, signature, arguments):
        number = number_type(signature.return_type)
        name = f"llvm.fmuladd.f{32 if isinstance(number, ir.FloatType) else 64}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(number, [number] * 3), name)
        return builder.call(function, arguments)

    return signature, emit


@intrinsic
def power_of_two(typingctx, n):
    """2^n as float32, for an int32 n in -126..127: the exponent's bits, put in their place."""
    signature = types.float32(types.int32)

    def emit(context, builder, signature, arguments):
        bits = builder.shl(builder.add(arguments[0], _i32(127)), _i32(23))
        return builder.bitcast(bits, ir.FloatType())

    return signature, emit


@intrinsic
def number_at(typingctx, address, index):
    """The int64 number with this index, of those that begin at an address."""

    def emit(context, builder, signature, arguments):
        return builder.load(builder.gep(builder.inttoptr(arguments[0], _i64.as_pointer()), [arguments[1]]))

    return types.int64(types.int64, types.int64), emit


@intrinsic
def pointer_to(typingctx, address, like):
    """An address (int64) as a pointer to numbers of the dtype of the array ``like``, for ``numba.carray``."""
    signature = types.CPointer(like.dtype)(types.int64, like)

    def emit(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], number_type(signature.args[1].dtype).as_pointer())

    return signature, emit
