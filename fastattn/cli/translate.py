"""`fastattn translate`: text to text by a trained model, line by line."""

import argparse
import codecs
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from . import decoding
from .common import UserError, allow_between, choose_computing
from .reading import UnknownSymbols, add_unknown

if TYPE_CHECKING:
    from fastattn.data import Reading
    from fastattn.data.columns import Columns
    from fastattn.training import Translator

CHUNK = 1 << 16  # bytes; what a pipe holds on Linux

# A line of input, or what was read of one.
Asked: TypeAlias = str | dict[str, Any]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `fastattn translate`."""
    parser = commands.add_parser(
        "translate",
        help="translate text with a trained model",
        description="Translate each TEXT, or else each line of standard input (UTF-8): one line of output for each, in "
        "order, written as soon as its input is there. An empty line has an empty answer. A model of sources with features "
        "takes source, tab, features.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of the model, as written by `fastattn train`")
    # Without a default, argparse would name TEXT among what is missing.
    parser.add_argument("texts", nargs="*", default=[], metavar="TEXT", help="what to translate (default: standard input)")
    parser.add_argument(
        "--input",
        metavar="FILE",
        help="translate the lines of FILE, UTF-8 or gzip, - for standard input; of a line with the columns of the pairs "
        "that the model was trained on, the source; comments and a header have empty answers",
    )
    add_unknown(parser)
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="answer a line that cannot be translated with an empty one, say so, go on, and exit with 1 at the end",
    )
    decoding.add_options(parser)
    allow_between(parser)
    # For the sub-command's own complaints about its usage.
    parser.set_defaults(run=run, wrong_usage=parser.error)


def run(arguments: argparse.Namespace) -> None:
    """Translates the texts, or a file or standard input until it ends."""
    from fastattn.data.pairs import STANDARD_INPUT, opened, shown_name

    if arguments.texts and arguments.input is not None:
        arguments.wrong_usage("--input and TEXT: expected one of the two")
    how = decoding.Decoding.of(arguments)
    choose_computing()
    answers = Answers(decoding.load(arguments.folder, arguments.ensemble), how, arguments.unknown, arguments.keep_going)
    if arguments.texts:
        for text in filter(_is_file, arguments.texts):
            print(f"fastattn: {text} is translated as a text; --input {shlex.quote(text)} reads the file", file=sys.stderr)
        answers.write(arguments.texts)
    else:
        if arguments.input in (None, STANDARD_INPUT) and sys.stdin.isatty():
            print("Type a line to translate; Ctrl-D ends.", file=sys.stderr)
        if arguments.input is None:
            answers.write_all(sys.stdin.buffer)
        else:
            with opened(arguments.input) as stream:
                answers.write_all(stream, shown_name(arguments.input), columns=True)
    answers.end()


class Answers:
    """Prints answers, a line for each text, and keeps count of what could not be read or was never seen."""

    def __init__(self, translator: "Translator", how: decoding.Decoding, unknown: str = "answer", keep_going: bool = False):
        self.translator = translator
        self.how = how
        self.unknown = unknown
        self.unknown_symbols = UnknownSymbols(translator)
        self.unknown_in_answers = UnknownSymbols(translator, partial(decoding.unknown_in_answer, translator), "answer")
        self.keep_going = keep_going
        self.done = self.bad = 0

    def write(self, texts: Sequence[Asked], place: str = "") -> None:
        """Prints a line for each text, or what ``how`` wants. place: what an error says before the number of the line."""
        from fastattn.training import SourceError

        asked = [self.read(text, f"{place}line {number}") for number, text in enumerate(texts, start=self.done + 1)]
        sources = [source for _, source in asked]
        try:
            answers = self.how.lines(self.translator, [given for given, _ in asked], sources, self.done, self.unknown)
        except SourceError as error:
            raise UserError(f"{place}line {self.done + error.index + 1}: {error}") from error
        self.unknown_symbols.count(sources)
        if self.how.given:
            self.unknown_in_answers.count(given["target"] for (given, source) in asked if source)
        self.done += len(texts)
        sys.stdout.write("".join(f"{line}\n" for line in answers))
        sys.stdout.flush()

    def write_all(self, stream: BinaryIO, name: str = "standard input", *, columns: bool = False) -> None:
        """Prints a line for each line of a stream. columns: whether it may be a file of pairs."""
        place = f"{name}, "
        reading = self.translator.reading
        of_columns = None if not columns else Pairs(reading) if self.how.given else Sources(reading)
        for lines in arriving_lines(stream, name, self.refuse if self.keep_going else None):
            texts: list[Asked] = []
            for number, line in enumerate(lines, start=self.done + 1):
                try:
                    texts.append(line if of_columns is None or self.how.is_json(line) else of_columns(line))
                except ValueError as error:
                    self.write(texts, place)
                    self.refuse(f"{place}line {number}: {error}", error)
                    texts = [""]
            self.write(texts, place)

    def read(self, text: Asked, place: str) -> tuple[dict[str, Any], str]:
        """What is asked, with a "source", and what is translated of it: that, or "" where there is to be no end of errors."""
        asked: dict[str, Any] = {"source": ""}
        try:
            asked = self.how.read(text) if isinstance(text, str) else text
            if self.keep_going:
                self.translator.check(asked["source"], unknown=self.unknown)
        except ValueError as error:
            self.refuse(f"{place}: {error}", error)
            return asked, ""
        return asked, asked["source"]

    def refuse(self, problem: str, cause: Exception) -> None:
        """UserError, or a line on standard error if that is to be no end."""
        if not self.keep_going:
            raise UserError(problem) from cause
        self.bad += 1
        print(f"fastattn: {problem}", file=sys.stderr)

    def end(self) -> None:
        """Says what there is to say. UserError if a line could not be translated."""
        from fastattn.data.words import counted

        self.unknown_symbols.say()
        self.unknown_in_answers.say()
        if self.bad:
            answers = "its answer is" if self.bad == 1 else "their answers are"
            raise UserError(f"{self.bad:,} of {counted(self.done, 'line')} could not be translated; {answers} empty")


class Sources:
    """A line of a file -> what is to be translated of it: "" of a comment and of a header."""

    def __init__(self, reading: "Reading"):
        self.reading = reading
        self.columns: Columns | None = None

    def __call__(self, line: str) -> str:
        """ValueError for a line or a header without the columns. One without separators is a source alone."""
        from fastattn.data.columns import Columns

        reading = self.reading
        if not line.strip() or (reading.comment is not None and line.startswith(reading.comment)):
            return ""
        if self.columns is not None:
            return self.columns.source(line)
        if not reading.header:
            self.columns = Columns(reading)
            return self.columns.source(line)
        if reading.separator not in line:
            return line
        try:
            self.columns = Columns(reading, line)
        except ValueError:
            if reading.has_features and line.count("\t") == 1:
                return line  # no header, but a source and its features
            raise
        return ""


class Pairs:
    """A line of a file -> an object with its source and its target: both are "" of a comment, a header and a blank line."""

    def __init__(self, reading: "Reading"):
        self.reading = reading
        self.columns: Columns | None = None

    def __call__(self, line: str) -> dict[str, Any]:
        """ValueError for a line or a header without the columns."""
        from fastattn.data.columns import Columns

        source = target = ""
        comment = self.reading.comment
        if line.strip() and not (comment is not None and line.startswith(comment)):
            if self.columns is not None or not self.reading.header:
                self.columns = self.columns or Columns(self.reading)
                source, target = self.columns.pair(line)
            else:
                self.columns = Columns(self.reading, line)
        return {"source": source, "target": target}


def _is_file(text: str) -> bool:
    """Whether there is a file of that name: a text may be none at all."""
    try:
        return os.path.isfile(text)
    except ValueError:
        return False


def arriving_lines(
    stream: BinaryIO, name: str = "standard input", refuse: Callable[[str, Exception], None] | None = None
) -> Iterator[list[str]]:
    """The lines of a stream in lists: as many as have come, and never fewer than one.

    Nothing is waited for while a whole line lies unanswered: whoever writes a line may read its answer before writing
    the next, and whoever writes a thousand at once has them translated in batches. UserError for a line that is not
    UTF-8, when the lines before it have been handed out; where there is a ``refuse`` it is told instead, and an empty line
    stands in the place of that one. UserError for a line that does not end, too.
    """
    from fastattn.data.pairs import LONGEST_LINE

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
                problem = f"{name}, line {number}: is not UTF-8"
                if refuse is not None:
                    refuse(problem, error)
                    texts.append("")
                    continue
                if texts:
                    yield texts
                raise UserError(problem) from error
        if texts:
            yield texts
        if len(rest) > LONGEST_LINE:
            raise UserError(f"{name}, line {number + 1}: is longer than {LONGEST_LINE:,} bytes; expected a text a line")
