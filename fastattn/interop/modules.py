"""The family of models as PyTorch modules of standard parts: nn.Embedding, nn.LSTM, nn.Linear, nn.Dropout.

The formulas stand in docs/models.md, the letters of the shapes in docs/architecture.md.

nn.LSTM adds up two biases. The second is zero and is not trained: with both trained, a step of gradient descent would move
their sum twice as far as fastattn moves its one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from fastattn.models import ModelConfig

State = tuple[Tensor, Tensor]  # h and c of a layer, (N, H), or (N, 2H) of two directions side by side

IGNORED = -100  # where cross_entropy has no target


def is_padding(lengths: Tensor, T: int) -> Tensor:
    """lengths (N,) -> (N, T)."""
    return torch.arange(T, device=lengths.device) >= lengths[:, None]


class LSTMLayer(nn.LSTM):
    """An nn.LSTM of one layer, batch first, with what fastattn's has besides: lengths, and recurrent dropout.

    It has the parameters of nn.LSTM under the same names. The second bias is zero, and stays so.
    """

    def __init__(self, D: int, H: int, bidirectional: bool, recurrent_dropout: float) -> None:
        super().__init__(D, H, batch_first=True, bidirectional=bidirectional)
        self.recurrent_dropout = nn.Dropout(recurrent_dropout)
        for name, param in self.named_parameters():
            if name.startswith("bias_hh"):
                nn.init.zeros_(param).requires_grad_(False)

    @property
    def drops(self) -> bool:
        """Whether recurrent dropout drops anything now."""
        return self.recurrent_dropout.training and self.recurrent_dropout.p > 0

    def mask(self, h: Tensor) -> Tensor | None:
        """By which h (N, H) is multiplied before every step of a sequence; None while nothing is dropped."""
        return self.recurrent_dropout(torch.ones_like(h)) if self.drops else None

    def cell(self, x: Tensor, state: State, mask: Tensor | None, weights: Sequence[Tensor]) -> State:
        """A step of one direction: x (N, D), the state before it -> the state after it."""
        h, c = state
        return torch.lstm_cell(x, (h if mask is None else h * mask, c), *weights)

    def read(self, xs: Tensor, state: State | None, lengths: Tensor | None) -> tuple[Tensor, State]:
        """xs (N, T, D) -> hs (N, T, GH), zeros at padding, and the state after each sample's last real step, (N, GH).

        state: what a layer of one direction starts from; None for zeros.
        """
        if self.drops:
            return self._read_stepwise(xs, state, lengths)
        first = None if state is None else (state[0][None], state[1][None])
        if lengths is None:
            hs, last = self(xs, first)
        else:
            packed = pack_padded_sequence(xs, lengths.cpu(), batch_first=True, enforce_sorted=False)
            packed, last = self(packed, first)
            hs, _ = pad_packed_sequence(packed, batch_first=True, total_length=xs.shape[1])
        h, c = (s.transpose(0, 1).flatten(1) for s in last)
        return hs, (h, c)

    def _read_stepwise(self, xs: Tensor, state: State | None, lengths: Tensor | None) -> tuple[Tensor, State]:
        """The same with recurrent dropout, which nn.LSTM does not have: one mask for all steps, (N, H)."""
        N, T, _ = xs.shape
        real = None if lengths is None else ~is_padding(lengths, T)[:, :, None]  # (N, T, 1)
        outs, ends = [], []
        for direction, weights in enumerate(self.all_weights):
            zeros = xs.new_zeros(N, self.hidden_size)
            h, c = (zeros, zeros) if state is None else state
            mask = self.mask(h)
            hs = [zeros] * T
            # Backwards a sample comes to its real steps with the state that it began with.
            for step in reversed(range(T)) if direction else range(T):
                next_h, next_c = self.cell(xs[:, step], (h, c), mask, weights)
                if real is None:
                    hs[step], h, c = next_h, next_h, next_c
                else:
                    here = real[:, step]
                    hs[step] = torch.where(here, next_h, zeros)
                    h, c = torch.where(here, next_h, h), torch.where(here, next_c, c)
            outs.append(torch.stack(hs, dim=1))
            ends.append((h, c))
        h, c = (torch.cat(s, dim=1) for s in zip(*ends))
        return torch.cat(outs, dim=2), (h, c)


class Reader(nn.Module):
    """What the encoder and the decoder begin with: an embedding, what is dropped of its vectors, and LSTMs."""

    lstm: Sequence[LSTMLayer]

    def __init__(self, config: ModelConfig, V: int, first_width: int, width: int, H: int, layers: int, both: bool) -> None:
        """first_width: of what the first layer reads; width: of what the others read; both: whether in both directions."""
        super().__init__()
        ratios = config.ratios
        self.embedding = nn.Embedding(V, config.embedding)
        self.word_dropout = nn.Dropout1d(config.word_dropout)
        self.embedding_dropout = nn.Dropout(ratios.embedding)
        widths = [first_width] + [width] * (layers - 1)
        lstms: Any = nn.ModuleList(LSTMLayer(D, H, both, config.recurrent_dropout) for D in widths)
        self.lstm = lstms
        self.layer_dropout = nn.Dropout(ratios.layers)
        self.residual = config.residual

    def embed(self, ids: Tensor, lengths: Tensor | None) -> Tensor:
        """ids (N, T) -> (N, T, D). At padding any integer may stand."""
        if lengths is not None:
            ids = ids.masked_fill(is_padding(lengths, ids.shape[1]), 0)
        return self.embedding_dropout(self.word_dropout(self.embedding(ids)))

    def through(self, xs: Tensor, first: Sequence[State] | None, lengths: Tensor | None = None) -> tuple[Tensor, list[State]]:
        """xs (N, T, D) -> what the last layer gives, and the state that each ends in. first: that each starts from."""
        states = []
        for layer, lstm in enumerate(self.lstm):
            if layer:
                xs = self.layer_dropout(xs)
            hs, state = lstm.read(xs, None if first is None else first[layer], lengths)
            xs = hs + xs if self.residual and layer else hs
            states.append(state)
        return xs, states


class Encoder(Reader):
    """x (N, T1) -> hs_enc (N, T1, E), and h and c (N, E0) of each layer after each sample's last real step."""

    def __init__(self, config: ModelConfig) -> None:
        V, _, D, H = config.sizes
        E0 = config.encoder_states
        super().__init__(config, V, D, E0, E0 // config.directions, config.encoder_layers, config.bidirectional)
        self.projection = nn.Linear(E0, H) if config.project_encoder else None
        self.output_dropout = nn.Dropout(config.ratios.encoder)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, list[State]]:
        hs, states = self.through(self.embed(x, lengths), None, lengths)
        if self.projection is not None:
            hs = self.projection(hs)
            if lengths is not None:
                hs = hs.masked_fill(is_padding(lengths, hs.shape[1])[:, :, None], 0)
        return self.output_dropout(hs), states


