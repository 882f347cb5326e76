"""`fastattn translate`: a line out for each line in, at once."""

import io
import select

import pytest

from fastattn.cli.common import UserError
from fastattn.cli.translate import arriving_lines
from fastattn.training import load, translator


@pytest.fixture
def model(trained):
    return trained / "model"


def expected(model, texts):
    """The answers of the library, each to its text alone, as output."""
    import fastattn

    with fastattn.use_backend("reference"):
        it = load(model)
        return "".join(it.translate([text])[0] + "\n" for text in texts)


def test_texts_are_answered_in_order(model, fastattn_command):
    texts = ["abc", "", "d", "dab", "abc", "ba"]
    code, out, err = fastattn_command("translate", model, *texts)
    assert (code, err) == (0, "")
    assert out == expected(model, texts)
    assert len(set(out.splitlines())) > 3


def test_lines_are_answered_in_order(model, module):
    texts = ["abc", "", "d", "a" * 300, "bd", "cab"]
    for text in ("\n".join(texts), "\n".join(texts) + "\n", "\r\n".join(texts) + "\r\n", "\ufeff" + "\n".join(texts)):
        done = module("translate", model, text=text.encode())
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.decode() == expected(model, texts)


def test_no_input_no_output(model, module):
    done = module("translate", model, text=b"")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = module("translate", model, text=b"\n\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\n\n", b"")


def test_an_answer_can_be_read_before_the_next_line_is_written(model, process):
    it = process("translate", model)
    for text in ("abc", "", "d", "ba"):
        it.stdin.write(text.encode() + b"\n")
        it.stdin.flush()
        ready, _, _ = select.select([it.stdout], [], [], 60)
        assert ready
        assert it.stdout.readline().decode() == expected(model, [text])
    it.stdin.write(b"abba")
    it.stdin.flush()
    assert select.select([it.stdout], [], [], 0.3)[0] == []
    it.stdin.write(b"cab")
    it.stdin.close()
    assert it.stdout.read().decode() == expected(model, ["abbacab"])
    assert it.wait(timeout=60) == 0
    assert it.stderr.read() == b""


class Chunks(io.RawIOBase):
    """A stream that hands out these chunks, one a read."""

    def __init__(self, *chunks):
        self.chunks = list(chunks)

    def read1(self, size):
        return self.chunks.pop(0) if self.chunks else b""


def test_lines_that_have_come_are_handed_out_together():
    assert list(arriving_lines(Chunks(b"a\nb\nc", b"", b"unread"))) == [["a", "b"], ["c"]]
    assert list(arriving_lines(Chunks(b"a", b"b\xc3", b"\xa4\n\n", b"c\r\n", b"d"))) == [["abä", ""], ["c"], ["d"]]
    assert list(arriving_lines(Chunks())) == []


def test_lines_before_one_that_is_not_utf8_are_handed_out():
    lines = arriving_lines(Chunks(b"a\n", b"b\nc\n\xff\nd\n"))
    assert next(lines) == ["a"]
    assert next(lines) == ["b", "c"]
    with pytest.raises(UserError, match="standard input, line 4: is not UTF-8"):
        next(lines)


def test_a_line_that_is_not_utf8(model, module):
    done = module("translate", model, text=b"abc\n\xff\xfe\nd\n")
    assert done.returncode == 1
    assert done.stdout.decode() == expected(model, ["abc"])
    assert done.stderr == b"fastattn: standard input, line 2: is not UTF-8\n"


def test_a_line_that_is_too_long(model, fastattn_command, monkeypatch):
    monkeypatch.setattr(translator, "MAX_SOURCE_TOKENS", 5)
    code, out, err = fastattn_command("translate", model, "abc", "abcabc")
    assert (code, out) == (1, "")
    assert err == "fastattn: line 2: the source has 6 tokens; expected 1 to 5\n"


def test_answers_are_utf8_whatever_the_locale(tmp_path, module):
    path = tmp_path / "pairs.tsv"
    path.write_text("a\té\nb\té\n", encoding="utf-8")
    done = module("train", path, "--out", tmp_path / "m", "--epochs", 30, "--hidden", 4, "--embedding", 3, *LEARN)
    assert (done.returncode, done.stderr) == (0, b"")
    done = module("translate", tmp_path / "m", "a", environment={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "é\n".encode(), b"")


LEARN = ["--learning-rate", 0.1, "--valid-fraction", 0]


def test_a_reader_that_goes_away_is_no_error(model, process):
    it = process("translate", model)
    it.stdout.close()
    it.stdin.write(b"abc\n")
    it.stdin.close()
    assert it.wait(timeout=60) == 141
    assert it.stderr.read() == b""


def test_ctrl_c(model, process):
    import signal

    it = process("translate", model)
    it.stdin.write(b"abc\n")
    it.stdin.flush()
    it.stdout.readline()
    it.send_signal(signal.SIGINT)
    assert it.wait(timeout=60) == 130
    assert it.stderr.read() == b"fastattn: interrupted\n"


@pytest.mark.parametrize("command", [["translate"], ["evaluate"], ["attention"]])
def test_a_folder_that_holds_no_model(command, tmp_path, pairs, fastattn_command):
    rest = {"translate": ["a"], "evaluate": [pairs], "attention": ["a", "--out", tmp_path / "a.png"]}[command[0]]
    code, out, err = fastattn_command(*command, tmp_path / "none", *rest)
    assert (code, out, err) == (1, "", f"fastattn: {tmp_path / 'none'}: no such folder\n")
    (tmp_path / "empty").mkdir()
    code, out, err = fastattn_command(*command, tmp_path / "empty", *rest)
    assert (code, out, err) == (1, "", f"fastattn: {tmp_path / 'empty' / 'config.json'}: missing\n")
    assert not (tmp_path / "a.png").exists()
