"""`fastattn attention`: where a trained model looked, as a picture."""

import argparse
import importlib.util
import io
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .common import UserError, choose_computing
from .fonts import Fonts, advice, can_shape, is_shaped, seen, width
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
    parser.add_argument(
        "--font",
        metavar="FONT",
        help="the font to write with: a file, or the name of a family that is installed; what it has no sign for is taken "
        "from others (default: that of matplotlib)",
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
    atomic_write(arguments.out, picture(source, answer, weights, ending, arguments.font))
    print(vocabulary.decode(ids))


def picture(source: list[str], answer: list[str], weights: "np.ndarray", ending: str, font: str | None = None) -> bytes:
    """The map of ``weights`` (T2, T1), each from 0 to 1, in the format that ``ending`` names.

    font: a file or a family, as for --font. What cannot be drawn as it should be is said on standard error. UserError where
    there is no such font.
    """
    from matplotlib.figure import Figure

    sides = [min(2 + INCHES_A_SYMBOL * len(symbols), LONGEST_SIDE) for symbols in (source, answer)]
    figure = Figure(figsize=(sides[0], sides[1]), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(weights, cmap="Greys", vmin=0, aspect="auto")
    figure.colorbar(image, label="attention")
    labels = [[seen(symbol) for symbol in symbols] for symbols in (source, answer)]
    families, without = Fonts(font).families(label for of_side in labels for label in of_side)
    for axis, of_side, name in zip((axes.xaxis, axes.yaxis), labels, ("source", "answer")):
        axis.set_ticks(range(len(of_side)), of_side, parse_math=False)  # a dollar sign is text, not a formula
        for tick, label in zip(axis.get_ticklabels(), of_side):
            tick.set_fontfamily(families[label])
        axis.set_label_text(name)
    if max(map(width, labels[0])) > 2:
        axes.tick_params(axis="x", rotation=90)
    rows = [] if can_shape() else [label for label in families if is_shaped(label) and label not in without]
    _say(without, rows)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of signs that are missing, which was said
        figure.savefig(stream, format=ending, dpi=150)
    return stream.getvalue()


def _say(without: dict[str, str], unshaped: list[str]) -> None:
    """What is not drawn as it should be: labels, with their characters that no font has, and those that are only a row."""
    import matplotlib

    from fastattn.training.translator import shown

    if without:
        fonts = advice("".join(without.values()))
        said = f"no font of this machine has signs for {shown(without)}: they are drawn as boxes"
        print(f"fastattn: {said}; install {fonts}, or name a font with --font", file=sys.stderr)
    if unshaped:
        said = f"matplotlib {matplotlib.__version__} draws {shown(unshaped)} sign by sign from left to right"
        print(f"fastattn: {said}; version 3.11 draws them as they are written", file=sys.stderr)
