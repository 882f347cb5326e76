"""A command that several ranks of MPI run together: they leave together, or the job is ended, and one of them says why."""

import ctypes
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from fastattn.training.communicators import TIMEOUT, Watched, launched, launched_as, require_mpi, world
from fastattn.training.parallel import RankError

from .common import SaidElsewhereError, Terminated, UserError, mendable

# How long a rank that has failed waits for the others: if they have not failed, too, they wait for it elsewhere.
SECONDS = 5.0


_DIE_WITH_PARENT = 1  # of Linux's prctl


def guarded() -> None:
    """Goes on in a child, where a launcher has started this process; the process itself waits for it, and passes signals on.

    So there is somebody to say of a rank that was killed which one it was: launchers kill the others at once, and mpich's
    names any of them. The child dies with its parent. MissingExtraError without mpi4py.
    """
    require_mpi()
    if launched() is None or not hasattr(os, "fork"):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        _die_with(parent)
        os.setpgid(0, 0)  # Ctrl-C in a terminal goes to all of a group: it comes from the parent alone
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os.kill(child, number))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        which = f"rank {launched_as()} (process {child} on {platform.node()})"
        print(f"fastattn: {which} was ended by {signal.Signals(-code).name}; the job ends", file=sys.stderr, flush=True)
        code = 128 - code
    os._exit(code)


def _die_with(parent: int) -> None:
    """This process is killed when its parent dies; on other systems than Linux it sees to that itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, int(signal.SIGKILL))
    else:

        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(0.5)
            os._exit(1)

        threading.Thread(target=watch, daemon=True, name="fastattn-parent").start()
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def joined(timeout: float | None) -> Iterator[Watched]:
    """All ranks, for the block of each.

    What fails in the same words on several ranks is left to the first of them to say, and what failed elsewhere to where it
    did. Where the others do not come to the end of their blocks, because they still wait for this one, the job is ended.
    """
    communicator = world(TIMEOUT if timeout is None else timeout)
    try:
        yield communicator
    except SystemExit:
        raise
    except BaseException as error:
        _leave(communicator, error)
        raise
    communicator.leave(("done", ""))


def _leave(communicator: Watched, error: BaseException) -> None:
    """SaidElsewhereError where another rank says it."""
    code = 130 if isinstance(error, KeyboardInterrupt) else 143 if isinstance(error, Terminated) else 1
    cause = error.__cause__ if isinstance(error, UserError) and error.__cause__ else error  # the first rank says more of it
    own = "told" if isinstance(error, RankError) else type(cause).__name__, str(cause)
    said = communicator.leave(own, SECONDS)
    if said is None:
        words = str(error) or type(error).__name__
        if isinstance(error, Exception) and not isinstance(error, mendable()):
            traceback.print_exc()
        print(f"fastattn: rank {communicator.rank}: {words}; the job ends", file=sys.stderr)
        communicator.abort(code)
    first = next((rank for rank, each in enumerate(said) if each[0] not in ("done", "told")), communicator.rank)
    if (own[0] == "told" and first != communicator.rank) or own in said[: communicator.rank]:
        raise SaidElsewhereError(code) from None
    stops = ("KeyboardInterrupt", "Terminated")  # of these the first rank knows what is saved
    if own[0] in stops and any(each[0] in stops for each in said[: communicator.rank]):
        raise SaidElsewhereError(code) from None
