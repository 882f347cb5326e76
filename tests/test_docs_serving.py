"""What docs/serving.md says: each option with its default and an example, each field, and commands that run."""

import re
import shlex
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
from serving.servers import Running, finish, small

import fastattn
from fastattn.cli.main import parser
from fastattn.serving import Limits

ROOT = Path(fastattn.__file__).parents[1]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (curl .*)$", PAGE, re.MULTILINE)


def flags():
    """Of the command, with their defaults."""
    chosen = next(iter(parser()._subparsers._group_actions)).choices["serve"]
    chosen.format_help()  # which adds them
    found = {action.option_strings[0]: action.default for action in chosen._actions if action.option_strings}
    found.pop("-h")
    return found


def test_each_option_stands_there_with_its_default():
    table = PAGE.split("## Options")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(--[a-z-]+) [A-Z]+` \| (?:`(.*?)` )?\|", table, re.MULTILINE))
    expected = {flag: "" if value == [] else str(value) for flag, value in flags().items()}
    assert rows == expected
    for field in fields(Limits):
        assert f"| {field.metadata['help']} |" in table


def test_each_option_is_shown_in_an_example_that_parses():
    examples = re.findall(r"^    (fastattn serve .*)$", PAGE, re.MULTILINE)
    assert {flag for flag in flags() if not any(f"{flag} " in each for each in examples)} == set()
    for example in examples:
        assert parser().parse_args(shlex.split(example)[1:]).folder == "g2p"


def test_each_field_stands_there():
    from fastattn.serving.fields import of_evaluate, of_translate

    table = PAGE.split("### `POST /translate`")[1].split("\n### ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == sorted(
        (field.name for field in of_translate(Limits(), ["g2p"])),
        key=["texts", "model", "beam", "n_best", "length_penalty", "unknown", "scores", "attention"].index,
    )
    evaluate = PAGE.split("### `POST /evaluate`")[1].split("\n### ")[0]
    for field in of_evaluate(Limits(), ["g2p"]):
        assert f"`{field.name}`" in evaluate


def test_each_status_stands_there():
    from fastattn.serving.openapi import ERRORS

    table = PAGE.split("| status | |")[1].split("\n### ")[0]
    assert set(ERRORS) <= set(re.findall(r"\b\d{3}\b", table))


def test_the_commands_run(tmp_path):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'fastattn[serve]'")
    pytest.importorskip("prometheus_client")
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    with fastattn.use_backend("reference"):
        for seed, name in enumerate(("g2p", "g2p-2")):
            small(seed).save(tmp_path / name)
    (tmp_path / "test.tsv").write_text("cat\tkat\nkernel\tkernel\n")
    running = Running(tmp_path / "g2p", tmp_path / "g2p-2")
    assert len(COMMANDS) > 10
    try:
        for command in COMMANDS:
            words = shlex.split(command.replace("http://127.0.0.1:8000/", running.address))
            done = subprocess.run([*words, "-sf", "-m", "20"], cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, command
            assert done.stdout, command
    finally:
        finish(running)
