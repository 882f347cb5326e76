"""Fonts for the labels of a picture: which of those that the machine has draw them."""

import functools
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fastattn.data.words import nearest

FONT_FILES = (".ttf", ".otf", ".ttc")
NORMAL_WEIGHT = 400
STYLES = ("bold", "italic", "oblique", "light", "black")
# It has a sign for every code point: that of a missing one.
LAST_RESORT = "last resort"
# Fonts for nearly all that there is; Noto's emoji are bitmaps. And what Unicode's names of East Asian signs begin with.
EAST_ASIAN = ("CJK ", "HIRAGANA ", "KATAKANA ", "HANGUL ", "IDEOGRAPHIC ", "BOPOMOFO ", "HALFWIDTH ", "FULLWIDTH ")
PACKAGES = {
    "letters": "Noto Sans (Debian: fonts-noto-core)",
    "east": "Noto Sans CJK (Debian: fonts-noto-cjk)",
    "signs": "Symbola (Debian: fonts-symbola)",
}


def seen(symbol: str) -> str:
    """A symbol as the label of a picture: what would not be seen by its numbers."""
    if symbol == " ":
        return "␣"
    # What of an argument is not UTF-8 comes as surrogates, which cannot be drawn.
    symbol = symbol.encode(errors="replace").decode()
    if any(character.isprintable() and not _is_joining(character) for character in symbol):
        return symbol
    return " ".join(f"U+{ord(character):04X}" for character in symbol)


def width(label: str) -> int:
    """About how many signs stand beside each other: marks, and what is joined to a sign, take no room."""
    joined = f" {label}"
    return sum(
        not _is_joining(character) and not unicodedata.category(character).startswith("M") and before != "\u200d"
        for before, character in zip(joined, label)
    )


def is_shaped(label: str) -> bool:
    """Whether more than a row of signs from left to right is to be drawn: what is written from right to left, marks that stand
    before their letter, letters that are joined.
    """
    return len(label) > 1 and any(
        unicodedata.bidirectional(character) in ("R", "AL")
        or unicodedata.category(character) == "Mc"
        or unicodedata.combining(character) == 9  # a virama, which joins two letters
        or character == "\u200d"
        for character in label
    )


def can_shape() -> bool:
    """Whether this matplotlib (3.11 or newer) does that."""
    from matplotlib import ft2font

    return hasattr(ft2font, "__libraqm_version__")


class FontError(ValueError):
    """A font that is none, or that no picture can be drawn with."""


