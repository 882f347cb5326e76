"""LSTM layers with attention inside the recurrence: input feeding (Luong, Pham and Manning 2015, section 3.3).

What a step gives, the attentional state h~ (section 3, equation 5), is a part of what the next step reads, so that a
step knows what was attended to before it. For the target step t, with layers l = 0 ... L-1 of LSTM cells (lstm.py), and
attention (attention.py) over keys and values:

    z = [x_t, out_(t-1)]                        input of the first layer, K wide besides x
    h_l = LSTM_l(z)                             z: the input of layer l
    y_l = h_l, or h_l + z where residual, l > 0
    z = dropped out y_l                         input of layer l + 1
    top = y_(L-1)
    query = top Wq                              or top itself
    [context | top], a = attention(query)
    out_t = tanh([context | top] Wc)
"""

import numpy as np

from .activation import add, tanh_backward, tanh_forward
from .affine import affine_backward, affine_forward
from .attention import attention_backward, attention_forward
from .dropout import dropout
from .embedding import embedding_backward, embedding_forward
from .lstm import lstm_backward, lstm_forward
from .padding import real_positions, without_padding


def input_feeding_forward(
    x, ids, keys, values, lstms, Wc, Wq, v, scale, h0, c0, feed0, mask, drop, residual, lengths_enc, lengths_dec
):
    """All target steps, one after another.

    x (N, T2, D) with ids None, or W (V, D) with ids (N, T2), whose rows W[ids] are then read.
    keys (N, T1, A), values (N, T1, E), v and scale: as in ``attention_forward``. Wq (H, A), or None (A is then H).
    lstms: [Wx, Wh, b] of each of the L layers, one after another; the first Wx is (D + K, 4H), its first D rows for x and the
    others for what is fed; those of the others (H, 4H). Wc (E + H, K).
    h0, c0 (L, N, H) and feed0 (N, K), the output before the first step: each may be None for zeros.
    mask (L, N, H), or None: recurrent dropout, as in ``lstm_forward``. drop: None, or (ratio, seeds), with a seed for each of
    the L - 1 gaps between layers: what stands in gap l, as (N, T2, H), is dropped out by that seed. residual: True or False.

    Returns outs (N, T2, K), the weights a (N, T2, T1), the state after each sample's last real step h_last, c_last (L, N, H),
    and a cache. Outs and weights are zeros at a target step that is padding, through which the state stays as it was.
    """
    xs = without_padding(x, lengths_dec) if ids is None else embedding_forward(x, ids, lengths_dec)  # (N, T2, D)
    N, T2, _ = xs.shape
    L, H = len(lstms) // 3, len(lstms[1])
    zeros = np.zeros((L, N, H), xs.dtype)
    h, c = list(zeros if h0 is None else h0), list(zeros if c0 is None else c0)
    out = np.zeros((N, Wc.shape[1]), xs.dtype) if feed0 is None else feed0
    gaps = [] if drop is None else [dropout(np.ones((N, T2, H), xs.dtype), drop[0], seed, False) for seed in drop[1]]
    real = real_positions(lengths_dec, N, T2)
    outs, weights, steps = [], [], []
    for t in range(T2):
        now = real[:, t].astype(np.int64)  # the lengths of a sequence of this one step
        z = np.concatenate((xs[:, t], out), axis=1)[:, None]  # (N, 1, D + K)
        caches = []
        for i in range(L):
            mask_i = None if mask is None else mask[i : i + 1]
            y, h_last, c_last, cache = lstm_forward(z, lstms[3 * i : 3 * i + 3], h[i][None], c[i][None], mask_i, now)
            h[i], c[i] = h_last[0], c_last[0]
            if residual and i > 0:
                y = add(y, z)  # (N, 1, H)
            z = y * gaps[i][:, t : t + 1] if gaps and i < L - 1 else y
            caches.append(cache)
        top = z
        query = top if Wq is None else affine_forward(top, Wq, None, now)  # (N, 1, A)
        joined, a = attention_forward(keys, values, query, top, v, scale, lengths_enc, now)  # (N, 1, E + H), (N, 1, T1)
        out = tanh_forward(affine_forward(joined, Wc, None, now))[:, 0]  # (N, K)
        outs.append(out)
        weights.append(a[:, 0])
        steps.append((now, caches, top, query, a, joined, out))
    cache = x, ids, xs, gaps, residual, steps, lengths_enc, lengths_dec
    return np.stack(outs, axis=1), np.stack(weights, axis=1), np.stack(h), np.stack(c), cache


