"""Text to text: batches, their order, and what has no answer."""

import numpy as np
import pytest

import fastattn
from fastattn.data import END, START, Vocabulary
from fastattn.training import SourceError, Translator, translator


@pytest.fixture(autouse=True)
def _reference():
    with fastattn.use_backend("reference"):
        yield


def make_translator(token_kind="char", **options):
    symbols = "abcdef "
    vocabulary = Vocabulary.from_texts([symbols if token_kind == "char" else " ".join(symbols)], token_kind)
    model = fastattn.AttentionSeq2seq(len(vocabulary), 5, 9, dtype="float64", seed=11)
    return Translator(model, vocabulary, vocabulary, **{"reverse_source": False, "max_target_tokens": 7, **options})


def draw_texts(rng, count):
    return ["".join(rng.choice(list("abcdef "), n)) for n in rng.integers(1, 20, count)]


@pytest.mark.parametrize("reverse_source", [False, True])
def test_a_text_has_the_same_answer_in_any_company(rng, monkeypatch, reverse_source):
    it = make_translator(reverse_source=reverse_source)
    texts = draw_texts(rng, 40)
    alone = [it.translate([text])[0] for text in texts]
    assert len(set(alone)) > 5
    assert it.translate(texts) == alone
    monkeypatch.setattr(translator, "BATCH_SIZE", 3)
    assert it.translate(texts) == alone
    monkeypatch.setattr(translator, "MAX_SOURCE_TOKENS", 25)
    assert it.translate(texts) == alone


def test_reverse_source_reads_the_text_backwards():
    plain, reverse = make_translator(), make_translator(reverse_source=True)
    assert reverse.translate(["abcf"]) == plain.translate(["fcba"])
    symbols, ids, weights = plain.attend("fcba")
    reverse_symbols, reverse_ids, reverse_weights = reverse.attend("abcf")
    assert symbols == reverse_symbols[::-1] == list("fcba")
    assert ids == reverse_ids
    assert (weights == reverse_weights[:, ::-1]).all()


def test_no_tokens_no_answer():
    assert make_translator().translate([]) == []
    assert make_translator().translate(["", ""]) == ["", ""]
    between = make_translator().translate(["ab", "", "cd"])
    assert between == [*make_translator().translate(["ab"]), "", *make_translator().translate(["cd"])]
    assert make_translator("space").translate([" \t ", ""]) == ["", ""]
    assert make_translator().translate([" "]) != [""]  # a symbol like any other


def test_an_answer_ends_at_the_bound():
    it = make_translator(max_target_tokens=3)
    longer = make_translator(max_target_tokens=50)
    answers = it.translate(["abc", "a"])
    assert all(len(answer) <= 3 for answer in answers)
    assert [answer[:3] for answer in longer.translate(["abc", "a"])] == answers


def test_a_source_that_is_too_long_is_named(monkeypatch):
    monkeypatch.setattr(translator, "MAX_SOURCE_TOKENS", 5)
    it = make_translator()
    assert len(it.translate(["abcde"])) == 1
    with pytest.raises(SourceError, match="the source has 6 tokens; expected 1 to 5") as caught:
        it.translate(["a", "b", "abcdef"])
    assert caught.value.index == 2
    with pytest.raises(SourceError, match="6 tokens"):
        it.attend("abcdef")


def test_attend_shows_each_symbol_of_the_source_and_the_answer():
    it = make_translator()
    symbols, ids, weights = it.attend("ab?")
    assert symbols == ["a", "b", "?"]
    expected = it.model.generate([it.source_vocabulary.encode("ab?")], START, 7, end_id=END)[0].tolist()
    assert ids == (expected[: expected.index(END) + 1] if END in expected else expected)
    assert weights.shape == (len(ids), 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    with pytest.raises(SourceError, match="0 tokens"):
        it.attend("")


def test_attend_ends_with_the_end_symbol():
    it = make_translator()
    it.model.params[9][END] = 100  # the output's bias
    assert it.attend("abc")[1] == [END]
    assert it.translate(["abc"]) == [""]
