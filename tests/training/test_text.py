"""Text in Python: a translator that is trained in memory, scored, drawn, pickled and saved, as the command line does it."""

import copy
import json
import pickle
import pickletools

import numpy as np
import pytest

import fastattn
from fastattn import Translator
from fastattn.data import PairsError
from fastattn.training import (
    Answer,
    EpochRecord,
    ModelFolderError,
    Settings,
    SettingsError,
    SourceError,
    TrainingRun,
    ensemble,
    train,
)

TINY = {"embedding": 8, "hidden": 16, "epochs": 4, "batch_size": 4, "learning_rate": 0.03}
PAIRS = [(a + b + c, c + b + a) for a in "abc" for b in "abcd" for c in "cde"]


@pytest.fixture(autouse=True)
def _reference():
    with fastattn.use_backend("reference"):
        yield


@pytest.fixture(scope="module")
def trained():
    with fastattn.use_backend("reference"):
        return Translator.train(iter(PAIRS), progress=False, **TINY)


def write(path, pairs):
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    return path


def same_weights(one, other):
    return all((p == q).all() for p, q in zip(one.model.params, other.model.params, strict=True))


def test_it_is_the_same_at_the_top():
    assert fastattn.Translator is fastattn.training.Translator


def test_pairs_in_memory_give_the_bits_of_pairs_in_a_file(trained, tmp_path):
    path = write(tmp_path / "pairs.tsv", PAIRS)
    of_file = Translator.train(path, progress=False, **TINY)
    assert same_weights(trained, of_file)
    assert trained.translate(["abc", ""]) == of_file.translate(["abc", ""])
    run = train(Settings.of(pairs=path, **TINY), tmp_path / "model", progress=False)
    assert same_weights(trained, run.translator)
    assert type(run.translator) is Translator
    assert not same_weights(trained, Translator.train(PAIRS, progress=False, **{**TINY, "seed": 1}))


def test_what_is_told_of_the_training(trained):
    assert [record.epoch for record in trained.history] == [1, 2, 3, 4]
    assert trained.outcome.epochs == (4,)
    assert trained.settings.model.hidden == 16
    assert (trained.about["corpus"], trained.about["train_pairs"], trained.about["valid_pairs"]) == ("pairs in memory", 34, 2)
    assert trained.about["held_out"]["loss"] == trained.outcome.valid_loss == trained.history[-1].valid_loss


def test_pairs_that_are_held_out(tmp_path):
    valid = [("ade", "eda"), ("ade", "x")]
    for given in (valid, write(tmp_path / "valid.tsv", valid)):
        translator = Translator.train(PAIRS, given, progress=False, **TINY)
        assert translator.about["valid_pairs"] == 2
        assert translator.about["train_pairs"] == 36
    config = tmp_path / "config.toml"
    config.write_text('[data]\npairs = "nowhere.tsv"\nvalid_fraction = 0.5\n[model]\nhidden = 9\n')
    translator = Translator.train(PAIRS, config=config, progress=False, **{**TINY, "hidden": 6})
    assert (translator.about["valid_pairs"], translator.model.config.hidden) == (18, 6)
    translator = Translator.train(PAIRS, valid, config=Settings.read(config), progress=False, **TINY)
    assert translator.about["valid_pairs"] == 2
    assert Translator.train(PAIRS, valid_fraction=0, progress=False, **TINY).about["held_out"] == {"epochs": [4]}


def test_features_stand_behind_the_text():
    pairs = [("run\tV;PST", "ran"), ("run\tV;SG", "runs"), ("go\tV;PST", "went")]
    translator = Translator.train(pairs, features_column=3, valid_fraction=0, progress=False, **TINY)
    assert translator.source_vocabulary.features == ("PST", "SG", "V")
    assert len(translator.translate(["go\tV;SG"])) == 1
    assert translator.score(pairs).pairs == 3


