"""Real pairs in PyTorch.

Sequences are packed, so that embeddings, LSTMs, dropout and everything after attention see real tokens alone; only attention
itself works on padded arrays, with a mask.

What was tried on spelling to sound (one thread, batches of 128): everything after attention for padding, too, with
ignore_index, takes 1 to 5 % longer. A decoder's LSTM that goes over padding takes a twentieth less of a whole step: batches of
like lengths have little of it, and unpacked sequences go to oneDNN (`Padded`). torch.compile takes half a minute for its first
step, and gains nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from benchmarks.models import Model
from benchmarks.peers import in_torch
from benchmarks.peers.in_torch import Bridge, State, load_linear, load_lstm, load_weight, make_lstms, norm_before_clipping
from benchmarks.peers.peer import Outcome, Weights
from benchmarks.shapes import Shape
from fastattn.models import ModelConfig

from .peer import CorpusPeer, CorpusTask, Found, Pairs

Sequences = Any  # a PackedSequence, or padded, a Tensor (N, T, D)

DONE_SHARE = 0.125  # of a batch's sources: when so many are done, the search goes on without them


def check_config(config: ModelConfig) -> None:
    """NotImplementedError for an option that is not written here."""
    known = {
        "project_encoder": (False,),
        "attention": ("dot", "general"),
        "input_feeding": (False,),
        "bridge": ("affine",),
        "recurrent_dropout": (0.0,),
        "word_dropout": (0.0,),
        "tie_embeddings": (False,),
        "share_embeddings": (False,),
        "dtype": ("float32",),
    }
    for name, choices in known.items():
        if (given := getattr(config, name)) not in choices:
            raise NotImplementedError(f"{name} is {given!r}; this model has {' or '.join(map(repr, choices))}")


def _packed(ids: Tensor, lengths: Tensor) -> PackedSequence:
    """ids (N, T) -> the real ones."""
    return pack_padded_sequence(ids, lengths, batch_first=True, enforce_sorted=False)


def _of_each(function: Callable[..., Tensor], *sequences: Sequences) -> Sequences:
    """A function of the numbers at each position."""
    first = sequences[0]
    if isinstance(first, PackedSequence):
        return first._replace(data=function(*(each.data for each in sequences)))
    return function(*sequences)


def _through(
    lstms: Any, xs: Sequences, first: list[State] | None, residual: bool, dropout: nn.Module
) -> tuple[Sequences, list[State]]:
    """Layer after layer -> what the last gives, and the state that each ends in."""
    states = []
    for layer, lstm in enumerate(lstms):
        if layer:
            xs = _of_each(dropout, xs)
        hs, state = lstm(xs, None if first is None else first[layer])
        xs = _of_each(torch.add, hs, xs) if residual and layer else hs
        states.append(state)
    return xs, states


class Encoder(in_torch.Encoder):
    """x (N, T1) and lengths -> hs_enc (N, T1, E), the last state of each layer."""

    def __init__(self, config: ModelConfig) -> None:
        assert config.encoder_hidden is not None
        shape = Shape(1, 1, 2, config.source_vocabulary, config.embedding, config.encoder_hidden)
        super().__init__(shape, Model(config.encoder_layers, bidirectional=config.bidirectional, residual=config.residual))
        self.dropouts = nn.ModuleList(map(nn.Dropout, config.ratios[:3]))  # of the embedding, between layers, of what is given

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, list[State]]:  # type: ignore[override]
        of_embedding, between, of_states = self.dropouts
        xs = _of_each(lambda ids: of_embedding(self.embedding(ids)), _packed(x, lengths))
        hs, states = _through(self.lstms, xs, None, self.residual, between)
        hs_enc, _ = pad_packed_sequence(_of_each(of_states, hs), batch_first=True)
        return hs_enc, states


class Source(NamedTuple):
    """What attention reads of n samples. values: hs_enc, or what of it goes into the attentional state."""

    keys: Tensor  # (n, H, T1)
    values: Tensor  # (n, T1, E or K)
    padding: Tensor  # (n, 1, T1), minus infinity there, else zero

    def of(self, samples: Tensor) -> "Source":
        return Source(*(part.index_select(0, samples) for part in self))


class Decoder(nn.Module):
    """From the encoder's states and the decoder's first to the loss, or step by step to scores."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.target_vocabulary is not None
        V, D, H, E = config.target_vocabulary, config.embedding, config.hidden, config.encoder_width
        self.embedding = nn.Embedding(V, D)
        self.lstms = make_lstms(D, H, H, config.decoder_layers)
        self.general = nn.Linear(E, H, bias=False) if config.attention == "general" else None
        K = config.attentional_size
        self.attentional = None if K is None else nn.Linear(E + H, K, bias=False)
        self.affine = nn.Linear(E + H if K is None else K, V)
        self.residual, self.label_smoothing, self.source_width = config.residual, config.label_smoothing, E
        ratios = config.ratios
        self.dropouts = nn.ModuleList(map(nn.Dropout, (ratios.embedding, ratios.layers, ratios.output)))
        self.packs = True
        self.readout = self._readout

    def forward(self, hs_enc: Tensor, states: list[State], source_lengths: Tensor, t: Tensor, lengths: Tensor) -> Tensor:
        of_embedding, between, _ = self.dropouts
        ids = _packed(t[:, :-1], lengths) if self.packs else t[:, :-1]
        xs = _of_each(lambda ids: of_embedding(self.embedding(ids)), ids)
        hs, _ = _through(self.lstms, xs, states, self.residual, between)
        if self.packs:
            hs, _ = pad_packed_sequence(hs, batch_first=True)
        return self.readout(hs_enc, hs, _is_padding(source_lengths), ~_is_padding(lengths), t[:, 1:])

    def _readout(self, hs_enc: Tensor, hs: Tensor, padding: Tensor, real: Tensor, targets: Tensor) -> Tensor:
        """hs_enc (N, T1, E), hs (N, T2 - 1, H), targets (N, T2 - 1) -> the mean loss of a real target."""
        scores = (hs @ self._keys(hs_enc)).masked_fill(padding[:, None], -torch.inf)  # (N, T2 - 1, T1)
        context = torch.softmax(scores, dim=2) @ hs_enc
        out = torch.cat((context, hs), dim=2)[real]  # (real, E + H)
        if self.attentional is not None:
            out = torch.tanh(self.attentional(out))
        scores = self.affine(self.dropouts[2](out))
        return functional.cross_entropy(scores, targets[real], label_smoothing=self.label_smoothing if self.training else 0.0)

    def _keys(self, hs_enc: Tensor) -> Tensor:
        return (hs_enc if self.general is None else self.general(hs_enc)).transpose(1, 2)  # (N, H, T1)

    def source(self, hs_enc: Tensor, lengths: Tensor) -> Source:
        """The context's part of the attentional state is a product of the values: it is made once for each source."""
        values = hs_enc
        if self.attentional is not None:
            values = functional.linear(hs_enc, self.attentional.weight[:, : self.source_width])
        padding = torch.zeros(hs_enc.shape[:2]).masked_fill_(_is_padding(lengths), -torch.inf)
        return Source(self._keys(hs_enc).contiguous(), values.contiguous(), padding[:, None])

    def step(self, tokens: Tensor, states: list[State], source: Source) -> tuple[Tensor, list[State]]:
        """tokens (nK,), those of a source next to each other -> scores (nK, V), the states (nK, H) after them."""
        xs, after = self.embedding(tokens), []
        for layer, lstm in enumerate(self.lstms):
            # For one step this takes half the time of nn.LSTM.
            h, c = torch.lstm_cell(xs, states[layer], *lstm.all_weights[0])
            after.append((h, c))
            xs = h + xs if self.residual and layer else h
        n = len(source.keys)
        rows = xs.view(n, -1, xs.shape[1])  # (n, K, H)
        weights = torch.softmax(torch.baddbmm(source.padding, rows, source.keys), dim=2)
        context = torch.bmm(weights, source.values).flatten(0, 1)
        if self.attentional is None:
            out = torch.cat((context, xs), dim=1)
        else:
            out = torch.addmm(context, xs, self.attentional.weight[:, self.source_width :].T).tanh_()
        return self.affine(out), after

    def load(self, weights: Weights) -> None:
        load_weight(self.embedding.weight, weights["decoder.embedding.W"])
        for layer, lstm in enumerate(self.lstms):
            load_lstm(lstm, weights, f"decoder.lstm.{layer}")
        for linear, name in ((self.general, "attention"), (self.attentional, "attentional"), (self.affine, "affine")):
            if linear is not None:
                load_linear(linear, weights, f"decoder.{name}")


