"""What all models share: the weights of their parts in one list, training and use, and what dropout's masks follow from."""

from __future__ import annotations

from typing import Self

import numpy as np

from fastattn.layers import Dropout, SoftmaxCrossEntropy
from fastattn.layers.base import Layer
from fastattn.layers.checks import Array

from .config import ModelConfig


class Model:
    """Parts, layers or models, in the order in which their weights stand in ``params`` and ``grads``.

    Both lists hold the parts' own arrays: change ``params[i][...]`` in place. A tensor that two parts have stands there once,
    with its first part. ``training`` is True at first.

    What is dropped is a function of ``step``, the number of forwards in training before this one, and of the place of a
    sample in its batch, from ``first_sample`` on. Both may be set: to repeat a step, or to give a large batch in parts.
    """

    def __init__(self, *parts: Layer | Model | None) -> None:
        self.parts = [part for part in parts if part is not None]
        self.params: list[Array] = []
        self.grads: list[Array] = []
        self._second: list[tuple[Array, Array]] = []  # of a tensor that two parts have, both gradients
        first: dict[int, Array] = {}
        for param, grad in ((p, g) for part in self.parts for p, g in zip(part.params, part.grads, strict=True)):
            if id(param) in first:
                self._second.append((first[id(param)], grad))
                continue
            first[id(param)] = grad
            self.params.append(param)
            self.grads.append(grad)
        self.training = True
        self.step = 0
        self.first_sample = 0

    @property
    def dropouts(self) -> list[Dropout]:
        """All that can drop something, in the order of their places."""
        return [dropout for part in self.parts if isinstance(part, Model) for dropout in part.dropouts]

    def _seed_masks(self, config: ModelConfig, generator: np.random.Generator) -> None:
        """Gives each dropout the model's one seed, drawn if it will ever be needed, and a place of its own."""
        seed = int(generator.integers(2**64, dtype=np.uint64)) if config.can_drop else 0
        for place, dropout in enumerate(self.dropouts):
            dropout.seed, dropout.place = seed, place

    def _begin_step(self) -> None:
        """Before a forward: its masks are those of this step."""
        for dropout in self.dropouts:
            dropout.step, dropout.first_sample = self.step, self.first_sample

    def _end_step(self) -> None:
        """After a forward that did not fail."""
        self.step += self.training

    def _add_up(self) -> None:
        """After a backward: a tensor that two parts have gets the gradients of both."""
        for first, second in self._second:
            first += second

    def train(self) -> Self:
        """Let dropout drop, and the loss smooth its labels."""
        return self._set_training(True)

    def eval(self) -> Self:
        """Let dropout pass everything, and the loss be that of the labels."""
        return self._set_training(False)

    def _set_training(self, training: bool) -> Self:
        self.training = training
        for part in (*self.parts, *self.dropouts):
            if isinstance(part, Model):
                part._set_training(training)
            elif isinstance(part, Dropout | SoftmaxCrossEntropy):
                part.training = training
        return self
