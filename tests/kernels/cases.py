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

    def weight(self, rows, columns):
        """A matrix whose product with numbers of size 1 is of size 1."""
        return self(rows, columns) / np.sqrt(rows).astype(self.dtype)

    def lstm(self, D, H, directions=1):
        return [w for _ in range(directions) for w in (self.weight(D, 4 * H), self.weight(H, 4 * H), self(4 * H))]

    def mask(self, *shape):
        """Of recurrent dropout."""
        return np.where(self.rng.random(shape) < 0.3, 0, 1 / 0.7).astype(self.dtype)

    def unwritten_like(self, arrays):
        return [self.unwritten(*array.shape) for array in arrays]


def _present(arrays):
    """Without the places where a kernel has nothing to return."""
    return [array for array in arrays if array is not None]


def embedding(kernels, draw, N, T, D, H, V, lengths):
    W, ids, dxs, dW = draw(V, D), draw.ids(V, N, T), draw(N, T, D), draw.unwritten(V, D)
    xs = kernels.embedding_forward(W, ids, lengths)
    kernels.embedding_backward(dxs, ids, dW, lengths)
    return [xs, dW]


def _lstm(directions, given, masked):
    def case(kernels, draw, N, T, D, H, V, lengths):
        xs, weights, shape = draw(N, T, D), draw.lstm(D, H, directions), (directions, N, H)
        state, dstate = ((draw(*shape), draw(*shape)) if given else (None, None) for _ in range(2))
        mask, grads = draw.mask(*shape) if masked else None, draw.unwritten_like(weights)
        hs, h_last, c_last, cache = kernels.lstm_forward(xs, weights, *state, mask, lengths)
        dxs, dh0, dc0 = kernels.lstm_backward(draw(N, T, directions * H), *dstate, weights, cache, grads)
        return [hs, h_last, c_last, dxs, dh0, dc0, *grads]

    return case


def lstm_halfway(kernels, draw, N, T, D, H, V, lengths):
    """From h without c, as a decoder starts; of its last state, c alone has a gradient."""
    xs, weights, h0, dc_last = draw(N, T, D), draw.lstm(D, H, 2), draw(2, N, H), draw(2, N, H)
    grads = draw.unwritten_like(weights)
    hs, h_last, c_last, cache = kernels.lstm_forward(xs, weights, h0, None, None, lengths)
    dxs, dh0, dc0 = kernels.lstm_backward(draw(N, T, 2 * H), None, dc_last, weights, cache, grads)
    return [hs, h_last, c_last, dxs, dh0, dc0, *grads]


def _embedding_lstm(directions, masked):
    def case(kernels, draw, N, T, D, H, V, lengths):
        results, shape = [], (directions, N, H)
        for vocabulary in (V, 1 + V % 3):  # more tokens than steps, or fewer
            for given in (False, True):
                W, ids, weights = draw(vocabulary, D), draw.ids(vocabulary, N, T), draw.lstm(D, H, directions)
                state, dstate = ((draw(*shape), draw(*shape)) if given else (None, None) for _ in range(2))
                mask = draw.mask(*shape) if masked else None
                dW, *grads = draw.unwritten_like([W, *weights])
                hs, h_last, c_last, cache = kernels.embedding_lstm_forward(W, ids, weights, *state, mask, lengths)
                dhs = draw(N, T, directions * H)
                dstate = kernels.embedding_lstm_backward(dhs, *dstate, weights, cache, dW, grads)
                results += [hs, h_last, c_last, dW, *grads]
                if given:
                    results += dstate
                else:
                    assert tuple(dstate) == (None, None)
        return results

    return case


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


def _attended(kernels, draw, keys, values, queries, states, v, scale, lengths_enc, lengths_dec):
    read = keys, values, queries, states, v, scale
    cs, a = kernels.attention_forward(*read, lengths_enc, lengths_dec)
    dv = None if v is None else draw.unwritten(*v.shape)
    gradients = kernels.attention_backward(draw(*cs.shape), *read, a, lengths_enc, lengths_dec, dv)
    assert (gradients[1] is None) == (values is keys)
    assert (gradients[3] is None) == (states is None or states is queries)
    return [cs, a, *_present(gradients), *_present([dv])]


