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
from fastattn.data import PLAIN, PairsFile, Reading, group_targets
from fastattn.evaluation import Evaluation, evaluate
from fastattn.training import Settings, Translator, load, train

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
    """The model of these settings: trained now, unless a training of the same settings has ended in this folder.

    So a table that was interrupted goes on where it was. ModelFolderError for a model of other settings.
    """
    done = folder / "minutes.json"
    if done.exists() and Settings.read(folder / "config.toml") == settings:
        return Trained(load(folder), json.loads(done.read_text())["minutes"])
    began = time.perf_counter()
    run = train(settings, folder, overwrite=not done.exists() and folder.exists())
    minutes = (time.perf_counter() - began) / 60
    done.write_text(json.dumps({"minutes": minutes}) + "\n")
    print(f"{folder}: {run.outcome}; {minutes:.1f} minutes", flush=True)
    return Trained(run.translator, minutes)


def measured(answering: Answering, path: str | os.PathLike[str], reading: Reading = PLAIN) -> Evaluation:
    """The answers to the different sources of a file of pairs, compared with all targets that each has there.

    reading: with the normalisation that the answers have.
    """
    targets = group_targets(PairsFile.read(path, reading).pairs)
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
