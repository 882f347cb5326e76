"""The settings of a run: each has its checks, its flag and its line of TOML; and a file of them makes the same run."""

import dataclasses
import inspect
import json
import math
import sys
import tomllib

import numpy as np
import pytest

import fastattn
from fastattn.data import MissingExtraError, PairsError, Reading
from fastattn.data.words import nearest
from fastattn.models.config import DropoutRatios, ModelConfig
from fastattn.training import (
    DataSettings,
    ModelFolderError,
    ModelSettings,
    Settings,
    SettingsError,
    Trainer,
    TrainingSettings,
    load,
    train,
)
from fastattn.training.kinds import Choice, Column, Dropout, Number, Switch, Text, Whole
from fastattn.training.settings import SECTIONS

# For each setting another value than its default; and what must stand beside it.
OTHERS = {
    "data": {
        "pairs": 'a "b"\\c\t\x7f.tsv',
        "source_column": 3,
        "target_column": "phones",
        "features_column": 4,
        "separator": "  ",
        "features_separator": "+",
        "header": True,
        "extra_columns": True,
        "comment": ";;;",
        "variants": True,
        "normalization": "NFD",
        "source_tokens": "space",
        "target_tokens": "space",
        "reverse_source": True,
        "valid": "b.tsv",
        "valid_fraction": 0.25,
        "token_cache": "ids",
    },
    "model": {
        "embedding": 3,
        "hidden": 6,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "bidirectional": True,
        "encoder_hidden": 5,
        "project_encoder": True,
        "residual": True,
        "attention": "additive",
        "attention_size": 7,
        "attentional_size": 9,
        "input_feeding": True,
        "bridge": "zeros",
        "dropout": DropoutRatios(embedding=0.1, output=0.3),
        "recurrent_dropout": 1e-05,
        "word_dropout": 0.2,
        "tie_embeddings": True,
        "share_embeddings": True,
        "label_smoothing": 0.1,
        "forget_bias": -2.0,
        "orthogonal": True,
        "dtype": "float64",
    },
    "training": {
        "epochs": 4,
        "batch_size": 17,
        "batch_tokens": 170,
        "accumulate": 3,
        "shards": 4,
        "wire": "bfloat16",
        "optimizer": "sgd",
        "learning_rate": 1e-07,
        "weight_decay": 0.5,
        "schedule": "cosine",
        "warmup_steps": 100,
        "hold": 0.3,
        "plateau_factor": 0.25,
        "plateau_patience": 3,
        "max_grad": 0.1,
        "metric": "token_error_rate",
        "patience": 4,
        "keep": "best",
        "average": "last",
        "average_count": 3,
        "ema": 0.999,
        "skip_nonfinite": 3,
        "max_minutes": 0.5,
        "log_every": 10,
        "checkpoint_every": "2.5m",
        "keep_checkpoints": 5,
        "seed": 2**70,
    },
    "card": {"license": 'of "my own"'},
}
BESIDE = {
    "valid": {"pairs": "a.tsv"},
    "valid_fraction": {"pairs": "a.tsv"},
    "bidirectional": {"bridge": "affine", "attention": "general"},
    "encoder_hidden": {"bridge": "affine", "attention": "general"},
    "attention_size": {"attention": "additive"},
    "input_feeding": {"attentional_size": 5},
    "weight_decay": {"optimizer": "adamw"},
    "average_count": {"average": "last"},
    "target_column": {"header": True},
    "plateau_factor": {"schedule": "plateau"},
    "plateau_patience": {"schedule": "plateau"},
}
NAMES = [(section.title(), name) for section in SECTIONS for name, _ in section.settings()]


@pytest.mark.parametrize(("title", "name"), NAMES)
def test_each_setting_goes_through_toml(title, name):
    value = OTHERS[title][name]
    settings = Settings.of(**{name: value, **BESIDE.get(name, {})})
    assert getattr(getattr(settings, title), name) == value
    assert Settings.from_toml(settings.to_toml()) == settings != Settings()