def attention(kernels, draw, N, T, D, H, V, lengths):
    """The plain case: of the source states and the target states alone."""
    T2 = T + 2
    target_lengths = None if lengths is None else lengths[::-1] + 1
    hs_enc, hs_dec = draw(N, T, H), draw(N, T2, H)
    results = []
    for states in (None, hs_dec):
        results += _attended(kernels, draw, hs_enc, hs_enc, hs_dec, states, None, 1, lengths, target_lengths)
    return results


def _attention(additive):
    """Keys that are not the values, and states that are not the queries, and each of the two alone."""

    def case(kernels, draw, N, T, D, H, V, lengths):
        T2, A, E = T + 2, D, H + 3
        target_lengths = None if lengths is None else lengths[::-1] + 1
        keys, values, queries, states = draw(N, T, A), draw(N, T, E), draw(N, T2, A), draw(N, T2, H)
        how = (draw(A), 1) if additive else (None, A**-0.5)
        results = []
        for read in (
            (keys, values, queries, states),
            (keys, values, queries, queries),
            (keys, values, queries, None),
            (keys, keys, queries, states),
            (keys, keys, queries, queries),
        ):
            results += _attended(kernels, draw, *read, *how, lengths, target_lengths)
        return results

    return case


def _input_feeding(layers, *, from_zeros, with_ids, keys_are_values, additive, query, masked, dropped, residual):
    def case(kernels, draw, N, T, D, H, V, lengths):
        T2, K, L = T + 2, H + 2, layers
        A, E = D + 1 if query else H, H + 3
        target_lengths = None if lengths is None else lengths[::-1] + 1
        x, ids = (draw(V, D), draw.ids(V, N, T2)) if with_ids else (draw(N, T2, D), None)
        keys = draw(N, T, A)
        values = keys if keys_are_values else draw(N, T, E)
        lstms = [*draw.lstm(D + K, H), *(w for _ in range(L - 1) for w in draw.lstm(H, H))]
        Wc, Wq = draw.weight(values.shape[2] + H, K), draw.weight(H, A) if query else None
        v, scale = (draw(A), 1) if additive else (None, A**-0.5)
        first = (None, None, None) if from_zeros else (draw(L, N, H), draw(L, N, H), draw(N, K))
        dstate = (None, None) if from_zeros else (draw(L, N, H), draw(L, N, H))
        mask = draw.mask(L, N, H) if masked else None
        drop = (0.3, [np.uint64(2**63 + i) for i in range(L - 1)]) if dropped else None
        weights = keys, values, lstms, Wc, Wq, v, scale
        outs, a, h_last, c_last, cache = kernels.input_feeding_forward(
            x, ids, *weights, *first, mask, drop, residual, lengths, target_lengths
        )
        grads, dWc = draw.unwritten_like(lstms), draw.unwritten(*Wc.shape)
        dWq, dv = (None if w is None else draw.unwritten(*w.shape) for w in (Wq, v))
        gradients = kernels.input_feeding_backward(draw(N, T2, K), *dstate, *weights, cache, grads, dWc, dWq, dv)
        assert (gradients[2] is None) == keys_are_values
        return [outs, a, h_last, c_last, *_present(gradients), *grads, dWc, *_present([dWq, dv])]

    return case


def affine(kernels, draw, N, T, D, H, V, lengths):
    x, W, b, dW, db = draw(N, T, H), draw(H, V), draw(V), draw.unwritten(H, V), draw.unwritten(V)
    out = kernels.affine_forward(x, W, b, lengths)
    dx = kernels.affine_backward(draw(N, T, V), x, W, dW, db, lengths)
    return [out, dx, dW, db]


def affine_without_bias(kernels, draw, N, T, D, H, V, lengths):
    x, W, dW = draw(N, T, H), draw(H, V), draw.unwritten(H, V)
    out = kernels.affine_forward(x, W, None, lengths)
    dx = kernels.affine_backward(draw(N, T, V), x, W, dW, None, lengths)
    return [out, dx, dW]


