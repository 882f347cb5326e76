"""Files of pairs in columns: what a reading says, what is read with it, and what cannot be."""

import gzip
import io
import sys
from dataclasses import fields, replace

import pytest

from fastattn.data import PLAIN, PairsError, PairsFile, Reading, group_targets, read_pairs, split_pairs

DICTIONARY = """;;; a pronouncing dictionary as it is often found: comments, two spaces, numbered variants
ABEND  AH B EH N D
ABEND(1)  EY B EH N D
ABER  EY B ER
"""
COLUMNS = """lemma\tform\ttags
walk\twalked\tV;PST
run\tran\tV;PST
run\truns\tV;3;SG;PRS
"""


@pytest.fixture
def read(tmp_path):
    """read(content, separator=...) -> the pairs of a file of that content."""

    def pairs(content, **options):
        path = tmp_path / "p.tsv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_pairs(path, Reading(**options))

    return pairs


def refused(read, reason, content, **options):
    """The file is refused with this reason: "LINE: reason"."""
    with pytest.raises(PairsError) as caught:
        read(content, **options)
    assert str(caught.value).partition("p.tsv:")[2] == reason


def test_a_pronouncing_dictionary(read):
    options = {"separator": "  ", "comment": ";;;", "variants": True}
    assert read(DICTIONARY, **options) == [
        ("ABEND", "AH B EH N D"),
        ("ABEND", "EY B EH N D"),
        ("ABER", "EY B ER"),
    ]
    assert read(DICTIONARY, **{**options, "variants": False})[1] == ("ABEND(1)", "EY B EH N D")
    # One space alone, as in cmudict.dict: the target holds some.
    assert read("abend AH B EH N D\nabend(2) EY B\n", separator=" ", variants=True) == [
        ("abend", "AH B EH N D"),
        ("abend", "EY B"),
    ]
    assert read("(1)\tx\na(1)b\ty\na(b)\tz\n", variants=True) == [("(1)", "x"), ("a(1)b", "y"), ("a(b)", "z")]


@pytest.mark.parametrize("columns", [(1, 2, 3), ("lemma", "form", "tags"), (1, "form", "tags")])
def test_a_header_and_features(read, columns):
    options = dict(zip(("source_column", "target_column", "features_column"), columns))
    assert read(COLUMNS, header=True, **options) == [
        ("walk\tV\tPST", "walked"),
        ("run\tV\tPST", "ran"),
        ("run\tV\t3\tSG\tPRS", "runs"),
    ]


def test_columns_are_chosen(read):
    assert read(COLUMNS, header=True) == [("walk", "walked"), ("run", "ran"), ("run", "runs")]
    assert read("1,a,b,2\n3,c,d,4\n", separator=",", source_column=4, target_column=2) == [("2", "a"), ("4", "c")]
    assert read("a|||b c\n", separator="|||") == [("a", "b c")]
    assert read("a\tb\tc\td\nx\ty\n", extra_columns=True) == [("a", "b"), ("x", "y")]
    assert read("a b c d\n", separator=" ", extra_columns=True) == [("a", "b")]
    assert read(
        "# x\n\nB, A \n\n# y\n1,2\n", separator=",", header=True, comment="#", source_column="A", target_column="B"
    ) == [("2", "1")]


def test_features_are_trimmed_and_split(read):
    options = {"features_column": 3, "features_separator": "+"}
    assert read("a\tb\t V + PST +\n", **options) == [("a\tV\tPST", "b")]
    # A text and its features stay apart, whatever the file's separator.
    options |= {"separator": ","}
    assert read("a,b,V\tPST\n", **options) == [("a\tV\tPST", "b")]
    refused(read, "1: the source holds a tab, which stands before features: 'a\\tb'", "a\tb,c,V\n", **options)
    refused(read, "2: the features are empty", "a,b,V\na,b, + \n", **options)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("none", ("e\u0301\ufb01", "\u00e9\u2460")),
        ("NFC", ("\u00e9\ufb01", "\u00e9\u2460")),
        ("NFD", ("e\u0301\ufb01", "e\u0301\u2460")),
        ("NFKC", ("\u00e9fi", "\u00e91")),
    ],
)
def test_normalisation(read, form, expected):
    assert read("e\u0301\ufb01\t\u00e9\u2460\n", normalization=form) == [expected]
    ((source, _),) = read("e\u0301\tb\te\u0301\n", normalization=form, features_column=3)
    assert source == Reading(normalization=form).normalized("e\u0301\te\u0301")


def test_text_of_other_scripts_stays_as_it_is(read):
    pairs = [("क्षि", "ि ष ् क"), ("ابتث", "ث ت ب ا"), ("👩‍👩‍👧ab", "b a"), ("a\x00\x1b\x7f", "\u202eb")]
    assert read("".join(f"{source}\t{target}\n" for source, target in pairs)) == pairs