def test_every_option_of_reading_and_of_fit_is_a_setting():
    assert {field.name for field in dataclasses.fields(Reading)} <= {name for name, _ in DataSettings.settings()}
    options = {p.name for p in inspect.signature(Trainer.fit).parameters.values() if p.kind is p.KEYWORD_ONLY}
    of_the_run = {"source_lengths", "target_lengths", "validation_data", "callbacks", "on_step", "progress", "bucket"}
    of_the_run |= {"between", "state"}
    assert options - of_the_run <= {name for name, _ in TrainingSettings.settings()}


def test_every_option_of_a_model_is_a_setting():
    names = {field.name for field in dataclasses.fields(ModelConfig)} - {"source_vocabulary", "target_vocabulary"}
    assert names == {name for name, _ in ModelSettings.settings()}


def test_no_two_settings_have_one_name():
    names = [name for _, name in NAMES]
    assert len(names) == len(set(names)) > 50


@pytest.mark.parametrize("name", [name for name, _ in ModelSettings.settings()])
def test_each_option_of_a_model_arrives_in_its_config(name):
    given = {name: OTHERS["model"][name], **BESIDE.get(name, {})}
    settings = Settings.of(**given)
    assert getattr(settings.model.config(9, 9), name) == OTHERS["model"][name]


def test_the_defaults_are_the_plain_model():
    config = Settings().model.config(9, 8)
    assert config == ModelConfig(9, 64, 256, 8)
    assert config.is_plain


def test_no_attention():
    for none in ("none", None):
        assert Settings.of(attention=none).model.config(5, 5).attention is None


def test_the_document_is_whole_and_says_what_is_what():
    text = Settings().to_toml()
    content = tomllib.loads(text)
    assert [(title, name) for title, table in content.items() for name in table] == NAMES
    assert "# How many pairs a step learns from. A whole number of at least 1; default: 64.\nbatch_size = 64\n" in text
    assert max(map(len, text.splitlines())) <= 120
    for section in SECTIONS:
        for _, one in section.settings():
            assert one.help[0].islower(), "a flag's help goes on from its name"
            assert not one.help.endswith(".")


