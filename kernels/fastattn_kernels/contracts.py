"""What each kernel reads and writes, measured against the arrays that it is given, at every call.

Kernels check nothing, and the compiled ones would read past the end of an array that is too short. Layers check what a caller
hands them, once, at the door; but an array is the caller's, who may change its shape between two calls, put another into a
list, or a layer into a model. So both kernel sets are reached through the functions here alone (see `guard`): one for each
kernel, of its name and parameters. They measure shapes, dtypes, how the memory lies, and that ids and lengths are in range of
what they are taken for. A backward is measured against its forward, whose sizes are kept with the cache.

ValueError for a shape, TypeError for a dtype or what is no array, IndexError for an id.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

_FLOATS = (np.dtype("float32"), np.dtype("float64"))
_INT64, _FLOAT64 = np.dtype("int64"), np.dtype("float64")
Fit = Callable[..., None]


class Kept(NamedTuple):
    """What a forward keeps for its backward: the sizes of both, and the kernel's own cache."""

    axes: tuple[Any, ...]
    cache: Any


def _misfit(name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype) -> Exception:
    if not isinstance(array, np.ndarray):
        return TypeError(f"{name} is a {type(array).__name__}; expected an array of shape {shape} and dtype {dtype}")
    if array.shape != shape:
        return ValueError(f"{name} has shape {array.shape}; expected {shape}")
    if array.dtype != dtype:
        return TypeError(f"{name} has dtype {array.dtype}; expected {dtype}")
    return ValueError(f"{name} is not C-contiguous, aligned and writeable; expected all three")


def _fit_as_lines(dtype: np.dtype, *expected: tuple[str, Any, tuple[int, ...]]) -> None:
    """An error unless each array has its shape, is of this dtype, and lies in memory as one line of numbers."""
    try:
        for name, array, shape in expected:
            if array.shape != shape or (array.dtype is not dtype and array.dtype != dtype) or not array.flags.carray:
                raise _misfit(name, array, shape, dtype)
    except AttributeError:
        raise _misfit(name, array, shape, dtype) from None


def _fit(dtype: np.dtype, *expected: tuple[str, Any, tuple[int, ...]]) -> None:
    """The same for kernels that may read arrays however they lie."""
    try:
        for name, array, shape in expected:
            if array.shape != shape or (array.dtype is not dtype and array.dtype != dtype) or not array.flags.writeable:
                raise _misfit(name, array, shape, dtype)
    except AttributeError:
        raise _misfit(name, array, shape, dtype) from None


def _axes(name: str, array: Any, axes: int) -> tuple[int, ...]:
    """The shape of an array with so many axes."""
    try:
        shape = array.shape
    except AttributeError:
        raise TypeError(f"{name} is a {type(array).__name__}; expected an array") from None
    if len(shape) != axes:
        raise ValueError(f"{name} has shape {shape}; expected {axes} axes")
    return shape


def _dtype(array: Any) -> np.dtype:
    if not isinstance(array, np.ndarray):  # NumPy takes None for float64
        raise TypeError(f"a {type(array).__name__} is given; expected an array")
    return array.dtype


def _shape(name: str, array: Any, axes: int) -> tuple[int, ...]:
    """The same of an array of floats."""
    shape = _axes(name, array, axes)
    if array.dtype not in _FLOATS:
        raise TypeError(f"{name} has dtype {array.dtype}; expected float32 or float64")
    return shape


def _ids(fit: Fit, name: str, ids: Any, shape: tuple[int, ...], V: int, lowest: int = 0) -> None:
    """Token ids, from ``lowest``, 0 or -1, to V - 1."""
    fit(_INT64, (name, ids, shape))
    numbers = ids if lowest == 0 else ids - lowest
    if numbers.size and np.maximum.reduce(numbers.view(np.uint64), axis=None) >= V - lowest:  # a negative number is a large one
        raise IndexError(f"{name} has ids from {ids.min()} to {ids.max()}; expected {lowest} to {V - 1}")


