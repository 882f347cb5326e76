"""Search for a target: greedy, the best token at each step.

The kernels are called directly, not through the layers: nothing is kept for a backward, so a search between a forward
and its backward disturbs neither, and dropout has no part in it.
"""

from typing import TYPE_CHECKING

import numpy as np

from fastattn import backend
from fastattn.layers.checks import Array

from .decoder import last_steps

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
    hs_enc, _, _, _ = kernels.lstm_forward(
        kernels.embedding_forward(W_source, x, lengths), None, None, *encoder.lstm.weights(), lengths
    )
    N, T1, _ = hs_enc.shape
    h, c = hs_enc[last_steps(lengths, N, T1)], None
    ids = np.full((N, sample_size), 0 if end_id is None else end_id)
    weights = np.zeros((N, sample_size, T1), hs_enc.dtype)
    running = np.ones(N, dtype=bool)
    token = np.full((N, 1), start_id)
    for step in range(sample_size):
        embedded = kernels.embedding_forward(W_target, token, None)  # (N, 1, D)
        hs, h, c, _ = kernels.lstm_forward(embedded, h, c, *decoder.lstm.weights(), None)  # (N, 1, H)
        context, a = kernels.attention_forward(hs_enc, hs, lengths, None)  # (N, 1, H), (N, 1, T1)
        scores = kernels.affine_forward(np.concatenate((context, hs), axis=2), *decoder.affine.weights(), None)
        token = scores.argmax(axis=2)  # (N, 1)
        ids[running, step] = token[running, 0]
        weights[running, step] = a[running, 0]
        if end_id is not None:
            running &= token[:, 0] != end_id
            if not running.any():
                break
    return ids, weights
