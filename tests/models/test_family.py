"""Every member of the family: its gradients, its padding, its two kernel sets, its masks, its weights."""

import copy
import pickle

import numpy as np
import pytest
from family import (
    DROPPING,
    FAMILY,
    PADDED,
    STEADY,
    T1,
    T2,
    V_SOURCE,
    V_TARGET,
    WHOLE,
    D,
    H,
    N,
    close,
    lengths,
    make_batch,
    make_model,
    members,
    moved,
    same,
    step,
)
from helpers import check_gradients, skip_without_compiled_kernels

import fastattn
from fastattn.backend import kernels
from fastattn.models import ModelConfig
from fastattn.models.parts import tensor_shapes

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def slopes(f, arrays, rng, distance=1e-6):
    """The slope of ``f()`` in a random direction of each array, and the directions."""
    for array in arrays:
        direction, before = rng.standard_normal(array.shape), array.copy()
        array[...] = before + distance * direction
        above = f()
        array[...] = before - distance * direction
        yield (above - f()) / (2 * distance), direction
        array[...] = before


@lengths
@members(FAMILY)
def test_gradients(kernel_set, choices, lengths, rng):
    model = moved(make_model(choices, dtype="float64"), rng)
    x, t = make_batch(rng, model)
    _, *gradients = step(model, x, t, lengths, at=5)

    def loss():
        model.step = 5  # the same masks each time
        return model.forward(x, t, **lengths)

    measured = slopes(loss, model.params, rng)
    for name, gradient, (slope, direction) in zip(model.named_params(), gradients, measured, strict=True):
        expected = np.sum(gradient * direction)
        assert abs(slope - expected) <= 1e-6 * (1 + abs(expected)), name
        assert np.any(gradient), name


TINY = ["deep", "fed, general", "fed, projected, tied", "tied and shared", "additive of its own size", "deep, last state"]


@pytest.mark.parametrize("name", TINY)
def test_each_gradient_of_a_tiny_model(kernel_set, name, rng):
    sizes = {"D": 2, "H": 2, "attention_size": 1, "attentional_size": 3, "encoder_hidden": 1}
    small = {key: min(size, sizes.get(key, size)) for key, size in FAMILY[name].items() if not isinstance(size, str)}
    model = moved(make_model({**FAMILY[name], **small, "D": 2, "H": 2}, dtype="float64"), rng)
    x, t = make_batch(rng, model)
    _, *gradients = step(model, x, t, PADDED)
    check_gradients(lambda: model.forward(x, t, **PADDED), model.params, gradients, rng)


@members(FAMILY)
def test_what_stands_at_padding_is_never_read(kernel_set, choices, rng):
    model = make_model(choices)
    x, t = make_batch(rng, model)
    expected = step(model, x, t, PADDED)
    for ids, given in ((x, PADDED["source_lengths"]), (t, PADDED["target_lengths"])):
        ids[np.arange(ids.shape[1]) >= np.array(given)[:, None]] = -7
    same(step(model, x, t, PADDED), expected)


@members(FAMILY)
def test_more_padding_changes_no_bit(kernel_set, choices, rng):
    model = make_model(choices)
    x, t = make_batch(rng, model)
    expected = step(model, x, t, PADDED)
    x = np.hstack((x, rng.integers(0, model.source_vocabulary, (N, 6))))
    t = np.hstack((t, rng.integers(0, model.target_vocabulary, (N, 3))))
    given = step(model, x, t, PADDED)
    if kernel_set == "compiled":
        same(given, expected)
    else:  # a BLAS may add up in another order when an array is longer
        close(given, expected, 1e-5)


@dtypes
@members(FAMILY)
@pytest.mark.parametrize("sizes", [(1, 1, 2), (5, 7, 4), (37, 3, 6)], ids=["one", "odd", "many"])
def test_both_kernel_sets_agree(choices, dtype, sizes, rng):
    skip_without_compiled_kernels()
    wide = {} if "H" in choices or sizes[0] < 37 else {"D": 19, "H": 35, "encoder_hidden": None}
    results = []
    N, T1, T2 = sizes
    padded = {"source_lengths": 1 + np.arange(N) % T1, "target_lengths": 2 + np.arange(N)[::-1] % (T2 - 1)}
    for name in fastattn.backend.BACKENDS:
        with fastattn.use_backend(name):
            model = make_model({**choices, **wide}, dtype=dtype)
            x, t = make_batch(np.random.default_rng(3), model, *sizes)
            results.append([*step(model, x, t, padded), model.generate(x, 0, 2, lengths=padded["source_lengths"])])
    close(results[0], results[1], 2e-5 if dtype == "float32" else 1e-12)


