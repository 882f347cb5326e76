"""Replays what fuzzing found: a documented error, or what was to be read, in bounded time and memory.

And a short search without atheris, by the mutations that it uses, each time from the same seed.
"""

import importlib.util
import random
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

import fastattn

from . import targets
from .mutations import Mutator

FOUND = Path(__file__).with_name("found")
CASES = [(name, path) for name in targets.TARGETS for path in sorted((FOUND / name).glob("*"))]
SECONDS, BYTES = 10, 2**27


@pytest.fixture
def target():
    """target(name): one of them, on the kernels in Python; afterwards all is as it was."""
    with fastattn.use_backend("reference"), targets.quiet():
        yield targets.TARGETS.__getitem__


@pytest.mark.parametrize(("name", "path"), CASES, ids=[f"{name}-{path.name}" for name, path in CASES])
def test_what_was_found_is_found_no_more(name, path, target):
    data = path.read_bytes()
    target(name).seeds()  # what is made once is no part of the measure
    tracemalloc.start()
    try:
        began = time.process_time()
        target(name).run(data)
        seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < SECONDS
    assert peak < BYTES


def test_every_folder_of_cases_has_its_target():
    assert {path.name for path in FOUND.iterdir()} <= set(targets.TARGETS)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_seeds_are_read(name, target):
    """What a search begins from reaches what is behind the loader, but for such as are meant to be refused."""
    for seed in target(name).seeds():
        target(name).run(seed)


def flipped(data, max_size, rng):
    """In libFuzzer's place: bytes taken out, put in, or repeated."""
    place, size = rng.randrange(len(data) + 1), rng.randrange(1, 9)
    return (data[:place] + rng.choice((b"", rng.randbytes(size), data[place : place + size] * 2)) + data[place + size :])[
        :max_size
    ]


@pytest.mark.parametrize("name", targets.TARGETS)
@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=pytest.mark.slow)])
def test_changed_files_are_refused_as_documented(name, count, target):
    rng = random.Random(f"{name} {count}")
    seeds = target(name).seeds()
    mutator = Mutator(seeds, target(name).words, lambda data, size: flipped(data, size, rng))
    data = seeds[0]
    for _ in range(count):
        data = mutator(data, targets.LONGEST, rng.randrange(2**32))
        began = time.process_time()
        target(name).run(data)
        assert time.process_time() - began < SECONDS, data


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris")
def test_the_fuzzer_runs(tmp_path):
    command = [sys.executable, "-m", "tests.fuzz", "manifest", "--minutes", "1", "--runs", "500", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "manifest: 500 inputs, 0 kinds found" in done.stdout
