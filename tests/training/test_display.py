"""What a fit shows in a terminal, in a notebook and in neither; that kernels compile is said, and is no training."""

import importlib.machinery
import io
import sys
import time
import types

import numpy as np
import pytest

import fastattn
from fastattn import backend
from fastattn.training import SGD, Trainer, display

X = np.ones((6, 2), int)


@pytest.fixture(autouse=True)
def _reference(monkeypatch):
    monkeypatch.setattr(display.backend, "cache_folder", lambda: "/somewhere")
    with fastattn.use_backend("reference"):
        yield


class Compiling:
    """A model whose first step compiles two kernels, the second for the first, in some tenths of a second."""

    def __init__(self, seconds=0.3):
        self.params, self.grads = [np.zeros(2)], [np.ones(2)]
        self.seconds = seconds

    def forward(self, x, t):
        if self.seconds:
            backend.compilation.begin()
            backend.compilation.begin()
            time.sleep(self.seconds)
            backend.compilation.end()
            backend.compilation.end()
            self.seconds = 0
        return 1.0

    def backward(self):
        pass


def fit(model, **options):
    return Trainer(model, SGD(0.0)).fit(X, X, **{"max_epoch": 2, "batch_size": 2, "seed": 0, **options})


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    """shown(model): what a fit shows in a terminal."""

    def show(model):
        monkeypatch.setattr(sys, "stderr", Terminal())  # now: between a fixture and its test pytest sets its own
        fit(model)
        return sys.stderr.getvalue()

    return show


@pytest.fixture
def notebook(monkeypatch):
    """IPython as it is in a kernel. Called with False, it has no widgets."""
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_the_time_of_compiling_is_no_time_of_training():
    lines = []
    records = fit(Compiling(), on_step=lines.append, log_every=1)
    assert max(record.seconds for record in records) < 0.2
    assert min(record.tokens_per_second for record in records) > 18 / 0.2
    assert min(line.tokens_per_second for line in lines) > 6 / 0.2
    assert max(line.seconds_left for line in lines) < 0.5


def test_a_terminal_counts_the_kernels_while_they_compile(shown):
    text = shown(Compiling())
    assert [f"once on this machine), {count} so far" in text for count in (0, 1, 2, 3)] == [True, True, True, False]
    assert text.rindex("epoch 1/2") > text.rindex("compiling")


def test_nothing_is_said_where_nothing_compiles(shown):
    text = shown(Compiling(seconds=0))
    assert "epoch 2/2" in text
    assert "compiling" not in text


def test_that_nothing_is_kept_is_said(shown, monkeypatch):
    monkeypatch.setattr(display.backend, "cache_folder", lambda: None)
    assert "in every process: there is no folder to keep them in" in shown(Compiling())


def test_a_library_is_silent_where_nobody_looks(capsys):
    fit(Compiling())
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("notebook")
def test_a_notebook_without_widgets_has_a_line_an_epoch(capsys):
    fit(Compiling(), validation_data=(X, X))
    out, err = capsys.readouterr()
    assert err == ""
    said, *lines = out.split("\n")
    assert said.startswith("\rcompiling kernels (once on this machine), 0 so far\rcompiling")
    assert "epoch 1/2  loss 1.0000  learning rate 0  held out: loss 1.0000  " in said  # in the place of what was said before
    assert len(lines) == 2
    assert lines[0].startswith("epoch 2/2  loss 1.0000  learning rate 0  held out: loss 1.0000  ")


@pytest.mark.usefixtures("notebook")
def test_a_notebook_is_silent_if_it_is_told_to_be(capsys):
    fit(Compiling(), progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("notebook")
def test_a_notebook_with_widgets_has_a_bar(monkeypatch):
    made = []

    class Widget(display.tqdm):
        def __init__(self, **options):
            made.append(options)
            super().__init__(file=io.StringIO(), **options)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None))
    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=Widget))
    fit(Compiling())
    assert [options["total"] for options in made] == [2 * 18]
