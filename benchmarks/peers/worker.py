"""The process of one peer: ``python -m benchmarks.peers.worker module:Class [CORE ...]``, started by `process`.

Reads a request a line from standard input, answers each with a line on standard output, both JSON, and ends when there
is no more input:

    {"do": "load", task ...}          -> {"tolerance"}
    {"do": "work", "count": k}        -> {"seconds", "cpu_seconds", "idle_cpu_seconds", "result"}
    {"do": "memory"}                  -> {"bytes"}

``seconds`` is what the k steps took, by a clock in this process, and ``cpu_seconds`` the processor time that all its
threads used for them. ``idle_cpu_seconds`` is what they used since the last answer, when there was nothing to do: threads
that spin instead of sleeping show here.

Instead of any of these comes {"absent": reason} for a library that is not installed, {"error": reason} for what failed.
"""

import importlib
import json
import os
import sys
import time
from typing import Any, TextIO


class Service:
    """The peer and the answers."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.idle_since = time.process_time()

    def load(self, kind: str, **task: Any) -> dict[str, Any]:
        """Imports the library and builds the peer of the task. ``kind`` names the method that `work` will call."""
        from .peer import Peer

        module, _, name = self.target.partition(":")
        peer_class: type[Peer] = getattr(importlib.import_module(module), name)
        peer = peer_class(peer_class.task_class.of(kind, **task))
        self.method = getattr(peer, kind)
        return {"tolerance": peer.tolerance}

    def work(self, count: int) -> dict[str, Any]:
        """``count`` steps, and how long they took."""
        start, cpu_start = time.perf_counter(), time.process_time()
        outcome = self.method(count)
        answer = {
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu_start,
            "idle_cpu_seconds": cpu_start - self.idle_since,
        }
        return answer | {"result": outcome()}

    def memory(self) -> dict[str, Any]:
        """The most memory that this process has had resident, None where the system does not say."""
        return {"bytes": peak_memory()}


def peak_memory() -> int | None:
    """In bytes. Not from getrusage on Linux: there a new process begins with its parent's peak."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (FileNotFoundError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def answer(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    """What the request asks for, or why not."""
    try:
        return getattr(service, request.pop("do"))(**request)
    except ModuleNotFoundError as error:
        return {"absent": str(error)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def serve(service: Service, requests: TextIO, answers: TextIO) -> None:
    """Until there are no more requests."""
    for line in requests:
        answers.write(json.dumps(answer(service, json.loads(line))) + "\n")
        answers.flush()
        service.idle_since = time.process_time()


def main() -> None:
    target, *cores = sys.argv[1:]
    if cores:
        os.sched_setaffinity(0, map(int, cores))
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Service(target), sys.stdin, answers)


if __name__ == "__main__":
    main()
