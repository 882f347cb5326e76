"""Search for a target: greedy, the best token at each step.

The kernels are called directly, not through the layers: nothing is kept for a backward, so a search between a forward
and its backward disturbs neither, and dropout has no part in it.

Of equal scores the lowest id wins. After a sample's ``end_id`` come only more of them, with weights of zero.
"""

from typing import Any

import numpy as np

from fastattn import backend
from fastattn.layers import InputFeedingLSTM, StackedLSTM
from fastattn.layers.checks import Array

from .bridge import State
from .decoder import Decoder
from .encoder import Encoder
from .scores import TanhAffine

Found = tuple[Array, Array]  # ids (N, sample_size) int64, weights (N, sample_size, T1)


def greedy_plain(
    encoder: Encoder, decoder: Decoder, x: Array, lengths: Array | None, start_id: int, sample_size: int, end_id: int | None
) -> Found:
    """x (N, T1), by the plain model, of which one kernel does the whole search."""
    kernels = backend.kernels()
    (W_source,), (W_target,) = encoder.embedding.weights(), decoder.embedding.weights()
    hs_enc, h_last, _, _ = kernels.embedding_lstm_forward(W_source, x, encoder.lstm.weights(), None, None, None, lengths)
    weights = W_target, *decoder.lstm.weights(), *decoder.affine.weights()
    return kernels.greedy_search(hs_enc, h_last[0], *weights, lengths, start_id, sample_size, end_id)


def greedy(
    encoder: Encoder, decoder: Decoder, x: Array, lengths: Array | None, start_id: int, sample_size: int, end_id: int | None
) -> Found:
    """x (N, T1), by any model: step by step, of the samples that have not ended."""
    N, T1 = x.shape
    steps = Steps(decoder, *_encoded(encoder, x, lengths), lengths)
    ids = np.full((N, sample_size), 0 if end_id is None else end_id, np.int64)
    weights = np.zeros((N, sample_size, T1), decoder.params[0].dtype)
    running, tokens = np.arange(N), np.full((N, 1), start_id)
    for step in range(sample_size):
        scores, a = steps.next(tokens)
        tokens = scores.argmax(axis=2)  # (n, 1), of the n samples that are still running
        ids[running, step] = tokens[:, 0]
        if a is not None:
            weights[running, step] = a[:, 0]
        if end_id is None or not (tokens == end_id).any():
            continue
        go_on = np.flatnonzero(tokens[:, 0] != end_id)
        if len(go_on) == 0:
            break
        running, tokens = running[go_on], tokens[go_on]
        steps.keep(go_on)
    return ids, weights


def _encoded(encoder: Encoder, x: Array, lengths: Array | None) -> tuple[Array, list[State]]:
    """x (N, T1) -> what `Encoder.forward` returns, and its ``final_states``."""
    none: list[Array | None] = [None] * len(encoder.layers)
    hs, states = _through_layers(encoder, x, none, none, lengths)
    if encoder.projection is not None:
        hs = backend.kernels().affine_forward(hs, *encoder.projection.weights(), lengths)
    return hs, [(np.concatenate(h, axis=1), np.concatenate(c, axis=1)) for h, c in states]  # (G, N, H) -> (N, GH)


def _through_layers(
    model: Encoder | Decoder, ids: Array, h: list[Array | None], c: list[Array | None], lengths: Array | None
) -> tuple[Array, list[tuple[Any, ...]]]:
    """ids (N, T) -> hs (N, T, GH), and the state (G, N, H) that each layer ends in. h, c: that each starts from."""
    kernels, (W,), (first, *others) = backend.kernels(), model.embedding.weights(), model.layers
    residual = isinstance(model.lstm, StackedLSTM) and model.lstm.residual
    hs, *end, _ = kernels.embedding_lstm_forward(W, ids, first.weights(), h[0], c[0], None, lengths)
    ends = [tuple(end)]
    for layer, h0, c0 in zip(others, h[1:], c[1:], strict=True):
        ys, *end, _ = kernels.lstm_forward(hs, layer.weights(), h0, c0, None, lengths)
        hs = kernels.add(ys, hs) if residual else ys
        ends.append(tuple(end))
    return hs, ends


