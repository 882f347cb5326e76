"""Texts, columns and symbols on the command line: what is read, what a model never saw, and what cannot be read."""

import gzip
import io
import json

import pytest

import fastattn
from fastattn.cli.common import UserError
from fastattn.cli.translate import arriving_lines
from fastattn.data import PairsFile, Reading, Vocabulary, encode_pairs
from fastattn.training import Adam, Trainer, Translator, load, save


@pytest.fixture(scope="session")
def teach(tmp_path_factory):
    """teach(pairs as they stand in a file, epochs=..., separator=...) -> the folder of a model that learnt them."""

    def taught(content, epochs=60, tokens=("char", "char"), **options):
        folder = tmp_path_factory.mktemp("taught")
        (folder / "pairs").write_text(content, encoding="utf-8")
        reading = Reading(**options)
        pairs = PairsFile.read(folder / "pairs", reading).pairs
        sources = Vocabulary.from_texts((source for source, _ in pairs), tokens[0], features=reading.has_features)
        targets = Vocabulary.from_texts((target for _, target in pairs), tokens[1])
        with fastattn.use_backend("reference"):
            model = fastattn.AttentionSeq2seq(len(sources), 8, 16, target_vocabulary=len(targets), seed=1)
            x, source_lengths, t, target_lengths = encode_pairs(pairs, sources, targets)
            lengths = {"source_lengths": source_lengths, "target_lengths": target_lengths}
            Trainer(model, Adam(0.05)).fit(x, t, epochs, 16, 5.0, **lengths, seed=0)
            translator = Translator(model, sources, targets, reverse_source=False, max_target_tokens=20, reading=reading)
            save(folder / "model", translator, [], {})
        return folder / "model"

    return taught


TINY = "ab\tx y\nac\tx z\nbc\ty z\nbd\ty w\ncd\tz w\n"
INFLECTIONS = "lemma\tform\ttags\nwalk\twalked\tV;PST\nrun\tran\tV;PST\nrun\truns\tV;3;SG;PRS\n"


@pytest.fixture(scope="session")
def tiny(teach):
    return teach(TINY, epochs=1)


@pytest.fixture(scope="session")
def inflections(teach):
    return teach(INFLECTIONS, header=True, source_column="lemma", target_column="form", features_column="tags")


def answers(model, texts):
    with fastattn.use_backend("reference"):
        return load(model).translate(texts)


@pytest.mark.parametrize("option", [(), ("--n-best", "1")])
def test_a_copy_is_one_line(tiny, fastattn_command, option):
    text = "日\nab\r\nc"
    code, out, _ = fastattn_command("translate", tiny, "--unknown", "copy", *option, text, "日")
    assert (code, [line.split("\t")[-1] for line in out.split("\n")]) == (0, ["日 ab c", "日", ""])
    out = fastattn_command("translate", tiny, "--unknown", "copy", "--jsonl", text)[1]
    assert json.loads(out)["answers"][0]["text"] == text


SEEN = "fastattn: 2 of 4 sources have symbols that the model never saw: '日', '本', '€'\n"


@pytest.mark.parametrize("policy", ["answer", "empty", "copy", "fail"])
def test_symbols_that_the_model_never_saw(tiny, fastattn_command, policy):
    texts = ["ab", "日本", "c€d", "bc"]
    known = answers(tiny, texts)
    code, out, err = fastattn_command("translate", tiny, "--unknown", policy, *texts)
    if policy == "fail":
        reason = "line 2: the source has symbols that the model never saw: '日', '本'"
        assert (code, out, err) == (1, "", f"fastattn: {reason}\n")
        return
    middle = {"answer": known[1:3], "empty": ["", ""], "copy": texts[1:3]}[policy]
    assert (code, out.splitlines(), err) == (0, [known[0], *middle, known[3]], SEEN)


def test_one_source_is_one_source(tiny, fastattn_command):
    code, _, err = fastattn_command("translate", tiny, "é", "ab")
    assert (code, err) == (0, "fastattn: 1 of 2 sources has symbols that the model never saw: 'é'\n")


def test_evaluation_counts_them_too(tiny, tmp_path, fastattn_command):
    path = tmp_path / "p.tsv"
    path.write_text("ab\tx y\n\n日本\ta\ncd\tz w\n日本\tb\n")
    code, out, err = fastattn_command("evaluate", tiny, path, "--json")
    assert (code, json.loads(out)["unknown_sources"]) == (0, 1)
    assert err == "fastattn: 1 of 3 sources has symbols that the model never saw: '日', '本'\n"
    code, out, err = fastattn_command("evaluate", tiny, path, "--unknown", "fail")
    assert (code, out) == (1, "")
    # The line of the file: a blank one came before.
    assert err == f"fastattn: {path}:3: the source has symbols that the model never saw: '日', '本'\n"
    path.write_text("日本\t日本\n本\t本\n")
    code, out, _ = fastattn_command("evaluate", tiny, path, "--unknown", "copy", "--json")
    assert (code, json.loads(out)["exact_matches"]) == (0, 2)
    code, out, _ = fastattn_command("evaluate", tiny, path, "--unknown", "empty", "--json")
    assert (code, json.loads(out)["token_error_rate"]) == (0, 1)


