"""Attention: of one target state, and of all of them."""

from __future__ import annotations

from numpy.typing import ArrayLike

from fastattn import layers
from fastattn.layers import AttentionWeight, WeightSum
from fastattn.layers.checks import Array

__all__ = ["Attention", "AttentionWeight", "TimeAttention", "WeightSum"]


class Attention(layers.AttentionLayer):
    """The context of one target state: hs (N, T, H), h (N, H) -> (N, H). ``attention_weight`` (N, T) holds the weights."""


class TimeAttention(layers.Attention):
    """The contexts of all target states: hs_enc (N, T1, H), hs_dec (N, T2, H) -> (N, T2, H)."""

    @property
    def attention_weights(self) -> list[Array] | None:
        """After ``forward``: a list of the weights (N, T1) of each target step."""
        return None if self.attention_weight is None else list(self.attention_weight)

    def forward_joined(self, hs_enc: ArrayLike, hs_dec: ArrayLike) -> Array:
        """hs_enc (N, T1, H), hs_dec (N, T2, H) -> the contexts with the target states after them (N, T2, 2H).

        One kernel writes both. ``backward`` then takes their gradient, (N, T2, 2H).
        """
        self.join = True
        try:
            return self.forward(hs_enc, hs_dec)
        finally:
            self.join = False
