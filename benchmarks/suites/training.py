"""The whole model: a training step, and a greedy search, at the shapes that the comparison with other libraries has."""

from dataclasses import replace
from typing import Any

from shapes import NAMED, START_ID, make_batch

import fastattn

from . import cases

_TRAINED = ["tiny", "date", "g2p", "long"]


class Step:
    """Forward, backward, clipping and Adam in float32."""

    def __init__(self, kernels: str, shape: str, threads: int) -> None:
        fastattn.set_backend(kernels)
        fastattn.set_num_threads(threads)
        s = NAMED[shape]
        self.model = fastattn.AttentionSeq2seq(s.V, s.D, s.H, seed=0)
        self.optimizer = fastattn.Adam()
        self.x, self.t = make_batch(s)

    def __call__(self) -> None:
        self.model.forward(self.x, self.t)
        self.model.backward()
        fastattn.clip_grads(self.model.grads, 5.0)
        self.optimizer.update(self.model.params, self.model.grads)


class TrainingStep:
    params = (cases.KERNEL_SETS, _TRAINED, cases.THREADS)
    param_names = ("kernels", "shape", "threads")
    timeout = 600
    min_run_count = 5

    def setup(self, kernels: str, shape: str, threads: int) -> None:
        if kernels == "reference" and (threads != cases.THREADS[-1] or shape == "long"):
            raise NotImplementedError("the reference set has NumPy's threads, and is slow")
        self.step = Step(kernels, shape, threads)
        self.step()

    def time_step(self, *_: Any) -> None:
        self.step()


class Generate:
    """Batched greedy search of T2 - 1 tokens."""

    params = (cases.KERNEL_SETS, ["tiny", "date", "g2p"], [1, 128])
    param_names = ("kernels", "shape", "N")
    timeout = 600

    def setup(self, kernels: str, shape: str, N: int) -> None:
        fastattn.set_backend(kernels)
        fastattn.set_num_threads(cases.THREADS[-1])
        s = replace(NAMED[shape], N=N)
        self.model = fastattn.AttentionSeq2seq(s.V, s.D, s.H, seed=0)
        self.x, t = make_batch(s)
        self.sample_size = t.shape[1] - 1
        self.time_generate()

    def time_generate(self, *_: Any) -> None:
        self.model.generate(self.x, START_ID, self.sample_size)


class PeakMemory:
    """Of a process that trains three steps, and, to compare, of one that only imports and builds the model."""

    params = (["date", "g2p"],)
    param_names = ("shape",)
    timeout = 600

    def setup_cache(self) -> None:
        """Compile in a process of its own, whose memory counts for nothing."""
        for shape in self.params[0]:
            Step("compiled", shape, cases.THREADS[-1])()

    def peakmem_training(self, shape: str) -> None:
        step = Step("compiled", shape, cases.THREADS[-1])
        for _ in range(3):
            step()

    def peakmem_baseline(self, shape: str) -> None:
        Step("compiled", shape, cases.THREADS[-1])
