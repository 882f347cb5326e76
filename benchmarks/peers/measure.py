"""The check and the rounds of one model at one shape.

All peers of a shape live at once. Each is started alone, so that its time to the first step is its own; checked; and
warmed up. Then, round by round and in rotated order, each is asked for as many steps as take half a second or
more, while the others wait for their next request. Before each request there is a rest, in which threads that
spin after their work go to sleep (every library keeps its own policy), and one untimed step, which wakes the peer's own.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.models import MODELS
from benchmarks.shapes import Shape
from benchmarks.training_step import make_model

from . import BASELINE, FMA_PEAK, ORACLE
from .process import PeerAbsent, PeerFailed, PeerProcess, environment

CHECKED_STEPS = 3  # the first shows forward and backward to be right, the others clipping and Adam
WARM_UP_SECONDS = 0.5
REQUEST_SECONDS = 0.5
REST_SECONDS = 0.25
CACHES = ("NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")  # JAX keeps none unless told to

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What to measure. kind: "train" or "generate". peers: name -> "module:Class". cores: as `PeerProcess` takes them.

    cold: with empty caches of compiled code. timeout: the most seconds that a peer may take for an answer. model: one of
    MODELS.
    """

    name: str
    shape: Shape
    kind: str
    peers: Mapping[str, str]
    threads: int
    cores: list[int]
    rounds: int
    timeout: float
    cold: bool
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


