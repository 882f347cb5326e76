"""Dropout while training and not, and where its masks come from."""

import numpy as np
import pytest
from helpers import check_gradients, normal

import fastattn


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


@pytest.mark.parametrize("ratio", [-0.1, 1, float("nan")])
def test_ratio_out_of_range(ratio):
    with pytest.raises(ValueError, match=r"ratio is .*; expected 0 <= ratio < 1"):
        fastattn.Dropout(ratio)
