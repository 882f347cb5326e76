import json
import sys

import numpy as np
import pytest

from fastattn.data import END, PADDING, START, UNKNOWN, MissingExtraError, Vocabulary

TEXT = "Grüße, 東京! e\u0301\t\u2028🙂"


def test_special_symbols_come_first_and_text_symbols_are_sorted():
    vocabulary = Vocabulary.from_texts(["cab", "a b"])
    assert (PADDING, START, END, UNKNOWN) == (0, 1, 2, 3)
    assert vocabulary.symbols == (" ", "a", "b", "c")
    assert len(vocabulary) == 8
    assert vocabulary.encode("cab") == [7, 5, 6]


def test_ids_do_not_depend_on_the_order_or_number_of_texts():
    assert Vocabulary.from_texts(["b", "a", "b"]) == Vocabulary.from_texts(iter(["ab"]))
    assert Vocabulary.from_texts(["ab"]) != Vocabulary.from_texts(["abc"])
    assert Vocabulary.from_texts(["a"], "char") != Vocabulary.from_texts(["a"], "space")
    assert Vocabulary.from_texts(["a"]) != "a"


def test_characters_come_back_exactly():
    vocabulary = Vocabulary.from_texts([TEXT])
    assert vocabulary.tokenize(TEXT) == list(TEXT)
    assert vocabulary.decode(vocabulary.encode(TEXT, start=True, end=True)) == TEXT
    # A letter and its combining accent are two symbols, and the composed letter is another one.
    assert vocabulary.encode("\u00e9") == [UNKNOWN]
    assert UNKNOWN not in vocabulary.encode("e\u0301")


def test_whitespace_tokens():
    vocabulary = Vocabulary.from_texts(["to be  or\tnot to be"], "space")
    assert vocabulary.symbols == ("be", "not", "or", "to")
    assert vocabulary.tokenize("  to \u00a0be\n") == ["to", "be"]
    assert vocabulary.decode(vocabulary.encode(" to  be ")) == "to be"


def test_graphemes_are_whole():
    pytest.importorskip("regex")
    text = "क्षि👩\u200d👩\u200d👧ab e\u0301"
    vocabulary = Vocabulary.from_texts([text], "grapheme")
    assert vocabulary.tokenize(text)[-5:] == ["👩\u200d👩\u200d👧", "a", "b", " ", "e\u0301"]
    assert "".join(vocabulary.tokenize(text)) == text == vocabulary.decode(vocabulary.encode(text))
    assert "👩\u200d👩\u200d👧" in vocabulary.symbols
    assert "e\u0301" in vocabulary.symbols
    assert not {"e", "\u0301", "👧"} & set(vocabulary.symbols)
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary
    assert vocabulary.encode("e") == [UNKNOWN]
    with pytest.raises(ValueError, match="a symbol of kind 'grapheme' is not empty"):
        Vocabulary([""], "grapheme")


def test_graphemes_without_the_package_that_finds_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "regex", None)
    with pytest.raises(MissingExtraError) as caught:
        Vocabulary.from_texts(["a"], "grapheme")
    expected = "the token kind 'grapheme' needs regex; install it with: pip install 'fastattn[grapheme]'"
    assert str(caught.value) == expected
    Vocabulary.from_texts(["a"])


FEATURED = Vocabulary.from_texts(["run\tV\tPST", "V\tV\tSG"], features=True)


def test_features_are_symbols_that_no_text_can_spell():
    assert FEATURED.symbols == ("V", "n", "r", "u")
    assert FEATURED.features == ("PST", "SG", "V")
    assert len(FEATURED) == 4 + 4 + 3
    assert FEATURED.tokenize("run\tV\tPST") == ["V", "PST", "r", "u", "n"]
    assert FEATURED.encode("run\tV\tPST") == [10, 8, 6, 7, 5]
    assert FEATURED.encode("V\tV") == [10, 4]
    assert FEATURED.encode("V") == [4]
    assert FEATURED.encode("PST\tn") == [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]
    assert FEATURED.decode(FEATURED.encode("run\tV\tPST", start=True, end=True)) == "run\tV\tPST"
    # To a vocabulary of text alone a tab is a character.
    assert Vocabulary.from_texts(["a\tb"]).symbols == ("\t", "a", "b")


def test_features_beside_words():
    vocabulary = Vocabulary.from_texts(["to be\tV to"], "space", features=True)
    assert vocabulary.tokenize("be to\tV to") == ["V to", "be", "to"]
    assert vocabulary.encode("to\tto") == [UNKNOWN, 5]


def test_features_are_kept():
    content = json.loads(json.dumps(FEATURED.to_json()))
    assert content["features"] == ["PST", "SG", "V"]
    assert Vocabulary.from_json(content) == FEATURED
    assert Vocabulary(FEATURED.symbols) != FEATURED
    assert Vocabulary(FEATURED.symbols, features=[]) != FEATURED
    assert "features" not in Vocabulary("ab").to_json()
    assert repr(FEATURED) == "<Vocabulary of 11 symbols, 3 of them features, token_kind='char'>"


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        (["V", "V"], ValueError, "the feature 'V' stands more than once"),
        (["V\t"], ValueError, r"a feature is not blank and holds no tab, got 'V\\t'"),
        ([" "], ValueError, "a feature is not blank"),
        ([1], TypeError, "a feature must be a str, got 1"),
        (["\ud800"], ValueError, "a feature must be valid Unicode"),
    ],
)
def test_bad_features(features, error, message):
    with pytest.raises(error, match=message):
        Vocabulary("ab", features=features)
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_json({**Vocabulary("ab").to_json(), "features": features})


