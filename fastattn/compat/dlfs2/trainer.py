"""Training in the book's order of batches, with its lines of text and its curve."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastattn.layers import checks
from fastattn.training import Optimizer
from fastattn.training.interruptions import interruptions_held

from .optimizers import clip_grads, remove_duplicate


class Trainer:
    """Trains ``model``, anything with ``params``, ``grads``, ``forward(x, t)`` -> loss and ``backward()``.

    The batches are those that `np.random.seed` says, and the samples that fill no batch are left out of an epoch.
    ``loss_list`` holds mean losses, a number for each line that was printed; ``current_epoch`` counts over all fits.
    """

    def __init__(self, model: Any, optimizer: Optimizer) -> None:
        self.model = model
        self.optimizer = optimizer
        self.loss_list: list[float] = []
        self.eval_interval: int | None = None
        self.current_epoch = 0

    def fit(
        self,
        x: ArrayLike,
        t: ArrayLike,
        max_epoch: int = 10,
        batch_size: int = 32,
        max_grad: float | None = None,
        eval_interval: int | None = 20,
    ) -> None:
        """``max_epoch`` epochs over x (N, ...) and t (N, ...).

        max_grad: the global norm that gradients are scaled down to. eval_interval: after the first step of an epoch, and
        each time so many later, a line says the mean loss since the last line; None: no lines, and no ``loss_list``.
        ValueError where x and t are not of one length, or fill no batch.
        """
        x, t = np.asarray(x), np.asarray(t)
        max_epoch, batch_size = checks.size("max_epoch", max_epoch), checks.size("batch_size", batch_size)
        self.eval_interval = None if eval_interval is None else checks.size("eval_interval", eval_interval)
        if not x.ndim or not t.ndim or len(x) != len(t) or len(x) < batch_size:
            raise ValueError(
                f"x and t have shapes {x.shape} and {t.shape}; expected as many samples in both, and at least batch_size, "
                f"which is {batch_size}"
            )
        steps = len(x) // batch_size
        start = time.monotonic()
        losses: list[float] = []
        for _ in range(max_epoch):
            order = np.random.permutation(len(x))  # noqa: NPY002 - the same batches need it
            x, t = x[order], t[order]
            for step in range(steps):
                batch = slice(step * batch_size, (step + 1) * batch_size)
                losses.append(self._step(x[batch], t[batch], max_grad))
                if self.eval_interval is not None and step % self.eval_interval == 0:
                    self.loss_list.append(float(np.mean(losses)))
                    losses = []
                    print(
                        f"| epoch {self.current_epoch + 1} |  iter {step + 1} / {steps} | "
                        f"time {int(time.monotonic() - start)}[s] | loss {self.loss_list[-1]:.2f}"
                    )
            self.current_epoch += 1

    def _step(self, x: ArrayLike, t: ArrayLike, max_grad: float | None) -> float:
        loss = self.model.forward(x, t)
        self.model.backward()
        params, grads = remove_duplicate(self.model.params, self.model.grads)
        if max_grad is not None:
            clip_grads(grads, max_grad)
        with interruptions_held():
            self.optimizer.update(params, grads)
        return loss

    def plot(self, ylim: tuple[float, float] | None = None) -> None:
        """Draws ``loss_list``, and shows it where there is a screen or a notebook. Needs matplotlib."""
        try:
            from matplotlib import pyplot
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("drawing needs matplotlib; install it with: pip install 'fastattn[plot]'") from error
        if ylim is not None:
            pyplot.ylim(*ylim)
        pyplot.plot(np.arange(len(self.loss_list)), self.loss_list, label="train")
        pyplot.xlabel(f"iterations (x{self.eval_interval})")
        pyplot.ylabel("loss")
        pyplot.show()
