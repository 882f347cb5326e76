"""Attention inside the recurrence: a step at a time it is what the layers that it is made of give."""

import numpy as np
import pytest
from helpers import check_gradients, lstm_of, normal, scaled

import fastattn

N, T1, T2, D, H, K, E, A, V = 3, 5, 4, 7, 11, 9, 15, 17, 13
SOURCE_LENGTHS, LENGTHS = [2, 5, 1], [4, 1, 3]
KINDS = ["dot", "scaled_dot", "general", "additive"]


def attention_of(rng, kind, join=False, dtype=float, H=H, E=E):
    weights = {}
    if kind == "general":
        weights = {"W": scaled(rng, E, H, dtype)}
    if kind == "additive":
        weights = {"W": scaled(rng, E, A, dtype), "W_query": scaled(rng, H, A, dtype), "v": normal(rng, A, dtype=dtype)}
    return fastattn.Attention(kind, join=join, **weights)


def width(kind):
    return E if kind in ("general", "additive") else H


def feeding_of(rng, kind="additive", layers=2, dtype=float, **options):
    lstms = [lstm_of(rng, D + K if i == 0 else H, H, dtype) for i in range(layers)]
    W = scaled(rng, width(kind) + H, K, dtype)
    return fastattn.InputFeedingLSTM(lstms, attention_of(rng, kind, dtype=dtype), W, **options)


@pytest.fixture
def xs(rng):
    return normal(rng, N, T2, D, dtype=float)


@pytest.fixture
def hs_enc(rng):
    return normal(rng, N, T1, E, dtype=float)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("residual", [False, True])
