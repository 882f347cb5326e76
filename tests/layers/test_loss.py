"""The two forms of the loss: their agreement, and the extremes of probability."""

import numpy as np
import pytest
from helpers import check_gradients, normal

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
@pytest.mark.parametrize("dloss", [1, 0.3])
def test_scores_that_are_given_away(backend, rng, lengths, dloss):
    scores, t = normal(rng, N, T, V, dtype="float32"), rng.integers(0, V, (N, T))
    keeping, overwriting = fastattn.SoftmaxCrossEntropy(), fastattn.SoftmaxCrossEntropy(overwrite_scores=True)
    before = scores.copy()
    loss = keeping.forward(scores, t, lengths=lengths)
    expected = keeping.backward(dloss)
    np.testing.assert_array_equal(scores, before)
    assert overwriting.forward(scores, t, lengths=lengths) == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(overwriting.backward(dloss), expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(RuntimeError, match="was called a second time"):
        overwriting.backward(dloss)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_ignored_label_counts_as_little_as_padding(backend, rng, overwrite):
    scores, t = normal(rng, N, T, V, dtype=float), rng.integers(1, V, (N, T))
    lengths = np.array([2, 5, 1])
    plain, ignoring = fastattn.SoftmaxCrossEntropy(), fastattn.SoftmaxCrossEntropy(overwrite, ignore_label=0)
    expected = plain.forward(scores, t, lengths=lengths), plain.backward(0.3)
    t[np.arange(T) >= lengths[:, None]] = 0
    scores[t == 0] = np.nan  # is not read
    loss = ignoring.forward(scores, t)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-12)
    np.testing.assert_allclose(ignoring.backward(0.3), expected[1], rtol=1e-12)


@pytest.mark.parametrize("ignore_label", [-1, 3, 99])
def test_nothing_but_ignored_labels_gives_zeros(backend, rng, ignore_label):
    loss = fastattn.SoftmaxCrossEntropy(ignore_label=ignore_label)
    assert loss.forward(normal(rng, N, T, V, dtype="float32"), np.full((N, T), ignore_label)) == 0
    assert not loss.backward().any()


def test_the_gradient_with_ignored_labels_is_the_slope(backend, rng):
    scores, t = normal(rng, N, T, V, dtype=float), rng.integers(-1, V, (N, T))
    loss = fastattn.SoftmaxCrossEntropy(ignore_label=-1)
    loss.forward(scores, t)
    check_gradients(lambda: 1.7 * loss.forward(scores, t), [scores], [loss.backward(1.7)], rng)


def test_other_ids_out_of_range_are_refused_as_ever():
    loss = fastattn.SoftmaxCrossEntropy(ignore_label=0)
    t = np.zeros((N, T), int)
    for wrong in (-1, V):
        t[1, 2] = wrong
        with pytest.raises(IndexError, match=rf"t\[1, 2\] is {wrong}; expected a token id from 0 to 12"):
            loss.forward(np.zeros((N, T, V)), t)


@lengths
@pytest.mark.parametrize("smoothing", [0.1, 0.9])
@pytest.mark.parametrize("overwrite", [False, True])
def test_smoothed_labels(backend, lengths, smoothing, overwrite, rng):
    """The cross entropy of the target's distribution with a part of uniform in it."""
    scores, t = 3 * normal(rng, N, T, V, dtype=float), rng.integers(0, V, (N, T))
    log_p = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
    q = (1 - smoothing) * np.eye(V)[t] + smoothing / V
    real = np.arange(T) < np.array(lengths or [T] * N)[:, None]
    loss = fastattn.SoftmaxCrossEntropy(overwrite, label_smoothing=smoothing)
    value = loss.forward(scores.copy(), t, lengths=lengths)
    np.testing.assert_allclose(value, -(q * log_p).sum(axis=2)[real].mean(), rtol=1e-12)
    expected = np.where(real[:, :, None], -1.7 * (np.exp(log_p) - q) / real.sum(), 0)
    np.testing.assert_allclose(loss.backward(-1.7), expected, rtol=1e-10, atol=1e-15)


def test_labels_are_smoothed_while_training_alone(backend, rng):
    scores, t = normal(rng, N, T, V, dtype=float), rng.integers(0, V, (N, T))
    plain, smoothed = fastattn.SoftmaxCrossEntropy(), fastattn.SoftmaxCrossEntropy(label_smoothing=0.3)
    assert smoothed.forward(scores, t) != plain.forward(scores, t)
    smoothed.training = False
    assert smoothed.forward(scores, t) == plain.forward(scores, t)
    np.testing.assert_array_equal(smoothed.backward(), plain.backward())


@pytest.mark.parametrize("overwrite", [False, True])
def test_smoothed_labels_and_ignored_ones(backend, rng, overwrite):
    scores, t, lengths = normal(rng, N, T, V, dtype=float), rng.integers(1, V, (N, T)), np.array([2, 5, 1])
    padded = fastattn.SoftmaxCrossEntropy(label_smoothing=0.2)
    ignoring = fastattn.SoftmaxCrossEntropy(overwrite, ignore_label=0, label_smoothing=0.2)
    expected = padded.forward(scores, t, lengths=lengths), padded.backward(0.3)
    t[np.arange(T) >= lengths[:, None]] = 0
    scores[t == 0] = np.nan  # is not read
    np.testing.assert_allclose(ignoring.forward(scores, t), expected[0], rtol=1e-12)
    np.testing.assert_allclose(ignoring.backward(0.3), expected[1], rtol=1e-12)


def test_a_score_of_minus_infinity_rules_a_token_out(backend, rng):
    scores, t = normal(rng, N, T, V, dtype=float), rng.integers(1, V, (N, T))
    scores[:, :, 0] = -np.inf
    loss = fastattn.SoftmaxCrossEntropy()
    assert np.isfinite(loss.forward(scores, t))
    assert np.isfinite(loss.backward()).all()


@pytest.mark.parametrize(("smoothing", "error"), [(1.0, ValueError), (-0.1, ValueError), ("0.1", TypeError)])
def test_a_smoothing_out_of_range(smoothing, error):
    with pytest.raises(error, match=r"label_smoothing is .*; expected"):
        fastattn.SoftmaxCrossEntropy(label_smoothing=smoothing)
