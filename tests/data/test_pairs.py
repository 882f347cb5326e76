import errno
import os
import random

import pytest

from fastattn.data import PairsError, PairsStream, Reading, atomic_write, read_lines, read_pairs, split_pairs, write_pairs

PAIRS = [
    ("a b", "ä"),
    (" spaces stay ", "x"),
    ("line\u2028sep\x0b\x0c\x85\x1e", "東京"),
    ("a b", "again"),
    ("e\u0301", "\u00e9"),
]


def test_round_trip(tmp_path):
    write_pairs(tmp_path / "p.tsv", iter(PAIRS))
    assert read_pairs(tmp_path / "p.tsv") == PAIRS
    assert (tmp_path / "p.tsv").read_bytes().count(b"\n") == len(PAIRS)


@pytest.mark.parametrize(
    "content",
    [b"a\tb\nc\td\n", b"a\tb\nc\td", b"a\tb\r\nc\td\r\n", b"a\tb\rc\td", b"\xef\xbb\xbfa\tb\nc\td\n"],
    ids=["LF", "no final newline", "CRLF", "CR", "byte order mark"],
)
def test_line_ends_and_byte_order_mark(tmp_path, content):
    path = tmp_path / "p.tsv"
    path.write_bytes(content)
    assert read_pairs(str(path)) == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"", None, "is empty; expected a pair a line"),
        (b"\xef\xbb\xbf", None, "is empty; expected a pair a line"),
        (b"a\tb\nno tab\n", 2, "no tab; expected source<TAB>target"),
        (b"a\tb\r\n\r\nc\r\n", 3, "no tab; expected source<TAB>target"),
        (b"a\tb\na\tb\tc\n", 2, "2 tabs; expected source<TAB>target"),
        (b"\n \n\t\n", None, "holds no pair; expected a pair a line"),
        (b"a\tb\n\tb\n", 2, "the source is empty"),
        (b"a\tb\na\t\n", 2, "the target is empty"),
        (b" \xc2\xa0\tb\n", 1, "the source is empty"),
        (b"a\tb\n\xc3\xa4\tb\xff\n", 2, "is not UTF-8: byte 5 of the line is 0xff"),
        ("a\tb\n".encode("utf-16"), 1, "is not UTF-8: byte 1 of the line is 0xff"),
        (b"a\tb\n\xc3", 2, "is not UTF-8: byte 1 of the line is 0xc3"),
    ],
)
def test_errors_name_the_file_the_line_and_the_reason(tmp_path, content, line, reason):
    path = tmp_path / "p.tsv"
    path.write_bytes(content)
    with pytest.raises(PairsError) as caught:
        read_pairs(path)
    assert str(caught.value) == (f"{path}: {reason}" if line is None else f"{path}:{line}: {reason}")
    assert (caught.value.path, caught.value.line, caught.value.reason) == (path, line, reason)
    assert isinstance(caught.value, ValueError)


def test_a_missing_file_and_a_folder(tmp_path):
    missing = tmp_path / "missing.tsv"
    with pytest.raises(PairsError) as caught:
        read_pairs(missing)
    assert str(caught.value) == f"{missing}: cannot be read: No such file or directory"
    with pytest.raises(PairsError, match="cannot be read") as caught:
        read_pairs(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ")


def test_an_unreadable_file(tmp_path, monkeypatch):
    # Simulated, for nothing is unreadable to root, who runs the tests in many a container.
    def refuse(path, mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr("fastattn.data.pairs.open", refuse, raising=False)
    with pytest.raises(PairsError) as caught:
        read_pairs(tmp_path / "p.tsv")
    assert str(caught.value) == f"{tmp_path / 'p.tsv'}: cannot be read: Permission denied"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "no pairs to write"),
        ([("a", "b"), ("", "b")], "pair 2: the source is empty"),
        ([("a", " ")], "pair 1: the target is empty"),
        ([("a\tb", "c")], "pair 1: the source holds a tab or a line end: 'a.tb'"),
        ([("a", "b\n")], "pair 1: the target holds a tab or a line end"),
        ([("a", "b\rc")], "pair 1: the target holds a tab or a line end"),
        ([("a", "\ud800")], "surrogates not allowed"),
    ],
)
def test_write_refuses_what_could_not_be_read_back_and_touches_nothing(tmp_path, pairs, message):
    path = tmp_path / "p.tsv"
    atomic_write(path, "old\tpair\n")
    with pytest.raises(ValueError, match=message):
        write_pairs(path, pairs)
    assert read_pairs(path) == [("old", "pair")]
    assert os.listdir(tmp_path) == ["p.tsv"]


