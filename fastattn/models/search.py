"""Search for a target: the plain model's greedy search in one kernel, and the steps of any model.

The kernels are called directly, not through the layers: nothing is kept for a backward, so a search between a forward
and its backward disturbs neither, and dropout has no part in it.

Of equal scores the lowest id wins. After a sample's ``end_id`` come only more of them, with weights of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Limits:
    """What bounds a search: the symbol that begins a target, the one that ends it (None: nothing does), the most tokens.

    forbidden: the ids that no answer holds, in ascending order.
    """

    start_id: int
    sample_size: int
    end_id: int | None
    forbidden: Array

    def nothing(self, *shape: int) -> Array:
        """ids (..., sample_size) of answers without a token."""
        return np.full((*shape, self.sample_size), 0 if self.end_id is None else self.end_id, np.int64)

    def ends(self, tokens: Array) -> Array:
        """Where the end symbol stands."""
        return np.zeros(tokens.shape, bool) if self.end_id is None else tokens == self.end_id


def greedy_plain(encoder: Encoder, decoder: Decoder, x: Array, lengths: Array | None, limits: Limits) -> Found:
    """x (N, T1), by the plain model, of which one kernel does the whole search."""
    kernels = backend.kernels()
    (W_source,), (W_target,) = encoder.embedding.weights(), decoder.embedding.weights()
    hs_enc, h_last, _, _ = kernels.embedding_lstm_forward(W_source, x, encoder.lstm.weights(), None, None, None, lengths)
    weights = W_target, *decoder.lstm.weights(), *_without(limits.forbidden, decoder.affine.weights())
    return kernels.greedy_search(hs_enc, h_last[0], *weights, lengths, limits.start_id, limits.sample_size, limits.end_id)


def _without(forbidden: Array, of_scores: Sequence[Array]) -> Sequence[Array]:
    """What scores are made of, such that those of these ids (F,) are minus infinity: no other score changes by a bit."""
    if not len(forbidden):
        return of_scores
    W, b = of_scores
    b = b.copy()
    b[forbidden] = -np.inf
    return W, b


def encoded(encoder: Encoder, x: Array, lengths: Array | None) -> tuple[Array, list[State]]:
    """x (N, T1) -> what `Encoder.forward` returns, and its ``final_states``."""
    none: list[Array | None] = [None] * len(encoder.layers)
    hs, states = _through_layers(encoder, x, none, none, lengths)
    if encoder.projection is not None:
        hs = backend.kernels().affine_forward(hs, *encoder.projection.weights(), lengths)
    return hs, [(np.concatenate(h, axis=1), np.concatenate(c, axis=1)) for h, c in states]  # (G, N, H) -> (N, GH)


def _through_layers(
    model: Encoder | Decoder,
    ids: Array,
    h: list[Array | None],
    c: list[Array | None],
    lengths: Array | None,
    fed: Array | None = None,
) -> tuple[Array, list[tuple[Any, ...]]]:
    """ids (N, T) -> hs (N, T, GH), and the state (G, N, H) that each layer ends in. h, c: that each starts from.

    fed (N, T, K): what the first layer reads beside the tokens.
    """
    kernels, (W,), (first, *others) = backend.kernels(), model.embedding.weights(), model.layers
    residual = isinstance(model.lstm, StackedLSTM | InputFeedingLSTM) and model.lstm.residual
    if fed is None:
        hs, *end, _ = kernels.embedding_lstm_forward(W, ids, first.weights(), h[0], c[0], None, lengths)
    else:
        read = np.concatenate((kernels.embedding_forward(W, ids, lengths), fed), axis=2)
        hs, *end, _ = kernels.lstm_forward(read, first.weights(), h[0], c[0], None, lengths)
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
        self.of_scores: Sequence[Array] = decoder.affine.weights()

    def keep_sources(self, samples: Array) -> None:
        """Goes on with the sources of these samples alone."""
        values = self.values[samples]
        if self.keys is not None:
            self.keys = values if self.keys is self.values else self.keys[samples]  # the kernel asks whether they are one
        self.values = values
        self.lengths = None if self.lengths is None else self.lengths[samples]

    def follow(self, rows: Array) -> None:
        """Goes on from the states of these rows."""
        self.h, self.c = (np.take(s, rows, axis=1) for s in (self.h, self.c))
        self.fed = None if self.fed is None else self.fed[rows]

    def next(self, tokens: Array, lengths: Array | None = None) -> tuple[Array, Array | None]:
        """tokens (n, T) -> scores (n, T, V) of the next ones, and weights (n, T, T1); None without attention.

        T is 1 but for a target that is known; lengths: how many of its tokens are real.
        """
        feeds = isinstance(self.decoder.lstm, InputFeedingLSTM)
        out, a = self._next_fed(self.decoder.lstm, tokens, lengths) if feeds else self._next_attended(tokens, lengths)
        return self._scores(out, lengths), a

    def _scores(self, out: Array, lengths: Array | None) -> Array:
        """out (n, T, K) -> (n, T, V)."""
        kernels = backend.kernels()
        if self.decoder.projection is not None:
            out = kernels.affine_forward(out, *self.decoder.projection.weights(), None, lengths)
        return kernels.affine_forward(out, *self.of_scores, lengths)

    def _next_fed(self, lstm: Any, tokens: Array, lengths: Array | None) -> tuple[Array, Array]:
        """tokens (n, T) -> h~ (n, T, K), weights (n, T, T1)."""
        attention, weights = lstm.attention, [weight for each in lstm.lstms for weight in each.weights()]
        out, a, self.h, self.c, _ = backend.kernels().input_feeding_forward(
            *(*self.decoder.embedding.weights(), tokens, self.keys, self.values, weights, *lstm.attentional.weights()),
            *(attention.W_query, attention.v, self.scale, self.h, self.c, self.fed, None, None, lstm.residual),
            *(self.lengths, lengths),
        )
        self.fed = out[:, 0]
        return out, a

    def _next_attended(self, tokens: Array, lengths: Array | None) -> tuple[Array, Array | None]:
        """tokens (n, T) -> what the scores are made of (n, T, K), weights (n, T, T1)."""
        kernels, decoder, attention = backend.kernels(), self.decoder, self.decoder.attention
        out, ends = _through_layers(decoder, tokens, [*self.h[:, None]], [*self.c[:, None]], lengths)
        self.h, self.c = (np.concatenate(of_layers) for of_layers in zip(*ends))
        a = None
        if attention is not None:
            given = self.keys, self.values, attention.queries(out, lengths), out
            out, a = kernels.attention_forward(*given, attention.v, self.scale, self.lengths, lengths)
        if decoder.attentional is not None:
            of_attentional = *decoder.attentional.affine.weights(), None, lengths
            out = kernels.tanh_forward(kernels.affine_forward(out, *of_attentional))
        return out, a


class Hypotheses(Steps):
    """The same for several targets of a sample at once: a row for each, those of a sample next to each other.

    The states are the rows'; the source stands there once for each sample, for attention takes a sample's rows as if they were
    steps of one target.
    """

    def __init__(self, decoder: Decoder, hs_enc: Array, states: list[State], lengths: Array | None) -> None:
        super().__init__(decoder, hs_enc, states, lengths)
        self.widths = np.ones(len(hs_enc), np.int64)
        if isinstance(decoder.lstm, InputFeedingLSTM):
            self.fed = np.zeros((len(hs_enc), decoder.lstm.output_width), hs_enc.dtype)

    def go_on(self, samples: Array, widths: Array, rows: Array) -> None:
        """With these samples alone, each with so many rows; they go on from the states of these rows (R,)."""
        if len(samples) < len(self.values):
            self.keep_sources(samples)
        self.widths = widths
        self.follow(rows)

    def next_of_rows(self, tokens: Array) -> tuple[Array, Array | None]:
        """tokens (R,) -> scores (R, V) of the next ones, and weights (R, T1); None without attention."""
        kernels, decoder = backend.kernels(), self.decoder
        fed, attentional = None, decoder.attentional and decoder.attentional.affine
        if isinstance(decoder.lstm, InputFeedingLSTM):
            assert self.fed is not None
            fed, attentional = self.fed[:, None], decoder.lstm.attentional
        out, ends = _through_layers(decoder, tokens[:, None], [*self.h[:, None]], [*self.c[:, None]], None, fed)
        self.h, self.c = (np.concatenate(of_layers) for of_layers in zip(*ends))
        a = None
        if decoder.attention is not None:
            out, a = self._attended(out)
        if attentional is not None:
            out = kernels.tanh_forward(kernels.affine_forward(out, *attentional.weights(), None, None))
        if fed is not None:
            self.fed = out[:, 0]
        return self._scores(out, None)[:, 0], a

    def _attended(self, out: Array) -> tuple[Array, Array]:
        """out (R, 1, H) -> [context | out] (R, 1, E + H), weights (R, T1)."""
        attention = self.decoder.attention
        assert attention is not None
        queries = attention.queries(out, None)
        samples, width = len(self.widths), int(self.widths.max())
        lengths = None if (self.widths == width).all() else self.widths
        if lengths is None:
            places = None
            states, queries = (rows.reshape(samples, width, -1) for rows in (out, queries))
        else:
            places = np.flatnonzero(np.arange(width) < lengths[:, None])
            states, queries = (_at(places, rows[:, 0], samples, width) for rows in (out, queries))
        given = self.keys, self.values, queries, states, attention.v, self.scale
        joined, a = backend.kernels().attention_forward(*given, self.lengths, lengths)
        joined, a = (array.reshape(samples * width, -1) for array in (joined, a))
        if places is not None:
            joined, a = joined[places], a[places]
        return joined[:, None], a


def _at(places: Array, rows: Array, samples: int, width: int) -> Array:
    """rows (R, H) -> (samples, width, H) with these rows at the flat places (R,), and anything elsewhere."""
    spread = np.empty((samples * width, rows.shape[1]), rows.dtype)
    spread[places] = rows
    return spread.reshape(samples, width, -1)
