"""Several recurrent layers, one upon the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .bilstm import BiLSTM
from .checks import Array
from .dropout import between
from .embedding import Embedding
from .embedding_lstm import EmbeddingLSTM
from .lstm import LSTM
from .recurrent import Kept, RecurrentLayer


class StackedLSTM(RecurrentLayer):
    """Layers, each an `LSTM` or a `BiLSTM`, of which each reads what the one before it gives.

    dropout: the ratio dropped between two layers while training, by ``dropouts``, one `Dropout` for each gap (Zaremba,
    Sutskever and Vinyals 2014). seed: theirs. residual: from the second layer on, what a layer gives is its states plus what
    it read (He et al. 2016; Wu et al. 2016, section 3.1).

    ``params`` and ``grads`` are those of the layers, first layer first. The states are theirs, too. ValueError if the layers do
    not fit on one another, TypeError for different dtypes.
    """

    def __init__(
        self,
        layers: Sequence[LSTM | BiLSTM],
        dropout: float = 0.0,
        residual: bool = False,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.layers = list(layers)
        self.residual = residual
        if not self.layers:
            raise ValueError("layers is empty; expected at least one")
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, LSTM | BiLSTM):
                raise TypeError(f"layers[{i}] is {type(layer).__name__}; expected an LSTM or a BiLSTM")
        if len(set(map(id, self.lstms))) < len(self.lstms):
            raise ValueError("layers holds an LSTM twice; expected layers with weights of their own")
        self.dropouts = between(len(self.layers), dropout, seed)
        self.weights()
        self.params = [param for layer in self.layers for param in layer.params]
        self.grads = [grad for layer in self.layers for grad in layer.grads]

    @property
    def lstms(self) -> list[LSTM]:
        return [lstm for layer in self.layers for lstm in layer.lstms]

    @property
    def output_width(self) -> int:
        return self.layers[-1].output_width

    def weights(self) -> list[Array]:
        """The layers' weights. An error, as above, if they do not fit."""
        weights = [weight for layer in self.layers for weight in layer.weights()]
        for i, (below, layer) in enumerate(zip(self.layers, self.layers[1:]), 1):
            if layer._dtype != below._dtype:
                raise TypeError(f"layers[{i}] has dtype {layer._dtype}; expected {below._dtype}, that of layers[{i - 1}]")
            D, width = layer.input_width, layer.output_width
            if below.output_width != D:
                raise ValueError(f"layers[{i}] reads vectors {D} wide; expected {below.output_width}, as layers[{i - 1}] gives")
            if self.residual and width != D:
                raise ValueError(
                    f"layers[{i}] reads vectors {D} wide and gives {width}; expected equal widths, for with residual=True "
                    f"both are added up"
                )
        return weights

    def forward(self, xs: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """xs (N, T, D) -> (N, T, width of the last layer), zeros at padding."""
        xs = checks.floats("xs", xs, ("N", "T", self.input_width), self._dtype)
        out, kept = self._read(xs, None, checks.lengths("lengths", lengths, *xs.shape[:2]))
        self._keep(*kept)
        return out

    def _read(self, x: Array, embedding: Embedding | None, lengths: Array | None, **source: Array | None) -> tuple[Array, Kept]:
        self.weights()
        for lstm in self.lstms:  # nothing is kept anywhere before all layers are known to have their states
            lstm._first_state("xs" if embedding is None else "ids", len(x))
        kernels = backend.kernels()
        below, *layers = self.layers
        first = below if embedding is None else EmbeddingLSTM(embedding, below)
        out = first.forward(x, lengths=lengths)
        for dropout, layer in zip(self.dropouts, layers, strict=True):
            z = dropout.forward(out)
            out = layer.forward(z, lengths=lengths)
            if self.residual:
                out = kernels.add(out, z)
        return out, (kernels, out.shape, first)

    def backward(
        self,
        dout: ArrayLike,
        *,
        dh_last: Sequence[ArrayLike | None] | None = None,
        dc_last: Sequence[ArrayLike | None] | None = None,
    ) -> Array:
        """dout, of the shape of what forward returned -> dxs (N, T, D).

        dh_last, dc_last: gradients of the last states, for each layer what its own backward takes, or None. Once for each
        forward.
        """
        return self._backward(dout, dh_last, dc_last)

    def _checked_gradients(self, kept: Kept, dout: Any, dh_last: Any, dc_last: Any) -> tuple[Any, Any, Any]:
        _, shape, _ = kept
        dout = checks.floats("dout", dout, shape, self._dtype)
        return dout, self._of_layers("dh_last", dh_last, shape[0]), self._of_layers("dc_last", dc_last, shape[0])

    def _of_layers(self, name: str, given: Sequence[ArrayLike | None] | None, N: int) -> list[ArrayLike | None]:
        """The gradients of the last states: an entry for each layer."""
        entries: list[ArrayLike | None] = [None] * len(self.layers) if given is None else list(given)
        if len(entries) != len(self.layers):
            raise ValueError(f"{name} has {len(entries)} entries; expected one for each of {len(self.layers)} layers")
        for i, (layer, entry) in enumerate(zip(self.layers, entries)):
            layer._last_gradient(f"{name}[{i}]", entry, N)
        return entries

    def _read_backward(self, kept: Kept, dout: Any, dh_last: Any, dc_last: Any) -> Any:
        kernels, _, first = kept
        d = dout
        for i in reversed(range(1, len(self.layers))):
            dz = self.layers[i].backward(d, dh_last=dh_last[i], dc_last=dc_last[i])
            if self.residual:
                dz = kernels.add(dz, d)  # out = states + z
            d = self.dropouts[i - 1].backward(dz)  # z = what dropout left of the out below
        return first.backward(d, dh_last=dh_last[0], dc_last=dc_last[0])
