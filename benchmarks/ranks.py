"""Training on ranks of MPI: whether the bits are the same, and the speed beside threads. ``python -m benchmarks.ranks``.

    python -m benchmarks.ranks bits PAIRS.tsv      200 steps on 1, 2 and 4 ranks, with dropout, buckets and accumulation
    python -m benchmarks.ranks speed PAIRS.tsv     in turn: threads and ranks, divided and undivided batches

PAIRS.tsv is read with spaces between the target's tokens; without it the built-in dates are learnt. mpiexec is that beside this
Python, or the system's.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RANKS = (1, 2, 4)
STEPS = 200
EPOCHS = 4  # of a measurement, the first of which is left out


@dataclass(frozen=True)
class Way:
    """How a training is computed. ranks 0: without MPI."""

    ranks: int
    threads: int
    shards: int
    wire: str = "dense"

    def __str__(self) -> str:
        ranks = "no MPI" if not self.ranks else f"{self.ranks} rank{'s' * (self.ranks > 1)}"
        wire = "" if self.wire == "dense" else f", {self.wire}"
        return f"{ranks}, {self.threads} thread{'s' * (self.threads > 1)}, {self.shards} shard{'s' * (self.shards > 1)}{wire}"


SPEED = (Way(0, 2, 1), Way(0, 2, 8), Way(2, 1, 8), Way(0, 2, 2), Way(2, 1, 2))


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """One training, in this process, which may be a rank of several: its speed and a digest of its weights."""
    from fastattn import Adam, AttentionSeq2seq, Trainer, set_num_threads
    from fastattn.data import date_pairs, encode_pairs
    from fastattn.data.pairs import PairsFile
    from fastattn.training import DataSettings

    set_num_threads(arguments.threads)
    communicator = None
    if arguments.ranks:
        from fastattn.training.communicators import world

        communicator = world()
    data = DataSettings(target_tokens="char" if arguments.pairs is None else "space")
    pairs = date_pairs() if arguments.pairs is None else PairsFile.read(arguments.pairs, data.reading).pairs
    source, target = data.vocabularies(pairs, False)
    chosen = np.random.default_rng(0).permutation(len(pairs))[: arguments.steps * arguments.batch]
    x, source_lengths, t, target_lengths = encode_pairs([pairs[i] for i in chosen], source, target)
    sizes = (len(source), 64, 256)
    model = AttentionSeq2seq(*sizes, target_vocabulary=len(target), dropout=arguments.dropout, seed=0)
    trainer = Trainer(model, Adam(0.002), communicator)
    history = trainer.fit(
        x, t, arguments.epochs, arguments.batch // arguments.accumulate, 5.0, source_lengths=source_lengths,
        target_lengths=target_lengths, seed=0, progress=False, schedule="linear", accumulate=arguments.accumulate,
        shards=arguments.shards, wire=arguments.wire,
    )  # fmt: skip
    digest = hashlib.sha256(b"".join(param.tobytes() for param in model.params)).hexdigest()
    speed = statistics.median([record.tokens_per_second for record in history][1:] or [history[0].tokens_per_second])
    is_first = communicator is None or communicator.rank == 0
    return {"speed": speed, "digest": digest[:16], "steps": trainer.step, "loss": history[-1].loss} if is_first else {}


def result(way: Way, pairs: str | None, **options: Any) -> dict[str, Any]:
    """Of a training in processes of its own."""
    command = [sys.executable, "-m", "benchmarks.ranks", "work", *([pairs] if pairs else [])]
    for name, value in {"ranks": way.ranks, "threads": way.threads, "shards": way.shards, "wire": way.wire, **options}.items():
        command += [f"--{name}", str(value)]
    if way.ranks:
        mpiexec = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
        if mpiexec is None:
            raise SystemExit("benchmarks.ranks: there is no mpiexec; install one with: pip install mpich")
        command = [mpiexec, "-n", str(way.ranks), *command]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout)


def bits(pairs: str | None, batch: int) -> int:
    """Prints a digest for each number of ranks; the exit status is 1 if they differ."""
    options = {"batch": batch, "steps": STEPS, "epochs": 1, "dropout": 0.2, "accumulate": 2}
    digests = set()
    for way in (Way(0, 2, 8), *(Way(ranks, 1, 8) for ranks in RANKS)):
        found = result(way, pairs, **options)
        digests.add(found["digest"])
        print(f"{way}: {found['steps']} steps, loss {found['loss']!r}, weights {found['digest']}", flush=True)
    print("the same bits" if len(digests) == 1 else "the bits differ")
    return len(digests) > 1


def speed(pairs: str | None, batch: int, rounds: int, steps: int) -> None:
    """Prints the median tokens a second of each way, and its ratio to the first, the median over rounds."""
    found: dict[Way, list[float]] = {way: [] for way in SPEED}
    for _ in range(rounds):
        for way, speeds in found.items():
            speeds.append(result(way, pairs, batch=batch, steps=steps, epochs=EPOCHS)["speed"])
    print(f"{pairs or 'dates'}, batches of {batch}, {steps} steps an epoch, {rounds} rounds")
    for way, speeds in found.items():
        ratios = [own / first for own, first in zip(speeds, found[SPEED[0]], strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {way} | {statistics.median(speeds):,.0f} | {ratio} |", flush=True)
    for ranks, threads in ((Way(2, 1, 8), Way(0, 2, 8)), (Way(2, 1, 2), Way(0, 2, 2))):
        ratios = [a / b for a, b in zip(found[ranks], found[threads], strict=True)]
        print(f"{ranks} beside {threads}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("bits", "speed", "work"))
    parser.add_argument("pairs", nargs="?", metavar="PAIRS.tsv")
    for name, default in (("batch", 64), ("rounds", 5), ("steps", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("ranks", 0), ("threads", 1), ("shards", 1), ("epochs", 1), ("accumulate", 1)):
        parser.add_argument(f"--{name}", type=int, default=default, help=argparse.SUPPRESS)
    parser.add_argument("--dropout", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--wire", default="dense", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what == "bits":
        return bits(arguments.pairs, arguments.batch)
    if arguments.what == "speed":
        speed(arguments.pairs, arguments.batch, arguments.rounds, arguments.steps)
    elif found := work(arguments):
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
