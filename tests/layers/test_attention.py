"""How the attention layers are built on one another, and what they show of themselves."""

import numpy as np
import pytest
from helpers import attention, normal

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


SIZES = {"H": H, "E": 15, "A": 17}


def scores(attention, hs_enc, hs_dec):
    """(N, T2, T1), by the formulas of the papers."""
    by_kind = {
        "dot": lambda h, h_s: h @ h_s,
        "scaled_dot": lambda h, h_s: h @ h_s / np.sqrt(H),
        "general": lambda h, h_s: h @ (h_s @ attention.W),
        "additive": lambda h, h_s: attention.v @ np.tanh(h_s @ attention.W + h @ attention.W_query),
    }[attention.kind]
    return np.array([[[by_kind(h, h_s) for h_s in hs] for h in hd] for hs, hd in zip(hs_enc, hs_dec)])


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("kind", ["dot", "scaled_dot", "general", "additive"])
def test_each_kind_is_what_its_paper_says(backend, hs_dec, kind, join, rng):
    layer = attention(kind, join=join)(rng, SIZES, float)
    hs_enc = normal(rng, N, T1, 15 if layer.params else H, dtype=float)
    cs = layer(hs_enc, hs_dec, source_lengths=[2, 5, 1])
    s = scores(layer, hs_enc, hs_dec)
    s[np.broadcast_to(np.arange(T1) >= np.array([2, 5, 1])[:, None, None], s.shape)] = -np.inf
    a = np.exp(s) / np.exp(s).sum(axis=2, keepdims=True)
    close(layer.attention_weight, a.transpose(1, 0, 2))
    contexts = a @ hs_enc
    close(cs, np.concatenate((contexts, hs_dec), axis=2) if join else contexts)


def test_weights_are_asked_for_by_name(rng):
    for kind, names in (("dot", ()), ("scaled_dot", ()), ("general", ("W",)), ("additive", ("W", "W_query", "v"))):
        layer = attention(kind)(rng, SIZES, float)
        assert len(layer.params) == len(layer.grads) == len(names)
        for name in ("W", "W_query", "v"):
            weight = getattr(layer, name)
            assert (weight is layer.params[names.index(name)]) if name in names else weight is None


def test_the_first_argument_was_once_join():
    for layer in (fastattn.Attention(True), fastattn.Attention(join=True), fastattn.Attention("dot", join=True)):
        assert (layer.kind, layer.join) == ("dot", True)
    assert not fastattn.Attention(False).join


W, W_QUERY, v = np.ones((15, 17)), np.ones((H, 17)), np.ones(17)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        (("cosine",), {}, ValueError, r"kind is 'cosine'; expected one of 'dot', 'scaled_dot', 'general', 'additive'"),
        ((None,), {}, ValueError, "kind is None; expected one of 'dot'"),
        (([],), {}, ValueError, r"kind is \[\]; expected one of 'dot'"),
        ((), {"W": W}, ValueError, "W is given; expected no weights for kind 'dot'"),
        (("general",), {}, ValueError, "W is None; expected W for kind 'general'"),
        (("general",), {"W": W, "v": v}, ValueError, "v is given; expected W for kind 'general'"),
        (
            ("additive",),
            {"W": W, "v": v},
            ValueError,
            "W_query is None; expected W and W_query and v for kind 'additive'",
        ),
        (("general",), {"W": v}, ValueError, r"W has shape \(17,\); expected \(E, H\)"),
        (("general",), {"W": W.astype(int)}, TypeError, "W has dtype int64; expected float32 or float64"),
        (
            ("additive",),
            {"W": W, "W_query": W_QUERY[:, :3], "v": v},
            ValueError,
            r"W_query has shape \(11, 3\); expected \(H, 17\)",
        ),
        (
            ("additive",),
            {"W": W, "W_query": W_QUERY, "v": v[:3]},
            ValueError,
            r"v has shape \(3,\); expected \(17,\)",
        ),
        (
            ("additive",),
            {"W": W, "W_query": W_QUERY, "v": v.astype("f")},
            TypeError,
            "v has dtype float32; expected float64",
        ),
    ],
)
def test_kinds_and_weights_that_do_not_fit(arguments, options, error, match):
    with pytest.raises(error, match=match):
        fastattn.Attention(*arguments, **options)


def test_states_of_another_width_than_the_weights(backend, rng):
    general, additive = attention("general")(rng, SIZES, float), attention("additive")(rng, SIZES, float)
    hs_enc, hs_dec = normal(rng, N, T1, 15, dtype=float), normal(rng, N, T2, H, dtype=float)
    for layer in (general, additive):
        with pytest.raises(ValueError, match=r"hs_enc has shape \(3, 5, 14\); expected \(N, T1, 15\)"):
            layer(hs_enc[:, :, 1:], hs_dec)
        with pytest.raises(ValueError, match=r"hs_dec has shape \(3, 4, 10\); expected \(3, T2, 11\)"):
            layer(hs_enc, hs_dec[:, :, 1:])
        with pytest.raises(TypeError, match="hs_enc has dtype float32; expected float64"):
            layer(hs_enc.astype("f"), hs_dec)


@pytest.mark.parametrize("kind", ["general", "additive"])
def test_one_array_may_be_source_and_target(backend, kind, rng):
    """Then a kernel might take the states for the queries, or the values for the keys, by their being one object."""
    square = {"H": H, "E": H, "A": H}
    layer, same = attention(kind, join=True)(rng, square, float), normal(rng, N, T1, H, dtype=float)
    dcs = normal(rng, N, T1, 2 * H, dtype=float)
    results = []
    for hs_dec in (same, same.copy()):
        results.append([layer(same, hs_dec), *layer.backward(dcs), *(grad.copy() for grad in layer.grads)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
