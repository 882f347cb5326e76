"""Threads, processes and signal handlers around the compiled kernels."""

import os
import threading

import numpy as np
import pytest
from fastattn_kernels import compiled
from fastattn_kernels.compiled.engine import buffers
from helpers import run_python

import fastattn

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")

LOOK = """
import os, signal, threading, time
import numpy as np
import fastattn
from fastattn import backend
x = np.arange(6, dtype=np.float32).reshape(2, 3)
def right():
    return np.allclose(fastattn.SoftmaxLayer().forward(x).sum(axis=1), 1)
def in_child():
    child = os.fork()
    if child == 0:
        signal.alarm(100)  # a child that waits for ever is a failure too
        os._exit(0 if right() else 3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@needs_fork
@pytest.mark.parametrize(
    "lock",
    [
        "__import__('numba.core.compiler_lock', fromlist='_').global_compiler_lock",
        "__import__('fastattn_kernels.compiled.engine.jit', fromlist='_')._lock",
        "__import__('fastattn_kernels.compiled.engine.buffers', fromlist='_')._lock",
        "backend._import_lock",
    ],
    ids=["compiler", "launch", "memory", "import"],
)
def test_a_fork_waits_for_what_another_thread_is_in_the_middle_of(lock):
    code = (
        LOOK
        + f"""
backend.kernels()
held, done = threading.Event(), []
def hold():
    with {lock}:
        held.set()
        time.sleep(0.2)
        done.append(1)
thread = threading.Thread(target=hold)
thread.start()
held.wait()
print(in_child(), done, right())
"""
    )
    assert run_python(code).split() == ["0", "[1]", "True"]


@needs_fork
def test_a_child_made_during_the_first_use():
    code = (
        LOOK
        + """
thread = threading.Thread(target=right)
thread.start()
codes = []
while thread.is_alive() and len(codes) < 6:
    codes.append(in_child())
    time.sleep(0.02)
thread.join()
print(set(codes), right())
"""
    )
    assert run_python(code).strip() == "{0} True"


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_children_of_multiprocessing_compute(method):
    code = f"""
import multiprocessing, numpy as np, fastattn
layer = fastattn.SoftmaxLayer()
x = np.arange(6, dtype=np.float32).reshape(2, 3)
if __name__ == "__main__":
    if {method!r} in multiprocessing.get_all_start_methods():
        before = layer.forward(x)
        with multiprocessing.get_context({method!r}).Pool(2) as pool:
            assert all(np.array_equal(y, before) for y in pool.map(layer.forward, [x] * 4))
    print("same")
"""
    assert run_python(code).strip() == "same"


def test_memory_that_is_being_given_is_not_given_to_a_signal_handler_too(monkeypatch):
    """The handler comes between the choice of a block and the making of its array."""
    inner, choose = [], buffers._free_block

    def interrupted(size):
        block = choose(size)
        if not inner:
            inner.append(None)
            inner[0] = buffers.empty((100, 100), np.float32)
        return block

    monkeypatch.setattr(buffers, "_blocks", {})
    monkeypatch.setattr(buffers, "_free_block", interrupted)
    outer = buffers.empty((100, 100), np.float32)
    outer.fill(1)
    inner[0].fill(2)
    assert not np.shares_memory(outer, inner[0])
    assert (outer == 1).all()
    assert not buffers._is_busy
    address = outer.__array_interface__["data"][0]
    del outer
    assert buffers.empty((100, 100), np.float32).__array_interface__["data"][0] == address, "the pool goes on"


SIGNALS = """
import signal, sys, time
import numpy as np
import fastattn
rng = np.random.default_rng(0)
x, t = rng.integers(0, 40, (32, 20)), rng.integers(0, 40, (32, 20))
def train(steps):
    model, optimizer = fastattn.AttentionSeq2seq(40, 24, 32, seed=1), fastattn.Adam()
    losses = []
    for _ in range(steps):
        losses.append(model.forward(x, t))
        model.backward()
        optimizer.update(model.params, model.grads, max_norm=1.0)
    return losses
other = fastattn.AttentionSeq2seq(40, 24, 32, seed=2)
expected, steps = other.generate(x, 0, 20), int(sys.argv[1]) if len(sys.argv) > 1 else 60
before = train(steps)
calls = []
def generate(*_):
    calls.append(np.array_equal(other.generate(x, 0, 20), expected))
signal.signal(signal.SIGALRM, generate)
signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
after = train(steps)
signal.setitimer(signal.ITIMER_REAL, 0)
print(before == after, all(calls), len(calls) > 3)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no SIGALRM")
def test_a_signal_handler_may_generate_while_a_model_trains():
    assert run_python(SIGNALS).split() == ["True"] * 3


def test_threads_train_and_generate_at_once_with_the_same_results():
    rng = np.random.default_rng(0)
    x, t = rng.integers(0, 40, (16, 9)), rng.integers(0, 40, (16, 8))

    def train(seed):
        model, optimizer = fastattn.AttentionSeq2seq(40, 12, 16, seed=seed), fastattn.Adam()
        losses = []
        for _ in range(20):
            losses.append(model.forward(x, t))
            model.backward()
            optimizer.update(model.params, model.grads, max_norm=1.0)
        return losses, model.generate(x, 0, 7).tolist()

    expected = [train(seed) for seed in range(6)]
    found = [None] * 6
    threads = [threading.Thread(target=lambda seed=seed: found.__setitem__(seed, train(seed))) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1,4"}, 1),
        ({"NUMBA_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1", "FASTATTN_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "many"}, None),
    ],
    ids=str,
)
def test_the_number_of_threads_that_is_set_for_other_libraries_is_respected(environment, expected, monkeypatch):
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "FASTATTN_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(fastattn.backend, "_num_threads", None)
    assert fastattn.get_num_threads() == (expected or len(os.sched_getaffinity(0)))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity mask")
def test_the_affinity_mask_is_respected():
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import fastattn
from fastattn_kernels.compiled.engine import threads
print(fastattn.get_num_threads(), threads.Pool()._cores)
"""
    assert run_python(code, FASTATTN_NUM_THREADS="", OMP_NUM_THREADS="", NUMBA_NUM_THREADS="").split() == ["1", "1"]


def test_denormals_are_zeros_in_the_kernels_and_stay_what_they_are_elsewhere():
    for dtype, tiny in ((np.float32, 1e-40), (np.float64, 1e-310)):
        x, W = np.full((64, 8, 32), tiny, dtype), np.eye(32, dtype=dtype)
        assert x.all()
        out = compiled.affine_forward(x, W, None, None)
        x86 = os.uname().machine in ("x86_64", "i686") if hasattr(os, "uname") else False
        assert out.any() != x86
        seen = []
        thread = threading.Thread(target=lambda x=x, seen=seen: seen.append((x * 1).all()))
        thread.start()
        thread.join()
        assert seen == [True]
        assert (x * 1).all(), "the caller's own mode is as it was"
