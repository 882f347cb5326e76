"""Search for targets that are likely as a whole: beam search, draws, and the probability of a target that is given.

The beam search of one model is one kernel. All else goes step by step, by one model or several (`Committee`): the probabilities
of several are averaged at each step. As in `search`, nothing is kept for a backward, and nothing dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fastattn import backend
from fastattn.layers import InputFeedingLSTM
from fastattn.layers.checks import Array

from .decoder import Decoder
from .encoder import Encoder
from .search import Hypotheses, Limits, Steps, encoded

Parts = tuple[Encoder, Decoder]

LOWEST = np.finfo(np.float64).min  # below any score, and above what is not there


@dataclass(frozen=True, repr=False)
class SearchResult:
    """What a search found for each of N sources: n answers, best first; drawn ones as they were drawn.

    - ids (N, n, sample_size) int64: after an answer's end come only more ``end_id`` (0 if there is none).
    - lengths (N, n) int64: how many tokens an answer has, the end symbol counted. 0 where there were fewer than n answers.
    - scores (N, n) float64: what the answers are ordered by, log probability over length penalty; -inf where there is none.
    - token_log_probabilities (N, n, sample_size) float64: of each token, given those before it; zeros after the end.
    - attention (N, n, sample_size, T1), the weights, zeros after the end; None unless it was asked for.
    """

    ids: Array
    lengths: Array
    scores: Array
    token_log_probabilities: Array
    attention: Array | None = None

    @property
    def log_probabilities(self) -> Array:
        """(N, n): of the whole answers; -inf where there is none."""
        return np.where(self.lengths > 0, self.token_log_probabilities.sum(axis=2), -np.inf)

    def __repr__(self) -> str:
        N, n, sample_size = self.ids.shape
        return f"<SearchResult of {N} sources, {n} answers each, of at most {sample_size} tokens>"


class Committee:
    """The decoders of one model or of several, one step of all hypotheses at a time."""

    def __init__(self, models: Sequence[Parts], x: Array, lengths: Array | None) -> None:
        """x (N, T1): one hypothesis of each sample at first, without a token."""
        self.members = [Hypotheses(decoder, *encoded(encoder, x, lengths), lengths) for encoder, decoder in models]

    def go_on(self, samples: Array, widths: Array, rows: Array) -> None:
        """As `Hypotheses.go_on`."""
        for member in self.members:
            member.go_on(samples, widths, rows)

    def next(self, tokens: Array) -> tuple[Array, Array | None]:
        """tokens (R,) -> scores (R, V), and the weights (R, T1), the mean of those that attend; None if nobody does."""
        given = [member.next_of_rows(tokens) for member in self.members]
        attending = [a for _, a in given if a is not None]
        mean = attending[0] if len(attending) == 1 else np.mean(attending, axis=0) if attending else None
        return together([scores for scores, _ in given]), mean


def together(scores: Sequence[Array]) -> Array:
    """The scores (R, V) of each model -> those of all: the logarithm of the mean of their probabilities."""
    return scores[0] if len(scores) == 1 else backend.kernels().mean_log_probability(np.stack(scores))


def length_penalty(length: int | Array, alpha: float) -> float | Array:
    """((5 + length) / 6)^alpha (Wu et al. 2016, section 7, equation 14)."""
    return ((5 + length) / 6) ** alpha


class Step(NamedTuple):
    """The candidates of a step, all samples' one after another: what they follow, and what they are."""

    rows: Array  # of the hypotheses of this step
    tokens: Array
    log_p: Array
    totals: Array
    opened: Array  # the candidates that are the hypotheses of the next step
    attention: Array | None  # (rows, T1)


@dataclass
class Best:
    """The best n ended answers of each sample: the step in which each ended, and its place among the candidates there."""

    scores: Array  # (N, n), falling; -inf where there is none yet
    steps: Array = field(init=False)
    places: Array = field(init=False)

    def __post_init__(self) -> None:
        self.steps, self.places = np.full(self.scores.shape, -1), np.full(self.scores.shape, -1)

    def add(self, samples: Array, step: int, ended: Array, scores: Array) -> None:
        """What ended at this step of some samples, (m, K). Of equal scores, what ended first stays first."""
        n = self.scores.shape[1]
        scores = np.where(ended, np.maximum(scores, LOWEST), -np.inf)  # one without probabilities is an answer, too
        merged = np.concatenate((self.scores[samples], scores), axis=1)
        order = np.argsort(-merged, axis=1, kind="stable")[:, :n]
        places = np.arange(ended.size).reshape(ended.shape)
        for array, new in ((self.scores, scores), (self.steps, np.full_like(places, step)), (self.places, places)):
            array[samples] = np.take_along_axis(np.concatenate((array[samples], new), axis=1), order, axis=1)
        self.steps[np.isneginf(self.scores)] = -1


