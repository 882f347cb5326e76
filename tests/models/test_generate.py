"""Greedy search, against a search that runs the whole decoder again for each symbol of each sample."""

import numpy as np
import pytest
from helpers import skip_without_compiled_kernels

import fastattn

V_SOURCE, V_TARGET, N, T1, STEPS = 13, 9, 7, 5, 6
LENGTHS = [2, 5, 1, 4, 3, 5, 2]


@pytest.fixture
def model():
    model = fastattn.AttentionSeq2seq(V_SOURCE, 7, 11, target_vocabulary=V_TARGET, dtype="float64", seed=1)
    for p in model.params:
        p *= 3  # so that samples differ in what they become
    return model


@pytest.fixture
def x(rng):
    return rng.integers(0, V_SOURCE, (N, T1))


def search_one(model, x, start_id, steps):
    """x (T,), one whole sample -> ids (steps,), weights (steps, T)."""
    hs_enc = model.encoder.forward(x[None])
    ids, weights = [start_id], []
    for _ in range(steps):
        scores = model.decoder.forward(np.array([ids]), hs_enc)
        weights.append(model.attention_weight[-1, 0])
        ids.append(int(scores[0, -1].argmax()))
    return np.array(ids[1:]), np.array(weights)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
def test_a_batch_is_searched_as_each_sample_alone(backend, model, x, lengths):
    ids, weights = model.generate(x, 2, STEPS, lengths=lengths, return_attention=True)
    assert (ids.shape, ids.dtype) == ((N, STEPS), np.int64)
    assert (weights.shape, weights.dtype) == ((N, STEPS, T1), np.float64)
    assert len(np.unique(ids, axis=0)) > 1
    for n in range(N):
        length = T1 if lengths is None else lengths[n]
        expected_ids, expected_weights = search_one(model, x[n, :length], 2, STEPS)
        np.testing.assert_array_equal(ids[n], expected_ids)
        np.testing.assert_allclose(weights[n, :, :length], expected_weights, rtol=1e-9, atol=1e-12)
        assert not weights[n, :, length:].any()


def test_after_the_end_symbol_come_only_end_symbols(backend, model, x):
    free, free_weights = model.generate(x, 2, STEPS, return_attention=True)
    end_id = free[0, 2]  # some sample ends, and, as they differ, not all at once
    ids, weights = model.generate(x, 2, STEPS, end_id=end_id, return_attention=True)
    ended_within = False
    for n in range(N):
        ends = np.flatnonzero(free[n] == end_id)
        stop = ends[0] + 1 if len(ends) else STEPS
        ended_within |= stop < STEPS
        np.testing.assert_array_equal(ids[n, :stop], free[n, :stop])
        assert (ids[n, stop:] == end_id).all()
        np.testing.assert_array_equal(weights[n, :stop], free_weights[n, :stop])
        assert not weights[n, stop:].any()
    assert ended_within


def test_all_samples_may_end_at_once(backend, model, x):
    model.params[-1][...] = 0
    model.params[-1][4] = 1e6
    ids, weights = model.generate(x, 2, STEPS, end_id=4, return_attention=True)
    np.testing.assert_array_equal(ids, np.full((N, STEPS), 4))
    assert weights[:, 0].any()
    assert not weights[:, 1:].any()


def test_of_equal_scores_the_lowest_id_wins(backend, model, x):
    model.params[-2][...] = 0
    model.params[-1][...] = [0, 0, 1, 0, 1, 1, 0, 0, 0]
    np.testing.assert_array_equal(model.generate(x, 0, 3), np.full((N, 3), 2))


def test_what_stands_at_padding_is_never_read(backend, model, x):
    expected = model.generate(x, 2, STEPS, lengths=LENGTHS)
    x[np.arange(T1) >= np.array(LENGTHS)[:, None]] = -1
    np.testing.assert_array_equal(model.generate(x, 2, STEPS, lengths=LENGTHS), expected)


def test_between_a_forward_and_its_backward_nothing_is_disturbed(backend, model, x, rng):
    t = rng.integers(0, V_TARGET, (N, 4))
    model.forward(x, t, source_lengths=LENGTHS)
    model.backward()
    expected, weights = [grad.copy() for grad in model.grads], model.attention_weight.copy()
    model.forward(x, t, source_lengths=LENGTHS)
    model.generate(x[:3], 2, STEPS)
    np.testing.assert_array_equal(model.attention_weight, weights)
    model.backward()
    for a, b in zip(model.grads, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_there_is_no_dropout_while_generating(backend, x):
    with_dropout, without = (fastattn.AttentionSeq2seq(V_SOURCE, 7, 11, seed=1, dropout=d) for d in (0.5, 0.0))
    np.testing.assert_array_equal(with_dropout.generate(x, 2, STEPS), without.generate(x, 2, STEPS))
    assert with_dropout.training


def test_what_a_caller_holds_stays_valid(backend, model, x):
    ids, weights = model.generate(x, 2, STEPS, return_attention=True)
    ids_before, weights_before, x_before = ids.copy(), weights.copy(), x.copy()
    model.generate(x[::-1], 3, STEPS, return_attention=True)
    np.testing.assert_array_equal(ids, ids_before)
    np.testing.assert_array_equal(weights, weights_before)
    np.testing.assert_array_equal(x, x_before)


def test_one_step_for_one_sample_of_one_token(backend, model):
    ids, weights = model.generate([[5]], 0, 1, return_attention=True)
    assert ids.shape == (1, 1)
    np.testing.assert_array_equal(weights, [[[1]]])


def test_both_kernel_sets_agree(model, x):
    skip_without_compiled_kernels()
    results = []
    for name in fastattn.backend.BACKENDS:
        with fastattn.use_backend(name):
            results.append(model.generate(x, 2, STEPS, lengths=LENGTHS))
    np.testing.assert_array_equal(*results)
