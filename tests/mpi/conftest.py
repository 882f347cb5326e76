"""What the tests on real MPI share: a corpus, a small run of it, and jobs that mpiexec starts."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fastattn

ROOT = Path(fastattn.__file__).parents[1]
CHOICES = {
    "embedding": 3,
    "hidden": 4,
    "epochs": 3,
    "batch_size": 9,
    "learning_rate": 0.02,
    "valid_fraction": 0.2,
    "dropout": 0.2,
    "accumulate": 2,
    "checkpoint_every": 1,
}
WITH_MEAN = {**CHOICES, "ema": 0.5}
SMALL = tuple(part for name, value in WITH_MEAN.items() for part in (f"--{name.replace('_', '-')}", str(value)))
ENDLESS = ("--embedding", "3", "--hidden", "4", "--epochs", "1000000", "--valid-fraction", "0.2", "--checkpoint-every", "2")
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]),
    "FASTATTN_BACKEND": "reference",
    "OPENBLAS_NUM_THREADS": "1",
    # Open MPI, too, starts more ranks than there are cores, and for root.
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


def mpiexec():
    """That of the MPI beside this Python, or else the system's."""
    return shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")


class Job:
    """``fastattn`` on some ranks, or another program of Python."""

    def __init__(self, folder, ranks, *arguments, program=("-m", "fastattn"), **environment):
        self.out, self.err = folder / "out", folder / "err"
        command = [mpiexec(), "-n", str(ranks), sys.executable, *program, *map(str, arguments)]
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **ENVIRONMENT, **environment}
            )

    def ended(self, seconds=120):
        """The exit code, standard output, standard error."""
        try:
            code = self.process.wait(seconds)
        finally:
            if self.process.poll() is None:
                self.process.kill()
        return code, self.out.read_text(), self.err.read_text()

    def steps(self, folder, count=2, seconds=120):
        """Waits until the run has that many checkpoints; the processes of the ranks."""
        ends = time.monotonic() + seconds
        while not ((folder / "checkpoints").is_dir() and len(os.listdir(folder / "checkpoints")) >= count):
            if self.process.poll() is not None or time.monotonic() > ends:
                self.process.kill()
                raise AssertionError(f"the job does not run: {self.out.read_text()} {self.err.read_text()}")
            time.sleep(0.05)
        return self.processes()

    def processes(self):
        """Those of the ranks, in their order, as the job says them."""
        return [
            int(number) for number in re.search(r"^ranks .*\(process(?:es)? ([\d ]+)\)", self.out.read_text(), re.M)[1].split()
        ]

    def send(self, name):
        self.process.send_signal(getattr(signal, name))


@pytest.fixture
def job(tmp_path):
    """job(ranks, *arguments): a job that is ended with the test."""
    pytest.importorskip("mpi4py")
    if mpiexec() is None:
        pytest.skip("there is no mpiexec")
    jobs = []

    def start(ranks, *arguments, **more):
        folder = tmp_path / f"job-{len(jobs)}"
        folder.mkdir()
        jobs.append(Job(folder, ranks, *arguments, **more))
        return jobs[-1]

    yield start
    for each in jobs:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("".join(f"{a}{b}{a * n}\t{b}{a}{c}\n" for n, a in enumerate("abcdef") for b in "xyz" for c in "uv"))
    return path


def files(folder):
    """What a model folder holds, but for what says how long it took."""
    return {
        name: (folder / name).read_bytes() for name in ("model.safetensors", "config.json", "vocabulary.json", "config.toml")
    }
