"""Text to text: batches, their order, and what has no answer."""

import numpy as np
import pytest

import fastattn
from fastattn.data import END, START, Reading, Vocabulary
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


def test_one_text_is_no_list_of_letters():
    for texts in ("hello", b"hello"):
        with pytest.raises(TypeError, match=r"texts is b?'hello'; expected a sequence of str"):
            make_translator().translate(texts)
    with pytest.raises(TypeError, match="text 1 is 5; expected a str"):
        make_translator().translate(["a", 5])


def test_what_becomes_of_symbols_that_the_model_never_saw():
    it = make_translator()
    texts = ["ab", "日a本日", "", "c"]
    assert it.unknown_symbols("日a本日") == ["日", "本"]
    assert it.unknown_symbols("ab") == it.unknown_symbols("") == []
    known = it.translate(["ab", "c"])
    asked = it.translate(texts)
    assert asked == it.translate(texts, unknown="answer") == [known[0], asked[1], "", known[1]]
    assert asked[1] != ""
    assert it.translate(texts, unknown="empty") == [known[0], "", "", known[1]]
    assert it.translate(texts, unknown="copy") == [known[0], "日a本日", "", known[1]]
    with pytest.raises(SourceError, match=r"^the source has symbols that the model never saw: '日', '本'$") as caught:
        it.translate(texts, unknown="fail")
    assert caught.value.index == 1
    assert it.translate(["ab", "c"], unknown="fail") == known
    with pytest.raises(ValueError, match="unknown is 'skip'; expected one of answer, empty, copy, fail"):
        it.translate(texts, unknown="skip")


def test_check_says_what_translate_would_say():
    it = make_translator()
    it.check("日")
    it.check("日", unknown="copy")
    with pytest.raises(SourceError, match="never saw: '日'"):
        it.check("日", unknown="fail")


def test_symbols_that_cannot_be_seen_are_shown_as_numbers():
    assert translator.shown(["a", "\u0301", "\n", "e\u0301", "\u200b"]) == "'a', U+0301, U+000A, 'e\u0301', U+200B"
    assert translator.shown("abcdefghijkl") == "'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j' and 2 more"


def test_normalisation_is_applied_to_what_is_asked():
    vocabulary = Vocabulary.from_texts(["éèb"])
    model = fastattn.AttentionSeq2seq(len(vocabulary), 5, 9, dtype="float64", seed=11)
    options = {"reverse_source": False, "max_target_tokens": 7}
    plain = Translator(model, vocabulary, vocabulary, **options)
    composing = Translator(model, vocabulary, vocabulary, reading=Reading(normalization="NFC"), **options)
    composed, decomposed = "éèb", "e\u0301e\u0300b"
    assert plain.unknown_symbols(decomposed) == ["e", "\u0301", "\u0300"]
    assert composing.unknown_symbols(decomposed) == []
    assert composing.translate([decomposed]) == plain.translate([composed]) != plain.translate([decomposed])
    assert composing.attend(decomposed)[0] == ["é", "è", "b"]
    assert composing.translate(["e\u0301!"], unknown="copy") == ["e\u0301!"]  # as it was given


def featured_translator():
    sources = Vocabulary.from_texts(["run\tV\tPST", "nur\tV\tSG"], features=True)
    targets = Vocabulary.from_texts(["runa"])
    model = fastattn.AttentionSeq2seq(len(sources), 5, 9, target_vocabulary=len(targets), dtype="float64", seed=11)
    reading = Reading(features_column=3)
    return Translator(model, sources, targets, reverse_source=False, max_target_tokens=7, reading=reading)


def test_features_are_read_with_the_text():
    it = featured_translator()
    answers = it.translate(["run\tV;PST", "run\tV;SG", ""])
    assert answers == it.translate(["run\tV\tPST", "run\tV\tSG", " "])
    assert answers[2] == ""
    symbols, _, weights = it.attend("run\tV;PST")
    assert symbols == ["V", "PST", "r", "u", "n"]
    assert (weights[0] != it.attend("run\tV;SG")[2][0]).all()
    assert it.unknown_symbols("run\tV;FUT") == ["FUT"]
    assert it.translate(["ran\tV;FUT"], unknown="copy") == ["ran"]
    with pytest.raises(SourceError, match="no tab; expected source<TAB>features") as caught:
        it.translate(["run\tV", "run"])
    assert caught.value.index == 1


def test_features_stand_in_the_reading_and_in_the_vocabulary_or_in_neither():
    it = featured_translator()
    options = {"reverse_source": False, "max_target_tokens": 7}
    for vocabularies, reading in (
        ((it.source_vocabulary, it.target_vocabulary), Reading()),
        ((it.target_vocabulary, it.target_vocabulary), it.reading),
        ((it.source_vocabulary, it.source_vocabulary), it.reading),
    ):
        with pytest.raises(ValueError, match="expected features in the source's vocabulary, if in any"):
            Translator(it.model, *vocabularies, reading=reading, **options)
