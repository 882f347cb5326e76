"""What sharing a batch is worth to those who ask a server: ``python -m benchmarks.serving DIR TEXTS``.

`fastattn serve` answers on loopback, in a process of its own, and this one asks: so many clients, each with a connection of its
own, each asking for one text and asking again when it has the answer. The rows: clients together, with batches as the server
makes them; the same with batches of one text (``--batch-size 1``). Both servers stand at the same time and are asked in turn,
round after round; figures are of all rounds. The time of a request is what the client sees, from its first byte to the last of
the answer. The clients use the same cores as the server.

Exit status 1 if an answer differs from what the model gives for that text alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import machine
from fastattn.training import Translator

SERVERS = {"batches": [], "one at a time": ["--batch-size", "1", "--batch-wait", "0"]}


@dataclass
class Outcome:
    """Of all rounds: how long each request took, and how long the rounds took together, in seconds."""

    times: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def line(self) -> str:
        """Requests a second, and the times of half of them and of 99 of 100, in ms."""
        cuts = statistics.quantiles(self.times, n=100)
        return f"{len(self.times) / self.seconds:10.0f} {1000 * cuts[49]:9.1f} {1000 * cuts[98]:9.1f}"


class Server:
    """A server that runs, until ``end``."""

    def __init__(self, folder: str, options: Sequence[str]) -> None:
        command = [sys.executable, "-m", "fastattn", "serve", folder, "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "http" not in line:
            sys.exit("benchmarks.serving: the server did not start")
        self.port = int(line.strip().rstrip("/").rpartition(":")[2])

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate()


async def client(port: int, bodies: Sequence[bytes], place: int, until: float, found: Outcome, answers: dict[int, Any]) -> None:
    """Asks, and asks again, until the time is over. place: with which of the bodies it begins."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (start := time.perf_counter()) < until:
        body = bodies[place % len(bodies)]
        head = f"POST /translate HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        writer.write(f"{head}\r\n\r\n".encode() + body)
        status, *headers = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(int(line.partition(b":")[2]) for line in headers if line.startswith(b"content-length:"))
        content = await reader.readexactly(length)
        if b" 200 " not in status:
            sys.exit(f"benchmarks.serving: the server refused: {content.decode()}")
        found.times.append(time.perf_counter() - start)
        answers[place % len(bodies)] = content
        place += 7919  # clients that ask for different texts, whose lengths are those of all
    writer.close()


async def ask(
    port: int, bodies: Sequence[bytes], clients: int, seconds: float, found: Outcome, answers: dict[int, Any]
) -> None:
    """One round."""
    start = time.perf_counter()
    asking = (client(port, bodies, 104729 * i, start + seconds, found, answers) for i in range(clients))
    await asyncio.gather(*asking)
    found.seconds += time.perf_counter() - start


def differing(translator: Translator, texts: Sequence[str], search: dict[str, Any], answers: dict[int, Any]) -> int:
    """How many answers are not what the model gives for the text alone."""
    wrong = 0
    for place, content in answers.items():
        (given,) = json.loads(content)["results"]
        found = translator.search([texts[place]], beam=search["beam"], n_best=search["n_best"])[0]
        wrong += [answer["tokens"] for answer in given["answers"]] != [list(answer.tokens) for answer in found]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", metavar="DIR", help="the folder of a model")
    parser.add_argument("texts", metavar="TEXTS", help="a file with a text a line; of a line with a tab, what stands before it")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--beam", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seconds", type=float, default=4.0, help="of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--batch-wait", default=None, metavar="MS", help="of the server with batches")
    arguments = parser.parse_args()
    lines = Path(arguments.texts).read_text(encoding="utf-8").splitlines()
    texts = list(dict.fromkeys(line.partition("\t")[0] for line in lines if line.strip()))
    options = {name: [*given] for name, given in SERVERS.items()}
    if arguments.batch_wait is not None:
        options["batches"] += ["--batch-wait", arguments.batch_wait]
    translator = Translator.load(arguments.folder)
    told = machine.facts()
    print(f"{told['cpu']}, {told['cores']} cores; load {told['load_average']}; {told['date']}")
    print(f"{'':14} {'beam':>5} {'clients':>8} {'requests/s':>10} {'p50, ms':>9} {'p99, ms':>9}")
    servers: dict[str, Server] = {}
    wrong = 0
    try:
        for name, given in options.items():
            servers[name] = Server(arguments.folder, given)
        for beam in arguments.beam:
            search = {"beam": beam, "n_best": min(beam, 5)}
            bodies = [json.dumps({"texts": [text], "scores": True, **search}).encode() for text in texts]
            for clients in arguments.clients:
                found = {name: Outcome() for name in servers}
                answers: dict[str, dict[int, Any]] = {name: {} for name in servers}
                for _ in range(arguments.rounds):
                    for name, server in servers.items():
                        asyncio.run(ask(server.port, bodies, clients, arguments.seconds, found[name], answers[name]))
                for name, outcome in found.items():
                    print(f"{name:14} {beam:5} {clients:8} {outcome.line()}", flush=True)
                    wrong += differing(translator, texts, search, dict([*answers[name].items()][:200]))
    finally:
        for server in servers.values():
            server.end()
    if wrong:
        print(f"benchmarks.serving: {wrong} answers differ from those to the text alone", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
