"""A model on disk: a folder with `model.safetensors`, `config.json`, `vocabulary.json` and `history.jsonl`.

They are written as one set (`fastattn.data.files`): the old model or the new one can be loaded at every moment, and each file
is checked against its digest in `manifest.json`. A folder without one, as earlier versions wrote it, loads too. There the files
name each other: the config holds a digest of the vocabulary, the tensors' metadata one of the config, and `load` refuses files
that do not belong together. The history is for people to read, and need not be there.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as safetensors_bytes

from fastattn.data import PLAIN, FileError, FolderLock, LockedError, Reading, Vocabulary
from fastattn.data.files import MANIFEST, SetReader, read_set, write_set
from fastattn.data.tensors import Tensors, TensorsError
from fastattn.models import AttentionSeq2seq, ModelConfig
from fastattn.models.config import MAX_SIZE
from fastattn.models.parts import named_tensors

from .interruptions import interruptions_held
from .trainer import EpochRecord
from .translator import Translator

# The second has all options of a model; the third says how pairs were read, where that is not the plain way. A folder is
# written in the lowest version that says all: who knows no more than that can read it.
FORMAT_VERSION, READING_VERSION = 2, 3
TENSORS, CONFIG, VOCABULARY, HISTORY = "model.safetensors", "config.json", "vocabulary.json", "history.jsonl"

# Of the files that are read whole, in bytes; of the tensors the header says the size.
LIMITS = {CONFIG: 2**24, VOCABULARY: 2**28, HISTORY: 2**30}

# safetensors' names of the dtypes.
DTYPES = {"float32": "F32", "float64": "F64"}


class ModelFolderError(Exception):
    """A folder that no model can be loaded from, or written to. The message is "FILE: reason"."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path, self.reason = path, reason


def holds_model(folder: str | os.PathLike[str]) -> bool:
    """Whether a model stands in the folder, whole or damaged."""
    return any((Path(folder) / name).exists() for name in (TENSORS, CONFIG, MANIFEST))


def save(
    folder: str | os.PathLike[str],
    translator: Translator,
    history: Sequence[EpochRecord],
    training: Mapping[str, Any],
) -> None:
    """Writes the four files, in a new folder where there is none; an interruption takes effect when all are written.

    history: a record of every epoch so far. training: the settings of the run, for people to read; it must be of
    JSON's types. OSError where a file cannot be written: the folder then holds what it held. ModelFolderError where somebody
    else is writing to it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = model_files(translator, history, training)
    with interruptions_held(), locked(folder):
        write_set(folder, files)


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


def model_files(translator: Translator, history: Sequence[EpochRecord], training: Mapping[str, Any]) -> dict[str, bytes | str]:
    """What the four files hold, by their names."""
    model = translator.model
    vocabularies = {
        "source": translator.source_vocabulary.to_json(),
        "target": translator.target_vocabulary.to_json(),
    }
    reading = {} if translator.reading == PLAIN else {"reading": translator.reading.to_json()}
    config = {
        "format_version": READING_VERSION if reading else FORMAT_VERSION,
        **reading,
        "model": model.config.to_json(),
        "reverse_source": translator.reverse_source,
        "max_target_tokens": translator.max_target_tokens,
        "vocabulary_sha256": _digest(vocabularies),
        "training": dict(training),
    }
    # One entry, because safetensors writes several in any order: the same training gives the same bytes.
    metadata = {"fastattn": json.dumps({"config_sha256": _digest(config), "epochs": len(history)})}
    return {
        VOCABULARY: _text(vocabularies),
        CONFIG: _text(config),
        TENSORS: safetensors_bytes(model.named_params(), metadata=metadata),
        HISTORY: history_text(history),
    }


def history_text(history: Sequence[EpochRecord]) -> str:
    """What stands in the history: an object an epoch, each on a line."""
    return "".join(json.dumps(asdict(record), allow_nan=False) + "\n" for record in history)


def load(folder: str | os.PathLike[str]) -> Translator:
    """The model that ``save`` wrote. ModelFolderError, which names the file, for anything else."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelFolderError(folder, "is not a folder" if folder.exists() else "no such folder")
    try:
        return read_set(folder, _load)
    except FileError as error:
        raise ModelFolderError(error.path, error.reason) from error


def _load(reader: SetReader) -> Translator:
    folder = reader.folder
    config = _read_object(reader, CONFIG)
    _check_config(config, folder / CONFIG)
    source, target = _read_vocabularies(reader, config.get("vocabulary_sha256"))
    reading = _reading(config, source, folder / CONFIG)
    model_config = _model_config(config, (len(source), len(target)), folder / CONFIG)
    tensors = _read_tensors(reader, model_config, config)
    if reader.names is not None and os.path.lexists(folder / HISTORY):
        reader.read(HISTORY, LIMITS[HISTORY])  # nothing of it is used; damage is told
    model = AttentionSeq2seq.from_config(model_config, seed=0)
    for param, tensor in zip(model.params, tensors, strict=True):
        param[...] = tensor
    return Translator(
        model.eval(),
        source,
        target,
        reverse_source=config["reverse_source"],
        max_target_tokens=config["max_target_tokens"],
        reading=reading,
    )


