"""How the kernels are compiled and run: the one factory of Numba's options, and the launch of a kernel (see `threads`).

Three kinds of functions:

- ``@kernel``: a serial function that is inlined into what calls it;
- ``@separate(arguments)``: a serial function that is compiled once for each dtype, and called by name (see `linking`);
- ``@shared``: what a launch runs. Its first arguments are (share, shares), and it does one share of the work. Called from
  Python, without these two, it does all shares, on all threads.

Which share an output element falls in never changes how it is computed; that is why results are the same bits for any
number of threads.
"""

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

from numba import config, njit, types
from numba.extending import overload

from . import buffers, linking, threads

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

if config.DISABLE_JIT:
    raise RuntimeError("the compiled kernels need Numba's compiler, which NUMBA_DISABLE_JIT switches off")

# Work of fewer operations than this is done before a second thread has woken.
_SERIAL_BELOW = 200_000

_lock = threading.RLock()  # one launch at a time
_threads = 1
_pool: threads.Pool | None = None


def _fingerprint() -> str:
    """A hash of every source file of the compiled kernels: code that was inlined must not outlive a change of its file."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_stamp = _fingerprint()


def _name(function: Any) -> str:
    return f"fastattn.{function.__module__}.{function.__qualname__}.{_stamp[:16]}"


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


def _compiled(function: Any, **options: Any) -> Any:
    """Numba's compiler with the options that all kernels share: no GIL, division as in NumPy, a cache on disk."""
    dispatcher = njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function)
    try:
        dispatcher.enable_caching()
        # Numba's own stamp covers only the file in which the function stands. This name is private to Numba; a version
        # that lacks it keeps Numba's stamp.
        if hasattr(dispatcher._cache, "_cache_file"):
            dispatcher._cache._cache_file._source_stamp = _stamp
            _one_process_at_a_time(dispatcher._cache._cache_file, dispatcher._cache.cache_path)
    except RuntimeError:
        pass  # no folder to write in: compiled anew in every process
    return dispatcher


def kernel(function: Any) -> Any:
    """Compile a serial function, with strict floating point."""
    return _compiled(function)


def reduction(function: Any) -> Any:
    """Like :func:`kernel`, for loops that add up: in any order, fixed when it is compiled, so that they vectorise."""
    return _compiled(function, fastmath={"reassoc", "contract", "nsz", "arcp"})


_separates: list[tuple[Any, str, str]] = []  # dispatcher, name, letters of the arguments: a function after those it calls
_published: dict[Any, int] = {}  # by dtype: how many of them are known to the linker


def _publish_separates(argument_types: Any) -> None:
    """Make all separate functions known to the linker for the dtype that a kernel works in: its first array's of floats."""
    dtypes = (t.dtype for t in argument_types if isinstance(t, types.Array) and t.dtype in (types.float32, types.float64))
    dtype = next(dtypes, None)
    if dtype is None:
        return
    kinds = {"n": types.int64, "i": types.int64[::1], "v": dtype[::1]}
    for dispatcher, name, letters in _separates[_published.get(dtype, 0) :]:
        linking.publish(dispatcher, name, [kinds[letter] for letter in letters.split()])
        _published[dtype] = _published.get(dtype, 0) + 1


def separate(arguments: str) -> Any:
    """Compile a function that returns nothing once for each dtype that is used; kernels call it by name.

    ``arguments``: a letter for each, n a whole number, i a flat array of int64, v a flat array of the dtype.
    """

    def decorate(function: Any) -> Any:
        dispatcher, name = _compiled(function), _name(function)
        _separates.append((dispatcher, name, arguments))

        def stub(*arguments: Any) -> None:
            raise RuntimeError("only compiled code calls this")

        @overload(stub)
        def _typed(*arguments: Any) -> Any:
            def call(*arguments: Any) -> None:
                linking.call(name, arguments)

            return call

        return stub

    return decorate


class shared:
    """Compile ``function(share, shares, ...)``; calling the result with ``(...)`` runs all shares, on all threads.

    ``shares``: how many rows the per-share scratch memory among the arguments has; without such memory, not given.
    ``work``, about how many floating-point operations the call is, keeps small work on one thread.
    """

    def __init__(self, function: Any) -> None:
        self._body, name = _compiled(function), _name(function)

        def frame(state: Any, shares: Any, arguments: Any) -> None:
            linking.launch(name, state, shares, arguments)

        # The name of its files in the cache, which would otherwise be one for all kernels.
        frame.__qualname__ = f"{function.__module__}.{function.__qualname__}"
        self._frame = _compiled(frame)
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        compile_frame = self._frame.compile

        def compile_body_and_frame(types_of_frame: Any) -> Any:
            *_, arguments = types_of_frame
            _publish_separates(arguments.types)
            linking.publish(self._body, name, (types.int64, types.int64, *arguments.types))
            return compile_frame(types_of_frame)

        # Numba calls this for every new combination of types, and takes the frame from its cache or compiles it:
        # either way the body must be known to the linker first.
        self._frame.compile = compile_body_and_frame

    def __call__(self, *arguments: Any, shares: int | None = None, work: float = float("inf")) -> None:
        # Another thread may set the number of threads at any moment: never more shares than there is memory for.
        shares = 1 if work < _SERIAL_BELOW else shares or _threads
        with _lock:
            pool = _pool or _start_pool()
            if shares > 1:
                pool.prepare(shares)
            self._frame(pool.address, shares, arguments)


def _start_pool() -> threads.Pool:
    """The threads, of which none is started yet; makes the launch known to the linker."""
    global _pool
    run_shares = _compiled(threads.run_shares)
    work = _compiled(threads.make_work(run_shares))
    work.compile((types.int64, types.boolean))
    linking.publish(_compiled(threads.make_launch(run_shares)), linking.LAUNCH, linking.LAUNCH_TYPES)
    _pool = threads.Pool(work)
    return _pool


def set_num_threads(n: int) -> None:
    """The number of shares, and of threads, for all calls from now on."""
    global _threads
    _threads = min(n, threads.MAX_SHARES)


def cache_folder() -> str | None:
    """Where the machine code is kept between processes; None where no folder can be written."""
    return getattr(_compiled(threads.run_shares)._cache, "cache_path", None)


def num_shares() -> int:
    """The number of shares that large work is divided into: what per-share scratch memory is made for."""
    return _threads


def _after_fork_in_child() -> None:
    global _pool, _lock
    _lock = threading.RLock()  # the parent's may be held by a thread that is not here
    buffers.renew_lock()
    _pool = None  # and its threads are not here either


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
