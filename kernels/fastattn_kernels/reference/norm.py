"""The global norm of a list of gradients, and their scaling."""

import numpy as np


def squared_norm(arrays):
    """The sum of the squares of all elements of a list of arrays, as a Python float (added up in float64)."""
    return float(sum(np.sum(np.square(array, dtype=np.float64)) for array in arrays))


def scale(arrays, factor):
    """Multiplies every array of a list by ``factor`` in place."""
    for array in arrays:
        array *= array.dtype.type(factor)
