"""The state of an LSTM: how it starts, how it is carried, and its gradients."""

import numpy as np
import pytest
from helpers import check_gradients, normal

import fastattn

N, T, D, H = 3, 5, 7, 11


@pytest.fixture
def weights(rng):
    return (
        normal(rng, D, 4 * H, dtype=float) / 3,
        normal(rng, H, 4 * H, dtype=float) / 3,
        normal(rng, 4 * H, dtype=float),
    )


@pytest.fixture
def xs(rng):
    return normal(rng, N, T, D, dtype=float)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_two_stateful_halves_are_the_whole(backend, weights, xs):
    whole, halves = fastattn.LSTM(*weights), fastattn.LSTM(*weights, stateful=True)
    expected = whole.forward(xs)
    close(halves.forward(xs[:, :2]), expected[:, :2])
    close(halves.forward(xs[:, 2:]), expected[:, 2:])
    close(halves.h, expected[:, -1])
    close(halves.c, whole.c)


def test_without_stateful_every_forward_starts_from_zeros(backend, weights, xs):
    lstm = fastattn.LSTM(*weights)
    first = lstm.forward(xs)
    np.testing.assert_array_equal(lstm.forward(xs), first)


def test_reset_state_forgets(backend, weights, xs):
    lstm = fastattn.LSTM(*weights, stateful=True)
    first = lstm.forward(xs)
    assert not np.array_equal(lstm.forward(xs), first)
    lstm.reset_state()
    assert lstm.h is None
    assert lstm.c is None
    np.testing.assert_array_equal(lstm.forward(xs), first)


@pytest.mark.parametrize("stateful", [False, True])
def test_set_state_is_where_the_next_forward_starts(backend, weights, xs, stateful):
    whole, lstm = fastattn.LSTM(*weights), fastattn.LSTM(*weights, stateful=stateful)
    whole.forward(xs[:, :2])
    h, c = whole.h, whole.c
    expected = whole.forward(xs)[:, 2:]
    from_zeros = lstm.forward(xs[:, 2:])
    lstm.set_state(h, c)
    np.testing.assert_array_equal(lstm.h, h)
    close(lstm.forward(xs[:, 2:]), expected)
    after = lstm.forward(xs[:, 2:])
    assert np.array_equal(after, from_zeros) == (not stateful)


def test_set_state_without_a_cell_state_has_one_of_zeros(backend, weights, xs, rng):
    lstm = fastattn.LSTM(*weights)
    h = normal(rng, N, H, dtype=float)
    lstm.set_state(h)
    first = lstm.forward(xs)
    lstm.set_state(h, np.zeros((N, H)))
    np.testing.assert_array_equal(lstm.forward(xs), first)


def test_the_state_is_that_of_the_last_real_step(backend, weights, xs):
    lstm, lengths = fastattn.LSTM(*weights), [2, 5, 1]
    hs = lstm.forward(xs, lengths=lengths)
    for n, length in enumerate(lengths):
        close(lstm.h[n], hs[n, length - 1])
        assert not hs[n, length:].any()
    c = lstm.c
    for n, length in enumerate(lengths):
        lstm.forward(xs[n : n + 1, :length])
        close(lstm.c[0], c[n])


def test_no_caller_can_reach_the_state(backend, weights, xs, rng):
    lstm = fastattn.LSTM(*weights, stateful=True)
    h, c = normal(rng, N, H, dtype=float), normal(rng, N, H, dtype=float)
    lstm.set_state(h, c)
    expected_first, expected_second = lstm.forward(xs), lstm.forward(xs)
    lstm.set_state(h, c)
    h[...] = c[...] = np.nan
    np.testing.assert_array_equal(lstm.forward(xs), expected_first)
    lstm.h[...] = lstm.c[...] = np.nan
    np.testing.assert_array_equal(lstm.forward(xs), expected_second)


@pytest.mark.parametrize("lengths", [None, [2, 5, 1]], ids=["whole", "padded"])
def test_gradients_through_both_ends_of_the_state(backend, weights, xs, lengths, rng):
    lstm = fastattn.LSTM(*weights)
    h0, c0, dh_last, dc_last = (normal(rng, N, H, dtype=float) for _ in range(4))
    dhs = normal(rng, N, T, H, dtype=float)

    def value():
        lstm.set_state(h0, c0)
        hs = lstm.forward(xs, lengths=lengths)
        return float(np.sum(dhs * hs) + np.sum(dh_last * lstm.h) + np.sum(dc_last * lstm.c))

    value()
    dxs = lstm.backward(dhs, dh_last=dh_last, dc_last=dc_last)
    check_gradients(value, [xs, h0, c0, *lstm.params], [dxs, lstm.dh, lstm.dc, *lstm.grads], rng)


