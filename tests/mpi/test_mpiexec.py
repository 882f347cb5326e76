"""`fastattn train` on real MPI, started by mpiexec: the same bits, signals, and ranks that die, stop or are slow."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import skip_without_compiled_kernels

import fastattn
from fastattn.cli.main import run
from fastattn.data import MissingExtraError
from fastattn.training import Settings, train
from fastattn.training.communicators import MpiError, Watched, launched, world

from .conftest import ENDLESS, ENVIRONMENT, ROOT, SMALL, WITH_MEAN, files, mpiexec

TIMEOUT = 4


@pytest.fixture
def alone(tmp_path, pairs):
    """The run of SMALL on one rank and without MPI."""
    with fastattn.use_backend("reference"):
        train(Settings.of(pairs=str(pairs), **WITH_MEAN, shards=8), tmp_path / "alone", progress=False)
    return tmp_path / "alone"


def test_the_same_bits_and_on_at_another_number_of_ranks(tmp_path, pairs, alone, job):
    code, out, err = job(2, "train", pairs, "--out", tmp_path / "m", *SMALL, "--keep-checkpoints", "99").ended()
    assert (code, err) == (0, "")
    assert out.count("corpus ") == out.count("epoch 3/3") == out.count("try it") == 1
    assert "ranks      2 on " in out
    assert "; shards of a batch 8\n" in out
    assert files(tmp_path / "m").items() >= {k: v for k, v in files(alone).items() if k != "config.toml"}.items()
    for path in sorted((tmp_path / "m" / "checkpoints").iterdir())[3:]:
        shutil.rmtree(path)
    code, out, err = job(4, "train", "--resume", tmp_path / "m").ended()
    assert (code, err) == (0, "")
    assert "resuming   after step " in out
    assert files(tmp_path / "m").items() >= {k: v for k, v in files(alone).items() if k != "config.toml"}.items()


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 4, 8])
def test_any_number_of_ranks(tmp_path, pairs, alone, job, ranks):
    code, _, err = job(ranks, "train", pairs, "--out", tmp_path / "m", *SMALL, "--keep-checkpoints", "2").ended()
    assert (code, err) == (0, "")
    assert files(tmp_path / "m") == files(alone)


def test_an_error_is_said_once_and_soon(tmp_path, alone, pairs, job):
    """One of the first rank alone, which the others are told."""
    began = time.monotonic()
    code, out, err = job(2, "train", pairs, "--out", alone, *SMALL).ended()
    assert (code, out) == (1, "")
    assert err == (
        f"fastattn: {alone}: holds a model already; give another folder (--out), or say that it may be replaced (--overwrite)\n"
    )
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_an_error_of_all_ranks_is_said_once(tmp_path, pairs, job):
    for ranks, flags, said in (
        (3, (), "there are 3 ranks; expected a power of two, for each to have a whole subtree of the shards"),
        (4, ("--shards", "2"), "there are 4 ranks, and a batch has 2 shards; expected at most a rank a shard"),
        (2, ("--learning-rate", "1e38"), "the norm of the gradients is "),
    ):
        code, _, err = job(ranks, "train", pairs, "--out", tmp_path / f"{ranks}", *SMALL, *flags).ended()
        assert code == 1
        *_, last = err.splitlines()  # NumPy may have warned of an overflow before
        assert (
            last.startswith(f"fastattn: {said}")
            or " holds NaN or infinity at step 1," in last
            or "fastattn: the loss is " in last
        )
        assert err.count("expected") + err.count("may help") + err.count("no checkpoint is written") == 1


DIFFERENT = """
import os, sys
from fastattn.cli.main import run
rank = int(os.environ.get("PMI_RANK") or os.environ["OMPI_COMM_WORLD_RANK"])
sys.exit(run([*sys.argv[1:], *(["--seed", "5"] if rank == 1 else [])]))
"""


@pytest.mark.slow
def test_other_settings_on_a_rank(tmp_path, pairs, job):
    program = tmp_path / "different.py"
    program.write_text(DIFFERENT)
    code, _, err = job(2, "train", pairs, "--out", tmp_path / "m", *SMALL, program=(program,)).ended()
    assert (code, err) == (1, "fastattn: rank 1 cannot train with rank 0: training.seed is 5, and 0 on rank 0\n")
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_two_hundred_steps_of_the_dates():
    """On the compiled kernels, with dropout, buckets and accumulation."""
    pytest.importorskip("mpi4py")
    skip_without_compiled_kernels()
    if mpiexec() is None:
        pytest.skip("there is no mpiexec")
    command = [sys.executable, "-m", "benchmarks.ranks", "bits"]
    environment = {**os.environ, **ENVIRONMENT, "FASTATTN_BACKEND": "compiled"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "the same bits"
    assert [line.partition(",")[0] for line in lines] == ["no MPI", "1 rank", "2 ranks", "4 ranks"]
    assert all(": 200 steps, " in line for line in lines)


# Signals.


@pytest.mark.slow
@pytest.mark.parametrize("to", [0, 1, "mpiexec"])
@pytest.mark.parametrize(("name", "code", "word"), [("SIGTERM", 143, "terminated"), ("SIGINT", 130, "interrupted")])
def test_a_signal_ends_all_after_the_step(tmp_path, pairs, job, to, name, code, word):
    folder = tmp_path / "m"
    started = job(2, "train", pairs, "--out", folder, *ENDLESS)
    processes = started.steps(folder)
    if to == "mpiexec":
        started.send(name)
    else:
        os.kill(processes[to], getattr(signal, name))
    ended, _, err = started.ended(60)
    assert ended == code
    assert f"fastattn: {word}; " in err
    assert "is kept; go on with: fastattn train --resume " in err
    assert err.count("fastattn: ") == 1
    steps = [int(path.name.rsplit("-", 1)[1]) for path in (folder / "checkpoints").iterdir()]
    assert f"step {max(steps)} is kept" in err
    assert_goes_on(folder, job)


def assert_goes_on(folder, job):
    """From the last checkpoint, on another number of ranks."""
    again = job(4, "train", "--resume", folder)
    ends = time.monotonic() + 60
    while "writing " not in again.out.read_text():
        assert time.monotonic() < ends
        assert again.process.poll() is None, again.err.read_text()
        time.sleep(0.1)
    assert "resuming   after step " in again.out.read_text()


# Faults.


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_a_rank_that_is_killed(tmp_path, pairs, job, rank):
    """It is named, and mpiexec ends the others at once."""
    folder = tmp_path / "m"
    started = job(4, "train", pairs, "--out", folder, *ENDLESS, "--mpi-timeout", TIMEOUT)
    processes = started.steps(folder)
    process = processes[rank]
    began = time.monotonic()
    os.kill(process, signal.SIGKILL)
    code, _, err = started.ended(60)
    assert code != 0
    assert time.monotonic() - began < TIMEOUT + 10
    time.sleep(0.5)
    assert not any(is_running(each) for each in processes)
    assert f"fastattn: rank {rank} (process {process} on " in err
    assert " was ended by SIGKILL; the job ends\n" in err
    assert_goes_on(folder, job)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_a_rank_that_is_stopped(tmp_path, pairs, job, rank):
    """The others name it within the time, and the job ends everywhere."""
    folder = tmp_path / "m"
    started = job(4, "train", pairs, "--out", folder, *ENDLESS, "--mpi-timeout", TIMEOUT)
    processes = started.steps(folder)
    began = time.monotonic()
    os.kill(processes[rank], signal.SIGSTOP)
    code, _, err = started.ended(60)
    assert code != 0
    assert TIMEOUT - 1 < time.monotonic() - began < 2 * TIMEOUT + 15
    assert f"fastattn: rank {rank} (process {processes[rank]} on " in err
    assert f"did not come within {TIMEOUT} seconds (--mpi-timeout): dead, stopped, hung, or too slow; the job ends\n" in err
    assert err.count("fastattn: ") == 1
    time.sleep(0.5)
    assert not any(is_running(process) for process in processes)
    assert_goes_on(folder, job)


def is_running(process):
    """Whether it is there, and not merely because nobody has asked how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_rank_that_is_slow_is_waited_for(tmp_path, pairs, alone, job):
    """One that stands still for less than the time, again and again, changes nothing but the speed."""
    flags = [*SMALL, "--keep-checkpoints", "2"]
    started = job(2, "train", pairs, "--out", tmp_path / "m", *flags, "--mpi-timeout", TIMEOUT)
    process = started.steps(tmp_path / "m", 1)[1]
    for _ in range(3):
        if started.process.poll() is None:
            os.kill(process, signal.SIGSTOP)
            time.sleep(TIMEOUT / 2)
            os.kill(process, signal.SIGCONT)
            time.sleep(0.2)
    code, _, err = started.ended()
    assert (code, err) == (0, "")
    assert files(tmp_path / "m") == files(alone)


