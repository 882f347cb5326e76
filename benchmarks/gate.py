"""Whether a commit is slower than another: ``python -m benchmarks.gate BASE [NEW]``.

Each round measures both commits, the one that was last first in the next, so that a disturbance that lasts longer than a
round meets both. A benchmark is suspected when the ratio of the best rounds, or the median of the rounds' ratios, is above the
limit, and the difference above the least that counts. What is suspected is measured again, in twice as many rounds, and is
slower if the ratio of the best rounds says so, and the median of the ratios shows at least half of the excess: others on the
machine can only add to a time, so that the best round of many is the nearest to the truth, and the median says that it is
no single one. Results are read from asv's files; the exit status of asv says nothing of slowness.

Exit status: 0 when nothing is slower, 1 when a benchmark is slower or raises, 2 when nothing could be compared.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from .asv_runs import ROOT, Measurement, Refusal, bench_options, commit_hash, described, run_suites

# What is compared unless told otherwise: the compiled kernels on all threads, memory, and the import.
BENCHMARKS = (r"\('compiled'[,)]", r"^training\.PeakMemory", r"^starting\.timeraw_import")
ROUNDS = 5
RATIO = 1.2
LEAST = {"time": 50e-6, "peakmemory": 10e6}  # seconds, bytes: less is not worth a failure, or is noise


@dataclass(frozen=True)
class Comparison:
    """One benchmark in both commits, a pair of values for each round."""

    name: str
    kind: str
    pairs: Sequence[tuple[float, float]]

    @property
    def ratio(self) -> float:
        """The median of the rounds'."""
        return median(new / base for base, new in self.pairs)

    @property
    def base(self) -> float:
        """Of the best round."""
        return min(base for base, _ in self.pairs)

    @property
    def new(self) -> float:
        return min(new for _, new in self.pairs)

    def _best_is_slower(self, limit: float, least: dict[str, float]) -> bool:
        return self.new > limit * self.base and self.new - self.base > least[self.kind]

    def is_suspected(self, limit: float, least: dict[str, float]) -> bool:
        difference = median(new - base for base, new in self.pairs)
        return self._best_is_slower(limit, least) or (self.ratio > limit and difference > least[self.kind])

    def is_slower(self, limit: float, least: dict[str, float]) -> bool:
        return self._best_is_slower(limit, least) and self.ratio > 1 + (limit - 1) / 2

    def __str__(self) -> str:
        scale, unit = (1e3, "ms") if self.kind == "time" else (1e-6, "MB")
        best = f"best {self.base * scale:.4g} -> {self.new * scale:.4g} {unit}"
        return f"{self.new / self.base:5.2f}  median {self.ratio:5.2f}  {best:34} {self.name}"


@dataclass(frozen=True)
class Outcome:
    comparisons: list[Comparison]
    raised: list[str]  # benchmarks that failed in the new commit, or in both
    raised_in_base: list[str]  # and in the base alone


class Gate:
    """``base`` and ``new``: full hashes. ``folder``: where the results of every round are kept."""

    def __init__(self, base: str, new: str, folder: Path) -> None:
        self.base, self.new, self.folder = base, new, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "asv.log"
        self._rounds = 0

    def measure(self, patterns: Sequence[str], rounds: int) -> Outcome:
        """Compare the benchmarks whose names match one of the patterns."""
        found: dict[str, dict[str, list[Measurement]]] = {self.base: {}, self.new: {}}
        for i in range(rounds):
            self._rounds += 1
            # The commit that is installed goes first: the other has to be installed in its place.
            for commit in (self.base, self.new) if self._rounds % 2 else (self.new, self.base):
                name = "base" if commit == self.base else "new"
                print(f"round {i + 1} of {rounds}: {name} {commit[:8]}", file=sys.stderr, flush=True)
                for measurement in self._measure_once(commit, patterns, self.folder / f"round-{self._rounds:02}-{name}"):
                    found[commit].setdefault(measurement.name, []).append(measurement)
        return self._compare(found)

    def _measure_once(self, commit: str, patterns: Sequence[str], folder: Path) -> list[Measurement]:
        found = run_suites(folder, self.log, patterns, f"{commit}^!")
        if found is None:
            raise Refusal(f"nothing was measured at {commit[:8]}; asv's own words are in {self.log}")
        return [m for m in found if m.kind in LEAST and m.applies]

    def _compare(self, found: dict[str, dict[str, list[Measurement]]]) -> Outcome:
        comparisons, raised, raised_in_base = [], [], []
        for name in found[self.base].keys() | found[self.new].keys():
            before, after = found[self.base].get(name, []), found[self.new].get(name, [])
            if not after or any(m.value is None for m in after):
                raised.append(name)
            elif not before or any(m.value is None for m in before):
                raised_in_base.append(name)
            else:
                pairs = [(b.value, a.value) for b, a in zip(before, after)]
                comparisons.append(Comparison(name, after[0].kind, pairs))  # type: ignore[arg-type]
        comparisons.sort(key=lambda comparison: comparison.new / comparison.base, reverse=True)
        return Outcome(comparisons, sorted(raised), sorted(raised_in_base))


