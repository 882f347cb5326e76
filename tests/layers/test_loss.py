"""The two forms of the loss: their agreement, and the extremes of probability."""

import numpy as np
import pytest
from helpers import normal

import fastattn

N, T, V = 3, 5, 13
lengths = pytest.mark.parametrize("lengths", [None, [2, 5, 1]], ids=["whole", "padded"])


def two_layers(scores, t, dloss, lengths):
    softmax, loss = fastattn.Softmax(), fastattn.CEloss()
    value = loss.forward(softmax.forward(scores, t, lengths=lengths), lengths=lengths)
    return value, softmax.backward(loss.backward(dloss))


def fused(scores, t, dloss, lengths):
    loss = fastattn.SoftmaxCrossEntropy()
    return loss.forward(scores, t, lengths=lengths), loss.backward(dloss)


@lengths
@pytest.mark.parametrize("dloss", [1, -2.5, 0])
def test_two_layers_are_the_fused_one(backend, lengths, dloss, rng):
    scores, t = 3 * normal(rng, N, T, V, dtype=float), rng.integers(0, V, (N, T))
    (a, da), (b, db) = two_layers(scores, t, dloss, lengths), fused(scores, t, dloss, lengths)
    np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(da, db, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("form", [two_layers, fused])
def test_loss_is_the_mean_over_the_real_positions(backend, form, rng):
    scores, t, lengths = normal(rng, N, T, V, dtype=float), rng.integers(0, V, (N, T)), [2, 5, 1]
    value, _ = form(scores, t, 1, lengths)
    log_p = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
    terms = [-log_p[n, i, t[n, i]] for n in range(N) for i in range(lengths[n])]
    np.testing.assert_allclose(value, np.mean(terms), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", [two_layers, fused])
def test_a_probability_that_underflows_leaves_all_finite(backend, form, dtype):
    scores = np.array([[[0, 2000, -1500], [1e4, 1e4, -1e4]]], dtype)
    value, dscores = form(scores, np.array([[2, 2]]), 1, None)
    assert np.isfinite(value)
    assert np.isfinite(dscores).all()


def test_the_fused_loss_is_exact_where_a_probability_underflows(backend):
    value, dscores = fused(np.array([[[0, 2000.0]]]), np.array([[0]]), 1, None)
    assert value == 2000
    np.testing.assert_array_equal(dscores, [[[-1, 1]]])


def test_a_probability_of_zero_has_a_finite_loss_and_gradient(backend):
    loss = fastattn.CEloss()
    assert np.isfinite(loss.forward(np.zeros((1, 1), np.float32)))
    assert np.isfinite(loss.backward()).all()


def test_dloss_is_one_by_default(backend, rng):
    y, scores, t = rng.uniform(0.1, 1, (N, T)), normal(rng, N, T, V, dtype=float), rng.integers(0, V, (N, T))
    for loss, inputs in ((fastattn.CEloss(), (y,)), (fastattn.SoftmaxCrossEntropy(), (scores, t))):
        loss.forward(*inputs)
        np.testing.assert_array_equal(loss.backward(), loss.backward(1))


@lengths
def test_scores_that_are_given_away(backend, rng, lengths):
    scores, t = normal(rng, N, T, V, dtype="float32"), rng.integers(0, V, (N, T))
    keeping, overwriting = fastattn.SoftmaxCrossEntropy(), fastattn.SoftmaxCrossEntropy(overwrite_scores=True)
    before = scores.copy()
    loss = keeping.forward(scores, t, lengths=lengths)
    expected = keeping.backward(0.3)
    np.testing.assert_array_equal(scores, before)
    assert overwriting.forward(scores, t, lengths=lengths) == loss
    np.testing.assert_array_equal(overwriting.backward(0.3), expected)
    with pytest.raises(RuntimeError, match="was called a second time"):
        overwriting.backward(0.3)
