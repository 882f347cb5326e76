"""`fastattn evaluate`, on answers that are known beforehand."""

import json

import pytest

from fastattn.training import Translator, translator


@pytest.fixture
def command(trained, tmp_path, monkeypatch, fastattn_command):
    """command(answers, pairs, ...): `fastattn evaluate` of a model that gives these answers."""

    def evaluate(answers, content, *options):
        def translate(self, texts, **options):
            assert list(texts) == [line.split("\t")[0] for line in content.splitlines()]
            return answers

        monkeypatch.setattr(Translator, "translate", translate)
        (tmp_path / "pairs.tsv").write_text(content)
        return fastattn_command("evaluate", trained / "model", tmp_path / "pairs.tsv", *options)

    return evaluate


# Distances: 0, 3 (kitten -> sitting), 2 (all gone), 0; the targets have 3 + 7 + 2 + 1 characters.
ANSWERS = ["abc", "kitten", "", "x"]
PAIRS = "a\tabc\nb\tsitting\nc\tno\nd\tx\n"


def test_figures_as_json(command):
    code, out, err = command(ANSWERS, PAIRS, "--json")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    assert json.loads(out) == {
        "pairs": 4,
        "unknown_sources": 0,
        "exact_matches": 2,
        "exact_match": 0.5,
        "reference_tokens": 13,
        "token_errors": 5,
        "token_error_rate": 5 / 13,
    }


def test_figures_as_text(command):
    code, out, err = command(ANSWERS, PAIRS)
    assert (code, err) == (0, "")
    assert out == (
        "pairs             4\n"
        "exact match       50.00% (2 of 4)\n"
        "token error rate  38.46% (5 errors in 13 tokens)\n"
    )  # fmt: skip


def test_bad_pairs(trained, tmp_path, fastattn_command):
    (tmp_path / "pairs.tsv").write_text("a\tb\nc\n")
    code, out, err = fastattn_command("evaluate", trained / "model", tmp_path / "pairs.tsv")
    assert (code, out) == (1, "")
    assert err.startswith(f"fastattn: {tmp_path / 'pairs.tsv'}:2: no tab")
    assert err.count("\n") == 1


def test_a_source_that_is_too_long(trained, tmp_path, fastattn_command, monkeypatch):
    monkeypatch.setattr(translator, "MAX_SOURCE_TOKENS", 5)
    (tmp_path / "pairs.tsv").write_text("a\tb\nabcabc\tb\n")
    code, out, err = fastattn_command("evaluate", trained / "model", tmp_path / "pairs.tsv")
    assert (code, out) == (1, "")
    assert err == f"fastattn: {tmp_path / 'pairs.tsv'}:2: the source has 6 tokens; expected 1 to 5\n"


def test_words_are_compared_as_words(tmp_path, fastattn_command):
    """A single word to learn, so that the answer is known; the reference has another space between."""
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("a\tone two\n")
    options = ["--target-tokens", "space", "--epochs", 40, "--learning-rate", 0.1, "--hidden", 4, "--embedding", 3]
    code, _, err = fastattn_command("train", pairs, "--out", tmp_path / "m", "--valid-fraction", 0, *options)
    assert (code, err) == (0, "")
    pairs.write_text("a\tone  two\na\tone too\n")
    code, out, err = fastattn_command("evaluate", tmp_path / "m", pairs, "--json")
    assert (code, err) == (0, "")
    figures = json.loads(out)
    assert (figures["exact_matches"], figures["token_errors"], figures["reference_tokens"]) == (1, 1, 4)
