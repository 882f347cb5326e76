"""How a kernel is run, and how functions call each other by name (see `linking`, `threads`).

- ``@separate``: a serial function that is compiled once for each dtype, and called by name;
- ``@leaf``: the same, for one that makes no arrays;
- ``@shared``: what a launch runs. Its first arguments are (share, shares), and it does one share of the work. Called from
  Python, without these two, it does all shares, on all threads.

Which share an output element falls in never changes how it is computed; that is why results are the same bits for any
number of threads.
"""

import inspect
import os
import threading
from collections.abc import Iterator
from typing import Any

from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from ...compilation import compilation
from . import buffers, code_cache, linking, threads
from .compiling import from_python, kernel, name_of, without_arrays
from .values import annotations, type_of, types_within, without_names

# Work of fewer operations than this is done before a second thread has woken.
SERIAL_BELOW = 200_000

_lock = threading.RLock()  # one launch at a time
_threads = 1
_pool: threads.Pool | None = None

_separates: dict[int, tuple[Any, str]] = {}  # by the identity of the intrinsic: dispatcher, name
_published: set[tuple[str, Any]] = set()  # name and dtype of those that are known to the linker


def _called_by_name(function: Any, seen: set[int]) -> Iterator[tuple[Any, str]]:
    """The separate functions that a function and those inlined into it call, each after those that it calls itself.

    They are found by the names in its code, which must be names of its module: a call of ``module.function`` is not found.
    """
    for name in function.__code__.co_names:
        used = function.__globals__.get(name)
        if id(used) in seen:
            continue
        seen.add(id(used))
        if id(used) in _separates:
            dispatcher, _ = _separates[id(used)]
            yield from _called_by_name(dispatcher.py_func, seen)
            yield _separates[id(used)]
        elif hasattr(used, "py_func"):
            yield from _called_by_name(used.py_func, seen)


def _publish_separates(function: Any, argument_types: Any) -> None:
    """Make what a kernel calls known to the linker, for the dtype that it works in: that of its first array of floats."""
    arrays = (t for given in argument_types for t in types_within(given) if isinstance(t, types.Array))
    dtypes = (t.dtype for t in arrays if t.dtype in (types.float32, types.float64))
    dtype = next(dtypes, None)
    if dtype is None:
        return
    for dispatcher, name in _called_by_name(function, set()):
        if (name, dtype) not in _published:
            linking.publish(dispatcher, name, [type_of(annotation, dtype) for annotation in annotations(dispatcher.py_func)])
            _published.add((name, dtype))


def separate(function: Any) -> Any:
    """Compile a function that returns nothing once for each dtype that is used; kernels call it by name.

    What its arguments are stands in their annotations (see `values`). Whoever calls it has it among its module's own names.
    """
    return _by_name(kernel(function), function)


def leaf(function: Any) -> Any:
    """Like :func:`separate`, for a function that makes no arrays.

    It must not be given any by what it calls either, for nobody would let go of these; a test looks for that.
    """
    return _by_name(without_arrays(function), function)


def _by_name(dispatcher: Any, function: Any) -> Any:
    """What calls a compiled function by its name."""
    name = name_of(function)

    def call(typingctx: Any, *argument_types: Any) -> Any:
        return linking.call(name, argument_types)

    parameters = inspect.signature(function).parameters.values()
    first = inspect.Parameter("typingctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    call.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]  # by which Numba calls it
    call.__name__, call.__doc__ = function.__name__, function.__doc__
    by_name = intrinsic(call)
    _separates[id(by_name)] = dispatcher, name
    return by_name


class shared:
    """Compile ``function(share, shares, ...)``; calling the result with ``(...)`` runs all shares, on all threads.

    ``shares``: how many rows the per-share scratch memory among the arguments has; without such memory, not given.
    ``work``, about how many floating-point operations the call is, keeps small work on one thread.

    An annotation says which of its arguments are values with a name (see `values`).
    """

    def __init__(self, function: Any) -> None:
        self._body, name = kernel(function), name_of(function)
        linking.know(name, function)
        self._named = [i for i, annotation in enumerate(annotations(function)[2:]) if annotation is not None]

        def frame(state: Any, shares: Any, arguments: Any) -> None:
            linking.launch(name, state, shares, arguments)

        # The name of its files in the cache, which would otherwise be one for all kernels.
        frame.__qualname__ = f"{function.__module__}.{function.__qualname__}"
        self._frame = from_python(frame)
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        compile_frame = self._frame.compile

        def compile_body_and_frame(types_of_frame: Any) -> Any:
            *_, arguments = types_of_frame
            types_of_body = linking.types_of_body(name, arguments.types)
            with compilation.preparing():
                _publish_separates(function, types_of_body)
                linking.publish(self._body, name, (types.int64, types.int64, *types_of_body))
                return compile_frame(types_of_frame)

        # Numba calls this for every new combination of types, and takes the frame from its cache or compiles it:
        # either way the body must be known to the linker first.
        self._frame.compile = compile_body_and_frame

    def __call__(self, *arguments: Any, shares: int | None = None, work: float = float("inf")) -> None:
        if self._named:
            flat, before, plain = list(arguments), None, None
            for i in self._named:
                if type(flat[i]) is not tuple:  # else it has been done, once for several launches
                    if flat[i] is not before:  # what there is for one direction is given for two
                        before = flat[i]
                        plain = without_names(before)
                    flat[i] = plain
            arguments = tuple(flat)
        # Another thread may set the number of threads at any moment: never more shares than there is memory for.
        shares = 1 if work < SERIAL_BELOW else shares or _threads
        with _lock:
            pool = _pool or _start_pool()
            if shares > 1:
                pool.prepare(shares)
            self._frame(pool.address, shares, arguments)
            if code_cache.CHECK_BOUNDS:
                linking.raise_failure(self.__name__)


def _start_pool() -> threads.Pool:
    """The threads, of which none is started yet; makes the launch known to the linker."""
    global _pool
    with compilation.preparing():
        linking.publish(threads.launch, linking.LAUNCH, linking.LAUNCH_TYPES)
        _pool = threads.Pool()
    return _pool


def set_num_threads(n: int) -> None:
    """The number of shares, and of threads, for all calls from now on."""
    global _threads
    _threads = min(n, threads.MAX_SHARES)


def cache_folder() -> str | None:
    """Where the machine code is kept between processes; None where no folder can be written."""
    return code_cache.folder()


def clear_cache() -> int:
    """Remove all machine code that is kept between processes; returns how many files these were."""
    return code_cache.clear()


def num_shares() -> int:
    """The number of shares that large work is divided into: what per-share scratch memory is made for."""
    return _threads


# A child made by fork has one thread, and the locks as they were: one that another thread held would be held for ever, and what
# it guards be half done. So a fork waits for a launch, for what is being compiled, and for a request of memory.
_held_for_fork = False


def hold_for_fork() -> None:
    """Before a fork; not a second time if it is done."""
    global _held_for_fork
    _lock.acquire()  # in the order in which a launch takes them
    if _held_for_fork:
        _lock.release()
        return
    global_compiler_lock.acquire()
    buffers.lock_for_fork()
    _held_for_fork = True


def _after_fork() -> None:
    global _held_for_fork
    if _held_for_fork:  # else all this was imported in the middle of the fork
        _held_for_fork = False
        buffers.unlock_after_fork()
        global_compiler_lock.release()
        _lock.release()


def _after_fork_in_child() -> None:
    global _pool
    _pool = None  # its threads are not here
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=hold_for_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
