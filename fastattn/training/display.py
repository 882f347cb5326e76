"""What a fit shows while it runs: a bar in a terminal, a widget or lines in a notebook, or nothing."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from tqdm import tqdm

from fastattn import backend
from fastattn.drawing import in_notebook

from .records import EpochRecord, epoch_line

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]"


def compiling_words() -> str:
    """What is said while kernels compile."""
    if backend.cache_folder() is None:
        return "compiling kernels (in every process: there is no folder to keep them in)"
    return "compiling kernels (once on this machine)"


class Display:
    """Shows nothing; the other displays show what they are told.

    ``shows_steps``: whether `step` shows anything.
    """

    shows_steps = False

    def begin_epoch(self, epoch: int) -> None:
        """Before its first step."""

    def compiling(self, count: int) -> None:
        """While kernels compile, of which ``count`` are done."""

    def step(self, tokens: int, said: str, compiling_seconds: float) -> None:
        """After a step of so many tokens. compiling_seconds: the part of its time in which kernels were made ready."""

    def end_epoch(self, record: EpochRecord) -> None:
        """After its validation."""

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """``with display.cleared():`` others may print in the block."""
        yield

    def close(self) -> None:
        """After the fit, and after one that failed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Bar(Display):
    """A bar of tqdm's, on standard error or as a widget. tokens: of all epochs; last: the number of the last epoch."""

    def __init__(self, tokens: int, last: int, kind: Any = tqdm, **options: Any) -> None:
        self._bar = kind(total=tokens, unit=" tokens", unit_scale=True, dynamic_ncols=True, bar_format=BAR, **options)
        self._last = last
        self._epoch = self._description = ""

    @property
    def shows_steps(self) -> bool:  # type: ignore[override]
        return not self._bar.disable

    def _describe(self, description: str) -> None:
        if description != self._description:
            self._description = description
            self._bar.set_description(description)

    def begin_epoch(self, epoch: int) -> None:
        self._epoch = f"epoch {epoch}/{self._last}"
        self._describe(self._epoch)

    def compiling(self, count: int) -> None:
        if self.shows_steps:
            self._describe(f"{compiling_words()}, {count} so far")

    def step(self, tokens: int, said: str, compiling_seconds: float) -> None:
        if not self.shows_steps:
            return
        # tqdm's rate is that of training.
        self._bar.start_t += compiling_seconds
        self._bar.last_print_t += compiling_seconds
        self._describe(self._epoch)
        self._bar.set_postfix_str(said, refresh=False)
        self._bar.update(tokens)

    @contextmanager
    def cleared(self) -> Iterator[None]:
        self._describe(self._epoch)
        self._bar.clear()
        yield
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


class Lines(Display):
    """A line an epoch, on standard output: in a notebook standard error has the colour of mistakes."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._compiling = ""  # what stands in a line that has no end yet

    def compiling(self, count: int) -> None:
        words = f"{compiling_words()}, {count} so far"
        if words != self._compiling:
            self._compiling = words
            print(f"\r{words}", end="", flush=True)

    def _end_line(self) -> None:
        if self._compiling:
            print(f"\r{' ' * len(self._compiling)}\r", end="", flush=True)
            self._compiling = ""

    def step(self, tokens: int, said: str, compiling_seconds: float) -> None:
        self._end_line()

    @contextmanager
    def cleared(self) -> Iterator[None]:
        self._end_line()
        yield

    def end_epoch(self, record: EpochRecord) -> None:
        self._end_line()
        print(epoch_line(record, self._last), flush=True)

    def close(self) -> None:
        self._end_line()


def new_display(progress: bool | None, tokens: int, last: int, done: int = 0) -> Display:
    """progress: whether anything is to be shown; None: in a terminal and in a notebook.

    tokens: those of all epochs; last: the number of the last epoch; done: the tokens of before, where a fit goes on.
    """
    if progress is False:
        return Display()
    if not in_notebook():
        return Bar(tokens, last, initial=done, disable=None if progress is None else False, leave=False)
    if importlib.util.find_spec("ipywidgets") is None:
        return Lines(last)
    from tqdm.auto import tqdm as widget

    return Bar(tokens, last, widget, initial=done)
