"""The one place that writes files and reads them back: a name never stands for half a file, or a set for half a set.

A set is some files of a folder that belong together, with a manifest: `manifest.json` holds the SHA-256 of each. It is
replaced in one step. All new files are first written beside the old ones, under names that their digests are part of; then
the manifest takes its name, and from this moment the new set is the one; then the files take theirs. Whoever finds a file
that is not what the manifest says looks for the one that has still to take its name. So at every moment the old set or the
new one can be read, whole, also while it is being written.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

MANIFEST = "manifest.json"
MANIFEST_BYTES = 2**20  # at most
_PREFIX = ".fastattn-"  # of all names that stand for nothing whole

Content = bytes | str
Result = TypeVar("Result")


class FileError(Exception):
    """A file that cannot be what it should be. The message is "FILE: reason"."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path, self.reason = path, reason


class TooLargeError(FileError):
    """A file of more bytes than are read."""


def atomic_write(path: str | os.PathLike[str], data: Content) -> None:
    """Write `data` (a str as UTF-8) to `path`: afterwards the file is either wholly new or what it was before.

    The bytes go to a temporary file in the same folder, reach the disk, and then take the final name in one
    step (`os.replace`). Where `path` is a symbolic link, the file it points to is replaced and the link stays.
    What exists and is no regular file (a pipe, /dev/stdout) is written in place: there is nothing to replace.

    Raises OSError, as `open` does; an interruption of any kind removes the temporary file.
    """
    content = _bytes(data)
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as stream:
            stream.write(content)
        return
    final = Path(os.path.realpath(path))
    # Not `tempfile`: it makes files that only their owner may read, and os.replace would keep that.
    temporary = final.with_name(f"{_PREFIX}{secrets.token_hex(8)}.tmp")
    try:
        with named(path):
            _write_new(temporary, content)
            os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with named(path):
        sync_folder(final.parent)


def write_set(folder: str | os.PathLike[str], files: Mapping[str, Content]) -> None:
    """Puts `files`, name -> content, into the set of the folder; files of it that are not among them stay.

    Afterwards the set is wholly new or, where OSError is raised, what it was before. Of several processes only one may write
    (`locks`); any may read meanwhile.
    """
    folder = Path(folder)
    finish_set(folder)
    contents = {name: _bytes(data) for name, data in files.items()}
    for name in contents:
        if (folder / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory", str(folder / name))
    entries = {**_entries_so_far(folder), **{name: _entry(content) for name, content in contents.items()}}
    waiting = {name: folder / _waiting(name, entries[name]) for name in contents}
    manifest, temporary = _manifest(entries), folder / f"{_PREFIX}{secrets.token_hex(8)}.tmp"
    try:
        for name, path in waiting.items():
            with named(folder / name):
                path.unlink(missing_ok=True)
                _write_new(path, contents[name])
        with named(folder / MANIFEST):
            _write_new(temporary, manifest)
            sync_folder(folder)
            os.replace(temporary, folder / MANIFEST)
    except BaseException:
        if not _holds(folder / MANIFEST, _entry(manifest)):
            for path in (*waiting.values(), temporary):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        raise
    with named(folder):
        sync_folder(folder)  # before the old files go
    for name, path in waiting.items():
        with named(folder / name):
            os.replace(path, folder / name)


def write_folder(folder: str | os.PathLike[str], files: Mapping[str, Content]) -> None:
    """Makes a new folder with a set of files, whole or, where OSError is raised, not at all."""
    folder = Path(folder)
    temporary = folder.with_name(f"{_PREFIX}{secrets.token_hex(8)}.tmp")
    try:
        with named(folder):
            temporary.mkdir()
        contents = {name: _bytes(data) for name, data in files.items()}
        contents[MANIFEST] = _manifest({name: _entry(content) for name, content in contents.items()})
        for name, content in contents.items():
            with named(folder / name):
                _write_new(temporary / name, content)
        with named(folder):
            sync_folder(temporary)
            os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    with named(folder):
        sync_folder(folder.parent)


def remove_folder(folder: str | os.PathLike[str]) -> None:
    """Removes a folder with what is in it: its name never stands for a part of it. Nothing where that cannot be."""
    folder = Path(folder)
    temporary = folder.with_name(f"{_PREFIX}{secrets.token_hex(8)}.tmp")
    with contextlib.suppress(OSError):
        os.rename(folder, temporary)
        shutil.rmtree(temporary, ignore_errors=True)


def finish_set(folder: str | os.PathLike[str]) -> None:
    """Does what a writer had still to do when it was killed; only for who writes the folder now. OSError as `os.replace`."""
    folder = Path(folder)
    with contextlib.suppress(FileError):
        for name, entry in (_read_manifest(folder) or {}).items():
            waiting = folder / _waiting(name, entry)
            # A writer that was killed may have left a part of it, where the new content was to be what it was before.
            if _holds(waiting, entry):
                os.replace(waiting, folder / name)
    for path in temporaries(folder):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def temporaries(folder: Path) -> Iterator[Path]:
    """What killed writers left in a folder."""
    try:
        yield from [path for path in folder.iterdir() if is_temporary(path.name)]
    except OSError:
        return


def is_temporary(name: str) -> bool:
    """Whether a file's name is one of those that this module gives while it writes."""
    return name.startswith(_PREFIX) and name.endswith((".tmp", ".new"))


class Reader(Protocol):
    """Reads files of a set by their names; ``folder``: where they stand, for messages."""

    folder: Path

    def read(self, name: str, limit: int | None = None) -> bytes: ...


class SetReader:
    """Reads the files of a folder's set as it stands at one moment, each checked against its digest.

    A folder without a manifest, as earlier versions wrote it, is read as it is. FileError for a damaged manifest.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries = _read_manifest(folder)

    @property
    def names(self) -> list[str] | None:
        """The files of the set; None where there is no manifest."""
        return None if self._entries is None else list(self._entries)

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The content of a file. FileError for one that is missing, too large, no regular file, or not what was written."""
        path = self.folder / name
        if self._entries is None:
            return read_regular(path, limit)
        if name not in self._entries:
            raise FileError(path, f"is not among the files of {MANIFEST}")
        entry = self._entries[name]
        if limit is not None and entry["bytes"] > limit:
            raise FileError(path, f"has {entry['bytes']:,} bytes; expected at most {limit:,}")
        trouble = FileError(path, "missing")
        # The file may take its name between two looks.
        for place in (path, self.folder / _waiting(name, entry), path):
            content: bytes | None
            try:
                content = read_regular(place, entry["bytes"])
            except TooLargeError:
                content = None
            except FileError as error:
                if place == path:
                    trouble = error
                continue
            if content is not None and _entry(content) == entry:
                return content
            trouble = FileError(path, f"is damaged: its SHA-256 is not the one in {MANIFEST}")
        raise trouble


def read_set(folder: str | os.PathLike[str], read: Callable[[SetReader], Result]) -> Result:
    """``read(reader)``, all of one set, also while another process replaces it."""
    folder = Path(folder)
    while True:
        before = manifest_bytes(folder)
        try:
            result = read(SetReader(folder))
        except Exception:
            if manifest_bytes(folder) == before:
                raise
            continue  # it was replaced meanwhile
        # Files without a manifest have no digests that would tell.
        if before is not None or manifest_bytes(folder) is None:
            return result


def read_regular(path: str | os.PathLike[str], limit: int | None = None) -> bytes:
    """The content of a regular file, or of one that a link leads to. FileError, with the reason, for anything else.

    A pipe or a device is not opened to be read: it may have no end. limit: in bytes.
    """
    try:
        _check_regular(path, os.stat(path))
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as stream:
            status = os.fstat(stream.fileno())
            _check_regular(path, status)
            if limit is not None and status.st_size > limit:
                raise TooLargeError(path, f"has {status.st_size:,} bytes; expected at most {limit:,}")
            if status.st_size > memory():
                raise TooLargeError(path, f"has {status.st_size:,} bytes, more than this machine has memory")
            content = stream.read(status.st_size)
            if len(content) < status.st_size or stream.read(1):
                raise FileError(path, "was changed while it was read")
            return content
    except FileNotFoundError:
        raise FileError(path, "missing") from None
    except IsADirectoryError:
        raise FileError(path, "is a folder") from None
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}") from error
    except MemoryError:
        raise TooLargeError(path, f"has {status.st_size:,} bytes, more than there is memory for") from None


