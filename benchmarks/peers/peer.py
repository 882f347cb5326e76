"""What a peer is given, and what it must do."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from benchmarks.models import MODELS, PLAIN, Model
from benchmarks.shapes import Shape

Outcome = Callable[[], Any]
Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Task:
    """The model, the sizes, and where the weights are. ``kind`` names the method that will be called: "train" or "generate"."""

    kind: str
    shape: Shape
    threads: int
    weights_file: str
    model: Model = PLAIN

    @classmethod
    def of(cls, kind: str, model: str, shape: Sequence[int], threads: int, weights_file: str) -> Self:
        """From what stands in a request."""
        return cls(kind, Shape(*shape), threads, weights_file, MODELS[model])

    @contextmanager
    def named_weights(self) -> Iterator[Weights]:
        """By the names of AttentionSeq2seq's ``named_params``, each read when it is asked for: never are all there twice."""
        with np.load(self.weights_file) as arrays:
            yield arrays

    def weights(self) -> Iterator[np.ndarray]:
        """The same in the order of ``params``, one at a time."""
        with self.named_weights() as weights:
            yield from weights.values()


class Peer(ABC):
    """A model in one library, built from a task, ready for its first step.

    The work of `train` and `generate` is timed, and must be done when they return: none may be left to other threads.
    What they return is a function that tells the outcome, and is called when the clock has been stopped.
    """

    # How far a loss or a gradient norm may be from the reference, relative to it.
    tolerance: ClassVar[float] = 1e-4
    task_class: ClassVar[Any] = Task

    @abstractmethod
    def __init__(self, task: Task) -> None: ...

    @abstractmethod
    def train(self, steps: int) -> Outcome:
        """That many training steps; the outcome is [loss, gradient norm before the clipping] of the last of them."""

    def generate(self, times: int) -> Outcome:
        """That many times the same greedy search of T2 - 1 tokens after START_ID; the outcome is a list of ids a sample."""
        raise NotImplementedError(f"{type(self).__name__} has no generate")
