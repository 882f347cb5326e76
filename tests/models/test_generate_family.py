"""Greedy search by every member of the family, against the whole decoder run again for each symbol of each sample."""

import numpy as np
import pytest
from family import DROPPING, FAMILY, STEADY, V_SOURCE, V_TARGET, make_model, members, moved, same
from helpers import skip_without_compiled_kernels

import fastattn

N, T1, STEPS = 7, 5, 6
LENGTHS = [2, 5, 1, 4, 3, 5, 2]
START = 2
padding = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])


def make(choices, seed=5):
    model = make_model(choices, dtype="float64")
    for p in moved(model, np.random.default_rng(seed)).params:
        p *= 3
    model.params[-1][...] = 0  # so that no token is likely for all
    return model


def make_various(choices, x, lengths):
    """A model whose samples differ in what they become."""
    for seed in range(50):
        model = make(choices, seed)
        if len(np.unique(model.generate(x, START, STEPS, lengths=lengths), axis=0)) > 2:
            return model
    raise AssertionError("all models say the same of all samples")


@pytest.fixture
def x(rng):
    return rng.integers(0, V_SOURCE, (N, T1))


def attends(model):
    return model.config.attention is not None


def search_one(model, x, start_id, steps):
    """x (T,), one whole sample -> ids (steps,), the weights of each step (T,)."""
    model.eval()
    hs_enc = model.encoder.forward(x[None])
    states = model.encoder.final_states
    ids, weights = [start_id], []
    for _ in range(steps):
        scores = model.decoder.forward(np.array([ids]), hs_enc, states=states)
        weights.append(model.attention_weight[-1, 0] if attends(model) else None)
        ids.append(int(scores[0, -1].argmax()))
    model.train()
    return ids[1:], weights


@padding
@members(FAMILY)
def test_a_batch_is_searched_as_each_sample_alone(kernel_set, choices, x, lengths):
    model = make_various(choices, x, lengths)
    ids = model.generate(x, START, STEPS, lengths=lengths)
    assert (ids.shape, ids.dtype) == ((N, STEPS), np.int64)
    if attends(model):
        again, weights = model.generate(x, START, STEPS, lengths=lengths, return_attention=True)
        same([again], [ids])
        assert (weights.shape, weights.dtype) == ((N, STEPS, T1), np.float64)
    for n in range(N):
        length = T1 if lengths is None else lengths[n]
        expected_ids, expected_weights = search_one(model, x[n, :length], START, STEPS)
        assert ids[n].tolist() == expected_ids
        if attends(model):
            np.testing.assert_allclose(weights[n, :, :length], expected_weights, rtol=1e-9, atol=1e-12)
            assert not weights[n, :, length:].any()


@members(STEADY)
def test_after_the_end_symbol_come_only_end_symbols(kernel_set, choices, x):
    model = make_various(choices, x, LENGTHS)
    free = model.generate(x, START, STEPS, lengths=LENGTHS)
    for end_id in np.unique(free):  # some samples end with it, and not all at once
        ids = model.generate(x, START, STEPS, end_id=end_id, lengths=LENGTHS)
        for n in range(N):
            ends = np.flatnonzero(free[n] == end_id)
            stop = ends[0] + 1 if len(ends) else STEPS
            np.testing.assert_array_equal(ids[n, :stop], free[n, :stop])
            assert (ids[n, stop:] == end_id).all()


@members(STEADY)
def test_the_weights_end_with_the_sample(kernel_set, choices, x):
    model = make(choices)
    if not attends(model):
        with pytest.raises(ValueError, match="return_attention is True, but the model has no attention"):
            model.generate(x, START, STEPS, return_attention=True)
        return
    free, free_weights = model.generate(x, START, STEPS, lengths=LENGTHS, return_attention=True)
    end_id = free[0, 2]
    _, weights = model.generate(x, START, STEPS, end_id=end_id, lengths=LENGTHS, return_attention=True)
    for n in range(N):
        ends = np.flatnonzero(free[n] == end_id)
        stop = ends[0] + 1 if len(ends) else STEPS
        np.testing.assert_allclose(weights[n, :stop], free_weights[n, :stop], rtol=1e-9)
        assert not weights[n, stop:].any()


