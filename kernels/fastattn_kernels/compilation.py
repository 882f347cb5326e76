"""What the compiler of the kernels has to do, for those who tell somebody what he waits for, and for those who measure speed.

Each thread has its own account: a kernel is compiled by the thread that calls it first.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Compilation(threading.local):
    """functions: how many were compiled until now; seconds: how long that took in all. What a cache holds is not compiled."""

    def __init__(self) -> None:
        self.functions = 0
        self.seconds = 0.0
        self._depth = 0  # a function that is compiled may need another one first
        self._began = 0.0
        self._listeners: list[Callable[[], object]] = []

    def begin(self) -> None:
        """One function's compilation begins."""
        if not self._depth:
            self._began = time.perf_counter()
            self._tell()
        self._depth += 1

    def end(self) -> None:
        """It has ended."""
        self._depth -= 1
        self.functions += 1
        self._tell()
        if not self._depth:
            self.seconds += time.perf_counter() - self._began

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    @contextmanager
    def told(self, listener: Callable[[int], object]) -> Iterator[None]:
        """Within the block ``listener`` is called with the number of functions compiled in it: 0 at first, then as it grows."""
        before = self.functions

        def tell() -> None:
            listener(self.functions - before)

        self._listeners.append(tell)
        try:
            yield
        finally:
            self._listeners.remove(tell)


compilation = Compilation()