def _lengths(fit: Fit, name: str, lengths: Any, N: int, T: int, lowest: int = 0) -> None:
    """Lengths, each from ``lowest`` to T, or None."""
    if lengths is None:
        return
    fit(_INT64, (name, lengths, (N,)))
    if N and not (lowest <= lengths.min() and lengths.max() <= T):
        raise ValueError(f"{name} has lengths from {lengths.min()} to {lengths.max()}; expected {lowest} to {T}")


def _number(name: str, given: int, lowest: int, highest: float) -> None:
    if not lowest <= given <= highest:
        raise IndexError(f"{name} is {given}; expected {lowest} to {highest}")


def _if_given(fit: Fit, dtype: np.dtype, *expected: tuple[str, Any, tuple[int, ...]]) -> None:
    for each in expected:
        if each[1] is not None:
            fit(dtype, each)


def _same_presence(name: str, array: Any, given: bool) -> None:
    if (array is not None) != given:
        raise ValueError(f"{name} is {'None' if array is None else 'given'}; expected {'it to be given' if given else 'None'}")


def _count(name: str, arrays: Any, count: int) -> None:
    if len(arrays) != count:
        raise ValueError(f"{name} has {len(arrays)} arrays; expected {count}")


# embedding


def embedding_forward(fit, W, ids, lengths):
    V, D = _shape("W", W, 2)
    N, T = _axes("ids", ids, 2)
    fit(W.dtype, ("W", W, (V, D)))
    _ids(fit, "ids", ids, (N, T), V)
    _lengths(fit, "lengths", lengths, N, T)


def embedding_backward(fit, dxs, ids, dW, lengths):
    N, T, D = _shape("dxs", dxs, 3)
    V, _ = _shape("dW", dW, 2)
    fit(dxs.dtype, ("dxs", dxs, (N, T, D)), ("dW", dW, (V, D)))
    _ids(fit, "ids", ids, (N, T), V)
    _lengths(fit, "lengths", lengths, N, T)


# lstm


def _lstm(fit: Fit, dtype: np.dtype, name: str, weights: Any, G: int, D: int, H: int) -> None:
    _count(name, weights, 3 * G)
    for i in range(0, 3 * G, 3):
        fit(
            dtype,
            (f"Wx of {name}", weights[i], (D, 4 * H)),
            (f"Wh of {name}", weights[i + 1], (H, 4 * H)),
            (f"b of {name}", weights[i + 2], (4 * H,)),
        )


def _read_by_lstm(fit, dtype, weights, N, T, D, h0, c0, mask, lengths):
    """Returns G and H."""
    G = len(weights) // 3
    if G not in (1, 2):
        raise ValueError(f"weights has {len(weights)} arrays; expected 3 for each of one or two directions")
    H, _ = _shape("Wh", weights[1], 2)
    _lstm(fit, dtype, "weights", weights, G, D, H)
    state = G, N, H
    _if_given(fit, dtype, ("h0", h0, state), ("c0", c0, state), ("mask", mask, state))
    _lengths(fit, "lengths", lengths, N, T)
    return G, H


def lstm_forward(fit, xs, weights, h0, c0, mask, lengths):
    N, T, D = _shape("xs", xs, 3)
    fit(xs.dtype, ("xs", xs, (N, T, D)))
    G, H = _read_by_lstm(fit, xs.dtype, weights, N, T, D, h0, c0, mask, lengths)
    return N, T, D, G, H, xs.dtype


def _lstm_gradients(fit: Fit, dhs: Any, dh_last: Any, dc_last: Any, weights: Any, axes: tuple[Any, ...], grads: Any) -> None:
    N, T, D, G, H, dtype = axes
    fit(dtype, ("dhs", dhs, (N, T, G * H)))
    _if_given(fit, dtype, ("dh_last", dh_last, (G, N, H)), ("dc_last", dc_last, (G, N, H)))
    _lstm(fit, dtype, "weights", weights, G, D, H)
    _lstm(fit, dtype, "grads", grads, G, D, H)


