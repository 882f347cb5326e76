"""What the encoder and the decoder begin with: token ids to states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastattn.layers import LSTM, BiLSTM, Dropout, Embedding, EmbeddingLSTM, InputFeedingLSTM, StackedLSTM
from fastattn.layers.as_one import RunsAsOne
from fastattn.layers.checks import Array
from fastattn.layers.recurrent import RecurrentLayer

from .base import Model
from .config import ModelConfig
from .initial import Weights

READERS = (LSTM, BiLSTM, StackedLSTM, InputFeedingLSTM)


class Recurrent(RunsAsOne, Model):
    """A model that begins with an embedding, what is dropped from its vectors, and an LSTM, of one layer or several.

    While there is nothing to drop from the vectors, embedding and LSTM run as one, unless layers of another class were put in
    their place.
    """

    embedding: Embedding
    word_dropout: Dropout
    dropout: Dropout
    lstm: LSTM | BiLSTM | StackedLSTM | InputFeedingLSTM
    output_dropout: Dropout

    def _make_embedding(self, name: str, config: ModelConfig, weights: Weights) -> None:
        self.embedding = Embedding(*weights[name])
        self.word_dropout = Dropout(config.word_dropout, whole=True, seed=0)
        self.dropout = Dropout(config.ratios.embedding, seed=0)

    @property
    def layers(self) -> Sequence[RecurrentLayer]:
        """The layers of the LSTM, lowest first."""
        if isinstance(self.lstm, InputFeedingLSTM):
            return self.lstm.lstms
        return self.lstm.layers if isinstance(self.lstm, StackedLSTM) else [self.lstm]

    @property
    def dropouts(self) -> list[Dropout]:
        recurrent = [each.recurrent_dropout for each in self.lstm.lstms if each.recurrent_dropout is not None]
        between = getattr(self.lstm, "dropouts", ())
        return [self.word_dropout, self.dropout, *recurrent, *between, self.output_dropout]

    def _read(self, ids: Array, lengths: Array | None, **source: Any) -> Array:
        """ids (N, T), token ids -> what the LSTM gives, zeros at padding. An `Embedding` gets the ids checked.

        source: what the LSTM reads besides, if it attends to the encoder's states.
        """
        return self._run(self._with_embedding(), self._one_after_another, ids, lengths, **source)

    def _with_embedding(self) -> EmbeddingLSTM | None:
        """Embedding and LSTM as one; None if they cannot be."""
        if self.word_dropout.drops or self.dropout.drops:
            return None
        known = type(self.embedding) is Embedding and type(self.lstm) in READERS
        return EmbeddingLSTM(self.embedding, self.lstm) if known else None

    def _one_after_another(self, ids: Array, lengths: Array | None, **source: Any) -> Array:
        xs = self.word_dropout.forward(self.embedding.forward(ids, lengths=lengths))
        xs = self.dropout.forward(xs)
        if type(self.lstm) is InputFeedingLSTM:  # whose forward lets nobody overwrite what it gives, a layer after it neither
            return self.lstm._forward(xs, source["hs_enc"], lengths, source["source_lengths"])
        return self.lstm.forward(xs, lengths=lengths, **source)

    def _read_backward(self, dout: Any, **last: Any) -> Any:
        """dout, the gradient of what `_read` returned -> that of the encoder's states; None if the LSTM does not read them.

        last: the gradients of the states that the LSTM ended in.
        """
        return self._run_back(self._one_after_another_back, dout, **last)

    def _one_after_another_back(self, dout: Any, **last: Any) -> Any:
        dxs, dhs_enc = self.lstm.backward(dout, **last), None
        if isinstance(self.lstm, InputFeedingLSTM):
            dxs, dhs_enc = dxs
        self.embedding.backward(self.word_dropout.backward(self.dropout.backward(dxs)))
        return dhs_enc


def lstm(name: str, config: ModelConfig, weights: Weights) -> LSTM:
    """The LSTM with this name."""
    Wx, Wh, b = weights[name]
    made = LSTM(Wx, Wh, b)
    made.recurrent_dropout = Dropout(config.recurrent_dropout, seed=0)
    return made


def stacked(layers: Sequence[LSTM | BiLSTM], config: ModelConfig) -> LSTM | BiLSTM | StackedLSTM:
    """Each reading the one before."""
    if len(layers) == 1:
        return layers[0]
    return StackedLSTM(layers, dropout=config.ratios.layers, residual=config.residual, seed=0)
