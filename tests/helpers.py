"""What the tests share: gradients by differences, every layer described in one table, and Python in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from fastattn_kernels import reference

import fastattn

# All different and odd, so that no transposed or mixed-up axis can pass; and everything that can be 1 is 1.
# G is the width of both directions' states, 2H; X that of a context and a state, E + H.
SIZES = [
    {"N": 3, "T": 5, "U": 4, "D": 7, "H": 11, "K": 9, "V": 13, "E": 15, "A": 17, "G": 22, "X": 26},
    {"N": 1, "T": 1, "U": 1, "D": 1, "H": 1, "K": 1, "V": 1, "E": 1, "A": 1, "G": 2, "X": 2},
]
# Past one vector of 16 floats and one tile, and multiples of neither.
WIDER_SIZES = [*SIZES, {"N": 5, "T": 3, "U": 7, "D": 19, "H": 37, "K": 41, "V": 67, "E": 43, "A": 29, "G": 74, "X": 80}]


def skip_without_compiled_kernels():
    compiled = pytest.importorskip("fastattn_kernels.compiled", reason="the compiled kernels are not there yet")
    missing = [name for name in reference.__all__ if not hasattr(compiled, name)]
    if missing:
        pytest.skip(f"the compiled kernels are not there yet: {', '.join(missing)}")


def layer_by_layer(monkeypatch):
    """Let no model run as one kernel."""
    monkeypatch.setattr(fastattn.backend.kernels(), "seq2seq_as_one", lambda *batch: False)


@pytest.fixture(params=["compiled", "compiled, layer by layer", "reference"])
def backend_of_models(request, monkeypatch):
    """A model's test runs on each kernel set, and on the compiled one in the way that large models take, too."""
    name, *layers = request.param.split(", ")
    if name == "compiled":
        skip_without_compiled_kernels()
    with fastattn.use_backend(name):
        if layers:
            layer_by_layer(monkeypatch)
        yield name


def size_id(sizes):
    return "-".join(f"{letter}{number}" for letter, number in sizes.items())


def numeric_gradient(f, array, indices, step=1e-6):
    """df / darray at some indices by central differences, one element at a time, ``f()`` reading ``array`` as it stands."""
    slopes = []
    for index in indices:
        before = array[index]
        array[index] = before + step
        above = f()
        array[index] = before - step
        slopes.append((above - f()) / (2 * step))
        array[index] = before
    return np.array(slopes)


def check_gradients(f, arrays, gradients, rng, step=1e-6, tolerance=1e-6, elements=20):
    """Each gradient against its numeric one, and all of them against the slope of ``f`` in one random direction.

    Of a large array so many elements are tried, drawn at random; the slope has a part of every element.
    """
    for array, gradient in zip(arrays, gradients, strict=True):
        chosen = rng.choice(array.size, min(array.size, elements), replace=False)
        indices = [np.unravel_index(i, array.shape) for i in chosen]
        expected = numeric_gradient(f, array, indices, step)
        given = np.array([gradient[index] for index in indices])
        np.testing.assert_allclose(given, expected, rtol=tolerance, atol=tolerance * (1 + abs(expected).max()))
    befores = [array.copy() for array in arrays]
    directions = [rng.standard_normal(array.shape) for array in arrays]

    def moved(distance):
        for array, before, direction in zip(arrays, befores, directions, strict=True):
            array[...] = before + distance * direction
        return f()

    slope = (moved(step) - moved(-step)) / (2 * step)
    moved(0)
    expected = sum(np.sum(g * d) for g, d in zip(gradients, directions, strict=True))
    assert abs(slope - expected) <= tolerance * (1 + abs(expected))


@dataclass
class Case:
    """A layer, with the axes of what goes in and comes out. T and U may be padded; U is a second time axis."""

    name: str
    make: Callable  # (rng, sizes, dtype) -> layer
    inputs: tuple[str, ...]  # the axes of each input; "ids" in front: token ids
    output: str  # the axes of the output; empty: a number
    lengths: dict[str, str] = field(default_factory=lambda: {"T": "lengths"})  # axis -> keyword
    draw: Callable = lambda rng, shape: rng.standard_normal(shape)
    vocabulary: str = "V"  # the letter whose size is the number of tokens

    def layer(self, rng, sizes, dtype):
        return self.make(rng, sizes, dtype)

    def draw_inputs(self, rng, sizes, dtype):
        return [
            rng.integers(0, sizes[self.vocabulary], shape_of(axes[4:], sizes))
            if axes.startswith("ids ")
            else self.draw(rng, shape_of(axes, sizes)).astype(dtype)
            for axes in self.inputs
        ]

    def draw_dout(self, rng, sizes, dtype):
        return rng.standard_normal(shape_of(self.output, sizes)).astype(dtype) if self.output else 1.7

    def draw_lengths(self, rng, sizes):
        """One sample as long as can be, one of a single step where there is more than one sample."""
        lengths = {}
        for axis, keyword in self.lengths.items():
            drawn = rng.integers(1, sizes[axis] + 1, sizes["N"])
            drawn[-1] = 1
            drawn[0] = sizes[axis]
            lengths[keyword] = drawn
        return lengths


