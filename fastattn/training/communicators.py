"""MPI, by mpi4py: whether this process is one of several ranks, and a communicator that waits for no rank for ever.

Nothing here is imported, and mpi4py is not, unless a training is to run on MPI.
"""

from __future__ import annotations

import importlib
import os
import pickle
import platform
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from fastattn.data import MissingExtraError, require

TIMEOUT = 300.0
_ANSWER = 5.0  # seconds, in which a rank that waits answers a roll call
_SPIN = 0.05  # seconds of looking again and again: a message moves only meanwhile; then a rank that waits leaves its core
_CALLS = 7  # the tag of a roll call

# How many processes a launcher has started together, as it tells each of them: of mpich and those made of it, of Open MPI, and
# of Slurm, for which a job of one is none.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_SLURM = "SLURM_STEP_NUM_TASKS"
_RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")


class _LateError(Exception):
    """The others have not come in time."""


class MpiError(RuntimeError):
    """MPI cannot be used as it was meant to be. The message says what to mend."""


def launched(environment: Mapping[str, str] = os.environ) -> int | None:
    """How many processes were started together with this one, it included; None unless a launcher of MPI started it."""
    for name in _SIZES:
        if environment.get(name, "").isdecimal():
            return int(environment[name])
    of_slurm = environment.get(_SLURM, "")
    return int(of_slurm) if of_slurm.isdecimal() and int(of_slurm) > 1 else None


def launched_as(environment: Mapping[str, str] = os.environ) -> str:
    """The number of this process among them, as the launcher says it; "?" where it says none."""
    return next((environment[name] for name in _RANKS if name in environment), "?")


def require_mpi() -> None:
    """MissingExtraError without mpi4py."""
    require("mpi4py", "mpi", "training on MPI")


def world(timeout: float = TIMEOUT) -> Watched:
    """All ranks. MissingExtraError without mpi4py; MpiError without MPI, or where it does not see what the launcher started."""
    require_mpi()
    try:
        mpi = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise MissingExtraError(
            f"mpi4py finds no MPI ({reason:.200}); on a cluster load its own, elsewhere: pip install mpich"
        ) from error
    expected = launched()
    if expected is not None and mpi.COMM_WORLD.size != expected:
        library = mpi.Get_library_version().splitlines()[0].strip("\0")
        raise MpiError(
            f"{expected} processes were started together, but MPI sees {mpi.COMM_WORLD.size}: the launcher is not that of the "
            f"MPI that mpi4py uses ({library:.100}); expected its own mpiexec, or for Slurm srun --mpi=pmix or --mpi=pmi2"
        )
    return Watched(mpi, mpi.COMM_WORLD, timeout)


