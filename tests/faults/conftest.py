"""Small runs that harm is done to: on the reference kernels, with all that a checkpoint must hold."""

import shutil
import signal

import numpy as np
import pytest

import fastattn
from fastattn.training import Settings, TrainingRun

LETTERS = "abcdef"
# Dropout, buckets, accumulation, averages, patience: all that goes on from step to step or from epoch to epoch.
WHOLE = {
    "embedding": 3,
    "hidden": 4,
    "epochs": 3,
    "batch_size": 3,
    "accumulate": 2,
    "dropout": 0.2,
    "valid_fraction": 0.2,
    "learning_rate": 0.02,
    "checkpoint_every": 1,
    "keep_checkpoints": 1000,
}


@pytest.fixture(autouse=True)
def _small():
    """Reference kernels, and Ctrl-C as in a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with fastattn.use_backend("reference"):
        yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("".join(f"{a}{b}{a * n}\t{b}{a}\n" for n, a in enumerate(LETTERS) for b in "xyz"))
    return path


@pytest.fixture
def settings(pairs):
    """settings(hidden=5): those of a small run, but for some."""
    return lambda **changes: Settings.of(pairs=str(pairs), **{**WHOLE, **changes})


@pytest.fixture
def finished(tmp_path, settings):
    """A run that was never interrupted, in the folder `whole`, with a checkpoint of each step."""
    run = TrainingRun(settings(), tmp_path / "whole")
    run.train(progress=False)
    return run


def checkpoints(folder):
    """The folders of all checkpoints, the oldest first."""
    return sorted((folder / "checkpoints").iterdir())


def cut(folder, to, number):
    """A copy of a run's folder as it was when it had so many checkpoints."""
    shutil.copytree(folder, to)
    for path in checkpoints(to)[number:]:
        shutil.rmtree(path)
    return to


def same(run, other):
    """Whether two runs came to the same, to the bit."""
    records = [
        [(r.epoch, r.step, r.loss, r.valid_loss, r.learning_rate, r.best) for r in each.history] for each in (run, other)
    ]
    weights = [each.translator.model.params for each in (run, other)]
    return (
        records[0] == records[1]
        and str(run.outcome) == str(other.outcome)
        and all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
    )


def flipped(path, place):
    """Turns one bit of a byte of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << (place % 8)
    path.write_bytes(content)
