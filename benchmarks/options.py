"""What each option of the model costs beside the plain model, in time and in operations: ``python -m benchmarks.options``.

Training steps of fastattn alone, all models in one process, in turns as ``python -m benchmarks.peers`` takes them; a cost is
the median over the rounds of the ratio within a round. Operations are those of the matrix products, as the model is defined.
Beside them stands how many values of exp, tanh and the sigmoid there are: additive attention has one for each pair of a source
and a target step and each unit.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.models import MODELS, PLAIN, Model
from benchmarks.peers import machine
from benchmarks.peers.entrant import REST_SECONDS
from benchmarks.peers.measure import REQUEST_SECONDS, WARM_UP_SECONDS
from benchmarks.peers.report import markdown_table
from benchmarks.shapes import NAMED, Shape
from benchmarks.training_step import TrainingStep

DROPPED = 0.3
# Each option by itself, with no more of the others than it needs. The second: options that no matrix product depends on.
OPTIONS: dict[str, tuple[Model, dict[str, Any]]] = {
    "encoder_layers=2": (replace(PLAIN, encoder_layers=2), {}),
    "encoder_layers=2, residual": (replace(PLAIN, encoder_layers=2, residual=True), {}),
    "decoder_layers=2": (replace(PLAIN, decoder_layers=2), {}),
    "bidirectional, project_encoder, bridge affine": (
        replace(PLAIN, bidirectional=True, project_encoder=True, bridge="affine"),
        {},
    ),
    "attention scaled_dot": (replace(PLAIN, attention="scaled_dot"), {}),
    "attention general": (replace(PLAIN, attention="general"), {}),
    "attention additive": (replace(PLAIN, attention="additive"), {}),
    "attention None": (replace(PLAIN, attention=None), {}),
    "attentional_size=H": (replace(PLAIN, attentional=True), {}),
    "attentional_size=H, input_feeding": (replace(PLAIN, attentional=True, input_feeding=True), {}),
    "bridge last_state": (replace(PLAIN, bridge="last_state"), {}),
    "bridge affine": (replace(PLAIN, bridge="affine"), {}),
    "bridge zeros": (replace(PLAIN, bridge="zeros"), {}),
    "dropout": (PLAIN, {"dropout": DROPPED}),
    "recurrent_dropout": (PLAIN, {"recurrent_dropout": DROPPED}),
    "word_dropout": (PLAIN, {"word_dropout": 0.1}),
    "tie_embeddings": (replace(PLAIN, tie_embeddings=True), {}),
    "share_embeddings": (PLAIN, {"share_embeddings": True}),
    "label_smoothing": (PLAIN, {"label_smoothing": 0.1}),
    **{name: (model, {}) for name, model in MODELS.items() if model != PLAIN},
}


@dataclass(frozen=True)
class Cost:
    """Of one option at one shape, each number over the plain model's."""

    option: str
    seconds: float  # itself, the median over the rounds
    time: float
    operations: float
    activations: float

    def row(self) -> list[str]:
        ratios = self.time, self.operations, self.time / self.operations, self.activations
        return [self.option, f"{1e3 * self.seconds:.3g}", *(f"{ratio:.2f}" for ratio in ratios)]


HEADINGS = ["option", "ms", "time", "operations", "time over operations", "exp, tanh, sigmoid"]


def measure(shape: Shape, kernels: str, threads: int, rounds: int, names: Sequence[str]) -> list[Cost]:
    """The plain model first, then the named options."""
    models = {"plain": (PLAIN, {}), **{name: OPTIONS[name] for name in names}}
    steps = {name: TrainingStep(kernels, shape, threads, model=model, **further) for name, (model, further) in models.items()}
    counts = {}
    for name, step in steps.items():
        step()
        counts[name] = math.ceil(REQUEST_SECONDS / _warm_up(step))
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for turn in range(rounds):
        first = turn % len(order)
        for name in order[first:] + order[:first]:
            time.sleep(REST_SECONDS)  # threads that spin go to sleep
            step, count = steps[name], counts[name]
            step()
            seconds[name].append(_seconds(step, count))
        print(f"{shape}: round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    plain = seconds["plain"]
    return [
        Cost(
            name,
            statistics.median(seconds[name]),
            statistics.median(a / b for a, b in zip(seconds[name], plain, strict=True)),
            shape.flop(model) / shape.flop(PLAIN),
            shape.activations(model) / shape.activations(PLAIN),
        )
        for name, (model, _) in models.items()
    ]


def _seconds(step: TrainingStep, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def _warm_up(step: TrainingStep) -> float:
    """Seconds a step, when it is warm."""
    count, start = 1, time.perf_counter()
    while True:
        seconds = _seconds(step, count)
        if time.perf_counter() - start > WARM_UP_SECONDS:
            return seconds
        count *= 2


def table(costs: Sequence[Cost]) -> str:
    """In Markdown."""
    return markdown_table([HEADINGS, *(cost.row() for cost in costs)])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command with ``arguments``, or the process's own -> the exit code."""
    command = argparse.ArgumentParser(prog="python -m benchmarks.options", description=__doc__.splitlines()[0])
    add = command.add_argument
    add("--name", nargs="+", choices=NAMED, metavar="SHAPE", default=["date", "g2p"], help="of the shapes (default date g2p)")
    add("--shape", metavar="N,T1,T2,V,D,H", help="another shape instead")
    add("--option", nargs="+", choices=OPTIONS, metavar="OPTION", default=list(OPTIONS), help=f"of: {'; '.join(OPTIONS)}")
    add("--kernels", choices=("compiled", "reference"), default="compiled", help="(default compiled)")
    add("--threads", type=int, default=machine.available_cores(), help="(default every available core)")
    add("--rounds", type=int, default=15, help="of measurement (default 15)")
    add("--json", type=Path, metavar="FILE", help="write what was measured")
    chosen = command.parse_args(arguments)
    if chosen.rounds < 1:
        command.error(f"--rounds is {chosen.rounds}; expected at least 1")
    try:
        shapes = {chosen.shape: Shape.from_text(chosen.shape)} if chosen.shape else {n: NAMED[n] for n in chosen.name}
        machine.choose_cores(chosen.threads)
    except ValueError as error:
        command.error(str(error))
    made = {}
    for name, shape in shapes.items():
        costs = measure(shape, chosen.kernels, chosen.threads, chosen.rounds, chosen.option)
        print(f"{name}: {shape}; threads {chosen.threads}, rounds {chosen.rounds}\n\n{table(costs)}\n", flush=True)
        made[name] = [vars(cost) for cost in costs]
    if chosen.json:
        chosen.json.write_text(json.dumps({"machine": machine.facts(), "costs": made}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
