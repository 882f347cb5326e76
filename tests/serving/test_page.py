"""The page in a browser: typing, the picture of attention, files, two models; by keyboard alone; in light and dark."""

import math
import time

import pytest
from in_browser import by_axe, requested
from serving.servers import small

pytest.importorskip("starlette", reason="starlette is not installed: pip install 'fastattn[serve]'")
pytest.importorskip("selenium", reason="selenium is not installed: pip install 'fastattn[browser]'")

from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

PAIRS = "abc\tcba\nkernel\tlenrek\nabc\tabc\nzz\tzz\n"


class Page:
    """The page, and what a visitor does on it."""

    def __init__(self, browser, address):
        self.browser = browser
        for kind in ("performance", "browser"):
            browser.get_log(kind)  # what others left
        self.address = address
        browser.get(address)
        self.until(lambda: self.all("body[data-ready]"))

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        return self.browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector
        )

    def text(self, selector):
        return "".join(self.texts(selector))

    def id(self, name):
        return self.browser.find_element(By.ID, name)

    def until(self, true, seconds=10):
        end = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < end, "it did not come to hold"
            time.sleep(0.03)
        return found

    def type(self, text):
        """Into the source, in place of what stands there, until both answers are there."""
        source = self.id("source")
        source.send_keys(Keys.CONTROL, "a")
        source.send_keys(text)
        title = 'section[aria-labelledby="try-title"] .model'
        self.until(lambda: len(self.texts(f"{title} .map")) == len(self.texts(title)) and not self.all("[aria-busy]"))
        time.sleep(0.2)  # as long as it takes from a key to its answers
        self.until(lambda: not self.all("[aria-busy]"))

    def press(self, *keys):
        ActionChains(self.browser).send_keys(*keys).perform()

    def focused(self):
        return self.browser.switch_to.active_element

    def requests(self):
        """The addresses that the page asked for since it was opened."""
        return requested(self.browser)


@pytest.fixture
def page(browser, shared):
    """The page of two models. Whatever a test did, nothing was asked of another host, and nothing failed."""
    opened = Page(browser, shared.address)
    yield opened
    asked = opened.requests()
    assert len(asked) >= 7
    assert [url for url in asked if not url.startswith((shared.address, f"blob:{shared.address}", "data:"))] == []
    assert browser.get_log("browser") == []


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text(PAIRS)
    return path


def best(seed, text, n=5):
    return small(seed).search([text], n_best=n, beam=n, return_attention=True)[0]


def drop(page, *files):
    """Files that are dropped on the page: names and contents."""
    script = """
    const data = new DataTransfer();
    for (const [name, text] of arguments[0]) data.items.add(new File([text], name));
    for (const kind of ["dragover", "drop"]) {
      const event = new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
      document.getElementById("drop").dispatchEvent(event);
      if (!event.defaultPrevented) throw new Error(kind + " is left to the browser");
    }
    """
    page.browser.execute_script(script, files)


def test_answers_come_as_one_types(page):
    page.type("abc")
    for k, answers in enumerate((best(0, "abc"), best(1, "abc"))):
        panel = f"#models .model:nth-child({k + 1})"
        assert page.texts(f"{panel} .answer .text") == [answer.text or "(nothing)" for answer in answers]
        shown = page.texts(f"{panel} .percent")
        for text, answer in zip(shown, answers, strict=True):
            value = float(text.strip("<> %"))
            assert math.isclose(value, 100 * math.exp(answer.log_probability), abs_tol=0.06) or text[0] in "<>"
    page.type("abcd")
    assert page.texts("#models .model:nth-child(1) .answer .text") == [a.text or "(nothing)" for a in best(0, "abcd")]


def test_how_many_answers(page):
    count = page.id("n-best")
    count.send_keys(Keys.CONTROL, "a")
    count.send_keys("2")
    page.type("abc")
    assert len(page.texts("#models .model:nth-child(1) .answer")) == 2


def test_no_source_has_no_answer(page):
    page.type("abc")
    page.id("source").send_keys(Keys.CONTROL, "a", Keys.DELETE)
    page.until(lambda: not page.all(".answer"))
    assert not page.id("problem").is_displayed()


def test_whether_the_models_agree(page):
    page.type("abc")
    agree = best(0, "abc")[0].text == best(1, "abc")[0].text
    assert page.text("#agreement") == ("Both give the same answer." if agree else "Their answers differ.")


def test_the_best_answer_is_read_aloud_when_the_typing_pauses(page):
    status = page.id("said")
    assert status.get_attribute("role") == "status"
    page.type("abc")
    page.until(lambda: page.text("#said").startswith(f"one: {best(0, 'abc')[0].text}, "))


def test_symbols_that_the_model_never_saw(page):
    page.type("ab日")
    assert page.text("#models .model:nth-child(1)").count("The model never saw: 日") == 1


def test_a_text_is_no_markup(page):
    page.type("<img src=x onerror=alert(1)>")
    assert not page.all("#models img")


