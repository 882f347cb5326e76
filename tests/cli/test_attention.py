"""`fastattn attention`: the picture, and what is in the way of one."""

import importlib.util
import os
import sys

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")

from matplotlib.image import imread  # noqa: E402

import fastattn  # noqa: E402
from fastattn.cli import attention  # noqa: E402
from fastattn.data import Vocabulary  # noqa: E402
from fastattn.training import Translator, save  # noqa: E402


def test_the_picture_is_one(trained, tmp_path, module):
    done = module("attention", trained / "model", "abc", "--out", tmp_path / "map.png")
    assert (done.returncode, done.stderr) == (0, b"")
    answer = module("translate", trained / "model", "abc")
    assert done.stdout == answer.stdout
    pixels = imread(tmp_path / "map.png")
    assert pixels.shape[0] > 100
    assert pixels.shape[1] > 100
    assert pixels.std() > 0.01


@pytest.mark.parametrize(("name", "beginning"), [("a.svg", b"<?xml"), ("a.pdf", b"%PDF"), ("a.PNG", b"\x89PNG")])
def test_the_ending_says_the_format(trained, tmp_path, fastattn_command, name, beginning):
    code, _, err = fastattn_command("attention", trained / "model", "abc", "--out", tmp_path / name)
    assert (code, err) == (0, "")
    assert (tmp_path / name).read_bytes().startswith(beginning)


@pytest.mark.parametrize("name", ["map.txt", "map", "png", "map.pgf"])
def test_an_ending_that_is_no_format(trained, tmp_path, fastattn_command, name):
    code, out, err = fastattn_command("attention", trained / "model", "abc", "--out", tmp_path / name)
    assert (code, out) == (1, "")
    assert err.startswith(f"fastattn: {tmp_path / name}: no such picture format; expected one of .")
    assert ".png" in err
    assert not (tmp_path / name).exists()


def test_a_place_that_cannot_be_written(trained, tmp_path, fastattn_command):
    code, out, err = fastattn_command("attention", trained / "model", "abc", "--out", tmp_path / "no" / "map.png")
    assert (code, out, err) == (1, "", f"fastattn: {tmp_path / 'no' / 'map.png'}: No such file or directory\n")


def test_what_is_not_utf8_is_drawn_as_unknown(trained, tmp_path, fastattn_command):
    code, _, _ = fastattn_command("attention", trained / "model", os.fsdecode(b"a\xff"), "--out", tmp_path / "map.png")
    assert code == 0
    assert (tmp_path / "map.png").exists()


def test_no_attention_no_picture(tmp_path, fastattn_command):
    vocabulary = Vocabulary.from_texts(["abc"])
    model = fastattn.AttentionSeq2seq(len(vocabulary), 3, 4, attention=None)
    save(tmp_path / "model", Translator(model, vocabulary, vocabulary, reverse_source=False, max_target_tokens=3), [], {})
    code, out, err = fastattn_command("attention", tmp_path / "model", "abc", "--out", tmp_path / "map.png")
    assert (code, out, err) == (1, "", f"fastattn: {tmp_path / 'model'}: the model has no attention\n")


def test_no_tokens_no_picture(trained, tmp_path, fastattn_command):
    code, out, err = fastattn_command("attention", trained / "model", "", "--out", tmp_path / "map.png")
    assert (code, out, err) == (1, "", "fastattn: the source has 0 tokens; expected 1 to 32768\n")
    assert not (tmp_path / "map.png").exists()


def test_without_matplotlib(trained, tmp_path, fastattn_command, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    code, out, err = fastattn_command("attention", trained / "model", "abc", "--out", tmp_path / "map.png")
    assert (code, out) == (1, "")
    assert err == "fastattn: drawing needs matplotlib; install it with: pip install 'fastattn[plot]'\n"


def drawn(monkeypatch, source, answer, weights):
    """The axes of a picture."""
    from matplotlib.figure import Figure

    figures = []
    original = Figure.savefig

    def savefig(self, *arguments, **options):
        figures.append(self)
        return original(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    attention.picture(source, answer, weights, "png")
    return figures[0].axes[0]


def test_every_symbol_has_its_place(monkeypatch, rng):
    source, answer = ["a", " ", "$x$", "ü"], ["b", "$", "end"]
    weights = rng.random((3, 4))
    axes = drawn(monkeypatch, source, answer, weights)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "␣", "$x$", "ü"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "$", "end"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("source", "answer")
    np.testing.assert_array_equal(axes.images[0].get_array(), weights)
    low, high = axes.get_ylim()
    assert low > high  # the answer goes from top to bottom


def test_a_symbol_that_the_font_has_no_sign_for_is_said_once(capsys):
    attention.picture(["語", "彙"], ["a"], np.ones((1, 2)) / 2, "png")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "fastattn: the font has no sign for some of the symbols: they are drawn as boxes\n"


def test_a_long_text_is_drawn_still(rng):
    attention.picture(["a"] * 400, ["b"] * 3, rng.random((3, 400)), "png")


def test_nothing_is_drawn_on_a_screen(trained, tmp_path, module):
    """The picture needs no display, and no state of matplotlib's that others may hold."""
    done = module(*("attention", trained / "model", "abc", "--out", tmp_path / "map.png"), environment={"MPLBACKEND": "tkagg"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert "matplotlib.pyplot" not in sys.modules
