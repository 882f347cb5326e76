"""Encoders, decoders, and the three models that are made of them: plain, peeky, and with attention.

The initial weights are drawn from NumPy's global random state, in the book's order: the same ``np.random.seed`` gives the
same weights. V tokens, vectors of width D, states of width H, all in float32.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastattn.layers import EmbeddingLSTM, checks
from fastattn.layers.as_one import RunsAsOne
from fastattn.layers.checks import Array
from fastattn.models.as_one import Seq2seqAsOne

from .attention import TimeAttention
from .layers import TimeAffine, TimeEmbedding, TimeLSTM, TimeSoftmaxWithLoss
from .weights import read_weights, write_weights


def _normal(rows: int, columns: int, divisor: float) -> Array:
    """Normal numbers over ``divisor`` (rows, columns), from the random state that ``np.random.seed`` sets."""
    return (np.random.randn(rows, columns) / divisor).astype(np.float32)  # noqa: NPY002 - the same weights need it


def _embedding(V: int, D: int) -> TimeEmbedding:
    return TimeEmbedding(_normal(V, D, 100))


def _lstm(D: int, H: int, stateful: bool) -> TimeLSTM:
    Wx, Wh = _normal(D, 4 * H, np.sqrt(D)), _normal(H, 4 * H, np.sqrt(H))
    return TimeLSTM(Wx, Wh, np.zeros(4 * H, np.float32), stateful=stateful)


def _affine(K: int, V: int) -> TimeAffine:
    return TimeAffine(_normal(K, V, np.sqrt(K)), np.zeros(V, np.float32))


def _checked_sizes(vocab_size: int, wordvec_size: int, hidden_size: int) -> tuple[int, int, int]:
    return (
        checks.size("vocab_size", vocab_size),
        checks.size("wordvec_size", wordvec_size),
        checks.size("hidden_size", hidden_size),
    )


class BaseModel:
    """A model: ``params``, ``grads``, ``forward``, ``backward``, and weights that can be kept in a file."""

    def __init__(self) -> None:
        self.params: list[Array] = []
        self.grads: list[Array] = []

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The inputs of a batch -> its loss. Each model has its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dout: float = 1) -> object:
        """Overwrites ``grads``. Each model has its own."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def save_params(self, file_name: str | os.PathLike[str] | None = None) -> None:
        """Writes the weights as safetensors, whatever the name; without one, to `<the class's name>.safetensors`."""
        write_weights(f"{type(self).__name__}.safetensors" if file_name is None else file_name, self.params)

    def load_params(self, file_name: str | os.PathLike[str] | None = None) -> None:
        """Reads weights, in place, from safetensors, or from a pickle of a list of arrays, of float16 too.

        Without a name, from `<the class's name>.safetensors`, or `.pkl` if only that is there. OSError for a file that
        cannot be opened, ValueError for one that holds anything but weights of these shapes: the model then keeps those
        that it has.
        """
        if file_name is None:
            file_name = f"{type(self).__name__}.safetensors"
            pickled = f"{type(self).__name__}.pkl"
            if not os.path.exists(file_name) and os.path.exists(pickled):
                file_name = pickled
        for param, weights in zip(self.params, read_weights(file_name, self.params), strict=True):
            param[...] = weights


class _EmbeddingAndLSTM(RunsAsOne):
    """What begins with an embedding and an LSTM: ``embed`` and ``lstm``.

    They run as one; but one after the other if they are of another class, and in a class derived from ours, which may have a
    forward or a backward of its own that uses one of them.
    """

    embed: Any
    lstm: Any

    def _states(self, xs: ArrayLike) -> Array:
        as_one = None
        if type(self).__module__ == __name__:
            as_one = EmbeddingLSTM.of((self.embed, self.lstm), (TimeEmbedding, TimeLSTM))
        if as_one is not None:
            xs, _ = checks.ids("ids", xs, ("N", "T"), len(self.embed.params[0]), None)
        return self._run(as_one, lambda ids, _: self.lstm.forward(self.embed.forward(ids)), xs, None)

    def _states_backward(self, dhs: ArrayLike) -> None:
        self._run_back(lambda dhs: self.embed.backward(self.lstm.backward(dhs)), dhs)