def test_what_a_document_leaves_out_is_at_its_default():
    assert Settings.from_toml("") == Settings()
    assert Settings.from_toml("[model]\nhidden = 3\n[training]\nlearning_rate = 1") == Settings.of(hidden=3, learning_rate=1.0)
    assert Settings.from_toml("[model]\r\nhidden = 3\r\n") == Settings.of(hidden=3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[training]\nlearning_rat = 1", "[training] has no learning_rat; did you mean learning_rate?"),
        ("[training]\nlearning-rate = 1", "[training] has no learning-rate; did you mean learning_rate?"),
        ("[training]\nhidden = 1", "[training] has no hidden; expected it in [model]"),
        ("[model]\nxyz = 1", "[model] has no xyz; expected one of embedding, hidden, "),
        ("[trainig]\n", "there is no section [trainig]; did you mean training?"),
        ("hidden = 3", "hidden stands outside of a section; expected it in [model]"),
        ("model = 3", "model is 3; expected a section [model]"),
        ("[model]\nhidden = 0", "model.hidden is 0; expected a whole number of at least 1"),
        ("[model]\nhidden = true", "model.hidden is True; expected a whole number of at least 1"),
        ("[model]\nhidden = 2.0", "model.hidden is 2.0; expected a whole number of at least 1"),
        ('[model]\nhidden = "3"', "model.hidden is '3'; expected a whole number of at least 1"),
        ("[model]\nbidirectional = 1", "model.bidirectional is 1; expected true or false"),
        (
            '[model]\nattention = "cosine"',
            "model.attention is 'cosine'; expected one of dot, scaled_dot, general, additive, none",
        ),
        ("[model]\ndropout = { middle = 0.1 }", "model.dropout is {'middle': 0.1}; expected a number of at least 0 and less"),
        (
            "[model]\ndropout = 1",
            "model.dropout is 1; expected a number of at least 0 and less than 1, or such numbers by place",
        ),
        ("[model]\nforget_bias = nan", "model.forget_bias is nan; expected a finite number"),
        ("[training]\nlearning_rate = inf", "training.learning_rate is inf; expected a number above 0"),
        ("[training]\nmax_grad = 0", "training.max_grad is 0; expected a number above 0"),
        ('[training]\nepochs = "none"', """training.epochs is 'none'; expected a whole number of at least 1, or "auto\""""),
        ("[data]\npairs = 3", """data.pairs is 3; expected a path, or "" for none"""),
        ('[data]\npairs = "a\\u0000"', r"""data.pairs is 'a\x00'; expected a path, or "" for none"""),
        ("[data]\ncomment = 3", """data.comment is 3; expected a text, or "" for none"""),
        ('[data]\nsource_tokens = "word"', "data.source_tokens is 'word'; expected one of char, space, grapheme"),
        ("[model\n", "is not TOML: "),
        ("[model]\nhidden = 3\nhidden = 4", "is not TOML: Cannot overwrite a value (at "),
    ],
)
def test_what_cannot_be_is_said(tmp_path, text, reason):
    with pytest.raises(SettingsError) as error:
        Settings.from_toml(text)
    assert reason in str(error.value)
    path = tmp_path / "g2p.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as told:
        Settings.read(path)
    assert str(told.value) == f"{path}: {error.value}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[data]\npairs = "a"\nvalid = "b"\nvalid_fraction = 0.1', "are both given; expected one of them"),
        ("[model]\nbidirectional = true", 'model: attention="dot" multiplies states of equal widths'),
        ("[training]\nweight_decay = 0.1", 'only optimizer = "adamw" has one'),
        (
            '[training]\naverage = "best"\nema = 0.5',
            "training.average is 'best', and training.ema is 0.5; expected one of them",
        ),
        ('[training]\naverage = "last"\nkeep = "best"', """and training.keep is "best"; expected one of them"""),
        ("[training]\naverage_count = 3", "average_count is 3, but training.average is 'none'; expected last or best"),
        ('[training]\nschedule = "constant"\nhold = 0.5', "hold is 0.5, but schedule 'constant' has none"),
        ("[training]\nplateau_factor = 0.1", "plateau_factor is 0.1, but schedule 'linear' has none"),
        ('[training]\nschedule = "inverse_sqrt"\nwarmup_steps = 0', "training: warmup_steps is 0; expected"),
        ('[data]\ntarget_column = "phones"', "data: target_column is 'phones'; a name needs header=True"),
        ("[data]\ntarget_column = 1", "data: source_column and target_column are both 1; expected different columns"),
        ("[data]\nfeatures_column = 3\n[model]\nshare_embeddings = true", "model.share_embeddings needs one vocabulary"),
        (
            '[data]\nsource_tokens = "space"\n[model]\nshare_embeddings = true',
            "model.share_embeddings needs one kind of tokens",
        ),
    ],
)
def test_what_cannot_be_combined_is_said(tmp_path, text, reason):
    with pytest.raises(SettingsError) as error:
        Settings.from_toml(text)
    assert reason in str(error.value)