def memory() -> float:
    """The bytes of this machine's memory; infinity where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def _check_regular(path: str | os.PathLike[str], status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file, but a pipe or a device"
        raise FileError(path, f"is {what}")


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """The names in a folder reach the disk, where the system can be told so. OSError where it tries, and fails."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # folders cannot be opened on Windows
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _create(path: Path) -> BinaryIO:
    """All bytes that are written go through here."""
    return open(path, "xb")


def _write_new(path: Path, content: bytes) -> None:
    with _create(path) as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


@contextlib.contextmanager
def named(path: str | os.PathLike[str]) -> Iterator[None]:
    """An OSError gets the name that the caller knows; a full disk tells none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = os.fspath(path), None
        raise


def _bytes(data: Content) -> bytes:
    return data.encode("utf-8") if isinstance(data, str) else data


def _entry(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _holds(path: Path, entry: Mapping[str, Any]) -> bool:
    """Whether a file is there, and is what the manifest says."""
    try:
        return _entry(read_regular(path, entry["bytes"])) == entry
    except FileError:
        return False


def _waiting(name: str, entry: Mapping[str, Any]) -> str:
    """The name under which a file waits for its own."""
    return f"{_PREFIX}{name[:100]}.{entry['sha256'][:32]}.new"


def _manifest(entries: Mapping[str, Mapping[str, Any]]) -> bytes:
    """With a digest of itself: so that it is known which file is damaged."""
    files = {name: dict(entries[name]) for name in sorted(entries)}
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    return (json.dumps({"format_version": 1, "files": files, "sha256": digest}, indent=2) + "\n").encode()


def manifest_bytes(folder: Path) -> bytes | None:
    """The manifest as it stands there: it is another if any file of the set is. None where there is none."""
    try:
        return read_regular(folder / MANIFEST, MANIFEST_BYTES)
    except FileError:
        return None


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Name -> digest and size; None where there is none. FileError for a manifest that is not, byte for byte, as written."""
    path = folder / MANIFEST
    if not os.path.lexists(path):
        return None
    content = read_regular(path, MANIFEST_BYTES)
    try:
        files = json.loads(content)["files"]
        entries = {name: {"sha256": str(entry["sha256"]), "bytes": int(entry["bytes"])} for name, entry in files.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        entries = {}
    if content != _manifest(entries) or not all(_is_plain(name) and _is_entry(entry) for name, entry in entries.items()):
        raise FileError(path, "is damaged: it is not as it was written")
    return entries


def _entries_so_far(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        return _read_manifest(folder) or {}
    except FileError:  # damaged: the new one tells of the new files alone
        return {}


def _is_plain(name: str) -> bool:
    """Whether a name stays in its folder."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return bool(name) and os.path.basename(name) == name and name not in (".", "..") and "\0" not in name


def _is_entry(entry: Mapping[str, Any]) -> bool:
    """Whether the digest is one, which stands in names of files, and the size can be."""
    return re.fullmatch("[0-9a-f]{64}", entry["sha256"]) is not None and 0 <= entry["bytes"] < 2**63
