"""The gate: what it calls slower, and its proofs on real commits of a clone."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("asv", reason="asv is not installed: pip install 'fastattn[asv]'")

from benchmarks.gate import LEAST, RATIO, Comparison

ROOT = Path(__file__).parents[2]

# A kernel that takes half as long again, and one that fails.
SLOWER = """
_quick = lstm_forward


def lstm_forward(*arguments):
    import time

    began = time.perf_counter()
    result = _quick(*arguments)
    end = began + 1.5 * (time.perf_counter() - began)
    while time.perf_counter() < end:
        pass
    return result
"""
RAISING = """
def lstm_forward(*arguments):
    raise RuntimeError("planted")
"""


def is_slower(pairs, kind="time"):
    comparison = Comparison("a", kind, pairs)
    assert comparison.is_suspected(RATIO, LEAST) or not comparison.is_slower(RATIO, LEAST)
    return comparison.is_slower(RATIO, LEAST)


class TestWhatIsSlower:
    def test_half_as_long_again(self):
        assert is_slower([(0.010, 0.015)] * 5)

    def test_the_same_is_not(self):
        assert not is_slower([(0.010, 0.0101), (0.011, 0.0105), (0.010, 0.0102)])

    def test_a_large_ratio_of_a_short_time_is_not(self):
        assert not is_slower([(20e-6, 40e-6)] * 5)
        assert is_slower([(200e-6, 400e-6)] * 5)

    def test_a_disturbed_round_does_not_count(self):
        assert not is_slower([(0.010, 0.010), (0.010, 0.090), (0.010, 0.010), (0.010, 0.080), (0.010, 0.010)])

    def test_a_disturbance_of_both_does_not_hide_it(self):
        assert is_slower([(0.010, 0.015), (0.050, 0.075), (0.030, 0.045), (0.010, 0.015)])

    def test_a_disturbed_base_does_not_hide_it(self):
        assert is_slower([(0.020, 0.015), (0.010, 0.015), (0.020, 0.030), (0.010, 0.015)])

    def test_one_commit_without_a_quiet_round_is_not_slower(self):
        assert not is_slower([(0.020, 0.020), (0.010, 0.015), (0.020, 0.018), (0.018, 0.015), (0.015, 0.016)])

    def test_unsteady_rounds_are_not_enough(self):
        assert not is_slower([(0.010, 0.013), (0.010, 0.013), (0.010, 0.013), (0.010, 0.010), (0.010, 0.010)])

    def test_memory_counts_in_bytes(self):
        assert is_slower([(100e6, 150e6)] * 3, "peakmemory")
        assert not is_slower([(10e6, 15e6)] * 3, "peakmemory")


def git(folder, *arguments):
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def gate(folder, *arguments):
    return subprocess.run([sys.executable, "-m", "benchmarks.gate", *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with four commits more, by tag: base, equal, slower, raising."""
    folder = tmp_path_factory.mktemp("gate") / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    git(folder, "checkout", "-q", "-B", "main")
    for part in ("benchmarks", "fastattn", "kernels"):  # as they stand here, committed or not
        shutil.rmtree(folder / part)
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "results"))

    def commit(name, addition=""):
        with (folder / "kernels/fastattn_kernels/compiled/lstm.py").open("a") as file:
            file.write(addition)
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "--allow-empty", "-m", name)
        git(folder, "tag", name)

    commit("base")
    commit("equal")
    commit("slower", SLOWER)
    git(folder, "checkout", "-q", "equal")
    commit("raising", RAISING)
    git(folder, "checkout", "-q", "main")
    return folder


class TestRefusals:
    def test_an_unknown_commit(self, clone):
        done = gate(clone, "base", "nowhere")
        assert done.returncode == 2
        assert done.stderr == "benchmarks.gate: 'nowhere' is no commit of this repository\n"

    def test_the_same_commit_twice(self, clone):
        done = gate(clone, "base", "base")
        assert done.returncode == 2
        assert re.fullmatch(r"benchmarks.gate: base and new are the same commit: \w+ base\n", done.stderr)

    def test_a_pattern_that_is_none(self, clone):
        done = gate(clone, "base", "equal", "--bench", "(")
        assert done.returncode == 2
        assert done.stderr.startswith("benchmarks.gate: '(' is no regular expression: ")

    @pytest.mark.parametrize("option", ["--rounds=0", "--ratio=0.5", "--ratio=nan", "--least=-1"])
    def test_a_number_out_of_range(self, clone, option):
        done = gate(clone, "base", "equal", option)
        assert done.returncode == 2
        assert "; expected at least " in done.stderr.splitlines()[-1]


@pytest.mark.slow
class TestProofs:
    """Through asv, with a virtual environment that holds one commit's wheel after the other's."""

    LSTM = r"kernels\.LSTM\.time_forward\('compiled', 'date'\)"
    OTHER = r"Embedding\.time_forward\('compiled', 'g2p'\)"

    def compare(self, clone, base, new, rounds=3):
        return gate(clone, base, new, "--rounds", str(rounds), "--bench", self.LSTM, "--bench", self.OTHER)

    def test_nothing_measured(self, clone):
        done = gate(clone, "base", "equal", "--rounds", "1", "--bench", "no_such_benchmark")
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == "benchmarks.gate: no benchmark matches 'no_such_benchmark'"

    @pytest.mark.parametrize("attempt", range(5))
    def test_equal_commits_pass(self, clone, attempt):
        done = self.compare(clone, "base", "equal")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 benchmarks compared in 3 rounds: 0 slower, 0 raised." in done.stdout

    def test_a_kernel_half_as_slow_again_fails_and_is_named(self, clone):
        done = self.compare(clone, "base", "slower", rounds=5)
        if done.returncode == 0:  # others on the machine may have hidden it: a base without one quiet round
            done = self.compare(clone, "base", "slower", rounds=10)
        assert done.returncode == 1, done.stdout + done.stderr
        slower = done.stdout.partition("\nSLOWER:\n")[2]
        assert "kernels.LSTM.time_forward('compiled', 'date')" in slower
        assert "Embedding" not in slower

    def test_a_benchmark_that_raises_fails_and_is_named(self, clone):
        done = self.compare(clone, "base", "raising")
        assert done.returncode == 1, done.stdout + done.stderr
        raised = done.stdout.partition("\nRAISED, or was not measured:\n")[2].splitlines()
        assert raised[0] == "  kernels.LSTM.time_forward('compiled', 'date')"
        assert len([line for line in raised if line.startswith("  ")]) == 1
