"""Writing a file so that its final name never stands for half of it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write `data` (a str as UTF-8) to `path`: afterwards the file is either wholly new or what it was before.

    The bytes go to a temporary file in the same folder, reach the disk, and then take the final name in one
    step (`os.replace`). Where `path` is a symbolic link, the file it points to is replaced and the link stays.
    What exists and is no regular file (a pipe, /dev/stdout) is written in place: there is nothing to replace.

    Raises OSError, as `open` does; an interruption of any kind removes the temporary file.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as stream:
            stream.write(content)
        return
    final = Path(os.path.realpath(path))
    # Not `tempfile`: it makes files that only their owner may read, and os.replace would keep that.
    temporary = final.with_name(f".fastattn-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, final)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename, error.filename2 = os.fspath(path), None  # the name that the caller knows; a full disk tells none
        raise
