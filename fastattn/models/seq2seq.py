"""The whole model: encoder, attentive decoder, loss."""

from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastattn.layers import LSTM, Affine, Attention, Embedding, SoftmaxCrossEntropy, checks
from fastattn.layers.checks import Array

from .as_one import AsOne
from .base import Model
from .decoder import Decoder
from .encoder import Encoder
from .search import greedy

_KINDS = (Embedding, LSTM, Embedding, LSTM, Attention, Affine, SoftmaxCrossEntropy)


class AttentionSeq2seq(Model):
    """A sequence to a sequence, by an LSTM encoder and an LSTM decoder with attention.

    After Sutskever, Vinyals and Le 2014 (encoder and decoder), with the global dot-product attention of Luong, Pham and
    Manning 2015, section 3.1.

    V tokens, on both sides unless ``target_vocabulary`` says how many the target has; vectors of width D; states of
    width H. dtype: float32 or float64. seed: a whole number or a Generator, for the weights and for dropout (None: from
    the system). dropout: the ratio dropped while training, after both embeddings and before the scores.
    """

    _as_one: AsOne | None = None  # after a forward that ran all layers as one

    def __init__(
        self,
        V: int,
        D: int,
        H: int,
        *,
        target_vocabulary: int | None = None,
        dtype: DTypeLike = "float32",
        seed: int | np.random.Generator | None = None,
        dropout: float = 0.0,
    ) -> None:
        self.source_vocabulary = checks.size("V", V)
        self.target_vocabulary = self.source_vocabulary
        if target_vocabulary is not None:
            self.target_vocabulary = checks.size("target_vocabulary", target_vocabulary)
        generator = np.random.default_rng(seed)
        self.encoder = Encoder(V, D, H, dtype=dtype, seed=generator, dropout=dropout)
        self.decoder = Decoder(self.target_vocabulary, D, H, dtype=dtype, seed=generator, dropout=dropout)
        self.loss = SoftmaxCrossEntropy(overwrite_scores=True)  # nobody else has them
        super().__init__(self.encoder, self.decoder, self.loss)

    @property
    def attention_weight(self) -> Array | None:
        """After ``forward``, (T2 - 1, N, T1): ``attention_weight[t]`` (N, T1) holds the weights of decoder step t."""
        return self.decoder.attention_weight

    def forward(
        self,
        x: ArrayLike,
        t: ArrayLike,
        *,
        source_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
    ) -> float:
        """x (N, T1), t (N, T2), token ids -> the mean loss of a target token.

        t begins with the start symbol: the decoder is given t[:, :-1] and is to say t[:, 1:]. T2 and target_lengths
        count the start symbol, so they are at least 2. A small model runs as one kernel, and its parts then keep nothing for
        a backward of their own: call the model's.
        """
        # Nothing is kept before all of it is known to be right: a backward may follow, of the forward before this one.
        x, source_lengths = checks.ids("x", x, ("N", "T1"), self.source_vocabulary, source_lengths, "source_lengths")
        t, target_lengths = checks.ids(
            "t", t, (len(x), "T2"), self.target_vocabulary, target_lengths, "target_lengths", lowest=2
        )
        as_one, vocabularies = self._whole(), (self.source_vocabulary, self.target_vocabulary)
        loss = None if as_one is None else as_one.forward(x, t, source_lengths, target_lengths, vocabularies)
        if loss is None:
            as_one = None
            lengths = None if target_lengths is None else target_lengths - 1
            hs_enc = self.encoder.forward(x, lengths=source_lengths)
            scores = self.decoder.forward(t[:, :-1], hs_enc, lengths=lengths, source_lengths=source_lengths)
            loss = self.loss.forward(scores, t[:, 1:], lengths=lengths)
        else:
            self.encoder._as_one = self.decoder._as_one = None
        self._as_one = as_one
        return loss

    def _whole(self) -> AsOne | None:
        """All layers as one; None if one is not what we made, the encoder starts from a state, or something is dropped."""
        encoder, decoder, loss = self.encoder, self.decoder, self.loss
        if (type(encoder), type(decoder)) != (Encoder, Decoder):
            return None
        of_decoder = decoder.embedding, decoder.lstm, decoder.attention, decoder.affine
        as_one = AsOne.of((encoder.embedding, encoder.lstm, *of_decoder, loss), _KINDS, type(self).__name__)
        drops = encoder.dropout.drops or decoder.dropout.drops or decoder.output_dropout.drops
        if as_one is None or drops or not decoder.attention.join or loss.ignore_label is not None:
            return None
        return as_one

    def backward(self, dloss: float = 1) -> None:
        """dloss, the gradient of the loss, 1 for the loss itself. Overwrites ``grads``."""
        if self._as_one is None:
            self.encoder.backward(self.decoder.backward(self.loss.backward(dloss)))
        else:
            self._as_one.backward(dloss)

    @overload
    def generate(
        self,
        x: ArrayLike,
        start_id: int,
        sample_size: int,
        *,
        end_id: int | None = None,
        lengths: ArrayLike | None = None,
        return_attention: Literal[False] = False,
    ) -> Array: ...

    @overload
    def generate(
        self,
        x: ArrayLike,
        start_id: int,
        sample_size: int,
        *,
        end_id: int | None = None,
        lengths: ArrayLike | None = None,
        return_attention: Literal[True],
    ) -> tuple[Array, Array]: ...

    def generate(
        self,
        x: ArrayLike,
        start_id: int,
        sample_size: int,
        *,
        end_id: int | None = None,
        lengths: ArrayLike | None = None,
        return_attention: bool = False,
    ) -> Array | tuple[Array, Array]:
        """x (N, T1), token ids -> ids (N, sample_size) int64: from ``start_id`` on, the best token at each step.

        After a sample's first ``end_id`` every further id is ``end_id``. With ``return_attention``, also the weights
        (N, sample_size, T1), which are zero after the end. There is no dropout, whatever ``training`` says, and the
        call may stand between a forward and its backward.
        """
        x, lengths = checks.ids("x", x, ("N", "T1"), self.source_vocabulary, lengths)
        start_id = checks.token("start_id", start_id, self.target_vocabulary)
        if end_id is not None:
            end_id = checks.token("end_id", end_id, self.target_vocabulary)
        ids, weights = greedy(self, x, lengths, start_id, checks.size("sample_size", sample_size), end_id)
        return (ids, weights) if return_attention else ids
