"""The command as a whole, and its two small sub-commands: `dates` and `info`."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import skip_without_compiled_kernels

import fastattn
from fastattn.cli import dates, main
from fastattn.data import date_pairs, read_pairs

COMMANDS = ["train", "translate", "evaluate", "attention", "export", "dates", "info"]


def test_help_names_every_command_and_the_exit_codes(fastattn_command):
    code, out, err = fastattn_command("--help")
    assert (code, err) == (0, "")
    for word in (*COMMANDS, "130", "143"):
        assert word in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(fastattn_command, command):
    code, out, err = fastattn_command(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: fastattn {command} ")
    assert "None" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["translate"],
        ["evaluate", "m"],
        ["attention", "m", "a"],
        ["export", "m"],
        ["dates"],
        ["info", "x", "y"],
    ],
)
def test_wrong_usage(fastattn_command, arguments):
    code, out, err = fastattn_command(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: fastattn ")


def test_as_a_module(module):
    done = module("--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"usage: fastattn ")
    assert module().returncode == 2
    assert module("translate", "nowhere", "a").returncode == 1


def test_help_loads_nothing_heavy():
    """What takes long to import is imported when it is needed: no Numba, and no reading and writing of models."""
    code = (
        "import sys; from fastattn.cli.main import parser; parser().format_help(); "
        "print(*(name for name in ('numba', 'safetensors', 'tqdm', 'matplotlib') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), check=True)
    assert done.stdout.split() == []


def environment():
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_version(fastattn_command, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2.3")
    assert fastattn_command("--version") == (0, "fastattn 1.2.3\n", "")
    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert fastattn_command("--version") == (0, "fastattn (not installed)\n", "")


def test_a_fault_of_ours_shows_its_traceback(monkeypatch, tmp_path):
    def fail(arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(dates, "run", fail)
    with pytest.raises(ZeroDivisionError):
        main.run(["dates", "--out", str(tmp_path / "d.tsv")])


def test_want_of_memory_is_said_in_a_line(monkeypatch, tmp_path, fastattn_command):
    def fail(arguments):
        raise MemoryError

    monkeypatch.setattr(dates, "run", fail)
    code, out, err = fastattn_command("dates", "--out", tmp_path / "d.tsv")
    assert (code, out) == (1, "")
    assert err.startswith("fastattn: out of memory")
    assert err.count("\n") == 1


def test_dates_writes_the_corpus(tmp_path, fastattn_command):
    path = tmp_path / "d.tsv"
    code, out, err = fastattn_command("dates", "--out", path, "--size", 30, "--seed", 7)
    assert (code, out, err) == (0, f"30 pairs written to {path}\n", "")
    assert read_pairs(path) == date_pairs(30, 7)


def test_dates_by_default_is_what_train_learns_from(tmp_path, fastattn_command):
    assert fastattn_command("dates", "--out", tmp_path / "d.tsv")[0] == 0
    assert read_pairs(tmp_path / "d.tsv") == date_pairs()


@pytest.mark.parametrize(
    ("options", "code"), [(["--size", "0"], 2), (["--seed", "-1"], 2), (["--size", "x"], 2), (["--size", "10000000"], 1)]
)
def test_dates_that_cannot_be(tmp_path, fastattn_command, options, code):
    given, out, err = fastattn_command("dates", "--out", tmp_path / "d.tsv", *options)
    assert (given, out) == (code, "")
    assert "Traceback" not in err
    assert not (tmp_path / "d.tsv").exists()


def test_dates_where_no_file_can_be(tmp_path, fastattn_command):
    code, _, err = fastattn_command("dates", "--out", tmp_path / "no" / "d.tsv", "--size", 3)
    assert code == 1
    assert err == f"fastattn: {tmp_path / 'no' / 'd.tsv'}: No such file or directory\n"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a file's name cannot be any bytes")
def test_a_file_whose_name_is_not_utf8(tmp_path, module):
    name = os.fsdecode(b"\xff.tsv")
    done = module("dates", "--out", name, "--size", 20, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"20 pairs written to \xff.tsv\n", b"")
    done = module("train", name, "--out", "m", "--epochs", 1, "--hidden", 3, "--embedding", 2, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    config = json.loads((tmp_path / "m" / "config.json").read_bytes())
    assert config["training"]["corpus"] == "\ufffd.tsv"
    assert module("translate", "m", "1", cwd=tmp_path).returncode == 0


def facts(out):
    return dict(line.split(maxsplit=1) if line[16] != " " else (line[:16].rstrip(), line[17:]) for line in out.splitlines())


NAMES = [
    *("fastattn", "Python", "numpy", "numba", "llvmlite", "platform", "CPU", "vector features"),
    *("kernels", "threads", "cache folder"),
]


def test_info(fastattn_command):
    import numba
    import numpy

    fastattn.set_num_threads(3)
    code, out, err = fastattn_command("info")
    assert (code, err) == (0, "")
    found = facts(out)
    assert list(found) == NAMES
    assert found["Python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert found["numpy"] == numpy.__version__
    assert found["numba"] == numba.__version__
    assert found["kernels"] == "reference"
    assert found["threads"] == "3"
    assert found["cache folder"].startswith("none")


def test_info_on_compiled_kernels(module):
    skip_without_compiled_kernels()
    done = module("info", environment={"FASTATTN_BACKEND": "compiled", "FASTATTN_NUM_THREADS": "2"})
    assert (done.returncode, done.stderr) == (0, b"")
    found = facts(done.stdout.decode())
    assert list(found) == NAMES
    assert found["kernels"] == "compiled"
    assert found["threads"] == "2"
    assert "fastattn" in found["cache folder"] or "__pycache__" in found["cache folder"]


def test_info_clears_the_cache(module, tmp_path):
    skip_without_compiled_kernels()
    environment = {"FASTATTN_BACKEND": "compiled", "NUMBA_CACHE_DIR": str(tmp_path)}
    folder = Path(facts(module("info", environment=environment).stdout.decode())["cache folder"])
    assert tmp_path in folder.parents
    (folder / "kernel-1.fastattn").write_bytes(b"machine code")
    (folder / "checked").mkdir()
    (folder / "checked" / "kernel-2.fastattn").write_bytes(b"machine code")
    (folder / "notes.txt").write_text("mine")
    done = module("info", "--clear-cache", environment=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().strip() == f"2 files of machine code removed from {folder}"
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["notes.txt"]


def test_info_of_a_model_says_what_its_card_says(trained, fastattn_command):
    code, out, err = fastattn_command("info", trained / "model")
    assert (code, err) == (0, "")
    facts = dict(line.split(None, 1) for line in out.splitlines() if line.startswith(("model", "source ", "seed")))
    assert facts == {"source": "4 different characters", "model": "embedding 8, hidden 24", "seed": "0"}
    assert "held-out exact match" in out
    card = (trained / "model" / "README.md").read_text(encoding="utf-8")
    assert "| model | embedding 8, hidden 24 |" in card


def test_info_of_no_model(tmp_path, fastattn_command):
    assert fastattn_command("info", tmp_path / "none") == (1, "", f"fastattn: {tmp_path / 'none'}: no such folder\n")
    code, out, err = fastattn_command("info", "x", "--clear-cache")
    assert (code, out) == (2, "")
    assert "--clear-cache and DIR: expected one of the two" in err
