"""Small corpora of a strange kind, through training, translation and evaluation: the right result, or words."""

import json
import shlex

import pytest

from fastattn.training import stored as stored_pairs
from fastattn.training import translator

TINY = ["--epochs", 2, "--embedding", 3, "--hidden", 4]


@pytest.fixture
def learn(tmp_path, fastattn_command):
    """learn(what stands in the file, options of `train` ...) -> (exit code, standard output, standard error, file, folder)."""

    def learnt(content, *options):
        file, folder = tmp_path / "pairs.tsv", tmp_path / "model"
        file.write_bytes(content.encode())
        return *fastattn_command("train", file, "--out", folder, *TINY, *options), file, folder

    return learnt


def test_one_pair(learn, fastattn_command):
    code, out, err, file, folder = learn("ab\tx\n")
    assert (code, out) == (1, "")
    assert err == (
        f"fastattn: {file}: at least 2 different sources are needed to hold some out, got 1; "
        "with a valid fraction of 0 none are held out\n"
    )
    code, out, err, file, folder = learn("ab\tx\n", "--valid-fraction", 0, "--epochs", 20, "--learning-rate", 0.1)
    assert (code, err) == (0, "")
    assert "1 pair to train on, 0 held out\n" in out
    assert fastattn_command("translate", folder, "ab") == (0, "x\n", "")
    code, out, err = fastattn_command("evaluate", folder, file, "--json")
    assert (code, json.loads(out)["exact_match"], err) == (0, 1, "")


def test_one_pair_held_out_as_well(learn, tmp_path):
    (tmp_path / "valid.tsv").write_text("ab\tx\n")
    code, out, err, *_ = learn("ab\tx\n", "--valid", tmp_path / "valid.tsv")
    assert (code, err) == (0, "")
    assert "held-out exact match 0.00% (0 of 1)" in out or "held-out exact match 100.00% (1 of 1)" in out


SCRIPTS = """กขคง\tง ค ข ก
จฉชซ\tซ ช ฉ จ
ابتث\tث ت ب ا
جحخد\tد خ ح ج
日本東京\t京 東 本 日
大阪名古\t古 名 阪 大
क्षि\tि ष ् क
👩\u200d👩\u200d👧ab\tb a 👧 \u200d 👩 \u200d 👩
"""


@pytest.mark.parametrize("kind", ["char", "grapheme"])
def test_scripts_of_all_kinds(learn, fastattn_command, tmp_path, kind):
    """Also where the machine has no fonts for them: then a sentence says so, and a picture is drawn still."""
    if kind == "grapheme":
        pytest.importorskip("regex")
    pytest.importorskip("matplotlib")
    *_, err, _, folder = learn(SCRIPTS, "--source-tokens", kind, "--target-tokens", "space", "--valid-fraction", 0)
    assert err == ""
    for source, characters, graphemes in (("ابتث", 4, 4), ("क्षि", 4, 1), ("👩\u200d👩\u200d👧ab", 7, 3), ("日本東京", 4, 4)):
        code, out, err = fastattn_command("translate", folder, "--jsonl", "--attention", source)
        (answer,) = json.loads(out)["answers"]
        assert (code, err) == (0, "")
        assert {len(row) for row in answer["attention"]} == {characters if kind == "char" else graphemes}
        code, out, err = fastattn_command("attention", folder, source, "--out", tmp_path / "map.png")
        assert code == 0
        assert err == "" or (err.startswith("fastattn: ") and err.count("\n") <= 2)
        assert (tmp_path / "map.png").exists()


STRANGE = {
    "control characters": ("a\x01b\tx\x1by\n\x07\x7f\t\x00\nc\u2028d\tz\x85\n", ["a\x01b", "\x07\x7f", "c\u2028d"], ["x\x1by"]),
    "right to left": ("שלום\tםולש\nاب\tبا\nab\u200fג\tגab\n", ["שלום", "اب", "ab\u200fג"], ["םולש", "با", "גab"]),
    "combining": ("e\u0301\te\u0301\n\u0301\t\u0301e\né\té\n", ["e\u0301", "\u0301", "é"], ["e\u0301", "\u0301e", "é"]),
}


