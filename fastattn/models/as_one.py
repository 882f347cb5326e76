"""A whole model as one kernel, for batches that are quicker so."""

from fastattn import backend
from fastattn.layers import LSTM, Affine, Attention, Embedding, SoftmaxCrossEntropy
from fastattn.layers.base import Layer
from fastattn.layers.checks import Array


class AsOne(Layer):
    """The layers of encoder, decoder and loss in one step each way: what they give one after another, up to rounding.

    The layers' own forward and backward are not called, and have nothing to go back to afterwards. The state of both
    LSTMs and the weights of the attention are left where they are asked for; ``lstm.dh`` and ``lstm.dc`` are not made.

    The caller sees to it that the layers are of classes with a forward and a backward like ours, that the encoder's LSTM
    starts from zeros, and that nothing is dropped. ``name``: what calls itself so in errors.
    """

    def __init__(
        self,
        encoder: tuple[Embedding, LSTM],
        decoder: tuple[Embedding, LSTM, Attention, Affine],
        loss: SoftmaxCrossEntropy,
        name: str,
    ) -> None:
        super().__init__()
        embedding, lstm, self.attention, affine = decoder
        self.lstms = encoder[1], lstm
        self.loss = loss
        self._of_weights: tuple[Layer, ...] = *encoder, embedding, lstm, affine
        self._called = name

    @property
    def _name(self) -> str:
        return self._called

    def weights(self) -> list[Array]:
        return [weight for layer in self._of_weights for weight in layer.weights()]

    def forward(self, x: Array, t: Array, source_lengths: Array | None, target_lengths: Array | None) -> float | None:
        """For ids and lengths that have been checked, as a model is given them: the loss; None where layers are quicker."""
        kernels, weights = backend.kernels(), self.weights()
        batch = x, t, source_lengths, target_lengths
        if not kernels.seq2seq_as_one(weights, *batch):
            return None
        loss, a, states, cache = kernels.seq2seq_forward(weights, *batch)
        for layer in (*self._of_weights, self.attention, self.loss):
            layer.forget()
        for lstm, h, c in zip(self.lstms, states[::2], states[1::2], strict=True):
            lstm._end_in(h, c)
        self.attention.attention_weight = a.transpose(1, 0, 2)
        self._keep(kernels, cache)
        return loss

    def backward(self, dloss: float) -> None:
        """Once for each forward."""
        kernels, cache = self._recall()
        dloss, weights = float(dloss), self.weights()
        self._use_up()
        kernels.seq2seq_backward(dloss, weights, cache, [grad for layer in self._of_weights for grad in layer.grads])
