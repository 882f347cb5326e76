"""Affine map of every position: x W + b, or x W where there is no bias."""

from .padding import without_padding


def affine_forward(x, W, b, lengths):
    """x (N, T, K), W (K, V), b (V,) or None -> (N, T, V), zeros at padding."""
    out = without_padding(x, lengths) @ W
    return without_padding(out if b is None else out + b, lengths)


def affine_backward(dout, x, W, dW, db, lengths):
    """dout (N, T, V). Overwrites dW (K, V) and db (V,), which is None without a bias; returns dx (N, T, K)."""
    K, V = W.shape
    dout, x = without_padding(dout, lengths), without_padding(x, lengths)
    flat_dout = dout.reshape(-1, V)
    dW[...] = x.reshape(-1, K).T @ flat_dout  # out = x W + b
    if db is not None:
        db[...] = flat_dout.sum(axis=0)
    return dout @ W.T
