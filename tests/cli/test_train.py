"""`fastattn train`: what it leaves, what it refuses, and what an interruption leaves."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from fastattn.data import Vocabulary, read_pairs
from fastattn.training import Settings, load

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
    assert len(re.findall(r"^epoch \d+/12  loss \S+  learning rate \S+  .* tokens/s  .* s$", output, re.MULTILINE)) == 12
    history = [json.loads(line) for line in (trained / "model" / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == list(range(1, 13))
    assert list(history[0])[:6] == ["epoch", "loss", "valid_loss", "valid_exact_match", "tokens_per_second", "seconds"]
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
    told = json.loads((tmp_path / "m" / "config.json").read_text())["training"]
    held_out = told.pop("held_out")
    assert held_out.keys() == {"epochs", "exact_match", "token_error_rate", "loss"}
    assert held_out["epochs"] == [2]
    assert told == {
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


def test_an_unknown_option_names_the_nearest(pairs, fastattn_command):
    """The sub-command's own usage, whatever else is wrong with the line."""
    for command, given, near in (
        (["train"], ["--dropou", "0.3"], "--dropout"),
        (["train", pairs], ["--epoch=3"], "--epochs"),
        (["train"], ["--no-bidirectinal"], "--no-bidirectional"),
        (["train"], ["--label"], "--label-smoothing"),
        (["evaluate"], ["--jsn"], "--json"),
        (["attention", "m"], ["--outt", "a.png"], "--out"),
        ([], ["--versio"], "--version"),
    ):
        code, out, err = fastattn_command(*command, *given)
        assert (code, out) == (2, "")
        assert err.startswith(" ".join(["usage: fastattn", *command[:1]]))
        assert err.endswith(f"error: there is no option {given[0].partition('=')[0]}; did you mean {near}?\n")
    _, _, err = fastattn_command("train", "--zzz")
    assert err.endswith("error: there is no option --zzz\n")
    assert fastattn_command("train", pairs, "-x")[2].endswith("fastattn train: error: unrecognized arguments: -x\n")


def test_what_stands_after_dashes_is_text(trained, fastattn_command):
    code, out, err = fastattn_command("translate", trained / "model", "--", "--ab", "ab")
    assert (code, out.count("\n")) == (0, 2)
    assert one_line(err) == "1 of 2 sources has symbols that the model never saw: '-'"


def test_help_tells_each_flag_with_its_default(fastattn_command):
    from fastattn.cli.train import flag_of
    from fastattn.training.settings import SECTIONS

    def words(text):
        return "".join(text.split())  # a line may end at any space or hyphen

    _, out, _ = fastattn_command("train", "--help")
    for section in SECTIONS:
        for name, one in section.settings():
            assert f"  {one.letter if name == 'pairs' else flag_of(name)}" in out
            assert words(f"{one.help} (default: {section.default_text(name)})") in words(out)


def test_the_options_of_the_model_arrive(pairs, tmp_path, fastattn_command):
    code, out, err = fastattn_command(
        *("train", pairs, "--out", tmp_path / "m", "--epochs", 1, *TINY),
        *("--encoder-layers", 2, "--decoder-layers", 2, "--bidirectional", "--encoder-hidden", 3, "--project-encoder"),
        *("--residual", "--attention", "additive", "--attention-size", 5, "--attentional-size", 6, "--input-feeding"),
        *("--bridge", "affine", "--dropout", "embedding=.1,output=.3", "--recurrent-dropout", 0.1, "--word-dropout", 0.2),
        *("--tie-embeddings", "--share-embeddings", "--label-smoothing", 0.1, "--forget-bias", "-0.5", "--orthogonal"),
        *("--dtype", "float64", "--optimizer", "adamw", "--weight-decay", 0.1),
    )
    assert (code, err) == (0, "")
    assert "model      embedding 3, hidden 4, encoder layers 2, decoder layers 2, bidirectional, encoder hidden 3" in out
    assert "learning rate 0.002 (AdamW, linear), gradient norm up to 5, weight decay 0.1, seed 0" in out
    config = load(tmp_path / "m").model.config
    expected = {
        "encoder_layers": 2,
        "decoder_layers": 2,
        "bidirectional": True,
        "encoder_hidden": 3,
        "project_encoder": True,
        "residual": True,
        "attention": "additive",
        "attention_size": 5,
        "attentional_size": 6,
        "input_feeding": True,
        "bridge": "affine",
        "dropout": (0.1, 0.0, 0.0, 0.3),
        "recurrent_dropout": 0.1,
        "word_dropout": 0.2,
        "tie_embeddings": True,
        "share_embeddings": True,
        "label_smoothing": 0.1,
        "forget_bias": -0.5,
        "orthogonal": True,
        "dtype": "float64",
        "embedding": 3,
        "hidden": 4,
    }
    assert {name: getattr(config, name) for name in expected} == expected


