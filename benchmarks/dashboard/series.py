"""What the results say, commit by commit, ready to be shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, isnan, log
from pathlib import Path

from ..asv_runs import Refusal, described, is_in, latest_release, load_benchmarks, load_results, measurements


@dataclass(frozen=True)
class Commit:
    """A commit and what was measured of it on one machine: values by the benchmark's name with its parameters."""

    hash: str
    date: int  # ms since 1970, of the commit
    values: dict[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The short hash and the first line of the message."""
        try:
            return described(self.hash)
        except Refusal:
            return f"{self.hash[:8]} (not in this clone)"


@dataclass(frozen=True)
class Change:
    """Of a benchmark's time between two commits."""

    name: str
    before: float
    after: float

    @property
    def ratio(self) -> float:
        return self.after / self.before


@dataclass(frozen=True)
class Machine:
    """A machine's commits, the oldest first."""

    name: str
    about: dict[str, str]
    commits: Sequence[Commit]

    @property
    def last(self) -> Commit:
        return self.commits[-1]

    def since_release(self) -> tuple[str, Commit] | None:
        """What the last commit is compared with, and a name for it: what was measured last of the past of the newest release.

        The first commit that was measured where there is no release, or nothing of it; None where that is the last one, too.
        """
        release = latest_release(self.last.hash)
        before = [commit for commit in self.commits[:-1] if release is not None and is_in(commit.hash, release)]
        if before:
            return f"{release} ({before[-1].title})", before[-1]
        first = self.commits[0]
        return (f"the first commit that was measured, {first.title}", first) if first is not self.last else None

    def series(self, name: str) -> list[float | None]:
        """A benchmark's values, a commit each; None where it was not measured."""
        return [commit.values.get(name) for commit in self.commits]


def changes(before: Commit, after: Commit, names: Sequence[str]) -> list[Change]:
    """The named benchmarks that both have, the one that grew most first."""
    both = [name for name in names if name in before.values and name in after.values]
    found = [Change(name, before.values[name], after.values[name]) for name in both]
    return sorted(found, key=lambda change: change.ratio, reverse=True)


def geometric_mean(numbers: Sequence[float]) -> float:
    return exp(sum(map(log, numbers)) / len(numbers))


def load(results_folder: Path, config: Path) -> list[Machine]:
    """All machines that have results, the one with the newest commit first."""
    benchmarks = load_benchmarks(config)
    commits: dict[str, dict[str, Commit]] = {}
    about: dict[str, dict[str, str]] = {}
    results, _ = load_results(results_folder)
    for result in results:
        machine = result.params["machine"]
        about[machine] = result.params
        commit = commits.setdefault(machine, {}).setdefault(result.commit_hash, Commit(result.commit_hash, result.date))
        for m in measurements(benchmarks, result):
            if m.value is not None and not isnan(m.value):
                commit.values[m.name] = m.value
    machines = [
        Machine(name, about[name], sorted(of_machine.values(), key=lambda commit: commit.date))
        for name, of_machine in commits.items()
    ]
    return sorted(machines, key=lambda machine: machine.last.date, reverse=True)