@dataclass(frozen=True)
class Beam:
    """How many hypotheses of a sample are followed, how many answers are given, and the exponent of the length penalty."""

    beam: int
    n_best: int
    alpha: float


def beam_search(
    models: Sequence[Parts],
    x: Array,
    lengths: Array | None,
    limits: Limits,
    how: Beam,
    attends: bool,
) -> SearchResult:
    """x (N, T1) -> the n_best best answers of each sample.

    Each step takes, of all successors of a sample's open hypotheses, the ``beam`` most probable. Those that end, with end_id or
    by being sample_size long, are answers; the others are the open hypotheses of the next step. An answer's score is its log
    probability over the length penalty.

    A log probability only falls, and the penalty only grows with the length: an open hypothesis of the log probability s can
    come to s / penalty(sample_size) at the most. A sample's search stops when it has n_best answers, and its most probable open
    hypothesis cannot come above the last of them.
    """
    if len(models) == 1:
        return by_one_model(*models[0], x, lengths, limits, how, attends)
    return by_several(models, x, lengths, limits, how, attends)


def by_one_model(
    encoder: Encoder,
    decoder: Decoder,
    x: Array,
    lengths: Array | None,
    limits: Limits,
    how: Beam,
    attends: bool,
) -> SearchResult:
    """`beam_search` by one model, of which one kernel does all that comes after the encoder."""
    first, lstm = Steps(decoder, *encoded(encoder, x, lengths), lengths), decoder.lstm
    attention = None
    if decoder.attention is not None:
        attention = first.keys, first.values, decoder.attention.W_query, decoder.attention.v, first.scale
    attentional = lstm.attentional if isinstance(lstm, InputFeedingLSTM) else decoder.attentional and decoder.attentional.affine
    of_output = [None if layer is None else layer.weights()[0] for layer in (attentional, decoder.projection)]
    return SearchResult(
        *backend.kernels().beam_search(
            *(*decoder.embedding.weights(), [weight for each in lstm.lstms for weight in each.weights()], attention),
            *((*of_output, *first.of_scores), first.h, first.c, isinstance(lstm, InputFeedingLSTM)),
            *(getattr(lstm, "residual", False), lengths, (limits.start_id, limits.sample_size, limits.end_id)),
            *(how.beam, how.n_best, how.alpha, attends, limits.forbidden),
        )
    )


def by_several(
    models: Sequence[Parts],
    x: Array,
    lengths: Array | None,
    limits: Limits,
    how: Beam,
    attends: bool,
) -> SearchResult:
    """`beam_search` by any number of models, step by step."""
    kernels = backend.kernels()
    steps, committee = list[Step](), Committee(models, x, lengths)
    best = Best(np.full((len(x), how.n_best), -np.inf))
    samples = np.arange(len(x))  # those that are searched
    totals, firsts, tokens = np.zeros(len(x)), np.arange(len(x) + 1), np.full(len(x), limits.start_id)
    for step in range(limits.sample_size):
        scores, a = committee.next(tokens)
        rows, tokens, log_p, totals = kernels.best_successors(scores, totals, firsts, how.beam, limits.forbidden)  # (m, K)
        exists = rows >= 0
        ended = exists & (limits.ends(tokens) if step + 1 < limits.sample_size else True)
        if ended.any():
            best.add(samples, step, ended, totals / length_penalty(step + 1, how.alpha))
        is_open = exists & ~ended
        # A hypothesis that cannot come to a better score any more is left: what follows it is less probable than all that can.
        bounds = np.maximum(totals / length_penalty(limits.sample_size, how.alpha), LOWEST)
        is_open &= bounds > best.scores[samples, -1:]
        searched = is_open.any(axis=1)
        of_step = rows.ravel(), tokens.ravel(), log_p.ravel(), totals.ravel(), np.flatnonzero(is_open)
        steps.append(Step(*of_step, a if attends else None))
        if not searched.any():
            break
        go_on, widths = np.flatnonzero(searched), is_open.sum(axis=1)[searched]
        samples, firsts = samples[go_on], np.concatenate(([0], np.cumsum(widths)))
        tokens, totals = tokens[is_open], totals[is_open]
        committee.go_on(go_on, widths, rows[is_open])
    return _traced(steps, best, limits, how.alpha, x.shape[1])


