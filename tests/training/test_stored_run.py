"""A training run whose pairs are kept on disk as token ids."""

import os

import numpy as np
import pytest

import fastattn
from fastattn.data import CorpusError, PairsError
from fastattn.training import Settings, SettingsError, load, train

WORDS = ["ab", "abc", "ca", "b", "cabba", "aab", "bb", "cc", "acb", "bac", "ccb", "ba"]
SMALL = {"embedding": 4, "hidden": 6, "epochs": 2, "batch_size": 3}


@pytest.fixture(autouse=True)
def reference():
    with fastattn.use_backend("reference"):
        yield


@pytest.fixture
def files(tmp_path):
    for name, words in (("train", WORDS), ("valid", ["abca", "d", "cb"])):
        (tmp_path / f"{name}.tsv").write_text("".join(f"{word}\t{word[::-1]}\n" for word in words) + "\n")
    return {"pairs": str(tmp_path / "train.tsv"), "valid": str(tmp_path / "valid.tsv")}


def figures(run):
    return [(record.loss, record.valid_loss, record.valid_exact_match) for record in run.history]


@pytest.mark.parametrize("options", [{}, {"reverse_source": True, "batch_tokens": 40}, {"share_embeddings": True}])
def test_the_bits_are_those_of_pairs_in_memory(tmp_path, files, options):
    options = {**files, **SMALL, **options}
    in_memory = train(Settings.of(**options), tmp_path / "in-memory", progress=False)
    for folder in ("first", "again"):  # the second time from the ids that the first has kept
        stored = train(Settings.of(**options, token_cache=str(tmp_path / "ids")), tmp_path / folder, progress=False)
        assert figures(stored) == figures(in_memory)
        for a, b in zip(stored.translator.model.params, in_memory.translator.model.params, strict=True):
            np.testing.assert_array_equal(a, b)
        assert load(tmp_path / folder).translate(["abc"]) == load(tmp_path / "in-memory").translate(["abc"])


def test_pairs_are_encoded_once_and_anew_when_the_file_or_the_settings_change(tmp_path, files, monkeypatch):
    from fastattn.training import stored

    built = []
    monkeypatch.setattr(stored, "build_corpus", lambda folder, *a, **k: built.append(folder.name) or build(folder, *a, **k))
    from fastattn.data import build_corpus as build

    def run(**more):
        built.clear()
        settings = Settings.of(**files, **SMALL, token_cache=str(tmp_path / "ids"), **more)
        train(settings, tmp_path / "model", overwrite=True, progress=False)
        return built

    assert run() == ["pairs", "valid"]
    assert run() == []
    assert run(reverse_source=True) == ["pairs", "valid"]
    with open(files["pairs"], "a") as pairs:
        pairs.write("abcd\tdcba\n")
    assert run(reverse_source=True) == ["pairs", "valid"]  # another vocabulary
    (tmp_path / "ids" / "pairs" / "source.ids").write_bytes(b"")
    assert run(reverse_source=True) == ["pairs"]


def test_a_part_is_held_out_by_its_sources(tmp_path, files):
    settings = Settings.of(pairs=files["pairs"], valid_fraction=0.4, token_cache=str(tmp_path / "ids"), **SMALL)
    run = train(settings, tmp_path / "model", progress=False)
    assert 0 < len(run.corpus.valid) < len(WORDS)
    assert len(run.corpus.train) + len(run.corpus.valid) == len(WORDS)
    assert (run.corpus.passed_over, run.corpus.example) == ("1 blank line", "ab")
    again = train(settings, tmp_path / "again", progress=False)  # from the ids that are kept
    assert (again.corpus.passed_over, again.corpus.example) == ("1 blank line", "ab")


