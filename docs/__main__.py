"""Build the site: the pages of docs/ with their notebooks run, and the dashboard of what has been measured.

  python -m docs                 in build/site
  python -m docs FOLDER          there
  python -m docs --no-run        the notebooks as they stand, without running them: for a look at the text

A warning is an error: a link that leads nowhere, a formula or a docstring that cannot be read, a cell that fails. The pages
load nothing from elsewhere, and open from a folder. Needs the extra `docs`, and `asv` for the dashboard.
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m docs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "build" / "site", metavar="FOLDER")
    parser.add_argument("--no-run", action="store_true", help="do not run the notebooks")
    parser.add_argument("--no-dashboard", action="store_true", help="leave the dashboard out")
    given = parser.parse_args()
    if importlib.util.find_spec("sphinx") is None:
        print("docs: this needs Sphinx, which is not installed: pip install 'fastattn[docs]'", file=sys.stderr)
        return 2
    out, options = given.folder.resolve(), []
    if given.no_run:
        options += ["-D", "nb_execution_mode=off"]
    if not given.no_dashboard:
        options += ["-t", "dashboard"]
        if importlib.util.find_spec("asv") is None:
            print("docs: the dashboard needs asv: pip install 'fastattn[asv]', or --no-dashboard", file=sys.stderr)
            return 2
    doctrees = out.parent / f"{out.name}.doctrees"
    sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", ROOT / "docs", "-d", doctrees, *options]
    status = subprocess.run([*sphinx, ROOT, out], cwd=ROOT).returncode
    if not status and not given.no_dashboard:
        publish = [sys.executable, "-m", "benchmarks.dashboard", "--site", out / "dashboard"]
        status = subprocess.run(publish, cwd=ROOT).returncode
    if not status:
        print(f"the site is in {out}: open {out / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
