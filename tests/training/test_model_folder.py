"""A model on disk: what is saved is loaded, and what is damaged is refused in one line."""

import dataclasses
import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastattn
from fastattn.data import Reading, Vocabulary, files
from fastattn.training import EpochRecord, ModelFolderError, Translator, load, save

PAIRS = [("ab", "x y"), ("bcd", "y zz"), ("d", "x")]
HISTORY = [EpochRecord(1, 2.5, 2.75, 0.25, 1000.5, 1.5), EpochRecord(2, 1.5, None, None, 1001.0, 1.25)]
FILES = ["README.md", "config.json", "history.jsonl", "manifest.json", "model.safetensors", "vocabulary.json"]


@pytest.fixture(autouse=True)
def _reference():
    with fastattn.use_backend("reference"):
        yield


def make_translator(seed=0, pairs=PAIRS, dtype="float32", H=7, choices=None, **options):
    sources = Vocabulary.from_texts(source for source, _ in pairs)
    targets = Vocabulary.from_texts((target for _, target in pairs), "space")
    given = {"target_vocabulary": len(targets), "dtype": dtype, **(choices or {})}
    model = fastattn.AttentionSeq2seq(len(sources), 5, H, seed=seed, **given)
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
        "encoder.lstm.0.forward.Wx": (5, 28),
        "encoder.lstm.0.forward.Wh": (7, 28),
        "encoder.lstm.0.forward.b": (28,),
        "decoder.embedding.W": (7, 5),
        "decoder.lstm.0.forward.Wx": (5, 28),
        "decoder.lstm.0.forward.Wh": (7, 28),
        "decoder.lstm.0.forward.b": (28,),
        "decoder.affine.W": (14, 7),
        "decoder.affine.b": (7,),
    }
    model = make_translator().model
    for name, param in model.named_params().items():
        assert (tensors[name] == param).all()
    for part in ("encoder.embedding", "encoder.lstm", "decoder.embedding", "decoder.lstm", "decoder.affine"):
        side, layer = part.split(".")
        of_part = [tensor for name, tensor in tensors.items() if name.startswith(part)]
        for param in getattr(getattr(model, side), layer).params:
            assert any(tensor.shape == param.shape and (tensor == param).all() for tensor in of_part)
    assert json.loads((folder / "config.json").read_text())["training"] == {"seed": 0}
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert history == [dataclasses.asdict(record) for record in HISTORY]


FAMILY = {
    "layers and directions": {"encoder_layers": 2, "decoder_layers": 3, "bidirectional": True, "encoder_hidden": 4},
    "additive, fed": {"attention": "additive", "attention_size": 3, "attentional_size": 6, "input_feeding": True},
    "without attention": {"attention": None, "bridge": "last_state"},
    "tied": {"tie_embeddings": True, "attentional_size": 6},
    "dropout": {"dropout": {"layers": 0.25, "encoder": 0.5}, "recurrent_dropout": 0.125, "word_dropout": 0.1},
    "what training knows": {"label_smoothing": 0.1, "forget_bias": 2.0, "orthogonal": True, "residual": True},
}
FAMILY["layers and directions"] |= {"attention": "general", "bridge": "affine", "project_encoder": True}


@pytest.mark.parametrize("choices", FAMILY.values(), ids=FAMILY)
def test_the_family_is_saved_and_loaded(tmp_path, choices):
    translator = make_translator(choices=choices)
    save(tmp_path, translator, HISTORY, {"seed": 0})
    loaded = load(tmp_path)
    assert loaded.model.config == translator.model.config
    assert load_file(tmp_path / "model.safetensors").keys() == translator.model.named_params().keys()
    for p, q in zip(translator.model.params, loaded.model.params, strict=True):
        np.testing.assert_array_equal(p, q)
    texts = ["ab", "", "dcbaab", "?"]
    assert loaded.translate(texts) == translator.translate(texts)


READING = Reading(features_column=3, separator=",", normalization="NFC")


def make_reader(reading):
    """A model of sources with features."""
    sources = Vocabulary.from_texts(["ab\tV\tPST", "ba\tV"], features=True)
    targets = Vocabulary.from_texts(["ab"])
    model = fastattn.AttentionSeq2seq(len(sources), 5, 7, target_vocabulary=len(targets), seed=0)
    return Translator(model, sources, targets, reverse_source=False, max_target_tokens=4, reading=reading)


