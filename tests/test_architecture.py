"""The house has one direction: nothing imports against the arrows of docs/architecture.md."""

import ast
from pathlib import Path

import pytest

import fastattn

ROOT = Path(fastattn.__file__).parents[1]
# What each part may import of the project, besides itself.
ALLOWED = {
    "cli": {"training", "models", "data", "backend", "layers"},
    "compat": {"training", "models", "data", "backend", "layers"},
    "training": {"models", "layers", "backend", "data"},
    "models": {"layers", "backend"},
    "layers": {"backend"},
    "data": set(),
    "backend": {"fastattn_kernels"},
}
KNOWS_NO_NUMBA = ("cli", "compat", "training", "models", "layers", "data")


def imported(path):
    """The absolute names of all that a file imports, wherever in it."""
    package = [*path.relative_to(ROOT).with_suffix("").parts][:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def parts():
    for name in ALLOWED:
        folder = ROOT / "fastattn" / name
        files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
        yield from (pytest.param(name, file, id=str(file.relative_to(ROOT / "fastattn"))) for file in files)


@pytest.mark.parametrize(("part", "path"), list(parts()))
def test_imports_run_one_way(part, path):
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "fastattn" and rest and rest[0] in ALLOWED:
            assert rest[0] == part or rest[0] in ALLOWED[part], f"{path.name} imports {name}"
        if top == "fastattn_kernels":
            assert "fastattn_kernels" in ALLOWED[part], f"{path.name} imports {name}"
        if top == "numba" and path.name != "info.py":
            assert part not in KNOWS_NO_NUMBA, f"{path.name} imports {name}"


def test_the_kernels_know_nothing_of_the_library():
    files = sorted((ROOT / "kernels" / "fastattn_kernels").rglob("*.py"))
    assert len(files) > 20
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not any(line.startswith(("import fastattn", "from fastattn")) for line in text.splitlines()), path
    for path in (ROOT / "kernels" / "fastattn_kernels" / "reference").glob("*.py"):
        assert "numba" not in path.read_text(encoding="utf-8"), path
