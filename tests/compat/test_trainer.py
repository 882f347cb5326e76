"""The trainer under the book's name: what it prints, draws and refuses."""

import sys

import numpy as np
import pytest
from helpers import run_python

from fastattn.compat import dlfs2


class Counting:
    """A model whose loss is the number of its steps."""

    def __init__(self):
        self.params, self.grads = [np.zeros(2)], [np.ones(2)]
        self.seen = []

    def forward(self, x, t):
        self.seen.append((x.tolist(), t.tolist()))
        return len(self.seen)

    def backward(self):
        self.grads[0][...] = 1


def fitted(**options):
    trainer = dlfs2.Trainer(Counting(), dlfs2.SGD(0.5))
    trainer.fit(np.arange(7), -np.arange(7), **{"max_epoch": 2, "batch_size": 2, **options})
    return trainer


def test_an_epoch_is_the_whole_batches_of_a_new_order(capsys):
    np.random.seed(7)  # noqa: NPY002 - the order follows it
    seen = fitted().model.seen
    assert [len(x) for x, _ in seen] == [2] * 6
    assert all(t == [-number for number in x] for x, t in seen)
    epochs = [[number for x, _ in seen[first : first + 3] for number in x] for first in (0, 3)]
    assert epochs[0] != epochs[1]
    assert all(len(set(epoch)) == 6 for epoch in epochs)
    np.random.seed(7)  # noqa: NPY002
    order = np.random.permutation(7)  # noqa: NPY002
    assert epochs[0] == order[:6].tolist()
    assert epochs[1] == order[np.random.permutation(7)][:6].tolist()  # noqa: NPY002


def test_the_list_and_the_lines(capsys):
    trainer = fitted(eval_interval=2)
    assert trainer.loss_list == [1, 2.5, 4, 5.5]
    assert trainer.current_epoch == 2
    assert capsys.readouterr().out.splitlines() == [
        f"| epoch {epoch} |  iter {step} / 3 | time 0[s] | loss {loss}"
        for epoch, step, loss in ((1, 1, "1.00"), (1, 3, "2.50"), (2, 1, "4.00"), (2, 3, "5.50"))
    ]
    silent = fitted(eval_interval=None)
    assert not silent.loss_list
    assert not capsys.readouterr().out


def test_gradients_are_clipped(capsys):
    trainer = fitted(max_grad=0.1)
    np.testing.assert_allclose(trainer.model.params[0], -6 * 0.5 * 0.1 / (np.sqrt(2) + 1e-6), rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        ((np.zeros((7, 2)), np.zeros((6, 2))), {}, r"x and t have shapes \(7, 2\) and \(6, 2\); expected as many"),
        ((np.zeros((7, 2)), np.zeros((7, 2))), {"batch_size": 8}, "at least batch_size, which is 8"),
        ((3, 4), {}, r"have shapes \(\) and \(\)"),
        ((np.zeros(7), np.zeros(7)), {"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ((np.zeros(7), np.zeros(7)), {"max_epoch": 0}, "max_epoch is 0; expected at least 1"),
        ((np.zeros(7), np.zeros(7)), {"eval_interval": 0}, "eval_interval is 0; expected at least 1"),
        ((np.zeros(7), np.zeros(7)), {"max_grad": -1.0, "batch_size": 2}, "max_norm is -1.0; expected a number"),
    ],
)
def test_bad_arguments(arguments, options, match):
    with pytest.raises(ValueError, match=match):
        dlfs2.Trainer(Counting(), dlfs2.SGD()).fit(*arguments, **options)


PLOT = """
from fastattn.compat.dlfs2 import *
trainer = Trainer(None, SGD())
trainer.loss_list, trainer.eval_interval = [3.0, 2.0], 20
trainer.plot(ylim=(0, 4))
from matplotlib import pyplot
axes = pyplot.gca()
print(axes.get_ylim(), axes.get_xlabel(), axes.lines[0].get_ydata().tolist())
"""


def test_the_curve_is_drawn_without_a_screen(tmp_path):
    pytest.importorskip("matplotlib")
    out = run_python(PLOT, DISPLAY="", WAYLAND_DISPLAY="", MPLBACKEND="", MPLCONFIGDIR=str(tmp_path))
    assert out.strip() == "(np.float64(0.0), np.float64(4.0)) iterations (x20) [3.0, 2.0]"


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"drawing needs matplotlib; install it with: pip install 'fastattn\[plot\]'"):
        dlfs2.Trainer(None, dlfs2.SGD()).plot()
