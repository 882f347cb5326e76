"""A model on disk: a folder with `model.safetensors`, `config.json`, `vocabulary.json`, `history.jsonl` and `README.md`.

They are one set, as `fastattn.models.saved` says of weights and choices. In a folder without a manifest the config holds a
digest of the vocabulary besides, and what does not belong together is refused. The history, the card (`README.md`) and, of a
model that a run trained, its settings (`config.toml`) are for people to read, and need not be there.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastattn.data import PLAIN, FileError, Reading, Vocabulary
from fastattn.data.files import MANIFEST, Reader, SetReader, write_set
from fastattn.models import AttentionSeq2seq, ModelConfig
from fastattn.models.config import MAX_SIZE
from fastattn.models.saved import (
    CONFIG,
    FORMAT_VERSION,
    IDS_VERSION,
    READING_VERSION,
    TENSORS,
    VOCABULARY,
    ModelFolderError,
    digest_of,
    locked,
    read_folder,
    read_object,
    read_tensors,
    tensors_of,
    text_of,
)

from .card import card
from .interruptions import interruptions_held
from .records import EpochRecord, History, record_of
from .settings import Settings
from .text_model import TextModel

HISTORY, CARD, CONFIG_TOML = "history.jsonl", "README.md", "config.toml"
MAX_HISTORY_BYTES = 2**30

IN_MEMORY = "pairs in memory"
# Stands above the settings of a run that was given such.
NO_FILE = f"# The run was given {IN_MEMORY}: to train again by this file, give it pairs.\n\n"


def holds_model(folder: str | os.PathLike[str]) -> bool:
    """Whether a model stands in the folder, whole or damaged."""
    return any((Path(folder) / name).exists() for name in (TENSORS, CONFIG, MANIFEST))


def save(
    folder: str | os.PathLike[str],
    translator: TextModel,
    history: Sequence[EpochRecord] = (),
    training: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
) -> None:
    """Writes all files, in a new folder where there is none; an interruption takes effect when all are written.

    history: a record of every epoch so far. training: what is told of the run, for people to read; it must be of
    JSON's types. settings: all settings of the run, if there are some. OSError where a file cannot be written: the folder then
    holds what it held; ModelFolderError where somebody else is writing to it; TypeError for what is no `Translator` of a model.
    """
    if isinstance(translator, AttentionSeq2seq):
        raise TypeError(
            f"translator is {translator!r}; expected a Translator, which has vocabularies; a model of token ids is saved by "
            "model.save(folder)"
        )
    if not hasattr(translator, "source_vocabulary") or not hasattr(translator, "reading"):
        raise TypeError(f"translator is {translator!r}; expected a Translator")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = model_files(translator, history, training, settings)
    with interruptions_held(), locked(folder):
        write_set(folder, files)


def model_files(
    translator: TextModel,
    history: Sequence[EpochRecord],
    training: Mapping[str, Any] | None,
    settings: Settings | None = None,
) -> dict[str, bytes | str]:
    """What the files hold, by their names."""
    about = dict(training or {})
    more = {}
    if settings is not None:
        more[CONFIG_TOML] = (NO_FILE if about.get("corpus") == IN_MEMORY else "") + settings.to_toml()
    return {**_model_files(translator, history, about), CARD: card(translator, history, about), **more}


def kept_files(translator: TextModel) -> dict[str, bytes]:
    """Those that a model is made of again by `read_files`."""
    files = _model_files(translator, translator.history, translator.about)
    return {name: data if isinstance(data, bytes) else data.encode() for name, data in files.items()}


def _model_files(translator: TextModel, history: Sequence[EpochRecord], about: Mapping[str, Any]) -> dict[str, bytes | str]:
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
        "vocabulary_sha256": digest_of(vocabularies),
        "training": dict(about),
    }
    return {
        VOCABULARY: text_of(vocabularies),
        CONFIG: text_of(config),
        TENSORS: tensors_of(model.named_params(), config, epochs=len(history)),
        HISTORY: history_text(history),
    }


def history_text(history: Sequence[EpochRecord]) -> str:
    """What stands in the history: an object an epoch, each on a line."""
    return "".join(json.dumps(asdict(record), allow_nan=False) + "\n" for record in history)


def read(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``save`` wrote: the arguments of `Translator`, and its "history" and "about".

    ModelFolderError, which names the file, for anything else.
    """
    return read_folder(folder, _read)


def read_files(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The same, of files that are in memory."""
    try:
        return _read(_Files(files))
    except FileError as error:
        raise ModelFolderError(error.path, error.reason) from error


class _Files:
    """Files in memory, read like those of a folder."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.folder = Path("a model in memory")

    def read(self, name: str, limit: int | None = None) -> bytes:
        """FileError for one that is missing."""
        if name not in self.files:
            raise FileError(self.folder / name, "missing")
        return self.files[name]


def _read(reader: Reader) -> dict[str, Any]:
    folder = reader.folder
    config = read_object(reader, CONFIG)
    _check_config(config, folder / CONFIG)
    source, target = _read_vocabularies(reader, config.get("vocabulary_sha256"))
    reading = _reading(config, source, folder / CONFIG)
    model_config = _model_config(config, (len(source), len(target)), folder / CONFIG)
    tensors = read_tensors(reader, model_config, config)
    history = _history(reader)
    model = AttentionSeq2seq.from_config(model_config, seed=0)
    for param, tensor in zip(model.params, tensors, strict=True):
        param[...] = tensor
    return {
        "model": model.eval(),
        "source_vocabulary": source,
        "target_vocabulary": target,
        "reverse_source": config["reverse_source"],
        "max_target_tokens": config["max_target_tokens"],
        "reading": reading,
        "history": history,
        "about": config["training"] if isinstance(config.get("training"), dict) else {},
    }


def _history(reader: Reader) -> History:
    """The records of the epochs, as far as there are some. FileError for a file that its manifest says is damaged."""
    has_digests = isinstance(reader, SetReader) and reader.names is not None
    if has_digests and not os.path.lexists(reader.folder / HISTORY):
        return History()
    try:
        content = reader.read(HISTORY, MAX_HISTORY_BYTES)
    except FileError:
        if has_digests:
            raise
        return History()
    try:
        return History(record_of(json.loads(line)) for line in content.decode().splitlines())
    except (ValueError, TypeError, RecursionError):  # it is for people to read
        return History()


def _check_config(config: Mapping[str, Any], path: Path) -> None:
    version, reverse_source, max_tokens = (config.get(k) for k in ("format_version", "reverse_source", "max_target_tokens"))
    if version == IDS_VERSION:
        raise ModelFolderError(path, "holds a model of token ids, without vocabularies, which AttentionSeq2seq.load reads")
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


def _read_vocabularies(reader: Reader, digest: object) -> tuple[Vocabulary, Vocabulary]:
    path = reader.folder / VOCABULARY
    content = read_object(reader, VOCABULARY)
    vocabularies = []
    for side in ("source", "target"):
        try:
            vocabularies.append(Vocabulary.from_json(content.get(side)))
        except ValueError as error:
            raise ModelFolderError(path, f"the {side} vocabulary: {error}") from error
    if digest_of(content) != digest:
        raise ModelFolderError(path, f"is not the vocabulary that {CONFIG} was written with")
    return vocabularies[0], vocabularies[1]
