"""A folder has one writer; who finds it changed or removed says so and loses nothing; signals end a run in order."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastattn.data import FolderLock, LockedError, locks
from fastattn.training import ModelFolderError, TrainingRun, load, save

from .conftest import WHOLE, checkpoints, same

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    "FASTATTN_BACKEND": "reference",
    "FASTATTN_NUM_THREADS": "1",
}
INTERRUPTIBLE = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('fastattn', run_name='__main__')"
)
FLAGS = [word for name, value in WHOLE.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def start(*arguments):
    command = [sys.executable, "-c", INTERRUPTIBLE, *map(str, arguments)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def train(pairs):
    """train(folder, "--epochs", 9) -> a running `fastattn train`; ended after the test."""
    started = []

    def begin(folder, *more):
        started.append(start("train", pairs, "--out", folder, *FLAGS, *more))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_locks_of_one_folder(tmp_path):
    with FolderLock(tmp_path) as lock:
        assert lock.is_held
        with pytest.raises(LockedError, match=rf"process {os.getpid()} on '.*' is writing to it"):
            FolderLock(tmp_path).acquire()
    assert not lock.is_held
    assert not list(tmp_path.iterdir())
    with FolderLock(tmp_path):
        pass


HOLD = """
import sys, time
from fastattn.data import FolderLock
FolderLock(sys.argv[1]).acquire()
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("has_flock", [True, False])
def test_a_dead_process_keeps_no_lock(tmp_path, monkeypatch, has_flock):
    without = "" if has_flock else "import fastattn.data.locks as l; l.fcntl = None\n"
    holder = subprocess.Popen([sys.executable, "-c", without + HOLD, str(tmp_path)], env=ENVIRONMENT, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        if not has_flock:
            monkeypatch.setattr(locks, "fcntl", None)
        with pytest.raises(LockedError, match=f"process {holder.pid} on"):
            FolderLock(tmp_path).acquire()
    finally:
        holder.kill()
        holder.communicate()
    with FolderLock(tmp_path) as lock:
        assert lock.is_held
    assert not list(tmp_path.iterdir())


def test_without_locks_another_machine_is_not_taken_for_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    (tmp_path / locks.LOCK).write_text(json.dumps({"process": 1, "machine": "elsewhere"}))
    with pytest.raises(LockedError, match=r"process 1 on 'elsewhere' is writing to it; if it has ended, delete .*lock"):
        FolderLock(tmp_path).acquire()


def test_a_system_that_has_no_locks_here(tmp_path, monkeypatch):
    class NoLocks:
        LOCK_EX = LOCK_NB = 0

        @staticmethod
        def flock(*_):
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "fcntl", NoLocks)
    with FolderLock(tmp_path), pytest.raises(LockedError, match="is writing to it"):
        FolderLock(tmp_path).acquire()
    assert not list(tmp_path.iterdir())


