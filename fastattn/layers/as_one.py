"""Layers that run as one: one kernel does, each way, what they do one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from .base import Layer
from .checks import Array


class AsOne(Layer):
    """Several layers in one step each way: what they give one after another, up to rounding.

    A derived class has the kernels: in ``_forward``, for a batch that has been checked, and in ``backward``. The layers' own
    forward and backward are not called, and have nothing to go back to afterwards. ``params`` and ``grads`` are those of the
    layers, in order, as they are now: such a layer is made for a forward, and asked for few of them.
    """

    def __init__(self, *layers: Layer) -> None:
        self._kept = None
        self.layers = layers

    @property
    def params(self) -> list[Array]:  # type: ignore[override]
        return [param for layer in self.layers for param in layer.params]

    @property
    def grads(self) -> list[Array]:  # type: ignore[override]
        return [grad for layer in self.layers for grad in layer.grads]

    @classmethod
    def of(cls, layers: Sequence[Layer], kinds: Sequence[type[Layer]], name: str | None = None) -> Self | None:
        """None unless each layer is of just this class: one derived from it may have a forward or a backward of its own.

        name: what calls itself so in errors.
        """
        if [*map(type, layers)] != [*kinds]:
            return None
        as_one = cls(*layers)
        as_one._name = name
        return as_one

    def weights(self) -> list[Array]:
        """The layers' weights, for a kernel."""
        return [weight for layer in self.layers if layer.params for weight in layer.weights()]

    def _forget_layers(self) -> None:
        for layer in self.layers:
            layer.forget()


class RunsAsOne:
    """What runs some of its layers as one where it can, and one after another where not; its backward goes the same way."""

    _as_one: Any = None  # after a forward that ran them as one

    def _run(self, as_one: Any, one_after_another: Callable[..., Any], *batch: Any, **named: Any) -> Any:
        """The forward of ``as_one``; of ``one_after_another`` if that is None, or returns None: it is not for this batch.

        The batch has been checked.
        """
        out = None if as_one is None else as_one._forward(*batch, **named)
        if out is None:
            as_one, out = None, one_after_another(*batch, **named)
        self._as_one = as_one  # only now: if the forward failed, the one before it may still have its backward
        return out

    def _run_back(self, one_after_another: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """The backward of what ran."""
        return one_after_another(*given, **named) if self._as_one is None else self._as_one.backward(*given, **named)
