"""What a user waits for before anything is computed: the import, and the first training step of a process."""

import os
import subprocess
import sys
import tempfile
from typing import Any

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


class _FirstStep:
    """Of a new process, its start included, with a cache of compiled kernels that is this benchmark's own."""

    timeout = 600
    number = 1
    rounds = 1
    warmup_time = 0

    def setup(self) -> None:
        self.folder = tempfile.TemporaryDirectory()

    def teardown(self) -> None:
        self.folder.cleanup()

    def run(self, cache: str) -> None:
        environment = {**os.environ, "NUMBA_CACHE_DIR": os.path.join(self.folder.name, cache)}
        subprocess.run([sys.executable, "-c", _FIRST_STEP], env=environment, check=True)


class FirstStepCold(_FirstStep):
    """Everything is compiled."""

    repeat = 1

    def time_first_step(self) -> None:
        self.run("cold")


class FirstStepWarm(_FirstStep):
    """Everything is read from the cache on disk."""

    repeat = 3

    def setup(self, *_: Any) -> None:
        super().setup()
        self.run("warm")

    def time_first_step(self) -> None:
        self.run("warm")
