"""The comparison on real pairs: that both sides learn from the same batches and find the same answers, and what is written."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import skip_without_compiled_kernels

import fastattn
from benchmarks.peers.corpus import race
from benchmarks.peers.corpus.__main__ import main
from benchmarks.peers.corpus.in_fastattn import Oracle
from benchmarks.peers.corpus.peer import CorpusTask, Pairs, Recipe, share_of_equal
from benchmarks.peers.entrant import Refused
from fastattn.data import END, PADDING, START
from fastattn.models import ModelConfig

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(
    batch_size=8,
    learning_rate=0.01,
    max_grad=0.5,
    seed=3,
    start_id=START,
    end_id=END,
    sample_size=13,
    beam=4,
    length_penalty=0.6,
)
MODELS = {
    "g2p": {"attentional_size": 15},
    "two layers": {"encoder_layers": 2, "decoder_layers": 2},
    "deeper encoder": {"encoder_layers": 2, "attentional_size": 15},
    "residual": {"decoder_layers": 2, "residual": True, "encoder_layers": 2, "attentional_size": 15},
    "dot": {"attention": "dot", "encoder_hidden": 9, "bidirectional": False, "hidden": 9},
}


def config_of(name):
    options = {"bidirectional": True, "encoder_hidden": 11, "hidden": 19, "attention": "general"} | MODELS[name]
    dropout = {"embedding": 0.3, "layers": 0.2, "encoder": 0.3, "output": 0.3}
    layers = max(options.get("encoder_layers", 1), options.get("decoder_layers", 1))
    if layers == 1:
        dropout["layers"] = 0.0
    return ModelConfig(
        12, 7, target_vocabulary=10, bridge="affine", dropout=dropout, label_smoothing=0.1, dtype="float32", **options
    )


def rows_of(rng, lengths, V, first=()):
    ids = np.full((len(lengths), lengths.max()), PADDING)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = rng.integers(4, V, length)
        row[: len(first)] = first
    return ids


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(20)
    source_lengths, target_lengths = rng.integers(1, 10, 60), rng.integers(2, 9, 60)
    t = rows_of(rng, target_lengths, 10, [START])
    t[np.arange(60), target_lengths - 1] = END
    return Pairs(rows_of(rng, source_lengths, 12), source_lengths, t, target_lengths)


@pytest.fixture(autouse=True)
def on_reference():
    threads = fastattn.get_num_threads()
    with fastattn.use_backend("reference"):
        yield
    fastattn.set_num_threads(threads)


@pytest.fixture
def make_peer(tmp_path, pairs):
    """A peer of a class for a kind of work, from the same weights as the others."""

    def make(peer_class, name, kind, drops=False, scale=1.0, recipe=RECIPE):
        config = config_of(name)
        model = fastattn.AttentionSeq2seq.from_config(config, seed=5)
        for param in model.params:
            param *= scale
        CorpusTask.write(tmp_path, config, recipe, model.named_params(), pairs)
        return peer_class(CorpusTask.of(kind, 1, drops, str(tmp_path)))

    return make


def torch_peer(name="Eager"):
    pytest.importorskip("torch")
    from benchmarks.peers.corpus import in_torch

    return getattr(in_torch, name)


@pytest.mark.parametrize("variant", ["Eager", "Padded"])
@pytest.mark.parametrize("name", MODELS)
def test_training_is_the_same(make_peer, name, variant):
    peers = [make_peer(peer_class, name, "train") for peer_class in (Oracle, torch_peer(variant))]
    for steps in (1, 1, 1, 5):
        right, found = (peer.train(steps)() for peer in peers)
        assert found["tokens"] == right["tokens"]
        assert found["loss_and_norm"] == pytest.approx(right["loss_and_norm"], rel=1e-4)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ["greedy", "beam"])
def test_answers_are_the_same(make_peer, name, kind):
    right, found = (getattr(make_peer(c, name, kind, scale=3.0), kind)(2)() for c in (Oracle, torch_peer()))
    assert found["answers"] == right["answers"]
    assert found["scores"] == pytest.approx(right["scores"], rel=1e-4, abs=1e-4)
    assert found["sources"] == 60
    lengths = set(map(len, right["answers"]))
    assert min(lengths) < RECIPE.sample_size  # some end early
    assert len(lengths) > 1


@pytest.mark.parametrize("kind", ["greedy", "beam"])
def test_answers_do_not_depend_on_the_batch(make_peer, kind):
    peer = make_peer(torch_peer(), "g2p", kind, scale=3.0)
    width = RECIPE.beam if kind == "beam" else 1

    def answers(batch_size):
        parts = peer._search_all(60, width, batch_size)
        found = {int(place): row.tolist() for places, found in parts for place, row in zip(places, found.ids, strict=True)}
        return [found[place] for place in range(60)]

    assert answers(7) == answers(60)


def test_a_search_takes_its_sources_evenly(make_peer, pairs):
    peer = make_peer(Oracle, "g2p", "greedy")
    parts = peer._search_all(20, 1, 6)
    assert sorted(np.concatenate([places for places, _ in parts]).tolist()) == list(range(0, 60, 3))
    lengths = np.concatenate([pairs.source_lengths[places] for places, _ in parts])
    assert (np.diff(lengths) <= 0).all()


def test_batches_are_of_like_lengths_and_all_of_the_draw(make_peer):
    peer = make_peer(Oracle, "g2p", "train")
    drawn = peer.task.pairs.chosen(np.arange(40))
    peer.requests = 1
    made = list(peer.epoch(drawn))
    assert [len(batch.x) for batch in made] == [8] * 5
    assert sum(batch.tokens for batch in made) == drawn.tokens
    assert sum(int(np.ptp(batch.source_lengths)) for batch in made) <= 9  # sorted, they share out the range


@pytest.mark.parametrize("side", ["fastattn", "torch"])
def test_dropout_is_there_when_it_is_timed(make_peer, side):
    peer_class = Oracle if side == "fastattn" else torch_peer()
    losses = [make_peer(peer_class, "g2p", "train", drops=drops).train(1)()["loss_and_norm"][0] for drops in (False, True)]
    assert abs(losses[0] - losses[1]) > 1e-4


def test_what_pytorch_has_not(make_peer):
    peer = torch_peer()
    from benchmarks.peers.corpus.in_torch import check_config

    check_config(config_of("g2p"))
    with pytest.raises(NotImplementedError, match=r"recurrent_dropout is 0\.2"):
        check_config(replace(config_of("g2p"), recurrent_dropout=0.2))
    assert peer.__name__ == "Eager"


class Answering:
    """A peer that has these results ready."""

    def __init__(self, *results):
        self.results, self.record = list(results), {"tolerance": 1e-4}

    def load(self, **changes):
        pass

    def work(self, count):
        return {"result": self.results.pop(0)}

    def first_results(self, steps):
        return [self.work(1)["result"] for _ in range(steps)]


def job(kind):
    return race.Job(1, [], 1, 10, False, kind, [], None, None, RECIPE, 5)


def test_who_learns_otherwise_is_refused():
    expected = [[2.0, 1.0], [1.5, 0.9], [1.2, 0.8]]
    for change, message in ((0.0, None), (0.01, "the gradient norm of step 2")):
        steps = [[loss, norm + change * (step == 1)] for step, (loss, norm) in enumerate(expected)]
        peer = Answering(*({"loss_and_norm": numbers} for numbers in steps))
        if message is None:
            race._check(job("train"), peer, expected)
        else:
            with pytest.raises(Refused, match=message):
                race._check(job("train"), peer, expected)


@pytest.mark.parametrize(
    ("answers", "scores", "message"),
    [
        ([[5], [6, 7]], [-1.0, -2.0], None),
        ([[5], [6, 8]], [-1.0, -2.0], r"50\.0 % of its answers"),
        ([[5], [6, 7]], [-1.0, -2.01], "the score of answer 1"),
    ],
)
def test_who_answers_otherwise_is_refused(answers, scores, message):
    expected = [{"answers": [[5], [6, 7]], "scores": [-1.0, -2.0]}]
    peer = Answering({"answers": answers, "scores": scores})
    if message is None:
        race._check(job("beam"), peer, expected)
        assert peer.record["share_of_right_answers"] == 1
    else:
        with pytest.raises(Refused, match=message):
            race._check(job("beam"), peer, expected)


def test_share_of_equal_answers():
    assert share_of_equal([[1], [2, 3], [], [4]], [[1], [2], [], [5]]) == 0.5


@pytest.fixture
def files(tmp_path):
    words = ["ab", "abc", "cab", "bca", "aa", "c", "cc", "bab", "abcabc"]
    lines = "".join(f"{word}\t{' '.join(word.upper())}\n" for word in words)
    (tmp_path / "train.tsv").write_text(lines * 6)
    (tmp_path / "test.tsv").write_text(lines)
    config = (ROOT / "examples" / "g2p" / "g2p.toml").read_text()
    for before, after in (("128", "8"), ("512", "16"), ("hidden = 16\n", "hidden = 16\n"), ("256", "8")):
        config = config.replace(before, after)
    (tmp_path / "small.toml").write_text(config)
    return [tmp_path / "train.tsv", tmp_path / "test.tsv", "--config", tmp_path / "small.toml"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--rounds", "0"], "--rounds is 0"),
        (["--threads", "0"], "0 threads"),
        (["--peers", "nobody"], "'nobody'"),
        (["--model", "no_such_folder"], "no_such_folder"),
        (["--config", "no_such.toml"], "no_such.toml"),
        (["--json", "no_such_folder/run.json"], "no_such_folder"),
    ],
)
def test_wrong_usage(files, more, reason, capsys):
    with pytest.raises(SystemExit) as ending:
        main([*map(str, files), *more])
    assert ending.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.slow
def test_the_command(files, tmp_path):
    skip_without_compiled_kernels()
    names = ["fastattn", "benchmarks.peers.corpus.in_fastattn:Oracle", "no_such_module:Peer"]
    if importlib.util.find_spec("torch"):
        names.append("torch")
    more = ["--peers", *names, "--rounds", 2, "--batches", 3, "--threads", 1, "--steps", 40, "--json", tmp_path / "run.json"]
    command = [sys.executable, "-m", "benchmarks.peers.corpus", *files, *more, "--markdown", tmp_path / "run.md"]
    done = subprocess.run([*map(str, command)], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "run.json").read_text())
    assert [results["kind"] for results in made["results"]] == ["train", "greedy", "beam"]
    for results in made["results"]:
        records = results["peers"]
        assert records.pop("no_such_module:Peer")["status"] == "absent"
        assert records.keys() == set(names[:2] + names[3:])
        for name, record in records.items():
            assert record["status"] == "measured", (name, record)
            assert record["ratio_of_medians"] == pytest.approx(records["fastattn"]["median_rate"] / record["median_rate"])
            assert record["done"] == records["fastattn"]["done"]
            assert record.get("share_of_equal_answers", 1) > 0.8
            assert f"| {name} " in done.stdout
    assert "9 sources a round, weights of 40 steps" in (tmp_path / "run.md").read_text()
