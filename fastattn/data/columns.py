"""A line of a file -> the columns that are read of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastattn.data.reading import PLAIN, TAB, Reading

# ABEND(1): another pronunciation of ABEND, as pronouncing dictionaries write it.
VARIANT = re.compile(r"(?<=.)\([0-9]+\)$", re.DOTALL)


class Columns:
    """Where the columns of a reading stand. Errors are ValueErrors that say what is wrong with the line."""

    def __init__(self, reading: Reading, header: str | None = None) -> None:
        """header: the first line of the file, for a reading that has one. Raises ValueError if it lacks a column."""
        self.reading = reading
        names = None if header is None else [name.strip() for name in header.split(reading.separator)]
        self.places = {name: self._place(name, column, names) for name, column in reading.named_columns().items()}
        self.needed = max(self.places.values()) + 1
        self.count = self.needed if names is None else len(names)
        spaces = not reading.separator.strip(" ")
        self._splits = self.count - 1 if spaces and not reading.extra_columns else -1

    def _place(self, name: str, column: int | str, header: Sequence[str] | None) -> int:
        if isinstance(column, int):
            if header is not None and column > len(header):
                raise ValueError(f"{name}_column is {column}, but the header has {_columns(len(header))}")
            return column - 1
        assert header is not None  # a reading with names has one
        if header.count(column) != 1:
            found = "no column" if column not in header else f"{header.count(column)} columns"
            raise ValueError(f"the header has {found} {column!r}; it has {', '.join(map(repr, header))}")
        return header.index(column)

    def split(self, line: str) -> list[str]:
        """All columns. Spaces that separate end the columns before the last: that may hold spaces itself."""
        return line.split(self.reading.separator, self._splits)

    def pair(self, line: str) -> tuple[str, str]:
        """Source and target. Features stand in the source: see `Reading.with_features`."""
        found = self.split(line)
        if len(found) != self.count:
            self._check_count(len(found))
        reading = self.reading
        source, target = found[self.places["source"]], found[self.places["target"]]
        if reading.variants:
            source = VARIANT.sub("", source)
        if reading.normalization != "none":
            source, target = reading.normalized(source), reading.normalized(target)
        if not source.strip():
            raise ValueError("the source is empty")
        if not target.strip():
            raise ValueError("the target is empty")
        if reading.has_features:
            source = reading.with_features(source, reading.normalized(found[self.places["features"]]))
        return source, target

    def source(self, line: str) -> str:
        """What is to be translated of a line: all of it, or the source's column where the line has columns.

        With features: `source<TAB>features`, as `Reading.source` takes it.
        """
        found = self.split(line)
        has_features = self.reading.has_features
        # Source and features alone are fewer columns than any file with features has.
        if len(found) == 1 or (has_features and line.count(TAB) == 1):
            return line
        wanted = [self.places["source"], *([self.places["features"]] if has_features else [])]
        if len(found) <= max(wanted):
            raise ValueError(f"{_columns(len(found))}; expected {self._expected()}")
        source = found[wanted[0]]
        if self.reading.variants:
            source = VARIANT.sub("", source)
        return TAB.join([source, *(found[place] for place in wanted[1:])])

    def _check_count(self, found: int) -> None:
        if self.reading.extra_columns and found >= self.needed:
            return
        if self.reading == PLAIN:
            raise ValueError(f"{'no tab' if found == 1 else f'{found - 1} tabs'}; expected source<TAB>target")
        more = "; --extra-columns passes over the rest" if found > self.count else ""
        raise ValueError(f"{_columns(found)}; expected {self._expected()}{more}")

    def _expected(self) -> str:
        places = ", ".join(f"{name} {place + 1}" for name, place in self.places.items())
        return f"{self.count} ({places}), with {self.reading.separator!r} between them"


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"
