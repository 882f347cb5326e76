"""A peer in a race, and the race: who takes part, how it is timed, and who is out.

All peers of a race live at once. Each is started alone, so that its time to the first step is its own; checked; and
warmed up. Then, round by round and in rotated order, each is asked for some steps, while the others wait for their next
request. Before each request there is a rest, in which threads that spin after their work go to sleep (every library keeps
its own policy), and one untimed step, which wakes the peer's own.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .process import PeerAbsent, PeerFailed, PeerProcess, environment

REST_SECONDS = 0.25
CACHES = ("NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")  # JAX keeps none unless told to

Say = Callable[[str], None]


@dataclass(frozen=True)
class Conditions:
    """Of a race. cores: as `PeerProcess` takes them. cold: with empty caches of compiled code. timeout: the most seconds that a
    peer may take for an answer."""

    threads: int
    cores: list[int]
    rounds: int
    timeout: float
    cold: bool


class Refused(Exception):
    """A peer computes something else than the reference does."""


class Entrant:
    """A peer in the race: its process, and its record, which says how it fared.

    race: the title of it. target: "module:Class". task: what the peer is loaded with. folder: where its files go.
    """

    def __init__(self, race: str, name: str, target: str, task: dict[str, Any], conditions: Conditions, folder: Path) -> None:
        self.name, self.task = name, task
        self.record: dict[str, Any] = {"status": "measured"}
        self.answers: list[dict[str, Any]] = []
        self._race = race
        variables = environment(conditions.threads)
        own = folder / name.replace(":", ".")
        own.mkdir()
        if conditions.cold:
            variables |= {variable: str(own / variable) for variable in CACHES}
        self.process = PeerProcess(target, conditions.cores, variables, own / "log", conditions.timeout)

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
        except Refused as error:
            self._drop_out(say, "refused", str(error))
        except PeerFailed as error:
            self._drop_out(say, "failed", str(error))
            self.record["log"] = self.process.last_words()

    def _drop_out(self, say: Say, status: str, reason: str) -> None:
        self.record.update(status=status, reason=reason)
        self.close()
        say(f"{self._race}: {self.name} is {status}: {reason}")

    def close(self) -> None:
        self.process.close()

    def load(self, **changes: Any) -> None:
        """Has the library imported and the model built. changes: of the task."""
        self.record |= self.process.ask("load", **self.task | changes)

    def first_results(self, steps: int) -> list[Any]:
        """Those of the first steps, which are checked."""
        results = [self.work(1)["result"]]
        self.record["seconds_to_first_step"] = self.process.age
        return results + [self.work(1)["result"] for _ in range(steps - 1)]

    def warmed_up(self, steps_per_request: int) -> None:
        """It is ready, and is to do so many steps for a request."""
        self.record |= {"steps_per_request": steps_per_request, "seconds_per_step": [], "idle_cpu_seconds": []}

    def take_turn(self) -> None:
        """One request's steps, timed."""
        time.sleep(REST_SECONDS)
        wake = self.work(1)
        count = self.record["steps_per_request"]
        answer = self.work(count)
        self.answers.append(answer)
        self.record["seconds_per_step"].append(answer["seconds"] / count)
        self.record["idle_cpu_seconds"].append(wake["idle_cpu_seconds"])

    def work(self, count: int) -> dict[str, Any]:
        return self.process.ask("work", count=count)


def run_rounds(race: str, everybody: Sequence[Entrant], rounds: int, say: Say) -> None:
    """All take their turns, in rotated order."""
    for turn in range(rounds):
        first = turn % len(everybody)
        for one in [*everybody[first:], *everybody[:first]]:
            if one.is_running:
                with one.dropping_out(say):
                    one.take_turn()
        say(f"{race}: round {turn + 1} of {rounds}")


def share_of_cores(peak: Entrant, threads: int) -> float:
    """What the FMA peak's process had of the cores. Less than 1 when other programs took some: then no time is worth much."""
    return statistics.median(answer["cpu_seconds"] / answer["seconds"] / threads for answer in peak.answers)


def check_numbers(results: Sequence[Sequence[float]], expected: Sequence[Sequence[float]], tolerance: float) -> None:
    """Refused unless the loss and the gradient norm of each step are the expected ones."""
    for step, numbers in enumerate(zip(results, expected, strict=True), 1):
        for what, number, right in zip(("loss", "gradient norm"), *numbers, strict=True):
            if not abs(number - right) <= tolerance * abs(right):  # NaN is refused too
                raise Refused(f"the {what} of step {step} is {number:.7g}; expected {right:.7g} within {tolerance:g} of it")
