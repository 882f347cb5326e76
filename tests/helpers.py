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
SIZES = [
    {"N": 3, "T": 5, "U": 4, "D": 7, "H": 11, "K": 9, "V": 13},
    {"N": 1, "T": 1, "U": 1, "D": 1, "H": 1, "K": 1, "V": 1},
]
# Past one vector of 16 floats and one tile, and multiples of neither.
WIDER_SIZES = [*SIZES, {"N": 5, "T": 3, "U": 7, "D": 19, "H": 37, "K": 41, "V": 67}]


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


def numeric_gradient(f, array, step=1e-6):
    """df / darray by central differences, one element at a time, ``f()`` reading ``array`` as it stands."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        before = array[index]
        array[index] = before + step
        above = f()
        array[index] = before - step
        gradient[index] = (above - f()) / (2 * step)
        array[index] = before
    return gradient


def check_gradients(f, arrays, gradients, rng, step=1e-6, tolerance=1e-6):
    """Each gradient against its numeric one, and all of them against the slope of ``f`` in one random direction."""
    for array, gradient in zip(arrays, gradients, strict=True):
        expected = numeric_gradient(f, array, step)
        np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance * (1 + abs(expected).max()))
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


def lstm(rng, s, dtype):
    return fastattn.LSTM(
        normal(rng, s["D"], 4 * s["H"], dtype=dtype) / dtype(s["D"] ** 0.5),
        normal(rng, s["H"], 4 * s["H"], dtype=dtype) / dtype(s["H"] ** 0.5),
        normal(rng, 4 * s["H"], dtype=dtype),
    )


def embedding_lstm(vocabulary):
    def make(rng, s, dtype):
        embedding = fastattn.Embedding(normal(rng, s[vocabulary], s["D"], dtype=dtype))
        return fastattn.EmbeddingLSTM(embedding, lstm(rng, s, dtype))

    return make


CASES = [
    Case(
        "Embedding",
        lambda rng, s, dtype: fastattn.Embedding(normal(rng, s["V"], s["D"], dtype=dtype)),
        ("ids NT",),
        "NTD",
    ),
    Case("LSTM", lstm, ("NTD",), "NTH"),
    Case("EmbeddingLSTM", embedding_lstm("V"), ("ids NT",), "NTH"),
    # Few tokens beside many positions, where each token is worked on once.
    Case("EmbeddingLSTM-few", embedding_lstm("U"), ("ids NT",), "NTH", vocabulary="U"),
    Case(
        "Affine",
        lambda rng, s, dtype: fastattn.Affine(normal(rng, s["K"], s["V"], dtype=dtype), normal(rng, s["V"], dtype=dtype)),
        ("NTK",),
        "NTV",
    ),
    Case("SoftmaxLayer", lambda rng, s, dtype: fastattn.SoftmaxLayer(), ("NT",), "NT"),
    Case("AttentionWeight", lambda rng, s, dtype: fastattn.AttentionWeight(), ("NTH", "NH"), "NT"),
    Case("WeightSum", lambda rng, s, dtype: fastattn.WeightSum(), ("NTH", "NT"), "NH"),
    Case("AttentionLayer", lambda rng, s, dtype: fastattn.AttentionLayer(), ("NTH", "NH"), "NH"),
    Case(
        "Attention",
        lambda rng, s, dtype: fastattn.Attention(),
        ("NTH", "NUH"),
        "NUH",
        {"T": "source_lengths", "U": "target_lengths"},
    ),
    Case("Softmax", lambda rng, s, dtype: fastattn.Softmax(), ("NTV", "ids NT"), "NT"),
    Case(
        "CEloss",
        lambda rng, s, dtype: fastattn.CEloss(),
        ("NT",),
        "",
        draw=lambda rng, shape: rng.uniform(0.1, 1, shape),
    ),
    Case("SoftmaxCrossEntropy", lambda rng, s, dtype: fastattn.SoftmaxCrossEntropy(), ("NTV", "ids NT"), ""),
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
