"""From the last states of the encoder to the first of the decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastattn.layers import checks
from fastattn.layers.base import Layer
from fastattn.layers.checks import Array

from .config import ModelConfig
from .initial import Weights
from .scores import TanhAffine

# h and c of one layer, each (N, width), or their gradients. None: zeros, or a gradient that nobody needs.
State = tuple[Array | None, Array | None]
Mapped = Callable[[TanhAffine, Array | None], Array]


def checked_states(
    name: str, given: Sequence[Any], L: int, shape: tuple[int, int], dtype: np.dtype, may_lack: str = ""
) -> list[State]:
    """``given`` as h and c, both of ``shape``, of each of L layers. may_lack: which of the two may be None."""
    if len(given) != L:
        raise ValueError(f"{name} has {len(given)} entries; expected h and c of each of {L} layers")
    for i, state in enumerate(given):
        if not isinstance(state, Sequence | np.ndarray) or len(state) != 2:
            raise TypeError(f"{name}[{i}] is {type(state).__name__}; expected a pair, h and c")

    def checked(letter: str, i: int, s: Any) -> Array | None:
        return None if s is None and letter in may_lack else checks.floats(f"{letter} of {name}[{i}]", s, shape, dtype)

    return [(checked("h", i, h), checked("c", i, c)) for i, (h, c) in enumerate(given)]


def mapped(layer: TanhAffine, s: Array | None) -> Array:
    """s (N, E0) -> (N, H)."""
    assert s is not None
    return layer.forward(s[:, None])[:, 0]


class Bridge(Layer):
    """The first state of each layer of the decoder.

    It follows from the last state of the encoder's layer of the same height, or of the top one where there is none: its h,
    with zeros for c ("last"), h and c ("last_state"), or a learned map of each, tanh(s W + b) ("affine"). Or it is all zeros
    ("zeros").
    """

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        super().__init__()
        self.kind = config.bridge
        self.encoder_layers = config.encoder_layers
        self.sources = [min(layer, config.encoder_layers - 1) for layer in range(config.decoder_layers)]
        self.maps: list[list[TanhAffine]] = []  # of h and c of each layer
        if self.kind == "affine":
            names = [f"decoder.bridge.{layer}" for layer in range(config.decoder_layers)]
            self.maps = [[TanhAffine(*weights[f"{name}.{state}"]) for state in "hc"] for name in names]
        self.params = [param for maps in self.maps for each in maps for param in each.params]
        self.grads = [grad for maps in self.maps for each in maps for grad in each.grads]

    def forward(self, states: Sequence[State], mapped: Mapped = mapped) -> list[State]:
        """The last state of each layer of the encoder -> the first of each of the decoder.

        mapped: how a map is applied, by a search that keeps nothing.
        """
        if self.kind == "zeros":
            return [(None, None) for _ in self.sources]
        given = [states[source] for source in self.sources]
        if self.kind == "affine":
            return [(mapped(of_h, h), mapped(of_c, c)) for (of_h, of_c), (h, c) in zip(self.maps, given, strict=True)]
        return [(h, c if self.kind == "last_state" else None) for h, c in given]

    def backward(self, dstates: Sequence[State]) -> list[State]:
        """The gradients of what forward returned -> those of what it was given."""
        if self.kind == "affine":
            pairs = zip(self.maps, dstates, strict=True)
            dstates = [(_mapped_back(of_h, dh), _mapped_back(of_c, dc)) for (of_h, of_c), (dh, dc) in pairs]
        kept = {"zeros": 0, "last": 1}.get(self.kind, 2)  # of h and c, those that came from the encoder
        sums: list[list[Array | None]] = [[None, None] for _ in range(self.encoder_layers)]
        for source, dstate in zip(self.sources, dstates, strict=True):
            for i, d in enumerate(dstate[:kept]):
                before = sums[source][i]
                sums[source][i] = before if d is None else d if before is None else before + d
        return [(dh, dc) for dh, dc in sums]


def _mapped_back(layer: TanhAffine, dout: Array | None) -> Array:
    assert dout is not None
    return layer.backward(dout[:, None])[:, 0]