class TestAttention:
    def test_each_weight_can_be_pointed_at(self, page):
        word = "attention"
        page.type(word)
        answer = best(0, word)[0]
        panel = "#models .model:nth-child(1)"
        cells = page.all(f"{panel} .cell")
        assert len(cells) == answer.attention.size
        assert page.texts(f"{panel} .map thead th")[:-1] == [*word]
        for place in (0, 8, len(cells) - 1):
            i, j = divmod(place, len(word))
            ActionChains(page.browser).move_to_element(cells[place]).perform()
            symbol = [*answer.tokens, "end"][i]
            expected = f"{symbol} of the answer looks at {word[j]} of the source, place {j + 1}, with "
            page.until(lambda: page.text(f"{panel} .readout").startswith(expected))  # noqa: B023
            shown = page.text(f"{panel} .readout").removeprefix(expected).split(" %")[0].strip("<> ")
            assert float(shown) == pytest.approx(100 * float(answer.attention[i, j]), abs=0.011)
            assert len(page.all(f"{panel} .lit")) == 2

    def test_the_picture_is_the_darker_the_more_attention(self, page):
        page.type("abc")
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => Number(e.style.getPropertyValue('--w')))"
        given = page.browser.execute_script(script, "#models .model:nth-child(2) .cell")
        assert given == pytest.approx(best(1, "abc")[0].attention.ravel().tolist(), abs=1e-6)
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => getComputedStyle(e).backgroundColor)"
        colours = page.browser.execute_script(script, "#models .model:nth-child(2) .cell")
        assert len(set(colours)) > 1

    def test_that_of_another_answer(self, page):
        page.type("abc")
        panel = "#models .model:nth-child(1)"
        page.all(f"{panel} input[type=radio]")[2].click()
        answer = best(0, "abc")[2]
        assert page.texts(f"{panel} .map tbody th") == [*answer.tokens, *(["end"] if answer.ended else [])]

    def test_a_space_is_seen(self, page):
        page.type("a b")
        assert page.texts("#models .model:nth-child(1) .map thead th")[:3] == ["a", "␣", "b"]


class TestFile:
    def test_that_is_dropped(self, page):
        drop(page, ["pairs.tsv", PAIRS])
        page.until(lambda: page.all("#evaluation table"))
        pairs = [tuple(line.split("\t")) for line in PAIRS.splitlines()]
        scores = [small(seed).score(pairs, beam=5) for seed in (0, 1)]
        said = page.text("#file-said")
        assert said.startswith("pairs.tsv: 3 sources with 4 targets. one: ")
        rates = page.texts("#evaluation table:first-of-type strong")
        assert rates[:2] == [f"{100 * score.score.exact_match:.2f} %" for score in scores]
        rows = page.all("#evaluation [aria-label=Answers] tbody tr")
        wrong = {s for score in scores for s, c in zip(score.sources, score.comparisons) if c.token_errors}
        assert len(rows) == len(wrong) > 0
        assert page.all("#evaluation .differs")

    def test_that_is_chosen(self, page, pairs):
        page.id("file").send_keys(str(pairs))
        page.until(lambda: page.text("#file-said").startswith("pairs.tsv: 3 sources"))

    def test_other_answers_are_shown_on_demand(self, page, pairs):
        page.id("file").send_keys(str(pairs))
        page.until(lambda: page.all("#shown-errors"))
        options = page.texts("#shown-errors option")
        assert [each.partition(":")[0] for each in options] == [
            *("wrong answers", "wrong by one alone", "wrong by two alone", "wrong by both", "where they differ", "all answers"),
        ]
        page.all("#shown-errors option")[-1].click()
        assert len(page.all("#evaluation div[aria-label=Answers] tbody tr")) == 3

    def test_the_answers_are_downloaded(self, page, pairs, tmp_path):
        page.browser.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
        page.id("file").send_keys(str(pairs))
        page.until(lambda: page.all("#evaluation .toolbar button"))[0].click()
        written = tmp_path / "pairs-answers.tsv"
        page.until(written.exists)
        lines = [line.split("\t") for line in written.read_text().splitlines()]
        assert lines[0] == ["source", "target", "answer of one", "errors of one", "answer of two", "errors of two"]
        assert [line[:2] for line in lines[1:]] == [["abc", "cba | abc"], ["kernel", "lenrek"], ["zz", "zz"]]
        for column, seed in ((2, 0), (4, 1)):
            assert [line[column] for line in lines[1:]] == small(seed).translate(["abc", "kernel", "zz"], beam=5)

    def test_of_sources_alone(self, page):
        drop(page, ["words.txt", "abc\r\n\r\nkernel\n"])
        page.until(lambda: page.text("#file-said") == "words.txt holds sources alone: 2 answers.")
        rows = page.texts("#evaluation tbody td")
        found = [small(seed).search(["abc", "kernel"], beam=5) for seed in (0, 1)]
        assert rows == [x for k, word in enumerate(("abc", "kernel")) for x in (word, *(f[k][0].text for f in found))]

    def test_that_cannot_be_read(self, page):
        drop(page, ["bad.tsv", "abc\tcba\nkernel\n"])
        page.until(lambda: page.text("#file-problem").startswith("the file, line 2: no tab"))
        assert page.id("file-problem").get_attribute("role") == "alert"
        page.browser.get_log("browser")  # that the server refused it, which is told there, too
        drop(page, ["pairs.tsv", PAIRS])
        page.until(lambda: page.all("#evaluation table"))
        assert not page.id("file-problem").is_displayed()

    def test_that_is_too_large(self, page):
        drop(page, ["large.tsv", "a\tb\n" * 600_000])
        page.until(lambda: "expected at most 2,000,000" in page.text("#file-problem"))


