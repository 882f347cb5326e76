"""A wheel and an sdist, installed outside the checkout, work, and bring what they should and nothing else."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
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


@pytest.fixture(scope="module")
def project():
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("not run from a checkout")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_citation_is_of_this_version(project):
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    # What the format needs, by its schema of version 1.2.0.
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert all(author.keys() <= {"name"} for author in citation["authors"])
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["keywords"] == project["keywords"]


def test_the_oldest_python_is_the_first_that_is_named(project):
    named = re.findall(r"Programming Language :: Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert f">={named[0]}" == project["requires-python"]


@pytest.fixture(scope="module")
def built(project, tmp_path_factory):
    """The sdist, and the wheel that is made of it."""
    for library in ("build", "hatchling"):
        pytest.importorskip(library)
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


@pytest.mark.slow
def test_the_sdist_has_all_that_is_kept(built):
    with tarfile.open(built["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        "LICENSE",
        "CITATION.cff",
        "SECURITY.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "tests/conftest.py",
        "docs/python.md",
    ):
        assert name in names
    assert {"examples/onnx/browser/index.html", "kernels/fastattn_kernels/compiled/lstm.py", "fastattn/py.typed"} <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith((".nbi", ".nbc", ".wasm"))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_it_is_installed_and_runs_in_a_fresh_environment(kind, built, tmp_path):
    """By pip, with what it needs and nothing else."""
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", built[kind], cwd=tmp_path)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{a}{b}\t{b}{a}\n" for a in "abcdef" for b in "ghijkl"))
    command = tmp_path / "venv" / "bin" / "fastattn"
    options = ["--epochs", 2, "--hidden", 8, "--embedding", 4, "--batch-size", 8, "--backend", "reference"]
    assert "epoch 2/2" in run(command, "train", pairs, "--out", "model", *options, cwd=tmp_path)
    answer = run(command, "translate", "model", "ag", cwd=tmp_path, FASTATTN_BACKEND="reference")
    code = "import fastattn; fastattn.set_backend('reference'); print(fastattn.Translator.load('model').translate(['ag'])[0])"
    assert run(python, "-c", code, cwd=tmp_path) == answer
