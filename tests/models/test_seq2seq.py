"""The whole model: its gradients, its padding, its dropout, and its two kernel sets."""

import copy
import pickle

import numpy as np
import pytest
from helpers import check_gradients, skip_without_compiled_kernels

import fastattn
from fastattn.backend import kernels

V_SOURCE, V_TARGET, D, H = 13, 9, 3, 5
N, T1, T2 = 3, 5, 4
WHOLE: dict = {}
PADDED = {"source_lengths": [2, 5, 1], "target_lengths": [4, 2, 3]}
lengths = pytest.mark.parametrize("lengths", [WHOLE, PADDED], ids=["whole", "padded"])
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def make_model(D=D, H=H, **keywords):
    return fastattn.AttentionSeq2seq(V_SOURCE, D, H, target_vocabulary=V_TARGET, **{"seed": 1, **keywords})


@pytest.fixture
def x(rng):
    return rng.integers(0, V_SOURCE, (N, T1))


@pytest.fixture
def t(rng):
    return rng.integers(0, V_TARGET, (N, T2))


def step(model, x, t, lengths):
    """[loss, gradients ...]"""
    loss = model.forward(x, t, **lengths)
    model.backward()
    return [loss, *(grad.copy() for grad in model.grads)]


def same(given, expected):
    for a, b in zip(given, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@lengths
def test_gradients(backend, x, t, lengths, rng):
    model = make_model(dtype="float64")
    for p in model.params:
        p += 0.3 * rng.standard_normal(p.shape)  # larger than at the start, where some gradients nearly vanish
    _, *gradients = step(model, x, t, lengths)
    check_gradients(lambda: model.forward(x, t, **lengths), model.params, gradients, rng)


def test_gradients_of_the_smallest_model(backend, rng):
    model = fastattn.AttentionSeq2seq(2, 1, 1, dtype="float64", seed=1)
    x, t = np.array([[1]]), np.array([[0, 1]])
    _, *gradients = step(model, x, t, WHOLE)
    check_gradients(lambda: model.forward(x, t), model.params, gradients, rng)


@lengths
def test_gradients_with_dropout(backend, x, t, lengths, rng):
    def value():
        model.step = 5  # the same masks each time
        return model.forward(x, t, **lengths)

    model = make_model(dtype="float64", dropout=0.4)
    value()
    model.backward()
    check_gradients(value, model.params, [grad.copy() for grad in model.grads], rng)


@lengths
def test_backward_is_in_proportion_to_dloss(backend, x, t, lengths):
    model = make_model(dtype="float64")
    _, *expected = step(model, x, t, lengths)
    model.forward(x, t, **lengths)
    model.backward(-3)
    for grad, e in zip(model.grads, expected, strict=True):
        np.testing.assert_allclose(grad, -3 * e, rtol=1e-12, atol=1e-14)


@dtypes
def test_what_stands_at_padding_is_never_read(backend, x, t, dtype):
    model = make_model(dtype=dtype)
    expected = step(model, x, t, PADDED)
    for ids, given in ((x, PADDED["source_lengths"]), (t, PADDED["target_lengths"])):
        ids[np.arange(ids.shape[1]) >= np.array(given)[:, None]] = -7
    same(step(model, x, t, PADDED), expected)


@dtypes
def test_more_padding_changes_no_bit(backend, x, t, dtype, rng):
    model = make_model(dtype=dtype, H=17)
    expected = step(model, x, t, PADDED)
    x = np.hstack((x, rng.integers(0, V_SOURCE, (N, 6))))
    t = np.hstack((t, rng.integers(0, V_TARGET, (N, 3))))
    given = step(model, x, t, PADDED)
    if backend == "compiled":
        same(given, expected)
    else:  # a BLAS may add up in another order when an array is longer
        for a, b in zip(given, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_batch_is_the_mean_over_its_tokens(backend, x, t):
    model = make_model(dtype="float64")
    expected = step(model, x, t, PADDED)
    total, tokens = [0.0] * len(expected), 0
    for n, (source, target) in enumerate(zip(PADDED["source_lengths"], PADDED["target_lengths"], strict=True)):
        alone = step(model, x[n : n + 1, :source], t[n : n + 1, :target], WHOLE)
        total = [a + (target - 1) * b for a, b in zip(total, alone, strict=True)]
        tokens += target - 1
    for a, b in zip(total, expected, strict=True):
        np.testing.assert_allclose(a / tokens, b, rtol=1e-10, atol=1e-14)


@lengths
@dtypes
@pytest.mark.parametrize("H", [5, 37])
def test_both_kernel_sets_agree(x, t, lengths, dtype, H):
    skip_without_compiled_kernels()
    results = []
    for name in fastattn.backend.BACKENDS:
        with fastattn.use_backend(name):
            results.append(step(make_model(dtype=dtype, H=H, dropout=0.3), x, t, lengths))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-10)])
