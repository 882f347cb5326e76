"""Dot-product attention (Luong, Pham and Manning 2015, section 3.1, score "dot").

For one target state: AttentionWeight, then WeightSum, and both in AttentionLayer. For all of them at once: Attention.
None of them has weights.
"""

from numpy.typing import ArrayLike

from fastattn import backend

from . import checks
from .base import Layer
from .checks import Array


class AttentionWeight(Layer):
    """How much one target state attends to each source state: a = softmax over t of (hs_t . h)."""

    def forward(self, hs: ArrayLike, h: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """hs (N, T, H), h (N, H) -> a (N, T), zeros at padding."""
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

    After ``forward``, ``attention_weight`` (N, T) holds the weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attention_weight_layer = AttentionWeight()
        self.weight_sum_layer = WeightSum()
        self.attention_weight: Array | None = None

    def forward(self, hs: ArrayLike, h: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """hs (N, T, H), h (N, H) -> c (N, H)."""
        self.attention_weight = self.attention_weight_layer.forward(hs, h, lengths=lengths)
        return self.weight_sum_layer.forward(hs, self.attention_weight, lengths=lengths)

    def backward(self, dc: ArrayLike) -> tuple[Array, Array]:
        """dc (N, H) -> dhs (N, T, H), dh (N, H)."""
        if self.attention_weight is None:
            raise RuntimeError("AttentionLayer.backward was called before AttentionLayer.forward")
        dhs_sum, da = self.weight_sum_layer.backward(dc)
        dhs_weight, dh = self.attention_weight_layer.backward(da)
        return dhs_sum + dhs_weight, dh


class Attention(Layer):
    """The contexts of all target states: every step of the target attends to the whole source.

    With ``join=True`` each context has the target state beside it, as section 3.1 of the paper joins them: cs is
    (N, T2, 2H).
    After ``forward``, ``attention_weight`` (T2, N, T1) holds the weights: ``attention_weight[t]`` (N, T1) has those of
    target step t.
    """

    def __init__(self, join: bool = False) -> None:
        super().__init__()
        self.join = join
        self.attention_weight: Array | None = None

    def forward(
        self,
        hs_enc: ArrayLike,
        hs_dec: ArrayLike,
        *,
        source_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
    ) -> Array:
        """hs_enc (N, T1, H), hs_dec (N, T2, H) -> cs (N, T2, H or 2H), zeros at a target step that is padding."""
        hs_enc = checks.floats("hs_enc", hs_enc, ("N", "T1", "H"))
        N, T1, H = hs_enc.shape
        hs_dec = checks.floats("hs_dec", hs_dec, (N, "T2", H), hs_enc.dtype)
        source_lengths = checks.lengths("source_lengths", source_lengths, N, T1)
        target_lengths = checks.lengths("target_lengths", target_lengths, N, hs_dec.shape[1])
        kernels = backend.kernels()
        cs, a = kernels.attention_forward(hs_enc, hs_dec, source_lengths, target_lengths, self.join)
        self.attention_weight = a.transpose(1, 0, 2)
        self._keep(kernels, hs_enc, hs_dec, a, source_lengths, target_lengths, cs.shape)
        return cs

    __call__ = forward

    def backward(self, dcs: ArrayLike) -> tuple[Array, Array]:
        """dcs, of the shape of cs -> dhs_enc (N, T1, H), dhs_dec (N, T2, H)."""
        kernels, hs_enc, hs_dec, a, source_lengths, target_lengths, shape = self._recall()
        dcs = checks.floats("dcs", dcs, shape, hs_dec.dtype)
        return kernels.attention_backward(dcs, hs_enc, hs_dec, a, source_lengths, target_lengths)
