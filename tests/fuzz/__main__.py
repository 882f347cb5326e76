"""Lets atheris (libFuzzer) look for inputs that a loader does not refuse as it says.

    python -m tests.fuzz pairs --minutes 10 --out new

What it finds is written to ``--out``, an input for each kind of error and place, and it goes on; a crash of the process, an
input that takes minutes, and 2 GiB of memory end it. Time and memory of every input are bounded: SECONDS of processor time, and
MEBIBYTES more than there were. It says how many inputs were tried, and ends with 1 if anything was found.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECONDS, MEBIBYTES = 5.0, 128


def fuzz(name: str, corpus: Path, out: Path, minutes: float, runs: int) -> None:
    """Does not return."""
    import atheris

    # What is instrumented guides the search. The parsers in Python are among it: json's and NumPy's are in C.
    with atheris.instrument_imports(include=["fastattn", "tests.fuzz.targets", "tomllib", "pickle"]):
        import pickle  # noqa: F401
        import tomllib  # noqa: F401

        from tests.fuzz import targets
    from tests.fuzz.mutations import Mutator

    target = targets.prepared(name)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    mutator = Mutator(target.seeds(), target.words, lambda data, size: atheris.Mutate(data, size))
    words = Path(tempfile.gettempdir()) / f"fastattn-fuzz-{os.getpid()}.words"
    words.write_text("".join(f'"{_escaped(word.encode())}"\n' for word in target.words))

    count, used, last = 0, 0.0, time.monotonic()

    def one(data: bytes) -> None:
        nonlocal used, last, count
        count += 1
        now = time.monotonic()
        used, last = used + min(now - last, 1.0), now  # a process that was stopped meanwhile did nothing
        if used > 60 * minutes:
            print(f"Done {count} runs", file=sys.stderr, flush=True)
            words.unlink()
            os._exit(0)
        memory, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        kind = ""
        try:
            target.run(data)
        except Exception as error:
            kind = targets.traceback_place(error)
        seconds = time.process_time() - began
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
        if seconds > SECONDS:
            kind = f"seconds-{seconds:.0f}"
        if more > MEBIBYTES:
            kind = f"mebibytes-{more:.0f}"
        if kind and not (out / kind).exists():
            (out / kind).write_bytes(data)
            print(f"found: {kind} in {len(data)} bytes", file=sys.stderr, flush=True)

    # All seeds are kept, though they reach the same code, and inputs may be as long as one; else it is the short inputs, which
    # are refused at once, that are followed.
    limits = [
        "-entropic=0",
        "-rss_limit_mb=2048",
        f"-max_len={targets.LONGEST}",
        "-len_control=0",
        "-keep_seed=1",
        "-timeout=1200",
        "-report_slow_units=1200",
    ]
    ends = [f"-runs={runs}"] if runs else []
    atheris.Setup(
        [sys.argv[0], *limits, *ends, f"-artifact_prefix={out}/", f"-dict={words}", str(corpus)], one, custom_mutator=mutator
    )
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "loader", help="pairs, vocabulary, config, toml, tensors, manifest, checkpoint, weights, corpus, history"
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runs", type=int, default=0, help="end after so many inputs, too")
    parser.add_argument("--out", type=Path, help="where findings are written; default: a new folder")
    parser.add_argument(
        "--corpus", type=Path, help="where inputs that reach new code are kept, and taken from; default: nowhere"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: pip install atheris")
    with tempfile.TemporaryDirectory() as scratch:
        out = given.out or Path(tempfile.mkdtemp(prefix=f"fuzz-{given.loader}-"))
        corpus = given.corpus or Path(scratch) / "corpus"
        for path in (out, corpus):
            path.mkdir(parents=True, exist_ok=True)
        if given.child:
            fuzz(given.loader, corpus, out, given.minutes, given.runs)
        there = {path.name for path in out.iterdir()}
        # libFuzzer ends the process that it runs in.
        command = [sys.executable, "-m", "tests.fuzz", given.loader, "--child", "--minutes", str(given.minutes)]
        command += ["--runs", str(given.runs), "--out", str(out), "--corpus", str(corpus)]
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
        assert child.stderr is not None
        runs, last = 0, ""
        for last in child.stderr:
            if last.startswith("found: "):
                print(last, end="", flush=True)
            if (done := re.match(r"#(\d+)\s", last) or re.match(r"Done (\d+) runs", last)) is not None:
                runs = int(done[1])
        code = child.wait()
        found = sorted({path.name for path in out.iterdir()} - there)
        print(f"{given.loader}: {runs:,} inputs, {len(found)} kinds found" + (f" in {out}" if found else ""))
        if code:
            print(f"atheris ended with {code}: {last.strip()}")
        return int(bool(found) or code != 0)


if __name__ == "__main__":
    sys.exit(main())
