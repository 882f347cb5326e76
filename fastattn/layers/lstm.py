"""LSTM over a whole sequence (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .checks import Array
from .dropout import Dropout
from .embedding import Embedding
from .recurrent import Kept, RecurrentLayer, end_in, first_states, leave_gradients, recurrent_masks


class OneLaunch(RecurrentLayer):
    """What one kernel call does: one LSTM, or two of opposite directions."""

    @property
    def output_width(self) -> int:
        return len(self.lstms) * len(self.lstms[0].params[1])

    def forward(self, xs: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """xs (N, T, D) -> hs (N, T, GH), G directions side by side; zeros at padding, through which a state stays as it was."""
        xs = checks.floats("xs", xs, ("N", "T", self.input_width), self._dtype)
        hs, kept = self._read(xs, None, checks.lengths("lengths", lengths, *xs.shape[:2]))
        self._keep(*kept)
        return hs

    def _read(self, x: Array, embedding: Embedding | None, lengths: Array | None, **source: Array | None) -> tuple[Array, Kept]:
        weights, lstms, N = self.weights(), self.lstms, len(x)
        h0, c0 = first_states(lstms, "xs" if embedding is None else "ids", N)
        mask = recurrent_masks(lstms, N)
        kernels = backend.kernels()
        if embedding is None:
            hs, h, c, cache = kernels.lstm_forward(x, weights, h0, c0, mask, lengths)
        else:
            hs, h, c, cache = kernels.embedding_lstm_forward(*embedding.weights(), x, weights, h0, c0, mask, lengths)
        end_in(lstms, h, c)
        return hs, (kernels, hs.shape, embedding, cache)

    def _checked_gradients(self, kept: Kept, dout: Any, dh_last: Any, dc_last: Any) -> tuple[Any, Any, Any]:
        shape = kept[1]
        dhs = checks.floats("dhs", dout, shape, self._dtype)
        return dhs, self._last_gradient("dh_last", dh_last, shape[0]), self._last_gradient("dc_last", dc_last, shape[0])

    def _last_gradient(self, name: str, given: Any, N: int) -> Array | None:
        """The gradient of the last states, as the kernels want it: (G, N, H), or None."""
        raise NotImplementedError

    def _read_backward(self, kept: Kept, dout: Any, dh_last: Any, dc_last: Any) -> Array | None:
        kernels, _, embedding, cache = kept
        grads = [grad for lstm in self.lstms for grad in lstm.grads]
        given = dout, dh_last, dc_last, self.weights(), cache
        if embedding is None:
            dxs, dh, dc = kernels.lstm_backward(*given, grads)
        else:
            dxs, (dh, dc) = None, kernels.embedding_lstm_backward(*given, *embedding.grads, grads)
        leave_gradients(self.lstms, dh, dc)
        return dxs


class LSTM(OneLaunch):
    """A whole sequence at a time, with the gates in the order f, g, i, o along 4H.

    Wx (D, 4H), Wh (H, 4H), b (4H,), all float32 or all float64.

    A forward starts from zeros, or from what ``set_state`` was given since the forward before it. With
    ``stateful=True`` it starts from where the forward before it ended, unless ``reset_state`` or ``set_state`` was
    called in between.
    After ``backward``, ``dh`` and ``dc`` (N, H) hold the gradients of the state that the forward started from.

    ``recurrent_dropout``, None at first, may be a `Dropout`. While that drops, h of the step before is multiplied by a mask
    before Wh, one mask for all steps of a forward (Gal and Ghahramani 2016, section 4); states are given on whole.
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
        self._recurrent_dropout: Dropout | None = None

    @property
    def recurrent_dropout(self) -> Dropout | None:
        """What drops h on its way to Wh; see above."""
        return self._recurrent_dropout

    @recurrent_dropout.setter
    def recurrent_dropout(self, dropout: Dropout | None) -> None:
        if dropout is not None and not isinstance(dropout, Dropout):
            raise TypeError(f"recurrent_dropout is {dropout!r}; expected a Dropout, or None")
        self._recurrent_dropout = dropout

    @property
    def lstms(self) -> list[LSTM]:
        return [self]

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

    def _last_gradient(self, name: str, given: Any, N: int) -> Array | None:
        H = len(self.params[1])
        return None if given is None else checks.floats(name, given, (N, H), self._dtype)[None]

    def backward(self, dhs: ArrayLike, *, dh_last: ArrayLike | None = None, dc_last: ArrayLike | None = None) -> Array:
        """dhs (N, T, H) -> dxs (N, T, D). dh_last, dc_last (N, H): gradients of the state after the last real step.

        Once for each forward: the gradients take the memory of what forward kept.
        """
        return self._backward(dhs, dh_last, dc_last)