def test_how_pairs_were_read_is_kept(tmp_path):
    translator = make_reader(READING)
    save(tmp_path, translator, HISTORY, {})
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["format_version"], config["reading"]["normalization"]) == (3, "NFC")
    loaded = load(tmp_path)
    assert loaded.reading == READING
    assert loaded.source_vocabulary == translator.source_vocabulary
    texts = ["ab\tV;PST", "ab\tV", "ba\tPST"]
    assert loaded.translate(texts) == translator.translate(texts)


def test_a_plain_reading_changes_nothing_in_the_folder(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["format_version"] == 2
    assert config.keys() == {
        *("format_version", "model", "reverse_source", "max_target_tokens", "vocabulary_sha256", "training"),
    }
    assert json.loads((folder / "vocabulary.json").read_text())["source"].keys() == {"token_kind", "special", "symbols"}


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("normalization", "nfc", "the reading: normalization is 'nfc'; expected one of none, NFC, NFD, NFKC"),
        ("separator", 5, "the reading: separator is 5; expected a str"),
        ("column", 5, "the reading: 'column' is no option of reading; expected one of source_column, "),
        ("header", None, "the reading: the reading has no 'header'"),
        ("features_column", "tags", "the reading: features_column is 'tags'; a name needs header=True"),
    ],
)
def test_a_bad_reading_is_refused(tmp_path, key, value, reason):
    save(tmp_path, make_reader(READING), HISTORY, {})
    config = json.loads((tmp_path / "config.json").read_text())
    if value is None:
        del config["reading"][key]
    else:
        config["reading"][key] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused(tmp_path / "config.json", reason)


def test_a_reading_that_the_vocabulary_contradicts_is_refused(tmp_path):
    save(tmp_path, make_reader(READING), HISTORY, {})
    config = json.loads((tmp_path / "config.json").read_text())
    config["reading"]["features_column"] = None
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused(tmp_path / "config.json", "the reading: features_column is None, but vocabulary.json has features")


def test_shared_embeddings_are_saved_once(tmp_path):
    pairs = [("ab", "ba"), ("cd", "dc")]
    vocabulary = Vocabulary.from_texts(text for pair in pairs for text in pair)
    model = fastattn.AttentionSeq2seq(len(vocabulary), 5, 7, share_embeddings=True, tie_embeddings=True, seed=0)
    translator = Translator(model, vocabulary, vocabulary, reverse_source=False, max_target_tokens=4)
    save(tmp_path, translator, HISTORY, {})
    assert "decoder.embedding.W" not in load_file(tmp_path / "model.safetensors")
    loaded = load(tmp_path).model
    assert loaded.decoder.embedding.params[0] is loaded.encoder.embedding.params[0] is loaded.params[0]
    np.testing.assert_array_equal(loaded.params[0], model.params[0])


@pytest.fixture
def version_1(tmp_path):
    """A folder as the first version of the format wrote it, of a model that says what it was taught."""
    return shutil.copytree(Path(__file__).parent / "version_1", tmp_path / "model")


def test_a_folder_of_the_first_version_loads(version_1, tmp_path):
    loaded = load(version_1)
    assert loaded.translate([source for source, _ in PAIRS]) == [target for _, target in PAIRS]
    assert (loaded.reverse_source, loaded.max_target_tokens) == (True, 6)
    assert loaded.model.config.is_plain
    save(tmp_path / "new", loaded, HISTORY, {})
    for p, q in zip(loaded.model.params, load(tmp_path / "new").model.params, strict=True):
        np.testing.assert_array_equal(p, q)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("dtype", "float16", "the model: dtype is float16; expected float32 or float64"),
        ("dtype", [], r"the model: dtype is \[\]; expected float32 or float64"),
        ("embedding", "5", "the model: embedding is '5'; expected a whole number"),
        ("hidden", 0, "the model: hidden is 0; expected at least 1"),
        ("hidden", None, "the model: hidden is None; expected a whole number"),
        ("reverse_source", 1, "reverse_source is 1; expected true or false"),
    ],
)
def test_a_bad_config_of_the_first_version_is_refused(version_1, key, value, reason):
    config = json.loads((version_1 / "config.json").read_text())
    (version_1 / "config.json").write_text(json.dumps({**config, key: value}))
    refused(version_1 / "config.json", reason)


