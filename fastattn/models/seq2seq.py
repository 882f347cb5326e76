"""The whole model: encoder, attentive decoder, loss."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from html import escape
from math import prod
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastattn.layers import SoftmaxCrossEntropy, checks
from fastattn.layers.as_one import RunsAsOne
from fastattn.layers.checks import Array

from .as_one import Seq2seqAsOne
from .base import Model
from .config import ModelConfig
from .decoder import Decoder
from .encoder import Encoder
from .initial import Weights
from .parts import model_parts, tensor_shapes
from .searching import Searching


class AttentionSeq2seq(RunsAsOne, Searching, Model):
    """A sequence to a sequence, by an LSTM encoder and an LSTM decoder with attention.

    After Sutskever, Vinyals and Le 2014 (encoder and decoder), with the global dot-product attention of Luong, Pham and
    Manning 2015, section 3.1; the options make of it a family, of which docs/models.md has the formulas.

    V tokens, on both sides unless ``target_vocabulary`` says how many the target has; vectors of width D; states of
    width H. dtype: float32 or float64. seed: a whole number or a Generator, for the weights and for dropout (None: from
    the system).

    - encoder_layers, decoder_layers; bidirectional: the encoder's layers read in both directions; encoder_hidden: the width of
      the states of one direction (None: H); project_encoder: an affine map of the encoder's states to width H; residual: from
      the second layer on, what a layer reads is added to what it gives.
    - attention: "dot", "scaled_dot", "general", "additive" (attention_size: its width, None: H), or None. attentional_size: the
      width of h~ = tanh([context; state] W), of which the scores are made (None: of context and state); input_feeding: the
      decoder's next step reads it.
    - bridge: what the decoder starts from: "last", "last_state", "affine", "zeros" (`Bridge`).
    - dropout: the ratio dropped while training from embedded tokens, between layers and before the scores; or ratios by place,
      "embedding", "layers", "encoder" (the states that attention reads), "output". recurrent_dropout: from the state that an
      LSTM reads, the same at every step. word_dropout: the part of the tokens whose vectors are dropped whole.
    - tie_embeddings: the scores are made by the target's embedding; share_embeddings: source and target have one embedding.
    - label_smoothing: the part of the target's probability that is spread over all tokens while training. forget_bias: the
      first bias of the forget gates; orthogonal: the first Wh is orthogonal gate by gate.

    TypeError or ValueError for what cannot be, or cannot be combined.
    """

    def __init__(
        self,
        V: int,
        D: int,
        H: int,
        *,
        target_vocabulary: int | None = None,
        dtype: DTypeLike = "float32",
        seed: int | np.random.Generator | None = None,
        dropout: float | Mapping[str, float] = 0.0,
        encoder_layers: int = 1,
        decoder_layers: int = 1,
        bidirectional: bool = False,
        encoder_hidden: int | None = None,
        project_encoder: bool = False,
        residual: bool = False,
        attention: str | None = "dot",
        attention_size: int | None = None,
        attentional_size: int | None = None,
        input_feeding: bool = False,
        bridge: str = "last",
        recurrent_dropout: float = 0.0,
        word_dropout: float = 0.0,
        tie_embeddings: bool = False,
        share_embeddings: bool = False,
        label_smoothing: float = 0.0,
        forget_bias: float = 1.0,
        orthogonal: bool = False,
    ) -> None:
        config = ModelConfig(
            checks.size("V", V),
            checks.size("D", D),
            checks.size("H", H),
            target_vocabulary=target_vocabulary,
            dtype=dtype,
            dropout=dropout,
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers,
            bidirectional=bidirectional,
            encoder_hidden=encoder_hidden,
            project_encoder=project_encoder,
            residual=residual,
            attention=attention,
            attention_size=attention_size,
            attentional_size=attentional_size,
            input_feeding=input_feeding,
            bridge=bridge,
            recurrent_dropout=recurrent_dropout,
            word_dropout=word_dropout,
            tie_embeddings=tie_embeddings,
            share_embeddings=share_embeddings,
            label_smoothing=label_smoothing,
            forget_bias=forget_bias,
            orthogonal=orthogonal,
        )
        generator = np.random.default_rng(seed)
        weights = Weights(model_parts(config), config, generator)
        self.config = config
        self.source_vocabulary, self.target_vocabulary, _, _ = config.sizes
        self.encoder, self.decoder = Encoder.of(config, weights), Decoder.of(config, weights)
        # Nobody else has the scores.
        self.loss = SoftmaxCrossEntropy(overwrite_scores=True, label_smoothing=config.label_smoothing)
        super().__init__(self.encoder, self.decoder, self.loss)
        self._seed_masks(config, generator)

    @classmethod
    def from_config(cls, config: ModelConfig, seed: int | np.random.Generator | None = None) -> Self:
        """The model with these choices."""
        if not isinstance(config, ModelConfig):
            raise TypeError(f"config is {type(config).__name__}; expected a ModelConfig")
        choices = {field.name: getattr(config, field.name) for field in fields(config)}
        sizes = [choices.pop(name) for name in ("source_vocabulary", "embedding", "hidden")]
        return cls(*sizes, seed=seed, **choices)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the model to a folder, a new one or one that holds a model of token ids, which is replaced.

        ``AttentionSeq2seq.load`` gives it back: its weights, all of its choices, whether it is in training, and what dropout's
        masks follow from. ModelFolderError for a folder with a model of text; OSError where a file cannot be written.
        """
        from .saved import write_ids_model  # not before it is needed: it imports safetensors

        seeds = [dropout.seed for dropout in self.dropouts]
        state = {"training": self.training, "step": self.step, "mask_seed": int(seeds[0]) if seeds else 0}
        write_ids_model(folder, self.config, self.named_params(), state)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """The model that ``save`` wrote; or that of a `Translator`, without its vocabularies and in use (``eval``).

        ModelFolderError, which names the file, for anything else.
        """
        from .saved import read_model

        config, tensors, state = read_model(folder)
        model = cls.from_config(config, seed=0)
        for param, tensor in zip(model.params, tensors, strict=True):
            param[...] = tensor
        model.step = state["step"]
        for dropout in model.dropouts:
            dropout.seed = state["mask_seed"]
        return model._set_training(state["training"])

    def __repr__(self) -> str:
        weights = sum(param.size for param in self.params)
        return f"<{type(self).__name__} of {self.config.in_words()}: {weights:,} weights>"

    def _repr_html_(self) -> str:
        """For a notebook: the layers with their shapes and numbers of weights."""
        from fastattn.data.words import html_table  # not before it is needed, as in `save`

        rows = [
            (
                part.name,
                ", ".join(f"{tensor.name} {tensor.shape}" for tensor in part.tensors),
                f"{sum(prod(tensor.shape) for tensor in part.tensors):,}",
            )
            for part in model_parts(self.config)
        ]
        total = f"{sum(param.size for param in self.params):,}"
        words = escape(f"{type(self).__name__} of {self.config.in_words()}")
        return f"<p>{words}</p>{html_table(('layer', 'shapes', 'weights'), [*rows, ('all', str(self.config.dtype), total)])}"

    def named_params(self) -> dict[str, Array]:
        """The arrays of ``params``, in their order, under names such as "encoder.lstm.0.forward.Wx"."""
        return dict(zip(tensor_shapes(self.config), self.params, strict=True))

    @property
    def attention_weight(self) -> Array | None:
        """After ``forward``, (T2 - 1, N, T1): ``attention_weight[t]`` (N, T1) holds the weights of decoder step t."""
        return self.decoder.attention_weight

    def forward(
        self,
        x: ArrayLike,
        t: ArrayLike,
        *,
        source_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
    ) -> float:
        """x (N, T1), t (N, T2), token ids -> the mean loss of a target token.

        t begins with the start symbol: the decoder is given t[:, :-1] and is to say t[:, 1:]. T2 and target_lengths
        count the start symbol, so they are at least 2. A small model runs as one kernel, and its parts then keep nothing for
        a backward of their own: call the model's.
        """
        # Nothing is kept before all of it is known to be right: a backward may follow, of the forward before this one.
        x, source_lengths = checks.ids("x", x, ("N", "T1"), self.source_vocabulary, source_lengths, "source_lengths")
        t, target_lengths = checks.ids(
            "t", t, (len(x), "T2"), self.target_vocabulary, target_lengths, "target_lengths", lowest=2
        )
        batch = x, t, source_lengths, target_lengths, (self.source_vocabulary, self.target_vocabulary)
        loss = self._run(self._whole(), self._one_after_another, *batch)
        if self._as_one is not None:
            self.encoder._as_one = self.decoder._as_one = None
        self._end_step()
        return loss

    def _one_after_another(
        self, x: Array, t: Array, source_lengths: Array | None, target_lengths: Array | None, _: tuple[int, int]
    ) -> float:
        encoder, decoder = self.encoder, self.decoder
        encoder.step = decoder.step = self.step
        encoder.first_sample = decoder.first_sample = self.first_sample
        lengths = None if target_lengths is None else target_lengths - 1
        hs_enc = encoder.forward(x, lengths=source_lengths)
        states = None if decoder.starts_from_hs else encoder.final_states
        scores = decoder.forward(t[:, :-1], hs_enc, lengths=lengths, source_lengths=source_lengths, states=states)
        return self.loss.forward(scores, t[:, 1:], lengths=lengths)

    def _whole(self) -> Seq2seqAsOne | None:
        """All layers as one; None if one is not what we made, the encoder starts from a state, or something is dropped."""
        encoder, decoder, loss = self.encoder, self.decoder, self.loss
        if not self.config.is_plain or (type(encoder), type(decoder)) != (Encoder, Decoder):
            return None
        attention = decoder.attention
        assert attention is not None
        drops = any(dropout.drops for dropout in self.dropouts) or (loss.training and loss.label_smoothing > 0)
        if drops or not attention.join or loss.ignore_label is not None:
            return None
        of_decoder = decoder.embedding, decoder.lstm, attention, decoder.affine
        return Seq2seqAsOne.of((encoder.embedding, encoder.lstm, *of_decoder, loss), name=type(self).__name__)

    def backward(self, dloss: float = 1) -> None:
        """dloss, the gradient of the loss, 1 for the loss itself. Overwrites ``grads``."""
        self._run_back(self._one_after_another_back, dloss)

    def _one_after_another_back(self, dloss: float) -> None:
        self.encoder.backward(self.decoder.backward(self.loss.backward(dloss)), self.decoder.dstates)
        self._add_up()

    def _members(self) -> Sequence[Self]:
        return [self]
