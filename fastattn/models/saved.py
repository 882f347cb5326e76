"""A model on disk: a folder with all of its weights in `model.safetensors` and all of its choices in `config.json`.

They are written as one set (`fastattn.data.files`): the old model or the new one can be loaded at every moment, and each
file is checked against its digest in `manifest.json`. Folders without one, as earlier versions wrote them, load too; their
files name each other: the tensors' metadata hold a digest of the config, and what does not belong together is refused. A model
of text has more files, which `training` writes; its weights and its choices stand as here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors.numpy import save as safetensors_bytes

from fastattn.data.files import FileError, Reader, SetReader, read_set, write_set
from fastattn.data.locks import FolderLock, LockedError
from fastattn.data.tensors import MAX_HEADER, Tensors, TensorsError
from fastattn.layers.checks import Array

from .config import ModelConfig
from .parts import named_tensors

# The first had the plain model alone, the second has all options, the third says how pairs of text were read, and the fourth is
# of a model of token ids, without vocabularies. A folder is written in the lowest version that says all.
PLAIN_VERSION, FORMAT_VERSION, READING_VERSION, IDS_VERSION = 1, 2, 3, 4
TENSORS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "vocabulary.json"

# What is kept of a model of ids besides: whether it is in training, and what the masks of dropout follow from.
STATE = {"training": bool, "step": int, "mask_seed": int}
NO_STATE: dict[str, Any] = {"training": False, "step": 0, "mask_seed": 0}

# Of JSON files, in bytes; of the tensors the config says the size.
LIMITS = {CONFIG: 2**24, VOCABULARY: 2**28}

# safetensors' names of the dtypes.
DTYPES = {"float32": "F32", "float64": "F64"}


Result = TypeVar("Result")


class ModelFolderError(Exception):
    """A folder that no model can be loaded from, or written to. The message is "FILE: reason"."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path, self.reason = path, reason


def write_ids_model(
    folder: str | os.PathLike[str], config: ModelConfig, named_params: Mapping[str, Array], state: Mapping[str, Any]
) -> None:
    """A model of token ids, in a new folder where there is none. state: what `STATE` names.

    ModelFolderError for a folder with a model of text, whose vocabularies would be left beside a model that knows none.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ModelFolderError(folder, "is not a folder; expected a new one, or one of a model of token ids")
    if (folder / VOCABULARY).exists():
        raise ModelFolderError(folder, f"holds a model of text, with {VOCABULARY}; expected another folder, or Translator.save")
    folder.mkdir(parents=True, exist_ok=True)
    content = {"format_version": IDS_VERSION, "model": config.to_json(), "state": dict(state)}
    with locked(folder):
        write_set(folder, {CONFIG: text_of(content), TENSORS: tensors_of(named_params, content)})


def read_model(folder: str | os.PathLike[str]) -> tuple[ModelConfig, list[np.ndarray], dict[str, Any]]:
    """Of a model of ids or of text: its choices, its tensors in the order of ``params``, and its state.

    ModelFolderError, which names the file, for anything else.
    """
    return read_folder(folder, _read_model)


def _read_model(reader: SetReader) -> tuple[ModelConfig, list[np.ndarray], dict[str, Any]]:
    folder = reader.folder
    config = read_object(reader, CONFIG)
    version = config.get("format_version")
    if version == PLAIN_VERSION and type(version) is int:
        raise ModelFolderError(folder / CONFIG, "is of format_version 1, which fastattn.training.load reads")
    if type(version) is not int or not PLAIN_VERSION < version <= IDS_VERSION:
        raise ModelFolderError(folder / CONFIG, f"format_version is {version!r}; this fastattn reads 1 to {IDS_VERSION}")
    try:
        model_config = ModelConfig.from_json(config.get("model"))
    except (ValueError, TypeError) as error:
        raise ModelFolderError(folder / CONFIG, f"the model: {error}") from error
    state = config.get("state") if version == IDS_VERSION else NO_STATE
    if not isinstance(state, dict) or {name: type(value) for name, value in state.items()} != STATE:
        expected = ", ".join(f"{name} ({kind.__name__})" for name, kind in STATE.items())
        raise ModelFolderError(folder / CONFIG, f"state is {state!r:.200}; expected {expected}")
    if not (0 <= state["step"] < 2**63 and 0 <= state["mask_seed"] < 2**64):
        raise ModelFolderError(folder / CONFIG, f"state is {state!r}; expected 0 <= step < 2^63, 0 <= mask_seed < 2^64")
    return model_config, read_tensors(reader, model_config, config), state


def read_folder(folder: str | os.PathLike[str], read: Callable[[SetReader], Result]) -> Result:
    """``read(reader)``, all of one model, also while another takes its place. ModelFolderError, which names the file."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelFolderError(folder, "is not a folder" if folder.exists() else "no such folder")
    try:
        return read_set(folder, read)
    except FileError as error:
        raise ModelFolderError(error.path, error.reason) from error