def activation(kernels, draw, N, T, D, H, V, lengths):
    results = []
    for shape in ((N, T, H), (N, V), (V,)):
        y = kernels.tanh_forward(3 * draw(*shape))
        results += [y, kernels.tanh_backward(draw(*shape), y), kernels.add(draw(*shape), y)]
    return results


def target_probability(kernels, draw, N, T, D, H, V, lengths):
    y, cache = kernels.target_probability_forward(draw(N, T, V), draw.ids(V, N, T), lengths)
    return [y, kernels.target_probability_backward(draw(N, T), cache)]


def cross_entropy(kernels, draw, N, T, D, H, V, lengths):
    y = np.abs(draw(N, T)) + draw.dtype.type(0.01)
    loss = kernels.cross_entropy_forward(y, lengths)
    return [np.float64(loss), kernels.cross_entropy_backward(0.7, y, lengths)]


def _losses_and_gradients(kernels, scores, t, lengths, smoothing=0):
    results = []
    for dloss, overwrite in ((0.7, False), (1.0, True), (-0.3, True)):
        loss, cache = kernels.softmax_cross_entropy_forward(scores.copy(), t, lengths, overwrite, smoothing)
        results += [np.float64(loss), kernels.softmax_cross_entropy_backward(dloss, cache)]
    return results


def softmax_cross_entropy(kernels, draw, N, T, D, H, V, lengths):
    return _losses_and_gradients(kernels, 3 * draw(N, T, V), draw.ids(V, N, T), lengths)


def softmax_cross_entropy_smoothed(kernels, draw, N, T, D, H, V, lengths):
    t = draw.ids(V, N, T)
    whole = _losses_and_gradients(kernels, 3 * draw(N, T, V), t, lengths, 0.1)
    t[1::2, ::3] = -1
    return whole + _losses_and_gradients(kernels, 3 * draw(N, T, V), t, lengths, 0.7)


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


