"""What the compiled kernels stand on: threads and processes, the memory that is used again, products and activations."""

import ast
import importlib
import math
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
from fastattn_kernels import compiled
from fastattn_kernels.compiled.engine import activation, buffers, compiling, cpu, jit, padding
from helpers import run_python
from kernels.cases import Draw

PRODUCT = """
import numpy as np
from fastattn_kernels import compiled
rng = np.random.default_rng(0)
x, W, b = (rng.standard_normal(s).astype(np.float32) for s in ((9, 11, 70), (70, 150), (150,)))
def product():
    compiled.set_num_threads(2)
    return compiled.affine_forward(x, W, b, None)
expected = x.astype(float) @ W + b
def right(out):
    return np.allclose(out, expected, atol=1e-4)
"""


def test_a_child_made_by_fork_computes_too():
    code = (
        PRODUCT
        + """
import os
before = product()
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(product(), before) else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), right(product()))
"""
    )
    assert run_python(code).split() == ["0", "True"]


FORKED = """
import os, signal
child = os.fork()
if child == 0:
    signal.alarm(60)  # a child that waits for ever is a failure too
    os._exit(0 if right(product()) else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_computes_though_a_thread_of_its_parent_held_the_memory():
    code = (
        PRODUCT
        + """
from fastattn_kernels.compiled.engine import buffers
product()
buffers._lock.acquire()
"""
        + FORKED
    )
    assert run_python(code).strip() == "0"


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_a_child_computes_though_only_other_code_of_its_parent_ran_in_parallel(layer):
    code = (
        PRODUCT
        + """
import numba
@numba.njit(parallel=True)
def ones(n):
    out = np.zeros(n)
    for i in numba.prange(n):
        out[i] = 1
    return out
ones(1000)
"""
        + FORKED
    )
    assert run_python(code, NUMBA_THREADING_LAYER=layer).strip() == "0"


def test_the_number_of_threads_may_change_while_a_kernel_runs():
    code = (
        PRODUCT.replace("    compiled.set_num_threads(2)\n", "")
        + """
import threading
stop = threading.Event()
def change():
    while not stop.is_set():
        for n in (1, 7, 2, 30):
            compiled.set_num_threads(n)
changing = threading.Thread(target=change)
changing.start()
wrong = sum(not right(product()) for _ in range(3000))
stop.set()
changing.join()
print(wrong)
"""
    )
    assert run_python(code).strip() == "0"


def test_the_users_own_number_of_threads_is_left_as_it_was():
    code = PRODUCT + "import numba; numba.set_num_threads(1); product(); print(numba.get_num_threads())"
    assert run_python(code).strip() == "1"


def test_every_kernel_has_files_of_its_own_in_the_cache():
    from fastattn_kernels.compiled import affine, lstm, norm, optimizer

    modules = (affine, lstm, norm, optimizer)
    kernels = [k for module in modules for k in vars(module).values() if isinstance(k, jit.shared)]
    names = {kernel._frame._cache._cache_file._index_name for kernel in kernels}
    assert len(names) == len(set(kernels)) > 10


def test_a_second_process_compiles_nothing(tmp_path):
    def files():
        return {(p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*.nb?")}

    code = (
        PRODUCT
        + """
import sys
import time
import numba
from fastattn_kernels.compilation import compilation
began, counts = time.perf_counter(), []
with compilation.told(counts.append):
    print(right(product()), "numba.np.linalg" in sys.modules)
of_kernels, seconds = compilation.functions, compilation.seconds
assert 0 < seconds < time.perf_counter() - began
print(numba.njit(lambda x: np.sort(x))(np.array([3, 1])))
assert compilation.functions == of_kernels and counts[-1:] in ([], [of_kernels]) and sorted(counts) == counts
print(of_kernels > 5, len(counts) > 5, min(counts, default=None))
"""
    )
    compiles = run_python(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert compiles.splitlines() == ["True True", "[1 3]", "True True 0"]
    written = files()
    assert len(written) > 10
    # Nor does it load what Numba needs to compile, and what the caller compiles is compiled all the same.
    loads = run_python(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert loads.splitlines() == ["True False", "[1 3]", "False False None"]
    assert files() == written


def test_without_the_compiler_one_sentence_says_so():
    code = """
try:
    import fastattn_kernels.compiled
except RuntimeError as error:
    print(error)
"""
    assert "NUMBA_DISABLE_JIT" in run_python(code, NUMBA_DISABLE_JIT="1")


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_two_python_threads_may_launch_at_once(layer):
    code = (
        PRODUCT
        + """
import threading
wrong = []
def work():
    for _ in range(200):
        if not right(product()):
            wrong.append(1)
threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads: t.start()
for t in threads: t.join()
print(len(wrong))
"""
    )
    assert run_python(code, NUMBA_THREADING_LAYER=layer).strip() == "0"


def test_more_threads_than_cores_from_the_environment():
    code = "from fastattn import backend; backend.kernels()\n" + PRODUCT.replace("    compiled.set_num_threads(2)\n", "")
    code += "from fastattn_kernels.compiled.engine import jit; print(right(product()), len(jit._pool._threads))"
    assert run_python(code, FASTATTN_NUM_THREADS="5").split() == ["True", "4"]  # and the one that launches


POOL = "from fastattn_kernels.compiled.engine import jit, threads\n" + PRODUCT + "from time import sleep, monotonic\n"


def test_threads_that_have_nothing_to_do_sleep_and_are_woken():
    code = (
        POOL
        + """
import time
product()
state, woken = jit._pool._state, 0
for _ in range(5):
    until = monotonic() + 60
    while state[threads._SLEEPING] == 0 and monotonic() < until:
        sleep(0.001)
    slept = state[threads._SLEEPING]
    before = time.process_time()
    sleep(0.2)
    busy = time.process_time() - before
    assert right(product()), "a launch while the other thread sleeps"
    until = monotonic() + 60
    while state[threads._SLEEPING] == 0 and monotonic() < until:
        assert right(product())
    woken += slept == 1 and busy < 0.1
print(woken)
"""
    )
    assert run_python(code).strip() == "5"


def test_a_launch_does_not_need_the_other_threads():
    code = POOL + "product(); jit._pool.stop(); print(right(product()), any(t.is_alive() for t in jit._pool._threads))"
    assert run_python(code).split() == ["True", "False"]


def test_a_child_made_by_fork_has_threads_of_its_own():
    code = (
        POOL
        + """
import os, sys
product()
child = os.fork()
if child == 0:
    alive = right(product()) and [t.is_alive() for t in jit._pool._threads] == [True]
    sys.exit(0 if alive else 3)  # not os._exit: what runs at the end of a process must work here, too
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), right(product()))
"""
    )
    assert run_python(code).split() == ["0", "True"]


def test_shares_are_each_run_once_however_many_threads_there_are():
    counts = np.zeros((40, 8), np.int64)
    before = jit._threads
    for shares in (1, 2, 3, 7, 40):
        jit.set_num_threads(shares)
        counts[:] = 0
        for _ in range(200):
            _count(counts)
        assert (counts[:shares, 0] == 200).all()
        assert not counts[shares:].any()
    jit.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tile"), [("haswell", "AVX2"), ("x86-64", "SSE2")], ids=["AVX2", "x86-64"])
def test_other_cpus_agree_with_the_reference(name, tile, tmp_path):
    if cpu.TILE.name == "NEON":
        pytest.skip("the CPU is no x86-64")
    code = "from fastattn_kernels.compiled.engine import cpu; import pytest; print(cpu.TILE.name); "
    tests = __file__.replace("test_engine", "test_kernels")
    code += f"raise SystemExit(pytest.main(['-q', '-x', '-p', 'no:cacheprovider', {tests!r}]))"
    out = run_python(code, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES="", NUMBA_CACHE_DIR=str(tmp_path))
    assert out.startswith(tile)
    assert " passed" in out or "100%" in out


def test_a_folder_that_cannot_be_written_only_costs_the_cache(tmp_path):
    code = (
        """
from numba.core import caching
for locator in caching.CacheImpl._locator_classes:
    locator.from_function = classmethod(lambda cls, function, file: None)
