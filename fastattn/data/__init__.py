"""Pairs of text, vocabularies, batches, and the built-in corpus of dates."""

from fastattn.data.batches import batches, encode_pairs, encode_sources, token_batches, trim
from fastattn.data.corpus import CorpusError, StoredCorpus, build_corpus, file_digest, open_corpus
from fastattn.data.dates import date_pairs, split_dates
from fastattn.data.extras import MissingExtraError, require
from fastattn.data.files import FileError, atomic_write, read_regular
from fastattn.data.locks import FolderLock, LockedError
from fastattn.data.pairs import (
    PairsError,
    PairsFile,
    PairsStream,
    group_targets,
    read_lines,
    read_pairs,
    split_pairs,
    write_pairs,
)
from fastattn.data.reading import NORMALIZATIONS, PLAIN, Reading
from fastattn.data.vocabulary import END, PADDING, START, TOKEN_KINDS, UNKNOWN, UNKNOWN_CHOICES, Vocabulary

__all__ = [
    "END",
    "NORMALIZATIONS",
    "PADDING",
    "PLAIN",
    "START",
    "TOKEN_KINDS",
    "UNKNOWN",
    "UNKNOWN_CHOICES",
    "CorpusError",
    "FileError",
    "FolderLock",
    "LockedError",
    "MissingExtraError",
    "PairsError",
    "PairsFile",
    "PairsStream",
    "Reading",
    "StoredCorpus",
    "Vocabulary",
    "atomic_write",
    "batches",
    "build_corpus",
    "date_pairs",
    "encode_pairs",
    "encode_sources",
    "file_digest",
    "group_targets",
    "open_corpus",
    "read_lines",
    "read_pairs",
    "read_regular",
    "require",
    "split_dates",
    "split_pairs",
    "token_batches",
    "trim",
    "write_pairs",
]