def _traced(steps: Sequence[Step], best: Best, limits: Limits, alpha: float, T1: int) -> SearchResult:
    """The answers, each followed from its end to its beginning."""
    lengths = best.steps + 1
    shape = best.steps.shape
    ids, log_p, totals = limits.nothing(*shape), np.zeros((*shape, limits.sample_size)), np.full(shape, -np.inf)
    weights = steps[0].attention
    attention = None if weights is None else np.zeros((*shape, limits.sample_size, T1), weights.dtype)
    places = best.places.copy()
    for t, step in reversed(list(enumerate(steps))):
        at = places[best.steps >= t]  # of the answers that have a token here
        ids[best.steps >= t, t], log_p[best.steps >= t, t] = step.tokens[at], step.log_p[at]
        if attention is not None and step.attention is not None:
            attention[best.steps >= t, t] = step.attention[step.rows[at]]
        totals[best.steps == t] = step.totals[best.places[best.steps == t]]
        if t > 0:
            places[best.steps >= t] = steps[t - 1].opened[step.rows[at]]
    scores = np.where(lengths > 0, totals / length_penalty(lengths, alpha), -np.inf)
    return SearchResult(ids, lengths, scores, log_p, attention)


def uniforms(seed: int, samples: Array, draws: Array, step: int) -> Array:
    """Numbers from 0 to less than 1 for these samples and draws (R,): a hash of the seed, of them and of the step.

    The finaliser of SplitMix64 (Steele et al. 2014).
    """
    with np.errstate(over="ignore"):
        # One more than the number of the sample: zero is hashed to zero, and the first draw by seed 0 is no place for it.
        z = np.uint64(seed) + (samples.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = z + draws.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(step) * np.uint64(0x165667B19E3779F9)
        for _ in range(2):  # once is enough for numbers far apart, and these are not
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * 2.0**-53


@dataclass(frozen=True)
class Drawing:
    """How tokens are drawn (`draw_tokens`), how many answers for a sample, and the seed."""

    seed: int
    draws: int
    temperature: float
    top_k: int
    top_p: float


def draw(
    models: Sequence[Parts], x: Array, lengths: Array | None, limits: Limits, how: Drawing, numbers: Array, attends: bool
) -> SearchResult:
    """x (N, T1) -> some drawn answers of each sample. numbers (N,): what the samples are called, for the random numbers."""
    N, T1 = x.shape
    committee = Committee(models, x, lengths)
    committee.go_on(np.arange(N), np.full(N, how.draws), np.repeat(np.arange(N), how.draws))
    running = np.arange(N * how.draws)  # the answers that have not ended
    ids, log_p = limits.nothing(len(running)), np.zeros((len(running), limits.sample_size))
    answer_lengths = np.zeros(len(running), np.int64)
    attention, tokens = None, np.full(len(running), limits.start_id)
    for step in range(limits.sample_size):
        scores, a = committee.next(tokens)
        samples, draws = np.divmod(running, how.draws)
        random = uniforms(how.seed, numbers[samples], draws, step)
        chosen = how.temperature, how.top_k, how.top_p, random, limits.forbidden
        tokens, ids_log_p = backend.kernels().draw_tokens(scores, *chosen)
        ids[running, step], log_p[running, step] = tokens, ids_log_p
        answer_lengths[running] = step + 1
        if attends and a is not None:
            if attention is None:
                attention = np.zeros((len(ids), limits.sample_size, T1), a.dtype)
            attention[running, step] = a
        go_on = np.flatnonzero(~limits.ends(tokens))
        if len(go_on) == 0:
            break
        if len(go_on) < len(running):
            before = np.unique(samples)
            running, tokens = running[go_on], tokens[go_on]
            after, widths = np.unique(samples[go_on], return_counts=True)
            committee.go_on(np.searchsorted(before, after), widths, go_on)
    shape = N, how.draws
    scores = log_p.sum(axis=1).reshape(shape)
    arrays = ids.reshape(*shape, -1), answer_lengths.reshape(shape), scores, log_p.reshape(*shape, -1)
    return SearchResult(*arrays, None if attention is None else attention.reshape(*shape, -1, T1))


def log_probabilities(
    models: Sequence[Parts], x: Array, t: Array, lengths: Array | None, target_lengths: Array | None
) -> Array:
    """x (N, T1), t (N, T2) -> (N, T2 - 1) float64: that of each token after the first, given those before it; 0 at padding."""
    target_lengths = None if target_lengths is None else target_lengths - 1
    scores = []
    for encoder, decoder in models:
        steps = Steps(decoder, *encoded(encoder, x, lengths), lengths)
        scores.append(steps.next(np.ascontiguousarray(t[:, :-1]), target_lengths)[0])
    N, T, V = scores[0].shape
    of_all = together([each.reshape(N * T, V) for each in scores]).reshape(N, T, V)
    return backend.kernels().target_log_probability(of_all, np.ascontiguousarray(t[:, 1:]), target_lengths)