def measure(job: Job, say: Say) -> dict[str, Any]:
    """Everything about one model at one shape, as it stands in the JSON file. ``say`` is told how it goes."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        weights: dict[str, Any] = make_model(MODELS[job.model], job.shape, seed=1).named_params()
        np.savez(folder / "weights.npz", **weights)
        del weights

        def entrant(name: str, target: str) -> _Entrant:
            started = _Entrant(job, name, target, folder)
            stack.callback(started.close)
            return started

        oracle = entrant("float64 reference", ORACLE)
        expected = oracle.first_results()
        oracle.close()
        entrants = []
        for name, target in job.peers.items():
            peer = entrant(name, target)
            entrants.append(peer)
            with peer.dropping_out(say):
                peer.check(expected)
                peer.warm_up()
                say(f"{job.title}: {name} is ready, its first step after {peer.record['seconds_to_first_step']:.1f} s")
        peak = entrant("FMA peak", FMA_PEAK)
        peak.load()
        peak.warm_up()
        for turn in range(job.rounds):
            everybody = [*entrants, peak]
            first = turn % len(everybody)
            for one in everybody[first:] + everybody[:first]:
                if one.is_running:
                    with one.dropping_out(say):
                        one.take_turn()
            say(f"{job.title}: round {turn + 1} of {job.rounds}")
        if not peak.is_running:
            raise PeerFailed(f"{peak.name}: {peak.record['reason']}")
        for peer in entrants:
            if peer.is_running:
                with peer.dropping_out(say):
                    peer.record["peak_memory_bytes"] = peer.process.ask("memory")["bytes"]
    records = {peer.name: peer.record for peer in entrants}
    rates = [answer["result"] / answer["seconds"] for answer in peak.answers]
    # Less than 1 when other programs took some of the cores: then no time here is worth much.
    share = statistics.median(answer["cpu_seconds"] / answer["seconds"] / job.threads for answer in peak.answers)
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
        "share_of_cores": share,
        "peers": records,
    }


class _Entrant:
    """A peer in the race: its process, and its record, which says how it fared."""

    def __init__(self, job: Job, name: str, target: str, folder: Path) -> None:
        self.name = name
        self.record: dict[str, Any] = {"status": "measured"}
        self.answers: list[dict[str, Any]] = []
        self._job, self._weights_file = job, folder / "weights.npz"
        variables = environment(job.threads)
        own = folder / name.replace(":", ".")
        own.mkdir()
        if job.cold:
            variables |= {variable: str(own / variable) for variable in CACHES}
        self.process = PeerProcess(target, job.cores, variables, own / "log", job.timeout)

    @property
    def is_running(self) -> bool:
        return self.record["status"] == "measured"

    @contextmanager
    def dropping_out(self, say: Say) -> Iterator[None]:
        """A block in which the peer may fail: it is then out of the race, and says so, and the others go on."""
        try:
            yield
        except PeerAbsent as error:
            self._drop_out(say, "absent", f"{error} (pip install 'fastattn[peers]' installs all peers)")
        except _Refused as error:
            self._drop_out(say, "refused", str(error))
        except PeerFailed as error:
            self._drop_out(say, "failed", str(error))
            self.record["log"] = self.process.last_words()

    def _drop_out(self, say: Say, status: str, reason: str) -> None:
        self.record.update(status=status, reason=reason)
        self.close()
        say(f"{self._job.title}: {self.name} is {status}: {reason}")

    def close(self) -> None:
        self.process.close()

    def load(self) -> None:
        """Has the library imported and the model built."""
        job = self._job
        task = {"kind": job.kind, "model": job.model, "shape": astuple(job.shape), "threads": job.threads}
        self.record |= self.process.ask("load", **task, weights_file=str(self._weights_file))

    def first_results(self) -> list[Any]:
        """Loads, and does the steps that are checked."""
        self.load()
        results = [self._work(1)["result"]]
        self.record["seconds_to_first_step"] = self.process.age
        steps = CHECKED_STEPS if self._job.kind == "train" else 1
        return results + [self._work(1)["result"] for _ in range(steps - 1)]

    def check(self, expected: list[Any]) -> None:
        """_Refused unless the first results are the expected ones."""
        results = self.first_results()
        if self._job.kind == "train":
            self.record["losses_and_norms"] = results
            _check_numbers(results, expected, self.record["tolerance"])
        else:
            _check_ids(results[0], expected[0])

    def warm_up(self) -> None:
        """Steps until it is warm, and how many of them make a request."""
        count, start = 1, time.perf_counter()
        while True:
            seconds = self._work(count)["seconds"]
            if time.perf_counter() - start > WARM_UP_SECONDS:
                break
            count *= 2
        self.record["steps_per_request"] = math.ceil(REQUEST_SECONDS * count / seconds)
        self.record |= {"seconds_per_step": [], "idle_cpu_seconds": []}

    def take_turn(self) -> None:
        """One request's steps, timed."""
        time.sleep(REST_SECONDS)
        wake = self._work(1)
        count = self.record["steps_per_request"]
        answer = self._work(count)
        self.answers.append(answer)
        self.record["seconds_per_step"].append(answer["seconds"] / count)
        self.record["idle_cpu_seconds"].append(wake["idle_cpu_seconds"])

    def _work(self, count: int) -> dict[str, Any]:
        return self.process.ask("work", count=count)


class _Refused(Exception):
    """A peer computes something else than the reference does."""


def _check_numbers(results: list[list[float]], expected: list[list[float]], tolerance: float) -> None:
    for step, numbers in enumerate(zip(results, expected, strict=True), 1):
        for what, number, right in zip(("loss", "gradient norm"), *numbers, strict=True):
            if not abs(number - right) <= tolerance * abs(right):  # NaN is refused too
                raise _Refused(f"the {what} of step {step} is {number:.7g}; expected {right:.7g} within {tolerance:g} of it")


def _check_ids(ids: list[list[int]], expected: list[list[int]]) -> None:
    if np.shape(ids) != np.shape(expected):
        raise _Refused(f"its ids have shape {np.shape(ids)}; expected {np.shape(expected)}")
    positions = np.argwhere(np.array(ids) != expected)
    if len(positions):
        n, step = positions[0]
        raise _Refused(
            f"it generates other ids, first in sample {n}, step {step}: {ids[n][step]}; expected {expected[n][step]}"
        )


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