def test_blank_lines_and_comments_are_passed_over_and_counted(tmp_path):
    path = tmp_path / "p.tsv"
    path.write_text("abc\tA B\n\n# \nabd\tA D\n \t \n\u00a0\n")
    file = PairsFile.read(path, Reading(comment="#"))
    assert file.pairs == [("abc", "A B"), ("abd", "A D")]
    assert (file.lines, file.blank_lines, file.comment_lines) == ([1, 4], 3, 1)
    assert file.path == path
    assert file.passed_over() == "3 blank lines, 1 comment"
    path.write_text("abc\tA B\n\nabd\tA D\n\n")
    assert PairsFile.read(path).pairs == file.pairs
    assert PairsFile.read(path).passed_over() == "2 blank lines"
    path.write_text("abc\tA B\n")
    assert PairsFile.read(path).passed_over() == ""


@pytest.mark.parametrize("name", ["p.tsv.gz", "p.tsv"])
def test_gzip(tmp_path, name):
    path = tmp_path / name
    content = gzip.compress("ä\tb\n".encode() * 100)
    path.write_bytes(content)
    assert read_pairs(path) == [("ä", "b")] * 100
    for damaged in (content[:-9], content[:14], content[:-8] + bytes(8), content[:3] + b"\xff" * 20):
        path.write_bytes(damaged)
        with pytest.raises(PairsError, match="is not a whole gzip file: "):
            read_pairs(path)


def test_standard_input(monkeypatch):
    def given(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)), encoding="ascii"))

    given("ä\tb\r\n".encode())
    assert read_pairs("-") == [("ä", "b")]
    given(gzip.compress(b"a\tb\n"))
    assert read_pairs("-") == [("a", "b")]
    given(b"a\n")
    with pytest.raises(PairsError, match=r"^standard input:1: no tab; expected source<TAB>target$"):
        read_pairs("-")


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        # A features column that is missing in line 7.
        ("a\tb\tV\n" * 6 + "a\tb\n", {"features_column": 3}, "7: 2 columns; expected 3 (source 1, target 2, features 3), "),
        (
            "a,b\n",
            {"separator": ",", "source_column": 2, "target_column": 3},
            "1: 2 columns; expected 3 (source 2, target 3), ",
        ),
        ("a\n", {"source_column": 2, "target_column": 1}, "1: 1 column; expected 2 (source 2, target 1), "),
        ("A\tB\tC\na\tb\n", {"header": True}, "2: 2 columns; expected 3 (source 1, target 2), "),
    ],
)
def test_columns_that_are_missing(read, content, options, reason):
    refused(read, f"{reason}with {options.get('separator', chr(9))!r} between them", content, **options)


def test_columns_that_are_too_many(read):
    reason = "1: 3 columns; expected 2 (source 2, target 1), with '\\t' between them; --extra-columns passes over the rest"
    refused(read, reason, "a\tb\tc\n", source_column=2, target_column=1)
    assert read("a\tb\tc\n", source_column=2, target_column=1, extra_columns=True) == [("b", "a")]
    refused(
        read,
        "2: 1 column; expected 2 (source 2, target 1), with '\\t' between them",
        "a\tb\tc\na\n",
        source_column=2,
        target_column=1,
        extra_columns=True,
    )


def test_a_header_without_the_columns(read):
    header = {"header": True}
    refused(read, "1: the header has no column 'lema'; it has 'lemma', 'form', 'tags'", COLUMNS, source_column="lema", **header)
    refused(read, "1: the header has 2 columns 'a'; it has 'a', 'b', 'a'", "a\tb\ta\n", source_column="a", **header)
    refused(read, "1: features_column is 4, but the header has 3 columns", COLUMNS, features_column=4, **header)
    with pytest.raises(PairsError, match=r"p.tsv: holds no pair; expected a pair a line$"):
        read("lemma\tform\n", **header)


@pytest.mark.parametrize(
    ("content", "options", "hint"),
    [
        (DICTIONARY, {}, "--separator '  ' --comment ';;;' --variants would read the file"),
        (DICTIONARY, {"separator": "  "}, "--comment ';;;' --variants would read the file"),
        (DICTIONARY.replace("(1)", ""), {"comment": ";;;"}, "--separator '  ' would read the file"),
        ("\n# x\nS,T,x\n# y\n1,2,3\n", {"header": True, "comment": "#"}, "--separator , would read the file"),
        ("a,b\nc,d\n", {}, "--separator , would read the file"),
        ("a\tb\nc\td\n", {"separator": "  "}, r"--separator '\t' would read the file"),
        ("# x\na\tb\n", {"separator": ","}, r"--separator '\t' --comment '#' would read the file"),
        ("# x\na\tb\n", {}, "--comment '#' would read the file"),
        ("a b ||| c\n\na, b ||| c, d\n", {}, "--separator ' ||| ' would read the file"),
        (
            COLUMNS,
            {},
            "of 3 columns --source-column, --target-column and --features-column choose; "
            "--header says that the first line is names, --extra-columns passes over the rest",
        ),
    ],
)
def test_a_hint_at_the_options_that_would_read_a_file(read, content, options, hint):
    with pytest.raises(PairsError) as caught:
        read(content, **options)
    assert caught.value.reason.endswith(f"; {hint}")
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("content", ["a\tb\nno tab\n", "a\n", "one\ntwo, three\n", "a\tb\na\tb\tc\n", "# a\n# b\n"])
def test_no_hint_where_no_option_would_help(read, content):
    with pytest.raises(PairsError, match=r"expected source<TAB>target$"):
        read(content)


