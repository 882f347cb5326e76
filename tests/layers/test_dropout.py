"""Dropout while training and not, and where its masks come from."""

import numpy as np
import pytest
from helpers import check_gradients, normal

import fastattn
from fastattn.layers.dropout import mask_seed

KNOWN = [2558736989570252433, 7702586659592502839, 1635169434574162572]


@pytest.fixture
def x(rng):
    return normal(rng, 3, 5, 7, dtype=float)


def test_drops_about_the_ratio_and_scales_the_rest(backend):
    out = fastattn.Dropout(0.3, seed=1).forward(np.ones((11, 31, 67), np.float32))
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs(np.mean(out == 0) - 0.3) < 0.01


def test_each_forward_drops_others(backend, x):
    dropout = fastattn.Dropout(0.5, seed=1)
    assert not np.array_equal(dropout.forward(x), dropout.forward(x))


@pytest.mark.parametrize("seed", [lambda: 1, lambda: np.random.default_rng(1)], ids=["number", "generator"])
def test_the_same_seed_drops_the_same(backend, x, seed):
    first, second = fastattn.Dropout(0.5, seed=seed()), fastattn.Dropout(0.5, seed=seed())
    for _ in range(3):
        np.testing.assert_array_equal(first.forward(x), second.forward(x))


def test_backward_is_by_the_mask_of_forward(backend, x, rng):
    dropout = fastattn.Dropout(0.5, seed=1)
    dropped = dropout.forward(x) == 0
    dx = dropout.backward(np.ones_like(x))
    np.testing.assert_array_equal(dx, np.where(dropped, 0, 2.0))


def test_gradients(backend, x, rng):
    dout = normal(rng, *x.shape, dtype=float)
    dropout = fastattn.Dropout(0.4, seed=1)
    dropout.forward(x)
    dx = dropout.backward(dout)
    check_gradients(lambda: float(np.sum(dout * fastattn.Dropout(0.4, seed=1).forward(x))), [x], [dx], rng)


def test_passes_everything_when_not_training_or_for_a_ratio_of_zero(backend, x):
    at_rest, nothing = fastattn.Dropout(0.5), fastattn.Dropout(0)
    at_rest.training = False
    for dropout in (at_rest, nothing):
        np.testing.assert_array_equal(dropout.forward(x), x)
        np.testing.assert_array_equal(dropout.backward(2 * x), 2 * x)


def test_a_mask_follows_from_seed_step_and_place_alone(backend, x):
    dropout = fastattn.Dropout(0.5, seed=1)
    outs = [dropout.forward(x) for _ in range(3)]
    assert dropout.step == 3
    other = fastattn.Dropout(0.5, seed=1)
    other.step = 2
    np.testing.assert_array_equal(other.forward(x), outs[2])
    for name, value in (("seed", 2), ("place", 1), ("step", 5), ("first_sample", 1)):
        other = fastattn.Dropout(0.5, seed=1)
        setattr(other, name, value)
        assert not np.array_equal(other.forward(x), outs[0]), name


@pytest.mark.parametrize("whole", [False, True])
def test_a_batch_in_parts_has_the_masks_of_the_whole(backend, rng, whole):
    x = normal(rng, 7, 5, 3, dtype=float)
    expected = fastattn.Dropout(0.5, seed=1, whole=whole).forward(x)
    parts = []
    for first, last in ((0, 2), (2, 3), (3, 7)):
        dropout = fastattn.Dropout(0.5, seed=1, whole=whole)
        dropout.first_sample = first
        parts.append(dropout.forward(x[first:last]))
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_only_a_forward_that_drops_counts(backend, x):
    dropout, nothing = fastattn.Dropout(0.5, seed=1), fastattn.Dropout(0, seed=1)
    dropout.training = False
    dropout.forward(x)
    nothing.forward(x)
    assert (dropout.step, nothing.step) == (0, 0)


def test_whole_positions(backend):
    x = np.ones((11, 31, 67), np.float32)
    dropout = fastattn.Dropout(0.3, seed=1, whole=True)
    out = dropout.forward(x)
    assert (out == out[:, :, :1]).all()
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs(np.mean(out[:, :, 0] == 0) - 0.3) < 0.06
    np.testing.assert_array_equal(dropout.backward(x), out)


def test_a_mask_for_a_whole_sequence(backend):
    dropout = fastattn.Dropout(0.3, seed=1)
    mask = dropout.mask(101, 67, np.dtype("float32"))
    assert mask.shape == (101, 67)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs(np.mean(mask == 0) - 0.3) < 0.02
    assert not np.array_equal(dropout.mask(101, 67, np.dtype("float32")), mask)
    dropout.step = 0
    np.testing.assert_array_equal(dropout.mask(101, 67, np.dtype("float32")), mask)
    dropout.training = False
    assert dropout.mask(101, 67, np.dtype("float32")) is None
    assert dropout.step == 1


def test_backward_is_by_the_ratio_of_forward(backend, x):
    dropout = fastattn.Dropout(0.5, seed=1)
    dropped = dropout.forward(x) == 0
    dropout.ratio, dropout.whole, dropout.step, dropout.seed = 0.1, True, 9, 9
    np.testing.assert_array_equal(dropout.backward(np.ones_like(x)), np.where(dropped, 0, 2.0))


def test_making_a_layer_draws_nothing():
    generator = np.random.default_rng(1)
    dropout = fastattn.Dropout(0.5, seed=generator)
    expected = np.random.default_rng(1).integers(2**64, dtype=np.uint64)
    assert dropout.seed == expected
    assert dropout.seed == expected  # drawn once


def test_mask_seeds_stay_what_they_are():
    """Whoever repeats a step from its number repeats it with a later version, too."""
    assert [mask_seed(*numbers) for numbers in ((0, 0, 0), (1, 2, 3), (2**64 - 1, 10**12, 7, 5))] == KNOWN
    assert mask_seed(1, 2, 3, 4) == (int(mask_seed(1, 2, 3)) + 4 * 0x9E3779B97F4A7C15) % 2**64
    assert mask_seed(np.int64(1), np.int64(2), np.int64(3)) == mask_seed(1, 2, 3)
    seeds = {int(mask_seed(*numbers)) for numbers in np.ndindex(7, 7, 7)}
    assert len(seeds) == 7**3  # (1, 2, 3) is not (2, 1, 3), nor (3, 3, 0)


@pytest.mark.parametrize(
    ("ratio", "error", "expected"),
    [
        *((ratio, ValueError, "0 <= ratio < 1") for ratio in (-0.1, 1, float("nan"))),
        *((ratio, TypeError, "a number") for ratio in ("0.1", None, True)),
    ],
)
def test_ratio_out_of_range(ratio, error, expected):
    with pytest.raises(error, match=f"ratio is .*; expected {expected}"):
        fastattn.Dropout(ratio)


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (2**64, ValueError), (1.5, TypeError), (True, TypeError)])
def test_seeds_that_are_none(seed, error):
    with pytest.raises(error, match=r"seed is .*; expected a whole number"):
        fastattn.Dropout(0.5, seed=seed)
    dropout = fastattn.Dropout(0.5)
    with pytest.raises(error, match=r"seed is .*; expected a whole number"):
        dropout.seed = seed
