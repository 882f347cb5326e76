"""What is read of a file of pairs, and what is done to its text before it becomes tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import combinations
from typing import Any, Literal, cast

Normalization = Literal["none", "NFC", "NFD", "NFKC"]
NORMALIZATIONS = ("none", "NFC", "NFD", "NFKC")

# Between a source and its features, and between two of these: a column of the file that holds one is refused.
TAB = "\t"


@dataclass(frozen=True)
class Reading:
    """How a file of pairs is laid out. The default is `source<TAB>target`, nothing else on a line, texts as they stand.

    A column is a number from 1, or a name of the header line. Each field's `metadata["help"]` is its description.
    A model keeps its reading: what it is asked is treated as what it was taught.

    Raises TypeError or ValueError for a field of the wrong type, a value that it does not have, and fields that
    contradict each other.
    """

    source_column: int | str = field(
        default=1, metadata={"help": "the column of the source: a number from 1, or a name of the header line"}
    )
    target_column: int | str = field(default=2, metadata={"help": "the column of the target, likewise"})
    features_column: int | str | None = field(
        default=None, metadata={"help": "the column of features of the source, tags that condition the target"}
    )
    separator: str = field(
        default=TAB, metadata={"help": "what stands between two columns; of spaces, it ends all columns but the last one read"}
    )
    features_separator: str = field(default=";", metadata={"help": "what stands between two features"})
    header: bool = field(default=False, metadata={"help": "the first line is names of columns"})
    extra_columns: bool = field(default=False, metadata={"help": "pass over columns beyond those that are expected"})
    comment: str | None = field(default=None, metadata={"help": "pass over lines that begin with this"})
    variants: bool = field(default=False, metadata={"help": "read WORD(1), WORD(2), ... as more targets of WORD"})
    normalization: Normalization = field(
        default="none", metadata={"help": "the Unicode normalisation of all texts: none, NFC, NFD or NFKC"}
    )

    def __post_init__(self) -> None:
        for name in ("source_column", "target_column", "features_column"):
            self._check_column(name)
        for name in ("separator", "features_separator", "comment"):
            value = getattr(self, name)
            if value is None and name == "comment":
                continue
            if not isinstance(value, str):
                raise TypeError(f"{name} is {value!r}; expected a str")
            if not value or any(mark in value for mark in "\r\n"):
                raise ValueError(f"{name} is {value!r}; expected at least one character, and no line end")
        for name in ("header", "extra_columns", "variants"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is {getattr(self, name)!r}; expected True or False")
        if self.normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization is {self.normalization!r}; expected one of {', '.join(NORMALIZATIONS)}")
        for (name, column), (other, value) in combinations(self.named_columns().items(), 2):
            if column == value:
                raise ValueError(f"{name}_column and {other}_column are both {value!r}; expected different columns")

    def __repr__(self) -> str:
        """What is not the default."""
        changed = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default)
        return f"{type(self).__name__}({', '.join(changed)})"

    def _check_column(self, name: str) -> None:
        column = getattr(self, name)
        if column is None and name == "features_column":
            return
        if not isinstance(column, int | str) or isinstance(column, bool):
            raise TypeError(f"{name} is {column!r}; expected a number from 1, or a name of the header line")
        if isinstance(column, int) and column < 1:
            raise ValueError(f"{name} is {column}; expected a number from 1, or a name of the header line")
        if isinstance(column, str) and not self.header:
            raise ValueError(f"{name} is {column!r}; a name needs header=True; expected a number from 1 without it")

    def named_columns(self) -> dict[str, int | str]:
        """Those that are read: "source", "target" and, if there are some, "features"."""
        columns = {"source": self.source_column, "target": self.target_column}
        return columns if self.features_column is None else {**columns, "features": self.features_column}

    @property
    def has_features(self) -> bool:
        return self.features_column is not None

    def normalized(self, text: str) -> str:
        """The text in the normal form of Unicode (Standard Annex 15) that `normalization` names."""
        return text if self.normalization == "none" else unicodedata.normalize(self.normalization, text)

    def with_features(self, source: str, features: str) -> str:
        """A source and what stands in its column of features -> both in one text, which `Vocabulary` takes apart again.

        That is the source and its features with tabs between them. Raises ValueError for a source with a tab and
        for no features.
        """
        names = [name.strip() for name in features.replace(TAB, self.features_separator).split(self.features_separator)]
        if TAB in source:
            raise ValueError(f"the source holds a tab, which stands before features: {source!r}")
        if not any(names):
            raise ValueError("the features are empty")
        return TAB.join([source, *filter(None, names)])

    def source(self, text: str) -> str:
        """What is to be translated, as somebody writes it -> as it would have been read from a file of pairs.

        For a reading with features the text is `source<TAB>features`; a blank text has none. Raises ValueError
        if there is no tab, and as `with_features`.
        """
        if not self.has_features:
            return self.normalized(text)
        if not text.strip():
            return ""
        source, tab, features = text.partition(TAB)
        if not tab:
            raise ValueError(f"no tab; expected source<TAB>features, such as V{self.features_separator}PST")
        if not source.strip():
            raise ValueError("the source is empty")
        return self.with_features(self.normalized(source), self.normalized(features))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads, of JSON's types."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: object) -> Reading:
        """The reading that `to_json` gave. Raises ValueError, saying what is wrong, for anything else."""
        if not isinstance(content, Mapping):
            raise ValueError(f"a reading must be a JSON object, got {type(content).__name__}")
        known = [f.name for f in fields(cls)]
        for key in content:
            if key not in known:
                raise ValueError(f"{key!r} is no option of reading; expected one of {', '.join(known)}")
        for key in known:
            if key not in content:
                raise ValueError(f"the reading has no {key!r}")
        try:
            return cls(**cast("Mapping[str, Any]", content))
        except TypeError as error:
            raise ValueError(str(error)) from error


PLAIN = Reading()


def split_features(source: str) -> tuple[str, Sequence[str]]:
    """What `Reading.with_features` made -> the source's text and its features."""
    text, *features = source.split(TAB)
    return text, features
