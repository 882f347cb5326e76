"""Both directions at once: the second is the first on the turned sequence, with states and gradients of its own."""

import numpy as np
import pytest
from helpers import bilstm_of, check_gradients, lstm_of, normal

import fastattn

N, T, D, H = 3, 5, 7, 11
LENGTHS = [2, 5, 1]
lengths = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])


@pytest.fixture
def bilstm(rng):
    return bilstm_of(rng, D, H, float)


@pytest.fixture
def xs(rng):
    return normal(rng, N, T, D, dtype=float)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@lengths
def test_the_second_direction_is_an_lstm_on_the_turned_sequence(backend, bilstm, xs, lengths, rng):
    hs, dhs = bilstm.forward(xs, lengths=lengths), normal(rng, N, T, 2 * H, dtype=float)
    dxs = bilstm.backward(dhs)
    forward, backward = (fastattn.LSTM(*lstm.params) for lstm in bilstm.lstms)
    close(hs[:, :, :H], forward.forward(xs, lengths=lengths))
    expected_dxs = forward.backward(dhs[:, :, :H])
    sums = [np.zeros_like(grad) for grad in backward.grads]
    for n, length in enumerate(lengths or [T] * N):
        turned = backward.forward(xs[n : n + 1, :length][:, ::-1])
        close(hs[n, :length, H:], turned[0, ::-1])
        close(bilstm.backward_lstm.h[n], backward.h[0])
        close(bilstm.backward_lstm.c[n], backward.c[0])
        close(bilstm.backward_lstm.h[n], hs[n, 0, H:])  # it ends at the first step
        expected_dxs[n, :length] += backward.backward(dhs[n : n + 1, :length, H:][:, ::-1])[0, ::-1]
        for total, grad in zip(sums, backward.grads, strict=True):
            total += grad
    close(dxs, expected_dxs)
    for grad, expected in zip(bilstm.grads, forward.grads + sums, strict=True):
        close(grad, expected)


@lengths
@pytest.mark.parametrize("dropped", [0, 0.4])
def test_gradients_through_both_ends_of_both_states(backend, bilstm, xs, lengths, dropped, rng):
    dhs, dh_last, dc_last = (normal(rng, *shape, dtype=float) for shape in ((N, T, 2 * H), (2, N, H), (2, N, H)))
    states = [normal(rng, N, H, dtype=float) for _ in range(4)]

    def value():
        for place, (lstm, h, c) in enumerate(zip(bilstm.lstms, states[::2], states[1::2], strict=True)):
            lstm.set_state(h, c)
            lstm.recurrent_dropout = fastattn.Dropout(dropped, seed=7)
            lstm.recurrent_dropout.place = place
        hs = bilstm.forward(xs, lengths=lengths)
        last = sum(np.sum(d * lstm.h) for d, lstm in zip(dh_last, bilstm.lstms))
        last += sum(np.sum(d * lstm.c) for d, lstm in zip(dc_last, bilstm.lstms))
        return float(np.sum(dhs * hs) + last)

    value()
    dxs = bilstm.backward(dhs, dh_last=list(dh_last), dc_last=dc_last)
    dstates = [d for lstm in bilstm.lstms for d in (lstm.dh, lstm.dc)]
    check_gradients(value, [xs, *states, *bilstm.params], [dxs, *dstates, *bilstm.grads], rng)


def test_one_direction_may_start_from_a_state_and_the_other_from_zeros(backend, bilstm, xs, rng):
    h = normal(rng, N, H, dtype=float)
    from_zeros = bilstm.forward(xs)
    bilstm.backward_lstm.set_state(h)
    hs = bilstm.forward(xs)
    close(hs[:, :, :H], from_zeros[:, :, :H])
    assert not np.array_equal(hs[:, :, H:], from_zeros[:, :, H:])
    bilstm.backward_lstm.set_state(h, np.zeros((N, H)))
    bilstm.forward_lstm.set_state(np.zeros((N, H)))
    np.testing.assert_array_equal(bilstm.forward(xs), hs)
    np.testing.assert_array_equal(bilstm.forward(xs), from_zeros)


