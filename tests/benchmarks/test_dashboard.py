"""The dashboard: what it does about bad input, and its pages in a browser, of the results that the project keeps."""

import itertools
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from in_browser import headless_chromium, served, without_complaint

pytest.importorskip("asv", reason="asv is not installed: pip install 'fastattn[asv]'")

from benchmarks import asv_runs
from benchmarks.asv_runs import Refusal, this_machine
from benchmarks.dashboard import landing, series
from benchmarks.dashboard.__main__ import Dashboard, spread
from benchmarks.dashboard.offline import make_offline

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def dashboard(*arguments):
    command = [sys.executable, "-m", "benchmarks.dashboard", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def results(tmp_path):
    """A copy of the results that the project keeps, to be damaged."""
    return Path(shutil.copytree(RESULTS, tmp_path / "results"))


def results_files(folder):
    return [path for path in sorted(folder.glob("*/*.json")) if path.name != "machine.json"]


class TestSpread:
    def test_takes_both_ends(self):
        assert spread("abcdefg", 3) == ["a", "d", "g"]

    def test_takes_all_when_there_are_fewer(self):
        assert spread("abc", 5) == ["a", "b", "c"]
        assert spread("abc", None) == ["a", "b", "c"]

    def test_takes_one(self):
        assert spread("abc", 1) == ["a"]


AFFINE = "kernels.Affine.time_forward('compiled', 'g2p')"


class History:
    """A repository of a few commits, by their messages, in which asv_runs looks."""

    def __init__(self, folder):
        self.folder, self.hashes = folder, {}
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments):
        who = "-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"
        command = ["git", "-C", str(self.folder), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, path, message):
        file = self.folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(message)
        self.git("add", ".")
        self.git("commit", "--quiet", "-m", message)
        self.hashes[message] = self.git("rev-parse", "HEAD")

    def machine(self, **times):
        """A machine that has measured these commits, in this order: a message, and how long a call took."""
        commits = [series.Commit(self.hashes[m], i, {AFFINE: t}) for i, (m, t) in enumerate(times.items())]
        return series.Machine("m", {}, commits)


@pytest.fixture
def history(tmp_path, monkeypatch):
    made = History(tmp_path)
    monkeypatch.setattr(asv_runs, "ROOT", tmp_path)
    for path, message in (
        ("fastattn/a.py", "first"),
        ("docs/a.md", "words"),
        ("kernels/a.py", "faster"),
        ("tests/a.py", "checks"),
        ("pyproject.toml", "newer"),
    ):
        made.commit(path, message)
    return made


class TestWhatIsNew:
    @pytest.fixture
    def measured(self, tmp_path, monkeypatch):
        """A dashboard of a machine of which commits are known."""

        def measured(*commits):
            result = Dashboard(tmp_path / "results", tmp_path / "site", "mine")
            own = [asv_runs.Results({"machine": "mine"}, {}, c, i, "3.11", "e", {}) for i, c in enumerate(commits)]
            other = asv_runs.Results({"machine": "other"}, {}, asv_runs.commit_hash("HEAD"), 9, "3.11", "e", {})
            monkeypatch.setattr("benchmarks.dashboard.__main__.load_results", lambda _: ([*own, other], []))
            return result

        return measured

    def test_is_what_changed_the_code_since_the_last_commit_of_this_machine(self, history, measured):
        hashes = history.hashes
        assert measured(hashes["first"]).new() == [hashes["newer"], hashes["faster"]]
        assert measured(hashes["first"], hashes["faster"]).new() == [hashes["newer"]]

    def test_is_the_last_commit_where_the_machine_has_none(self, history, measured):
        assert measured().new() == [history.hashes["newer"]]
        assert measured("0" * 40).new() == [history.hashes["newer"]]  # a commit of another clone

    def test_is_nothing_where_all_is_measured(self, history, measured, capsys):
        assert measured(history.hashes["newer"]).new() == []
        assert "nothing that is measured has changed since" in capsys.readouterr().out

    def test_a_machine_is_named_by_its_kind_and_its_cores(self):
        assert re.fullmatch(r"[\w.+-]+-(1-core|[1-9]\d*-cores)", this_machine())