def test_a_path_object_is_a_path(tmp_path):
    assert Settings.of(pairs=tmp_path / "a.tsv").data.pairs == str(tmp_path / "a.tsv")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    for name, reason in (("none.toml", "cannot be read: No such file"), ("latin.toml", "is not UTF-8: byte 3 is 0xe9")):
        with pytest.raises(SettingsError) as error:
            Settings.read(tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: {reason}")


def test_in_python_a_wrong_name_names_the_nearest():
    with pytest.raises(SettingsError, match=r"no setting 'hiden'; did you mean hidden\?"):
        Settings.of(hiden=3)
    with pytest.raises(SettingsError, match=r"training\.epochs is 1\.5; expected a whole number"):
        TrainingSettings(epochs=1.5)


def test_choices_win_over_a_file_before_it_is_checked_as_a_whole(tmp_path):
    """A file may say a part of what must stand together, and the flags the rest."""
    path = tmp_path / "c.toml"
    path.write_text("[model]\nbidirectional = true\n[data]\nvalid_fraction = 0.1\n")
    settings = Settings.read(path, attention="general", bridge="affine", pairs="a.tsv", valid="b.tsv")
    assert settings == Settings.of(
        bidirectional=True, attention="general", bridge="affine", pairs="a.tsv", valid="b.tsv", valid_fraction=None
    )
    with pytest.raises(SettingsError, match=r"^model: attention="):
        Settings.read(path)


def test_the_dates_hold_out_their_own(tmp_path):
    with pytest.raises(SettingsError, match=r"need PAIRS\.tsv: of the dates, a tenth is held out"):
        train(Settings.of(valid_fraction=0.1), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_of_two_that_exclude_each_other_the_later_wins():
    settings = Settings.of(pairs="a.tsv", valid_fraction=0.1)
    assert settings.replaced(valid="b.tsv").data.valid_fraction is None
    assert settings.replaced(valid="b.tsv").replaced(valid_fraction=0.2).data.valid is None


KINDS = [
    (Whole(2), "7", 7, "7", ["1", "x", "-3", "2.0", "", "²", "1_0"], [1, 2.0, True, "7", None]),
    (Whole(0, instead="none"), "none", None, '"none"', ["auto"], ["auto", -1]),
    (Number(), ".5", 0.5, "0.5", ["0", "-1", "nan", "inf", "x", "1e999"], [0, math.nan, math.inf, "1", True, None, 10**400]),
    (Number(high=1, reaches=True), "0", 0.0, "0.0", ["1", "-0.1"], [1, [0.5]]),
    (Number(instead="auto"), "auto", None, '"auto"', ["none"], ["none", 0]),
    (Choice(("a", "none")), "none", "none", '"none"', ["b", ""], [1, ["a"], "b"]),
    (Switch(), "true", True, "true", ["yes", "1", "True"], [1, 0, "true", None]),
    (Text(), 'a"\n', 'a"\n', '"a\\"\\n"', [""], [None, "", 3]),
    (Text(optional=True), "", None, '""', [], [3, b"a"]),
    (Column(), "2", 2, "2", ["0", ""], [0, None, 1.0, True]),
    (Column(optional=True), "word", "word", '"word"', ["0"], [-1]),
    (
        Dropout(),
        ".25",
        0.25,
        "0.25",
        ["1", "x", "embedding", "=", "embedding=", "embedding=.1,embedding=.2", "a=.1"],
        ["x"],
    ),
    (
        *(Dropout(), "embedding=.5, layers=.25", DropoutRatios(0.5, 0.25), "{ embedding = 0.5, layers = 0.25 }"),
        *(["output=1"], [{"output": 1.0}, {"middle": 0.1}, {1: 0.1}, None, True]),
    ),
]


@pytest.mark.parametrize(("kind", "text", "value", "toml", "wrong_texts", "wrong_values"), KINDS)
def test_kinds(kind, text, value, toml, wrong_texts, wrong_values):
    assert kind.parse(text) == kind.check(value) == value
    assert type(kind.parse(text)) is type(value)
    assert kind.toml(value) == toml
    assert kind.check(tomllib.loads(f"x = {toml}")["x"]) == value
    for wrong in wrong_texts:
        with pytest.raises(ValueError):
            kind.parse(wrong)
    for wrong in wrong_values:
        with pytest.raises(ValueError):
            kind.check(wrong)


def test_numpy_numbers_are_numbers():
    settings = Settings.of(hidden=np.int64(3), learning_rate=np.float32(0.5), bidirectional=np.False_)
    assert Settings.from_toml(settings.to_toml()) == settings == Settings.of(hidden=3, learning_rate=0.5)


def test_a_name_that_no_toml_can_hold():
    assert tomllib.loads(Settings.of(pairs="\udcff.tsv").to_toml())["data"]["pairs"] == "\ufffd.tsv"


def test_nearest():
    assert nearest("--epoch", ["--epochs", "--embedding"]) == "--epochs"
    assert nearest("--learn", ["--learning-rate", "--learning-rate-x", "--b"]) == "--learning-rate"
    assert nearest("zzz", ["epochs"]) is None


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{a}{b}\t{b}{a}{c}\n" for a in "abc" for b in "abc" for c in "xy"))
    return path


SMALL = {"embedding": 3, "hidden": 4, "epochs": 2, "batch_size": 5}
# The first epoch is the best: so large steps lead away.
NO_BETTER = {"metric": "loss", "learning_rate": 1.0, "valid_fraction": 0.3, "epochs": 4}
# Every option of the model stands in one of these.
RUNS = [
    {},
    {"bidirectional": True, "encoder_hidden": 2, "encoder_layers": 2, "residual": True, "dropout": 0.2, "dtype": "float64"},
    {"bidirectional": True, "project_encoder": True, "bridge": "affine", "recurrent_dropout": 0.2, "word_dropout": 0.1},
    {"attention": "additive", "attention_size": 3, "attentional_size": 5, "input_feeding": True, "label_smoothing": 0.1},
    {"attention": "none", "decoder_layers": 2, "forget_bias": 0.5, "orthogonal": True, "optimizer": "sgd"},
    {"tie_embeddings": True, "share_embeddings": True, "dropout": {"output": 0.1}, "optimizer": "adamw", "weight_decay": 0.3},
    {"reverse_source": True, "valid_fraction": 0, "schedule": "constant", "max_grad": 0.5, "seed": 3, "attention": "general"},
    {"batch_tokens": 30, "batch_size": 64, "accumulate": 2, "schedule": "inverse_sqrt", "warmup_steps": 3, "dropout": 0.1},
    {"schedule": "cosine", "hold": 0.25, "average": "best", "average_count": 2, "metric": "loss", "normalization": "NFD"},
    {"shards": 4, "dropout": 0.1, "accumulate": 2},
    {"schedule": "plateau", "plateau_factor": 0.1, "keep": "best", "patience": 1, "metric": "token_error_rate", "ema": 0.5},
]


@pytest.mark.parametrize("choices", RUNS)
def test_training_from_the_saved_settings_gives_the_same_bits(tmp_path, pairs, choices):
    with fastattn.use_backend("reference"):
        first = train(Settings.of(pairs=str(pairs), **{**SMALL, **choices}), tmp_path / "a")
        train(Settings.read(tmp_path / "a" / "config.toml"), tmp_path / "b")
    for name in ("model.safetensors", "config.json", "vocabulary.json", "config.toml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    translator, settings = load(tmp_path / "a"), first.settings
    sizes = len(translator.source_vocabulary), len(translator.target_vocabulary)
    assert translator.model.config == first.translator.model.config == settings.model.config(*sizes)
    assert settings == Settings.of(pairs=str(pairs), **{"valid_fraction": 0.05, **SMALL, **choices})


@pytest.mark.parametrize("choices", RUNS)
def test_the_loss_falls_with_options_together(backend, tmp_path, pairs, choices):
    rate = {"sgd": 0.5}.get(choices.get("optimizer"), 0.02)
    given = {**SMALL, "epochs": 8, "learning_rate": rate, "valid_fraction": 0.2, **choices}
    run = train(Settings.of(pairs=str(pairs), **given), tmp_path / "m")
    assert run.history[-1].loss < 0.95 * run.history[0].loss
    if run.history[0].valid_loss is not None:
        assert run.outcome.valid_loss < 0.97 * run.history[0].valid_loss


# Each with what it differs from.
DIFFERENT = [
    ({}, {"optimizer": "adamw"}),
    ({}, {"optimizer": "sgd"}),
    ({"optimizer": "adamw"}, {"optimizer": "adamw", "weight_decay": 0.5}),
    ({}, {"seed": 1}),
    ({}, {"schedule": "constant"}),
    ({}, {"warmup_steps": 3}),
    ({}, {"hold": 0.5}),
    ({"schedule": "plateau", **NO_BETTER}, {"schedule": "plateau", "plateau_factor": 0.1, **NO_BETTER}),
    ({"schedule": "plateau", **NO_BETTER}, {"schedule": "plateau", "plateau_patience": 2, **NO_BETTER}),
    ({}, {"max_grad": 0.1}),
    ({}, {"batch_tokens": 20, "batch_size": 5}),
    ({}, {"accumulate": 2}),
    ({}, {"shards": 2}),
    ({}, {"epochs": 3}),
    ({}, {"average": "last"}),
    ({"average": "last"}, {"average": "last", "average_count": 1}),
    ({"average": "best", "average_count": 1, "metric": "loss"}, {"average": "best", "average_count": 2, "metric": "loss"}),
    ({}, {"ema": 0.5}),
    (NO_BETTER, {"patience": 1, **NO_BETTER}),
    (NO_BETTER, {"keep": "best", **NO_BETTER}),
]


@pytest.mark.parametrize(("choices", "others"), DIFFERENT)
def test_each_setting_of_the_training_makes_a_difference(tmp_path, pairs, choices, others):
    with fastattn.use_backend("reference"):
        for folder, given in (("a", choices), ("b", others)):
            train(Settings.of(pairs=str(pairs), **{**SMALL, **given}), tmp_path / folder)
    tensors = [load(tmp_path / folder).model.params for folder in "ab"]
    assert not all(np.array_equal(a, b) for a, b in zip(*tensors))


def test_shared_embeddings_have_the_symbols_of_both_sides(tmp_path, pairs):
    with fastattn.use_backend("reference"):
        run = train(Settings.of(pairs=str(pairs), **SMALL, share_embeddings=True), tmp_path / "m")
    assert run.translator.source_vocabulary.symbols == ("a", "b", "c", "x", "y")
    assert run.translator.source_vocabulary == run.translator.target_vocabulary


def test_what_follows_from_the_corpus_is_written_down(tmp_path, pairs, monkeypatch):
    from fastattn.data import date_pairs
    from fastattn.training import TrainingRun

    monkeypatch.setattr("fastattn.training.run.date_pairs", lambda: date_pairs(30))
    run = TrainingRun(Settings.of(pairs=str(pairs)), tmp_path / "a")
    assert (run.settings.training.epochs, run.settings.data.valid_fraction) == (10, 0.05)
    run = TrainingRun(Settings(), tmp_path / "b")
    assert (run.settings.training.epochs, run.settings.data.valid_fraction) == (5, None)


def test_from_python_with_callbacks_and_a_folder_of_ones_own(tmp_path, pairs):
    seen = []
    with fastattn.use_backend("reference"):
        run = train(Settings.of(pairs=str(pairs), **SMALL), tmp_path / "m", callbacks=[seen.append], progress=False)
        with pytest.raises(ModelFolderError, match=r"holds a model already; .* \(--overwrite\)"):
            train(Settings.of(pairs=str(pairs), **SMALL), tmp_path / "m")
        again = train(Settings.of(pairs=str(pairs), **{**SMALL, "epochs": 1}), tmp_path / "m", overwrite=True)
    assert seen == run.history
    assert len(again.history) == len((tmp_path / "m" / "history.jsonl").read_text().splitlines()) == 1
    assert json.loads((tmp_path / "m" / "config.json").read_text())["training"]["epochs"] == 1


def test_the_kept_weights_stand_in_the_folder(tmp_path, pairs):
    """In the end, whichever they are, and with keep "best" at every moment."""
    seen = []

    def see(record):
        seen.append((record.best, load(tmp_path / "m").model.params))

    for choices in ({**NO_BETTER, "keep": "best"}, {"average": "last"}, {"ema": 0.9}):
        seen.clear()
        with fastattn.use_backend("reference"):
            settings = Settings.of(pairs=str(pairs), **{**SMALL, **choices, "epochs": 3})
            run = train(settings, tmp_path / "m", overwrite=True, callbacks=[see])
        for kept, param in zip(load(tmp_path / "m").model.params, run.translator.model.params, strict=True):
            np.testing.assert_array_equal(kept, param)
        assert run.outcome is not None
        if "keep" in choices:
            assert [best for best, _ in seen] == [True, False, False]
            assert all(np.array_equal(a, b) for a, b in zip(seen[0][1], seen[2][1], strict=True))
            assert (run.saved, run.outcome.epochs) == (1, (1,))
        assert len((tmp_path / "m" / "history.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("choices", [{"patience": 1}, {"keep": "best"}, {"average": "best"}, {"schedule": "plateau"}])
def test_without_held_out_pairs_nothing_goes_by_them(tmp_path, pairs, choices):
    name, value = next(iter(choices.items()))
    with pytest.raises(SettingsError) as error:
        train(Settings.of(pairs=str(pairs), valid_fraction=0, **choices), tmp_path / "m")
    assert str(error.value).startswith(f"training.{name} is {value!r}, which goes by held-out pairs")
    assert not (tmp_path / "m").exists()


def test_a_pair_that_no_batch_has_room_for(tmp_path, pairs):
    pairs.write_text("ab\tc\nabcdefg\tx\n")
    with pytest.raises(
        SettingsError, match=r"batch_tokens is 9, but .*pairs\.tsv has a pair of 10 tokens, 'abcdefg' and 'x'; exp"
    ):
        train(Settings.of(pairs=str(pairs), valid_fraction=0, batch_tokens=9), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_the_dates_are_no_file_with_columns(tmp_path):
    with pytest.raises(SettingsError, match=r"^data\.variants is True, but needs PAIRS\.tsv"):
        train(Settings.of(variants=True), tmp_path / "m")


def test_how_pairs_are_read(tmp_path):
    """A header, columns, features, comments and blank lines; the model keeps it."""
    path = tmp_path / "pairs.csv"
    path.write_text("lemma,tags,form\n# a comment\n\n" + "".join(f"{a},V;PST,{a}ed\n{a},V;3SG,{a}s\n" for a in "abcdef"))
    reading = {"source_column": "lemma", "target_column": "form", "features_column": "tags", "header": True}
    settings = Settings.of(pairs=str(path), separator=",", comment="#", **reading, **SMALL)
    with fastattn.use_backend("reference"):
        run = train(settings, tmp_path / "a")
        train(Settings.read(tmp_path / "a" / "config.toml"), tmp_path / "b")
        assert len(load(tmp_path / "a").translate(["a\tV;PST"])) == 1
    assert run.corpus.passed_over == "1 blank line, 1 comment"
    assert load(tmp_path / "a").source_vocabulary.features == ("3SG", "PST", "V")
    assert load(tmp_path / "a").reading == settings.data.reading
    for name in ("model.safetensors", "config.json", "vocabulary.json", "config.toml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    path.write_text(path.read_text() + "x,y\n")
    with pytest.raises(PairsError, match=r"pairs\.csv:16: "):
        train(settings, tmp_path / "c")


def test_a_missing_extra_is_said_before_anything_is_written(tmp_path, pairs, monkeypatch):
    monkeypatch.setitem(sys.modules, "regex", None)
    with pytest.raises(MissingExtraError, match=r"fastattn\[grapheme\]"):
        train(Settings.of(pairs=str(pairs), source_tokens="grapheme"), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_limit_of_time(tmp_path, pairs):
    with fastattn.use_backend("reference"):
        run = train(Settings.of(pairs=str(pairs), **{**SMALL, "epochs": 10**6}, max_minutes=0.005), tmp_path / "m")
    assert "the time, 0.005 minutes, was up" in str(run.outcome)
    assert load(tmp_path / "m").model.params