def _is_padding(lengths: Tensor) -> Tensor:
    """lengths (N,) -> (N, the longest)."""
    return torch.arange(int(lengths.max())) >= lengths[:, None]


class Seq2seq(nn.Module):
    """A batch of pairs -> the mean loss of a real target token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        check_config(config)
        self.encoder = Encoder(config)
        self.bridge: Any = Bridge(config.encoder_states, config.hidden, config.decoder_layers)
        self.decoder = Decoder(config)

    def forward(self, x: Tensor, source_lengths: Tensor, t: Tensor, target_lengths: Tensor) -> Tensor:
        hs_enc, states = self.encoder(x, source_lengths)
        return self.decoder(hs_enc, self.bridge(states), source_lengths, t, target_lengths - 1)

    @torch.no_grad()
    def load(self, weights: Weights) -> None:
        for part in (self.encoder, self.bridge, self.decoder):
            part.load(weights)


class Eager(CorpusPeer):
    """As it stands."""

    def __init__(self, task: CorpusTask) -> None:
        super().__init__(task)
        torch.set_num_threads(task.threads)
        torch.manual_seed(task.recipe.seed)  # dropout's
        self.model = Seq2seq(task.config)
        self.model.load(task.weights)
        self.params = [param for param in self.model.parameters() if param.requires_grad]
        self.optimizer = torch.optim.Adam(self.params, task.recipe.learning_rate, fused=True)
        self.model.train(task.kind == "train")

    def train_epoch(self, drawn: Pairs) -> Outcome:
        max_grad = self.task.recipe.max_grad
        total, targets = 0.0, 0
        for batch in self.epoch(drawn):
            self.optimizer.zero_grad()
            loss = self.model(*map(torch.from_numpy, batch))
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.params, max_grad, foreach=True)
            self.optimizer.step()
            count = int(batch.target_lengths.sum()) - len(batch.x)
            total, targets = total + loss.item() * count, targets + count
        return lambda: [total / targets, norm_before_clipping(self.params, norm.item(), max_grad)]

    def search(self, x: np.ndarray, lengths: np.ndarray, beam: int) -> Found:
        with torch.inference_mode():
            source_lengths = torch.from_numpy(lengths)
            hs_enc, states = self.model.encoder(torch.from_numpy(x), source_lengths)
            first = [(h[0], c[0]) for h, c in self.model.bridge(states)]
            source = self.model.decoder.source(hs_enc, source_lengths)
            if beam == 1:
                ids = self._greedy(source, first)
                return Found(ids.numpy(), np.zeros(len(ids)))
            ids, scores = self._beam(source, first, beam)
            return Found(ids.numpy(), scores.numpy())

    def _greedy(self, source: Source, states: list[State]) -> Tensor:
        recipe, N = self.task.recipe, len(source.keys)
        ids = torch.full((N, recipe.sample_size), recipe.end_id)
        running, tokens = torch.arange(N), torch.full((N,), recipe.start_id)
        for step in range(recipe.sample_size):
            scores, states = self.model.decoder.step(tokens, states, source)
            tokens = scores.argmax(dim=1)
            # A source that is done may still be among them: what it says after its end is overwritten below.
            ids[running, step] = tokens
            done = (ids[running, : step + 1] == recipe.end_id).any(dim=1)
            count = int(done.sum())
            if count == len(running):
                break
            if count > DONE_SHARE * len(running):
                go_on = (~done).nonzero()[:, 0]
                running, tokens, source = running[go_on], tokens[go_on], source.of(go_on)
                states = [(h[go_on], c[go_on]) for h, c in states]
        ended = (ids == recipe.end_id).cumsum(dim=1) > 0
        return ids.masked_fill_(ended, recipe.end_id)

    def _beam(self, source: Source, states: list[State], K: int) -> tuple[Tensor, Tensor]:
        """Of all hypotheses of the batch at once, K rows a source, whether they are open or not."""
        recipe, N = self.task.recipe, len(source.keys)
        S, V = recipe.sample_size, self.model.decoder.embedding.num_embeddings
        best_ids, best = torch.full((N, S), recipe.end_id), torch.full((N,), -torch.inf)
        running = torch.arange(N)
        states = [(h.repeat_interleave(K, 0), c.repeat_interleave(K, 0)) for h, c in states]
        tokens, prefixes = torch.full((N * K,), recipe.start_id), torch.empty((N * K, S), dtype=torch.int64)
        totals = torch.full((N, K), -torch.inf)
        totals[:, 0] = 0.0
        highest = _penalty(S, recipe.length_penalty)
        for step in range(S):
            scores, states = self.model.decoder.step(tokens, states, source)
            n = len(running)
            log_p = torch.log_softmax(scores, dim=1).view(n, K, V)
            totals, places = (totals[:, :, None] + log_p).flatten(1).topk(K, dim=1)  # (n, K)
            parents, said = places // V, places % V
            rows = (parents + torch.arange(n)[:, None] * K).flatten()
            tokens, prefixes = said.flatten(), prefixes[rows]
            prefixes[:, step] = tokens
            states = [(h[rows], c[rows]) for h, c in states]
            ends = said == recipe.end_id if step + 1 < S else torch.ones_like(said, dtype=torch.bool)
            # The candidates are in falling order: of those that end here the first is the best.
            ended = totals.masked_fill(~ends, -torch.inf).div_(_penalty(step + 1, recipe.length_penalty))
            score, place = ended.max(dim=1)
            better = (score > best[running]).nonzero()[:, 0]
            of_better = running[better]
            best[of_better] = score[better]
            best_ids[of_better, : step + 1] = prefixes[better * K + place[better], : step + 1]
            best_ids[of_better, step + 1 :] = recipe.end_id
            totals.masked_fill_(ends, -torch.inf)
            wins = totals.max(dim=1).values / highest > best[running]  # whether an open one still can
            count = n - int(wins.sum())
            if count == n:
                break
            if count > DONE_SHARE * n:
                go_on = wins.nonzero()[:, 0]
                rows = (go_on[:, None] * K + torch.arange(K)).flatten()
                running, totals, source = running[go_on], totals[go_on], source.of(go_on)
                tokens, prefixes = tokens[rows], prefixes[rows]
                states = [(h[rows], c[rows]) for h, c in states]
        return best_ids, best


def _penalty(length: int, alpha: float) -> float:
    """As `fastattn.models.beam.length_penalty`."""
    return ((5 + length) / 6) ** alpha


class Padded(Eager):
    """With a decoder's LSTM that goes over padding; everything else does without."""

    def __init__(self, task: CorpusTask) -> None:
        super().__init__(task)
        self.model.decoder.packs = False


class Compile(Eager):
    """With torch.compile for all that comes after the LSTMs, which it cannot compile, for any sizes."""

    def __init__(self, task: CorpusTask) -> None:
        super().__init__(task)
        decoder = self.model.decoder
        decoder.readout = torch.compile(decoder._readout, dynamic=True)