class Bridge(nn.ModuleList):
    """From the last states of the encoder's layers to the first of the decoder's. Its layers have maps of h and c, or none."""

    def __init__(self, config: ModelConfig) -> None:
        E0, H = config.encoder_states, config.hidden
        layers = range(config.decoder_layers)
        maps = [nn.ModuleDict({state: nn.Linear(E0, H) for state in "hc"}) for _ in layers if config.bridge == "affine"]
        super().__init__(maps)
        self.kind, self.hidden = config.bridge, H
        self.sources = [min(layer, config.encoder_layers - 1) for layer in layers]

    def forward(self, states: Sequence[State]) -> list[State]:
        given = [states[source] for source in self.sources]
        if self.kind == "affine":
            pairs = zip(list[Any](self), given, strict=True)
            return [(torch.tanh(maps["h"](h)), torch.tanh(maps["c"](c))) for maps, (h, c) in pairs]
        if self.kind == "zeros":
            zeros = given[0][0].new_zeros(len(given[0][0]), self.hidden)
            return [(zeros, zeros) for _ in given]
        return [(h, c if self.kind == "last_state" else torch.zeros_like(h)) for h, c in given]


class Source(NamedTuple):
    """What attention reads."""

    keys: Tensor  # (N, T1, A)
    values: Tensor  # (N, T1, E)
    padding: Tensor | None  # (N, 1, T1)


