"""What the sub-commands share: errors that the user can mend, arguments checked as they are read, the version."""

import argparse
import importlib.metadata
from collections.abc import Callable
from typing import Any


class UserError(Exception):
    """Something that the user can mend: one line on standard error, and exit code 1."""


class Terminated(BaseException):
    """SIGTERM came."""


def version() -> str:
    """Of the installed package."""
    try:
        return importlib.metadata.version("fastattn")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def whole_number(low: int) -> Callable[[str], int]:
    """A type for argparse: a whole number of at least ``low``."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {low}")
        return int(text)

    return parse


def positive_number(text: str) -> float:
    """A type for argparse."""
    number = _number(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def at_least_zero(text: str) -> float:
    """A type for argparse."""
    number = _number(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return number


def fraction(text: str) -> float:
    """A type for argparse: 0 <= X < 1."""
    number = _number(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0 and less than 1")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def allow_between(parser: argparse.ArgumentParser) -> None:
    """Lets options stand between DIR and what follows it, of which argparse otherwise takes none after an option."""
    plain = parser.parse_known_args

    def between(*arguments: Any) -> Any:
        # The way that takes them calls the plain one.
        parser.parse_known_args = plain  # type: ignore[method-assign]
        try:
            return parser.parse_known_intermixed_args(*arguments)
        finally:
            parser.parse_known_args = between  # type: ignore[assignment,method-assign]

    parser.parse_known_args = between  # type: ignore[assignment,method-assign]


def choose_computing(backend_name: str | None = None, threads: int | None = None) -> None:
    """The kernel set and the threads: as given, else from the environment. UserError if that holds nonsense."""
    from fastattn import backend

    try:
        backend.set_backend(backend_name or backend.get_backend())
        backend.set_num_threads(threads or backend.get_num_threads())
    except ValueError as error:
        raise UserError(str(error)) from error
