"""The comparison with other libraries: what it writes, whom it refuses, and that nothing of it stays behind."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import skip_without_compiled_kernels

from benchmarks.models import MODELS
from benchmarks.shapes import Shape

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHAPE = "6,5,4,11,7,9"
N, T1, T2 = 6, 5, 4


def command(*arguments, absent=()):
    """The arguments for subprocess; ``absent`` names packages that cannot be imported."""
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (*map(str, absent), *paths)))}
    return {
        "args": [sys.executable, "-m", "benchmarks.peers", *map(str, arguments)],
        "cwd": ROOT,
        "env": environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("peers")


@pytest.fixture(scope="module")
def run(folder):
    """One run with good peers and bad ones."""
    skip_without_compiled_kernels()
    (folder / "absent").mkdir()
    (folder / "absent" / "jax.py").write_text("raise ModuleNotFoundError(\"No module named 'jax'\")")
    peers = ["fastattn", "numpy", "strange_peers:Wrong", "strange_peers:WrongOptimizer", "strange_peers:Dying", "jax"]
    if importlib.util.find_spec("torch"):
        peers.append("torch")
    files = ["--json", folder / "run.json", "--markdown", folder / "run.md", "--plot", folder / "run.png"]
    return subprocess.run(
        **command("--shape", SHAPE, "--rounds", 2, "--threads", 1, "--peers", *peers, *files, absent=[folder / "absent"])
    )


@pytest.fixture(scope="module")
def report(run, folder):
    assert (folder / "run.json").exists(), run.stderr
    return json.loads((folder / "run.json").read_text())


@pytest.fixture(scope="module")
def peers(report):
    (results,) = report["results"]
    return results["peers"]


def test_good_peers_are_measured(peers):
    for name in {"fastattn", "numpy", "torch"} & peers.keys():
        record = peers[name]
        assert record["status"] == "measured"
        assert len(record["seconds_per_step"]) == 2
        assert record["median_seconds"] == pytest.approx(sum(record["seconds_per_step"]) / 2)
        assert record["tokens_per_second"] == pytest.approx(N * (T1 + T2 - 1) / record["median_seconds"])
        assert record["ratio_of_medians"] == pytest.approx(record["median_seconds"] / peers["fastattn"]["median_seconds"])
        assert record["ratio_quartiles"] == sorted(record["ratio_quartiles"])
        assert 0 < record["fraction_of_peak"] < 1
        assert 10e6 < record["peak_memory_bytes"] < 10e9
        assert 0 < record["seconds_to_first_step"] < 600
        assert record["steps_per_request"] >= 1


def test_facts_about_the_run(report):
    (results,) = report["results"]
    assert results["model"] == "plain"
    assert results["shape"] == {"N": 6, "T1": 5, "T2": 4, "V": 11, "D": 7, "H": 9}
    lstms = 6 * (5 + 3) * (7 + 9) * 4 * 9
    assert results["flop"] == 3 * 2 * (lstms + 6 * 2 * 3 * 5 * 9 + 6 * 3 * 2 * 9 * 11)
    assert len(results["fma_peak_gflops"]) == 2
    assert all(1 < rate < 10_000 for rate in results["fma_peak_gflops"])
    assert 0 < results["share_of_cores"] < 1.1
    assert report["settings"]["threads"] == 1
    assert {"cpu", "features", "date", "versions"} <= report["machine"].keys()


@pytest.mark.parametrize(
    ("peer", "status", "reason"),
    [
        ("strange_peers:Wrong", "refused", "the loss of step 1 is"),
        ("strange_peers:WrongOptimizer", "refused", "the loss of step 2 is"),
        ("strange_peers:Dying", "failed", "exit code 7"),
        ("jax", "absent", "fastattn[peers]"),
    ],
)
def test_bad_peers_are_named_and_not_timed(run, peers, folder, peer, status, reason):
    assert peers[peer]["status"] == status
    assert reason in peers[peer]["reason"]
    assert "median_seconds" not in peers[peer]
    for shown in (run.stdout, (folder / "run.md").read_text()):
        assert f"{peer} is {status}: " in shown
    assert run.returncode == 1


def test_tables_and_picture(run, report, folder, tmp_path):
    row = re.search(r"^numpy .*", run.stdout, re.MULTILINE).group()
    assert f"{report['results'][0]['peers']['numpy']['ratio_of_medians']:.2f}" in row
    assert "| numpy |" in (folder / "run.md").read_text()
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")
    again = subprocess.run(**command("--from", folder / "run.json", "--markdown", tmp_path / "again.md"))
    assert (tmp_path / "again.md").read_text() == (folder / "run.md").read_text()
    assert row in again.stdout


def test_what_was_written_before_the_models_had_names(report, folder, tmp_path):
    del report["results"][0]["model"]
    (tmp_path / "run.json").write_text(json.dumps(report))
    done = subprocess.run(**command("--from", tmp_path / "run.json", "--markdown", tmp_path / "again.md"))
    assert (tmp_path / "again.md").read_text() == (folder / "run.md").read_text(), done.stderr
    assert f"plain, {SHAPE}: N=6" in done.stdout


def installed(*names):
    return [name for name in names if importlib.util.find_spec(name.partition("-")[0])]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bi", "deep", "feeding"])
def test_the_family_is_the_same_everywhere(model, tmp_path):
    skip_without_compiled_kernels()
    names = ["fastattn", "numpy", *installed("torch", "jax")]
    file = tmp_path / "run.json"
    files = "--json", file, "--markdown", tmp_path / "run.md", "--plot", tmp_path / "run.png"
    done = subprocess.run(**command("--model", model, "--shape", SHAPE, "--rounds", 1, "--peers", *names, *files))
    assert done.returncode == 0, done.stdout + done.stderr
    (results,) = json.loads(file.read_text())["results"]
    assert results["model"] == model
    assert results["flop"] == Shape.from_text(SHAPE).flop(MODELS[model])
    assert results["peers"].keys() == set(names)
    assert f"{model}, {SHAPE}: N=6" in (tmp_path / "run.md").read_text()
    assert f"Time ratio of the best peer, {model}: " in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_searches(model):
    skip_without_compiled_kernels()
    names = ["fastattn", *installed("torch")]
    done = subprocess.run(**command("--generate", "--model", model, "--shape", SHAPE, "--rounds", 1, "--peers", *names))
    assert done.returncode == 0, done.stdout + done.stderr
    for name in names:
        assert len(re.findall(rf"^{name} ", done.stdout, re.MULTILINE)) == 2  # N = 1 and N = 128


@pytest.mark.slow
@pytest.mark.parametrize("model", ["plain", "feeding"])
def test_torch_compile_compiles_something(model, tmp_path, monkeypatch):
    """It runs what it cannot compile as it is, and does not say so."""
    pytest.importorskip("torch")
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("there is no C++ compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    done = subprocess.run(**command("--model", model, "--shape", SHAPE, "--rounds", 1, "--peers", "torch-compile"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(tmp_path.rglob("*.so"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_no_process(number, code, tmp_path, monkeypatch):
    pid_file = tmp_path / "pid"
    monkeypatch.setenv("PID_FILE", str(pid_file))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored, as it is in a background job
    try:
        running = subprocess.Popen(**command("--shape", SHAPE, "--peers", "strange_peers:Hanging"))
    finally:
        signal.signal(signal.SIGINT, before)
    while not (pid_file.exists() and pid_file.read_text()):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(number)
    running.communicate(timeout=30)
    assert running.returncode == code
    assert not is_alive(int(pid_file.read_text()))


@pytest.mark.slow
def test_a_hanging_peer_is_left_behind(tmp_path, monkeypatch):
    """Everybody else answers within the timeout."""
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))
    peers = ["numpy", "strange_peers:Hanging"]
    done = subprocess.run(**command("--shape", SHAPE, "--rounds", 1, "--timeout", 10, "--peers", *peers))
    assert "strange_peers:Hanging is failed: no answer to 'load' within 10 s" in done.stdout
    assert re.search("^numpy ", done.stdout, re.MULTILINE)
    assert not is_alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--shape", "1,2,3"], "six whole numbers"),
        (["--shape", "1,2,3,1,5,6"], "V is 1"),
        (["--peers", "nobody"], "'nobody'"),
        (["--model", "nothing"], "'nothing'"),
        (["--generate", "--peers", "jax"], "'jax'"),
        (["--threads", "0"], "0 threads"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--json", "no_such_folder/run.json"], "no_such_folder"),
    ],
)
def test_wrong_usage(arguments, reason):
    done = subprocess.run(**command(*arguments))
    assert done.returncode == 2
    assert reason in done.stderr
