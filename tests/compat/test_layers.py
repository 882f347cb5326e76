"""What is particular to the layers and functions under these names, and what they say to bad input."""

import numpy as np
import pytest

from fastattn.compat import dlfs2

N, T, D, H, V = 3, 5, 7, 11, 13
f32 = np.float32


def zeros(*shape, dtype=f32):
    return np.zeros(shape, dtype)


def lstm_weights():
    return zeros(D, 4 * H), zeros(H, 4 * H), zeros(4 * H)


def test_when_every_label_is_ignored_the_loss_is_zero_and_so_is_its_gradient(backend, rng):
    layer = dlfs2.TimeSoftmaxWithLoss()
    assert layer.forward(rng.standard_normal((N, T, V)), np.full((N, T), -1)) == 0
    dxs = layer.backward()
    assert dxs.shape == (N, T, V)
    assert not dxs.any()


def test_the_label_to_ignore_can_be_chosen(backend, rng):
    scores, labels = rng.standard_normal((N, T, V)), rng.integers(1, V, (N, T))
    labels[0] = -1
    layer, other = dlfs2.TimeSoftmaxWithLoss(), dlfs2.TimeSoftmaxWithLoss()
    other.ignore_label = 0
    assert layer.ignore_label == -1
    assert other.forward(scores, np.maximum(labels, 0)) == layer.forward(scores, labels)


def test_dropout_has_a_switch_and_follows_numpys_seed(backend):
    layer, xs = dlfs2.TimeDropout(), np.ones((N, 50, D), f32)
    assert (layer.dropout_ratio, layer.train_flg, layer.params, layer.grads) == (0.5, True, [], [])
    np.random.seed(1)  # noqa: NPY002 - it must follow it
    first, second = layer.forward(xs), layer.forward(xs)
    assert set(np.unique(first)) == {0, 2}
    assert 0.4 < (first == 0).mean() < 0.6
    assert (first != second).any()
    np.testing.assert_array_equal(layer.backward(xs), second)
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(dlfs2.TimeDropout(0.5).forward(xs), first)
    layer.train_flg = False
    np.testing.assert_array_equal(layer.forward(xs), xs)
    np.testing.assert_array_equal(layer.backward(xs), xs)


def test_making_a_dropout_layer_draws_nothing():
    np.random.seed(1)  # noqa: NPY002
    expected = np.random.randn(3)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    dlfs2.TimeDropout(0.3)
    np.testing.assert_array_equal(np.random.randn(3), expected)  # noqa: NPY002


def test_a_weight_changed_in_place_is_seen_at_the_next_forward(backend, rng):
    W, b = rng.standard_normal((H, V)), np.zeros(V)
    x = rng.standard_normal((N, T, H))
    for given in (W, np.asfortranarray(W)):
        layer = dlfs2.TimeAffine(given, b)
        assert layer.params[0] is given
        before = layer.forward(x)
        given *= 2
        np.testing.assert_allclose(layer.forward(x), 2 * before)
        given /= 2


def test_an_lstm_starts_from_a_state_that_was_set_for_it_stateful_or_not(backend, rng):
    weights = [rng.standard_normal(p.shape) for p in lstm_weights()]
    xs, h = rng.standard_normal((N, T, D)), rng.standard_normal((N, H))
    stateful, plain = dlfs2.TimeLSTM(*weights, stateful=True), dlfs2.TimeLSTM(*weights)
    stateful.set_state(h)
    plain.set_state(h)
    np.testing.assert_array_equal(stateful.forward(xs), plain.forward(xs))
    np.testing.assert_array_equal(plain.forward(xs), dlfs2.TimeLSTM(*weights).forward(xs))


@pytest.mark.parametrize("x", [[1.0, 2.0, -800.0], [[0.0, 1e4], [3.0, 3.0]], [1, 2, 3]])
def test_softmax(x):
    e = np.exp(np.asarray(x, float) - np.max(x, axis=-1, keepdims=True))
    np.testing.assert_allclose(dlfs2.softmax(np.array(x)), e / e.sum(axis=-1, keepdims=True), rtol=1e-12)


def test_sigmoid_does_not_overflow():
    x = np.array([[-1e4, -1.0, 0.0, 2.0, 1e4]])
    np.testing.assert_allclose(dlfs2.sigmoid(x), [[0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2)), 1]], rtol=1e-14)
    assert dlfs2.sigmoid(x.astype(f32)).dtype == f32
    assert dlfs2.sigmoid(np.array([0, 1])).tolist() == [0.5, pytest.approx(1 / (1 + np.exp(-1)))]