def lstm_backward(fit, dhs, dh_last, dc_last, weights, cache, grads):
    _lstm_gradients(fit, dhs, dh_last, dc_last, weights, cache.axes, grads)


def embedding_lstm_forward(fit, W, ids, weights, h0, c0, mask, lengths):
    V, D = _shape("W", W, 2)
    N, T = _axes("ids", ids, 2)
    fit(W.dtype, ("W", W, (V, D)))
    _ids(fit, "ids", ids, (N, T), V)
    G, H = _read_by_lstm(fit, W.dtype, weights, N, T, D, h0, c0, mask, lengths)
    return V, N, T, D, G, H, W.dtype


def embedding_lstm_backward(fit, dhs, dh_last, dc_last, weights, cache, dW, grads):
    V, *axes = cache.axes
    _lstm_gradients(fit, dhs, dh_last, dc_last, weights, axes, grads)
    fit(axes[-1], ("dW", dW, (V, axes[2])))


# softmax, attention


def softmax_forward(fit, x, lengths):
    N, T = _shape("x", x, 2)
    fit(x.dtype, ("x", x, (N, T)))
    _lengths(fit, "lengths", lengths, N, T)


def softmax_backward(fit, dy, y, lengths):
    N, T = _shape("y", y, 2)
    fit(y.dtype, ("y", y, (N, T)), ("dy", dy, (N, T)))
    _lengths(fit, "lengths", lengths, N, T)


def attention_score_forward(fit, hs, h, lengths):
    N, T, H = _shape("hs", hs, 3)
    fit(hs.dtype, ("hs", hs, (N, T, H)), ("h", h, (N, H)))
    _lengths(fit, "lengths", lengths, N, T)


def attention_score_backward(fit, ds, hs, h, lengths):
    attention_score_forward(fit, hs, h, lengths)
    fit(hs.dtype, ("ds", ds, hs.shape[:2]))


def weighted_sum_forward(fit, hs, a, lengths):
    N, T, H = _shape("hs", hs, 3)
    fit(hs.dtype, ("hs", hs, (N, T, H)), ("a", a, (N, T)))
    _lengths(fit, "lengths", lengths, N, T)


def weighted_sum_backward(fit, dc, hs, a, lengths):
    weighted_sum_forward(fit, hs, a, lengths)
    fit(hs.dtype, ("dc", dc, (hs.shape[0], hs.shape[2])))


def attention_forward(fit, keys, values, queries, states, v, scale, lengths_enc, lengths_dec):
    N, T1, A = _shape("keys", keys, 3)
    _, _, E = _shape("values", values, 3)
    _, T2, _ = _shape("queries", queries, 3)
    S = 0 if states is None else _shape("states", states, 3)[2]
    fit(keys.dtype, ("keys", keys, (N, T1, A)), ("values", values, (N, T1, E)), ("queries", queries, (N, T2, A)))
    _if_given(fit, keys.dtype, ("states", states, (N, T2, S)), ("v", v, (A,)))
    _lengths(fit, "lengths_enc", lengths_enc, N, T1)
    _lengths(fit, "lengths_dec", lengths_dec, N, T2)
    float(scale)


def attention_backward(fit, dcs, keys, values, queries, states, v, scale, a, lengths_enc, lengths_dec, dv):
    attention_forward(fit, keys, values, queries, states, v, scale, lengths_enc, lengths_dec)
    (N, T1, A), T2 = keys.shape, queries.shape[1]
    width = values.shape[2] + (0 if states is None else states.shape[2])
    fit(keys.dtype, ("dcs", dcs, (N, T2, width)), ("a", a, (N, T2, T1)))
    _same_presence("dv", dv, v is not None)
    _if_given(fit, keys.dtype, ("dv", dv, (A,)))


# input feeding


def _feeding(fit, dtype, axes, keys, values, lstms, Wc, Wq, v):
    N, T1, L, _, _, _, A, E = axes
    fit(dtype, ("keys", keys, (N, T1, A)), ("values", values, (N, T1, E)))
    _count("lstms", lstms, 3 * L)
    _feeding_weights(fit, dtype, axes, "", lstms, Wc, Wq, v)


