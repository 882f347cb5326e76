"""A model on disk: what is saved is loaded, and what is damaged is refused in one line."""

import dataclasses
import json
import re
import shutil
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastattn
from fastattn.data import Vocabulary
from fastattn.training import EpochRecord, ModelFolderError, Translator, load, model_folder, save

PAIRS = [("ab", "x y"), ("bcd", "y zz"), ("d", "x")]
HISTORY = [EpochRecord(1, 2.5, 2.75, 0.25, 1000.5, 1.5), EpochRecord(2, 1.5, None, None, 1001.0, 1.25)]
FILES = ["config.json", "history.jsonl", "model.safetensors", "vocabulary.json"]


@pytest.fixture(autouse=True)
def _reference():
    with fastattn.use_backend("reference"):
        yield


def make_translator(seed=0, pairs=PAIRS, dtype="float32", H=7, **options):
    sources = Vocabulary.from_texts(source for source, _ in pairs)
    targets = Vocabulary.from_texts((target for _, target in pairs), "space")
    model = fastattn.AttentionSeq2seq(len(sources), 5, H, target_vocabulary=len(targets), dtype=dtype, seed=seed)
    return Translator(model, sources, targets, **{"reverse_source": False, "max_target_tokens": 6, **options})


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "model", make_translator(), HISTORY, {"seed": 0})
    return tmp_path / "model"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_saved_is_loaded(tmp_path, dtype):
    translator = make_translator(dtype=dtype, reverse_source=True, max_target_tokens=9)
    save(tmp_path / "a" / "b", translator, HISTORY, {"seed": 0})
    loaded = load(tmp_path / "a" / "b")
    for p, q in zip(translator.model.params, loaded.model.params, strict=True):
        assert p.dtype == q.dtype == dtype
        assert (p == q).all()
    assert not loaded.model.training
    assert loaded.source_vocabulary == translator.source_vocabulary
    assert loaded.target_vocabulary == translator.target_vocabulary
    assert (loaded.reverse_source, loaded.max_target_tokens) == (True, 9)
    texts = ["ab", "", "dcbaab", "?"]
    assert loaded.translate(texts) == translator.translate(texts)


def test_the_files_are_what_they_are_called(folder):
    assert sorted(path.name for path in folder.iterdir()) == FILES
    tensors = load_file(folder / "model.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "encoder.embedding.W": (8, 5),
        "encoder.lstm.Wx": (5, 28),
        "encoder.lstm.Wh": (7, 28),
        "encoder.lstm.b": (28,),
        "decoder.embedding.W": (7, 5),
        "decoder.lstm.Wx": (5, 28),
        "decoder.lstm.Wh": (7, 28),
        "decoder.lstm.b": (28,),
        "decoder.affine.W": (14, 7),
        "decoder.affine.b": (7,),
    }
    for name, tensor in tensors.items():
        part = make_translator().model
        for attribute in name.split(".")[:-1]:
            part = getattr(part, attribute)
        assert any(p.shape == tensor.shape and (p == tensor).all() for p in part.params)
    assert json.loads((folder / "config.json").read_text())["training"] == {"seed": 0}
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert history == [dataclasses.asdict(record) for record in HISTORY]


def test_the_same_model_is_the_same_bytes(tmp_path, folder):
    for n in range(5):
        save(tmp_path / str(n), make_translator(), HISTORY, {"seed": 0})
        for name in FILES:
            assert (tmp_path / str(n) / name).read_bytes() == (folder / name).read_bytes()


def test_a_config_laid_out_anew_is_the_same_config(folder):
    for name in ("config.json", "vocabulary.json"):
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()), sort_keys=True))
    load(folder)


def refused(path, reason):
    """load(folder) fails with one line that begins with the file and the reason."""
    with pytest.raises(ModelFolderError, match=f"^{re.escape(str(path))}: {reason}") as caught:
        load(path if path.is_dir() or not path.parent.is_dir() else path.parent)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ModelFolderError, match="nowhere: no such folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFolderError, match="file: is not a folder"):
        load(tmp_path / "file")


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    refused(folder / name, "missing")


def test_the_history_is_not_needed(folder):
    (folder / "history.jsonl").unlink()
    load(folder)


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not JSON"),
        (b'{"format_version": 1', "is not JSON"),
        (b"\xff\xfe\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1]", "holds a JSON list; expected an object"),
    ],
)
def test_bad_json_is_refused(folder, name, content, reason):
    (folder / name).write_bytes(content)
    refused(folder / name, reason)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("format_version", 2, "format_version is 2; this fastattn reads 1"),
        ("format_version", None, "format_version is None"),
        ("dtype", "float16", "dtype is 'float16'; expected one of float32, float64"),
        ("dtype", [], "dtype is "),
        ("reverse_source", 1, "reverse_source is 1; expected true or false"),
        ("embedding", "5", "embedding is '5'; expected a whole number of at least 1"),
        ("hidden", 0, "hidden is 0"),
        ("hidden", True, "hidden is True"),
        ("max_target_tokens", 1.5, "max_target_tokens is 1.5"),
        ("max_target_tokens", None, "max_target_tokens is None"),
    ],
)
def test_a_bad_config_is_refused(folder, key, value, reason):
    config = json.loads((folder / "config.json").read_text())
    if value is None:
        del config[key]
    else:
        config[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder / "config.json", reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v.pop("target"), "the target vocabulary: .* got NoneType"),
        (lambda v: v["source"].pop("symbols"), "the source vocabulary: .* has no 'symbols'"),
        (lambda v: v["source"]["symbols"].append("too long"), "the source vocabulary: a symbol of kind 'char'"),
        (lambda v: v["source"]["symbols"].reverse(), "is not the vocabulary that config.json was written with"),
        (lambda v: v["source"]["symbols"].pop(), "is not the vocabulary that config.json was written with"),
    ],
)
def test_a_bad_vocabulary_is_refused(folder, change, reason):
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    change(vocabulary)
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    refused(folder / "vocabulary.json", reason)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 1000, -1])
def test_truncated_tensors_are_refused(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, "is not a whole safetensors file")


