"""The site: what its pages are made of, and, built (slow), that all of it is there, in a folder, without a network.

FASTATTN_SITE names a site that is built already (`python -m docs FOLDER`); else one is built here, its notebooks as they stand.
"""

import html.parser
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import in_browser
import pytest

import fastattn

ROOT = Path(fastattn.__file__).parents[1]
DOCS = ROOT / "docs"
BESIDE = [ROOT / "benchmarks" / "README.md", *ROOT.glob("examples/*/*.md"), *ROOT.glob("*.md")]
PAGES = sorted([*DOCS.rglob("*.md"), *BESIDE])
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")


def name_of(path):
    return str(path.relative_to(ROOT))


def text_of(page):
    """What a reader sees of a page as text: without its code."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page):
    """The anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere_in_the_repository(page):
    for link in LINK.findall(text_of(page)):
        address = urlsplit(link)
        if address.scheme:
            continue
        target = (page.parent / unquote(address.path)).resolve() if address.path else page
        assert target.exists(), link
        if address.fragment and target.suffix == ".md":
            assert address.fragment in anchors(target), link


def test_every_page_stands_in_a_table_of_contents():
    listed = set()
    for page in DOCS.rglob("*.md"):
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            names = [re.sub(r".*<(.*)>", r"\1", line) for line in block.splitlines() if line and not line.startswith(":")]
            listed |= {(page.parent / name).resolve() for name in names}
    pages = {page.with_suffix("").resolve() for page in DOCS.rglob("*.md")} - {DOCS / "index"}
    assert pages <= listed
    assert [path for path in listed if not any(path.with_suffix(end).exists() for end in (".md", ".ipynb"))] == []