def test_the_lstms_keep_nothing_of_their_own(backend, bilstm, xs):
    hs = bilstm.forward_lstm.forward(xs)
    bilstm.forward(xs)
    with pytest.raises(RuntimeError, match=r"^LSTM\.backward was called before LSTM\.forward"):
        bilstm.forward_lstm.backward(hs)


@pytest.mark.parametrize("V", [2, 40], ids=["few tokens", "many tokens"])
@pytest.mark.parametrize("dropped", [0, 0.4])
def test_with_an_embedding_as_one(backend, bilstm, V, dropped, rng):
    embedding = fastattn.Embedding(normal(rng, V, D, dtype=float))
    ids, dhs = rng.integers(0, V, (N, T)), normal(rng, N, T, 2 * H, dtype=float)
    dlast = {"dh_last": normal(rng, 2, N, H, dtype=float), "dc_last": normal(rng, 2, N, H, dtype=float)}
    dropouts = [fastattn.Dropout(dropped, seed=1) for _ in bilstm.lstms]
    for lstm, dropout in zip(bilstm.lstms, dropouts, strict=True):
        lstm.recurrent_dropout = dropout
    as_one = fastattn.EmbeddingLSTM(embedding, bilstm)
    for start in (None, normal(rng, N, H, dtype=float)):
        results = []
        for together in (True, False):
            for lstm, dropout in zip(bilstm.lstms, dropouts, strict=True):
                dropout.step = 3
                if start is not None:
                    lstm.set_state(start, -start)
            if together:
                hs = as_one.forward(ids, lengths=LENGTHS)
                assert as_one.backward(dhs, **dlast) is None
            else:
                hs = bilstm.forward(embedding.forward(ids, lengths=LENGTHS), lengths=LENGTHS)
                embedding.backward(bilstm.backward(dhs, **dlast))
            states = [state for lstm in bilstm.lstms for state in (lstm.h, lstm.c)]
            dstates = [state for lstm in bilstm.lstms for state in (lstm.dh, lstm.dc)]
            if start is None:
                assert all((d is None) == together for d in dstates)
                dstates = []
            results.append([hs, *states, *dstates, *(grad.copy() for grad in as_one.grads)])
        for a, b in zip(*results, strict=True):
            close(a, b)


def test_two_lstms_that_do_not_fit(rng):
    lstm = lstm_of(rng, D, H, float)
    for other, error, match in (
        (lstm_of(rng, D + 1, H, float), ValueError, r"Wx of backward_lstm has shape \(8, 44\); expected \(7, 44\)"),
        (lstm_of(rng, D, H + 1, float), ValueError, r"Wx of backward_lstm has shape \(7, 48\); expected \(7, 44\)"),
        (lstm_of(rng, D, H, np.float32), TypeError, "backward_lstm has dtype float32; expected float64"),
        (lstm, ValueError, "forward_lstm and backward_lstm are one LSTM"),
        (fastattn.SoftmaxLayer(), TypeError, "backward_lstm is SoftmaxLayer; expected an LSTM"),
    ):
        with pytest.raises(error, match=match):
            fastattn.BiLSTM(lstm, other)


def test_another_batch_size_than_that_of_a_state(backend, bilstm, xs):
    bilstm.backward_lstm.set_state(np.zeros((N + 1, H)))
    with pytest.raises(ValueError, match=rf"xs has a batch of {N}, but the state .* a batch of {N + 1}"):
        bilstm.forward(xs)


@pytest.mark.parametrize("name", ["dh_last", "dc_last"])
def test_gradients_of_the_last_states_are_checked(backend, bilstm, xs, name):
    bilstm.forward(xs)
    for given, error, match in (
        (np.zeros((N, H)), ValueError, rf"{name} has shape \(3, 11\); expected \(2, 3, 11\)"),
        (np.zeros((2, N, H + 1)), ValueError, rf"{name} has shape \(2, 3, 12\)"),
        (np.zeros((2, N, H), np.float32), TypeError, rf"{name} has dtype float32; expected float64"),
    ):
        with pytest.raises(error, match=match):
            bilstm.backward(np.zeros((N, T, 2 * H)), **{name: given})
    bilstm.backward(np.zeros((N, T, 2 * H)))  # none of the refused calls has used the forward up
