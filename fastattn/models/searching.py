"""What finds targets: the searches that a model has, and an ensemble of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from fastattn.layers import checks
from fastattn.layers.checks import Array

from .beam import Beam, Drawing, Parts, SearchResult, beam_search, draw, log_probabilities
from .search import Limits, greedy_plain

# ((5 + length) / 6) ** 50 is a finite number up to 8 million tokens.
MAX_LENGTH_PENALTY = 50
# Of a source: what is beyond any memory anyway.
MAX_ANSWERS = 2**31 - 1


class Searching:
    """``generate``, ``search``, ``sample`` and ``log_probabilities``, by one model or several.

    None of them drops anything, whatever ``training`` says, and each may stand between a forward and its backward.
    """

    source_vocabulary: int
    target_vocabulary: int

    def _members(self) -> Sequence[Any]:
        """The models that search: `AttentionSeq2seq`."""
        raise NotImplementedError

    def _parts(self) -> list[Parts]:
        return [(model.encoder, model.decoder) for model in self._members()]

    def _limits(self, start_id: int, sample_size: int, end_id: int | None, forbidden: Sequence[int]) -> Limits:
        V = self.target_vocabulary
        start_id = checks.token("start_id", start_id, V)
        if end_id is not None:
            end_id = checks.token("end_id", end_id, V)
        ids = np.unique([checks.token(f"forbidden[{i}]", each, V) for i, each in enumerate(forbidden)]).astype(np.int64)
        if end_id in ids:
            raise ValueError(f"forbidden holds {end_id}, the end_id; expected other ids")
        if len(ids) == V:
            raise ValueError(f"forbidden holds all of the {V} ids; expected fewer")
        return Limits(start_id, checks.size("sample_size", sample_size), end_id, ids)

    def _check_attention(self, return_attention: bool) -> None:
        if return_attention and not any(model.decoder.attention is not None for model in self._members()):
            raise ValueError("return_attention is True, but the model has no attention; expected False")

    @overload
    def generate(
        self,
        x: ArrayLike,
        start_id: int,
        sample_size: int,
        *,
        end_id: int | None = None,
        lengths: ArrayLike | None = None,
        return_attention: Literal[False] = False,
        beam: int = 1,
        n_best: int | None = None,
        length_penalty: float = 0.0,
        forbidden: Sequence[int] = (),
    ) -> Array: ...

    @overload
    def generate(
        self,
        x: ArrayLike,
        start_id: int,
        sample_size: int,
        *,
        end_id: int | None = None,
        lengths: ArrayLike | None = None,
        return_attention: Literal[True],
        beam: int = 1,
        n_best: int | None = None,
        length_penalty: float = 0.0,
        forbidden: Sequence[int] = (),
    ) -> tuple[Array, Array]: ...

    def generate(
        self,
        x: ArrayLike,
        start_id: int,
        sample_size: int,
        *,
        end_id: int | None = None,
        lengths: ArrayLike | None = None,
        return_attention: bool = False,
        beam: int = 1,
        n_best: int | None = None,
        length_penalty: float = 0.0,
        forbidden: Sequence[int] = (),
    ) -> Array | tuple[Array, Array]:
        """x (N, T1), token ids -> ids (N, sample_size) int64: from ``start_id`` on, the best token at each step.

        After a sample's first ``end_id`` every further id is ``end_id``. With ``return_attention``, also the weights
        (N, sample_size, T1), which are zero after the end. There is no dropout, whatever ``training`` says, and the
        call may stand between a forward and its backward. ValueError for the weights of a model without attention.

        beam: how many hypotheses of a sample are followed; with more than one, what is found is the best answer of `search`,
        of which ``length_penalty`` is explained there. n_best: with it, the ids of so many answers, best first, (N, n_best,
        sample_size), and their weights (N, n_best, sample_size, T1). forbidden: token ids that no answer holds.
        """
        members = self._members()
        one = checks.size("beam", beam) == 1 and n_best is None and len(members) == 1
        if one and members[0].config.is_plain:
            x, lengths = checks.ids("x", x, ("N", "T1"), self.source_vocabulary, lengths)
            limits = self._limits(start_id, sample_size, end_id, forbidden)
            _length_penalty(length_penalty)
            self._check_attention(return_attention)
            ids, weights = greedy_plain(*self._parts()[0], x, lengths, limits)
            return (ids, weights) if return_attention else ids
        found = self.search(
            x,
            start_id,
            sample_size,
            end_id=end_id,
            lengths=lengths,
            beam=beam,
            n_best=1 if n_best is None else n_best,
            length_penalty=length_penalty,
            return_attention=return_attention,
            forbidden=forbidden,
        )
        of_sample = slice(None) if n_best is not None else 0
        ids = found.ids[:, of_sample]
        return ids if found.attention is None else (ids, found.attention[:, of_sample])

    def search(
        self,
        x: ArrayLike,
        start_id: int,
        sample_size: int,
        *,
        end_id: int | None = None,
        lengths: ArrayLike | None = None,
        beam: int = 1,
        n_best: int = 1,
        length_penalty: float = 0.0,
        return_attention: bool = False,
        forbidden: Sequence[int] = (),
    ) -> SearchResult:
        """x (N, T1), token ids -> the ``n_best`` best answers that a beam search finds for each sample, with their scores.

        Each step follows the ``beam`` most probable hypotheses of a sample (Sutskever, Vinyals and Le 2014, section 3.2); one
        that ends is an answer, and so is one that is ``sample_size`` tokens long. The answers are ordered by

            score = log probability / ((5 + length) / 6)^length_penalty

        (Wu et al. 2016, section 7, equation 14), the end symbol counted in the length. Of equal scores the one that ended first
        comes first; of hypotheses that are as probable, the one with the better parent, then the one with the lower id. A
        sample's search ends as soon as no open hypothesis can come to a better score than the last of its n_best answers. With
        a beam of 1 the answer is that of ``generate``. In any batch a sample's answers are the same.

        forbidden: token ids that no answer holds. They keep their part of the probability: no score changes by them.
        """
        beam, n_best = checks.size("beam", beam, highest=MAX_ANSWERS), checks.size("n_best", n_best)
        if n_best > beam:
            raise ValueError(f"n_best is {n_best}; expected at most {beam}, the beam: no search gives more than it follows")
        alpha = _length_penalty(length_penalty)
        x, lengths = checks.ids("x", x, ("N", "T1"), self.source_vocabulary, lengths)
        limits = self._limits(start_id, sample_size, end_id, forbidden)
        self._check_attention(return_attention)
        return beam_search(self._parts(), x, lengths, limits, Beam(beam, n_best, alpha), return_attention)

    def sample(
        self,
        x: ArrayLike,
        start_id: int,
        sample_size: int,
        *,
        seed: int,
        end_id: int | None = None,
        lengths: ArrayLike | None = None,
        draws: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        samples: ArrayLike | None = None,
        return_attention: bool = False,
        forbidden: Sequence[int] = (),
    ) -> SearchResult:
        """x (N, T1), token ids -> ``draws`` answers for each sample, each token drawn from softmax(scores / temperature).

        top_k: only of the k most probable tokens (Fan, Lewis and Dauphin 2018). top_p: only of the fewest, most
        probable first, whose probabilities are together at least p (Holtzman et al. 2020, section 3.1), after top_k.

        A draw follows from the seed, from the number of its sample, its own and that of its step: it is the same in any batch
        where the sample has the same number. samples (N,): these numbers, 0 ... N - 1 unless given.
        forbidden: token ids that are never drawn.
        The scores of the result are log probabilities under the model itself, whatever temperature and choice are.
        """
        how = Drawing(
            checks.seed("seed", seed),
            checks.size("draws", draws, highest=MAX_ANSWERS),
            _above_zero("temperature", temperature),
            0 if top_k is None else min(checks.size("top_k", top_k), self.target_vocabulary),
            _above_zero("top_p", top_p),
        )
        if how.top_p > 1:
            raise ValueError(f"top_p is {top_p!r}; expected 0 < top_p <= 1")
        x, lengths = checks.ids("x", x, ("N", "T1"), self.source_vocabulary, lengths)
        limits = self._limits(start_id, sample_size, end_id, forbidden)
        self._check_attention(return_attention)
        numbers = np.arange(len(x))
        if samples is not None:
            numbers, _ = checks.ids("samples", np.reshape(samples, (-1, 1)), (len(x), 1), 2**63 - 1, None)
            numbers = numbers[:, 0]
        return draw(self._parts(), x, lengths, limits, how, numbers, return_attention)

    def log_probabilities(
        self,
        x: ArrayLike,
        t: ArrayLike,
        *,
        source_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
    ) -> Array:
        """x (N, T1), t (N, T2), token ids -> (N, T2 - 1) float64: how probable the model finds the targets ("forced decoding").

        The logarithm of the probability of each t[n, u + 1], given the source and the tokens before it; zero at padding. As in
        ``forward``, t begins with the start symbol, and T2 and target_lengths count it.
        """
        x, source_lengths = checks.ids("x", x, ("N", "T1"), self.source_vocabulary, source_lengths, "source_lengths")
        t, target_lengths = checks.ids(
            "t", t, (len(x), "T2"), self.target_vocabulary, target_lengths, "target_lengths", lowest=2
        )
        return log_probabilities(self._parts(), x, t, source_lengths, target_lengths)


def _length_penalty(given: float) -> float:
    alpha = checks.at_least_zero("length_penalty", given)
    if alpha > MAX_LENGTH_PENALTY:
        raise ValueError(f"length_penalty is {given!r}; expected at most {MAX_LENGTH_PENALTY}")
    return alpha


def _above_zero(name: str, given: float) -> float:
    number = checks.at_least_zero(name, given)
    if number == 0:
        raise ValueError(f"{name} is {given!r}; expected a number above 0")
    return number
