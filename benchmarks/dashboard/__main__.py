"""Measure commits if any are named, and publish the dashboard of all that has been measured, to be read without a network.

  python -m benchmarks.dashboard                         publish what there is
  python -m benchmarks.dashboard --new                   measure what is new since this machine measured last
  python -m benchmarks.dashboard HEAD --serve            measure this commit first, and show the site
  python -m benchmarks.dashboard v0.1..HEAD --steps 10   backfill ten commits of a range

Commits that have been measured are not measured again, but for what failed in them. Every commit's results are kept as soon as
it is done, in a folder of the kind of machine in benchmarks/results; a file there that cannot be read is told of and left out.
"""

import argparse
import http.server
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..asv_runs import (
    HERE,
    ROOT,
    Refusal,
    Results,
    UserError,
    asv,
    bench_options,
    changes_of_what_runs,
    commits_in,
    describe_machine,
    described,
    is_in,
    load_benchmarks,
    load_results,
    measurements,
    this_machine,
    write_config,
)
from . import landing, series
from .offline import make_offline

WORK = ROOT / ".asv"


def spread(commits: Sequence[str], count: int | None) -> list[str]:
    """As many of the commits, evenly spread, the first and, if there are two, the last among them."""
    if count is None or count >= len(commits):
        return list(commits)
    return [commits[round(i * (len(commits) - 1) / max(1, count - 1))] for i in range(count)]


class Dashboard:
    """``results``: the folder of asv's results. ``site``: where the pages go, replaced as a whole when they are ready."""

    def __init__(self, results: Path, site: Path, machine: str) -> None:
        self.results, self.site, self.machine = results, site, machine
        WORK.mkdir(exist_ok=True)
        self.log = WORK / "dashboard.log"
        self.log.write_text("")

    def set_damaged_aside(self) -> None:
        """asv would stop at a results file that it cannot read; nothing of it is thrown away."""
        for line, path in load_results(self.results)[1]:
            path.rename(path.with_name(f"{path.name}.damaged"))
            print(f"benchmarks.dashboard: {line}; it is now {path.name}.damaged", file=sys.stderr)

    def _own_results(self) -> list[Results]:
        """Those of this machine."""
        return [result for result in load_results(self.results)[0] if result.params["machine"] == self.machine]

    def new(self) -> list[str]:
        """The commits that changed what is measured since the last one of HEAD's past that this machine has, the newest first.

        HEAD where it has none.
        """
        known = [result for result in self._own_results() if is_in(result.commit_hash, "HEAD")]
        if not known:
            return commits_in("HEAD")
        last = max(known, key=lambda result: result.date).commit_hash
        found = changes_of_what_runs(last)
        if not found:
            print(f"nothing that is measured has changed since {described(last)}", flush=True)
        return found

    def measure(self, commits: Sequence[str], patterns: Sequence[str]) -> None:
        """Each commit in asv's virtual environment. One that cannot be built or measured is told of, and the others go on.

        Refusal when no benchmark matches the patterns.
        """
        options = ["--machine", self.machine, *bench_options(patterns)]
        describe_machine(self.machine)
        config = write_config(WORK / "dashboard", results_dir=str(self.results))
        for i, commit in enumerate(commits, 1):
            print(f"{i} of {len(commits)}: {described(commit)}", flush=True)
            status = asv(self.log, "run", "--config", config, "--skip-existing-successful", *options, f"{commit}^!")
            try:
                benchmarks = load_benchmarks(config, patterns)
            except UserError:
                raise Refusal(f"asv measured nothing; its own words are in {self.log}") from None
            measured = [r for r in self._own_results() if r.commit_hash == commit]
            failed = [m.name for result in measured for m in measurements(benchmarks, result) if m.value is None]
            if not measured:
                print(f"benchmarks.dashboard: nothing was measured; asv's own words are in {self.log}", file=sys.stderr)
            elif failed and status:
                more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
                print(f"benchmarks.dashboard: failed: {failed[0]}{more}; see {self.log}", file=sys.stderr)

    def publish(self) -> None:
        """Write the site anew. Refusal where there is nothing to show, which leaves the old one as it was."""
        fresh = WORK / "dashboard" / "site"
        shutil.rmtree(fresh, ignore_errors=True)
        config = write_config(WORK / "dashboard", results_dir=str(self.results), html_dir=str(fresh / "asv"))
        try:
            machines = series.load(self.results, config)
        except UserError as error:
            raise Refusal(
                f"{self.results}/benchmarks.json cannot be read; measuring a commit writes it anew: {error}"
            ) from None
        if not machines:
            raise Refusal(f"there are no results in {self.results}; name commits to measure, HEAD for one")
        if asv(self.log, "publish", "--config", config, "--no-pull") or not (fresh / "asv" / "index.json").exists():
            raise Refusal(f"asv could not publish; its own words are in {self.log}")
        make_offline(fresh / "asv")
        (fresh / "index.html").write_text(landing.page(machines), encoding="utf-8")
        shutil.rmtree(self.site, ignore_errors=True)
        self.site.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(fresh, self.site)
        print(f"published in {self.site}", flush=True)


def serve(site: Path, port: int) -> None:
    """The site on this machine alone, until interrupted: a browser does not read asv's pages from files."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise Refusal(f"port {port} cannot be used: {error.strerror}") from None
    with server:
        print(f"http://127.0.0.1:{server.server_port}/  (until Ctrl-C)", flush=True)
        server.serve_forever()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dashboard", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commits", metavar="COMMITS", nargs="*", help="commits, or ranges as git writes them, to measure first")
    parser.add_argument(
        "--new",
        action="store_true",
        help="measure the commits that changed what runs since the last one that this machine has; HEAD if it has none",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="measure N of these commits, evenly spread, the newest first")
    parser.add_argument("--bench", action="append", default=[], metavar="REGEX", help="measure the benchmarks that match")
    parser.add_argument("--machine", metavar="NAME", help=f"what the results call this machine ({this_machine()})")
    parser.add_argument("--results", type=Path, default=HERE / "results", metavar="FOLDER", help="(benchmarks/results)")
    parser.add_argument("--site", type=Path, default=WORK / "site", metavar="FOLDER", help="where the pages go (.asv/site)")
    parser.add_argument("--serve", type=int, nargs="?", const=8000, metavar="PORT", help="then show the site here (8000)")
    given = parser.parse_args()
    if given.steps is not None and given.steps < 1:
        parser.error(f"--steps is {given.steps}; expected at least 1")
    dashboard = Dashboard(given.results.resolve(), given.site.resolve(), given.machine or this_machine())
    try:
        named = [commit for names in given.commits for commit in commits_in(names)]
        dashboard.set_damaged_aside()
        if given.new:
            named += dashboard.new()
        commits = spread(list(dict.fromkeys(named)), given.steps)
        if commits:
            dashboard.measure(commits, given.bench)
        dashboard.publish()
        if given.serve is not None:
            serve(dashboard.site, given.serve)
    except Refusal as refusal:
        print(f"benchmarks.dashboard: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
