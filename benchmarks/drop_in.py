"""What changing the import lines is worth: ``python -m benchmarks.drop_in``.

A training step of the attention model in three: fastattn's own, `fastattn.compat.dlfs2`'s, and that of the plain NumPy code
which the tests compare with (tests/compat/dlfs2_numpy.py). Checked, and timed in turns, as ``python -m benchmarks.peers``
does it, by the same code; the ratios are medians over the rounds.
"""

import argparse
import importlib.util
import math
import signal
import statistics
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import fastattn
from benchmarks.peers import PEERS, machine, report
from benchmarks.peers.measure import Job, measure
from benchmarks.peers.peer import Outcome, Peer, Task
from benchmarks.peers.process import ROOT
from benchmarks.shapes import BETA1, BETA2, EPS, LR, MAX_NORM, NAMED, Shape, make_batch

SHAPES = {"date": NAMED["date"], "addition": Shape(128, 7, 5, 13, 16, 128)}
ENTRANTS = {"fastattn": PEERS["fastattn"], "compat": "benchmarks.drop_in:Compat", "numpy": "benchmarks.drop_in:PlainNumPy"}


class PlainNumPy(Peer):
    """The code that people have."""

    def __init__(self, task: Task) -> None:
        self.names = self.module(task)
        shape = task.shape
        self.model = self.names.AttentionSeq2seq(shape.V, shape.D, shape.H)
        for param, weight in zip(self.model.params, task.weights(), strict=True):
            param[...] = weight
        self.optimizer = self.names.Adam(LR, BETA1, BETA2)
        self.steps = 0
        self.x, self.t = make_batch(shape)

    def module(self, task: Task) -> Any:
        """Where the names are."""
        path = ROOT / "tests" / "compat" / "dlfs2_numpy.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def train(self, steps: int) -> Outcome:
        model = self.model
        for _ in range(steps):
            loss = model.forward(self.x, self.t)
            model.backward()
            norm = self.names.clip_grads(model.grads, MAX_NORM)
            self.steps += 1
            self.optimizer.eps = EPS * math.sqrt(1 - BETA2**self.steps)  # the form of Adam that all peers are checked in
            self.optimizer.update(model.params, model.grads)
        return lambda: [float(loss), float(norm)]


class Compat(PlainNumPy):
    """The same code, on fastattn."""

    def module(self, task: Task) -> Any:
        fastattn.set_num_threads(task.threads)
        from fastattn.compat import dlfs2

        return dlfs2


def main(arguments: Sequence[str] | None = None) -> int:
    """The command with ``arguments``, or the process's own -> the exit code: 0 when all were measured."""
    signal.signal(signal.SIGTERM, _terminate)  # so that the peers end with the parent
    command = argparse.ArgumentParser(prog="python -m benchmarks.drop_in", description=__doc__.splitlines()[0])
    command.add_argument("--threads", type=int, default=machine.available_cores(), help="(default every available core)")
    command.add_argument("--rounds", type=int, default=15, help="of measurement (default 15)")
    chosen = command.parse_args(arguments)
    settings = {"threads": chosen.threads, "rounds": chosen.rounds}
    complete = True
    for name, shape in SHAPES.items():
        cores = machine.choose_cores(chosen.threads)
        job = Job(chosen.threads, cores, chosen.rounds, 600, False, name, shape, "train", ENTRANTS)
        results = measure(job, lambda line: None)
        print(report.text(results, settings))
        peers = results["peers"]
        if any(record["status"] != "measured" for record in peers.values()):
            complete = False
            continue
        own, compat, numpy = (peers[entrant]["seconds_per_step"] for entrant in ENTRANTS)
        print(
            f"{name}: compat / fastattn {_median_ratio(compat, own):.3f}, numpy / compat {_median_ratio(numpy, compat):.2f}\n"
        )
    return 0 if complete else 1


def _median_ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    """Of the rounds' own ratios."""
    return statistics.median(a / b for a, b in zip(seconds, others, strict=True))


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
