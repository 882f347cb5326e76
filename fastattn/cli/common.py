"""What the sub-commands share: errors that the user can mend, arguments checked as they are read, the version."""

import argparse
import importlib.metadata
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class UserError(Exception):
    """Something that the user can mend: one line on standard error, and exit code 1."""


class Terminated(BaseException):
    """SIGTERM came."""


class Parser(argparse.ArgumentParser):
    """Takes no abbreviations; an option that it does not know is its own wrong usage, which names the nearest one.

    add_later: a function that adds the arguments of a sub-command when they are needed, so that the other sub-commands
    need not import what they are made of.
    """

    def __init__(self, *arguments: Any, add_later: Callable[["Parser"], None] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False, **options})
        self._add_later = add_later
        self.allows_between = False
        self._is_parsing = False

    def _add_now(self) -> None:
        add, self._add_later = self._add_later, None
        if add is not None:
            add(self)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse does it, but nothing may be left over, and an unknown option is said before what is missing."""
        if self._is_parsing:  # by the way that allows options in between, which takes this one twice
            return super().parse_known_args(args, namespace)
        self._add_now()
        self._refuse_unknown_options(sys.argv[1:] if args is None else args)
        self._is_parsing = True
        try:
            parse = self.parse_known_intermixed_args if self.allows_between else super().parse_known_args
            parsed, rest = parse(args, namespace)
        finally:
            self._is_parsing = False
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return parsed, rest

    def _refuse_unknown_options(self, arguments: Sequence[str]) -> None:
        for argument in arguments:
            if argument == "--" or (self._subparsers is not None and not argument.startswith("-")):
                break  # what follows is text, or a sub-command's
            name = argument.partition("=")[0]
            if name.startswith("--") and " " not in argument and name not in self._option_string_actions:
                self.error(f"there is no option {name}{self._nearest(name)}")

    def _nearest(self, name: str) -> str:
        from fastattn.data.words import nearest

        close = nearest(name, self._option_string_actions)
        return "" if close is None else f"; did you mean {close}?"

    def format_usage(self) -> str:
        """The usage, of all arguments."""
        self._add_now()
        return super().format_usage()

    def format_help(self) -> str:
        """The help, of all arguments."""
        self._add_now()
        return super().format_help()


def version() -> str:
    """Of the installed package."""
    try:
        return importlib.metadata.version("fastattn")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """A type for argparse: a whole number of at least ``low``, and at most ``high`` if that is given."""
    expected = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or int(text) < low or (high is not None and int(text) > high):
            raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
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


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def allow_between(parser: argparse.ArgumentParser) -> None:
    """Lets options stand between DIR and what follows it, of which argparse otherwise takes none after an option."""
    assert isinstance(parser, Parser)
    parser.allows_between = True


def choose_computing(backend_name: str | None = None, threads: int | None = None) -> None:
    """The kernel set and the threads: as given, else from the environment. UserError if that holds nonsense."""
    from fastattn import backend

    try:
        backend.set_backend(backend_name or backend.get_backend())
        backend.set_num_threads(threads or backend.get_num_threads())
    except ValueError as error:
        raise UserError(str(error)) from error


@contextmanager
def warnings_in_a_line(category: type[Warning]) -> Iterator[None]:
    """Warnings are lines on standard error, without the place in the code: all of this kind, the others as usual."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        print(f"fastattn: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield


@contextmanager
def compiling_in_a_line(*, has_bar: bool = True) -> Iterator[None]:
    """That kernels compile is a line on standard error, once. has_bar: whether in a terminal a bar says it."""
    from fastattn import backend
    from fastattn.training.display import compiling_words

    said = has_bar and sys.stderr.isatty()

    def tell(count: int) -> None:
        nonlocal said
        if not said:
            said = True
            print(f"fastattn: {compiling_words()}", file=sys.stderr, flush=True)

    with backend.compilation.told(tell):
        yield
