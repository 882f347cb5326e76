"""All figures together."""

import json

import pytest

from fastattn.data import Vocabulary
from fastattn.evaluation import bleu, chrf, evaluate

SOURCES = ["either", "route", "cat"]
ANSWERS = ["AY DH ER", "R AW T", "K AE"]
REFERENCES = [["IY DH ER", "AY DH ER"], ["R UW T", "R AW T"], ["K AE T"]]


def test_the_figures_by_both_rules():
    result = evaluate(SOURCES, ANSWERS, REFERENCES, target_tokens="space")
    assert (result.score.exact_matches, result.score.token_errors, result.score.reference_tokens) == (2, 1, 9)
    assert (result.first_score.exact_matches, result.first_score.token_errors) == (0, 3)
    assert (result.score.character_errors, result.score.reference_characters) == (2, 20)
    assert [c.chosen for c in result.comparisons] == [1, 1, 0]
    assert result.pairs == 5


def test_spaces_between_tokens_are_no_errors_of_characters():
    result = evaluate(["a"], ["one  two "], [["one two"]], target_tokens="space")
    assert (result.score.exact_matches, result.score.character_errors) == (1, 0)


def test_characters_are_code_points():
    result = evaluate(["é"], ["e\u0301"], [["é"]])
    assert (result.score.token_errors, result.score.character_errors, result.by_length[0].high) == (2, 2, 1)


def test_a_vocabulary_says_what_tokens_are():
    """Features, after tabs, are tokens of the source, whole."""
    vocabularies = {"source_tokens": Vocabulary((), "char", ()), "target_tokens": Vocabulary((), "space")}
    result = evaluate(["walk\tV\tPST"], ["w ed"], [["w d"]], **vocabularies)
    assert result.by_length[0].low == 6
    assert (result.score.reference_tokens, result.separator) == (2, " ")


def test_json_has_all_of_it():
    options = {"target_tokens": "space", "bleu_tokenize": "none", "with_chrf": True, "length_bounds": [3], "seed": 7}
    result = evaluate(SOURCES, ANSWERS, REFERENCES, resamples=100, **options)
    figures = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert (figures["sources"], figures["pairs"], figures["exact_matches"], figures["exact_match"]) == (3, 5, 2, 2 / 3)
    assert (figures["token_errors"], figures["reference_tokens"], figures["token_error_rate"]) == (1, 9, 1 / 9)
    assert figures["character_error_rate"] == 2 / 20
    assert figures["first_reference"]["token_errors"] == 3
    assert [(b["from"], b["to"], b["sources"], b["token_errors"]) for b in figures["by_length"]] == [(3, 3, 1, 1), (5, 6, 2, 0)]
    expected = {"resamples": 100, "seed": 7, "confidence": 0.95, "exact_match": list(result.intervals.exact_match)}
    assert figures["intervals"].items() >= expected.items()
    assert figures["bleu"]["score"] == bleu(ANSWERS, REFERENCES, tokenize="none").score
    assert figures["chrf"]["score"] == chrf(ANSWERS, REFERENCES).score
    assert {"signature", "mean", "half_width"} <= set(figures["chrf"])


def test_what_is_not_asked_for_is_not_there():
    figures = evaluate(SOURCES, ANSWERS, REFERENCES, resamples=0).to_json()
    assert not {"intervals", "bleu", "chrf"} & set(figures)


def test_a_source_too_many_is_refused():
    with pytest.raises(ValueError, match="3 sources and 2 answers"):
        evaluate(SOURCES, ANSWERS[:2], REFERENCES[:2])
    with pytest.raises(ValueError, match="3 answers and 2 references"):
        evaluate(SOURCES, ANSWERS, REFERENCES[:2])
