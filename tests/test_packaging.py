"""A wheel, installed outside the checkout, works, and brings the names that it should and no other."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fastattn

ROOT = Path(fastattn.__file__).parents[1]


def run(*command, cwd, **environment):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment
    process = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=900)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.mark.slow
def test_an_installed_wheel_trains_and_translates(tmp_path):
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("not run from a checkout")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "fastattn",
        "fastattn_kernels",
        f"{wheel.name.split('-py3')[0]}.dist-info",
    }
    assert "fastattn/py.typed" in names
    assert "fastattn_kernels/compiled/lstm.py" in names

    # The packages that it needs are the test's own; the wheel stands before them in a folder of its own.
    site = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel, cwd=tmp_path)
    where = "import fastattn, fastattn_kernels; print(fastattn.__file__, fastattn_kernels.__file__)"
    paths = run(sys.executable, "-c", where, cwd=tmp_path, PYTHONPATH=str(site)).split()
    assert all(Path(path).is_relative_to(site) for path in paths)
    assert not (site / "kernels").exists()

    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{a}{b}\t{b}{a}\n" for a in "abcdef" for b in "ghijkl"))
    command = [sys.executable, "-m", "fastattn"]
    options = ["--epochs", 2, "--hidden", 8, "--embedding", 4, "--batch-size", 8]
    out = run(*command, "train", pairs, "--out", "model", *options, cwd=tmp_path, PYTHONPATH=str(site))
    assert "epoch 2/2" in out
    assert run(*command, "translate", "model", "ag", cwd=tmp_path, PYTHONPATH=str(site)).count("\n") == 1


def test_import_needs_no_numba_until_it_computes():
    code = "import sys, fastattn; print('numba' in sys.modules, 'tqdm' in sys.modules)"
    assert run(sys.executable, "-c", code, cwd=ROOT.parent, PYTHONPATH=f"{ROOT}:{ROOT / 'kernels'}").split() == [
        "False",
        "False",
    ]
