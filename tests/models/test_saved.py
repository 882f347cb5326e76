"""`model.save` and `AttentionSeq2seq.load`: a model of token ids in a folder, and what else may stand there."""

import json
import re

import numpy as np
import pytest

import fastattn
from fastattn import AttentionSeq2seq
from fastattn.data import Vocabulary
from fastattn.training import ModelFolderError, Translator, load, save

V = 7


@pytest.fixture(autouse=True)
def reference():
    with fastattn.use_backend("reference"):
        yield


@pytest.fixture
def batch(rng):
    return rng.integers(0, V, (3, 4)), rng.integers(0, V, (3, 5))


def translator():
    model = AttentionSeq2seq(V, 3, 4, dropout=0.4, seed=1)
    return Translator(model, Vocabulary("abc"), Vocabulary("xyz"), reverse_source=True, max_target_tokens=6)


OPTIONS = [
    {},
    {"dtype": "float64", "target_vocabulary": 9, "tie_embeddings": True},
    {
        "encoder_layers": 2,
        "bidirectional": True,
        "bridge": "affine",
        "attention": "additive",
        "attentional_size": 5,
        "input_feeding": True,
        "dropout": {"embedding": 0.1, "output": 0.3},
        "recurrent_dropout": 0.2,
        "label_smoothing": 0.1,
    },
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("training", [True, False])
def test_what_is_loaded_goes_on_as_what_was_saved(options, training, batch, tmp_path):
    model = AttentionSeq2seq(V, 3, 4, seed=1, **options)
    model.forward(*batch)
    model._set_training(training)
    model.save(tmp_path / "new" / "m")
    same = AttentionSeq2seq.load(tmp_path / "new" / "m")
    assert (same.config, same.training, same.step) == (model.config, training, 1)
    assert repr(same) == repr(model)
    for _ in range(2):  # with the same masks, if there are some
        assert model.forward(*batch) == same.forward(*batch)
        model.backward()
        same.backward()
        for a, b in zip(model.grads, same.grads, strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.generate(batch[0], 0, 6), same.generate(batch[0], 0, 6))


def test_a_model_is_replaced_and_a_class_derived_from_it_is_loaded_as_itself(tmp_path):
    class Mine(AttentionSeq2seq):
        pass

    AttentionSeq2seq(V, 3, 4, seed=1).save(tmp_path)
    AttentionSeq2seq(V, 5, 6, seed=2).save(str(tmp_path))
    loaded = Mine.load(str(tmp_path))
    assert type(loaded) is Mine
    assert loaded.config.hidden == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "manifest.json", "model.safetensors"]


def test_a_model_of_text_gives_its_model_and_is_not_parted_from_its_vocabularies(tmp_path, batch):
    text = translator()
    text.save(tmp_path)
    model = AttentionSeq2seq.load(tmp_path)
    assert not model.training
    assert model.config.ratios.output == 0.4
    np.testing.assert_array_equal(model.generate(batch[0], 1, 6), text.model.generate(batch[0], 1, 6))
    with pytest.raises(ModelFolderError, match=r"holds a model of text, with vocabulary\.json; expected another folder"):
        model.save(tmp_path)
    assert load(tmp_path).translate(["abc"]) == text.translate(["abc"])


def test_a_translator_gives_the_same_answers_and_keeps_its_settings(tmp_path):
    text = translator()
    text.save(tmp_path / "m")
    same = Translator.load(tmp_path / "m")
    assert type(same) is Translator
    assert repr(same) == repr(text)
    assert same.model.config == text.model.config
    assert same.translate(["abc", "a"], beam=3) == text.translate(["abc", "a"], beam=3)


def test_a_model_of_ids_is_no_translator(tmp_path):
    AttentionSeq2seq(V, 3, 4).save(tmp_path)
    path = re.escape(str(tmp_path / "config.json"))
    message = f"^{path}: holds a model of token ids, without vocabularies, which AttentionSeq2seq.load reads$"
    for read in (load, Translator.load):
        with pytest.raises(ModelFolderError, match=message):
            read(tmp_path)


def test_the_function_says_what_it_expects(tmp_path):
    model = AttentionSeq2seq(V, 3, 4)
    for more in ((), ([], {})):
        with pytest.raises(TypeError, match=r"is <AttentionSeq2seq .*>; expected a Translator, which has vocabularies; a"):
            save(tmp_path / "m", model, *more)
        with pytest.raises(TypeError, match="translator is 'model'; expected a Translator"):
            save(tmp_path / "m", "model", *more)
    assert not (tmp_path / "m").exists()
    save(tmp_path / "m", translator())
    assert load(tmp_path / "m").reverse_source


def test_an_ensemble_is_no_model_to_save(tmp_path):
    from fastattn.training import ensemble

    with pytest.raises(TypeError, match="is an ensemble of 2 models; expected one model"):
        ensemble([translator(), translator()]).save(tmp_path / "m")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format_version": 5}, "format_version is 5; this fastattn reads 1 to 4"),
        ({"format_version": True}, "format_version is True"),
        ({"format_version": 1}, "is of format_version 1, which fastattn.training.load reads"),
        ({"model": 3}, "the model: the config of a model is a JSON int; expected an object"),
        ({"state": None}, r"state is None; expected training \(bool\), step \(int\), mask_seed \(int\)"),
        ({"state": {"training": 1, "step": 0, "mask_seed": 0}}, "state is .*; expected training"),
        ({"state": {"training": True, "step": -1, "mask_seed": 0}}, "state is .*; expected 0 <= step < 2"),
    ],
)
def test_a_config_that_cannot_be_is_named(change, reason, tmp_path):
    AttentionSeq2seq(V, 3, 4).save(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelFolderError, match=f"^{re.escape(str(path))}: is damaged"):
        AttentionSeq2seq.load(tmp_path)
    (tmp_path / "manifest.json").unlink()  # with which the file would have to be as it was written
    with pytest.raises(ModelFolderError, match=f"^{re.escape(str(path))}: {reason}"):
        AttentionSeq2seq.load(tmp_path)


def test_files_that_do_not_belong_together_and_folders_that_are_none(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        AttentionSeq2seq(V, 3, 4, seed=seed, dropout=0.1).save(tmp_path / name)
    (tmp_path / "a" / "config.json").write_bytes((tmp_path / "b" / "config.json").read_bytes())
    (tmp_path / "a" / "manifest.json").unlink()
    with pytest.raises(ModelFolderError, match=r"model\.safetensors: was not written with this config\.json"):
        AttentionSeq2seq.load(tmp_path / "a")
    with pytest.raises(ModelFolderError, match="no such folder"):
        AttentionSeq2seq.load(tmp_path / "c")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFolderError, match="is not a folder"):
        AttentionSeq2seq(V, 3, 4).save(tmp_path / "file")
