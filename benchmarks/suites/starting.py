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


def _first_step(cache: str) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    subprocess.run([sys.executable, "-c", _FIRST_STEP], env=environment, check=True)


def timeraw_import() -> str:
    return "import fastattn"


class FirstStep:
    """Of a new process, its start included; the cache of compiled kernels is this benchmark's own."""

    timeout = 600
    number = 1
    rounds = 1
    warmup_time = 0

    def setup(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.warm = os.path.join(self.folder.name, "warm")
        _first_step(self.warm)
        self.cold = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    def time_warm(self) -> None:
        _first_step(self.warm)

    def time_cold(self) -> None:
        self.cold += 1
        _first_step(os.path.join(self.folder.name, f"cold{self.cold}"))

    time_cold.repeat = 1  # type: ignore[attr-defined]
