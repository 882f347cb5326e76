"""The measurement of the drop-in: all three compute the same, or it says so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastattn

ROOT = Path(fastattn.__file__).parents[1]


@pytest.mark.slow
def test_all_three_are_measured():
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.drop_in", "--rounds", "1"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert process.returncode == 0, process.stdout + process.stderr
    for name in ("date", "addition"):
        assert re.search(rf"^{name}: compat / fastattn \d+\.\d+, numpy / compat \d+\.\d+$", process.stdout, re.MULTILINE)
