"""The same numbers as the same code in plain NumPy: losses, gradients, answers, batches."""

import numpy as np
import pytest
from compat import dlfs2_numpy as theirs

import fastattn
from fastattn.compat import dlfs2 as ours

V, D, H = 13, 7, 19
N, T1, T2 = 9, 6, 5
MODELS = ["Seq2seq", "PeekySeq2seq", "AttentionSeq2seq"]
both_models = pytest.mark.parametrize("name", MODELS)


def made(module, name):
    np.random.seed(1984)  # noqa: NPY002 - it is what the code has that is compared
    return getattr(module, name)(V, D, H)


@pytest.fixture
def data(rng):
    x, t = rng.integers(1, V, (4 * N + 3, T1)), rng.integers(1, V, (4 * N + 3, T2))
    t[:, 0] = 0
    return x, t


@both_models
def test_the_same_seed_gives_the_same_weights(name):
    model, numpy_model = made(ours, name), made(theirs, name)
    assert len(model.params) == len(model.grads) == 10
    for p, q in zip(model.params, numpy_model.params, strict=True):
        assert p.dtype == np.float32
        np.testing.assert_array_equal(p, q)


@both_models
def test_the_same_gradients(name, data, backend):
    x, t = data
    model, numpy_model = made(ours, name), made(theirs, name)
    held = list(model.grads)
    for dout in (1, -0.7):
        assert model.forward(x, t) == pytest.approx(numpy_model.forward(x, t), rel=1e-5)
        model.backward(dout)
        numpy_model.backward(dout)
        for g, same, expected in zip(model.grads, held, numpy_model.grads, strict=True):
            assert g is same
            np.testing.assert_allclose(g, expected, rtol=0, atol=1e-5 * max(abs(expected).max(), 1e-3))


def trained(module, name, x, t, lr, steps):
    model, optimizer, losses = made(module, name), module.Adam(lr), []
    for _ in range(steps):
        losses.append(model.forward(x, t))
        model.backward()
        module.clip_grads(model.grads, 0.5)
        optimizer.update(model.params, model.grads)
    return model, losses


def answers(model, x):
    return [model.generate(x[i : i + 1], 0, T2 + 2) for i in range(len(x))]


@both_models
def test_a_hundred_steps_give_the_same_losses_and_the_same_answers(name, data):
    (model, losses), (numpy_model, expected) = (trained(module, name, *data, 0.001, 100) for module in (ours, theirs))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert losses[-1] < losses[0] - 0.2
    assert answers(model, data[0]) == answers(numpy_model, data[0])


@both_models
def test_the_same_weights_give_the_same_answers(name, data, backend):
    """Of a model that answers each question in its own way."""
    numpy_model, _ = trained(theirs, name, *data, 0.02, 60)
    model = made(ours, name)
    for p, q in zip(model.params, numpy_model.params, strict=True):
        p[...] = q
    expected = answers(numpy_model, data[0])
    assert len({tuple(answer) for answer in expected}) > 10
    assert answers(model, data[0]) == expected


@both_models
def test_generate_returns_a_list_of_whole_numbers(name, data):
    answer = made(ours, name).generate(data[0][:1], np.int64(0), T2)
    assert type(answer) is list
    assert [type(token) for token in answer] == [int] * T2


def test_the_trainer_makes_the_same_batches_and_the_same_list(data, capsys):
    lists = []
    for module in (ours, theirs):
        model = made(module, "AttentionSeq2seq")
        trainer = module.Trainer(model, module.Adam())
        for epochs in (2, 1):
            trainer.fit(*data, max_epoch=epochs, batch_size=N, max_grad=0.5, eval_interval=3)
        lists.append(trainer.loss_list)
    np.testing.assert_allclose(lists[0], lists[1], rtol=1e-4)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(lists[0]) == 6
    assert lines[0].startswith("| epoch 1 |  iter 1 / 4 | time 0[s] | loss 2.5")
    assert lines[-1].startswith("| epoch 3 |  iter 4 / 4 | ")


def test_compat_and_fastattn_have_the_same_attention_model(data):
    """The same layers in the same order: the loss is the same to the bit."""
    x, t = data
    model, own = made(ours, "AttentionSeq2seq"), fastattn.AttentionSeq2seq(V, D, H)
    for p, q in zip(own.params, model.params, strict=True):
        p[...] = q
    assert model.forward(x, t) == own.forward(x, t)


LAYERS = {
    "TimeEmbedding": ([(V, D)], [(N, T1)], None),
    "TimeAffine": ([(H, V), (V,)], [(N, T1, H)], None),
    "TimeLSTM": ([(D, 4 * H), (H, 4 * H), (4 * H,)], [(N, T1, D)], None),
    "TimeAttention": ([], [(N, T1, H), (N, T2, H)], "attention_weights"),
    "Attention": ([], [(N, T1, H), (N, H)], "attention_weight"),
    "Embedding": ([(V, D)], [(N,)], None),
    "LSTM": ([(D, 4 * H), (H, 4 * H), (4 * H,)], [(N, D), (N, H), (N, H)], None),
}


