"""The map that draws itself: in axes that somebody has, in a notebook, in a file, and as a table where nothing draws."""

import importlib.util
import re
import sys

import numpy as np
import pytest

from fastattn.data import MissingExtraError
from fastattn.drawing import AttentionMap, FontError, Tokens
from fastattn.training import EpochRecord, History

WEIGHTS = np.array([[0.25, 0.5, 0.25], [0.0, 0.125, 0.875]])


@pytest.fixture
def a_map():
    return AttentionMap(Tokens(["a", " ", "<"], ["x", "end"]), WEIGHTS, "x")


@pytest.fixture
def without_matplotlib(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def test_it_draws_into_axes_that_are_given(a_map):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    left, right = figure.subplots(1, 2)
    assert a_map.plot(right) is right
    assert not left.images
    np.testing.assert_array_equal(right.images[0].get_array(), WEIGHTS)
    assert [label.get_text() for label in right.get_xticklabels()] == ["a", "␣", "<"]
    new = a_map.plot()
    assert [label.get_text() for label in new.get_yticklabels()] == ["x", "end"]
    assert new.figure is not figure


def test_in_a_notebook_it_is_a_picture(a_map):
    pytest.importorskip("matplotlib")
    assert a_map._repr_png_().startswith(b"\x89PNG")
    assert a_map._repr_html_() is None
    assert repr(a_map) == "<AttentionMap of 3 source tokens and 2 of the answer 'x'>"


def test_or_a_table_where_nothing_draws(a_map, without_matplotlib):
    assert a_map._repr_png_() is None
    html = a_map._repr_html_()
    assert re.findall(r"<bdi>(.*?)</bdi>", html) == ["", "a", "␣", "&lt;", "x", "end"]
    assert re.findall(r'title="([\d.]+)"', html) == ["0.250", "0.500", "0.250", "0.000", "0.125", "0.875"]
    with pytest.raises(MissingExtraError, match=r"^drawing needs matplotlib; install it with: pip install 'fastattn\[plot\]'$"):
        a_map.plot()


def test_a_file_has_the_format_of_its_name(a_map, tmp_path):
    pytest.importorskip("matplotlib")
    a_map.save(tmp_path / "map.svg")
    assert (tmp_path / "map.svg").read_bytes().startswith(b"<?xml")
    with pytest.raises(ValueError, match=r"map.txt: no such picture format; expected one of \."):
        a_map.save(tmp_path / "map.txt")
    with pytest.raises(FontError, match="there is no font 'No Such Font'"):
        a_map.plot(font="No Such Font")


def test_a_history_draws_its_curve():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    history = History([EpochRecord(1, 2.5, 2.75, 0.25, 1000.5, 1.5, 0.5), EpochRecord(2, 1.5, 2.5, 0.5, 1001.0, 1.25, 0.25)])
    ax = history.plot(figure.add_subplot())
    assert [line.get_label() for line in ax.lines] == ["training loss", "held-out loss"]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [2.75, 2.5])
    with pytest.raises(ValueError, match="the history has no epochs; expected at least 1"):
        History().plot()
