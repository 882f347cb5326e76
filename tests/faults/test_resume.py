"""A run that is resumed gives the bits of the run that was never interrupted; a run of something else is refused."""

import json
import shutil

import numpy as np
import pytest

import fastattn
from fastattn.training import ModelFolderError, SettingsError, Trainer, TrainingRun, TrainingWarning, load
from fastattn.training import settings as all_settings
from fastattn.training.stopping import Clock

from .conftest import checkpoints, cut, flipped, same

RUNS = [
    {},
    {"accumulate": 1, "schedule": "cosine", "warmup_steps": 3, "ema": 0.9},
    {"schedule": "plateau", "plateau_patience": 1, "keep": "best", "metric": "loss", "learning_rate": 0.5},
    {"average": "last", "average_count": 2, "schedule": "inverse_sqrt", "warmup_steps": 2},
    {"average": "best", "average_count": 2, "optimizer": "sgd", "learning_rate": 1.0, "metric": "loss"},
    {"patience": 1, "metric": "token_error_rate", "learning_rate": 0.5, "epochs": 6, "keep": "best", "ema": 0.5},
    {"optimizer": "adamw", "batch_tokens": 40, "recurrent_dropout": 0.2, "word_dropout": 0.1, "label_smoothing": 0.1},
    {"valid_fraction": 0, "encoder_layers": 2, "bidirectional": True, "attention": "additive", "bridge": "affine"},
]


@pytest.mark.parametrize("choices", RUNS, ids=lambda choices: "-".join(choices) or "plain")
def test_from_every_checkpoint_the_bits_are_the_same(tmp_path, settings, choices, request):
    whole = TrainingRun(settings(**choices), tmp_path / "whole")
    whole.train(progress=False)
    saved = load(tmp_path / "whole").model.params
    count = len(checkpoints(tmp_path / "whole"))
    assert count > len(whole.history) * 2
    for number in range(1, count + 1, 1 if request.config.getoption("--slow") else 3):
        folder = cut(tmp_path / "whole", tmp_path / "again", number)
        seen = []
        run = TrainingRun.resume(folder, checkpoint_every="none")
        run.train([seen.append], progress=False)
        assert same(run, whole), number
        assert seen == run.history[len(run.history) - len(seen) :]
        assert all(np.array_equal(a, b) for a, b in zip(load(folder).model.params, saved, strict=True))
        for name in ("model.safetensors", "config.json", "vocabulary.json"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        shutil.rmtree(folder)


def test_pairs_on_disk(tmp_path, settings):
    choices = {"token_cache": str(tmp_path / "ids")}
    whole = TrainingRun(settings(**choices), tmp_path / "whole")
    whole.train(progress=False)
    run = TrainingRun.resume(cut(tmp_path / "whole", tmp_path / "again", 3))
    run.train(progress=False)
    assert same(run, whole)


@pytest.mark.slow
def test_at_another_number_of_threads(tmp_path, settings):
    from helpers import skip_without_compiled_kernels

    skip_without_compiled_kernels()
    threads = fastattn.get_num_threads()
    try:
        with fastattn.use_backend("compiled"):
            fastattn.set_num_threads(1)
            whole = TrainingRun(settings(hidden=40), tmp_path / "whole")
            whole.train(progress=False)
            fastattn.set_num_threads(2)
            run = TrainingRun.resume(cut(tmp_path / "whole", tmp_path / "again", 4))
            run.train(progress=False)
    finally:
        fastattn.set_num_threads(threads)
    assert same(run, whole)


def test_other_kernels_are_told(finished, monkeypatch):
    monkeypatch.setattr("fastattn.training.run.backend.get_backend", lambda: "others")
    with pytest.warns(TrainingWarning, match=r"begun with the reference kernels, and goes on with the others ones"):
        TrainingRun.resume(finished.folder)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"learning_rate": 0.5}, r"training\.learning_rate is 0\.5, and was 0\.02$"),
        ({"hidden": 5, "seed": 1}, r"model\.hidden is 5, and was 4; training\.seed is 1, and was 0$"),
        ({"epochs": 9}, r"training\.epochs is 9, and was 3$"),
        ({"token_cache": "somewhere"}, r"data\.token_cache is 'a folder', and was None$"),
    ],
)
def test_other_settings_are_refused(finished, choices, said):
    with pytest.raises(SettingsError, match=rf"whole cannot be resumed with other settings: {said}"):
        TrainingRun.resume(finished.folder, **choices)


