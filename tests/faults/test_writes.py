"""A full disk, a torn write, a name that cannot be given: at each of these, nothing that was complete is lost."""

import errno
import os
import re
import shutil
import threading
import warnings

import numpy as np
import pytest

from fastattn.data import FileError, atomic_write, files
from fastattn.data.files import read_set, write_set
from fastattn.training import ModelFolderError, TrainingRun, TrainingWarning, load

from .conftest import checkpoints, cut, flipped, same


def full():
    return OSError(errno.ENOSPC, "No space left on device")


MODEL = ["config.json", "history.jsonl", "manifest.json", "model.safetensors", "vocabulary.json"]


class Faulty:
    """A file whose write fails after so many bytes have reached the disk: a torn one."""

    def __init__(self, stream, whole):
        self.stream, self.whole = stream, whole

    def write(self, content):
        self.stream.write(content[: len(content) if self.whole else len(content) // 2])
        self.stream.flush()
        raise full()

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stream.close()


class Faults:
    """The operation of number ``at`` fails, from the time that it is set; ``count``: how many there were."""

    def __init__(self, monkeypatch, kind):
        self.at, self.count = None, 0
        create, replace, rename, fsync, mkdir = files._create, os.replace, os.rename, os.fsync, files.Path.mkdir

        def is_now(mine):
            if self.at is None or not mine:
                return False
            self.count += 1
            return self.count - 1 == self.at

        def faulty_create(path):
            stream = create(path)
            return (
                Faulty(stream, False) if is_now(kind == "torn") else Faulty(stream, True) if is_now(kind == "full") else stream
            )

        def failing(operation):
            def call(*arguments, **options):
                if is_now(kind == "names"):
                    raise full()
                return operation(*arguments, **options)

            return call

        monkeypatch.setattr(files, "_create", faulty_create)
        for name, operation in (("replace", replace), ("rename", rename), ("fsync", fsync)):
            monkeypatch.setattr(files.os, name, failing(operation))
        monkeypatch.setattr(files.Path, "mkdir", failing(mkdir))

    def set(self, at):
        self.at, self.count = at, 0


@pytest.fixture(params=["full", "torn", "names"])
def faults(request, monkeypatch):
    return Faults(monkeypatch, request.param)


def test_each_write_of_a_checkpoint(tmp_path, finished, faults):
    """The training goes on and says so, the checkpoints that were there are whole, and the bits are the same."""
    failed = 0
    for at in range(20):
        folder, after = cut(finished.folder, tmp_path / "again", 4), tmp_path / "after"
        newest = checkpoints(folder)[-1].name
        run = TrainingRun.resume(folder)
        write = run._write_checkpoint

        def first(where="step", run=run, write=write, at=at, after=after):
            faults.set(at)
            write(where)
            faults.at = None
            run._write_checkpoint = write
            shutil.copytree(run.folder, after)

        run._write_checkpoint = first
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            run.train(progress=False)
        assert same(run, finished)
        assert not list(files.temporaries(after / "checkpoints"))
        if warned:
            failed += 1
            (message,) = [str(warning.message) for warning in warned]
            assert re.match(rf"no checkpoint was written at step 4: {folder}.*: No space left on device", message)
            assert newest in [path.name for path in checkpoints(after)]
        again = TrainingRun.resume(after, checkpoint_every="none")
        again.train(progress=False)
        assert same(again, finished)
        for path in (folder, after):
            shutil.rmtree(path)
        if faults.count <= at:  # there was no such operation
            break
    assert failed == at >= 3


def test_each_write_of_a_model(tmp_path, finished, faults):
    """train --overwrite on a full disk: the old model or the new one is there, whole."""
    old = load(finished.folder)
    folder = tmp_path / "again"
    for at in range(30):
        shutil.copytree(finished.folder, folder)
        run = TrainingRun(finished.settings.replaced(hidden=5, epochs=1, checkpoint_every="none"), folder, overwrite=True)
        write, trouble = run._write, None

        def once(contents, write=write, at=at):
            faults.set(at)
            write(contents)

        run._write = once
        try:
            run.train(progress=False)
        except OSError as error:
            trouble = error
        faults.at = None
        loaded = load(folder)
        whole = old if loaded.model.config == old.model.config else run.translator
        assert all(np.array_equal(a, b) for a, b in zip(loaded.model.params, whole.model.params, strict=True))
        shutil.rmtree(folder)
        if trouble is None and faults.count <= at:
            assert whole is run.translator
            break
        assert trouble is None or trouble.errno == errno.ENOSPC
        assert trouble is None or str(folder) in str(trouble)
    assert 6 <= at < 29


def test_overwrite_on_a_full_disk_leaves_the_old_model(tmp_path, finished, monkeypatch):
    before = {name: (finished.folder / name).read_bytes() for name in MODEL}
    run = TrainingRun(finished.settings.replaced(hidden=5, epochs=1), finished.folder, overwrite=True)

    def create(path):
        if "model.safetensors" in path.name or "arrays" in path.name:
            raise full()
        return open(path, "xb")

    monkeypatch.setattr(files, "_create", create)
    with (
        pytest.raises(OSError, match="No space left on device") as caught,
        pytest.warns(TrainingWarning, match="no checkpoint"),
    ):
        run.train(progress=False)
    assert caught.value.filename == str(finished.folder / "model.safetensors")
    assert {name: (finished.folder / name).read_bytes() for name in MODEL} == before
    assert not list(files.temporaries(finished.folder))
    load(finished.folder)


@pytest.mark.parametrize("name", MODEL)
def test_a_flipped_byte_is_refused_with_the_name_of_the_file(finished, name):
    path = finished.folder / name
    size = path.stat().st_size
    for place in range(0, size, max(1, size // 60)):
        flipped(path, place)
        with pytest.raises(ModelFolderError, match=rf"/whole/{name}: is damaged"):
            load(finished.folder)
        flipped(path, place)
    load(finished.folder)


def test_a_file_of_the_set_that_is_missing_or_cut_is_named(finished):
    for name in ("config.json", "model.safetensors", "vocabulary.json"):
        path = finished.folder / name
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(ModelFolderError, match=rf"{name}: is damaged"):
            load(finished.folder)
        path.write_bytes(content + b" ")
        with pytest.raises(ModelFolderError, match=rf"{name}: is damaged"):
            load(finished.folder)
        path.unlink()
        with pytest.raises(ModelFolderError, match=rf"{name}: missing"):
            load(finished.folder)
        path.write_bytes(content)
    (finished.folder / "history.jsonl").unlink()
    load(finished.folder)


def test_config_toml_is_its_readers_to_change(finished):
    path = finished.folder / "config.toml"
    path.write_text(path.read_text().replace("epochs = 3", "epochs = 4"))
    load(finished.folder)


def test_a_reader_finds_a_whole_set_while_it_is_replaced(tmp_path):
    """As two processes: no look is refused, and none finds a mixture."""
    ended, seen, troubles = threading.Event(), set(), []
    write_set(tmp_path, {"a": "0" * 5000, "b": "0"})

    def look():
        while not ended.is_set():
            try:
                a, b = read_set(tmp_path, lambda reader: (reader.read("a"), reader.read("b")))
            except FileError as error:
                troubles.append(error)
                continue
            if set(a) != set(b):
                troubles.append((a[:1], b))
            seen.add(b)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(60):
        write_set(tmp_path, {"a": str(n % 10) * 5000, "b": str(n % 10)})
    ended.set()
    for thread in threads:
        thread.join()
    assert not troubles
    assert len(seen) > 2


def test_a_set_keeps_what_is_not_replaced(tmp_path):
    write_set(tmp_path, {"a": "1", "b": b"\x00"})
    write_set(tmp_path, {"a": "2"})
    assert read_set(tmp_path, lambda reader: (reader.names, reader.read("a"), reader.read("b"))) == (["a", "b"], b"2", b"\x00")
    with pytest.raises(FileError, match=r"c: is not among the files of manifest\.json"):
        read_set(tmp_path, lambda reader: reader.read("c"))
    (tmp_path / "d").mkdir()
    with pytest.raises(IsADirectoryError):
        write_set(tmp_path, {"a": "3", "d": "4"})
    assert (tmp_path / "a").read_text() == "2"


def test_a_part_of_what_was_there_before_does_not_take_its_place(tmp_path, monkeypatch):
    """A writer is killed while it writes a file whose new content is the old one."""
    write_set(tmp_path, {"a": "the same", "b": "old"})

    def killed(path, content):
        path.write_bytes(content[:3])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "_write_new", killed)
        patch.setattr("pathlib.Path.unlink", lambda *_, **__: None)  # nor has it time to clean up
        with pytest.raises(KeyboardInterrupt):
            write_set(tmp_path, {"a": "the same", "b": "new"})
    assert list(files.temporaries(tmp_path))
    files.finish_set(tmp_path)
    assert not list(files.temporaries(tmp_path))
    assert read_set(tmp_path, lambda reader: [reader.read(name) for name in "ab"]) == [b"the same", b"old"]


def test_names_reach_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    atomic_write(tmp_path / "a", b"x")
    assert synced == [tmp_path]
