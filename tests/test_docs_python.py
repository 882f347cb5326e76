"""What docs/python.md shows is run as it stands there, and its tables name what there is."""

import inspect
import re
from pathlib import Path

import pytest

import fastattn
from fastattn.cli.main import parser
from fastattn.training import Answer, Translator

PAGE = (Path(fastattn.__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_print_what_they_say(capsys, tmp_path, monkeypatch):
    """In one namespace, from the top of the page to its end."""
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) >= 6
    names: dict = {}
    with fastattn.use_backend("reference"):
        for block in BLOCKS:
            if "sklearn" in block:
                pytest.importorskip("sklearn")
            exec(compile(block, "docs/python.md", "exec"), names)
            said = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
            assert capsys.readouterr().out.splitlines() == said, block


def test_every_argument_of_train_is_named():
    known = inspect.signature(Translator.train).parameters.values()
    names = {parameter.name for parameter in known if parameter.kind is not parameter.VAR_KEYWORD}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()
    assert {name for name in Answer.__dataclass_fields__ if f"`{name}`" not in PAGE and name != "attention"} == set()


def test_every_command_has_its_row():
    commands = parser()._subparsers._group_actions[0].choices
    assert {name for name in commands if f"| `fastattn {name}" not in PAGE} == set()


def test_parameters_that_are_no_settings_are_named():
    pytest.importorskip("sklearn")
    from fastattn.sklearn import OWN

    assert {name for name in OWN if f"`{name}`" not in PAGE} == set()