def test_of_few_pairs_one_is_held_out_and_of_one_source_none_can_be(tmp_path, files):
    settings = Settings.of(pairs=files["pairs"], valid_fraction=1e-6, token_cache=str(tmp_path / "ids"), **SMALL)
    assert len(train(settings, tmp_path / "model", progress=False).corpus.valid) == 1
    (tmp_path / "one.tsv").write_text("ab\tba\nab\tb\n")
    settings = Settings.of(pairs=str(tmp_path / "one.tsv"), token_cache=str(tmp_path / "ids"), **SMALL)
    with pytest.raises(SettingsError, match=r"one\.tsv: at least 2 different sources .*; with a valid fraction of 0 none are"):
        train(settings, tmp_path / "other", progress=False)


@pytest.mark.parametrize("cache", [{}, {"token_cache": "ids"}])
def test_a_source_that_no_model_answers_is_refused_with_its_line(tmp_path, files, cache, monkeypatch):
    from fastattn.training import stored

    monkeypatch.chdir(tmp_path)
    train(
        Settings.of(**files, **SMALL, **cache), tmp_path / "model", progress=False
    )  # within the limit: "cabba" is the longest
    monkeypatch.setattr(stored, "MAX_SOURCE_TOKENS", 4)
    with pytest.raises(PairsError, match=r"train\.tsv:5: the source has 5 tokens; expected 1 to"):
        train(Settings.of(**files, **SMALL, **cache), tmp_path / "other", progress=False)
    (tmp_path / "spaces.tsv").write_text("long words, few\tx\na b\ty\n")
    settings = Settings.of(pairs="spaces.tsv", source_tokens="space", **SMALL, **cache)
    train(settings, tmp_path / "spaces", progress=False)


def test_features_are_kept_too(tmp_path):
    path = tmp_path / "verbs.tsv"
    path.write_text("run\tran\tV;PST\nrun\truns\tV;SG\ngo\twent\tV;PST\n")
    options = {"pairs": str(path), "features_column": 3, "valid_fraction": 0, **SMALL}
    stored = train(Settings.of(**options, token_cache=str(tmp_path / "ids")), tmp_path / "stored", progress=False)
    in_memory = train(Settings.of(**options), tmp_path / "in-memory", progress=False)
    assert figures(stored) == figures(in_memory)
    assert stored.translator.source_vocabulary.features == ("PST", "SG", "V")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pairs": "-"}, "needs pairs in a file, for they are read more than once; data.pairs is -"),
        ({"valid": "-"}, "data.valid is -"),
        ({"pairs": None, "valid": None}, "needs PAIRS.tsv: the built-in dates are no file"),
    ],
)
def test_what_cannot_be_kept(tmp_path, files, options, said):
    settings = Settings.of(**{**files, **SMALL, **options}, token_cache=str(tmp_path / "ids"))
    with pytest.raises(SettingsError, match=said):
        train(settings, tmp_path / "model", progress=False)


def test_a_pipe_is_refused(tmp_path, files):
    os.mkfifo(tmp_path / "pipe")
    settings = Settings.of(**{**files, **SMALL, "pairs": str(tmp_path / "pipe")}, token_cache=str(tmp_path / "ids"))
    with pytest.raises(SettingsError, match=r"read more than once; data\.pairs is a pipe"):
        train(settings, tmp_path / "model", progress=False)


def test_a_file_where_the_folder_should_be(tmp_path, files):
    settings = Settings.of(**files, **SMALL, token_cache=files["pairs"])
    with pytest.raises(SettingsError, match=r"token_cache is .*, which is a file; expected a folder"):
        train(settings, tmp_path / "model", progress=False)


def test_a_folder_of_other_things_is_left_alone(tmp_path, files):
    (tmp_path / "ids" / "pairs").mkdir(parents=True)
    (tmp_path / "ids" / "pairs" / "letter.txt").write_text("Dear Sir")
    with pytest.raises(CorpusError, match="holds other things"):
        train(Settings.of(**files, **SMALL, token_cache=str(tmp_path / "ids")), tmp_path / "model", progress=False)
    assert (tmp_path / "ids" / "pairs" / "letter.txt").read_text() == "Dear Sir"