def test_composed_letters_are_learnt_and_decomposed_ones_asked(teach, fastattn_command):
    letters = "éèêàùôîçñöüä"
    content = "".join(f"{a}{b}\t{b} {a}\n" for a in letters for b in letters if a != b)
    composed, decomposed = ["éè", "öü", "çñ"], ["e\u0301e\u0300", "o\u0308u\u0308", "c\u0327n\u0303"]
    plain, composing = teach(content, epochs=2), teach(content, epochs=2, normalization="NFC")
    code, out, err = fastattn_command("translate", composing, *decomposed)
    assert (code, out.splitlines(), err) == (0, answers(plain, composed), "")
    code, _, err = fastattn_command("translate", plain, *decomposed)
    assert code == 0
    assert err.startswith("fastattn: 3 of 3 sources have symbols that the model never saw: 'e', U+0301, U+0300, 'o', U+0308, ")


@pytest.mark.parametrize("columns", [("lemma", "form", "tags"), (1, 2, 3)])
def test_features_condition_the_answer(teach, tmp_path, fastattn_command, columns):
    names = dict(zip(("source_column", "target_column", "features_column"), columns))
    model = teach(INFLECTIONS, header=True, **names)
    texts = ["run\tV;PST", "run\tV;3;SG;PRS", "", "walk\tV;PST"]
    code, out, err = fastattn_command("translate", model, *texts)
    assert (code, out.splitlines(), err) == (0, ["ran", "runs", "", "walked"], "")
    (tmp_path / "p.tsv").write_text(INFLECTIONS)
    code, out, _ = fastattn_command("evaluate", model, tmp_path / "p.tsv", "--json")
    assert (code, json.loads(out)["exact_matches"]) == (0, 3)
    code, out, _ = fastattn_command("translate", model, "--input", tmp_path / "p.tsv")
    assert (code, out.splitlines()) == (0, ["", "walked", "ran", "runs"])
    code, out, err = fastattn_command("translate", model, "run")
    assert (code, out) == (1, "")
    assert err == "fastattn: line 1: no tab; expected source<TAB>features, such as V;PST\n"


def test_a_file_of_another_layout_can_be_evaluated(inflections, tmp_path, fastattn_command):
    path = tmp_path / "p.csv"
    path.write_text("# tags first\nV+PST,run,ran,x\nV+PST,walk,walked,y\n")
    layout = ["--separator", ",", "--features-separator", "+", "--no-header", "--comment", "#", "--extra-columns"]
    columns = ["--source-column", 2, "--target-column", 3, "--features-column", 1]
    code, out, err = fastattn_command("evaluate", inflections, path, "--json", *layout, *columns)
    assert (code, err, json.loads(out)["exact_matches"]) == (0, "", 2)
    code, out, err = fastattn_command("evaluate", inflections, path)
    assert (code, out, err.count("\n")) == (1, "", 1)
    code, out, err = fastattn_command("evaluate", inflections, path, "--no-header")
    expected = "fastattn: source_column is 'lemma'; a name needs header=True; expected a number from 1 without it\n"
    assert (code, out, err) == (1, "", expected)


def test_a_model_without_features_takes_none(tiny, tmp_path, fastattn_command):
    (tmp_path / "p.tsv").write_text("ab\tx y\tV\n")
    code, out, err = fastattn_command("evaluate", tiny, tmp_path / "p.tsv", "--features-column", 3)
    assert (code, out, err) == (1, "", "fastattn: --features-column: the model was trained without features\n")


@pytest.fixture
def dictionary(teach):
    content = ";;; words\nAB  X Y\nAB(1)  Y X\nAC  X Z\n"
    return content, teach(content, epochs=1, separator="  ", comment=";;;", variants=True)


def test_a_dictionary_is_read_as_it_was_learnt(dictionary, tmp_path, fastattn_command):
    content, model = dictionary
    (tmp_path / "dictionary").write_text(content)
    expected = answers(model, ["", "AB", "AB", "AC"])
    code, out, err = fastattn_command("translate", model, "--input", tmp_path / "dictionary")
    assert (code, out.splitlines(), err) == (0, expected, "")
    code, out, err = fastattn_command("evaluate", model, tmp_path / "dictionary", "--json")
    assert (code, err, json.loads(out)["pairs"]) == (0, "", 3)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("content", ["ab\nbc\n\ncd", "ab\tx y\nbc\ty z\n\ncd\tz w\n"], ids=["sources", "pairs"])
