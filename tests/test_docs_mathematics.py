"""The formulas of docs/mathematics, as each page writes them out in NumPy, are what the reference kernels compute."""

import re
from pathlib import Path

import pytest
from fastattn_kernels import reference

import fastattn

FOLDER = Path(fastattn.__file__).parents[1] / "docs" / "mathematics"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}


@pytest.mark.parametrize("name", PAGES)
def test_the_formulas_are_those_of_the_kernels(name, capsys):
    """In one namespace, from the top of the page to its end."""
    blocks = re.findall(r"```python\n(.*?)```", PAGES[name], re.DOTALL)
    assert blocks
    names: dict = {}
    with fastattn.use_backend("reference"):
        for block in blocks:
            exec(compile(block, f"docs/mathematics/{name}.md", "exec"), names)
            said = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
            assert said
            assert capsys.readouterr().out.splitlines() == said, block


def test_every_kernel_stands_in_the_table_and_on_its_page():
    rows = re.findall(r"^\| \[.*?\]\((.*?)\.md\) \| (.*) \|$", PAGES["index"], re.MULTILINE)
    assert {page for page, _ in rows} == set(PAGES) - {"index"}
    named = [(page, name) for page, names in rows if page != "bridge" for name in re.findall(r"`(\w+)`", names)]
    assert sorted(name for _, name in named) == sorted(reference.__all__)
    shown = {
        page: text + (FOLDER / line).resolve().read_text(encoding="utf-8")
        for page, text in PAGES.items()
        for line in re.findall(r"\{literalinclude\} (.*)", text)
    }
    assert [(page, name) for page, name in named if not re.search(rf"\b{name}\b", shown[page])] == []
