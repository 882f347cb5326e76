import os

# Before NumPy is imported: one BLAS thread is faster at these sizes, and leaves the machine to others.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from helpers import skip_without_compiled_kernels

import fastattn

# Tests ask for more threads than a machine may have cores: any number of them has to give the same bits.
fastattn.backend._most_threads = lambda: 64


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests that take more than some seconds")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture(params=fastattn.backend.BACKENDS)
def backend(request):
    """The test runs once on each kernel set."""
    if request.param == "compiled":
        skip_without_compiled_kernels()
    with fastattn.use_backend(request.param):
        yield request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20150817)
