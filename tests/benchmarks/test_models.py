"""The models that are measured: that they can be made, how much work is in them, and what they cost beside the plain one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastattn
from benchmarks.models import MODELS, PLAIN
from benchmarks.options import OPTIONS
from benchmarks.shapes import NAMED, Shape
from benchmarks.training_step import TrainingStep, make_model

ROOT = Path(__file__).parents[2]
TEXT = "6,5,4,11,7,9"
SHAPE = Shape.from_text(TEXT)
N, T1, T2, V, D, H = 6, 5, 3, 11, 7, 9  # T2 without the start symbol


@pytest.fixture
def on_reference():
    threads = fastattn.get_num_threads()
    with fastattn.use_backend("reference"):
        yield
    fastattn.set_num_threads(threads)


ENCODER = T1 * 2 * (D + H) * 4 * H  # both directions
DECODER = T2 * (D + H) * 4 * H
GENERAL = T1 * 2 * H * H + T2 * T1 * H + T2 * T1 * 2 * H  # keys, scores, weighted sums
AFFINE = T2 * 3 * H * V
BRIDGE = 2 * 2 * H * H  # h and c


@pytest.mark.parametrize(
    ("name", "products"),
    [
        ("plain", T1 * (D + H) * 4 * H + DECODER + 2 * T2 * T1 * H + T2 * 2 * H * V),
        ("bi", ENCODER + BRIDGE + DECODER + GENERAL + AFFINE),
        ("deep", ENCODER + T1 * 2 * 3 * H * 4 * H + 2 * BRIDGE + DECODER + T2 * 2 * H * 4 * H + GENERAL + AFFINE),
        (
            "feeding",
            ENCODER + BRIDGE + T2 * (D + 2 * H) * 4 * H + GENERAL + T2 * (H * H + 3 * H * H) + T2 * H * V,
        ),
    ],
)
def test_operations(name, products):
    assert SHAPE.forward_flop(MODELS[name]) == 2 * N * products
    assert SHAPE.flop(MODELS[name]) == 3 * 2 * N * products


def test_operations_of_options():
    def more(option):
        return SHAPE.forward_flop(OPTIONS[option][0]) - SHAPE.forward_flop(PLAIN)

    assert more("attention scaled_dot") == more("bridge zeros") == more("dropout") == 0
    assert more("attention general") == 2 * N * T1 * H * H
    assert more("attention None") == -2 * N * (2 * T2 * T1 * H + T2 * H * V)
    assert more("tie_embeddings") == 2 * N * T2 * (2 * H * D + D * V - 2 * H * V)
    assert more("encoder_layers=2") == 2 * N * T1 * 2 * H * 4 * H
    assert NAMED["g2p"].step_flop == NAMED["g2p"].flop(PLAIN)


def test_values_of_tanh_and_exp():
    lstms, loss = 5 * H * (T1 + T2), T2 * V
    assert SHAPE.activations(PLAIN) == N * (lstms + T2 * T1 + loss)
    assert SHAPE.activations(MODELS["feeding"]) == N * (lstms + 5 * H * T1 + 2 * H + T2 * T1 * (H + 1) + T2 * H + loss)


@pytest.mark.parametrize("option", OPTIONS)
def test_a_step_of_each(option, on_reference):
    model, further = OPTIONS[option]
    loss, norm = TrainingStep("reference", SHAPE, 1, model=model, **further)()
    assert np.isfinite(loss)
    assert norm > 0


def test_named_models_are_what_their_names_say(on_reference):
    assert PLAIN.options(H) == {}
    deep, feeding = (make_model(MODELS[name], SHAPE, seed=0).config for name in ("deep", "feeding"))
    assert (deep.encoder_layers, deep.decoder_layers, deep.bidirectional, deep.residual) == (2, 2, True, True)
    assert (feeding.input_feeding, feeding.attention, feeding.attentional_size) == (True, "additive", H)


def test_a_commit_without_an_option_is_passed_over(monkeypatch):
    class Earlier:
        def __init__(self, V, D, H, *, seed=None):
            pass

    monkeypatch.setattr(fastattn, "AttentionSeq2seq", Earlier)
    make_model(PLAIN, SHAPE, seed=0)
    with pytest.raises(NotImplementedError, match="has no attention, bidirectional, bridge"):
        make_model(MODELS["bi"], SHAPE, seed=0)


def options(*arguments):
    command = [sys.executable, "-m", "benchmarks.options", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_costs_of_options(tmp_path):
    file = tmp_path / "costs.json"
    chosen = "--option", "attention general", "feeding"
    done = options("--shape", TEXT, "--kernels", "reference", "--rounds", 2, "--threads", 1, "--json", file, *chosen)
    assert done.returncode == 0, done.stderr
    costs = json.loads(file.read_text())["costs"][TEXT]
    assert [cost["option"] for cost in costs] == ["plain", "attention general", "feeding"]
    assert costs[0]["time"] == costs[0]["operations"] == 1
    assert costs[2]["operations"] == pytest.approx(SHAPE.flop(MODELS["feeding"]) / SHAPE.flop(PLAIN))
    assert f"| {costs[2]['operations']:.2f} |".replace("| ", "", 1) in done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--shape", "1,2,3"], "six whole numbers"),
        (["--option", "nothing"], "'nothing'"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--threads", "0"], "0 threads"),
    ],
)
def test_wrong_usage(arguments, reason):
    done = options(*arguments)
    assert done.returncode == 2
    assert reason in done.stderr
