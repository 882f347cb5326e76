"""A training step and a greedy search in fastattn, as everything here measures them."""

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np

import fastattn
from benchmarks.models import PLAIN, Model
from benchmarks.shapes import BETA1, BETA2, EPS, LR, MAX_NORM, START_ID, Shape, make_batch


def make_model(model: Model, shape: Shape, **options: Any) -> fastattn.AttentionSeq2seq:
    """In the sizes of the shape. NotImplementedError at a commit that does not have all of the model's options."""
    options |= model.options(shape.H)
    if missing := options.keys() - inspect.signature(fastattn.AttentionSeq2seq).parameters.keys():
        raise NotImplementedError(f"this AttentionSeq2seq has no {', '.join(sorted(missing))}")
    return fastattn.AttentionSeq2seq(shape.V, shape.D, shape.H, **options)


class TrainingStep:
    """A call is one step: forward, backward, clipping and Adam. It gives the loss, and the gradient norm before the clipping.

    ``kernels``: the kernel set. ``weights``: to begin with, in the order of ``params``; None: drawn. ``options``: further
    ones of AttentionSeq2seq.
    """

    def __init__(
        self,
        kernels: str,
        shape: Shape,
        threads: int,
        dtype: str = "float32",
        weights: Iterable[np.ndarray] | None = None,
        model: Model = PLAIN,
        **options: Any,
    ) -> None:
        fastattn.set_backend(kernels)
        fastattn.set_num_threads(threads)
        self.model = make_model(model, shape, dtype=dtype, seed=0, **options)
        if weights is not None:
            for param, weight in zip(self.model.params, weights, strict=True):
                param[...] = weight
        self.optimizer = fastattn.Adam(LR, BETA1, BETA2, EPS)
        # Commits of the time before are measured, too, by the gate and for the dashboard.
        self._update_clips = "max_norm" in inspect.signature(self.optimizer.update).parameters
        self.x, self.t = make_batch(shape)

    def __call__(self) -> tuple[float, float]:
        model = self.model
        loss = model.forward(self.x, self.t)
        model.backward()
        norm: float | None
        if self._update_clips:
            norm = self.optimizer.update(model.params, model.grads, max_norm=MAX_NORM)
        else:
            norm = fastattn.clip_grads(model.grads, MAX_NORM)
            self.optimizer.update(model.params, model.grads)
        assert norm is not None
        return loss, norm

    def generate(self) -> np.ndarray:
        """The ids (N, T2 - 1) of a greedy search for the batch."""
        return self.model.generate(self.x, START_ID, self.t.shape[1] - 1)

    def search(self, beam: int) -> np.ndarray:
        """The same by beam search, of as many hypotheses a sample. NotImplementedError at a commit that has none."""
        if "beam" not in inspect.signature(self.model.generate).parameters:
            raise NotImplementedError("this AttentionSeq2seq has no beam search")
        return self.model.generate(self.x, START_ID, self.t.shape[1] - 1, beam=beam)
