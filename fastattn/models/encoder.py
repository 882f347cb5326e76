"""The encoder: token ids of the source to a state for each of them."""

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastattn.layers import Dropout, Embedding, checks
from fastattn.layers.checks import Array

from . import initial
from .recurrent import Recurrent


class Encoder(Recurrent):
    """Embedding, dropout, LSTM.

    V tokens, vectors of width D, states of width H. dtype: float32 or float64. seed: a whole number or a Generator, for
    the weights and for dropout (None: from the system). dropout: the ratio dropped while training from the embedded
    source."""

    def __init__(
        self,
        V: int,
        D: int,
        H: int,
        *,
        dtype: DTypeLike = "float32",
        seed: int | np.random.Generator | None = None,
        dropout: float = 0.0,
    ) -> None:
        V, D, H = checks.size("V", V), checks.size("D", D), checks.size("H", H)
        dtype = checks.float_dtype(dtype)
        generator = np.random.default_rng(seed)
        self.embedding = initial.embedding(generator, V, D, dtype)
        self.dropout = Dropout(dropout, seed=generator)
        self.lstm = initial.lstm(generator, D, H, dtype)
        super().__init__(self.embedding, self.dropout, self.lstm)

    def forward(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """x (N, T1), token ids -> hs (N, T1, H), zeros at padding."""
        if type(self.embedding) is Embedding:  # one of another class knows its ids itself
            x, lengths = checks.ids("x", x, ("N", "T1"), len(self.embedding.params[0]), lengths)
        return self._states(x, lengths)

    def backward(self, dhs: ArrayLike) -> None:
        """dhs (N, T1, H)."""
        self._states_backward(dhs)
