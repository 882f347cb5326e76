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


def sum_of(answer):
    return sum(answer.token_log_probabilities)


def test_a_beam_gives_the_best_answer_in_any_company(rng, monkeypatch):
    it = make_translator()
    texts = [*draw_texts(rng, 20), ""]
    alone = [it.translate([text], beam=4, length_penalty=1.0)[0] for text in texts]
    assert alone != it.translate(texts)
    assert it.translate(texts, beam=4, length_penalty=1.0) == alone
    monkeypatch.setattr(translator, "MAX_HYPOTHESES", 9)
    assert it.translate(texts, beam=4, length_penalty=1.0) == alone
    answers = it.search(texts, beam=4, n_best=3, length_penalty=1.0)
    assert [best[0].text if best else "" for best in answers] == alone
    assert answers[-1] == []
    assert all(len(best) == 3 for best in answers[:-1])


def test_an_answer_has_its_scores():
    it = make_translator(max_target_tokens=2)
    ended = set()
    for best in it.search(["abc", "fa c"], beam=9, n_best=9, length_penalty=0.5):
        assert [answer.score for answer in best] == sorted((answer.score for answer in best), reverse=True)
        for answer in best:
            assert "".join(answer.tokens) == answer.text
            assert len(answer.token_log_probabilities) == len(answer.tokens) + answer.ended
            penalty = ((5 + len(answer.token_log_probabilities)) / 6) ** 0.5
            np.testing.assert_allclose([answer.score * penalty, sum_of(answer)], answer.log_probability)
            assert answer.attention is answer.alignment is None
            ended.add(answer.ended)
    assert ended == {True, False}


def test_a_given_answer_has_the_score_that_a_search_found():
    it = make_translator()
    it.model.params[9][END] = 1
    texts = ["abc", "fa c", "", "b"]
    answers = [answers[0] if answers else None for answers in it.search(texts, beam=3)]
    given = it.log_probabilities([(text, answer.text if answer else "ab") for text, answer in zip(texts, answers)])
    for found, answer in zip(given, answers, strict=True):
        if answer is None:
            assert found == ()
        else:
            np.testing.assert_allclose(found[: len(answer.token_log_probabilities)], answer.token_log_probabilities)
            assert len(found) == len(answer.tokens) + 1


@pytest.mark.parametrize("reverse_source", [False, True])
def test_attention_of_an_answer_stands_in_the_order_of_the_text(reverse_source):
    it = make_translator(reverse_source=reverse_source)
    (first,), (second,) = it.search(["abcde", "fa"], return_attention=True)
    for text, answer in (("abcde", first), ("fa", second)):
        symbols, ids, weights = it.attend(text)
        assert answer.attention.shape == (len(ids), len(symbols))
        np.testing.assert_allclose(answer.attention, weights)
        assert answer.alignment == tuple(weights[: len(answer.tokens)].argmax(axis=1))


def test_draws_follow_from_the_seed_and_the_number_of_the_text(rng):
    it = make_translator()
    texts = draw_texts(rng, 12)
    how = {"seed": 5, "draws": 3, "temperature": 1.5, "top_k": 8, "top_p": 0.95}

    def drawn(texts, **more):
        return [[answer.text for answer in answers] for answers in it.sample(texts, **how, **more)]

    all_of_them = drawn(texts)
    assert len({text for answers in all_of_them for text in answers}) > 20
    assert [drawn([text], first=n)[0] for n, text in enumerate(texts)] == all_of_them
    assert drawn(texts[4:], first=4) == all_of_them[4:]


def test_an_ensemble_answers_by_the_mean():
    one, other = make_translator(), make_translator(max_target_tokens=9)
    for p in other.model.params:
        p += np.random.default_rng(0).standard_normal(p.shape) / 2
    both = translator.ensemble([one, other])
    assert both.max_target_tokens == 9
    (answer,) = both.search(["abc"], beam=3)[0]
    ids = [START, *one.target_vocabulary.encode(answer.text, end=answer.ended)]
    p = [np.exp(each.model.log_probabilities([one.source_vocabulary.encode("abc")], [ids])) for each in (one, other)]
    np.testing.assert_allclose(answer.token_log_probabilities, np.log(np.mean(p, axis=0))[0])
    assert both.translate(["abc"], beam=3) == [answer.text]
    thrice = translator.ensemble([both, one])
    assert thrice.models == [one.model, other.model, one.model]
    with pytest.raises(TypeError, match="the translator is an ensemble of 2 models; expected one model"):
        both.model  # noqa: B018


def test_an_ensemble_that_cannot_be():
    with pytest.raises(ValueError, match="the reverse_source of model 2 is True; expected that of the first, False"):
        translator.ensemble([make_translator(), make_translator(reverse_source=True)])
    with pytest.raises(ValueError, match="the source_vocabulary of model 2 is <Vocabulary of 10 symbols, token_kind='space'>"):
        translator.ensemble([make_translator(), make_translator("space")])
