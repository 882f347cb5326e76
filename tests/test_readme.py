"""What the README shows is run as it stands there."""

import re
from pathlib import Path

import fastattn

ROOT = Path(fastattn.__file__).parents[1]


def blocks():
    learns, family = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return learns, family


def test_the_code_in_the_readme_learns_what_it_says(capsys):
    exec(compile(blocks()[0], "README.md", "exec"), {})
    loss, answer = capsys.readouterr().out.splitlines()
    assert float(loss) < 0.5
    source, target = (list(map(int, part.split())) for part in re.findall(r"\[([\d ]+)\]", answer))
    assert len(source) == len(target) == 7


def test_the_model_in_the_readme_has_the_tensors_that_it_names(capsys):
    exec(compile(blocks()[1], "README.md", "exec"), {})
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert f"# {first}, {second}, ..." in blocks()[1]


def test_the_test_command_stands_between_its_marks():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    between = text.split("<!-- test command -->")[1].split("<!-- end -->")[0]
    assert len([line for line in between.splitlines() if line.strip()]) == 1
    assert "pytest" in between
