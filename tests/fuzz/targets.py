"""The loaders: what each is given, made of bytes; which errors it documents; and files that it reads.

A target takes bytes and calls the loader; an error that is documented ends it, any other goes on. Where a file has digests they
are made to fit: what is behind them is to be reached. All files stand in a folder in memory, where there is one.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import pickle
import struct
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as safetensors_bytes

import fastattn
from fastattn.compat.dlfs2.weights import read_weights
from fastattn.data import CorpusError, FileError, PairsError, PairsFile, Reading, Vocabulary, build_corpus, open_corpus
from fastattn.data.extras import MissingExtraError
from fastattn.data.files import MANIFEST, _manifest, read_set, write_folder, write_set
from fastattn.data.tensors import DTYPES, Tensors, TensorsError
from fastattn.models.saved import digest_of, read_model, tensors_of
from fastattn.training import DivergedError, ModelFolderError, Settings, SettingsError, TrainingRun, Translator, model_folder
from fastattn.training.checkpoints import CHECKPOINTS, STATE

LONGEST = 8192  # bytes of an input
PAIRS = [("ab", "x y"), ("bcd", "y zz"), ("d", "x")]


@dataclass(frozen=True)
class Target:
    """``run``: bytes to the loader. ``seeds``: inputs that it reads, or refuses for one reason. ``words``: what is in them."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    words: tuple[str, ...] = ()