def shape_of(axes, sizes):
    return tuple(sizes[letter] for letter in axes)


def outcome(layer, inputs, dout, lengths):
    """What a forward and a backward give: [output, gradients of the inputs ..., gradients of the weights ...]."""
    output = layer.forward(*inputs, **lengths)
    returned = layer.backward(dout)
    gradients = () if returned is None else returned if isinstance(returned, tuple) else (returned,)
    return [output, *gradients, *(grad.copy() for grad in layer.grads)]


def normal(rng, *shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def scaled(rng, rows, columns, dtype):
    """A matrix whose product with numbers of size 1 is of size 1."""
    return normal(rng, rows, columns, dtype=dtype) / dtype(rows**0.5)


def lstm_of(rng, D, H, dtype):
    return fastattn.LSTM(scaled(rng, D, 4 * H, dtype), scaled(rng, H, 4 * H, dtype), normal(rng, 4 * H, dtype=dtype))


def lstm(rng, s, dtype):
    return lstm_of(rng, s["D"], s["H"], dtype)


def bilstm_of(rng, D, H, dtype):
    return fastattn.BiLSTM(lstm_of(rng, D, H, dtype), lstm_of(rng, D, H, dtype))


def bilstm(rng, s, dtype):
    return bilstm_of(rng, s["D"], s["H"], dtype)


def stacked(rng, s, dtype):
    """An LSTM upon an LSTM upon a BiLSTM."""
    D, H = s["D"], s["H"]
    layers = [bilstm_of(rng, D, H, dtype), lstm_of(rng, 2 * H, H, dtype), lstm_of(rng, H, H, dtype)]
    return fastattn.StackedLSTM(layers)


def stacked_residual(rng, s, dtype):
    D, H = s["D"], s["H"]
    layers = [bilstm_of(rng, D, H, dtype), *(bilstm_of(rng, 2 * H, H, dtype) for _ in range(2))]
    return fastattn.StackedLSTM(layers, residual=True)


def attention(kind, **options):
    """Attention to source states of width E, or H for the kinds that need it, by target states of width H."""

    def make(rng, s, dtype):
        weights = {}
        if kind == "general":
            weights = {"W": scaled(rng, s["E"], s["H"], dtype)}
        if kind == "additive":
            weights = {"W": scaled(rng, s["E"], s["A"], dtype), "W_query": scaled(rng, s["H"], s["A"], dtype)}
            weights["v"] = normal(rng, s["A"], dtype=dtype)
        return fastattn.Attention(kind, **weights, **options)

    return make


def input_feeding(kind, layers=1, **options):
    def make(rng, s, dtype):
        D, H, K, E = s["D"], s["H"], s["K"], s["E"] if kind in ("general", "additive") else s["H"]
        lstms = [lstm_of(rng, D + K if i == 0 else H, H, dtype) for i in range(layers)]
        W = scaled(rng, E + H, K, dtype)
        return fastattn.InputFeedingLSTM(lstms, attention(kind)(rng, s, dtype), W, **options)

    return make


def with_embedding(vocabulary, make_lstm):
    def make(rng, s, dtype):
        embedding = fastattn.Embedding(normal(rng, s[vocabulary], s["D"], dtype=dtype))
        return fastattn.EmbeddingLSTM(embedding, make_lstm(rng, s, dtype))

    return make


BOTH_LENGTHS = {"T": "source_lengths", "U": "target_lengths"}
OF_FEEDING = {"T": "source_lengths", "U": "lengths"}

CASES = [
    Case(
        "Embedding",
        lambda rng, s, dtype: fastattn.Embedding(normal(rng, s["V"], s["D"], dtype=dtype)),
        ("ids NT",),
        "NTD",
    ),
    Case("LSTM", lstm, ("NTD",), "NTH"),
    Case("BiLSTM", bilstm, ("NTD",), "NTG"),
    Case("StackedLSTM", stacked, ("NTD",), "NTH"),
    Case("StackedLSTM-residual", stacked_residual, ("NTD",), "NTG"),
    Case("InputFeedingLSTM", input_feeding("dot"), ("NUD", "NTH"), "NUK", OF_FEEDING),
    Case("InputFeedingLSTM-scaled", input_feeding("scaled_dot", 2), ("NUD", "NTH"), "NUK", OF_FEEDING),
    Case("InputFeedingLSTM-general", input_feeding("general", 3), ("NUD", "NTE"), "NUK", OF_FEEDING),
    Case("InputFeedingLSTM-additive", input_feeding("additive", 3, residual=True), ("NUD", "NTE"), "NUK", OF_FEEDING),
    Case("EmbeddingLSTM", with_embedding("V", lstm), ("ids NT",), "NTH"),
    # Few tokens beside many positions, where each token is worked on once.
    Case("EmbeddingLSTM-few", with_embedding("U", lstm), ("ids NT",), "NTH", vocabulary="U"),
    Case("EmbeddingLSTM-both-ways", with_embedding("V", bilstm), ("ids NT",), "NTG"),
    Case("EmbeddingLSTM-both-ways-few", with_embedding("U", bilstm), ("ids NT",), "NTG", vocabulary="U"),
    Case("EmbeddingLSTM-stacked", with_embedding("V", stacked), ("ids NT",), "NTH"),
    Case("EmbeddingLSTM-feeding", with_embedding("V", input_feeding("additive")), ("ids NU", "NTE"), "NUK", OF_FEEDING),
    Case(
        "Affine",
        lambda rng, s, dtype: fastattn.Affine(normal(rng, s["K"], s["V"], dtype=dtype), normal(rng, s["V"], dtype=dtype)),
        ("NTK",),
        "NTV",
    ),
    Case("Affine-no-bias", lambda rng, s, dtype: fastattn.Affine(scaled(rng, s["K"], s["V"], dtype)), ("NTK",), "NTV"),
    Case("Tanh", lambda rng, s, dtype: fastattn.Tanh(), ("NTD",), "NTD", {}),
    Case("SoftmaxLayer", lambda rng, s, dtype: fastattn.SoftmaxLayer(), ("NT",), "NT"),
    Case("AttentionWeight", lambda rng, s, dtype: fastattn.AttentionWeight(), ("NTH", "NH"), "NT"),
    Case("WeightSum", lambda rng, s, dtype: fastattn.WeightSum(), ("NTH", "NT"), "NH"),
    Case("AttentionLayer", lambda rng, s, dtype: fastattn.AttentionLayer(), ("NTH", "NH"), "NH"),
    Case("Attention", attention("dot"), ("NTH", "NUH"), "NUH", BOTH_LENGTHS),
    Case("Attention-joined", attention("dot", join=True), ("NTH", "NUH"), "NUG", BOTH_LENGTHS),
    Case("Attention-scaled", attention("scaled_dot", join=True), ("NTH", "NUH"), "NUG", BOTH_LENGTHS),
    Case("Attention-general", attention("general"), ("NTE", "NUH"), "NUE", BOTH_LENGTHS),
    Case("Attention-general-joined", attention("general", join=True), ("NTE", "NUH"), "NUX", BOTH_LENGTHS),
    Case("Attention-additive", attention("additive"), ("NTE", "NUH"), "NUE", BOTH_LENGTHS),
    Case("Attention-additive-joined", attention("additive", join=True), ("NTE", "NUH"), "NUX", BOTH_LENGTHS),
    Case("Softmax", lambda rng, s, dtype: fastattn.Softmax(), ("NTV", "ids NT"), "NT"),
    Case(
        "CEloss",
        lambda rng, s, dtype: fastattn.CEloss(),
        ("NT",),
        "",
        draw=lambda rng, shape: rng.uniform(0.1, 1, shape),
    ),
    Case("SoftmaxCrossEntropy", lambda rng, s, dtype: fastattn.SoftmaxCrossEntropy(), ("NTV", "ids NT"), ""),
    Case(
        "SoftmaxCrossEntropy-smoothed",
        lambda rng, s, dtype: fastattn.SoftmaxCrossEntropy(label_smoothing=0.3),
        ("NTV", "ids NT"),
        "",
    ),
    # The mask of dropout does not depend on the values, so a new layer of the same seed drops the same.
    Case("Dropout", lambda rng, s, dtype: fastattn.Dropout(0.0), ("NTD",), "NTD", {}),
]


def run_python(code, **environment):
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout
