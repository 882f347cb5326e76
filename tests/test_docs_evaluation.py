"""What docs/evaluation.md shows is run as it stands there, and its table has every option."""

import argparse
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

import fastattn
from fastattn.cli import evaluate
from fastattn.cli.main import run
from fastattn.data import Reading

PAGE = (Path(fastattn.__file__).parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def test_the_commands_print_what_they_say(tmp_path, monkeypatch, capsys):
    """In one folder, from the top of the page to its end; a file that is shown first is one that somebody has written."""
    monkeypatch.chdir(tmp_path)
    commands = [re.split(r"\n", part, maxsplit=1) for block in blocks("console") for part in block.split("$ ")[1:]]
    assert len(commands) > 4
    for command, shown in commands:
        program, *arguments = shlex.split(command)
        if program == "cat":
            path = Path(*arguments)
            if not path.exists():
                path.write_text(shown, encoding="utf-8")
            assert path.read_text(encoding="utf-8") == shown
        else:
            assert program == "fastattn"
            assert run(arguments) == 0
            assert capsys.readouterr().out == shown


def test_the_examples_print_what_they_say(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sacrebleu")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    assert len(blocks("python")) == 3
    for block in blocks("python"):
        exec(compile(block, "docs/evaluation.md", "exec"), names)
        assert capsys.readouterr().out.splitlines() == re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE), block
    assert (tmp_path / "errors.html").exists()


def test_each_option_stands_there_with_its_default():
    commands = argparse.ArgumentParser().add_subparsers()
    evaluate.add_parser(commands)
    options = {}
    # Those of a reading stand in data.md. None stands for what depends on the first argument, and then is this.
    unsaid = {"source_tokens": "char", "target_tokens": "char", "normalization": "none", "beam": 1, "length_penalty": 0}
    elsewhere = {"help"} | {field.name for field in fields(Reading)} - set(unsaid)
    for action in commands.choices["evaluate"]._actions:
        if action.option_strings and action.dest not in elsewhere:
            default = unsaid.get(action.dest, action.default)
            options[action.option_strings[0]] = "" if default in (None, []) or default is False else f"`{default}`"
    assert dict(re.findall(r"^\| `(--[\w-]+)` \| (\S*) ?\|", PAGE, re.MULTILINE)) == options
