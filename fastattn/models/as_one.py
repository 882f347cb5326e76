"""A whole model as one kernel, for batches that are quicker so."""

from fastattn import backend
from fastattn.layers import LSTM, Affine, Attention, Embedding, SoftmaxCrossEntropy
from fastattn.layers.base import Layer
from fastattn.layers.checks import Array

# The encoder's embedding and LSTM; the decoder's, its attention and affine map; the loss.
Layers = tuple[Embedding, LSTM, Embedding, LSTM, Attention, Affine, SoftmaxCrossEntropy]


class AsOne(Layer):
    """The layers of encoder, decoder and loss in one step each way: what they give one after another, up to rounding.

    The layers' own forward and backward are not called, and have nothing to go back to afterwards. The state of both
    LSTMs, its gradient, and the weights of the attention are left where they are asked for.

    The caller sees to it that nothing is dropped in between, and no target ignored. ``name``: what calls itself so in errors.
    """

    def __init__(self, layers: Layers, name: str) -> None:
        super().__init__()
        embedding_enc, self.lstm_enc, embedding_dec, self.lstm_dec, self.attention, affine, self.loss = layers
        self._of_weights: tuple[Layer, ...] = embedding_enc, self.lstm_enc, embedding_dec, self.lstm_dec, affine
        self._name = name

    @classmethod
    def of(cls, layers: Layers, kinds: tuple[type[Layer], ...], name: str) -> "AsOne | None":
        """None unless each layer is of just this class, with its forward and backward, and the encoder starts from zeros."""
        known = tuple(map(type, layers)) == kinds and layers[1]._starts_from_zeros
        return cls(layers, name) if known else None

    def weights(self) -> list[Array]:
        return [weight for layer in self._of_weights for weight in layer.weights()]

    def _fit(self, weights: list[Array], vocabularies: tuple[int, int]) -> bool:
        """Whether the weights go together. Where they do not, the layers say what is wrong, or it is not wrong for them."""
        V1, V2 = vocabularies
        D, H = weights[0].shape[1], len(weights[2])
        lstm = (D, 4 * H), (H, 4 * H), (4 * H,)
        shapes = [(V1, D), *lstm, (V2, D), *lstm, (2 * H, V2), (V2,)]
        return (
            [weight.shape for weight in weights] == shapes
            and len({weight.dtype for weight in weights}) == 1
            and len(set(map(id, self._of_weights))) == len(self._of_weights)  # a layer that stands twice has one gradient
        )

    def forward(
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
        for layer in (*self._of_weights, self.attention, self.loss):
            layer.forget()
        self.lstm_enc._end_in(h_enc, c_enc)
        self.lstm_dec._end_in(h_dec, c_dec)
        self.attention.attention_weight = a.transpose(1, 0, 2)
        self._keep(kernels, cache)
        return loss

    def backward(self, dloss: float) -> None:
        """Once for each forward."""
        kernels, cache = self._recall()
        dloss, weights = float(dloss), self.weights()
        self._use_up()
        grads = [grad for layer in self._of_weights for grad in layer.grads]
        self.lstm_enc.dh = self.lstm_enc.dc = None  # it started from zeros
        self.lstm_dec.dh, self.lstm_dec.dc = kernels.seq2seq_backward(dloss, weights, cache, grads)
