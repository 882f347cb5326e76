"""`fastattn evaluate`, on answers that are known beforehand: a model's, or those of a file."""

import json
import sys

import pytest

from fastattn.evaluation import BLEU_TOKENIZERS, corpus, evaluate
from fastattn.training import Translator, translator


@pytest.fixture
def command(trained, tmp_path, monkeypatch, fastattn_command):
    """command(answers, pairs, ...): `fastattn evaluate` of a model that gives these answers."""

    def evaluate(answers, content, *options):
        def translate(self, texts, **options):
            assert list(texts) == list(dict.fromkeys(line.split("\t")[0] for line in content.splitlines()))
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
    expected = {
        "pairs": 4,
        "unknown_sources": 0,
        "exact_matches": 2,
        "exact_match": 0.5,
        "reference_tokens": 13,
        "token_errors": 5,
        "token_error_rate": 5 / 13,
    }
    figures = json.loads(out)
    assert figures.items() >= {"sources": 4, "character_error_rate": 5 / 13, **expected}.items()
    del expected["pairs"], expected["unknown_sources"]  # what follows has none of its own
    assert figures["first_reference"].items() >= expected.items()
    assert sum(group["exact_matches"] for group in figures["by_length"]) == 2
    assert figures["intervals"].items() >= {"resamples": 1000, "seed": 0, "confidence": 0.95}.items()


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
    for target, expected in (("one  two", (1, 0, 2)), ("one too", (0, 1, 2))):
        pairs.write_text(f"a\t{target}\n")
        code, out, err = fastattn_command("evaluate", tmp_path / "m", pairs, "--json")
        assert (code, err) == (0, "")
        figures = json.loads(out)
        assert (figures["exact_matches"], figures["token_errors"], figures["reference_tokens"]) == expected


SEVERAL = "either\tIY DH ER\neither\tAY DH ER\nroute\tR UW T\nroute\tR AW T\ncat\tK AE T\n"


@pytest.fixture
def of_file(tmp_path, fastattn_command):
    """of_file(answers, pairs, ...): `fastattn evaluate` of a file of answers."""

    def evaluate(answers, content, *options):
        (tmp_path / "answers.txt").write_text("".join(f"{answer}\n" for answer in answers), encoding="utf-8")
        (tmp_path / "pairs.tsv").write_text(content, encoding="utf-8")
        return fastattn_command("evaluate", tmp_path / "answers.txt", tmp_path / "pairs.tsv", *options)

    return evaluate


def test_the_targets_of_a_source_are_alternatives(of_file):
    code, out, err = of_file(["AY DH ER", "R AW T", "K AE"], SEVERAL, "--target-tokens", "space")
    assert (code, err) == (0, "")
    assert out == (
        "sources               3 (5 pairs; the nearest target counts)\n"
        "exact match           66.67% (2 of 3)\n"
        "token error rate      11.11% (1 error in 9 tokens)\n"
        "character error rate  10.00% (2 errors in 20 characters)\n"
        "by the first target of each source alone\n"
        "exact match           0.00% (0 of 3)\n"
        "token error rate      33.33% (3 errors in 9 tokens)\n"
        "character error rate  20.00% (4 errors in 20 characters)\n"
    )


def test_a_model_is_asked_once_for_a_source_with_several_targets(command):
    code, out, _ = command(["IY DH ER", "R", "K AE T"], SEVERAL, "--json")
    assert code == 0
    figures = json.loads(out)
    assert (figures["sources"], figures["pairs"], figures["exact_matches"]) == (3, 5, 2)


def test_answers_may_be_as_many_as_the_pairs_or_as_the_sources(of_file):
    answers = ["AY DH ER", "R AW T", "K AE T"]
    twice = [answers[place] for place in (0, 0, 1, 1, 2)]
    assert of_file(answers, SEVERAL)[0] == 0
    assert of_file(answers, SEVERAL) == of_file(twice, SEVERAL)


def test_answers_may_be_as_many_as_the_lines(of_file):
    """As `fastattn translate --input` writes them."""
    content = "word  phones\n;;; a comment\neither  IY DH ER\neither(1)  AY DH ER\n\ncat  K AE T\n"
    options = ["--header", "--separator", "  ", "--comment", ";;;", "--variants", "--target-tokens", "space"]
    code, out, err = of_file(["", "", "AY DH ER", "AY DH ER", "", "K AE"], content, *options)
    assert (code, err) == (0, "")
    assert of_file(["AY DH ER", "K AE"], content, *options) == (code, out, err)
    assert "token error rate      16.67% (1 error in 6 tokens)" in out
    other = of_file(["", "", "AY DH ER", "IY DH ER", "", "K AE"], content, *options)[2]
    assert other.endswith("answers.txt:4: another answer than in line 3, to the same source; expected one\n")
    assert of_file(["x"] * 5, content, *options)[2].endswith(
        "5 answers; expected 3, one for each pair, or 2, one for each different source, or 6, one for each line\n"
    )


