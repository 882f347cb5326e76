"""The LSTM's gates, a row of one step at a time, written as vectors like `vector`, whose words and helpers it uses.

Numba could be given these as loops, but would check eight rows for overlap before each, and would divide four times
for every unit where once is enough. float64, which is for checking and not for speed, has the plain loops.
"""

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from . import activation
from .activation import sigmoid, tanh
from .cpu import GROUP_BYTES
from .jit import leaf
from .values import Place
from .vector import broadcast, check_range, data, fused_multiply_add, load_vector, store_vector

_i32, _i64 = ir.IntType(32), ir.IntType(64)
LANES = GROUP_BYTES // 4


class Vectors:
    """Emits the arithmetic of vectors of float32."""

    def __init__(self, builder):
        self.builder = builder
        self.type = ir.VectorType(ir.FloatType(), LANES)
        self._fma = fused_multiply_add(builder, self.type, ir.FloatType(), LANES)

    def constant(self, number):
        return ir.Constant(self.type, [ir.Constant(ir.FloatType(), float(number))] * LANES)

    def add(self, x, y):
        return self.builder.fadd(x, y)

    def subtract(self, x, y):
        return self.builder.fsub(x, y)

    def multiply(self, x, *others):
        for y in others:
            x = self.builder.fmul(x, y)
        return x

    def multiply_add(self, x, y, z):
        return self.builder.call(self._fma, [x, y, z])

    def polynomial(self, x, *coefficients):
        """Horner's rule, the highest coefficient first."""
        result = self.constant(coefficients[0])
        for c in coefficients[1:]:
            result = self.multiply_add(result, x, self.constant(c))
        return result

    def bounded(self, x, limit):
        """x, or the nearer of -limit and limit; NaN stays."""
        for bound, beyond in ((limit, ">"), (-limit, "<")):
            bound = self.constant(bound)
            x = self.builder.select(self.builder.fcmp_ordered(beyond, x, bound), bound, x)
        return x

    def tanh_fraction(self, x):
        """tanh x as a numerator and a denominator, which lies between 0.0048 and 1."""
        a = activation
        x = self.bounded(x, a.TANH_LIMIT)
        s = self.multiply(x, x)
        p = self.polynomial(s, a.P_13, a.P_11, a.P_9, a.P_7, a.P_5, a.P_3, a.P_1)
        return self.multiply(x, p), self.polynomial(s, a.Q_6, a.Q_4, a.Q_2, a.Q_0)


class Row:
    """A row in a flat array, of which one lane group at a time is read and written, under a mask or whole."""

    def __init__(self, vectors, pointer):
        self._vectors, self._pointer = vectors, pointer

    def _at(self, j):
        builder = self._vectors.builder
        return builder.bitcast(builder.gep(self._pointer, [j]), self._vectors.type.as_pointer())

    def load(self, j, mask):
        builder, vector = self._vectors.builder, self._vectors.type
        if mask is None:
            return load_vector(builder, self._at(j), vector, 4)
        zeros = ir.Constant(vector, None)
        function_type = ir.FunctionType(vector, [vector.as_pointer(), _i32, mask.type, vector])
        function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.masked.load.v{LANES}f32.p0")
        return builder.call(function, [self._at(j), _i32(4), mask, zeros])

    def load_number(self, j):
        return self._vectors.builder.load(self._vectors.builder.gep(self._pointer, [j]))

    def store_number(self, j, value):
        self._vectors.builder.store(value, self._vectors.builder.gep(self._pointer, [j]))

    def store(self, j, value, mask):
        builder, vector = self._vectors.builder, self._vectors.type
        if mask is None:
            store_vector(builder, value, self._at(j), 4)
            return
        function_type = ir.FunctionType(ir.VoidType(), [vector, vector.as_pointer(), _i32, mask.type])
        function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.masked.store.v{LANES}f32.p0")
        builder.call(function, [value, self._at(j), _i32(4), mask])


