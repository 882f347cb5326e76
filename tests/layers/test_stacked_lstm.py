"""Layers upon layers: what one gives is what the next reads, with dropout and residual connections between them."""

import numpy as np
import pytest
from helpers import bilstm_of, check_gradients, lstm_of, normal

import fastattn

N, T, D, H = 3, 5, 7, 11
LENGTHS = [2, 5, 1]


@pytest.fixture
def xs(rng):
    return normal(rng, N, T, D, dtype=float)


def three(rng, dtype=float):
    return [bilstm_of(rng, D, H, dtype), bilstm_of(rng, 2 * H, H, dtype), bilstm_of(rng, 2 * H, H, dtype)]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dropped", [0, 0.4])
def test_a_stack_is_its_layers_one_after_another(backend, xs, residual, dropped, rng):
    layers = three(rng)
    stack = fastattn.StackedLSTM(layers, dropout=dropped, residual=residual, seed=5)
    dropouts = [fastattn.Dropout(dropped, seed=5) for _ in range(2)]
    for place, dropout in enumerate(dropouts):
        dropout.place = place
    dout = normal(rng, N, T, 2 * H, dtype=float)
    for _ in range(2):  # the second time, others are dropped
        out = stack.forward(xs, lengths=LENGTHS)
        dxs = stack.backward(dout)
        grads = [grad.copy() for grad in stack.grads]
        z = layers[0].forward(xs, lengths=LENGTHS)
        for layer, dropout in zip(layers[1:], dropouts, strict=True):
            z = dropout.forward(z)
            z = layer.forward(z, lengths=LENGTHS) + (z if residual else 0)
        np.testing.assert_array_equal(out, z)
        d = dout
        for layer, dropout in zip(layers[:0:-1], dropouts[::-1], strict=True):
            d = dropout.backward(layer.backward(d) + (d if residual else 0))
        np.testing.assert_array_equal(dxs, layers[0].backward(d))
        for grad, expected in zip(grads, (grad for layer in layers for grad in layer.grads), strict=True):
            np.testing.assert_array_equal(grad, expected)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
def test_gradients_with_all_that_can_be_dropped(backend, xs, residual, lengths, rng):
    layers = [lstm_of(rng, D, H, float), lstm_of(rng, H, H, float)]
    stack = fastattn.StackedLSTM(layers, dropout=0.4, residual=residual, seed=1)
    for place, lstm in enumerate(layers):
        lstm.recurrent_dropout = fastattn.Dropout(0.3, seed=2)
        lstm.recurrent_dropout.place = place
    h0 = normal(rng, N, H, dtype=float)
    dout, dh_last, dc_last = (normal(rng, *shape, dtype=float) for shape in ((N, T, H), (N, H), (N, H)))

    def value():
        for dropout in (*stack.dropouts, *(lstm.recurrent_dropout for lstm in layers)):
            dropout.step = 4
        layers[1].set_state(h0)
        out = stack.forward(xs, lengths=lengths)
        return float(np.sum(dout * out) + np.sum(dh_last * layers[0].h) + np.sum(dc_last * layers[1].c))

    value()
    dxs = stack.backward(dout, dh_last=[dh_last, None], dc_last=[None, dc_last])
    check_gradients(value, [xs, h0, *stack.params], [dxs, layers[1].dh, *stack.grads], rng)


def test_at_rest_nothing_is_dropped(backend, xs, rng):
    stack = fastattn.StackedLSTM(three(rng), dropout=0.5, seed=1)
    dropped = stack.forward(xs)
    for dropout in stack.dropouts:
        dropout.training = False
    at_rest = stack.forward(xs)
    assert not np.array_equal(dropped, at_rest)
    np.testing.assert_array_equal(at_rest, fastattn.StackedLSTM(stack.layers).forward(xs))


def test_a_stack_of_one_is_that_layer(backend, xs, rng):
    lstm = lstm_of(rng, D, H, float)
    stack = fastattn.StackedLSTM([lstm], dropout=0.5, residual=True)
    assert stack.dropouts == []
    np.testing.assert_array_equal(stack.forward(xs), lstm.forward(xs))
    assert stack.params == lstm.params