def test_answers_from_standard_input(tmp_path, module):
    path = tmp_path / "pairs.tsv"
    path.write_text("a\tone two\nb\tthree\n")
    done = module("evaluate", "-", path, "--target-tokens", "space", "--json", text=b"one too\nthree\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["token_errors"] == 1
    done = module("evaluate", "-", path, text=b"one too\n")
    assert done.stderr == b"fastattn: standard input: 1 answer; expected 2, one for each pair\n"
    done = module("evaluate", "-", "-", text=b"one too\n")
    assert done.stderr.startswith(b"fastattn: - and -: answers and pairs are both to come from standard input")


def test_answers_that_do_not_fit_the_pairs(of_file, tmp_path):
    path = tmp_path / "answers.txt"
    assert of_file(["a"], PAIRS) == (1, "", f"fastattn: {path}: 1 answer; expected 4, one for each pair\n")
    expected = f"fastattn: {path}: 4 answers; expected 5, one for each pair, or 3, one for each different source\n"
    assert of_file(["a"] * 4, SEVERAL) == (1, "", expected)
    expected = f"fastattn: {path}:4: another answer than in line 3, to the same source; expected one\n"
    assert of_file(["a", "a", "b", "c", "d"], SEVERAL) == (1, "", expected)
    assert of_file([], PAIRS) == (1, "", f"fastattn: {path}: is empty; expected an answer a line\n")


def test_tokens_are_told_for_a_file_of_answers_only(of_file, trained, tmp_path, fastattn_command):
    assert "1 error in 2 tokens" in of_file(["one too"], "a\tone two\n", "--target-tokens", "space")[1]
    assert "1 error in 7 tokens" in of_file(["one too"], "a\tone two\n")[1]
    code, out, err = fastattn_command("evaluate", trained / "model", tmp_path / "pairs.tsv", "--target-tokens", "space")
    assert (code, out) == (1, "")
    assert err == f"fastattn: --target-tokens is for a file of answers; the model in {trained / 'model'} has its own\n"


def test_neither_a_model_nor_a_file_of_answers(tmp_path, pairs, fastattn_command):
    code, _, err = fastattn_command("evaluate", tmp_path / "nothing", pairs)
    assert code == 1
    assert err.startswith(f"fastattn: {tmp_path / 'nothing'}")
    assert err.count("\n") == 1


def test_intervals_as_text(command):
    assert "interval" not in command(ANSWERS, PAIRS)[1]
    code, out, err = command(ANSWERS, PAIRS, "--intervals", "--resamples", 50, "--seed", 4)
    assert (code, err) == (0, "")
    references = [[line.split("\t")[1]] for line in PAIRS.splitlines()]
    low, high = evaluate(list("abcd"), ANSWERS, references, resamples=50, seed=4).intervals.exact_match
    assert f"exact match       50.00% (2 of 4), 95% interval {low:.2%} to {high:.2%}\n" in out
    made = json.loads(command(ANSWERS, PAIRS, "--json", "--resamples", 50, "--seed", 4)[1])["intervals"]
    assert (made["resamples"], made["seed"], made["exact_match"]) == (50, 4, [low, high])


def test_results_by_length(of_file):
    pairs = "a\tx\nbb\tx\nccc\txy\ndddd\tx\n"
    code, out, err = of_file(["x", "y", "yx", "x"], pairs, "--length-bounds", "1,3")
    assert (code, err) == (0, "")
    assert out.splitlines()[-4:] == [
        "source tokens        sources  exact match  token error rate",
        "1                          1      100.00%             0.00%",
        "2 to 3                     2        0.00%           100.00%",
        "4                          1      100.00%             0.00%",
    ]
    out = of_file(["x", "y", "yx", "x"], pairs, "--by-length", "--source-tokens", "space")[1]
    assert out.splitlines()[-1].split() == ["1", "4", "50.00%", "60.00%"]


@pytest.mark.parametrize("bounds", ["3,3", "0", "a", "", "2,1"])
def test_bounds_that_do_not_rise(bounds, of_file):
    code, _, err = of_file(ANSWERS, PAIRS, "--length-bounds", bounds)
    assert code == 2
    assert "--length-bounds" in err


def test_bleu_and_chrf(of_file):
    answers = ["the cat sat on the mat", "it rains in the north"]
    pairs = "a\tthe cat sat on a mat\nb\tit rains in the north\n"
    code, out, err = of_file(answers, pairs, "--bleu", "--bleu-tokenize", "none", "--chrf", "--json")
    assert (code, err) == (0, "")
    figures = json.loads(out)
    references = [["the cat sat on a mat"], ["it rains in the north"]]
    assert figures["bleu"]["score"] == corpus.bleu(answers, references, tokenize="none").score
    assert "tok:none" in figures["bleu"]["signature"]
    assert figures["chrf"]["score"] == corpus.chrf(answers, references).score
    out = of_file(answers, pairs, "--bleu", "--chrf")[1]
    assert f"BLEU              {figures['bleu']['score']:.2f} (nrefs:1|" in out
    assert f"chrF2             {figures['chrf']['score']:.2f} (nrefs:1|" in out
    assert "BLEU" not in of_file(answers, pairs)[1]


def test_without_sacrebleu_the_extra_is_named_before_anything_is_read(fastattn_command, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    expected = "fastattn: BLEU or chrF needs sacrebleu; install it with: pip install 'fastattn[evaluation]'\n"
    for option in ("--bleu", "--chrf"):
        assert fastattn_command("evaluate", "nothing", "nothing.tsv", option) == (1, "", expected)


def test_the_tokenizers_of_bleu_are_those_of_the_library(fastattn_command):
    assert f"{{{','.join(BLEU_TOKENIZERS)}}}" in fastattn_command("evaluate", "--help")[1]


@pytest.mark.parametrize("ending", ["html", "tsv"])
def test_a_report(ending, command, tmp_path):
    report = tmp_path / f"report.{ending}"
    plain = command(ANSWERS, PAIRS)
    assert command(ANSWERS, PAIRS, "--report", report, "--report-rows", 1) == plain
    text = report.read_text(encoding="utf-8")
    assert "sitting" in text
    assert ("no" in text.split()) is False  # the second worst answer


def test_a_report_takes_the_place_of_nothing_that_is_read(tmp_path, fastattn_command):
    answers, pairs = tmp_path / "answers.tsv", tmp_path / "pairs.tsv"
    answers.write_text("x\n")
    pairs.write_text("a\tb\n")
    for report in (answers, pairs):
        code, out, err = fastattn_command("evaluate", answers, pairs, "--report", report)
        assert (code, out, err) == (1, "", f"fastattn: {report}: is read for this report; expected another file\n")
    assert (answers.read_text(), pairs.read_text()) == ("x\n", "a\tb\n")


def test_a_report_that_cannot_be_written_is_told_before_anything_is_read(tmp_path, fastattn_command):
    code, _, err = fastattn_command("evaluate", "m", "p.tsv", "--report", tmp_path / "report.pdf")
    assert (code, err) == (1, f"fastattn: {tmp_path / 'report.pdf'}: no such format of a report; expected .html or .tsv\n")
    code, _, err = fastattn_command("evaluate", "m", "p.tsv", "--report", tmp_path / "no" / "report.tsv")
    assert (code, err) == (1, f"fastattn: {tmp_path / 'no' / 'report.tsv'}: there is no folder {tmp_path / 'no'}\n")


def test_a_source_that_is_too_long_is_named_by_its_first_line(trained, tmp_path, fastattn_command, monkeypatch):
    monkeypatch.setattr(translator, "MAX_SOURCE_TOKENS", 5)
    (tmp_path / "pairs.tsv").write_text("a\tb\na\tc\nabcabc\tb\n")
    _, _, err = fastattn_command("evaluate", trained / "model", tmp_path / "pairs.tsv")
    assert err == f"fastattn: {tmp_path / 'pairs.tsv'}:3: the source has 6 tokens; expected 1 to 5\n"


def test_right_to_left_and_combining_and_control_characters(of_file, tmp_path):
    pairs = "ابتث\tث ت ب ا\nक्षि\tि ष ् क\nab\tb \x07 a\n"
    code, out, err = of_file(["ث ت ب", "ि ष ् क", "b a"], pairs, "--target-tokens", "space", "--report", tmp_path / "r.html")
    assert (code, err) == (0, "")
    assert "token error rate      18.18% (2 errors in 11 tokens)" in out
    assert "U+0007" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_file_of_answers_is_read_with_options_too(of_file):
    """Features tell sources apart that are written alike; blank lines and comments are no pairs."""
    pairs = "# verbs\nwalk,V;PST,walked\n\nwalk,V;PRS,walks\nwalk,V;PRS,walketh\n"
    options = ["--separator", ",", "--comment", "#", "--features-column", 2, "--target-column", 3, "--by-length"]
    code, out, err = of_file(["walked", "walketh"], pairs, *options)
    assert (code, err) == (0, "")
    assert out.splitlines()[:2] == [
        "sources           2 (3 pairs; the nearest target counts)",
        "exact match       100.00% (2 of 2)",
    ]
    assert out.splitlines()[-1].split() == ["6", "2", "100.00%", "0.00%"]  # four letters and two features


def test_normalization_of_a_file_of_answers(of_file):
    assert "exact match       0.00%" in of_file(["e\u0301"], "x\té\n")[1]
    assert "exact match       100.00%" in of_file(["e\u0301"], "x\té\n", "--normalization", "NFC")[1]


def test_graphemes_are_tokens(of_file):
    pytest.importorskip("regex")
    code, out, err = of_file(["क्षि"], "a\tक्षि👩\u200d👩\u200d👧\n", "--target-tokens", "grapheme")
    assert (code, err) == (0, "")
    assert "token error rate      50.00% (1 error in 2 tokens)" in out
    assert "(5 errors in 9 characters)" in out


def test_sources_with_unknown_symbols_are_counted_once_each(command):
    pairs = "ab\tab\nxy\tab\nxy\tac\n"
    code, out, err = command(["ab", "ab"], pairs, "--json")
    assert code == 0
    assert err == "fastattn: 1 of 2 sources has symbols that the model never saw: 'x', 'y'\n"
    assert json.loads(out)["unknown_sources"] == 1


@pytest.mark.parametrize("option", ["--unknown empty", "--beam 1", "--length-penalty 0", "--ensemble m"])
def test_what_is_for_a_model_is_refused_for_a_file_of_answers(option, of_file, tmp_path):
    name, value = option.split()
    expected = f"fastattn: {name} is for a model; {tmp_path / 'answers.txt'} holds answers\n"
    assert of_file(ANSWERS, PAIRS, name, value) == (1, "", expected)


def test_the_search_is_the_one_that_is_asked_for(trained, pairs, fastattn_command, monkeypatch):
    """Beams and ensembles as in `translate`, which have tests of their own: here they only have to arrive."""
    asked = []

    def translate(self, texts, **options):
        asked.append((len(self.models), options))
        return ["ab"] * len(texts)

    monkeypatch.setattr(Translator, "translate", translate)
    folder = trained / "model"
    assert fastattn_command("evaluate", folder, pairs)[0] == 0
    assert fastattn_command("evaluate", folder, pairs, "--beam", 3, "--length-penalty", 0.5, "--ensemble", folder)[0] == 0
    assert asked == [
        (1, {"beam": 1, "length_penalty": 0.0, "unknown": "answer"}),
        (2, {"beam": 3, "length_penalty": 0.5, "unknown": "answer"}),
    ]


def test_a_beam_and_an_ensemble_answer(trained, pairs, fastattn_command):
    folder = trained / "model"
    plain = json.loads(fastattn_command("evaluate", folder, pairs, "--json")[1])
    code, out, err = fastattn_command("evaluate", folder, pairs, "--json", "--beam", 4, "--ensemble", folder)
    assert (code, err) == (0, "")
    assert json.loads(out)["exact_match"] >= plain["exact_match"] > 0.5


def test_no_option_is_shortened(of_file):
    code, out, err = of_file(ANSWERS, PAIRS, "--interval")
    assert (code, out) == (2, "")
    assert "--interval" in err


def test_a_line_behind_a_blank_one_is_named_by_its_own_number(trained, tmp_path, fastattn_command, monkeypatch):
    monkeypatch.setattr(translator, "MAX_SOURCE_TOKENS", 5)
    (tmp_path / "pairs.tsv").write_text("a\tb\n\na\tc\nabcabc\tb\n")
    _, _, err = fastattn_command("evaluate", trained / "model", tmp_path / "pairs.tsv")
    assert err == f"fastattn: {tmp_path / 'pairs.tsv'}:4: the source has 6 tokens; expected 1 to 5\n"


def test_what_becomes_of_unknown_symbols_is_chosen(trained, tmp_path, fastattn_command):
    (tmp_path / "pairs.tsv").write_text("a\ta\nxy\txy\n")
    arguments = ["evaluate", trained / "model", tmp_path / "pairs.tsv", "--json", "--unknown"]
    code, out, err = fastattn_command(*arguments, "fail")
    assert (code, out) == (1, "")
    assert err == f"fastattn: {tmp_path / 'pairs.tsv'}:2: the source has symbols that the model never saw: 'x', 'y'\n"
    right = {unknown: json.loads(fastattn_command(*arguments, unknown)[1])["exact_matches"] for unknown in ("copy", "empty")}
    assert right["copy"] == right["empty"] + 1