@members({name: FAMILY[name] for name in ("bi", "deep, dropping", "fed, dropping", "all but feeding")})
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-10)])
def test_ten_training_steps_agree(choices, dtype, tolerance, rng):
    skip_without_compiled_kernels()
    losses = {}
    for name in fastattn.backend.BACKENDS:
        with fastattn.use_backend(name):
            model = make_model(choices, dtype=dtype, D=7, H=19)
            x, t = make_batch(np.random.default_rng(3), model)
            losses[name] = []
            for _ in range(10):
                losses[name].append(step(model, x, t, PADDED, at=model.step)[0])
                kernels().sgd_update(model.params, model.grads, 1.0, 0.5)
    np.testing.assert_allclose(losses["compiled"], losses["reference"], rtol=tolerance)
    assert losses["reference"][-1] < 0.9 * losses["reference"][0]


@members(FAMILY)
def test_the_batch_is_the_mean_over_its_tokens(kernel_set, choices, rng):
    """So is a batch in parts, of which each says where it begins: the masks do not depend on how a batch is divided."""
    model = make_model(choices, dtype="float64")
    x, t = make_batch(rng, model)
    expected = step(model, x, t, PADDED, at=3)
    total, tokens = [0.0] * len(expected), 0
    for n, (source, target) in enumerate(zip(PADDED["source_lengths"], PADDED["target_lengths"], strict=True)):
        model.first_sample = n
        alone = step(model, x[n : n + 1, :source], t[n : n + 1, :target], WHOLE, at=3)
        total = [a + (target - 1) * b for a, b in zip(total, alone, strict=True)]
        tokens += target - 1
    close([a / tokens for a in total], expected, 1e-12)


@members(DROPPING)
def test_masks_follow_from_the_step(kernel_set, choices, rng):
    model, other = make_model(choices), make_model(choices)
    x, t = make_batch(rng, model)
    losses = []
    for n in range(4):
        assert model.step == n
        losses.append(model.forward(x, t))
    assert len(set(losses)) == 4
    other.step = 2
    assert other.forward(x, t) == losses[2]
    assert other.forward(x, t) == losses[3]
    other.step, other.first_sample = 2, 1
    assert other.forward(x, t) != losses[2]
    assert make_model(choices, seed=2).forward(x, t) != losses[0]


@members(DROPPING)
def test_nothing_is_dropped_in_evaluation(kernel_set, choices, rng):
    """And evaluating between two steps changes nothing in them."""
    model = make_model(choices)
    nothing = {"dropout": 0.0, "recurrent_dropout": 0.0, "word_dropout": 0.0}
    x, t = make_batch(rng, model)
    first, second = model.forward(x, t), model.forward(x, t)
    model.step = 0
    assert model.forward(x, t) == first
    expected = make_model({**choices, **nothing}).forward(x, t)
    assert model.eval().forward(x, t) == expected != first
    assert not any(dropout.training for dropout in model.dropouts)
    assert model.step == 1
    assert model.train().forward(x, t) == second


@members(DROPPING)
def test_backward_belongs_to_the_masks_of_its_forward(kernel_set, choices, rng):
    model = make_model(choices)
    x, t = make_batch(rng, model)
    _, *expected = step(model, x, t, PADDED)
    model.step = 0
    model.forward(x, t, **PADDED)
    model.step, model.first_sample = 7, 5
    model.eval()
    model.generate(x, 0, 3)
    with pytest.raises(IndexError):
        model.forward(x + 99, t)
    model.backward()
    same(model.grads, expected)


def test_each_place_has_masks_of_its_own():
    """As many draws as places: else what is dropped in one place would tell what is dropped in another."""
    for choices in DROPPING.values():
        dropouts = make_model(choices).dropouts
        assert len({dropout.place for dropout in dropouts}) == len(dropouts)
        assert len({dropout.seed for dropout in dropouts}) == 1