def test_tensors_of_the_first_version_have_its_names(version_1):
    refused(with_tensors(version_1, lambda t: t.pop("encoder.lstm.b")), r"encoder.lstm.b is absent; expected F32 \(16,\)")


def test_the_same_model_is_the_same_bytes(tmp_path, folder):
    for n in range(5):
        save(tmp_path / str(n), make_translator(), HISTORY, {"seed": 0})
        for name in FILES:
            assert (tmp_path / str(n) / name).read_bytes() == (folder / name).read_bytes()


def test_a_config_laid_out_anew_is_the_same_config(folder):
    for name in ("config.json", "vocabulary.json"):
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()), sort_keys=True))
    (folder / "manifest.json").unlink()
    load(folder)


def refused(path, reason):
    """load(folder) fails with one line that begins with the file and the reason, without the digests of a manifest, too."""
    (path.parent / "manifest.json").unlink(missing_ok=True)
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
        ("format_version", 5, "format_version is 5; this fastattn reads 1 to 3"),
        ("format_version", True, "format_version is True; this fastattn reads 1 to 3"),
        ("format_version", None, "format_version is None"),
        ("format_version", 3, "the reading: a reading must be a JSON object, got NoneType"),
        ("format_version", 1, "the model: embedding is None; expected a whole number"),
        ("reverse_source", 1, "reverse_source is 1; expected true or false"),
        ("model", None, "the model: the config of a model is a JSON NoneType; expected an object"),
        ("model", [], "the model: the config of a model is a JSON list; expected an object"),
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
    ("key", "value", "reason"),
    [
        ("dtype", "float16", "dtype is float16; expected float32 or float64"),
        ("dtype", [], r"dtype is \[\]; expected float32 or float64"),
        ("embedding", "5", "embedding is '5'; expected a whole number"),
        ("hidden", 0, "hidden is 0; expected at least 1"),
        ("hidden", True, "hidden is True; expected a whole number"),
        ("attention", "best", "attention is 'best'; expected one of 'dot', "),
        ("encoder_layers", 0, "encoder_layers is 0; expected at least 1"),
        ("bidirectional", True, 'attention="dot" multiplies states of equal widths'),
        ("dropout", {"all": 0.5}, "dropout has a place 'all'"),
        ("dtype", "(,)f4", r"dtype is '\(,\)f4'; expected float32 or float64"),
        ("forget_bias", 10**400, "forget_bias is 10+; expected a finite number"),
        ("heads", 8, "'heads' is no option of a model; expected one of source_vocabulary, "),
        ("bridge", None, "the config of a model has no 'bridge'"),
        ("source_vocabulary", 9, "source_vocabulary is 9, but vocabulary.json holds 8 tokens"),
        ("target_vocabulary", 6, "target_vocabulary is 6, but vocabulary.json holds 7 tokens"),
    ],
)
def test_a_bad_choice_is_refused(folder, key, value, reason):
    config = json.loads((folder / "config.json").read_text())
    if value is None:
        del config["model"][key]
    else:
        config["model"][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder / "config.json", "the model: " + reason)


def test_a_config_of_very_many_layers_is_refused_at_once(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["encoder_layers"] = 10**7
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder / "config.json", "the model: encoder_layers is 10000000; expected at most 100")
    config["model"]["encoder_layers"] = 100
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder / "model.safetensors", r"encoder.lstm.1.forward.Wx is absent; expected F32 \(7, 28\)")


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
        (lambda t: t.pop("encoder.lstm.0.forward.b"), r"encoder.lstm.0.forward.b is absent; expected F32 \(28,\)"),
        (lambda t: t.update(more=np.zeros(2)), r"more is F64 \(2,\); expected absent"),
        (lambda t: t.update({"decoder.affine.b": np.zeros(8, "float32")}), r"decoder.affine.b is F32 \(8,\); expected F32"),
        (lambda t: t.update({"decoder.affine.b": np.zeros(7)}), r"decoder.affine.b is F64 \(7,\); expected F32 \(7,\)"),
        (lambda t: t.update({"decoder.affine.b": np.zeros(7, "int32")}), r"decoder.affine.b is I32 \(7,\)"),
        (lambda t: t["encoder.lstm.0.forward.b"].fill(np.nan), "encoder.lstm.0.forward.b holds NaN or infinity"),
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
    refused(path, r"encoder.lstm.0.forward.b is BF16 \(56,\); expected F32 \(28,\)")


