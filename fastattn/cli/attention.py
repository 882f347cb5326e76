"""`fastattn attention`: where a trained model looked, as a picture."""

import argparse
import importlib.util

from .common import UserError, choose_computing, warnings_in_a_line
from .reading import UnknownSymbols


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
    from fastattn.drawing import DrawingWarning, FontError, checked_format
    from fastattn.training import Translator

    try:
        checked_format(arguments.out)
    except ValueError as error:
        raise UserError(str(error)) from error
    choose_computing()
    translator = Translator.load(arguments.folder)
    if not translator.has_attention:
        raise UserError(f"{arguments.folder}: the model has no attention")
    shown = translator.attention(arguments.text)
    unknown = UnknownSymbols(translator)
    unknown.count([arguments.text])
    unknown.say()
    try:
        with warnings_in_a_line(DrawingWarning):
            shown.save(arguments.out, font=arguments.font)
    except FontError as error:
        raise UserError(f"--font: {error}") from error
    print(shown.answer)