def test_dropout_leaves_the_first_weights_as_they_are():
    for choices in DROPPING.values():
        nothing = {"dropout": 0.0, "recurrent_dropout": 0.0, "word_dropout": 0.0}
        same(make_model(choices).params, make_model({**choices, **nothing}).params)


def test_a_generator_goes_on_after_the_last_weight():
    """One draw for the masks, where there are some."""
    after = []
    for dropout in (0.0, 0.5):
        generator = np.random.default_rng(1)
        make_model({"dropout": dropout}, seed=generator)
        after.append(generator.integers(2**62, size=3).tolist())
    assert after[0][1:] == after[1][:-1]


def test_whole_words_are_dropped(kernel_set, rng):
    """The tokens that are dropped are as good as not there: their vectors get no gradient, the others the same scaled."""
    model = make_model({"word_dropout": 0.5}, dtype="float64")
    x = np.arange(10).reshape(1, 10)
    t = np.concatenate((np.zeros((1, 1), int), rng.integers(0, V_TARGET, (1, 4))), axis=1)
    step(model, x, t, WHOLE)
    rows = np.any(model.grads[0], axis=1)
    assert 0 < rows[:10].sum() < 10
    model.encoder.embedding.params[0][:10][~rows[:10]] = 99  # nobody reads them
    before = model.step
    model.step = 0
    loss = model.forward(x, t)
    model.step = before
    model.encoder.embedding.params[0][:10][~rows[:10]] = -99
    model.step = 0
    assert model.forward(x, t) == loss


def test_recurrent_dropout_keeps_one_mask_for_a_sequence(kernel_set):
    """The first step starts from zeros, of which nothing can be dropped; a unit that is dropped is never read."""
    model = make_model({"recurrent_dropout": 0.5}, dtype="float64")
    x, t = np.zeros((1, 6), int), np.zeros((1, 2), int)
    model.forward(x, t)
    Wh = model.named_params()["encoder.lstm.0.forward.Wh"]
    model.backward()
    dWh = model.encoder.lstm.grads[1].reshape(H, -1)
    read = np.any(dWh, axis=1)
    assert 0 < read.sum() < H
    Wh[~read] = 1e3
    model.step = 0
    assert model.forward(x, t) == pytest.approx(make_loss_without(Wh, ~read, x, t), rel=1e-12)


def make_loss_without(Wh, rows, x, t):
    model = make_model({"recurrent_dropout": 0.5}, dtype="float64")
    model.encoder.lstm.params[1][rows] = 0
    return model.forward(x, t)


@pytest.mark.parametrize("bridge", ["last", "last_state"])
def test_the_decoder_starts_from_states_of_which_nothing_was_dropped(kernel_set, bridge, rng, monkeypatch):
    model = make_model({"dropout": {"encoder": 0.5}, "bridge": bridge})
    given = []
    monkeypatch.setattr(model.decoder.lstm, "set_state", lambda h, c=None: given.append((h, c)))
    model.forward(*make_batch(rng, model), **PADDED)
    ((h, c),) = given
    np.testing.assert_array_equal(h, model.encoder.lstm.h)
    assert (c is None) == (bridge == "last")
    assert np.all(h)


def test_labels_are_smoothed_while_training(kernel_set, rng):
    model, plain = make_model({"label_smoothing": 0.25}, dtype="float64"), make_model({}, dtype="float64")
    x, t = make_batch(rng, model)
    scores = plain.decoder.forward(t[:, :-1], plain.encoder.forward(x))
    log_p = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
    of_target = np.take_along_axis(log_p, t[:, 1:, None], axis=2).mean()
    assert model.forward(x, t) == pytest.approx(-0.75 * of_target - 0.25 * log_p.mean(), rel=1e-12)
    assert model.eval().forward(x, t) == pytest.approx(-of_target, rel=1e-12)
    assert model.train().forward(x, t) == pytest.approx(-0.75 * of_target - 0.25 * log_p.mean(), rel=1e-12)


