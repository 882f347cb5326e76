"""The whole model, as one: the encoder's and the decoder's LSTM over embedded token ids, attention, scores and loss.

The encoder starts from zeros, the decoder from the encoder's last hidden state and a cell state of zeros (Sutskever, Vinyals
and Le 2014; the attention after Luong, Pham and Manning 2015, section 3.1).

Weights and gradients are lists in the order of a model: the encoder's W (V1, D), Wx (D, 4H), Wh (H, 4H), b (4H,); the decoder's
W (V2, D), Wx, Wh, b; those of the affine map to scores, W (2H, V2) and b (V2,).
"""

import numpy as np

from .affine import affine_backward, affine_forward
from .attention import attention_backward, attention_forward
from .cross_entropy import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from .lstm import embedding_lstm_backward, embedding_lstm_forward


def seq2seq_as_one(weights, x, t, source_lengths, target_lengths):
    """Whether :func:`seq2seq_forward` is quicker for this batch than the kernels of the layers, one after another."""
    return False


def seq2seq_forward(weights, x, t, source_lengths, target_lengths):
    """x (N, T1), t (N, T2), token ids: the decoder is given t[:, :-1] and is to say t[:, 1:]. The lengths count all of both.

    Returns the mean loss of a target, the attention weights (N, T2 - 1, T1), what the LSTMs end in, (4, N, H): h and c of the
    encoder, then of the decoder; and a cache.
    """
    W_enc, W_dec, W, b = weights[0], weights[4], weights[8], weights[9]
    lstm_enc, lstm_dec = weights[1:4], weights[5:8]
    lengths = None if target_lengths is None else target_lengths - 1
    hs_enc, h_enc, c_enc, encoder = embedding_lstm_forward(W_enc, x, lstm_enc, None, None, None, source_lengths)
    hs_dec, h_dec, c_dec, decoder = embedding_lstm_forward(W_dec, t[:, :-1], lstm_dec, h_enc, None, None, lengths)
    joined, a = attention_forward(hs_enc, hs_enc, hs_dec, hs_dec, None, 1, source_lengths, lengths)
    scores = affine_forward(joined, W, b, lengths)
    loss, of_loss = softmax_cross_entropy_forward(scores, t[:, 1:], lengths, True, 0)
    cache = encoder, decoder, hs_enc, hs_dec, a, joined, of_loss, source_lengths, lengths
    return loss, a, np.concatenate((h_enc, c_enc, h_dec, c_dec)), cache


def seq2seq_backward(dloss, weights, cache, grads):
    """Undoes :func:`seq2seq_forward`, once. dloss, a number. Overwrites the gradients of all weights.

    Returns those of the state that the decoder started from, dh0 and dc0 (N, H).
    """
    lstm_enc, lstm_dec, W = weights[1:4], weights[5:8], weights[8]
    dW_enc, dlstm_enc, dW_dec, dlstm_dec, dW, db = grads[0], grads[1:4], grads[4], grads[5:8], grads[8], grads[9]
    encoder, decoder, hs_enc, hs_dec, a, joined, of_loss, source_lengths, lengths = cache
    dscores = softmax_cross_entropy_backward(dloss, of_loss)
    djoined = affine_backward(dscores, joined, W, dW, db, lengths)
    dhs_enc, _, dhs_dec, _ = attention_backward(
        djoined, hs_enc, hs_enc, hs_dec, hs_dec, None, 1, a, source_lengths, lengths, None
    )
    dh0, dc0 = embedding_lstm_backward(dhs_dec, None, None, lstm_dec, decoder, dW_dec, dlstm_dec)  # (1, N, H)
    embedding_lstm_backward(dhs_enc, dh0, None, lstm_enc, encoder, dW_enc, dlstm_enc)
    return dh0[0], dc0[0]
