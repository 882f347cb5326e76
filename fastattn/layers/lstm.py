"""LSTM over a whole sequence (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000)."""

import numpy as np
from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .base import Layer
from .checks import Array
from .embedding import Embedding


class LSTM(Layer):
    """A whole sequence at a time, with the gates in the order f, g, i, o along 4H.

    Wx (D, 4H), Wh (H, 4H), b (4H,), all float32 or all float64.

    A forward starts from zeros, or from what ``set_state`` was given since the forward before it. With
    ``stateful=True`` it starts from where the forward before it ended, unless ``reset_state`` or ``set_state`` was
    called in between.
    After ``backward``, ``dh`` and ``dc`` (N, H) hold the gradients of the state that the forward started from.
    """

    def __init__(self, Wx: ArrayLike, Wh: ArrayLike, b: ArrayLike, stateful: bool = False) -> None:
        Wh = checks.floats("Wh", Wh, ("H", "4H"))
        H = len(Wh)
        Wh = checks.floats("Wh", Wh, (H, 4 * H))
        super().__init__(
            checks.floats("Wx", Wx, ("D", 4 * H), Wh.dtype),
            Wh,
            checks.floats("b", b, (4 * H,), Wh.dtype),
        )
        self.stateful = stateful
        self._h: Array | None = None
        self._c: Array | None = None
        self._was_set = False
        self.dh: Array | None = None
        self.dc: Array | None = None

    # The state is copied on its way in and on its way out, so that no caller can change it by accident.

    @property
    def h(self) -> Array | None:
        """The hidden state (N, H): after each sample's last real step, or as it was set; None before both."""
        return None if self._h is None else self._h.copy()

    @property
    def c(self) -> Array | None:
        """The cell state (N, H), likewise."""
        return None if self._c is None else self._c.copy()

    def set_state(self, h: ArrayLike, c: ArrayLike | None = None) -> None:
        """Let the next forward start from h and c (N, H). c None: zeros."""
        dtype, H = self.params[1].dtype, len(self.params[1])
        h = checks.floats("h", h, ("N", H), dtype)
        self._c = np.zeros_like(h) if c is None else checks.floats("c", c, h.shape, dtype).copy()
        self._h = h.copy()
        self._was_set = True

    def reset_state(self) -> None:
        """Forget the state: the next forward starts from zeros."""
        self._h = self._c = None
        self._was_set = False

    def forward(self, xs: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """xs (N, T, D) -> hs (N, T, H), zeros at padding, through which each sample's state stays as it was."""
        Wx, Wh, b = self.weights()
        xs = checks.floats("xs", xs, ("N", "T", len(Wx)), Wx.dtype)
        N, T, _ = xs.shape
        lengths = checks.lengths("lengths", lengths, N, T)
        h0, c0 = self._first_state("xs", N)
        kernels = backend.kernels()
        hs, h, c, cache = kernels.lstm_forward(xs, h0, c0, Wx, Wh, b, lengths)
        self._end_in(h, c)
        self._keep(kernels, hs.shape, cache)
        return hs

    @property
    def _starts_from_zeros(self) -> bool:
        return self._h is None or not (self.stateful or self._was_set)

    def _first_state(self, name: str, N: int) -> tuple[Array, Array] | tuple[None, None]:
        """The state that a forward of a batch of N, called ``name``, starts from; None for zeros."""
        if self._starts_from_zeros:
            return None, None
        assert self._h is not None
        assert self._c is not None
        if len(self._h) != N:
            raise ValueError(
                f"{name} has a batch of {N}, but the state to start from has a batch of {len(self._h)}; "
                f"expected the same: call reset_state or set_state before the batch size changes"
            )
        return self._h, self._c

    def _end_in(self, h: Array, c: Array) -> None:
        self._h, self._c, self._was_set = h, c, False

    def backward(self, dhs: ArrayLike, *, dh_last: ArrayLike | None = None, dc_last: ArrayLike | None = None) -> Array:
        """dhs (N, T, H) -> dxs (N, T, D). dh_last, dc_last (N, H): gradients of the state after the last real step.

        Once for each forward: the gradients take the memory of what forward kept.
        """
        kernels, (N, T, H), cache = self._recall()
        Wx, Wh, _ = self.weights()
        dhs = checks.floats("dhs", dhs, (N, T, H), Wx.dtype)
        if dh_last is not None:
            dh_last = checks.floats("dh_last", dh_last, (N, H), Wx.dtype)
        if dc_last is not None:
            dc_last = checks.floats("dc_last", dc_last, (N, H), Wx.dtype)
        dWx, dWh, db = self.grads
        self._use_up()
        dxs, self.dh, self.dc = kernels.lstm_backward(dhs, dh_last, dc_last, Wx, Wh, cache, dWx, dWh, db)
        return dxs


class EmbeddingLSTM(Layer):
    """An embedding and an LSTM as one: what ``lstm.forward(embedding.forward(ids))`` gives, up to rounding.

    With the compiled kernels it is faster if the batch has at least 2V real positions. What follows from a token's vector
    alone, its product with Wx, is then computed once for each of the V tokens and not for each position; backward adds up
    the gradients of a token's positions before it multiplies them.

    ``params`` and ``grads`` are those of the two layers, whose own forward and backward are not called. The state is that of
    the LSTM: ``lstm.set_state``, ``lstm.h`` and so on; after ``backward`` of a forward that started from zeros, ``lstm.dh``
    and ``lstm.dc`` are None. ValueError if the layers do not fit together, TypeError if their dtypes differ.
    """

    def __init__(self, embedding: Embedding, lstm: LSTM) -> None:
        super().__init__()
        self.embedding, self.lstm = embedding, lstm
        self.weights()
        self.params = embedding.params + lstm.params
        self.grads = embedding.grads + lstm.grads

    def weights(self) -> list[Array]:
        """The two layers' weights, for a kernel. An error, as above, if a caller has put others in their lists."""
        weights = self.embedding.weights() + self.lstm.weights()
        W, Wx = weights[:2]
        if W.shape[1] != len(Wx):
            raise ValueError(f"the embedding's vectors are {W.shape[1]} wide; expected {len(Wx)}, as the LSTM's Wx has rows")
        if W.dtype != Wx.dtype:
            raise TypeError(f"the embedding has dtype {W.dtype}; expected {Wx.dtype}, the LSTM's")
        return weights

    def forward(self, ids: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """ids (N, T), integers from 0 to V - 1 -> hs (N, T, H), zeros at padding, where any integer may stand."""
        ids, lengths = checks.ids("ids", ids, ("N", "T"), len(self.weights()[0]), lengths)
        return self._forward(ids, lengths)

    def _forward(self, ids: Array, lengths: Array | None) -> Array:
        """For ids and lengths that have been checked."""
        W, Wx, Wh, b = self.weights()
        h0, c0 = self.lstm._first_state("ids", len(ids))
        kernels = backend.kernels()
        hs, h, c, cache = kernels.embedding_lstm_forward(W, ids, h0, c0, Wx, Wh, b, lengths)
        self.lstm._end_in(h, c)
        self.embedding.forget()
        self.lstm.forget()
        self._keep(kernels, hs.shape, cache)
        return hs

    def backward(self, dhs: ArrayLike) -> None:
        """dhs (N, T, H). Once for each forward. Token ids have no gradient, so nothing is returned."""
        kernels, shape, cache = self._recall()
        _, Wx, Wh, _ = self.weights()
        dhs = checks.floats("dhs", dhs, shape, Wx.dtype)
        self._use_up()
        grads = self.embedding.grads + self.lstm.grads
        self.lstm.dh, self.lstm.dc = kernels.embedding_lstm_backward(dhs, None, None, Wx, Wh, cache, *grads)