def test_tensors_of_someone_else_are_refused(folder):
    refused(with_tensors(folder, lambda tensors: None, metadata=False), "was not written by fastattn")


def test_a_folder_in_the_place_of_a_file_is_refused(folder):
    for name in ("config.json", "model.safetensors", "vocabulary.json"):
        (folder / name).rename(folder / "aside")
        (folder / name).mkdir()
        with pytest.raises(ModelFolderError, match=f"{name}: "):
            load(folder)
        (folder / name).rmdir()
        (folder / "aside").rename(folder / name)
    load(folder)


class Crash(BaseException):
    pass


def crash_at(monkeypatch, count):
    """The next save stops before the file operation of this number, as if it had been killed; returned: what was done."""
    done = []

    def counted(operation):
        def call(*arguments):
            if len(done) == count:
                raise Crash
            done.append(operation)
            return operation(*arguments)

        return call

    for place, name in ((files, "_write_new"), (files.os, "replace"), (files, "sync_folder")):
        monkeypatch.setattr(place, name, counted(getattr(place, name)))
    # Who is killed cleans nothing up.
    monkeypatch.setattr(files.Path, "unlink", lambda path, missing_ok=False: None)
    return done


@pytest.mark.parametrize("count", range(17))
@pytest.mark.parametrize(
    "other",
    [
        {},
        {"pairs": [("ba", "x yy"), ("xcd", "y zz"), ("d", "x")]},  # as many symbols, but not the same
        {"reverse_source": True},
        {"H": 9, "dtype": "float64"},
        {"choices": {"label_smoothing": 0.1}},  # the same tensors
    ],
    ids=lambda other: next(iter(other), "the same"),
)
@pytest.mark.parametrize("digests", [True, False], ids=["digests", "none"])
def test_a_crash_leaves_the_old_model_or_the_new_one_whole(folder, monkeypatch, digests, other, count):
    old, new = make_translator(), make_translator(seed=1, **other)
    if not digests:  # as earlier versions wrote it
        (folder / "manifest.json").unlink()
    with monkeypatch.context() as patch:
        done = crash_at(patch, count)
        try:
            save(folder, new, HISTORY[:1], {"seed": 0})
        except Crash:
            assert len(done) == count
        else:
            assert len(done) == 14  # six files written, six named, the names on the disk twice
    (folder / ".fastattn-lock").unlink(missing_ok=True)
    loaded = load(folder)
    whole = old if count <= 7 else new
    assert loaded.model.config == whole.model.config
    assert loaded.source_vocabulary == whole.source_vocabulary
    assert loaded.reverse_source == whole.reverse_source
    assert all((p == q).all() for p, q in zip(loaded.model.params, whole.model.params, strict=True))
    save(folder, new, HISTORY, {"seed": 0})  # what was left to do is done, and what was left over is gone
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert len((folder / "history.jsonl").read_text().splitlines()) == 2


def test_mixed_folders_are_refused(tmp_path, folder):
    save(tmp_path / "other", make_translator(seed=1, reverse_source=True), HISTORY, {"seed": 0})
    shutil.copy(tmp_path / "other" / "model.safetensors", folder)
    refused(folder / "model.safetensors", "was not written with this config.json")


def test_an_interruption_takes_effect_when_all_files_are_written(folder, monkeypatch):
    def write(path, content):
        signal.raise_signal(signal.SIGINT)
        original(path, content)

    original = files._write_new
    monkeypatch.setattr(files, "_write_new", write)
    new = make_translator(seed=1, H=9)
    with pytest.raises(KeyboardInterrupt):
        save(folder, new, HISTORY[:1], {"seed": 1})
    assert (load(folder).model.params[0] == new.model.params[0]).all()
    assert len((folder / "history.jsonl").read_text().splitlines()) == 1
