"""Numba's compiler: the one factory of its options, and the cache of machine code on disk.

- ``@kernel``: a serial function that is inlined into what calls it;
- ``@reduction``: the same, for loops that add up;
- ``@from_python``: a function that Python calls. Only these have the code that takes Python's objects apart, which is as long
  as many a function: any other one called from Python would crash.

`jit` has two more: functions that are called by name, and those that a launch runs on all threads.
"""

import hashlib
from pathlib import Path
from typing import Any

from numba import config, njit, types

from . import watching as watching  # from the first function on
from .code_cache import CHECK_BOUNDS, KernelCache

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


def _compiled(function: Any, **options: Any) -> Any:
    """Numba's compiler with the options that all functions share: no GIL, division as in NumPy, a cache on disk.

    A function that is defined inside another finds its machine code again only if what it uses of that other is the same in
    every process; a compiled function is not.
    """
    dispatcher = njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, boundscheck=CHECK_BOUNDS, **options)(function)
    dispatcher._cache = KernelCache(function, STAMP)
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
