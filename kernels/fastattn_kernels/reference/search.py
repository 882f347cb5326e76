"""Greedy search: the decoder of a model says, step by step, the token that it thinks most likely."""

import numpy as np

from .affine import affine_forward
from .attention import attention_forward
from .embedding import embedding_forward
from .lstm import lstm_forward


def greedy_search(hs_enc, h0, W, Wx, Wh, b, W_out, b_out, lengths_enc, start_id, sample_size, end_id):
    """From the encoder's hs_enc (N, T1, H) and the decoder's first state h0 (N, H), its cell state zeros.

    W (V, D) embeds the tokens; Wx (D, 4H), Wh (H, 4H), b (4H,) are the LSTM's; W_out (2H, V), b_out (V,) turn [context | h]
    into scores. Of equal scores the lowest id wins. Returns ids (N, sample_size), int64, and attention weights (N,
    sample_size, T1). After a sample's ``end_id`` (None: there is none) come only more of it, with weights of zero.
    """
    N, T1, _ = hs_enc.shape
    ids = np.full((N, sample_size), 0 if end_id is None else end_id, np.int64)
    weights = np.zeros((N, sample_size, T1), hs_enc.dtype)
    running = np.ones(N, dtype=bool)
    token = np.full((N, 1), start_id)
    h, c = h0[None], None  # (1, N, H)
    for step in range(sample_size):
        xs = embedding_forward(W, token, None)  # (N, 1, D)
        hs, h, c, _ = lstm_forward(xs, [Wx, Wh, b], h, c, None, None)  # (N, 1, H)
        joined, a = attention_forward(hs_enc, hs_enc, hs, hs, None, 1, lengths_enc, None)  # (N, 1, 2H), (N, 1, T1)
        scores = affine_forward(joined, W_out, b_out, None)  # (N, 1, V)
        token = scores.argmax(axis=2)  # (N, 1)
        ids[running, step] = token[running, 0]
        weights[running, step] = a[running, 0]
        if end_id is not None:
            running &= token[:, 0] != end_id
            if not running.any():
                break
    return ids, weights
