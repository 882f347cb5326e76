"""Pairs of text in a file: one pair a line, UTF-8, in columns; by default `source<TAB>target`."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, cast

from fastattn.data.columns import Columns
from fastattn.data.files import atomic_write
from fastattn.data.hints import LINES, hint
from fastattn.data.reading import PLAIN, Reading
from fastattn.data.seeded import Seeded
from fastattn.data.words import counted

Pair = tuple[str, str]

STANDARD_INPUT = "-"
GZIP = b"\x1f\x8b"  # no text in UTF-8 begins with it
CHUNK = 1 << 20  # bytes that are read at once
LONGEST_LINE = 1 << 24  # bytes; no source of so many tokens is answered
# What gzip compressed may be so many times as large as the file, beyond so many bytes. Text is some ten times as large.
MAX_RATIO, FREE_BYTES = 200, 1 << 26


class PairsError(ValueError):
    """A file of pairs that cannot be used: "FILE:LINE: reason", or "FILE: reason" where no line is to blame."""

    def __init__(self, path: str | os.PathLike[str], line: int | None, reason: str) -> None:
        name = shown_name(path)
        place = name if line is None else f"{name}:{line}"
        super().__init__(f"{place}: {reason}")
        self.path, self.line, self.reason = path, line, reason


def checked_pair(pair: object, number: int, name: str = "pairs") -> Pair:
    """A source and a target. TypeError, which names the pair, for anything else."""
    try:
        source, target = cast("tuple[Any, Any]", () if isinstance(pair, str) else pair)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: pair {number} is {pair!r:.100}; expected (source, target)") from None
    for side, text in zip(("source", "target"), (source, target)):
        if not isinstance(text, str):
            raise TypeError(f"{name}: the {side} of pair {number} is {text!r:.100}; expected a str")
    return source, target


def shown_name(path: str | os.PathLike[str]) -> str:
    """The name of a file, as it is shown."""
    return "standard input" if path == STANDARD_INPUT else os.fspath(path)


def read_lines(path: str | os.PathLike[str], what: str = "a pair") -> Iterator[tuple[int, str]]:
    """The lines of a file of text, without their ends, each with its number, from 1. what: what a line should be.

    "-" is standard input. What gzip compressed is known by its first bytes. Lines end with LF, CRLF or CR, the last
    one may do without; a byte order mark at the beginning is dropped. Other characters that Unicode calls line ends
    (U+2028, U+0085, form feed, ...) are text.

    Raises PairsError for a file that cannot be read, is empty or is not UTF-8.
    """
    for number, line in enumerate(_raw_lines(path, what), start=1):
        yield number, _decoded(path, number, line)


def _raw_lines(path: str | os.PathLike[str], what: str = "a pair", content: bytes | None = None) -> Iterator[bytes]:
    """The lines one after another: no more than CHUNK bytes of the file are in memory, and the line that they begin.

    content: what stands in the file; None: it is read.
    """
    rest, is_empty, lines = b"", True, 0
    try:
        with opened(path) if content is None else io.BytesIO(content) as stream:
            while chunk := stream.read(CHUNK):
                block = rest + (chunk.removeprefix(codecs.BOM_UTF8) if is_empty else chunk)
                is_empty = is_empty and not block
                # On bytes, unlike on str, splitlines knows no line ends but LF, CRLF and CR. The last CR may be half of one.
                end = len(block) - block.endswith(b"\r")
                begun = max(block.rfind(b"\n", 0, end), block.rfind(b"\r", 0, end)) + 1
                whole = block[:begun].splitlines()
                yield from whole
                rest, lines = block[begun:], lines + len(whole)
                if len(rest) > LONGEST_LINE:
                    raise PairsError(path, lines + 1, f"is longer than {LONGEST_LINE:,} bytes; expected {what} a line")
    except OSError as error:
        raise PairsError(path, None, f"cannot be read: {error.strerror or error}") from error
    yield from rest.splitlines()
    if is_empty:
        raise PairsError(path, None, f"is empty; expected {what} a line")


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The bytes of a file or of standard input, to be read, unpacked if need be.

    Raises OSError as `open` does, PairsError for what gzip compressed and what breaks off.
    """
    with contextlib.ExitStack() as stack:
        stream: Any = sys.stdin.buffer if path == STANDARD_INPUT else stack.enter_context(open(path, "rb"))
        if stream.peek(2).startswith(GZIP):
            stream = _Unpacked(path, stream)
        try:
            yield stream
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise PairsError(path, None, f"is not a whole gzip file: {error}") from error


