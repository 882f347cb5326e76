"""A whole model as one kernel, for batches that are quicker so."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Self, cast

from fastattn import backend
from fastattn.layers import LSTM, Affine, Attention, Embedding, SoftmaxCrossEntropy
from fastattn.layers.as_one import AsOne
from fastattn.layers.base import Layer
from fastattn.layers.checks import Array

from .config import ModelConfig
from .parts import Shape, tensor_shapes

# The layers of a plain model: the encoder's, the decoder's, and the loss.
KINDS = (Embedding, LSTM, Embedding, LSTM, Attention, Affine, SoftmaxCrossEntropy)


@cache
def _shapes(V1: int, V2: int, D: int, H: int) -> list[Shape]:
    """Of the weights of a plain model."""
    return [*tensor_shapes(ModelConfig(V1, D, H, V2)).values()]


class Seq2seqAsOne(AsOne):
    """The layers of a plain model, with its loss, in one step each way.

    The state of both LSTMs, its gradient, and the weights of the attention are left where they are asked for.

    The caller sees to it that nothing is dropped in between, and no target ignored.
    """

    @classmethod
    def of(cls, layers: Sequence[Layer], kinds: Sequence[type[Layer]] = KINDS, name: str | None = None) -> Self | None:
        """None unless each layer is of just this class, and the encoder starts from zeros."""
        as_one = super().of(layers, kinds, name)
        return as_one if as_one is not None and cast(LSTM, layers[1])._starts_from_zeros else None

    def _fit(self, weights: list[Array], vocabularies: tuple[int, int]) -> bool:
        """Whether the weights go together. Where they do not, the layers say what is wrong, or it is not wrong for them."""
        D, H = weights[0].shape[1], len(weights[2])
        return (
            [weight.shape for weight in weights] == _shapes(*vocabularies, D, H)
            and len({weight.dtype for weight in weights}) == 1
            and len(set(map(id, self.layers))) == len(self.layers)  # a layer that stands twice has one gradient
        )

    def _forward(
        self, x: Array, t: Array, source_lengths: Array | None, target_lengths: Array | None, vocabularies: tuple[int, int]
    ) -> float | None:
        """For ids and lengths that have been checked, as a model is given them: the loss; None if it is for the layers to do.

        vocabularies: by which x and t have been checked.
        """
        kernels, weights = backend.kernels(), self.weights()
        batch = x, t, source_lengths, target_lengths
        if not (self._fit(weights, vocabularies) and kernels.seq2seq_as_one(weights, *batch)):
            return None
        loss, a, (h_enc, c_enc, h_dec, c_dec), cache = kernels.seq2seq_forward(weights, *batch)
        self._forget_layers()
        _, lstm_enc, _, lstm_dec, attention, _, _ = self.layers
        cast(LSTM, lstm_enc)._end_in(h_enc, c_enc)
        cast(LSTM, lstm_dec)._end_in(h_dec, c_dec)
        cast(Attention, attention).attention_weight = a.transpose(1, 0, 2)
        self._keep(kernels, cache)
        return loss

    def backward(self, dloss: float) -> None:
        """Once for each forward."""
        kernels, cache = self._recall()
        dloss, weights = float(dloss), self.weights()
        self._use_up()
        lstm_enc, lstm_dec = cast(LSTM, self.layers[1]), cast(LSTM, self.layers[3])
        lstm_enc.dh = lstm_enc.dc = None  # it started from zeros
        lstm_dec.dh, lstm_dec.dc = kernels.seq2seq_backward(dloss, weights, cache, self.grads)
