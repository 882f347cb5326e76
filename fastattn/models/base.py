"""What all models share: the weights of their parts in one list, and the switch between training and use."""

from typing import Self

from fastattn.layers import Dropout
from fastattn.layers.base import Layer
from fastattn.layers.checks import Array


class Model:
    """Parts, layers or models, in the order in which their weights stand in ``params`` and ``grads``.

    Both lists hold the parts' own arrays: change ``params[i][...]`` in place. ``training`` is True at first.
    """

    def __init__(self, *parts: "Layer | Model") -> None:
        self.parts = parts
        self.params: list[Array] = [p for part in parts for p in part.params]
        self.grads: list[Array] = [g for part in parts for g in part.grads]
        self.training = True

    def train(self) -> Self:
        """Let dropout drop."""
        return self._set_training(True)

    def eval(self) -> Self:
        """Let dropout pass everything."""
        return self._set_training(False)

    def _set_training(self, training: bool) -> Self:
        self.training = training
        for part in self.parts:
            if isinstance(part, Model):
                part._set_training(training)
            elif isinstance(part, Dropout):
                part.training = training
        return self
