"""An embedding and what reads its vectors, as one."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from . import checks
from .as_one import AsOne
from .checks import Array
from .embedding import Embedding
from .recurrent import RecurrentLayer


class EmbeddingLSTM(AsOne):
    """An embedding and a recurrent layer as one: what ``lstm.forward(embedding.forward(ids))`` gives, up to rounding.

    With the compiled kernels it is faster if the batch has at least 2V real positions. What follows from a token's vector
    alone, its product with Wx, is then computed once for each of the V tokens and not for each position; backward adds up
    the gradients of a token's positions before it multiplies them.

    lstm: an `LSTM`, `BiLSTM`, `StackedLSTM` or `InputFeedingLSTM`. ``params`` and ``grads`` are those of the two layers, whose
    own forward and backward are not called. The states are those of the LSTM: ``lstm.set_state``, ``lstm.h`` and so on; after
    ``backward`` of a forward that started from zeros, ``lstm.dh`` and ``lstm.dc`` are None. ValueError if the layers do not fit
    together, TypeError if their dtypes differ.
    """

    def __init__(self, embedding: Embedding, lstm: RecurrentLayer) -> None:
        if not isinstance(embedding, Embedding):
            raise TypeError(f"embedding is {type(embedding).__name__}; expected an Embedding")
        if not isinstance(lstm, RecurrentLayer):
            raise TypeError(f"lstm is {type(lstm).__name__}; expected a recurrent layer, such as an LSTM")
        self.embedding, self.lstm = embedding, lstm
        super().__init__(embedding, lstm)
        self.weights()

    def weights(self) -> list[Array]:
        """The two layers' weights, for a kernel. An error, as above, if a caller has put others in their lists."""
        weights = super().weights()
        W, width, dtype = weights[0], self.lstm.input_width, self.lstm._dtype
        if W.shape[1] != width:
            raise ValueError(f"the embedding's vectors are {W.shape[1]} wide; expected {width}, as the LSTM reads them")
        if W.dtype != dtype:
            raise TypeError(f"the embedding has dtype {W.dtype}; expected {dtype}, the LSTM's")
        return weights

    def forward(
        self,
        ids: ArrayLike,
        hs_enc: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        source_lengths: ArrayLike | None = None,
    ) -> Array:
        """ids (N, T), integers from 0 to V - 1 -> what the LSTM gives, zeros at padding, where any integer may stand.

        hs_enc and source_lengths are for an `InputFeedingLSTM`, which reads them besides. What that gives is to be read: its
        backward reads the same memory.
        """
        checked, lengths = checks.ids("ids", ids, ("N", "T"), len(self.weights()[0]), lengths)
        out = self._forward(checked, lengths, **self.lstm._checked_source(len(checked), hs_enc, source_lengths))
        return checks.read_only(out) if self.lstm.reads_its_output else out

    def _forward(self, ids: Array, lengths: Array | None, **source: Any) -> Array:
        """For weights, ids and lengths that have been checked, and what is read besides."""
        out, kept = self.lstm._read(ids, self.embedding, lengths, **source)
        self._forget_layers()
        self._keep(*kept)
        return out

    def backward(self, dout: ArrayLike, *, dh_last: Any = None, dc_last: Any = None) -> Any:
        """dout and the gradients of the last states, as the LSTM's backward takes them. Once for each forward.

        Token ids have no gradient: what is returned is the gradient of what was read besides, or None.
        """
        kept = self._recall()
        checked = self.lstm._checked_gradients(kept, dout, dh_last, dc_last)
        self.weights()
        self._use_up()
        return self.lstm._read_backward(kept, *checked)
