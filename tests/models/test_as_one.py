"""A small model that runs as one kernel: the same as its layers, and only where they are what the kernel knows."""

import copy

import numpy as np
import pytest
from family import STEADY
from family import make_model as make_member
from helpers import layer_by_layer, skip_without_compiled_kernels

import fastattn
from fastattn.backend import kernels

V, D, H, N, T1, T2 = 11, 6, 19, 9, 7, 5
PADDED = {"source_lengths": 1 + np.arange(N) % T1, "target_lengths": 2 + np.arange(N)[::-1] % (T2 - 1)}
LENGTHS = {"whole": {}, "padded": PADDED, **{name: {name: given} for name, given in PADDED.items()}}
lengths = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)


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


def results(model, batch, lengths, dloss=1):
    loss = model.forward(*batch, **lengths)
    states = [lstm_state for lstm in (model.encoder.lstm, model.decoder.lstm) for lstm_state in (lstm.h, lstm.c)]
    model.backward(dloss)
    decoder = model.decoder.lstm
    return [loss, model.attention_weight, *states, decoder.dh, decoder.dc, *model.grads]


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


DROPS = {
    "dropout": {"dropout": 0.5},
    "dropout of the encoder": {"dropout": {"encoder": 0.5}},
    "recurrent dropout": {"recurrent_dropout": 0.5},
    "word dropout": {"word_dropout": 0.5},
    "smoothed labels": {"label_smoothing": 0.5},
}
OTHER = ["other class", "stateful", "set state", "without join", "ignored label", "dropout of one's own"]


@pytest.mark.parametrize("what", [*DROPS, *OTHER])
def test_anything_else_goes_through_the_layers(batch, what):
    model = make_model(**DROPS.get(what, {}))
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
    elif what == "dropout of one's own":
        model.encoder.dropout = fastattn.Dropout(0.5)
    assert model._whole() is None
    if what == "without join":
        return  # the affine map would have no state to map
    model.forward(*batch)
    assert model._as_one is None
    model.backward()


def _replaced(name):
    """A model of which one layer was replaced by one of the same class that is of another size or dtype."""
    model = make_model()
    other = {
        "wide affine": {"target_vocabulary": 40},
        "narrow affine": {"target_vocabulary": 4},
        "large decoder embedding": {"target_vocabulary": 40},
        "small decoder embedding": {"target_vocabulary": 4},
    }.get(name, {})
    sizes = {"small encoder embedding": (4, D, H), "LSTM of another D": (V, D + 1, H), "LSTM of another H": (V, D, H + 2)}
    new = fastattn.AttentionSeq2seq(
        *sizes.get(name, (V, D, H)), dtype="float64" if "64" in name else "float32", seed=2, **other
    )
    if "affine" in name:
        model.decoder.affine = new.decoder.affine
    elif "decoder embedding" in name:
        model.decoder.embedding = new.decoder.embedding
    elif "encoder embedding" in name:
        model.encoder.embedding = new.encoder.embedding
    elif "LSTM" in name:
        model.encoder.lstm = new.encoder.lstm
    elif "shared" in name:
        model.decoder.embedding = model.encoder.embedding
    return model


def outcome(model, batch):
    """The loss and all gradients, or the error."""
    try:
        loss = model.forward(*batch)
        model.backward()
    except (ValueError, TypeError, IndexError) as error:
        return [repr(error)]
    parts = (model.encoder.embedding, model.encoder.lstm, model.decoder.embedding, model.decoder.lstm, model.decoder.affine)
    return [loss, *(grad.copy() for part in parts for grad in part.grads)]


REPLACED = [
    *("wide affine", "narrow affine", "affine of float64", "large decoder embedding", "small decoder embedding"),
    *("small encoder embedding", "encoder embedding of float64", "LSTM of another D", "LSTM of another H", "LSTM of float64"),
    "shared embedding",
]


@pytest.mark.parametrize("name", REPLACED)
def test_layers_that_do_not_go_together_are_for_the_layers_to_judge(name, batch, monkeypatch):
    given = outcome(_replaced(name), batch)
    layer_by_layer(monkeypatch)
    expected = outcome(_replaced(name), batch)
    assert len(given) == len(expected)
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("choices", DROPS.values(), ids=DROPS)
def test_what_is_for_training_has_no_part_in_evaluation(batch, choices):
    model = make_model(**choices)
    expected = make_model().forward(*batch)
    assert model.eval().forward(*batch) == expected
    assert model._as_one is not None


@pytest.mark.parametrize("choices", STEADY.values(), ids=STEADY)
def test_the_plain_model_alone_runs_as_one(choices):
    plain = not set(choices) - {"label_smoothing", "forget_bias", "orthogonal"}
    model = make_member(choices).eval()
    assert (model._whole() is not None) == model.config.is_plain == plain


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


def _bad_target(model, x, t):
    with pytest.raises(IndexError, match=r"t\[0, 0\] is 99"):
        model.forward(x, np.full_like(t, 99))


def _read_only_weights(model, x, t):
    model.decoder.lstm.params[1].flags.writeable = False
    with pytest.raises(ValueError, match=r"LSTM\.params\[1\].*writeable"):
        model.forward(x, t)
    model.decoder.lstm.params[1].flags.writeable = True


def _state_of_another_batch(model, x, t):
    model.encoder.lstm.set_state(np.ones((N + 1, H), np.float32))
    with pytest.raises(ValueError, match="batch of 10"):
        model.forward(x, t)


@pytest.mark.parametrize("fail", [_bad_target, _read_only_weights, _state_of_another_batch])
def test_a_bad_forward_leaves_the_one_before_it(batch, fail):
    model = make_model()
    model.forward(*batch)
    model.backward()
    expected = [grad.copy() for grad in model.grads]
    model.forward(*batch)
    fail(model, *batch)
    model.backward()
    for grad, e in zip(model.grads, expected, strict=True):
        np.testing.assert_array_equal(grad, e)


def test_nothing_is_left_of_a_forward_layer_by_layer(batch, monkeypatch):
    model = make_model()
    with monkeypatch.context() as patch:
        layer_by_layer(patch)
        results(model, batch, {})
        model.forward(*batch)
    model.forward(*(ids[:3] for ids in batch))
    for part, shape in ((model.encoder, (N, T1, H)), (model.decoder, (N, T2 - 1, V))):
        with pytest.raises(RuntimeError, match="before"):
            part.backward(np.zeros(shape, np.float32))
    model.backward()
    assert model.decoder.lstm.dh.shape == (3, H)
    assert model.encoder.lstm.dh is None


def test_a_copy_has_no_forward_to_go_back_to(batch):
    model = make_model()
    model.forward(*batch)
    with pytest.raises(RuntimeError, match=r"AttentionSeq2seq\.backward was called before"):
        copy.deepcopy(model).backward()
    model.backward()


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
