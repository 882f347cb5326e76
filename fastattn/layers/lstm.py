"""LSTM over a whole sequence (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000)."""

import numpy as np
from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .base import Layer
from .checks import Array


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
        h0, c0 = (self._h, self._c) if self.stateful or self._was_set else (None, None)
        if h0 is not None and len(h0) != N:
            raise ValueError(
                f"xs has a batch of {N}, but the state to start from has a batch of {len(h0)}; "
                f"expected the same: call reset_state or set_state before the batch size changes"
            )
        kernels = backend.kernels()
        hs, self._h, self._c, cache = kernels.lstm_forward(xs, h0, c0, Wx, Wh, b, lengths)
        self._was_set = False
        self._keep(kernels, hs.shape, cache)
        return hs

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