def test_the_api_pages_have_every_public_name():
    index = (DOCS / "api" / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^   (\w+)$", index, re.MULTILINE)) == sorted(fastattn.__all__)
    left_out = {}
    for path in DOCS.glob("api/*.md"):
        for name, options in re.findall(r"automodule:: (\S+)\n((?:   .*\n)*)", path.read_text(encoding="utf-8")):
            left_out[name] = re.findall(r"\w+", "".join(re.findall(r":exclude-members: (.*)", options)))
    homes = [import_module(f"fastattn.{name}") for name in ("layers", "models", "training", "evaluation", "data", "backend")]
    assert {module.__name__ for module in homes} <= set(left_out)
    for name, names in left_out.items():  # what is left out on one page stands on that of the module that it comes from
        if names:
            module = import_module(name)
            things = {each: getattr(module, each) for each in names if each != "sequence"}
            others = [home for home in homes if home is not module]
            assert [each for each, thing in things.items() if all(getattr(o, each, None) is not thing for o in others)] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    given = os.environ.get("FASTATTN_SITE")
    if given:
        return Path(given).resolve()
    for package in ("sphinx", "furo", "myst_nb", "sphinx_copybutton"):
        pytest.importorskip(package, reason="this needs the extra docs: pip install 'fastattn[docs]'")
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "docs", folder, "--no-run", "--no-dashboard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Addresses(html.parser.HTMLParser):
    """What a page loads, what it links to, and the places in it."""

    def __init__(self, page):
        super().__init__()
        self.loaded, self.linked, self.places = [], [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.places |= {given[name] for name in ("id", "name") if given.get(name)}
        for name in ("src", "srcset", "data", "poster", "action"):
            self.loaded += [given[name]] if given.get(name) else []
        if given.get("href"):
            (self.loaded if tag == "link" else self.linked).append(given["href"])
        self.loaded += re.findall(r"url\((.*?)\)", given.get("style") or "")


@pytest.fixture(scope="module")
def pages(site):
    """Those of Sphinx, with their addresses."""
    return {page: Addresses(page) for page in site.rglob("*.html") if "dashboard" not in page.relative_to(site).parts[0]}


@pytest.mark.slow
class TestBuilt:
    def test_nothing_is_loaded_from_elsewhere(self, site, pages):
        assert len(pages) > 40
        for page, found in pages.items():
            for address in found.loaded:
                assert urlsplit(address).scheme in ("", "data"), (page.name, address)
                assert not urlsplit(address).netloc, (page.name, address)
        for path in site.rglob("*.css"):
            text = path.read_text(encoding="utf-8")
            loaded = re.findall(r"url\([\"']?(?!data:)(.*?)[\"']?\)|@import\s+[\"'](.*?)[\"']", text)
            assert not [each for each in loaded if urlsplit("".join(each)).netloc], path.name

    def test_every_address_is_there(self, site, pages):
        for page, found in pages.items():
            for address in [*found.loaded, *found.linked]:
                parts = urlsplit(address)
                if parts.scheme or parts.netloc:
                    continue
                target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
                assert target.is_relative_to(site), (page.name, address)
                assert target.exists(), (page.name, address)
                if parts.fragment and target in pages:
                    assert unquote(parts.fragment) in pages[target].places, (page.name, address)

    def test_formulas_are_there(self, site):
        text = (site / "docs/mathematics/lstm.html").read_text(encoding="utf-8")
        assert text.count('display="block"') > 8
        assert "$$" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium, which finds no host at all."""
    with in_browser.headless_chromium(tmp_path_factory.mktemp("profile"), finds_this_host=False) as browser:
        yield browser


def requested(browser):
    """What was asked for since the last call, but for what a new tab of the browser itself is made of."""
    return [address for address in in_browser.requested(browser) if not urlsplit(address).scheme.startswith("chrome")]


@pytest.mark.slow
class TestInABrowser:
    """Opened from the folder, as file://."""

    def open(self, browser, page):
        requested(browser)
        browser.get_log("browser")
        browser.get(page.as_uri())

    def test_every_page_asks_for_its_own_files_alone(self, browser, site, pages):
        for page in pages:
            self.open(browser, page)
            asked = requested(browser)
            assert asked, page
            assert not [address for address in asked if urlsplit(address).scheme not in ("file", "data")], page
            assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"], page

    def test_the_folder_leads_to_the_front_page(self, browser, site):
        from selenium.webdriver.support.ui import WebDriverWait

        self.open(browser, site / "index.html")
        WebDriverWait(browser, 10).until(lambda b: b.current_url.endswith("docs/index.html"))
        assert browser.find_element("css selector", "h1").text.startswith("fastattn")

    def test_the_search_finds_words_and_names(self, browser, site):
        from selenium.webdriver.support.ui import WebDriverWait

        for word, expected in (("InputFeedingLSTM", "docs/api/layers.html"), ("nesterov", "docs/mathematics/optimizers.html")):
            self.open(browser, site / "docs" / "index.html")
            field = browser.find_element("css selector", "input[name=q]")
            field.send_keys(word + "\n")  # by the keyboard alone
            WebDriverWait(browser, 20).until(lambda b: b.find_elements("css selector", "ul.search a"))
            links = [link.get_attribute("href") for link in browser.find_elements("css selector", "ul.search a")]
            assert any(expected in link for link in links), (word, links)
            assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
            assert not [address for address in requested(browser) if urlsplit(address).scheme not in ("file", "data")]

    def test_light_and_dark_are_a_button(self, browser, site):
        self.open(browser, site / "docs" / "models.html")
        colour = "return getComputedStyle(document.body).backgroundColor"
        seen = set()
        for _ in range(3):
            seen.add(browser.execute_script(colour))
            button = next(b for b in browser.find_elements("css selector", ".theme-toggle") if b.is_displayed())
            button.send_keys("\n")
        assert len(seen) == 2

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_axe_finds_nothing_serious(self, browser, site, scheme):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        for name in ("index", "models", "mathematics/lstm", "api/layers", "tutorials/dates", "performance"):
            self.open(browser, site / "docs" / f"{name}.html")
            found = in_browser.by_axe(browser)["violations"]
            serious = [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")]
            assert serious == [], name

    def test_a_narrow_window_scrolls_no_page_sideways(self, browser, site):
        browser.set_window_size(500, 900)
        try:
            for name in ("index", "performance", "models", "mathematics/lstm", "api/layers", "tutorials/layers"):
                self.open(browser, site / "docs" / f"{name}.html")
                assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), name
        finally:
            browser.set_window_size(1300, 1000)
