"""Ctrl-C and SIGTERM held back while something must happen wholly or not at all."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
