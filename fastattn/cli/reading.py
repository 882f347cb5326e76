"""What sub-commands that use a model share about the text that they read: columns, and symbols that the model never saw."""

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from .common import UserError

if TYPE_CHECKING:
    from fastattn.data import Reading
    from fastattn.training import Translator

# The rest of a reading is a file's: normalisation belongs to the model and cannot be changed afterwards.
OF_THE_MODEL = ("normalization",)


def column(text: str) -> int | str:
    """A type for argparse: a number from 1, or a name."""
    return int(text) if text.isascii() and text.isdecimal() else text


def separator(text: str) -> str:
    r"""A type for argparse: a text in which \t is a tab."""
    return text.replace(r"\t", "\t")


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Adds an option for each field of `Reading` that is a file's; what is not given is as in the model's training."""
    from fastattn.data import Reading

    group = parser.add_argument_group("layout of the file", "as that of the pairs that the model was trained on, unless given")
    for field in fields(Reading):
        if field.name in OF_THE_MODEL:
            continue
        name, text = f"--{field.name.replace('_', '-')}", field.metadata["help"].replace("%", "%%")
        if isinstance(field.default, bool):
            group.add_argument(name, action=argparse.BooleanOptionalAction, help=text)
        else:
            read = column if name.endswith("-column") else separator
            group.add_argument(name, type=read, metavar="C" if read is column else "S", help=text)


def chosen_reading(arguments: argparse.Namespace, kept: "Reading", *, of_model: bool = True) -> "Reading":
    """A reading, the model's unless `of_model` is False, with what was given in its place. UserError for what does not
    go together.
    """
    names = [field.name for field in fields(kept) if field.name not in OF_THE_MODEL]
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if of_model and "features_column" in given and not kept.has_features:
        raise UserError("--features-column: the model was trained without features")
    try:
        return replace(kept, **given)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


def add_unknown(parser: argparse.ArgumentParser) -> None:
    """Adds --unknown."""
    from fastattn.data import UNKNOWN_CHOICES

    parser.add_argument(
        "--unknown",
        choices=UNKNOWN_CHOICES,
        default="answer",
        help="what becomes of a source with symbols that the model never saw: answered like any other, answered with "
        "nothing or with itself, or an error (default: %(default)s)",
    )


class UnknownSymbols:
    """Counts the sources that have symbols which a model never saw.

    symbols_of: the symbols of a text that it never saw, where they are not those of a source; what: the word for such a text.
    """

    def __init__(
        self, translator: "Translator", symbols_of: Callable[[str], list[str]] | None = None, what: str = "source"
    ) -> None:
        self.symbols_of = symbols_of or translator.unknown_symbols
        self.what = what
        self.all = self.sources = 0
        self.symbols: dict[str, None] = {}

    def count(self, texts: Iterable[str]) -> None:
        for text in texts:
            symbols = self.symbols_of(text)
            self.all += 1
            self.sources += bool(symbols)
            self.symbols.update(dict.fromkeys(symbols))

    def say(self) -> None:
        """A line on standard error, if there are some."""
        from fastattn.data.words import counted, shown

        if self.sources:
            of_all = f"{self.sources:,} of {counted(self.all, self.what)} {'has' if self.sources == 1 else 'have'}"
            said = f"{of_all} symbols that the model never saw: {shown(self.symbols)}"
            print(f"fastattn: {said}", file=sys.stderr)
