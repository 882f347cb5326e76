"""The example runs exported models with ONNX Runtime, without fastattn, and gives fastattn's answers."""

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import run_python

import fastattn
from fastattn.data import Reading, Vocabulary
from fastattn.training import Translator

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from fastattn.interop.onnx import export

SCRIPT = Path(fastattn.__file__).parents[1] / "examples" / "onnx" / "translate.py"
# What each is asked, what it reads, and what kind of model it is; ``draw`` gives weights with which no two answers are alike.
MODELS = {
    "plain": {"texts": ["abc", "e", "aqd"]},
    "reversed": {"texts": ["abc", "e", "ddea"], "draw": 37, "reverse_source": True, "attention": None},
    "words": {"texts": ["ab cd", "x  ab"], "kind": "space", "symbols": ["ab", "cd", "e"], "bridge": "affine"},
    "features": {
        "draw": 8,
        "texts": ["ab\tV;PST", "E\u0301\tPST", "c\tN; V"],
        "features": ["PST", "V"],
        "reading": Reading(features_column=3, normalization="NFC"),
        "symbols": ["a", "b", "\u00c9"],
        "attention": "additive",
        "attentional_size": 5,
        "input_feeding": True,
        "decoder_layers": 2,
    },
}


def make(texts, kind="char", symbols="abcde", features=None, reading=None, reverse_source=False, draw=4, **options):
    source, target = Vocabulary(symbols, kind, features), Vocabulary(symbols, kind)
    options = {"target_vocabulary": len(target), "seed": 3, **options}
    model = fastattn.AttentionSeq2seq(len(source), 5, 7, **options)
    rng = np.random.default_rng(draw)
    for param in model.params:  # larger, so that the answers depend on the texts
        param += 1.5 * rng.standard_normal(param.shape)
    how = {} if reading is None else {"reading": reading}
    return Translator(model, source, target, reverse_source=reverse_source, max_target_tokens=6, **how)


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
