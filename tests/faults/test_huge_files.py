"""Files of a terabyte that take no room on the disk, small ones that become large, and files that do not end: one clear error.

They are read under a limit of memory, in no time.
"""

import gzip
import io
import json
import resource
import time
from contextlib import contextmanager

import pytest

import fastattn
from fastattn.cli.main import run
from fastattn.data import PairsError, PairsFile, PairsStream, Vocabulary
from fastattn.training import ModelFolderError, Settings, SettingsError, TrainingRun, Translator, load, save

TERABYTE = 1 << 40


@contextmanager
def bounded(mebibytes=256, seconds=20):
    """So much more memory there is, and so much of the processor's time."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + mebibytes * 2**20, before[1]))
    began = time.process_time()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.process_time() - began < seconds


def sparse(path, begin=b""):
    with open(path, "wb") as file:
        file.write(begin)
        file.truncate(TERABYTE)
    return path


@pytest.fixture
def folder(tmp_path):
    source, target = (Vocabulary.from_texts([text]) for text in ("ab", "xy"))
    model = fastattn.AttentionSeq2seq(len(source), 3, 4, target_vocabulary=len(target), seed=0)
    save(tmp_path / "model", Translator(model, source, target, reverse_source=False, max_target_tokens=6))
    return tmp_path / "model"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocabulary.json", "history.jsonl", "manifest.json"])
@pytest.mark.parametrize("has_manifest", [True, False])
def test_a_terabyte_in_a_model_folder(folder, name, has_manifest):
    begin = (folder / name).read_bytes()
    if not has_manifest:
        (folder / "manifest.json").unlink()
    sparse(folder / name, begin)
    with bounded():
        if name == "history.jsonl" and not has_manifest:
            assert load(folder).history == []  # it is for people to read
            return
        with pytest.raises(ModelFolderError, match=rf"{name}: (has 1,099,511,627,776 bytes|is damaged)"):
            load(folder)


def test_a_terabyte_that_the_manifest_and_the_config_speak_of(folder):
    """Then it is the machine's memory that says no."""
    path = folder / "manifest.json"
    content = json.loads((folder / "config.json").read_text())
    content["model"] |= {"embedding": 2**24, "hidden": 2**13, "encoder_hidden": 2**13}
    (folder / "config.json").write_text(json.dumps(content))
    path.unlink()
    sparse(folder / "model.safetensors")
    with (
        bounded(),
        pytest.raises(ModelFolderError, match=r"safetensors: has 1,099,511,627,776 bytes, more than this machine has"),
    ):
        load(folder)


def test_a_terabyte_in_a_checkpoint(tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{a}{b}\t{b}\n" for a in "abc" for b in "xyz"))
    choices = {"embedding": 2, "hidden": 3, "epochs": 1, "valid_fraction": 0.2}
    with fastattn.use_backend("reference"):
        TrainingRun(Settings.of(pairs=str(pairs), **choices), tmp_path / "run").train(progress=False)
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    for name in ("arrays.safetensors", "state.json"):
        begin = (checkpoint / name).read_bytes()
        sparse(checkpoint / name, begin)
        with bounded(), pytest.raises(ModelFolderError, match=f"no checkpoint is whole: .*{name}: is damaged"):
            TrainingRun.resume(tmp_path / "run")
        (checkpoint / name).write_bytes(begin)


@pytest.mark.parametrize("begin", [b"", b"ab\tx\n", b"ab\tx"])
def test_a_terabyte_of_pairs(tmp_path, begin):
    path = sparse(tmp_path / "pairs.tsv", begin)
    line = 1 + begin.count(b"\n")
    with (
        bounded(),
        pytest.raises(PairsError, match=f"pairs.tsv:{line}: is longer than 16,777,216 bytes; expected a pair a line"),
    ):
        PairsFile.read(path)
    with bounded(), pytest.raises(PairsError, match="is longer than"):
        list(PairsStream(path))


def test_a_device_that_does_not_end():
    with bounded(), pytest.raises(PairsError, match="/dev/zero:1: is longer than"):
        PairsFile.read("/dev/zero")
    with bounded(), pytest.raises(SettingsError, match=r"/dev/zero: has more than 1,048,576 bytes"):
        Settings.read("/dev/zero")


def packed(parts):
    """What gzip makes of many equal parts, without all of them in memory."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as file:
        for part in parts:
            file.write(part)
    return out.getvalue()


def test_a_small_file_that_unpacks_to_gigabytes(tmp_path):
    path = tmp_path / "pairs.tsv.gz"
    path.write_bytes(packed(bytes(1 << 20) for _ in range(20)))
    with bounded(), pytest.raises(PairsError, match="is longer than"):
        PairsFile.read(path)
    lines = (b"a" * 8000 + b"\tx\n") * 128
    path.write_bytes(packed(lines for _ in range(100)))
    assert path.stat().st_size < 1 << 20
    with bounded(), pytest.raises(PairsError, match=r"gz: unpacks to more than 200 times its size, as no text does; if it is"):
        for _ in PairsStream(path):
            pass


def test_text_that_compresses_well_is_read(tmp_path):
    path = tmp_path / "pairs.tsv.gz"
    path.write_bytes(packed([b"ab\tx\n" * 100_000]))
    assert path.stat().st_size < 500_000 / 200
    assert len(PairsFile.read(path).pairs) == 100_000


def test_lines_that_no_hint_is_looked_for(tmp_path):
    """A line that cannot be read, behind many long ones that can."""
    path = tmp_path / "pairs.tsv.gz"
    long = b"a" * (1 << 20) + b"\tx\n"
    path.write_bytes(packed([long] * 20 + [b"ab x\n"] * 3 + [long] * 20))
    with bounded(), pytest.raises(PairsError, match=r"gz:21: no tab; expected source<TAB>target$"):
        for _ in PairsStream(path):
            pass


def test_a_line_to_translate_that_does_not_end(folder, capsys):
    with bounded():
        assert run(["translate", str(folder), "--input", "/dev/zero"]) == 1
    assert "/dev/zero, line 1: is longer than 16,777,216 bytes; expected a text a line" in capsys.readouterr().err
