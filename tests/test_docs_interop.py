"""What docs/interop.md shows is run as it stands there, and its tables say what the graphs have."""

import json
import re
from pathlib import Path

import pytest

import fastattn
from fastattn.data import Vocabulary
from fastattn.training import Translator

PAGE = (Path(fastattn.__file__).parents[1] / "docs" / "interop.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_print_what_they_say(capsys):
    """In one namespace, from the top of the page to its end."""
    for package in ("torch", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    assert len(BLOCKS) == 4
    names: dict = {}
    with fastattn.use_backend("reference"):
        for block in BLOCKS:
            exec(compile(block, "docs/interop.md", "exec"), names)
            said = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
            assert capsys.readouterr().out.splitlines() == said, block


@pytest.fixture
def graphs():
    pytest.importorskip("onnx")
    from fastattn.interop import onnx

    letters = Vocabulary("abc")
    options = {"attention": "additive", "attentional_size": 5, "input_feeding": True}
    model = fastattn.AttentionSeq2seq(len(letters), 3, 4, **options)
    return onnx.graphs(Translator(model, letters, letters, reverse_source=False, max_target_tokens=5))


def test_inputs_and_outputs_stand_in_the_tables(graphs):
    for name, model in graphs.items():
        rows = PAGE.split(f"| `{name}.onnx` |")[1].split("\n\n")[0]
        for kind, given in (("in", model.graph.input), ("out", model.graph.output)):
            told = [re.findall(r"`(\w+)`", row) for row in re.findall(rf"^\| {kind} \| (.*?) \|", rows, re.MULTILINE)]
            assert {each.name for each in given} == {each for row in told for each in row}, name


def test_the_metadata_stand_in_the_table(graphs):
    rows = re.findall(r"^\| (.*?) \|", PAGE.split("The metadata of each graph")[1], re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)} - {"key"}
    for model in graphs.values():
        assert set(json.loads(model.metadata_props[0].value)) == told