def test_a_file_of_sources_or_of_pairs(tiny, tmp_path, fastattn_command, content, compressed):
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content.encode()) if compressed else content.encode())
    code, out, err = fastattn_command("translate", tiny, "--input", path)
    assert (code, out.splitlines(), err) == (0, answers(tiny, ["ab", "bc", "", "cd"]), "")


def test_the_targets_of_a_file_as_given_answers(inflections, tmp_path, fastattn_command):
    path = tmp_path / "forms.tsv"
    path.write_text(f"{INFLECTIONS}\nrun\tran\n", encoding="utf-8")
    code, out, err = fastattn_command("translate", inflections, "--given", "--keep-going", "--input", path)
    with fastattn.use_backend("reference"):
        pairs = [("walk\tV;PST", "walked"), ("run\tV;PST", "ran"), ("run\tV;3;SG;PRS", "runs")]
        given = load(inflections).log_probabilities(pairs)
    assert (code, [line.split("\t")[-1] for line in out.splitlines()]) == (1, ["", "walked", "ran", "runs", "", ""])
    assert [line.split("\t")[0] for line in out.splitlines() if line.strip()] == [f"{sum(each):.4f}" for each in given]
    assert f"{path}, line 6: 2 columns; expected 3 (source 1, target 2, features 3)" in err


