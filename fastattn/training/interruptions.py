"""Ctrl-C and SIGTERM held back while something must happen wholly or not at all, or noted until a good moment comes."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptions_held() -> Iterator[None]:
    """``with interruptions_held():`` SIGINT and SIGTERM that come during the block take effect at its end.

    Only the main thread ever runs the handlers of signals; in another thread there is nothing to hold.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    # A handler that was not installed from Python reads as None and could not be put back: such a signal is let
    # through.
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not None]
    before = {n: signal.signal(n, lambda number, frame: came.append(number)) for n in numbers}
    try:
        yield
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
        for number in came:
            signal.raise_signal(number)


class Noted:
    """Which signal came, None as long as none did, and when."""

    number: int | None = None
    when = 0.0

    def note(self, number: int) -> None:
        """It came now, to this process or to another that goes on with it."""
        self.number, self.when = number, time.monotonic()


@contextmanager
def interruptions_noted(apart: float = 0.0) -> Iterator[Noted]:
    """``with interruptions_noted() as noted:`` the first SIGINT or SIGTERM of the block is only noted: who runs the block looks
    at ``noted.number`` and ends in order. It takes effect at the end of the block; a second one takes effect at once.

    apart: seconds, within which the same signal counts once. Schedulers send one to all processes of a job, and a process to
    which its parent passes signals on has it twice.

    In another thread than the main one, and of a signal that is ignored, nothing is noted.
    """
    noted = Noted()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, frame: FrameType | None) -> None:
        if noted.number is None:
            noted.note(number)
        elif number != noted.number or time.monotonic() - noted.when >= apart:
            put_back()
            noted.number = None  # it has taken effect
            signal.raise_signal(number)

    def put_back() -> None:
        for n, handler in before.items():
            signal.signal(n, handler)
        before.clear()

    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) not in (None, signal.SIG_IGN)]
    before = {n: signal.getsignal(n) for n in numbers}
    for n in numbers:
        signal.signal(n, note)
    try:
        yield noted
    finally:
        put_back()
        if noted.number is not None:
            signal.raise_signal(noted.number)
