"""What the two tables have in common: models of several seeds, and the rates of their answers."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastattn import get_num_threads
from fastattn.data import group_targets, read_pairs
from fastattn.evaluation import Evaluation, evaluate
from fastattn.training import Settings, SettingsError, TrainingRun, Translator, load

BEAM = 5
Answering = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class Trained:
    """A model in its folder, and how long its training took."""

    translator: Translator
    minutes: float

    def answers(self, sources: Sequence[str]) -> list[str]:
        """Those of a beam search."""
        return self.translator.translate(sources, beam=BEAM)


def trained(settings: Settings, folder: Path) -> Trained:
    """The model of these settings, which is trained in this folder now, unless it has been; an interrupted training goes on.

    SettingsError for a training of other settings.
    """
    record = folder.with_name(f"{folder.name}.minutes.json")
    before = json.loads(record.read_text()) if record.exists() else {"minutes": 0.0, "ended": False}
    if record.exists() and Settings.read(folder / "config.toml") != settings:
        raise SettingsError(f"{folder} has a model of other settings; expected none, or one of the same")
    if before["ended"]:
        return Trained(load(folder), before["minutes"])
    began = time.perf_counter()

    def write(ended: bool) -> float:
        minutes = before["minutes"] + (time.perf_counter() - began) / 60
        record.write_text(json.dumps({"minutes": minutes, "ended": ended}) + "\n")
        return float(minutes)

    run = TrainingRun.resume(folder) if record.exists() else TrainingRun(settings, folder)
    run.train([lambda _: write(False)])
    minutes = write(True)
    print(f"{folder}: {run.outcome}; {minutes:.1f} minutes", flush=True)
    return Trained(run.translator, minutes)


def measured(answering: Answering, path: str | os.PathLike[str]) -> Evaluation:
    """The answers to the different sources of a file of pairs, compared with all targets that each has there."""
    targets = group_targets(read_pairs(path))
    sources = list(targets)
    return evaluate(sources, answering(sources), list(targets.values()), target_tokens="space")


def machine() -> str:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {get_num_threads()} threads"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, its first column to the left and the others to the right."""
    marks = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, marks, *rows))


def percent(rate: float) -> str:
    """A rate from 0 to 1, as the tables show it."""
    return f"{rate:.2%}".replace("%", " %")