def test_it_is_its_layers_a_step_at_a_time(backend, xs, hs_enc, kind, residual, rng):
    layer = feeding_of(rng, kind, 3, residual=residual)
    hs_enc = hs_enc[:, :, : width(kind)]
    outs = layer.forward(xs, hs_enc, source_lengths=SOURCE_LENGTHS)
    attention = attention_of(rng, kind, join=True)
    for mine, its in zip(attention.params, layer.attention.params, strict=True):
        mine[...] = its
    lstms = [fastattn.LSTM(*lstm.params, stateful=True) for lstm in layer.lstms]
    out = np.zeros((N, 1, K))
    for t in range(T2):
        z = np.concatenate((xs[:, t : t + 1], out), axis=2)
        for i, lstm in enumerate(lstms):
            z = lstm.forward(z) + (z if residual and i else 0)
        joined = attention.forward(hs_enc, z, source_lengths=SOURCE_LENGTHS)
        out = np.tanh(joined @ layer.params[-1])
        np.testing.assert_allclose(outs[:, t], out[:, 0], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(layer.attention_weight[t], attention.attention_weight[0], rtol=1e-11, atol=1e-13)
    for lstm, expected in zip(layer.lstms, lstms, strict=True):
        np.testing.assert_allclose(lstm.h, expected.h, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(lstm.c, expected.c, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_with_states_and_all_that_can_be_dropped(backend, xs, hs_enc, kind, lengths, rng):
    layer = feeding_of(rng, kind, 2, residual=kind == "additive", dropout=0.4, seed=3)
    for place, lstm in enumerate(layer.lstms):
        lstm.recurrent_dropout = fastattn.Dropout(0.3, seed=2)
        lstm.recurrent_dropout.place = place
    hs_enc = np.ascontiguousarray(hs_enc[:, :, : width(kind)])
    states = [normal(rng, N, H, dtype=float) for _ in range(4)]
    douts, dh_last, dc_last = (normal(rng, *shape, dtype=float) for shape in ((N, T2, K), (2, N, H), (2, N, H)))

    def value():
        for dropout in (*layer.dropouts, *(lstm.recurrent_dropout for lstm in layer.lstms)):
            dropout.step = 4
        for lstm, h, c in zip(layer.lstms, states[::2], states[1::2], strict=True):
            lstm.set_state(h, c)
        total = np.sum(douts * layer.forward(xs, hs_enc, lengths=lengths, source_lengths=SOURCE_LENGTHS))
        for lstm, dh, dc in zip(layer.lstms, dh_last, dc_last, strict=True):
            total += np.sum(dh * lstm.h) + np.sum(dc * lstm.c)
        return float(total)

    value()
    dxs, dhs_enc = layer.backward(douts, dh_last=dh_last, dc_last=dc_last)
    dstates = [d for lstm in layer.lstms for d in (lstm.dh, lstm.dc)]
    check_gradients(value, [xs, hs_enc, *states, *layer.params], [dxs, dhs_enc, *dstates, *layer.grads], rng)


@pytest.mark.parametrize("V", [2, 40], ids=["few tokens", "many tokens"])
def test_with_an_embedding_as_one(backend, hs_enc, V, rng):
    layer, embedding = feeding_of(rng), fastattn.Embedding(normal(rng, V, D, dtype=float))
    as_one = fastattn.EmbeddingLSTM(embedding, layer)
    ids, douts = rng.integers(0, V, (N, T2)), normal(rng, N, T2, K, dtype=float)
    lengths = {"lengths": LENGTHS, "source_lengths": SOURCE_LENGTHS}
    outs = as_one.forward(ids, hs_enc, **lengths)
    weight, dhs_enc = layer.attention_weight, as_one.backward(douts)
    grads = [grad.copy() for grad in as_one.grads]
    expected = layer.forward(embedding.forward(ids, lengths=LENGTHS), hs_enc, **lengths)
    dxs, expected_dhs_enc = layer.backward(douts)
    embedding.backward(dxs)
    pairs = [(outs, expected), (weight, layer.attention_weight), (dhs_enc, expected_dhs_enc)]
    for a, b in [*pairs, *zip(grads, embedding.grads + layer.grads, strict=True)]:
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    as_one.forward(ids, hs_enc)
    with pytest.raises(RuntimeError, match=r"InputFeedingLSTM\.backward was called before InputFeedingLSTM\.forward"):
        layer.backward(douts)


def test_what_is_dropped_between_layers(backend, xs, hs_enc, rng):
    """The masks are those of `Dropout` with the same seed, step and place, for the whole of (N, T2, H)."""
    layer = feeding_of(rng, layers=2, dropout=0.4, seed=3)
    layer.lstms[1].params[0][...] = 0  # so that the second layer sees nothing of the first but by the residual connection
    layer.lstms[1].params[1][...] = 0
    layer.residual = True
    layer.attentional.params[0][: E + H] = np.vstack([np.zeros((E, K)), 0.1 * np.eye(H, K)])
    outs = layer.forward(xs, hs_enc)
    b = layer.lstms[1].params[2]
    layer.dropouts[0].step = 0
    mask = fastattn.Dropout(0.4, seed=3).forward(np.ones((N, T2, H)))[:, :, :K]
    assert 0 < (mask == 0).sum() < mask.size
    # Where all of the first layer is dropped, what is left are the states of the second, which know the bias alone.
    lstm = fastattn.LSTM(np.zeros((1, 4 * H)), np.zeros((H, 4 * H)), b)
    alone = np.tanh(0.1 * lstm.forward(np.zeros((N, T2, 1))))[:, :, :K]
    np.testing.assert_array_equal(np.isclose(outs, alone, rtol=1e-12, atol=0), mask == 0)


def test_the_parts_keep_nothing_of_their_own(backend, xs, hs_enc, rng):
    layer = feeding_of(rng, layers=1)
    hs_dec = layer.lstms[0].forward(np.zeros((N, T2, D + K)))
    cs = layer.attention.forward(hs_enc, hs_dec)
    layer.forward(xs, hs_enc)
    with pytest.raises(RuntimeError, match=r"^LSTM\.backward was called before LSTM\.forward"):
        layer.lstms[0].backward(hs_dec)
    with pytest.raises(RuntimeError, match=r"^Attention\.backward was called before Attention\.forward"):
        layer.attention.backward(cs)


def test_weights_that_a_caller_holds_stay_valid(backend, xs, hs_enc, rng):
    layer = feeding_of(rng)
    assert layer.attention_weight is None
    layer.forward(xs, hs_enc)
    held = layer.attention_weight
    assert held.shape == (T2, N, T1)
    before = held.copy()
    layer.forward(xs, -hs_enc)
    np.testing.assert_array_equal(held, before)
    assert not np.array_equal(layer.attention_weight, before)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda rng: ([], attention_of(rng, "dot"), np.ones((2 * H, K))), ValueError, "lstms is empty"),
        (
            lambda rng: ([fastattn.Tanh()], attention_of(rng, "dot"), np.ones((2 * H, K))),
            TypeError,
            r"lstms\[0\] is Tanh; expected an LSTM",
        ),
        (
            lambda rng: ([lstm_of(rng, H, H, float)] * 2, attention_of(rng, "dot"), np.ones((2 * H, K))),
            ValueError,
            "lstms holds an LSTM twice",
        ),
        (
            lambda rng: ([lstm_of(rng, D + K, H, float)], fastattn.Tanh(), np.ones((2 * H, K))),
            TypeError,
            "attention is Tanh; expected an Attention",
        ),
        (
            lambda rng: ([lstm_of(rng, K, H, float)], attention_of(rng, "dot"), np.ones((2 * H, K))),
            ValueError,
            r"Wx of lstms\[0\] has 9 rows; expected more than 9, the columns of W",
        ),
        (
            lambda rng: (
                [lstm_of(rng, D + K, H, float), lstm_of(rng, D, H, float)],
                attention_of(rng, "dot"),
                np.ones((2 * H, K)),
            ),
            ValueError,
            r"Wx and Wh of lstms\[1\] have shapes \(7, 44\) and \(11, 44\); expected \(11, 44\)",
        ),
        (
            lambda rng: ([lstm_of(rng, D + K, H, float)], attention_of(rng, "dot"), np.ones((H, K))),
            ValueError,
            "W has 11 rows; expected more than 11",
        ),
        (
            lambda rng: ([lstm_of(rng, D + K, H, float)], attention_of(rng, "dot"), np.ones((E + H, K))),
            ValueError,
            "the states are 11 wide; expected 15, as attention of kind 'dot' scores them against source states 15 wide",
        ),
        (
            lambda rng: ([lstm_of(rng, D + K, H, float)], attention_of(rng, "general"), np.ones((E + H + 1, K))),
            ValueError,
            "W has 27 rows; expected 26: the source states of the attention are 15 wide, the states 11",
        ),
        (
            lambda rng: ([lstm_of(rng, D + K, H, float)], attention_of(rng, "additive", H=H + 1), np.ones((E + H, K))),
            ValueError,
            "the states are 11 wide; expected 12, as attention of kind 'additive'",
        ),
        (
            lambda rng: ([lstm_of(rng, D + K, H, float)], attention_of(rng, "dot"), np.ones((2 * H, K), np.float32)),
            TypeError,
            "W has dtype float32; expected float64",
        ),
        (
            lambda rng: (
                [lstm_of(rng, D + K, H, float)],
                attention_of(rng, "general", dtype=np.float32),
                np.ones((E + H, K)),
            ),
            TypeError,
            "attention has dtype float32; expected float64",
        ),
    ],
)
def test_parts_that_do_not_fit(make, error, match, rng):
    with pytest.raises(error, match=match):
        fastattn.InputFeedingLSTM(*make(rng))


