"""New figures of matplotlib, and whether a notebook shows them."""

from __future__ import annotations

import sys
from typing import Any


def in_notebook() -> bool:
    """Whether this process answers to a notebook: it then has IPython, which is not imported for the question."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def new_axes(width: float, height: float, *, is_shown: bool) -> Any:
    """Axes of a new figure of so many inches.

    is_shown: a notebook shows it at the end of its cell, as it does with pyplot's figures; elsewhere, and without, nobody
    keeps the figure but its axes.
    """
    if is_shown and in_notebook():
        from matplotlib import pyplot

        return pyplot.figure(figsize=(width, height), layout="constrained").add_subplot()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").add_subplot()
