"""A call of every kernel, for the tests that run both sets: what goes in, and every array that comes out.

A case is a function of (kernels, draw, sizes, lengths) that calls one kernel, or a forward with its backward, and returns
the list of its results, the gradients that it wrote among them. ``draw(*shape)`` gives random numbers of the dtype under test.
"""

import numpy as np


class Draw:
    """Random inputs of one dtype, the same for every kernel set."""

    def __init__(self, dtype, seed=7):
        self.dtype = np.dtype(dtype)
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape):
        return self.rng.standard_normal(shape).astype(self.dtype)

    def ids(self, V, *shape):
        return self.rng.integers(0, V, shape)

    def unwritten(self, *shape):
        """For a gradient to overwrite: what stands there must not matter."""
        return np.full(shape, np.nan, self.dtype)


def embedding(kernels, draw, N, T, D, H, V, lengths):
    W, ids, dxs, dW = draw(V, D), draw.ids(V, N, T), draw(N, T, D), draw.unwritten(V, D)
    xs = kernels.embedding_forward(W, ids, lengths)
    kernels.embedding_backward(dxs, ids, dW, lengths)
    return [xs, dW]


def lstm(kernels, draw, N, T, D, H, V, lengths):
    xs, h0, c0, b = draw(N, T, D), draw(N, H), draw(N, H), draw(4 * H)
    Wx, Wh = draw(D, 4 * H) / np.sqrt(D).astype(draw.dtype), draw(H, 4 * H) / np.sqrt(H).astype(draw.dtype)
    grads = [draw.unwritten(*w.shape) for w in (Wx, Wh, b)]
    hs, h_last, c_last, cache = kernels.lstm_forward(xs, h0, c0, Wx, Wh, b, lengths)
    dxs, dh0, dc0 = kernels.lstm_backward(draw(N, T, H), draw(N, H), draw(N, H), Wx, Wh, cache, *grads)
    return [hs, h_last, c_last, dxs, dh0, dc0, *grads]


def lstm_from_zeros(kernels, draw, N, T, D, H, V, lengths):
    xs, b = draw(N, T, D), draw(4 * H)
    Wx, Wh = draw(D, 4 * H) / np.sqrt(D).astype(draw.dtype), draw(H, 4 * H) / np.sqrt(H).astype(draw.dtype)
    grads = [draw.unwritten(*w.shape) for w in (Wx, Wh, b)]
    hs, h_last, c_last, cache = kernels.lstm_forward(xs, None, None, Wx, Wh, b, lengths)
    dxs, dh0, dc0 = kernels.lstm_backward(draw(N, T, H), None, None, Wx, Wh, cache, *grads)
    return [hs, h_last, c_last, dxs, dh0, dc0, *grads]


def embedding_lstm(kernels, draw, N, T, D, H, V, lengths):
    results = []
    for vocabulary in (V, 1 + V % 3):  # more tokens than steps, or fewer
        for given in (False, True):
            W, ids, b = draw(vocabulary, D), draw.ids(vocabulary, N, T), draw(4 * H)
            Wx, Wh = draw(D, 4 * H) / np.sqrt(D).astype(draw.dtype), draw(H, 4 * H) / np.sqrt(H).astype(draw.dtype)
            state, dstate = ((draw(N, H), draw(N, H)) if given else (None, None) for _ in range(2))
            grads = [draw.unwritten(*w.shape) for w in (W, Wx, Wh, b)]
            hs, h_last, c_last, cache = kernels.embedding_lstm_forward(W, ids, *state, Wx, Wh, b, lengths)
            dstate = kernels.embedding_lstm_backward(draw(N, T, H), *dstate, Wx, Wh, cache, *grads)
            results += [hs, h_last, c_last, *grads]
            if given:
                results += dstate
            else:
                assert dstate == (None, None)
    return results


def softmax(kernels, draw, N, T, D, H, V, lengths):
    y = kernels.softmax_forward(5 * draw(N, T), lengths)
    return [y, kernels.softmax_backward(draw(N, T), y, lengths)]


def attention_score(kernels, draw, N, T, D, H, V, lengths):
    hs, h = draw(N, T, H), draw(N, H)
    s = kernels.attention_score_forward(hs, h, lengths)
    return [s, *kernels.attention_score_backward(draw(N, T), hs, h, lengths)]


