"""BLEU and chrF: what sacrebleu is given, beside the formulas on paper."""

import math
import sys
from collections import Counter

import pytest

from fastattn.evaluation import BLEU_TOKENIZERS, bleu, chrf

ANSWERS = ["the cat sat on the mat", "a dog barked at the old cat", "it rains in the north today"]
REFERENCES = [
    ["the cat sat on a mat", "the cat is sitting on the mat"],
    ["the dog barked at the old cat"],
    ["it rains in the north of it today", "today it is raining", "it rains in the north"],
]


def ngrams(tokens, n):
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu_by_hand(answers, references):
    """Papineni et al. 2002, section 2.3, with matches clipped by the reference that has most."""
    logs, given, expected = 0.0, 0, 0
    for n in range(1, 5):
        matches = every = 0
        for answer, texts in zip(answers, references, strict=True):
            found = ngrams(answer.split(), n)
            most = Counter()
            for text in texts:
                most |= ngrams(text.split(), n)
            matches += sum((found & most).values())
            every += sum(found.values())
        logs += math.log(matches / every) / 4
    for answer, texts in zip(answers, references, strict=True):
        size = len(answer.split())
        given += size
        expected += min((abs(len(text.split()) - size), len(text.split())) for text in texts)[1]
    return 100 * math.exp(min(0, 1 - expected / given) + logs)


def test_bleu_with_as_many_references_as_there_are_is_that_of_the_paper():
    result = bleu(ANSWERS, REFERENCES, tokenize="none")
    assert result.score == pytest.approx(bleu_by_hand(ANSWERS, REFERENCES))
    assert 20 < result.score < 95
    assert "nrefs:var" in result.signature
    assert "tok:none" in result.signature
    assert (result.name, result.mean, result.half_width) == ("BLEU", None, None)


@pytest.mark.parametrize("tokenize", BLEU_TOKENIZERS)
def test_every_tokenizer_is_there_without_another_package(tokenize):
    assert bleu(["ein Haus am See"], [["ein Haus am See"]], tokenize=tokenize).score == pytest.approx(100)


def test_chrf_of_one_character_n_grams_on_paper():
    """Of "ab" and "ac" only single characters match: half of them; of two characters none; of more there are none."""
    assert chrf(["ab"], [["ac"]]).score == pytest.approx(100 * (0.5 + 0) / 2)
    assert chrf(["ab"], [["ac", "ab"]]).score == pytest.approx(100)
    assert chrf(ANSWERS, REFERENCES).name == "chrF2"


@pytest.mark.parametrize("metric", [bleu, chrf])
def test_resamples_give_a_mean_and_the_half_of_an_interval(metric):
    result = metric(ANSWERS, REFERENCES, resamples=200)
    assert result.score == metric(ANSWERS, REFERENCES).score
    assert abs(result.mean - result.score) < result.half_width < 50
    assert "bs:200" in result.signature
    assert metric(["x"], [["y"]], resamples=20).half_width == 0


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"tokenize must be one of 13a, .*, got 'ja-mecab'"):
        bleu(ANSWERS, REFERENCES, tokenize="ja-mecab")
    with pytest.raises(ValueError, match="1 answers and 3 references"):
        chrf(ANSWERS[:1], REFERENCES)


@pytest.mark.parametrize("metric", [bleu, chrf])
def test_without_sacrebleu_one_sentence_names_the_extra(metric, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ImportError, match=r"needs sacrebleu; install it with: pip install 'fastattn\[evaluation\]'"):
        metric(ANSWERS, REFERENCES)