def corpus(sources, copies):
    pairs = [(f"source {n}", f"target {n}.{copy}") for n in range(sources) for copy in range(copies)]
    random.Random(5).shuffle(pairs)
    return pairs


def test_split_shares_no_source_and_keeps_every_pair_and_the_order():
    pairs = corpus(sources=200, copies=3)
    train, valid = split_pairs(pairs, 0.1, seed=1)
    assert {source for source, _ in train}.isdisjoint(source for source, _ in valid)
    assert (len(train), len(valid)) == (540, 60)
    assert sorted(train + valid) == sorted(pairs)
    assert train == [pair for pair in pairs if pair in train]


def test_split_depends_on_the_seed_alone():
    pairs = corpus(sources=100, copies=1)
    assert split_pairs(pairs, 0.3, seed=1) == split_pairs(pairs, 0.3, seed=1)
    assert split_pairs(pairs, 0.3, seed=1) != split_pairs(pairs, 0.3, seed=2)
    # Pinned: the held-out part of a user's corpus must not change with a new version of anything.
    ten = [(str(n), "x") for n in range(10)]
    assert [source for source, _ in split_pairs(ten, 0.3, seed=0)[1]] == ["3", "5", "7"]


@pytest.mark.parametrize(("fraction", "expected"), [(1e-9, 1), (0.25, 2), (0.5, 5), (1 - 1e-9, 9)])
def test_neither_part_is_empty(fraction, expected):
    train, valid = split_pairs(corpus(sources=10, copies=1), fraction, seed=0)
    assert (len(train), len(valid)) == (10 - expected, expected)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
def test_split_refuses_silly_fractions(fraction):
    with pytest.raises(ValueError, match=f"valid_fraction must be more than 0 and less than 1, got {fraction}"):
        split_pairs(corpus(sources=10, copies=1), fraction, seed=0)


def test_split_refuses_too_few_sources_and_bad_seeds():
    with pytest.raises(ValueError, match="at least 2 different sources are needed to hold some out, got 1"):
        split_pairs(corpus(sources=1, copies=5), 0.5, seed=0)
    with pytest.raises(ValueError, match="got 0"):
        split_pairs([], 0.5, seed=0)
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        split_pairs(corpus(sources=9, copies=1), 0.5, seed=-1)
    with pytest.raises(TypeError):
        split_pairs(corpus(sources=9, copies=1), 0.5, seed=0.5)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_lines_are_the_same_however_much_is_read_at_once(tmp_path, chunk, monkeypatch):
    path = tmp_path / "pairs.tsv"
    for content in (b"a\tb\r\nc\td\n\r\ne\tf", b"\xef\xbb\xbfa\tb\rc\td\r\re\tf\r", b"\n\na\tb\r\n", b"a\tb\n\r"):
        path.write_bytes(content)
        whole = list(read_lines(path))
        assert [line for _, line in whole] == content.removeprefix(b"\xef\xbb\xbf").decode().splitlines()
        if not content.startswith(b"\xef\xbb\xbf") or chunk >= 3:
            with monkeypatch.context() as patch:
                patch.setattr("fastattn.data.pairs.CHUNK", chunk)
                assert list(read_lines(path)) == whole


def test_pairs_are_read_while_they_are_asked_for(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("a\tb\n\n# nothing\nc\td\nbad\n")
    stream = PairsStream(path, Reading(comment="#"))
    pairs = iter(stream)
    assert (next(pairs), stream.line) == (("a", "b"), 1)
    assert (next(pairs), stream.line, stream.blank_lines, stream.comment_lines) == (("c", "d"), 4, 1, 1)
    with pytest.raises(PairsError, match=r"pairs.tsv:5: no tab|pairs.tsv:5: 1 column"):
        next(pairs)
    assert next(iter(stream)) == ("a", "b")
