"""Numbers of things in messages."""

import pytest

from fastattn.data.words import counted


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 epochs"), (1, "1 epoch"), (2, "2 epochs"), (1000, "1,000 epochs"), (1001, "1,001 epochs")]
)
def test_one_thing_has_no_plural(count, words):
    assert counted(count, "epoch") == words