def test_a_hint_far_from_the_beginning(read):
    with pytest.raises(PairsError, match=r":3001: no tab; .*target; --comment '#' would read the file$"):
        read("a\tb\n" * 3000 + "# c\n")
    with pytest.raises(PairsError, match=r":3001: no tab; expected source<TAB>target$"):
        read("a\tb\n" * 3000 + "c,d\n")


def test_the_hint_tells_the_truth(read):
    assert len(read(DICTIONARY, separator="  ", comment=";;;", variants=True)) == 3
    assert read("a b ||| c\n\na, b ||| c, d\n", separator=" ||| ") == [("a b", "c"), ("a, b", "c, d")]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"source_column": 0}, ValueError, "source_column is 0; expected a number from 1, or a name"),
        ({"source_column": True}, TypeError, "source_column is True; expected a number"),
        ({"target_column": None}, TypeError, "target_column is None; expected a number"),
        ({"features_column": 2.0}, TypeError, "features_column is 2.0; expected a number"),
        ({"features_column": "tags"}, ValueError, "features_column is 'tags'; a name needs header=True"),
        ({"target_column": 1}, ValueError, "source_column and target_column are both 1; expected different columns"),
        ({"features_column": 2}, ValueError, "target_column and features_column are both 2"),
        ({"separator": ""}, ValueError, "separator is ''; expected at least one character, and no line end"),
        ({"separator": "a\n"}, ValueError, r"separator is 'a\\n'; expected"),
        ({"separator": None}, TypeError, "separator is None; expected a str"),
        ({"comment": 1}, TypeError, "comment is 1; expected a str"),
        ({"features_separator": ""}, ValueError, "features_separator is ''"),
        ({"header": 1}, TypeError, "header is 1; expected True or False"),
        ({"variants": None}, TypeError, "variants is None; expected True or False"),
        ({"normalization": "nfc"}, ValueError, "normalization is 'nfc'; expected one of none, NFC, NFD, NFKC"),
        ({"normalization": []}, ValueError, r"normalization is \[\]; expected"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        Reading(**options)
    with pytest.raises(ValueError, match=message):
        Reading.from_json({**PLAIN.to_json(), **options})


def test_json_and_back():
    reading = Reading("a", 5, "c", ",", "+", True, True, "#", True, "NFD")
    assert Reading.from_json(reading.to_json()) == reading
    assert all(getattr(reading, field.name) != field.default for field in fields(Reading))
    for content, message in (
        (None, "a reading must be a JSON object, got NoneType"),
        ({**PLAIN.to_json(), "heder": True}, "'heder' is no option of reading; expected one of source_column, "),
        ({}, "the reading has no 'source_column'"),
    ):
        with pytest.raises(ValueError, match=message):
            Reading.from_json(content)


def test_what_is_to_be_translated():
    assert PLAIN.source("e\u0301\tx") == "e\u0301\tx"
    assert replace(PLAIN, normalization="NFC").source("e\u0301") == "\u00e9"
    reading = Reading(features_column=3, normalization="NFC")
    assert reading.source("e\u0301\t e\u0301; PST ") == "\u00e9\t\u00e9\tPST"
    # As it was read from a file: evaluation asks so.
    assert reading.source(reading.source("run\tV;PST")) == "run\tV\tPST"
    assert reading.source("") == reading.source(" \t") == ""
    for text, message in (
        ("run", "no tab; expected source<TAB>features, such as V;PST"),
        ("run\t;", "the features are empty"),
        (" \tV", "the source is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            reading.source(text)


def test_the_targets_of_a_source_are_grouped():
    lines = [("either", "IY"), ("route", "UW"), ("either", "AY"), ("either", "IY"), ("cat", "AE")]
    groups = group_targets(lines)
    assert groups == {"either": ["IY", "AY"], "route": ["UW"], "cat": ["AE"]}
    assert list(groups) == ["either", "route", "cat"]
    assert group_targets(iter([])) == {}


def test_a_source_with_other_features_is_another_source(read):
    pairs = read(COLUMNS * 1, header=True, features_column=3)
    assert len(group_targets(pairs)) == 3
    train, valid = split_pairs(pairs, 0.5, seed=0)
    assert {source for source, _ in train}.isdisjoint(source for source, _ in valid)


def test_a_reading_shows_what_is_special_in_it():
    assert repr(PLAIN) == "Reading()"
    reading = Reading(features_column=3, normalization="NFC")
    assert repr(reading) == "Reading(features_column=3, normalization='NFC')"
    assert eval(repr(reading)) == reading
