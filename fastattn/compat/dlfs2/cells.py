"""One step of the layers that fastattn has for sequences: sequences of one step."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastattn import layers
from fastattn.layers import checks
from fastattn.layers.checks import Array


class LSTM:
    """One step of an LSTM, with the gates in the order f, g, i, o along 4H: Wx (D, 4H), Wh (H, 4H), b (4H,)."""

    def __init__(self, Wx: ArrayLike, Wh: ArrayLike, b: ArrayLike) -> None:
        self._sequence = layers.LSTM(Wx, Wh, b)
        self.params, self.grads = self._sequence.params, self._sequence.grads

    def forward(self, x: ArrayLike, h_prev: ArrayLike, c_prev: ArrayLike) -> tuple[Array, Array]:
        """x (N, D), h_prev, c_prev (N, H) -> h_next, c_next (N, H)."""
        Wx, Wh, _ = self.params
        x = checks.floats("x", x, ("N", len(Wx)), Wx.dtype)
        h_prev = checks.floats("h_prev", h_prev, (len(x), len(Wh)), Wx.dtype)
        self._sequence.set_state(h_prev, checks.floats("c_prev", c_prev, h_prev.shape, Wx.dtype))
        hs = self._sequence.forward(x[:, None])
        c_next = self._sequence.c
        assert c_next is not None
        return hs[:, 0], c_next

    def backward(self, dh_next: ArrayLike, dc_next: ArrayLike) -> tuple[Array, Array, Array]:
        """dh_next, dc_next (N, H) -> dx (N, D), dh_prev, dc_prev (N, H). Once for each forward."""
        dh_next = checks.floats("dh_next", dh_next, ("N", len(self.params[1])), self.params[1].dtype)
        dxs = self._sequence.backward(dh_next[:, None], dc_last=dc_next)
        assert self._sequence.dh is not None
        assert self._sequence.dc is not None
        return dxs[:, 0], self._sequence.dh, self._sequence.dc


class Embedding:
    """A row of W (V, D) for each token id."""

    def __init__(self, W: ArrayLike) -> None:
        self._sequence = layers.Embedding(W)
        self.params, self.grads = self._sequence.params, self._sequence.grads

    def forward(self, idx: ArrayLike) -> Array:
        """idx (N,), integers from 0 to V - 1 -> (N, D)."""
        idx = np.asarray(idx)
        if idx.ndim != 1:
            raise ValueError(f"idx has shape {idx.shape}; expected (N,)")
        return self._sequence.forward(idx[None])[0]

    def backward(self, dout: ArrayLike) -> None:
        """dout (N, D). Token ids have no gradient, so nothing is returned."""
        self._sequence.backward(np.asarray(dout)[None])