def _feeding_weights(fit, dtype, axes, prefix, lstms, Wc, Wq, v):
    _, _, L, D, H, K, A, E = axes
    for layer in range(L):
        _lstm(fit, dtype, f"{prefix}lstms[{layer}]", lstms[3 * layer : 3 * layer + 3], 1, H if layer else D + K, H)
    fit(dtype, (f"{prefix}Wc", Wc, (E + H, K)))
    _if_given(fit, dtype, (f"{prefix}Wq", Wq, (H, A)), (f"{prefix}v", v, (A,)))


def input_feeding_forward(
    fit, x, ids, keys, values, lstms, Wc, Wq, v, scale, h0, c0, feed0, mask, drop, residual, lengths_enc, lengths_dec
):
    N, T1, A = _shape("keys", keys, 3)
    _, _, E = _shape("values", values, 3)
    _, K = _shape("Wc", Wc, 2)
    L = len(lstms) // 3
    if L < 1:
        raise ValueError(f"lstms has {len(lstms)} arrays; expected 3 for each layer")
    H, _ = _shape("Wh", lstms[1], 2)
    dtype = keys.dtype
    shape: tuple[int, ...]
    if ids is None:
        _, T2, D = _shape("x", x, 3)
        shape = N, T2, D
    else:
        V, D = shape = _shape("x", x, 2)
        _, T2 = _axes("ids", ids, 2)
        _ids(fit, "ids", ids, (N, T2), V)
    fit(dtype, ("x", x, shape))
    if Wq is None and A != H:
        raise ValueError(f"keys has shape {keys.shape}; expected {(N, T1, H)}")
    axes = N, T1, L, D, H, K, A, E
    _feeding(fit, dtype, axes, keys, values, lstms, Wc, Wq, v)
    state = L, N, H
    _if_given(fit, dtype, ("h0", h0, state), ("c0", c0, state), ("feed0", feed0, (N, K)), ("mask", mask, state))
    if drop is not None:
        _count("seeds", drop[1], L - 1)
    _lengths(fit, "lengths_enc", lengths_enc, N, T1)
    _lengths(fit, "lengths_dec", lengths_dec, N, T2)
    float(scale)
    return axes, T2, dtype, Wq is not None, v is not None


def input_feeding_backward(
    fit, douts, dh_last, dc_last, keys, values, lstms, Wc, Wq, v, scale, cache, grads_lstms, dWc, dWq, dv
):
    axes, T2, dtype, has_Wq, has_v = cache.axes
    N, _, L, _, H, K, _, _ = axes
    fit(dtype, ("douts", douts, (N, T2, K)))
    _if_given(fit, dtype, ("dh_last", dh_last, (L, N, H)), ("dc_last", dc_last, (L, N, H)))
    for name, array, given in (("Wq", Wq, has_Wq), ("dWq", dWq, has_Wq), ("v", v, has_v), ("dv", dv, has_v)):
        _same_presence(name, array, given)
    _feeding(fit, dtype, axes, keys, values, lstms, Wc, Wq, v)
    _count("grads_lstms", grads_lstms, 3 * L)
    _feeding_weights(fit, dtype, axes, "d", grads_lstms, dWc, dWq, dv)
    float(scale)


# affine map


def affine_forward(fit, x, W, b, lengths):
    N, T, K = _shape("x", x, 3)
    _, V = _shape("W", W, 2)
    fit(x.dtype, ("x", x, (N, T, K)), ("W", W, (K, V)))
    _if_given(fit, x.dtype, ("b", b, (V,)))
    _lengths(fit, "lengths", lengths, N, T)


def affine_backward(fit, dout, x, W, dW, db, lengths):
    N, T, K = _shape("x", x, 3)
    _, V = _shape("W", W, 2)
    fit(x.dtype, ("x", x, (N, T, K)), ("W", W, (K, V)), ("dW", dW, (K, V)), ("dout", dout, (N, T, V)))
    _if_given(fit, x.dtype, ("db", db, (V,)))
    _lengths(fit, "lengths", lengths, N, T)


