"""Symbols of text <-> token ids."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

import numpy as np

TokenKind = Literal["char", "space"]
TOKEN_KINDS = ("char", "space")

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

    The symbols are sorted by code point, not by frequency: the ids then depend only on which symbols occur, not
    on how often or in what order, and nothing in the model gains from frequent symbols having small ids.
    """

    def __init__(self, symbols: Iterable[str], token_kind: TokenKind = "char") -> None:
        """`symbols` in the order of their ids; the first has id 4. Raises TypeError or ValueError for a bad one."""
        if token_kind not in TOKEN_KINDS:
            raise ValueError(f"token_kind must be 'char' or 'space', got {token_kind!r}")
        self.token_kind: TokenKind = token_kind
        self.symbols: tuple[str, ...] = tuple(symbols)
        for symbol in self.symbols:
            if not isinstance(symbol, str):
                raise TypeError(f"a symbol must be a str, got {symbol!r}")
            if token_kind == "char" and len(symbol) != 1:
                raise ValueError(f"a symbol of kind 'char' is one character, got {symbol!r}")
            if token_kind == "space" and symbol.split() != [symbol]:
                raise ValueError(f"a symbol of kind 'space' is not empty and holds no whitespace, got {symbol!r}")
            if any("\ud800" <= character <= "\udfff" for character in symbol):
                raise ValueError(f"a symbol must be valid Unicode, got the lone surrogate in {symbol!r}")
        self._id_of = {symbol: number for number, symbol in enumerate(self.symbols, start=len(SPECIAL))}
        if len(self._id_of) != len(self.symbols):
            repeated = next(s for n, s in enumerate(self.symbols) if s in self.symbols[:n])
            raise ValueError(f"the symbol {repeated!r} stands more than once in the vocabulary")

    @classmethod
    def from_texts(cls, texts: Iterable[str], token_kind: TokenKind = "char") -> Vocabulary:
        """The vocabulary of all symbols in `texts`."""
        empty = cls((), token_kind)
        return cls(sorted({symbol for text in texts for symbol in empty.tokenize(text)}), token_kind)

    def __len__(self) -> int:
        """V: the special symbols count."""
        return len(SPECIAL) + len(self.symbols)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.token_kind == other.token_kind and self.symbols == other.symbols

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self)} symbols, token_kind={self.token_kind!r}>"

    def tokenize(self, text: str) -> list[str]:
        """The symbols of `text`, known or not; an empty text has none."""
        return list(text) if self.token_kind == "char" else text.split()

    def encode(self, text: str, *, start: bool = False, end: bool = False) -> list[int]:
        """The ids of `text`, `UNKNOWN` for a symbol not in the vocabulary; with start and end symbols if wanted."""
        ids = [self._id_of.get(symbol, UNKNOWN) for symbol in self.tokenize(text)]
        return [START] * start + ids + [END] * end

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of `ids` (T,), up to the first end symbol if there is one. Start and padding are left out;
        an unknown symbol is shown as U+FFFD.

        Raises IndexError for an id outside 0 .. V-1, TypeError for an id that is no integer.
        """
        symbols = []
        for element in ids:
            number = operator.index(element)
            if not 0 <= number < len(self):
                raise IndexError(f"token id {number} is outside 0..{len(self) - 1}")
            if number == END:
                break
            if number == UNKNOWN:
                symbols.append(REPLACEMENT)
            elif number >= len(SPECIAL):
                symbols.append(self.symbols[number - len(SPECIAL)])
        return ("" if self.token_kind == "char" else " ").join(symbols)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads, of JSON's types. An id is the position in `special` followed by `symbols`."""
        return {"token_kind": self.token_kind, "special": list(SPECIAL), "symbols": list(self.symbols)}

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
        if not isinstance(content["symbols"], list):
            raise ValueError(f"the vocabulary's 'symbols' must be a list, got {type(content['symbols']).__name__}")
        try:
            return cls(content["symbols"], cast(TokenKind, content["token_kind"]))
        except TypeError as error:
            raise ValueError(str(error)) from error
