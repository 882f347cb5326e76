"""What a peer is given on real pairs, and what it must do."""

import json
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from benchmarks.peers.peer import Outcome, Peer, Weights
from fastattn.data import batches, trim
from fastattn.models import ModelConfig

CORPUS_FILE, WEIGHTS_FILE, TASK_FILE = "corpus.npz", "weights.npz", "task.json"
SOURCES_A_STEP = 32  # of a search, so that one step is a small part of a request
BATCH_SIZES = (32, 64, 128, 256, 512, 1024)  # of which each peer's search takes the fastest
TRIED_SOURCES = 1024
DROPPING = ("dropout", "recurrent_dropout", "word_dropout")


@dataclass(frozen=True)
class Recipe:
    """How a step is made, and how a search: what a run and a command line choose."""

    batch_size: int
    learning_rate: float
    max_grad: float
    seed: int
    start_id: int
    end_id: int
    sample_size: int
    beam: int
    length_penalty: float


class Pairs(NamedTuple):
    """As ``encode_pairs`` gives them."""

    x: np.ndarray
    source_lengths: np.ndarray
    t: np.ndarray
    target_lengths: np.ndarray

    def chosen(self, places: np.ndarray) -> "Pairs":
        """Some of them, cut to the longest."""
        x, source_lengths, t, target_lengths = (array[places] for array in self)
        return Pairs(trim(x, source_lengths), source_lengths, trim(t, target_lengths), target_lengths)

    @property
    def tokens(self) -> int:
        """Real ones, as `Trainer` counts them: those that the encoder reads, and those that the decoder is to say."""
        return int(self.source_lengths.sum() + (self.target_lengths - 1).sum())


@dataclass(frozen=True)
class CorpusTask:
    """The model and what it works on, from a folder that `write` made. ``kind`` names the method that will be called.

    drops: whether there is dropout, of which no two libraries have the same.
    """

    kind: str
    threads: int
    drops: bool
    config: ModelConfig
    recipe: Recipe
    weights: Weights
    pairs: Pairs

    @classmethod
    def of(cls, kind: str, threads: int, drops: bool, folder: str) -> Self:
        """From what stands in a request."""
        content = json.loads((Path(folder) / TASK_FILE).read_text())
        config = content["config"] | ({} if drops else dict.fromkeys(DROPPING, 0.0))
        with np.load(Path(folder) / WEIGHTS_FILE) as weights, np.load(Path(folder) / CORPUS_FILE) as arrays:
            pairs = Pairs(**arrays)
            return cls(kind, threads, drops, ModelConfig.from_json(config), Recipe(**content["recipe"]), dict(weights), pairs)

    @staticmethod
    def write(folder: Path, config: ModelConfig, recipe: Recipe, weights: dict[str, Any], pairs: Pairs) -> None:
        """What `of` reads. weights: by the names of ``named_params``."""
        (folder / TASK_FILE).write_text(json.dumps({"config": config.to_json(), "recipe": asdict(recipe)}))
        np.savez(folder / WEIGHTS_FILE, **weights)
        np.savez(folder / CORPUS_FILE, **pairs._asdict())


class Found(NamedTuple):
    """The best answers of a search: ids (N, sample_size), ``end_id`` after the end; scores (N,), zeros if greedy."""

    ids: np.ndarray
    scores: np.ndarray


class CorpusPeer(Peer):
    """A model in one library, ready for its first step on real pairs.

    The steps of a request to `train` are an epoch, as `Trainer` makes it, of a new draw of as many pairs as they have room for.
    Those of `greedy` and `beam` are `SOURCES_A_STEP` sources each, evenly drawn from all.
    """

    task_class: ClassVar[Any] = CorpusTask

    def __init__(self, task: CorpusTask) -> None:
        self.task = task
        self.requests = 0
        self.batch_size = 0  # of a search

    def train(self, steps: int) -> Outcome:
        recipe, pairs = self.task.recipe, self.task.pairs
        self.requests += 1
        rng = np.random.default_rng((recipe.seed, self.requests, steps))
        chosen = rng.choice(len(pairs.x), min(steps * recipe.batch_size, len(pairs.x)), replace=False)
        drawn = pairs.chosen(np.sort(chosen))
        outcome = self.train_epoch(drawn)
        return lambda: {"loss_and_norm": outcome(), "tokens": drawn.tokens}

    @abstractmethod
    def train_epoch(self, drawn: Pairs) -> Outcome:
        """A step for each of `epoch`; the outcome is [mean loss, gradient norm of the last before the clipping]."""

    def epoch(self, drawn: Pairs) -> Iterator[Pairs]:
        """The batches that ``Trainer.fit`` makes of these pairs at this request."""
        recipe = self.task.recipe
        rng = np.random.default_rng((recipe.seed, self.requests))
        for places in batches(drawn.source_lengths, drawn.target_lengths, recipe.batch_size, rng):
            yield drawn.chosen(places)

    def greedy(self, steps: int) -> Outcome:
        return self._searched(steps, 1)

    def beam(self, steps: int) -> Outcome:
        return self._searched(steps, self.task.recipe.beam)

    @abstractmethod
    def search(self, x: np.ndarray, lengths: np.ndarray, beam: int) -> Found:
        """x (N, T1), sources of these lengths, the longest first -> the best answer to each; beam 1: greedily."""

    def _searched(self, steps: int, beam: int) -> Outcome:
        count = steps * SOURCES_A_STEP
        if count > TRIED_SOURCES and not self.batch_size:
            self.batch_size = self._fastest(beam)
        parts = self._search_all(count, beam, self.batch_size or max(BATCH_SIZES))

        def outcome() -> dict[str, Any]:
            end_id, order = self.task.recipe.end_id, np.concatenate([places for places, _ in parts])
            answers = [row[row != end_id].tolist() for _, found in parts for row in found.ids]
            scores = [float(score) for _, found in parts for score in found.scores]
            back = np.argsort(order)
            return {
                "answers": [answers[i] for i in back],
                "scores": [scores[i] for i in back],
                "batch_size": self.batch_size,
                "sources": len(order),
            }

        return outcome

    def _search_all(self, count: int, beam: int, batch_size: int) -> list[tuple[np.ndarray, Found]]:
        """So many sources, or all, evenly drawn, in batches of like lengths: the places of each and its answers."""
        x, lengths = self.task.pairs.x, self.task.pairs.source_lengths
        count = min(count, len(x))
        places = np.arange(count) * len(x) // count
        places = places[np.argsort(-lengths[places], kind="stable")]
        parts = [places[first : first + batch_size] for first in range(0, count, batch_size)]
        return [(part, self.search(trim(x[part], lengths[part]), lengths[part], beam)) for part in parts]

    def _fastest(self, beam: int) -> int:
        """The batch size with which a search of some sources takes the least time, the better of two tries each."""
        seconds: dict[int, float] = {}
        for size in BATCH_SIZES:
            for _ in range(2):
                start = time.perf_counter()
                self._search_all(TRIED_SOURCES, beam, size)
                seconds[size] = min(seconds.get(size, np.inf), time.perf_counter() - start)
        return min(seconds, key=seconds.__getitem__)


def share_of_equal(answers: Sequence[Any], expected: Sequence[Any]) -> float:
    return sum(map(list.__eq__, answers, expected)) / len(expected)
