"""The layers and models that `fastattn.compat.dlfs2` stands in for, in plain NumPy: what the tests compare with.

Written here, from the public names and what they mean, in the manner of code for teaching: a cell for every step, a loop
over the steps, whole arrays repeated and added up. What the layers compute is also written in the reference kernels; here
it is written a second time on purpose, so that the two can be compared.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Layer:
    def __init__(self, *params):
        self.params = list(params)
        self.grads = [np.zeros_like(p) for p in params]

    def put_grads(self, *grads):
        for held, grad in zip(self.grads, grads, strict=True):
            held[...] = grad


class Embedding(Layer):
    """idx (N,) -> (N, D)."""

    def forward(self, idx):
        self.idx = idx
        return self.params[0][idx]

    def backward(self, dout):
        (dW,) = self.grads
        dW[...] = 0
        np.add.at(dW, self.idx, dout)


class LSTM(Layer):
    """x (N, D), h_prev, c_prev (N, H) -> h_next, c_next."""

    def forward(self, x, h_prev, c_prev):
        Wx, Wh, b = self.params
        a = np.dot(x, Wx) + np.dot(h_prev, Wh) + b
        H = h_prev.shape[1]
        f, g, i, o = (a[:, k * H : (k + 1) * H] for k in range(4))
        f, g, i, o = sigmoid(f), np.tanh(g), sigmoid(i), sigmoid(o)
        c_next = f * c_prev + g * i
        h_next = o * np.tanh(c_next)
        self.cache = x, h_prev, c_prev, f, g, i, o, c_next
        return h_next, c_next

    def backward(self, dh_next, dc_next):
        Wx, Wh, _ = self.params
        x, h_prev, c_prev, f, g, i, o, c_next = self.cache
        tanh_c = np.tanh(c_next)
        dc = dc_next + dh_next * o * (1 - tanh_c**2)
        da = np.hstack(
            (
                dc * c_prev * f * (1 - f),
                dc * i * (1 - g**2),
                dc * g * i * (1 - i),
                dh_next * tanh_c * o * (1 - o),
            )
        )
        self.put_grads(np.dot(x.T, da), np.dot(h_prev.T, da), da.sum(axis=0))
        return np.dot(da, Wx.T), np.dot(da, Wh.T), dc * f


class TimeEmbedding(Layer):
    """xs (N, T) -> (N, T, D)."""

    def forward(self, xs):
        N, T = xs.shape
        (W,) = self.params
        out = np.empty((N, T, W.shape[1]), W.dtype)
        self.layers = []
        for t in range(T):
            layer = Embedding(W)
            out[:, t] = layer.forward(xs[:, t])
            self.layers.append(layer)
        return out

    def backward(self, dout):
        total = 0
        for t, layer in enumerate(self.layers):
            layer.backward(dout[:, t])
            total = total + layer.grads[0]
        self.put_grads(total)


class TimeLSTM(Layer):
    """xs (N, T, D) -> hs (N, T, H)."""

    def __init__(self, Wx, Wh, b, stateful=False):
        super().__init__(Wx, Wh, b)
        self.stateful = stateful
        self.h = self.c = self.dh = None

    def set_state(self, h, c=None):
        self.h, self.c = h, c

    def reset_state(self):
        self.h = self.c = None

    def forward(self, xs):
        Wh = self.params[1]
        (N, T, _), H = xs.shape, len(Wh)
        if not self.stateful or self.h is None:
            self.h = np.zeros((N, H), Wh.dtype)
        if not self.stateful or self.c is None:
            self.c = np.zeros((N, H), Wh.dtype)
        hs = np.empty((N, T, H), Wh.dtype)
        self.layers = []
        for t in range(T):
            layer = LSTM(*self.params)
            self.h, self.c = layer.forward(xs[:, t], self.h, self.c)
            hs[:, t] = self.h
            self.layers.append(layer)
        return hs

    def backward(self, dhs):
        N, T, _ = dhs.shape
        dxs = np.empty((N, T, len(self.params[0])), dhs.dtype)
        dh = dc = 0
        totals = [0, 0, 0]
        for t in reversed(range(T)):
            layer = self.layers[t]
            dxs[:, t], dh, dc = layer.backward(dhs[:, t] + dh, dc)
            totals = [total + grad for total, grad in zip(totals, layer.grads, strict=True)]
        self.put_grads(*totals)
        self.dh = dh
        return dxs


class TimeAffine(Layer):
    """x (N, T, K) -> (N, T, V)."""

    def forward(self, x):
        N, T, K = x.shape
        self.x = x
        W, b = self.params
        return (np.dot(x.reshape(N * T, K), W) + b).reshape(N, T, -1)

    def backward(self, dout):
        N, T, V = dout.shape
        dout, x = dout.reshape(N * T, V), self.x.reshape(N * T, -1)
        self.put_grads(np.dot(x.T, dout), dout.sum(axis=0))
        return np.dot(dout, self.params[0].T).reshape(self.x.shape)


class TimeSoftmaxWithLoss(Layer):
    """xs (N, T, V), ts (N, T) -> the mean loss of the labels that are not -1."""

    def forward(self, xs, ts):
        N, T, V = xs.shape
        ts = ts.reshape(N * T)
        real = ts != -1
        ys = softmax(xs.reshape(N * T, V))
        self.cache = ys, ts, real, xs.shape
        return -np.sum(real * np.log(ys[np.arange(N * T), ts])) / real.sum()

    def backward(self, dout=1):
        ys, ts, real, shape = self.cache
        dxs = ys.copy()
        dxs[np.arange(len(ts)), ts] -= 1
        dxs *= dout / real.sum()
        dxs *= real[:, None]
        return dxs.reshape(shape)


class Attention(Layer):
    """hs (N, T, H), h (N, H) -> the context (N, H)."""

    def forward(self, hs, h):
        _, T, H = hs.shape
        hr = h[:, None].repeat(T, axis=1)
        a = softmax((hs * hr).sum(axis=2))
        ar = a[:, :, None].repeat(H, axis=2)
        self.cache = hs, hr, a, ar
        self.attention_weight = a
        return (hs * ar).sum(axis=1)

    def backward(self, dc):
        hs, hr, a, ar = self.cache
        _, T, H = hs.shape
        dt = dc[:, None].repeat(T, axis=1)
        da = (dt * hs).sum(axis=2)
        ds = a * (da - (da * a).sum(axis=1, keepdims=True))
        dsr = ds[:, :, None].repeat(H, axis=2)
        return dt * ar + dsr * hr, (dsr * hs).sum(axis=1)


class TimeAttention(Layer):
    """hs_enc (N, T1, H), hs_dec (N, T2, H) -> the contexts (N, T2, H)."""

    def forward(self, hs_enc, hs_dec):
        out = np.empty_like(hs_dec)
        self.layers, self.attention_weights = [], []
        for t in range(hs_dec.shape[1]):
            layer = Attention()
            out[:, t] = layer.forward(hs_enc, hs_dec[:, t])
            self.layers.append(layer)
            self.attention_weights.append(layer.attention_weight)
        return out

    def backward(self, dout):
        dhs_enc, dhs_dec = 0, np.empty_like(dout)
        for t, layer in enumerate(self.layers):
            dhs, dhs_dec[:, t] = layer.backward(dout[:, t])
            dhs_enc = dhs_enc + dhs
        return dhs_enc, dhs_dec


def drawn(rows, columns, divisor):
    return (np.random.randn(rows, columns) / divisor).astype("f")  # noqa: NPY002 - what is compared draws so


class Model:
    def join(self, *parts):
        self.params = [p for part in parts for p in part.params]
        self.grads = [g for part in parts for g in part.grads]

    def build(self, V, D, H, lstm_inputs, affine_inputs=None):
        self.embed = TimeEmbedding(drawn(V, D, 100))
        Wx, Wh = drawn(lstm_inputs, 4 * H, np.sqrt(lstm_inputs)), drawn(H, 4 * H, np.sqrt(H))
        self.lstm = TimeLSTM(Wx, Wh, np.zeros(4 * H, "f"), stateful=affine_inputs is not None)
        self.affine = Layer()
        if affine_inputs is not None:
            self.affine = TimeAffine(drawn(affine_inputs, V, np.sqrt(affine_inputs)), np.zeros(V, "f"))
        self.join(self.embed, self.lstm, self.affine)


class AttentionEncoder(Model):
    def __init__(self, V, D, H):
        self.build(V, D, H, D)

    def forward(self, xs):
        return self.lstm.forward(self.embed.forward(xs))

    def backward(self, dhs):
        self.embed.backward(self.lstm.backward(dhs))


class Encoder(AttentionEncoder):
    def forward(self, xs):
        self.hs = super().forward(xs)
        return self.hs[:, -1]

    def backward(self, dh):
        dhs = np.zeros_like(self.hs)
        dhs[:, -1] = dh
        super().backward(dhs)


class Decoder(Model):
    def __init__(self, V, D, H):
        self.build(V, D, H, D, H)

    def start(self, h):
        self.lstm.set_state(h)

    def scores(self, xs):
        return self.affine.forward(self.lstm.forward(self.embed.forward(xs)))

    def forward(self, xs, source):
        self.start(source)
        return self.scores(xs)

    def backward(self, dscore):
        self.embed.backward(self.lstm.backward(self.affine.backward(dscore)))
        return self.lstm.dh

    def generate(self, source, start_id, sample_size):
        self.start(source)
        ids = [start_id]
        for _ in range(sample_size):
            ids.append(int(self.scores(np.array([ids[-1:]])).argmax()))
        return ids[1:]


class PeekyDecoder(Decoder):
    def __init__(self, V, D, H):
        self.build(V, D, H, H + D, H + H)

    def start(self, h):
        super().start(h)
        self.peeked = h

    def scores(self, xs):
        hs = self.peeked[:, None].repeat(xs.shape[1], axis=1)
        out = self.lstm.forward(np.concatenate((hs, self.embed.forward(xs)), axis=2))
        return self.affine.forward(np.concatenate((hs, out), axis=2))

    def backward(self, dscore):
        H = self.peeked.shape[1]
        dout = self.affine.backward(dscore)
        dxs = self.lstm.backward(dout[:, :, H:])
        self.embed.backward(dxs[:, :, H:])
        return self.lstm.dh + (dout[:, :, :H] + dxs[:, :, :H]).sum(axis=1)


class AttentionDecoder(Decoder):
    def __init__(self, V, D, H):
        self.build(V, D, H, D, H + H)
        self.attention = TimeAttention()

    def start(self, enc_hs):
        super().start(enc_hs[:, -1])
        self.enc_hs = enc_hs

    def scores(self, xs):
        dec_hs = self.lstm.forward(self.embed.forward(xs))
        c = self.attention.forward(self.enc_hs, dec_hs)
        return self.affine.forward(np.concatenate((c, dec_hs), axis=2))

    def backward(self, dscore):
        H = self.enc_hs.shape[2]
        dout = self.affine.backward(dscore)
        denc_hs, ddec_hs = self.attention.backward(dout[:, :, :H])
        self.embed.backward(self.lstm.backward(dout[:, :, H:] + ddec_hs))
        denc_hs[:, -1] += self.lstm.dh
        return denc_hs


class Seq2seq(Model):
    parts = Encoder, Decoder

    def __init__(self, V, D, H):
        self.encoder, self.decoder = (part(V, D, H) for part in self.parts)
        self.softmax = TimeSoftmaxWithLoss()
        self.join(self.encoder, self.decoder)

    def forward(self, xs, ts):
        return self.softmax.forward(self.decoder.forward(ts[:, :-1], self.encoder.forward(xs)), ts[:, 1:])

    def backward(self, dout=1):
        self.encoder.backward(self.decoder.backward(self.softmax.backward(dout)))

    def generate(self, xs, start_id, sample_size):
        return self.decoder.generate(self.encoder.forward(xs), start_id, sample_size)


class PeekySeq2seq(Seq2seq):
    parts = Encoder, PeekyDecoder


class AttentionSeq2seq(Seq2seq):
    parts = AttentionEncoder, AttentionDecoder


class Adam:
    def __init__(self, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-7):
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.steps, self.m, self.v = 0, None, None

    def update(self, params, grads):
        if self.m is None:
            self.m, self.v = ([np.zeros_like(p) for p in params] for _ in range(2))
        self.steps += 1
        lr = self.lr * np.sqrt(1 - self.beta2**self.steps) / (1 - self.beta1**self.steps)
        for p, g, m, v in zip(params, grads, self.m, self.v, strict=True):
            m += (1 - self.beta1) * (g - m)
            v += (1 - self.beta2) * (g**2 - v)
            p -= lr * m / (np.sqrt(v) + self.eps)


def clip_grads(grads, max_norm):
    norm = np.sqrt(sum(np.sum(g**2) for g in grads))
    rate = max_norm / (norm + 1e-6)
    if rate < 1:
        for g in grads:
            g *= rate
    return norm


class Trainer:
    def __init__(self, model, optimizer):
        self.model, self.optimizer, self.loss_list = model, optimizer, []

    def fit(self, x, t, max_epoch, batch_size, max_grad, eval_interval):
        total = count = 0
        for _ in range(max_epoch):
            order = np.random.permutation(np.arange(len(x)))  # noqa: NPY002 - what is compared draws so
            x, t = x[order], t[order]
            for i in range(len(x) // batch_size):
                chosen = slice(i * batch_size, (i + 1) * batch_size)
                total, count = total + self.model.forward(x[chosen], t[chosen]), count + 1
                self.model.backward()
                clip_grads(self.model.grads, max_grad)
                self.optimizer.update(self.model.params, self.model.grads)
                if i % eval_interval == 0:
                    self.loss_list.append(float(total / count))
                    total = count = 0