def test_unknown_symbols_are_named_once():
    assert FEATURED.unknown("rent\tV\tFUT\tFUT") == ["FUT", "e", "t"]
    assert FEATURED.unknown("run\tV") == []
    assert Vocabulary.from_texts(["a b"], "space").unknown("x a x y") == ["x", "y"]


def test_start_and_end_are_added_only_when_asked_for():
    vocabulary = Vocabulary.from_texts(["a"])
    assert vocabulary.encode("a") == [4]
    assert vocabulary.encode("a", start=True) == [START, 4]
    assert vocabulary.encode("a", end=True) == [4, END]
    assert vocabulary.encode("", start=True, end=True) == [START, END]
    assert vocabulary.encode("") == []


@pytest.mark.parametrize("token_kind", ["char", "space"])
def test_no_text_is_read_as_a_special_symbol(token_kind):
    texts = ["padding start end unknown", "<pad> <s> </s> <unk> <eos> \ufffd \x00"]
    vocabulary = Vocabulary.from_texts(texts, token_kind)
    for text in texts:
        ids = vocabulary.encode(text)
        assert min(ids) > UNKNOWN
        assert vocabulary.decode(ids) == text


def test_decode_stops_at_the_end_symbol_and_leaves_padding_and_start_out():
    vocabulary = Vocabulary.from_texts(["ab"])
    assert vocabulary.decode([START, 4, PADDING, 5, END, 4, 4]) == "ab"
    assert vocabulary.decode(np.array([4, 4, END, 99])) == "aa"
    assert vocabulary.decode([]) == ""


def test_unknown_symbols():
    characters, words = Vocabulary.from_texts(["ab"]), Vocabulary.from_texts(["a b"], "space")
    assert characters.encode("axb") == [4, UNKNOWN, 5]
    assert characters.decode([4, UNKNOWN, 5]) == "a\ufffdb"
    assert words.decode(words.encode("a x b")) == "a \ufffd b"
    # What a terminal hands over when its bytes are not UTF-8.
    assert characters.encode("\udcff") == [UNKNOWN]


@pytest.mark.parametrize("bad", [-1, 6, 10**20])
def test_decode_refuses_an_id_out_of_range(bad):
    with pytest.raises(IndexError, match=rf"token id {bad} is outside 0\.\.5"):
        Vocabulary.from_texts(["ab"]).decode([4, bad])


@pytest.mark.parametrize("bad", [[4.0], ["a"], [None], np.array([[4, 5]])])
def test_decode_refuses_what_is_no_integer(bad):
    with pytest.raises(TypeError):
        Vocabulary.from_texts(["ab"]).decode(bad)


@pytest.mark.parametrize("token_kind", ["char", "space"])
def test_json_round_trip(token_kind):
    vocabulary = Vocabulary.from_texts([TEXT, 'quote " and \\'], token_kind)
    content = json.loads(json.dumps(vocabulary.to_json()))
    assert Vocabulary.from_json(content) == vocabulary
    assert (content["special"] + content["symbols"])[vocabulary.encode("\\")[0]] == "\\"


def damaged(**changes):
    content = Vocabulary.from_texts(["ab"]).to_json() | changes
    return {key: value for key, value in content.items() if value is not ...}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must be a JSON object, got NoneType"),
        ([], "must be a JSON object, got list"),
        ({}, "no 'token_kind'"),
        (damaged(special=...), "no 'special'"),
        (damaged(symbols=...), "no 'symbols'"),
        (damaged(token_kind="byte"), "token_kind must be 'char', 'space' or 'grapheme', got 'byte'"),
        (damaged(token_kind=["char"]), r"token_kind must be 'char', 'space' or 'grapheme', got \['char'\]"),
        (damaged(special=["padding", "end", "start", "unknown"]), "'special' must be .*got .*'end', 'start'"),
        (damaged(symbols="ab"), "'symbols' must be a list, got str"),
        (damaged(symbols=["a", 1]), "a symbol must be a str, got 1"),
        (damaged(symbols=["a", ["b"]]), r"a symbol must be a str, got \['b'\]"),
        (damaged(symbols=["a", "b", "a"]), "'a' stands more than once"),
        (damaged(symbols=["a", ""]), "one character, got ''"),
        (damaged(symbols=["a", "bc"]), "one character, got 'bc'"),
        (damaged(symbols=["a", "\ud800"]), "lone surrogate"),
        (damaged(symbols=["a b"], token_kind="space"), "no whitespace, got 'a b'"),
        (damaged(symbols=[""], token_kind="space"), "not empty"),
    ],
)
def test_from_json_says_what_is_damaged(content, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_json(content)


def test_repr_says_the_size_and_kind():
    assert repr(Vocabulary.from_texts(["ab"])) == "<Vocabulary of 6 symbols, token_kind='char'>"
