"""A whole model as one kernel, for batches that are quicker so."""

from fastattn import backend
from fastattn.layers import LSTM, Affine, Attention, Embedding, SoftmaxCrossEntropy
from fastattn.layers.base import Layer
from fastattn.layers.checks import Array

from .decoder import Decoder
from .encoder import Encoder


class AsOne(Layer):
    """Encoder, decoder and loss in one step each way: what they give one after another, up to rounding.

    Their layers' own forward and backward are not called, and have nothing to go back to afterwards. The state of both
    LSTMs and the weights of the attention are left where they are asked for; ``lstm.dh`` and ``lstm.dc`` are not made.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, loss: SoftmaxCrossEntropy) -> None:
        super().__init__()
        self.encoder, self.decoder, self.loss = encoder, decoder, loss
        self._layers: tuple[Layer, ...] = encoder.embedding, encoder.lstm, decoder.embedding, decoder.lstm, decoder.affine

    @property
    def _name(self) -> str:
        return "AttentionSeq2seq"

    @property
    def is_possible(self) -> bool:
        """Whether the parts are those that the kernel knows, the encoder starts from zeros, and nothing is dropped."""
        encoder, decoder = self.encoder, self.decoder
        kinds = (*map(type, self._layers), type(decoder.attention), type(self.loss), type(encoder), type(decoder))
        return (
            kinds == _KINDS
            and decoder.attention.join
            and self.loss.ignore_label is None
            and encoder.lstm._starts_from_zeros
            and not (encoder.dropout.drops or decoder.dropout.drops or decoder.output_dropout.drops)
        )

    def weights(self) -> list[Array]:
        return [weight for layer in self._layers for weight in layer.weights()]

    def forward(self, x: Array, t: Array, source_lengths: Array | None, target_lengths: Array | None) -> float | None:
        """For ids and lengths that have been checked, as the model has them: the loss, or None where layers are quicker."""
        kernels, weights = backend.kernels(), self.weights()
        batch = x, t, source_lengths, target_lengths
        if not kernels.seq2seq_as_one(weights, *batch):
            return None
        encoder, decoder = self.encoder, self.decoder
        loss, a, (h_enc, c_enc, h_dec, c_dec), cache = kernels.seq2seq_forward(weights, *batch)
        for layer in (*self._layers, decoder.attention, self.loss):
            layer.forget()
        encoder.lstm._end_in(h_enc, c_enc)
        decoder.lstm._end_in(h_dec, c_dec)
        decoder.attention.attention_weight = a.transpose(1, 0, 2)
        self._keep(kernels, cache)
        return loss

    def backward(self, dloss: float) -> None:
        """Once for each forward."""
        kernels, cache = self._recall()
        dloss, weights = float(dloss), self.weights()
        self._use_up()
        kernels.seq2seq_backward(dloss, weights, cache, [grad for layer in self._layers for grad in layer.grads])


_KINDS = (Embedding, LSTM, Embedding, LSTM, Affine, Attention, SoftmaxCrossEntropy, Encoder, Decoder)
