"""Hours of training and translating at changing shapes: does memory stay flat, and is no file handle left behind?

    python -m tests.faults.soak --minutes 120 --log soak.log

Each minute a line: minutes, rounds, training steps, answers, resident memory in MiB, open files, threads. A round trains a new
model of the family for some steps in a folder, with checkpoints, interrupts it, resumes it, loads it and translates; a model
that lives as long as the process takes steps of other sizes meanwhile. At last it says how the memory of the last quarter
stands to that of the second, and ends with 1 if that is more than 5 % or if files are open that were not.
"""

import argparse
import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import fastattn
from fastattn.training import Adam, Settings, StepRecord, Trainer, TrainingRun, load

FAMILY = (
    {},
    {"bidirectional": True, "attention": "general", "bridge": "affine"},
    {"encoder_layers": 2, "decoder_layers": 2, "attention": "additive", "dropout": 0.2},
    {"input_feeding": True, "attentional_size": 24, "attention": "general"},
    {"tie_embeddings": True, "attentional_size": 16},
    {"attention": "none", "recurrent_dropout": 0.2, "word_dropout": 0.1},
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Soak:
    """What goes on in a process, and how much of it was done."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.rounds = self.steps = self.answers = 0
        # A step on one batch is what a program with a loop of its own makes.
        self.old = fastattn.AttentionSeq2seq(97, 24, 32, target_vocabulary=53, seed=seed, dropout=0.1)
        self.trainer = Trainer(self.old, Adam(1e-3))

    def size(self, low: int, high: int) -> int:
        """More often small than large."""
        return int(low * (high / low) ** self.rng.random())

    def round(self, folder: Path) -> None:
        """One of everything."""
        choices = FAMILY[self.rounds % len(FAMILY)]
        self._steps_of_the_old_one()
        pairs = self._pairs(self.size(20, 300), self.size(2, 40))
        path = folder / "pairs.tsv"
        path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
        sizes = {"embedding": self.size(4, 48), "hidden": self.size(4, 64), "batch_size": self.size(2, 64)}
        more = {"epochs": 2, "seed": self.rounds, "checkpoint_every": 3, "log_every": 1}
        run = TrainingRun(Settings.of(pairs=str(path), **more, **sizes, **choices), folder / "model")
        left = self.size(1, 6)

        def interrupt_in_time(record: StepRecord) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGINT)

        with contextlib.suppress(KeyboardInterrupt):
            run.train(on_step=interrupt_in_time, progress=False)
        run = TrainingRun.resume(folder / "model")
        run.train(progress=False)
        self.steps += run.history[-1].step or 0
        translator = load(folder / "model")
        texts = [source for source, _ in self._pairs(self.size(1, 200), self.size(2, 60))]
        beam = self.size(1, 6)
        translator.translate(texts)
        translator.search(
            texts[:20], beam=beam, n_best=beam, return_attention=bool(self.rounds % 2) and translator.has_attention
        )
        translator.sample(texts[:10], seed=self.rounds, draws=2)
        translator.score(pairs[:20])
        self.answers += len(texts) + 20 + 20
        self.rounds += 1
        shutil.rmtree(folder / "model")

    def _steps_of_the_old_one(self) -> None:
        for _ in range(3):
            N, T, U = self.size(1, 96), self.size(1, 150), self.size(2, 60)
            x, t = self.rng.integers(0, 97, (N, T)), self.rng.integers(0, 53, (N, U))
            lengths = self.rng.integers(1, T + 1, N)
            self.trainer.fit(x, t, source_lengths=lengths, batch_size=N, progress=False)
            self.old.eval()
            self.old.generate(x, 0, self.size(1, 40), lengths=lengths, beam=self.size(1, 4))
            self.steps += 1
        self.trainer.loss_list.clear()

    def _pairs(self, count: int, longest: int) -> list[tuple[str, str]]:
        texts = ["".join(self.rng.choice([*LETTERS], self.size(1, longest + 1))) for _ in range(count)]
        return [(text, text[::-1].upper()) for text in texts]


def resident() -> float:
    """MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    out = sys.stdout if given.log is None else open(given.log, "a", buffering=1)  # noqa: SIM115
    began = time.monotonic()
    soak = Soak(given.seed)
    memory, files = [], []
    print("minute rounds steps answers MiB files threads", file=out)
    with tempfile.TemporaryDirectory() as folder:
        while (minutes := (time.monotonic() - began) / 60) < given.minutes:
            if minutes >= len(memory):
                memory.append(resident())
                files.append(open_files())
                said = f"{minutes:.1f} {soak.rounds} {soak.steps} {soak.answers} {memory[-1]:.1f} {files[-1]} {threads()}"
                print(said, file=out)
            soak.round(Path(folder))
    quarter = max(1, len(memory) // 4)
    before, after = np.median(memory[quarter : 2 * quarter] or memory), np.median(memory[-quarter:])
    left = files[-1] - files[min(quarter, len(files) - 1)]
    print(f"memory: {before:.1f} MiB in the second quarter, {after:.1f} in the last; open files: {left:+d}", file=out)
    return int(after > 1.05 * before or left > 0)


if __name__ == "__main__":
    sys.exit(main())
