"""The models in PyTorch.

What was tried and was no faster on the named shapes: time before batch in the LSTMs, scaled_dot_product_attention, Adam
with foreach instead of fused. With torch.compile: LSTMs traced (allow_rnn) take half a minute or more to compile and are then 6
to 8 % slower than in eager mode; max-autotune, and a compiled clipping and Adam, gain nothing.

Input feeding, which no nn.LSTM can do: torch.lstm_cell with the token's product for a bias, a sigmoid for each gate, a tanh in
place, v as a sum instead of a product, and a tanh that is computed again (checkpoint; half as long again) are no faster in
eager mode. With torch.compile, a graph of a single step is no faster than eager mode; on tiny one of all ten steps takes a
quarter to a third less, one of five a fifth; on long graphs of ten take a tenth less. One of twenty takes 2.5 times as long to
compile as one of ten, so that the 400 steps of long are not tried as one. The scan of torch._higher_order_ops, a prototype,
does not compile. The products are in the order of the definition, as in JAX.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.models import Model
from benchmarks.shapes import BETA1, BETA2, EPS, LR, MAX_NORM, START_ID, Shape, make_batch

from .peer import Outcome, Peer, Task, Weights

State = tuple[Tensor, Tensor]  # h and c, each (N, H), or (directions, N, H) as nn.LSTM has them
DIRECTIONS = ("forward", "backward")


class Encoder(nn.Module):
    """x (N, T1) -> hs_enc (N, T1, E), the last state of each layer."""

    lstms: Sequence[nn.LSTM]

    def __init__(self, shape: Shape, model: Model) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.V, shape.D)
        width = shape.H * (2 if model.bidirectional else 1)
        self.lstms = make_lstms(shape.D, width, shape.H, model.encoder_layers, model.bidirectional)
        self.residual = model.residual

    def forward(self, x: Tensor) -> tuple[Tensor, list[State]]:
        xs, states = self.embedding(x), []
        for layer, lstm in enumerate(self.lstms):
            hs, state = lstm(xs)
            xs = hs + xs if self.residual and layer else hs
            states.append(state)
        return xs, states

    def load(self, weights: Weights) -> None:
        load_weight(self.embedding.weight, weights["encoder.embedding.W"])
        for layer, lstm in enumerate(self.lstms):
            load_lstm(lstm, weights, f"encoder.lstm.{layer}")


class LastState(nn.Module):
    """The decoder's first state: the h of the encoder's last one, with a c of zeros."""

    def forward(self, states: list[State]) -> list[State]:
        return [(h, torch.zeros_like(h)) for h, _ in states]

    def load(self, weights: Weights) -> None:
        pass


class Bridge(nn.Module):
    """The same as an affine map with tanh, for each layer's h and c, of the encoder's last ones in both directions.

    width: of these; H: of the decoder's states.
    """

    def __init__(self, width: int, H: int, layers: int) -> None:
        super().__init__()
        self.of_h, self.of_c = (nn.ModuleList(nn.Linear(width, H) for _ in range(layers)) for _ in range(2))

    def forward(self, states: list[State]) -> list[State]:
        def mapped(affine: nn.Module, part: Tensor) -> Tensor:
            return torch.tanh(affine(part.transpose(0, 1).flatten(1)))[None]  # (1, N, H)

        # Each layer of the decoder goes by the encoder's layer of its height, or by the top one where there is none.
        given = [states[min(layer, len(states) - 1)] for layer in range(len(self.of_h))]
        maps = zip(self.of_h, self.of_c, given, strict=True)
        return [(mapped(of_h, h), mapped(of_c, c)) for of_h, of_c, (h, c) in maps]

    def load(self, weights: Weights) -> None:
        for name, maps in (("h", self.of_h), ("c", self.of_c)):
            for layer, affine in enumerate(maps):
                load_linear(affine, weights, f"decoder.bridge.{layer}.{name}")


class Readout(nn.Module):
    """Attention and the loss: hs_enc (N, T1, E), hs (N, T2 - 1, H), targets (N, T2 - 1) -> the mean loss of a target."""

    def __init__(self, shape: Shape, model: Model) -> None:
        super().__init__()
        width = shape.H * (2 if model.bidirectional else 1)
        self.general = nn.Linear(width, shape.H, bias=False) if model.attention == "general" else None
        self.affine = nn.Linear(width + shape.H, shape.V)

    def forward(self, hs_enc: Tensor, hs: Tensor, targets: Tensor) -> Tensor:
        keys = self.keys(hs_enc)
        weights = torch.softmax(hs @ keys.transpose(1, 2), dim=2)  # (N, T2 - 1, T1)
        scores = self.affine(torch.cat((weights @ hs_enc, hs), dim=2))  # (N, T2 - 1, V)
        return functional.cross_entropy(scores.flatten(0, 1), targets.flatten())

    def keys(self, hs_enc: Tensor) -> Tensor:
        return hs_enc if self.general is None else self.general(hs_enc)  # (N, T1, H)

    def load(self, weights: Weights) -> None:
        if self.general is not None:
            load_linear(self.general, weights, "decoder.attention")
        load_linear(self.affine, weights, "decoder.affine")


class Decoder(nn.Module):
    """hs_enc (N, T1, E), the first states, t (N, T2) -> the mean loss of a target token."""

    lstms: Sequence[nn.LSTM]

    def __init__(self, shape: Shape, model: Model) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.V, shape.D)
        self.lstms = make_lstms(shape.D, shape.H, shape.H, model.decoder_layers)
        self.residual = model.residual
        self.readout = Readout(shape, model)

    def forward(self, hs_enc: Tensor, states: list[State], t: Tensor) -> Tensor:
        xs = self.embedding(t[:, :-1])  # (N, T2 - 1, D)
        for layer, (lstm, state) in enumerate(zip(self.lstms, states, strict=True)):
            hs, _ = lstm(xs, state)
            xs = hs + xs if self.residual and layer else hs
        return self.readout(hs_enc, xs, t[:, 1:])

    def stepper(self, hs_enc: Tensor, states: list[State]) -> Callable[[Tensor], Tensor]:
        """A function from tokens (N,) to the scores (N, V) of the next, which goes a step further with each call."""
        keys = self.readout.keys(hs_enc).transpose(1, 2)
        states = [(h[0], c[0]) for h, c in states]

        def scores(token: Tensor) -> Tensor:
            xs = self.embedding(token)
            for layer, lstm in enumerate(self.lstms):
                # For one step this takes half the time of nn.LSTM.
                h, c = torch.lstm_cell(xs, states[layer], *lstm.all_weights[0])
                states[layer] = h, c
                xs = h + xs if self.residual and layer else h
            weights = torch.softmax(xs[:, None] @ keys, dim=2)  # (N, 1, T1)
            context = (weights @ hs_enc)[:, 0]  # (N, E)
            return self.readout.affine(torch.cat((context, xs), dim=1))

        return scores

    def compile_parts(self) -> None:
        self.readout.compile()

    def load(self, weights: Weights) -> None:
        load_weight(self.embedding.weight, weights["decoder.embedding.W"])
        for layer, lstm in enumerate(self.lstms):
            load_lstm(lstm, weights, f"decoder.lstm.{layer}")
        self.readout.load(weights)


class FeedingDecoder(nn.Module):
    """The same where h~ is a part of the next step's input, so that attention has to wait for it: a loop over the steps.

    What does not depend on the step before is done for all steps at once: the products of the tokens and of the source.
    Time comes before batch, so that what a step reads lies together.
    """

    def __init__(self, shape: Shape, model: Model) -> None:
        super().__init__()
        if model.decoder_layers != 1 or model.attention != "additive":
            raise NotImplementedError("this decoder has one layer and additive attention")
        H, width = shape.H, shape.H * (2 if model.bidirectional else 1)
        self.embedding = nn.Embedding(shape.V, shape.D)
        self.of_token = nn.Linear(shape.D, 4 * H)
        self.recurrent = nn.Linear(2 * H, 4 * H, bias=False)  # of h~ and h
        self.of_source = nn.Linear(width, H, bias=False)
        self.query = nn.Linear(H, H, bias=False)
        self.v = nn.Parameter(torch.empty(H))
        self.attentional = nn.Linear(width + H, H, bias=False)
        self.affine = nn.Linear(H, shape.V)
        self.at_once = shape.T2 - 1  # steps in a call of `steps`
        self.steps = self._steps
        self.readout = self._readout

    def forward(self, hs_enc: Tensor, states: list[State], t: Tensor) -> Tensor:
        zs = self.of_token(self.embedding(t[:, :-1].T))  # (T2 - 1, N, 4H)
        keys, ((h, c),) = self.of_source(hs_enc), states
        out, h, c = torch.zeros_like(h[0]), h[0], c[0]
        outs = []
        for some in zs.split(self.at_once):
            some_outs, h, c = self.steps(some, out, h, c, keys, hs_enc)
            outs.append(some_outs)
            out = some_outs[-1]
        return self.readout(outs, t[:, 1:].T)

    def _steps(self, zs: Tensor, out: Tensor, h: Tensor, c: Tensor, keys: Tensor, hs_enc: Tensor) -> tuple[Tensor, ...]:
        """zs (steps, N, 4H), what was there before -> outs (steps, N, H), h, c."""
        outs = []
        for z in zs.unbind():
            out, h, c = self._step(z, out, h, c, keys, hs_enc)
            outs.append(out)
        return torch.stack(outs), h, c

    def _step(self, z: Tensor, out: Tensor, h: Tensor, c: Tensor, keys: Tensor, hs_enc: Tensor) -> tuple[Tensor, ...]:
        """z (N, 4H), out, h, c (N, H), keys (N, T1, H), hs_enc (N, T1, E) -> out, h, c."""
        gates = torch.addmm(z, torch.cat((out, h), dim=1), self.recurrent.weight.T)
        ifo, g = gates.split((3 * h.shape[1], h.shape[1]), dim=1)
        i, f, o = ifo.sigmoid().chunk(3, dim=1)
        c = torch.addcmul(f * c, i, g.tanh())
        h = o * c.tanh()
        energies = torch.tanh(keys + self.query(h)[:, None]) @ self.v  # (N, T1)
        weights = torch.softmax(energies, dim=1)
        context = torch.bmm(weights[:, None], hs_enc)[:, 0]  # (N, E)
        return torch.tanh(self.attentional(torch.cat((context, h), dim=1))), h, c

    def _readout(self, outs: list[Tensor], targets: Tensor) -> Tensor:
        """outs (steps, N, H) each, targets (T2 - 1, N) -> the mean loss of a target."""
        scores = self.affine(torch.cat(outs))  # (T2 - 1, N, V)
        return functional.cross_entropy(scores.flatten(0, 1), targets.flatten())

    def stepper(self, hs_enc: Tensor, states: list[State]) -> Callable[[Tensor], Tensor]:
        """As `Decoder.stepper`."""
        keys, ((h, c),) = self.of_source(hs_enc), states
        out, h, c = torch.zeros_like(h[0]), h[0], c[0]

        def scores(token: Tensor) -> Tensor:
            nonlocal out, h, c
            out, h, c = self._step(self.of_token(self.embedding(token)), out, h, c, keys, hs_enc)
            return self.affine(out)

        return scores

    def compile_parts(self) -> None:
        """A graph of up to a dozen steps, as many as go into the target without a remainder, and one of the loss."""
        self.at_once = max(size for size in range(1, 13) if self.at_once % size == 0)
        self.steps = torch.compile(self._steps, fullgraph=True, dynamic=False)
        self.readout = torch.compile(self._readout, fullgraph=True, dynamic=False)

    def load(self, weights: Weights) -> None:
        lstm = "decoder.lstm.0.forward"
        load_weight(self.embedding.weight, weights["decoder.embedding.W"])
        D = self.embedding.embedding_dim
        Wx, Wh = (_gates(weights[f"{lstm}.{name}"], "ifog") for name in ("Wx", "Wh"))  # the sigmoids side by side
        load_weight(self.of_token.weight, Wx[:D].T)
        load_weight(self.of_token.bias, _gates(weights[f"{lstm}.b"], "ifog"))
        load_weight(self.recurrent.weight, np.concatenate((Wx[D:], Wh)).T)
        load_weight(self.of_source.weight, weights["decoder.attention.W"].T)
        load_weight(self.query.weight, weights["decoder.attention.W_query"].T)
        load_weight(self.v, weights["decoder.attention.v"])
        load_linear(self.attentional, weights, "decoder.attentional")
        load_linear(self.affine, weights, "decoder.affine")


class Seq2seq(nn.Module):
    """x (N, T1), t (N, T2) -> the mean loss of a target token."""

    def __init__(self, shape: Shape, model: Model) -> None:
        super().__init__()
        self.encoder = Encoder(shape, model)
        width = shape.H * (2 if model.bidirectional else 1)
        self.bridge = Bridge(width, shape.H, model.decoder_layers) if model.bridge == "affine" else LastState()
        self.decoder = (FeedingDecoder if model.input_feeding else Decoder)(shape, model)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        hs_enc, states = self.encoder(x)
        return self.decoder(hs_enc, self.bridge(states), t)

    @torch.no_grad()
    def load(self, weights: Weights) -> None:
        for part in (self.encoder, self.bridge, self.decoder):
            part.load(weights)


def make_lstms(D: int, width: int, H: int, layers: int, bidirectional: bool = False) -> Any:
    """A ModuleList of layers of their own: something may come between them, and one nn.LSTM would do the same for all."""
    inputs = [D] + [width] * (layers - 1)
    return nn.ModuleList(nn.LSTM(size, H, batch_first=True, bidirectional=bidirectional) for size in inputs)


def load_weight(param: Tensor, weight: np.ndarray) -> None:
    if param.shape != weight.shape:  # copy_ would spread out one that is smaller
        raise ValueError(f"a weight has shape {weight.shape}; expected {tuple(param.shape)}")
    param.copy_(torch.from_numpy(weight))


def load_linear(linear: Any, weights: Weights, name: str) -> None:
    load_weight(linear.weight, weights[f"{name}.W"].T)
    if linear.bias is not None:
        load_weight(linear.bias, weights[f"{name}.b"])


def load_lstm(lstm: nn.LSTM, weights: Weights, name: str) -> None:
    """PyTorch's second bias is zero, and stays so."""
    for (W_x, W_h, b, second_b), direction in zip(lstm.all_weights, DIRECTIONS):
        for param, own in ((W_x, "Wx"), (W_h, "Wh"), (b, "b")):
            load_weight(param, _gates(weights[f"{name}.{direction}.{own}"], "ifgo").T)
        second_b.zero_().requires_grad_(False)


