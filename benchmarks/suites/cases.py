"""A call of every kernel through the layer that has it, forward and backward, at a named shape.

The layers' interface stays the same over the commits that are compared; the kernels' own does not.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from shapes import NAMED, Shape

import fastattn

Call = Callable[[], Any]
KERNEL_SETS = ["compiled", "reference"]
SHAPES = ["tiny", "date", "g2p"]
THREADS = [1, 2]
DTYPES = ["float32", "float64"]


class Case:
    """``forward`` and ``backward``, ready to be called again and again; the LSTM's backward runs its forward first."""

    def __init__(self, forward: Call, backward: Call) -> None:
        self.forward, self.backward = forward, backward


def _floats(dtype: str, *shape: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(shape) * 0.1).astype(dtype)


def _layer(layer: Any, inputs: tuple[Any, ...], dout: Any) -> Case:
    layer.forward(*inputs)
    return Case(lambda: layer.forward(*inputs), lambda: layer.backward(dout))


def lstm(s: Shape, dtype: str) -> Case:
    layer = fastattn.LSTM(_floats(dtype, s.D, 4 * s.H), _floats(dtype, s.H, 4 * s.H), _floats(dtype, 4 * s.H))
    xs, dhs = _floats(dtype, s.N, s.T1, s.D), _floats(dtype, s.N, s.T1, s.H)

    def both() -> None:
        layer.forward(xs)
        layer.backward(dhs)

    return Case(lambda: layer.forward(xs), both)


def attention_weight(s: Shape, dtype: str) -> Case:
    inputs = _floats(dtype, s.N, s.T1, s.H), _floats(dtype, s.N, s.H)
    return _layer(fastattn.AttentionWeight(), inputs, _floats(dtype, s.N, s.T1))


def weight_sum(s: Shape, dtype: str) -> Case:
    inputs = _floats(dtype, s.N, s.T1, s.H), _floats(dtype, s.N, s.T1)
    return _layer(fastattn.WeightSum(), inputs, _floats(dtype, s.N, s.H))


def attention(s: Shape, dtype: str) -> Case:
    inputs = _floats(dtype, s.N, s.T1, s.H), _floats(dtype, s.N, s.T2 - 1, s.H)
    return _layer(fastattn.Attention(), inputs, _floats(dtype, s.N, s.T2 - 1, s.H))


def affine(s: Shape, dtype: str) -> Case:
    layer = fastattn.Affine(_floats(dtype, 2 * s.H, s.V), _floats(dtype, s.V))
    return _layer(layer, (_floats(dtype, s.N, s.T2 - 1, 2 * s.H),), _floats(dtype, s.N, s.T2 - 1, s.V))


def embedding(s: Shape, dtype: str) -> Case:
    ids = np.random.default_rng(0).integers(0, s.V, (s.N, s.T1))
    return _layer(fastattn.Embedding(_floats(dtype, s.V, s.D)), (ids,), _floats(dtype, s.N, s.T1, s.D))


def cross_entropy(s: Shape, dtype: str) -> Case:
    ids = np.random.default_rng(0).integers(0, s.V, (s.N, s.T2 - 1))
    return _layer(fastattn.SoftmaxCrossEntropy(), (_floats(dtype, s.N, s.T2 - 1, s.V), ids), 1.0)


def dropout(s: Shape, dtype: str) -> Case:
    return _layer(fastattn.Dropout(0.3, seed=0), (_floats(dtype, s.N, s.T1, s.H),), _floats(dtype, s.N, s.T1, s.H))


CASES: dict[str, Callable[[Shape, str], Case]] = {
    "lstm": lstm,
    "attention_weight": attention_weight,
    "weight_sum": weight_sum,
    "attention": attention,
    "affine": affine,
    "embedding": embedding,
    "cross_entropy": cross_entropy,
    "dropout": dropout,
}


def make(name: str, kernels: str, shape: str, threads: int, dtype: str) -> Case:
    """A case that has run once, so that everything is compiled."""
    fastattn.set_backend(kernels)
    fastattn.set_num_threads(threads)
    case = CASES[name](NAMED[shape], dtype)
    case.forward()
    case.backward()
    return case
