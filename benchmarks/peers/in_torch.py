"""The model in PyTorch.

What was tried and was no faster on the named shapes: time before batch in the LSTMs, scaled_dot_product_attention, Adam
with foreach instead of fused. With torch.compile: LSTMs traced (allow_rnn) take half a minute or more to compile and are then 6
to 8 % slower than in eager mode; max-autotune, and a compiled clipping and Adam, gain nothing.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.shapes import BETA1, BETA2, EPS, LR, MAX_NORM, START_ID, Shape, make_batch

from .peer import Outcome, Peer, Task


class Readout(nn.Module):
    """Attention and the loss: hs_enc (N, T1, H), hs (N, T2 - 1, H), targets (N, T2 - 1) -> the mean loss of a target."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.affine = nn.Linear(2 * shape.H, shape.V)

    def forward(self, hs_enc: Tensor, hs: Tensor, targets: Tensor) -> Tensor:
        weights = torch.softmax(hs @ hs_enc.transpose(1, 2), dim=2)  # (N, T2 - 1, T1)
        scores = self.affine(torch.cat((weights @ hs_enc, hs), dim=2))  # (N, T2 - 1, V)
        return functional.cross_entropy(scores.flatten(0, 1), targets.flatten())


class Seq2seq(nn.Module):
    """x (N, T1), t (N, T2) -> the mean loss of a target token."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.source = nn.Embedding(shape.V, shape.D)
        self.encoder = nn.LSTM(shape.D, shape.H, batch_first=True)
        self.target = nn.Embedding(shape.V, shape.D)
        self.decoder = nn.LSTM(shape.D, shape.H, batch_first=True)
        self.readout = Readout(shape)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        hs_enc, (h, _) = self.encoder(self.source(x))  # (N, T1, H)
        hs, _ = self.decoder(self.target(t[:, :-1]), (h, torch.zeros_like(h)))  # (N, T2 - 1, H)
        return self.readout(hs_enc, hs, t[:, 1:])

    @torch.no_grad()
    def load(self, weights: Iterator[np.ndarray]) -> None:
        """Our weights, in the order of ``params``. PyTorch's second bias of an LSTM is zero, and stays so."""
        for embedding, lstm in ((self.source, self.encoder), (self.target, self.decoder)):
            embedding.weight.copy_(torch.from_numpy(next(weights)))
            W_x, W_h, b, second_b = lstm.all_weights[0]
            W_x.copy_(_gates(next(weights)).T)
            W_h.copy_(_gates(next(weights)).T)
            b.copy_(_gates(next(weights)))
            second_b.zero_().requires_grad_(False)
        self.readout.affine.weight.copy_(torch.from_numpy(next(weights)).T)
        self.readout.affine.bias.copy_(torch.from_numpy(next(weights)))


def _gates(weight: np.ndarray) -> Tensor:
    """Columns f, g, i, o -> i, f, g, o."""
    f, g, i, o = np.split(weight, 4, axis=-1)
    return torch.from_numpy(np.concatenate((i, f, g, o), axis=-1))


class Eager(Peer):
    """As it stands."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self.model = Seq2seq(task.shape)
        self.model.load(task.weights())
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
        return lambda: [loss.item(), self._norm_before(norm.item())]

    def _norm_before(self, norm: float) -> float:
        """The norm of the gradients before they were scaled, from what they are now.

        ``norm``, which PyTorch adds up in float32, is up to 1e-3 off where a weight has millions of elements. The
        gradients are as exact as anybody's, so they are what is checked; they were divided by the norm that there is.
        """
        parts = (part for param in self.params if param.grad is not None for part in param.grad.flatten().split(1 << 16))
        after = math.sqrt(sum(part.double().square().sum().item() for part in parts))
        return after * (norm + 1e-6) / MAX_NORM  # the divisor of clip_grad_norm_

    def generate(self, times: int) -> Outcome:
        for _ in range(times):
            ids = self._search(self.t.shape[1] - 1)
        return ids.tolist

    @torch.inference_mode()
    def _search(self, sample_size: int) -> Tensor:
        model = self.model
        hs_enc, (hs, _) = model.encoder(model.source(self.x))  # (N, T1, H)
        keys, h, c = hs_enc.transpose(1, 2), hs[0], torch.zeros_like(hs[0])  # h, c (N, H)
        token = torch.full((len(h),), START_ID)
        ids = torch.empty((len(h), sample_size), dtype=torch.int64)
        for step in range(sample_size):
            # For one step this takes half the time of nn.LSTM.
            h, c = torch.lstm_cell(model.target(token), (h, c), *model.decoder.all_weights[0])
            weights = torch.softmax(h[:, None] @ keys, dim=2)  # (N, 1, T1)
            context = (weights @ hs_enc)[:, 0]  # (N, H)
            token = model.readout.affine(torch.cat((context, h), dim=1)).argmax(dim=1)  # (N,)
            ids[:, step] = token
        return ids


class Compile(Eager):
    """With torch.compile for what it can compile.

    It does not see into an nn.LSTM: given the whole model, it finds one, and without a word leaves everything as it was.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.model.readout.compile()


class Bfloat16(Eager):
    """The forward, and so the backward, under autocast to bfloat16: not the same numbers, but three digits fewer."""

    tolerance = 0.05

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.loss = torch.autocast("cpu", torch.bfloat16)(self.model.forward)
