"""The command ``python -m benchmarks.peers.corpus``: see the package."""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastattn
from benchmarks.peers import machine
from benchmarks.peers.__main__ import say, terminate
from benchmarks.peers.process import PeerFailed
from fastattn.data import END, START, PairsError, encode_pairs, read_pairs
from fastattn.training import ModelFolderError, Settings, SettingsError, TrainingRun, TrainingSettings, Translator, load

from . import DEFAULT_PEERS, KINDS, PEERS, report
from .peer import SOURCES_A_STEP, Pairs, Recipe
from .race import Job, measure


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.corpus",
        description="Time training and decoding of real pairs in fastattn and in PyTorch.",
        epilog=f"Peers: {', '.join(PEERS)}, or module:Class. Exit codes: 0 all present peers were measured; 1 one was refused "
        "or failed; 2 wrong usage; 130 interrupted.",
    )
    add = result.add_argument
    add("train", metavar="TRAIN.tsv", help="pairs to train on, laid out as the config file says")
    add("test", metavar="TEST.tsv", help="pairs of which the sources are decoded, each once")
    add("--config", required=True, metavar="FILE.toml", help="the model and how it is trained, as for fastattn train")
    add("--model", metavar="DIR", help="the model that decodes (default: that of the config, trained for --steps)")
    add("--steps", type=int, default=600, help="of training before decoding, where there is no --model (default 600)")
    add("--kind", nargs="+", choices=KINDS, metavar="KIND", default=list(KINDS), help=f"of: {', '.join(KINDS)} (default all)")
    add("--beam", type=int, default=5, metavar="K", help="hypotheses of a source (default 5)")
    add("--length-penalty", type=float, default=0.0, metavar="X", help="its exponent (default 0)")
    add("--batches", type=int, default=40, help="of training in a round (default 40)")
    add("--sources", type=int, metavar="N", help="to decode in a round, evenly drawn (default all)")
    add("--peers", nargs="+", metavar="PEER", help=f"which to measure (default {' '.join(PEERS)}; decoding the first two)")
    add("--threads", type=int, help="of every peer, each on a core of its own (default every available core)")
    add("--rounds", type=int, default=9, help="of measurement (default 9)")
    add("--timeout", type=float, default=900, help="the most seconds that a peer may take for one answer (default 900)")
    add("--json", type=Path, metavar="FILE", help="write everything that was measured")
    add("--markdown", type=Path, metavar="FILE", help="write the tables for a page of documentation")
    return result


@dataclass(frozen=True)
class Work:
    """The corpus as ``fastattn train`` reads it: its pairs, and the model with its first weights."""

    settings: Settings
    pairs: Pairs
    translator: Translator

    @classmethod
    def read(cls, train: str, config: str) -> "Work":
        """SettingsError or PairsError for what cannot be read."""
        # Nothing is validated here: of the training section there are left what a step depends on.
        settings = Settings.read(config, pairs=train, valid_fraction=0.0, token_cache=None)
        training = settings.training
        kept = TrainingSettings(
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            max_grad=training.max_grad,
            seed=training.seed,
        )
        settings = Settings(settings.data, settings.model, kept)
        with tempfile.TemporaryDirectory() as folder:
            run = TrainingRun(settings, Path(folder) / "model")
        return cls(settings, encoded(run.translator, run.corpus.train), run.translator)


def encoded(translator: Translator, pairs: Any) -> Pairs:
    """Pairs of text as the model reads them."""
    vocabularies = translator.source_vocabulary, translator.target_vocabulary
    return Pairs(*encode_pairs(pairs, *vocabularies, reverse_source=translator.reverse_source))


def trained(work: Work, steps: int, threads: int) -> Translator:
    """The model after some steps: one with its first weights hardly ever ends an answer."""
    training, pairs = work.settings.training, work.pairs
    fastattn.set_num_threads(threads)
    rng = np.random.default_rng(training.seed)
    chosen = pairs.chosen(rng.permutation(len(pairs.x))[: steps * training.batch_size])
    fastattn.Trainer(work.translator.model, fastattn.Adam(training.learning_rate)).fit(
        chosen.x,
        chosen.t,
        max(1, round(steps * training.batch_size / len(chosen.x))),
        training.batch_size,
        training.max_grad,
        source_lengths=chosen.source_lengths,
        target_lengths=chosen.target_lengths,
        seed=training.seed,
    )
    return work.translator