def weighted_sum(kernels, draw, N, T, D, H, V, lengths):
    hs, a = draw(N, T, H), draw(N, T)
    c = kernels.weighted_sum_forward(hs, a, lengths)
    return [c, *kernels.weighted_sum_backward(draw(N, H), hs, a, lengths)]


def attention(kernels, draw, N, T, D, H, V, lengths):
    T2 = T + 2
    target_lengths = None if lengths is None else lengths[::-1] + 1
    hs_enc, hs_dec = draw(N, T, H), draw(N, T2, H)
    results = []
    for join in (False, True):
        cs, a = kernels.attention_forward(hs_enc, hs_dec, lengths, target_lengths, join)
        dcs = draw(*cs.shape)
        results += [cs, a, *kernels.attention_backward(dcs, hs_enc, hs_dec, a, lengths, target_lengths)]
    return results


def affine(kernels, draw, N, T, D, H, V, lengths):
    x, W, b, dW, db = draw(N, T, H), draw(H, V), draw(V), draw.unwritten(H, V), draw.unwritten(V)
    out = kernels.affine_forward(x, W, b, lengths)
    dx = kernels.affine_backward(draw(N, T, V), x, W, dW, db, lengths)
    return [out, dx, dW, db]


def target_probability(kernels, draw, N, T, D, H, V, lengths):
    y, cache = kernels.target_probability_forward(draw(N, T, V), draw.ids(V, N, T), lengths)
    return [y, kernels.target_probability_backward(draw(N, T), cache)]


def cross_entropy(kernels, draw, N, T, D, H, V, lengths):
    y = np.abs(draw(N, T)) + draw.dtype.type(0.01)
    loss = kernels.cross_entropy_forward(y, lengths)
    return [np.float64(loss), kernels.cross_entropy_backward(0.7, y, lengths)]


def _losses_and_gradients(kernels, scores, t, lengths):
    results = []
    for dloss, overwrite in ((0.7, False), (1.0, True), (-0.3, True)):
        loss, cache = kernels.softmax_cross_entropy_forward(scores.copy(), t, lengths, overwrite)
        results += [np.float64(loss), kernels.softmax_cross_entropy_backward(dloss, cache)]
    return results


def softmax_cross_entropy(kernels, draw, N, T, D, H, V, lengths):
    return _losses_and_gradients(kernels, 3 * draw(N, T, V), draw.ids(V, N, T), lengths)


def softmax_cross_entropy_with_gaps(kernels, draw, N, T, D, H, V, lengths):
    t = draw.ids(V, N, T)
    t[1::2, ::3] = -1  # no target there, not in the whole of a sample where T is 1
    results = []
    for targets in (t, np.full_like(t, -1)):
        results += _losses_and_gradients(kernels, 3 * draw(N, T, V), targets, lengths)
    return results


def seq2seq(kernels, draw, N, T, D, H, V, lengths):
    V_dec, target_lengths = V + 3, None if lengths is None else 1 + lengths[::-1]
    shapes = [
        *((V, D), (D, 4 * H), (H, 4 * H), (4 * H,)),
        *((V_dec, D), (D, 4 * H), (H, 4 * H), (4 * H,)),
        (2 * H, V_dec),
        (V_dec,),
    ]
    weights = [draw(*shape) / np.sqrt(shape[0]).astype(draw.dtype) for shape in shapes]
    x, t = draw.ids(V, N, T), draw.ids(V_dec, N, T + 1)
    results = []
    for dloss in (1, -0.3):
        grads = [draw.unwritten(*shape) for shape in shapes]
        loss, a, states, cache = kernels.seq2seq_forward(weights, x, t, lengths, target_lengths)
        dh0, dc0 = kernels.seq2seq_backward(dloss, weights, cache, grads)
        results += [np.float64(loss), a, states, dh0, dc0, *grads]
    return results


def greedy_search(kernels, draw, N, T, D, H, V, lengths):
    hs_enc, h0, W, b, b_out = draw(N, T, H), draw(N, H), draw(V, D), draw(4 * H), draw(V)
    Wx, Wh = draw(D, 4 * H) / np.sqrt(D).astype(draw.dtype), draw(H, 4 * H) / np.sqrt(H).astype(draw.dtype)
    W_out = draw(2 * H, V) / np.sqrt(2 * H).astype(draw.dtype)
    model = (hs_enc, h0, W, Wx, Wh, b, W_out, b_out, lengths)
    ids, weights = kernels.greedy_search(*model, V - 1, 7, None)
    end_id = int(ids[0, min(2, ids.shape[1] - 1)])  # ends the first sample early, and others where they say it
    return [ids, weights, *kernels.greedy_search(*model, V - 1, 7, end_id)]