def test_what_changes_no_bit_may_be_another(finished):
    names = {name for section in all_settings.SECTIONS for name, _ in section.settings()}
    assert set(all_settings.CHANGEABLE) <= names
    run = TrainingRun.resume(finished.folder, keep_checkpoints=1, checkpoint_every="5m", log_every=3)
    run.train(progress=False)
    assert same(run, finished)


def test_other_data_are_refused(tmp_path, finished, pairs):
    lines = pairs.read_text().splitlines(keepends=True)
    other = tmp_path / "other.tsv"
    other.write_text("".join(lines))
    TrainingRun.resume(finished.folder, pairs=str(other))  # the same pairs, in another file
    other.write_text("".join([*lines[:-1], lines[-1].replace("\tz", "\tx")]))
    with pytest.raises(
        SettingsError, match=r"cannot be resumed with other data: the training pairs is '1\d pairs, SHA-256 \w{32}'"
    ):
        TrainingRun.resume(finished.folder, pairs=str(other))
    other.write_text("".join(lines).replace("z", "w"))
    with pytest.raises(SettingsError, match="the source vocabulary is 'SHA-256"):
        TrainingRun.resume(finished.folder, pairs=str(other))


def test_nothing_to_go_on_from(tmp_path, settings):
    with pytest.raises(ModelFolderError, match="nowhere: no such folder"):
        TrainingRun.resume(tmp_path / "nowhere")
    run = TrainingRun(settings(checkpoint_every="none"), tmp_path / "m")
    run.train(progress=False)
    assert not (tmp_path / "m" / "checkpoints").exists()
    with pytest.raises(ModelFolderError, match="m/checkpoints: there is no checkpoint to go on from"):
        TrainingRun.resume(tmp_path / "m")


