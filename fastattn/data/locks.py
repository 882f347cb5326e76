"""A folder has one writer: a lock that a dead process does not keep."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".fastattn-lock"
# What systems say that have no such locks: some network file systems.
UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


class LockedError(Exception):
    """The folder has a writer. The message says which, as far as it is known."""


class FolderLock:
    """``with FolderLock(folder):`` nobody else has the lock of this folder meanwhile. LockedError if somebody has it.

    It is the system's lock (flock) on a file in the folder: when a process ends, however it ends, its locks are gone. Where
    the system has none, the file itself is the lock. One that a dead process of this machine left is then taken over; one of
    another machine has to be deleted by hand. OSError where the file cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / LOCK
        self._descriptor: int | None = None
        self._words = b""

    @property
    def is_held(self) -> bool:
        """Whether the lock is held, and its file is still the one in the folder: neither was removed or replaced."""
        if self._descriptor is None:
            return False
        try:
            there, held = os.stat(self.path), os.fstat(self._descriptor)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)

    def acquire(self) -> None:
        """LockedError, OSError."""
        words = {"process": os.getpid(), "machine": socket.gethostname(), "token": secrets.token_hex(8)}
        self._words = json.dumps(words).encode()
        while self._descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
            descriptor = os.open(self.path, flags, 0o644)
            try:
                if fcntl is None:
                    raise OSError(errno.ENOSYS, "no flock")
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    said = _said(_read(descriptor))
                    os.close(descriptor)
                    raise LockedError(said) from None
                os.close(descriptor)
                if error.errno not in UNSUPPORTED:
                    raise
                self._acquire_file()
                return
            self._descriptor = descriptor
            # A holder removes the file before it lets go: what was locked may no longer be the file in the folder.
            if self.is_held:
                with contextlib.suppress(OSError):  # a full disk: who holds it is for people to read
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, self._words, 0)
                _held.add(self)
            else:
                os.close(descriptor)
                self._descriptor = None

    def _acquire_file(self) -> None:
        """Without the system's locks: the file is the lock."""
        for _ in range(3):
            try:
                descriptor = self._new_file()
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):
                    there = self.path.read_bytes()  # empty: nobody's, made by who asked whether there are locks
                    if there and not _is_dead(there):
                        raise LockedError(f"{_said(there)}; if it has ended, delete {self.path}") from None
                    aside = self.path.with_name(f"{LOCK}-{secrets.token_hex(8)}")
                    os.rename(self.path, aside)
                    if aside.read_bytes() != there:  # somebody else was quicker
                        with contextlib.suppress(OSError):
                            os.link(aside, self.path)
                    aside.unlink()
                continue
            self._descriptor = descriptor
            _held.add(self)
            return
        raise LockedError(f"another process holds {self.path}")

    def _new_file(self) -> int:
        """The file, which appears with its content. FileExistsError where there is one."""
        own = self.path.with_name(f"{LOCK}-{secrets.token_hex(8)}")
        descriptor = os.open(own, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(descriptor, self._words)
            os.link(own, self.path)
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            own.unlink()
        return descriptor

    def release(self) -> None:
        """Nothing if it is not held."""
        if self._descriptor is None:
            return
        if self.is_held:
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = None
        _held.discard(self)

    def _forget(self) -> None:
        """In a child that was forked: the lock is its parent's."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock._forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _read(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, 1000, 0)
    except OSError:
        return b""


def _said(words: bytes) -> str:
    """Who holds a lock."""
    try:
        holder = json.loads(words)
        who = f"process {int(holder['process'])} on {str(holder['machine'])[:100]!r}"
    except (ValueError, TypeError, KeyError, RecursionError):
        who = "another process"
    return f"{who} is writing to it"


def _is_dead(words: bytes) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    try:
        holder = json.loads(words)
        number = int(holder["process"])
        if holder["machine"] != socket.gethostname() or number < 1:
            return False
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False
    return False