class _Counted:
    """A stream to be read, and how many bytes of it were."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.count = stream, 0

    def read(self, size: int = -1) -> bytes:
        return self._counted(self._stream.read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._counted(self._stream.read1(size))

    def _counted(self, content: bytes) -> bytes:
        self.count += len(content)
        return content


class _Unpacked(_Counted):
    """What gzip compressed in a stream. PairsError where it becomes far more than text does."""

    def __init__(self, path: str | os.PathLike[str], stream: Any) -> None:
        self._path, self._packed = path, _Counted(stream)
        super().__init__(gzip.GzipFile(fileobj=self._packed))  # type: ignore[call-overload]

    def _counted(self, content: bytes) -> bytes:
        super()._counted(content)
        if self.count > FREE_BYTES + MAX_RATIO * self._packed.count:
            reason = f"unpacks to more than {MAX_RATIO} times its size, as no text does; if it is meant, unpack it first"
            raise PairsError(self._path, None, reason)
        return content


def _decoded(path: str | os.PathLike[str], number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} of the line is 0x{line[error.start]:02x}"
        raise PairsError(path, number, f"is not UTF-8: {found}") from error


def passed_over(blank_lines: int, comment_lines: int) -> str:
    """How many lines were no pairs, in words: "2 blank lines, 1 comment"; "" if there were none."""
    kinds = ((blank_lines, "blank line"), (comment_lines, "comment"))
    return ", ".join(counted(count, name) for count, name in kinds if count)


@dataclass(frozen=True)
class PairsFile:
    """What a file of pairs holds."""

    path: str | os.PathLike[str]
    pairs: list[Pair]
    lines: list[int]  # the number of each pair's line, from 1
    blank_lines: int  # passed over
    comment_lines: int  # passed over

    header_lines: int = 0  # 1 if the names of the columns stand there

    def passed_over(self) -> str:
        """See the function of this name."""
        return passed_over(self.blank_lines, self.comment_lines)

    @property
    def all_lines(self) -> int:
        """How many lines the file has, those that hold no pair among them."""
        return len(self.pairs) + self.blank_lines + self.comment_lines + self.header_lines

    @classmethod
    def read(cls, path: str | os.PathLike[str], reading: Reading = PLAIN) -> PairsFile:
        """The pairs of a file, in its order. Blank lines are passed over, and what `reading` says.

        Raises PairsError as `read_lines` does, for a line that does not have the columns or whose source or target is
        blank, for a header without the columns, and for no pair at all.
        """
        stream = PairsStream(path, reading)
        pairs, lines = [], []
        for pair in stream:
            pairs.append(pair)
            lines.append(stream.line)
        return cls(path, pairs, lines, stream.blank_lines, stream.comment_lines, int(reading.header))


class PairsStream:
    """The pairs of a file, read while they are asked for: the file may be larger than the memory.

    line: the number of the last pair's line, from 1. blank_lines, comment_lines: those passed over so far. content: what stands
    in the file, where it is in memory, as text that nothing compressed; ``path`` is then its name. Raises what `PairsFile.read`
    does.
    """

    def __init__(self, path: str | os.PathLike[str], reading: Reading = PLAIN, content: bytes | None = None) -> None:
        self.path, self.reading, self.content = path, reading, content
        self.line = self.blank_lines = self.comment_lines = 0

    def __iter__(self) -> Iterator[Pair]:
        """From the beginning."""
        self.line = self.blank_lines = self.comment_lines = 0
        reading, holds_none = self.reading, True
        columns = None if reading.header else Columns(reading)
        raw = _raw_lines(self.path, content=self.content)
        begin: list[bytes] = []
        held = 0
        for number, content in enumerate(raw, start=1):
            if number <= LINES and held <= LONGEST_LINE:
                begin.append(content)
                held += len(content)
            line = _decoded(self.path, number, content)
            if not line.strip():
                self.blank_lines += 1
            elif reading.comment is not None and line.startswith(reading.comment):
                self.comment_lines += 1
            else:
                try:
                    if columns is None:
                        columns = Columns(reading, line)
                        continue
                    pair = columns.pair(line)
                except ValueError as error:
                    more = [content] if number > LINES else islice(raw, LINES - number)
                    raise PairsError(self.path, number, _with_hint(str(error), chain(begin, more), reading)) from error
                self.line, holds_none = number, False
                yield pair
        if holds_none:
            raise PairsError(self.path, None, "holds no pair; expected a pair a line")


def _with_hint(reason: str, lines: Iterable[bytes], reading: Reading) -> str:
    """The reason, and the options that would read these lines; without a look at more than LONGEST_LINE bytes."""
    looked_at, size = [], 0
    for line in lines:
        looked_at.append(line.decode("utf-8", "replace"))
        size += len(line)
        if size > LONGEST_LINE:
            return reason
    found = hint(looked_at, reading)
    return reason if found is None else f"{reason}; {found}"


def read_pairs(path: str | os.PathLike[str], reading: Reading = PLAIN) -> list[Pair]:
    """The pairs (source, target) of a file, in its order: `PairsFile.read` without the rest.

    By default the texts are exactly as they stand there, and each line has exactly one tab.
    """
    return PairsFile.read(path, reading).pairs


def group_targets(pairs: Iterable[Pair]) -> dict[str, list[str]]:
    """Each source with all its targets, none twice; both in the order in which they first come."""
    targets: dict[str, dict[str, None]] = {}
    for source, target in pairs:
        targets.setdefault(source, {})[target] = None
    return {source: list(found) for source, found in targets.items()}


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
