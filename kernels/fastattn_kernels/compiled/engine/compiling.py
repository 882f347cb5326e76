"""Numba's compiler: the one factory of its options, and the cache of machine code on disk.

- ``@kernel``: a serial function that is inlined into what calls it;
- ``@reduction``: the same, for loops that add up;
- ``@from_python``: a function that Python calls. Only these have the code that takes Python's objects apart, which is as long
  as many a function: any other one called from Python would crash.

`jit` has two more: functions that are called by name, and those that a launch runs on all threads.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

from numba import config, njit, types
from numba.core.runtime import rtsys

from . import watching as watching  # from the first function on

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

if config.DISABLE_JIT:
    raise RuntimeError("the compiled kernels need Numba's compiler, which NUMBA_DISABLE_JIT switches off")


def fingerprint() -> str:
    """A hash of every source file of the compiled kernels: code that was inlined must not outlive a change of its file."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


STAMP = fingerprint()


def name_of(function: Any) -> str:
    """A name for the linker, of this function in this version of the sources."""
    return f"fastattn.{function.__module__}.{function.__qualname__}.{STAMP[:16]}"


def _one_process_at_a_time(files: Any, folder: str) -> None:
    """Lock a function's cache while it is read or written.

    Numba does not: two processes that compile at once can enter one's index with the other's machine code in it.
    """

    def locked(access: Any) -> Any:
        def call(*arguments: Any) -> Any:
            try:
                with open(os.path.join(folder, "fastattn.lock"), "ab") as lock:
                    if fcntl is not None:
                        fcntl.flock(lock, fcntl.LOCK_EX)
                    return access(*arguments)
            except OSError:
                return None  # a full disk, say: what was compiled serves this process alone

        return call

    files.load, files.save = locked(files.load), locked(files.save)


def _load_without_compiler(cache: Any) -> None:
    """Load machine code from disk without what Numba needs to compile.

    Before it looks into a cache, Numba imports its versions of all that Python and NumPy have: 0.2 s and 10 MB, and SciPy where
    that is installed. It does so, too, before it compiles.
    """

    def load_overload(signature: Any, target_context: Any) -> Any:
        rtsys.initialize(target_context)  # what counts references to arrays; the only part that code from a cache needs
        with cache._guard_against_spurious_io_errors():
            return cache._load_overload(signature, target_context)

    cache.load_overload = load_overload


def _compiled(function: Any, **options: Any) -> Any:
    """Numba's compiler with the options that all functions share: no GIL, division as in NumPy, a cache on disk.

    A function that is defined inside another finds its machine code again only if what it uses of that other is the same in
    every process; a compiled function is not.
    """
    dispatcher = njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function)
    try:
        dispatcher.enable_caching()
        # These names are private to Numba; a version that lacks them keeps its own way.
        cache = dispatcher._cache
        if hasattr(cache, "_cache_file"):
            # Numba's own stamp covers only the file in which the function stands.
            cache._cache_file._source_stamp = STAMP
            _one_process_at_a_time(cache._cache_file, cache.cache_path)
        if hasattr(cache, "_load_overload") and hasattr(cache, "_guard_against_spurious_io_errors"):
            _load_without_compiler(cache)
    except RuntimeError:
        pass  # no folder to write in: compiled anew in every process
    return dispatcher


def from_python(function: Any) -> Any:
    """Compile a function that Python calls, and that makes no arrays.

    Its caller keeps the arguments alive meanwhile, so that references to arrays are not counted.
    """
    return _compiled(function, _nrt=False)


def _inner(function: Any, **options: Any) -> Any:
    dispatcher = _compiled(function, no_cpython_wrapper=True, **options)
    compile_for = dispatcher.compile
    # Numba would compile it anew for every number that stands in a call of it.
    dispatcher.compile = lambda signature: compile_for(tuple(map(types.unliteral, signature)))
    return dispatcher


def kernel(function: Any) -> Any:
    """Compile a serial function that only compiled code calls, with strict floating point."""
    return _inner(function)


def without_arrays(function: Any) -> Any:
    """Like :func:`kernel`, for functions that make no arrays: references to those that they are given are not counted.

    Each value with a name that is made of arrays would count them, up and down again.
    """
    return _inner(function, _nrt=False)


def reduction(function: Any) -> Any:
    """Like :func:`kernel`, for loops that add up: in any order, fixed when it is compiled, so that they vectorise."""
    return _inner(function, fastmath={"reassoc", "contract", "nsz", "arcp"})
