"""A file that could not be read as it was asked: the options that would read it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fastattn.data.columns import VARIANT, Columns
from fastattn.data.reading import PLAIN, Reading

# In the order in which they are tried.
SEPARATORS = (" ||| ", "  ", ";", ",", "|")
COMMENTS = (";;;", "#", "//", "%")

# How many lines at the beginning of a file are looked at.
LINES = 1000


def hint(lines: Sequence[str], reading: Reading) -> str | None:
    """What options read the beginning of a file, in the words of the command line; None if none of ours do.

    lines: of the file, from its beginning, the line that could not be read among them. An option is only named if
    every line can be read with it.
    """
    lines = [line for line in lines if line.strip()]
    for other in _others(reading):
        sources = _sources(lines, other)
        if sources:
            if not reading.variants and any(map(VARIANT.search, sources)):
                other = replace(other, variants=True)
            options = [
                f"--{name} {shlex.quote(getattr(other, name))}"
                for name in ("separator", "comment")
                if getattr(other, name) != getattr(reading, name)
            ]
            options += ["--variants"] * (other.variants != reading.variants)
            return f"{' '.join(options)} would read the file".replace("\t", r"\t")
    counts = {line.count(reading.separator) + 1 for line in lines}
    if reading == PLAIN and len(counts) == 1 and max(counts) > 2:
        return (
            f"of {max(counts)} columns --source-column, --target-column and --features-column choose; "
            "--header says that the first line is names, --extra-columns passes over the rest"
        )
    return None


def _others(reading: Reading) -> Iterator[Reading]:
    """Readings that differ from this one in a comment that was not given, in the separator, or in both.

    In the place of a separator other than a tab, which was given now or for the pairs of a training, a tab alone is tried.
    """
    separators = SEPARATORS if reading.separator == PLAIN.separator else (PLAIN.separator,)
    comments = COMMENTS if reading.comment is None else ()
    yield from (replace(reading, comment=comment) for comment in comments)
    yield from (replace(reading, separator=separator) for separator in separators)
    yield from (replace(reading, separator=s, comment=comment) for s in separators for comment in comments)


def _sources(lines: Sequence[str], reading: Reading) -> list[str]:
    """The sources of all pairs in the lines; none if a line cannot be read, or if nothing is read in a new way."""
    lines = [line for line in lines if reading.comment is None or not line.startswith(reading.comment)]
    if not lines:
        return []
    try:
        columns = Columns(reading, lines.pop(0) if reading.header else None)
        return [columns.pair(line)[0] for line in lines]
    except ValueError:
        return []
