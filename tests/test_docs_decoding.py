"""What docs/decoding.md shows is run as it stands there, and its tables say what the code takes."""

import inspect
import re
import shlex
import sys
from pathlib import Path

import pytest

import fastattn
from fastattn.cli.main import parser, run
from fastattn.data import Vocabulary
from fastattn.training import Translator, save

PAGE = (Path(fastattn.__file__).parents[1] / "docs" / "decoding.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^    (fastattn .*)$", PAGE, re.MULTILINE)


def test_the_examples_print_what_they_say(capsys):
    """In one namespace, from the top of the page to its end."""
    assert len(BLOCKS) > 5
    names: dict = {}
    with fastattn.use_backend("reference"):
        for block in BLOCKS:
            exec(compile(block, "docs/decoding.md", "exec"), names)
            said = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
            assert capsys.readouterr().out.splitlines() == said, block


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The folder of the commands' models and files."""
    monkeypatch.chdir(tmp_path)
    letters = Vocabulary.from_texts(["abcdefghijklmnopqrstuvwxyz"])
    for seed, name in enumerate(("model", "model-2", "model-3")):
        model = fastattn.AttentionSeq2seq(len(letters), 5, 6, seed=seed)
        save(name, Translator(model, letters, letters, reverse_source=False, max_target_tokens=6), [], {})
    Path("words.txt").write_text("word\nother\n")
    Path("pairs.tsv").write_text("word\tdrow\nother\trehto\n")
    Path("words.jsonl").write_text('{"source": "word", "number": 1}\nother\n')
    return tmp_path


def test_the_commands_run(models, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    for command in COMMANDS:
        text, _, file = command.partition(" < ")
        words = shlex.split(text)
        with open(file or "words.txt") as stdin, fastattn.use_backend("reference"), monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            assert run(words[1:]) == 0, command
        out, err = capsys.readouterr()
        assert (err, bool(out)) == ("", True), command
        if "--n-best" in words and "--jsonl" not in words:
            assert len(out.splitlines()) == int(words[words.index("--n-best") + 1]), command
        elif file:
            assert len(out.splitlines()) == 2, command
        if "--out" in words:
            assert Path(words[words.index("--out") + 1]).stat().st_size > 0


def test_each_option_is_shown_in_an_example():
    """Of the two methods, and of the two commands."""
    for name in ("search", "sample"):
        parameters = inspect.signature(getattr(fastattn.AttentionSeq2seq, name)).parameters.values()
        options = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - (
            {"lengths", "return_attention", "forbidden"} if name == "sample" else set()
        )
        calls = "".join(re.findall(rf"model\.{name}\((.*)", "".join(BLOCKS)))
        assert {option for option in options if f"{option}=" not in calls} == set()
    rows = set(re.findall(r"`(--[a-z-]+)[ `]", "".join(re.findall(r"^\| `--.*? \|", PAGE, re.MULTILINE))))
    assert len(rows) > 10
    assert {flag for flag in rows if not any(f"{flag} " in f"{command} " for command in COMMANDS)} == set()


@pytest.mark.parametrize("name", ["search", "sample"])
def test_each_option_of_a_method_stands_there_with_its_default(name):
    section = PAGE.split(f"\n`model.{name}(x, start_id")[1].split("\n## ")[0]
    parameters = inspect.signature(getattr(fastattn.AttentionSeq2seq, name)).parameters.values()
    options = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    rows = dict(re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)?", section, re.MULTILINE))
    expected = {p.name: "" if p.default is p.empty else repr(p.default) for p in options}
    as_above = {"end_id", "lengths", "return_attention", "forbidden"} if name == "sample" else set()
    assert rows == {name: default for name, default in expected.items() if name not in as_above}


def test_each_flag_of_attention_stands_there():
    actions = next(iter(parser()._subparsers._group_actions)).choices["attention"]._actions
    flags = {flag for action in actions for flag in action.option_strings if flag.startswith("--")} - {"--help"}
    table = PAGE.split("## Where a model looked")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(--[a-z-]+)[ `]", table, re.MULTILINE)) == flags


def test_each_flag_of_translate_stands_there():
    actions = next(iter(parser()._subparsers._group_actions)).choices["translate"]._actions
    flags = {flag for action in actions for flag in action.option_strings if flag.startswith("--")} - {"--help"}
    table = PAGE.split("## On the command line")[1]
    mentioned = set(re.findall(r"`(--[a-z-]+)[ `]", table))
    from_decoding = {"--beam", "--length-penalty", "--ensemble", "--sample", "--temperature", "--top-k", "--top-p", "--seed"}
    assert from_decoding | {"--n-best", "--scores", "--jsonl", "--attention"} <= mentioned <= flags
