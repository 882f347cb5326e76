"""SIGKILL at random moments: each time the run goes on, and in the end the weights are those of a run that was never killed."""

import random
import shutil
import time

import numpy as np
import pytest

from fastattn.training import TrainingRun, load

from .test_folder import FLAGS, start

CHOICES = {
    "epochs": 12,
    "keep": "best",
    "metric": "loss",
    "ema": 0.5,
    "schedule": "plateau",
    "keep_checkpoints": 2,
    "batch_size": 2,
}
MORE = [word for name, value in CHOICES.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.mark.parametrize("kills", [2, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path, pairs, settings, kills):
    whole = TrainingRun(settings(**CHOICES), tmp_path / "whole")
    whole.train(progress=False)
    expected = load(tmp_path / "whole").model.params
    draw = random.Random(kills)
    folder, killed, finished, looks = tmp_path / "m", 0, 0, 0
    while killed < kills or folder.exists():
        has_checkpoint = (folder / "checkpoints").exists() and any((folder / "checkpoints").glob("0*"))
        if has_checkpoint:
            process = start("train", "--resume", folder)
        else:  # killed before its first checkpoint: there is nothing to go on from, and nothing that was complete
            process = start("train", pairs, "--out", folder, *FLAGS, *MORE, "--overwrite")
        if killed < kills:
            process.stdout.readline()  # the kernels are imported: what follows is the run
            time.sleep(draw.random() * 0.3)
            process.kill()
        out, err = process.communicate(timeout=120)
        if process.returncode == -9:
            killed += 1
            if (folder / "manifest.json").exists():
                load(folder)
                looks += 1
            continue
        assert process.returncode == 0, err
        assert err == ""
        finished += 1
        assert all(np.array_equal(a, b) for a, b in zip(load(folder).model.params, expected, strict=True))
        for name in ("model.safetensors", "config.json", "vocabulary.json"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert str(whole.outcome) in out
        shutil.rmtree(folder)
    assert killed == kills
    assert finished
    assert looks or kills < 10
    print(f"{killed} kills, {finished} runs that came to their end, {looks} models that were looked at")
