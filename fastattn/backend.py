"""Which kernel set serves the layers, and on how many threads.

"compiled" (Numba, the default) is fast; "reference" (plain NumPy) is the oracle. Both hold the same functions. The choice is
the process's, for all threads. It is read from the environment variable FASTATTN_BACKEND when it is first needed, and
FASTATTN_NUM_THREADS likewise sets the number of threads.
"""

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from fastattn_kernels.compilation import compilation as compilation

BACKENDS = ("compiled", "reference")

_backend: str | None = None
_num_threads: int | None = None
_is_chosen = False  # by a call of set_num_threads
_in_use = 0, 0  # a number of threads that was asked for, and that of those that there are
_compiled: ModuleType | None = None  # only when it is imported whole, which takes a while
_import_lock = threading.RLock()


def _before_fork() -> None:
    """A child would wait for ever for a thread of its parent that imports the compiled set: a fork waits."""
    _import_lock.acquire()
    jit = sys.modules.get("fastattn_kernels.compiled.engine.jit")
    if jit is not None and hasattr(jit, "hold_for_fork"):  # it does so by itself, but not if it was imported while this waited
        jit.hold_for_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_import_lock.release, after_in_child=_import_lock.release)


def _checked_backend(name: object, source: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{source} is {name!r}; expected one of {', '.join(map(repr, BACKENDS))}")
    return str(name)


def _checked_num_threads(n: object, source: str) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"{source} is {n!r}; expected a whole number of at least 1")
    return n


# What other libraries read, and a user or a scheduler of jobs may have set for all of them.
_OTHERS_LIMITS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def _cores() -> int:
    """The cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_cores() -> int:
    """Those of them that it uses unless it is told to: what is set for other libraries can make them fewer."""
    cores = _cores()
    for name in _OTHERS_LIMITS:
        given = os.environ.get(name, "").split(",")[0].strip()  # OMP_NUM_THREADS has a number for each level
        if given.isdecimal() and int(given) > 0:
            cores = min(cores, int(given))
    return cores


def get_backend() -> str:
    """The name of the kernel set in use: "compiled" or "reference"."""
    global _backend
    if _backend is None:
        _backend = _checked_backend(os.environ.get("FASTATTN_BACKEND") or "compiled", "FASTATTN_BACKEND")
    return _backend


def set_backend(name: str) -> None:
    """Choose the kernel set for all layers: "compiled" or "reference". ValueError for another name."""
    global _backend
    _backend = _checked_backend(name, "the backend")


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """``with use_backend("reference"):`` chooses a kernel set for a block, and the one before it again at its end.

    A forward and its backward belong in the same block: each set keeps its own notes in between.
    """
    before = get_backend()
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


def get_num_threads() -> int:
    """The number of threads that the compiled kernels use. At first: FASTATTN_NUM_THREADS, or every available core.

    Those are the cores of the process's affinity mask, and no more than OMP_NUM_THREADS and NUMBA_NUM_THREADS say.
    """
    global _num_threads
    if _num_threads is None:
        given = os.environ.get("FASTATTN_NUM_THREADS")
        if given:
            _num_threads = _checked_num_threads(int(given) if given.isdecimal() else given, "FASTATTN_NUM_THREADS")
        else:
            _num_threads = available_cores()
    return _num_threads


def set_num_threads(n: int) -> None:
    """Let the compiled kernels use ``n`` threads; the results are the same bits for every ``n``. ValueError for n < 1.

    ``n`` may exceed the number of cores: there are then as many threads as cores, for more would only be in each other's way.
    The reference set is NumPy's, whose own threads this does not touch.
    """
    global _num_threads, _is_chosen
    _num_threads = _checked_num_threads(n, "the number of threads")
    _is_chosen = True


def use_at_most(n: int) -> None:
    """Let the compiled kernels use ``n`` threads, unless `set_num_threads` or FASTATTN_NUM_THREADS has said how many."""
    global _num_threads
    if not _is_chosen and not os.environ.get("FASTATTN_NUM_THREADS"):
        _num_threads = _checked_num_threads(n, "the number of threads")


def _most_threads() -> int:
    """No more threads than this are of any use."""
    return _cores()


def _threads_in_use() -> int:
    """The number of threads that there are for the number that was asked for."""
    global _in_use
    number = get_num_threads()
    if _in_use[0] != number:
        _in_use = number, min(number, _most_threads())
    return _in_use[1]


def _compiled_kernels() -> ModuleType:
    """The compiled set. Its first import starts Numba, which takes a while."""
    global _compiled
    with _import_lock, compilation.preparing():  # several threads may be the first
        _compiled = importlib.import_module("fastattn_kernels.compiled")
        return _compiled


def kernels() -> ModuleType:
    """The kernel set in use, with the number of threads in force: what layers and optimizers call."""
    if get_backend() == "reference":
        return importlib.import_module("fastattn_kernels.reference")
    compiled = _compiled or _compiled_kernels()
    compiled.set_num_threads(_threads_in_use())
    return compiled


def cache_folder() -> str | None:
    """Where the compiled kernels keep their machine code; None if no folder can be written, or for the reference set."""
    return kernels().cache_folder() if get_backend() == "compiled" else None


def clear_cache() -> tuple[int, str | None]:
    """Remove the machine code that the compiled kernels keep between processes: how many files these were, and where."""
    compiled = _compiled_kernels()
    return compiled.clear_cache(), compiled.cache_folder()
