"""The example runs exported models with ONNX Runtime, without fastattn, and gives fastattn's answers."""

import sys
from pathlib import Path

import pytest
from helpers import run_python
from onnx_models import MODELS, make

import fastattn

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from fastattn.interop.onnx import export

SCRIPT = Path(fastattn.__file__).parents[1] / "examples" / "onnx" / "translate.py"


@pytest.mark.parametrize("name", MODELS)
def test_the_answers_are_those_of_fastattn(name, tmp_path):
    translator, texts = make(**MODELS[name]), MODELS[name]["texts"]
    export(translator, tmp_path)
    with fastattn.use_backend("reference"):
        expected = translator.translate(texts), translator.translate(texts, beam=3)
    assert len(set(expected[0])) == len(texts)
    assert expected[0] != expected[1]
    code = (
        f"import runpy, sys; sys.modules['fastattn'] = None; arguments = {[str(SCRIPT), str(tmp_path), *texts]!r}\n"
        "for more in ([], ['--beam', '3']):\n"
        "    sys.argv = [*arguments, *more]; runpy.run_path(arguments[0], run_name='__main__')"
    )
    said = run_python(code, PYTHONPATH=":".join(filter(None, sys.path)), PYTHONIOENCODING="utf-8")
    assert said.split("\n")[:-1] == [*expected[0], *expected[1]]
