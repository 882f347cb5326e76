"""What the encoder and the decoder begin with: token ids to states."""

from numpy.typing import ArrayLike

from fastattn.layers import LSTM, Dropout, Embedding, EmbeddingLSTM
from fastattn.layers.checks import Array

from .base import Model


class Recurrent(Model):
    """A model that begins with an embedding, dropout and an LSTM.

    While there is nothing to drop, embedding and LSTM run as one, unless layers of another class were put in their place.
    """

    embedding: Embedding
    dropout: Dropout
    lstm: LSTM
    _as_one: EmbeddingLSTM | None = None  # after a forward that ran them as one

    def _states(self, ids: ArrayLike, lengths: ArrayLike | None) -> Array:
        """ids (N, T), token ids -> hs (N, T, H), zeros at padding. An `Embedding` gets them checked."""
        as_one = None
        if not self.dropout.drops and type(self.embedding) is Embedding and type(self.lstm) is LSTM:
            as_one = EmbeddingLSTM(self.embedding, self.lstm)
            hs = as_one._forward(ids, lengths)  # type: ignore[arg-type]
        else:
            hs = self.lstm.forward(self.dropout.forward(self.embedding.forward(ids, lengths=lengths)), lengths=lengths)
        self._as_one = as_one
        return hs

    def _states_backward(self, dhs: ArrayLike) -> None:
        """dhs (N, T, H)."""
        if self._as_one is None:
            self.embedding.backward(self.dropout.backward(self.lstm.backward(dhs)))
        else:
            self._as_one.backward(dhs)