def _beam_search(
    layers, *, attends=True, additive=False, query=False, attentional=False, feeds=False, tied=False, residual=False
):
    def case(kernels, draw, N, T, D, H, V, lengths):
        L, K, E = layers, H + 2, H + 3
        A = D + 1 if query else H
        keys, values = draw(N, T, A), draw(N, T, E)
        width = E + H if attends else H
        fed = K if feeds else 0
        lstms = [*draw.lstm(D + fed, H), *(w for _ in range(L - 1) for w in draw.lstm(H, H))]
        attention = (
            keys,
            values,
            draw.weight(H, A) if query else None,
            draw(A) if additive else None,
            1 if additive else A**-0.5,
        )
        Wc = draw.weight(width, K) if attentional else None
        width = K if attentional else width
        Wp = draw.weight(width, D) if tied else None
        output = Wc, Wp, 3 * draw.weight(D if tied else width, V), draw(V)
        first = draw(V, D), lstms, attention if attends else None, output, draw(L, N, H), draw(L, N, H), feeds, residual
        results = []
        for end_id, sample_size, beam, n_best, alpha in ((None, 5, 4, 2, 0.0), (V - 1, 7, 3, 3, 0.0), (V // 2, 6, 5, 1, 1.3)):
            limits = min(1, V - 1), sample_size, end_id
            forbidden = _forbidden(V, end_id)
            ids, found, scores, log_p, a = kernels.beam_search(*first, lengths, limits, beam, n_best, alpha, attends, forbidden)
            assert (a is not None) == attends
            assert not any(np.isin(row[:length], forbidden).any() for row, length in zip(ids[:, 0], found[:, 0]))
            results += [ids, found, scores[found > 0], log_p, *_present([a])]
        return results

    return case


def _forbidden(V, end_id):
    """Some ids without the end symbol, and none where there is no end symbol."""
    return np.unique([v for v in (0, 1, V // 3, V - 2) if end_id not in (None, v) and 0 <= v < V - 1]).astype(np.int64)


def best_successors(kernels, draw, N, T, D, H, V, lengths):
    """Samples with one hypothesis or several; more successors than are wanted, and fewer."""
    results = []
    for widths, count in (([1 + n % 4 for n in range(N)], 5), ([1] * N, min(V, 3)), ([3] * N, 2)):
        firsts = np.concatenate(([0], np.cumsum(widths)))
        totals = -np.abs(draw(firsts[-1], 1)[:, 0]).astype(np.float64)
        forbidden = _forbidden(V, V - 1 if count == 5 else None)
        rows, *others = kernels.best_successors(3 * draw(firsts[-1], V), totals, firsts, count, forbidden)
        found = rows >= 0
        assert (found.sum(axis=1) == np.minimum(count, (V - len(forbidden)) * np.array(widths))).all()
        assert not np.isin(others[0][found], forbidden).any()
        results += [rows, *(array[found] for array in others)]
    return results


def draw_tokens(kernels, draw, N, T, D, H, V, lengths):
    results = []
    for temperature, top_k, top_p in ((1.0, 0, 1.0), (0.7, 3, 1.0), (2.0, 0, 0.6), (1.3, V // 2 + 1, 0.8), (1, V + 1, 0.99)):
        uniforms, forbidden = draw.rng.random(2 * N + 1), _forbidden(V, V - 1 if top_k != 3 else None)
        tokens, log_p = kernels.draw_tokens(2 * draw(2 * N + 1, V), temperature, top_k, top_p, uniforms, forbidden)
        assert not np.isin(tokens, forbidden).any()
        results += [tokens, log_p]
    return results


def mean_log_probability(kernels, draw, N, T, D, H, V, lengths):
    return [kernels.mean_log_probability(5 * draw(models, 2 * N + 1, V)) for models in (1, 3)]


def target_log_probability(kernels, draw, N, T, D, H, V, lengths):
    return [kernels.target_log_probability(5 * draw(N, T, V), draw.ids(V, N, T), lengths)]


def dropout(kernels, draw, N, T, D, H, V, lengths):
    return [kernels.dropout(draw(N, T, D), 0.3, np.uint64(12345678901234567890), whole) for whole in (False, True)]


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


_LSTM = ["lstm_forward", "lstm_backward"]
_EMBEDDING_LSTM = ["embedding_lstm_forward", "embedding_lstm_backward"]
_ATTENTION = ["attention_forward", "attention_backward"]
_INPUT_FEEDING = ["input_feeding_forward", "input_feeding_backward"]
_BEAM_SEARCH = ["beam_search"]
_PLAIN_FEEDING = {
    "from_zeros": True,
    "with_ids": False,
    "keys_are_values": True,
    "additive": False,
    "query": False,
    "masked": False,
    "dropped": False,
    "residual": False,
}


def _feeding(layers, **options):
    return _input_feeding(layers, **{**_PLAIN_FEEDING, **options})


# name of the case -> the case, and the kernels that it compares
CASES = {
    "embedding": (embedding, ["embedding_forward", "embedding_backward"]),
    "lstm": (_lstm(1, True, False), _LSTM),
    "lstm_from_zeros": (_lstm(1, False, False), _LSTM),
    "lstm_masked": (_lstm(1, True, True), _LSTM),
    "lstm_halfway": (lstm_halfway, _LSTM),
    "bilstm": (_lstm(2, True, False), _LSTM),
    "bilstm_from_zeros": (_lstm(2, False, False), _LSTM),
    "bilstm_masked": (_lstm(2, False, True), _LSTM),
    "embedding_lstm": (_embedding_lstm(1, False), _EMBEDDING_LSTM),
    "embedding_lstm_masked": (_embedding_lstm(1, True), _EMBEDDING_LSTM),
    "embedding_bilstm": (_embedding_lstm(2, False), _EMBEDDING_LSTM),
    "embedding_bilstm_masked": (_embedding_lstm(2, True), _EMBEDDING_LSTM),
    "softmax": (softmax, ["softmax_forward", "softmax_backward"]),
    "attention_score": (attention_score, ["attention_score_forward", "attention_score_backward"]),
    "weighted_sum": (weighted_sum, ["weighted_sum_forward", "weighted_sum_backward"]),
    "attention": (attention, _ATTENTION),
    "attention_scaled": (_attention(additive=False), _ATTENTION),
    "attention_additive": (_attention(additive=True), _ATTENTION),
    "feeding": (_feeding(1), _INPUT_FEEDING),
    "feeding_from_a_state": (_feeding(1, from_zeros=False, with_ids=True, keys_are_values=False), _INPUT_FEEDING),
    "feeding_additive": (
        _feeding(1, with_ids=True, keys_are_values=False, additive=True, query=True, masked=True),
        _INPUT_FEEDING,
    ),
    "feeding_3_layers": (_feeding(3, from_zeros=False, query=True, keys_are_values=False), _INPUT_FEEDING),
    "feeding_3_layers_dropped": (_feeding(3, additive=True, masked=True, dropped=True, with_ids=True), _INPUT_FEEDING),
    "feeding_3_layers_residual": (
        _feeding(3, from_zeros=False, additive=True, query=True, keys_are_values=False, residual=True),
        _INPUT_FEEDING,
    ),
    "feeding_with_all": (
        _feeding(
            3,
            from_zeros=False,
            with_ids=True,
            keys_are_values=False,
            additive=True,
            query=True,
            masked=True,
            dropped=True,
            residual=True,
        ),
        _INPUT_FEEDING,
    ),
    "affine": (affine, ["affine_forward", "affine_backward"]),
    "affine_without_bias": (affine_without_bias, ["affine_forward", "affine_backward"]),
    "activation": (activation, ["tanh_forward", "tanh_backward", "add"]),
    "target_probability": (target_probability, ["target_probability_forward", "target_probability_backward"]),
    "cross_entropy": (cross_entropy, ["cross_entropy_forward", "cross_entropy_backward"]),
    "softmax_cross_entropy": (
        softmax_cross_entropy,
        ["softmax_cross_entropy_forward", "softmax_cross_entropy_backward"],
    ),
    "softmax_cross_entropy_smoothed": (
        softmax_cross_entropy_smoothed,
        ["softmax_cross_entropy_forward", "softmax_cross_entropy_backward"],
    ),
    "softmax_cross_entropy_with_gaps": (
        softmax_cross_entropy_with_gaps,
        ["softmax_cross_entropy_forward", "softmax_cross_entropy_backward"],
    ),
    "seq2seq": (seq2seq, ["seq2seq_forward", "seq2seq_backward"]),
    "greedy_search": (greedy_search, ["greedy_search"]),
    "beam": (_beam_search(1), _BEAM_SEARCH),
    "beam_without_attention": (_beam_search(2, attends=False, attentional=True), _BEAM_SEARCH),
    "beam_additive": (_beam_search(1, additive=True, query=True, tied=True), _BEAM_SEARCH),
    "beam_2_layers": (_beam_search(2, attentional=True, residual=True), _BEAM_SEARCH),
    "beam_feeding": (_beam_search(1, attentional=True, feeds=True), _BEAM_SEARCH),
    "beam_with_all": (
        _beam_search(3, additive=True, query=True, attentional=True, feeds=True, tied=True, residual=True),
        _BEAM_SEARCH,
    ),
    "best_successors": (best_successors, ["best_successors"]),
    "draw_tokens": (draw_tokens, ["draw_tokens"]),
    "mean_log_probability": (mean_log_probability, ["mean_log_probability"]),
    "target_log_probability": (target_log_probability, ["target_log_probability"]),
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
SIZES = [
    (1, 1, 1, 1, 1),
    (3, 5, 7, 11, 13),
    (7, 1, 3, 17, 2),
    (1, 6, 3, 16, 5),
    (1, 9, 33, 16, 5),
    (13, 4, 5, 67, 131),
    (5, 19, 16, 64, 64),
]


def lengths_for(N, T, padded):
    """None, or unequal lengths of which one is the whole T."""
    if not padded:
        return None
    lengths = 1 + (np.arange(N) * 7 + T - 1) % T
    lengths[0] = T
    return lengths
