"""Where a model looked while it answered: a map that draws itself."""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastattn.data import atomic_write, require
from fastattn.data.words import shown

from .figures import new_axes
from .fonts import Fonts, advice, can_shape, is_shaped, seen, width

INCHES_A_SYMBOL = 0.3
LONGEST_SIDE = 100.0  # inches; at 150 dots an inch still within what matplotlib draws
DOTS_AN_INCH = 150
MOST_CELLS = 20_000  # of a table


class DrawingWarning(UserWarning):
    """Something is not drawn as it should be."""


class Tokens(NamedTuple):
    """The symbols beside an attention map."""

    source: Sequence[str]
    answer: Sequence[str]


@dataclass(frozen=True, repr=False, eq=False)
class AttentionMap:
    """Where a model looked while it answered.

    ``tokens``: those of the source (T1), one for each column, and those of the answer (T2), one for each row; the last of
    these is "end" where the model ended its answer. ``weights`` (T2, T1): of each row the sum is 1. ``answer``: its text.

    In a notebook it shows itself: as a picture, or as a table where matplotlib is not installed.
    """

    tokens: Tokens
    weights: np.ndarray
    answer: str

    def __repr__(self) -> str:
        rows, columns = self.weights.shape
        return f"<{type(self).__name__} of {columns} source tokens and {rows} of the answer {self.answer!r}>"

    def plot(self, ax: Any = None, *, font: str | None = None) -> Any:
        """Draws into ``ax``, axes of matplotlib, or into a new figure, which a notebook shows, and returns the axes.

        The source goes from left to right, the answer from top to bottom. font: a file or the name of a family to write with;
        what it has no sign for is taken from others. A DrawingWarning names what is not drawn as it should be.
        MissingExtraError without matplotlib; FontError where there is no such font.
        """
        return self._plot(ax, font, stacklevel=3, is_shown=True)

    def _plot(self, ax: Any, font: str | None, stacklevel: int, is_shown: bool = False) -> Any:
        require("matplotlib", "plot", "drawing")
        if ax is None:
            wide, high = (min(2 + INCHES_A_SYMBOL * len(symbols), LONGEST_SIDE) for symbols in self.tokens)
            ax = new_axes(wide, high, is_shown=is_shown)
        image = ax.imshow(self.weights, cmap="Greys", vmin=0, aspect="auto")
        ax.figure.colorbar(image, ax=ax, label="attention")
        labels = [[seen(symbol) for symbol in symbols] for symbols in self.tokens]
        families, without = Fonts(font).families(label for of_side in labels for label in of_side)
        for axis, of_side, name in zip((ax.xaxis, ax.yaxis), labels, ("source", "answer")):
            axis.set_ticks(range(len(of_side)), of_side, parse_math=False)  # a dollar sign is text, not a formula
            for tick, label in zip(axis.get_ticklabels(), of_side):
                tick.set_fontfamily(families[label])
            axis.set_label_text(name)
        if max(map(width, labels[0])) > 2:
            ax.tick_params(axis="x", rotation=90)
        rows = [] if can_shape() else [label for label in families if is_shaped(label) and label not in without]
        for words in _faults(without, rows):
            warnings.warn(words, DrawingWarning, stacklevel=stacklevel)
        return ax

    def picture(self, format: str = "png", *, font: str | None = None) -> bytes:
        """The drawing as a file holds it: "png", "svg", "pdf", ... Errors and warnings as those of ``plot``."""
        ax = self._plot(None, font, stacklevel=3)
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of signs that are missing, which was said
            ax.figure.savefig(stream, format=format, dpi=DOTS_AN_INCH)
        return stream.getvalue()

    def save(self, path: str | os.PathLike[str], *, font: str | None = None) -> None:
        """Writes the drawing to a file, whose ending says the format. ValueError for another ending; OSError as `open`."""
        atomic_write(path, self.picture(checked_format(path), font=font))

    def _repr_png_(self) -> bytes | None:
        return None if importlib.util.find_spec("matplotlib") is None else self.picture()

    def _repr_html_(self) -> str | None:
        """A table, of which the cells are the darker the more attention; None where there is a picture."""
        if importlib.util.find_spec("matplotlib") is not None:
            return None
        if self.weights.size > MOST_CELLS:
            return f"<pre>{escape(repr(self))}</pre>"
        head = "".join(f"<th><bdi>{escape(seen(symbol))}</bdi></th>" for symbol in ("", *self.tokens.source))
        rows = [
            f"<tr><th><bdi>{escape(seen(symbol))}</bdi></th>"
            + "".join(f'<td title="{weight:.3f}" style="background: rgba(0, 0, 0, {weight:.3f})"></td>' for weight in row)
            + "</tr>"
            for symbol, row in zip(self.tokens.answer, self.weights.tolist(), strict=True)
        ]
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def checked_format(path: str | os.PathLike[str]) -> str:
    """The format that the ending of a picture's name says. ValueError for one that is none; MissingExtraError."""
    require("matplotlib", "plot", "drawing")
    from matplotlib.backend_bases import FigureCanvasBase

    formats = set(FigureCanvasBase.get_supported_filetypes()) - {"pgf"}  # which needs LaTeX
    ending = Path(path).suffix.lower().removeprefix(".")
    if ending not in formats:
        raise ValueError(f"{os.fspath(path)}: no such picture format; expected one of .{', .'.join(sorted(formats))}")
    return ending


def _faults(without: dict[str, str], unshaped: list[str]) -> list[str]:
    """What is not drawn as it should be: labels, with their characters that no font has, and those that are only a row."""
    import matplotlib

    faults = []
    if without:
        fonts = advice("".join(without.values()))
        said = f"no font of this machine has signs for {shown(without)}: they are drawn as boxes"
        faults.append(f"{said}; install {fonts}, or name a font (--font)")
    if unshaped:
        said = f"matplotlib {matplotlib.__version__} draws {shown(unshaped)} sign by sign from left to right"
        faults.append(f"{said}; version 3.11 draws them as they are written")
    return faults
