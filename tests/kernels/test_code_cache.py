"""The cache of machine code: damage, races, folders that others may write to."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fastattn_kernels.compiled.engine import code_cache
from helpers import run_python

USE = """
import numpy as np
from fastattn_kernels import compiled
y = compiled.softmax_forward(np.arange(6, dtype=np.float32).reshape(2, 3), None)
assert np.allclose(y.sum(axis=1), 1) and np.all(np.diff(y) > 0)
"""


def start(folder, code=USE, **environment):
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), **environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def use(folder, code=USE, **environment):
    """What a process says on standard error, and prints, that uses a kernel and comes to the right numbers."""
    process = start(folder, code, **environment)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return err, out


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.fastattn")}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache with the machine code of one kernel."""
    folder = tmp_path_factory.mktemp("filled")
    assert use(folder) == ("", "")
    assert len(contents(folder)) >= 4
    return folder


@pytest.fixture
def folder(filled, tmp_path):
    shutil.copytree(filled, tmp_path / "cache")
    return tmp_path / "cache"


def test_what_is_kept_is_loaded_and_not_written_again(folder):
    before = {path: path.stat().st_mtime_ns for path in contents(folder)}
    assert use(folder) == ("", "")
    assert {path: path.stat().st_mtime_ns for path in contents(folder)} == before


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


# Of each a file is made: the mark, the digest, what it was made of, what is unpickled, its end.
DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "cut in the mark": lambda content: content[:7],
    "mark flipped": lambda content: flipped(content, 3),
    "digest flipped": lambda content: flipped(content, 20),
    "key flipped": lambda content: flipped(content, 50),
    "code flipped": lambda content: flipped(content, len(content) - 900),
    "end flipped": lambda content: flipped(content, len(content) - 1),
    "longer": lambda content: content + b"\0",
}


def test_damaged_files_are_compiled_anew_written_anew_and_said_once(folder):
    files = contents(folder)
    kinds = list(DAMAGE.items())
    while kinds:  # each process meets as many kinds as there are files
        now = dict(zip(files, kinds))
        for path, (_, damage) in now.items():
            path.write_bytes(damage(files[path]))
        err, _ = use(folder)
        assert err.count("\n") == 1, err
        assert err.startswith(
            "fastattn: a file of the cache of machine code is not used, and compiled anew: it is damaged: "
        ), err
        for path, (name, _) in now.items():
            code_cache._read(str(path))  # whole again
            assert path.read_bytes()[:16] == files[path][:16], name
        kinds = kinds[len(now) :]
    assert use(folder) == ("", "")


def test_nothing_is_unpickled_before_the_digest_was_checked(folder, tmp_path):
    marker = tmp_path / "ran"
    planted = b"cposix\nsystem\n(S'touch " + os.fsencode(marker) + b"'\ntR."
    for path, content in contents(folder).items():
        path.write_bytes(content[:80] + planted)
    err, _ = use(folder)
    assert "it is damaged" in err
    assert not marker.exists()


def test_a_file_of_other_sources_is_written_anew_silently(folder):
    path, content = next(iter(contents(folder).items()))
    other = bytes(32) + content[80:]
    path.unlink()
    code_cache._write(str(path), other)
    assert use(folder) == ("", "")
    assert path.read_bytes()[48:80] == content[48:80]


def test_a_file_that_others_may_write_is_not_loaded(folder):
    path = next(iter(contents(folder)))
    path.chmod(0o666)
    err, _ = use(folder)
    assert "others may write to it" in err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert use(folder) == ("", "")


def test_what_cannot_be_written_serves_the_process_and_is_said_once(tmp_path):
    code = "from fastattn_kernels.compiled.engine import code_cache\n"
    code += "def full(path, content): raise OSError(28, 'No space left on device')\ncode_cache._write = full\n"
    err, _ = use(tmp_path, code + USE)
    assert err.count("\n") == 1
    assert err.startswith("fastattn: machine code cannot be kept, and is compiled in each process: No space left on device: ")


