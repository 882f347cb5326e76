"""Two LSTMs in opposite directions."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from . import checks
from .checks import Array
from .embedding import Embedding
from .lstm import LSTM, OneLaunch
from .recurrent import Kept


class BiLSTM(OneLaunch):
    """Two LSTMs over the same sequence, the second of which reads it from its end (Schuster and Paliwal 1997).

    Their states stand side by side, each where its step stands, the forward LSTM's first: (N, T, 2H). A backward LSTM ends at
    the first step; with ``lengths`` it starts at each sample's last real one.

    ``params`` and ``grads`` are those of the two LSTMs, whose own forward and backward are not called. The states are theirs,
    too: ``forward_lstm.h``, ``backward_lstm.set_state``, ``forward_lstm.dh`` and so on. ValueError if the LSTMs are of
    different sizes, TypeError for different dtypes.
    """

    def __init__(self, forward_lstm: LSTM, backward_lstm: LSTM) -> None:
        super().__init__()
        for name, lstm in (("forward_lstm", forward_lstm), ("backward_lstm", backward_lstm)):
            if not isinstance(lstm, LSTM):
                raise TypeError(f"{name} is {type(lstm).__name__}; expected an LSTM")
        if forward_lstm is backward_lstm:
            raise ValueError("forward_lstm and backward_lstm are one LSTM; expected two, with weights of their own")
        self.forward_lstm, self.backward_lstm = forward_lstm, backward_lstm
        self.weights()
        self.params = forward_lstm.params + backward_lstm.params
        self.grads = forward_lstm.grads + backward_lstm.grads

    @property
    def lstms(self) -> list[LSTM]:
        return [self.forward_lstm, self.backward_lstm]

    def weights(self) -> list[Array]:
        """The two LSTMs' weights, for a kernel. An error, as above, if a caller has put others in their lists."""
        weights, reversed_weights = self.forward_lstm.weights(), self.backward_lstm.weights()
        for name, W, W_reversed in zip(("Wx", "Wh"), weights, reversed_weights):
            if W.shape != W_reversed.shape:
                raise ValueError(
                    f"{name} of backward_lstm has shape {W_reversed.shape}; expected {W.shape}, that of forward_lstm"
                )
            if W.dtype != W_reversed.dtype:
                raise TypeError(f"backward_lstm has dtype {W_reversed.dtype}; expected {W.dtype}, that of forward_lstm")
        return weights + reversed_weights

    def _read(self, x: Array, embedding: Embedding | None, lengths: Array | None, **source: Array | None) -> tuple[Array, Kept]:
        read = super()._read(x, embedding, lengths, **source)
        for lstm in self.lstms:
            lstm.forget()
        return read

    def _last_gradient(self, name: str, given: Any, N: int) -> Array | None:
        H = len(self.forward_lstm.params[1])
        return None if given is None else checks.floats(name, given, (2, N, H), self._dtype)

    def backward(self, dhs: ArrayLike, *, dh_last: ArrayLike | None = None, dc_last: ArrayLike | None = None) -> Array:
        """dhs (N, T, 2H) -> dxs (N, T, D). dh_last, dc_last (2, N, H): gradients of the last states, forward_lstm's first.

        Once for each forward: the gradients take the memory of what forward kept.
        """
        return self._backward(dhs, dh_last, dc_last)
