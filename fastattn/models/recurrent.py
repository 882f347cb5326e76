"""What the encoder and the decoder begin with: token ids to states."""

from numpy.typing import ArrayLike

from fastattn.layers import LSTM, Dropout, Embedding, EmbeddingLSTM
from fastattn.layers.checks import Array

from .base import Model


class Recurrent(Model):
    """Embedding, dropout, LSTM; while there is nothing to drop, embedding and LSTM as one."""

    def __init__(self, embedding: Embedding, dropout: Dropout, lstm: LSTM) -> None:
        super().__init__(embedding, dropout, lstm)
        self.embedding, self.dropout, self.lstm = embedding, dropout, lstm
        self._as_one = EmbeddingLSTM(embedding, lstm)
        self._dropped = False

    def forward(self, ids: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """ids (N, T), token ids -> hs (N, T, H), zeros at padding."""
        self._dropped = self.dropout.drops
        if not self._dropped:
            return self._as_one.forward(ids, lengths=lengths)
        return self.lstm.forward(self.dropout.forward(self.embedding.forward(ids, lengths=lengths)), lengths=lengths)

    def backward(self, dhs: ArrayLike) -> None:
        """dhs (N, T, H)."""
        if self._dropped:
            self.embedding.backward(self.dropout.backward(self.lstm.backward(dhs)))
        else:
            self._as_one.backward(dhs)