"""
        + PRODUCT
        + "print(right(product()))"
    )
    assert run_python(code).strip() == "True"


def test_the_stamp_of_the_cache_covers_every_source_file():
    from pathlib import Path

    files = {p.name for p in Path(jit.__file__).parents[1].rglob("*.py")}
    assert {"lstm.py", "product.py", "vector.py", "compiling.py"} <= files
    assert compiling.fingerprint() == compiling.STAMP


def test_numbers_given_to_another_thread_stay_valid():
    """A block is not handed out again while any view of it lives, in any thread."""
    draw = Draw("float32")
    seen = []

    def hold():
        array = buffers.empty((100, 100), np.float32)
        array.fill(1)
        seen.append(array[::2])

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(10):
        buffers.empty((100, 100), np.float32).fill(2)
    assert all((view == 1).all() for view in seen)
    assert draw.dtype == np.float32


def test_idle_memory_is_given_back_though_every_request_finds_a_block(monkeypatch):
    monkeypatch.setattr(buffers, "_blocks", {})
    buffers.empty((1 << 21) + 5, np.float64)
    size = buffers._size_class(((1 << 21) + 5) * 8 + 64)
    assert buffers._blocks[size]
    for _ in range(3 * buffers._KEEP):
        buffers.empty((128, 128), np.float32)
    assert not buffers._blocks[size]


def test_pieces_of_a_block_are_aligned_and_do_not_overlap():
    pieces = buffers.pieces(np.dtype("float32"), 5, 0, 20_001, 16)
    assert [p.size for p in pieces] == [5, 0, 20_001, 16]
    starts = [p.__array_interface__["data"][0] for p in pieces]
    assert all(start % 64 == 0 for start in starts)
    for i, piece in enumerate(pieces):
        piece.fill(i)
    assert all((piece == i).all() for i, piece in enumerate(pieces))


def test_memory_on_huge_pages_begins_on_one():
    memory = buffers.on_huge_pages(1001, np.float64)
    assert memory.size == 1001
    assert memory.__array_interface__["data"][0] % (2 << 20) == 0
    memory.fill(1)


def test_blocks_are_used_again_and_aligned():
    first = buffers.empty((128, 128), np.float32)
    address = first.__array_interface__["data"][0]
    assert address % 64 == 0
    view = memoryview(first)
    del first
    other = buffers.empty((128, 128), np.float32)
    assert other.__array_interface__["data"][0] != address, "a memoryview still holds the first"
    del other, view
    addresses = {buffers.empty((128, 128), np.float32).__array_interface__["data"][0] for _ in range(3)}
    assert len(addresses) <= 2


def test_a_larger_block_serves_where_there_is_none_of_the_size(monkeypatch):
    monkeypatch.setattr(buffers, "_blocks", {})
    large = buffers.empty(200_000, np.float64)
    address = large.__array_interface__["data"][0]
    del large
    small = buffers.empty(20_000, np.float64)
    assert small.__array_interface__["data"][0] != address, "less than half as large"
    held = buffers.empty(130_000, np.float64)
    assert held.__array_interface__["data"][0] == address
    assert buffers.empty(130_000, np.float64).__array_interface__["data"][0] != address


@numba.njit
def _samples_of(share, shares, N, block):
    return padding.samples_of(share, shares, N, block)


@pytest.mark.parametrize("shares", [1, 2, 3, 5])
@pytest.mark.parametrize("N", [1, 2, 7, 32, 61])
@pytest.mark.parametrize("block", [1, 4, 16])
def test_every_sample_is_in_one_share(shares, N, block):
    parts = [_samples_of(share, shares, N, block) for share in range(shares)]
    assert all((np.diff(part) > 0).all() for part in parts)
    assert sorted(np.concatenate(parts)) == list(range(N))


@pytest.mark.parametrize("lengths", [None, np.arange(64, 0, -1)])
def test_shares_have_about_as_many_steps(lengths, monkeypatch):
    monkeypatch.setattr(jit, "_threads", 2)
    steps = np.full(64, 9) if lengths is None else lengths
    block = padding.block_of_samples(lengths, 64)
    first, second = (int(steps[_samples_of(share, 2, 64, block)].sum()) for share in range(2))
    assert abs(first - second) <= 0.02 * (first + second)


@jit.shared
def _count(share, shares, counts):
    counts[share, 0] += 1


@compiling.from_python
def _apply(x, e, t, s):
    for i in range(x.size):
        e[i] = activation.exp(x[i])
        t[i] = activation.tanh(x[i])
        s[i] = activation.sigmoid(x[i])


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 5e-7), (np.float64, 1e-15)])
def test_activations(dtype, tolerance):
    x = np.concatenate((np.linspace(-12, 12, 4001), [0.0, -0.0, 1e-30, 50, -50, np.nan])).astype(dtype)
    e, t, s = (np.empty_like(x) for _ in range(3))
    _apply(x, e, t, s)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(e, np.exp(exact), rtol=tolerance)
    np.testing.assert_allclose(t, np.tanh(exact), rtol=0, atol=tolerance)
    np.testing.assert_allclose(s, 1 / (1 + np.exp(-exact)), rtol=0, atol=tolerance)
    assert math.isnan(e[-1])
    assert math.isnan(t[-1])


def test_changed_weights_are_seen_at_the_next_call():
    draw = Draw("float32")
    x, W, b = draw(3, 5, 40), draw(40, 70), draw(70)
    before = compiled.affine_forward(x, W, b, None)
    W *= 2
    np.testing.assert_allclose(compiled.affine_forward(x, W, b, None) - b, 2 * (before - b), rtol=1e-4, atol=1e-4)


def test_what_is_called_by_name_is_called_by_a_name_of_the_module():
    """What a kernel calls is published before it, and found by such names alone; else the linker would end the process."""
    folder, found = Path(compiled.__file__).parent, set()
    for file in folder.rglob("*.py"):
        name = ".".join((compiled.__name__, *file.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
        module = importlib.import_module(name)
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            body = [node for statement in function.body for node in ast.walk(statement)]
            for node in body:
                if isinstance(node, ast.Name) and id(vars(module).get(node.id)) in jit._separates:
                    found.add(node.id)
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    used = getattr(vars(module).get(node.value.id), node.attr, None)
                    assert id(used) not in jit._separates, f"{name}.{function.name} calls {ast.unparse(node)}"
            inner = [node for node in body if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.GeneratorExp))]
            for node in (inside for each in inner for inside in ast.walk(each)):
                if isinstance(node, ast.Name):
                    assert id(vars(module).get(node.id)) not in jit._separates, f"{name}.{function.name}: {node.id}"
    assert {"matmul", "multiply_rows", "attend", "forward_of_samples", "softmax_row"} <= found
