"""What all layers share: a list of weights, a list of their gradients, and what forward keeps for backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from .checks import Array

_USED_UP = object()


class Layer:
    """A layer with ``params`` and ``grads``, two lists of the same length (empty if it has no weights).

    ``backward`` overwrites ``grads[i][...]`` in place, and ``params[i][...]`` may be changed in place at any time: an
    optimizer may hold on to both. A weight that is C-contiguous and writeable is kept as it was given, not copied.
    """

    _name: str | None = None  # what a caller knows this by, if not by the class

    def __init__(self, *params: Array) -> None:
        self.params: list[Array] = list(params)
        self.grads: list[Array] = [np.zeros_like(p) for p in params]
        self._kept: Any = None

    def weights(self) -> list[Array]:
        """``params``, for a kernel. ValueError if a caller has put another kind of array in the list."""
        return self._checked(self.params)

    def _checked(self, params: list[Array]) -> list[Array]:
        for i, (p, grad) in enumerate(zip(params, self.grads, strict=True)):
            if p.shape != grad.shape or p.dtype != grad.dtype or not (p.flags.carray and grad.flags.carray):
                raise ValueError(
                    f"{type(self).__name__}.params[{i}] has shape {p.shape} and dtype {p.dtype}, its gradient "
                    f"shape {grad.shape} and dtype {grad.dtype}; expected the same of both, and both C-contiguous and "
                    f"writeable: change params[{i}][...] in place"
                )
        return params

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which are of the layer, not of what it keeps for a backward: that can be large."""
        return {**self.__dict__, "_kept": None}

    def _keep(self, *kept: Any) -> None:
        """Keep, for backward, what forward knows. The first is the kernel set: its caches fit only its own backward."""
        self._kept = kept

    def _recall(self) -> Any:
        name = self._name or type(self).__name__
        if self._kept is None:
            raise RuntimeError(f"{name}.backward was called before {name}.forward")
        if self._kept is _USED_UP:
            raise RuntimeError(f"{name}.backward was called a second time; expected a {name}.forward before each")
        return self._kept

    def forget(self) -> None:
        """Let go of what is kept for a backward, which then needs a forward first."""
        self._kept = None

    def _use_up(self) -> None:
        """For a backward that works in the memory of what forward kept: there is no second one."""
        self._kept = _USED_UP
