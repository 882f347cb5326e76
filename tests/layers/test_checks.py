"""What the door hands on is safe for a kernel, and the caller's own array where it can be."""

import numpy as np
import pytest

from fastattn.layers import checks

LAYOUTS = {
    "as it should be": lambda x: x,
    "Fortran order": np.asfortranarray,
    "every second": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: x[::-1],
    "unaligned": lambda x: np.frombuffer(b"." + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
    "list": lambda x: x.tolist(),
}
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())


@layouts
def test_floats(layout, rng):
    given = layout(rng.standard_normal((3, 5)))
    x = checks.floats("x", given, ("N", 5))
    assert x.flags.carray
    np.testing.assert_array_equal(x, given)


def test_floats_that_are_as_they_should_be_are_not_copied(rng):
    x = rng.standard_normal((3, 5))
    assert checks.floats("x", x, ("N", "T")) is x


@layouts
@pytest.mark.parametrize("dtype", [np.int8, np.uint32, np.int64])
def test_ids_and_lengths(layout, dtype, rng):
    given = layout(rng.integers(0, 7, (3, 5)).astype(dtype))
    ids, lengths = checks.ids("ids", given, ("N", "T"), 7, np.array([5, 2, 1], dtype))
    for array in (ids, lengths):
        assert array.dtype == np.int64
        assert array.flags.carray
    np.testing.assert_array_equal(lengths, [5, 2, 1])
    real = np.arange(5) < lengths[:, None]
    np.testing.assert_array_equal(ids, np.where(real, given, 0))


def test_ids_and_lengths_are_copies(rng):
    """So that a caller who fills a batch anew between forward and backward changes no gradient."""
    given_ids, given_lengths = rng.integers(0, 7, (3, 5)), np.array([5, 2, 1])
    for lengths in (None, given_lengths):
        ids, checked = checks.ids("ids", given_ids, ("N", "T"), 7, lengths)
        assert not np.shares_memory(ids, given_ids)
        assert checked is None or not np.shares_memory(checked, given_lengths)