def test_with_an_embedding_as_one(backend, rng):
    stack, embedding = fastattn.StackedLSTM(three(rng)), fastattn.Embedding(normal(rng, 13, D, dtype=float))
    as_one = fastattn.EmbeddingLSTM(embedding, stack)
    ids, dout = rng.integers(0, 13, (N, T)), normal(rng, N, T, 2 * H, dtype=float)
    dlast = {"dh_last": [None, normal(rng, 2, N, H, dtype=float), normal(rng, 2, N, H, dtype=float)]}
    out = as_one.forward(ids, lengths=LENGTHS)
    assert as_one.backward(dout, **dlast) is None
    grads = [grad.copy() for grad in as_one.grads]
    np.testing.assert_allclose(out, stack.forward(embedding.forward(ids, lengths=LENGTHS), lengths=LENGTHS), rtol=1e-12)
    embedding.backward(stack.backward(dout, **dlast))
    for grad, expected in zip(grads, embedding.grads + stack.grads, strict=True):
        np.testing.assert_allclose(grad, expected, rtol=1e-11, atol=1e-12)
    as_one.forward(ids)
    with pytest.raises(RuntimeError, match=r"StackedLSTM\.backward was called before StackedLSTM\.forward"):
        stack.backward(dout)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda rng: [], ValueError, "layers is empty; expected at least one"),
        (lambda rng: [fastattn.Tanh()], TypeError, r"layers\[0\] is Tanh; expected an LSTM or a BiLSTM"),
        (
            lambda rng: [bilstm_of(rng, D, H, float), lstm_of(rng, H, H, float)],
            ValueError,
            r"layers\[1\] reads vectors 11 wide; expected 22, as layers\[0\] gives",
        ),
        (
            lambda rng: [lstm_of(rng, D, H, float), bilstm_of(rng, H, H, float)],
            ValueError,
            r"layers\[1\] reads vectors 11 wide and gives 22; expected equal widths",
        ),
        (
            lambda rng: [lstm_of(rng, D, H, float), lstm_of(rng, H, H, np.float32)],
            TypeError,
            r"layers\[1\] has dtype float32; expected float64, that of layers\[0\]",
        ),
        (lambda rng: [lstm_of(rng, H, H, float)] * 2, ValueError, "layers holds an LSTM twice"),
    ],
)
def test_layers_that_do_not_fit(make, error, match, rng):
    with pytest.raises(error, match=match):
        fastattn.StackedLSTM(make(rng), residual=True)


@pytest.mark.parametrize(("dropout", "error"), [(1.0, ValueError), (-0.1, ValueError), ("0.1", TypeError)])
def test_a_ratio_out_of_range(dropout, error, rng):
    for layers in ([lstm_of(rng, D, H, float)], three(rng)):
        with pytest.raises(error, match=r"dropout is .*; expected"):
            fastattn.StackedLSTM(layers, dropout=dropout)


def test_a_forward_that_fails_leaves_the_one_before_it_as_it_was(backend, xs, rng):
    stack = fastattn.StackedLSTM(three(rng), dropout=0.5, seed=1)
    dout = normal(rng, N, T, 2 * H, dtype=float)
    stack.forward(xs)
    expected = stack.backward(dout)
    for dropout in stack.dropouts:
        dropout.step = 0
    stack.forward(xs)
    stack.layers[2].backward_lstm.set_state(np.zeros((N + 1, H)))
    with pytest.raises(ValueError, match=rf"xs has a batch of {N}, but the state to start from has a batch of {N + 1}"):
        stack.forward(2 * xs)
    assert [dropout.step for dropout in stack.dropouts] == [1, 1]
    np.testing.assert_array_equal(stack.backward(dout), expected)


def test_gradients_of_the_last_states_are_checked(backend, xs, rng):
    stack = fastattn.StackedLSTM(three(rng))
    out = stack.forward(xs)
    with pytest.raises(ValueError, match="dh_last has 2 entries; expected one for each of 3 layers"):
        stack.backward(out, dh_last=[None, None])
    with pytest.raises(ValueError, match=r"dc_last\[1\] has shape \(3, 11\); expected \(2, 3, 11\)"):
        stack.backward(out, dc_last=[None, np.zeros((N, H)), None])
    stack.backward(out)
