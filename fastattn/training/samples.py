"""Samples to train on or to validate with: token ids and lengths, kept together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rapidfuzz.distance import Levenshtein

from fastattn.data import END, StoredCorpus, trim
from fastattn.layers import checks
from fastattn.layers.checks import Array

from .checkpoints import pairs_digest


class Counted:
    """What follows from the lengths (N,) of sources and targets, which count a target's start symbol."""

    source_lengths: Array
    target_lengths: Array

    @property
    def target_tokens(self) -> int:
        """The tokens that the decoder is to say: the end symbol counts, the start symbol, which is given, does not."""
        return int((self.target_lengths - 1).sum())

    @property
    def tokens(self) -> int:
        """The tokens of which speed is counted: those that the encoder reads and those that the decoder is to say."""
        return int(self.source_lengths.sum()) + self.target_tokens

    @property
    def longest_answer(self) -> int:
        """The tokens that the decoder is to say at most, the end symbol counted."""
        return int(self.target_lengths.max()) - 1


@dataclass(frozen=True)
class Lengths(Counted):
    """The lengths of some samples, of which nothing else has been read."""

    source_lengths: Array
    target_lengths: Array

    @classmethod
    def of(cls, samples: Counted, chosen: Array) -> Lengths:
        """Those of the samples with these indices."""
        return cls(samples.source_lengths[chosen], samples.target_lengths[chosen])


@dataclass(frozen=True)
class Samples(Counted):
    """x (N, T1) and t (N, T2), token ids, with the lengths (N,) of both, which count a target's start symbol."""

    x: Array
    t: Array
    source_lengths: Array
    target_lengths: Array
    padded: tuple[bool, bool]  # whether the caller gave lengths of the sources, of the targets

    @classmethod
    def checked(
        cls,
        x: ArrayLike,
        t: ArrayLike,
        source_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
    ) -> Samples:
        """ValueError or TypeError unless the four belong together; the token ids are the model's to check."""
        x, t = np.asarray(x), np.asarray(t)
        if x.ndim != 2 or t.ndim != 2 or len(x) != len(t) or x.size == 0 or t.shape[1] < 2:
            raise ValueError(f"x and t have shapes {x.shape} and {t.shape}; expected (N, T1) and (N, T2), N >= 1, T2 >= 2")
        N, (T1, T2) = len(x), (x.shape[1], t.shape[1])
        source = checks.lengths("source_lengths", source_lengths, N, T1)
        target = checks.lengths("target_lengths", target_lengths, N, T2, lowest=2)
        padded = source is not None, target is not None
        return cls(x, t, np.full(N, T1) if source is None else source, np.full(N, T2) if target is None else target, padded)

    @classmethod
    def held_out(cls, data: Sequence[ArrayLike]) -> Samples:
        """(x, t), or (x, source_lengths, t, target_lengths) as ``encode_pairs`` gives them.

        ValueError, too, for targets that do not all begin with the same start symbol: ``generate`` takes only one.
        """
        if len(data) not in (2, 4):
            raise ValueError(f"validation_data holds {len(data)} arrays; expected x, t or x, source_lengths, t, target_lengths")
        x, source_lengths, t, target_lengths = data if len(data) == 4 else (data[0], None, data[1], None)
        samples = cls.checked(x, t, source_lengths, target_lengths)
        starts = np.unique(samples.t[:, 0])
        if len(starts) > 1:
            raise ValueError(f"the targets of validation_data begin with {starts}; expected one start symbol")
        return samples

    def batch(self, chosen: Array) -> Samples:
        """The samples with these indices, cut to the longest of them."""
        source_lengths, target_lengths = self.source_lengths[chosen], self.target_lengths[chosen]
        x, t = trim(self.x[chosen], source_lengths), trim(self.t[chosen], target_lengths)
        return Samples(x, t, source_lengths, target_lengths, self.padded)

    @property
    def digest(self) -> str:
        """What tells them from others."""
        return pairs_digest((self.x, self.source_lengths, self.t, self.target_lengths))

    def loss(self, model: Any) -> float:
        """Lengths are named only where there are some, so that a model with ``forward(x, t)`` can be trained too."""
        lengths = {}
        if self.padded[0]:
            lengths["source_lengths"] = self.source_lengths
        if self.padded[1]:
            lengths["target_lengths"] = self.target_lengths
        return float(model.forward(self.x, self.t, **lengths))

    @property
    def end_id(self) -> int | None:
        """The end symbol of the targets: the one that all end with, if it stands nowhere else in them and is not all of them.

        None where there is no such symbol: an answer is then taken to be as long as its target.
        """
        last = self.t[np.arange(len(self.t)), self.target_lengths - 1]
        real = np.arange(1, self.t.shape[1]) < self.target_lengths[:, None]
        others = real.sum() - len(last)
        if others == 0 or (last != last[0]).any() or (real & (self.t[:, 1:] == last[0])).sum() > len(last):
            return None
        return int(last[0])

    def compare_answers(self, model: Any, end_id: int | None, longest: int) -> Comparison:
        """What greedy search answers, beside the targets. longest: where an answer ends if the model has not ended it."""
        lengths = self.source_lengths if self.padded[0] else None
        if end_id is None:
            ids = model.generate(self.x, int(self.t[0, 0]), self.t.shape[1] - 1, lengths=lengths)
        else:
            ids = model.generate(self.x, int(self.t[0, 0]), longest, end_id=end_id, lengths=lengths)
        matches, tokens, errors = 0, 0, 0
        for answer, target, length in zip(ids.tolist(), self.t[:, 1:].tolist(), (self.target_lengths - 1).tolist()):
            matches += answer[:length] == target[:length]
            if end_id is not None:
                length -= 1
                answer = answer[: answer.index(end_id)] if end_id in answer else answer
            else:
                answer = answer[:length]
            tokens += length
            errors += Levenshtein.distance(answer, target[:length])
        return Comparison(matches, tokens, errors)


class StoredSamples(Counted):
    """The samples of a corpus, which stay on disk until they are in a batch."""

    end_id = END

    def __init__(self, corpus: StoredCorpus) -> None:
        self.corpus = corpus
        self.source_lengths, self.target_lengths = corpus.source_lengths, corpus.target_lengths

    @property
    def digest(self) -> str:
        """What tells them from others."""
        return pairs_digest(self.corpus)

    def batch(self, chosen: Array) -> Samples:
        """The samples with these indices, cut to the longest of them."""
        x, source_lengths, t, target_lengths = self.corpus.batch(chosen)
        return Samples(x, t, source_lengths, target_lengths, (True, True))


@dataclass(frozen=True)
class Comparison:
    """Counts over answers: those that are right in every token, the tokens of the targets, and the errors in them.

    The end symbol is no token here: an answer that ends too early or too late has errors for what is missing or too much.
    """

    exact_matches: int = 0
    target_tokens: int = 0
    token_errors: int = 0

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.exact_matches + other.exact_matches,
            self.target_tokens + other.target_tokens,
            self.token_errors + other.token_errors,
        )
