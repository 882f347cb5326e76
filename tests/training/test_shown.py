"""How models, translators and histories are shown: in a line or a short table, not as addresses or a wall of text."""

import pickle
import re

import numpy as np
import pytest

import fastattn
from fastattn.data import Vocabulary
from fastattn.training import SGD, EpochRecord, History, Outcome, Trainer, Translator, ensemble


def model(V=5, **options):
    return fastattn.AttentionSeq2seq(V, 3, 4, seed=0, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "5 to 5 tokens, embedding 3, hidden 4"),
        ({"target_vocabulary": 7, "dtype": "float64"}, "5 to 7 tokens, embedding 3, hidden 4, dtype float64"),
        (
            {"attention": "additive", "bidirectional": True, "bridge": "affine", "dropout": {"output": 0.3, "layers": 0.25}},
            "5 to 5 tokens, embedding 3, hidden 4, dropout (layers 0.25, output 0.3), bidirectional, attention additive, "
            "bridge affine",
        ),
        ({"attention": None, "encoder_layers": 2}, "5 to 5 tokens, embedding 3, hidden 4, encoder layers 2, attention none"),
    ],
)
def test_a_model_is_shown_with_its_sizes_and_what_is_special_in_it(options, words):
    made = model(**options)
    weights = sum(array.size for array in made.params)
    assert repr(made) == f"<AttentionSeq2seq of {words}: {weights} weights>"


def test_a_translator_and_an_ensemble_show_what_is_in_them():
    first, second = (
        Translator(model(7), Vocabulary("abc"), Vocabulary(["x", "y", "z"], "space"), reverse_source=back, max_target_tokens=9)
        for back in (False, True)
    )
    assert repr(first) == f"<Translator of 7 char to 7 space tokens, at most 9 tokens an answer, by {first.model!r}>"
    assert "tokens, from the source's end, at most" in repr(second)
    assert repr(ensemble([first, first])).endswith(f"by <Ensemble of {first.model!r}, {first.model!r}>>")


def record(epoch, **more):
    return EpochRecord(epoch, 1 / epoch, None, None, 1234.5, 2.25, **more)


def test_what_a_fit_returns_is_shown_as_a_table(data):
    x, t = data
    with fastattn.use_backend("reference"):
        history = Trainer(model(), SGD()).fit(x, t, 2, 2, validation_data=(x, t), seed=0)
    head, *rows = repr(history).splitlines()
    assert re.split("  +", head)[:3] == ["epoch", "loss", "held-out loss"]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert f"{history[0].loss:.4f}" in rows[0]
    assert rows[0][: head.index("seconds") + len("seconds")].endswith(f" {history[0].seconds:.1f}")  # under each other


@pytest.fixture
def data(rng):
    t = rng.integers(0, 5, (6, 4))
    t[:, 0] = 1
    return rng.integers(0, 5, (6, 3)), t


def test_a_history_is_a_list_like_any_other():
    records = [record(1), record(2)]
    history = History(records)
    assert isinstance(history, list)
    assert history == records
    assert history[1:] == records[1:]
    assert pickle.loads(pickle.dumps(history)) == records
    np.testing.assert_array_equal([each.loss for each in history], [1, 0.5])
    assert repr(History()) == "[]"


def test_columns_of_which_nothing_is_known_are_left_out_and_many_epochs_are_few_rows():
    assert repr(History([record(1)])).splitlines() == [
        "epoch    loss  tokens/s  seconds",
        "    1  1.0000     1,234      2.2",
    ]
    rows = repr(History(record(epoch) for epoch in range(1, 101))).splitlines()
    assert len(rows) == 14
    assert [row.split()[0] for row in rows[6:9]] == ["6", "...", "95"]
    assert len(repr(History(record(epoch) for epoch in range(1, 13))).splitlines()) == 13


def test_a_notebook_gets_a_models_layers_and_their_shapes():
    made = model(attention="general")
    html = made._repr_html_()
    assert html.startswith(f"<p>AttentionSeq2seq of {made.config.in_words()}</p><table><thead><tr><th>layer</th>")
    rows = re.findall("<tr>(?:<td>([^<]*)</td>)(?:<td>([^<]*)</td>)(?:<td>([^<]*)</td>)</tr>", html)
    assert rows[0] == ("encoder.embedding", "W (5, 3)", "15")
    assert ("decoder.lstm.0.forward", "Wx (3, 16), Wh (4, 16), b (16,)", "128") in rows
    *layers, (name, dtype, total) = rows
    assert (name, dtype) == ("all", "float32")
    assert sum(int(count) for _, _, count in layers) == int(total) == sum(array.size for array in made.params)
    both = fastattn.Ensemble([made, made])._repr_html_()
    assert both == f"<p>Ensemble of 2 models</p>{html}{html}"


def test_a_notebook_gets_a_translators_facts():
    abc = Vocabulary("abc")
    made = Translator(model(7), abc, abc, reverse_source=False, max_target_tokens=9)
    html = made._repr_html_()
    assert all(f"<tr><td>{name}</td><td>{fact}</td></tr>" in html for name, fact in made.facts())
    assert ensemble([made, made])._repr_html_() == f"<p>Ensemble of 2 models</p>{2 * made.model._repr_html_()}"


def test_a_notebook_gets_a_curve_and_a_sentence(monkeypatch):
    pytest.importorskip("matplotlib")
    history = History([record(1), record(2)])
    table, curve = history._repr_html_().split("</table>")
    assert curve.startswith('<img alt="the learning curve" style="max-width: 45em" src="data:image/png;base64,iVBORw0K')
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert history._repr_html_() == f"{table}</table>"
    assert Outcome((1,), "a < b", "c")._repr_html_() == "<p>a &lt; b; c</p>"


def test_a_notebook_gets_a_table_of_html():
    html = History([record(1, best=True)])._repr_html_()
    assert html.startswith("<table><thead><tr><th>epoch</th><th>loss</th><th>tokens/s</th>")
    assert html.endswith("<td>2.2</td><td>*</td></tr></tbody></table>")