class TestAtAGlance:
    def test_the_last_commit_is_compared_with_the_newest_release(self, history):
        history.git("tag", "v0.1.0", history.hashes["words"])
        history.git("tag", "v0.2.0", history.hashes["checks"])
        history.git("tag", "v0.3.0", history.hashes["newer"])  # the last commit itself is no release before it
        name, before = history.machine(first=1, faster=2, newer=3).since_release()
        assert (name, before.hash) == (f"v0.2.0 ({before.title})", history.hashes["faster"])
        page = landing.page([history.machine(first=1, faster=2, newer=3)])
        assert "Since v0.2.0 (" in page
        assert "Of 1 times 0 are shorter and 1 longer" in page
        assert "+50 %" in page

    def test_before_the_first_release_it_is_compared_with_the_first_commit(self, history):
        name, before = history.machine(first=2, faster=2, newer=1).since_release()
        assert name == f"the first commit that was measured, {before.title}"
        assert before.hash == history.hashes["first"]
        assert history.machine(newer=1).since_release() is None

    def test_what_is_slower_than_its_twin_is_named(self):
        reference = AFFINE.replace("compiled", "reference")
        slow, fast = ({AFFINE: time, reference: 1e-3} for time in (2e-3, 0.5e-3))
        pages = [landing.page([series.Machine("m", {}, [series.Commit("a" * 40, 0, values)])]) for values in (slow, fast)]
        assert "Affine forward, g2p</a></td><td class='number'>2 ms</td>" in pages[0]
        assert "2.00 × as long" in pages[0]
        assert "as long" not in pages[1]
        assert "none of 1" in pages[1]

    def test_machines_stand_side_by_side(self):
        step = "training.Step.time_step('compiled', 'tiny')"
        machines = [series.Machine(name, {}, [series.Commit("a" * 40, 0, {step: time})]) for name, time in (("a", 1), ("b", 2))]
        page = landing.page(machines)
        assert "<th><a href='#a'>a</a></th><th><a href='#b'>b</a></th>" in page
        assert "<td class='name'>tiny</td><td>1 s <span class='soft'></span></td><td>2 s " in page
        assert "side by side" not in landing.page(machines[:1])