@contextmanager
def locked(folder: Path) -> Iterator[FolderLock]:
    """Within the block nobody else writes to the folder. ModelFolderError if somebody does."""
    lock = FolderLock(folder)
    try:
        lock.acquire()
    except LockedError as error:
        raise ModelFolderError(folder, f"{error}; give another folder, or wait until it has ended") from None
    except OSError as error:
        raise ModelFolderError(folder, f"cannot be written: {error.strerror or error}") from error
    try:
        yield lock
    finally:
        lock.release()


def digest_of(content: object) -> str:
    """Of JSON content, whatever its layout."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def text_of(content: object) -> str:
    """JSON content as it is written."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def tensors_of(named_params: Mapping[str, Array], config: Mapping[str, Any], **told: Any) -> bytes:
    """The file of the tensors, which names the config. told: what else its metadata tell, of JSON's types.

    ValueError for NaN or infinity, with which no file is loaded: it would take the place of one that is.
    """
    for name, param in named_params.items():
        if not np.isfinite(param).all():
            raise ValueError(f"{name} holds NaN or infinity; a model that could not be loaded is not saved")
    # One entry, because safetensors writes several in any order: the same training gives the same bytes.
    metadata = {"fastattn": json.dumps({"config_sha256": digest_of(config), **told})}
    return safetensors_bytes(dict(named_params), metadata=metadata)


def read_object(reader: Reader, name: str) -> dict[str, Any]:
    """The JSON object in a file."""
    path = reader.folder / name
    try:
        content = json.loads(reader.read(name, LIMITS[name]))
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(path, f"is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelFolderError(path, f"holds a JSON {type(content).__name__}; expected an object")
    return content


def _expected(model_config: ModelConfig, version: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes in a file of this version. In the first, an LSTM had no layers or directions."""
    for name, shape in named_tensors(model_config):
        yield name.replace(".lstm.0.forward.", ".lstm.") if version == PLAIN_VERSION else name, shape


def read_tensors(reader: Reader, model_config: ModelConfig, config: Mapping[str, Any]) -> list[np.ndarray]:
    """The tensors, in the order of ``params``.

    After a look at the header: shapes may be anything, and so may the memory that they take, or the layers of a config.
    """
    path = reader.folder / TENSORS
    expected_tensors = [*_expected(model_config, config["format_version"])]
    numbers = sum(math.prod(shape) for _, shape in expected_tensors)
    try:
        file = Tensors(reader.read(TENSORS, 8 + MAX_HEADER + numbers * np.dtype(model_config.dtype).itemsize))
    except TensorsError as error:
        raise ModelFolderError(path, f"is not a whole safetensors file: {error}") from error
    given = file.described
    names = []
    for name, shape in expected_tensors:
        expected = DTYPES[str(model_config.dtype)], shape
        if given.get(name) != expected:
            raise ModelFolderError(path, f"{name} is {_described(given.get(name))}; expected {_described(expected)}")
        names.append(name)
    for name in given.keys() - set(names):
        raise ModelFolderError(path, f"{name} is {_described(given[name])}; expected absent")
    tensors = {name: file.get(name) for name in names}
    try:
        digest = json.loads(file.metadata["fastattn"])["config_sha256"]
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise ModelFolderError(path, "was not written by fastattn: its metadata name no config") from error
    if digest != digest_of(config):
        raise ModelFolderError(path, f"was not written with this {CONFIG}")
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ModelFolderError(path, f"{name} holds NaN or infinity")
    return [*tensors.values()]


def _described(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return "absent" if tensor is None else f"{tensor[0]} {tensor[1]}"
