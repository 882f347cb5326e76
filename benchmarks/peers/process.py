"""A peer's process, seen from the parent."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[2]  # of the repository, where `benchmarks` can be imported
NUMBERS_OF_THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "FASTATTN_NUM_THREADS",
    "NPROC",  # XLA's
)  # fmt: skip


class PeerAbsent(Exception):
    """The peer's library is not installed."""


class PeerFailed(Exception):
    """The peer said that it failed, or said nothing, or is dead."""


def environment(threads: int) -> dict[str, str]:
    """This process's environment, with the number of threads for every library, and no choice of a slower CPU."""
    changed = dict(os.environ)
    for name in ("OPENBLAS_CORETYPE", "FASTATTN_BACKEND"):
        changed.pop(name, None)
    changed.update(dict.fromkeys(NUMBERS_OF_THREADS, str(threads)))
    changed.update(JAX_PLATFORMS="cpu", CUDA_VISIBLE_DEVICES="")
    changed["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), changed.get("PYTHONPATH"))))
    return changed


class PeerProcess:
    """From the start to ``close``, after which the process and all that it started are dead.

    target: "module:Class" of the peer. cores: the only ones it may use; none for all of them. log: where its standard
    error goes. timeout: the seconds within which every answer must come.
    """

    def __init__(self, target: str, cores: Sequence[int], environment: dict[str, str], log: Path, timeout: float) -> None:
        self._log, self._timeout = log, timeout
        self._started = perf_counter()
        with log.open("w") as errors:
            # A session of its own: Ctrl-C in the terminal reaches only the parent, and one signal its whole offspring.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.peers.worker", target, *map(str, cores)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
                start_new_session=True,
            )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")  # nothing more will come

    @property
    def age(self) -> float:
        """Seconds since the process was started."""
        return perf_counter() - self._started

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer to a request (see `worker`). PeerAbsent or PeerFailed when there is none."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=self._timeout)
        except queue.Empty:
            raise PeerFailed(f"no answer to {do!r} within {self._timeout:g} s") from None
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerFailed(f"its process ended ({_ending(self._process.wait())}) instead of answering {do!r}")
        answer = json.loads(line)
        if "absent" in answer:
            raise PeerAbsent(answer["absent"])
        if "error" in answer:
            raise PeerFailed(answer["error"])
        return answer

    def last_words(self, lines: int = 20) -> str:
        """The end of what it wrote to standard error."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """May be called more than once."""
        # An idle worker has nothing to lose, and a hanging one would not listen to anything gentler.
        if self._process.poll() is None:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
