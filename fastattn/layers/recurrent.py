"""What the recurrent layers share, each of which is made of LSTMs: how they read, where they start, what is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base import Layer
from .checks import Array
from .embedding import Embedding

Kept = tuple[Any, ...]  # what a backward needs of its forward
LSTMs = Sequence[Any]  # of `LSTM`, which derives from what stands here, and so cannot be named here


class RecurrentLayer(Layer):
    """A layer that reads a sequence step by step: of vectors, or of token ids that `EmbeddingLSTM` gives it.

    For both, what has been checked is read by ``_read``, and its backward is ``_read_backward``. Neither keeps anything in the
    layer: what the one is to know of the other goes through the caller. ``reads_its_output``: whether backward reads what
    forward has given, which must then stay as it is.
    """

    reads_its_output = False

    @property
    def lstms(self) -> LSTMs:
        """The LSTMs that it is made of, which hold their weights and states."""
        raise NotImplementedError

    @property
    def input_width(self) -> int:
        """The width of the vectors that it reads."""
        return len(self.lstms[0].params[0])

    @property
    def output_width(self) -> int:
        """The width of what it gives at each step."""
        raise NotImplementedError

    @property
    def _dtype(self) -> np.dtype:
        return self.lstms[0].params[0].dtype

    def _checked_source(self, N: int, hs_enc: Any, source_lengths: Any) -> dict[str, Any]:
        """What the layer reads besides a sequence, by name, for ``_read``: nothing, if it does not attend to a source."""
        if hs_enc is not None or source_lengths is not None:
            raise TypeError(f"{type(self).__name__} attends to nothing; expected neither hs_enc nor source_lengths")
        return {}

    def _read(self, x: Array, embedding: Embedding | None, lengths: Array | None, **source: Array | None) -> tuple[Array, Kept]:
        """x (N, T, D), or with an embedding token ids (N, T) -> what forward returns, and what its backward needs."""
        raise NotImplementedError

    def _checked_gradients(self, kept: Kept, dout: Any, dh_last: Any, dc_last: Any) -> tuple[Any, Any, Any]:
        """What backward is given, for ``_read_backward``, or an error."""
        raise NotImplementedError

    def _read_backward(self, kept: Kept, dout: Any, dh_last: Any, dc_last: Any) -> Any:
        """The gradient of what was read; with an embedding that is its own, which is overwritten, and dxs is None."""
        raise NotImplementedError

    def _backward(self, dout: Any, dh_last: Any, dc_last: Any) -> Any:
        """The backward of a forward that kept what ``_read`` gave it."""
        kept = self._recall()
        checked = self._checked_gradients(kept, dout, dh_last, dc_last)
        self.weights()
        self._use_up()
        return self._read_backward(kept, *checked)


def first_states(lstms: LSTMs, name: str, N: int) -> tuple[Array, Array] | tuple[None, None]:
    """h and c (L, N, H) that a forward of a batch of N, called ``name``, starts from; None if all start from zeros."""
    states = [lstm._first_state(name, N) for lstm in lstms]
    if all(h is None for h, _ in states):
        return None, None
    zeros = np.zeros((N, len(lstms[0].params[1])), lstms[0].params[1].dtype)
    h, c = (np.stack([zeros if state is None else state for state in each]) for each in zip(*states))
    return h, c


def recurrent_masks(lstms: LSTMs, N: int) -> Array | None:
    """The masks (L, N, H) of recurrent dropout for one forward; None if none of the LSTMs drops anything."""
    H, dtype = len(lstms[0].params[1]), lstms[0].params[1].dtype
    dropouts = [lstm.recurrent_dropout for lstm in lstms]
    masks = [None if dropout is None else dropout.mask(N, H, dtype) for dropout in dropouts]
    if all(mask is None for mask in masks):
        return None
    return np.stack([np.ones((N, H), dtype) if mask is None else mask for mask in masks])


def end_in(lstms: LSTMs, h: Array, c: Array) -> None:
    """h, c (L, N, H): where a forward ended."""
    for lstm, h_of, c_of in zip(lstms, h, c, strict=True):
        lstm._end_in(h_of, c_of)


def leave_gradients(lstms: LSTMs, dh: Array | None, dc: Array | None) -> None:
    """dh, dc (L, N, H): the gradients of the states that a forward started from, None if it was given none."""
    for i, lstm in enumerate(lstms):
        lstm.dh, lstm.dc = None if dh is None else dh[i], None if dc is None else dc[i]