def as_tuple(value):
    return () if value is None else value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_agrees(name, rng, backend):
    weights, inputs, attribute = LAYERS[name]
    weights = [rng.standard_normal(shape) for shape in weights]
    inputs = [rng.integers(0, V, shape) if "Embedding" in name else rng.standard_normal(shape) for shape in inputs]
    layer, numpy_layer = (getattr(module, name)(*weights) for module in (ours, theirs))
    outputs, expected = (as_tuple(one.forward(*inputs)) for one in (layer, numpy_layer))
    douts = [rng.standard_normal(output.shape) for output in outputs]
    outputs += as_tuple(layer.backward(*douts))
    expected += as_tuple(numpy_layer.backward(*douts))
    for given, wanted in zip([*outputs, *layer.grads], [*expected, *numpy_layer.grads], strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-9, atol=1e-11)
    if attribute:
        np.testing.assert_allclose(getattr(layer, attribute), getattr(numpy_layer, attribute), rtol=1e-10)
    assert (layer.params, layer.grads) == ([], []) or all(p is w for p, w in zip(layer.params, weights, strict=True))


def test_attention_weights_are_a_list_of_the_weights_of_each_target_step(rng):
    layer = ours.TimeAttention()
    assert layer.attention_weights is None
    layer.forward(rng.standard_normal((N, T1, H)), rng.standard_normal((N, T2, H)))
    assert type(layer.attention_weights) is list
    assert [a.shape for a in layer.attention_weights] == [(N, T1)] * T2


@pytest.mark.parametrize("one_hot", [False, True], ids=["ids", "one-hot"])
def test_the_loss_agrees(one_hot, rng, backend):
    scores, labels = rng.standard_normal((N, T1, V)), rng.integers(0, V, (N, T1))
    if not one_hot:
        labels[2, :4] = -1
    layer, numpy_layer = ours.TimeSoftmaxWithLoss(), theirs.TimeSoftmaxWithLoss()
    given = layer.forward(scores, np.eye(V, dtype=int)[labels] if one_hot else labels)
    assert given == pytest.approx(numpy_layer.forward(scores, labels), rel=1e-12)
    for dout in (1, 2.5):  # a second backward finds the same
        np.testing.assert_allclose(layer.backward(dout), numpy_layer.backward(dout), rtol=1e-10, atol=1e-15)


def test_joined_contexts_are_the_contexts_with_the_states_beside_them(rng, backend):
    layer = ours.TimeAttention()
    hs_enc, hs_dec, dout = (rng.standard_normal(shape) for shape in ((N, T1, H), (N, T2, H), (N, T2, 2 * H)))
    joined = layer.forward_joined(hs_enc, hs_dec)
    dhs_enc, dhs_dec = layer.backward(dout)
    np.testing.assert_array_equal(joined, np.concatenate((layer.forward(hs_enc, hs_dec), hs_dec), axis=2))
    expected_enc, expected_dec = layer.backward(dout[:, :, :H])
    np.testing.assert_allclose(dhs_enc, expected_enc, rtol=1e-10)
    np.testing.assert_allclose(dhs_dec, expected_dec + dout[:, :, H:], rtol=1e-10)


def test_a_stateful_lstm_goes_on_where_it_ended(rng, backend):
    weights = [rng.standard_normal(shape) for shape in ((D, 4 * H), (H, 4 * H), (4 * H,))]
    lstm, numpy_lstm = (module.TimeLSTM(*weights, stateful=True) for module in (ours, theirs))
    xs, h = rng.standard_normal((N, T1, D)), rng.standard_normal((N, H))
    for prepare in (lambda one: None, lambda one: None, lambda one: one.set_state(h), lambda one: one.reset_state()):
        prepare(lstm)
        prepare(numpy_lstm)
        np.testing.assert_allclose(lstm.forward(xs), numpy_lstm.forward(xs), rtol=1e-10)
        np.testing.assert_allclose(lstm.h, numpy_lstm.h, rtol=1e-10)
        np.testing.assert_allclose(lstm.c, numpy_lstm.c, rtol=1e-10)
        lstm.backward(lstm.forward(xs))
        numpy_lstm.backward(numpy_lstm.forward(xs))
        np.testing.assert_allclose(lstm.dh, numpy_lstm.dh, rtol=1e-9, atol=1e-11)


def test_both_directions(rng, backend):
    weights = [rng.standard_normal(shape) for shape in ((D, 4 * H), (H, 4 * H), (4 * H,)) * 2]
    layer = ours.TimeBiLSTM(*weights)
    there, back = theirs.TimeLSTM(*weights[:3]), theirs.TimeLSTM(*weights[3:])
    xs, dhs = rng.standard_normal((N, T1, D)), rng.standard_normal((N, T1, 2 * H))
    expected = np.concatenate((there.forward(xs), back.forward(xs[:, ::-1])[:, ::-1]), axis=2)
    np.testing.assert_allclose(layer.forward(xs), expected, rtol=1e-10)
    dxs = there.backward(dhs[:, :, :H]) + back.backward(dhs[:, ::-1, H:])[:, ::-1]
    np.testing.assert_allclose(layer.backward(dhs), dxs, rtol=1e-9, atol=1e-11)
    for given, wanted in zip(layer.grads, there.grads + back.grads, strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-9, atol=1e-11)


def test_weight_sum_and_attention_weight_are_attention_in_two_parts(rng, backend):
    hs, h, dc = rng.standard_normal((N, T1, H)), rng.standard_normal((N, H)), rng.standard_normal((N, H))
    weight, weight_sum, whole = ours.AttentionWeight(), ours.WeightSum(), theirs.Attention()
    np.testing.assert_allclose(weight_sum.forward(hs, weight.forward(hs, h)), whole.forward(hs, h), rtol=1e-10)
    dhs_sum, da = weight_sum.backward(dc)
    dhs_weight, dh = weight.backward(da)
    dhs, expected_dh = whole.backward(dc)
    np.testing.assert_allclose(dhs_sum + dhs_weight, dhs, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(dh, expected_dh, rtol=1e-9, atol=1e-11)
