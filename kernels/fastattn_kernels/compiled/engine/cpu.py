"""The one place that knows the machine: how wide its vectors are, and which tile of a matrix product fits its registers.

Numba compiles for the host's CPU unless NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say otherwise, and so the features are asked
of Numba. NUMBA_CPU_NAME alone does not take features away: set NUMBA_CPU_FEATURES too (to the empty string, for the CPU's own).
"""

from typing import NamedTuple

from numba.core.registry import cpu_target

# A lane group is 64 bytes: one AVX-512 register, two AVX2 registers, four SSE2 or NEON registers; also a cache line.
GROUP_BYTES = 64


class Tile(NamedTuple):
    """The part of a matrix product that stays in registers: ``rows`` x ``vectors`` registers of ``vector_bytes`` each.

    ``depth``: how many numbers of k are worked on at a time; ``depth_of_columns``: the same where a is read transposed, when
    each of them takes a whole line of the first-level cache. ``block``: how many rows of panels of b, all panels together, are
    packed at a time, to stay in the second-level cache.
    """

    name: str
    vector_bytes: int
    rows: int
    vectors: int
    depth: int
    depth_of_columns: int
    block: int


# 24 accumulators and 4 vectors of b in 32 registers; a is broadcast from memory. A block of b is 576 KiB.
_AVX512 = Tile("AVX-512", 64, 6, 4, 384, 384, 6 * 384)
# 12 accumulators, 2 vectors of b and a broadcast in 16 registers. A block is 288 KiB: these machines have 256 KiB or more.
_AVX2 = Tile("AVX2", 32, 6, 2, 512, 192, 9 * 512)
_SSE2 = Tile("SSE2", 16, 4, 2, 512, 192, 9 * 512)  # 8 accumulators in 16 registers; a product and a sum for want of FMA
_NEON = Tile("NEON", 16, 6, 4, 512, 192, 9 * 512)  # 24 accumulators in 32 registers

_AVX512_NAMES = ("x86-64-v4", "skylake-avx512", "cascadelake", "icelake", "sapphirerapids", "znver4", "znver5")
_AVX2_NAMES = ("x86-64-v3", "haswell", "broadwell", "skylake", "alderlake", "znver1", "znver2", "znver3", "core-avx2")


def _tile() -> Tile:
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    enabled = set(features.split(","))
    if triple.startswith(("aarch64", "arm64")):
        return _NEON
    if "+avx512f" in enabled or (not features and name.startswith(_AVX512_NAMES)):
        return _AVX512
    if {"+avx2", "+fma"} <= enabled or (not features and name.startswith(_AVX2_NAMES)):
        return _AVX2
    return _SSE2


TILE = _tile()
# A panel is as many lane groups wide as the tile, or one. Its rows stand one after another, so that the tile reads memory
# without gaps: rows some lines apart fall into a part of the first-level cache's sets, and throw each other out.
GROUPS = max(1, TILE.vectors * TILE.vector_bytes // GROUP_BYTES)
# Rows in the scratch memory of a tile on every machine.
MAX_ROWS = 6
