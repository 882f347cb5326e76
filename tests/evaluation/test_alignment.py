"""Alignments, confusions and the worst answers, beside what they must add up to."""

from collections import Counter

from evaluation import naive
from evaluation.naive import drawn

from fastattn.evaluation import Confusion, align, compare, confusions, worst


def test_an_alignment_holds_both_sides_with_the_fewest_errors(rng):
    for answer, reference in zip(drawn(rng, 200), drawn(rng, 200), strict=True):
        pairs = align(answer, reference)
        assert [expected for expected, _ in pairs if expected is not None] == reference
        assert [given for _, given in pairs if given is not None] == answer
        assert sum(expected != given for expected, given in pairs) == naive.distance(answer, reference)


def test_what_is_missing_and_what_is_too_much():
    assert align(["AY", "DH"], ["AY", "DH", "ER"]) == [("AY", "AY"), ("DH", "DH"), ("ER", None)]
    assert align(["K", "AE", "T", "S"], ["K", "AE", "T"])[-1] == (None, "S")
    assert align("kitten", "sitting") == [*zip("sitti", "kitte"), ("n", "n"), ("g", None)]


def test_confusions_are_counted_over_all_answers(rng):
    answers = drawn(rng, 100)
    compared = compare(answers, [drawn(rng, 2) for _ in answers])
    found = confusions(compared)
    expected = Counter(
        pair for c in compared for pair in align(c.answer, c.reference) if pair[0] != pair[1]
    )  # fmt: skip
    assert {(c.expected, c.given): c.count for c in found} == expected
    assert [c.count for c in found] == sorted(expected.values(), reverse=True)
    assert sum(c.count for c in found) == sum(c.token_errors for c in compared)
    for c in found:
        has = [(c.expected, c.given) in align(one.answer, one.reference) for one in compared]
        assert c.example == has.index(True)


def test_confusions_of_equal_counts_stand_in_the_order_in_which_they_are_met():
    answers, references = ["ab", "xb", "ac", "", "xb"], ["ab", "ab", "ab", "a", "ab"]
    compared = compare(list(map(list, answers)), [[list(text)] for text in references])
    assert confusions(compared) == [
        Confusion("a", "x", 2, 1),
        Confusion("b", "c", 1, 2),
        Confusion("a", None, 1, 3),
    ]


def test_the_worst_have_the_most_errors_and_then_the_shortest_reference():
    answers, references = ["abc", "x", "xb", "xx", "", "x"], ["abc", "abc", "ab", "ab", "ab", "a"]
    compared = compare(list(map(list, answers)), [[list(text)] for text in references])
    assert worst(compared) == [1, 3, 4, 5, 2]
