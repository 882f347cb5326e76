"""What docs/training.md shows is run as it stands there, and its table has every option of the trainer."""

import inspect
import re
from pathlib import Path

import fastattn
from fastattn.training import Trainer

PAGE = (Path(fastattn.__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_print_what_they_say(capsys):
    """In one namespace, from the top of the page to its end."""
    assert len(BLOCKS) >= 5
    names: dict = {}
    with fastattn.use_backend("reference"):
        for block in BLOCKS:
            exec(compile(block, "docs/training.md", "exec"), names)
            said = re.findall(r"^ *print\(.*\)  # (.*)$", block, re.MULTILINE)
            assert capsys.readouterr().out.splitlines() == said, block


def test_each_option_is_shown_in_an_example():
    parameters = inspect.signature(Trainer.fit).parameters.values()
    options = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert {name for name in options if not re.search(rf"\b{name}=|\"{name}\": ", "".join(BLOCKS))} == set()


def test_each_option_stands_there_with_its_default():
    table = PAGE.split("## Options")[1].split("## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", table, re.MULTILINE))
    parameters = inspect.signature(Trainer.fit).parameters.values()
    assert rows == {p.name: repr(p.default).replace("'", '"') for p in parameters if p.kind is p.KEYWORD_ONLY}
    for p in parameters:
        if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty:
            assert f"`{p.name}` ({p.default}" in PAGE
