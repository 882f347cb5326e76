"""Dropout (Srivastava et al. 2014), scaled while training ("inverted"), with a mask that is a function of the position.

The mask is not stored: it is a hash of (seed, n, t, j), the same in both sets, for any number of threads and any amount of
padding. The backward of dropout is dropout of the gradient with the same seed.
"""

import numpy as np


def _uniform(seed, n, t, j):
    """Pseudo-random numbers in [0, 1), one for each position: the finaliser of SplitMix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + n * np.uint64(0x9E3779B97F4A7C15) + t * np.uint64(0xC2B2AE3D27D4EB4F)
        z = z + j * np.uint64(0x165667B19E3779F9)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)) * 2.0**-24


def dropout(x, ratio, seed, whole):
    """x (N, T, D) -> (N, T, D): zero with probability ``ratio`` (0 <= ratio < 1), else x / (1 - ratio). seed: a uint64.

    With ``whole``, one draw is for all numbers of a position (n, t), the hash of (seed, n, t): where the positions are
    embedded tokens, whole tokens are dropped (Sennrich, Haddow and Birch 2016, "Edinburgh neural machine translation systems").
    """
    N, T, D = x.shape
    n, t, j = np.ogrid[:N, :T, : 1 if whole else D]
    uniform = _uniform(seed, n.astype(np.uint64), t.astype(np.uint64), j.astype(np.uint64))
    return np.where(uniform < ratio, x.dtype.type(0), x * x.dtype.type(1 / (1 - ratio)))