def test_ten_training_steps_agree(x, t, dtype, tolerance):
    skip_without_compiled_kernels()
    losses = {}
    for name in fastattn.backend.BACKENDS:
        with fastattn.use_backend(name):
            model = make_model(dtype=dtype, D=7, H=19, dropout=0.2)
            losses[name] = []
            for _ in range(10):
                losses[name].append(step(model, x, t, PADDED)[0])
                kernels().sgd_update(model.params, model.grads, 1.0, 0.5)
    np.testing.assert_allclose(losses["compiled"], losses["reference"], rtol=tolerance)
    assert losses["reference"][-1] < 0.9 * losses["reference"][0]


def test_the_bits_do_not_depend_on_the_number_of_threads(x, t):
    skip_without_compiled_kernels()
    before, results = fastattn.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            fastattn.set_num_threads(threads)
            with fastattn.use_backend("compiled"):
                results.append(step(make_model(H=37, dropout=0.3), x, t, PADDED))
    finally:
        fastattn.set_num_threads(before)
    same(results[1], results[0])
    same(results[2], results[0])


def test_learns_to_reverse(backend, rng):
    model = fastattn.AttentionSeq2seq(5, 7, 19, dtype="float64", seed=1)
    x = rng.integers(1, 5, (24, 4))
    t = np.hstack((np.zeros((24, 1), int), x[:, ::-1]))
    squares = [np.zeros_like(p) for p in model.params]
    for _ in range(60):
        model.forward(x, t)
        model.backward()
        kernels().adagrad_update(model.params, model.grads, squares, 1.0, 0.1, 1e-8)
    np.testing.assert_array_equal(model.generate(x, 0, 4), t[:, 1:])


def test_params_run_encoder_first():
    model = make_model()
    V, W = V_SOURCE, V_TARGET
    assert [p.shape for p in model.params] == [
        (V, D),
        (D, 4 * H),
        (H, 4 * H),
        (4 * H,),
        (W, D),
        (D, 4 * H),
        (H, 4 * H),
        (4 * H,),
        (2 * H, W),
        (W,),
    ]
    assert [g.shape for g in model.grads] == [p.shape for p in model.params]
    assert model.params[0] is model.encoder.embedding.params[0]
    assert model.grads[9] is model.decoder.affine.grads[1]


def test_backward_overwrites_the_gradients_in_place(backend, x, t):
    model = make_model()
    held = list(model.grads)
    _, *first = step(model, x, t, PADDED)
    step(model, x[:, ::-1], t, WHOLE)
    assert all(a is b for a, b in zip(held, model.grads, strict=True))
    _, *again = step(model, x, t, PADDED)
    same(again, first)


def test_the_vocabulary_is_shared_by_default():
    model = fastattn.AttentionSeq2seq(V_SOURCE, D, H)
    assert model.params[4].shape == (V_SOURCE, D)
    assert model.params[9].shape == (V_SOURCE,)


def test_the_same_seed_gives_the_same_weights_in_both_dtypes():
    singles, doubles = make_model(seed=3).params, make_model(seed=np.random.default_rng(3), dtype=np.float64).params
    for a, b in zip(singles, doubles, strict=True):
        assert (a.dtype, b.dtype) == (np.float32, np.float64)
        np.testing.assert_array_equal(a, b.astype(np.float32))
    assert not np.array_equal(singles[0], make_model(seed=4).params[0])


def test_forget_gates_start_at_one():
    model = make_model()
    for b in (model.params[3], model.params[7]):
        np.testing.assert_array_equal(b, np.repeat([1, 0, 0, 0], H))


@lengths
def test_attention_weight(backend, x, t, lengths):
    model = make_model()
    assert model.attention_weight is None
    model.forward(x, t, **lengths)
    held, before = model.attention_weight, model.attention_weight.copy()
    assert held.shape == (T2 - 1, N, T1)
    model.forward(x[::-1], t, **lengths)
    np.testing.assert_array_equal(held, before)


def test_dropout_is_for_training_only(backend, x, t):
    model, plain = make_model(dropout=0.5), make_model()
    assert model.training
    assert model.forward(x, t) != model.forward(x, t)
    assert model.eval() is model
    assert not model.training
    assert not model.encoder.training
    assert model.forward(x, t) == plain.forward(x, t)
    assert model.train() is model
    assert model.training
    assert model.forward(x, t) != plain.forward(x, t)


def test_the_same_seed_drops_the_same(backend, x, t):
    first, second = make_model(dropout=0.5), make_model(dropout=0.5)
    for _ in range(2):
        same(step(first, x, t, PADDED), step(second, x, t, PADDED))