@pytest.mark.parametrize(("content", "sources", "targets"), STRANGE.values(), ids=STRANGE)
def test_strange_characters(learn, fastattn_command, tmp_path, content, sources, targets):
    """They are learnt as they stand: what is said of the training data comes back, character by character."""
    options = ["--valid-fraction", 0, "--epochs", 25, "--batch-size", 1, "--learning-rate", 0.05, "--hidden", 16]
    code, out, err, file, folder = learn(content, *options)
    assert (code, err) == (0, "")
    assert "3 pairs to train on, 0 held out\n" in out
    code, out, err = fastattn_command("evaluate", folder, file, "--json")
    assert (code, json.loads(out)["exact_matches"], err) == (0, 3, "")
    for source, target in zip(sources, targets):
        assert fastattn_command("translate", folder, source) == (0, f"{target}\n", "")


def test_duplicate_sources(learn, fastattn_command):
    """Pairs that stand there twice, and several targets: all of a source are held out, or none; any target is right,
    and the same one twice is one.
    """
    lines = "".join(f"{a}{b}\t{t}\n" for a in "abc" for b in "def" for t in ("x", "y", "x"))
    code, out, err, file, folder = learn(
        lines, "--valid-fraction", 0.3, "--epochs", 10, "--batch-size", 3, "--learning-rate", 0.03
    )
    assert (code, err) == (0, "")
    assert "18 pairs to train on, 9 held out" in out
    code, out, err = fastattn_command("evaluate", folder, file, "--json")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert (report["sources"], report["pairs"], report["exact_matches"]) == (9, 18, 9)


def test_features_that_are_missing_in_line_7(learn):
    reason = r"2 columns; expected 3 (source 1, target 2, features 3), with '\t' between them"
    lines = "".join(f"{letter}\tx\tV;PST\n" for letter in "abcdef")
    code, out, err, file, folder = learn(lines + "g\tx\nh\tx\tV\n", "--features-column", 3)
    assert (code, out, err) == (1, "", f"fastattn: {file}:7: {reason}\n")
    assert not folder.exists()


LONG = "".join(f"{a * 300}\t{b * 200}\n" for a, b in ("ax", "by", "cz"))


def test_only_long_lines(learn, fastattn_command):
    code, out, err, file, folder = learn(LONG, "--epochs", 1)
    assert (code, err) == (0, "")
    command = shlex.split(out.splitlines()[-1].removeprefix("try it: "))
    assert command == ["fastattn", "translate", str(folder), "--input", str(file)]  # no source is one to type
    code, out, err = fastattn_command(*command[1:])
    assert (code, len(out.splitlines())) == (0, 3)
    code, out, err, file, folder = learn(LONG + "d\tw\n", "--valid-fraction", 0, "--epochs", 1, "--overwrite")
    assert out.endswith(f"try it: fastattn translate {shlex.quote(str(folder))} d\n")


def test_lines_that_are_too_long_for_a_batch(learn):
    code, out, err, file, folder = learn(LONG, "--batch-tokens", 400)
    assert (code, out) == (1, "")
    assert err.startswith(f"fastattn: training.batch_tokens is 400, but {file} has a pair of 502 tokens, 'aaa")
    assert err.endswith("expected at least 502\n")
    assert not folder.exists()


@pytest.mark.parametrize("stored", [False, True])
def test_lines_that_are_too_long_to_be_translated(learn, tmp_path, monkeypatch, stored):
    for each in (stored_pairs, translator):
        monkeypatch.setattr(each, "MAX_SOURCE_TOKENS", 250)
    options = ["--token-cache", tmp_path / "ids"] if stored else []
    code, _, err, file, folder = learn("d\tw\n" + LONG, "--valid-fraction", 0, "--epochs", 1, *options)
    assert (code, err) == (1, f"fastattn: {file}:2: the source has 300 tokens; expected 1 to 250\n")
    assert not folder.exists()
