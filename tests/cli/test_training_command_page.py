"""What docs/training-command.md shows is run as it stands there, and its tables are the settings'."""

import re
import shlex
from pathlib import Path

import pytest

import fastattn
from fastattn.cli.main import parser
from fastattn.cli.train import flag_of
from fastattn.training import Settings
from fastattn.training.kinds import Choice, Switch
from fastattn.training.settings import SECTIONS

PAGE = (Path(fastattn.__file__).parents[1] / "docs" / "training-command.md").read_text(encoding="utf-8")


def blocks(language):
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    return found


def table(section):
    """What stands between the marks of a section."""
    yield "| flag | default | |"
    yield "|---|---|---|"
    for name, one in section.settings():
        value = "" if isinstance(one.kind, Switch) else one.letter or ""
        if isinstance(one.kind, Choice):
            value = "{" + ",".join(one.kind.names) + "}"
        flag = value if name == "pairs" else f"{flag_of(name)} {value}".rstrip()
        yield f"| `{flag}` | {section.default_text(name)} | {one.help} |"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title())
def test_the_tables_say_what_the_settings_say(section):
    """Where they do not, the difference shows the table as it should be."""
    between = PAGE.split(f"<!-- {section.title()} -->\n")[1].split("<!-- end -->")[0]
    assert between == "\n".join(["", *table(section), "", ""])


def test_every_option_of_the_command_stands_there():
    train = parser()._subparsers._group_actions[0].choices["train"]
    train.format_help()
    options = {option for action in train._actions for option in action.option_strings if not option.startswith("--no-")}
    assert {option for option in options if f"| `{option}" not in PAGE} == {"-h", "--help"}


def test_the_examples_run(tmp_path, monkeypatch, pairs, fastattn_command, capsys):
    """In one folder, from the top of the page to its end."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.tsv").write_bytes(pairs.read_bytes())
    for line in "".join(blocks("sh")).splitlines():
        command, _, file = line.partition(" > ")
        words = shlex.split(command)
        assert words[0] == "fastattn"
        code, out, err = fastattn_command(*words[1:])
        assert (code, err) == (0, "")
        if file:
            Path(file).write_text(out)
    for name in ("model.safetensors", "config.json", "vocabulary.json", "config.toml"):
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    for block in blocks("toml"):
        Path("own.toml").write_text(block)
        assert len(Settings.read("own.toml").model.changed()) == 5
        assert fastattn_command("train", "--config", "own.toml", "--out", "own")[0] == 0
    with fastattn.use_backend("reference"):
        for block in blocks("python"):
            exec(compile(block, "docs/training-command.md", "exec"), {})
            assert capsys.readouterr().out.splitlines() == re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
