"""LSTM layers with attention inside the recurrence: input feeding (Luong, Pham and Manning 2015, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .affine import Affine
from .attention import Attention
from .checks import Array
from .dropout import between
from .embedding import Embedding
from .lstm import LSTM
from .recurrent import Kept, RecurrentLayer, end_in, first_states, leave_gradients, recurrent_masks


class InputFeedingLSTM(RecurrentLayer):
    """LSTM layers that attend at each step, and read at the next what came of it.

    At a step the first LSTM reads [x, h~ of the step before], each other the states of the one below. The state of the last is
    the query of the attention, and h~ = tanh([context, state] W) (section 3, equation 5) is what the step gives; there is
    no step before the first, whose h~ is zeros.

    lstms: the first with Wx (D + K, 4H), the others with Wx (H, 4H). attention: an `Attention`, for its kind and weights.
    W (E + H, K), E being the width of the source states. residual: from the second layer on, what a layer gives is its
    states plus what it read. dropout: the ratio dropped between two layers while training, by ``dropouts``, one `Dropout` for
    each gap, all of one ratio. seed: theirs.

    ``params`` and ``grads`` are those of the LSTMs, of the attention, and W; the states are the LSTMs'. Their own forward and
    backward are not called. ValueError if the sizes do not fit, TypeError for different dtypes.
    After ``forward``, ``attention_weight`` (T2, N, T1) holds the weights, as in `Attention`.
    """

    reads_its_output = True

    def __init__(
        self,
        lstms: Sequence[LSTM],
        attention: Attention,
        W: ArrayLike,
        residual: bool = False,
        dropout: float = 0.0,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self._lstms = list(lstms)
        if not self._lstms:
            raise ValueError("lstms is empty; expected at least one LSTM")
        for i, lstm in enumerate(self._lstms):
            if not isinstance(lstm, LSTM):
                raise TypeError(f"lstms[{i}] is {type(lstm).__name__}; expected an LSTM")
        if len(set(map(id, self._lstms))) < len(self._lstms):
            raise ValueError("lstms holds an LSTM twice; expected layers with weights of their own")
        if not isinstance(attention, Attention):
            raise TypeError(f"attention is {type(attention).__name__}; expected an Attention")
        self.attention = attention
        self.attentional = Affine(W)  # without tanh
        self.residual = residual
        self.dropouts = between(len(self._lstms), dropout, seed)
        self.attention_weight: Array | None = None
        self.weights()
        layers = *self._lstms, attention, self.attentional
        self.params = [param for layer in layers for param in layer.params]
        self.grads = [grad for layer in layers for grad in layer.grads]

    @property
    def lstms(self) -> list[LSTM]:
        return self._lstms

    @property
    def input_width(self) -> int:
        return len(self._lstms[0].params[0]) - self.output_width

    @property
    def output_width(self) -> int:
        return self.attentional.params[0].shape[1]

    @property
    def _state_width(self) -> int:
        return len(self._lstms[0].params[1])

    @property
    def _source_width(self) -> int:
        return len(self.attentional.params[0]) - self._state_width

    def weights(self) -> list[Array]:
        """The weights of all parts. An error, as above, if they do not fit."""
        lstms = [weight for lstm in self._lstms for weight in lstm.weights()]
        of_attention, (W,) = self.attention.weights(), self.attentional.weights()
        H, dtype, K = self._state_width, self._dtype, W.shape[1]
        for name, weights in (("lstms", lstms), ("attention", of_attention), ("W", [W])):
            for weight in weights:
                if weight.dtype != dtype:
                    raise TypeError(f"{name} has dtype {weight.dtype}; expected {dtype}, that of the first LSTM")
        if self.input_width < 1:
            raise ValueError(
                f"Wx of lstms[0] has {len(lstms[0])} rows; expected more than {K}, the columns of W: [x, h~] is read"
            )
        for i, lstm in enumerate(self._lstms[1:], 1):
            if [w.shape for w in lstm.params[:2]] != [(H, 4 * H)] * 2:
                shapes = " and ".join(str(w.shape) for w in lstm.params[:2])
                raise ValueError(
                    f"Wx and Wh of lstms[{i}] have shapes {shapes}; expected {(H, 4 * H)}: each reads the one below"
                )
        E = self._source_width
        if E < 1:
            raise ValueError(f"W has {len(W)} rows; expected more than {H}, the width of the states: [context, state] is read")
        expected = self.attention._target_width(E)
        if self.attention.params and len(self.attention.params[0]) != E:
            raise ValueError(
                f"W has {len(W)} rows; expected {len(self.attention.params[0]) + H}: the source states of the attention "
                f"are {len(self.attention.params[0])} wide, the states {H}"
            )
        if expected != H:
            raise ValueError(
                f"the states are {H} wide; expected {expected}, as attention of kind {self.attention.kind!r} "
                f"scores them against source states {E} wide"
            )
        return [*lstms, *of_attention, W]

    def _checked_source(self, N: int, hs_enc: Any, source_lengths: Any) -> dict[str, Any]:
        if hs_enc is None:
            raise TypeError("hs_enc is None; expected the states to attend to")
        hs_enc = checks.floats("hs_enc", hs_enc, (N, "T1", self._source_width), self._dtype)
        return {
            "hs_enc": hs_enc,
            "source_lengths": checks.lengths("source_lengths", source_lengths, N, hs_enc.shape[1]),
        }

    def forward(
        self,
        xs: ArrayLike,
        hs_enc: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        source_lengths: ArrayLike | None = None,
    ) -> Array:
        """xs (N, T2, D), hs_enc (N, T1, E) -> outs (N, T2, K), the h~ of all steps, zeros at padding.

        They are to be read: backward reads the same memory.
        """
        return checks.read_only(self._forward(xs, hs_enc, lengths, source_lengths))

    def _forward(self, xs: ArrayLike, hs_enc: ArrayLike, lengths: ArrayLike | None, source_lengths: ArrayLike | None) -> Array:
        """What forward gives, for who does not overwrite it."""
        xs = checks.floats("xs", xs, ("N", "T2", self.input_width), self._dtype)
        checked_lengths = checks.lengths("lengths", lengths, *xs.shape[:2])
        outs, kept = self._read(xs, None, checked_lengths, **self._checked_source(len(xs), hs_enc, source_lengths))
        self._keep(*kept)
        return outs

    def _read(self, x: Array, embedding: Embedding | None, lengths: Array | None, **source: Array | None) -> tuple[Array, Kept]:
        hs_enc, source_lengths = source["hs_enc"], source["source_lengths"]
        assert hs_enc is not None
        weights = self.weights()
        lstms, W = weights[: 3 * len(self._lstms)], weights[-1]
        N = len(x)
        state = first_states(self._lstms, "xs" if embedding is None else "ids", N)
        drop = self._drop()
        mask = recurrent_masks(self._lstms, N)
        _, W_query, v = self.attention._named(self.attention.weights())
        kernels = backend.kernels()
        keys = self.attention.keys(hs_enc, source_lengths)
        scale = self.attention.scale(keys.shape[2])
        read = (x, None) if embedding is None else (embedding.weights()[0], x)
        outs, a, h, c, cache = kernels.input_feeding_forward(
            *(*read, keys, hs_enc, lstms, W, W_query, v, scale),
            *(*state, None, mask, drop, self.residual, source_lengths, lengths),
        )
        end_in(self._lstms, h, c)
        for part in (*self._lstms, self.attention):
            part.forget()
        self.attention_weight = checks.read_only(a.transpose(1, 0, 2))
        return outs, (kernels, outs.shape, embedding, keys, hs_enc, source_lengths, scale, cache)

    def _drop(self) -> tuple[float, list[np.uint64]] | None:
        """The ratio that is dropped between layers, and the seed of each gap; None if nothing is."""
        how = {(dropout.ratio, dropout.drops) for dropout in self.dropouts}
        if len(how) > 1:
            raise ValueError("dropouts differ in their ratios, or in whether they drop; expected the same of all")
        if not self.dropouts or not self.dropouts[0].drops:
            return None
        return self.dropouts[0].ratio, [dropout._next() for dropout in self.dropouts]

    def backward(
        self, douts: ArrayLike, *, dh_last: ArrayLike | None = None, dc_last: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """douts (N, T2, K) -> dxs (N, T2, D), dhs_enc (N, T1, E). dh_last, dc_last (L, N, H): gradients of the last states.

        Once for each forward: the gradients take the memory of what forward kept.
        """
        return self._backward(douts, dh_last, dc_last)

    def _checked_gradients(self, kept: Kept, dout: Any, dh_last: Any, dc_last: Any) -> tuple[Any, Any, Any]:
        shape, dtype = kept[1], self._dtype
        state = len(self._lstms), shape[0], self._state_width
        douts = checks.floats("douts", dout, shape, dtype)
        dh, dc = (
            None if given is None else checks.floats(name, given, state, dtype)
            for name, given in (("dh_last", dh_last), ("dc_last", dc_last))
        )
        return douts, dh, dc

    def _read_backward(self, kept: Kept, dout: Any, dh_last: Any, dc_last: Any) -> Any:
        """(dxs, dhs_enc); with an embedding dhs_enc alone."""
        kernels, _, embedding, keys, hs_enc, source_lengths, scale, cache = kept
        weights = self.weights()
        lstms, W = weights[: 3 * len(self._lstms)], weights[-1]
        _, W_query, v = self.attention._named(self.attention.weights())
        _, dW_query, dv = self.attention._named(self.attention.grads)
        dlstms = [grad for lstm in self._lstms for grad in lstm.grads]
        dx, dkeys, dvalues, dh, dc, _ = kernels.input_feeding_backward(
            *(dout, dh_last, dc_last, keys, hs_enc, lstms, W, W_query, v, scale, cache),
            *(dlstms, *self.attentional.grads, dW_query, dv),
        )
        leave_gradients(self._lstms, dh, dc)
        dhs_enc = self.attention._keys_backward(kernels, dkeys, hs_enc, dvalues, source_lengths)
        if embedding is None:
            return dx, dhs_enc
        (dW,) = embedding.grads
        if dW.shape != dx.shape:
            raise ValueError(f"the embedding's gradient has shape {dW.shape}; expected {dx.shape}, that of its W in forward")
        dW[...] = dx
        return dhs_enc