def test_json_is_no_line_of_columns(teach, tmp_path, fastattn_command):
    """Whatever stands between the columns of the pairs that a model was taught."""
    model = teach("from,to\nab,x\nbc,y\n", epochs=1, separator=",", header=True, source_column="from", target_column="to")
    path = tmp_path / "in.jsonl"
    path.write_text('{"source": "ab", "id": 1}\n{"source": "bc", "target": "y"}\n')
    code, out, err = fastattn_command("translate", model, "--jsonl", "--input", path)
    assert (code, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    assert [each["answers"][0]["text"] for each in found] == answers(model, ["ab", "bc"])
    assert (found[0]["id"], found[1]["target"]) == (1, "y")


def test_standard_input_as_a_file(tiny, tmp_path, module):
    done = module("translate", tiny, "--input", "-", text=b"ab\tx y\nbc\n")
    assert (done.returncode, done.stdout.decode().splitlines(), done.stderr) == (0, answers(tiny, ["ab", "bc"]), b"")
    done = module("translate", tiny, "--input", "-", text=gzip.compress(b"ab\tx y\nbc\n"))
    assert (done.returncode, done.stdout.decode().splitlines(), done.stderr) == (0, answers(tiny, ["ab", "bc"]), b"")
    done = module("translate", tiny, "--input", "-", text=gzip.compress(b"ab\n")[:-5])
    assert done.returncode == 1
    assert done.stderr.startswith(b"fastattn: standard input: is not a whole gzip file: ")
    done = module("evaluate", tiny, "-", "--json", text=b"ab\tx y\n\nbc\tq\n")
    assert (done.returncode, json.loads(done.stdout)["pairs"], done.stderr) == (0, 2, b"")


def test_files_that_cannot_be_read(tiny, tmp_path, fastattn_command):
    code, out, err = fastattn_command("translate", tiny, "--input", tmp_path / "none")
    assert (code, out, err) == (1, "", f"fastattn: {tmp_path / 'none'}: No such file or directory\n")
    path = tmp_path / "half.gz"
    path.write_bytes(gzip.compress(b"ab\n" * 9)[:-5])
    code, out, err = fastattn_command("translate", tiny, "--input", path)
    assert code == 1
    assert err.startswith(f"fastattn: {path}: is not a whole gzip file: ")
    code, out, err = fastattn_command("translate", tiny, "ab", "--input", path)
    assert (code, out) == (2, "")
    assert "fastattn translate: error: --input and TEXT: expected one of the two" in err


def test_a_text_that_names_a_file(tiny, tmp_path, monkeypatch, fastattn_command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b").write_text("ab\n")
    code, out, err = fastattn_command("translate", tiny, "a b", "ab")
    assert (code, out.splitlines()) == (0, answers(tiny, ["a b", "ab"]))
    assert err.splitlines()[0] == "fastattn: a b is translated as a text; --input 'a b' reads the file"


def test_a_line_that_is_not_utf8_and_the_rest_goes_on(tiny, module):
    text = b"ab\n\xff\xfe\nbc\n"
    done = module("translate", tiny, text=text)
    assert (done.returncode, done.stdout.decode().splitlines()) == (1, answers(tiny, ["ab"]))
    done = module("translate", tiny, "--keep-going", text=text)
    assert (done.returncode, done.stdout.decode().splitlines()) == (1, answers(tiny, ["ab", "", "bc"]))
    assert done.stderr.decode() == (
        "fastattn: standard input, line 2: is not UTF-8\nfastattn: 1 of 3 lines could not be translated; its answer is empty\n"
    )


def test_every_bad_line_is_told_and_the_rest_goes_on(inflections, tmp_path, fastattn_command):
    path = tmp_path / "sources"
    path.write_bytes(b"run\tV;PST\nrun\n\xff\n\trun\nwalk\tV;PST\nrun\t;\nr\xc3\xa4n\tV\n")
    code, out, err = fastattn_command("translate", inflections, "--input", path, "--keep-going", "--unknown", "fail")
    assert (code, out.splitlines()) == (1, ["ran", "", "", "", "walked", "", ""])
    told = err.splitlines()
    assert sorted(told[:-1]) == [
        f"fastattn: {path}, line 2: no tab; expected source<TAB>features, such as V;PST",
        f"fastattn: {path}, line 3: is not UTF-8",
        f"fastattn: {path}, line 4: the source is empty",
        f"fastattn: {path}, line 6: the features are empty",
        f"fastattn: {path}, line 7: the source has symbols that the model never saw: 'ä'",
    ]
    assert told[-1] == "fastattn: 5 of 7 lines could not be translated; their answers are empty"
    code, out, err = fastattn_command("translate", inflections, "--input", path)
    assert (code, out) == (1, "")
    assert err == f"fastattn: {path}, line 2: no tab; expected source<TAB>features, such as V;PST\n"


def test_columns_that_are_missing_in_a_file_of_sources(teach, tmp_path, fastattn_command):
    model = teach("1\tab\tx\n2\tbc\ty\n", epochs=1, source_column=2, target_column=3)
    path = tmp_path / "p.tsv"
    path.write_text("3\tab\tx\nab\n4\tab\n")
    code, out, _ = fastattn_command("translate", model, "--input", path)
    assert (code, out.splitlines()) == (0, answers(model, ["ab"] * 3))
    other = teach("ab\tx\t1\nbc\ty\t2\n", epochs=1, source_column=3, target_column=1)
    path.write_text("ab\tx\t1\nab\tx\n2\n")
    code, out, err = fastattn_command("translate", other, "--input", path, "--keep-going")
    assert (code, out.splitlines()) == (1, answers(other, ["1", "", "2"]))
    assert f"{path}, line 2: 2 columns; expected 3 (source 3, target 1), with '\\t' between them\n" in err


def test_lines_that_are_not_utf8_can_be_refused_one_by_one():
    class Whole(io.BytesIO):
        def read1(self, size):
            return self.read()

    refused = []
    lines = arriving_lines(Whole(b"a\n\xff\nb\n"), "f", lambda problem, error: refused.append(problem))
    assert list(lines) == [["a", "", "b"]]
    assert refused == ["f, line 2: is not UTF-8"]
    with pytest.raises(UserError, match="f, line 1: is not UTF-8"):
        list(arriving_lines(Whole(b"\xff"), "f"))


def test_options_and_texts_in_any_order(tiny, fastattn_command):
    expected = answers(tiny, ["ab", "bc", "-c"])
    for arguments in (
        [tiny, "ab", "--unknown", "answer", "bc", "--keep-going", "--", "-c"],
        ["--unknown", "answer", tiny, "ab", "bc", "--", "-c"],
        [tiny, "--keep-going", "--", "ab", "bc", "-c"],
    ):
        code, out, _ = fastattn_command("translate", *arguments)
        assert (code, out.splitlines()) == (0, expected)
    code, out, err = fastattn_command("translate", tiny, "--unknow", "x", "ab")
    assert (code, out) == (2, "")
    assert "unknow" in err


def test_only_the_folder_is_missing(fastattn_command):
    code, out, err = fastattn_command("translate")
    assert (code, out) == (2, "")
    assert err.endswith("error: the following arguments are required: DIR\n")


def test_a_model_of_graphemes_without_the_package_that_finds_them(teach, monkeypatch, fastattn_command):
    pytest.importorskip("regex")
    model = teach("क्षि\tि ष ् क\n👩\u200d👩\u200d👧ab\tb a\n", epochs=1, tokens=("grapheme", "space"))
    code, out, err = fastattn_command("translate", model, "क्षिab")
    assert (code, out.count("\n"), err) == (0, 1, "")
    monkeypatch.setitem(__import__("sys").modules, "regex", None)
    code, out, err = fastattn_command("translate", model, "क्षिab")
    expected = "the token kind 'grapheme' needs regex; install it with: pip install 'fastattn[grapheme]'"
    assert (code, out, err) == (1, "", f"fastattn: {expected}\n")
