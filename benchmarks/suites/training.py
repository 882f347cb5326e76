"""The whole model at the shapes that the comparison with other libraries has: training, its memory, and search."""

from dataclasses import replace
from typing import Any

from benchmarks.models import MODELS
from benchmarks.shapes import NAMED
from benchmarks.training_step import TrainingStep

from . import cases

FAMILY = [name for name in MODELS if name != "plain"]
FAMILY_SHAPES = ["tiny", "date", "g2p", "long"]


def training_step(kernels: str, shape: str, N: int | None = None, model: str = "plain") -> TrainingStep:
    """On one of the sets of `cases`, with a batch of N instead of the shape's where it is given."""
    s = NAMED[shape] if N is None else replace(NAMED[shape], N=N)
    kernel_set = "reference" if kernels == cases.REFERENCE else "compiled"
    step = TrainingStep(kernel_set, s, cases.ALL_THREADS, model=MODELS[model])
    cases.choose(kernels)
    return step


class Step:
    """Forward, backward, clipping and Adam in float32."""

    params = (cases.SETS, list(NAMED))
    param_names = ("kernels", "shape")
    timeout = 600
    rounds = 1
    repeat = (2, 5, 1.0)

    def setup(self, kernels: str, shape: str) -> None:
        self.step = training_step(kernels, shape)
        self.step()

    def time_step(self, *_: Any) -> None:
        self.step()


class FamilyStep:
    """The same of the models that people train. The reference set is measured where it is quick."""

    params = ([cases.COMPILED, cases.REFERENCE], FAMILY, FAMILY_SHAPES)
    param_names = ("kernels", "model", "shape")
    timeout = 600
    rounds = 1
    repeat = (2, 5, 1.0)

    def setup(self, kernels: str, model: str, shape: str) -> None:
        if kernels == cases.REFERENCE and shape != "tiny":
            raise NotImplementedError("the reference set takes seconds here")
        self.step = training_step(kernels, shape, model=model)
        self.step()

    def time_step(self, *_: Any) -> None:
        self.step()


class Generate:
    """Batched greedy search of T2 - 1 tokens."""

    params = ([cases.COMPILED, cases.REFERENCE], ["tiny", "date", "g2p"], [1, 128])
    param_names = ("kernels", "shape", "N")
    timeout = 600
    rounds = 1
    repeat = (2, 5, 0.5)

    def setup(self, kernels: str, shape: str, N: int) -> None:
        self.search = training_step(kernels, shape, N).generate
        self.search()

    def time_generate(self, *_: Any) -> None:
        self.search()


class Beam:
    """The same by beam search, of five hypotheses a sample. The reference set is measured where it is quick."""

    params = ([cases.COMPILED, cases.REFERENCE], ["plain", *FAMILY], ["tiny", "date", "g2p"], [1, 128])
    param_names = ("kernels", "model", "shape", "N")
    timeout = 600
    rounds = 1
    repeat = (2, 5, 0.5)

    def setup(self, kernels: str, model: str, shape: str, N: int) -> None:
        if kernels == cases.REFERENCE and (shape, N) != ("tiny", 1):
            raise NotImplementedError("the reference set takes seconds here")
        self.step = training_step(kernels, shape, N, model)
        self.step.search(5)

    def time_search(self, *_: Any) -> None:
        self.step.search(5)


class PeakMemory:
    """Of a process that trains three steps, and, to compare, of one that only imports and builds the model."""

    params = (["date", "g2p"],)
    param_names = ("shape",)
    timeout = 600

    def setup_cache(self) -> None:
        """Compile in a process of its own, whose memory counts for nothing."""
        for shape in self.params[0]:
            training_step(cases.COMPILED, shape)()

    def peakmem_training(self, shape: str) -> None:
        step = training_step(cases.COMPILED, shape)
        for _ in range(3):
            step()

    def peakmem_baseline(self, shape: str) -> None:
        training_step(cases.COMPILED, shape)
