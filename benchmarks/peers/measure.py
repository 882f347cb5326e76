"""The check and the rounds of one model at one shape. A request (see `entrant`) is as many steps as take half a second."""

import math
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.models import MODELS
from benchmarks.shapes import Shape
from benchmarks.training_step import make_model

from . import BASELINE, FMA_PEAK, ORACLE
from .entrant import Conditions, Entrant, Refused, Say, check_numbers, run_rounds, share_of_cores
from .process import PeerFailed

CHECKED_STEPS = 3  # the first shows forward and backward to be right, the others clipping and Adam
WARM_UP_SECONDS = 0.5
REQUEST_SECONDS = 0.5


@dataclass(frozen=True)
class Job(Conditions):
    """What to measure. kind: "train" or "generate". peers: name -> "module:Class". model: one of MODELS."""

    name: str
    shape: Shape
    kind: str
    peers: Mapping[str, str]
    model: str = "plain"

    @property
    def title(self) -> str:
        return f"{self.model}, {self.name}"

    @property
    def flop(self) -> int:
        """In the matrix products of one step, or of one search."""
        model = MODELS[self.model]
        return self.shape.flop(model) if self.kind == "train" else self.shape.forward_flop(model)

    @property
    def tokens(self) -> int:
        """What "tokens a second" counts: those that a step reads, or those that a search writes."""
        return self.shape.tokens if self.kind == "train" else self.shape.N * (self.shape.T2 - 1)

    @property
    def checked_steps(self) -> int:
        return CHECKED_STEPS if self.kind == "train" else 1


def measure(job: Job, say: Say) -> dict[str, Any]:
    """Everything about one model at one shape, as it stands in the JSON file. ``say`` is told how it goes."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        weights: dict[str, Any] = make_model(MODELS[job.model], job.shape, seed=1).named_params()
        np.savez(folder / "weights.npz", **weights)
        del weights
        task = {"kind": job.kind, "model": job.model, "shape": astuple(job.shape), "threads": job.threads}
        task["weights_file"] = str(folder / "weights.npz")

        def entrant(name: str, target: str) -> Entrant:
            started = Entrant(job.title, name, target, task, job, folder)
            stack.callback(started.close)
            return started

        oracle = entrant("float64 reference", ORACLE)
        oracle.load()
        expected = oracle.first_results(job.checked_steps)
        oracle.close()
        entrants = []
        for name, target in job.peers.items():
            peer = entrant(name, target)
            entrants.append(peer)
            with peer.dropping_out(say):
                _check(job, peer, expected)
                _warm_up(peer)
                say(f"{job.title}: {name} is ready, its first step after {peer.record['seconds_to_first_step']:.1f} s")
        peak = entrant("FMA peak", FMA_PEAK)
        peak.load()
        _warm_up(peak)
        run_rounds(job.title, [*entrants, peak], job.rounds, say)
        if not peak.is_running:
            raise PeerFailed(f"{peak.name}: {peak.record['reason']}")
        for peer in entrants:
            if peer.is_running:
                with peer.dropping_out(say):
                    peer.record["peak_memory_bytes"] = peer.process.ask("memory")["bytes"]
    records = {peer.name: peer.record for peer in entrants}
    rates = [answer["result"] / answer["seconds"] for answer in peak.answers]
    _compare(job, records, statistics.median(rates))
    return {
        "name": job.name,
        "model": job.model,
        "kind": job.kind,
        "shape": asdict(job.shape),
        "flop": job.flop,
        "tokens": job.tokens,
        "expected": expected,
        "fma_peak_gflops": [rate / 1e9 for rate in rates],
        "share_of_cores": share_of_cores(peak, job.threads),
        "peers": records,
    }


def _check(job: Job, peer: Entrant, expected: list[Any]) -> None:
    """Loads it. Refused unless the first results are the expected ones."""
    peer.load()
    results = peer.first_results(job.checked_steps)
    if job.kind == "train":
        peer.record["losses_and_norms"] = results
        check_numbers(results, expected, peer.record["tolerance"])
    else:
        _check_ids(results[0], expected[0])


def _warm_up(peer: Entrant) -> None:
    """Steps until it is warm, and how many of them make a request."""
    count, start = 1, time.perf_counter()
    while True:
        seconds = peer.work(count)["seconds"]
        if time.perf_counter() - start > WARM_UP_SECONDS:
            break
        count *= 2
    peer.warmed_up(math.ceil(REQUEST_SECONDS * count / seconds))


def _check_ids(ids: list[list[int]], expected: list[list[int]]) -> None:
    if np.shape(ids) != np.shape(expected):
        raise Refused(f"its ids have shape {np.shape(ids)}; expected {np.shape(expected)}")
    positions = np.argwhere(np.array(ids) != expected)
    if len(positions):
        n, step = positions[0]
        raise Refused(f"it generates other ids, first in sample {n}, step {step}: {ids[n][step]}; expected {expected[n][step]}")


def _compare(job: Job, records: Mapping[str, dict[str, Any]], peak: float) -> None:
    """Adds to the record of each measured peer what follows from its rounds. peak: in operations a second."""
    baseline = records.get(BASELINE, {"status": "absent"})
    for record in records.values():
        if record["status"] != "measured":
            continue
        seconds = statistics.median(record["seconds_per_step"])
        record["median_seconds"] = seconds
        record["tokens_per_second"] = job.tokens / seconds
        record["gflops"] = job.flop / seconds / 1e9
        record["fraction_of_peak"] = job.flop / seconds / peak
        if baseline["status"] == "measured":
            ratios = np.divide(record["seconds_per_step"], baseline["seconds_per_step"])
            record["ratio_of_medians"] = seconds / statistics.median(baseline["seconds_per_step"])
            record["ratio_quartiles"] = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
