"""Pairs of text, vocabularies, batches, and the built-in corpus of dates."""

from fastattn.data.batches import batches, encode_pairs, encode_sources, token_batches, trim
from fastattn.data.dates import date_pairs, split_dates
from fastattn.data.files import atomic_write
from fastattn.data.pairs import PairsError, read_lines, read_pairs, split_pairs, write_pairs
from fastattn.data.vocabulary import END, PADDING, START, UNKNOWN, Vocabulary

__all__ = [
    "END",
    "PADDING",
    "START",
    "UNKNOWN",
    "PairsError",
    "Vocabulary",
    "atomic_write",
    "batches",
    "date_pairs",
    "encode_pairs",
    "encode_sources",
    "read_lines",
    "read_pairs",
    "split_dates",
    "split_pairs",
    "token_batches",
    "trim",
    "write_pairs",
]