def test_cross_entropy_error(rng):
    y = dlfs2.softmax(rng.standard_normal((N, V)))
    t = np.array([0, 12, 5])
    expected = -np.log(y[np.arange(N), t] + 1e-7).mean()
    assert dlfs2.cross_entropy_error(y, t) == pytest.approx(expected, rel=1e-12)
    assert dlfs2.cross_entropy_error(y, np.eye(V)[t]) == pytest.approx(expected, rel=1e-12)
    assert dlfs2.cross_entropy_error(y[1], np.array([12])) == pytest.approx(-np.log(y[1, 12] + 1e-7), rel=1e-12)
    assert dlfs2.cross_entropy_error(y[1], np.eye(V)[12]) == pytest.approx(-np.log(y[1, 12] + 1e-7), rel=1e-12)
    assert dlfs2.cross_entropy_error(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-7))


BAD = [
    (lambda: dlfs2.TimeEmbedding(zeros(V, D)).forward([[0, V]]), IndexError, r"ids\[0, 1\] is 13; expected a token id"),
    (lambda: dlfs2.TimeEmbedding(zeros(V, D)).forward([[0, -1]]), IndexError, r"ids\[0, 1\] is -1; expected a token id"),
    (lambda: dlfs2.TimeAffine(zeros(H, V), zeros(V)).forward(zeros(N, H)), ValueError, r"x has shape \(3, 11\)"),
    (lambda: dlfs2.TimeAffine(zeros(H, V), zeros(H)), ValueError, r"b has shape \(11,\); expected \(13,\)"),
    (lambda: dlfs2.TimeLSTM(*lstm_weights()).forward(zeros(N, T, D, dtype=float)), TypeError, "xs has dtype float64"),
    (lambda: dlfs2.TimeBiLSTM(*lstm_weights() * 2).forward(zeros(N, D)), ValueError, r"xs has shape \(3, 7\)"),
    (lambda: dlfs2.TimeBiLSTM(*lstm_weights() * 2).backward(zeros(N, T, H)), ValueError, r"expected \(N, T, 22\)"),
    (lambda: dlfs2.TimeDropout(1.0), ValueError, "expected 0 <= ratio < 1"),
    (lambda: dlfs2.TimeAttention().forward(zeros(N, T, H), zeros(N, T, D)), ValueError, r"hs_dec has shape"),
    (lambda: dlfs2.TimeAttention().backward(zeros(N, T, H)), RuntimeError, "backward was called before"),
    (lambda: dlfs2.Attention().forward(zeros(N, T, H), zeros(N, D)), ValueError, r"h has shape \(3, 7\)"),
    (lambda: dlfs2.WeightSum().forward(zeros(N, T, H), zeros(N, D)), ValueError, r"a has shape \(3, 7\)"),
    (lambda: dlfs2.TimeSoftmaxWithLoss().forward(zeros(N, T, V), np.full((N, T), -2)), IndexError, r"t\[0, 0\] is -2"),
    (lambda: dlfs2.TimeSoftmaxWithLoss().forward(zeros(N, T, V), zeros(N, T, D)), ValueError, r"ts has shape \(3, 5, 7\)"),
    (lambda: dlfs2.LSTM(*lstm_weights()).forward(zeros(N, H), zeros(N, H), zeros(N, H)), ValueError, r"x has shape \(3, 11\)"),
    (lambda: dlfs2.LSTM(*lstm_weights()).forward(zeros(N, D), zeros(1, H), zeros(1, H)), ValueError, "h_prev has shape"),
    (lambda: dlfs2.LSTM(*lstm_weights()).backward(zeros(N, H), zeros(N, H)), RuntimeError, "backward was called before"),
    (lambda: dlfs2.Embedding(zeros(V, D)).forward([[1]]), ValueError, r"idx has shape \(1, 1\); expected \(N,\)"),
    (lambda: dlfs2.Embedding(zeros(V, D)).forward([V]), IndexError, "expected a token id from 0 to 12"),
    (lambda: dlfs2.softmax(zeros(N, T, V)), ValueError, r"x has shape \(3, 5, 13\)"),
    (lambda: dlfs2.cross_entropy_error(zeros(N, V), np.array([1, 2])), ValueError, r"t has shape \(1, 2\)"),
    (lambda: dlfs2.cross_entropy_error(zeros(N, V), np.array([1, 2, V])), IndexError, r"t\[0, 2\] is 13"),
]


@pytest.mark.parametrize(("call", "error", "match"), BAD)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()