def _mapped(layer: TanhAffine, s: Array | None) -> Array:
    """s (N, E0) -> (N, H)."""
    kernels = backend.kernels()
    assert s is not None
    return kernels.tanh_forward(kernels.affine_forward(s[:, None], *layer.affine.weights(), None))[:, 0]


class Steps:
    """A decoder, one step of all samples at a time: what it knows between two steps."""

    def __init__(self, decoder: Decoder, hs_enc: Array, states: list[State], lengths: Array | None) -> None:
        """From what the encoder gave (N, T1, E), and the states that its layers ended in."""
        self.decoder = decoder
        self.lengths, self.values = lengths, hs_enc
        self.keys: Array | None = None
        self.scale = 1.0
        if decoder.attention is not None:
            self.keys = decoder.attention.keys(hs_enc, lengths)
            self.scale = decoder.attention.scale(self.keys.shape[2])
        zeros = np.zeros((len(hs_enc), len(decoder.lstm.lstms[0].params[1])), hs_enc.dtype)
        first = decoder.bridge.forward(states, _mapped)
        self.h, self.c = (np.stack([zeros if s is None else s for s in of_layers]) for of_layers in zip(*first))  # (L, N, H)
        self.fed: Array | None = None  # what the step before gave (N, K); None before the first
        self.of_scores = decoder.affine.weights()

    def keep(self, samples: Array) -> None:
        """Goes on with these samples alone."""
        values = self.values[samples]
        if self.keys is not None:
            self.keys = values if self.keys is self.values else self.keys[samples]  # the kernel asks whether they are one
        self.values = values
        self.lengths = None if self.lengths is None else self.lengths[samples]
        self.h, self.c = (np.take(s, samples, axis=1) for s in (self.h, self.c))
        self.fed = None if self.fed is None else self.fed[samples]

    def next(self, tokens: Array) -> tuple[Array, Array | None]:
        """tokens (n, 1) -> scores (n, 1, V) of the next ones, and weights (n, 1, T1); None without attention."""
        kernels, decoder = backend.kernels(), self.decoder
        feeds = isinstance(decoder.lstm, InputFeedingLSTM)
        out, a = self._next_fed(decoder.lstm, tokens) if feeds else self._next_attended(tokens)
        if decoder.projection is not None:
            out = kernels.affine_forward(out, *decoder.projection.weights(), None, None)
        return kernels.affine_forward(out, *self.of_scores, None), a

    def _next_fed(self, lstm: Any, tokens: Array) -> tuple[Array, Array]:
        """tokens (n, 1) -> h~ (n, 1, K), weights (n, 1, T1)."""
        attention, weights = lstm.attention, [weight for each in lstm.lstms for weight in each.weights()]
        out, a, self.h, self.c, _ = backend.kernels().input_feeding_forward(
            *(*self.decoder.embedding.weights(), tokens, self.keys, self.values, weights, *lstm.attentional.weights()),
            *(attention.W_query, attention.v, self.scale, self.h, self.c, self.fed, None, None, lstm.residual),
            *(self.lengths, None),
        )
        self.fed = out[:, 0]
        return out, a

    def _next_attended(self, tokens: Array) -> tuple[Array, Array | None]:
        """tokens (n, 1) -> what the scores are made of (n, 1, K), weights (n, 1, T1)."""
        kernels, decoder, attention = backend.kernels(), self.decoder, self.decoder.attention
        out, ends = _through_layers(decoder, tokens, [*self.h[:, None]], [*self.c[:, None]], None)
        self.h, self.c = (np.concatenate(of_layers) for of_layers in zip(*ends))
        a = None
        if attention is not None:
            given = self.keys, self.values, attention.queries(out, None), out
            out, a = kernels.attention_forward(*given, attention.v, self.scale, self.lengths, None)
        if decoder.attentional is not None:
            out = kernels.tanh_forward(kernels.affine_forward(out, *decoder.attentional.affine.weights(), None, None))
        return out, a
