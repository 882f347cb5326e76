import errno
import os
import sys
import threading

import pytest

from fastattn.data import atomic_write


def test_writes_bytes_and_text_and_replaces(tmp_path):
    path = tmp_path / "out"
    atomic_write(path, b"\x00\xff\r\n")
    assert path.read_bytes() == b"\x00\xff\r\n"
    atomic_write(str(path), "ü\n")
    assert path.read_bytes() == b"\xc3\xbc\n"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fails, error):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    seen = []

    def interrupted(*_):
        seen.extend(os.listdir(tmp_path))
        raise error

    monkeypatch.setattr(os, fails, interrupted)
    with pytest.raises(type(error)):
        atomic_write(path, b"new")
    assert len(seen) == 2  # the old file and the temporary one: the interruption came in the midst of the work
    assert os.listdir(tmp_path) == ["out"]
    assert path.read_bytes() == b"old"


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        atomic_write(tmp_path / "out", b"new")
    assert caught.value.filename == str(tmp_path / "out")


def test_text_that_is_not_unicode_touches_nothing(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        atomic_write(tmp_path / "out", "\ud800")
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_and_a_folder_as_the_name_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        atomic_write(tmp_path / "missing" / "out", b"")
    assert caught.value.filename == str(tmp_path / "missing" / "out")  # not that of the temporary file
    with pytest.raises(OSError):
        atomic_write(tmp_path, b"")
    assert os.listdir(tmp_path) == []


def test_a_long_name_is_no_obstacle(tmp_path):
    path = tmp_path / ("n" * 250)
    atomic_write(path, b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links, permissions and pipes")
class TestPosix:
    def test_others_may_read_the_file_as_the_umask_says(self, tmp_path):
        before = os.umask(0o022)
        try:
            atomic_write(tmp_path / "out", b"x")
        finally:
            os.umask(before)
        assert (tmp_path / "out").stat().st_mode & 0o777 == 0o644

    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "target").write_bytes(b"old")
        (tmp_path / "link").symlink_to("target")
        atomic_write(tmp_path / "link", b"new")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "target").read_bytes() == b"new"

    def test_a_pipe_is_written_in_place(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        received = []
        reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
        reader.start()
        atomic_write(tmp_path / "pipe", b"through")
        reader.join(timeout=10)
        assert received == [b"through"]
        assert (tmp_path / "pipe").is_fifo()
