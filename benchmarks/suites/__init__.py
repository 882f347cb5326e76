"""The asv suites: the speed of every kernel, of the layers' work together, of starting, and of what it comes to.

asv imports this package by itself, in the environment whose fastattn is measured.
"""

import hashlib
import importlib.util
import os
import sys
from pathlib import Path


def _separate_cache() -> None:
    """Keep each commit's compiled kernels apart from every other's: a folder for each state of the sources.

    Numba looks at the file in which a function stands, not at what the function calls, and a wheel that is installed
    over another leaves the compiled code of that where it was.
    """
    environment = os.environ.get("ASV_ENV_DIR")  # not set where the current environment is measured
    spec = importlib.util.find_spec("fastattn_kernels")
    if environment is None or spec is None or spec.submodule_search_locations is None:
        return
    digest = hashlib.sha256()
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(path.read_bytes())
    os.environ["NUMBA_CACHE_DIR"] = os.path.join(environment, "compiled-kernels", digest.hexdigest()[:16])


_separate_cache()

import fastattn  # noqa: E402, F401  the installed one, before the root of the checkout, which has one too, is on the path

# For `benchmarks`, whose shapes and training step the comparison with other libraries has as well.
sys.path.append(str(Path(__file__).parents[2]))
