"""Counts and rates, beside brute force."""

import time

import pytest
from evaluation import naive
from evaluation.naive import drawn

from fastattn import training
from fastattn.evaluation import compare, edit_distance, score, total


def test_the_names_stand_in_training_too():
    assert (training.edit_distance, training.score) == (edit_distance, score)


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


class Twin:
    """All have one hash, and none equals another."""

    def __hash__(self):
        return 97


def test_what_shares_a_hash_is_not_the_same():
    """rapidfuzz compares hashes; that of -1 is that of -2, and a character's its code point."""
    assert edit_distance([-1], [-2]) == 1
    assert edit_distance(["a"], [97]) == 1
    one, other = Twin(), Twin()
    assert edit_distance([one, other], [one, one]) == 1


def test_edit_distance_is_that_of_brute_force(rng):
    for answer, reference in zip(drawn(rng, 200), drawn(rng, 200), strict=True):
        assert edit_distance(answer, reference) == naive.distance(answer, reference)


@pytest.mark.parametrize("separator", ["", " "])
def test_an_answer_is_measured_against_the_nearest_of_its_references(rng, separator):
    answers = drawn(rng, 100)
    references = [drawn(rng, count) for count in rng.integers(1, 5, 100)]
    compared = compare(answers, references, separator=separator)
    later = 0
    for answer, alternatives, comparison in zip(answers, references, compared, strict=True):
        place, errors = naive.nearest(answer, alternatives)
        assert (comparison.chosen, comparison.token_errors) == (place, errors)
        assert (comparison.answer, comparison.reference) == (answer, alternatives[place])
        text, expected = separator.join(answer), separator.join(alternatives[place])
        assert comparison.character_errors == naive.distance(text, expected)
        assert comparison.reference_characters == len(expected)
        later += place > 0
    assert later > 10


def test_of_equally_near_references_the_first_counts():
    (comparison,) = compare([["a", "b"]], [[["a", "c", "d"], ["a"], ["b"]]])
    assert (comparison.chosen, comparison.token_errors, comparison.character_errors) == (1, 1, None)


def test_the_total_divides_by_the_chosen_references():
    compared = compare([["AY", "DH"], []], [[["IY", "DH", "ER"], ["AY", "DH", "ER"]], [["T"]]], separator=" ")
    result = total(compared)
    assert (result.pairs, result.exact_matches, result.reference_tokens, result.token_errors) == (2, 0, 4, 2)
    assert (result.reference_characters, result.character_errors) == (9, 4)  # " ER" is missing, and "T"
    assert result.character_error_rate == 4 / 9


def test_characters_that_nobody_counted_have_no_rate():
    assert score([["a"]], [["b"]]).character_error_rate is None
    assert total(compare([["a"]], [[["b"]]])).character_error_rate is None


def test_compare_refuses_what_it_cannot_compare():
    with pytest.raises(ValueError, match="1 answers and 2 references"):
        compare([["a"]], [[["a"]], [["b"]]])
    with pytest.raises(ValueError, match="place 1 has no reference"):
        compare([["a"], ["b"]], [[["a"]], []])
    with pytest.raises(TypeError, match="a reference in place 0: 'a' given; expected a list"):
        compare([["a"]], [["a"]])
    with pytest.raises(TypeError, match="the answer in place 0: 'abc' given"):
        compare(["abc"], [[["a"]]])
    with pytest.raises(TypeError, match="the references in place 0: 'abc' given"):
        compare([["a"]], ["abc"])
    with pytest.raises(ValueError, match="no comparisons"):
        total([])
    with pytest.raises(ValueError, match="hold no token"):
        total(compare([["a"]], [[[]]]))
