"""What docs/decoding.md shows is run as it stands there, and its tables say what the code takes."""

import inspect
import re
from pathlib import Path

import pytest

import fastattn
from fastattn.cli.main import parser

PAGE = (Path(fastattn.__file__).parents[1] / "docs" / "decoding.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_print_what_they_say(capsys):
    """In one namespace, from the top of the page to its end."""
    assert len(BLOCKS) > 5
    names: dict = {}
    with fastattn.use_backend("reference"):
        for block in BLOCKS:
            exec(compile(block, "docs/decoding.md", "exec"), names)
            said = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
            assert capsys.readouterr().out.splitlines() == said, block


@pytest.mark.parametrize("name", ["search", "sample"])
def test_each_option_of_a_method_stands_there_with_its_default(name):
    section = PAGE.split(f"\n`model.{name}(x, start_id")[1].split("\n## ")[0]
    parameters = inspect.signature(getattr(fastattn.AttentionSeq2seq, name)).parameters.values()
    options = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    rows = dict(re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)?", section, re.MULTILINE))
    expected = {p.name: "" if p.default is p.empty else repr(p.default) for p in options}
    as_above = {"end_id", "lengths", "return_attention"} if name == "sample" else set()
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
