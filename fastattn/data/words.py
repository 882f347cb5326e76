"""How messages say numbers of things, symbols, and names that may have been meant."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from html import escape


def counted(count: int, noun: str) -> str:
    """As in "1 epoch", "2 epochs", "1,000 epochs"; the noun is one whose plural has an s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def shown(symbols: Iterable[str], most: int = 10) -> str:
    """Symbols as a message shows them; those that would not be seen by themselves by their numbers."""
    symbols = list(symbols)
    names = [
        repr(symbol)
        if symbol.isprintable() and not unicodedata.category(symbol[0]).startswith("M")
        else " ".join(f"U+{ord(character):04X}" for character in symbol)
        for symbol in symbols[:most]
    ]
    return ", ".join(names) + (f" and {len(symbols) - most} more" if len(symbols) > most else "")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of some names that ``name`` may have meant: the shortest that begins so, or else the likest."""
    names = list(known)
    close = sorted((n for n in names if n.startswith(name)), key=len) or difflib.get_close_matches(name, names, n=1)
    return close[0] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known."""
    names = list(known)
    close = nearest(name, names)
    return f"; expected one of {', '.join(names)}" if close is None else f"; did you mean {close}?"


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as a notebook shows it. head: the names of its columns; none: no line of names."""
    begin = f"<thead>{_html_row(head, 'th')}</thead>" if head else ""
    return f"<table>{begin}<tbody>{''.join(_html_row(row, 'td') for row in rows)}</tbody></table>"


def _html_row(texts: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(text)}</{tag}>' for text in texts)}</tr>"