def _report(heading: str, lines: Sequence[object]) -> None:
    if lines:
        print(heading, *(f"  {line}" for line in lines), sep="\n", flush=True)


def run(base: str, new: str, patterns: Sequence[str], rounds: int, limit: float, least: dict[str, float]) -> int:
    """The gate as a command: prints what it finds and returns the exit status."""
    bench_options(patterns)  # a wrong pattern is told of before anything is built
    base, new = commit_hash(base), commit_hash(new)
    if base == new:
        raise Refusal(f"base and new are the same commit: {described(new)}")
    print(f"base {described(base)}\nnew  {described(new)}", flush=True)
    gate = Gate(base, new, ROOT / ".asv" / "gate" / datetime.now().strftime("%Y-%m-%d-%H%M%S"))

    first = gate.measure(patterns, rounds)
    if not first.comparisons and not first.raised:
        raise Refusal(f"there is nothing to compare; asv's own words are in {gate.log}")
    suspected = [c for c in first.comparisons if c.is_suspected(limit, least)]
    slower: list[Comparison] = []
    raised = first.raised
    if suspected:
        _report("suspected, and measured again:", suspected)
        again = gate.measure([f"^{re.escape(c.name)}$" for c in suspected], 2 * rounds)
        slower = [c for c in again.comparisons if c.is_slower(limit, least)]
        raised = sorted({*raised, *again.raised})

    _report("of all that was compared, by the ratio of the best rounds, the five that grew most:", first.comparisons[:5])
    _report("and the five that shrank most:", first.comparisons[:-6:-1])
    _report("raised in the base, and not compared:", first.raised_in_base)
    _report("RAISED, or was not measured:", raised)
    _report("SLOWER:", slower)
    print(
        f"{len(first.comparisons)} benchmarks compared in {rounds} rounds: {len(slower)} slower, {len(raised)} raised. "
        f"The results are in {gate.folder}"
    )
    return 1 if slower or raised else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("base", metavar="BASE", help="the commit to compare with")
    parser.add_argument("new", metavar="NEW", nargs="?", default="HEAD", help="the commit that must not be slower (HEAD)")
    parser.add_argument(
        "--bench", action="append", metavar="REGEX", help="compare the benchmarks that match, as in asv; may be repeated"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"in which both commits are measured ({ROUNDS})")
    parser.add_argument("--ratio", type=float, default=RATIO, help=f"of times or memory that is too much ({RATIO})")
    parser.add_argument(
        "--least", type=float, default=LEAST["time"], metavar="SECONDS", help=f"a difference that counts ({LEAST['time']:g})"
    )
    given = parser.parse_args()
    for name, value, low in (("--rounds", given.rounds, 1), ("--ratio", given.ratio, 1), ("--least", given.least, 0)):
        if not value >= low:
            parser.error(f"{name} is {value}; expected at least {low}")
    try:
        least = {**LEAST, "time": given.least}
        return run(given.base, given.new, given.bench or BENCHMARKS, given.rounds, given.ratio, least)
    except Refusal as refusal:
        print(f"benchmarks.gate: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
