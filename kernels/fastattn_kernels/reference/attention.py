"""Dot-product attention (Luong, Pham and Manning 2015, section 3.1, score "dot"), in parts and as a whole.

For one target state h: scores s_t = hs_t . h; weights a = softmax(s); context c = sum over t of a_t hs_t.
"""

import numpy as np

from .padding import real_positions, without_padding


def attention_score_forward(hs, h, lengths):
    """hs (N, T, H), h (N, H) -> s (N, T): the dot product of h with each real row of hs, zeros at padding."""
    return np.einsum("nth,nh->nt", without_padding(hs, lengths), h)


def attention_score_backward(ds, hs, h, lengths):
    """ds (N, T) -> dhs (N, T, H), dh (N, H)."""
    ds = without_padding(ds, lengths)
    dhs = ds[:, :, None] * h[:, None, :]
    dh = np.einsum("nt,nth->nh", ds, without_padding(hs, lengths))
    return dhs, dh


def weighted_sum_forward(hs, a, lengths):
    """hs (N, T, H), a (N, T) -> c (N, H): the sum over the real positions of a_t hs_t."""
    return np.einsum("nth,nt->nh", without_padding(hs, lengths), without_padding(a, lengths))


def weighted_sum_backward(dc, hs, a, lengths):
    """dc (N, H) -> dhs (N, T, H), da (N, T)."""
    dhs = without_padding(a, lengths)[:, :, None] * dc[:, None, :]
    da = np.einsum("nh,nth->nt", dc, without_padding(hs, lengths))
    return dhs, da


def attention_forward(hs_enc, hs_dec, lengths_enc, lengths_dec, join):
    """Every target step attends to the whole source.

    hs_enc (N, T1, H), hs_dec (N, T2, H) -> contexts cs (N, T2, H), weights a (N, T2, T1).
    With ``join``, cs (N, T2, 2H) has the target state after each context, as an affine map to scores wants them.
    The weights of a padding target step, and those on a padding source step, are zero.
    """
    N, T1, _ = hs_enc.shape
    T2 = hs_dec.shape[1]
    hs_enc, hs_dec = without_padding(hs_enc, lengths_enc), without_padding(hs_dec, lengths_dec)
    attended = real_positions(lengths_dec, N, T2)[:, :, None] & real_positions(lengths_enc, N, T1)[:, None, :]
    s = hs_dec @ hs_enc.transpose(0, 2, 1)  # (N, T2, T1)
    highest = np.max(s, axis=2, keepdims=True, initial=-np.inf, where=attended)
    exponentials = np.where(attended, np.exp(np.where(attended, s - highest, 0)), 0)
    total = exponentials.sum(axis=2, keepdims=True)
    a = (exponentials / np.where(total > 0, total, 1)).astype(hs_enc.dtype, copy=False)
    cs = a @ hs_enc
    return np.concatenate((cs, hs_dec), axis=2) if join else cs, a


def attention_backward(dcs, hs_enc, hs_dec, a, lengths_enc, lengths_dec):
    """dcs, of the shape of cs, with the weights a (N, T2, T1) of the forward -> dhs_enc (N, T1, H), dhs_dec (N, T2, H)."""
    H = hs_dec.shape[2]
    hs_enc, hs_dec = without_padding(hs_enc, lengths_enc), without_padding(hs_dec, lengths_dec)
    dcs = without_padding(dcs, lengths_dec)
    dcs, dhs_joined = (dcs[:, :, :H], dcs[:, :, H:]) if dcs.shape[2] > H else (dcs, 0)
    da = dcs @ hs_enc.transpose(0, 2, 1)  # cs = a hs_enc
    ds = a * (da - np.sum(da * a, axis=2, keepdims=True))  # a = softmax(s); (N, T2, T1)
    dhs_dec = ds @ hs_enc + dhs_joined  # s = hs_dec hs_enc^T
    dhs_enc = a.transpose(0, 2, 1) @ dcs + ds.transpose(0, 2, 1) @ hs_dec
    return dhs_enc, dhs_dec