def _check_config(config: Mapping[str, Any], path: Path) -> None:
    version, reverse_source, max_tokens = (config.get(k) for k in ("format_version", "reverse_source", "max_target_tokens"))
    if version not in range(1, READING_VERSION + 1) or type(version) is not int:
        raise ModelFolderError(path, f"format_version is {version!r}; this fastattn reads 1 to {READING_VERSION}")
    if not isinstance(reverse_source, bool):
        raise ModelFolderError(path, f"reverse_source is {reverse_source!r}; expected true or false")
    if type(max_tokens) is not int or not 1 <= max_tokens <= MAX_SIZE:
        reason = f"max_target_tokens is {max_tokens!r:.100}; expected a whole number from 1 to {MAX_SIZE}"
        raise ModelFolderError(path, reason)


def _reading(config: Mapping[str, Any], source: Vocabulary, path: Path) -> Reading:
    """How the pairs were read. It has features if the source's vocabulary has."""
    if config["format_version"] < READING_VERSION:
        reading = PLAIN
    else:
        try:
            reading = Reading.from_json(config.get("reading"))
        except ValueError as error:
            raise ModelFolderError(path, f"the reading: {error}") from error
    if reading.has_features != (source.features is not None):
        told, held = reading.features_column, "no features" if source.features is None else "features"
        raise ModelFolderError(path, f"the reading: features_column is {told!r}, but {VOCABULARY} has {held}")
    return reading


def _model_config(config: Mapping[str, Any], vocabularies: tuple[int, int], path: Path) -> ModelConfig:
    """The model's choices. vocabularies: the sizes of the source's and the target's."""
    try:
        if config["format_version"] == 1:  # when every model was the plain one
            embedding, hidden, dtype = (config.get(key) for key in ("embedding", "hidden", "dtype"))
            return ModelConfig(vocabularies[0], embedding, hidden, vocabularies[1], dtype)  # type: ignore[arg-type]
        model_config = ModelConfig.from_json(config.get("model"))
    except (ValueError, TypeError) as error:
        raise ModelFolderError(path, f"the model: {error}") from error
    for side, told, held in zip(("source", "target"), model_config.sizes, vocabularies):
        if told != held:
            raise ModelFolderError(path, f"the model: {side}_vocabulary is {told}, but {VOCABULARY} holds {held} tokens")
    return model_config


def _digest(content: object) -> str:
    """Of JSON content, whatever its layout."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _text(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def _read_object(reader: SetReader, name: str) -> dict[str, Any]:
    path = reader.folder / name
    try:
        content = json.loads(reader.read(name, LIMITS[name]))
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(path, f"is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelFolderError(path, f"holds a JSON {type(content).__name__}; expected an object")
    return content


def _read_vocabularies(reader: SetReader, digest: object) -> tuple[Vocabulary, Vocabulary]:
    path = reader.folder / VOCABULARY
    content = _read_object(reader, VOCABULARY)
    vocabularies = []
    for side in ("source", "target"):
        try:
            vocabularies.append(Vocabulary.from_json(content.get(side)))
        except ValueError as error:
            raise ModelFolderError(path, f"the {side} vocabulary: {error}") from error
    if _digest(content) != digest:
        raise ModelFolderError(path, f"is not the vocabulary that {CONFIG} was written with")
    return vocabularies[0], vocabularies[1]


def _expected(model_config: ModelConfig, version: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes in a file of this version. In the first, an LSTM had no layers or directions."""
    for name, shape in named_tensors(model_config):
        yield name.replace(".lstm.0.forward.", ".lstm.") if version == 1 else name, shape


def _read_tensors(reader: SetReader, model_config: ModelConfig, config: Mapping[str, Any]) -> list[np.ndarray]:
    """The tensors, in the order of ``params``.

    After a look at the header: shapes may be anything, and so may the memory that they take, or the layers of a config.
    """
    path = reader.folder / TENSORS
    try:
        file = Tensors(reader.read(TENSORS))
    except TensorsError as error:
        raise ModelFolderError(path, f"is not a whole safetensors file: {error}") from error
    given = file.described
    names = []
    for name, shape in _expected(model_config, config["format_version"]):
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
    if digest != _digest(config):
        raise ModelFolderError(path, f"was not written with this {CONFIG}")
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ModelFolderError(path, f"{name} holds NaN or infinity")
    return [*tensors.values()]


def _described(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return "absent" if tensor is None else f"{tensor[0]} {tensor[1]}"
