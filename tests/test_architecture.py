"""The house has one direction: nothing imports against the arrows of docs/architecture.md."""

import ast
import graphlib
from pathlib import Path

import pytest

import fastattn

ROOT = Path(fastattn.__file__).parents[1]
# What each part may import of the project, besides itself.
ALLOWED = {
    "cli": {"serving", "interop", "training", "evaluation", "drawing", "models", "data", "backend", "layers"},
    "compat": {"training", "models", "data", "backend", "layers"},
    "interop": {"training", "models", "data", "backend", "layers"},  # and nothing but the command line imports it
    "serving": {"training", "evaluation", "models", "data"},  # and nothing but the command line imports it
    "sklearn": {"training", "evaluation", "data", "backend"},
    "training": {"evaluation", "drawing", "models", "layers", "backend", "data"},
    "evaluation": {"data"},
    "drawing": {"data"},
    "models": {"layers", "backend", "data"},  # of data only what writes files
    "layers": {"backend"},
    "data": set(),
    "backend": {"fastattn_kernels"},
}
KNOWS_NO_NUMBA = (
    "cli",
    "compat",
    "interop",
    "serving",
    "sklearn",
    "training",
    "evaluation",
    "drawing",
    "models",
    "layers",
    "data",
)


def imports_of(path):
    """All that a file imports, wherever in it: absolute names of modules, each with what is taken from it."""
    package = [*path.relative_to(ROOT).with_suffix("").parts][:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def imported(path):
    """The absolute names of all that a file imports."""
    for module, name in imports_of(path):
        yield module
        if name is not None:
            yield f"{module}.{name}"


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


def modules():
    """Every module of the library, by its name."""
    for path in sorted((ROOT / "fastattn").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def circle(graph):
    """The names of a circle in module -> modules that it imports; None if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return None


def graph_of(known):
    """Each module -> those that it imports: inside a function or for types alone as well."""
    graph = {}
    for name, path in known.items():
        # ``from package import module`` is of the module alone.
        names = (f"{module}.{part}" if f"{module}.{part}" in known else module for module, part in imports_of(path))
        graph[name] = set(names) & set(known)
    return graph


def test_no_module_imports_itself_in_a_circle():
    graph = graph_of(dict(modules()))
    assert len(graph) > 50
    assert "fastattn.layers.checks" in graph["fastattn.layers.lstm"]
    assert circle(graph) is None


@pytest.mark.parametrize(
    "line",
    [
        "from .b import f",
        "from . import b",
        "import p.b",
        "if TYPE_CHECKING:\n    from .b import B",
        "def f():\n    from .b import g",
    ],
)
def test_a_circle_would_be_found(line, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "p").mkdir()
    known = {f"p.{name}": tmp_path / "p" / f"{name}.py" for name in "ab"}
    known["p.a"].write_text(line)
    known["p.b"].write_text("from .a import f")
    assert circle(graph_of(known)) in ("p.a -> p.b -> p.a", "p.b -> p.a -> p.b")


def test_what_others_compute_with_is_imported_by_interop_alone():
    """PyTorch and ONNX are extras: no other part may need them."""
    for name, path in modules():
        if not name.startswith("fastattn.interop."):
            others = {module.split(".")[0] for module in imported(path)} & {"torch", "onnx", "onnxruntime"}
            assert not others, f"{name} imports {others}"
