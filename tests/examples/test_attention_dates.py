"""The notebook of attention: the script runs, the notebook runs, and they are the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import run_python

import fastattn

FOLDER = Path(fastattn.__file__).parents[1] / "examples" / "attention_dates"
SCRIPT, NOTEBOOK = FOLDER / "attention_dates.py", FOLDER / "attention_dates.ipynb"
SMALL = {"ATTENTION_DATES_PAIRS": "300", "ATTENTION_DATES_EPOCHS": "1"}


def cells():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_the_script_runs():
    pytest.importorskip("matplotlib")
    out = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", SCRIPT],
        env={**os.environ, **SMALL, "MPLBACKEND": "agg", "DISPLAY": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert out.returncode == 0, out.stderr
    assert "epoch 1: loss " in out.stdout


def test_the_notebook_runs():
    for library in ("nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(library)
    code = f"""
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read({str(NOTEBOOK)!r}, 4)
NotebookClient(notebook, kernel_name="python3", timeout=600).execute()
print(sum("image/png" in output.get("data", {{}}) for cell in notebook.cells for output in cell.get("outputs", [])))
"""
    assert run_python(code, **SMALL).split()[-1] == "2"  # the curve, the map


def test_the_notebook_is_made_from_the_script():
    pytest.importorskip("jupytext")
    code = f"""
import json, jupytext
print(json.dumps([[cell.cell_type, cell.source] for cell in jupytext.read({str(SCRIPT)!r}).cells]))
"""
    expected = json.loads(run_python(code))
    assert [[cell["cell_type"], "".join(cell["source"])] for cell in cells()] == expected


def test_the_notebook_has_been_run_and_has_learned():
    outputs = [output for cell in cells() if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    text = "".join("".join(output.get("text", [])) for output in outputs)
    assert text.count(" right\n") >= 7
    assert NOTEBOOK.stat().st_size < 200_000
