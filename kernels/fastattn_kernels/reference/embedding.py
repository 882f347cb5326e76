"""Embedding: a row of W for each token id."""

import numpy as np

from .padding import real_positions, without_padding


def embedding_forward(W, ids, lengths):
    """W (V, D), ids (N, T) -> xs (N, T, D), zeros at padding."""
    return without_padding(W[ids], lengths)


def embedding_backward(dxs, ids, dW, lengths):
    """dxs (N, T, D), ids (N, T). Overwrites dW (V, D): row v is the sum of dxs over the real positions whose id is v."""
    real = real_positions(lengths, *ids.shape)
    dW[...] = 0
    np.add.at(dW, ids[real], dxs[real])
