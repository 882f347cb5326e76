"""A model on disk: a folder with `model.safetensors`, `config.json`, `vocabulary.json` and `history.jsonl`.

Every file is replaced in one step, but four files are not: a crash can leave new ones beside old ones. So the files
name each other. The config holds a digest of the vocabulary, the tensors' metadata one of the config, and `load`
refuses files that do not belong together. Within a training run config and vocabulary stay the same, so that a crash
between two files leaves a folder that loads: the tensors of one epoch or of the next. The history is for people to
read, and never for `load`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from fastattn.data import PLAIN, Reading, Vocabulary, atomic_write
from fastattn.models import AttentionSeq2seq, ModelConfig
from fastattn.models.saved import (
    CONFIG,
    FORMAT_VERSION,
    IDS_VERSION,
    READING_VERSION,
    TENSORS,
    VOCABULARY,
    ModelFolderError,
    digest_of,
    existing,
    read_object,
    read_tensors,
    tensors_of,
    text_of,
)

from .interruptions import interruptions_held
from .records import EpochRecord

HISTORY = "history.jsonl"


class TextModel(Protocol):
    """What is kept of a `Translator`, which this module does not know."""

    @property
    def model(self) -> AttentionSeq2seq: ...

    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    reverse_source: bool
    max_target_tokens: int
    reading: Reading


def holds_model(folder: str | os.PathLike[str]) -> bool:
    """Whether a model stands in the folder, whole or damaged."""
    return (Path(folder) / TENSORS).exists() or (Path(folder) / CONFIG).exists()


def save(
    folder: str | os.PathLike[str],
    translator: TextModel,
    history: Sequence[EpochRecord] = (),
    training: Mapping[str, Any] | None = None,
) -> None:
    """Writes the four files, in a new folder where there is none; an interruption takes effect when all are written.

    history: a record of every epoch so far. training: the settings of the run, for people to read; it must be of
    JSON's types and the same at every save of a run. OSError where a file cannot be written; TypeError for what is no
    `Translator` of one model.
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
        "training": dict(training or {}),
    }
    files: dict[str, bytes | str] = {
        VOCABULARY: text_of(vocabularies),
        CONFIG: text_of(config),
        TENSORS: tensors_of(model.named_params(), config, epochs=len(history)),
        HISTORY: history_text(history),
    }
    with interruptions_held():
        for name, content in files.items():
            atomic_write(folder / name, content)


def history_text(history: Sequence[EpochRecord]) -> str:
    """What stands in the history: an object an epoch, each on a line."""
    return "".join(json.dumps(asdict(record), allow_nan=False) + "\n" for record in history)


def read(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``save`` wrote, as the arguments of `Translator`. ModelFolderError, which names the file, for anything else."""
    folder = existing(folder)
    config = read_object(folder / CONFIG)
    _check_config(config, folder / CONFIG)
    source, target = _read_vocabularies(folder / VOCABULARY, config.get("vocabulary_sha256"))
    reading = _reading(config, source, folder / CONFIG)
    model_config = _model_config(config, (len(source), len(target)), folder / CONFIG)
    tensors = read_tensors(folder / TENSORS, model_config, config)
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
    }


def _check_config(config: Mapping[str, Any], path: Path) -> None:
    version, reverse_source, max_tokens = (config.get(k) for k in ("format_version", "reverse_source", "max_target_tokens"))
    if version == IDS_VERSION:
        raise ModelFolderError(path, "holds a model of token ids, without vocabularies, which AttentionSeq2seq.load reads")
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


def _read_vocabularies(path: Path, digest: object) -> tuple[Vocabulary, Vocabulary]:
    content = read_object(path)
    vocabularies = []
    for side in ("source", "target"):
        try:
            vocabularies.append(Vocabulary.from_json(content.get(side)))
        except ValueError as error:
            raise ModelFolderError(path, f"the {side} vocabulary: {error}") from error
    if digest_of(content) != digest:
        raise ModelFolderError(path, f"is not the vocabulary that {CONFIG} was written with")
    return vocabularies[0], vocabularies[1]
