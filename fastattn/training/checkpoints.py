"""Checkpoints of a run on disk: what it needs to go on, each in a folder of its own, whole or not there at all.

`checkpoints/00000007-epoch-2-step-123/` holds `state.json`, `arrays.safetensors` and the manifest with their SHA-256. They are
numbered in the order in which they were written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as safetensors_bytes

from fastattn.data import FileError, StoredCorpus
from fastattn.data.files import SetReader, finish_set, named, remove_folder, write_folder
from fastattn.data.tensors import DTYPES, Tensors, TensorsError

from .state import State

CHECKPOINTS, STATE, ARRAYS = "checkpoints", "state.json", "arrays.safetensors"
FORMAT_VERSION = 1
MAX_STATE_BYTES = 2**28
DAMAGED = ".damaged"
NAME = re.compile(rf"([0-9]{{8,12}})-epoch-[0-9]{{1,12}}-step-[0-9]{{1,15}}({DAMAGED})?")


@dataclass(frozen=True)
class Checkpoint:
    """What stands in one: ``about``, what the run says of itself, and the ``state`` of the training."""

    path: Path
    about: dict[str, Any]
    state: State


class CheckpointFolder:
    """The checkpoints of the run that writes to ``folder``: the last ``keep`` of them, and the best."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder / CHECKPOINTS, keep
        self.best: str | None = None
        self._own: list[Path] | None = None  # of this run, the oldest first; None before its first

    def exist(self) -> bool:
        """Whether there are any, of whatever run."""
        return any(self._names())

    def write(self, about: dict[str, Any], state: State, *, epoch: int, step: int, is_best: bool = False) -> Path:
        """Writes one, and then removes those that are no longer to be kept. OSError: all is as it was."""
        with named(self.folder):
            self.folder.mkdir(exist_ok=True)
        there = sorted(self._names())
        number = max((int(path.name.split("-")[0]) for path in there), default=0) + 1
        path = self.folder / f"{number:08d}-epoch-{epoch}-step-{step}"
        best = path.name if is_best else self.best
        content = {"format_version": FORMAT_VERSION, **about, "best": best, "state": state.numbers}
        arrays = {name: np.ascontiguousarray(array) for name, array in state.arrays.items()}
        files: dict[str, bytes | str] = {STATE: json.dumps(content, allow_nan=False), ARRAYS: safetensors_bytes(arrays)}
        finish_set(self.folder)
        write_folder(path, files)
        if self._own is None:  # those that are there are of a run that this one replaces
            for other in there:
                remove_folder(other)
            self._own = []
        self.best = best
        self._own.append(path)
        for old in self._own[: -self.keep]:
            if old.name != self.best:
                remove_folder(old)
                self._own.remove(old)
        return path

    def newest(self) -> tuple[Checkpoint, list[str]]:
        """The newest that is whole, and in words what is wrong with newer ones, which are set aside.

        FileError if none is whole; then none is set aside.
        """
        wrong: list[FileError] = []
        names = sorted((path for path in self._names() if not path.name.endswith(DAMAGED)), reverse=True)
        for path in names:
            try:
                checkpoint = _read(path)
            except FileError as error:
                wrong.append(error)
                continue
            said = []
            for trouble, damaged in zip(wrong, names):
                aside = damaged.with_name(damaged.name + DAMAGED)
                with contextlib.suppress(OSError):
                    os.rename(damaged, aside)
                said.append(f"{trouble}; it is set aside as {aside.name}")
            self.best = checkpoint.about.get("best")
            self._own = sorted(names[len(wrong) :])
            return checkpoint, said
        if wrong:
            raise FileError(self.folder, f"no checkpoint is whole: {'; '.join(map(str, wrong))}")
        raise FileError(self.folder, "there is no checkpoint to go on from")

    def _names(self) -> Iterator[Path]:
        with contextlib.suppress(OSError):
            yield from (path for path in self.folder.iterdir() if NAME.fullmatch(path.name))


def _read(path: Path) -> Checkpoint:
    """FileError for one that is not whole."""
    reader = SetReader(path)
    if reader.names is None:
        raise FileError(path, "has no manifest")
    try:
        content = json.loads(reader.read(STATE, MAX_STATE_BYTES), parse_constant=_no_number)
        if not isinstance(content, dict) or not isinstance(content.get("state"), dict):
            raise ValueError("it is no JSON object with a state")
        if content.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"format_version is {content.get('format_version')!r}; this fastattn reads {FORMAT_VERSION}")
    except (ValueError, RecursionError) as error:
        raise FileError(path / STATE, str(error)) from error
    try:
        tensors = Tensors(reader.read(ARRAYS))
        unknown = [name for name, (dtype, _) in tensors.described.items() if dtype not in DTYPES]
        if unknown:
            raise TensorsError(f"{unknown[0][:100]!r} has another dtype than {', '.join(DTYPES)}")
    except TensorsError as error:
        raise FileError(path / ARRAYS, f"is not a whole safetensors file: {error}") from error
    arrays = {name: tensors.get(name) for name in tensors.described}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise FileError(path / ARRAYS, f"{name[:100]} holds NaN or infinity")
    state = content.pop("state")
    return Checkpoint(path, content, State(state, arrays))


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def pairs_digest(pairs: tuple[np.ndarray, ...] | StoredCorpus) -> str:
    """What tells encoded pairs from others: how many, and a SHA-256 of all ids."""
    digest = hashlib.sha256()
    if isinstance(pairs, StoredCorpus):
        arrays: tuple[np.ndarray, ...] = (
            pairs.chosen,
            *(a for r in (pairs.sources, pairs.targets) for a in (r.ids, r.offsets)),
        )
        count = len(pairs)
    else:
        arrays, count = pairs, len(pairs[0])
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        for first in range(0, len(array), 1 << 16):  # of a file on disk not all at once
            digest.update(np.ascontiguousarray(array[first : first + (1 << 16)]).data)
    return f"{count:,} pairs, SHA-256 {digest.hexdigest()[:32]}"
