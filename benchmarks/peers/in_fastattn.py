"""The models in fastattn, on each of its kernel sets."""

import sys
from typing import ClassVar

from benchmarks.training_step import TrainingStep

from .peer import Outcome, Peer, Task


class Compiled(Peer):
    """The compiled kernels."""

    backend: ClassVar[str] = "compiled"
    dtype: ClassVar[str] = "float32"

    def __init__(self, task: Task) -> None:
        # Numba would import SciPy where it is installed, which takes 13 MB and some tenths of a second. fastattn does not bring
        # it; of what is measured here, JAX does.
        sys.modules.setdefault("scipy", None)  # type: ignore[arg-type]
        self.step = TrainingStep(self.backend, task.shape, task.threads, self.dtype, task.weights(), task.model)

    def train(self, steps: int) -> Outcome:
        for _ in range(steps):
            loss, norm = self.step()
        return lambda: [loss, norm]

    def generate(self, times: int) -> Outcome:
        for _ in range(times):
            ids = self.step.generate()
        return ids.tolist


class Reference(Compiled):
    """The reference kernels: plain NumPy."""

    backend = "reference"


class Oracle(Reference):
    """The reference kernels in float64: what all peers are checked against."""

    dtype = "float64"
