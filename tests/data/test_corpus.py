import json

import numpy as np
import pytest

from fastattn.data import Vocabulary, encode_pairs
from fastattn.data.corpus import INDEX, CorpusError, build_corpus, open_corpus

PAIRS = [("ab", "x y"), ("a", "y"), ("bca", "z x z y"), ("ab", "z"), ("c", "x")]
MADE_OF = {"file": "a digest", "reverse_source": False}


def vocabularies(pairs=PAIRS):
    sources, targets = zip(*pairs, strict=True)
    return Vocabulary.from_texts(sources), Vocabulary.from_texts(targets, "space")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "tokens"


def assert_same(given, expected):
    for a, b in zip(given, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("reverse_source", [False, True])
def test_a_batch_is_what_encoding_the_pairs_gives(folder, reverse_source):
    corpus = build_corpus(folder, iter(PAIRS), *vocabularies(), reverse_source=reverse_source, made_of=MADE_OF)
    for chosen in (np.arange(5), np.array([3, 1]), np.array([2])):
        expected = encode_pairs([PAIRS[n] for n in chosen], *vocabularies(), reverse_source=reverse_source)
        assert_same(corpus.batch(chosen), expected)
    _, source_lengths, _, target_lengths = encode_pairs(PAIRS, *vocabularies())
    assert_same((corpus.source_lengths, corpus.target_lengths), (source_lengths, target_lengths))


def test_what_is_opened_is_what_was_built(folder):
    built = build_corpus(folder, PAIRS, *vocabularies(), made_of=MADE_OF)
    opened = open_corpus(folder, MADE_OF)
    assert (opened.source_vocabulary, opened.target_vocabulary) == vocabularies()
    assert_same(opened.batch(np.arange(5)), built.batch(np.arange(5)))


def test_many_pairs_go_through_in_chunks(folder, monkeypatch):
    monkeypatch.setattr("fastattn.data.corpus.CHUNK", 2)
    corpus = build_corpus(folder, PAIRS, *vocabularies(), made_of=MADE_OF)
    assert_same(corpus.batch(np.arange(5)), encode_pairs(PAIRS, *vocabularies()))


def test_a_large_vocabulary_has_wider_ids(folder):
    symbols = [chr(code) for code in range(0x20000, 0x20000 + 2**16)]
    pairs = [(symbols[-1], symbols[0])]
    sources = Vocabulary(symbols)
    corpus = build_corpus(folder, pairs, sources, sources, made_of=MADE_OF)
    assert corpus.batch(np.array([0]))[0].tolist() == [[len(sources) - 1]]


def test_splitting_keeps_the_pairs_of_a_source_together(folder):
    pairs = [(chr(97 + n % 26) * (1 + n // 52), "x") for n in range(520)]  # each of 260 sources twice
    corpus = build_corpus(folder, pairs, *vocabularies(pairs), made_of=MADE_OF)
    train, valid = corpus.split(0.2, seed=1)
    assert len(train) + len(valid) == 520
    assert 60 < len(valid) < 150
    places = sorted([*train.chosen, *valid.chosen])
    assert places == list(range(520))
    assert not {pairs[n][0] for n in train.chosen} & {pairs[n][0] for n in valid.chosen}
    assert_same(valid.batch(np.array([1])), corpus.batch(valid.chosen[[1]]))
    np.testing.assert_array_equal(corpus.split(0.2, seed=1)[1].chosen, valid.chosen)
    assert corpus.split(0.2, seed=2)[1].chosen.tolist() != valid.chosen.tolist()


@pytest.mark.parametrize(
    ("fraction", "seed", "reason"), [(0, 0, "valid_fraction"), (1, 0, "valid_fraction"), (0.5, -1, "seed")]
)
def test_a_split_that_cannot_be(folder, fraction, seed, reason):
    corpus = build_corpus(folder, PAIRS, *vocabularies(), made_of=MADE_OF)
    with pytest.raises(ValueError, match=reason):
        corpus.split(fraction, seed)


def test_of_few_sources_one_is_held_out_or_trained_on(folder):
    pairs = [(source, "x") for source in ("a", "b", "a", "c")]
    corpus = build_corpus(folder, pairs, *vocabularies(pairs), made_of=MADE_OF)
    for fraction, part in ((1e-9, 1), (1 - 1e-9, 0)):
        parts = corpus.split(fraction, seed=0)
        assert len({pairs[n][0] for n in parts[part].chosen}) == 1
        assert sorted([*parts[0].chosen, *parts[1].chosen]) == [0, 1, 2, 3]
        assert not {pairs[n][0] for n in parts[0].chosen} & {pairs[n][0] for n in parts[1].chosen}


def test_of_one_source_none_can_be_held_out(folder):
    corpus = build_corpus(folder, [("a", "x"), ("a", "y")], *vocabularies([("a", "xy")]), made_of=MADE_OF)
    with pytest.raises(ValueError, match="at least 2 different sources are needed to hold some out, got 1"):
        corpus.split(0.5, 0)


def test_what_was_passed_over_is_kept_and_may_be_missing(folder):
    build_corpus(folder, PAIRS, *vocabularies(), made_of=MADE_OF, passed_over=lambda: (3, 4))
    assert open_corpus(folder, MADE_OF).passed_over == (3, 4)
    index = json.loads((folder / "corpus.json").read_text())
    del index["passed_over"]
    (folder / "corpus.json").write_text(json.dumps(index))
    assert open_corpus(folder, MADE_OF).passed_over == (0, 0)
    (folder / "corpus.json").write_text(json.dumps({**index, "passed_over": [1]}))
    with pytest.raises(CorpusError, match="is damaged"):
        open_corpus(folder, MADE_OF)


def test_another_origin_is_refused_and_named(folder):
    build_corpus(folder, PAIRS, *vocabularies(), made_of=MADE_OF)
    with pytest.raises(CorpusError, match="made of something else: reverse_source differs"):
        open_corpus(folder, {**MADE_OF, "reverse_source": True})


@pytest.mark.parametrize("name", ["source.ids", "target.ids", "source.offsets", "target.offsets", "sources.hashes"])
def test_a_flipped_byte_is_found(folder, name):
    build_corpus(folder, PAIRS, *vocabularies(), made_of=MADE_OF)
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CorpusError, match=f"{name} is damaged"):
        open_corpus(folder, MADE_OF)


@pytest.mark.parametrize("change", [lambda i: i.pop("source"), lambda i: i["target"].update(dtype="<f4"), lambda i: i.clear()])
def test_a_damaged_index_is_refused(folder, change):
    build_corpus(folder, PAIRS, *vocabularies(), made_of=MADE_OF)
    index = json.loads((folder / INDEX).read_text())
    change(index)
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(CorpusError):
        open_corpus(folder, MADE_OF)


def test_a_file_that_was_cut_is_refused_without_a_digest_too(folder):
    build_corpus(folder, PAIRS, *vocabularies(), made_of=MADE_OF)
    (folder / "target.ids").write_bytes((folder / "target.ids").read_bytes()[:-2])
    with pytest.raises(CorpusError, match="ids"):
        open_corpus(folder, MADE_OF, check=False)


def test_an_interruption_leaves_what_was_there(folder, tmp_path):
    build_corpus(folder, PAIRS, *vocabularies(), made_of=MADE_OF)

    def interrupted():
        yield PAIRS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus(folder, interrupted(), *vocabularies(), made_of={})
    assert len(open_corpus(folder, MADE_OF)) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]


def test_building_again_replaces_a_corpus_and_nothing_else(folder, tmp_path):
    build_corpus(folder, PAIRS, *vocabularies(), made_of=MADE_OF)
    assert len(build_corpus(folder, PAIRS[:2], *vocabularies(), made_of={})) == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "novel.txt").write_text("Call me Ishmael.")
    with pytest.raises(CorpusError, match="holds other things"):
        build_corpus(tmp_path / "other", PAIRS, *vocabularies(), made_of={})
    assert (tmp_path / "other" / "novel.txt").exists()


@pytest.mark.parametrize(("pairs", "reason"), [([], "no pairs"), ([("", "x")], "no token")])
def test_pairs_that_cannot_be_encoded(folder, pairs, reason):
    with pytest.raises(ValueError, match=reason):
        build_corpus(folder, pairs, *vocabularies(), made_of={})
    assert not folder.exists()