def test_an_impossible_combination_writes_nothing(pairs, tmp_path, fastattn_command):
    code, out, err = fastattn_command("train", pairs, "--out", tmp_path / "m", "--bidirectional")
    assert (code, out) == (1, "")
    assert one_line(err).startswith('model: attention="dot" multiplies states of equal widths')
    assert not (tmp_path / "m").exists()


def test_flags_win_over_the_config_file(pairs, tmp_path, fastattn_command):
    path = tmp_path / "g2p.toml"
    path.write_text(
        f"[data]\npairs = {json.dumps(str(pairs))}\nvalid_fraction = 0\nreverse_source = true\n"
        "[model]\nhidden = 4\nembedding = 3\nencoder_layers = 2\n[training]\nepochs = 2\n"
    )
    code, out, err = fastattn_command("train", "--config", path, "--out", tmp_path / "m", "--hidden", 5, "--no-reverse-source")
    assert (code, err) == (0, "")
    assert "80 pairs to train on, 0 held out" in out
    translator = load(tmp_path / "m")
    assert translator.model.config.sizes[2:] == (3, 5)
    assert translator.model.config.encoder_layers == 2
    assert not translator.reverse_source
    code, out, err = fastattn_command("train", "--config", path, "--out", tmp_path / "n", "--valid", pairs, "--epochs", 1)
    assert (code, err) == (0, "")
    assert "80 pairs to train on, 80 held out" in out