def test_what_forward_and_backward_are_given_is_checked(backend, xs, hs_enc, rng):
    layer = feeding_of(rng)
    for inputs, error, match in (
        ((xs[:, :, :3], hs_enc), ValueError, r"xs has shape \(3, 4, 3\); expected \(N, T2, 7\)"),
        ((xs, hs_enc[:2]), ValueError, r"hs_enc has shape \(2, 5, 15\); expected \(3, T1, 15\)"),
        ((xs, hs_enc[:, :, :2]), ValueError, r"hs_enc has shape \(3, 5, 2\); expected \(3, T1, 15\)"),
        ((xs, hs_enc.astype("f")), TypeError, "hs_enc has dtype float32; expected float64"),
        ((xs, None), TypeError, "hs_enc is None; expected the states to attend to"),
    ):
        with pytest.raises(error, match=match):
            layer.forward(*inputs)
    layer.forward(xs, hs_enc)
    with pytest.raises(ValueError, match=r"dc_last has shape \(1, 3, 11\); expected \(2, 3, 11\)"):
        layer.backward(np.zeros((N, T2, K)), dc_last=np.zeros((1, N, H)))
    layer.dropouts = [fastattn.Dropout(0.1), fastattn.Dropout(0.2)]
    with pytest.raises(ValueError, match="dropouts differ in their ratios"):
        layer.forward(xs, hs_enc)


def test_only_what_attends_takes_a_source(rng):
    embedding = fastattn.Embedding(normal(rng, V, D, dtype=float))
    ids = rng.integers(0, V, (N, T2))
    with pytest.raises(TypeError, match="LSTM attends to nothing; expected neither hs_enc nor source_lengths"):
        fastattn.EmbeddingLSTM(embedding, lstm_of(rng, D, H, float)).forward(ids, np.zeros((N, T1, E)))
    with pytest.raises(TypeError, match="hs_enc is None"):
        fastattn.EmbeddingLSTM(embedding, feeding_of(rng)).forward(ids)
    with pytest.raises(TypeError, match="lstm is Tanh; expected a recurrent layer"):
        fastattn.EmbeddingLSTM(embedding, fastattn.Tanh())