def test_a_child_that_is_forked_does_not_hold_its_parents_lock(tmp_path):
    code = (
        "import os, sys, time\nfrom fastattn.data import FolderLock\nlock = FolderLock(sys.argv[1])\nlock.acquire()\n"
        "if os.fork() == 0:\n    time.sleep(20)\n    os._exit(0)\nprint('held', flush=True)\nos._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    assert done.returncode == 0
    lock = FolderLock(tmp_path)

    def is_free():
        with contextlib.suppress(LockedError):
            lock.acquire()
        return lock.is_held

    wait_for(is_free, seconds=15)  # the child lets go when it first runs, which may be after its parent's end
    lock.release()


def test_of_two_runs_that_start_together_one_refuses(tmp_path, train):
    both = [train(tmp_path / "m", "--epochs", 60, "--overwrite") for _ in range(2)]
    wait_for(lambda: any(process.poll() is not None for process in both))
    refused, other = sorted(both, key=lambda process: process.poll() is None)
    _, err = refused.communicate(timeout=60)
    assert refused.returncode == 1
    assert f"{tmp_path / 'm'}: process {other.pid} on" in err
    assert err.endswith("is writing to it; give another folder, or wait until it has ended\n")
    other.send_signal(signal.SIGTERM)
    other.communicate(timeout=60)
    run = TrainingRun.resume(tmp_path / "m")
    assert run.checkpoint


def test_a_run_and_a_save_into_one_folder(tmp_path, finished):
    translator = load(finished.folder)
    with FolderLock(finished.folder):
        with pytest.raises(ModelFolderError, match="is writing to it"):
            save(finished.folder, translator, [], {})
        with pytest.raises(ModelFolderError, match="is writing to it"):
            TrainingRun.resume(finished.folder)
        load(finished.folder)
    save(finished.folder, translator, [], {})


def test_a_model_that_came_meanwhile_is_not_replaced_unasked(tmp_path, settings):
    """Two runs that were both ready before the first of them began."""
    first, second = (TrainingRun(settings(), tmp_path / "m") for _ in range(2))
    first.train(progress=False)
    with pytest.raises(ModelFolderError, match="holds a model already"):
        second.train(progress=False)
    assert same(first, TrainingRun.resume(tmp_path / "m")) is False  # not trained further
    load(tmp_path / "m")


def test_checkpoints_are_not_replaced_unasked(tmp_path, settings):
    class Enough(Exception):
        pass

    run = TrainingRun(settings(), tmp_path / "m")
    run._finish_epoch = lambda record: (_ for _ in ()).throw(Enough)
    with pytest.raises(Enough):
        run.train(progress=False)
    with pytest.raises(ModelFolderError, match=r"holds the checkpoints of a run .* \(--resume\).* \(--overwrite\)"):
        TrainingRun(settings(), tmp_path / "m")
    before = [path.name for path in checkpoints(tmp_path / "m")]
    again = TrainingRun(settings(seed=1), tmp_path / "m", overwrite=True)
    assert [path.name for path in checkpoints(tmp_path / "m")] == before
    again.train(progress=False)
    assert not set(before) & {path.name for path in checkpoints(tmp_path / "m")}
    assert TrainingRun.resume(tmp_path / "m").settings.training.seed == 1


@pytest.mark.parametrize("harm", ["removed", "replaced", "overwritten"])
@pytest.mark.parametrize("choices", [{}, {"checkpoint_every": "none"}, {"average": "last", "checkpoint_every": "none"}])
def test_a_folder_that_changes_under_a_run(tmp_path, settings, finished, harm, choices):
    """It says so, leaves the other's files alone, and what it has is in a new folder, to go on from."""
    run = TrainingRun(settings(**choices), tmp_path / "m")
    epochs = []

    def do_harm(record):
        epochs.append(record.epoch)
        if record.epoch != (3 if "average" in choices else 1):
            return
        if harm == "overwritten":
            (tmp_path / "m" / "manifest.json").write_text("another's")
            return
        shutil.rmtree(tmp_path / "m")
        if harm == "replaced":
            shutil.copytree(finished.folder, tmp_path / "m")

    with pytest.raises(ModelFolderError) as caught:
        run.train([do_harm], progress=False)
    rescued = tmp_path / "m-rescued-1"
    assert str(caught.value).startswith(f"{tmp_path / 'm'}: was removed, or something else was written to it")
    assert str(rescued) in str(caught.value)
    if harm == "replaced":
        load(tmp_path / "m")
    if "average" in choices:
        assert all(np.array_equal(a, b) for a, b in zip(load(rescued).model.params, run.translator.model.params, strict=True))
        return
    again = TrainingRun.resume(rescued)
    again.train(progress=False)
    assert same(again, finished)
    load(rescued)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_in_order(tmp_path, train, finished, number, code):
    training = train(tmp_path / "m", "--checkpoint-every", "99m", "--epochs", 3)
    wait_for(lambda: (tmp_path / "m" / locks.LOCK).exists())
    training.send_signal(number)
    _, err = training.communicate(timeout=60)
    if training.returncode == 0:  # it was quicker
        return
    assert training.returncode == code
    assert f"go on with: fastattn train --resume {tmp_path / 'm'}\n" in err
    assert not (tmp_path / "m" / locks.LOCK).exists()
    run = TrainingRun.resume(tmp_path / "m")
    run.train(progress=False)
    assert same(run, finished)


def test_a_signal_in_any_moment_of_a_run(tmp_path, settings, finished, monkeypatch):
    """Between the batches of a validation as well as between steps, and in the midst of writing."""
    for moment in range(0, 60, 4):
        run = TrainingRun(settings(checkpoint_every=2), tmp_path / "m")
        calls = []
        between = run._between

        def see(where, between=between, calls=calls, moment=moment):
            if len(calls) == moment:
                signal.raise_signal(signal.SIGINT)
            calls.append(where)
            between(where)

        run._between = see
        try:
            run.train(progress=False)
        except KeyboardInterrupt:
            assert len(calls) == moment + 1
        else:
            assert len(calls) <= moment
            break
        again = TrainingRun.resume(tmp_path / "m")
        again.train(progress=False)
        assert same(again, finished), calls
        shutil.rmtree(tmp_path / "m")
    assert "validation" in calls


def test_a_second_signal_takes_effect_at_once(tmp_path, settings, finished):
    run = TrainingRun(settings(), tmp_path / "m")
    write, seen = run._write_checkpoint_to, []

    def interrupted(checkpoints, state, where):
        if run._trainer.step >= 4:
            seen.append(where)
            signal.raise_signal(signal.SIGINT)
            if len(seen) == 2:
                raise AssertionError("the second signal was held back")
        write(checkpoints, state, where)

    run._write_checkpoint_to = interrupted
    with pytest.raises(KeyboardInterrupt):
        run.train(progress=False)
    assert len(seen) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again = TrainingRun.resume(tmp_path / "m")
    again.train(progress=False)
    assert same(again, finished)


def test_a_signal_that_is_ignored_stays_so(tmp_path, settings):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        run = TrainingRun(settings(epochs=1), tmp_path / "m")
        run.train([lambda record: signal.raise_signal(signal.SIGTERM)], progress=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert run.outcome is not None


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocabulary.json", "history.jsonl", "manifest.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link"])
@pytest.mark.parametrize("digests", [True, False], ids=["digests", "none"])
def test_only_regular_files_are_read(finished, name, kind, digests):
    path = finished.folder / name
    if not digests:
        (finished.folder / "manifest.json").unlink()
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    if kind == "link":
        path.unlink()
        path.symlink_to(finished.folder / "nowhere")
    if name == "history.jsonl" and not digests:
        load(finished.folder)
        return
    with pytest.raises(ModelFolderError, match=rf"{name}: (is no regular file, but a pipe or a device|missing)$"):
        load(finished.folder)


def test_a_link_to_a_regular_file_is_read(finished, tmp_path):
    path = finished.folder / "model.safetensors"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    load(finished.folder)


@pytest.mark.parametrize("number", [2**63, 10**30, 2**24 + 1, 0, -1, 1e30, True])
def test_bounds_of_numbers(finished, number):
    (finished.folder / "manifest.json").unlink()
    path = finished.folder / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "max_target_tokens": number}))
    with pytest.raises(
        ModelFolderError, match=r"config\.json: max_target_tokens is .*; expected a whole number from 1 to 16777216"
    ):
        load(finished.folder)


