"""Results by the length of the source."""

import pytest

from fastattn.evaluation import by_length, compare

RIGHT, WRONG = compare([["a"], ["b"]], [[["a"]], [["a"]]])


def figures(buckets):
    return [(b.low, b.high, b.score.pairs, b.score.exact_matches) for b in buckets]


def test_bounds_are_the_largest_length_of_each_bucket():
    compared = [RIGHT, WRONG, RIGHT, WRONG, RIGHT]
    assert figures(by_length(compared, [3, 5, 2, 6, 11], [3, 5, 8, 10])) == [
        (2, 3, 2, 2),
        (5, 5, 1, 0),
        (6, 6, 1, 0),
        (11, 11, 1, 1),
    ]


def test_without_bounds_each_bucket_has_about_as_many():
    buckets = by_length([RIGHT] * 100, list(range(1, 101)))
    assert figures(buckets) == [(first, first + 19, 20, 20) for first in (1, 21, 41, 61, 81)]


def test_sources_of_one_length_stay_together():
    buckets = by_length([RIGHT] * 7 + [WRONG] * 2 + [RIGHT], [4] * 7 + [5] * 2 + [9])
    assert figures(buckets) == [(4, 4, 7, 7), (5, 5, 2, 0), (9, 9, 1, 1)]
    assert figures(by_length([RIGHT, WRONG], [3, 3])) == [(3, 3, 2, 1)]


def test_every_source_stands_in_one_bucket(rng):
    lengths = rng.integers(1, 30, 997).tolist()
    buckets = by_length([RIGHT] * 997, lengths)
    assert len(buckets) == 5
    assert sum(b.score.pairs for b in buckets) == 997
    for b in buckets:
        assert b.score.pairs == sum(b.low <= length <= b.high for length in lengths)
        assert 100 < b.score.pairs < 300


def test_what_does_not_fit_is_refused():
    assert by_length([], []) == []
    with pytest.raises(ValueError, match="1 comparisons and 2 lengths"):
        by_length([RIGHT], [1, 2])
    with pytest.raises(ValueError, match=r"must rise, got \[3, 3\]"):
        by_length([RIGHT], [1], [3, 3])