@pytest.mark.parametrize(
    ("pairs", "error", "words"),
    [
        ([("a", "b"), "ab"], TypeError, r"^pairs: pair 2 is 'ab'; expected \(source, target\)$"),
        ([("a", "b", "c")], TypeError, r"pair 1 is \('a', 'b', 'c'\); expected"),
        ([3], TypeError, "pair 1 is 3; expected"),
        (5, TypeError, r"^pairs is 5; expected pairs of texts \(source, target\)$"),
        (b"ab", TypeError, r"^pairs is b'ab'; expected pairs"),
        ([("a", 5)], TypeError, "the target of pair 1 is 5; expected a str"),
        ([("a", "b"), (" ", "b")], ValueError, "^pairs: the source of pair 2 is empty$"),
        ([("a", "")], ValueError, "the target of pair 1 is empty"),
        ([], ValueError, "^pairs holds no pair; expected at least 1$"),
        ([("a", "b")], SettingsError, "^pairs in memory: at least 2 different sources are needed to hold some out, got 1"),
    ],
)
def test_pairs_that_are_none(pairs, error, words):
    with pytest.raises(error, match=words):
        Translator.train(pairs, progress=False, **TINY)


def test_settings_that_cannot_be(tmp_path):
    with pytest.raises(SettingsError, match="there is no setting 'epoch'; did you mean epochs"):
        Translator.train(PAIRS, epoch=3)
    with pytest.raises(TypeError, match="config is 5; expected Settings, or the path of a TOML file"):
        Translator.train(PAIRS, config=5)
    with pytest.raises(SettingsError, match=r"data\.token_cache needs pairs in a file, but there are pairs in memory"):
        Translator.train(PAIRS, token_cache=tmp_path / "ids")
    with pytest.raises(SettingsError, match=r"data\.valid_fraction is 0\.5, and valid is given; expected one of them"):
        Translator.train(PAIRS, PAIRS, valid_fraction=0.5)
    with pytest.raises(SettingsError, match=r"data\.pairs is a\.tsv, and there are pairs in memory; expected one of them"):
        TrainingRun(Settings.of(pairs="a.tsv"), pairs=PAIRS)
    with pytest.raises(PairsError, match=r"none\.tsv: cannot be read"):
        Translator.train(tmp_path / "none.tsv")


def test_a_folder_is_written_as_the_command_writes_it(trained, tmp_path):
    records: list[EpochRecord] = []
    translator = Translator.train(PAIRS, folder=tmp_path / "m", callbacks=[records.append], progress=False, **TINY)
    assert len(records) == 4
    assert same_weights(translator, Translator.load(tmp_path / "m"))
    assert (tmp_path / "m" / "checkpoints").is_dir()
    assert (tmp_path / "m" / "config.toml").read_text().startswith("# The run was given pairs in memory")
    with pytest.raises(ModelFolderError, match="holds a model already"):
        Translator.train(PAIRS, folder=tmp_path / "m", progress=False, **TINY)
    trained.save(tmp_path / "saved")
    names = {path.name for path in (tmp_path / "m").iterdir()} - {"checkpoints", ".fastattn-lock"}
    assert {path.name for path in (tmp_path / "saved").iterdir()} - {".fastattn-lock"} == names
    for name in names - {"history.jsonl", "manifest.json"}:  # these have times in them
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "saved" / name).read_bytes(), name


def test_an_interrupted_run_of_pairs_in_memory_goes_on(trained, tmp_path):
    class Enough(Exception):
        pass

    def stop(record):
        raise Enough

    with pytest.raises(Enough):
        Translator.train(PAIRS, folder=tmp_path / "m", callbacks=[stop], checkpoint_every=2, progress=False, **TINY)
    with pytest.raises(SettingsError, match="cannot be resumed with other data: the training pairs"):
        TrainingRun.resume(tmp_path / "m", pairs=PAIRS[1:])
    run = TrainingRun.resume(tmp_path / "m", pairs=PAIRS)
    run.train(progress=False)
    assert same_weights(run.translator, trained)