@lengths
@members(STEADY)
def test_embedding_and_lstm_run_as_one(kernel_set, choices, lengths, rng, monkeypatch):
    """It changes nothing but the rounding."""
    model = make_model(choices, dtype="float64")
    x, t = make_batch(rng, model)
    given = step(model, x, t, lengths)
    if model._as_one is None:
        assert type(model.encoder._as_one) is type(model.decoder._as_one) is fastattn.EmbeddingLSTM
    for part in (model.encoder, model.decoder):
        monkeypatch.setattr(part, "_with_embedding", lambda: None)
    monkeypatch.setattr(model, "_whole", lambda: None)
    expected = step(model, x, t, lengths)
    assert model.encoder._as_one is model.decoder._as_one is None
    close(given, expected, 1e-13)


@pytest.mark.parametrize(("place", "runs"), [("embedding", False), ("layers", True), ("encoder", True), ("output", True)])
def test_embedding_and_lstm_run_as_one_whenever_nothing_is_dropped_in_between(kernel_set, place, runs, rng):
    model = make_model({**FAMILY["deep"], "dropout": {place: 0.5}, "recurrent_dropout": 0.5})
    x, t = make_batch(rng, model)
    step(model, x, t, WHOLE)
    assert (model.encoder._as_one is not None) == (model.decoder._as_one is not None) == runs
    model.eval().forward(x, t)
    assert model.encoder._as_one is not None


@members(FAMILY)
def test_names_and_shapes(choices):
    model = make_model(choices)
    named = model.named_params()
    assert {name: p.shape for name, p in named.items()} == tensor_shapes(model.config)
    assert all(a is b for a, b in zip(named.values(), model.params, strict=True))
    assert [g.shape for g in model.grads] == [p.shape for p in model.params]
    assert len({id(array) for array in (*model.params, *model.grads)}) == 2 * len(named)
    for name, p in named.items():  # each is the array of the layer that the name names
        side, layer, *_ = name.split(".")
        owner = getattr(getattr(model, side), layer, None)
        if side == "decoder" and layer in ("attention", "attentional", "lstm"):
            owner = model.decoder
        assert any(p is of_owner for of_owner in owner.params), name
    of_lstms = [p for part in (model.encoder, model.decoder) for lstm in part.lstm.lstms for p in lstm.params]
    assert all(a is b for a, b in zip((p for name, p in named.items() if ".lstm." in name), of_lstms, strict=True))


def test_all_names_of_a_large_model():
    model = make_model({**FAMILY["fed, projected, tied"], "attention": "additive", "decoder_layers": 2})
    assert list(model.named_params()) == [
        "encoder.embedding.W",
        *(f"encoder.lstm.0.{direction}.{name}" for direction in ("forward", "backward") for name in ("Wx", "Wh", "b")),
        *("encoder.projection.W", "encoder.projection.b"),
        *(f"decoder.bridge.{layer}.{state}.{name}" for layer in (0, 1) for state in "hc" for name in "Wb"),
        "decoder.embedding.W",
        *(f"decoder.lstm.{layer}.forward.{name}" for layer in (0, 1) for name in ("Wx", "Wh", "b")),
        *("decoder.attention.W", "decoder.attention.W_query", "decoder.attention.v"),
        *("decoder.attentional.W", "decoder.projection.W", "decoder.affine.b"),
    ]


@members(FAMILY)
def test_the_config_makes_the_same_model(choices):
    model = make_model(choices)
    for config in (model.config, ModelConfig.from_json(model.config.to_json())):
        other = fastattn.AttentionSeq2seq.from_config(config, seed=1)
        assert other.config == model.config
        same(other.params, model.params)
        assert [dropout.ratio for dropout in other.dropouts] == [dropout.ratio for dropout in model.dropouts]
        assert other.loss.label_smoothing == model.loss.label_smoothing


def test_a_config_of_both_dtypes_has_the_same_weights():
    for choices in STEADY.values():
        for a, b in zip(make_model(choices).params, make_model(choices, dtype="float64").params, strict=True):
            assert (a.dtype, b.dtype) == (np.float32, np.float64)
            np.testing.assert_array_equal(a, b.astype(np.float32))


def test_the_plain_model_draws_what_it_always_drew():
    """Its weights are those of the first version, number by number."""
    generator = np.random.default_rng(7)
    expected = []
    for V in (V_SOURCE, V_TARGET):
        expected.append(0.1 * generator.standard_normal((V, D)))
        expected.append(D**-0.5 * generator.standard_normal((D, 4 * H)))
        expected.append(H**-0.5 * generator.standard_normal((H, 4 * H)))
        expected.append(np.repeat([1.0, 0, 0, 0], H))
    expected.append((2 * H) ** -0.5 * generator.standard_normal((2 * H, V_TARGET)))
    expected.append(np.zeros(V_TARGET))
    same(make_model({}, seed=7).params, [array.astype(np.float32) for array in expected])
    same(make_model({}, seed=7, dtype="float64").params, expected)


