"""Attention: of one target state, and of all of them."""

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
