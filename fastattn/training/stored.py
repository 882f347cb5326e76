"""The pairs of a training run, kept on disk as token ids: for files that are larger than the memory."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fastattn.data import CorpusError, PairsError, PairsStream, StoredCorpus, Vocabulary, build_corpus, file_digest, open_corpus
from fastattn.data.pairs import STANDARD_INPUT, Pair

from .settings import DataSettings, SettingsError
from .text_model import MAX_SOURCE_TOKENS, wrong_size


@dataclass(frozen=True)
class StoredPairs:
    """What `stored_pairs` found: encoded pairs, and how many lines of the files were passed over."""

    train: StoredCorpus
    valid: StoredCorpus | None
    blank_lines: int
    comment_lines: int


def stored_pairs(data: DataSettings, share_vocabulary: bool, seed: int) -> StoredPairs:
    """The pairs of ``data``, in the folder that ``data.token_cache`` names; encoded now unless that was done before.

    The vocabularies are of all pairs in ``data.pairs``, those that are held out among them. SettingsError for pairs that cannot
    be kept so; PairsError for a file that cannot be read; CorpusError for a folder that cannot be used.
    """
    assert data.token_cache is not None
    for name in ("pairs", "valid"):
        path = getattr(data, name)
        if path is not None and (path == STANDARD_INPUT or Path(path).is_fifo()):
            what = path if path == STANDARD_INPUT else "a pipe"
            raise SettingsError(
                f"data.token_cache needs pairs in a file, for they are read more than once; data.{name} is {what}"
            )
    if data.pairs is None:
        raise SettingsError("data.token_cache needs PAIRS.tsv: the built-in dates are no file")
    folder = Path(data.token_cache)
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"data.token_cache is {data.token_cache}, which is a file; expected a folder")
    how = {
        "reading": data.reading.to_json(),
        "tokens": [data.source_tokens, data.target_tokens],
        "reverse_source": data.reverse_source,
    }
    pairs = _Pairs(data.pairs, data)
    all_pairs = pairs.stored(folder / "pairs", {**how, "share_vocabulary": share_vocabulary}, None, share_vocabulary)
    if data.valid is not None:
        vocabularies = all_pairs.source_vocabulary, all_pairs.target_vocabulary
        of_vocabularies = {"vocabularies": [vocabulary.to_json() for vocabulary in vocabularies]}
        valid = _Pairs(data.valid, data)
        held_out = valid.stored(folder / "valid", {**how, **of_vocabularies}, vocabularies, share_vocabulary)
        blank, comment = (all_pairs.passed_over[n] + held_out.passed_over[n] for n in (0, 1))
        return StoredPairs(all_pairs, held_out, blank, comment)
    if not data.valid_fraction:
        return StoredPairs(all_pairs, None, *all_pairs.passed_over)
    try:
        return StoredPairs(*all_pairs.split(data.valid_fraction, seed), *all_pairs.passed_over)
    except ValueError as error:
        raise SettingsError(f"{data.pairs}: {error}; with a valid fraction of 0 none are held out") from error


class SourceLimit:
    """Refuses sources that are longer than any that a model answers."""

    def __init__(self, data: DataSettings) -> None:
        self.tokenize = data.vocabularies((), False)[0].tokenize

    def __call__(self, path: str, line: int, source: str) -> None:
        """PairsError for a source with too many tokens: as many as it has characters, at the most."""
        if len(source) > MAX_SOURCE_TOKENS and (size := len(self.tokenize(source))) > MAX_SOURCE_TOKENS:
            raise PairsError(path, line, wrong_size(size, MAX_SOURCE_TOKENS))


class _Pairs:
    """A file of pairs that is gone through as often as need be."""

    def __init__(self, path: str, data: DataSettings) -> None:
        self.path, self.data = path, data
        self.stream = PairsStream(path, data.reading)

    def passed_over(self) -> tuple[int, int]:
        """Blank and comment lines, when the file has been gone through."""
        return self.stream.blank_lines, self.stream.comment_lines

    def stored(
        self, folder: Path, how: dict[str, Any], vocabularies: tuple[Vocabulary, Vocabulary] | None, shared: bool
    ) -> StoredCorpus:
        """The encoded pairs of the file, with these vocabularies or else their own."""
        made_of = {"file_sha256": self._digest(), **how}
        with suppress(CorpusError):  # none, of another file, of other settings, or damaged: made anew
            corpus = open_corpus(folder, made_of)
            if corpus.source_lengths.max() <= MAX_SOURCE_TOKENS:  # else the reader says in which line
                return corpus
        source, target = vocabularies or self.data.vocabularies(self, shared)
        more: dict[str, Any] = {"reverse_source": self.data.reverse_source, "passed_over": self.passed_over}
        return build_corpus(folder, self, source, target, made_of=made_of, **more)

    def _digest(self) -> str:
        try:
            return file_digest(self.path)
        except OSError:
            next(iter(self.stream))  # says in the words of a reader what is wrong
            raise

    def __iter__(self) -> Iterator[Pair]:
        """The pairs, with a bar on standard error if that is a terminal."""
        check = SourceLimit(self.data)
        for pair in tqdm(self.stream, desc=f"reading {self.path}", unit=" pairs", unit_scale=True, disable=None, leave=False):
            check(self.path, self.stream.line, pair[0])
            yield pair
