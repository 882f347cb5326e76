"""The choice of the kernel set, and the first use of the compiled one."""

import contextlib
import subprocess
import sys

import pytest
from helpers import skip_without_compiled_kernels

import fastattn
from fastattn import backend

FIRST_USE_BY_SEVERAL_THREADS = """
import os, threading
import numpy as np
import fastattn

failures = []

def use():
    try:
        start.wait()
        fastattn.SoftmaxLayer().forward(np.ones((2, 3)))
    except BaseException as error:
        failures.append(error)

start = threading.Barrier(4)
threads = [threading.Thread(target=use) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not failures, failures
assert "NUMBA_NUM_THREADS" not in os.environ
"""


def test_several_threads_may_be_the_first_to_use_the_compiled_kernels():
    skip_without_compiled_kernels()
    done = subprocess.run([sys.executable, "-c", FIRST_USE_BY_SEVERAL_THREADS], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_backend_is_chosen_for_a_block():
    before = fastattn.get_backend()
    with fastattn.use_backend("reference"):
        assert fastattn.get_backend() == "reference"
        assert backend.kernels().__name__ == "fastattn_kernels.reference"
    assert fastattn.get_backend() == before
    with contextlib.suppress(ZeroDivisionError), fastattn.use_backend("reference"):
        raise ZeroDivisionError
    assert fastattn.get_backend() == before


@pytest.mark.parametrize("name", ["numba", "", None, "Compiled"])
def test_a_backend_that_is_none(name):
    before = fastattn.get_backend()
    with pytest.raises(ValueError, match="expected one of 'compiled', 'reference'"):
        fastattn.set_backend(name)
    assert fastattn.get_backend() == before


@pytest.mark.parametrize("number", [0, -1, 1.0, True, "2", None])
def test_a_number_of_threads_that_is_none(number):
    before = fastattn.get_num_threads()
    with pytest.raises(ValueError, match="expected a whole number of at least 1"):
        fastattn.set_num_threads(number)
    assert fastattn.get_num_threads() == before


@pytest.mark.parametrize(("name", "value"), [("BACKEND", "fast"), ("NUM_THREADS", "0"), ("NUM_THREADS", "two")])
def test_the_environment_is_checked_when_it_is_first_needed(monkeypatch, name, value):
    monkeypatch.setenv(f"FASTATTN_{name}", value)
    monkeypatch.setattr(backend, f"_{name.lower()}", None)
    with pytest.raises(ValueError, match=f"FASTATTN_{name} is '?{value}'?; expected"):
        backend.get_backend() if name == "BACKEND" else backend.get_num_threads()
