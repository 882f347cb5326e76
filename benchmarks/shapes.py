"""The sizes and numbers that all speed measurements use, the work in them, and the batches."""

from dataclasses import asdict, dataclass
from typing import Self

import numpy as np

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

    @property
    def forward_flop(self) -> int:
        """Floating-point operations in the matrix products of a forward: two for each multiplication and addition."""
        N, T1, T2, V, D, H = self.N, self.T1, self.T2, self.V, self.D, self.H
        lstms = (T1 + T2 - 1) * (D + H) * 4 * H
        attention = 2 * (T2 - 1) * T1 * H  # the scores, and the weighted sums
        affine = (T2 - 1) * 2 * H * V
        return 2 * N * (lstms + attention + affine)

    @property
    def step_flop(self) -> int:
        """The same for a training step: a backward has two products for each of the forward."""
        return 3 * self.forward_flop

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


def make_batch(shape: Shape, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A batch of random tokens: x (N, T1), t (N, T2), int64, t beginning with START_ID."""
    generator = np.random.default_rng(seed)
    x = generator.integers(1, shape.V, (shape.N, shape.T1))
    t = generator.integers(1, shape.V, (shape.N, shape.T2))
    t[:, 0] = START_ID
    return x, t
