"""The mistakes of the published notebook whose names we keep, one test each: none of them is made here."""

import numpy as np
import pytest
from helpers import normal

import fastattn

N, T1, T2, D, H, V = 3, 5, 4, 7, 11, 13


@pytest.fixture
def hs(rng):
    return normal(rng, N, T1, H, dtype=float)


@pytest.fixture
def hs_dec(rng):
    return normal(rng, N, T2, H, dtype=float)


@pytest.fixture
def lstm(rng):
    return fastattn.LSTM(
        normal(rng, D, 4 * H, dtype=float), normal(rng, H, 4 * H, dtype=float), normal(rng, 4 * H, dtype=float)
    )


def test_attention_weight_backward_does_not_use_an_undefined_name(backend, hs):
    layer = fastattn.AttentionWeight()
    layer.forward(hs, hs[:, 0])
    dhs, dh = layer.backward(np.ones((N, T1)))
    assert (dhs.shape, dh.shape) == ((N, T1, H), (N, H))


def test_attention_layer_backward_is_the_backward_of_its_two_parts(backend, hs, rng):
    layer, weight, weight_sum = fastattn.AttentionLayer(), fastattn.AttentionWeight(), fastattn.WeightSum()
    h, dc = normal(rng, N, H, dtype=float), normal(rng, N, H, dtype=float)
    np.testing.assert_array_equal(layer.forward(hs, h), weight_sum.forward(hs, weight.forward(hs, h)))
    dhs_sum, da = weight_sum.backward(dc)
    dhs_weight, dh = weight.backward(da)
    given_dhs, given_dh = layer.backward(dc)
    np.testing.assert_array_equal(given_dhs, dhs_sum + dhs_weight)
    np.testing.assert_array_equal(given_dh, dh)


def test_attention_keeps_nothing_of_an_earlier_forward(backend, hs, hs_dec):
    attention, fresh = fastattn.Attention(), fastattn.Attention()
    attention(2 * hs, np.tile(hs_dec, (1, 2, 1)))
    cs = attention(hs, hs_dec)
    np.testing.assert_array_equal(cs, fresh(hs, hs_dec))
    assert len(attention.attention_weight) == T2
    for a, b in zip(attention.backward(cs), fresh.backward(cs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_attention_can_be_called(backend, hs, hs_dec):
    attention = fastattn.Attention()
    np.testing.assert_array_equal(attention(hs, hs_dec), attention.forward(hs, hs_dec))


def test_attention_is_as_precise_as_what_it_is_given(backend, hs, hs_dec):
    attention = fastattn.Attention()
    cs = attention(hs, hs_dec)
    assert {cs.dtype, attention.attention_weight.dtype, *(g.dtype for g in attention.backward(cs))} == {np.dtype(float)}
    scores = np.einsum("nuh,nth->nut", hs_dec, hs)
    a = np.exp(scores - scores.max(axis=2, keepdims=True))
    a /= a.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(cs, a @ hs, rtol=1e-12, atol=1e-13)


def test_attention_backward_reads_the_shape_of_what_it_is_given(backend, hs, hs_dec):
    attention = fastattn.Attention()
    attention(hs, hs_dec)
    dhs_enc, dhs_dec = attention.backward(np.ones((N, T2, H)))
    assert (dhs_enc.shape, dhs_dec.shape) == (hs.shape, hs_dec.shape)


def test_the_encoder_gives_its_lstm_vectors_not_ids(backend, rng):
    encoder = fastattn.Encoder(V, D, H, seed=1)
    x = rng.integers(0, V, (N, T1))
    W, *lstm_params = encoder.params
    np.testing.assert_array_equal(encoder.forward(x), fastattn.LSTM(*lstm_params).forward(W[x]))


def test_first_weights_are_not_all_positive():
    for p in fastattn.AttentionSeq2seq(67, 37, 41, seed=1).params:
        if p.ndim == 2:
            assert abs(p.mean()) < 0.1 * p.std()
            assert 0.4 < (p > 0).mean() < 0.6


def test_the_affine_weights_fit_context_and_state():
    assert fastattn.Decoder(V, D, H).affine.params[0].shape == (2 * H, V)


def test_the_loss_is_called_as_it_is_defined(backend):
    assert fastattn.CEloss().forward(np.ones((1, 1))) == 0


def test_there_is_a_generate(backend):
    assert fastattn.AttentionSeq2seq(V, D, H, seed=1).generate(np.zeros((N, T1), int), 0, 6).shape == (N, 6)


def test_padding_is_masked(backend, rng):
    model = fastattn.AttentionSeq2seq(V, D, H, seed=1, dtype="float64")
    x, t = rng.integers(0, V, (1, T1)), rng.integers(0, V, (1, T2))
    padded = model.forward(x, t, source_lengths=[2], target_lengths=[3])
    assert padded == pytest.approx(model.forward(x[:, :2], t[:, :3]), rel=1e-12)


def test_there_is_a_switch_between_training_and_use(backend, rng):
    model = fastattn.AttentionSeq2seq(V, D, H, seed=1, dropout=0.5)
    x, t = rng.integers(0, V, (N, T1)), rng.integers(0, V, (N, T2))
    assert model.forward(x, t) != model.forward(x, t)
    model.eval()
    assert model.forward(x, t) == model.forward(x, t)


def test_stateful_is_not_inverted(backend, lstm, rng):
    xs = normal(rng, N, T1, D, dtype=float)
    first = lstm.forward(xs)
    np.testing.assert_array_equal(lstm.forward(xs), first)
    lstm.stateful = True
    lstm.reset_state()
    np.testing.assert_array_equal(lstm.forward(xs), first)
    assert not np.array_equal(lstm.forward(xs), first)


def test_lstm_keeps_nothing_of_an_earlier_sequence(backend, lstm, rng):
    xs = normal(rng, N, T1, D, dtype=float)
    hs = lstm.forward(xs)
    dxs, grads = lstm.backward(hs), [grad.copy() for grad in lstm.grads]
    lstm.forward(np.tile(xs, (1, 3, 1)))
    lstm.forward(xs)
    np.testing.assert_array_equal(lstm.backward(hs), dxs)
    for a, b in zip(lstm.grads, grads, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_gradient_of_the_loss_is_right_for_any_dloss(backend, rng):
    softmax, loss = fastattn.Softmax(), fastattn.CEloss()
    scores, t = normal(rng, N, T2, V, dtype=float), rng.integers(0, V, (N, T2))
    loss.forward(softmax.forward(scores, t))
    once = softmax.backward(loss.backward(1))
    np.testing.assert_allclose(softmax.backward(loss.backward(-2.5)), -2.5 * once, rtol=1e-12)


def test_a_probability_of_zero_gives_no_nan(backend):
    softmax, loss = fastattn.Softmax(), fastattn.CEloss()
    assert np.isfinite(loss.forward(softmax.forward(np.array([[[1e5, -1e5]]], np.float32), np.array([[1]]))))
    assert np.isfinite(softmax.backward(loss.backward())).all()
    assert np.isfinite(loss.forward(np.zeros((N, T2), np.float32)))
    assert np.isfinite(loss.backward()).all()
