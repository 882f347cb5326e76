"""Where the first weights of a model come from.

Normal numbers, scaled so that a layer neither amplifies nor damps what it is given: divided by the square root of the
number of inputs (LeCun et al. 1998, "Efficient BackProp", section 4.6). The forget gate starts at a bias of 1, so that
a cell remembers until it learns to forget (Jozefowicz, Zaremba and Sutskever 2015); the other biases start at zero.

Drawn in float64 and then rounded, so that the same seed gives the same weights in both dtypes.
"""

import numpy as np

from fastattn.layers import LSTM, Affine, Embedding
from fastattn.layers.checks import Array

EMBEDDING_SCALE = 0.1


def _normal(generator: np.random.Generator, rows: int, columns: int, scale: float, dtype: np.dtype) -> Array:
    return (scale * generator.standard_normal((rows, columns))).astype(dtype)


def embedding(generator: np.random.Generator, V: int, D: int, dtype: np.dtype) -> Embedding:
    return Embedding(_normal(generator, V, D, EMBEDDING_SCALE, dtype))


def lstm(generator: np.random.Generator, D: int, H: int, dtype: np.dtype) -> LSTM:
    Wx = _normal(generator, D, 4 * H, D**-0.5, dtype)
    Wh = _normal(generator, H, 4 * H, H**-0.5, dtype)
    b = np.zeros(4 * H, dtype)
    b[:H] = 1  # the forget gate comes first
    return LSTM(Wx, Wh, b)


def affine(generator: np.random.Generator, K: int, V: int, dtype: np.dtype) -> Affine:
    return Affine(_normal(generator, K, V, K**-0.5, dtype), np.zeros(V, dtype))
