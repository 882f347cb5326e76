"""Real pairs in fastattn: the trainer and the searches that its command line uses."""

from typing import ClassVar

import numpy as np

import fastattn
from benchmarks.peers.peer import Outcome
from fastattn.training import StepRecord

from .peer import CorpusPeer, CorpusTask, Found, Pairs


class Compiled(CorpusPeer):
    """The compiled kernels."""

    backend: ClassVar[str] = "compiled"
    dtype: ClassVar[str] = "float32"

    def __init__(self, task: CorpusTask) -> None:
        super().__init__(task)
        fastattn.set_backend(self.backend)
        fastattn.set_num_threads(task.threads)
        config = type(task.config).from_json(task.config.to_json() | {"dtype": self.dtype})
        self.model = fastattn.AttentionSeq2seq.from_config(config, seed=0)
        for name, param in self.model.named_params().items():
            param[...] = task.weights[name]
        self.trainer = fastattn.Trainer(self.model, fastattn.Adam(task.recipe.learning_rate))

    def train_epoch(self, drawn: Pairs) -> Outcome:
        recipe = self.task.recipe
        last: list[StepRecord] = []
        assert self.trainer.epoch == self.requests - 1  # with the seed it says which batches there are
        self.trainer.fit(
            drawn.x,
            drawn.t,
            1,
            recipe.batch_size,
            recipe.max_grad,
            source_lengths=drawn.source_lengths,
            target_lengths=drawn.target_lengths,
            seed=recipe.seed,
            progress=False,
            on_step=last.append,
            log_every=-(-len(drawn.x) // recipe.batch_size),
        )
        return lambda: [last[-1].loss, last[-1].gradient_norm]

    def search(self, x: np.ndarray, lengths: np.ndarray, beam: int) -> Found:
        recipe = self.task.recipe
        limits = x, recipe.start_id, recipe.sample_size
        if beam == 1:
            ids = self.model.generate(*limits, end_id=recipe.end_id, lengths=lengths)
            return Found(ids, np.zeros(len(ids)))
        found = self.model.search(
            *limits, end_id=recipe.end_id, lengths=lengths, beam=beam, length_penalty=recipe.length_penalty
        )
        return Found(found.ids[:, 0], found.scores[:, 0])


class Oracle(Compiled):
    """The reference kernels, plain NumPy, in float64: what all peers are checked against."""

    backend = "reference"
    dtype = "float64"
