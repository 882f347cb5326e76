"""The model in fastattn, on each of its kernel sets."""

from typing import ClassVar

import fastattn
from benchmarks.shapes import START_ID, make_batch

from .peer import BETA1, BETA2, EPS, LR, MAX_NORM, Outcome, Peer, Task


class Compiled(Peer):
    """The compiled kernels."""

    backend: ClassVar[str] = "compiled"
    dtype: ClassVar[str] = "float32"

    def __init__(self, task: Task) -> None:
        fastattn.set_backend(self.backend)
        fastattn.set_num_threads(task.threads)
        shape = task.shape
        self.model = fastattn.AttentionSeq2seq(shape.V, shape.D, shape.H, dtype=self.dtype, seed=0)
        for param, weight in zip(self.model.params, task.weights(), strict=True):
            param[...] = weight
        self.optimizer = fastattn.Adam(LR, BETA1, BETA2, EPS)
        self.x, self.t = make_batch(shape)

    def train(self, steps: int) -> Outcome:
        model = self.model
        for _ in range(steps):
            loss = model.forward(self.x, self.t)
            model.backward()
            norm = fastattn.clip_grads(model.grads, MAX_NORM)
            self.optimizer.update(model.params, model.grads)
        return lambda: [loss, norm]

    def generate(self, times: int) -> Outcome:
        for _ in range(times):
            ids = self.model.generate(self.x, START_ID, self.t.shape[1] - 1)
        return ids.tolist


class Reference(Compiled):
    """The reference kernels: plain NumPy."""

    backend = "reference"


class Oracle(Reference):
    """The reference kernels in float64: what all peers are checked against."""

    dtype = "float64"
