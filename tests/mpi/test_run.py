"""Whole runs on ranks that are threads: settings, folder, checkpoints, and what is refused."""

import json
import shutil

import pytest

import fastattn
from fastattn.training import ModelFolderError, Settings, SettingsError, TrainingRun, train
from fastattn.training.parallel import RankError

from .conftest import CHOICES as SMALL_CHOICES
from .conftest import files
from .simulated import on_ranks

CHOICES = {**SMALL_CHOICES, "keep_checkpoints": 99, "average": "best", "average_count": 2}


@pytest.fixture(autouse=True)
def reference():
    with fastattn.use_backend("reference"):
        yield


@pytest.fixture
def settings(pairs):
    return lambda **changes: Settings.of(**{"pairs": str(pairs), **CHOICES, **changes})


def results(runs):
    for run in runs:
        if isinstance(run, BaseException):
            raise run
    return runs


@pytest.fixture
def alone(tmp_path, settings):
    """A run on one rank, and without MPI."""
    train(settings(shards=8), tmp_path / "alone", progress=False)
    return tmp_path / "alone"


def checkpoints(folder):
    return sorted((folder / "checkpoints").iterdir())


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_folder_is_that_of_one_rank(tmp_path, settings, alone, ranks):
    """Only the first rank writes it, and calls callbacks."""
    called = []

    def run(communicator):
        def callback(record):
            called.append((communicator.rank, record.epoch))

        return train(settings(), tmp_path / "m", callbacks=[callback], progress=False, communicator=communicator)

    runs = results(on_ranks(ranks, run))
    assert files(tmp_path / "m") == files(alone)
    assert [path.name for path in checkpoints(tmp_path / "m")] == [path.name for path in checkpoints(alone)]
    assert [(path / "arrays.safetensors").read_bytes() for path in checkpoints(tmp_path / "m")] == [
        (path / "arrays.safetensors").read_bytes() for path in checkpoints(alone)
    ]
    assert called == [(0, 1), (0, 2), (0, 3)]
    assert [each.folder for each in runs] == [tmp_path / "m", *[None] * (ranks - 1)]
    assert all(str(each.outcome) == str(runs[0].outcome) and len(each.history) == 3 for each in runs)
    assert "shards = 8\n" in (tmp_path / "m" / "config.toml").read_text()


def test_a_run_goes_on_at_another_number_of_ranks(tmp_path, settings, alone):
    count = len(checkpoints(alone))
    for number, ranks in ((2, 2), (count // 2, 4), (count - 1, 8), (3, 1)):
        folder = shutil.copytree(alone, tmp_path / f"{number}")
        for path in checkpoints(folder)[number:]:
            shutil.rmtree(path)

        def go_on(communicator):
            TrainingRun.resume(folder, communicator=communicator).train(progress=False)  # noqa: B023

        results(on_ranks(ranks, go_on))
        assert files(folder) == files(alone)


def test_a_damaged_checkpoint_is_set_aside_once(tmp_path, alone):
    for path in checkpoints(alone)[4:]:
        shutil.rmtree(path)
    (checkpoints(alone)[-1] / "state.json").write_text("{}")

    def go_on(communicator):
        TrainingRun.resume(alone, communicator=communicator).train(progress=False)

    with pytest.warns(match="it is set aside as"):
        results(on_ranks(2, go_on))
    assert sum(path.name.endswith(".damaged") for path in checkpoints(alone)) == 1


def test_a_run_that_was_undivided_goes_on_alone(tmp_path, settings):
    train(settings(), tmp_path / "m", progress=False)
    assert 'shards = "auto"\n' in (tmp_path / "m" / "config.toml").read_text()
    for error in on_ranks(2, lambda c: TrainingRun.resume(tmp_path / "m", communicator=c)):
        assert isinstance(error, SettingsError)
        assert "there are 2 ranks, and a batch has 1 shard" in str(error)
    for path in checkpoints(tmp_path / "m")[2:]:
        shutil.rmtree(path)
    before = files(tmp_path / "m")
    results(on_ranks(1, lambda c: TrainingRun.resume(tmp_path / "m", communicator=c).train(progress=False)))
    assert files(tmp_path / "m") == before


def test_pairs_on_disk(tmp_path, settings, alone):
    """One rank encodes them, the others read what it has written."""

    def run(communicator):
        train(settings(token_cache=str(tmp_path / "ids")), tmp_path / "m", progress=False, communicator=communicator)

    results(on_ranks(4, run))
    names = [path.name for path in (tmp_path / "ids").iterdir()]
    assert names.count("pairs") == 1
    whole = train(settings(token_cache=str(tmp_path / "ids"), shards=8), tmp_path / "w", progress=False)
    assert whole.outcome is not None
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == (tmp_path / "w" / "model.safetensors").read_bytes()


def test_errors_of_the_first_rank_are_told(tmp_path, settings, alone):
    first, second = on_ranks(2, lambda c: TrainingRun(settings(), alone, communicator=c))
    assert isinstance(first, ModelFolderError)
    assert "holds a model already" in str(first)
    assert isinstance(second, RankError)
    assert second.rank == 0
    first, second = on_ranks(2, lambda c: TrainingRun.resume(tmp_path / "nothing", communicator=c))
    assert isinstance(first, ModelFolderError)
    assert isinstance(second, RankError)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden": 5}, "model.hidden is 5, and 4 on rank 0"),
        ({"seed": 1}, "training.seed is 1, and 0 on rank 0"),
        ({"shards": 4}, "training.shards is 4, and None on rank 0"),
    ],
)
def test_other_settings_on_a_rank(tmp_path, settings, changes, said):
    for error in on_ranks(2, lambda c: TrainingRun(settings(**(changes if c.rank else {})), tmp_path / "m", communicator=c)):
        assert str(error) == f"rank 1 cannot train with rank 0: {said}"
    assert not (tmp_path / "m").exists()


