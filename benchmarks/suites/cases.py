"""A call of every kernel through the layer that has it, forward and backward, at a named shape.

The layers' interface stays the same over the commits that are compared; the kernels' own does not. A layer that a commit
does not have raises NotImplementedError, by which asv knows that there is nothing to measure.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

import fastattn
from benchmarks.shapes import OF_LAYERS, Shape

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


def _needs(layer: str, argument: str | None = None) -> None:
    """NotImplementedError at a commit without the layer, or with one that does not take the argument."""
    there = hasattr(fastattn, layer)
    if not there or (argument is not None and argument not in inspect.signature(getattr(fastattn, layer)).parameters):
        raise NotImplementedError(f"this commit has no {layer}{f' with {argument}' if there else ''}")


def _lstm(D: int, H: int, dtype: str) -> fastattn.LSTM:
    return fastattn.LSTM(_floats(dtype, D, 4 * H), _floats(dtype, H, 4 * H), _floats(dtype, 4 * H))


def _bi_lstm(D: int, H: int, dtype: str) -> Any:
    _needs("BiLSTM")
    return fastattn.BiLSTM(_lstm(D, H, dtype), _lstm(D, H, dtype))


def _sequence(forward: Call, backward: Call, flop: int) -> Case:
    """An LSTM's case: its backward has a forward before it, for there is no second backward for one forward."""

    def both() -> None:
        forward()
        backward()

    return Case(forward, both, flop)


def lstm(s: Shape, dtype: str) -> Case:
    layer = _lstm(s.D, s.H, dtype)
    xs, dhs = _floats(dtype, s.N, s.T1, s.D), _floats(dtype, s.N, s.T1, s.H)
    return _sequence(lambda: layer.forward(xs), lambda: layer.backward(dhs), 2 * s.N * s.T1 * (s.D + s.H) * 4 * s.H)


def bi_lstm(s: Shape, dtype: str) -> Case:
    layer = _bi_lstm(s.D, s.H, dtype)
    xs, dhs = _floats(dtype, s.N, s.T1, s.D), _floats(dtype, s.N, s.T1, 2 * s.H)
    return _sequence(lambda: layer.forward(xs), lambda: layer.backward(dhs), 4 * s.N * s.T1 * (s.D + s.H) * 4 * s.H)


def stacked_lstm(s: Shape, dtype: str) -> Case:
    """Two layers of both directions, and what the first gives is added to what the second does."""
    _needs("StackedLSTM")
    layer = fastattn.StackedLSTM([_bi_lstm(s.D, s.H, dtype), _bi_lstm(2 * s.H, s.H, dtype)], residual=True)
    xs, dhs = _floats(dtype, s.N, s.T1, s.D), _floats(dtype, s.N, s.T1, 2 * s.H)
    flop = 4 * s.N * s.T1 * (s.D + s.H + 2 * s.H + s.H) * 4 * s.H
    return _sequence(lambda: layer.forward(xs), lambda: layer.backward(dhs), flop)


def embedding_lstm(s: Shape, dtype: str) -> Case:
    embedding, lstm = fastattn.Embedding(_floats(dtype, s.V, s.D)), _lstm(s.D, s.H, dtype)
    ids, dhs = np.random.default_rng(0).integers(0, s.V, (s.N, s.T1)), _floats(dtype, s.N, s.T1, s.H)
    flop = 2 * s.N * s.T1 * (s.D + s.H) * 4 * s.H
    if not hasattr(fastattn, "EmbeddingLSTM"):  # a commit from before it: what it took the place of
        return _sequence(lambda: lstm.forward(embedding.forward(ids)), lambda: embedding.backward(lstm.backward(dhs)), flop)
    layer = fastattn.EmbeddingLSTM(embedding, lstm)
    return _sequence(lambda: layer.forward(ids), lambda: layer.backward(dhs), flop)


def input_feeding_lstm(s: Shape, dtype: str) -> Case:
    """One layer with additive attention over the states of both directions, all steps of the target."""
    _needs("InputFeedingLSTM")
    T2, H, E = s.T2 - 1, s.H, 2 * s.H
    layer = fastattn.InputFeedingLSTM([_lstm(s.D + H, H, dtype)], _additive(E, H, dtype), _floats(dtype, E + H, H))
    xs, hs_enc, douts = _floats(dtype, s.N, T2, s.D), _floats(dtype, s.N, s.T1, E), _floats(dtype, s.N, T2, H)
    lstm, scores, out = (s.D + 2 * H) * 4 * H, H * H + s.T1 * (H + E), (E + H) * H
    flop = 2 * s.N * (T2 * (lstm + scores + out) + s.T1 * E * H)
    return _sequence(lambda: layer.forward(xs, hs_enc), lambda: layer.backward(douts), flop)


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


def _attention(s: Shape, dtype: str, layer: Any, flop: int) -> Case:
    """Over the states of both directions."""
    T2, E = s.T2 - 1, 2 * s.H
    inputs = _floats(dtype, s.N, s.T1, E), _floats(dtype, s.N, T2, s.H)
    scores_and_sums = 2 * s.N * T2 * s.T1 * (s.H + E)
    return _layer(layer, inputs, _floats(dtype, s.N, T2, E), scores_and_sums + flop)


def attention_general(s: Shape, dtype: str) -> Case:
    _needs("Attention", "kind")
    layer = fastattn.Attention(kind="general", W=_floats(dtype, 2 * s.H, s.H))
    return _attention(s, dtype, layer, 4 * s.N * s.T1 * s.H * s.H)


def _additive(E: int, H: int, dtype: str) -> Any:
    _needs("Attention", "kind")
    W, W_query, v = _floats(dtype, E, H), _floats(dtype, H, H), _floats(dtype, H)
    return fastattn.Attention(kind="additive", W=W, W_query=W_query, v=v)


def attention_additive(s: Shape, dtype: str) -> Case:
    flop = 2 * s.N * (s.T1 * 2 * s.H + (s.T2 - 1) * s.H) * s.H
    return _attention(s, dtype, _additive(2 * s.H, s.H, dtype), flop)


def affine(s: Shape, dtype: str) -> Case:
    T2 = s.T2 - 1
    layer = fastattn.Affine(_floats(dtype, 2 * s.H, s.V), _floats(dtype, s.V))
    inputs, dout = (_floats(dtype, s.N, T2, 2 * s.H),), _floats(dtype, s.N, T2, s.V)
    return _layer(layer, inputs, dout, 4 * s.N * T2 * s.H * s.V)


def attentional(s: Shape, dtype: str) -> Case:
    """An affine map without a bias, from the context of both directions and the state to h~, and its tanh."""
    _needs("Tanh")
    T2, H = s.T2 - 1, s.H
    affine, tanh = fastattn.Affine(_floats(dtype, 3 * H, H)), fastattn.Tanh()
    joined, dout = _floats(dtype, s.N, T2, 3 * H), _floats(dtype, s.N, T2, H)

    def forward() -> None:
        tanh.forward(affine.forward(joined))

    def backward() -> None:
        affine.backward(tanh.backward(dout))

    forward()
    return Case(forward, backward, 6 * s.N * T2 * H * H)


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
    made = case(OF_LAYERS[shape], dtype)
    made.forward()
    made.backward()
    return made
