"""What the compiler of the kernels has to do, for those who tell somebody what he waits for, and for those who measure speed.

Each thread has its own account: a kernel is compiled by the thread that calls it first.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Compilation(threading.local):
    """functions: how many were compiled until now; what a cache holds is not compiled. seconds: how long that took in all, and
    all else that a kernel needs before its first call: to import, to load and to link.
    """

    def __init__(self) -> None:
        self.functions = 0
        self.seconds = 0.0
        self._depth = 0  # a function that is compiled may need another one first
        self._began = 0.0
        self._listeners: list[Callable[[], object]] = []

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """The time of the block is that of preparing kernels."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def begin(self) -> None:
        """One function's compilation begins."""
        self._enter()
        self._tell()

    def end(self) -> None:
        """It has ended."""
        self.functions += 1
        self._tell()
        self._leave()

    def _enter(self) -> None:
        if not self._depth:
            self._began = time.perf_counter()
        self._depth += 1

    def _leave(self) -> None:
        self._depth -= 1
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
