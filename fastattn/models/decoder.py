"""The decoder: scores for each next token of the target, given the tokens before it and the source."""

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastattn.layers import Attention, Dropout, checks
from fastattn.layers.checks import Array

from . import initial
from .recurrent import Recurrent

LastSteps = tuple[Array, Array] | tuple[slice, int]


def last_steps(lengths: Array | None, N: int, T: int) -> LastSteps:
    """The index of each sample's last real step in an array (N, T, ...)."""
    return (slice(None), T - 1) if lengths is None else (np.arange(N), lengths - 1)


class Decoder(Recurrent):
    """Embedding, dropout, LSTM; attention over the source; dropout; an affine map of (context, state) to scores.

    The LSTM starts from the encoder's last real state, with a cell state of zeros.

    V tokens, vectors of width D, states of width H, the encoder's. dtype: float32 or float64. seed: a whole number or a
    Generator, for the weights and for dropout (None: from the system). dropout: the ratio dropped while training from
    the embedded target, and from (context, state).
    """

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
        self.attention = Attention(join=True)
        self.output_dropout = Dropout(dropout, seed=generator)
        self.affine = initial.affine(generator, 2 * H, V, dtype)
        super().__init__(self.embedding, self.dropout, self.lstm, self.attention, self.output_dropout, self.affine)
        self._last_steps: LastSteps | None = None

    @property
    def attention_weight(self) -> Array | None:
        """After ``forward``, (T2, N, T1): ``attention_weight[t]`` (N, T1) holds the weights of target step t."""
        return self.attention.attention_weight

    def forward(
        self,
        t: ArrayLike,
        hs_enc: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        source_lengths: ArrayLike | None = None,
    ) -> Array:
        """t (N, T2), token ids; hs_enc (N, T1, H), the encoder's states -> scores (N, T2, V), zeros at padding."""
        H = len(self.lstm.params[1])
        hs_enc = checks.floats("hs_enc", hs_enc, ("N", "T1", H), self.params[0].dtype)
        N, T1, _ = hs_enc.shape
        source_lengths = checks.lengths("source_lengths", source_lengths, N, T1)
        t, lengths = checks.ids("t", t, ("N", "T2"), len(self.embedding.params[0]), lengths)
        if len(t) != N:
            raise ValueError(f"t has a batch of {len(t)}; expected {N}, the batch of hs_enc")
        last = last_steps(source_lengths, N, T1)
        self.lstm.set_state(hs_enc[last])
        hs = self._states(t, lengths)  # (N, T2, H)
        self._last_steps = last
        joined = self.attention.forward(hs_enc, hs, source_lengths=source_lengths, target_lengths=lengths)  # (N, T2, 2H)
        return self.affine.forward(self.output_dropout.forward(joined), lengths=lengths)

    def backward(self, dscores: ArrayLike) -> Array:
        """dscores (N, T2, V) -> dhs_enc (N, T1, H). Once for each forward."""
        if self._last_steps is None:
            raise RuntimeError("Decoder.backward was called before Decoder.forward")
        djoined = self.output_dropout.backward(self.affine.backward(dscores))
        self.affine._use_up()  # its memory is taken for the gradients of the states
        dhs_enc, dhs = self.attention.backward(djoined)
        self.attention._use_up()
        del djoined, dscores  # and these for those of the LSTM
        self._states_backward(dhs)
        dhs_enc[self._last_steps] += self.lstm.dh
        return dhs_enc
