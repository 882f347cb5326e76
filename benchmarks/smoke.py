"""Run every benchmark once, in the environment of this Python: ``python -m benchmarks.smoke``.

Exit status 1, and their names, when some fail; 2 when nothing was run. No figure is kept: one run is no measurement.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from .asv_runs import Refusal, commit_hash, run_suites


def run(patterns: list[str]) -> int:
    """Of the benchmarks that match one of the patterns, or of all when there is none."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "asv.log"
        here = ("-E", f"existing:{sys.executable}", "--set-commit-hash", commit_hash("HEAD"))
        run = run_suites(folder, log, patterns, *here, "--quick", "--show-stderr")
        if run is None:
            print(log.read_text(), file=sys.stderr)
            raise Refusal("asv ran nothing")
        failed = [m.name for m in run if m.value is None]
        if failed:
            print(log.read_text())
            print("failed:", *failed, sep="\n  ")
        print(f"{len(run)} benchmarks run once, {len(failed)} failed")
        return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smoke", description=__doc__.partition("\n")[0])
    parser.add_argument("--bench", action="append", default=[], metavar="REGEX", help="only the benchmarks that match")
    try:
        return run(parser.parse_args().bench)
    except Refusal as refusal:
        print(f"benchmarks.smoke: {refusal}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