class Encoder(_EmbeddingAndLSTM):
    """Embedding and LSTM: token ids (N, T) -> the last state (N, H)."""

    def __init__(self, vocab_size: int, wordvec_size: int, hidden_size: int) -> None:
        V, D, H = _checked_sizes(vocab_size, wordvec_size, hidden_size)
        self.embed = _embedding(V, D)
        self.lstm = _lstm(D, H, stateful=False)
        self.params = self.embed.params + self.lstm.params
        self.grads = self.embed.grads + self.lstm.grads
        self._shape: tuple[int, ...] | None = None  # of the states

    def forward(self, xs: ArrayLike) -> Array:
        """xs (N, T), token ids -> h (N, H)."""
        hs = self._states(xs)
        self._shape = hs.shape
        return hs[:, -1]

    def backward(self, dh: ArrayLike) -> None:
        """dh (N, H)."""
        if self._shape is None:
            raise RuntimeError(f"{type(self).__name__}.backward was called before {type(self).__name__}.forward")
        N, _, H = self._shape
        dtype = self.params[0].dtype
        dhs = np.zeros(self._shape, dtype)
        dhs[:, -1] = checks.floats("dh", dh, (N, H), dtype)
        self._states_backward(dhs)


class AttentionEncoder(Encoder):
    """Embedding and LSTM: token ids (N, T) -> the state after each of them (N, T, H)."""

    def forward(self, xs: ArrayLike) -> Array:
        """xs (N, T), token ids -> hs (N, T, H)."""
        return self._states(xs)

    def backward(self, dhs: ArrayLike) -> None:
        """dhs (N, T, H)."""
        self._states_backward(dhs)


class Decoder(_EmbeddingAndLSTM):
    """Embedding, LSTM, affine: the scores of each next token. The LSTM starts from the encoder's last state."""

    def __init__(self, vocab_size: int, wordvec_size: int, hidden_size: int) -> None:
        V, D, H = _checked_sizes(vocab_size, wordvec_size, hidden_size)
        self.embed = _embedding(V, D)
        self.lstm = _lstm(D, H, stateful=True)
        self.affine = _affine(H, V)
        self.params = self.embed.params + self.lstm.params + self.affine.params
        self.grads = self.embed.grads + self.lstm.grads + self.affine.grads

    def forward(self, xs: ArrayLike, h: ArrayLike) -> Array:
        """xs (N, T), token ids; h (N, H) -> scores (N, T, V)."""
        self.lstm.set_state(h)
        return self._scores(xs)

    def _scores(self, xs: ArrayLike) -> Array:
        return self.affine.forward(self._states(xs))

    def backward(self, dscore: ArrayLike) -> Array:
        """dscore (N, T, V) -> dh (N, H)."""
        self._states_backward(self.affine.backward(dscore))
        assert self.lstm.dh is not None
        return self.lstm.dh

    def generate(self, h: ArrayLike, start_id: int, sample_size: int) -> list[int]:
        """h (1, H) -> ``sample_size`` ids: from ``start_id`` on, the best token at each step."""
        self.lstm.set_state(_of_one_sample("h", h, self.lstm))
        return _greedy(self._scores, self.embed, start_id, sample_size)


class PeekyDecoder:
    """A decoder whose LSTM and affine see the encoder's last state at every step, in front of what they are given."""

    def __init__(self, vocab_size: int, wordvec_size: int, hidden_size: int) -> None:
        V, D, H = _checked_sizes(vocab_size, wordvec_size, hidden_size)
        self.embed = _embedding(V, D)
        self.lstm = _lstm(H + D, H, stateful=True)
        self.affine = _affine(H + H, V)
        self.params = self.embed.params + self.lstm.params + self.affine.params
        self.grads = self.embed.grads + self.lstm.grads + self.affine.grads

    def forward(self, xs: ArrayLike, h: ArrayLike) -> Array:
        """xs (N, T), token ids; h (N, H) -> scores (N, T, V)."""
        self.lstm.set_state(h)
        return self._scores(xs, np.asarray(h))

    def _scores(self, xs: ArrayLike, h: Array) -> Array:
        embedded = self.embed.forward(xs)  # (N, T, D)
        if len(embedded) != len(h):
            raise ValueError(f"xs has a batch of {len(embedded)}; expected {len(h)}, the batch of h")
        hs = np.broadcast_to(h[:, None], (len(h), embedded.shape[1], h.shape[1]))  # (N, T, H)
        out = self.lstm.forward(np.concatenate((hs, embedded), axis=2))
        return self.affine.forward(np.concatenate((hs, out), axis=2))

    def backward(self, dscore: ArrayLike) -> Array:
        """dscore (N, T, V) -> dh (N, H)."""
        H = len(self.lstm.params[1])
        dout = self.affine.backward(dscore)  # (N, T, H + H)
        dxs = self.lstm.backward(dout[:, :, H:])  # (N, T, H + D)
        self.embed.backward(dxs[:, :, H:])
        assert self.lstm.dh is not None
        return self.lstm.dh + (dout[:, :, :H] + dxs[:, :, :H]).sum(axis=1)

    def generate(self, h: ArrayLike, start_id: int, sample_size: int) -> list[int]:
        """h (1, H) -> ``sample_size`` ids: from ``start_id`` on, the best token at each step."""
        h = _of_one_sample("h", h, self.lstm)
        self.lstm.set_state(h)
        return _greedy(lambda xs: self._scores(xs, h), self.embed, start_id, sample_size)