class Fonts:
    """Finds the fonts for labels.

    given: a file or the name of a family, which comes before all others. FontError where there is no such font.
    """

    def __init__(self, given: str | None = None) -> None:
        from matplotlib import font_manager

        default = font_manager.FontProperties()
        self._default_families = default.get_family()
        self._first = [] if given is None else [_given(given)]
        self._default = font_manager.findfont(default)

    def families(self, labels: Iterable[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
        """What matplotlib takes as the families of each label, in the order in which it looks for a sign; and the characters
        that are missing of those labels that the fonts of this machine have not all signs for.

        Fonts are looked at, none twice, until there is one for each label.
        """
        found: dict[str, list[str]] = {}
        usual = [*self._first, self._default]
        waiting = []
        for label in dict.fromkeys(labels):
            best = next((font for font in usual if _has(font, label)), None)
            found[label] = self._listed([] if best is None else [best])
            if best is None:
                waiting.append(label)
        # Of a label that no font has as a whole each character may have one.
        of_character = {c: font for font in usual[::-1] for label in waiting for c in label if _has(font, c)}
        for font in _installed() if waiting else ():
            for label in waiting[:]:
                if _has(font, label):
                    found[label] = self._listed([font])
                    waiting.remove(label)
                else:
                    for character in label:
                        if character not in of_character and _has(font, character):
                            of_character[character] = font
            if not waiting:
                break
        for label in waiting:
            found[label] = self._listed([of_character[character] for character in label if character in of_character])
        missing = {label: "".join(c for c in label if c not in of_character) for label in waiting}
        return found, {label: characters for label, characters in missing.items() if characters}

    def _listed(self, fonts: Sequence[str]) -> list[str]:
        """The families of fonts, and of those that are usual behind them."""
        names = [self._default_families if font is self._default else [_alias(font)] for font in (*fonts, *self._first)]
        return list(dict.fromkeys([name for each in names for name in each] + self._default_families))


def advice(characters: str) -> str:
    """Which fonts have signs that no font of this machine has."""
    kinds = set()
    for character in characters:
        if unicodedata.name(character, "").startswith(EAST_ASIAN):
            kinds.add("east")
        elif unicodedata.category(character).startswith("S"):
            kinds.add("signs")
        else:
            kinds.add("letters")
    return ", ".join(text for kind, text in PACKAGES.items() if kind in kinds)


def _is_joining(character: str) -> bool:
    """Whether nothing is drawn for it: a joiner, a mark of direction, a selector of variants."""
    return (
        unicodedata.category(character) == "Cf"
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )


def _has(font: Any, text: str) -> bool:
    """Whether a font has a sign, and one that can be seen, for all of a text."""
    return all(_has_sign(font, character) for character in text if not character.isspace() and not _is_joining(character))


@functools.cache
def _has_sign(font: Any, character: str) -> bool:
    opened = _open(font)
    try:
        # Fonts of colours have empty outlines.
        return bool(opened.get_char_index(ord(character))) and any(opened.load_char(ord(character)).bbox)
    except RuntimeError:  # a damaged one
        return False


@functools.lru_cache(64)  # each holds an open file
def _open(font: Any) -> Any:
    from matplotlib.ft2font import FT2Font

    index = getattr(font, "face_index", 0)
    more: dict[str, Any] = {"face_index": index} if index else {}  # which only newer ones know, of collections
    return FT2Font(os.fspath(font), **more)


def _opens(font: Any) -> bool:
    """Whether it is a font with outlines: matplotlib draws no bitmaps."""
    try:
        return bool(_open(font).scalable)
    except (OSError, RuntimeError):
        return False


def _installed() -> Iterator[Any]:
    """All fonts of this machine that draw: of each family that matplotlib knows one, upright and of normal weight if it can be;
    then those that it does not know yet.
    """
    from matplotlib import font_manager

    def how_unlike(entry: Any) -> tuple[bool, float, bool]:
        weight = font_manager.weight_dict.get(entry.weight, entry.weight)
        return entry.style != "normal", abs(weight - NORMAL_WEIGHT), "Sans" not in entry.name

    families = set()
    for entry in sorted(_known(), key=how_unlike):
        if entry.name in families or entry.name.lower().startswith(LAST_RESORT):
            continue
        families.add(entry.name)
        index = getattr(entry, "index", 0)
        font = font_manager.FontPath(entry.fname, index) if index else entry.fname
        if _opens(font):
            yield font
    yield from _new()


def _known() -> list[Any]:
    """What matplotlib lists, but for the names that fonts were given here."""
    from matplotlib import font_manager

    return [entry for entry in font_manager.fontManager.ttflist if not entry.name.startswith(entry.fname)]


def _new() -> Iterator[Any]:
    """What was installed since matplotlib made its list, which it keeps on disk."""
    from matplotlib import font_manager

    def how_unlike(path: str) -> tuple[bool, str]:
        return any(style in Path(path).stem.lower() for style in STYLES), path

    files = {entry.fname for entry in _known()}
    new = (path for path in font_manager.findSystemFonts() if path not in files)
    yield from (path for path in sorted(new, key=how_unlike) if _opens(path))


def _alias(font: Any) -> str:
    """A family that is this font alone: several files may share a name."""
    from matplotlib import font_manager

    index = getattr(font, "face_index", 0)
    name = f"{os.fspath(font)} {index}"
    known = font_manager.fontManager.ttflist
    if not any(entry.name == name for entry in known):
        more: dict[str, Any] = {"index": index} if index else {}
        known.append(font_manager.FontEntry(fname=os.fspath(font), name=name, size="scalable", **more))
    return name


def _given(font: str) -> Any:
    """The font that a file or the name of a family is."""
    from matplotlib import font_manager

    if not font:
        raise FontError("'' is no font; expected a file, or a family that is installed")
    if Path(font).is_file() or Path(font).suffix.lower() in FONT_FILES or os.sep in font:
        if not Path(font).exists():
            raise FontError(f"{font}: No such file or directory")
        if not Path(font).is_file() or not _opens(font):  # a pipe would never end
            raise FontError(f"{font} is no font with outlines; expected a .ttf, .otf or .ttc file")
        return str(Path(font).resolve())
    properties = font_manager.FontProperties(family=[font])
    try:
        found = font_manager.findfont(properties, fallback_to_default=False)
    except ValueError as error:
        for file in _new():
            if _open(file).family_name == font:
                return file
        close = nearest(font, {entry.name for entry in font_manager.fontManager.ttflist})
        hint = "" if close is None else f"; did you mean {close}?"
        raise FontError(f"there is no font {font!r}; expected a file, or a family that is installed{hint}") from error
    if not _opens(found):
        raise FontError(f"{font!r} is no font with outlines")
    return found