class Attention(nn.Module):
    """How much each target state attends to each source state."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        E, H, self.kind = config.encoder_width, config.hidden, config.attention
        A = config.attention_size if self.kind == "additive" else H
        assert A is not None
        self.keys = nn.Linear(E, A, bias=False) if self.kind in ("general", "additive") else None
        self.queries = nn.Linear(H, A, bias=False) if self.kind == "additive" else None
        self.energy = nn.Linear(A, 1, bias=False) if self.kind == "additive" else None
        self.scale = H**-0.5 if self.kind == "scaled_dot" else 1.0

    def source(self, hs_enc: Tensor, lengths: Tensor | None) -> Source:
        """What is made once of a source, for all target steps."""
        padding = None if lengths is None else is_padding(lengths, hs_enc.shape[1])[:, None]
        return Source(hs_enc if self.keys is None else self.keys(hs_enc), hs_enc, padding)

    def forward(self, hs: Tensor, source: Source) -> tuple[Tensor, Tensor]:
        """hs (N, U, H) -> [context; state] (N, U, E + H), weights (N, U, T1)."""
        if self.queries is None or self.energy is None:
            scores = hs @ source.keys.transpose(1, 2) * self.scale  # (N, U, T1)
        else:
            sums = source.keys[:, None] + self.queries(hs)[:, :, None]  # (N, U, T1, A)
            scores = self.energy(torch.tanh(sums)).squeeze(3)
        if source.padding is not None:
            scores = scores.masked_fill(source.padding, -torch.inf)
        weights = torch.softmax(scores, dim=2)
        return torch.cat((weights @ source.values, hs), dim=2), weights


class Memory(NamedTuple):
    """What the decoder knows between two steps."""

    states: list[State]
    fed: Tensor | None  # h~ of the step before, (N, K), where it is fed


class Decoder(Reader):
    """From the encoder's states and target tokens to the scores of the next ones."""

    def __init__(self, config: ModelConfig, encoder: Encoder) -> None:
        _, V, D, H = config.sizes
        K = config.decoder_width
        fed = K if config.input_feeding else 0
        super().__init__(config, V, D + fed, H, H, config.decoder_layers, False)
        self.input_feeding = config.input_feeding
        if config.share_embeddings:
            self.embedding = encoder.embedding
        self.bridge = Bridge(config)
        self.attention = None if config.attention is None else Attention(config)
        self.attentional = None if config.attentional_size is None else nn.Linear(config.joined_width, K, bias=False)
        self.output_dropout = nn.Dropout(config.ratios.output)
        self.projection = nn.Linear(K, D, bias=False) if config.projects_to_embedding else None
        self.affine = nn.Linear(D if config.tie_embeddings else K, V)
        if config.tie_embeddings:
            self.affine.weight = self.embedding.weight

    def start(self, hs_enc: Tensor, states: Sequence[State], lengths: Tensor | None = None) -> tuple[Source | None, Memory]:
        """What the encoder gave, and the lengths of the source -> what all steps read, and what the first begins with."""
        source = None if self.attention is None else self.attention.source(hs_enc, lengths)
        fed = None
        if self.input_feeding:
            assert self.attentional is not None
            fed = hs_enc.new_zeros(len(hs_enc), self.attentional.out_features)
        return source, Memory(self.bridge(states), fed)

    def forward(
        self, t: Tensor, source: Source | None, memory: Memory, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Memory]:
        """t (N, U) -> scores (N, U, V) of the next tokens, weights (N, U, T1), and what is known after it.

        The weights are None without attention.
        """
        xs = self.embed(t, lengths)
        if memory.fed is None:
            hs, states = self.through(xs, memory.states)
            out, weights = self._attended(hs, source)
            memory = Memory(states, None)
        else:
            assert source is not None
            out, weights, memory = self._feeding(xs, source, memory)
        out = self.output_dropout(out)
        return self.affine(out if self.projection is None else self.projection(out)), weights, memory

    def _attended(self, hs: Tensor, source: Source | None) -> tuple[Tensor, Tensor | None]:
        """hs (N, U, H) -> what the scores are made of (N, U, K), and the weights."""
        weights = None
        if self.attention is not None and source is not None:
            hs, weights = self.attention(hs, source)
        return hs if self.attentional is None else torch.tanh(self.attentional(hs)), weights

    def _feeding(self, xs: Tensor, source: Source, memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        """The same of vectors (N, U, D), step by step, for h~ of a step is read by the next."""
        states, fed = memory
        assert fed is not None
        masks = [lstm.mask(h) for lstm, (h, _) in zip(self.lstm, states, strict=True)]
        outs, weights = [], []
        for x in xs.unbind(dim=1):
            read, after = torch.cat((x, fed), dim=1), []
            for layer, (lstm, state, mask) in enumerate(zip(self.lstm, states, masks, strict=True)):
                if layer:
                    read = self.layer_dropout(read)
                h, c = lstm.cell(read, state, mask, lstm.all_weights[0])
                read = h + read if self.residual and layer else h
                after.append((h, c))
            out, a = self._attended(read[:, None], source)
            assert a is not None
            states, fed = after, out[:, 0]
            outs.append(out)
            weights.append(a)
        return torch.cat(outs, dim=1), torch.cat(weights, dim=1), Memory(states, fed)


class Seq2seq(nn.Module):
    """A member of the family, of which ``config`` has the choices, with first weights as PyTorch draws them.

    ``train()`` and ``eval()`` switch dropout and label smoothing, as they do for `fastattn.AttentionSeq2seq`. What is dropped
    is drawn by PyTorch, so no mask is one of fastattn's.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config, self.encoder)
        self.to(getattr(torch, str(config.dtype)))

    def forward(
        self, x: Tensor, t: Tensor, *, source_lengths: Tensor | None = None, target_lengths: Tensor | None = None
    ) -> Tensor:
        """x (N, T1), t (N, T2), token ids -> scores (N, T2 - 1, V2) of t[:, 1:], zeros at padding.

        t begins with the start symbol, which target_lengths count.
        """
        lengths = None if target_lengths is None else target_lengths - 1
        hs_enc, states = self.encoder(x, source_lengths)
        scores, _, _ = self.decoder(t[:, :-1], *self.decoder.start(hs_enc, states, source_lengths), lengths)
        return scores if lengths is None else scores.masked_fill(is_padding(lengths, scores.shape[1])[:, :, None], 0)

    def loss(
        self, x: Tensor, t: Tensor, *, source_lengths: Tensor | None = None, target_lengths: Tensor | None = None
    ) -> Tensor:
        """The mean loss of a real target token, as `fastattn.AttentionSeq2seq.forward` gives it."""
        scores = self(x, t, source_lengths=source_lengths, target_lengths=target_lengths)
        targets = t[:, 1:]
        if target_lengths is not None:
            targets = targets.masked_fill(is_padding(target_lengths - 1, targets.shape[1]), IGNORED)
        smoothing = self.config.label_smoothing if self.training else 0.0
        return functional.cross_entropy(
            scores.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, label_smoothing=smoothing
        )

    @torch.no_grad()
    def generate(
        self,
        x: Tensor,
        start_id: int,
        sample_size: int,
        *,
        end_id: int | None = None,
        lengths: Tensor | None = None,
        forbidden: Sequence[int] = (),
    ) -> Tensor:
        """x (N, T1) -> ids (N, sample_size): the best token at each step, as `fastattn.AttentionSeq2seq.generate` finds it."""
        training = self.training
        self.eval()
        try:
            hs_enc, states = self.encoder(x, lengths)
            source, memory = self.decoder.start(hs_enc, states, lengths)
            tokens = x.new_full((len(x), 1), start_id)
            ended, ids = torch.zeros_like(tokens, dtype=torch.bool), []
            for _ in range(sample_size):
                scores, _, memory = self.decoder(tokens, source, memory)
                scores[:, :, list(forbidden)] = -torch.inf
                tokens = scores.argmax(dim=2)
                if end_id is not None:
                    tokens = tokens.masked_fill(ended, end_id)
                    ended = tokens == end_id
                ids.append(tokens)
            return torch.cat(ids, dim=1)
        finally:
            self.train(training)
