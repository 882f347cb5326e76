"""Running asv, and reading what it has measured: for the gate and the dashboard."""

import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from llvmlite import binding

try:
    from asv.benchmarks import Benchmarks
    from asv.config import Config
    from asv.machine import Machine, MachineCollection
    from asv.results import Results, iter_results_paths
    from asv.util import UserError, load_json
except ImportError:
    sys.exit("this needs asv, which is not installed: pip install 'fastattn[asv]'")

HERE = Path(__file__).parent
ROOT = HERE.parent
CONFIG = HERE / "asv.conf.json"


class Refusal(Exception):
    """What cannot be done, and why, in a line for the user."""


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Refusal(f"git {arguments[0]} failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


def commit_hash(name: str) -> str:
    """The full hash of a commit's name. Refusal for an unknown one."""
    try:
        return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except (Refusal, IndexError):
        raise Refusal(f"{name!r} is no commit of this repository") from None


def commits_in(names: str) -> list[str]:
    """The hashes of a range as git writes it, the newest first; of one commit when it is one name. Refusal for others."""
    if ".." not in names:
        return [commit_hash(names)]
    try:
        hashes = _git("rev-list", "--end-of-options", names).split()
    except Refusal:
        raise Refusal(f"{names!r} is no range of commits of this repository") from None
    if not hashes:
        raise Refusal(f"there is no commit in {names!r}")
    return hashes


def latest_release(commit: str) -> str | None:
    """The newest version's tag, such as v0.1.0, among the commits before this one; None before the first."""
    try:
        return _git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", f"{commit}^")
    except Refusal:
        return None


def is_in(commit: str, other: str) -> bool:
    """Whether a commit is another one or among those before it."""
    try:
        return _git("merge-base", commit, other) == commit
    except (Refusal, IndexError):
        return False


def changes_of_what_runs(since: str) -> list[str]:
    """The hashes of the commits up to HEAD that change what is measured, and not its documents or tests; the newest first."""
    return _git("rev-list", f"{since}..HEAD", "--", "fastattn", "kernels", "pyproject.toml").split()


def described(commit: str) -> str:
    """A commit's short hash and the first line of its message."""
    return _git("log", "-1", "--format=%h %s", commit)


def bench_options(patterns: Sequence[str]) -> list[str]:
    """The options that let asv run the benchmarks whose names match one of the patterns. Refusal for one that is none."""
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise Refusal(f"{pattern!r} is no regular expression: {error}") from None
    return [part for pattern in patterns for part in ("--bench", pattern)]


def write_config(folder: Path, **changes: Any) -> Path:
    """asv's settings, with absolute paths, as a file in ``folder``, which is made."""
    settings = json.loads(CONFIG.read_text())
    for name in ("repo", "benchmark_dir", "env_dir", "results_dir", "html_dir"):
        settings[name] = str((HERE / settings[name]).resolve())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "asv.conf.json"
    path.write_text(json.dumps(settings | changes, indent=1))
    return path


def asv(log: Path, *arguments: str | Path) -> int:
    """Run asv and add what it prints to ``log``. Its exit status says little: read the results."""
    with log.open("a") as file:
        command = [sys.executable, "-m", "asv", *map(str, arguments)]
        return subprocess.run(command, cwd=HERE, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT).returncode


def this_machine() -> str:
    """What the results call this machine: the kind of its processor and how many cores of it may be used, "zen4-2-cores"."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{binding.get_host_cpu_name().replace('znver', 'zen')}-{cores}-core{'s' if cores > 1 else ''}"


def describe_machine(name: str) -> None:
    """Let asv know this machine under a name, unless it does."""
    path = MachineCollection.get_machine_file_path()
    try:
        known = Path(path).exists() and name in load_json(path, MachineCollection.api_version)
    except UserError as error:
        raise Refusal(f"{path} cannot be read: {error}") from None
    if not known:
        # The system's version says nothing of speed, and changes.
        MachineCollection.save(name, {**Machine.get_defaults(), "machine": name, "os": platform.system()})


def load_results(folder: Path) -> tuple[list[Results], list[tuple[str, Path]]]:
    """All results under a folder of asv's, and each file that cannot be read, with a line that says why."""
    results, damaged = [], []
    for root, name, machine in iter_results_paths(str(folder)):
        path = Path(root, name)
        try:
            loaded = Results.load(str(path), machine_name=machine)
            for key in loaded.get_all_result_keys():  # the columns of the file can be there and not fit each other
                loaded.get_result_value(key, loaded.get_result_params(key))
            results.append(loaded)
        except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            damaged.append((f"{path} is no results file that asv can read: {reason}", path))
    return results, damaged


def load_benchmarks(config: Path, patterns: Sequence[str] = ()) -> Benchmarks:
    """Those of the suites that match a pattern, or all, as asv kept the list beside the results.

    UserError where it has kept none, Refusal where none matches.
    """
    found = Benchmarks.load(Config.load(str(config)), regex=list(patterns))
    if not found:
        raise Refusal(f"no benchmark matches {' or '.join(map(repr, patterns))}")
    return found


@dataclass(frozen=True)
class Measurement:
    """One benchmark with one set of parameters. ``kind`` is asv's: "time", "peakmemory", "track"."""

    name: str  # as asv's --bench sees it
    kind: str
    value: float | None  # None: it failed; not a number: it does not apply

    @property
    def applies(self) -> bool:
        return self.value is None or not math.isnan(self.value)


def measurements(benchmarks: Benchmarks, results: Results) -> Iterator[Measurement]:
    """Of the benchmarks that were selected when they were loaded."""
    present = results.get_all_result_keys()
    for key, benchmark in benchmarks.items():
        combinations = list(product(*benchmark["params"]))
        values = results.get_result_value(key, benchmark["params"]) if key in present else [None] * len(combinations)
        selected = benchmarks.benchmark_selection[key]
        for i, combination in enumerate(combinations):
            if selected is None or i in selected:
                name = f"{key}({', '.join(combination)})" if combination else key
                yield Measurement(name, benchmark["type"], values[i])


def run_suites(folder: Path, log: Path, patterns: Sequence[str], *how: str) -> list[Measurement] | None:
    """What asv measures in one run of the benchmarks that match, with results of its own in ``folder``; None if nothing.

    ``how``: asv's further arguments. Refusal where no benchmark matches.
    """
    results_folder = folder / "results"
    config = write_config(folder, results_dir=str(results_folder))
    name = this_machine()
    describe_machine(name)
    asv(log, "run", "--config", config, "--machine", name, *bench_options(patterns), *how)
    try:
        benchmarks = load_benchmarks(config, patterns)
    except UserError:
        return None
    results, damaged = load_results(results_folder)
    return list(measurements(benchmarks, results[0])) if len(results) == 1 and not damaged else None
