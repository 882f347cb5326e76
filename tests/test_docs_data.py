"""What docs/data.md shows is run as it stands there, and its tables say what the code does."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

import fastattn
from fastattn.data import NORMALIZATIONS, TOKEN_KINDS, UNKNOWN_CHOICES, Reading, read_pairs
from fastattn.training.text_model import MAX_SOURCE_TOKENS

PAGE = (Path(fastattn.__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def said(block):
    """What a block says that it prints: what stands in a comment after a print, or in lines of their own below."""
    return [after or below for after, below in re.findall(r"^ *print\(.*\)  # (.*)$|^# (.*)$", block, re.MULTILINE)]


def test_the_examples_print_what_they_say(capsys, tmp_path, monkeypatch):
    """In one namespace, from the top of the page to its end."""
    pytest.importorskip("regex")
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) == 5
    names: dict = {}
    for block in BLOCKS:
        exec(compile(block, "docs/data.md", "exec"), names)
        assert capsys.readouterr().out.splitlines() == said(block), block
    with pytest.raises(ValueError) as caught:
        read_pairs("dictionary.txt")
    assert f"\n    {caught.value}\n" in PAGE


def table(heading):
    """The rows of the first table below a heading: what stands in the columns of code."""
    rows = PAGE.split(f"## {heading}\n")[1].split("\n\n## ")[0]
    return re.findall(r"^\| `(.*?)` \| (?:`(.*?)` \|)?", rows, re.MULTILINE)


def test_each_option_stands_there_with_its_default():
    expected = {field.name: repr(field.default).replace("'", '"') for field in fields(Reading)}
    assert dict(table("Other layouts")) == expected


def test_each_choice_stands_there():
    assert [name for name, _ in table("Tokens")] == list(TOKEN_KINDS)
    assert [name for name, _ in table("What a model never saw")] == list(UNKNOWN_CHOICES)
    assert f"{MAX_SOURCE_TOKENS:,} tokens" in PAGE
    for name in NORMALIZATIONS:
        assert f"`{name}`" in PAGE.split("## Unicode")[1]