def test_training_from_the_saved_config_gives_the_same_bits(pairs, tmp_path, fastattn_command):
    options = ["--dropout", 0.2, "--attention", "general", "--seed", 3, "--epochs", 2, "--valid-fraction", 0.1, *TINY]
    assert fastattn_command("train", pairs, "--out", tmp_path / "a", *options)[0] == 0
    assert fastattn_command("train", "--config", tmp_path / "a" / "config.toml", "--out", tmp_path / "b")[0] == 0
    for name in ("model.safetensors", "config.json", "vocabulary.json", "config.toml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_print_config_is_a_config_file(pairs, tmp_path, fastattn_command):
    command = ["train", pairs, "--dropout", "layers=.25", "--attention", "none", "--print-config"]
    code, out, err = fastattn_command(*command, "--out", tmp_path / "m")
    assert (code, err) == (0, "")
    assert not (tmp_path / "m").exists()
    assert "\ndropout = { layers = 0.25 }\n" in out
    (tmp_path / "c.toml").write_text(out)
    assert fastattn_command("train", "--config", tmp_path / "c.toml", "--print-config") == (0, out, "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[model]\nhiden = 3", "[model] has no hiden; did you mean hidden?"),
        ("[training]\nepochs = 0", 'training.epochs is 0; expected a whole number of at least 1, or "auto"'),
        ("[training", "is not TOML: "),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_bad_config_file_writes_nothing(pairs, tmp_path, fastattn_command, content, reason):
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_text(content)
    code, out, err = fastattn_command("train", pairs, "--config", path, "--out", tmp_path / "m")
    assert (code, out) == (1, "")
    assert one_line(err).startswith(f"{path}: {reason}")
    assert not (tmp_path / "m").exists()


def test_a_line_says_which_epoch_was_kept_and_why(pairs, tmp_path, fastattn_command):
    command = ["train", pairs, "--out", tmp_path / "m", "--epochs", 3, "--overwrite", *TINY]
    _, out, _ = fastattn_command(*command)
    assert out.splitlines()[-3] == "epoch 3 was kept, the last; all 3 epochs were made"
    assert out.splitlines()[-2].startswith("held-out exact match ")
    _, out, err = fastattn_command(
        *command, "--keep", "best", "--patience", 1, "--metric", "exact_match", "--learning-rate", 1e-9
    )
    assert err == ""
    kept = "epoch 1 was kept, the best: exact match 0.00%; no better exact match for 1 epoch, up to epoch 2"
    assert out.splitlines()[-3] == kept
    history = (tmp_path / "m" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["best"] for line in history] == [True, False]
    assert [json.loads(line)["valid_token_error_rate"] > 0 for line in history] == [True, True]


def test_held_out_symbols_that_no_training_pair_has_are_told(tmp_path, fastattn_command):
    """As where one file is composed and the other is not."""
    (tmp_path / "p.tsv").write_text("\u00e9a\tx\nab\ty\n", encoding="utf-8")
    (tmp_path / "v.tsv").write_text("e\u0301a\tx\nab\tz\nb\ty\n", encoding="utf-8")
    command = ["train", tmp_path / "p.tsv", "--valid", tmp_path / "v.tsv", "--out", tmp_path / "m", "--overwrite", *TINY]
    code, out, err = fastattn_command(*command, "--epochs", 1)
    assert (code, err) == (0, "")
    said = "unseen     2 of 3 held-out pairs have symbols that no pair to train on has: 'e', U+0301, 'z'"
    assert said in out.splitlines()
    code, out, err = fastattn_command(*command, "--epochs", 1, "--normalization", "NFC")
    said = "unseen     1 of 3 held-out pairs has symbols that no pair to train on has: 'z'"
    assert said in out.splitlines()
    (tmp_path / "v.tsv").write_text("ab\tx\n")
    assert "unseen" not in fastattn_command(*command, "--epochs", 1)[1]


def test_log_every_prints_lines_of_steps(pairs, tmp_path, fastattn_command):
    command = ["train", pairs, "--out", tmp_path / "m", "--epochs", 2, "--embedding", 3, "--hidden", 4, "--batch-size", 10]
    code, out, err = fastattn_command(*command, "--log-every", 5)
    assert (code, err) == (0, "")
    number = r"[\d,.e+-]+"
    lines = re.findall(
        rf"^epoch (\d)/2  step (\d+)  loss {number}  learning rate ({number})  gradient norm {number}  {number} tokens/s  "
        r"\d+:\d\d left$",
        out,
        re.MULTILINE,
    )
    assert [line[:2] for line in lines] == [("1", "5"), ("2", "10"), ("2", "15")]
    assert float(lines[0][2]) > float(lines[2][2])
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    code, out, _ = fastattn_command(*command, "--overwrite")
    assert "  step " not in out
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before


def test_every_option_of_the_training_arrives(pairs, tmp_path, fastattn_command):
    code, out, err = fastattn_command(
        *("train", pairs, "--out", tmp_path / "m", "--epochs", 2, "--embedding", 3, "--hidden", 4, "--batch-tokens", 90),
        *("--accumulate", 2, "--schedule", "cosine", "--warmup-steps", 2, "--hold", 0.1, "--metric", "loss", "--patience", 4),
        *("--average", "best", "--average-count", 2, "--max-minutes", 5, "--learning-rate", 0.01),
    )
    assert (code, err) == (0, "")
    assert (
        "training   epochs 2, batch tokens 90, learning rate 0.01 (Adam, cosine), gradient norm up to 5, accumulate 2, " in out
    )
    assert "warmup steps 2, hold 0.1, metric loss, patience 4, average best, average count 2, max minutes 5.0, seed 0" in out
    assert "the mean of the weights of epochs 1, 2 was kept, the best by validation loss; all 2 epochs were made" in out
    saved = Settings.read(tmp_path / "m" / "config.toml").training
    expected = {
        "batch_tokens": 90,
        "accumulate": 2,
        "schedule": "cosine",
        "warmup_steps": 2,
        "hold": 0.1,
        "metric": "loss",
        "patience": 4,
        "average": "best",
        "average_count": 2,
        "max_minutes": 5.0,
        "learning_rate": 0.01,
        "epochs": 2,
    }
    assert saved.changed() == expected


def test_a_loss_far_above_the_first_is_warned_of(pairs, tmp_path, fastattn_command):
    options = ["--epochs", 3, "--learning-rate", 50, "--schedule", "constant", *TINY]
    code, _, err = fastattn_command("train", pairs, "--out", tmp_path / "m", *options)
    assert code == 0
    assert re.match(
        r"the loss of epoch \d is [\d.]+, far above the [\d.]+ of the first step; a lower learning rate", one_line(err)
    )


def test_no_batch_size_beside_batch_tokens(pairs, tmp_path, fastattn_command):
    code, _, err = fastattn_command("train", pairs, "--out", tmp_path / "m", "--batch-size", 3, "--batch-tokens", 30)
    assert code == 2
    assert "--batch-tokens: not allowed with argument --batch-size" in err


def test_a_dictionary_as_it_is_found(tmp_path, fastattn_command):
    """Comments, two spaces, numbered variants, blank lines; refused by default, in words that name the options."""
    path = tmp_path / "dictionary.txt"
    path.write_text(";;; comments, two spaces\n\nABEND  AH B EH N D\nABEND(1)  EY B EH N D\nABER  EY B ER\n")
    options = ["--target-tokens", "space", "--valid-fraction", 0, "--epochs", 1, *TINY]
    code, _, err = fastattn_command("train", path, "--out", tmp_path / "m", *options)
    assert code == 1
    assert "--separator '  ' --comment ';;;' --variants would read the file" in one_line(err)
    reading = ["--separator", "  ", "--comment", ";;;", "--variants"]
    code, out, err = fastattn_command("train", path, "--out", tmp_path / "m", *options, *reading)
    assert (code, err) == (0, "")
    assert "3 pairs to train on, 0 held out; passed over: 1 blank line, 1 comment" in out
    assert "6 different characters in the sources, 7 different symbols in the targets" in out


def test_columns_features_and_graphemes(tmp_path, fastattn_command):
    path = tmp_path / "inflection.tsv"
    path.write_text("lemma\tform\ttags\nwalk\twalked\tV;PST\nrun\tran\tV;PST\nrun\truns\tV;3;SG;PRS\n")
    columns = ["--header", "--source-column", "lemma", "--target-column", 2, "--features-column", "tags"]
    options = ["--normalization", "NFC", "--target-tokens", "grapheme", "--valid-fraction", 0, "--epochs", 1, *TINY]
    code, out, err = fastattn_command("train", path, "--out", tmp_path / "m", *columns, *options)
    assert (code, err) == (0, "")
    assert "7 different characters and 5 features in the sources, 10 different graphemes in the targets" in out
    assert out.splitlines()[-1] == rf"try it: fastattn translate {shlex.quote(str(tmp_path / 'm'))} $'walk\tV;PST'"
    assert fastattn_command("translate", tmp_path / "m", "walk\tV;PST")[::2] == (0, "")


def test_the_last_line_shows_what_no_terminal_shows(tmp_path, fastattn_command):
    (tmp_path / "pairs.tsv").write_text("a\x1b'\\7\tx\n")
    options = ["--valid-fraction", 0, "--epochs", 1, *TINY]
    _, out, _ = fastattn_command("train", tmp_path / "pairs.tsv", "--out", tmp_path / "m", *options)
    assert "pairs.tsv: 1 pair to train on, 0 held out\n" in out
    word = out.splitlines()[-1].rpartition(" ")[2]
    assert word == r"$'a\033\'\\7'"
    bash = shutil.which("bash")
    if bash is not None:
        assert subprocess.run([bash, "-c", f"printf %s {word}"], capture_output=True, check=True).stdout == b"a\x1b'\\7"


def test_an_empty_name_of_a_file_is_not_the_dates(tmp_path, fastattn_command):
    code, out, err = fastattn_command("train", "", "--out", tmp_path / "m", "--epochs", 1, *TINY)
    assert (code, out) == (2, "")
    assert err.endswith("argument PAIRS.tsv: '' is no file; leave it out to learn from the built-in dates\n")


def test_pairs_on_standard_input(tmp_path, module):
    done = module("train", "-", "--out", tmp_path / "m", "--epochs", 1, *TINY, text=b"ab\tx\n\ncd\ty\nef\tz\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"corpus     standard input: 2 pairs to train on, 1 held out; passed over: 1 blank line\n" in done.stdout


def test_the_learning_curve_is_drawn_beside_the_model(pairs, tmp_path, fastattn_command):
    pytest.importorskip("matplotlib")
    for name, held_out in (("a", 0.05), ("b", 0)):
        command = ["train", pairs, "--out", tmp_path / name, "--epochs", 2, "--plot", "--valid-fraction", held_out, *TINY]
        code, _, err = fastattn_command(*command)
        assert (code, err) == (0, "")
        picture = (tmp_path / name / "learning-curve.png").read_bytes()
        assert picture.startswith(b"\x89PNG\r\n")
        assert len(picture) > 10_000
    assert fastattn_command("train", pairs, "--out", tmp_path / "c", "--epochs", 1, *TINY)[0] == 0
    assert not (tmp_path / "c" / "learning-curve.png").exists()


def test_a_run_that_ends_early_is_drawn_up_to_there(pairs, tmp_path, process):
    pytest.importorskip("matplotlib")
    training = process("train", pairs, "--out", tmp_path / "m", "--epochs", 100_000, "--plot", *TINY)
    wait_for(training, "epoch 2/")
    training.terminate()
    _, err = training.communicate(timeout=60)
    assert training.returncode == 143
    assert err.startswith(b"fastattn: terminated; epoch ")
    assert (tmp_path / "m" / "learning-curve.png").exists()


def test_tensorboard_has_a_number_a_chart_and_epoch(pairs, tmp_path, fastattn_command):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    command = ["train", pairs, "--out", tmp_path / "m", "--epochs", 2, "--tensorboard", tmp_path / "logs", "--log-every", 3]
    code, _, err = fastattn_command(*command, *TINY)
    assert (code, err) == (0, "")
    content = next((tmp_path / "logs").iterdir()).read_bytes()
    charts: dict = {}
    while content:  # a record: its length, a checksum of that, the event, a checksum
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        for value in event.summary.value:
            charts.setdefault(value.tag, []).append((event.step, value.simple_value))
    history = [json.loads(line) for line in (tmp_path / "m" / "history.jsonl").read_text().splitlines()]
    for name in ("loss", "valid_loss", "valid_exact_match", "valid_token_error_rate", "learning_rate", "tokens_per_second"):
        expected = [(record["epoch"], pytest.approx(record[name], rel=1e-6)) for record in history]
        assert charts[f"epoch/{name}"] == expected
    for name in ("loss", "learning_rate", "gradient_norm", "tokens_per_second"):
        assert [step for step, value in charts[f"step/{name}"] if value > 0] == [3]


@pytest.mark.parametrize(
    ("flag", "module", "extra"), [("--plot", "matplotlib", "plot"), ("--tensorboard=x", "tensorboardX", "tensorboard")]
)
def test_a_missing_extra_is_named_before_the_training(pairs, tmp_path, fastattn_command, monkeypatch, flag, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = fastattn_command("train", pairs, "--out", tmp_path / "m", flag)
    assert (code, out) == (1, "")
    flag = flag.partition("=")[0]
    assert one_line(err) == f"{flag} needs {module}; install it with: pip install 'fastattn[{extra}]'"
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
    words = rf"epoch (\d+) is saved in {tmp_path / 'm'}, step \d+ is kept; go on with: fastattn train --resume {tmp_path / 'm'}"
    found = re.fullmatch(rf"fastattn: {word}; {words}\n", err.decode())
    assert found
    assert int(found[1]) >= 3
    load(tmp_path / "m")
    names = [
        "README.md",
        "checkpoints",
        "config.json",
        "config.toml",
        "history.jsonl",
        "manifest.json",
        "model.safetensors",
        "vocabulary.json",
    ]
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == names
    history = (tmp_path / "m" / "history.jsonl").read_text().splitlines()
    assert json.loads(history[-1])["epoch"] == len(history) == int(found[1])


def test_an_interruption_of_the_first_epoch_leaves_a_checkpoint(pairs, tmp_path, process):
    training = process("train", pairs, "--out", tmp_path / "m", "--hidden", 1000, "--batch-size", 4)
    wait_for(training, "writing")
    while not (tmp_path / "m" / ".fastattn-lock").exists():  # from then on the run holds the folder, and notes signals
        assert training.poll() is None
    training.terminate()
    _, err = training.communicate(timeout=60)
    assert training.returncode == 143
    go_on = f"go on with: fastattn train --resume {tmp_path / 'm'}"
    assert re.fullmatch(rf"fastattn: terminated; step \d+ is kept; {go_on}\n", err.decode())
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["checkpoints"]


def test_a_run_is_resumed(pairs, tmp_path, fastattn_command):
    """Beside --resume stands what changes no weight; all else is refused, with what differs."""
    folder = tmp_path / "m"
    command = ["train", pairs, "--out", folder, "--epochs", 2, "--checkpoint-every", 1, "--keep-checkpoints", 9, *TINY]
    assert fastattn_command(*command)[0] == 0
    model = (folder / "model.safetensors").read_bytes()
    for path in sorted((folder / "checkpoints").iterdir())[1:]:
        shutil.rmtree(path)
    code, out, err = fastattn_command("train", "--resume", folder, "--threads", 2, "--log-every", 1, "--plot")
    assert (code, err) == (0, "")
    lines = re.findall(r"^epoch (\d)/2  (?:step (\d)|loss)", out, re.MULTILINE)
    assert lines == [("1", "2"), ("1", ""), ("2", "3"), ("2", "4"), ("2", "")]
    assert "resuming   after step 1\n" in out
    assert (folder / "model.safetensors").read_bytes() == model
    assert len((folder / "history.jsonl").read_text().splitlines()) == 2
    assert (folder / "learning-curve.png").exists()

    code, out, err = fastattn_command("train", "--resume", folder, "--learning-rate", 0.5, "--hidden", 5)
    assert (code, out) == (1, "")
    differing = "model.hidden is 5, and was 4; training.learning_rate is 0.5, and was 0.002"
    assert one_line(err) == f"{folder} cannot be resumed with other settings: {differing}"
    for option in (["--out", "x"], ["--overwrite"], ["--config", "x"], ["--print-config"]):
        code, out, err = fastattn_command("train", "--resume", folder, *option)
        assert (code, out) == (2, "")
        assert f"{option[0]} does not go with --resume: the folder and the settings are the run's" in err
    other = tmp_path / "other.tsv"
    other.write_text(pairs.read_text().replace("d", "e"))
    code, out, err = fastattn_command("train", other, "--resume", folder)
    assert (code, out) == (1, "")
    assert one_line(err).startswith(f"{folder} cannot be resumed with other data: the source vocabulary is 'SHA-256 ")


def test_without_checkpoints_an_interruption_of_the_first_epoch_leaves_nothing(pairs, tmp_path, process):
    options = ["--hidden", 2000, "--batch-size", 4, "--checkpoint-every", "none"]
    training = process("train", pairs, "--out", tmp_path / "m", *options)
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


def test_a_pipe_is_told_in_one_line_that_kernels_compile(pairs, tmp_path, fastattn_command, monkeypatch):
    from fastattn import backend
    from fastattn.training import Trainer

    train_step = Trainer._train_step

    def compiling(self, *arguments):
        if self.step < 2:
            backend.compilation.begin()
            backend.compilation.end()
        return train_step(self, *arguments)

    monkeypatch.setattr(Trainer, "_train_step", compiling)
    monkeypatch.setattr(backend, "cache_folder", lambda: "/somewhere")
    code, _, err = fastattn_command("train", pairs, "--out", tmp_path / "m", "--epochs", 1, *TINY)
    assert (code, one_line(err)) == (0, "compiling kernels (once on this machine)")