def dropout(kernels, draw, N, T, D, H, V, lengths):
    return [kernels.dropout(draw(N, T, D), 0.3, 12345678901234567890)]


def norm(kernels, draw, N, T, D, H, V, lengths):
    arrays = [draw(N, T), draw(300, H), draw(1)]
    total = kernels.squared_norm(arrays)
    kernels.scale(arrays, 0.3)
    return [np.float64(total), *arrays]


def _optimizer(name, memories, *scale_and_numbers):
    def case(kernels, draw, N, T, D, H, V, lengths):
        shapes = [(N, T), (300, H), (1,)]
        params = [draw(*shape) for shape in shapes]
        grads = [draw(*shape) for shape in shapes]
        remembered = [[np.abs(draw(*shape)) for shape in shapes] for _ in range(memories)]
        getattr(kernels, name)(params, grads, *remembered, *scale_and_numbers)
        return [*params, *grads, *(array for arrays in remembered for array in arrays)]

    return case


# name of the case -> the case, and the kernels that it compares
CASES = {
    "embedding": (embedding, ["embedding_forward", "embedding_backward"]),
    "lstm": (lstm, ["lstm_forward", "lstm_backward"]),
    "lstm_from_zeros": (lstm_from_zeros, ["lstm_forward", "lstm_backward"]),
    "embedding_lstm": (embedding_lstm, ["embedding_lstm_forward", "embedding_lstm_backward"]),
    "softmax": (softmax, ["softmax_forward", "softmax_backward"]),
    "attention_score": (attention_score, ["attention_score_forward", "attention_score_backward"]),
    "weighted_sum": (weighted_sum, ["weighted_sum_forward", "weighted_sum_backward"]),
    "attention": (attention, ["attention_forward", "attention_backward"]),
    "affine": (affine, ["affine_forward", "affine_backward"]),
    "target_probability": (target_probability, ["target_probability_forward", "target_probability_backward"]),
    "cross_entropy": (cross_entropy, ["cross_entropy_forward", "cross_entropy_backward"]),
    "softmax_cross_entropy": (
        softmax_cross_entropy,
        ["softmax_cross_entropy_forward", "softmax_cross_entropy_backward"],
    ),
    "softmax_cross_entropy_with_gaps": (
        softmax_cross_entropy_with_gaps,
        ["softmax_cross_entropy_forward", "softmax_cross_entropy_backward"],
    ),
    "seq2seq": (seq2seq, ["seq2seq_forward", "seq2seq_backward"]),
    "greedy_search": (greedy_search, ["greedy_search"]),
    "dropout": (dropout, ["dropout"]),
    "norm": (norm, ["squared_norm", "scale"]),
    "sgd": (_optimizer("sgd_update", 0, 0.7, 0.1), ["sgd_update"]),
    "momentum": (_optimizer("momentum_update", 1, 0.7, 0.1, 0.9), ["momentum_update"]),
    "nesterov": (_optimizer("nesterov_update", 1, 0.7, 0.1, 0.9), ["nesterov_update"]),
    "adagrad": (_optimizer("adagrad_update", 1, 0.7, 0.1, 1e-7), ["adagrad_update"]),
    "rmsprop": (_optimizer("rmsprop_update", 1, 0.7, 0.1, 0.99, 1e-7), ["rmsprop_update"]),
    "adam": (_optimizer("adam_update", 2, 0.7, 0.1, 0.9, 0.999, 1.3, 1e-8, 0.01), ["adam_update"]),
}

# N, T, D, H, V: odd and unequal; one of each; H a multiple of a vector and not; rows and columns beyond one tile and panel.
SIZES = [(1, 1, 1, 1, 1), (3, 5, 7, 11, 13), (7, 1, 3, 17, 2), (1, 9, 33, 16, 5), (13, 4, 5, 67, 131), (5, 19, 16, 64, 64)]


def lengths_for(N, T, padded):
    """None, or unequal lengths of which one is the whole T."""
    if not padded:
        return None
    lengths = 1 + (np.arange(N) * 7 + T - 1) % T
    lengths[0] = T
    return lengths
