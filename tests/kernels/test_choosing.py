"""What the choice of a token promises besides its numbers: ties, scores that give no probabilities, what can be drawn."""

import numpy as np
import pytest
from fastattn_kernels import compiled, reference

kernel_sets = pytest.mark.parametrize("kernels", [reference, compiled], ids=["reference", "compiled"])
FIRSTS = np.array([0, 2, 3])
NONE = np.zeros(0, np.int64)


@kernel_sets
@pytest.mark.parametrize("V", [5, 200])
def test_of_equal_successors_the_lowest_row_comes_first_and_then_the_lowest_id(kernels, V):
    scores, totals = np.zeros((3, V), np.float32), np.array([-1.0, -1.0, -2.0])
    rows, tokens, _, sums = kernels.best_successors(scores, totals, FIRSTS, V + 2, NONE)
    assert rows.tolist() == [[0] * V + [1] * 2, [2] * V + [-1] * 2]
    assert tokens.tolist() == [[*range(V), 0, 1], [*range(V), 0, 0]]
    np.testing.assert_allclose(sums, [[-1 - np.log(V)] * (V + 2), [-2 - np.log(V)] * V + [-np.inf] * 2], rtol=1e-6)


@kernel_sets
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scores_that_give_no_probabilities(kernels, dtype, wrong):
    """They come after all others, and among themselves in order."""
    scores, totals = np.zeros((3, 4), dtype), np.array([-5.0, -6.0, -7.0])
    scores[0, 2] = scores[2, 3] = wrong
    rows, tokens, of_tokens, sums = kernels.best_successors(scores, totals, FIRSTS, 5, NONE)
    assert rows.tolist() == [[1, 1, 1, 1, 0], [2, 2, 2, 2, -1]]
    assert tokens.tolist() == [[0, 1, 2, 3, 0], [0, 1, 2, 3, 0]]
    assert np.isfinite(sums).tolist() == [[True] * 4 + [False], [False] * 5]
    assert np.isinf(of_tokens[1]).all()
    tokens, of_tokens = kernels.draw_tokens(scores, 1.0, 2, 0.9, np.array([0.9, 0.9, 0.9]), NONE)
    assert (tokens.tolist(), np.isfinite(of_tokens).tolist()) == ([0, 1, 0], [False, True, False])
    mean = kernels.mean_log_probability(np.stack([scores[:1], scores[1:2]]))
    np.testing.assert_allclose(mean, [[np.log(1 / 8)] * 4], rtol=1e-6)
    assert np.isinf(kernels.target_log_probability(scores[None, 2:], np.array([[1]]), None)).all()


@kernel_sets
def test_a_score_of_minus_infinity_is_a_probability_of_zero(kernels):
    scores = np.array([[0.0, -np.inf, 0.0]])
    _, tokens, of_tokens, _ = kernels.best_successors(scores, np.zeros(1), np.array([0, 1]), 3, NONE)
    assert tokens.tolist() == [[0, 2, 1]]
    np.testing.assert_allclose(of_tokens, [[np.log(0.5), np.log(0.5), -np.inf]])
    for uniform in (0.0, 0.4999, 0.5, 0.9999999):
        tokens, _ = kernels.draw_tokens(scores, 1.0, 0, 1.0, np.array([uniform]), NONE)
        assert tokens.tolist() == [0 if uniform < 0.5 else 2]


@kernel_sets
@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [(0, 1, [0, 1, 2, 3]), (1, 1, [2]), (2, 1, [0, 2]), (3, 1, [0, 1, 2]), (0, 0.4, [2]), (0, 0.6, [0, 2]), (3, 0.7, [0, 2])],
)
def test_what_can_be_drawn(kernels, top_k, top_p, kept):
    p = np.array([0.2, 0.2, 0.45, 0.15])  # of the first two, which are as probable, the first is kept
    uniforms = (np.arange(1000) + 0.5) / 1000
    tokens, of_tokens = kernels.draw_tokens(np.tile(np.log(p), (1000, 1)), 1.0, top_k, top_p, uniforms, NONE)
    parts = np.bincount(tokens, minlength=4) / 1000
    np.testing.assert_allclose(parts[kept], p[kept] / p[kept].sum(), atol=2e-3)
    assert parts[kept].sum() == 1
    np.testing.assert_allclose(of_tokens, np.log(p)[tokens], rtol=1e-9)


@kernel_sets
def test_a_temperature_makes_the_likely_more_likely_or_less(kernels):
    p, uniforms = np.array([0.5, 0.3, 0.2]), (np.arange(2000) + 0.5) / 2000
    for temperature in (0.5, 1.0, 3.0):
        tokens, _ = kernels.draw_tokens(np.tile(np.log(p), (2000, 1)), temperature, 0, 1.0, uniforms, NONE)
        expected = p ** (1 / temperature)
        np.testing.assert_allclose(np.bincount(tokens) / 2000, expected / expected.sum(), atol=2e-3)


@kernel_sets
def test_what_is_forbidden_keeps_its_probability_and_is_not_taken(kernels):
    scores, forbidden = np.array([[9.0, 1.0, 2.0, 8.0, 0.0]]), np.array([0, 3])
    log_p = scores[0] - np.log(np.exp(scores).sum())
    rows, tokens, of_tokens, _ = kernels.best_successors(scores, np.zeros(1), np.array([0, 1]), 4, forbidden)
    assert (rows.tolist(), tokens.tolist()) == ([[0, 0, 0, -1]], [[2, 1, 4, 0]])
    np.testing.assert_allclose(of_tokens[0, :3], log_p[[2, 1, 4]], rtol=1e-9)
    uniforms = (np.arange(1000) + 0.5) / 1000
    tokens, of_tokens = kernels.draw_tokens(np.tile(scores, (1000, 1)), 1.0, 0, 1.0, uniforms, forbidden)
    expected = np.exp([-np.inf, 1, 2, -np.inf, 0]) / np.exp([1, 2, 0]).sum()
    np.testing.assert_allclose(np.bincount(tokens, minlength=5) / 1000, expected, atol=2e-3)
    np.testing.assert_allclose(of_tokens, log_p[tokens], rtol=1e-9)


@kernel_sets
def test_what_is_forbidden_is_not_drawn_though_nothing_else_is_probable(kernels):
    scores, forbidden = np.array([[0.0, 5.0, -4000.0, -4001.0], [0, 0, -np.inf, -np.inf], [np.nan, 0, 0, 0]]), np.array([0, 1])
    tokens, of_tokens = kernels.draw_tokens(scores, 0.01, 0, 1.0, np.array([0.5, 0.5, 0.5]), forbidden)
    assert (tokens.tolist(), np.isfinite(of_tokens).tolist()) == ([2, 2, 2], [True, False, False])