# numbers by themselves


def _alike(fit: Fit, first: Any, **others: Any) -> None:
    dtype = _dtype(first)
    if dtype not in _FLOATS:
        raise TypeError(f"an array has dtype {dtype}; expected float32 or float64")
    fit(dtype, ("the array", first, first.shape), *[(name, array, first.shape) for name, array in others.items()])


def tanh_forward(fit, x):
    _alike(fit, x)


def tanh_backward(fit, dy, y):
    _alike(fit, y, dy=dy)


def add(fit, x, y):
    _alike(fit, x, y=y)


def dropout(fit, x, ratio, seed, whole):
    shape = _shape("x", x, 3)
    fit(x.dtype, ("x", x, shape))


# loss


def target_probability_forward(fit, scores, t, lengths):
    N, T, V = _shape("scores", scores, 3)
    fit(scores.dtype, ("scores", scores, (N, T, V)))
    _ids(fit, "t", t, (N, T), V)
    _lengths(fit, "lengths", lengths, N, T)
    return N, T, scores.dtype


def target_probability_backward(fit, dy, cache):
    N, T, dtype = cache.axes
    fit(dtype, ("dy", dy, (N, T)))


def cross_entropy_forward(fit, y, lengths):
    N, T = _shape("y", y, 2)
    fit(y.dtype, ("y", y, (N, T)))
    _lengths(fit, "lengths", lengths, N, T)


def cross_entropy_backward(fit, dloss, y, lengths):
    cross_entropy_forward(fit, y, lengths)


def softmax_cross_entropy_forward(fit, scores, t, lengths, overwrite, smoothing):
    N, T, V = _shape("scores", scores, 3)
    fit(scores.dtype, ("scores", scores, (N, T, V)))
    _ids(fit, "t", t, (N, T), V, lowest=-1)
    _lengths(fit, "lengths", lengths, N, T)
    return N, T, V, scores.dtype


def softmax_cross_entropy_backward(fit, dloss, cache):
    """All that it reads is the kernels' own."""


# a small model as one


def _of_model(fit: Fit, dtype: np.dtype, name: str, arrays: Any, V1: int, V2: int, D: int, H: int) -> None:
    _count(name, arrays, 10)
    W1, Wx1, Wh1, b1, W2, Wx2, Wh2, b2, W, b = arrays
    of_x, of_h, of_b = (D, 4 * H), (H, 4 * H), (4 * H,)
    fit(
        dtype, (name, W1, (V1, D)), (name, Wx1, of_x), (name, Wh1, of_h), (name, b1, of_b), (name, W2, (V2, D)),
        (name, Wx2, of_x), (name, Wh2, of_h), (name, b2, of_b), (name, W, (2 * H, V2)), (name, b, (V2,)),
    )  # fmt: skip


def seq2seq_as_one(fit, weights, x, t, source_lengths, target_lengths):
    """It looks at sizes alone."""


def seq2seq_forward(fit, weights, x, t, source_lengths, target_lengths):
    _count("weights", weights, 10)
    V1, D = _shape("weights[0]", weights[0], 2)
    (H, _), (V2, _), dtype = _axes("Wh", weights[2], 2), _axes("weights[4]", weights[4], 2), weights[0].dtype
    _of_model(fit, dtype, "one of the weights", weights, V1, V2, D, H)
    (N, T1), (_, T2) = _axes("x", x, 2), _axes("t", t, 2)
    _ids(fit, "x", x, (N, T1), V1)
    _ids(fit, "t", t, (N, T2), V2)
    _lengths(fit, "source_lengths", source_lengths, N, T1)
    _lengths(fit, "target_lengths", target_lengths, N, T2, lowest=1)
    return V1, V2, D, H, dtype


def seq2seq_backward(fit, dloss, weights, cache, grads):
    V1, V2, D, H, dtype = cache.axes
    _of_model(fit, dtype, "one of the weights", weights, V1, V2, D, H)
    _of_model(fit, dtype, "one of the gradients", grads, V1, V2, D, H)