@lengths
def test_the_plain_model_computes_what_it_always_computed(kernel_set, lengths, rng):
    """The layers of the first version, one after another, give the same bits."""
    model = make_model({})
    model._whole = lambda: None  # as one, a model rounds otherwise
    x, t = make_batch(rng, model)
    given = step(model, x, t, lengths)
    Ws, Es, Wt, Et, Wa = model.params[0], model.params[1:4], model.params[4], model.params[5:8], model.params[8:]
    encoder = fastattn.EmbeddingLSTM(fastattn.Embedding(Ws), fastattn.LSTM(*Es))
    decoder = fastattn.EmbeddingLSTM(fastattn.Embedding(Wt), fastattn.LSTM(*Et))
    attention, affine = fastattn.Attention(join=True), fastattn.Affine(*Wa)
    loss = fastattn.SoftmaxCrossEntropy(overwrite_scores=True)
    source, target = (lengths.get(f"{side}_lengths") for side in ("source", "target"))
    target = None if target is None else np.array(target) - 1
    last = np.arange(N), np.array([T1] * N if source is None else source) - 1
    hs_enc = encoder.forward(x, lengths=source)
    decoder.lstm.set_state(hs_enc[last])
    hs = decoder.forward(t[:, :-1], lengths=target)
    scores = affine.forward(attention.forward(hs_enc, hs, source_lengths=source, target_lengths=target), lengths=target)
    value = loss.forward(scores, t[:, 1:], lengths=target)
    dhs_enc, dhs = attention.backward(affine.backward(loss.backward()))
    decoder.backward(dhs)
    dhs_enc[last] += decoder.lstm.dh
    encoder.backward(dhs_enc)
    same(given, [value, *encoder.grads, *decoder.grads, *affine.grads])


def test_first_weights():
    model = make_model({**FAMILY["deep"], "forget_bias": -0.5, "orthogonal": True}, dtype="float64")
    for name, p in model.named_params().items():
        kind = name.rsplit(".", 1)[1]
        if kind == "Wh":
            for gate in np.hsplit(p, 4):
                np.testing.assert_allclose(gate @ gate.T, np.eye(len(gate)), atol=1e-12)
            assert not np.allclose(p[:, :H], p[:, H : 2 * H])
        elif kind == "b":
            expected = np.repeat([-0.5, 0, 0, 0], H) if ".lstm." in name else np.zeros(len(p))
            np.testing.assert_array_equal(p, expected)
    wide = make_model({**FAMILY["feeding"], "attention_size": 50}, D=60, H=50).named_params()
    for name, p in wide.items():
        if name.endswith((".W", ".Wx", ".Wh", ".W_query", ".v")) and "embedding" not in name:
            assert np.std(p) == pytest.approx(len(p) ** -0.5, rel=0.2), name


def test_a_shared_embedding_is_one_array(kernel_set, rng):
    model = make_model(FAMILY["tied and shared"])
    assert model.encoder.embedding.params[0] is model.decoder.embedding.params[0] is model.params[0]
    x, t = make_batch(rng, model)
    before = model.forward(x, t)
    optimizer = fastattn.Adam(0.01)
    for _ in range(20):
        loss = model.forward(x, t)
        model.backward()
        optimizer.update(model.params, model.grads)
    assert loss < 0.9 * before
    copied = copy.deepcopy(model)
    assert copied.encoder.embedding.params[0] is copied.decoder.embedding.params[0] is copied.params[0]


def test_scores_of_tied_embeddings_follow_the_embedding_at_once(kernel_set, rng):
    model = make_model(FAMILY["tied of one width"])
    x, t = make_batch(rng, model)
    scores = model.decoder.forward(t, model.encoder.forward(x))
    row = model.decoder.embedding.params[0][3]
    others = [v for v in range(V_TARGET) if v != 3]
    t[t == 3] = 2
    before = model.decoder.forward(t, model.encoder.forward(x))
    row *= 2
    after = model.decoder.forward(t, model.encoder.forward(x))
    np.testing.assert_allclose(after[:, :, 3], 2 * before[:, :, 3], rtol=1e-5)
    np.testing.assert_array_equal(after[:, :, others], before[:, :, others])
    assert scores.shape == (N, T2, V_TARGET)


