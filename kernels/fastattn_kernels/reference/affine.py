"""Affine map of every position: x W + b."""

from .padding import without_padding


def affine_forward(x, W, b, lengths):
    """x (N, T, K), W (K, V), b (V,) -> (N, T, V), zeros at padding."""
    return without_padding(without_padding(x, lengths) @ W + b, lengths)


def affine_backward(dout, x, W, dW, db, lengths):
    """dout (N, T, V). Overwrites dW (K, V), db (V,); returns dx (N, T, K)."""
    K, V = W.shape
    dout, x = without_padding(dout, lengths), without_padding(x, lengths)
    flat_dout = dout.reshape(-1, V)
    dW[...] = x.reshape(-1, K).T @ flat_dout
    db[...] = flat_dout.sum(axis=0)
    return dout @ W.T