@pytest.mark.slow
def test_eight_processes_that_start_together(tmp_path):
    processes = [start(tmp_path) for _ in range(8)]
    for process in processes:
        out, err = process.communicate(timeout=1200)
        assert (process.returncode, out, err) == (0, "", "")
    test_what_is_kept_is_loaded_and_not_written_again(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".fastattn"], "nothing is left behind"


def test_a_file_is_whole_however_many_write_it(tmp_path):
    path = str(tmp_path / "code.fastattn")
    code = f"""
from fastattn_kernels.compiled.engine import code_cache
import os
for i in range(300):
    code_cache._write({path!r}, bytes([os.getpid() % 256]) * 50_000)
    assert len(set(code_cache._read({path!r}))) == 1
"""
    processes = [start(tmp_path, code) for _ in range(3)]
    assert [(process.communicate(timeout=600)[1], process.returncode) for process in processes] == [("", 0)] * 3


# Folders


def test_a_relative_path_is_not_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "not absolute" in code_cache._fault_of(Path("cache"))
    process = subprocess.run(
        [sys.executable, "-c", "from fastattn_kernels.compiled.engine import code_cache; print(code_cache.folder())"],
        env={**os.environ, "NUMBA_CACHE_DIR": "cache"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert process.returncode == 0
    assert Path(process.stdout.strip()).is_absolute()
    assert not (tmp_path / "cache").exists()
    assert process.stderr.startswith("fastattn: NUMBA_CACHE_DIR is not used for machine code: the path 'cache/fastattn-")


@pytest.mark.skipif(os.name != "posix", reason="the rights are POSIX's")
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777, 0o722])
def test_a_folder_that_others_may_write_to_is_not_used(tmp_path, mode):
    folder = tmp_path / "shared"
    folder.mkdir()
    assert code_cache._made(folder) is None
    folder.chmod(mode)
    assert f"others may write to {folder}" in code_cache._made(folder)
    # In a folder of theirs it could be renamed, and another put in its place; but not in one like /tmp.
    inside = code_cache._made(folder / "cache")
    assert inside is None if mode & stat.S_ISVTX else f"others may write to {folder}" in inside


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_links_are_followed_before_a_folder_is_judged(tmp_path):
    (tmp_path / "shared").mkdir(mode=0o700)
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "shared")
    assert "others may write" in code_cache._made(tmp_path / "link")
    assert "others may write" in code_cache._made(tmp_path / "link" / "cache")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_used(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    assert "belongs to another user" in code_cache._made(folder)
    assert "belongs to another user" in code_cache._made(folder / "cache")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can be another user")
def test_a_user_without_a_home_in_a_folder_of_another(tmp_path):
    """As a container's `--user 12345` that runs where anybody may have put files."""
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o777)
    code = f"""
import os, sys
from fastattn_kernels.compiled.engine import code_cache
os.environ.pop("HOME", None)
os.chdir({str(place)!r})
os.setgroups([]), os.setgid(12345), os.setuid(12345)
print(code_cache.folder(), os.listdir("."))
"""
    environment = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "None []", done.stderr
    assert done.stderr.startswith("fastattn: machine code is not kept, and compiled in each process: ")
    assert "the path '~/.cache/fastattn/" in done.stderr
    assert "is not absolute" in done.stderr


def test_without_a_folder_the_kernels_are_compiled_all_the_same():
    code = "from fastattn_kernels.compiled.engine import code_cache\ncode_cache.folder = lambda: None\n"
    assert run_python(code + USE) == ""


def test_what_is_cleared_is_the_caches_own(folder, monkeypatch):
    (base,) = {path.parent for path in contents(folder)}
    (base / "notes.txt").write_text("mine")
    count = len(contents(folder))
    monkeypatch.setattr(code_cache, "folder", lambda: str(base))
    assert code_cache.clear() == count
    assert [path.name for path in base.iterdir()] == ["notes.txt"]