def test_other_pairs_on_a_rank(tmp_path, settings, pairs):
    other = tmp_path / "other.tsv"
    other.write_text(pairs.read_text().replace("ax\t", "xa\t"))

    def run(communicator):
        chosen = settings(pairs=str(other)) if communicator.rank else settings()
        train(chosen, tmp_path / "m", progress=False, communicator=communicator)

    for error in on_ranks(2, run):
        assert "rank 1 cannot train with rank 0: " in str(error)
        assert "the samples is '" in str(error)


def test_standard_input_has_one_reader(settings):
    for error in on_ranks(2, lambda c: TrainingRun(settings(pairs="-"), communicator=c)):
        assert str(error) == "data.pairs is -, but only one rank has the standard input; expected a file"


@pytest.mark.parametrize("ranks", [3, 16])
def test_ranks_that_do_not_fit(settings, ranks):
    for error in on_ranks(ranks, lambda c: TrainingRun(settings(), communicator=c)):
        assert isinstance(error, SettingsError)
        assert str(error).startswith(f"there are {ranks} ranks")


def test_a_signal_to_any_rank_stops_all(tmp_path, settings, alone):
    """After the same step, with one checkpoint, from which another number of ranks goes on."""

    def run(communicator):
        run = TrainingRun(settings(), tmp_path / "m", communicator=communicator)
        between = run._between

        def noted(where):
            if communicator.rank == 1 and where == "step" and run._trainer.step == 2:
                run._noted.number = 15
            between(where)

        run._between = noted
        run.train(progress=False)
        return run

    runs = results(on_ranks(4, run))
    assert [each._trainer.step for each in runs] == [2] * 4
    assert [each._noted.number for each in runs] == [15] * 4  # in the main thread of a process it takes effect
    assert [json.loads((p / "state.json").read_text())["state"]["step"] for p in checkpoints(tmp_path / "m")][-1] == 2
    results(on_ranks(2, lambda c: TrainingRun.resume(tmp_path / "m", communicator=c).train(progress=False)))
    assert files(tmp_path / "m") == files(alone)


def test_a_folder_that_is_lost(tmp_path, settings):
    """All ranks end, and what there was is saved once."""

    def run(communicator):
        def remove(record):
            shutil.rmtree(tmp_path / "m")

        train(settings(), tmp_path / "m", callbacks=[remove], progress=False, communicator=communicator)

    first, second = on_ranks(2, run)
    assert isinstance(first, ModelFolderError)
    assert "where it stands is saved in" in str(first)
    assert isinstance(second, RankError)
    assert len(checkpoints(tmp_path / "m-rescued-1")) == 1