@functools.cache
def folder() -> Path:
    """For the files of this process."""
    memory = Path("/dev/shm")
    _KEPT.append(tempfile.TemporaryDirectory(prefix="fastattn-fuzz-", dir=memory if memory.is_dir() else None))
    return Path(_KEPT[0].name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def written(name: str, data: bytes) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


# Pairs. The first byte chooses the reading, the second whether the rest is compressed first.
READINGS = (
    Reading(),
    Reading(separator="  ", comment=";;;", variants=True),
    Reading(separator=" ", normalization="NFC"),
    Reading(source_column="word", target_column="phones", header=True, extra_columns=True),
    Reading(source_column=2, target_column=1, features_column=3, features_separator=","),
    Reading(separator="||", extra_columns=True, normalization="NFKC"),
)


def run_pairs(data: bytes) -> None:
    how, content = data[:2], data[2:]
    if how[1:] and how[1] % 2:
        content = gzip.compress(content, 1, mtime=0)
    reading = READINGS[how[0] % len(READINGS)] if how else READINGS[0]
    try:
        file = PairsFile.read(written("pairs", content), reading)
    except PairsError:
        return
    assert len(file.pairs) == len(file.lines) > 0
    for source, target in file.pairs:
        assert source.strip()
        assert target.strip()
    sources = [source for source, _ in file.pairs]
    vocabulary = Vocabulary.from_texts(sources, features=reading.has_features)
    assert all(vocabulary.decode(vocabulary.encode(source)) for source in sources)


def pairs_seeds() -> list[bytes]:
    files = [
        b"ab\tx y\nbcd\ty zz\r\nd\tx\r\n",
        b"\xef\xbb\xbf;;; words\nABEND  AH0 B\nABEND(1)  AH0\n\n",
        b"ab x\ne\xcc\x81 y z\n",
        b"word\tnumber\tphones\nab\t1\tx y\n",
        b"x y\tab\tV,PST\nz\tb\tN\n",
        b"ab||x||more\nc||d\n",
        "日本\tx\n\u2028a\ty\n".encode(),
        b"ab\tx\n\xff\ty\n",
        b"a,b,c\nd,e,f\n",
        b"",
    ]
    return [bytes([how, packed]) + file for how in range(len(READINGS)) for packed in (0, 1) for file in files] + [
        b"\0\0" + gzip.compress(b"ab\tx\n" * 50, mtime=0)
    ]


# A model of text: its files are given in memory, as `model_folder` reads those of a folder.
@functools.cache
def translator(features: bool = False) -> Translator:
    reading = Reading(features_column=3) if features else Reading()
    sources = [f"{source}\tV" if features else source for source, _ in PAIRS]
    source, target = Vocabulary.from_texts(sources, features=features), Vocabulary.from_texts((t for _, t in PAIRS), "space")
    model = fastattn.AttentionSeq2seq(len(source), 3, 4, target_vocabulary=len(target), seed=0)
    return Translator(model, source, target, reverse_source=False, max_target_tokens=6, reading=reading)


@functools.cache
def model_files(features: bool = False) -> dict[str, bytes]:
    files = model_folder.model_files(translator(features), [], {"seed": 0})
    return {name: data if isinstance(data, bytes) else data.encode() for name, data in files.items()}


def load_files(files: dict[str, bytes]) -> None:
    """All that a folder with these files is read for; what was read answers."""
    try:
        made = Translator._of(model_folder.read_files(files))
    except (ModelFolderError, MissingExtraError):
        return
    made.max_target_tokens = min(made.max_target_tokens, 3)
    with suppress(model_folder.ModelFolderError, fastattn.training.SourceError):
        made.translate(["ab\tV" if made.reading.has_features else "ab"])
    made.facts()


def parsed(data: bytes) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(data)
    return None


def digest(content: Any) -> str:
    with suppress(ValueError, RecursionError):
        return digest_of(content)
    return ""


def run_vocabulary(data: bytes) -> None:
    content = parsed(data)
    features = isinstance(content, dict) and isinstance(content.get("source"), dict) and "features" in content["source"]
    config = {**json.loads(model_files(features)["config.json"]), "vocabulary_sha256": digest(content)}
    if isinstance(content, dict):
        for side in ("source", "target"):
            try:
                vocabulary = Vocabulary.from_json(content.get(side))
            except (ValueError, MissingExtraError):
                continue
            config["model"][f"{side}_vocabulary"] = len(vocabulary)
            assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
            ids = vocabulary.encode("ab x\ty", start=True, end=True)
            assert all(0 <= number < len(vocabulary) for number in ids)
            vocabulary.decode(range(len(vocabulary)))
    load_files(_with_config(features, config) | {"vocabulary.json": data})


def _with_config(features: bool, config: Any) -> dict[str, bytes]:
    """The files of a model whose tensors name this config."""
    named = translator(features).model.named_params()
    return {**model_files(features), "config.json": json.dumps(config).encode(), "model.safetensors": tensors_of(named, config)}


def vocabulary_seeds() -> list[bytes]:
    return [model_files(features)["vocabulary.json"] for features in (False, True)] + [
        b'{"source": {"token_kind": "grapheme", "special": ["padding", "start", "end", "unknown"], "symbols": ["a\\u0301"]}}'
    ]


def run_config(data: bytes) -> None:
    content = parsed(data)
    features = isinstance(content, dict) and "reading" in content
    files = {**model_files(features), "config.json": data}
    with suppress(ValueError, RecursionError):
        files["model.safetensors"] = tensors_of(translator(features).model.named_params(), content)
    load_files(files)
    place = folder() / "ids"
    place.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        (place / name).write_bytes(files[name])
    with suppress(ModelFolderError):
        read_model(place)
        fastattn.AttentionSeq2seq.load(place)


def config_seeds() -> list[bytes]:
    ids = {"format_version": 4, "model": translator().model.config.to_json()}
    ids["state"] = {"training": True, "step": 3, "mask_seed": 5}
    old = {"format_version": 1, "embedding": 3, "hidden": 4, "dtype": "float32", "reverse_source": False}
    old |= {"max_target_tokens": 6, "vocabulary_sha256": json.loads(model_files()["config.json"])["vocabulary_sha256"]}
    return [*(model_files(f)["config.json"] for f in (False, True)), json.dumps(ids).encode(), json.dumps(old).encode()]


def run_toml(data: bytes) -> None:
    try:
        settings = Settings.read(written("config.toml", data))
    except SettingsError:
        return
    assert Settings.from_toml(settings.to_toml()) == settings


def toml_seeds() -> list[bytes]:
    changed = Settings.of(pairs="p", separator="  ", hidden=5, dropout={"layers": 0.5}, checkpoint_every="2.5m", epochs=7)
    short = b'[model]\nhidden = 5\ndropout = { layers = 0.5 }\n[training]\ncheckpoint_every = "3m"\nlearning_rate = 1e-3\n'
    lines = (line for line in changed.to_toml().splitlines() if not line.startswith("#"))
    return [short, "\n".join(lines).encode()]


# Tensors. An odd first byte: the rest is the header alone, and as many zeros follow as it asks for, if that is not much.
def safetensors_of(data: bytes) -> bytes:
    if not data or data[0] % 2 == 0:
        return data[1:]
    header = parsed(data[1:])
    ends = [0]
    if isinstance(header, dict):
        for told in header.values():
            offsets = told.get("data_offsets") if isinstance(told, dict) else None
            ends += [end for end in offsets if type(end) is int] if isinstance(offsets, list) else []
    size = max(ends)
    return struct.pack("<Q", len(data) - 1) + data[1:] + bytes(size if size < 2**16 else 16)


def header_of(file: bytes) -> bytes:
    return b"\1" + file[8 : 8 + int.from_bytes(file[:8], "little")]


def run_tensors(data: bytes) -> None:
    content = safetensors_of(data)
    with suppress(TensorsError):
        tensors = Tensors(content)
        for name, (dtype, shape) in tensors.described.items():
            if dtype in DTYPES:
                assert tensors.get(name).shape == shape
    load_files({**model_files(), "model.safetensors": content})


def tensors_seeds() -> list[bytes]:
    file = model_files()["model.safetensors"]
    small = safetensors_bytes({"a": np.arange(3.0), "b": np.zeros((0, 2), "f4"), "c": np.array(5)}, {"fastattn": "{}"})
    return [b"\0" + file, header_of(file), b"\0" + small, header_of(small)]


# A manifest. An odd first byte: the rest is its entries, and its digest of itself is made to fit.
def run_manifest(data: bytes) -> None:
    place = folder() / "set"
    place.mkdir(exist_ok=True)
    content = data[1:]
    if data and data[0] % 2:
        entries = parsed(content)
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            return
        with suppress(ValueError, RecursionError, UnicodeEncodeError):
            content = _manifest(entries)
    (place / MANIFEST).write_bytes(content)
    (place / "a").write_bytes(b"some")
    with suppress(FileError):
        read_set(place, lambda reader: [reader.read(name, 2**20) for name in reader.names or ()])
    write_set(place, {"b": b"other"})
    assert (place / "b").read_bytes() == b"other"


def manifest_seeds() -> list[bytes]:
    entries = {"a": {"sha256": hashlib.sha256(b"some").hexdigest(), "bytes": 4}}
    escaping = {"../b": entries["a"], "/etc/passwd": entries["a"], ".": entries["a"], "a\0": entries["a"]}
    return [b"\0" + _manifest(entries), b"\1" + json.dumps(entries).encode(), b"\1" + json.dumps(escaping).encode()]


# A checkpoint. The first byte: of its two files this one is the rest, state.json or the header of arrays.safetensors.
@functools.cache
def interrupted() -> tuple[Path, Path, dict[str, bytes]]:
    """A run that stopped after some steps: its folder, that of its checkpoint, and what stood in this."""
    place = folder() / "run"
    path = folder() / "pairs.tsv"
    path.write_text("".join(f"{a}{b}\t{b}{a}\n" for a in "abc" for b in "xyz"))
    choices: dict[str, Any] = {"embedding": 2, "hidden": 3, "epochs": 1, "batch_size": 3, "valid_fraction": 0.2, "ema": 0.5}
    run = TrainingRun(Settings.of(pairs=str(path), checkpoint_every=1, **choices), place)

    def stop(where: str) -> None:
        if run._trainer.step == 2:
            raise _Enough
        between(where)

    between, run._between = run._between, stop  # type: ignore[method-assign, assignment]
    with suppress(_Enough):
        run.train(progress=False)
    (checkpoint,) = sorted((place / CHECKPOINTS).iterdir())[-1:]
    return place, checkpoint, {name: (checkpoint / name).read_bytes() for name in (STATE, "arrays.safetensors")}


class _Enough(Exception):
    pass


def run_checkpoint(data: bytes) -> None:
    place, checkpoint, files = interrupted()
    if data[:1] == b"S":
        files = {**files, STATE: data[1:]}
    else:
        files = {**files, "arrays.safetensors": safetensors_of(data)}
    for path in (place / CHECKPOINTS).iterdir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    write_folder(checkpoint, dict(files))

    def stop(where: str) -> None:
        raise _Enough

    with suppress(ModelFolderError, SettingsError, PairsError, DivergedError, _Enough):
        run = TrainingRun.resume(place)
        run._between = stop  # type: ignore[method-assign, assignment]
        run.train(progress=False)


def checkpoint_seeds() -> list[bytes]:
    _, _, files = interrupted()
    state = json.loads(files[STATE])
    lines = state["settings"].splitlines()
    state["settings"] = "\n".join(line for line in lines if line and line[0] != "#")
    return [b"S" + json.dumps(state).encode(), b"\0" + files["arrays.safetensors"], header_of(files["arrays.safetensors"])]


# Weights for the compat models.
PARAMS = [np.zeros((2, 3), "f4"), np.zeros(3, "f4")]


def run_weights(data: bytes) -> None:
    try:
        weights = read_weights(written("weights", data), PARAMS)
    except ValueError:
        return
    assert [(w.shape, w.dtype) for w in weights] == [(p.shape, p.dtype) for p in PARAMS]
    assert all(np.isfinite(w).all() for w in weights)


def weights_seeds() -> list[bytes]:
    kinds = [[p.astype(dtype) for p in PARAMS] for dtype in ("f2", "f4", "f8", ">f4")]
    kinds.append([np.asfortranarray(PARAMS[0]), PARAMS[1]])
    files = [pickle.dumps(weights, protocol) for weights in kinds for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    return [*files, files[2].replace(b"numpy._core", b"numpy.core"), safetensors_bytes({"0": PARAMS[0], "1": PARAMS[1]})]


# Encoded pairs on disk. The first byte: which of its files is the rest.
CORPUS_FILES = ("corpus.json", "source.ids", "source.offsets", "target.offsets", "sources.hashes")


@functools.cache
def corpus_files() -> dict[str, bytes]:
    place, (source, target) = folder() / "corpus", (Vocabulary.from_texts(side) for side in zip(*PAIRS))
    build_corpus(place, PAIRS, source, target, made_of={})
    return {path.name: path.read_bytes() for path in place.iterdir()}


def run_corpus(data: bytes) -> None:
    place = folder() / "corpus"
    files = dict(corpus_files())
    name = CORPUS_FILES[data[0] % len(CORPUS_FILES)] if data else CORPUS_FILES[0]
    files[name] = data[1:]
    if name != "corpus.json":
        index = json.loads(files["corpus.json"])
        index["sha256"][name] = hashlib.sha256(files[name]).hexdigest()
        files["corpus.json"] = json.dumps(index).encode()
    for each, content in files.items():
        (place / each).write_bytes(content)
    with suppress(CorpusError):
        corpus = open_corpus(place, {})
        x, lengths, t, _ = corpus.batch(np.arange(len(corpus)))
        assert x.shape == (len(corpus), lengths.max())
        assert len(t) == len(x)


def corpus_seeds() -> list[bytes]:
    return [bytes([number]) + corpus_files()[name] for number, name in enumerate(CORPUS_FILES)]


def run_history(data: bytes) -> None:
    load_files({**model_files(), "history.jsonl": data})
    with suppress(ModelFolderError):
        history = model_folder.read_files({**model_files(), "history.jsonl": data})["history"]
        repr(history)
        history._repr_html_()


def history_seeds() -> list[bytes]:
    record = {"epoch": 1, "loss": 2.5, "valid_loss": 2.75, "valid_exact_match": 0.25, "tokens_per_second": 9.5, "seconds": 1.5}
    return [b"", (json.dumps(record) + "\n").encode() * 2]


_JSON = ("{", "}", "[", "]", ":", ",", '"', "null", "true", "false", "NaN", "Infinity", "-1", "1e999", "99999999999999999999")
_TENSORS = ("dtype", "shape", "data_offsets", "__metadata__", "fastattn", *DTYPES, "BF16", "BOOL")

TARGETS = {
    "pairs": Target(run_pairs, pairs_seeds, ("\t", "\r\n", "||", "  ", "(1)", ";;;", "word", "phones", "\ufeff", "\u2028")),
    "vocabulary": Target(
        run_vocabulary,
        vocabulary_seeds,
        (*_JSON, "source", "target", "token_kind", "char", "space", "grapheme", "special", "symbols", "features", "\\ud800"),
    ),
    "config": Target(run_config, config_seeds, _JSON),
    "toml": Target(
        run_toml, toml_seeds, ("[[", "]]", "'''", '"""', "0x", "0b1", "inf", "nan", "1979-05-27", "= {", "#", "\\u")
    ),
    "tensors": Target(run_tensors, tensors_seeds, (*_JSON, *_TENSORS)),
    "manifest": Target(run_manifest, manifest_seeds, (*_JSON, "sha256", "bytes", "../", "/", "\\u0000", ".fastattn-")),
    "checkpoint": Target(run_checkpoint, checkpoint_seeds, (*_JSON, *_TENSORS)),
    "weights": Target(
        run_weights,
        weights_seeds,
        (
            "numpy",
            "ndarray",
            "dtype",
            "_reconstruct",
            "_frombuffer",
            "_codecs",
            "encode",
            "latin1",
            "f4",
            "numpy._core.numeric",
        ),
    ),
    "corpus": Target(
        run_corpus, corpus_seeds, (*_JSON, "made_of", "sha256", "rows", "ids", "dtype", "<u2", "<u4", "passed_over")
    ),
    "history": Target(run_history, history_seeds, (*_JSON, "epoch", "loss", "best", "step", "learning_rate")),
}


def prepared(name: str) -> Target:
    """The target, for a process that does nothing else."""
    _KEPT_QUIET.enter_context(quiet())
    fastattn.set_backend("reference")  # what reads files is the same on both sets
    return TARGETS[name]


@contextmanager
def quiet() -> Iterator[None]:
    """Weights that a file may hold overflow, and files are set aside: that is told, and not to be told here."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


_KEPT_QUIET = ExitStack()


def traceback_place(error: BaseException) -> str:
    """What tells kinds of errors apart: the type, and the innermost place in fastattn."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "fastattn" in Path(file).parts or "fuzz" in Path(file).parts:
            place = f"{Path(file).stem}-{trace.tb_frame.f_code.co_name}-{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}-{place}"
