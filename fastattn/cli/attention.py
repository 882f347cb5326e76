"""`fastattn attention`: where a trained model looked, as a picture."""

import argparse
import importlib.util
import io
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .common import UserError, choose_computing
from .reading import UnknownSymbols

if TYPE_CHECKING:
    import numpy as np

INCHES_A_SYMBOL = 0.3
LONGEST_SIDE = 100.0  # inches; at 150 dots an inch still within what matplotlib draws


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `fastattn attention`."""
    parser = commands.add_parser(
        "attention",
        help="draw where a model looks while it translates",
        description="Translate TEXT and draw the attention map: the source from left to right, the answer from top to "
        "bottom, the darker the more attention. Needs matplotlib: pip install 'fastattn[plot]'.",
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of the model, as written by `fastattn train`")
    parser.add_argument("text", metavar="TEXT", help="what to translate, as for `fastattn translate`")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="the picture to write; its ending says the format (.png, .svg, .pdf)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Writes the picture."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("drawing needs matplotlib; install it with: pip install 'fastattn[plot]'")
    from matplotlib.backend_bases import FigureCanvasBase

    from fastattn.data import END, atomic_write
    from fastattn.data.vocabulary import SPECIAL
    from fastattn.training import load

    formats = set(FigureCanvasBase.get_supported_filetypes()) - {"pgf"}  # which needs LaTeX
    ending = Path(arguments.out).suffix.lower().removeprefix(".")
    if ending not in formats:
        raise UserError(f"{arguments.out}: no such picture format; expected one of .{', .'.join(sorted(formats))}")
    choose_computing()
    translator = load(arguments.folder)
    if translator.model.config.attention is None:
        raise UserError(f"{arguments.folder}: the model has no attention")
    source, ids, weights = translator.attend(arguments.text)
    unknown = UnknownSymbols(translator)
    unknown.count([arguments.text])
    unknown.say()
    vocabulary = translator.target_vocabulary
    answer = ["end" if number == END else vocabulary.decode([number]) or SPECIAL[number] for number in ids]
    atomic_write(arguments.out, picture(source, answer, weights, ending))
    print(vocabulary.decode(ids))


def picture(source: list[str], answer: list[str], weights: "np.ndarray", ending: str) -> bytes:
    """The map of ``weights`` (T2, T1), each from 0 to 1, in the format that ``ending`` names."""
    from matplotlib.figure import Figure

    sides = [min(2 + INCHES_A_SYMBOL * len(symbols), LONGEST_SIDE) for symbols in (source, answer)]
    figure = Figure(figsize=(sides[0], sides[1]), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(weights, cmap="Greys", vmin=0, aspect="auto")
    figure.colorbar(image, label="attention")
    for axis, symbols, name in ((axes.xaxis, source, "source"), (axes.yaxis, answer, "answer")):
        # A space would be seen as no symbol at all; and a dollar sign is text, not a formula. What of an argument is not
        # UTF-8 comes as surrogates, which cannot be drawn.
        labels = ["␣" if symbol == " " else symbol.encode(errors="replace").decode() for symbol in symbols]
        axis.set_ticks(range(len(symbols)), labels, parse_math=False)
        axis.set_label_text(name)
    if max(map(len, source)) > 1:
        axes.tick_params(axis="x", rotation=90)
    stream = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(stream, format=ending, dpi=150)
    if any("missing from font" in str(warning.message) for warning in caught):
        print("fastattn: the font has no sign for some of the symbols: they are drawn as boxes", file=sys.stderr)
    return stream.getvalue()
