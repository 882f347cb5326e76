"""Enters in `compilation` what Numba compiles of the kernels. What it loads from its cache, and calls, cost nothing here."""

from typing import Any

from numba.core import event

from ...compilation import compilation

_PACKAGE = __name__.split(".")[0]


class _Watcher(event.Listener):
    def on_start(self, event: Any) -> None:
        if _is_of_kernels(event):
            compilation.begin()

    def on_end(self, event: Any) -> None:
        if _is_of_kernels(event):
            compilation.end()


def _is_of_kernels(event: Any) -> bool:
    """Whether it is a function of this package that is compiled, and not one of Numba's own or of the caller's."""
    return event.data["dispatcher"].py_func.__module__.split(".")[0] == _PACKAGE


event.register("numba:compile", _Watcher())