@lengths
def test_the_decoder_starts_from_the_encoders_last_real_state(backend, x, t, lengths):
    model = make_model()
    model.forward(x, t, **lengths)
    hs_enc = model.encoder.forward(x, lengths=lengths.get("source_lengths"))
    lstm = fastattn.LSTM(*model.decoder.lstm.params)
    last = np.array(lengths.get("source_lengths", [T1] * N)) - 1
    lstm.set_state(hs_enc[np.arange(N), last])
    hs = lstm.forward(fastattn.Embedding(model.params[4]).forward(t[:, :-1]))
    attention = fastattn.Attention()
    attention(hs_enc, hs, source_lengths=lengths.get("source_lengths"))
    np.testing.assert_allclose(model.attention_weight[0], attention.attention_weight[0], rtol=1e-6)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_model_can_be_copied_at_any_time(backend, rng, copied):
    """To keep the best one of a training, or to hand one to another process; between a forward and its backward too."""
    model = fastattn.AttentionSeq2seq(13, 5, 7, seed=1)
    x, t = rng.integers(0, 13, (3, 4)), rng.integers(0, 13, (3, 5))
    loss = model.forward(x, t)
    other = copied(model)
    with pytest.raises(RuntimeError, match="before"):
        other.backward()
    model.backward()
    assert other.forward(x, t) == loss
    other.backward()
    for param, grad, same_param, same_grad in zip(other.params, other.grads, model.params, model.grads, strict=True):
        assert np.array_equal(param, same_param)
        assert np.array_equal(grad, same_grad)
        assert not np.shares_memory(param, same_param)
    other.params[0][...] = 0  # the layer's own array, in the copy as well
    assert not other.encoder.embedding.params[0].any()


def test_a_forward_that_fails_leaves_the_one_before_it_its_backward(backend, rng):
    decoder = fastattn.Decoder(13, 5, 7, seed=1)
    t, hs_enc, dscores = rng.integers(0, 13, (2, 4)), rng.standard_normal((2, 6, 7)).astype("f"), np.ones((2, 4, 13), "f")
    decoder.forward(t, hs_enc, source_lengths=[2, 3])
    expected = decoder.backward(dscores)
    decoder.forward(t, hs_enc, source_lengths=[2, 3])
    with pytest.raises(IndexError, match="expected a token id from 0 to 12"):
        decoder.forward(t + 13, hs_enc, source_lengths=[6, 6])
    np.testing.assert_array_equal(decoder.backward(dscores), expected)


def test_a_forward_of_the_model_that_fails_leaves_the_one_before_it_its_backward(backend, rng):
    model = fastattn.AttentionSeq2seq(13, 5, 7, seed=1)
    x, other, t = rng.integers(0, 13, (2, 6)), rng.integers(0, 13, (2, 6)), rng.integers(0, 13, (2, 4))
    model.forward(x, t)
    model.backward()
    expected = [grad.copy() for grad in model.grads]
    model.forward(x, t)
    bad = [(other, t + 13, {}), (other, t[:1], {}), (other + 13, t, {}), (other[0], t, {}), (other * 0.5, t, {})]
    for x_given, t_given, lengths in (*bad, (other, t, {"target_lengths": [9, 9]}), (other, t, {"source_lengths": [0, 1]})):
        with pytest.raises((IndexError, ValueError, TypeError)):
            model.forward(x_given, t_given, **lengths)
    model.backward()
    for grad, before in zip(model.grads, expected, strict=True):
        np.testing.assert_array_equal(grad, before)


def test_a_forward_that_fails_does_not_change_what_dropout_did(backend, rng):
    encoder = fastattn.Encoder(13, 5, 7, seed=1, dropout=0.5)
    x, dhs = rng.integers(0, 13, (2, 6)), np.ones((2, 6, 7), "f")
    encoder.forward(x)
    encoder.backward(dhs)
    expected = [grad.copy() for grad in encoder.grads]
    same = fastattn.Encoder(13, 5, 7, seed=1, dropout=0.5)
    same.eval().forward(rng.integers(0, 13, (2, 6)))
    same.train().forward(x)
    with pytest.raises(IndexError):
        same.eval().forward(x + 13)
    same.backward(dhs)
    for grad, before in zip(same.grads, expected, strict=True):
        np.testing.assert_array_equal(grad, before)


def test_a_layer_that_is_replaced_is_used(backend, rng):
    encoder = fastattn.Encoder(13, 5, 7, seed=1)
    x = rng.integers(0, 13, (2, 6))
    before = encoder.forward(x)
    encoder.embedding = fastattn.Embedding(np.zeros((13, 5), "f"))
    assert not np.array_equal(encoder.forward(x), before)