def with_tensors(folder, change, metadata=True):
    path = folder / "model.safetensors"
    header = path.read_bytes()
    size = int.from_bytes(header[:8], "little")
    kept = json.loads(header[8 : 8 + size])["__metadata__"] if metadata else None
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=kept)
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop("encoder.lstm.b"), r"encoder.lstm.b is absent; expected F32 \(28,\)"),
        (lambda t: t.update(more=np.zeros(2)), r"more is F64 \(2,\); expected absent"),
        (lambda t: t.update({"decoder.affine.b": np.zeros(8, "float32")}), r"decoder.affine.b is F32 \(8,\); expected F32"),
        (lambda t: t.update({"decoder.affine.b": np.zeros(7)}), r"decoder.affine.b is F64 \(7,\); expected F32 \(7,\)"),
        (lambda t: t.update({"decoder.affine.b": np.zeros(7, "int32")}), r"decoder.affine.b is I32 \(7,\)"),
        (lambda t: t["encoder.lstm.b"].fill(np.nan), "encoder.lstm.b holds NaN or infinity"),
    ],
)
def test_wrong_tensors_are_refused(folder, change, reason):
    refused(with_tensors(folder, change), reason)


def test_tensors_that_numpy_has_no_name_for_are_refused(folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].replace(b'"F32","shape":[28]', b'"BF16","shape":[56]')
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])
    refused(path, r"encoder.lstm.b is BF16 \(56,\); expected F32 \(28,\)")


def test_tensors_of_someone_else_are_refused(folder):
    refused(with_tensors(folder, lambda tensors: None, metadata=False), "was not written by fastattn")


def test_a_folder_in_the_place_of_a_file_is_refused(folder):
    for name in FILES[:1] + FILES[2:]:
        (folder / name).rename(folder / "aside")
        (folder / name).mkdir()
        with pytest.raises(ModelFolderError, match=f"{name}: "):
            load(folder)
        (folder / name).rmdir()
        (folder / "aside").rename(folder / name)
    load(folder)


class Crash(BaseException):
    pass


def crash_after(monkeypatch, count):
    """The next save stops when it has written ``count`` files, as if the power had gone."""
    written = []

    def write(path, content):
        if len(written) == count:
            raise Crash
        written.append(path)
        original(path, content)

    original = model_folder.atomic_write
    monkeypatch.setattr(model_folder, "atomic_write", write)


@pytest.mark.parametrize("count", range(5))
def test_a_crash_within_a_run_leaves_one_epoch_or_the_next(folder, monkeypatch, count):
    old, new = make_translator(), make_translator(seed=1)
    crash_after(monkeypatch, count)
    try:
        save(folder, new, HISTORY, {"seed": 0})
    except Crash:
        assert count < 4
    loaded = load(folder).model.params
    assert any(all((p == q).all() for p, q in zip(loaded, whole.model.params, strict=True)) for whole in (old, new))
    assert sorted(path.name for path in folder.iterdir()) == FILES


@pytest.mark.parametrize("count", range(5))
@pytest.mark.parametrize(
    "other",
    [
        {"pairs": [("ba", "x yy"), ("xcd", "y zz"), ("d", "x")]},  # as many symbols, but not the same
        {"reverse_source": True},
        {"H": 9},
        {"dtype": "float64"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_crash_over_another_model_never_leaves_a_mixture(folder, monkeypatch, count, other):
    old, new = make_translator(), make_translator(seed=1, **other)
    crash_after(monkeypatch, count)
    try:
        save(folder, new, HISTORY, {"seed": 0})
    except Crash:
        assert count < 4
    whole = {0: old, 3: new, 4: new}.get(count)
    try:
        loaded = load(folder)
    except ModelFolderError:
        assert whole is None or count == 0
        return
    if count == 1 and old.source_vocabulary == new.source_vocabulary:
        whole = old  # only the vocabulary was written, and it is the same
    assert whole is not None
    assert all((p == q).all() for p, q in zip(loaded.model.params, whole.model.params, strict=True))
    assert loaded.source_vocabulary == whole.source_vocabulary
    assert loaded.reverse_source == whole.reverse_source


def test_mixed_folders_are_refused(tmp_path, folder):
    save(tmp_path / "other", make_translator(seed=1, reverse_source=True), HISTORY, {"seed": 0})
    shutil.copy(tmp_path / "other" / "model.safetensors", folder)
    refused(folder / "model.safetensors", "was not written with this config.json")


def test_an_interruption_takes_effect_when_all_files_are_written(folder, monkeypatch):
    def write(path, content):
        if path.name == "vocabulary.json":
            signal.raise_signal(signal.SIGINT)
        original(path, content)

    original = model_folder.atomic_write
    monkeypatch.setattr(model_folder, "atomic_write", write)
    new = make_translator(seed=1, H=9)
    with pytest.raises(KeyboardInterrupt):
        save(folder, new, HISTORY[:1], {"seed": 1})
    assert (load(folder).model.params[0] == new.model.params[0]).all()
    assert len((folder / "history.jsonl").read_text().splitlines()) == 1
