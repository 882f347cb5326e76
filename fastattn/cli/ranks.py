"""A command that several ranks of MPI run together: they leave together, or the job is ended, and one of them says why."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from fastattn.training.communicators import TIMEOUT, Watched, world
from fastattn.training.parallel import RankError

from .common import SaidElsewhereError, Terminated, mendable

# How long a rank that has failed waits for the others: if they have not failed, too, they wait for it elsewhere.
SECONDS = 5.0


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
    own = "told" if isinstance(error, RankError) else type(error).__name__, str(error)
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