def input_feeding_backward(douts, dh_last, dc_last, keys, values, lstms, Wc, Wq, v, scale, cache, grads_lstms, dWc, dWq, dv):
    """Undoes :func:`input_feeding_forward`, last step first, each line of it from the bottom up.

    douts (N, T2, K) is the gradient of outs; dh_last, dc_last (L, N, H), each may be None for zeros, those of the last state.
    Overwrites grads_lstms, which are like lstms, dWc, and dWq and dv where there are Wq and v. Returns dx, of the shape of x,
    dkeys (N, T1, A), dvalues (N, T1, E), which is None where ``values is keys`` (their gradient is then in dkeys), dh0, dc0
    (L, N, H), dfeed0 (N, K).
    """
    x, ids, xs, gaps, residual, steps, lengths_enc, lengths_dec = cache
    (N, T2, D), L, H = xs.shape, len(lstms) // 3, len(lstms[1])
    douts = without_padding(douts, lengths_dec)
    zeros = np.zeros((L, N, H), xs.dtype)
    dh, dc = list(zeros if dh_last is None else dh_last), list(zeros if dc_last is None else dc_last)
    dfeed = np.zeros((N, Wc.shape[1]), xs.dtype)
    dxs, dkeys = np.zeros_like(xs), np.zeros_like(keys)
    dvalues = None if values is keys else np.zeros_like(values)
    summed = [*grads_lstms, dWc, *(grad for grad in (dWq, dv) if grad is not None)]
    for grad in summed:
        grad[...] = 0
    for t in reversed(range(T2)):
        now, caches, top, query, a, joined, out = steps[t]
        of_step = iter([np.empty_like(grad) for grad in summed])  # each is added to its sum below
        of_lstms, dWc_t = [next(of_step) for _ in grads_lstms], next(of_step)
        dWq_t = None if dWq is None else next(of_step)
        dv_t = None if dv is None else next(of_step)
        dout = (douts[:, t] + dfeed)[:, None]  # (N, 1, K): out was given to the caller, and fed to the next step
        dproduct = tanh_backward(dout, out[:, None])  # out = tanh([context | top] Wc)
        djoined = affine_backward(dproduct, joined, Wc, dWc_t, None, now)
        dkeys_t, dvalues_t, dquery, dtop = attention_backward(
            djoined, keys, values, query, top, v, scale, a, lengths_enc, now, dv_t
        )
        dkeys += dkeys_t
        if dvalues is not None:
            dvalues += dvalues_t
        # query = top Wq, or top itself
        dz = dquery if Wq is None else dtop + affine_backward(dquery, top, Wq, dWq_t, None, now)
        for i in reversed(range(L)):
            dy = dz * gaps[i][:, t : t + 1] if gaps and i < L - 1 else dz  # z = dropped out y
            of_layer = lstms[3 * i : 3 * i + 3], caches[i], of_lstms[3 * i : 3 * i + 3]
            dz, dh_i, dc_i = lstm_backward(dy, dh[i][None], dc[i][None], *of_layer)
            dh[i], dc[i] = dh_i[0], dc_i[0]
            if residual and i > 0:
                dz = add(dz, dy)  # y = h + z
        dxs[:, t], dfeed = dz[:, 0, :D], dz[:, 0, D:]  # z = [x_t, out_(t-1)]
        for grad, grad_t in zip(summed, [*of_lstms, dWc_t, *(g for g in (dWq_t, dv_t) if g is not None)]):
            grad += grad_t
    if ids is None:
        dx = dxs
    else:
        dx = np.empty_like(x)
        embedding_backward(dxs, ids, dx, lengths_dec)
    return dx, dkeys, dvalues, np.stack(dh), np.stack(dc), dfeed
