"""What the machine's FMA units can do at this moment: a loop of fused multiply-adds that touches no memory.

The yardstick for "fraction of the peak". It has nothing of fastattn in it, so that no change there can move it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# Enough independent sums to fill the pipelines of every unit (latency times units), and few enough for the registers.
ACCUMULATORS = 12
# Floats in a vector: 16 fills the registers of AVX-512; elsewhere a vector of 8 does, or two half ones.
WIDTHS = (16, 8)
ITERATIONS = 250_000  # of the loop, in one unit of work: some milliseconds


def _loop(width: int) -> Callable[[int, np.float32], np.float32]:
    """A compiled function (n, x) that does n times ACCUMULATORS fused multiply-adds on vectors of ``width`` floats."""

    @intrinsic
    def multiply_add(typingctx: Any, n: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            n, x = arguments
            count, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), width)
            # Where there are no such units it becomes a multiplication and an addition.
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{width}f32"
            )
            factor = ir.Constant(vector, ir.Undefined)
            for lane in range(width):
                factor = builder.insert_element(factor, x, ir.Constant(ir.IntType(32), lane))
            entry, loop, end = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("end")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(count)
            k.add_incoming(count(0), entry)
            sums = [builder.phi(vector) for _ in range(ACCUMULATORS)]
            new = [builder.call(fma, [total, factor, factor]) for total in sums]
            for i, (total, next_total) in enumerate(zip(sums, new, strict=True)):
                # Each starts from another number: equal ones would be computed once.
                total.add_incoming(ir.Constant(vector, [float(i)] * width), entry)
                total.add_incoming(next_total, loop)
            next_k = builder.add(k, count(1))
            k.add_incoming(next_k, loop)
            builder.cbranch(builder.icmp_signed("<", next_k, n), loop, end)
            builder.position_at_end(end)
            result = ir.Constant(ir.FloatType(), 0.0)  # of all lanes, so that none can be left out
            for total in new:
                for lane in range(width):
                    result = builder.fadd(result, builder.extract_element(total, ir.Constant(ir.IntType(32), lane)))
            return result

        return types.float32(types.intp, types.float32), codegen

    @njit(nogil=True)
    def run(n, x):
        return multiply_add(n, x)

    run(1, np.float32(0.5))
    return run


class FmaPeak:
    """The loop on ``threads`` threads, of the vector width that is the fastest here."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._loops = {width: _loop(width) for width in WIDTHS}
        self._width = max(WIDTHS, key=self._rate)

    def work(self, units: int) -> float:
        """Does ``units`` units of work and returns how many floating-point operations they were, of all threads."""
        run, n = self._loops[self._width], units * ITERATIONS
        list(self._pool.map(lambda _: run(n, np.float32(0.5)), range(self._threads)))
        return 2 * n * ACCUMULATORS * self._width * self._threads

    def _rate(self, width: int) -> float:
        """Operations a second, the best of some trials."""
        self._width = width
        rates = []
        for _ in range(5):
            start = perf_counter()
            flop = self.work(8)
            rates.append(flop / (perf_counter() - start))
        return max(rates)
