"""How the attention layers are built on one another, and what they show of themselves."""

import numpy as np
import pytest
from helpers import normal

import fastattn

N, T1, T2, H = 3, 5, 4, 11
lengths = pytest.mark.parametrize("lengths", [None, [2, 5, 1]], ids=["whole", "padded"])


@pytest.fixture
def hs_enc(rng):
    return normal(rng, N, T1, H, dtype=float)


@pytest.fixture
def hs_dec(rng):
    return normal(rng, N, T2, H, dtype=float)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@lengths
def test_attention_is_an_attention_layer_a_target_step(backend, hs_enc, hs_dec, lengths, rng):
    attention, layer = fastattn.Attention(), fastattn.AttentionLayer()
    cs, dcs = attention(hs_enc, hs_dec, source_lengths=lengths), normal(rng, N, T2, H, dtype=float)
    dhs_enc, dhs_dec = attention.backward(dcs)
    expected_dhs_enc = np.zeros_like(hs_enc)
    for t in range(T2):
        close(cs[:, t], layer.forward(hs_enc, hs_dec[:, t], lengths=lengths))
        close(attention.attention_weight[t], layer.attention_weight)
        dhs, dh = layer.backward(dcs[:, t])
        close(dhs_dec[:, t], dh)
        expected_dhs_enc += dhs
    close(dhs_enc, expected_dhs_enc)


@lengths
def test_weights_are_positive_on_real_steps_and_add_up_to_one(backend, hs_enc, hs_dec, lengths):
    attention = fastattn.Attention()
    attention(hs_enc, hs_dec, source_lengths=lengths, target_lengths=[4, 2, 1])
    for t, a in enumerate(attention.attention_weight):
        assert a.shape == (N, T1)
        running = np.array([4, 2, 1]) > t
        close(a.sum(axis=1), running)
        real = running[:, None] & (np.arange(T1) < np.array(lengths or [T1] * N)[:, None])
        np.testing.assert_array_equal(a > 0, real)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_too_large_for_exp(backend, dtype):
    layer = fastattn.AttentionLayer()
    hs = np.array([[[1000.0], [999.0], [-1000.0]]], dtype)
    layer.forward(hs, np.array([[100.0]], dtype))
    close(layer.attention_weight, [[1, 0, 0]])
    dhs, dh = layer.backward(np.ones((1, 1), dtype))
    assert np.isfinite(dhs).all()
    assert np.isfinite(dh).all()


def test_weights_that_a_caller_holds_stay_valid(backend, hs_enc, hs_dec):
    attention = fastattn.Attention()
    attention(hs_enc, hs_dec)
    held = attention.attention_weight
    before = held.copy()
    attention(2 * hs_enc, hs_dec)
    np.testing.assert_array_equal(held, before)
    assert not np.array_equal(attention.attention_weight, before)


@pytest.mark.parametrize("layer", [fastattn.Attention, fastattn.AttentionLayer])
def test_there_are_no_weights_before_a_forward(layer):
    assert layer().attention_weight is None