# search


def greedy_search(fit, hs_enc, h0, W, Wx, Wh, b, W_out, b_out, lengths_enc, start_id, sample_size, end_id):
    N, T1, H = _shape("hs_enc", hs_enc, 3)
    V, D = _shape("W", W, 2)
    fit(
        hs_enc.dtype, ("hs_enc", hs_enc, (N, T1, H)), ("h0", h0, (N, H)), ("W", W, (V, D)), ("Wx", Wx, (D, 4 * H)),
        ("Wh", Wh, (H, 4 * H)), ("b", b, (4 * H,)), ("W_out", W_out, (2 * H, V)), ("b_out", b_out, (V,)),
    )  # fmt: skip
    _lengths(fit, "lengths_enc", lengths_enc, N, T1)
    _number("start_id", start_id, 0, V - 1)
    _number("sample_size", sample_size, 0, sys.maxsize)


def _forbidden(fit: Fit, forbidden: Any, V: int) -> None:
    """Ids in ascending order, but not all."""
    (count,) = _axes("forbidden", forbidden, 1)
    _ids(fit, "forbidden", forbidden, (count,), V)
    if count >= V or (np.diff(forbidden) <= 0).any():
        raise ValueError(f"forbidden is {forbidden}; expected fewer than {V} ids that rise")


def beam_search(
    fit, W, lstms, attention, output, h0, c0, feeds, residual, lengths_enc, limits, beam, n_best, alpha, attends, forbidden
):
    L, N, H = _shape("h0", h0, 3)
    V, D = _shape("W", W, 2)
    dtype = h0.dtype
    Wc, Wp, W_out, b_out = output
    T1 = 2**31  # without attention nobody looks at the source
    fit(dtype, ("h0", h0, (L, N, H)), ("c0", c0, (L, N, H)), ("W", W, (V, D)))
    width = H
    if attention is not None:
        keys, values, Wq, v, _ = attention
        (_, T1, A), (_, _, E) = _shape("keys", keys, 3), _shape("values", values, 3)
        fit(dtype, ("keys", keys, (N, T1, A)), ("values", values, (N, T1, E)))
        _if_given(fit, dtype, ("Wq", Wq, (H, A)), ("v", v, (A,)))
        if Wq is None and A != H:
            raise ValueError(f"keys has shape {keys.shape}; expected {(N, T1, H)}")
        width = E + H
    elif attends or feeds:
        raise ValueError("attention is None; expected it to be given")
    fed = 0
    if Wc is not None:
        _, K = _shape("Wc", Wc, 2)
        fit(dtype, ("Wc", Wc, (width, K)))
        width, fed = K, K if feeds else 0
    elif feeds:
        raise ValueError("Wc is None; expected it to be given")
    _count("lstms", lstms, 3 * L)
    for layer in range(L):
        _lstm(fit, dtype, f"lstms[{layer}]", lstms[3 * layer : 3 * layer + 3], 1, H if layer else D + fed, H)
    if Wp is not None:
        fit(dtype, ("Wp", Wp, (width, D)))
        width = D
    fit(dtype, ("W_out", W_out, (width, V)), ("b_out", b_out, (V,)))
    _lengths(fit, "lengths_enc", lengths_enc, N, T1)
    _forbidden(fit, forbidden, V)
    start_id, sample_size, _ = limits
    _number("start_id", start_id, 0, V - 1)
    _number("sample_size", sample_size, 1, sys.maxsize)
    _number("n_best", n_best, 1, beam)


def best_successors(fit, scores, totals, firsts, count, forbidden):
    R, V = _shape("scores", scores, 2)
    fit(scores.dtype, ("scores", scores, (R, V)))
    fit(_FLOAT64, ("totals", totals, (R,)))
    (count_of_firsts,) = _axes("firsts", firsts, 1)
    fit(_INT64, ("firsts", firsts, (count_of_firsts,)))
    if not (firsts[0] >= 0 and firsts[-1] <= R and (np.diff(firsts) >= 0).all()):
        raise ValueError(f"firsts is {firsts}; expected numbers that rise from 0 to at most {R}")
    _number("count", count, 1, sys.maxsize)
    _forbidden(fit, forbidden, V)


