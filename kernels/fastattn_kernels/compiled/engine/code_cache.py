"""The cache of machine code on disk: one file for each function and the types that it was compiled for.

What stands in such a file is run, and so a file is looked at in this order: who may have written it, then a digest of all that
stands in it, then whether it is of these sources; only then is anything of it unpickled. A file that fails is compiled anew and
written anew, and the process says so once. Files are written beside their place and renamed, so that processes that start
together read whole files, whoever of them was last.

A folder is used only if its path is absolute, and each folder on the path belongs to this user or to root and cannot be written
by others. (In a folder like /tmp, where nobody can rename what is another's, it may lie.)
"""

import contextlib
import hashlib
import os
import pickle
import stat
import sys
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import compiler, config
from numba.core.caching import _Cache
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

PACKAGE = Path(__file__).parents[1]
SUFFIX = ".fastattn"
CHECK_BOUNDS = os.environ.get("FASTATTN_CHECK_BOUNDS", "") not in ("", "0")

_MAGIC = b"fastattn code 1\n"
_DIGEST = hashlib.sha256().digest_size
_LOADED_BY = f"{sys.version} {numba.__version__} {llvmlite.__version__} {CHECK_BOUNDS}"

_said = False


def _say(sentence: str) -> None:
    """Tell the user, once in a process: what is wrong with one file is mostly wrong with many."""
    global _said
    if not _said and sys.stderr is not None:
        print(f"fastattn: {sentence}", file=sys.stderr)
    _said = True


def _writeable_by_others(status: os.stat_result) -> bool:
    """Whether somebody may write there who is neither this user nor root."""
    if not hasattr(os, "getuid"):  # Windows, whose rights are others
        return False
    return status.st_uid not in (0, os.getuid()) or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _fault_of(folder: Path) -> str | None:
    """What speaks against a folder, links followed, in words; None if nothing does. What is not there yet is no fault."""
    if not folder.is_absolute():
        return f"the path {str(folder)!r} is not absolute"
    folder = Path(os.path.realpath(folder))
    for each in (folder, *folder.parents):
        try:
            status = os.stat(each)
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{each} cannot be read ({error.strerror})"
        if not stat.S_ISDIR(status.st_mode):
            return f"{each} is no folder"
        owned = not hasattr(os, "getuid") or status.st_uid in (0, os.getuid())
        kept_apart = owned and each != folder and status.st_mode & stat.S_ISVTX
        if _writeable_by_others(status) and not kept_apart:
            return f"others may write to {each}" if owned else f"{each} belongs to another user"
    return None


def _made(folder: Path) -> str | None:
    """Make a folder; what is in the way, in words, if it cannot be used."""
    fault = _fault_of(folder)
    if fault is not None:
        return fault
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"{folder} cannot be written"
    except OSError as error:
        return f"{folder} cannot be made ({error.strerror})"
    return _fault_of(folder)  # again: it may have been made by somebody else meanwhile


def _candidates() -> Iterator[Path]:
    """Where the files may lie: where NUMBA_CACHE_DIR says, beside the sources, or in the user's folder of caches."""
    of_this_package = f"fastattn-{hashlib.sha256(os.fsencode(PACKAGE)).hexdigest()[:16]}"
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR) / of_this_package
    yield PACKAGE / "__pycache__"
    yield Path(AppDirs(appname="fastattn", appauthor=False).user_cache_dir) / of_this_package


@cache
def folder() -> str | None:
    """The folder of the cache, which is made; None if there is none that can be used: all is compiled in each process."""
    faults: list[str] = []
    for candidate in _candidates():
        if CHECK_BOUNDS:
            candidate /= "checked"
        fault = _made(candidate)
        if fault is None:
            if config.CACHE_DIR and faults:  # the user's own choice was passed over
                _say(f"NUMBA_CACHE_DIR is not used for machine code: {faults[0]}; it is kept in {candidate}")
            return os.path.realpath(candidate)
        faults.append(fault)
    _say(f"machine code is not kept, and compiled in each process: {'; '.join(faults)}")
    return None


