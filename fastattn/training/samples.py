"""Samples to train on or to validate with: token ids and lengths, kept together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastattn.data import trim
from fastattn.layers import checks
from fastattn.layers.checks import Array


@dataclass(frozen=True)
class Samples:
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
    ) -> "Samples":
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
    def held_out(cls, data: Sequence[ArrayLike]) -> "Samples":
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

    @property
    def target_tokens(self) -> int:
        """The tokens that the decoder is to say: the end symbol counts, the start symbol, which is given, does not."""
        return int((self.target_lengths - 1).sum())

    @property
    def tokens(self) -> int:
        """The tokens of which speed is counted: those that the encoder reads and those that the decoder is to say."""
        return int(self.source_lengths.sum()) + self.target_tokens

    def batch(self, chosen: Array) -> "Samples":
        """The samples with these indices, cut to the longest of them."""
        source_lengths, target_lengths = self.source_lengths[chosen], self.target_lengths[chosen]
        x, t = trim(self.x[chosen], source_lengths), trim(self.t[chosen], target_lengths)
        return Samples(x, t, source_lengths, target_lengths, self.padded)

    def loss(self, model: Any) -> float:
        """Lengths are named only where there are some, so that a model with ``forward(x, t)`` can be trained too."""
        lengths = {}
        if self.padded[0]:
            lengths["source_lengths"] = self.source_lengths
        if self.padded[1]:
            lengths["target_lengths"] = self.target_lengths
        return float(model.forward(self.x, self.t, **lengths))

    def exact_matches(self, model: Any) -> int:
        """How many targets greedy search gets right in every token, the end symbol with them."""
        T2 = self.t.shape[1]
        ids = model.generate(self.x, int(self.t[0, 0]), T2 - 1, lengths=self.source_lengths if self.padded[0] else None)
        beyond = np.arange(T2 - 1) >= self.target_lengths[:, None] - 1
        return int(((ids == self.t[:, 1:]) | beyond).all(axis=1).sum())