def test_gradients_of_the_last_state_are_zeros_by_default(backend, weights, xs, rng):
    lstm = fastattn.LSTM(*weights)
    dhs = normal(rng, N, T, H, dtype=float)
    lstm.forward(xs)
    expected = lstm.backward(dhs, dh_last=np.zeros((N, H)), dc_last=np.zeros((N, H)))
    lstm.forward(xs)
    np.testing.assert_array_equal(lstm.backward(dhs), expected)


@pytest.mark.parametrize("lengths", [None, [2, 5, 1]], ids=["whole", "padded"])
def test_recurrent_dropout(backend, weights, xs, lengths, rng):
    """One mask for all steps of a forward, on h of the step before where Wh reads it; h itself is given on whole."""
    Wx, Wh, b = weights
    lstm = fastattn.LSTM(*weights)
    lstm.recurrent_dropout = fastattn.Dropout(0.4, seed=1)
    mask = fastattn.Dropout(0.4, seed=1).mask(N, H, np.dtype(float))
    h0, c0, dh_last = (normal(rng, N, H, dtype=float) for _ in range(3))
    dhs = normal(rng, N, T, H, dtype=float)
    lstm.set_state(h0, c0)
    hs = lstm.forward(xs, lengths=lengths)
    assert lstm.recurrent_dropout.step == 1
    for n, length in enumerate(lengths or [T] * N):
        one = fastattn.LSTM(Wx, mask[n][:, None] * Wh, b)
        one.set_state(h0[n : n + 1], c0[n : n + 1])
        close(hs[n : n + 1, :length], one.forward(xs[n : n + 1, :length]))
        close(lstm.h[n], one.h[0])

    def value():
        lstm.recurrent_dropout.step = 0
        lstm.set_state(h0, c0)
        hs = lstm.forward(xs, lengths=lengths)
        return float(np.sum(dhs * hs) + np.sum(dh_last * lstm.h))

    dxs = lstm.backward(dhs, dh_last=dh_last)
    check_gradients(value, [xs, h0, c0, *lstm.params], [dxs, lstm.dh, lstm.dc, *lstm.grads], rng)


def test_recurrent_dropout_is_for_training_and_new_for_each_forward(backend, weights, xs):
    lstm, plain = fastattn.LSTM(*weights), fastattn.LSTM(*weights)
    lstm.recurrent_dropout = fastattn.Dropout(0.4, seed=1)
    first, second = lstm.forward(xs), lstm.forward(xs)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first[:, 0], second[:, 0])  # of the first step there is no h to drop
    lstm.recurrent_dropout.training = False
    np.testing.assert_array_equal(lstm.forward(xs), plain.forward(xs))
    lstm.recurrent_dropout = None
    with pytest.raises(TypeError, match=r"recurrent_dropout is 0\.4; expected a Dropout, or None"):
        lstm.recurrent_dropout = 0.4
    assert lstm.recurrent_dropout is None


def test_gates_that_saturate_overflow_nowhere(backend, weights, xs):
    Wx, Wh, b = weights
    lstm = fastattn.LSTM(1e4 * Wx, Wh, b)
    hs = lstm.forward(xs)
    assert np.isfinite(hs).all()
    assert np.isfinite(lstm.backward(np.ones_like(hs))).all()


def test_another_batch_size_than_that_of_the_state(backend, weights, xs):
    lstm = fastattn.LSTM(*weights, stateful=True)
    lstm.forward(xs)
    with pytest.raises(ValueError, match=r"xs has a batch of 2, but the state .* a batch of 3.*reset_state"):
        lstm.forward(xs[:2])
    lstm.reset_state()
    lstm.forward(xs[:2])


def test_the_state_is_checked_when_it_is_set(backend, weights):
    lstm = fastattn.LSTM(*weights)
    with pytest.raises(ValueError, match=r"h has shape \(3, 12\); expected \(N, 11\)"):
        lstm.set_state(np.zeros((3, 12)))
    with pytest.raises(TypeError, match=r"h has dtype float32; expected float64"):
        lstm.set_state(np.zeros((3, 11), np.float32))
    with pytest.raises(ValueError, match=r"c has shape \(2, 11\); expected \(3, 11\)"):
        lstm.set_state(np.zeros((3, 11)), np.zeros((2, 11)))


