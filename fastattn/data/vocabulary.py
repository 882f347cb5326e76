"""Symbols of text <-> token ids."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np

from fastattn.data.extras import require
from fastattn.data.reading import TAB, split_features

TokenKind = Literal["char", "space", "grapheme"]
TOKEN_KINDS = ("char", "space", "grapheme")

# What becomes of a source with symbols that the model never saw: it is answered like any other, answered with nothing or with
# itself, or an error.
UNKNOWN_CHOICES = ("answer", "empty", "copy", "fail")

PADDING, START, END, UNKNOWN = range(4)
SPECIAL = ("padding", "start", "end", "unknown")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # how the unknown symbol is shown


class Vocabulary:
    """The symbols of one side of a corpus, numbered: padding 0, start 1, end 2, unknown 3, then the text's symbols.

    The four special symbols are ids and nothing else. No text is ever parsed for them, so a text that contains
    "start" or "<eos>" is text like any other.

    `token_kind` says what a symbol is:

    - "char": a code point. The text is left as it is: no Unicode normalisation, no change of case; a letter and its
      combining accent are two symbols, tabs and spaces are symbols. `decode(encode(text)) == text` for known symbols,
      exactly. Whoever has a letter both composed and decomposed in a corpus should normalise it beforehand.
    - "space": what stands between runs of whitespace. `decode` puts one space between two symbols.
    - "grapheme": an extended grapheme cluster (Unicode Standard Annex 29, section 3), what a reader takes for one
      character: a letter with its marks, a joined emoji, CRLF. The text is left as it is, as for "char". It needs the
      package `regex`; its version says which version of Unicode.

    A vocabulary with `features` has these besides, after the text's symbols. They are what stands after tabs in a
    source (see `Reading.with_features`), so that no text can spell one: the letter V and the feature V are two symbols.
    They are encoded before the text's symbols, as Kann and Schütze 2016 have them.

    The symbols are sorted by code point, not by frequency: the ids then depend only on which symbols occur, not
    on how often or in what order, and nothing in the model gains from frequent symbols having small ids.
    """

    def __init__(self, symbols: Iterable[str], token_kind: TokenKind = "char", features: Iterable[str] | None = None) -> None:
        """`symbols`, then `features`, in the order of their ids; the first has id 4. features: None for a vocabulary
        of text alone, to which a tab is a character.

        Raises TypeError or ValueError for a bad one, MissingExtraError where the kind needs a package.
        """
        if token_kind not in TOKEN_KINDS:
            raise ValueError(f"token_kind must be 'char', 'space' or 'grapheme', got {token_kind!r}")
        self.token_kind: TokenKind = token_kind
        self._split = _splitter(token_kind)
        self.symbols: tuple[str, ...] = tuple(symbols)
        self.features: tuple[str, ...] | None = None if features is None else tuple(features)
        for symbol in self.symbols:
            if not isinstance(symbol, str):
                raise TypeError(f"a symbol must be a str, got {symbol!r}")
            if token_kind == "char" and len(symbol) != 1:
                raise ValueError(f"a symbol of kind 'char' is one character, got {symbol!r}")
            if token_kind == "space" and symbol.split() != [symbol]:
                raise ValueError(f"a symbol of kind 'space' is not empty and holds no whitespace, got {symbol!r}")
            # Not that it is one cluster: that changes with the version of Unicode.
            if token_kind == "grapheme" and not symbol:
                raise ValueError("a symbol of kind 'grapheme' is not empty, got ''")
        for feature in self.features or ():
            if not isinstance(feature, str):
                raise TypeError(f"a feature must be a str, got {feature!r}")
            if not feature.strip() or TAB in feature:
                raise ValueError(f"a feature is not blank and holds no tab, got {feature!r}")
        self._id_of = _numbered("symbol", self.symbols, len(SPECIAL))
        self._id_of_feature = _numbered("feature", self.features or (), len(SPECIAL) + len(self.symbols))

    @classmethod
    def from_texts(cls, texts: Iterable[str], token_kind: TokenKind = "char", *, features: bool = False) -> Vocabulary:
        """The vocabulary of all symbols in `texts`; with `features`, of those after a text's tabs, too."""
        split = _splitter(token_kind)
        if not features:
            return cls(sorted({symbol for text in texts for symbol in split(text)}), token_kind)
        symbols, names = set[str](), set[str]()
        for source in texts:
            text, of_source = split_features(source)
            symbols.update(split(text))
            names.update(of_source)
        return cls(sorted(symbols), token_kind, sorted(names))

    def __len__(self) -> int:
        """V: the special symbols count."""
        return len(SPECIAL) + len(self._id_of) + len(self._id_of_feature)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        mine, others = (v.features for v in (self, other))
        return self.token_kind == other.token_kind and self.symbols == other.symbols and mine == others

    def __repr__(self) -> str:
        features = "" if self.features is None else f", {len(self.features)} of them features"
        return f"<Vocabulary of {len(self)} symbols{features}, token_kind={self.token_kind!r}>"

    def tokenize(self, text: str) -> list[str]:
        """The symbols of `text`, known or not, features before the others; an empty text has none."""
        if self.features is None:
            return self._split(text)
        text, features = split_features(text)
        return [*features, *self._split(text)]

    def unknown(self, text: str) -> list[str]:
        """The symbols of `text` that are not in the vocabulary, none twice, in the order of `tokenize`."""
        if UNKNOWN not in (ids := self.encode(text)):
            return []
        return list(dict.fromkeys(symbol for symbol, number in zip(self.tokenize(text), ids) if number == UNKNOWN))

    def encode(self, text: str, *, start: bool = False, end: bool = False) -> list[int]:
        """The ids of `text`, `UNKNOWN` for a symbol not in the vocabulary; with start and end symbols if wanted."""
        ids = []
        if self.features is not None:
            text, features = split_features(text)
            ids = [self._id_of_feature.get(feature, UNKNOWN) for feature in features]
        ids += [self._id_of.get(symbol, UNKNOWN) for symbol in self._split(text)]
        return [START] * start + ids + [END] * end

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of `ids` (T,), up to the first end symbol if there is one. Start and padding are left out;
        an unknown symbol is shown as U+FFFD. Features follow the text, each after a tab.

        Raises IndexError for an id outside 0 .. V-1, TypeError for an id that is no integer.
        """
        symbols, features = [], []
        for element in ids:
            number = operator.index(element)
            if not 0 <= number < len(self):
                raise IndexError(f"token id {number} is outside 0..{len(self) - 1}")
            if number == END:
                break
            if number == UNKNOWN:
                symbols.append(REPLACEMENT)
            elif number >= len(SPECIAL):
                number -= len(SPECIAL)
                if number < len(self.symbols):
                    symbols.append(self.symbols[number])
                elif self.features is not None:
                    features.append(self.features[number - len(self.symbols)])
        return TAB.join([(" " if self.token_kind == "space" else "").join(symbols), *features])

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads, of JSON's types. An id is the position in `special`, `symbols` and `features` together;
        a vocabulary of text alone has no "features"."""
        content = {"token_kind": self.token_kind, "special": list(SPECIAL), "symbols": list(self.symbols)}
        return content if self.features is None else {**content, "features": list(self.features)}

    @classmethod
    def from_json(cls, content: object) -> Vocabulary:
        """The vocabulary that `to_json` gave. Raises ValueError, saying what is wrong, for anything else."""
        if not isinstance(content, Mapping):
            raise ValueError(f"a vocabulary must be a JSON object, got {type(content).__name__}")
        for key in ("token_kind", "special", "symbols"):
            if key not in content:
                raise ValueError(f"the vocabulary has no {key!r}")
        if content["special"] != list(SPECIAL):
            raise ValueError(f"the vocabulary's 'special' must be {list(SPECIAL)}, got {content['special']!r}")
        for key in ("symbols", "features"):
            if key in content and not isinstance(content[key], list):
                raise ValueError(f"the vocabulary's {key!r} must be a list, got {type(content[key]).__name__}")
        try:
            return cls(content["symbols"], cast(TokenKind, content["token_kind"]), content.get("features"))
        except TypeError as error:
            raise ValueError(str(error)) from error


def _splitter(token_kind: TokenKind) -> Callable[[str], list[str]]:
    """A text -> its symbols."""
    if token_kind == "grapheme":
        return require("regex", "grapheme", "the token kind 'grapheme'").compile(r"\X").findall
    return list if token_kind == "char" else str.split


def _numbered(name: str, symbols: Sequence[str], start: int) -> dict[str, int]:
    """Each symbol -> its id. Raises ValueError for one that stands there twice or is no Unicode."""
    for symbol in symbols:
        if any("\ud800" <= character <= "\udfff" for character in symbol):
            raise ValueError(f"a {name} must be valid Unicode, got the lone surrogate in {symbol!r}")
    id_of = {symbol: number for number, symbol in enumerate(symbols, start=start)}
    if len(id_of) != len(symbols):
        repeated = next(s for n, s in enumerate(symbols) if s in symbols[:n])
        raise ValueError(f"the {name} {repeated!r} stands more than once in the vocabulary")
    return id_of