def main(arguments: Sequence[str] | None = None) -> int:
    """The command with ``arguments``, or the process's own -> the exit code."""
    signal.signal(signal.SIGTERM, terminate)  # so that the peers end with the parent
    command = parser()
    chosen = command.parse_args(arguments)
    for file in filter(None, (chosen.json, chosen.markdown)):  # now, not when everything has been measured
        if not file.absolute().parent.is_dir():
            command.error(f"there is no folder for {file}")
    for name in ("rounds", "batches", "steps", "beam", "sources"):
        given = getattr(chosen, name)
        if given is not None and given < 1:
            command.error(f"--{name} is {given}; expected at least 1")
    for name in chosen.peers or ():
        if ":" not in name and name not in PEERS:
            command.error(f"there is no peer {name!r} here; expected {', '.join(PEERS)}, or module:Class")
    try:
        threads = chosen.threads if chosen.threads is not None else machine.available_cores()
        cores = machine.choose_cores(threads)
        work = Work.read(chosen.train, chosen.config)
        decoder = load(chosen.model) if chosen.model else None
        sources = dict.fromkeys(source for source, _ in read_pairs(chosen.test, work.settings.data.reading))
    except (ValueError, SettingsError, PairsError, ModelFolderError) as error:
        command.error(str(error))
    settings = {"threads": threads, "cores": cores, "rounds": chosen.rounds, "weights": f"the weights of {chosen.model}"}
    made: dict[str, Any] = {"machine": machine.facts(), "settings": settings, "results": [], "failed": {}}
    try:
        for kind in dict.fromkeys(chosen.kind):
            if kind != "train" and decoder is None:
                settings["weights"] = f"weights of {chosen.steps} steps"
                say(f"training the model that decodes, {chosen.steps} steps")
                decoder = trained(work, chosen.steps, threads)
            job = _job(kind, chosen, threads, cores, work, decoder, sources)
            try:
                results = measure(job, say)
            except PeerFailed as error:  # not a peer, but what all of them need
                made["failed"][kind] = str(error)
                say(f"{kind}: cannot be measured: {error}")
                continue
            made["results"].append(results)
            print(report.text(results, settings), end="\n\n", flush=True)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(report.LEGEND)
    if chosen.json:
        chosen.json.write_text(json.dumps(made, indent=1) + "\n")
    if chosen.markdown:
        chosen.markdown.write_text(report.markdown(made))
    statuses = {record["status"] for results in made["results"] for record in results["peers"].values()}
    return 1 if made["failed"] or statuses & {"refused", "failed"} else 0


def _job(
    kind: str,
    chosen: argparse.Namespace,
    threads: int,
    cores: list[int],
    work: Work,
    decoder: Translator | None,
    sources: Sequence[str] | dict[str, None],
) -> Job:
    training, translator = work.settings.training, work.translator
    pairs, steps = work.pairs, chosen.batches
    if kind != "train":
        assert decoder is not None
        translator = decoder
        texts = translator.sources(list(sources))
        pairs = encoded(translator, [(text, "") for text in texts])
        steps = -(-min(chosen.sources or len(texts), len(texts)) // SOURCES_A_STEP)
    recipe = Recipe(
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        max_grad=training.max_grad,
        seed=training.seed,
        start_id=START,
        end_id=END,
        sample_size=translator.max_target_tokens,
        beam=chosen.beam,
        length_penalty=chosen.length_penalty,
    )
    peers = chosen.peers or DEFAULT_PEERS[kind]
    model = translator.model
    return Job(threads, cores, chosen.rounds, chosen.timeout, False, kind, peers, model, pairs, recipe, steps)


if __name__ == "__main__":
    raise SystemExit(main())
