"""`fastattn train`: what it leaves, what it refuses, and what an interruption leaves."""

import json
import re
import signal

import numpy as np
import pytest

from fastattn.data import Vocabulary, read_pairs
from fastattn.training import load

TINY = ["--embedding", 3, "--hidden", 4, "--batch-size", 40]


def one_line(err):
    """The words of a single line on standard error, without the name in front."""
    assert err.startswith("fastattn: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.removeprefix("fastattn: ").rstrip("\n")


def wait_for(training, beginning):
    """Reads what a training prints, up to a line that begins so."""
    while not (line := training.stdout.readline().decode()).startswith(beginning):
        assert line


def test_from_pairs_to_answers(trained, pairs, module):
    """The whole way in processes of its own: train, translate, evaluate."""
    output = (trained / "output").read_text()
    assert "76 pairs to train on, 4 held out" in output
    assert "4 different characters in the sources" in output
    assert "embedding 8, hidden 24" in output
    assert "reference kernels, threads 1" in output
    assert len(re.findall(r"^epoch \d+/12  loss .* tokens/s  .* s$", output, re.MULTILINE)) == 12
    history = [json.loads(line) for line in (trained / "model" / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == list(range(1, 13))
    assert list(history[0]) == ["epoch", "loss", "valid_loss", "valid_exact_match", "tokens_per_second", "seconds"]
    assert history[-1]["loss"] < 0.3 < 1 < history[0]["loss"]

    done = module("evaluate", trained / "model", pairs, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    figures = json.loads(done.stdout)
    assert figures["pairs"] == 80
    assert figures["exact_match"] > 0.5

    done = module("translate", trained / "model", "abc", "dd")
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.decode().splitlines()) == 2


def test_held_out_exact_match_is_what_evaluate_says(trained, pairs, tmp_path, fastattn_command):
    from fastattn.data import split_pairs, write_pairs

    _, valid = split_pairs(read_pairs(pairs), 0.05, 0)
    write_pairs(tmp_path / "valid.tsv", valid)
    _, out, _ = fastattn_command("evaluate", trained / "model", tmp_path / "valid.tsv", "--json")
    figures = json.loads(out)
    history = (trained / "model" / "history.jsonl").read_text().splitlines()
    assert json.loads(history[-1])["valid_exact_match"] == figures["exact_match"]
    percent = f"{figures['exact_match']:.2%}"
    assert f"held-out exact match {percent} ({figures['exact_matches']} of 4)" in (trained / "output").read_text()


def test_the_last_line_is_a_command_that_works(trained, module):
    import shlex

    last = (trained / "output").read_text().splitlines()[-1]
    assert last.startswith("try it: fastattn translate ")
    done = module(*shlex.split(last.removeprefix("try it: "))[1:])
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 1


def test_the_last_line_works_with_a_source_that_looks_like_an_option(tmp_path, fastattn_command):
    (tmp_path / "pairs.tsv").write_text("-v\tx\n")
    options = ["--valid-fraction", 0, "--epochs", 1, "--hidden", 3, "--embedding", 2]
    code, out, _ = fastattn_command("train", tmp_path / "pairs.tsv", "--out", tmp_path / "m", *options)
    assert code == 0
    code, out, err = fastattn_command(*out.splitlines()[-1].split()[3:])
    assert (code, out.count("\n"), err) == (0, 1, "")


def test_every_flag_arrives(pairs, tmp_path, fastattn_command):
    words = tmp_path / "words.tsv"
    words.write_text("one two\tx y\nthree\tz\n")
    code, out, err = fastattn_command(
        *("train", words, "--out", tmp_path / "m", "--epochs", 2, "--batch-size", 3, "--embedding", 5, "--hidden", 7),
        *(
            "--learning-rate",
            0.5,
            "--schedule",
            "constant",
            "--max-grad",
            0.25,
            "--threads",
            3,
            "--backend",
            "reference",
            "--seed",
            4,
        ),
        *("--source-tokens", "space", "--target-tokens", "char", "--reverse-source", "--valid", pairs),
    )
    assert (code, err) == (0, "")
    assert "2 pairs to train on, 80 held out" in out
    assert "3 different symbols in the sources, 4 different characters in the targets" in out
    assert "threads 3" in out
    translator = load(tmp_path / "m")
    assert translator.source_vocabulary == Vocabulary(["one", "three", "two"], "space")
    assert translator.target_vocabulary == Vocabulary([" ", "x", "y", "z"])
    assert translator.reverse_source
    assert translator.max_target_tokens == 2 * 4
    assert translator.model.params[0].shape == (7, 5)
    assert translator.model.params[2].shape == (7, 28)
    assert json.loads((tmp_path / "m" / "config.json").read_text())["training"] == {
        "corpus": str(words),
        "train_pairs": 2,
        "valid_pairs": 80,
        "epochs": 2,
        "batch_size": 3,
        "optimizer": "Adam",
        "learning_rate": 0.5,
        "schedule": "constant",
        "max_grad": 0.25,
        "seed": 4,
    }


def test_the_same_seed_writes_the_same_model(pairs, tmp_path, fastattn_command):
    def trained(name, seed):
        fastattn_command("train", pairs, "--out", tmp_path / name, "--epochs", 1, "--seed", seed, *TINY)
        return (tmp_path / name / "model.safetensors").read_bytes()

    assert trained("a", 1) == trained("b", 1)
    assert trained("a2", 1) != trained("c", 2)


def test_nothing_held_out(pairs, tmp_path, fastattn_command):
    code, out, err = fastattn_command("train", pairs, "--out", tmp_path / "m", "--valid-fraction", 0, "--epochs", 1, *TINY)
    assert (code, err) == (0, "")
    assert "80 pairs to train on, 0 held out" in out
    assert "exact match" not in out
    record = json.loads((tmp_path / "m" / "history.jsonl").read_text())
    assert record["valid_loss"] is record["valid_exact_match"] is None


def test_without_pairs_it_is_the_corpus_of_dates(tmp_path, monkeypatch, fastattn_command):
    from fastattn.data import date_pairs

    monkeypatch.setattr("fastattn.training.run.date_pairs", lambda: date_pairs(200))
    code, out, err = fastattn_command("train", "--out", tmp_path / "m", "--epochs", 1, *TINY)
    assert (code, err) == (0, "")
    assert "the built-in dates: 180 pairs to train on, 20 held out" in out


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"a\tb\nno tab\n", ":2: no tab"),
        (b"a\tb\n\tb\n", ":2: the source is empty"),
        (b"a\t\n", ":1: the target is empty"),
        (b"a\tb\tc\n", ":1: 2 tabs"),
        (b"a\tb\n\xff\tb\n", ":2: is not UTF-8"),
        (b"a\tb\na\tc\n", "at least 2 different sources are needed to hold some out, got 1"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_bad_pairs_write_nothing(tmp_path, fastattn_command, content, reason):
    path = tmp_path / "pairs.tsv"
    if content is not None:
        path.write_bytes(content)
    for options in ([path], [path, "--overwrite"]):
        code, out, err = fastattn_command("train", *options, "--out", tmp_path / "m")
        assert (code, out) == (1, "")
        assert one_line(err).startswith(str(path))
        assert reason in err
        assert not (tmp_path / "m").exists()


def test_bad_held_out_pairs_write_nothing(pairs, tmp_path, fastattn_command):
    code, _, err = fastattn_command("train", pairs, "--valid", tmp_path / "none.tsv", "--out", tmp_path / "m")
    assert code == 1
    assert one_line(err) == f"{tmp_path / 'none.tsv'}: cannot be read: No such file or directory"
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--epochs", "0"],
        ["--epochs", "2.5"],
        ["--batch-size", "-1"],
        ["--hidden", "many"],
        ["--embedding", "0"],
        ["--learning-rate", "0"],
        ["--learning-rate", "nan"],
        ["--learning-rate", "fast"],
        ["--max-grad", "inf"],
        ["--threads", "0"],
        ["--backend", "cuda"],
        ["--seed", "-1"],
        ["--source-tokens", "word"],
        ["--valid-fraction", "1"],
        ["--valid-fraction", "-0.1"],
        ["--valid", "a", "--valid-fraction", "0.1"],
        ["--unknown"],
        ["another.tsv"],
        ["--epoch", "3"],
        ["--dropout", "1"],
        ["--dropout", "middle=.1"],
        ["--dropout", "output=.1,output=.2"],
        ["--attention", "cosine"],
        ["--encoder-layers", "0"],
        ["--forget-bias", "nan"],
        ["--bidirectional", "--hidden"],
    ],
)
def test_wrong_usage(pairs, tmp_path, fastattn_command, options):
    code, out, err = fastattn_command("train", pairs, "--out", tmp_path / "m", *options)
    assert (code, out) == (2, "")
    assert err.startswith("usage: fastattn ")
    assert "Traceback" not in err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("options", [["--valid", "a.tsv"], ["--valid-fraction", "0.1"]])
def test_the_dates_have_their_own_held_out_part(tmp_path, fastattn_command, options):
    code, _, err = fastattn_command("train", "--out", tmp_path / "m", *options)
    assert code == 2
    assert "need PAIRS.tsv" in err


def test_a_model_is_replaced_only_if_told(pairs, tmp_path, fastattn_command):
    command = ["train", pairs, "--out", tmp_path / "m", "--epochs", 1, *TINY]
    assert fastattn_command(*command)[0] == 0
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    code, out, err = fastattn_command(*command, "--seed", 1)
    assert (code, out) == (1, "")
    assert one_line(err).startswith(f"{tmp_path / 'm'}: holds a model already")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before
    (tmp_path / "m" / "notes.txt").write_text("mine")
    code, _, err = fastattn_command(*command, "--seed", 1, "--epochs", 2, "--overwrite")
    assert (code, err) == (0, "")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() != before
    assert len((tmp_path / "m" / "history.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "m" / "notes.txt").read_text() == "mine"
    load(tmp_path / "m")


def test_a_folder_of_other_things_is_no_place_for_a_model(pairs, tmp_path, fastattn_command):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("")
    (tmp_path / "file").write_text("")
    for name, reason in (("other", "holds other things than a model"), ("file", "is not a folder")):
        for overwrite in ([], ["--overwrite"]):
            code, _, err = fastattn_command("train", pairs, "--out", tmp_path / name, *overwrite)
            assert code == 1
            assert reason in one_line(err)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_known_before_the_training(pairs, tmp_path, fastattn_command):
    (tmp_path / "file").write_text("")
    code, out, err = fastattn_command("train", pairs, "--out", tmp_path / "file" / "m")
    assert (code, out) == (1, "")
    assert one_line(err) == f"{tmp_path / 'file' / 'm'}: cannot be written: Not a directory"


def test_an_empty_folder_and_missing_parents_are_fine(pairs, tmp_path, fastattn_command):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        assert fastattn_command("train", pairs, "--out", place, "--epochs", 1, *TINY)[0] == 0
        load(place)


def test_a_run_that_diverges_says_where_and_what_is_saved(pairs, tmp_path, fastattn_command, monkeypatch):
    from fastattn.training import Adam

    class Poisoned(Adam):
        def _step(self, params, grads, *states):
            super()._step(params, grads, *states)
            if self.steps == 3:  # 76 pairs are two steps an epoch
                params[0][...] = np.nan

    monkeypatch.setattr("fastattn.training.run.Adam", Poisoned)
    code, out, err = fastattn_command("train", pairs, "--out", tmp_path / "m", "--epochs", 3, *TINY)
    assert code == 1
    assert out.splitlines()[-1].startswith("epoch 1/3")
    line = one_line(err)
    assert line.startswith("the loss is nan at epoch 2, step 2 of 2")
    assert line.endswith(f"epoch 1 is saved in {tmp_path / 'm'}")
    load(tmp_path / "m")


@pytest.mark.parametrize("name", ["FASTATTN_BACKEND", "FASTATTN_NUM_THREADS"])
def test_nonsense_in_the_environment(pairs, tmp_path, module, name):
    done = module("train", pairs, "--out", tmp_path / "m", environment={name: "many"})
    assert done.returncode == 1
    assert one_line(done.stderr.decode()).startswith(f"{name} is 'many'; expected ")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_an_interruption_leaves_the_last_epoch(pairs, tmp_path, process, number, code, word):
    training = process("train", pairs, "--out", tmp_path / "m", "--epochs", 100_000, *TINY)
    wait_for(training, "epoch 3/")
    training.send_signal(number)
    _, err = training.communicate(timeout=60)
    assert training.returncode == code
    found = re.fullmatch(rf"fastattn: {word}; epoch (\d+) is saved in {tmp_path / 'm'}\n", err.decode())
    assert found
    assert int(found[1]) >= 3
    load(tmp_path / "m")
    names = ["config.json", "config.toml", "history.jsonl", "model.safetensors", "vocabulary.json"]
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == names
    history = (tmp_path / "m" / "history.jsonl").read_text().splitlines()
    assert json.loads(history[-1])["epoch"] == len(history) == int(found[1])


def test_an_interruption_of_the_first_epoch_leaves_nothing(pairs, tmp_path, process):
    training = process("train", pairs, "--out", tmp_path / "m", "--hidden", 2000, "--batch-size", 4)
    wait_for(training, "writing")
    training.terminate()
    _, err = training.communicate(timeout=60)
    assert training.returncode == 143
    assert err.decode() == "fastattn: terminated; no epoch was finished, nothing is saved\n"
    assert list((tmp_path / "m").iterdir()) == []


def test_output_that_nobody_reads_ends_the_run_quietly(pairs, tmp_path, process):
    training = process("train", pairs, "--out", tmp_path / "m", "--epochs", 100_000, *TINY)
    wait_for(training, "epoch 1/")
    training.stdout.close()
    assert training.wait(timeout=60) == 141
    assert training.stderr.read() == b""
    load(tmp_path / "m")


@pytest.mark.slow
def test_the_compiled_kernels_learn_the_same(pairs, tmp_path, module):
    def losses(name):
        done = module("train", pairs, "--out", tmp_path / name, "--epochs", 2, "--backend", name, *TINY)
        assert (done.returncode, done.stderr) == (0, b"")
        lines = (tmp_path / name / "history.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    np.testing.assert_allclose(losses("compiled"), losses("reference"), rtol=1e-5)
