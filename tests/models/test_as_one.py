"""A small model that runs as one kernel: the same as its layers, and only where they are what the kernel knows."""

import copy

import numpy as np
import pytest
from helpers import skip_without_compiled_kernels

import fastattn
from fastattn.backend import kernels

V, D, H, N, T1, T2 = 11, 6, 19, 9, 7, 5
PADDED = {"source_lengths": 1 + np.arange(N) % T1, "target_lengths": 2 + np.arange(N)[::-1] % (T2 - 1)}
lengths = pytest.mark.parametrize("lengths", [{}, PADDED], ids=["whole", "padded"])


@pytest.fixture(autouse=True)
def _compiled():
    skip_without_compiled_kernels()
    with fastattn.use_backend("compiled"):
        yield


@pytest.fixture
def batch(rng):
    return rng.integers(0, V, (N, T1)), rng.integers(0, V, (N, T2))


def make_model(**keywords):
    return fastattn.AttentionSeq2seq(V, D, H, seed=1, **keywords)


def layer_by_layer(monkeypatch):
    monkeypatch.setattr(kernels(), "seq2seq_as_one", lambda *batch: False)


def results(model, batch, lengths, dloss=1):
    loss = model.forward(*batch, **lengths)
    states = [lstm_state for lstm in (model.encoder.lstm, model.decoder.lstm) for lstm_state in (lstm.h, lstm.c)]
    model.backward(dloss)
    return [loss, model.attention_weight, *states, *model.grads]


@lengths
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-14)])
def test_it_gives_what_the_layers_give(batch, lengths, dtype, tolerance, monkeypatch):
    model = make_model(dtype=dtype)
    given = copy.deepcopy(results(model, batch, lengths, -0.7))
    assert model._as_one is not None
    layer_by_layer(monkeypatch)
    expected = results(model, batch, lengths, -0.7)
    assert model._as_one is None
    for ours, theirs in zip(given, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(np.abs(theirs).max(), 0.1))


@lengths
def test_it_can_take_turns_with_the_layers(batch, lengths, monkeypatch):
    model = make_model()
    first = copy.deepcopy(results(model, batch, lengths))
    with monkeypatch.context() as patch:
        layer_by_layer(patch)
        results(model, batch, lengths)
    for once, again in zip(first, results(model, batch, lengths), strict=True):
        np.testing.assert_array_equal(once, again)


class OtherAffine(fastattn.Affine):
    pass


@pytest.mark.parametrize("what", ["dropout", "other class", "stateful", "set state", "without join", "ignored label"])
def test_anything_else_goes_through_the_layers(batch, what):
    model = make_model(dropout=0.5 if what == "dropout" else 0)
    model.forward(*batch)
    if what == "other class":
        model.decoder.affine.__class__ = OtherAffine
    elif what == "stateful":
        model.encoder.lstm.stateful = True
    elif what == "set state":
        model.encoder.lstm.set_state(np.ones((N, H), np.float32))
    elif what == "without join":
        model.decoder.attention.join = False
    elif what == "ignored label":
        model.loss.ignore_label = 3
    assert model._whole() is None
    if what == "without join":
        return  # the affine map would have no state to map
    model.forward(*batch)
    assert model._as_one is None
    model.backward()


def test_dropout_has_no_part_in_evaluation(batch):
    model = make_model(dropout=0.5)
    expected = make_model().forward(*batch)
    assert model.eval().forward(*batch) == expected
    assert model._as_one is not None


def test_the_choice_does_not_depend_on_the_number_of_threads():
    """The two ways do not round alike."""
    small, large = make_model(), fastattn.AttentionSeq2seq(3000, 64, 300, seed=1)
    threads = fastattn.get_num_threads()
    ids = np.zeros((16, 10), np.int64)
    try:
        for n in (1, 2, 5, 40):
            fastattn.set_num_threads(n)
            for model, expected in ((small, True), (large, False)):
                assert kernels().seq2seq_as_one(model.params, ids, ids, None, None) is expected
    finally:
        fastattn.set_num_threads(threads)


def test_the_layers_keep_nothing_and_say_so(batch):
    model = make_model()
    loss = model.forward(*batch)
    for part, gradient in ((model.loss, 1), (model.decoder.affine, loss), (model.encoder.lstm, loss)):
        with pytest.raises(RuntimeError, match="before"):
            part.backward(gradient)
    model.backward()
    with pytest.raises(RuntimeError, match=r"AttentionSeq2seq\.backward was called a second time"):
        model.backward()


def test_a_bad_forward_leaves_the_one_before_it(batch):
    x, t = batch
    model = make_model()
    model.forward(x, t)
    model.backward()
    expected = [grad.copy() for grad in model.grads]
    model.forward(x, t)
    with pytest.raises(IndexError, match=r"t\[0, 0\] is 99"):
        model.forward(x, np.full_like(t, 99))
    model.backward()
    for grad, e in zip(model.grads, expected, strict=True):
        np.testing.assert_array_equal(grad, e)


def test_a_copy_has_no_forward_to_go_back_to(batch):
    model = make_model()
    model.forward(*batch)
    with pytest.raises(RuntimeError, match=r"AttentionSeq2seq\.backward was called before"):
        copy.deepcopy(model).backward()
    model.backward()


def test_read_only_weights_are_refused(batch):
    model = make_model()
    model.decoder.lstm.params[1].flags.writeable = False
    with pytest.raises(ValueError, match=r"LSTM.params\[1\].*writeable"):
        model.forward(*batch)


def test_what_a_forward_returned_is_not_changed_by_later_ones(batch, rng):
    model = make_model()
    model.forward(*batch)
    held, state = model.attention_weight, model.encoder.lstm._h
    before, state_before = held.copy(), state.copy()
    for _ in range(5):
        model.forward(rng.integers(0, V, (N, T1)), batch[1])
        model.backward()
    np.testing.assert_array_equal(held, before)
    np.testing.assert_array_equal(state, state_before)
