"""Means of weights against sums that are written out."""

import numpy as np
import pytest

from fastattn.training.averages import Checkpoints, MovingAverage, weights_of


def drawn(rng, dtype="float32"):
    return [rng.standard_normal((3, 5)).astype(dtype), rng.standard_normal(7).astype(dtype)]


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_the_moving_average_is_the_weighted_mean_of_all_steps(decay, rng):
    average = MovingAverage(decay)
    steps = [drawn(rng, "float64") for _ in range(6)]
    for k, params in enumerate(steps, start=1):
        average.update(params)
        factors = np.array([decay ** (k - i) for i in range(1, k + 1)])
        factors /= factors.sum()
        for index, mean in enumerate(average.mean):
            expected = sum(factor * step[index] for factor, step in zip(factors, steps, strict=False))
            np.testing.assert_allclose(mean, expected, rtol=1e-12, atol=1e-12)


def test_the_moving_average_has_arrays_of_its_own(rng):
    params = drawn(rng)
    before = [param.copy() for param in params]
    average = MovingAverage(0.5)
    average.update(params)
    for param in params:
        param += 1
    average.update(params)
    for mean, param, first in zip(average.mean, params, before, strict=True):
        assert mean.dtype == np.float32
        np.testing.assert_allclose(mean, (0.5 * first + param) / 1.5, rtol=1e-5, atol=1e-6)


def test_checkpoints_keep_the_best_and_of_equal_ones_the_first():
    checkpoints = Checkpoints(2)
    for epoch, score in enumerate([0.1, 0.5, 0.2, 0.5, 0.5, 0.4], start=1):
        checkpoints.see((score, 0.0), epoch, [np.float32([epoch])])
    assert checkpoints.epochs == (2, 4)
    assert checkpoints.mean()[0].tolist() == [3.0]
    assert checkpoints.mean()[0].dtype == np.float32


def test_fewer_checkpoints_than_asked_for_are_averaged_all():
    checkpoints = Checkpoints(5)
    for epoch in (1, 2, 3):
        checkpoints.see((epoch, 0.0), epoch, [np.array([float(epoch)])])
    assert checkpoints.epochs == (1, 2, 3)
    assert checkpoints.mean()[0].tolist() == [2.0]


def test_a_single_checkpoint_comes_back_to_the_bit(rng):
    params = drawn(rng)
    checkpoints = Checkpoints(1)
    checkpoints.see((0.0, 0.0), 1, params)
    for mean, param in zip(checkpoints.mean(), params, strict=True):
        np.testing.assert_array_equal(mean, param)


def test_weights_are_borrowed_and_given_back(rng):
    params, others = drawn(rng), drawn(rng)
    own = [param.copy() for param in params]
    arrays = [*params]

    def borrow():
        with weights_of(params, others):
            assert all((p == o).all() for p, o in zip(params, others, strict=True))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        borrow()
    assert all(p is a and (p == o).all() for p, a, o in zip(params, arrays, own, strict=True))