def for_each_group(builder, H, body):
    """Emit body(j, mask) for the lane groups of a row of H numbers: whole ones in a loop, then the rest under a mask."""
    whole = builder.and_(H, _i64(-LANES))
    with cgutils.for_range_slice(builder, _i64(0), whole, _i64(LANES), intp=_i64) as (j, _):
        body(j, None)
    with builder.if_then(builder.icmp_signed("<", whole, H)):
        rest = builder.trunc(builder.sub(H, whole), _i32)
        lanes = ir.Constant(ir.VectorType(_i32, LANES), [_i32(i) for i in range(LANES)])
        body(whole, builder.icmp_signed("<", lanes, broadcast(builder, rest, lanes.type)))


def rows_at(context, builder, signature, places, indices, vectors, H=None):
    """Rows, from the places where they begin, and which arguments these are. H: how many numbers they have at least."""
    for place, i in zip(places, indices):
        array, at = cgutils.unpack_tuple(builder, place)
        if H is not None:
            check_range(context, builder, signature.args[i].types[0], array, at, H)
        yield Row(vectors, builder.gep(data(context, builder, signature.args[i].types[0], array), [at]))


def _gate_rows(vectors, z, H):
    builder = vectors.builder
    return [Row(vectors, builder.gep(z._pointer, [builder.mul(H, _i64(k))])) for k in range(4)]


@intrinsic
def _emit_forward(typingctx, H, z, c_prev, c, h):
    signature = types.void(types.intp, z, c_prev, c, h)

    def emit(context, builder, signature, arguments):
        H, *places = arguments
        v = Vectors(builder)
        z, c_prev, c, h = rows_at(context, builder, signature, places, (1, 2, 3, 4), v, H)
        f_row, g_row, i_row, o_row = _gate_rows(v, z, H)
        half = v.constant(0.5)

        def units(j, mask):
            zs = [row.load(j, mask) for row in (f_row, i_row, g_row, o_row)]
            # sigmoid z = 1/2 + tanh(z/2) / 2
            fractions = [v.tanh_fraction(x if row is g_row else v.multiply(half, x))
                         for row, x in zip((f_row, i_row, g_row, o_row), zs)]  # fmt: skip
            (nf, df), (ni, di), (ng, dg), (no, do) = fractions
            fi, go = v.multiply(df, di), v.multiply(dg, do)
            reciprocal = builder.fdiv(v.constant(1), v.multiply(fi, go))
            of_fi, of_go = v.multiply(reciprocal, go), v.multiply(reciprocal, fi)
            f = v.multiply_add(half, v.multiply(nf, di, of_fi), half)
            i = v.multiply_add(half, v.multiply(ni, df, of_fi), half)
            g = v.multiply(ng, do, of_go)
            o = v.multiply_add(half, v.multiply(no, dg, of_go), half)
            new = v.multiply_add(f, c_prev.load(j, mask), v.multiply(g, i))
            for row, value in ((f_row, f), (g_row, g), (i_row, i), (o_row, o), (c, new)):
                row.store(j, value, mask)

        def outputs(j, mask):
            numerator, denominator = v.tanh_fraction(c.load(j, mask))
            h.store(j, v.multiply(o_row.load(j, mask), builder.fdiv(numerator, denominator)), mask)

        for_each_group(builder, H, units)
        for_each_group(builder, H, outputs)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def _emit_backward(typingctx, H, dhs, dh, dc, z, c, c_prev):
    signature = types.void(types.intp, dhs, dh, dc, z, c, c_prev)

    def emit(context, builder, signature, arguments):
        H, *places = arguments
        v = Vectors(builder)
        dhs, dh, dc, z, c, c_prev = rows_at(context, builder, signature, places, (1, 2, 3, 4, 5, 6), v, H)
        f_row, g_row, i_row, o_row = _gate_rows(v, z, H)
        one = v.constant(1)

        def units(j, mask):
            f, g, i, o = (row.load(j, mask) for row in (f_row, g_row, i_row, o_row))
            numerator, denominator = v.tanh_fraction(c.load(j, mask))
            tanh_c = builder.fdiv(numerator, denominator)
            dh_j = v.add(dhs.load(j, mask), dh.load(j, mask))
            slope = v.subtract(one, v.multiply(tanh_c, tanh_c))
            dc_j = v.multiply_add(v.multiply(dh_j, o), slope, dc.load(j, mask))
            df, dg, di = (v.multiply(dc_j, x) for x in (c_prev.load(j, mask), i, g))
            do = v.multiply(dh_j, tanh_c)
            for row, gate, d in ((f_row, f, df), (i_row, i, di), (o_row, o, do)):
                row.store(j, v.multiply(d, gate, v.subtract(one, gate)), mask)
            g_row.store(j, v.multiply(dg, v.subtract(one, v.multiply(g, g))), mask)
            dc.store(j, v.multiply(dc_j, f), mask)

        for_each_group(builder, H, units)
        return context.get_dummy_value()

    return signature, emit