class AttentionDecoder(_EmbeddingAndLSTM):
    """Embedding, LSTM, attention over the encoder's states, affine of (context, state): the scores of each next token."""

    def __init__(self, vocab_size: int, wordvec_size: int, hidden_size: int) -> None:
        V, D, H = _checked_sizes(vocab_size, wordvec_size, hidden_size)
        self.embed = _embedding(V, D)
        self.lstm = _lstm(D, H, stateful=True)
        self.attention: Any = TimeAttention()
        self.affine = _affine(H + H, V)
        self.params = self.embed.params + self.lstm.params + self.affine.params
        self.grads = self.embed.grads + self.lstm.grads + self.affine.grads

    def forward(self, xs: ArrayLike, enc_hs: ArrayLike) -> Array:
        """xs (N, T2), token ids; enc_hs (N, T1, H) -> scores (N, T2, V)."""
        enc_hs = checks.floats("enc_hs", enc_hs, ("N", "T1", len(self.lstm.params[1])), self.params[0].dtype)
        self.lstm.set_state(enc_hs[:, -1])
        return self._scores(xs, enc_hs)

    def _scores(self, xs: ArrayLike, enc_hs: Array) -> Array:
        dec_hs = self._states(xs)
        if self._joins:
            return self.affine.forward(self.attention.forward_joined(enc_hs, dec_hs))
        return self.affine.forward(np.concatenate((self.attention.forward(enc_hs, dec_hs), dec_hs), axis=2))

    @property
    def _joins(self) -> bool:
        """Whether one kernel writes contexts and states; an attention of a user's own gives contexts."""
        return type(self.attention) is TimeAttention

    def backward(self, dscore: ArrayLike) -> Array:
        """dscore (N, T2, V) -> denc_hs (N, T1, H)."""
        dout = self.affine.backward(dscore)  # (N, T2, 2H)
        if self._joins:
            denc_hs, ddec_hs = self.attention.backward(dout)
        else:
            H = len(self.lstm.params[1])
            denc_hs, ddec_hs = self.attention.backward(dout[:, :, :H])
            ddec_hs = ddec_hs + dout[:, :, H:]
        self._states_backward(ddec_hs)
        denc_hs[:, -1] += self.lstm.dh
        return denc_hs

    def generate(self, enc_hs: ArrayLike, start_id: int, sample_size: int) -> list[int]:
        """enc_hs (1, T1, H) -> ``sample_size`` ids: from ``start_id`` on, the best token at each step."""
        enc_hs = _of_one_sample("enc_hs", enc_hs, self.lstm, "T1")
        self.lstm.set_state(enc_hs[:, -1])
        return _greedy(lambda xs: self._scores(xs, enc_hs), self.embed, start_id, sample_size)


class Seq2seq(BaseModel):
    """A sequence to a sequence: the decoder starts from the encoder's last state (Sutskever, Vinyals and Le 2014)."""

    encoder: Any
    decoder: Any

    def __init__(self, vocab_size: int, wordvec_size: int, hidden_size: int) -> None:
        sizes = vocab_size, wordvec_size, hidden_size
        self._assemble(Encoder(*sizes), Decoder(*sizes))

    def _assemble(self, encoder: Any, decoder: Any) -> None:
        self.encoder, self.decoder, self.softmax = encoder, decoder, TimeSoftmaxWithLoss()
        self.params = encoder.params + decoder.params
        self.grads = encoder.grads + decoder.grads

    def forward(self, xs: ArrayLike, ts: ArrayLike) -> float:
        """xs (N, T1), ts (N, T2), token ids -> the mean loss of a target token. ts begins with the start symbol."""
        ts = np.asarray(ts)
        if ts.ndim != 2 or ts.shape[1] < 2:
            raise ValueError(f"ts has shape {ts.shape}; expected (N, T2), at least 2 columns")
        scores = self.decoder.forward(ts[:, :-1], self.encoder.forward(xs))
        return self.softmax.forward(scores, ts[:, 1:])

    def backward(self, dout: float = 1) -> None:
        """dout, the gradient of the loss. Overwrites ``grads``."""
        self.encoder.backward(self.decoder.backward(self.softmax.backward(dout)))

    def generate(self, xs: ArrayLike, start_id: int, sample_size: int) -> list[int]:
        """xs (1, T1), the token ids of one sample -> ``sample_size`` ids, by greedy search."""
        if len(np.atleast_2d(xs)) != 1:
            raise ValueError(f"xs has shape {np.shape(xs)}; expected (1, T1): one sample at a time")
        return self.decoder.generate(self.encoder.forward(xs), start_id, sample_size)


