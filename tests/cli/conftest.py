"""The command as its users run it: in a process of its own; and, where only its words matter, in this one."""

import contextlib
import os
import subprocess
import sys

import pytest

import fastattn
from fastattn.cli.main import run

ENVIRONMENT = {
    **os.environ,
    # Where this process found its modules, installed or not.
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    "FASTATTN_BACKEND": "reference",
    "FASTATTN_NUM_THREADS": "1",
    "PYTHONWARNINGS": "error",
}
# Interruptible even where this process was started in the background, with SIGINT ignored.
INTERRUPTIBLE = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('fastattn', run_name='__main__')"
)


@pytest.fixture
def process():
    """process("train", ...) -> a running `fastattn` with pipes; ended after the test, if it has not ended by itself."""
    started = []

    def start(*arguments, **options):
        command = [sys.executable, "-c", INTERRUPTIBLE, *map(str, arguments)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started.append(subprocess.Popen(command, env=ENVIRONMENT, **{**pipes, **options}))
        return started[-1]

    yield start
    for process in started:
        process.kill()  # nothing, if it has ended
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture(scope="session")
def module():
    """module("train", ..., text=b"what stands on standard input") -> `python -m fastattn train ...`, ended."""

    def run_to_end(*arguments, text=b"", environment=None, **options):
        return subprocess.run(
            [sys.executable, "-m", "fastattn", *map(str, arguments)],
            input=text,
            capture_output=True,
            env={**ENVIRONMENT, **(environment or {})},
            timeout=120,
            check=False,
            **options,
        )

    return run_to_end


@pytest.fixture
def fastattn_command(capsys):
    """fastattn_command("dates", ...) in this process -> (exit code, standard output, standard error)."""

    def call(*arguments):
        with fastattn.use_backend("reference"):
            try:
                code = run([str(argument) for argument in arguments])
            except SystemExit as stop:
                code = stop.code
        return code, *capsys.readouterr()

    threads = fastattn.get_num_threads()
    yield call
    fastattn.set_num_threads(threads)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """A file of two or three letters to copy, which a small model learns in a second."""
    letters = "abcd"
    sources = [a + b for a in letters for b in letters] + [a + b + c for a in letters for b in letters for c in letters]
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("".join(f"{source}\t{source}\n" for source in sources))
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory, module, pairs):
    """A folder with a trained `model`, and what the training printed in `output`."""
    folder = tmp_path_factory.mktemp("trained")
    options = ["--epochs", 12, "--embedding", 8, "--hidden", 24, "--batch-size", 8, "--learning-rate", 0.03]
    done = module("train", pairs, "--out", folder / "model", *options)
    assert (done.returncode, done.stderr) == (0, b"")
    (folder / "output").write_bytes(done.stdout)
    return folder
