r"""LSTM over a whole sequence (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; no peepholes).

Notation, for one step (all arrays (N, H); :math:`\odot` is the elementwise product):

    z = x Wx + h_prev Wh + b          (N, 4H), its columns in the gate order f, g, i, o
    f = sigmoid(z[:, 0:H])            forget gate
    g = tanh(z[:, H:2H])              candidate
    i = sigmoid(z[:, 2H:3H])          input gate
    o = sigmoid(z[:, 3H:4H])          output gate
    c = f * c_prev + g * i            cell state
    h = o * tanh(c)                   hidden state

A sample keeps its state (h, c) through padding; the output there is zero.
"""

import numpy as np

from .embedding import embedding_backward, embedding_forward
from .padding import real_positions, without_padding


def sigmoid(x):
    """1 / (1 + exp(-x)), written with tanh so that it cannot overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def lstm_forward(xs, h0, c0, Wx, Wh, b, lengths):
    """A sequence from the state (h0, c0).

    xs (N, T, D); h0, c0 (N, H), each may be None for zeros; Wx (D, 4H), Wh (H, 4H), b (4H,).
    Returns hs (N, T, H), the state after each sample's last real step h_last, c_last (N, H), and a cache.
    """
    N, T, _ = xs.shape
    H = Wh.shape[0]
    real = real_positions(lengths, N, T)[:, :, None]  # (N, T, 1)
    xs = without_padding(xs, lengths)
    h = np.zeros((N, H), xs.dtype) if h0 is None else h0
    c = np.zeros((N, H), xs.dtype) if c0 is None else c0
    hs = np.zeros((N, T, H), xs.dtype)
    steps = []
    for t in range(T):
        h_prev, c_prev = h, c
        z = xs[:, t] @ Wx + h_prev @ Wh + b  # (N, 4H)
        f, g, i, o = sigmoid(z[:, :H]), np.tanh(z[:, H : 2 * H]), sigmoid(z[:, 2 * H : 3 * H]), sigmoid(z[:, 3 * H :])
        c_new = f * c_prev + g * i
        h_new = o * np.tanh(c_new)
        hs[:, t] = np.where(real[:, t], h_new, 0)
        h = np.where(real[:, t], h_new, h_prev)
        c = np.where(real[:, t], c_new, c_prev)
        steps.append((h_prev, c_prev, f, g, i, o, c_new))
    return hs, h, c, (xs, real, steps)


def lstm_backward(dhs, dh_last, dc_last, Wx, Wh, cache, dWx, dWh, db):
    """Undoes :func:`lstm_forward`, last step first.

    dhs (N, T, H) is the gradient of hs; dh_last, dc_last (N, H), each may be None for zeros, those of the last state.
    Overwrites dWx, dWh, db; returns dxs (N, T, D), dh0, dc0 (N, H).
    """
    xs, real, steps = cache
    N, T, H = dhs.shape
    dxs = np.zeros_like(xs)
    dWx[...] = 0
    dWh[...] = 0
    db[...] = 0
    dh = np.zeros((N, H), dhs.dtype) if dh_last is None else dh_last
    dc = np.zeros((N, H), dhs.dtype) if dc_last is None else dc_last
    for t in reversed(range(T)):
        h_prev, c_prev, f, g, i, o, c = steps[t]
        dh_t = np.where(real[:, t], dhs[:, t] + dh, 0)  # at padding hs is the constant 0, and the state passes by
        tanh_c = np.tanh(c)
        dc_t = np.where(real[:, t], dc, 0) + dh_t * o * (1 - tanh_c**2)  # h = o * tanh(c)
        dz = np.concatenate(
            (
                dc_t * c_prev * f * (1 - f),  # c = f * c_prev + g * i, f = sigmoid(z_f)
                dc_t * i * (1 - g**2),  # g = tanh(z_g)
                dc_t * g * i * (1 - i),  # i = sigmoid(z_i)
                dh_t * tanh_c * o * (1 - o),  # o = sigmoid(z_o)
            ),
            axis=1,
        )  # (N, 4H), zero in the rows at padding
        dWx += xs[:, t].T @ dz  # z = x Wx + h_prev Wh + b
        dWh += h_prev.T @ dz
        db += dz.sum(axis=0)
        dxs[:, t] = dz @ Wx.T
        dh = np.where(real[:, t], dz @ Wh.T, dh)
        dc = np.where(real[:, t], dc_t * f, dc)
    return dxs, dh, dc


def embedding_lstm_forward(W, ids, h0, c0, Wx, Wh, b, lengths):
    """:func:`lstm_forward` of the embedded ids (N, T): of the rows W[ids] of W (V, D)."""
    hs, h_last, c_last, cache = lstm_forward(embedding_forward(W, ids, lengths), h0, c0, Wx, Wh, b, lengths)
    return hs, h_last, c_last, (cache, ids, lengths, h0 is None and c0 is None)


def embedding_lstm_backward(dhs, dh_last, dc_last, Wx, Wh, cache, dW, dWx, dWh, db):
    """Undoes :func:`embedding_lstm_forward`. Overwrites dW, dWx, dWh, db.

    Returns dh0, dc0 (N, H); None for both if the forward started from zeros without being given any.
    """
    cache, ids, lengths, from_zeros = cache
    dxs, dh0, dc0 = lstm_backward(dhs, dh_last, dc_last, Wx, Wh, cache, dWx, dWh, db)
    embedding_backward(dxs, ids, dW, lengths)
    return (None, None) if from_zeros else (dh0, dc0)