class Watched:
    """A communicator of mpi4py's as a training uses one, but that no rank waits in it for longer than ``timeout`` seconds.

    A rank that has waited so long calls the roll. Those that wait, too, answer, and the others are named on standard error:
    each has died, is stopped, hangs, or is slower than that. The job then ends everywhere, by Abort.
    """

    def __init__(self, mpi: Any, communicator: Any, timeout: float = TIMEOUT) -> None:
        self._mpi, self.timeout = mpi, timeout
        self.rank, self.size = int(communicator.rank), int(communicator.size)
        self._waits_since: float | None = time.monotonic()
        threading.Thread(target=self._watch, daemon=True, name="fastattn-mpi").start()
        self._data, self._calls = communicator.Dup(), communicator.Dup()
        self.places: list[tuple[str, int]] = [(platform.node(), os.getpid())]  # the host and the process of each rank
        self.places = self.allgather(self.places[0])
        self._waits_since = None

    # What a training uses.

    def Allgather(self, sendbuf: Any, recvbuf: Any, /) -> None:
        self._wait(self._data.Iallgather(sendbuf, recvbuf))

    def Allgatherv(self, sendbuf: Any, recvbuf: Any, /) -> None:
        self._wait(self._data.Iallgatherv(sendbuf, recvbuf))

    def Alltoallv(self, sendbuf: Any, recvbuf: Any, /) -> None:
        self._wait(self._data.Ialltoallv(sendbuf, recvbuf))

    def allgather(self, sendobj: Any, /) -> list[Any]:
        """The objects are pickled, by this program for itself."""
        return self._gathered(self._data, sendobj, self._wait)

    def bcast(self, obj: Any, /) -> Any:
        return self.allgather(obj if self.rank == 0 else None)[0]

    # How a job ends.

    def leave(self, words: Any, seconds: float | None = None) -> list[Any] | None:
        """At the end: what all ranks say, in order. None where one does not come, for so many seconds if they are given."""
        if seconds is None:
            return self._gathered(self._calls, words, self._wait)
        ends = time.monotonic() + seconds

        def wait(request: Any) -> None:
            while not request.Test():
                if time.monotonic() > ends:
                    raise _LateError
                time.sleep(0.01)

        try:
            return self._gathered(self._calls, words, wait)
        except (_LateError, self._mpi.Exception):
            return None

    def abort(self, code: int) -> NoReturn:
        """Ends the job, on all ranks, at once."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._mpi.COMM_WORLD.Abort(code)
        os._exit(code)

    def named(self, rank: int) -> str:
        """A rank with its process and its host."""
        host, process = self.places[rank]
        return f"rank {rank} (process {process} on {host})"

    def in_words(self) -> str:
        """How many ranks there are, where, and as which processes, in the order of their numbers."""
        by_host: dict[str, list[int]] = {}
        for host, process in self.places:
            by_host.setdefault(host, []).append(process)
        said = []
        for host, processes in by_host.items():
            numbers = f"process{'es' * (len(processes) > 1)} {' '.join(map(str, processes))}"
            said.append(f"{len(processes)} on {host} ({numbers})")
        return ", ".join(said)

    # Waiting.

    def _gathered(self, communicator: Any, given: Any, wait: Callable[[Any], None]) -> list[Any]:
        content = np.frombuffer(pickle.dumps(given), np.uint8)
        sizes = np.empty(self.size, np.int64)
        wait(communicator.Iallgather(np.array([content.size]), sizes))
        everything = np.empty(int(sizes.sum()), np.uint8)
        wait(communicator.Iallgatherv([content, content.size], [everything, sizes.tolist()]))
        return [pickle.loads(part.tobytes()) for part in np.split(everything, np.cumsum(sizes)[:-1])]

    def _wait(self, request: Any) -> None:
        if request.Test():
            return
        began = self._waits_since = time.monotonic()
        looked = began
        try:
            while not request.Test():
                now = time.monotonic()
                if now - began > self.timeout:
                    self._end_by_roll_call()
                if now - began > _SPIN:
                    time.sleep(0.0001)
                    if now - looked > 0.1:
                        looked = now
                        if self._calls.Iprobe(source=self._mpi.ANY_SOURCE, tag=_CALLS):
                            self._end_by_roll_call()
                elif hasattr(os, "sched_yield"):
                    os.sched_yield()
        finally:
            self._waits_since = None

    def _end_by_roll_call(self) -> NoReturn:
        began = time.monotonic()
        self._waits_since = began  # the watch begins anew
        nothing = np.zeros(1, np.uint8)
        others = [rank for rank in range(self.size) if rank != self.rank]
        requests = [self._calls.Isend(nothing, dest=rank, tag=_CALLS) for rank in others]
        there, status = {self.rank}, self._mpi.Status()
        while time.monotonic() - began < _ANSWER and len(there) < self.size:
            if self._calls.Iprobe(source=self._mpi.ANY_SOURCE, tag=_CALLS, status=status):
                self._calls.Recv(np.empty(1, np.uint8), source=status.Get_source(), tag=_CALLS)
                there.add(status.Get_source())
            else:
                time.sleep(0.01)
        if self.rank != min(there):
            time.sleep(_ANSWER)  # the first of those that are there says it
        absent = [self.named(rank) for rank in range(self.size) if rank not in there]
        more = f" and {len(absent) - 8} others" if len(absent) > 8 else ""
        said = f"all ranks have waited for one another for {self.timeout:g} seconds"
        if absent:
            said = (
                f"{', '.join(absent[:8])}{more} did not come within {self.timeout:g} seconds (--mpi-timeout): dead, stopped, "
                "hung, or too slow"
            )
        print(f"fastattn: {said}; the job ends", file=sys.stderr)
        del requests
        self.abort(1)

    def _watch(self) -> None:
        """Ends the process where MPI itself does not come back from a call, so that nobody else can end it."""
        late = self.timeout + 3 * _ANSWER
        while True:
            time.sleep(min(5.0, late / 4))
            since = self._waits_since
            if since is not None and time.monotonic() - since > late:
                print(f"fastattn: rank {self.rank}: MPI has not answered for {late:g} seconds; the job ends", file=sys.stderr)
                sys.stderr.flush()
                os._exit(1)