@members(STEADY)
def test_all_samples_may_end_at_once(kernel_set, choices, x):
    model = make(choices)
    model.params[-1][...] = 0
    model.params[-1][4] = 1e6
    np.testing.assert_array_equal(model.generate(x, START, STEPS, end_id=4), np.full((N, STEPS), 4))


@members(STEADY)
def test_of_equal_scores_the_lowest_id_wins(kernel_set, choices, x):
    model = make(choices)
    named = model.named_params()
    embedding = "encoder.embedding.W" if choices.get("share_embeddings") else "decoder.embedding.W"
    named["decoder.affine.W" if "decoder.affine.W" in named else embedding][...] = 0
    model.params[-1][:9] = [0, 0, 1, 0, 1, 1, 0, 0, 0]
    model.params[-1][9:] = 0
    np.testing.assert_array_equal(model.generate(x, 0, 3), np.full((N, 3), 2))


@members(STEADY)
def test_what_stands_at_padding_is_never_read(kernel_set, choices, x):
    model = make(choices)
    expected = model.generate(x, START, STEPS, lengths=LENGTHS)
    x[np.arange(T1) >= np.array(LENGTHS)[:, None]] = -1
    same([model.generate(x, START, STEPS, lengths=LENGTHS)], [expected])


@members(FAMILY)
def test_between_a_forward_and_its_backward_nothing_is_disturbed(kernel_set, choices, x, rng):
    model = make(choices)
    t = rng.integers(0, V_TARGET, (N, 4))
    model.forward(x, t, source_lengths=LENGTHS)
    model.backward()
    expected, weights = [grad.copy() for grad in model.grads], model.attention_weight
    states = [(lstm.h, lstm.c) for part in (model.encoder, model.decoder) for lstm in part.lstm.lstms]
    model.step = 0
    model.forward(x, t, source_lengths=LENGTHS)
    model.generate(x[:3], START, STEPS)
    assert model.step == 1
    if attends(model):
        np.testing.assert_array_equal(model.attention_weight, weights)
    after = [(lstm.h, lstm.c) for part in (model.encoder, model.decoder) for lstm in part.lstm.lstms]
    for given, before in zip(after, states, strict=True):
        same(given, before)
    model.backward()
    same(model.grads, expected)


@members(DROPPING)
def test_there_is_no_dropout_while_generating(kernel_set, choices, x):
    without = make({**choices, "dropout": 0.0, "recurrent_dropout": 0.0, "word_dropout": 0.0})
    model = make(choices)
    same([model.generate(x, START, STEPS)], [without.generate(x, START, STEPS)])
    assert model.training


@members(STEADY)
def test_what_a_caller_holds_stays_valid(kernel_set, choices, x):
    model = make(choices)
    given = {"return_attention": True} if attends(model) else {}
    held = model.generate(x, START, STEPS, **given)
    before = [array.copy() for array in np.atleast_1d(held)] if not given else [array.copy() for array in held]
    model.generate(x[::-1], 3, STEPS, **given)
    same(held if given else [held], before if given else [np.array(before)])


@members(STEADY)
def test_one_step_for_one_sample_of_one_token(kernel_set, choices):
    model = make(choices)
    ids = model.generate([[5]], 0, 1)
    assert ids.shape == (1, 1)
    if attends(model):
        np.testing.assert_allclose(model.generate([[5]], 0, 1, return_attention=True)[1], [[[1]]])


@members(STEADY)
def test_both_kernel_sets_agree(choices, x):
    skip_without_compiled_kernels()
    results = []
    for name in fastattn.backend.BACKENDS:
        with fastattn.use_backend(name):
            results.append(make(choices).generate(x, START, STEPS, lengths=LENGTHS, end_id=4))
    same(*[[result] for result in results])
