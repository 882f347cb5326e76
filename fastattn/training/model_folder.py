"""A model on disk: a folder with `model.safetensors`, `config.json`, `vocabulary.json` and `history.jsonl`.

Every file is replaced in one step, but four files are not: a crash can leave new ones beside old ones. So the files
name each other. The config holds a digest of the vocabulary, the tensors' metadata one of the config, and `load`
refuses files that do not belong together. Within a training run config and vocabulary stay the same, so that a crash
between two files leaves a folder that loads: the tensors of one epoch or of the next. The history is for people to
read, and never for `load`.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes

from fastattn.data import PLAIN, Reading, Vocabulary, atomic_write
from fastattn.models import AttentionSeq2seq, ModelConfig
from fastattn.models.parts import named_tensors

from .interruptions import interruptions_held
from .trainer import EpochRecord
from .translator import Translator

# The second has all options of a model; the third says how pairs were read, where that is not the plain way. A folder is
# written in the lowest version that says all: who knows no more than that can read it.
FORMAT_VERSION, READING_VERSION = 2, 3
TENSORS, CONFIG, VOCABULARY, HISTORY = "model.safetensors", "config.json", "vocabulary.json", "history.jsonl"

# safetensors' names of the dtypes.
DTYPES = {"float32": "F32", "float64": "F64"}


class ModelFolderError(Exception):
    """A folder that no model can be loaded from, or written to. The message is "FILE: reason"."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path, self.reason = path, reason


def holds_model(folder: str | os.PathLike[str]) -> bool:
    """Whether a model stands in the folder, whole or damaged."""
    return (Path(folder) / TENSORS).exists() or (Path(folder) / CONFIG).exists()


def save(
    folder: str | os.PathLike[str],
    translator: Translator,
    history: Sequence[EpochRecord],
    training: Mapping[str, Any],
) -> None:
    """Writes the four files, in a new folder where there is none; an interruption takes effect when all are written.

    history: a record of every epoch so far. training: the settings of the run, for people to read; it must be of
    JSON's types and the same at every save of a run. OSError where a file cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
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
    files: dict[str, bytes | str] = {
        VOCABULARY: _text(vocabularies),
        CONFIG: _text(config),
        TENSORS: safetensors_bytes(model.named_params(), metadata=metadata),
        HISTORY: history_text(history),
    }
    with interruptions_held():
        for name, content in files.items():
            atomic_write(folder / name, content)


def history_text(history: Sequence[EpochRecord]) -> str:
    """What stands in the history: an object an epoch, each on a line."""
    return "".join(json.dumps(asdict(record), allow_nan=False) + "\n" for record in history)


def load(folder: str | os.PathLike[str]) -> Translator:
    """The model that ``save`` wrote. ModelFolderError, which names the file, for anything else."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelFolderError(folder, "is not a folder" if folder.exists() else "no such folder")
    config = _read_object(folder / CONFIG)
    _check_config(config, folder / CONFIG)
    source, target = _read_vocabularies(folder / VOCABULARY, config.get("vocabulary_sha256"))
    reading = _reading(config, source, folder / CONFIG)
    model_config = _model_config(config, (len(source), len(target)), folder / CONFIG)
    tensors = _read_tensors(folder / TENSORS, model_config, config)
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
    if type(max_tokens) is not int or max_tokens < 1:
        raise ModelFolderError(path, f"max_target_tokens is {max_tokens!r}; expected a whole number of at least 1")


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


def _reason(error: OSError) -> str:
    return "missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror or error}"


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelFolderError(path, _reason(error)) from error
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(path, f"is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelFolderError(path, f"holds a JSON {type(content).__name__}; expected an object")
    return content


def _read_vocabularies(path: Path, digest: object) -> tuple[Vocabulary, Vocabulary]:
    content = _read_object(path)
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


def _read_tensors(path: Path, model_config: ModelConfig, config: Mapping[str, Any]) -> list[np.ndarray]:
    """The tensors, in the order of ``params``.

    After a look at the header: shapes may be anything, and so may the memory that they take, or the layers of a config.
    """
    if path.is_dir():
        raise ModelFolderError(path, "is a folder")
    try:
        with safe_open(path, framework="numpy") as file:
            # Not a dict, whatever it looks like: it cannot be iterated.
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            given = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
            names = []
            for name, shape in _expected(model_config, config["format_version"]):
                expected = shape, DTYPES[str(model_config.dtype)]
                if given.get(name) != expected:
                    raise ModelFolderError(path, f"{name} is {_described(given.get(name))}; expected {_described(expected)}")
                names.append(name)
            for name in given.keys() - set(names):
                raise ModelFolderError(path, f"{name} is {_described(given[name])}; expected absent")
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in names}
    except OSError as error:
        raise ModelFolderError(path, _reason(error)) from error
    except SafetensorError as error:
        raise ModelFolderError(path, f"is not a whole safetensors file: {error}") from error
    try:
        digest = json.loads(metadata["fastattn"])["config_sha256"]
    except (KeyError, ValueError, TypeError) as error:
        raise ModelFolderError(path, "was not written by fastattn: its metadata name no config") from error
    if digest != _digest(config):
        raise ModelFolderError(path, f"was not written with this {CONFIG}")
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ModelFolderError(path, f"{name} holds NaN or infinity")
    return [*tensors.values()]


def _described(tensor: tuple[tuple[int, ...], str] | None) -> str:
    return "absent" if tensor is None else f"{tensor[1]} {tensor[0]}"
