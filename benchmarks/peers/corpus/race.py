"""The check and the rounds of one kind of work on real pairs, as `entrant` has them."""

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.peers import BASELINE, FMA_PEAK
from benchmarks.peers.entrant import Conditions, Entrant, Refused, Say, check_numbers, run_rounds, share_of_cores
from benchmarks.peers.process import PeerFailed
from benchmarks.shapes import NAMED
from fastattn.models import AttentionSeq2seq

from . import ORACLE, PEERS
from .peer import SOURCES_A_STEP, CorpusTask, Pairs, Recipe, share_of_equal

CHECKED_STEPS = 3  # of training
CHECKED_SOURCES = 128  # of a search
LEAST_EQUAL = 0.97  # of their answers: float32 decides otherwise than float64 where two are as good but for the rounding
PEAK_STEPS_SECONDS = 0.5


@dataclass(frozen=True)
class Job(Conditions):
    """What to measure. kind: one of KINDS. steps: of a request; for a search, its sources over SOURCES_A_STEP."""

    kind: str
    peers: Sequence[str]
    model: AttentionSeq2seq
    pairs: Pairs
    recipe: Recipe
    steps: int

    @property
    def title(self) -> str:
        return f"beam {self.recipe.beam}" if self.kind == "beam" else self.kind


def measure(job: Job, say: Say) -> dict[str, Any]:
    """Everything about one kind of work, as it stands in the JSON file. ``say`` is told how it goes."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        CorpusTask.write(folder, job.model.config, job.recipe, job.model.named_params(), job.pairs)
        task = {"kind": job.kind, "threads": job.threads, "drops": False, "folder": str(folder)}

        def entrant(name: str, target: str, task: dict[str, Any]) -> Entrant:
            started = Entrant(job.title, name, target, task, job, folder)
            stack.callback(started.close)
            return started

        oracle = entrant("float64 reference", ORACLE, task)
        expected = _first_results(job, oracle)
        oracle.close()
        entrants = []
        for name in job.peers:
            peer = entrant(name, PEERS.get(name, name), task)
            entrants.append(peer)
            with peer.dropping_out(say):
                _check(job, peer, expected)
                peer.load(drops=True)
                peer.work(job.steps)  # all peers have asked for as many steps then: their next pairs are the same
                peer.warmed_up(job.steps)
                say(f"{job.title}: {name} is ready")
        # What it is given besides the threads, it has no use for.
        shape = asdict(NAMED["tiny"])
        any_task = {"kind": "train", "model": "plain", "shape": [*shape.values()], "threads": job.threads, "weights_file": ""}
        peak = entrant("FMA peak", FMA_PEAK, any_task)
        peak.load()
        peak.work(1)
        seconds = peak.work(1)["seconds"]
        peak.warmed_up(max(1, round(PEAK_STEPS_SECONDS / seconds)))
        run_rounds(job.title, [*entrants, peak], job.rounds, say)
        if not peak.is_running:
            raise PeerFailed(f"{peak.name}: {peak.record['reason']}")
    for peer in entrants:
        if peer.is_running:
            _summarize(job, peer)
    records = {peer.name: peer.record for peer in entrants}
    _compare(records)
    return {
        "kind": job.kind,
        "title": job.title,
        "model": job.model.config.to_json(),
        "weights": sum(param.size for param in job.model.params),
        "recipe": asdict(job.recipe),
        "steps": job.steps,
        "share_of_cores": share_of_cores(peak, job.threads),
        "peers": records,
    }


def _first_results(job: Job, peer: Entrant) -> list[Any]:
    """Of the first steps without dropout; of a search of some sources."""
    peer.load()
    if job.kind == "train":
        return [result["loss_and_norm"] for result in peer.first_results(CHECKED_STEPS)]
    return [peer.work(CHECKED_SOURCES // SOURCES_A_STEP)["result"]]


def _check(job: Job, peer: Entrant, expected: list[Any]) -> None:
    """Loads it. Refused unless the first results are the expected ones."""
    results = _first_results(job, peer)
    if job.kind == "train":
        check_numbers(results, expected, peer.record["tolerance"])
        return
    (found,), (right,) = results, expected
    share = share_of_equal(found["answers"], right["answers"])
    peer.record["share_of_right_answers"] = share
    if share < LEAST_EQUAL:
        raise Refused(f"{100 * share:.1f} % of its answers are the reference's; expected at least {100 * LEAST_EQUAL:.0f} %")
    for i, (answer, score) in enumerate(zip(found["answers"], found["scores"], strict=True)):
        if answer == right["answers"][i] and not abs(score - right["scores"][i]) <= 1e-4 * max(1, abs(score)):
            raise Refused(f"the score of answer {i} is {score:.7g}; expected {right['scores'][i]:.7g}")


def _summarize(job: Job, peer: Entrant) -> None:
    """Adds to the record what follows from its own rounds."""
    results = [answer["result"] for answer in peer.answers]
    seconds = [answer["seconds"] for answer in peer.answers]
    if job.kind == "train":
        done = [result["tokens"] for result in results]
    else:
        done = [result["sources"] for result in results]
        peer.record |= {"batch_size": results[-1]["batch_size"], "answers": results[-1]["answers"]}
    peer.record |= {"done": done, "seconds": seconds, "rates": [a / b for a, b in zip(done, seconds, strict=True)]}
    peer.record["median_rate"] = statistics.median(peer.record["rates"])
    peer.record["median_seconds"] = statistics.median(seconds)


def _compare(records: Mapping[str, dict[str, Any]]) -> None:
    """Adds what follows beside the baseline: how many times as fast that is."""
    baseline = records.get(BASELINE, {"status": "absent"})
    if baseline["status"] != "measured":
        return
    answers = baseline.get("answers")
    for record in records.values():
        if record["status"] == "measured":
            ratios = np.divide(baseline["rates"], record["rates"])
            record["ratio_of_medians"] = baseline["median_rate"] / record["median_rate"]
            record["ratio_quartiles"] = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
            if answers is not None:
                record["share_of_equal_answers"] = share_of_equal(record["answers"], answers)
    for record in records.values():
        record.pop("answers", None)
