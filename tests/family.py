"""The members of the family that its tests go through: each option by itself, and options together."""

import numpy as np
import pytest
from helpers import skip_without_compiled_kernels

import fastattn

V_SOURCE, V_TARGET, D, H = 13, 9, 5, 7
N, T1, T2 = 3, 5, 4
WHOLE: dict = {}
PADDED = {"source_lengths": [2, 5, 1], "target_lengths": [4, 2, 3]}
lengths = pytest.mark.parametrize("lengths", [WHOLE, PADDED], ids=["whole", "padded"])

BI = {"bidirectional": True, "bridge": "affine"}
DEEP = {"encoder_layers": 2, "decoder_layers": 2}
FED = {"attentional_size": 6, "input_feeding": True}
SHARED = {"target_vocabulary": V_SOURCE, "share_embeddings": True}

EACH_OPTION = {
    "plain": {},
    "encoder layers": {"encoder_layers": 3},
    "decoder layers": {"decoder_layers": 2},
    "bidirectional": {**BI, "attention": "general"},
    "half as wide": {"H": 6, "bidirectional": True, "encoder_hidden": 3},
    "projected": {"project_encoder": True, "encoder_hidden": 3, "bridge": "zeros"},
    "residual": {**DEEP, "residual": True},
    "scaled dot": {"attention": "scaled_dot"},
    "general": {"attention": "general"},
    "additive": {"attention": "additive"},
    "additive of its own size": {"attention": "additive", "attention_size": 4},
    "without attention": {"attention": None},
    "attentional": {"attentional_size": 6},
    "fed": FED,
    "last state": {"bridge": "last_state"},
    "affine": {"bridge": "affine"},
    "zeros": {"bridge": "zeros"},
    "tied": {"tie_embeddings": True},
    "tied of one width": {"tie_embeddings": True, "attentional_size": D},
    "shared": SHARED,
    "smoothed": {"label_smoothing": 0.2},
    "initial": {"forget_bias": -0.5, "orthogonal": True},
}
TOGETHER = {
    "bi": {**BI, "attention": "general"},
    "deep": {**BI, **DEEP, "attention": "general", "residual": True},
    "feeding": {**BI, **FED, "attention": "additive", "attentional_size": H},
    "deep, last": {"encoder_layers": 2, "decoder_layers": 3},
    "deep, last state": {"encoder_layers": 3, "decoder_layers": 2, "bridge": "last_state", "residual": True},
    "high decoder": {**BI, "decoder_layers": 3, "attention": "additive", "attention_size": 9, "encoder_hidden": 3},
    "projected directions": {**BI, "encoder_layers": 2, "project_encoder": True, "attention": "scaled_dot"},
    "half as wide, deep": {"H": 6, "bidirectional": True, "encoder_hidden": 3, **DEEP, "bridge": "last_state"},
    "fed, deep": {**DEEP, **FED, "residual": True, "attention": "scaled_dot"},
    "fed, general": {**BI, **FED, "attention": "general", "decoder_layers": 2, "encoder_hidden": 4},
    "fed, zeros": {**FED, "attention": "additive", "attention_size": 3, "bridge": "zeros", "decoder_layers": 3},
    "fed, projected, tied": {**BI, **FED, "project_encoder": True, "tie_embeddings": True, "label_smoothing": 0.1},
    "without attention, deep": {**BI, "attention": None, "encoder_layers": 2, "decoder_layers": 2, "attentional_size": 6},
    "tied and shared": {**SHARED, **DEEP, "tie_embeddings": True, "attentional_size": 6},
    "all but feeding": BI
    | DEEP
    | SHARED
    | {"residual": True, "attention": "general", "attentional_size": 6, "project_encoder": True, "encoder_hidden": 4}
    | {"tie_embeddings": True, "label_smoothing": 0.1, "orthogonal": True},
}
DROPPING = {
    "dropout": {"dropout": 0.4},
    "dropout of embeddings": {"dropout": {"embedding": 0.4}},
    "dropout between layers": {**DEEP, "dropout": {"layers": 0.4}},
    "dropout of the encoder": {"dropout": {"encoder": 0.4}},
    "dropout before the scores": {"dropout": {"output": 0.4}},
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "word dropout": {"word_dropout": 0.4},
    "bi, dropping": {**BI, "attention": "general", "recurrent_dropout": 0.3, "dropout": {"encoder": 0.2, "output": 0.1}},
    "deep, dropping": BI
    | DEEP
    | {"residual": True, "attention": "general", "word_dropout": 0.2, "recurrent_dropout": 0.3}
    | {"dropout": {"embedding": 0.1, "layers": 0.3, "encoder": 0.2, "output": 0.3}},
    "fed, dropping": {**DEEP, **FED, "dropout": 0.3, "recurrent_dropout": 0.3, "word_dropout": 0.2, "residual": True},
    "tied and shared, dropping": {**SHARED, "tie_embeddings": True, "dropout": 0.3, "word_dropout": 0.3, "attention": None},
}
STEADY = EACH_OPTION | TOGETHER
FAMILY = STEADY | DROPPING


def members(choices):
    """A test goes through these; ``choices``: by name."""
    return pytest.mark.parametrize("choices", choices.values(), ids=choices)


@pytest.fixture(params=fastattn.backend.BACKENDS)
def kernel_set(request):
    """The test runs once on each kernel set: all but the plain model run layer by layer on both."""
    if request.param == "compiled":
        skip_without_compiled_kernels()
    with fastattn.use_backend(request.param):
        yield request.param


def make_model(choices, **more):
    given = {"target_vocabulary": V_TARGET, "seed": 1, **choices, **more}
    return fastattn.AttentionSeq2seq(V_SOURCE, given.pop("D", D), given.pop("H", H), **given)


def moved(model, rng):
    """``model`` with larger weights than at the start, where some gradients nearly vanish."""
    for p in model.params:
        p += 0.3 * rng.standard_normal(p.shape)
    return model


def make_batch(rng, model, N=N, T1=T1, T2=T2):
    return rng.integers(0, model.source_vocabulary, (N, T1)), rng.integers(0, model.target_vocabulary, (N, T2))


def step(model, x, t, lengths, at=0):
    """[loss, gradients ...] of a training step, the ``at``-th of the model."""
    model.step = at
    loss = model.forward(x, t, **lengths)
    model.backward()
    return [loss, *(grad.copy() for grad in model.grads)]


def same(given, expected):
    for a, b in zip(given, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def close(given, expected, tolerance):
    """By the size of each array's largest number."""
    for a, b in zip(given, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(b).max(), 0.1))
