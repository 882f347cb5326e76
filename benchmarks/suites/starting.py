"""What a user waits for before anything is computed: the import, and the first training step of a process."""

import os
import subprocess
import sys
import tempfile

_FIRST_STEP = """
import fastattn, numpy as np
model, optimizer = fastattn.AttentionSeq2seq(40, 32, 64, seed=0), fastattn.Adam()
x = np.ones((32, 10), int)
model.forward(x, x)
model.backward()
fastattn.clip_grads(model.grads, 5.0)
optimizer.update(model.params, model.grads)
"""


def timeraw_import() -> str:
    return "import fastattn"


def _first_step(cache: str) -> None:
    subprocess.run([sys.executable, "-c", _FIRST_STEP], env={**os.environ, "NUMBA_CACHE_DIR": cache}, check=True)


class FirstStep:
    """Of a new process, its start included, with a cache of compiled kernels that is this benchmark's own."""

    timeout = 600
    number = 1
    rounds = 1
    warmup_time = 0

    def setup_cache(self) -> str:
        """A cache on disk that has everything; asv takes its folder away at the end."""
        cache = os.path.abspath("warm")
        _first_step(cache)
        return cache

    def time_warm(self, warm: str) -> None:
        _first_step(warm)

    time_warm.repeat = 3  # type: ignore[attr-defined]

    def time_cold(self, warm: str) -> None:
        with tempfile.TemporaryDirectory() as cache:
            _first_step(cache)

    time_cold.repeat = 1  # type: ignore[attr-defined]