def test_what_is_loaded_tells_of_its_training_and_is_saved_again(trained, tmp_path):
    trained.save(tmp_path / "a")
    loaded = Translator.load(tmp_path / "a")
    assert loaded.history == trained.history
    assert loaded.about == trained.about
    loaded.save(tmp_path / "b")
    for name in ("model.safetensors", "config.json", "history.jsonl", "README.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    (tmp_path / "b" / "manifest.json").unlink()
    (tmp_path / "b" / "history.jsonl").write_text("of my own\n")
    assert Translator.load(tmp_path / "b").history == []


def test_the_best_epoch_is_what_is_told_of(tmp_path):
    options = {**TINY, "epochs": 8, "learning_rate": 0.6, "schedule": "constant", "keep": "best", "metric": "loss"}
    best = Translator.train(PAIRS, folder=tmp_path / "m", progress=False, **options)
    lowest = min(best.history, key=lambda record: record.valid_loss)
    assert lowest.epoch < 8  # else it would be no test
    for translator in (best, Translator.load(tmp_path / "m")):
        assert translator.about["held_out"]["epochs"] == [lowest.epoch]
        assert translator.about["held_out"]["loss"] == lowest.valid_loss


def test_answers_as_many_and_as_detailed_as_wanted(trained):
    texts = ["abc", "", "dca"]
    plain = trained.translate(texts, beam=3)
    several = trained.translate(texts, beam=3, n_best=2)
    assert [len(best) for best in several] == [2, 0, 2]
    assert [best[0] if best else "" for best in several] == plain
    scored = trained.translate(texts, beam=3, scores=True)
    assert [answer.text for answer in scored] == plain
    assert all(isinstance(answer, Answer) for answer in scored)
    assert scored[0].score == pytest.approx(sum(scored[0].token_log_probabilities))
    assert np.isnan(scored[1].score)
    both = trained.translate(texts, beam=3, n_best=2, scores=True)
    assert [[answer.text for answer in best] for best in both] == several
    assert both[2][0].score >= both[2][1].score
    with pytest.raises(ValueError, match="n_best"):
        trained.translate(texts, beam=1, n_best=2)


@pytest.mark.parametrize("ask", ["score", "log_probabilities"])
def test_what_is_no_pair_is_told_so(trained, ask):
    for pairs, said in (
        ([("abc", "cba"), ("abc",)], r"pairs: pair 2 is \('abc',\); expected \(source, target\)"),
        (["ab"], r"pairs: pair 1 is 'ab'; expected \(source, target\)"),
        ([("abc", None)], r"pairs: the target of pair 1 is None; expected a str"),
    ):
        with pytest.raises(TypeError, match=f"^{said}$"):
            getattr(trained, ask)(pairs)
    with pytest.raises(ValueError, match=r"^pairs holds no pair; expected at least 1$"):
        trained.score([])
    assert trained.log_probabilities([]) == []


def test_a_score_is_that_of_the_answers(trained, tmp_path):
    answers = dict(zip(("abc", "dce"), trained.translate(["abc", "dce"])))
    pairs = [("abc", answers["abc"] + "!"), ("dce", answers["dce"]), ("abc", answers["abc"])]
    result = trained.score(pairs)
    assert (result.score.pairs, result.pairs, result.score.exact_match) == (2, 3, 1.0)
    assert result.first_score.exact_match == 0.5
    assert result.intervals is None
    of_file = trained.score(write(tmp_path / "test.tsv", pairs), resamples=10, with_chrf=False)
    assert of_file.to_json()["exact_match"] == 1.0
    assert of_file.intervals is not None
    with pytest.raises(SourceError, match="never saw: '日'") as caught:
        trained.score([*pairs, ("日", "x")], unknown="fail")
    assert caught.value.index == 3
    with pytest.raises(ValueError, match="at least 1"):
        trained.score([])


def test_where_it_looks(trained):
    shown = trained.attention("abc")
    symbols, ids, weights = trained.attend("abc")
    assert shown.tokens.source == symbols == ["a", "b", "c"]
    assert len(shown.tokens.answer) == len(ids)
    assert shown.answer == trained.translate(["abc"])[0]
    assert (shown.weights == weights).all()
    blind = Translator.train(PAIRS, attention="none", progress=False, **TINY)
    with pytest.raises(ValueError, match=r"^the model has no attention$"):
        blind.attention("abc")


def test_a_pickle_is_numbers_and_text_and_no_code(trained):
    content = pickle.dumps(trained)
    names = {argument for opcode, argument, _ in pickletools.genops(content) if opcode.name in ("SHORT_BINUNICODE", "GLOBAL")}
    assert {name for name in names if name.startswith(("fastattn", "numpy", "builtins"))} == {"fastattn.training.translator"}
    assert b'"__metadata__"' in content  # safetensors'
    for again in (pickle.loads(content), copy.deepcopy(trained)):
        assert same_weights(again, trained)
        assert again.translate(["abc", "dd"]) == trained.translate(["abc", "dd"])
        assert (again.history, again.outcome, again.about) == (trained.history, trained.outcome, trained.about)
        assert again.settings == trained.settings


def test_an_ensemble_is_pickled_too(trained):
    both = ensemble([trained, Translator.train(PAIRS, progress=False, **{**TINY, "seed": 5})])
    again = pickle.loads(pickle.dumps(both))
    texts = ["abc", "dd", "ecb"]
    assert len(again.models) == 2
    assert again.translate(texts, beam=2) == both.translate(texts, beam=2)


def test_damaged_bytes_are_refused(trained):
    function, (kind, files, *rest) = trained.__reduce__()
    for damaged in ({**files[0], "model.safetensors": b"x"}, {"config.json": files[0]["config.json"]}):
        with pytest.raises(ModelFolderError, match="a model in memory/"):
            function(kind, [damaged], *rest)


def test_a_subclass_trains_its_own_kind():
    class Mine(Translator):
        pass

    assert type(Mine.train(PAIRS, progress=False, **{**TINY, "epochs": 1})) is Mine


def test_the_card_says_what_the_model_is(trained, tmp_path):
    yaml = pytest.importorskip("yaml")
    trained.save(tmp_path / "m")
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    empty, front, text = card.split("---\n", 2)
    assert empty == ""
    head = yaml.safe_load(front)
    assert (head["library_name"], head["license"]) == ("fastattn", "unknown")
    (result,) = head["model-index"][0]["results"]
    assert result["dataset"]["name"] == "pairs in memory"
    figures = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert figures["loss"] == pytest.approx(trained.outcome.valid_loss, abs=1e-6)
    assert figures["exact_match"] == pytest.approx(trained.outcome.valid_exact_match, abs=1e-6)
    for name, fact in trained.facts():
        assert f"| {name} | {fact} |" in text
    assert dict(trained.facts())["model"] == "embedding 8, hidden 16"
    assert "Translator.load" in text


def card_in(folder):
    """The front matter and the text."""
    yaml = pytest.importorskip("yaml")
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


def test_a_card_says_the_licence_that_it_is_given(tmp_path):
    options = {**TINY, "epochs": 1, "progress": False, "license": "my: own | licence"}
    translator = Translator.train(PAIRS, folder=tmp_path / "m", **options)
    front, text = card_in(tmp_path / "m")
    assert front["license"] == "my: own | licence"
    assert "\nThe licence is my: own \\| licence. Whoever publishes" in text
    assert dict(translator.facts())["license"] == "my: own | licence"
    assert (tmp_path / "m" / "config.toml").read_text().endswith('license = "my: own | licence"\n')
    loaded = Translator.load(tmp_path / "m")
    loaded.about["license"] = "mit"
    loaded.save(tmp_path / "m")
    assert card_in(tmp_path / "m")[0]["license"] == "mit"


def test_a_card_without_a_licence_says_how_to_give_one_and_may_be_edited(trained, tmp_path):
    trained.save(tmp_path / "m")
    front, text = card_in(tmp_path / "m")
    assert front["license"] == "unknown"
    assert "No licence is given. `fastattn train --license cc-by-4.0`" in text
    path = tmp_path / "m" / "README.md"
    path.write_text(path.read_text().replace("license: unknown", "license: mit"))
    assert Translator.load(tmp_path / "m").translate(["ab"]) == trained.translate(["ab"])


@pytest.mark.parametrize("name", ["two\nlines", "   "])
def test_a_licence_is_a_name_in_one_line(name):
    with pytest.raises(SettingsError, match=r"card\.license is .*; expected a name in one line"):
        Translator.train(PAIRS, license=name)


def test_a_card_of_odd_names_and_of_no_training(tmp_path):
    yaml = pytest.importorskip("yaml")
    path = write(tmp_path / 'a: "b" | #c.tsv', PAIRS)
    options = {**TINY, "dropout": {"output": 0.3}, "bidirectional": True, "bridge": "affine", "attention": "general"}
    translator = Translator.train(path, progress=False, **options)
    translator.save(tmp_path / "m")
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---\n")[1])["model-index"][0]["results"][0]["dataset"]["name"] == str(path)
    assert dict(translator.facts())["model"] == (
        "embedding 8, hidden 16, dropout output 0.3, bidirectional, attention general, bridge affine"
    )
    bare = Translator(
        translator.model,
        translator.source_vocabulary,
        translator.target_vocabulary,
        reverse_source=False,
        max_target_tokens=3,
    )
    bare.save(tmp_path / "bare")
    assert "model-index" not in yaml.safe_load((tmp_path / "bare" / "README.md").read_text().split("---\n")[1])
    assert json.loads((tmp_path / "bare" / "config.json").read_text())["training"] == {}
