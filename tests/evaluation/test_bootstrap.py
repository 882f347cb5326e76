"""Intervals, beside the bootstrap in plain loops."""

import numpy as np
import pytest
from evaluation.naive import drawn

from fastattn.evaluation import compare, intervals, score, total


@pytest.fixture
def compared(rng):
    answers = drawn(rng, 41)
    references = [[["T"], *drawn(rng, 2)] for _ in answers]
    return compare(answers, references, separator=" ")


@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_intervals_are_those_of_drawing_comparisons_one_by_one(compared, confidence):
    result = intervals(compared, resamples=50, seed=3, confidence=confidence)
    drawing = np.random.default_rng(3)
    scores = [total([compared[place] for place in drawing.integers(0, 41, 41)]) for _ in range(50)]
    for name in ("exact_match", "token_error_rate", "character_error_rate"):
        rates = sorted(getattr(one, name) for one in scores)
        low, high = getattr(result, name)
        # The quantile of 50 sorted numbers lies between two of them, so far along.
        for end, part in ((low, (1 - confidence) / 2), (high, (1 + confidence) / 2)):
            place = part * 49
            below = int(place)
            above = min(below + 1, 49)
            assert end == pytest.approx(rates[below] + (place - below) * (rates[above] - rates[below]), abs=1e-12)
        assert low < getattr(total(compared), name) < high
    assert (result.confidence, result.resamples, result.seed) == (confidence, 50, 3)


def test_the_same_seed_gives_the_same_interval_and_another_another(compared):
    assert intervals(compared, seed=1) == intervals(compared, seed=1)
    assert intervals(compared, seed=1).exact_match != intervals(compared, seed=2).exact_match or (
        intervals(compared, seed=1).token_error_rate != intervals(compared, seed=2).token_error_rate
    )


def test_an_interval_is_as_wide_as_theory_says():
    """Of a rate p of S sources the deviation is sqrt(p (1 - p) / S); 95 % lie within 1.96 of them on each side."""
    answers = [["a"]] * 300 + [["b"]] * 700
    low, high = intervals(compare(answers, [[["a"]]] * 1000), resamples=4000).exact_match
    half = 1.96 * (0.3 * 0.7 / 1000) ** 0.5
    assert low == pytest.approx(0.3 - half, abs=0.003)
    assert high == pytest.approx(0.3 + half, abs=0.003)


def test_one_answer_leaves_no_doubt_and_characters_not_counted_no_interval():
    result = intervals(compare([["a", "b"]], [[["a", "c"]]]), resamples=10)
    assert (result.exact_match, result.token_error_rate, result.character_error_rate) == ((0, 0), (0.5, 0.5), None)


def test_draws_without_a_reference_token_do_not_count():
    """Of the two sources only one has a token: a quarter of the draws hold the other twice."""
    compared = compare([["x"], []], [[["a"]], [[]]])
    assert intervals(compared, resamples=100).token_error_rate == (1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resamples": 0}, "resamples must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"confidence": 1.0}, "confidence must be more than 0 and less than 1, got 1.0"),
    ],
)
def test_nonsense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        intervals(compare([["a"]], [[["a"]]]), **options)
    with pytest.raises(ValueError, match="no comparisons"):
        intervals([])


def test_a_rate_is_the_score_itself_when_every_draw_is_the_same():
    compared = compare([["a", "b"]] * 5, [[["a"]]] * 5)
    assert intervals(compared).token_error_rate == (1.0, 1.0)
    assert score([["a", "b"]] * 5, [["a"]] * 5).token_error_rate == 1.0
