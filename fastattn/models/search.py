"""Search for a target: greedy, the best token at each step.

The kernels are called directly, not through the layers: nothing is kept for a backward, so a search between a forward
and its backward disturbs neither, and dropout has no part in it.
"""

from typing import TYPE_CHECKING

from fastattn import backend
from fastattn.layers.checks import Array

if TYPE_CHECKING:
    from .seq2seq import AttentionSeq2seq


def greedy(
    model: "AttentionSeq2seq", x: Array, lengths: Array | None, start_id: int, sample_size: int, end_id: int | None
) -> tuple[Array, Array]:
    """x (N, T1) -> ids (N, sample_size), weights (N, sample_size, T1).

    Of equal scores the lowest id wins. After a sample's ``end_id`` come only more of them, with weights of zero.
    """
    kernels = backend.kernels()
    encoder, decoder = model.encoder, model.decoder
    (W_source,), (W_target,) = encoder.embedding.weights(), decoder.embedding.weights()
    hs_enc, h_last, _, _ = kernels.embedding_lstm_forward(W_source, x, None, None, *encoder.lstm.weights(), lengths)
    return kernels.greedy_search(
        hs_enc, h_last, W_target, *decoder.lstm.weights(), *decoder.affine.weights(), lengths, start_id, sample_size, end_id
    )
