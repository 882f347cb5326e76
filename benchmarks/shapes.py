"""The sizes and numbers that all speed measurements use, the work that a model has at them, and the batches."""

from dataclasses import asdict, dataclass
from typing import Self

import numpy as np

from .models import PLAIN, Model

START_ID = 0  # begins every target; no other token of a batch has it

# Of Adam, and of the clipping before it. MAX_NORM is far below the norm of any gradient here, so that every library has to
# scale its gradients at every step: some of them do it always, others only where they must.
LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
MAX_NORM = 1e-3


@dataclass(frozen=True)
class Shape:
    """The sizes of a training step of AttentionSeq2seq, all samples of full length.

    N samples of T1 source tokens and T2 target tokens, the start symbol among them, so that the decoder takes T2 - 1
    steps; V tokens in each vocabulary; vectors of width D; states of width H.
    """

    N: int
    T1: int
    T2: int
    V: int
    D: int
    H: int

    def __post_init__(self) -> None:
        for name, size in asdict(self).items():
            lowest = 2 if name in ("T2", "V") else 1  # a start symbol and one more token
            if size < lowest:
                raise ValueError(f"{name} is {size}; expected at least {lowest}")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """ "N,T1,T2,V,D,H" -> the shape. ValueError for anything but six whole numbers."""
        parts = text.split(",")
        if len(parts) != 6 or not all(part.strip().isdecimal() for part in parts):
            raise ValueError(f"the shape is {text!r}; expected six whole numbers N,T1,T2,V,D,H")
        return cls(*map(int, parts))

    def __str__(self) -> str:
        return " ".join(f"{name}={size}" for name, size in asdict(self).items())

    def forward_flop(self, model: Model = PLAIN) -> int:
        """Floating-point operations in the matrix products of a forward: two for each multiplication and addition.

        Those of the model's definition, in the order in which it is written: with "general" attention the encoder's states
        go through W.
        """
        N, T1, T2, V, D, H = self.N, self.T1, self.T2 - 1, self.V, self.D, self.H
        directions = 2 if model.bidirectional else 1
        states = directions * H  # the width of what the encoder's LSTMs give
        encoder = T1 * directions * ((D + H) + (model.encoder_layers - 1) * (states + H)) * 4 * H
        bridge = model.decoder_layers * 2 * states * H if model.bridge == "affine" else 0
        source = states
        if model.project_encoder:
            encoder += T1 * states * H
            source = H
        fed = H if model.input_feeding else 0
        decoder = T2 * ((D + fed + H) + (model.decoder_layers - 1) * 2 * H) * 4 * H
        width, attention = H, 0
        if model.attention is not None:
            width += source
            attention = T2 * T1 * (H + source)  # the scores, and the weighted sums
            if model.attention in ("general", "additive"):
                attention += T1 * source * H  # the keys
            if model.attention == "additive":
                attention += T2 * H * H  # the queries
        readout = 0
        if model.attentional:
            readout += T2 * width * H
            width = H
        if model.tie_embeddings:
            readout += T2 * width * D if width != D else 0
            width = D
        readout += T2 * width * V
        return 2 * N * (encoder + bridge + decoder + attention + readout)

    def flop(self, model: Model) -> int:
        """The same for a training step: a backward has two products for each of the forward."""
        return 3 * self.forward_flop(model)

    def activations(self, model: Model) -> int:
        """How many values of exp, tanh and the sigmoid a forward has, beside its matrix products."""
        N, T1, T2, V, H = self.N, self.T1, self.T2 - 1, self.V, self.H
        directions = 2 if model.bidirectional else 1
        lstms = 5 * H * (T1 * directions * model.encoder_layers + T2 * model.decoder_layers)
        bridge = 2 * H * model.decoder_layers if model.bridge == "affine" else 0
        softmax = 0 if model.attention is None else T2 * T1
        scores = T2 * T1 * H if model.attention == "additive" else 0
        attentional = T2 * H if model.attentional else 0
        return N * (lstms + bridge + softmax + scores + attentional + T2 * V)

    @property
    def step_flop(self) -> int:
        """The plain model's `flop`."""
        return self.flop(PLAIN)

    @property
    def tokens(self) -> int:
        """How many tokens go through an LSTM in a step."""
        return self.N * (self.T1 + self.T2 - 1)


NAMED = {
    "tiny": Shape(32, 10, 10, 40, 32, 64),
    "date": Shape(128, 29, 11, 59, 16, 256),
    "g2p": Shape(256, 12, 12, 80, 128, 512),
    "mt": Shape(32, 30, 31, 8000, 256, 512),
    "long": Shape(16, 400, 401, 100, 64, 256),
}

# Those of single layers: before the others the smallest call, of one sample and one step with tiny's widths, as a search that
# goes step by step makes it. What it costs is what stands around a kernel.
OF_LAYERS = {"one": Shape(1, 1, 2, 40, 32, 64), **NAMED}


def make_batch(shape: Shape, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A batch of random tokens: x (N, T1), t (N, T2), int64, t beginning with START_ID."""
    generator = np.random.default_rng(seed)
    x = generator.integers(1, shape.V, (shape.N, shape.T1))
    t = generator.integers(1, shape.V, (shape.N, shape.T2))
    t[:, 0] = START_ID
    return x, t
