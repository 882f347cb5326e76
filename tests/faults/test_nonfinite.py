"""A loss, a gradient or a weight that is NaN or infinite: no model and no checkpoint is written with it, a good one stays."""

import math
import re
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.numpy import save as safetensors_bytes

import fastattn
from fastattn.data.files import write_folder
from fastattn.training import Adam, DivergedError, Settings, TrainingRun, TrainingWarning, load, save
from fastattn.training.trainer import Trainer

from .conftest import checkpoints, cut, same


@pytest.fixture
def breaking(monkeypatch):
    """breaking({3: math.nan}): the loss of the third step is what is told; of a run that is resumed, too."""

    def let(losses):
        loss = Trainer._loss

        def told(trainer, batch, place):
            found = loss(trainer, batch, place)
            if trainer.step + 1 in losses:
                raise DivergedError(f"the loss is {losses[trainer.step + 1]} at {place}")
            return found

        monkeypatch.setattr(Trainer, "_loss", told)

    return let


def damage(run, at):
    """Lets a weight become infinite behind the trainer's back, as by a step that was too large."""
    between = run._between

    def damaged(where):
        if run._trainer.step == at and where == "step":
            run.translator.model.named_params()["decoder.affine.W"][0, 0] = np.inf
        between(where)

    run._between = damaged


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_an_infinite_weight_is_in_no_checkpoint(tmp_path, settings):
    run = TrainingRun(settings(), tmp_path / "run")
    damage(run, at=3)
    with pytest.raises(DivergedError, match=r"decoder\.affine\.W holds NaN or infinity at step 3, of which no checkpoint"):
        run.train(progress=False)
    assert [path.name[-6:] for path in checkpoints(run.folder)] == ["step-1", "step-2"]
    whole = TrainingRun(settings(), tmp_path / "whole")
    whole.train(progress=False)
    resumed = TrainingRun.resume(run.folder)
    resumed.train(progress=False)
    assert same(resumed, whole)


def test_a_checkpoint_with_nan_of_an_earlier_version_is_set_aside(tmp_path, finished):
    folder = cut(finished.folder, tmp_path / "cut", 4)
    newest = checkpoints(folder)[-1]
    arrays = load_file(newest / "arrays.safetensors")
    arrays["weights/2"][0] = np.nan
    content = {"arrays.safetensors": safetensors_bytes(arrays), "state.json": (newest / "state.json").read_bytes()}
    shutil.rmtree(newest)
    write_folder(newest, content)
    with pytest.warns(TrainingWarning, match="weights/2 holds NaN or infinity; it is set aside"):
        run = TrainingRun.resume(folder)
    run.train(progress=False)
    assert same(run, finished)


def test_an_infinite_weight_takes_no_models_place(tmp_path, settings):
    folder = tmp_path / "run"
    TrainingRun(settings(epochs=1, valid_fraction=0.0, checkpoint_every="none"), folder).train(progress=False)
    before = files(folder)
    run = TrainingRun(settings(valid_fraction=0.0, checkpoint_every="none", learning_rate=1e39), folder, overwrite=True)
    with np.errstate(all="ignore"), pytest.raises(DivergedError):
        run.train(progress=False)
    assert files(folder) == before
    load(folder)


def test_no_model_is_saved_that_could_not_be_loaded(tmp_path, finished):
    folder = finished.folder
    before = files(folder)
    finished.translator.model.params[0][0, 0] = math.nan
    with pytest.raises(
        ValueError, match=r"encoder\.embedding\.W holds NaN or infinity; a model that could not be loaded is not"
    ):
        save(folder, finished.translator)
    assert files(folder) == before
    model = fastattn.AttentionSeq2seq(5, 3, 4, seed=0)
    model.save(tmp_path / "ids")
    model.params[-1][0] = math.inf
    with pytest.raises(ValueError, match=r"decoder\.affine\.b holds NaN or infinity"):
        model.save(tmp_path / "ids")
    assert np.isfinite(fastattn.AttentionSeq2seq.load(tmp_path / "ids").params[-1]).all()


def test_a_run_that_skips_steps_is_resumed_to_the_bit(tmp_path, settings, breaking):
    breaking({3: math.nan, 8: math.inf})
    whole = TrainingRun(settings(skip_nonfinite=2), tmp_path / "whole")
    with pytest.warns(TrainingWarning, match="the step is skipped"):
        whole.train(progress=False)
    for number in (2, 4, 6):
        folder = tmp_path / f"cut-{number}"

        cut(whole.folder, folder, number)
        run = TrainingRun.resume(folder)
        with pytest.warns(TrainingWarning, match="the step is skipped"):
            run.train(progress=False)
        assert same(run, whole)


def test_the_command_says_how_far_it_came(tmp_path, pairs, breaking, capsys):
    from fastattn.cli.main import run

    breaking({4: math.nan})
    command = ["train", str(pairs), "--embedding", "3", "--hidden", "4", "--epochs", "2", "--batch-size", "3"]
    assert run([*command, "--out", str(tmp_path / "a")]) == 1
    assert "the loss is nan at epoch 1, step 4 of" in capsys.readouterr().err
    assert run([*command, "--out", str(tmp_path / "b"), "--skip-nonfinite", "1"]) == 0
    assert "step is skipped, 1 of at most 1" in capsys.readouterr().err
    assert Settings.read(tmp_path / "b" / "config.toml").training.skip_nonfinite == 1


@pytest.mark.parametrize("value", [-1e30, 3e38])
def test_a_recurrent_weight_that_saturates_every_gate(value, backend, rng):
    """The loss is that of both sets; gradients that are none, as the compiled set's may be, reach no weight."""
    model = fastattn.AttentionSeq2seq(7, 3, 5, seed=1)
    model.encoder.lstm.params[1][2, 3] = value
    x, t = rng.integers(0, 7, (4, 6)), rng.integers(0, 7, (4, 5))
    loss = model.forward(x, t)
    with fastattn.use_backend("reference"), np.errstate(all="ignore"):
        assert loss == pytest.approx(model.forward(x, t), rel=1e-5)
    model.step = 0
    before = [param.copy() for param in model.params]
    try:
        with np.errstate(all="ignore"):
            Trainer(model, Adam(0.01)).fit(x, t, max_epoch=1, batch_size=4, progress=False)
    except DivergedError as stopped:
        assert re.search(r"the norm of the gradients is \S+ at epoch 1, step 1 of 1", str(stopped))  # noqa: PT017
        assert all(np.array_equal(a, b) for a, b in zip(model.params, before, strict=True))
    assert all(np.isfinite(param).all() for param in model.params)