def test_a_file_that_is_too_large_is_not_read(finished):
    (finished.folder / "manifest.json").unlink()
    with open(finished.folder / "config.json", "r+b") as stream:
        stream.truncate(2**40)  # takes no room on the disk
    with pytest.raises(ModelFolderError, match=r"config\.json: has 1,099,511,627,776 bytes; expected at most"):
        load(finished.folder)


def header(content, rest=b""):
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return len(data).to_bytes(8, "little") + data + rest


@pytest.mark.parametrize(
    "data",
    [
        (2**63).to_bytes(8, "little") + b"{}",
        header(b"[" * 10_000),
        header([]),
        header({"a": 5}),
        header({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, bytes(4)),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**60]}}, bytes(4)),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
        header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}, bytes(4)),
        header({"a": {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 6]}}, bytes(6)),
        header({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, bytes(4)),
        header({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        header({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, bytes(4)),
        header({"a": {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]}}, bytes(4)),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(5)),
    ],
)
def test_headers_that_do_not_fit_their_file(finished, data):
    (finished.folder / "manifest.json").unlink()
    (finished.folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelFolderError, match="is not a whole safetensors file: "):
        load(finished.folder)


def test_a_manifest_does_not_lead_out_of_its_folder(finished):
    from fastattn.data.files import _manifest

    entry = {"sha256": "0" * 64, "bytes": 1}
    for name in ("../secret", "/etc/passwd", "..", ""):
        (finished.folder / "manifest.json").write_bytes(_manifest({name: entry}))
        with pytest.raises(ModelFolderError, match=r"manifest\.json: is damaged"):
            load(finished.folder)