class TestBadInput:
    @pytest.mark.parametrize(
        ("commits", "what"),
        [
            ("nowhere", "'nowhere' is no commit of this repository"),
            ("nowhere..HEAD", "'nowhere..HEAD' is no range of commits of this repository"),
            ("HEAD..HEAD", "there is no commit in 'HEAD..HEAD'"),
            ("--output=x..y", None),
        ],
    )
    def test_unknown_commits(self, tmp_path, commits, what):
        done = dashboard("--site", tmp_path / "site", commits)
        assert done.returncode == 2
        assert not (tmp_path / "site").exists()
        if what is not None:
            assert done.stderr == f"benchmarks.dashboard: {what}\n"

    def test_a_pattern_that_is_none(self, tmp_path):
        done = dashboard("--site", tmp_path / "site", "HEAD", "--bench", "(")
        assert done.returncode == 2
        assert done.stderr.startswith("benchmarks.dashboard: '(' is no regular expression: ")

    def test_no_results(self, results, tmp_path):
        for path in results_files(results):
            path.unlink()
        done = dashboard("--results", results, "--site", tmp_path / "site")
        assert done.returncode == 2
        assert f"there are no results in {results}" in done.stderr

    @pytest.mark.parametrize(
        "damage",
        [
            lambda text: "",
            lambda text: text[: len(text) // 2],
            lambda text: "[1, 2]",
            lambda text: json.dumps({**json.loads(text), "result_columns": []}),
            lambda text: json.dumps({**json.loads(text), "results": {"a": 3}}),
            lambda text: json.dumps({key: value for key, value in json.loads(text).items() if key != "params"}),
        ],
        ids=["empty", "half", "list", "no columns", "other results", "no params"],
    )
    def test_a_damaged_file_is_told_of_and_kept_and_the_others_are_shown(self, results, tmp_path, damage):
        first, *others = results_files(results)
        text = damage(first.read_text())
        first.write_text(text)
        done = dashboard("--results", results, "--site", tmp_path / "site")
        assert done.returncode == 0, done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert f"{first} is no results file that asv can read" in done.stderr
        assert first.with_name(f"{first.name}.damaged").read_text() == text
        assert results_files(results) == others
        shown = json.loads((tmp_path / "site/asv/index.json").read_text())["revision_to_hash"].values()
        assert {path.name[:8] for path in others} == {commit[:8] for commit in shown}

    def test_a_damaged_list_of_benchmarks_leaves_the_site_as_it_was(self, results, tmp_path):
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "old.html").write_text("old")
        (results / "benchmarks.json").write_text("{")
        done = dashboard("--results", results, "--site", tmp_path / "site")
        assert done.returncode == 2
        assert f"{results}/benchmarks.json cannot be read" in done.stderr
        assert (tmp_path / "site" / "old.html").exists()

    def test_a_file_that_is_not_vendored_is_named(self, tmp_path):
        page = tmp_path / "index.html"
        page.write_text('<script src="https://cdn.example.org/new.js" integrity="x"></script>')
        with pytest.raises(Refusal, match=r"loads https://cdn.example.org/new.js, which is not in"):
            make_offline(tmp_path)
        assert "cdn.example.org" in page.read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard") / "site"
    done = dashboard("--site", folder)
    assert done.returncode == 0, done.stderr
    return folder


class TestSite:
    def test_names_no_other_host(self, site):
        text = (site / "asv" / "index.html").read_text() + (site / "index.html").read_text()
        loaded = re.findall(r"<(?:script|link|img)\b[^>]*\b(?:src|href)=\"([^\"]+)\"", text)
        assert len(loaded) > 20
        assert not [address for address in loaded if urlsplit(address).netloc]
        for address in loaded:
            assert (site / "asv" / address).exists() or (site / address).exists(), address

    def test_landing_page_has_every_kernel(self, site, index):
        text = (site / "index.html").read_text()
        benchmarks = index["benchmarks"]
        kernels = [name for name, b in benchmarks.items() if name.startswith("kernels.") and "'compiled'" in str(b["params"])]
        assert len(kernels) >= 20
        for name in kernels:
            if benchmarks[name]["param_names"] == ["kernels", "shape"]:
                assert f'<a href="asv/index.html#{name}">' in text

    def test_a_commit_message_cannot_write_html(self, monkeypatch):
        monkeypatch.setattr(series.Commit, "title", "<script>alert(1)</script>")
        machine = series.Machine("m", {}, [series.Commit("a" * 40, 0, {"kernels.A.time_b('compiled', 'c')": 1.0})])
        assert "<script>" not in landing.page([machine])

    def test_a_step_of_the_family_has_its_model_beside_its_shape(self):
        values = {
            "training.FamilyStep.time_step('compiled', 'bi', 'tiny')": 0.25,
            "training.FamilyStep.time_step('reference', 'bi', 'tiny')": 1.0,
            "tracked.FractionOfPeak.track_family_step('bi', 'tiny')": 0.37,
            "kernels.LSTM.time_forward('compiled', 'one')": 1e-5,
        }
        page = landing.page([series.Machine("m", {}, [series.Commit("a" * 40, 0, values)])])
        assert ">bi tiny</a><b>250 ms</b>" in page
        assert "4.0 × the reference<br>37% of the peak" in page
        assert "<th>kernel</th><th>one</th>" in page


@pytest.fixture(scope="module")
def index(site):
    """What asv published."""
    return json.loads((site / "asv" / "index.json").read_text())


