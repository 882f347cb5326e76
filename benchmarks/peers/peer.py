"""What a peer is given, and what it must do."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from benchmarks.shapes import Shape

# Of Adam, and of the clipping before it. MAX_NORM is far below the norm of any gradient here, so that every peer has to
# scale its gradients at every step: some of them do it always, others only where they must.
LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
MAX_NORM = 1e-3


@dataclass(frozen=True)
class Task:
    """The sizes, and where the weights are. ``kind`` names the method that will be called: "train" or "generate"."""

    kind: str
    shape: Shape
    threads: int
    weights_file: str

    def weights(self) -> Iterator[np.ndarray]:
        """In the order of AttentionSeq2seq's ``params``, one at a time, so that they are never all there twice."""
        with np.load(self.weights_file) as arrays:
            for name in arrays.files:
                yield arrays[name]


class Peer(ABC):
    """The model in one library, built from a task, ready for its first step.

    Whatever a method has begun is done when it returns: none may leave work to other threads.
    """

    # How far a loss or a gradient norm may be from the reference, relative to it.
    tolerance: ClassVar[float] = 1e-4

    @abstractmethod
    def __init__(self, task: Task) -> None: ...

    @abstractmethod
    def train(self, steps: int) -> Any:
        """That many training steps -> [loss, gradient norm before the clipping] of the last of them."""

    def generate(self, times: int) -> Any:
        """That many times the same greedy search of T2 - 1 tokens after START_ID -> the ids, a list for each sample."""
        raise NotImplementedError(f"{type(self).__name__} has no generate")
