"""The graphs of ONNX in ONNX Runtime: the same tokens, scores and weights as the model that they were made of."""

import json
import sys

import numpy as np
import pytest
from family import DROPPING, STEADY, T1, D, H, N, make_model, members, moved
from helpers import run_python

import fastattn
from fastattn.cli.main import run
from fastattn.data import END, START, Reading, Vocabulary
from fastattn.training import Translator
from fastattn.training.translator import NEVER_ANSWERED

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from fastattn.interop import onnx as interop  # noqa: E402

LENGTHS = [2, 5, 1]
STEPS = 7
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(autouse=True)
def reference():
    with fastattn.use_backend("reference"):
        yield


def letters(V):
    """A vocabulary of V symbols."""
    return Vocabulary(LETTERS[: V - 4])


def translator_of(model, **options):
    sides = letters(model.source_vocabulary), letters(model.target_vocabulary)
    return Translator(model, *sides, **{"reverse_source": False, "max_target_tokens": STEPS, **options})


def make_translator(choices, rng, **options):
    return translator_of(moved(make_model(choices), rng), **options)


def session(graph):
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def answers(session, **given):
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, given), strict=True))


def sources(rng, model):
    """x and lengths; at padding stands what no vocabulary has."""
    x = rng.integers(0, model.source_vocabulary, (N, T1))
    x[np.arange(T1) >= np.array(LENGTHS)[:, None]] = 10**6
    return x, np.array(LENGTHS)


@members(STEADY | DROPPING)
def test_greedy_gives_the_same_answers(choices, rng):
    translator = make_translator(choices, rng)
    graph = interop.graphs(translator)["greedy"]
    onnx.checker.check_model(graph, full_check=True)
    greedy = session(graph)
    x, lengths = sources(rng, translator.model)
    attends = translator.model.config.attention is not None
    expected = translator.model.search(
        x, START, STEPS, end_id=END, lengths=lengths, forbidden=NEVER_ANSWERED, return_attention=attends
    )
    given = answers(greedy, x=x, lengths=lengths)
    steps = expected.lengths.max()
    np.testing.assert_array_equal(given["ids"], expected.ids[:, 0, :steps])
    np.testing.assert_allclose(given["log_probabilities"], expected.token_log_probabilities[:, 0, :steps], rtol=0, atol=1e-4)
    assert ("attention" in given) == attends
    if attends:
        np.testing.assert_allclose(given["attention"], expected.attention[:, 0, :steps], rtol=0, atol=1e-4)


@members(STEADY)
def test_the_steps_give_the_same_scores(choices, rng):
    """Of a target that is given, step by step."""
    translator = make_translator(choices, rng)
    model, graphs = translator.model.eval(), interop.graphs(translator)
    for name in ("encoder", "decoder_step"):
        onnx.checker.check_model(graphs[name], full_check=True)
    encoder, step = session(graphs["encoder"]), session(graphs["decoder_step"])
    x, lengths = sources(rng, model)
    t = rng.integers(0, model.target_vocabulary, (N, 4))
    hs_enc = model.encoder.forward(x, lengths=lengths)
    expected = model.decoder.forward(t, hs_enc, source_lengths=lengths, states=model.encoder.final_states)
    known = answers(encoder, x=x, lengths=lengths)
    known["lengths"] = lengths
    wanted = {given.name for given in step.get_inputs()} - {"tokens"}
    for i in range(t.shape[1]):
        given = answers(step, **{name: known[name] for name in wanted}, tokens=t[:, i])
        np.testing.assert_allclose(given["scores"], expected[:, i], rtol=0, atol=1e-4)
        if model.attention_weight is not None:
            np.testing.assert_allclose(given["attention"], model.attention_weight[i], rtol=0, atol=1e-4)
        known |= {name.removeprefix("next_"): each for name, each in given.items() if name.startswith("next_")}


