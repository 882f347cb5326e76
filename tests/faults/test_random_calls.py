"""Whatever a caller does through the public interface, there is an exception or a result: the process never crashes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import skip_without_compiled_kernels

SCRIPT = Path(__file__).with_name("random_calls.py")


def run(backend, seed, rounds):
    """The number of calls that came to a result."""
    if backend == "compiled":
        skip_without_compiled_kernels()
    command = [sys.executable, str(SCRIPT), backend, str(seed), str(rounds)]
    environment = {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "170"}  # a write beyond a block ends the process
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, f"seed {seed}: {done.returncode}\n{done.stderr[-2000:]}"
    return int(done.stdout)


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_random_calls_never_crash(backend):
    assert run(backend, seed=1, rounds=60) > 100


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 10))
@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_many_random_calls_never_crash(backend, seed):
    assert run(backend, seed, rounds=1500) > 2500
