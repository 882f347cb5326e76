"""A call of every kernel through the layer that has it, forward and backward, at a named shape.

The layers' interface stays the same over the commits that are compared; the kernels' own does not.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import fastattn
from benchmarks.shapes import NAMED, Shape

Call = Callable[[], Any]

# What a call runs on: the kernel set and the threads. NumPy takes its own threads.
COMPILED, ONE_THREAD, REFERENCE = "compiled", "compiled, 1 thread", "reference"
SETS = [COMPILED, ONE_THREAD, REFERENCE]
ALL_THREADS = fastattn.get_num_threads()


def choose(kernels: str) -> None:
    """Switch to one of SETS."""
    fastattn.set_backend(REFERENCE if kernels == REFERENCE else "compiled")
    fastattn.set_num_threads(1 if kernels == ONE_THREAD else ALL_THREADS)


class Case:
    """``forward`` and ``backward``, ready to be called again and again.

    ``flop``: the floating-point operations of the forward's matrix products, 0 for a kernel that has none.
    """

    def __init__(self, forward: Call, backward: Call, flop: int = 0) -> None:
        self.forward, self.backward, self.flop = forward, backward, flop


def _floats(dtype: str, *shape: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(shape) * 0.1).astype(dtype)


def _layer(layer: Any, inputs: tuple[Any, ...], dout: Any, flop: int = 0) -> Case:
    layer.forward(*inputs)
    return Case(lambda: layer.forward(*inputs), lambda: layer.backward(dout), flop)


def _lstm(s: Shape, dtype: str) -> fastattn.LSTM:
    return fastattn.LSTM(_floats(dtype, s.D, 4 * s.H), _floats(dtype, s.H, 4 * s.H), _floats(dtype, 4 * s.H))


def _sequence(forward: Call, backward: Call, s: Shape) -> Case:
    """An LSTM's case: its backward has a forward before it, for there is no second backward for one forward."""

    def both() -> None:
        forward()
        backward()

    return Case(forward, both, 2 * s.N * s.T1 * (s.D + s.H) * 4 * s.H)


def lstm(s: Shape, dtype: str) -> Case:
    layer = _lstm(s, dtype)
    xs, dhs = _floats(dtype, s.N, s.T1, s.D), _floats(dtype, s.N, s.T1, s.H)
    return _sequence(lambda: layer.forward(xs), lambda: layer.backward(dhs), s)


def embedding_lstm(s: Shape, dtype: str) -> Case:
    embedding, lstm = fastattn.Embedding(_floats(dtype, s.V, s.D)), _lstm(s, dtype)
    ids, dhs = np.random.default_rng(0).integers(0, s.V, (s.N, s.T1)), _floats(dtype, s.N, s.T1, s.H)
    if not hasattr(fastattn, "EmbeddingLSTM"):  # a commit from before it: what it took the place of
        return _sequence(lambda: lstm.forward(embedding.forward(ids)), lambda: embedding.backward(lstm.backward(dhs)), s)
    layer = fastattn.EmbeddingLSTM(embedding, lstm)
    return _sequence(lambda: layer.forward(ids), lambda: layer.backward(dhs), s)


def attention_score_softmax(s: Shape, dtype: str) -> Case:
    inputs = _floats(dtype, s.N, s.T1, s.H), _floats(dtype, s.N, s.H)
    return _layer(fastattn.AttentionWeight(), inputs, _floats(dtype, s.N, s.T1))


def softmax(s: Shape, dtype: str) -> Case:
    rows = s.N * (s.T2 - 1), s.T1
    return _layer(fastattn.SoftmaxLayer(), (_floats(dtype, *rows),), _floats(dtype, *rows))


def weighted_sum(s: Shape, dtype: str) -> Case:
    inputs = _floats(dtype, s.N, s.T1, s.H), _floats(dtype, s.N, s.T1)
    return _layer(fastattn.WeightSum(), inputs, _floats(dtype, s.N, s.H))


def attention(s: Shape, dtype: str) -> Case:
    T2 = s.T2 - 1
    inputs = _floats(dtype, s.N, s.T1, s.H), _floats(dtype, s.N, T2, s.H)
    return _layer(fastattn.Attention(), inputs, _floats(dtype, s.N, T2, s.H), 4 * s.N * T2 * s.T1 * s.H)


def affine(s: Shape, dtype: str) -> Case:
    T2 = s.T2 - 1
    layer = fastattn.Affine(_floats(dtype, 2 * s.H, s.V), _floats(dtype, s.V))
    inputs, dout = (_floats(dtype, s.N, T2, 2 * s.H),), _floats(dtype, s.N, T2, s.V)
    return _layer(layer, inputs, dout, 4 * s.N * T2 * s.H * s.V)


def embedding(s: Shape, dtype: str) -> Case:
    ids = np.random.default_rng(0).integers(0, s.V, (s.N, s.T1))
    return _layer(fastattn.Embedding(_floats(dtype, s.V, s.D)), (ids,), _floats(dtype, s.N, s.T1, s.D))


def cross_entropy(s: Shape, dtype: str) -> Case:
    ids = np.random.default_rng(0).integers(0, s.V, (s.N, s.T2 - 1))
    return _layer(fastattn.SoftmaxCrossEntropy(), (_floats(dtype, s.N, s.T2 - 1, s.V), ids), 1.0)


def dropout(s: Shape, dtype: str) -> Case:
    return _layer(fastattn.Dropout(0.3, seed=0), (_floats(dtype, s.N, s.T1, s.H),), _floats(dtype, s.N, s.T1, s.H))


def make(case: Callable[[Shape, str], Case], kernels: str, shape: str, dtype: str = "float32") -> Case:
    """A case that has run once, so that everything is compiled."""
    choose(kernels)
    made = case(NAMED[shape], dtype)
    made.forward()
    made.backward()
    return made
