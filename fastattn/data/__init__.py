"""Pairs of text, vocabularies, batches, and the built-in corpus of dates."""

from fastattn.data.batches import batches, encode_pairs, encode_sources, token_batches, trim
from fastattn.data.dates import date_pairs, split_dates
from fastattn.data.extras import MissingExtraError, require
from fastattn.data.files import atomic_write
from fastattn.data.pairs import (
    PairsError,
    PairsFile,
    group_targets,
    read_lines,
    read_pairs,
    split_pairs,
    write_pairs,
)
from fastattn.data.reading import NORMALIZATIONS, PLAIN, Reading
from fastattn.data.vocabulary import END, PADDING, START, TOKEN_KINDS, UNKNOWN, Vocabulary

__all__ = [
    "END",
    "NORMALIZATIONS",
    "PADDING",
    "PLAIN",
    "START",
    "TOKEN_KINDS",
    "UNKNOWN",
    "MissingExtraError",
    "PairsError",
    "PairsFile",
    "Reading",
    "Vocabulary",
    "atomic_write",
    "batches",
    "date_pairs",
    "encode_pairs",
    "encode_sources",
    "group_targets",
    "read_lines",
    "read_pairs",
    "require",
    "split_dates",
    "split_pairs",
    "token_batches",
    "trim",
    "write_pairs",
]
