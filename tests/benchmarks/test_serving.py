"""The measurement of the server: both servers answer, and give what the model gives."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from serving.servers import ENVIRONMENT, small

import fastattn

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'fastattn[serve]'")
pytest.importorskip("prometheus_client")


@pytest.mark.slow
def test_requests_are_counted_and_answers_compared(tmp_path):
    with fastattn.use_backend("reference"):
        small(0).save(tmp_path / "model")
    (tmp_path / "words.txt").write_text("abc\nkernel\tK ER N AH L\nabc\n")
    command = [sys.executable, "-m", "benchmarks.serving", tmp_path / "model", tmp_path / "words.txt", "--rounds", "1"]
    done = subprocess.run(
        [*map(str, command), "--clients", "1", "3", "--beam", "2", "--seconds", "0.3"],
        cwd=Path(fastattn.__file__).parents[1],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(batches|one at a time) +2 +(1|3) +(\d+) +[\d.]+ +[\d.]+$", done.stdout, re.MULTILINE)
    assert [row[:2] for row in rows] == [(name, c) for c in ("1", "3") for name in ("batches", "one at a time")]
    assert all(int(row[2]) > 0 for row in rows)