def clear() -> int:
    """Remove all files of the cache, also those of ``FASTATTN_CHECK_BOUNDS``; returns how many."""
    base = folder()
    if base is None:
        return 0
    base_folder = Path(base).parent if CHECK_BOUNDS else Path(base)
    files = [path for each in (base_folder, base_folder / "checked") for path in each.glob(f"*{SUFFIX}*")]
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)


def _read(path: str) -> bytes | None:
    """What stands in a file of the cache after its digest; None if there is no file. ValueError, in words, if it is no good."""
    try:
        with open(path, "rb") as file:
            if _writeable_by_others(os.fstat(file.fileno())):
                raise ValueError("others may write to it")
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from None
    start = len(_MAGIC) + _DIGEST
    if content[: len(_MAGIC)] != _MAGIC or hashlib.sha256(content[start:]).digest() != content[len(_MAGIC) : start]:
        raise ValueError("it is damaged")
    return content[start:]


def _write(path: str, content: bytes) -> None:
    """Write a file whole or not at all. OSError if it cannot be."""
    beside = f"{path}.{uuid.uuid4().hex[:16]}"
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "wb") as file:
            file.write(_MAGIC + hashlib.sha256(content).digest() + content)
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


class KernelCache(_Cache):
    """The files of one function, in the place of Numba's own cache."""

    def __init__(self, function: Any, stamp: str) -> None:
        self._function = function
        self._stamp = stamp
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        return folder()

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """Nothing: a file that is not of these sources is written anew when it is met."""

    def path_for(self, signature: Any, codegen: Any) -> str | None:
        """The file for some types of arguments on this machine."""
        base = folder()
        if base is None:
            return None
        function = self._function
        name = f"{function.__module__.rpartition('fastattn_kernels.')[2]}.{function.__qualname__}"
        name = "".join(c for c in name if c not in "<>:/\\")[-120:]
        kind = f"{function.__module__}.{function.__qualname__} {signature} {codegen.magic_tuple()} {_LOADED_BY}"
        return os.path.join(base, f"{name}-{hashlib.sha256(kind.encode()).hexdigest()[:24]}{SUFFIX}")

    def _key(self, signature: Any, codegen: Any) -> bytes:
        """What a file must have been made of, to serve."""
        digest = hashlib.sha256(f"{self._stamp} {signature} {codegen.magic_tuple()} {_LOADED_BY}".encode())
        digest.update(self._function.__code__.co_code)
        if self._function.__closure__ is not None:
            digest.update(dumps(tuple(cell.cell_contents for cell in self._function.__closure__)))
        return digest.digest()

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Machine code from disk, without what Numba needs to compile; None if it has to be compiled.

        Before it looks into a cache of its own, Numba imports its versions of all that Python and NumPy have: 0.2 s and 10 MB,
        and SciPy where that is installed. It does so, too, before it compiles.
        """
        rtsys.initialize(target_context)  # what counts references to arrays; the only part that code from a cache needs
        codegen = target_context.codegen()
        path = self.path_for(signature, codegen) if self._enabled else None
        if path is None:
            return None
        try:
            content = _read(path)
            if content is None or content[:_DIGEST] != self._key(signature, codegen):
                return None
            try:
                return compiler.CompileResult._rebuild(target_context, *pickle.loads(content[_DIGEST:]))
            except Exception as error:
                raise ValueError(f"it cannot be loaded ({type(error).__name__}: {error})") from error
        except ValueError as fault:
            _say(f"a file of the cache of machine code is not used, and compiled anew: {fault}: {path}")
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep what was compiled; if that cannot be, it serves this process alone."""
        path = self.path_for(signature, result.codegen) if self._enabled else None
        if path is None or result.library.has_dynamic_globals or any(not each.can_cache for each in result.lifted):
            return
        content = self._key(signature, result.codegen) + dumps(result._reduce())
        try:
            _write(path, content)
        except OSError as error:
            _say(f"machine code cannot be kept, and is compiled in each process: {error.strerror}: {path}")
