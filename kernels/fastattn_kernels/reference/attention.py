"""Attention: the dot-product one of one target state, in parts; and that of all target states as a whole.

For one target state h: scores s_t = hs_t . h; weights a = softmax(s); context c = sum over t of a_t hs_t (Luong, Pham and
Manning 2015, section 3.1, score "dot"). As a whole there are other scores, too: keys, values and queries stand for hs and h.
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


def _tanh_of_sums(keys, queries):
    """keys (N, T1, A), queries (N, T2, A) -> (N, T2, T1, A): tanh(key + query) of every pair."""
    return np.tanh(keys[:, None, :, :] + queries[:, :, None, :])


def attention_forward(keys, values, queries, states, v, scale, lengths_enc, lengths_dec):
    """Every target step attends to the whole source.

    keys (N, T1, A), values (N, T1, E), queries (N, T2, A) -> contexts cs (N, T2, E), weights a (N, T2, T1).
    The score of a key for a query, with v None: scale * (query . key), and with v (A,): v . tanh(key + query) (scale is 1).
    With states (N, T2, S), cs (N, T2, E + S) has the target state after each context, as an affine map to scores wants them.
    ``values is keys`` where both are the source states, ``states is queries`` where both are the target states.
    The weights of a padding target step, and those on a padding source step, are zero.

    What a model calls its attention is a matter of what it gives: hs_enc for keys and values, hs_dec for queries ("dot",
    Luong et al. 2015); with the scale 1 / sqrt(A) ("scaled dot", Vaswani et al. 2017, equation 1); keys = hs_enc W
    ("general", Luong et al. 2015, section 3.1); keys = hs_enc W, queries = hs_dec W' and v ("additive", Bahdanau et al.
    2015, appendix A.1.2).
    """
    N, T1, _ = keys.shape
    T2 = queries.shape[1]
    keys, values = without_padding(keys, lengths_enc), without_padding(values, lengths_enc)
    queries = without_padding(queries, lengths_dec)
    attended = real_positions(lengths_dec, N, T2)[:, :, None] & real_positions(lengths_enc, N, T1)[:, None, :]
    if v is None:
        s = keys.dtype.type(scale) * (queries @ keys.transpose(0, 2, 1))  # (N, T2, T1)
    else:
        s = _tanh_of_sums(keys, queries) @ v  # (N, T2, T1)
    highest = np.max(s, axis=2, keepdims=True, initial=-np.inf, where=attended)
    exponentials = np.where(attended, np.exp(np.where(attended, s - highest, 0)), 0)
    total = exponentials.sum(axis=2, keepdims=True)
    a = (exponentials / np.where(total > 0, total, 1)).astype(keys.dtype, copy=False)
    cs = a @ values
    return cs if states is None else np.concatenate((cs, without_padding(states, lengths_dec)), axis=2), a


def attention_backward(dcs, keys, values, queries, states, v, scale, a, lengths_enc, lengths_dec, dv):
    """Undoes :func:`attention_forward`: dcs, of the shape of cs, and the weights a (N, T2, T1) of the forward.

    Returns dkeys (N, T1, A), dvalues (N, T1, E), dqueries (N, T2, A), dstates (N, T2, S). dvalues is None where
    ``values is keys``: their gradient is then in dkeys. dstates is None where there are no states, or ``states is queries``:
    their gradient is then in dqueries. Overwrites dv (A,), which is None where v is.
    """
    E = values.shape[2]
    one_source, one_target = values is keys, states is queries
    keys, values = without_padding(keys, lengths_enc), without_padding(values, lengths_enc)
    queries, dcs = without_padding(queries, lengths_dec), without_padding(dcs, lengths_dec)
    dcs, dstates = dcs[:, :, :E], None if states is None else dcs[:, :, E:]  # cs = [a values | states]
    da = dcs @ values.transpose(0, 2, 1)  # cs = a values
    dvalues = a.transpose(0, 2, 1) @ dcs
    ds = a * (da - np.sum(da * a, axis=2, keepdims=True))  # a = softmax(s); (N, T2, T1)
    if v is None:
        ds = keys.dtype.type(scale) * ds  # s = scale * queries keys^T
        dqueries = ds @ keys
        dkeys = ds.transpose(0, 2, 1) @ queries
    else:
        u = _tanh_of_sums(keys, queries)
        dv[...] = np.einsum("nut,nuta->a", ds, u)  # s = u . v
        dsums = ds[:, :, :, None] * v * (1 - u**2)  # u = tanh(key + query); (N, T2, T1, A)
        dqueries, dkeys = dsums.sum(axis=2), dsums.sum(axis=1)
    if one_source:
        dkeys, dvalues = dvalues + dkeys, None
    if one_target:
        dqueries, dstates = dqueries + dstates, None
    return dkeys, dvalues, dqueries, dstates
