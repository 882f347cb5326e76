"""The command ``python -m benchmarks.peers``: see the package."""

import argparse
import importlib.util
import itertools
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from benchmarks.models import MODELS
from benchmarks.shapes import NAMED, Shape

from . import DEFAULT_PEERS, PEERS, machine, report
from .measure import Job, measure
from .process import PeerFailed

GENERATE_BATCHES = (1, 128)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description="Time the same training step, or the same search, of a model in fastattn and in other libraries.",
        epilog=f"Peers: {', '.join(PEERS)}, or module:Class. Exit codes: 0 all present peers were measured; 1 one was "
        "refused or failed; 2 wrong usage; 130 interrupted.",
    )
    add = result.add_argument
    add(
        "--model",
        nargs="+",
        choices=MODELS,
        metavar="NAME",
        default=["plain"],
        help=f"the models, one after another (default plain): {', '.join(MODELS)}; docs/performance.md says what they are",
    )
    add(
        "--name",
        action="append",
        choices=NAMED,
        default=[],
        help="a named shape; repeatable (all of them if no shape is given)",
    )
    add(
        "--shape",
        action="append",
        default=[],
        metavar="N,T1,T2,V,D,H",
        help="another shape; repeatable; T2 counts the start symbol",
    )
    add(
        "--generate",
        action="store_true",
        help=f"time batched greedy searches of T2 - 1 tokens, at N = {GENERATE_BATCHES}, not training",
    )
    add("--peers", nargs="+", metavar="PEER", help=f"which to measure (default {' '.join(DEFAULT_PEERS['train'])})")
    add("--threads", type=int, help="of every peer, each on a core of its own (default every available core)")
    add("--rounds", type=int, default=15, help="of measurement (default 15)")
    add("--cold", action="store_true", help="with empty caches of compiled code, to see the time to the very first step")
    add("--timeout", type=float, default=600, help="the most seconds that a peer may take for one answer (default 600)")
    add("--json", type=Path, metavar="FILE", help="write everything that was measured")
    add("--markdown", type=Path, metavar="FILE", help="write the tables for a page of documentation")
    add("--plot", type=Path, metavar="FILE", help="draw the time ratios as bars (needs matplotlib)")
    add("--from", type=Path, dest="earlier", metavar="FILE", help="measure nothing, but show what --json wrote earlier")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """The command with ``arguments``, or the process's own -> the exit code."""
    signal.signal(signal.SIGTERM, terminate)  # so that the peers end with the parent
    command = parser()
    chosen = command.parse_args(arguments)
    for file in filter(None, (chosen.json, chosen.markdown, chosen.plot)):  # now, not when everything has been measured
        if not file.absolute().parent.is_dir():
            command.error(f"there is no folder for {file}")
    if chosen.plot and not importlib.util.find_spec("matplotlib"):
        command.error("--plot needs matplotlib: pip install 'fastattn[peers]'")
    try:
        if chosen.earlier:
            made = json.loads(chosen.earlier.read_text())
            for results in made["results"]:
                print(report.text(results, made["settings"]), end="\n\n")
        else:
            made = _measure_all(command, chosen)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(report.LEGEND)
    print(report.summary(made["results"]))
    if chosen.json:
        chosen.json.write_text(json.dumps(made, indent=1) + "\n")
    if chosen.markdown:
        chosen.markdown.write_text(report.markdown(made))
    if chosen.plot:
        report.plot(made, chosen.plot)
    statuses = {record["status"] for results in made["results"] for record in results["peers"].values()}
    return 1 if made["failed"] or statuses & {"refused", "failed"} else 0


def _measure_all(command: argparse.ArgumentParser, chosen: argparse.Namespace) -> dict[str, Any]:
    """Measures model after model, shape after shape, printing each table when it is there."""
    kind = "generate" if chosen.generate else "train"
    names = chosen.peers or DEFAULT_PEERS[kind]
    known = DEFAULT_PEERS[kind] if chosen.generate else tuple(PEERS)  # these alone have a search
    for name in names:
        if ":" not in name and name not in known:
            command.error(f"there is no peer {name!r} here; expected {', '.join(known)}, or module:Class")
    if chosen.rounds < 1:
        command.error(f"--rounds is {chosen.rounds}; expected at least 1")
    try:
        shapes = {name: NAMED[name] for name in chosen.name} | {text: Shape.from_text(text) for text in chosen.shape}
        threads = chosen.threads if chosen.threads is not None else machine.available_cores()
        cores = machine.choose_cores(threads)
    except ValueError as error:
        command.error(str(error))
    shapes = shapes or NAMED
    if kind == "generate":
        shapes = {f"{name} N={N}": replace(shape, N=N) for name, shape in shapes.items() for N in GENERATE_BATCHES}
    settings = {"kind": kind, "threads": threads, "cores": cores, "rounds": chosen.rounds, "cold": chosen.cold}
    made: dict[str, Any] = {"machine": machine.facts(), "settings": settings, "results": [], "failed": {}}
    peers = {name: PEERS.get(name, name) for name in names}
    for model, (name, shape) in itertools.product(dict.fromkeys(chosen.model), shapes.items()):
        job = Job(threads, cores, chosen.rounds, chosen.timeout, chosen.cold, name, shape, kind, peers, model)
        try:
            results = measure(job, say)
        except PeerFailed as error:  # not a peer, but what all of them need
            made["failed"][f"{model} {name}"] = str(error)
            say(f"{job.title}: cannot be measured: {error}")
            continue
        made["results"].append(results)
        print(report.text(results, settings), end="\n\n", flush=True)
    return made


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
