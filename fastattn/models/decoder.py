"""The decoder: scores for each next token of the target, given the tokens before it and the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastattn.layers import Affine, Attention, Dropout, InputFeedingLSTM, checks
from fastattn.layers.checks import Array

from .bridge import Bridge, State, checked_states
from .config import ModelConfig, check_options
from .initial import Weights
from .parts import decoder_parts
from .recurrent import Recurrent, lstm, stacked
from .scores import TanhAffine, TiedAffine

OPTIONS = (
    *("dtype", "dropout", "encoder_layers", "decoder_layers", "bidirectional", "encoder_hidden", "project_encoder", "residual"),
    *("attention", "attention_size", "attentional_size", "input_feeding", "bridge", "recurrent_dropout", "word_dropout"),
    *("tie_embeddings", "forget_bias", "orthogonal"),
)

LastSteps = tuple[Array, Array] | tuple[slice, int]


def last_steps(lengths: Array | None, N: int, T: int) -> LastSteps:
    """The index of each sample's last real step in an array (N, T, ...)."""
    return (slice(None), T - 1) if lengths is None else (np.arange(N), lengths - 1)


class Decoder(Recurrent):
    """Embedding, dropout, LSTM; attention over the source; dropout; an affine map of (context, state) to scores.

    With ``attentional_size`` the scores come from h~ = tanh([context; state] W) (Luong, Pham and Manning 2015, section 3,
    equation 5), which with ``input_feeding`` is read by the LSTM's next step (section 3.3). The LSTM starts from what the
    `Bridge` makes of the encoder's last states.

    V tokens, vectors of width D, states of width H. seed: a whole number or a Generator, for the weights and for dropout
    (None: from the system). options: those of `ModelConfig` that concern a decoder, ``OPTIONS``; it must know the encoder's.
    """

    def __init__(self, V: int, D: int, H: int, *, seed: int | np.random.Generator | None = None, **options: Any) -> None:
        sizes = checks.size("V", V), checks.size("D", D), checks.size("H", H)
        check_options("Decoder", options, OPTIONS)
        config = ModelConfig(*sizes, **options)
        generator = np.random.default_rng(seed)
        self._make(config, Weights(decoder_parts(config), config, generator))
        self._seed_masks(config, generator)

    @classmethod
    def of(cls, config: ModelConfig, weights: Weights) -> Self:
        """The decoder of a whole model."""
        decoder = cls.__new__(cls)
        decoder._make(config, weights)
        return decoder

    def _make(self, config: ModelConfig, weights: Weights) -> None:
        self.source_width = config.encoder_width
        self.state_width = config.encoder_states
        # Then a real step's last state stands among the states that the encoder gives.
        plain_encoder = config.encoder_layers == config.directions == 1 and not config.project_encoder
        self.starts_from_hs = config.bridge == "last" and plain_encoder and config.ratios.encoder == 0
        self.bridge = Bridge(config, weights)
        self._make_embedding("encoder.embedding" if config.share_embeddings else "decoder.embedding", config, weights)
        self.attention = _attention(config, weights)
        self.attentional = None
        layers = [lstm(f"decoder.lstm.{layer}.forward", config, weights) for layer in range(config.decoder_layers)]
        if config.input_feeding:
            assert self.attention is not None
            (W,) = weights["decoder.attentional"]
            self.lstm = InputFeedingLSTM(layers, self.attention, W, config.residual, config.ratios.layers)
        else:
            self.lstm = stacked(layers, config)
            if config.attentional_size is not None:
                self.attentional = TanhAffine(*weights["decoder.attentional"])
        self.output_dropout = Dropout(config.ratios.output, seed=0)
        self.projection = Affine(*weights["decoder.projection"]) if config.projects_to_embedding else None
        of_scores = weights["decoder.affine"]
        self.affine = TiedAffine(self.embedding, *of_scores) if config.tie_embeddings else Affine(*of_scores)
        attention = None if config.input_feeding else self.attention  # which is then a part of the LSTM
        of_embedding = self.bridge, self.embedding
        super().__init__(*of_embedding, self.lstm, attention, self.attentional, self.projection, self.affine)
        self._last_steps: LastSteps | None = None
        self._shape: tuple[int, ...] | None = None  # of hs_enc, after a forward
        self.dstates: list[State] | None = None

    @property
    def attention_weight(self) -> Array | None:
        """After ``forward``, (T2, N, T1): ``attention_weight[t]`` (N, T1) holds the weights of target step t.

        None without attention.
        """
        attends = self.lstm if isinstance(self.lstm, InputFeedingLSTM) else self.attention
        return None if attends is None else attends.attention_weight

    def forward(
        self,
        t: ArrayLike,
        hs_enc: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        source_lengths: ArrayLike | None = None,
        states: Sequence[State] | None = None,
    ) -> Array:
        """t (N, T2), token ids; hs_enc (N, T1, E), what the encoder gave -> scores (N, T2, V), zeros at padding.

        states: the encoder's ``final_states``. They may be left out where the first state follows from hs_enc, or is zeros.
        """
        dtype = self.params[0].dtype
        hs_enc = checks.floats("hs_enc", hs_enc, ("N", "T1", self.source_width), dtype)
        N, T1, _ = hs_enc.shape
        source_lengths = checks.lengths("source_lengths", source_lengths, N, T1)
        t, lengths = checks.ids("t", t, ("N", "T2"), len(self.embedding.params[0]), lengths)
        if len(t) != N:
            raise ValueError(f"t has a batch of {len(t)}; expected {N}, the batch of hs_enc")
        last = None
        if states is None and self.starts_from_hs:
            last = last_steps(source_lengths, N, T1)
            states = [(hs_enc[last], None)]
        self._begin_step()
        self._start(states, N)
        scores = self._scores(self._attended(t, hs_enc, lengths, source_lengths), lengths)
        self._last_steps, self._shape = last, hs_enc.shape
        self._end_step()
        return scores

    def _start(self, states: Sequence[State] | None, N: int) -> None:
        """Lets the LSTM start from what the bridge makes of the encoder's last states."""
        if self.bridge.kind != "zeros":
            states = self._checked_states(states, N)
        for each, (h, c) in zip(self.lstm.lstms, self.bridge.forward(states or []), strict=True):
            if h is None:
                each.reset_state()
            else:
                each.set_state(h, c)

    def _checked_states(self, states: Sequence[Any] | None, N: int) -> list[State]:
        L, width, dtype = self.bridge.encoder_layers, self.state_width, self.params[0].dtype
        if states is None:
            raise ValueError(f"states is None; expected the encoder's final_states, h and c of each of {L} layers")
        return checked_states("states", states, L, (N, width), dtype, may_lack="c" if self.bridge.kind == "last" else "")

    def _attended(self, t: Array, hs_enc: Array, lengths: Array | None, source_lengths: Array | None) -> Array:
        """What the scores are made of, (N, T2, K)."""
        if isinstance(self.lstm, InputFeedingLSTM):
            return self._read(t, lengths, hs_enc=hs_enc, source_lengths=source_lengths)
        hs = self._read(t, lengths)
        if self.attention is not None:
            hs = self.attention.forward(hs_enc, hs, source_lengths=source_lengths, target_lengths=lengths)  # (N, T2, E + H)
        return hs if self.attentional is None else self.attentional.forward(hs, lengths=lengths)

    def backward(self, dscores: ArrayLike) -> Array:
        """dscores (N, T2, V) -> dhs_enc (N, T1, E). Once for each forward.

        If states were given, ``dstates`` holds their gradients afterwards.
        """
        if self._shape is None:
            raise RuntimeError("Decoder.backward was called before Decoder.forward")
        d = self._scores_backward(dscores)
        del dscores  # the memory of what is used up is taken for the gradients of the states
        dhs_enc = self._attended_backward(d)
        if dhs_enc is None:
            dhs_enc = np.zeros(self._shape, self.params[0].dtype)
        dstates = self.bridge.backward([(each.dh, each.dc) for each in self.lstm.lstms])
        self.dstates = dstates if self._last_steps is None else None
        if self._last_steps is not None:
            dhs_enc[self._last_steps] += dstates[0][0]
        if isinstance(self.affine, TiedAffine):
            self.affine.add_gradient()
        return dhs_enc

    def _attended_backward(self, d: Array) -> Array | None:
        """d (N, T2, K) -> dhs_enc (N, T1, E); None without attention."""
        if isinstance(self.lstm, InputFeedingLSTM):
            return self._read_backward(d)
        dhs_enc = None
        if self.attentional is not None:
            d = self.attentional.backward(d)
            self.attentional._use_up()
        if self.attention is not None:
            dhs_enc, d = self.attention.backward(d)
            self.attention._use_up()
        self._read_backward(d)
        return dhs_enc

    def _scores(self, out: Array, lengths: Array | None) -> Array:
        """out (N, T2, K) -> (N, T2, V)."""
        out = self.output_dropout.forward(out)
        if self.projection is not None:
            out = self.projection.forward(out, lengths=lengths)
        return self.affine.forward(out, lengths=lengths)

    def _scores_backward(self, dscores: ArrayLike) -> Array:
        d = self.affine.backward(dscores)
        self.affine._use_up()
        if self.projection is not None:
            d = self.projection.backward(d)
            self.projection._use_up()
        return self.output_dropout.backward(d)


def _attention(config: ModelConfig, weights: Weights) -> Attention | None:
    if config.attention is None:
        return None
    name = "decoder.attention"
    given = dict(zip(("W", "W_query", "v"), weights[name])) if name in weights else {}
    return Attention(config.attention, join=True, **given)
