"""The encoder: token ids of the source to a state for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastattn.layers import LSTM, Affine, BiLSTM, Dropout, Embedding, StackedLSTM, checks
from fastattn.layers.checks import Array

from .bridge import State, checked_states
from .config import ModelConfig, check_options
from .initial import Weights
from .parts import encoder_parts
from .recurrent import Recurrent, lstm, stacked

OPTIONS = (
    *("dtype", "dropout", "encoder_layers", "bidirectional", "encoder_hidden", "project_encoder", "residual"),
    *("recurrent_dropout", "word_dropout", "forget_bias", "orthogonal"),
)


class Encoder(Recurrent):
    """Embedding, dropout, LSTM; where they are asked for, more layers, a second direction, a projection of their states.

    V tokens, vectors of width D, states of width H. seed: a whole number or a Generator, for the weights and for dropout
    (None: from the system). options: those of `ModelConfig` that concern an encoder, ``OPTIONS``.
    """

    def __init__(self, V: int, D: int, H: int, *, seed: int | np.random.Generator | None = None, **options: Any) -> None:
        sizes = checks.size("V", V), checks.size("D", D), checks.size("H", H)
        check_options("Encoder", options, OPTIONS)
        # Of attention and bridge it knows nothing; so the config has those that any encoder goes with.
        config = ModelConfig(*sizes, attention="general", bridge="affine", **options)
        generator = np.random.default_rng(seed)
        self._make(config, Weights(encoder_parts(config), config, generator))
        self._seed_masks(config, generator)

    @classmethod
    def of(cls, config: ModelConfig, weights: Weights) -> Self:
        """The encoder of a whole model."""
        encoder = cls.__new__(cls)
        encoder._make(config, weights)
        return encoder

    def _make(self, config: ModelConfig, weights: Weights) -> None:
        self._make_embedding("encoder.embedding", config, weights)
        self.lstm = stacked([_layer(f"encoder.lstm.{i}", config, weights) for i in range(config.encoder_layers)], config)
        self.projection = Affine(*weights["encoder.projection"]) if config.project_encoder else None
        self.output_dropout = Dropout(config.ratios.encoder, seed=0)
        super().__init__(self.embedding, self.lstm, self.projection)

    @property
    def final_states(self) -> list[State]:
        """After ``forward``: h and c of each layer, (N, H), lowest first, after each sample's last real step.

        Of two directions, both side by side (N, E0): the backward one ends at the first position.
        """
        layers = [layer.lstms for layer in self.layers]
        return [(_side_by_side([each.h for each in lstms]), _side_by_side([each.c for each in lstms])) for lstms in layers]

    def forward(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """x (N, T1), token ids -> hs (N, T1, E), zeros at padding; E is the width of its states, or H after a projection."""
        if type(self.embedding) is Embedding:  # one of another class knows its ids itself
            x, lengths = checks.ids("x", x, ("N", "T1"), len(self.embedding.params[0]), lengths)
        self._begin_step()
        hs = self._read(x, lengths)  # type: ignore[arg-type]
        if self.projection is not None:
            hs = self.projection.forward(hs, lengths=lengths)
        hs = self.output_dropout.forward(hs)
        self._end_step()
        return hs

    def backward(self, dhs: ArrayLike, dstates: Sequence[State] | None = None) -> None:
        """dhs (N, T1, E). dstates: the gradients of ``final_states``, None where there are none."""
        dhs = self.output_dropout.backward(dhs)
        last = self._last(dstates, len(dhs))
        if self.projection is not None:
            dhs = self.projection.backward(dhs)
        self._read_backward(dhs, **last)
        self._add_up()

    def _last(self, dstates: Sequence[State] | None, N: int) -> dict[str, Any]:
        """``dstates`` as the LSTM wants them: a list of those of its layers, and of both directions one after the other."""
        if dstates is None:
            return {}
        shape = N, self.layers[0].output_width
        dstates = checked_states("dstates", dstates, len(self.layers), shape, self.params[0].dtype, may_lack="hc")
        dh, dc = ([_directions(d, len(self.layers[0].lstms)) for d in given] for given in zip(*dstates))
        return {"dh_last": dh, "dc_last": dc} if isinstance(self.lstm, StackedLSTM) else {"dh_last": dh[0], "dc_last": dc[0]}


def _layer(name: str, config: ModelConfig, weights: Weights) -> LSTM | BiLSTM:
    forward = lstm(f"{name}.forward", config, weights)
    return BiLSTM(forward, lstm(f"{name}.backward", config, weights)) if config.bidirectional else forward


def _side_by_side(states: list[Array | None]) -> Array | None:
    """The state (N, H) of each direction -> (N, H) or (N, 2H); None before any forward."""
    known = [state for state in states if state is not None]
    return (known[0] if len(known) == 1 else np.concatenate(known, axis=1)) if known else None


def _directions(d: Array | None, count: int) -> Array | None:
    """The gradient (N, H) of a state, or (N, 2H) -> (N, H), or (2, N, H)."""
    if d is None or count == 1:
        return d
    N, width = d.shape
    return d.reshape(N, count, width // count).transpose(1, 0, 2)
