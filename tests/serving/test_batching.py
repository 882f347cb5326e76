"""The queue: what shares a batch, in which order, and what becomes of those who go away."""

import threading
import time

import pytest

from fastattn.serving.batching import Batcher, Closed, Full


class Slow:
    """Computes upper case, batch by batch, each when it is let go."""

    def __init__(self, waits=True):
        self.batches = []
        self.go = threading.Semaphore(0)
        self.waits = waits

    def __call__(self, how, texts):
        self.batches.append((how, texts))
        if self.waits:
            assert self.go.acquire(timeout=10)
        if "bad" in texts:
            raise ValueError("a bad text")
        return [text.upper() for text in texts]

    def begun(self, count):
        end = time.monotonic() + 10
        while len(self.batches) < count:
            assert time.monotonic() < end
            time.sleep(0.001)


@pytest.fixture
def made():
    """made(wait=..., size=...) -> a batcher and what computes; ended after the test."""
    batchers = []

    def make(compute=None, size=4, **options):
        compute = compute or Slow()
        batchers.append((Batcher(compute, size=lambda how: size, **{"wait": 0.0, **options}), compute))
        return batchers[-1]

    yield make
    for batcher, compute in batchers:
        compute.waits = False
        compute.go.release(100)
        assert batcher.close(10)


def test_those_that_come_while_a_batch_is_computed_share_the_next(made):
    batcher, slow = made()
    first = batcher.submit("a", ["x"])
    slow.begun(1)
    others = [batcher.submit("a", [text]) for text in "pqr"]
    assert batcher.waiting == 3
    slow.go.release(2)
    assert first.result(10) == ["X"]
    assert [other.result(10) for other in others] == [["P"], ["Q"], ["R"]]
    assert slow.batches == [("a", ["x"]), ("a", ["p", "q", "r"])]


def test_the_first_waits_for_others_and_not_longer(made):
    batcher, slow = made(Slow(waits=False), wait=0.3)
    start = time.monotonic()
    jobs = [batcher.submit("a", [text]) for text in "pq"]
    assert [job.result(10) for job in jobs] == [["P"], ["Q"]]
    assert 0.25 < time.monotonic() - start < 5
    assert slow.batches == [("a", ["p", "q"])]


def test_a_full_batch_does_not_wait(made):
    batcher, _ = made(Slow(waits=False), wait=60.0, size=2)
    assert batcher.submit("a", ["p", "q"]).result(10) == ["P", "Q"]


def test_other_ways_of_asking_have_batches_of_their_own_in_turn(made):
    batcher, slow = made()
    batcher.submit("a", ["x"])
    slow.begun(1)
    jobs = [batcher.submit(how, [text]) for how, text in [("b", "p"), ("a", "q"), ("b", "r")]]
    slow.go.release(3)
    for job in jobs:
        job.result(10)
    assert slow.batches[1:] == [("b", ["p", "r"]), ("a", ["q"])]


def test_a_long_list_lets_others_in(made):
    """Of its own kind and of another."""
    batcher, slow = made()
    long = batcher.submit("a", [f"l{i}" for i in range(10)])
    slow.begun(1)
    same, other = batcher.submit("a", ["s"]), batcher.submit("b", ["o"])
    slow.go.release(3)
    assert same.result(10) == ["S"]
    assert other.result(10) == ["O"]
    assert not long.done()
    slow.go.release(5)
    assert long.result(10) == [f"L{i}" for i in range(10)]
    # The room is shared, and what one leaves the other takes.
    assert [texts for _, texts in slow.batches] == [
        ["l0", "l1", "l2", "l3"],
        ["l4", "l5", "l6", "s"],
        ["o"],
        ["l7", "l8", "l9"],
    ]


def test_a_long_text_takes_more_room(made):
    """So that no batch takes much longer than others; the longest of all goes alone."""
    batcher, slow = made(Slow(waits=False), wait=0.2, size=4)
    texts = ["a" * 100, "b" * 100, "c", "d" * 1000, "e"]
    jobs = [batcher.submit("a", texts[:3]), batcher.submit("a", texts[3:])]
    assert [answer for job in jobs for answer in job.result(10)] == [text.upper() for text in texts]
    assert all(sum(1 + len(text) // 64 for text in batch) <= 4 or len(batch) == 1 for _, batch in slow.batches)
    assert len(slow.batches) < len(texts)


def test_whoever_goes_away_is_not_computed_for(made):
    batcher, slow = made()
    batcher.submit("a", ["x"])
    slow.begun(1)
    gone, stays = batcher.submit("a", ["gone"]), batcher.submit("a", ["stays"])
    assert gone.cancel()
    assert batcher.waiting == 1
    slow.go.release(2)
    assert stays.result(10) == ["STAYS"]
    assert slow.batches == [("a", ["x"]), ("a", ["stays"])]


def test_going_away_in_the_midst_of_a_batch_harms_nobody(made):
    batcher, slow = made(wait=0.2)
    gone, stays = batcher.submit("a", ["gone"] * 2), batcher.submit("a", ["stays"])
    slow.begun(1)
    gone.cancel()
    slow.go.release(2)
    assert stays.result(10) == ["STAYS"]
    assert batcher.submit("a", ["more"]).result(10) == ["MORE"]


def test_one_that_cannot_be_computed_takes_no_other_with_it(made):
    batcher, slow = made(Slow(waits=False), wait=0.2)
    good, bad, more = (batcher.submit("a", [text]) for text in ("good", "bad", "more"))
    assert good.result(10) == ["GOOD"]
    assert more.result(10) == ["MORE"]
    with pytest.raises(ValueError, match="a bad text"):
        bad.result(10)
    assert batcher.submit("a", ["after"]).result(10) == ["AFTER"]
    assert slow.batches[0] == ("a", ["good", "bad", "more"])


def test_too_many_are_refused(made):
    batcher, slow = made(limit=3)
    batcher.submit("a", ["x"])
    slow.begun(1)
    batcher.submit("a", ["p", "q"])
    with pytest.raises(Full):
        batcher.submit("a", ["r", "s"])
    batcher.submit("a", ["r"])
    slow.go.release(3)


def test_a_list_beyond_the_limit_is_taken_where_nobody_waits(made):
    batcher, _ = made(Slow(waits=False), limit=3)
    assert batcher.submit("a", ["p"] * 9).result(10) == ["P"] * 9


def test_no_text_has_no_answer(made):
    batcher, slow = made()
    assert batcher.submit("a", []).result(10) == []
    assert slow.batches == []


def test_the_end(made):
    """What is computed is finished, what waits fails, what comes is refused."""
    batcher, slow = made()
    first = batcher.submit("a", ["x"])
    slow.begun(1)
    waits = batcher.submit("a", ["p"])
    assert batcher.alive
    assert not batcher.close(0.05)
    with pytest.raises(Closed):
        waits.result(10)
    with pytest.raises(Closed):
        batcher.submit("a", ["q"])
    slow.go.release()
    assert first.result(10) == ["X"]
    assert batcher.close(10)
    assert not batcher.alive


def test_each_batch_is_told_of(made):
    told = []
    batcher, _ = made(Slow(waits=False), wait=0.1, told=lambda *batch: told.append(batch))
    for job in [batcher.submit("a", ["p", "q"]), batcher.submit("a", ["r"])]:
        job.result(10)
    batcher.submit("b", ["s"]).result(10)
    assert batcher.close(10)
    assert [count for count, _ in told] == [3, 1]
    assert all(0 <= seconds < 5 for _, seconds in told)