def draw_tokens(fit, scores, temperature, top_k, top_p, uniforms, forbidden):
    R, V = _shape("scores", scores, 2)
    fit(scores.dtype, ("scores", scores, (R, V)))
    fit(_FLOAT64, ("uniforms", uniforms, (R,)))
    _forbidden(fit, forbidden, V)


def mean_log_probability(fit, scores):
    shape = _shape("scores", scores, 3)
    fit(scores.dtype, ("scores", scores, shape))


def target_log_probability(fit, scores, t, lengths):
    target_probability_forward(fit, scores, t, lengths)


# lists of arrays: an optimizer's


def _lists(fit: Fit, *lists: Any) -> None:
    """Lists of arrays of like shapes, all of one dtype."""
    for arrays in lists:
        _count("a list", arrays, len(lists[0]))
    if not lists[0]:
        return
    dtype = _dtype(lists[0][0])
    if dtype not in _FLOATS:
        raise TypeError(f"an array of a list has dtype {dtype}; expected float32 or float64")
    for of_each in zip(*lists):
        shape = getattr(of_each[0], "shape", ())
        fit(dtype, *[("an array of a list", array, shape) for array in of_each])


def lists_of_lines(*lists: Any) -> None:
    """Measures lists for kernels that measure them themselves, and found something wrong."""
    _lists(_fit_as_lines, *lists)


def squared_norm(fit, arrays):
    _lists(fit, arrays)


def scale(fit, arrays, factor):
    _lists(fit, arrays)


def sgd_update(fit, params, grads, scale, lr):
    _lists(fit, params, grads)


def momentum_update(fit, params, grads, velocities, scale, lr, momentum):
    _lists(fit, params, grads, velocities)


def nesterov_update(fit, params, grads, velocities, scale, lr, momentum):
    _lists(fit, params, grads, velocities)


def adagrad_update(fit, params, grads, squares, scale, lr, eps):
    _lists(fit, params, grads, squares)


def rmsprop_update(fit, params, grads, squares, scale, lr, decay_rate, eps):
    _lists(fit, params, grads, squares)


def adam_update(fit, params, grads, ms, vs, scale, step_size, beta1, beta2, root_scale, eps, decay):
    _lists(fit, params, grads, ms, vs)


def guard(kernels: dict[str, Any], names: list[str], *, as_lines: bool, measured_within: tuple[str, ...] = ()) -> None:
    """Put in the place of each kernel of a set what measures its arguments first.

    as_lines: whether they have to lie in memory as one line of numbers. measured_within: kernels that measure for themselves
    what they are given. Kernels call each other past this: what they hand on is their own.
    """
    fit = _fit_as_lines if as_lines else _fit
    for name in names:
        if name not in measured_within:
            kernels[name] = _guarded(name, kernels[name], fit)


def _takes_cache(contract: Any) -> bool:
    return "cache" in contract.__code__.co_varnames[: contract.__code__.co_argcount]


def _guarded(name: str, kernel: Callable[..., Any], fit: Fit) -> Callable[..., Any]:
    contract = globals()[name]
    if _takes_cache(contract):
        at = contract.__code__.co_varnames.index("cache") - 1

        @wraps(kernel)
        def backward(*given: Any) -> Any:
            contract(fit, *given)
            return kernel(*given[:at], given[at].cache, *given[at + 1 :])

        return backward

    back = globals().get(name.replace("_forward", "_backward"))
    if name.endswith("_forward") and back is not None and _takes_cache(back):

        @wraps(kernel)
        def forward(*given: Any) -> Any:
            axes = contract(fit, *given)
            *results, cache = kernel(*given)
            return *results, Kept(axes, cache)

        return forward

    @wraps(kernel)
    def measured(*given: Any) -> Any:
        contract(fit, *given)
        return kernel(*given)

    return measured
