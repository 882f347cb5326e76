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


def lstm_forward(xs, weights, h0, c0, mask, lengths):
    """A sequence from the state (h0, c0), read in one direction or in both.

    xs (N, T, D). weights: [Wx (D, 4H), Wh (H, 4H), b (4H,)] and, for G = 2 directions, three more: those of the direction that
    reads each sample's real steps from the last to the first (Schuster and Paliwal 1997).
    h0, c0 (G, N, H), each may be None for zeros. mask (G, N, H), None for none: recurrent dropout, the same at every step
    (Gal and Ghahramani 2016, section 4): h_prev is multiplied by it before Wh.

    Returns hs (N, T, GH), the directions' states side by side, each where its step stands; the state of each direction after
    its last real step, h_last, c_last (G, N, H); and a cache.
    """
    N, T, _ = xs.shape
    H = len(weights[1])
    directions = range(len(weights) // 3)
    xs = without_padding(xs, lengths)
    real = real_positions(lengths, N, T)[:, :, None]  # (N, T, 1)
    zeros = np.zeros((len(directions), N, H), xs.dtype)
    h0, c0 = zeros if h0 is None else h0, zeros if c0 is None else c0
    results = []
    for g in directions:
        xs_g, of_weights = _turned(xs, lengths) if g else xs, weights[3 * g : 3 * g + 3]
        results.append(_direction_forward(xs_g, h0[g], c0[g], of_weights, None if mask is None else mask[g], real))
    hs = [_turned(results[g][0], lengths) if g else results[g][0] for g in directions]
    h_last, c_last = (np.stack([result[i] for result in results]) for i in (1, 2))
    return np.concatenate(hs, axis=2), h_last, c_last, ([result[3] for result in results], lengths)


def lstm_backward(dhs, dh_last, dc_last, weights, cache, grads):
    """Undoes :func:`lstm_forward`.

    dhs (N, T, GH) is the gradient of hs; dh_last, dc_last (G, N, H), each may be None for zeros, those of the last states.
    Overwrites grads, which are like weights; returns dxs (N, T, D), dh0, dc0 (G, N, H).
    """
    caches, lengths = cache
    N, H = len(dhs), len(weights[1])
    zeros = np.zeros((len(caches), N, H), dhs.dtype)
    dh_last, dc_last = zeros if dh_last is None else dh_last, zeros if dc_last is None else dc_last
    dxs, dh0, dc0 = 0, [], []
    for g, of_direction in enumerate(caches):
        dhs_g = dhs[:, :, g * H : (g + 1) * H]
        dhs_g = _turned(dhs_g, lengths) if g else dhs_g
        of_weights = weights[3 * g : 3 * g + 2], grads[3 * g : 3 * g + 3]
        dxs_g, dh0_g, dc0_g = _direction_backward(dhs_g, dh_last[g], dc_last[g], *of_weights, of_direction)
        dxs = dxs + _turned(dxs_g, lengths) if g else dxs_g  # both directions read xs
        dh0.append(dh0_g)
        dc0.append(dc0_g)
    return dxs, np.stack(dh0), np.stack(dc0)


def embedding_lstm_forward(W, ids, weights, h0, c0, mask, lengths):
    """:func:`lstm_forward` of the embedded ids (N, T): of the rows W[ids] of W (V, D)."""
    hs, h_last, c_last, cache = lstm_forward(embedding_forward(W, ids, lengths), weights, h0, c0, mask, lengths)
    return hs, h_last, c_last, (cache, ids, lengths, h0 is None and c0 is None)


def embedding_lstm_backward(dhs, dh_last, dc_last, weights, cache, dW, grads):
    """Undoes :func:`embedding_lstm_forward`. Overwrites dW and grads, which are like weights.

    Returns dh0, dc0 (G, N, H); None for both if the forward started from zeros without being given any.
    """
    cache, ids, lengths, from_zeros = cache
    dxs, dh0, dc0 = lstm_backward(dhs, dh_last, dc_last, weights, cache, grads)
    embedding_backward(dxs, ids, dW, lengths)
    return (None, None) if from_zeros else (dh0, dc0)


def _turned(x, lengths):
    """x (N, T, ...) with the real steps of each sample in the reverse order; padding stays. Undone by doing it again."""
    N, T = x.shape[:2]
    last = (np.full(N, T) if lengths is None else np.asarray(lengths))[:, None] - 1
    steps = np.arange(T)
    return x[np.arange(N)[:, None], np.where(steps <= last, last - steps, steps)]


def _direction_forward(xs, h, c, weights, mask, real):
    """One direction, first step first. xs (N, T, D), zeros at padding; h, c (N, H), the first state; real (N, T, 1).

    Returns hs (N, T, H), the last state h, c (N, H), and a cache.
    """
    Wx, Wh, b = weights
    N, T, _ = xs.shape
    H = len(Wh)
    hs = np.zeros((N, T, H), xs.dtype)
    steps = []
    for t in range(T):
        h_prev, c_prev = h, c
        h_masked = h_prev if mask is None else h_prev * mask
        z = xs[:, t] @ Wx + h_masked @ Wh + b  # (N, 4H)
        f, g, i, o = sigmoid(z[:, :H]), np.tanh(z[:, H : 2 * H]), sigmoid(z[:, 2 * H : 3 * H]), sigmoid(z[:, 3 * H :])
        c_new = f * c_prev + g * i
        h_new = o * np.tanh(c_new)
        hs[:, t] = np.where(real[:, t], h_new, 0)
        h = np.where(real[:, t], h_new, h_prev)
        c = np.where(real[:, t], c_new, c_prev)
        steps.append((h_masked, c_prev, f, g, i, o, c_new))
    return hs, h, c, (xs, mask, real, steps)


def _direction_backward(dhs, dh, dc, weights, grads, cache):
    """Undoes :func:`_direction_forward`, last step first. dhs (N, T, H); dh, dc (N, H), the gradients of the last state.

    weights: Wx, Wh. Overwrites grads: dWx, dWh, db. Returns dxs (N, T, D), and dh, dc (N, H) of the first state.
    """
    xs, mask, real, steps = cache
    Wx, Wh = weights
    dWx, dWh, db = grads
    dxs = np.zeros_like(xs)
    dWx[...] = 0
    dWh[...] = 0
    db[...] = 0
    for t in reversed(range(xs.shape[1])):
        h_masked, c_prev, f, g, i, o, c = steps[t]
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
        dWx += xs[:, t].T @ dz  # z = x Wx + h_masked Wh + b
        dWh += h_masked.T @ dz
        db += dz.sum(axis=0)
        dxs[:, t] = dz @ Wx.T
        dh_masked = dz @ Wh.T
        dh = np.where(real[:, t], dh_masked if mask is None else dh_masked * mask, dh)  # h_masked = h_prev * mask
        dc = np.where(real[:, t], dc_t * f, dc)
    return dxs, dh, dc