@members(FAMILY)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"])
def test_a_model_can_be_copied_at_any_time(kernel_set, choices, rng, copied):
    model = make_model(choices)
    x, t = make_batch(rng, model)
    loss = model.forward(x, t)
    other = copied(model)
    with pytest.raises(RuntimeError, match="before"):
        other.backward()
    model.backward()
    other.step = 0
    assert other.forward(x, t) == loss
    other.backward()
    same(other.grads, model.grads)
    assert not any(np.shares_memory(a, b) for a, b in zip(model.params, other.params, strict=True))
    other.params[0][...] = 0  # the layer's own array, in the copy as well
    assert not other.encoder.embedding.params[0].any()


@members(FAMILY)
def test_backward_overwrites_the_gradients_in_place(kernel_set, choices, rng):
    model = make_model(choices)
    x, t = make_batch(rng, model)
    held = list(model.grads)
    _, *first = step(model, x, t, PADDED)
    step(model, x[:, ::-1], t, WHOLE, at=1)
    assert all(a is b for a, b in zip(held, model.grads, strict=True))
    _, *again = step(model, x, t, PADDED)
    same(again, first)
    with pytest.raises(RuntimeError, match="a second time"):
        model.backward()


@members(FAMILY)
def test_attention_weight(kernel_set, choices, rng):
    model = make_model(choices)
    assert model.attention_weight is None
    x, t = make_batch(rng, model)
    model.forward(x, t, **PADDED)
    if choices.get("attention", "dot") is None:
        assert model.attention_weight is None
        return
    held, before = model.attention_weight, model.attention_weight.copy()
    assert held.shape == (T2 - 1, N, T1)
    real = np.arange(T1) < np.array(PADDED["source_lengths"])[:, None]
    for n, target in enumerate(PADDED["target_lengths"]):
        assert not held[target - 1 :, n].any()
        np.testing.assert_allclose(held[: target - 1, n].sum(axis=1), 1, rtol=1e-5)
        assert not held[:, n, ~real[n]].any()
    model.backward()
    model.forward(x[::-1], t, **PADDED)
    np.testing.assert_array_equal(held, before)


@members({name: FAMILY[name] for name in ("feeding", "deep", "without attention, deep", "fed, projected, tied")})
def test_learns_to_reverse(kernel_set, choices, rng):
    given = {**choices, "target_vocabulary": None}
    model = fastattn.AttentionSeq2seq(5, 7, 20, seed=1, **given)
    x = rng.integers(1, 5, (24, 4))
    t = np.hstack((np.zeros((24, 1), int), x[:, ::-1]))
    optimizer = fastattn.Adam(0.02)
    for _ in range(100):
        model.forward(x, t)
        model.backward()
        optimizer.update(model.params, model.grads)
    np.testing.assert_array_equal(model.generate(x, 0, 4), t[:, 1:])


@members(FAMILY)
def test_the_loss_falls_with_every_option(kernel_set, choices, rng):
    model = make_model(choices)
    x, t = make_batch(rng, model, N=8, T1=T1, T2=T2)
    given = {"source_lengths": rng.integers(1, T1 + 1, 8), "target_lengths": rng.integers(2, T2 + 1, 8)}
    before = model.eval().forward(x, t, **given)
    optimizer = fastattn.Adam(0.05)
    model.train()
    for _ in range(40):
        model.forward(x, t, **given)
        model.backward()
        optimizer.update(model.params, model.grads, max_norm=5.0)
    assert model.eval().forward(x, t, **given) < 0.6 * before


