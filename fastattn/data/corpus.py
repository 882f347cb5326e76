"""Pairs as token ids on disk, for a corpus that is larger than the memory: written once, read batch by batch.

A folder holds `corpus.json` and the ids of all sources, one after another, and of all targets, with where each begins. They
are memory-mapped: what a batch reads comes from the disk or from the system's cache of it, and counts as no program's memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastattn.data.files import FileError, atomic_write, read_regular
from fastattn.data.pairs import Pair
from fastattn.data.vocabulary import PADDING, Vocabulary

FORMAT_VERSION = 1
INDEX = "corpus.json"
HASHES = "sources.hashes"
FILES = ("source.ids", "source.offsets", "target.ids", "target.offsets", HASHES)
MAX_INDEX_BYTES = 2**29  # two vocabularies, most of all
CHUNK = 1 << 14  # pairs that are written at once


class CorpusError(ValueError):
    """A folder that holds no corpus, or not the expected one. The message is "FOLDER: reason"."""

    def __init__(self, folder: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{os.fspath(folder)}: {reason}")
        self.folder, self.reason = folder, reason


@dataclass(frozen=True)
class Rows:
    """Rows of unequal lengths, one after another: row i is ids[offsets[i] : offsets[i + 1]]."""

    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64."""
        return np.diff(self.offsets).astype(np.int64)

    def padded(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows with these indices (n,), padded to the longest of them -> (ids (n, T) int64, lengths (n,) int64)."""
        begins = self.offsets[chosen].astype(np.int64)
        lengths = self.offsets[chosen + 1].astype(np.int64) - begins
        steps = np.arange(lengths.max(initial=0))
        real = steps < lengths[:, None]
        ids = np.full(real.shape, PADDING, np.int64)
        ids[real] = self.ids[(begins[:, None] + steps)[real]]
        return ids, lengths


@dataclass(frozen=True)
class StoredCorpus:
    """Encoded pairs: ``sources`` as `encode_sources` gives them, ``targets`` with start and end symbol.

    ``chosen`` (N,) are the pairs of it that count, by their place in the file; ``source_hashes`` has a number for each of them
    that equal sources share; ``first_source`` is the first text of the file; ``passed_over``: how many blank and
    comment lines it had.
    """

    sources: Rows
    targets: Rows
    source_hashes: np.ndarray
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    chosen: np.ndarray
    first_source: str
    passed_over: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def source_lengths(self) -> np.ndarray:
        """(N,) int64."""
        return self.sources.lengths[self.chosen]

    @property
    def target_lengths(self) -> np.ndarray:
        """(N,) int64; start and end symbol count."""
        return self.targets.lengths[self.chosen]

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The pairs with these indices (n,) as `encode_pairs` gives them: (x, source_lengths, t, target_lengths)."""
        chosen = self.chosen[indices]
        return *self.sources.padded(chosen), *self.targets.padded(chosen)

    def split(self, valid_fraction: float, seed: int) -> tuple[StoredCorpus, StoredCorpus]:
        """(train, valid), with no source in both: about ``valid_fraction`` of the different sources are drawn for valid.

        A source is drawn by a hash of itself and of the seed, so that no list of all sources is needed; where that would draw
        none of a few sources, or all, it is one, or all but one. Raises ValueError for a fraction outside (0, 1), for a
        negative seed, and for fewer than two different sources.
        """
        if not 0 < valid_fraction < 1:
            raise ValueError(f"valid_fraction must be more than 0 and less than 1, got {valid_fraction}")
        if seed < 0:
            raise ValueError(f"seed is {seed}; expected at least 0")
        draws = _mixed(self.source_hashes[self.chosen] ^ _mixed(np.array([seed], np.uint64)))
        lowest, highest = draws.min(), draws.max()
        if lowest == highest:
            raise ValueError("at least 2 different sources are needed to hold some out, got 1")
        drawn = draws < valid_fraction * 2.0**64
        if drawn.all() or not drawn.any():
            drawn = draws < highest if drawn.all() else draws == lowest
        return replace(self, chosen=self.chosen[~drawn]), replace(self, chosen=self.chosen[drawn])


def _mixed(x: np.ndarray) -> np.ndarray:
    """Each of 64 bits depends on all bits of x (uint64): the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError as `open` does."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def build_corpus(
    folder: str | os.PathLike[str],
    pairs: Iterable[Pair],
    source_vocabulary: Vocabulary,
    target_vocabulary: Vocabulary,
    *,
    reverse_source: bool = False,
    made_of: Mapping[str, Any],
    passed_over: Callable[[], tuple[int, int]] = lambda: (0, 0),
) -> StoredCorpus:
    """Encodes the pairs, once through them, and writes them to ``folder``, whose corpus it replaces.

    made_of: what the corpus is made of, of JSON's types; `open_corpus` compares it. passed_over: asked after the last pair, how
    many blank and comment lines the file had, which is kept with the corpus. An interruption leaves the folder as it was.

    Raises ValueError for no pairs and for a source without a token, OSError where a file cannot be written, CorpusError for a
    folder that holds other things.
    """
    folder = Path(folder)
    if folder.exists() and not _is_ours(folder):
        raise CorpusError(folder, "holds other things than encoded pairs; expected a new folder, or an empty one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with ExitStack() as stack:
            source = _Writer(temporary, "source", source_vocabulary, stack)
            target = _Writer(temporary, "target", target_vocabulary, stack)
            hashes = stack.enter_context(open(temporary / HASHES, "wb"))
            first_source = ""
            for chunk in _chunks(pairs):
                first_source = first_source or chunk[0][0]
                rows = [source_vocabulary.encode(text) for text, _ in chunk]
                for (text, _), row in zip(chunk, rows):
                    if not row:
                        raise ValueError(f"the source has no token: {text!r}")
                source.add([row[::-1] for row in rows] if reverse_source else rows)
                target.add([target_vocabulary.encode(text, start=True, end=True) for _, text in chunk])
                hashes.write(np.array([_hash(text) for text, _ in chunk], "<u8").tobytes())
        if source.rows == 0:
            raise ValueError("no pairs to encode")
        index = {
            "format_version": FORMAT_VERSION,
            "made_of": dict(made_of),
            "vocabulary": {"source": source_vocabulary.to_json(), "target": target_vocabulary.to_json()},
            "source": source.told(),
            "target": target.told(),
            "first_source": first_source,
            "passed_over": list(passed_over()),
        }
        index["sha256"] = {path.name: file_digest(path) for path in sorted(temporary.iterdir())}
        atomic_write(temporary / INDEX, json.dumps(index, ensure_ascii=False))
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return open_corpus(folder, made_of, check=False)


def open_corpus(folder: str | os.PathLike[str], made_of: Mapping[str, Any], *, check: bool = True) -> StoredCorpus:
    """The corpus that `build_corpus` wrote of the same ``made_of``. CorpusError, which says what differs, for anything else.

    check: whether the files' digests are compared; that reads all of them once.
    """
    folder = Path(folder)
    index = _read_index(folder)
    if index["made_of"] != dict(made_of):
        names = {name for name in {*index["made_of"], *made_of} if index["made_of"].get(name) != made_of.get(name)}
        raise CorpusError(folder, f"was made of something else: {', '.join(sorted(names))} differs")
    try:
        rows = {side: _open_rows(folder, side, index[side]) for side in ("source", "target")}
        hashes = _mapped(folder / HASHES, "<u8", index["source"]["rows"])
        if check:
            for name in FILES:
                if file_digest(folder / name) != index["sha256"][name]:
                    raise CorpusError(folder, f"{name} is damaged: its SHA-256 is not the one in {INDEX}")
            for side in rows:
                _check_offsets(side, rows[side])
        vocabularies = {side: Vocabulary.from_json(index["vocabulary"][side]) for side in ("source", "target")}
        blank_lines, comment_lines = map(int, index.get("passed_over", (0, 0)))  # earlier versions did not keep them
    except (OSError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CorpusError(folder, f"cannot be read: {error}") from error
    except ValueError as error:
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(folder, f"is damaged: {error}") from error
    if not len(rows["source"]) == len(rows["target"]) == len(hashes):
        raise CorpusError(folder, "is damaged: its files do not hold as many pairs as each other")
    return StoredCorpus(
        rows["source"],
        rows["target"],
        hashes,
        source_vocabulary=vocabularies["source"],
        target_vocabulary=vocabularies["target"],
        chosen=np.arange(len(hashes)),
        first_source=index.get("first_source", ""),
        passed_over=(blank_lines, comment_lines),
    )


class _Writer:
    """Of one side's ids and offsets."""

    def __init__(self, folder: Path, side: str, vocabulary: Vocabulary, stack: ExitStack) -> None:
        self.dtype = np.dtype("<u2" if len(vocabulary) <= 2**16 else "<u4")
        self.ids = stack.enter_context(open(folder / f"{side}.ids", "wb"))  # noqa: SIM115
        self.offsets = stack.enter_context(open(folder / f"{side}.offsets", "wb"))  # noqa: SIM115
        self.offsets.write(np.zeros(1, "<i8").tobytes())
        self.rows = self.end = 0

    def add(self, rows: Sequence[Sequence[int]]) -> None:
        ends = self.end + np.cumsum([len(row) for row in rows], dtype="<i8")
        self.offsets.write(ends.tobytes())
        self.ids.write(np.array([number for row in rows for number in row], self.dtype).tobytes())
        self.rows, self.end = self.rows + len(rows), int(ends[-1])

    def told(self) -> dict[str, Any]:
        """What the index says of this side."""
        return {"rows": self.rows, "ids": self.end, "dtype": self.dtype.str}


def _open_rows(folder: Path, side: str, told: Mapping[str, Any]) -> Rows:
    if told["dtype"] not in ("<u2", "<u4"):
        raise ValueError(f"the dtype of {side}.ids is {told['dtype']!r}; expected '<u2' or '<u4'")
    ids = _mapped(folder / f"{side}.ids", told["dtype"], told["ids"])
    offsets = _mapped(folder / f"{side}.offsets", "<i8", told["rows"] + 1)
    return Rows(ids, offsets)


def _check_offsets(side: str, rows: Rows) -> None:
    """ValueError unless each row is where its offsets say."""
    end = 0
    for first in range(0, len(rows.offsets), CHUNK):  # of a file on disk not all at once
        chunk = rows.offsets[first : first + CHUNK]
        if chunk[0] < end or (chunk[1:] < chunk[:-1]).any():
            raise ValueError(f"{side}.offsets do not rise")
        end = chunk[-1]
    if rows.offsets[0] != 0 or end != len(rows.ids):
        raise ValueError(f"{side}.offsets are not those of {len(rows.ids)} ids")


def _mapped(path: Path, dtype: str, size: Any) -> np.ndarray:
    """The numbers in a file, of the size that the index says. ValueError or OSError where it is no such file."""
    expected = size * np.dtype(dtype).itemsize
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size != expected:
        raise ValueError(f"{path.name} has {status.st_size:,} bytes; expected a regular file of {expected:,}")
    return np.memmap(path, dtype, mode="r")


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads(read_regular(folder / INDEX, MAX_INDEX_BYTES))
    except FileError as error:
        raise CorpusError(folder, f"holds no encoded pairs: {INDEX} {error.reason}") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(folder, f"{INDEX} is not JSON: {error}") from error
    if not isinstance(index, dict) or index.get("format_version") != FORMAT_VERSION:
        raise CorpusError(folder, f"{INDEX} is not of format_version {FORMAT_VERSION}")
    if not isinstance(index.get("made_of"), dict):
        raise CorpusError(folder, f"{INDEX} does not say what the corpus was made of")
    return index


def _is_ours(folder: Path) -> bool:
    """Whether the folder is empty or holds encoded pairs."""
    return folder.is_dir() and ((folder / INDEX).exists() or not any(folder.iterdir()))


def _hash(source: str) -> int:
    return int.from_bytes(hashlib.blake2b(source.encode(), digest_size=8).digest(), "little")


def _chunks(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    chunk = []
    for pair in pairs:
        chunk.append(pair)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
