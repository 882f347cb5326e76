"""The scores of additive attention, and their way back, written as vectors like `gates`, whose words and helpers they use.

There is a tanh for each target step, source step and unit, far more than a model has weights; it is computed anew in the
backward, for storing it would take as much memory. float64, which is for checking and not for speed, has the plain loops.
"""

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .gates import LANES, Row, Vectors, for_each_group, rows_at
from .jit import leaf
from .values import EvenRows, Floats, Place
from .vector import broadcast, data, even_row

_i64 = ir.IntType(64)


@intrinsic
def _emit_forward(typingctx, count, A, keys, query, v, scores):
    signature = types.void(types.intp, types.intp, keys, query, v, scores)

    def emit(context, builder, signature, arguments):
        count, A, keys, query, v, scores = arguments
        vectors = Vectors(builder)
        query, scores = rows_at(context, builder, signature, (query, scores), (3, 5), vectors)
        v = Row(vectors, data(context, builder, signature.args[4], v))
        total = cgutils.alloca_once(builder, vectors.type)
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        reduce = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.FloatType(), [ir.FloatType(), vectors.type]), name
        )
        with cgutils.for_range(builder, count, intp=_i64) as loop:
            key = Row(vectors, even_row(context, builder, signature.args[2], keys, loop.index))
            builder.store(vectors.constant(0), total)

            def units(j, mask):
                n, d = vectors.tanh_fraction(vectors.add(key.load(j, mask), query.load(j, mask)))
                product = vectors.multiply(v.load(j, mask), builder.fdiv(n, d))
                builder.store(vectors.add(builder.load(total), product), total)

            for_each_group(builder, A, units)
            zero = ir.Constant(ir.FloatType(), 0.0)
            scores.store_number(loop.index, builder.call(reduce, [zero, builder.load(total)], fastmath=("reassoc",)))
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def _emit_backward(typingctx, count, A, keys, query, v, ds, dkeys, dquery, dv):
    signature = types.void(types.intp, types.intp, keys, query, v, ds, dkeys, dquery, dv)

    def emit(context, builder, signature, arguments):
        count, A, keys, query, v, ds, dkeys, dquery, dv = arguments
        vectors = Vectors(builder)
        query, ds, dquery, dv = rows_at(context, builder, signature, (query, ds, dquery, dv), (3, 5, 7, 8), vectors)
        v = Row(vectors, data(context, builder, signature.args[4], v))
        one = vectors.constant(1)
        with cgutils.for_range(builder, count, intp=_i64) as loop:
            key, dkey = (
                Row(vectors, even_row(context, builder, signature.args[i], rows, loop.index))
                for i, rows in ((2, keys), (6, dkeys))
            )
            gradient = broadcast(builder, ds.load_number(loop.index), vectors.type)

            def units(j, mask):
                n, d = vectors.tanh_fraction(vectors.add(key.load(j, mask), query.load(j, mask)))
                tanh = builder.fdiv(n, d)
                slope = vectors.subtract(one, vectors.multiply(tanh, tanh))
                through = vectors.multiply(vectors.multiply(gradient, v.load(j, mask)), slope)
                dkey.store(j, vectors.add(dkey.load(j, mask), through), mask)
                dquery.store(j, vectors.add(dquery.load(j, mask), through), mask)
                dv.store(j, vectors.multiply_add(gradient, tanh, dv.load(j, mask)), mask)

            for_each_group(builder, A, units)
        return context.get_dummy_value()

    return signature, emit


def _forward(count, A, keys, query, v, scores):
    """The body of :func:`additive_scores`."""


def _backward(count, A, keys, query, v, ds, dkeys, dquery, dv):
    """The body of :func:`additive_scores_backward`."""


@overload(_forward)
def _typed_forward(count, A, keys, query, v, scores):
    if v.dtype == types.float32:
        return lambda count, A, keys, query, v, scores: _emit_forward(count, A, keys, query, v, scores)

    def loop(count, A, keys, query, v, scores):
        for t in range(count):
            total = 0.0
            for j in range(A):
                total += v[j] * math.tanh(keys.numbers[keys.start + t * keys.step + j] + query.numbers[query.at + j])
            scores.numbers[scores.at + t] = total

    return loop


@overload(_backward)
def _typed_backward(count, A, keys, query, v, ds, dkeys, dquery, dv):
    if v.dtype == types.float32:
        return lambda count, A, keys, query, v, ds, dkeys, dquery, dv: _emit_backward(
            count, A, keys, query, v, ds, dkeys, dquery, dv
        )

    def loop(count, A, keys, query, v, ds, dkeys, dquery, dv):
        for t in range(count):
            gradient = ds.numbers[ds.at + t]
            for j in range(A):
                tanh = math.tanh(keys.numbers[keys.start + t * keys.step + j] + query.numbers[query.at + j])
                through = gradient * v[j] * (1 - tanh * tanh)
                dkeys.numbers[dkeys.start + t * dkeys.step + j] += through
                dquery.numbers[dquery.at + j] += through
                dv.numbers[dv.at + j] += gradient * tanh

    return loop


@leaf
def additive_scores(count: int, A: int, keys: EvenRows, query: Place, v: Floats, scores: Place):
    """scores[t] = v . tanh(key t + query), for ``count`` keys of A numbers."""
    _forward(count, A, keys, query, v, scores)


@leaf
def additive_scores_backward(
    count: int, A: int, keys: EvenRows, query: Place, v: Floats, ds: Place, dkeys: EvenRows, dquery: Place, dv: Place
):  # fmt: skip
    """Undoes :func:`additive_scores`: its gradients are added to those of the keys, of the query and of v."""
    _backward(count, A, keys, query, v, ds, dkeys, dquery, dv)
