"""Requests that arrive together share a batch: a queue, and the one thread that computes.

One thread, since the kernels use every core. A text has the same answers in any batch, so that nobody sees who else asked.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import islice
from typing import Any

# How long the first of a batch waits for others, in seconds. What comes while a batch is computed makes the next one; to wait
# on top of that is no faster for 4 to 64 clients, and slower for one (benchmarks/serving.py). And how many texts share a batch.
WAIT = 0.0
SIZE = 64

# So many characters of a text take a place in a batch, and what is left of them one more.
PLACE = 64

# What is computed: texts that are asked for in the same way -> an answer to each.
Compute = Callable[[Any, list[str]], Sequence[Any]]


class Full(Exception):
    """There are too many texts waiting."""


class Closed(Exception):
    """The server is stopping."""


class Job(Future[list[Any]]):
    """The texts of a request, and, as the future's result, their answers. Whoever cancels it is not computed for."""

    def __init__(self, how: Hashable, texts: Sequence[str]) -> None:
        super().__init__()
        self.how = how
        self.texts = texts
        self.arrived = time.monotonic()
        self.answers: list[Any] = []
        self.taken = 0  # texts that went into a batch

    @property
    def waiting(self) -> int:
        """How many texts went into none."""
        return 0 if self.done() else len(self.texts) - self.taken

    def take(self, count: int) -> list[str]:
        """The next of its texts, at most so many."""
        start, self.taken = self.taken, min(self.taken + count, len(self.texts))
        return list(self.texts[start : self.taken])

    def add(self, answers: Sequence[Any]) -> None:
        """The answers to what was taken."""
        self.answers += answers
        if len(self.answers) == len(self.texts):
            self._end(lambda: self.set_result(self.answers))

    def fail(self, error: BaseException) -> None:
        self._end(lambda: self.set_exception(error))

    def _end(self, how: Callable[[], None]) -> None:
        with suppress(InvalidStateError):  # it was cancelled at this moment
            how()


class Batcher:
    """A thread that computes what `submit` gives it, batch by batch.

    compute: (how, texts) -> an answer to each text; ``how`` is what texts must have in common to share a batch. size(how): so
    many places a batch has; a text takes one, a long one more. wait: so many seconds the first of a batch waits for others.
    limit: so many texts may wait. told(count, seconds): called after each batch.

    A request of many texts is computed in several batches, between which the others have their turn.
    """

    def __init__(
        self,
        compute: Compute,
        *,
        size: Callable[[Any], int] = lambda how: SIZE,
        wait: float = WAIT,
        limit: int = 20_000,
        told: Callable[[int, float], None] = lambda count, seconds: None,
    ) -> None:
        self._compute, self._size, self._told = compute, size, told
        self._wait, self._limit = wait, limit
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="fastattn-serve", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether what is submitted will be computed."""
        return self._thread.is_alive() and not self._closed

    @property
    def waiting(self) -> int:
        """How many texts wait, those of the batch that is computed not counted."""
        with self._changed:
            return sum(job.waiting for job in self._jobs)

    def submit(self, how: Hashable, texts: Sequence[str]) -> Job:
        """The answers will be the job's result. Full or Closed, where they will not."""
        job = Job(how, texts)
        if not texts:
            job.set_result([])
            return job
        with self._changed:
            if self._closed:
                raise Closed
            waiting = sum(each.waiting for each in self._jobs)
            if waiting and waiting + len(texts) > self._limit:
                raise Full
            self._jobs.append(job)
            self._changed.notify()
        return job

    def close(self, timeout: float | None = None) -> bool:
        """Ends the thread after the batch that it computes. What waits fails with Closed. Whether it ended in that time."""
        with self._changed:
            self._closed = True
            jobs = [*self._jobs]
            self._changed.notify()
        for job in jobs:
            job.fail(Closed())
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            self._answer(batch)
            del batch  # which holds the answers while the thread waits

    def _next(self) -> list[tuple[Job, list[str]]] | None:
        """The next batch, when it has waited; None at the end."""
        with self._changed:
            while True:
                self._drop_done()
                if self._closed:
                    return None
                if not self._jobs:
                    self._changed.wait()
                    continue
                head = self._jobs[0]
                size = max(1, self._size(head.how))
                left = head.arrived + self._wait - time.monotonic()
                if left <= 0 or sum(job.waiting for job in self._alike(head.how)) >= size:
                    return self._take(head.how, size)
                self._changed.wait(left)

    def _drop_done(self) -> None:
        """Those that were cancelled, wholly taken or have failed."""
        if any(not job.waiting for job in self._jobs):
            self._jobs = deque(job for job in self._jobs if job.waiting)

    def _alike(self, how: Hashable) -> Iterator[Job]:
        return (job for job in self._jobs if job.how == how)

    def _take(self, how: Hashable, size: int) -> list[tuple[Job, list[str]]]:
        """Texts of all jobs of this kind: of each its share, and what is left of the room in the order of arrival."""
        alike = list(self._alike(how))
        counts, spent = dict.fromkeys(alike, 0), dict.fromkeys(alike, 0)
        room, share = size, max(1, size // len(alike))
        for most in (share, size):
            for job in alike:
                for text in islice(job.texts, job.taken + counts[job], None):
                    places = 1 + len(text) // PLACE
                    # One text goes in, however long, for else it would never do.
                    if (places > room and room < size) or (spent[job] and spent[job] + places > most):
                        break
                    counts[job] += 1
                    spent[job] += places
                    room -= places
        batch = [(job, job.take(count)) for job, count in counts.items() if count]
        # Whoever had a turn and is not done goes behind those that had none.
        rest = [job for job in self._jobs if counts.get(job) and job.waiting]
        self._jobs = deque([*(job for job in self._jobs if job not in rest and job.waiting), *rest])
        return batch

    def _answer(self, batch: list[tuple[Job, list[str]]]) -> None:
        """One that cannot be computed takes no other with it."""
        together = [text for _, texts in batch for text in texts]
        start = time.monotonic()
        try:
            answers = iter(self._compute(batch[0][0].how, together))
        except Exception as error:
            if len(batch) == 1:
                batch[0][0].fail(error)
            else:
                for each in batch:
                    self._answer([each])
            return
        self._told(len(together), time.monotonic() - start)
        for job, texts in batch:
            job.add(list(islice(answers, len(texts))))