@pytest.fixture(scope="module")
def address(site):
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with headless_chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def measured_points():
    """For each benchmark, at how many commits each of its combinations of parameters was measured, in the kept results."""
    known = json.loads((RESULTS / "benchmarks.json").read_text())
    del known["version"]
    points = {name: dict.fromkeys(itertools.product(*known[name]["params"]), 0) for name in known}
    for path in results_files(RESULTS):
        run = json.loads(path.read_text())
        for name, of_run in run["results"].items():
            result = dict(zip(run["result_columns"], of_run, strict=False))
            if name not in known or result["version"] != known[name]["version"]:
                continue
            for combination, value in zip(itertools.product(*result["params"]), result["result"] or [], strict=False):
                if combination in points[name] and value is not None and not math.isnan(value):
                    points[name][combination] += 1
    return {name: list(counts.values()) for name, counts in points.items()}


# Draws what comes into view on the way down.
GRID = """
const done = arguments[arguments.length - 1];
let at = 0;
(function down() {
    window.scrollTo(0, at);
    $(window).trigger('scroll');
    at += 400;
    if (at < document.body.scrollHeight + 2000) return setTimeout(down, 30);
    const empty = () => $('.benchmark-plot').filter((_, e) => !$(e).find('canvas').length).map((_, e) => e.id).get();
    const wait = (left) => empty().length && left ? setTimeout(wait, 100, left - 1)
        : done({all: $('.benchmark-plot').map((_, e) => e.id).get(), empty: empty()});
    wait(200);  // the pages have 30 seconds
})();
"""

# The lines of a benchmark's graph, with how many points each has, when the graph has been drawn.
GRAPH = """
const [name, done] = arguments;
window.location.hash = name;
const wait = (left) => {
    const plot = $('#main-graph').data('plot');
    const shown = $('#title').text() === name && plot && plot.getData().length;
    if (!shown && left) return setTimeout(wait, 50, left - 1);
    setTimeout(() => {
        const plot = $('#main-graph').data('plot'), canvas = plot.getCanvas();
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        done({
            title: $('#title').text(),
            points: plot.getData().map(s => s.data.filter(p => p && p[1] !== null).length),
            drawn: pixels.some(p => p !== 0),
        });
    }, 150);
};
$('#main-graph').removeData('plot');
wait(400);
"""


@pytest.mark.slow
class TestInABrowser:
    @pytest.fixture(autouse=True)
    def _no_complaint(self, browser, address):
        with without_complaint(browser, address):
            yield

    def test_landing_page(self, browser, address):
        browser.get(f"{address}/")
        assert browser.title == "How fast fastattn is"
        assert len(browser.find_elements("css selector", ".card")) >= 5
        assert len(browser.find_elements("css selector", "td.bar")) >= 50
        browser.find_element("link text", "LSTM forward").click()
        assert browser.current_url == f"{address}/asv/index.html#kernels.LSTM.time_forward"

    def test_grid_shows_every_benchmark(self, browser, address, index):
        browser.get(f"{address}/asv/index.html")
        grid = browser.execute_async_script(GRID)
        assert sorted(grid["all"]) == sorted(f"summarygrid-{name}" for name in index["benchmarks"])
        assert grid["empty"] == []

    def test_every_graph_draws_what_was_measured(self, browser, address, index):
        browser.get(f"{address}/asv/index.html#summarylist")
        measured = measured_points()
        assert sorted(measured) == sorted(index["benchmarks"])
        for name, points in measured.items():
            graph = browser.execute_async_script(GRAPH, name)
            assert graph["title"] == name
            assert graph["drawn"], name
            # asv draws some of the combinations at first, and leaves the others to its switches; it may draw them twice.
            assert any(graph["points"]), name
            assert len(graph["points"]) >= min(2, len(points)), name
            assert set(graph["points"]) <= set(points), name

    def test_regressions_page(self, browser, address):
        browser.get(f"{address}/asv/index.html#regressions")
        browser.execute_async_script("setTimeout(arguments[0], 1000)")
        assert browser.find_element("id", "regressions-display").is_displayed()
        assert browser.find_element("id", "regressions-body").text
