import time

import pytest

from fastattn.training import edit_distance, score


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("abc", "abc", 0),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("ab", "ba", 2),
        ("intention", "execution", 5),
    ],
)
def test_edit_distance(answer, reference, expected):
    assert edit_distance(list(answer), list(reference)) == expected
    assert edit_distance(list(reference), list(answer)) == expected


def test_tokens_are_compared_whole():
    assert edit_distance(["AH", "N"], ["AH", "NN", "T"]) == 2


def test_score_counts():
    result = score([["a", "b"], [], ["x"], ["c", "c", "c"]], [["a", "b"], ["y"], ["x"], ["c"]])
    assert (result.pairs, result.exact_matches, result.reference_tokens, result.token_errors) == (4, 2, 5, 3)
    assert result.exact_match == 0.5
    assert result.token_error_rate == 0.6


def test_score_refuses_what_it_cannot_compare():
    with pytest.raises(ValueError, match="1 answers and 2 references"):
        score([["a"]], [["a"], ["b"]])
    with pytest.raises(ValueError, match="0 answers"):
        score([], [])
    with pytest.raises(ValueError, match="hold no token"):
        score([["a"]], [[]])


def test_a_held_out_dictionary_is_scored_in_no_time(rng):
    answers, references = ([list(rng.integers(0, 40, n)) for n in rng.integers(3, 12, 6300)] for _ in range(2))
    began = time.perf_counter()
    score(answers, references)
    assert time.perf_counter() - began < 2