def _forward(H, z, c_prev, c, h):
    """The body of :func:`gates_forward`."""


def _backward(H, dhs, dh, dc, z, c, c_prev):
    """The body of :func:`gates_backward`."""


@overload(_forward)
def _typed_forward(H, z, c_prev, c, h):
    if z.types[0].dtype == types.float32:
        return lambda H, z, c_prev, c, h: _emit_forward(H, z, c_prev, c, h)

    def loop(H, z, c_prev, c, h):
        gates = z.numbers
        for j in range(z.at, z.at + H):
            f, g, i, o = sigmoid(gates[j]), tanh(gates[j + H]), sigmoid(gates[j + 2 * H]), sigmoid(gates[j + 3 * H])
            unit = j - z.at
            new = f * c_prev.numbers[c_prev.at + unit] + g * i
            gates[j], gates[j + H], gates[j + 2 * H], gates[j + 3 * H] = f, g, i, o
            c.numbers[c.at + unit] = new
            h.numbers[h.at + unit] = o * math.tanh(new)

    return loop


@overload(_backward)
def _typed_backward(H, dhs, dh, dc, z, c, c_prev):
    if z.types[0].dtype == types.float32:
        return lambda H, dhs, dh, dc, z, c, c_prev: _emit_backward(H, dhs, dh, dc, z, c, c_prev)

    def loop(H, dhs, dh, dc, z, c, c_prev):
        gates, dc_numbers = z.numbers, dc.numbers
        for j in range(H):
            at, dc_at = z.at + j, dc.at + j
            f, g, i, o = gates[at], gates[at + H], gates[at + 2 * H], gates[at + 3 * H]
            tanh_c = math.tanh(c.numbers[c.at + j])
            dh_j = dhs.numbers[dhs.at + j] + dh.numbers[dh.at + j]
            dc_j = dc_numbers[dc_at] + dh_j * o * (1 - tanh_c * tanh_c)
            gates[at] = dc_j * c_prev.numbers[c_prev.at + j] * f * (1 - f)
            gates[at + H] = dc_j * i * (1 - g * g)
            gates[at + 2 * H] = dc_j * g * i * (1 - i)
            gates[at + 3 * H] = dh_j * tanh_c * o * (1 - o)
            dc_numbers[dc_at] = dc_j * f

    return loop


@leaf
def gates_forward(H: int, z: Place, c_prev: Place, c: Place, h: Place):
    """z = (f, g, i, o), 4H numbers before their activation, becomes the gates in their place; c and h are made from them.

    f, i, o: sigmoid; g: tanh. c = f c_prev + g i; h = o tanh(c).
    """
    _forward(H, z, c_prev, c, h)


@leaf
def gates_backward(H: int, dhs: Place, dh: Place, dc: Place, z: Place, c: Place, c_prev: Place):
    """Undoes :func:`gates_forward`: the gates at z become their dz; dc, that of this step, becomes that of the step before.

    The gradient of h is the sum of two rows, dhs and dh.
    """
    _backward(H, dhs, dh, dc, z, c, c_prev)