def test_any_batch_and_length(rng):
    """One session takes them all, and a sample's answer is the same in each."""
    translator = make_translator(STEADY["feeding"], rng)
    greedy = session(interop.graphs(translator)["greedy"])
    x = rng.integers(0, translator.model.source_vocabulary, (9, 11))
    whole = answers(greedy, x=x, lengths=np.full(9, 11))["ids"]
    for i, row in enumerate(x):
        padded = np.concatenate((row, [0, 0, 0]))[None]
        alone = answers(greedy, x=padded, lengths=np.array([11]))["ids"][0]
        np.testing.assert_array_equal(alone, whole[i, : len(alone)])
        assert (whole[i, len(alone) :] == END).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_float32(dtype, rng):
    translator = translator_of(make_model({}, dtype=dtype))
    for graph in interop.graphs(translator).values():
        kinds = {each.data_type for each in graph.graph.initializer}
        assert onnx.TensorProto.DOUBLE not in kinds
        assert onnx.TensorProto.FLOAT in kinds
    x, lengths = sources(rng, translator.model)
    given = answers(session(interop.graphs(translator)["greedy"]), x=x, lengths=lengths)["ids"]
    expected = translator.model.generate(x, START, STEPS, end_id=END, lengths=lengths, forbidden=NEVER_ANSWERED)
    np.testing.assert_array_equal(given, expected[:, : given.shape[1]])


def test_operators_are_standard():
    translator = translator_of(make_model(STEADY["feeding"]))
    for graph in interop.graphs(translator).values():
        assert [(each.domain, each.version) for each in graph.opset_import] == [("", interop.OPSET)]
        assert {node.domain for node in graph.graph.node} == {""}


def test_the_metadata_have_all_that_text_needs(rng):
    reading = Reading(features_column=3, normalization="NFC")
    source = Vocabulary("abcde", "char", ["V", "PST"])
    model = fastattn.AttentionSeq2seq(len(source), D, H, target_vocabulary=9)
    translator = Translator(model, source, letters(9), reverse_source=True, max_target_tokens=STEPS, reading=reading)
    for graph in interop.graphs(translator).values():
        told = json.loads({each.key: each.value for each in graph.metadata_props}["fastattn"])
        assert Vocabulary.from_json(told["source_vocabulary"]) == source
        assert Vocabulary.from_json(told["target_vocabulary"]) == letters(9)
        assert Reading.from_json(told["reading"]) == reading
        assert fastattn.ModelConfig.from_json(told["model"]) == model.config
        assert told["special"] == {"padding": 0, "start": START, "end": END, "unknown": 3}
        assert (told["reverse_source"], told["max_target_tokens"]) == (True, STEPS)
        assert told["never_answered"] == list(NEVER_ANSWERED)


def test_on_the_command_line(tmp_path, capsys, rng):
    translator = make_translator({}, rng)
    translator.save(tmp_path / "model")
    assert run(["export", str(tmp_path / "model"), "--onnx", str(tmp_path / "graphs")]) == 0
    paths = [tmp_path / "graphs" / name for name in (*(f"{name}.onnx" for name in interop.GRAPHS), "about.json")]
    assert capsys.readouterr() == ("".join(f"{path}\n" for path in paths), "")
    for path, graph in zip(paths[:3], interop.graphs(translator).values(), strict=True):
        assert onnx.load(path) == graph
        assert graph.metadata_props[0].value == paths[3].read_text(encoding="utf-8")
    (tmp_path / "file").touch()
    assert run(["export", str(tmp_path / "model"), "--onnx", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err == f"fastattn: {tmp_path / 'file'}: File exists\n"
    assert run(["export", str(tmp_path / "nothing"), "--onnx", str(tmp_path / "graphs")]) == 1
    assert capsys.readouterr().err == f"fastattn: {tmp_path / 'nothing'}: no such folder\n"


def test_what_cannot_be_exported_is_said(monkeypatch, tmp_path):
    model = make_model({})
    with pytest.raises(TypeError, match="translator is AttentionSeq2seq; expected a Translator, which has vocabularies"):
        interop.export(model, tmp_path)
    with pytest.raises(TypeError, match="ensemble of 2 models; expected one model"):
        interop.export(translator_of(fastattn.Ensemble([model, model])), tmp_path)
    monkeypatch.setattr(interop, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"the graph 'encoder' takes [\d,]+ bytes; a file of ONNX holds at most 1,000"):
        interop.export(translator_of(model), tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_without_onnx_it_says_what_to_install(tmp_path):
    translator_of(make_model({})).save(tmp_path / "model")
    arguments = ["export", str(tmp_path / "model"), "--onnx", str(tmp_path / "graphs")]
    code = (
        "import sys; sys.modules['onnx'] = None; sys.stderr = sys.stdout\n"
        f"from fastattn.cli.main import run\nprint(run({arguments!r}))"
    )
    said = run_python(code, PYTHONPATH=":".join(filter(None, sys.path)))
    assert said == "fastattn: exporting to ONNX needs onnx; install it with: pip install 'fastattn[onnx]'\n1\n"