def test_parts_by_themselves(kernel_set, rng):
    encoder_choices = {"encoder_layers": 2, "bidirectional": True, "encoder_hidden": 3}
    decoder_choices = {**encoder_choices, "decoder_layers": 2, "attention": "general", "bridge": "affine"}
    encoder = fastattn.Encoder(V_SOURCE, D, H, seed=1, **encoder_choices)
    decoder = fastattn.Decoder(V_TARGET, D, H, seed=1, **decoder_choices)
    x, t = rng.integers(0, V_SOURCE, (N, T1)), rng.integers(0, V_TARGET, (N, T2))
    hs_enc = encoder.forward(x, lengths=PADDED["source_lengths"])
    states = encoder.final_states
    assert hs_enc.shape == (N, T1, 6)
    assert [(h.shape, c.shape) for h, c in states] == [((N, 6), (N, 6))] * 2
    last = np.arange(N), np.array(PADDED["source_lengths"]) - 1
    np.testing.assert_array_equal(states[1][0], np.hstack((hs_enc[last][:, :3], hs_enc[:, 0, 3:])))
    scores = decoder.forward(t, hs_enc, source_lengths=PADDED["source_lengths"], states=states)
    dhs_enc = decoder.backward(scores)
    assert [(h.shape, c.shape) for h, c in decoder.dstates] == [((N, 6), (N, 6))] * 2
    encoder.backward(dhs_enc, decoder.dstates)
    assert all(np.any(grad) for grad in (*encoder.grads, *decoder.grads))


@pytest.mark.parametrize(
    ("choices", "states", "error", "match"),
    [
        (
            {"bridge": "affine"},
            None,
            ValueError,
            "states is None; expected the encoder's final_states, h and c of each of 1 layers",
        ),
        ({"encoder_layers": 2}, None, ValueError, "states is None; expected the encoder's final_states"),
        ({"encoder_layers": 2}, [(0, 0)], ValueError, "states has 1 entries; expected h and c of each of 2 layers"),
        ({}, [(np.zeros((N, H + 1), "f"), None)], ValueError, r"h of states\[0\] has shape \(3, 8\); expected \(3, 7\)"),
        ({}, [(np.zeros((N, H)), None)], TypeError, r"h of states\[0\] has dtype float64; expected float32"),
        (
            {"bridge": "last_state"},
            [(np.zeros((N, H), "f"), np.zeros((2, H), "f"))],
            ValueError,
            r"c of states\[0\] has shape \(2, 7\); expected \(3, 7\)",
        ),
        ({"bridge": "last_state"}, [(np.zeros((N, H), "f"), None)], TypeError, r"c of states\[0\] has dtype object"),
        ({}, [None], TypeError, r"states\[0\] is NoneType; expected a pair, h and c"),
    ],
)
def test_states_that_a_decoder_cannot_start_from(kernel_set, choices, states, error, match):
    decoder = fastattn.Decoder(V_TARGET, D, H, **choices)
    with pytest.raises(error, match=match):
        decoder.forward(np.zeros((N, T2), int), np.zeros((N, T1, H), "f"), states=states)


@pytest.mark.parametrize("choices", [{}, {"encoder_layers": 2}, {"bidirectional": True, "project_encoder": True}])
def test_gradients_of_states_that_an_encoder_does_not_have(kernel_set, choices, rng):
    """Each is refused, and changes nothing: the right ones may still be given."""
    encoder = fastattn.Encoder(V_SOURCE, D, H, seed=0, **choices)
    hs = encoder.forward(rng.integers(0, V_SOURCE, (N, T1)))
    L, E0 = len(encoder.final_states), encoder.final_states[0][0].shape[1]
    right = [(np.ones((N, E0), "f"), None)] * L
    for dstates, error, match in (
        ([], ValueError, f"dstates has 0 entries; expected h and c of each of {L} layers"),
        (right + right[:1], ValueError, f"dstates has {L + 1} entries"),
        ([None] * L, TypeError, r"dstates\[0\] is NoneType; expected a pair, h and c"),
        ([(np.zeros((N, E0 + 1), "f"), None)] * L, ValueError, r"h of dstates\[0\] has shape"),
        ([(None, np.zeros((N + 1, E0), "f"))] * L, ValueError, r"c of dstates\[0\] has shape"),
        ([(None, np.zeros((N, E0)))] * L, TypeError, r"c of dstates\[0\] has dtype float64; expected float32"),
    ):
        with pytest.raises(error, match=match):
            encoder.backward(np.ones_like(hs), dstates)
        assert not any(np.any(grad) for grad in encoder.grads)
    encoder.backward(np.ones_like(hs), right)
    assert all(np.any(grad) for grad in encoder.grads)