HANGS = """
import sys, time
from fastattn.training.communicators import world
communicator = world(2)
if communicator.rank == 1:
    time.sleep(600)
communicator.allgather(communicator.rank)
"""


@pytest.mark.slow
def test_a_program_of_ones_own_that_hangs(tmp_path, job):
    program = tmp_path / "hangs.py"
    program.write_text(HANGS)
    code, _, err = job(2, program=(program,)).ended(60)
    assert code != 0
    assert "fastattn: rank 1 (process " in err


# Without MPI.


@pytest.mark.parametrize(
    ("environment", "size"),
    [
        ({}, None),
        ({"PMI_SIZE": "4", "PMI_RANK": "0"}, 4),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, 1),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None),  # within a job, but not started by srun
        ({"SLURM_STEP_NUM_TASKS": "8"}, 8),
        ({"SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"PMI_SIZE": ""}, None),
    ],
)
def test_what_a_launcher_tells(environment, size):
    assert launched(environment) == size


def test_without_the_extra_one_sentence_says_what_to_install(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    said = "training on MPI needs mpi4py; install it with: pip install 'fastattn[mpi]'"
    with pytest.raises(MissingExtraError) as raised:
        world()
    assert str(raised.value) == said
    assert run(["train", "--mpi", "--out", str(tmp_path / "m")]) == 1
    assert tuple(capsys.readouterr()) == ("", f"fastattn: {said}\n")
    monkeypatch.setenv("PMI_SIZE", "2")
    assert run(["train", "--out", str(tmp_path / "m")]) == 1
    assert capsys.readouterr().err == f"fastattn: {said}\n"
    assert not (tmp_path / "m").exists()


def test_another_launcher_than_that_of_the_library(monkeypatch):
    """Each process would take itself for the first of one, and all would write to one folder."""

    class Mpi:
        class COMM_WORLD:
            size = 1

        @staticmethod
        def Get_library_version():
            return "MPICH Version: 5.0.2\nand more"

    monkeypatch.setitem(sys.modules, "mpi4py", Mpi)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", Mpi)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(MpiError, match=r"4 processes were started together, but MPI sees 1: .*\(MPICH Version: 5\.0\.2\)"):
        world()


def test_no_library_of_mpi(monkeypatch):
    def no_library(name):
        raise RuntimeError("cannot load MPI library\nlibmpi.so.12: cannot open shared object file")

    monkeypatch.setitem(sys.modules, "mpi4py", sys)
    monkeypatch.setattr("fastattn.training.communicators.importlib", SimpleNamespace(import_module=no_library))
    with pytest.raises(MissingExtraError, match=r"mpi4py finds no MPI \(cannot load MPI library\); on a cluster load its own"):
        world()


def test_a_timeout_is_of_mpi(capsys, tmp_path):
    with pytest.raises(SystemExit):
        run(["train", "--mpi-timeout", "5", "--out", str(tmp_path / "m")])
    assert "--mpi-timeout is for training on MPI: start it by mpiexec, or say --mpi" in capsys.readouterr().err


def test_mpi4py_is_imported_for_mpi_alone():
    """Neither by the core nor by what knows of MPI."""
    pytest.importorskip("mpi4py")
    program = "import sys, fastattn.training, fastattn.training.communicators; print('mpi4py' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, env={**os.environ, **ENVIRONMENT}, check=True)
    assert out.stdout == b"False\n"
    assert Watched.__name__ == "Watched"