def _gates(weight: np.ndarray, order: str) -> np.ndarray:
    """Columns f, g, i, o -> those of ``order``."""
    of_gate = dict(zip("fgio", np.split(weight, 4, axis=-1), strict=True))
    return np.concatenate([of_gate[gate] for gate in order], axis=-1)


def norm_before_clipping(params: Sequence[Tensor], norm: float, max_norm: float) -> float:
    """The norm of the gradients before clip_grad_norm_ scaled them to ``max_norm``, from what they are now.

    ``norm``, which PyTorch adds up in float32, is up to 1e-3 off where a weight has millions of elements. The
    gradients are as exact as anybody's, so they are what is checked; they were divided by the norm that there is.
    """
    parts = (part for param in params if param.grad is not None for part in param.grad.flatten().split(1 << 16))
    after = math.sqrt(sum(part.double().square().sum().item() for part in parts))
    return after * max(1.0, (norm + 1e-6) / max_norm)  # the divisor of clip_grad_norm_


class Eager(Peer):
    """As it stands."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self.model = Seq2seq(task.shape, task.model)
        with task.named_weights() as weights:
            self.model.load(weights)
        self.params = [param for param in self.model.parameters() if param.requires_grad]
        self.optimizer = torch.optim.Adam(self.params, LR, (BETA1, BETA2), EPS, fused=True)
        self.loss: Callable[[Tensor, Tensor], Tensor] = self.model
        self.x, self.t = map(torch.from_numpy, make_batch(task.shape))

    def train(self, steps: int) -> Outcome:
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = self.loss(self.x, self.t)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.params, MAX_NORM, foreach=True)
            self.optimizer.step()
        return lambda: [loss.item(), norm_before_clipping(self.params, norm.item(), MAX_NORM)]

    def generate(self, times: int) -> Outcome:
        for _ in range(times):
            ids = self._search(self.t.shape[1] - 1)
        return ids.tolist

    @torch.inference_mode()
    def _search(self, sample_size: int) -> Tensor:
        model = self.model
        hs_enc, states = model.encoder(self.x)
        scores = model.decoder.stepper(hs_enc, model.bridge(states))
        token = torch.full((len(hs_enc),), START_ID)
        ids = torch.empty((len(hs_enc), sample_size), dtype=torch.int64)
        for step in range(sample_size):
            token = scores(token).argmax(dim=1)  # (N,)
            ids[:, step] = token
        return ids


class Compile(Eager):
    """With torch.compile for what it can compile.

    It does not see into an nn.LSTM: given the whole model, it finds one, and without a word leaves everything as it was.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.model.decoder.compile_parts()


class Bfloat16(Eager):
    """The forward, and so the backward, under autocast to bfloat16: not the same numbers, but three digits fewer."""

    tolerance = 0.05

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.loss = torch.autocast("cpu", torch.bfloat16)(self.model.forward)
