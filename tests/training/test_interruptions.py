import signal
import threading

import pytest

from fastattn.training.interruptions import interruptions_held, interruptions_noted


def test_ctrl_c_waits_for_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 (when it is raised is what is tested)
        with interruptions_held():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest of the block")
        done.append("never")
    assert done == ["the rest of the block"]


def test_the_handlers_are_put_back():
    def handler(number, frame):
        came.append(number)

    came = []
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with interruptions_held():
            signal.raise_signal(signal.SIGTERM)
            assert not came
        assert came == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_error_in_the_block_is_not_lost():
    with pytest.raises(ZeroDivisionError), interruptions_held():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_have_nothing_to_hold():
    done = []

    def work():
        with interruptions_held():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_a_signal_that_comes_twice_within_a_time_counts_once(monkeypatch):
    """As to a process whose parent passes on what it has had itself; another signal, or a later one, takes effect at once."""
    now = [100.0]
    monkeypatch.setattr("fastattn.training.interruptions.time.monotonic", lambda: now[0])
    done = []
    with pytest.raises(KeyboardInterrupt), interruptions_noted(apart=1.0) as noted:  # noqa: PT012 (when it is raised is tested)
        signal.raise_signal(signal.SIGINT)
        now[0] += 0.5
        signal.raise_signal(signal.SIGINT)
        done.append(noted.number)
        now[0] += 1
        signal.raise_signal(signal.SIGINT)
        done.append("never")
    assert done == [signal.SIGINT]
    with pytest.raises(KeyboardInterrupt), interruptions_noted(apart=1.0) as noted:  # noqa: PT012
        noted.note(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        done.append("never")
    assert done == [signal.SIGINT]
