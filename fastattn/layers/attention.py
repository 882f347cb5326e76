"""Attention: how much a target state is concerned with each source state, and the sum of these in that measure.

For one target state: AttentionWeight, then WeightSum, and both in AttentionLayer; they have no weights, and their score is
the dot product (Luong, Pham and Manning 2015, section 3.1). For all target states at once, with a choice of scores: Attention.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .base import Layer
from .checks import Array

# The kinds of attention, and the weights that each has.
_WEIGHTS: dict[str, tuple[str, ...]] = {
    "dot": (),
    "scaled_dot": (),
    "general": ("W",),
    "additive": ("W", "W_query", "v"),
}
KINDS = tuple(_WEIGHTS)


class AttentionWeight(Layer):
    """How much one target state h attends to each source state hs_t: the softmax over t of their dot products."""

    def forward(self, hs: ArrayLike, h: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """hs (N, T, H), h (N, H) -> a (N, T), zeros at padding; to be read: backward reads the same memory."""
        return checks.read_only(self._forward(hs, h, lengths))

    def _forward(self, hs: ArrayLike, h: ArrayLike, lengths: ArrayLike | None) -> Array:
        """What forward gives, for who does not overwrite it."""
        hs = checks.floats("hs", hs, ("N", "T", "H"))
        N, T, H = hs.shape
        h = checks.floats("h", h, (N, H), hs.dtype)
        lengths = checks.lengths("lengths", lengths, N, T)
        kernels = backend.kernels()
        a = kernels.softmax_forward(kernels.attention_score_forward(hs, h, lengths), lengths)
        self._keep(kernels, hs, h, a, lengths)
        return a

    def backward(self, da: ArrayLike) -> tuple[Array, Array]:
        """da (N, T) -> dhs (N, T, H), dh (N, H)."""
        kernels, hs, h, a, lengths = self._recall()
        da = checks.floats("da", da, a.shape, a.dtype)
        ds = kernels.softmax_backward(da, a, lengths)
        return kernels.attention_score_backward(ds, hs, h, lengths)


class WeightSum(Layer):
    """The context: the sum of the source states, each times its weight."""

    def forward(self, hs: ArrayLike, a: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """hs (N, T, H), a (N, T) -> c (N, H)."""
        hs = checks.floats("hs", hs, ("N", "T", "H"))
        N, T, _ = hs.shape
        a = checks.floats("a", a, (N, T), hs.dtype)
        lengths = checks.lengths("lengths", lengths, N, T)
        kernels = backend.kernels()
        self._keep(kernels, hs, a, lengths)
        return kernels.weighted_sum_forward(hs, a, lengths)

    def backward(self, dc: ArrayLike) -> tuple[Array, Array]:
        """dc (N, H) -> dhs (N, T, H), da (N, T)."""
        kernels, hs, a, lengths = self._recall()
        dc = checks.floats("dc", dc, (hs.shape[0], hs.shape[2]), hs.dtype)
        return kernels.weighted_sum_backward(dc, hs, a, lengths)


class AttentionLayer(Layer):
    """The context of one target state: AttentionWeight, then WeightSum.

    After ``forward``, ``attention_weight`` (N, T) holds the weights, to be read: backward reads the same memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attention_weight_layer = AttentionWeight()
        self.weight_sum_layer = WeightSum()
        self.attention_weight: Array | None = None

    def forward(self, hs: ArrayLike, h: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """hs (N, T, H), h (N, H) -> c (N, H)."""
        a = self.attention_weight_layer._forward(hs, h, lengths)
        self.attention_weight = checks.read_only(a)
        return self.weight_sum_layer.forward(hs, a, lengths=lengths)

    def backward(self, dc: ArrayLike) -> tuple[Array, Array]:
        """dc (N, H) -> dhs (N, T, H), dh (N, H)."""
        if self.attention_weight is None:
            raise RuntimeError("AttentionLayer.backward was called before AttentionLayer.forward")
        dhs_sum, da = self.weight_sum_layer.backward(dc)
        dhs_weight, dh = self.attention_weight_layer.backward(da)
        return dhs_sum + dhs_weight, dh


class Attention(Layer):
    """The contexts of all target states: every step of the target attends to the whole source.

    kind: how a target state h is scored against a source state h_s.

    - "dot": h . h_s (Luong, Pham and Manning 2015, section 3.1).
    - "scaled_dot": h . h_s / sqrt(H) (Vaswani et al. 2017, section 3.2.1).
    - "general": h . (h_s W), with W (E, H) (Luong, Pham and Manning 2015, section 3.1).
    - "additive": v . tanh(h_s W + h W_query), with W (E, A), W_query (H, A) and v (A,) (Bahdanau, Cho and Bengio 2015,
      appendix A.1.2; no bias).

    E is the width of the source states, H that of the target states; for the first two they are equal. ``params`` are the
    kind's weights in the order W, W_query, v, all float32 or all float64.

    With ``join=True`` each context has the target state beside it, as Luong's paper joins them, in section 3, equation 5: cs is
    (N, T2, E + H). `Attention(True)` is the same as `Attention(join=True)`.
    After ``forward``, ``attention_weight`` (T2, N, T1) holds the weights, to be read: ``attention_weight[t]`` (N, T1) has those
    of target step t.
    """

    def __init__(
        self,
        kind: str | bool = "dot",
        *,
        join: bool = False,
        W: ArrayLike | None = None,
        W_query: ArrayLike | None = None,
        v: ArrayLike | None = None,
    ) -> None:
        if isinstance(kind, bool):
            join, kind = kind, "dot"
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; expected one of {', '.join(map(repr, KINDS))}")
        self.kind = kind
        self.join = join
        self.attention_weight: Array | None = None
        given = {"W": W, "W_query": W_query, "v": v}
        for name, weight in given.items():
            if (weight is not None) != (name in _WEIGHTS[kind]):
                names = " and ".join(_WEIGHTS[kind]) or "no weights"
                raise ValueError(f"{name} is {'None' if weight is None else 'given'}; expected {names} for kind {kind!r}")
        weights: list[Array] = []
        if W is not None:
            weights = [checks.floats("W", W, ("E", "A" if kind == "additive" else "H"))]
        if W_query is not None and v is not None:
            A, dtype = weights[0].shape[1], weights[0].dtype
            weights += [checks.floats("W_query", W_query, ("H", A), dtype), checks.floats("v", v, (A,), dtype)]
        super().__init__(*weights)

    @property
    def W(self) -> Array | None:
        """What makes the keys of the source states; None if they are their own."""
        return self._named(self.params)[0]

    @property
    def W_query(self) -> Array | None:
        """What makes the queries of the target states; None if they are their own."""
        return self._named(self.params)[1]

    @property
    def v(self) -> Array | None:
        """What makes a score of a key and a query; None if it is their product."""
        return self._named(self.params)[2]

    def _named(self, arrays: list[Array]) -> tuple[Array | None, Array | None, Array | None]:
        """W, W_query and v out of ``params``, or their gradients out of ``grads``; None for what the kind does not have."""
        W, W_query, v = (*arrays, None, None, None)[:3]
        return W, W_query, v

    def scale(self, A: int) -> float:
        """By which the product of a key and a query (A,) is multiplied."""
        return A**-0.5 if self.kind == "scaled_dot" else 1.0

    def keys(self, hs_enc: Array, lengths: Array | None) -> Array:
        """hs_enc (N, T1, E), checked -> keys (N, T1, A): for the kernels, what stands for the source in the scores."""
        W, _, _ = self._named(self.weights())
        return hs_enc if W is None else backend.kernels().affine_forward(hs_enc, W, None, lengths)

    def queries(self, hs_dec: Array, lengths: Array | None) -> Array:
        """hs_dec (N, T2, H), checked -> queries (N, T2, A), what stands for the target."""
        _, W_query, _ = self._named(self.weights())
        return hs_dec if W_query is None else backend.kernels().affine_forward(hs_dec, W_query, None, lengths)

    def _source_width(self) -> int | str:
        """E, or its name where any will do."""
        return len(self.params[0]) if self.params else "H"

    def _target_width(self, E: int) -> int:
        """H, if the source states are E wide."""
        W, W_query, _ = self._named(self.params)
        return E if W is None else W.shape[1] if W_query is None else len(W_query)

    def _dtype(self) -> np.dtype | None:
        return self.params[0].dtype if self.params else None

    def forward(
        self,
        hs_enc: ArrayLike,
        hs_dec: ArrayLike,
        *,
        source_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
    ) -> Array:
        """hs_enc (N, T1, E), hs_dec (N, T2, H) -> cs (N, T2, E or E + H), zeros at a target step that is padding."""
        hs_enc = checks.floats("hs_enc", hs_enc, ("N", "T1", self._source_width()), self._dtype())
        N, T1, E = hs_enc.shape
        hs_dec = checks.floats("hs_dec", hs_dec, (N, "T2", self._target_width(E)), hs_enc.dtype)
        source_lengths = checks.lengths("source_lengths", source_lengths, N, T1)
        target_lengths = checks.lengths("target_lengths", target_lengths, N, hs_dec.shape[1])
        _, _, v = self._named(self.weights())
        kernels = backend.kernels()
        keys, queries = self.keys(hs_enc, source_lengths), self.queries(hs_dec, target_lengths)
        read = keys, hs_enc, queries, hs_dec if self.join else None
        scale = self.scale(keys.shape[2])
        cs, a = kernels.attention_forward(*read, v, scale, source_lengths, target_lengths)
        self.attention_weight = checks.read_only(a.transpose(1, 0, 2))
        self._keep(kernels, read, hs_dec, scale, a, source_lengths, target_lengths, cs.shape)
        return cs

    __call__ = forward

    def backward(self, dcs: ArrayLike) -> tuple[Array, Array]:
        """dcs, of the shape of cs -> dhs_enc (N, T1, E), dhs_dec (N, T2, H)."""
        kernels, read, hs_dec, scale, a, source_lengths, target_lengths, shape = self._recall()
        _, W_query, v = self._named(self.weights())
        _, dW_query, dv = self._named(self.grads)
        dcs = checks.floats("dcs", dcs, shape, hs_dec.dtype)
        dkeys, dhs_enc, dqueries, dhs_dec = kernels.attention_backward(
            dcs, *read, v, scale, a, source_lengths, target_lengths, dv
        )
        dhs_enc = self._keys_backward(kernels, dkeys, read[1], dhs_enc, source_lengths)
        if W_query is not None:  # queries = hs_dec W_query, beside the joined hs_dec
            dqueries = kernels.affine_backward(dqueries, hs_dec, W_query, dW_query, None, target_lengths)
        return dhs_enc, dqueries if dhs_dec is None else kernels.add(dqueries, dhs_dec)

    def _keys_backward(
        self, kernels: ModuleType, dkeys: Array, hs_enc: Array, dvalues: Array | None, lengths: Array | None
    ) -> Array:
        """dkeys (N, T1, A), and dvalues (N, T1, E) where the keys are not the values -> dhs_enc (N, T1, E)."""
        if dvalues is None:
            return dkeys
        W, _, _ = self._named(self.weights())
        dW, _, _ = self._named(self.grads)
        return kernels.add(dvalues, kernels.affine_backward(dkeys, hs_enc, W, dW, None, lengths))  # keys = hs_enc W