class PeekySeq2seq(Seq2seq):
    """A sequence to a sequence: the decoder sees the encoder's last state at every step (Cho et al. 2014)."""

    def __init__(self, vocab_size: int, wordvec_size: int, hidden_size: int) -> None:
        sizes = vocab_size, wordvec_size, hidden_size
        self._assemble(Encoder(*sizes), PeekyDecoder(*sizes))


_KINDS = (TimeEmbedding, TimeLSTM, TimeEmbedding, TimeLSTM, TimeAttention, TimeAffine, TimeSoftmaxWithLoss)


class AttentionSeq2seq(RunsAsOne, Seq2seq):
    """A sequence to a sequence: the decoder attends to all the encoder's states (Luong, Pham and Manning 2015)."""

    def __init__(self, vocab_size: int, wordvec_size: int, hidden_size: int) -> None:
        sizes = vocab_size, wordvec_size, hidden_size
        self._assemble(AttentionEncoder(*sizes), AttentionDecoder(*sizes))

    def forward(self, xs: ArrayLike, ts: ArrayLike) -> float:
        """xs (N, T1), ts (N, T2), token ids -> the mean loss of a target token. ts begins with the start symbol."""
        as_one, ts = self._whole(), np.asarray(ts)
        batch: tuple[Any, ...] = xs, ts
        if as_one is not None and ts.ndim == 2 and ts.shape[1] > 1 and ts.min(initial=0) >= 0:  # -1 is no target
            vocabularies = len(self.encoder.embed.params[0]), len(self.decoder.embed.params[0])
            x, _ = checks.ids("xs", xs, ("N", "T1"), vocabularies[0], None)
            t, _ = checks.ids("ts", ts, (len(x), "T2"), vocabularies[1], None)
            batch = x, t, None, None, vocabularies
        else:
            as_one = None
        by_layers = super().forward
        loss = self._run(as_one, lambda *batch: by_layers(*batch[:2]), *batch)
        if self._as_one is not None:
            self.encoder._as_one = self.decoder._as_one = None
        return loss

    def _whole(self) -> Seq2seqAsOne | None:
        """All layers as one; None where a class is not ours, which may have a forward or a backward of its own."""
        encoder, decoder = self.encoder, self.decoder
        if (type(self), type(encoder), type(decoder)) != (AttentionSeq2seq, AttentionEncoder, AttentionDecoder):
            return None
        of_decoder = decoder.embed, decoder.lstm, decoder.attention, decoder.affine
        return Seq2seqAsOne.of((encoder.embed, encoder.lstm, *of_decoder, self.softmax), _KINDS, type(self).__name__)

    def backward(self, dout: float = 1) -> None:
        """dout, the gradient of the loss. Overwrites ``grads``."""
        self._run_back(super().backward, dout)


def _of_one_sample(name: str, states: ArrayLike, lstm: TimeLSTM, *axes: str) -> Array:
    """``states`` (1, *axes, H), of the LSTM's H and dtype."""
    Wh = lstm.params[1]
    return checks.floats(name, states, (1, *axes, len(Wh)), Wh.dtype)


def _greedy(scores: Callable[[ArrayLike], Array], embed: TimeEmbedding, start_id: int, sample_size: int) -> list[int]:
    """The best token at each step, by ``scores`` of the token before it (1, 1) -> (1, 1, V)."""
    ids = [checks.token("start_id", start_id, len(embed.params[0]))]
    for _ in range(checks.size("sample_size", sample_size)):
        ids.append(int(scores([ids[-1:]]).argmax()))
    return ids[1:]