@pytest.mark.parametrize("V", [2, 40], ids=["few tokens", "many tokens"])
def test_an_embedding_and_an_lstm_as_one(backend, weights, rng, V):
    """The same states and gradients as of the two layers, with a state that is set and carried; and zeros as a state."""
    W = normal(rng, V, D, dtype=float)
    ids, dhs, h = rng.integers(0, V, (N, T)), normal(rng, N, T, H, dtype=float), normal(rng, N, H, dtype=float)
    embedding, lstm = fastattn.Embedding(W), fastattn.LSTM(*weights, stateful=True)
    other = fastattn.EmbeddingLSTM(fastattn.Embedding(W), fastattn.LSTM(*weights, stateful=True))
    for start in (None, h, "carried"):
        if isinstance(start, np.ndarray):
            lstm.set_state(start)
            other.lstm.set_state(start)
        lengths = [2, 5, 1]
        close(other.forward(ids, lengths=lengths), lstm.forward(embedding.forward(ids, lengths=lengths), lengths=lengths))
        close(other.lstm.h, lstm.h)
        close(other.lstm.c, lstm.c)
        embedding.backward(lstm.backward(dhs))
        other.backward(dhs)
        for grad, expected in zip(other.grads, embedding.grads + lstm.grads, strict=True):
            close(grad, expected)
        if start is None:
            assert other.lstm.dh is None
            assert other.lstm.dc is None
        else:
            close(other.lstm.dh, lstm.dh)
            close(other.lstm.dc, lstm.dc)
    with pytest.raises(RuntimeError, match=r"EmbeddingLSTM.backward was called a second time"):
        other.backward(dhs)


def test_a_token_that_does_not_occur_has_a_gradient_of_zero(backend, weights, rng):
    layer = fastattn.EmbeddingLSTM(fastattn.Embedding(normal(rng, 4, D, dtype=float)), fastattn.LSTM(*weights))
    layer.embedding.grads[0][...] = np.nan
    layer.forward(np.where(rng.integers(0, 2, (N, T)), 3, 1))
    layer.backward(normal(rng, N, T, H, dtype=float))
    assert not layer.embedding.grads[0][[0, 2]].any()
    assert layer.embedding.grads[0][[1, 3]].all()


def test_an_embedding_and_an_lstm_that_do_not_fit_together(weights, rng):
    lstm = fastattn.LSTM(*weights)
    for given in (None, np.zeros((4, D)), fastattn.Affine(np.zeros((4, D)))):
        with pytest.raises(TypeError, match=f"embedding is {type(given).__name__}; expected an Embedding"):
            fastattn.EmbeddingLSTM(given, lstm)
    with pytest.raises(ValueError, match=f"the embedding's vectors are {D + 1} wide; expected {D}"):
        fastattn.EmbeddingLSTM(fastattn.Embedding(normal(rng, 4, D + 1, dtype=float)), lstm)
    with pytest.raises(TypeError, match="the embedding has dtype float32; expected float64"):
        fastattn.EmbeddingLSTM(fastattn.Embedding(normal(rng, 4, D, dtype=np.float32)), lstm)
    layer = fastattn.EmbeddingLSTM(fastattn.Embedding(normal(rng, 4, D, dtype=float)), lstm)
    lstm.set_state(np.zeros((N + 1, H)))
    with pytest.raises(ValueError, match=f"ids has a batch of {N}, but the state to start from has a batch of {N + 1}"):
        layer.forward(np.zeros((N, T), int))


def test_weights_of_another_kind_are_refused_before_any_kernel(backend, weights, rng):
    embedding, lstm = fastattn.Embedding(normal(rng, 4, D, dtype=float)), fastattn.LSTM(*weights)
    layer = fastattn.EmbeddingLSTM(embedding, lstm)
    ids = rng.integers(0, 4, (N, T))
    embedding.params[0], embedding.grads[0] = np.zeros((4, 2)), np.zeros((4, 2))
    with pytest.raises(ValueError, match=f"the embedding's vectors are 2 wide; expected {D}"):
        layer.forward(ids)
    embedding.params[0], embedding.grads[0] = np.zeros((4, D), "f"), np.zeros((4, D), "f")
    with pytest.raises(TypeError, match="the embedding has dtype float32; expected float64"):
        layer.forward(ids)


def test_after_a_forward_as_one_the_layers_have_none_of_their_own(backend, weights, rng):
    embedding, lstm = fastattn.Embedding(normal(rng, 4, D, dtype=float)), fastattn.LSTM(*weights)
    ids = rng.integers(0, 4, (N, T))
    hs = lstm.forward(embedding.forward(ids))
    fastattn.EmbeddingLSTM(embedding, lstm).forward(ids)
    with pytest.raises(RuntimeError, match=r"LSTM\.backward was called before LSTM\.forward"):
        lstm.backward(hs)
    with pytest.raises(RuntimeError, match=r"Embedding\.backward was called before Embedding\.forward"):
        embedding.backward(np.zeros((N, T, D)))


def test_a_vector_that_no_id_uses_may_hold_anything(backend, weights, rng):
    W = normal(rng, 3, D, dtype=float)
    W[1] = np.nan
    layer = fastattn.EmbeddingLSTM(fastattn.Embedding(W), fastattn.LSTM(*weights))
    layer.forward(2 * rng.integers(0, 2, (N, T)))
    layer.backward(normal(rng, N, T, H, dtype=float))
    assert all(np.isfinite(grad).all() for grad in layer.grads)
