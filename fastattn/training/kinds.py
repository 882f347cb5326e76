"""The kinds of settings: what a value may be, how it is read from a command line, and how it stands in TOML.

Each kind has ``expected``, the values that it takes, in words; ``check``, a value from Python or TOML -> as it is kept;
``parse``, a word of a command line -> the same; ``toml``, a kept value -> as it is written. ``check`` and ``parse`` raise
ValueError for anything else; whoever calls them knows the name of the setting.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fastattn.models.config import DropoutRatios


class Kind(Protocol):
    """What all kinds have."""

    @property
    def expected(self) -> str:
        """The values that it takes, in words."""

    def check(self, value: Any) -> Any:
        """A value from Python or TOML, as it is kept."""

    def parse(self, text: str) -> Any:
        """A word of a command line, as it is kept."""

    def toml(self, value: Any) -> str:
        """A kept value, as TOML has it."""


@dataclass(frozen=True)
class Whole:
    """A whole number of at least ``low``. ``instead``: the word for None, where that is one of the values."""

    low: int
    instead: str | None = None

    @property
    def expected(self) -> str:
        return f"a whole number of at least {self.low}{_or(self.instead)}"

    def check(self, value: Any) -> int | None:
        if _is_none(value, self.instead):
            return None
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < self.low:
            raise ValueError
        return int(value)

    def parse(self, text: str) -> int | None:
        return self.check(int(text) if text.isascii() and text.isdecimal() else text)

    def toml(self, value: int | None) -> str:
        return _quoted(self.instead or "") if value is None else str(value)


@dataclass(frozen=True)
class Number:
    """A number above ``low``, or with ``reaches`` of at least that, and less than ``high``."""

    low: float = 0.0
    high: float = math.inf
    reaches: bool = False
    instead: str | None = None

    @property
    def expected(self) -> str:
        words = f"a number of at least {self.low:g}" if self.reaches else f"a number above {self.low:g}"
        if self.low == -math.inf:
            words = "a finite number"
        return f"{words}{f' and less than {self.high:g}' if self.high < math.inf else ''}{_or(self.instead)}"

    def check(self, value: Any) -> float | None:
        if _is_none(value, self.instead):
            return None
        return _number(value, self.low, self.high, self.reaches)

    def parse(self, text: str) -> float | None:
        return self.check(_float(text))

    def toml(self, value: float | None) -> str:
        return _quoted(self.instead or "") if value is None else repr(value)


@dataclass(frozen=True)
class Often:
    """So many steps, a whole number, or so many minutes, a number with an m behind it, as in "10m"; None is the word "none"."""

    expected: str = 'a whole number of steps, minutes as in "10m", or "none"'

    def check(self, value: Any) -> int | str | None:
        if value is None or (isinstance(value, str) and value == "none"):
            return None
        if isinstance(value, str):
            return f"{_number(_float(value.removesuffix('m')), 0, math.inf, False):g}m" if value.endswith("m") else _refused()
        return Whole(1).check(value)

    def parse(self, text: str) -> int | str | None:
        return self.check(int(text) if text.isascii() and text.isdecimal() else text)

    def toml(self, value: int | str | None) -> str:
        return str(value) if isinstance(value, int) else _quoted(value or "none")


@dataclass(frozen=True)
class Choice:
    """One of some words. None is the word "none", where that is one of them."""

    names: tuple[str, ...]

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.names)}"

    def check(self, value: Any) -> str:
        if value is None:
            value = "none"
        if not isinstance(value, str) or value not in self.names:
            raise ValueError
        return value

    def parse(self, text: str) -> str:
        return self.check(text)

    def toml(self, value: str) -> str:
        return _quoted(value)


@dataclass(frozen=True)
class Switch:
    """True or False."""

    expected: str = "true or false"

    def check(self, value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise ValueError
        return bool(value)

    def parse(self, text: str) -> bool:
        return self.check({"true": True, "false": False}.get(text))

    def toml(self, value: bool) -> str:
        return "true" if value else "false"


@dataclass(frozen=True)
class Text:
    r"""Some text; ``optional``: or none, which TOML has as an empty string. ``tabs``: on a command line \t is a tab.

    ``path``: it names a file or a folder.
    """

    optional: bool = False
    tabs: bool = False
    path: bool = False

    @property
    def expected(self) -> str:
        if self.path:
            return 'a path, or "" for none' if self.optional else "a path"
        return 'a text, or "" for none' if self.optional else "a text that is not empty"

    def check(self, value: Any) -> str | None:
        if self.optional and value in (None, ""):
            return None
        if self.path and isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str) or not value or (self.path and "\0" in value):
            raise ValueError
        return value

    def parse(self, text: str) -> str | None:
        return self.check(text.replace(r"\t", "\t") if self.tabs else text)

    def toml(self, value: str | None) -> str:
        return _quoted(value or "")


@dataclass(frozen=True)
class Column:
    """A column of a file: its number, from 1, or the name that a header gives it; ``optional``: or none."""

    optional: bool = False

    @property
    def expected(self) -> str:
        return "a column's number, from 1, or its name in the header" + (', or "" for none' if self.optional else "")

    def check(self, value: Any) -> int | str | None:
        return Text(self.optional).check(value) if isinstance(value, str) or value is None else Whole(1).check(value)

    def parse(self, text: str) -> int | str | None:
        return self.check(int(text) if text.isascii() and text.isdecimal() else text)

    def toml(self, value: int | str | None) -> str:
        return str(value) if isinstance(value, int) else _quoted(value or "")


@dataclass(frozen=True)
class Dropout:
    """A ratio for the places that `ModelConfig` means by one, or ratios by place, kept as `DropoutRatios`."""

    @property
    def expected(self) -> str:
        return f"a number of at least 0 and less than 1, or such numbers by place ({', '.join(DropoutRatios._fields)})"

    def check(self, value: Any) -> float | DropoutRatios:
        if isinstance(value, DropoutRatios):
            value = value._asdict()
        if not isinstance(value, Mapping):
            return _number(value, 0, 1, True)
        if not value.keys() <= set(DropoutRatios._fields):
            raise ValueError
        return DropoutRatios(**{place: _number(ratio, 0, 1, True) for place, ratio in value.items()})

    def parse(self, text: str) -> float | DropoutRatios:
        if "=" not in text:
            return self.check(_float(text))
        given = [part.partition("=")[::2] for part in text.split(",")]
        places = {place.strip(): _float(ratio) for place, ratio in given}
        if len(places) < len(given):
            raise ValueError
        return self.check(places)

    def toml(self, value: float | DropoutRatios) -> str:
        if not isinstance(value, DropoutRatios):
            return repr(value)
        return f"{{ {', '.join(f'{place} = {ratio!r}' for place, ratio in value._asdict().items() if ratio)} }}"


def _or(instead: str | None) -> str:
    return "" if instead is None else f', or "{instead}"'


def _refused() -> Any:
    raise ValueError


def _is_none(value: Any, instead: str | None) -> bool:
    return instead is not None and (value is None or (isinstance(value, str) and value == instead))


def _float(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _number(value: Any, low: float, high: float, reaches: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ValueError
    try:
        number = float(value)
    except OverflowError:  # a whole number of any size
        raise ValueError from None
    if not ((low <= number if reaches else low < number) and number < high):
        raise ValueError
    return number


def _quoted(text: str) -> str:
    """A basic string of TOML, which has JSON's escapes. What of a file's name is not UTF-8 no TOML can hold."""
    return json.dumps(re.sub("[\ud800-\udfff]", "\ufffd", text), ensure_ascii=False).replace("\x7f", "\\u007f")
