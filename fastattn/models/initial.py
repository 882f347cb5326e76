"""Where the first weights of a model come from.

Normal numbers, scaled so that a layer neither amplifies nor damps what it is given: divided by the square root of the
number of inputs (LeCun et al. 1998, "Efficient BackProp", section 4.6). The forget gate starts at a bias of 1, so that
a cell remembers until it learns to forget (Jozefowicz, Zaremba and Sutskever 2015); the other biases start at zero.
With ``orthogonal``, each gate's part of Wh is a random orthogonal matrix, which keeps the length of a state (Saxe,
McClelland and Ganguli 2014).

Drawn in float64 and then rounded, so that the same seed gives the same weights in both dtypes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fastattn.layers.checks import Array

from .config import ModelConfig
from .parts import Part, Tensor

EMBEDDING_SCALE = 0.1


class Weights:
    """The arrays of a model's parts, which are taken by the name of the part."""

    def __init__(self, parts: Iterable[Part], config: ModelConfig, generator: np.random.Generator) -> None:
        self._of_part = {
            part.name: [_drawn(tensor, config, generator).astype(config.dtype) for tensor in part.tensors] for part in parts
        }

    def __getitem__(self, name: str) -> list[Array]:
        """Those of the part with this name, in its order."""
        return self._of_part[name]

    def __contains__(self, name: str) -> bool:
        return name in self._of_part


def _drawn(tensor: Tensor, config: ModelConfig, generator: np.random.Generator) -> Array:
    rows, *columns = tensor.shape
    if tensor.draw == "embedding":
        return EMBEDDING_SCALE * generator.standard_normal(tensor.shape)
    if tensor.draw == "recurrent" and config.orthogonal:
        return np.hstack([_orthogonal(rows, generator) for _ in range(columns[0] // rows)])
    if tensor.draw in ("scaled", "recurrent"):
        return rows**-0.5 * generator.standard_normal(tensor.shape)
    values = np.zeros(tensor.shape)
    if tensor.draw == "gates":
        values[: rows // 4] = config.forget_bias  # the forget gate comes first
    return values


def _orthogonal(H: int, generator: np.random.Generator) -> Array:
    """A random orthogonal matrix (H, H): uniform among them, thanks to the signs (Mezzadri 2007, section 5)."""
    Q, R = np.linalg.qr(generator.standard_normal((H, H)))
    return Q * np.sign(np.diagonal(R))
