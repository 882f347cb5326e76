"""What the tests of training share."""

import signal

import pytest


@pytest.fixture(autouse=True)
def _interruptible():
    """Ctrl-C does what it does in a terminal, even where this process was started with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
