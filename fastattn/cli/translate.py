"""`fastattn translate`: text to text by a trained model, line by line."""

import argparse
import codecs
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from . import decoding
from .common import UserError, choose_computing, options_anywhere

if TYPE_CHECKING:
    from fastattn.training import Translator

CHUNK = 1 << 16  # bytes; what a pipe holds on Linux


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `fastattn translate`."""
    parser = commands.add_parser(
        "translate",
        help="translate text with a trained model",
        description="Translate each TEXT, or else each line of standard input (UTF-8): one line of output for each, in "
        "order, written as soon as its input is there. An empty line has an empty answer.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of the model, as written by `fastattn train`")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="what to translate (default: standard input)")
    decoding.add_options(parser)
    options_anywhere(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Translates the texts, or standard input until it ends."""
    how = decoding.Decoding.of(arguments)
    choose_computing()
    translator = decoding.load(arguments.folder, arguments.ensemble)
    if arguments.texts:
        answer(translator, arguments.texts, how)
        return
    if sys.stdin.isatty():
        print("Type a line to translate; Ctrl-D ends.", file=sys.stderr)
    done = 0
    for texts in arriving_lines(sys.stdin.buffer):
        answer(translator, texts, how, done)
        done += len(texts)


def answer(translator: "Translator", texts: list[str], how: decoding.Decoding, done: int = 0) -> None:
    """Prints a line for each text, or what ``how`` wants. done: how many came before, to number the lines by in an error."""
    from fastattn.training import SourceError

    try:
        answers = how.lines(translator, texts, done)
    except SourceError as error:
        raise UserError(f"line {done + error.index + 1}: {error}") from error
    sys.stdout.write("".join(f"{line}\n" for line in answers))
    sys.stdout.flush()


def arriving_lines(stream: BinaryIO) -> Iterator[list[str]]:
    """The lines of a stream in lists: as many as have come, and never fewer than one.

    Nothing is waited for while a whole line lies unanswered: whoever writes a line may read its answer before writing
    the next, and whoever writes a thousand at once has them translated in batches. UserError for a line that is not
    UTF-8, when the lines before it have been handed out.
    """
    number = 0
    rest = b""
    ended = False
    while not ended:
        chunk = stream.read1(CHUNK)  # type: ignore[attr-defined]  # what is there: it waits for the first byte only
        ended = not chunk
        *lines, rest = (rest + chunk).split(b"\n")
        if ended and rest:
            lines.append(rest)
        texts = []
        for line in lines:
            number += 1
            try:
                texts.append(line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").removesuffix(b"\r").decode())
            except UnicodeDecodeError as error:
                if texts:
                    yield texts
                raise UserError(f"standard input, line {number}: is not UTF-8") from error
        if texts:
            yield texts