class TestByKeyboardAlone:
    def tab_to(self, page, selector, most=60):
        for _ in range(most):
            page.press(Keys.TAB)
            script = "return document.activeElement.matches(arguments[0])"
            if page.browser.execute_script(script, selector):
                return page.focused()
        raise AssertionError(f"no tab leads to {selector}")

    def test_everything(self, page, pairs):
        assert page.focused().get_attribute("id") == "source"
        page.press("abc")
        page.until(lambda: len(page.all("#models .map")) == 2)
        for name in ("n-best", "beam", "length-penalty"):
            self.tab_to(page, f"#{name}", most=1)
        self.tab_to(page, "#models .model:nth-child(1) input[type=radio]")
        page.press(Keys.ARROW_DOWN)
        second = best(0, "abc")[1]
        page.until(lambda: len(page.texts("#models .model:nth-child(1) .map tbody th")) == len(second.token_log_probabilities))
        self.tab_to(page, "#models .model:nth-child(1) .cell")
        page.press(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
        readout = "#models .model:nth-child(1) .readout"
        expected = f"{[*second.tokens, 'end'][1]} of the answer looks at b of the source"
        page.until(lambda: page.text(readout).startswith(expected))
        page.press(Keys.END)
        page.until(lambda: " looks at c of the source" in page.text(readout))
        # One stop for the whole picture: the next is the other model's.
        assert self.tab_to(page, "#models .model:nth-child(2) input[type=radio]", most=1)
        self.tab_to(page, "#models .model:nth-child(2) .cell")
        self.tab_to(page, "#file").send_keys(str(pairs))
        page.until(lambda: page.all("#shown-errors"))
        self.tab_to(page, "#shown-errors")
        before = len(page.all("#evaluation div[aria-label=Answers] tbody tr"))
        page.press(Keys.END)
        page.until(lambda: len(page.all("#evaluation div[aria-label=Answers] tbody tr")) != before or before == 3)
        self.tab_to(page, "#evaluation .toolbar button")
        self.tab_to(page, "summary")
        page.press(Keys.ENTER)
        page.until(lambda: page.all("#about dl")[0].is_displayed())
        self.tab_to(page, "a[href='/openapi.json']")

    def test_the_focus_is_seen(self, page):
        style = "return getComputedStyle(document.activeElement).outlineStyle"
        for _ in range(4):
            assert page.browser.execute_script(style) == "solid"
            page.press(Keys.TAB)


def scheme(page, name):
    features = [{"name": "prefers-color-scheme", "value": name}]
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def test_light_and_dark(page):
    """What is written can be read on what it is written on."""
    script = """
    const of = (e) => getComputedStyle(e);
    return [of(document.body).backgroundColor, of(document.body).color, of(document.querySelector(".quiet")).color];
    """
    found = {}
    for name in ("light", "dark"):
        scheme(page, name)
        paper, *inks = [[int(x) for x in c.strip("rgb()").split(",")] for c in page.browser.execute_script(script)]
        for ink in inks:
            assert contrast(paper, ink) > 4.5, (name, paper, ink)
        found[name] = sum(paper)
    scheme(page, "")
    assert found["dark"] < 200 < 600 < found["light"]


def contrast(one, other):
    """The ratio of WCAG 2.2, section 1.4.3."""

    def luminance(colour):
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_axe_finds_nothing(page, pairs, name):
    scheme(page, name)
    try:
        page.type("abc")
        page.id("file").send_keys(str(pairs))
        page.until(lambda: page.all("#shown-errors"))
        page.browser.find_element(By.TAG_NAME, "summary").click()
        found = by_axe(page.browser)
    finally:
        scheme(page, "")
    assert len(found["passes"]) > 20
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []


@pytest.mark.parametrize("width", [360, 1300])
def test_narrow_and_wide(page, pairs, width):
    """Nothing stands beyond the right edge."""
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.type("abcdefghijklmnopqrstuvwxyz" * 2)
        page.id("file").send_keys(str(pairs))
        page.until(lambda: page.all("#shown-errors"))
        assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_one_model(browser, serve, folders):
    page = Page(browser, serve(folders[0]).address)
    page.type("abc")
    assert page.texts("#models h3") == ["one"]
    assert not page.id("agreement").is_displayed()


def test_a_server_that_is_gone_is_said(browser, serve, folders):
    server = serve(folders[0])
    page = Page(browser, server.address)
    server.end()
    page.id("source").send_keys("abc")
    page.until(lambda: "The server does not answer" in page.text("#problem"))
    browser.get_log("browser")
