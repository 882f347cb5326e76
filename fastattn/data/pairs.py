"""Pairs of text in a file: one pair a line, `source<TAB>target`, UTF-8."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fastattn.data.files import atomic_write
from fastattn.data.seeded import Seeded

Pair = tuple[str, str]


class PairsError(ValueError):
    """A file of pairs that cannot be used: "FILE:LINE: reason", or "FILE: reason" where no line is to blame."""

    def __init__(self, path: str | os.PathLike[str], line: int | None, reason: str) -> None:
        place = os.fspath(path) if line is None else f"{os.fspath(path)}:{line}"
        super().__init__(f"{place}: {reason}")
        self.path, self.line, self.reason = path, line, reason


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """The lines of a file of text, without their ends, each with its number, from 1.

    Lines end with LF, CRLF or CR, the last one may do without; a byte order mark at the beginning is dropped. Other
    characters that Unicode calls line ends (U+2028, U+0085, form feed, ...) are text.

    Raises PairsError for a file that cannot be read, is empty or is not UTF-8.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise PairsError(path, None, f"cannot be read: {error.strerror or error}") from error
    # On bytes, unlike on str, splitlines knows no line ends but LF, CRLF and CR.
    lines = content.removeprefix(codecs.BOM_UTF8).splitlines()
    if not lines:
        raise PairsError(path, None, "is empty; expected a pair a line")
    for number, line in enumerate(lines, start=1):
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            found = f"byte {error.start + 1} of the line is 0x{line[error.start]:02x}"
            raise PairsError(path, number, f"is not UTF-8: {found}") from error


def read_pairs(path: str | os.PathLike[str]) -> list[Pair]:
    """The pairs (source, target) of a file, in its order, the texts exactly as they stand there.

    Raises PairsError as `read_lines` does, and for a line without exactly one tab or with a blank side.
    """
    pairs = []
    for number, line in read_lines(path):
        sides = line.split("\t")
        problem = _problem(sides)
        if problem:
            raise PairsError(path, number, problem)
        pairs.append((sides[0], sides[1]))
    return pairs


def _problem(sides: Sequence[str]) -> str | None:
    """What is wrong with the fields of a line, if anything."""
    if len(sides) < 2:
        return "no tab; expected source<TAB>target"
    if len(sides) > 2:
        return f"{len(sides) - 1} tabs; expected source<TAB>target"
    for name, text in zip(("source", "target"), sides):
        if not text.strip():
            return f"the {name} is empty"
    return None


def write_pairs(path: str | os.PathLike[str], pairs: Iterable[Pair]) -> None:
    """Write `pairs` so that `read_pairs` gives them back; an error or an interruption leaves what was there before.

    Raises ValueError for no pairs at all and for a text that is blank or holds a tab or a line end, OSError as
    `open` does.
    """
    lines = []
    for number, (source, target) in enumerate(pairs, start=1):
        for name, text in (("source", source), ("target", target)):
            if not text.strip():
                raise ValueError(f"pair {number}: the {name} is empty")
            if any(mark in text for mark in "\t\n\r"):
                raise ValueError(f"pair {number}: the {name} holds a tab or a line end: {text!r}")
        lines.append(f"{source}\t{target}\n")
    if not lines:
        raise ValueError("no pairs to write")
    atomic_write(path, "".join(lines))


def split_pairs(pairs: Sequence[Pair], valid_fraction: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Cut `pairs` into (train, valid), both in the order of `pairs`, with no source text in both.

    `valid_fraction` of the different sources, rounded but at least one and not all, are drawn for `valid`, each
    with all its pairs. The same pairs, fraction and seed give the same parts on every platform.

    Raises ValueError for a fraction outside (0, 1), for fewer than two different sources and for a negative seed.
    """
    if not 0 < valid_fraction < 1:
        raise ValueError(f"valid_fraction must be more than 0 and less than 1, got {valid_fraction}")
    seeded = Seeded(seed)
    draws = {source: seeded.fraction() for source in dict.fromkeys(source for source, _ in pairs)}
    if len(draws) < 2:
        raise ValueError(f"at least 2 different sources are needed to hold some out, got {len(draws)}")
    count = min(max(round(valid_fraction * len(draws)), 1), len(draws) - 1)
    held_out = set(sorted(draws, key=draws.__getitem__)[:count])
    train = [pair for pair in pairs if pair[0] not in held_out]
    valid = [pair for pair in pairs if pair[0] in held_out]
    return train, valid