@pytest.mark.parametrize("name", ["state.json", "arrays.safetensors", "manifest.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_named_and_set_aside(tmp_path, finished, name, harm):
    folder = cut(finished.folder, tmp_path / "again", 5)
    *_, before, newest = checkpoints(folder)
    path = newest / name
    if harm == "flip":
        flipped(path, path.stat().st_size // 2)
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        path.unlink()
    with pytest.warns(TrainingWarning) as warned:
        run = TrainingRun.resume(folder)
    (message,) = [str(warning.message) for warning in warned]
    assert message.startswith(str(newest))
    assert f"it is set aside as {newest.name}.damaged; the run goes on from {before.name}" in message
    if harm == "flip":
        assert name in message
    assert newest.with_name(newest.name + ".damaged").is_dir()
    run.train(progress=False)
    assert same(run, finished)


def test_no_byte_of_a_checkpoint_can_turn_unseen(tmp_path, finished):
    folder = cut(finished.folder, tmp_path / "again", 1)
    (path,) = checkpoints(folder)
    for name in ("state.json", "arrays.safetensors", "manifest.json"):
        size = (path / name).stat().st_size
        for place in range(0, size, size // 40):
            flipped(path / name, place)
            with pytest.raises(ModelFolderError, match=r"no checkpoint is whole: .*" + name):
                TrainingRun.resume(folder)
            flipped(path / name, place)
    TrainingRun.resume(folder)


def rewritten(path, change):
    """Another state in a checkpoint, with digests that fit: what somebody made by hand."""
    from fastattn.data.files import write_set

    content = json.loads((path / "state.json").read_text())
    change(content)
    write_set(path, {"state.json": json.dumps(content)})


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(format_version=2),
        lambda c: c.pop("settings"),
        lambda c: c.update(settings=5),
        lambda c: c.update(data=[]),
        lambda c: c.update(saved="x"),
        lambda c: c.update(state=[]),
        lambda c: c["state"].update(run=None),
        lambda c: c["state"].update(step=1e300),
        lambda c: c["state"]["run"].update(records=[5]),
        lambda c: c["state"]["run"].update(records=[{"epoch": "x"}]),
        lambda c: c["state"]["run"].update(place="first"),
        lambda c: c["state"]["run"].update(meter={}),
        lambda c: c["state"]["run"].update(scores=["x"]),
        lambda c: c["state"]["run"]["watch"].update(best=[]),
        lambda c: c["state"].update(masks={}),
        lambda c: c["state"]["optimizer"].update(kind="SGD"),
        lambda c: c["state"]["optimizer"]["numbers"].update(lr=None),
        lambda c: c["state"]["options"].update(seed=7),
    ],
)
def test_a_checkpoint_that_was_made_up_is_refused(tmp_path, finished, change):
    folder = cut(finished.folder, tmp_path / "again", 2)
    rewritten(checkpoints(folder)[-1], change)
    for path in checkpoints(folder)[:-1]:
        shutil.rmtree(path)
    with pytest.raises((ModelFolderError, SettingsError)):
        TrainingRun.resume(folder).train(progress=False)


def test_the_last_ones_and_the_best_are_kept(tmp_path, settings):
    choices = {"epochs": 4, "learning_rate": 2.0, "schedule": "constant", "metric": "loss", "keep_checkpoints": 2}
    run = TrainingRun(settings(**choices), tmp_path / "m")
    run.train(progress=False)
    best = [record.epoch for record in run.history if record.best][-1]
    assert best < 4
    names = [path.name.split("-", 1)[1] for path in checkpoints(tmp_path / "m")]
    last, step = run.history[-1].step, next(record.step for record in run.history if record.epoch == best)
    assert names == [f"epoch-{best}-step-{step}", f"epoch-4-step-{last}", f"epoch-4-step-{last}"]


@pytest.mark.parametrize(("every", "expected"), [("none", []), (2, [2, 3, 4, 6, 6, 8, 9]), ("99m", [3, 9]), ("0.00001m", None)])
def test_how_often_checkpoints_are_written(tmp_path, settings, monkeypatch, every, expected):
    """By minutes, that of an epoch is left out where the last one is too young; the last epoch always has one."""
    monkeypatch.setattr("fastattn.training.run.REST", 10**9)
    run = TrainingRun(settings(checkpoint_every=every, accumulate=1, batch_size=5), tmp_path / "m")
    run.train(progress=False)
    assert run.history[-1].step == 9
    steps = [int(path.name.rsplit("-", 1)[1]) for path in checkpoints(tmp_path / "m")] if expected != [] else []
    assert steps == ([1, 2, 3, 4, 5, 6, 7, 8, 9, 9] if expected is None else expected)
    assert run.checkpoint == (None if every == "none" else 9)


@pytest.mark.parametrize("given", ["5", "m", "-1m", "0m", 0, -3, 1.5, True, "10s", "infm"])
def test_what_is_no_time_for_checkpoints(settings, given):
    with pytest.raises(SettingsError, match=r"checkpoint_every is .*; expected a whole number of steps, minutes as in"):
        settings(checkpoint_every=given)


def test_time_that_was_used_counts():
    now = [100.0]
    clock = Clock(1.0, lambda: now[0])
    now[0] += 50
    clock.reserve = 3.0
    state = clock.state()
    later = Clock(1.0, lambda: now[0])
    now[0] += 1000
    later.put(state)
    assert (later.seconds, later.reserve) == (50.0, 3.0)
    now[0] += 8
    assert later.is_up()


def test_a_limit_of_time_ends_a_run_that_is_resumed(tmp_path, settings):
    run = TrainingRun(settings(max_minutes=0.003, epochs=10**6, keep_checkpoints=2), tmp_path / "m")
    run.train(progress=False)
    again = TrainingRun.resume(tmp_path / "m")
    again.train(progress=False)
    assert same(run, again)  # the time was up


def test_the_state_of_a_fit_is_a_value(rng):
    """It does not change when the fit goes on, and a fit of something else is refused in words."""

    def model(**more):
        return fastattn.AttentionSeq2seq(9, 3, 4, target_vocabulary=9, seed=0, **more)

    x, t = rng.integers(4, 9, (12, 5)), rng.integers(4, 9, (12, 4))
    states = []
    trainer = Trainer(model(), fastattn.Adam(0.01))
    with pytest.raises(ValueError, match="no fit stands between two steps"):
        trainer.state()
    trainer.fit(x, t, 2, 3, seed=0, between=lambda where: states.append(trainer.state()), progress=False)
    first = states[0]
    other = Trainer(model(), fastattn.Adam(0.01))
    other.fit(x, t, 2, 3, seed=0, state=first, progress=False)
    assert all(np.array_equal(a, b) for a, b in zip(trainer.model.params, other.model.params, strict=True))
    assert trainer.loss_list == other.loss_list
    for trouble, fit in (
        ("seed is 1, and was 0", lambda: Trainer(model(), fastattn.Adam()).fit(x, t, 2, 3, seed=1, state=first)),
        ("batch_size is 4, and was 3", lambda: Trainer(model(), fastattn.Adam()).fit(x, t, 2, 4, seed=0, state=first)),
        ("the state is that of Adam", lambda: Trainer(model(), fastattn.SGD()).fit(x, t, 2, 3, seed=0, state=first)),
        ("array 0 is float32", lambda: Trainer(model(dtype="float64"), fastattn.Adam()).fit(x, t, 2, 3, seed=0, state=first)),
    ):
        with pytest.raises(ValueError, match=trouble):
            fit()
