"""The page runs exported models in a browser, with ONNX Runtime Web, and gives fastattn's answers."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from in_browser import by_axe, headless_chromium, served, without_complaint
from onnx_models import MODELS, make

import fastattn
from fastattn.training import Translator

pytest.importorskip("onnx")

from fastattn.interop.onnx import export

FOLDER = Path(fastattn.__file__).parents[1] / "examples" / "onnx" / "browser"
BEAM = 3


def load_build():
    spec = importlib.util.spec_from_file_location("build_page", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load_build()


def run_build(*arguments, **environment):
    command = [sys.executable, str(FOLDER / "build.py"), *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600)


@pytest.fixture
def graphs(tmp_path):
    translator = make(**MODELS["plain"])
    export(translator, tmp_path / "graphs")
    return tmp_path / "graphs"


def test_another_package_is_refused(graphs, tmp_path):
    package = tmp_path / "onnxruntime-web.tgz"
    package.write_bytes(b"something else")
    done = run_build(graphs, tmp_path / "site", "--package", package)
    assert done.returncode == 1
    assert done.stderr.startswith(f"build.py: {package} is sha512-")
    assert done.stderr.endswith(f"; expected onnxruntime-web@1.30.0, {build.INTEGRITY}\n")
    assert not (tmp_path / "site").exists()


def test_a_folder_without_graphs_is_refused(graphs, tmp_path):
    (graphs / "about.json").unlink()
    done = run_build(graphs, tmp_path / "site")
    words = f"{graphs} has no about.json; expected a folder that `fastattn export DIR --onnx {graphs}` wrote"
    assert (done.returncode, done.stderr) == (1, f"build.py: {words}\n")


def test_without_npm_it_says_what_to_do(graphs, tmp_path):
    done = run_build(graphs, tmp_path / "site", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(
        "build.py: npm, which fetches onnxruntime-web@1.30.0, is not installed; --package names a file"
    )


def test_what_npm_says_is_said(graphs, tmp_path):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    npm.chmod(0o755)
    done = run_build(graphs, tmp_path / "site", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (1, "build.py: npm did not fetch onnxruntime-web@1.30.0: no network\n")


def test_the_page_names_no_other_host():
    for name in build.PAGE:
        assert not re.findall(r"https?://", (FOLDER / name).read_text(encoding="utf-8")), name


# In the browser.


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The package of npm, which keeps what it fetched once."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    try:
        return build.fetch(tmp_path_factory.mktemp("npm"))
    except build.Refusal as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def translators():
    """What is asked of each, beside it; the last has been trained, with a token kind and a search that others have not."""
    made = {name: make(**options) for name, options in MODELS.items()}
    with fastattn.use_backend("reference"):
        pairs = [(a + b + c, c + b + a) for a in "abcd\u00e9" for b in "abcd" for c in "abcd"]
        sizes = {"hidden": 12, "embedding": 6, "epochs": 2, "batch_size": 8, "normalization": "NFC", "bidirectional": True}
        made["trained"] = Translator.train(pairs, attention="general", bridge="affine", progress=False, **sizes)
    return made


TEXTS = {name: options["texts"] for name, options in MODELS.items()} | {"trained": ["abc", "e\u0301ad", "zz", "d"]}


@pytest.fixture(scope="module")
def site(tmp_path_factory, package, translators):
    """Built for the first model; the other graphs stand beside its."""
    folder = tmp_path_factory.mktemp("page")
    for name, translator in translators.items():
        export(translator, folder / name)
    done = run_build(folder / "plain", folder / "site", "--package", package)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"python -m http.server --bind 127.0.0.1 --directory {folder / 'site'}\n"
    for name in translators:
        shutil.copytree(folder / name, folder / "site" / "others" / name)
    return folder / "site"


@pytest.fixture(scope="module")
def address(site):
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with headless_chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def open_page(browser, address, query=""):
    browser.get(f"{address}/index.html{query}")
    status = browser.find_element("id", "status")
    wait_for(browser, lambda: status.text != "The model is being loaded.")
    return status.text


def wait_for(browser, condition):
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 60, poll_frequency=0.05).until(lambda _: condition())


def ask(browser, text, beam=1):
    """Types a text, and presses Enter; what stands then in the page."""
    text, _, features = text.partition("\t")
    for name, value in {"text": text, "features": features, "beam": beam}.items():
        field = browser.find_element("id", name)
        if field.is_displayed():
            field.clear()
            field.send_keys(value)
    browser.execute_script("document.getElementById('status').textContent = '...'")
    browser.find_element("id", "text").send_keys("\ue007")
    wait_for(browser, lambda: browser.find_element("id", "translate").is_enabled() and status_of(browser) != "...")
    return browser.execute_script("return document.getElementById('answer').value")


def status_of(browser):
    return browser.find_element("id", "status").text


def table(browser):
    """The attention that is shown: the labels of the columns, those of the rows, the numbers."""
    return browser.execute_script(
        "const texts = (chosen) => [...document.querySelectorAll(chosen)].map((each) => each.textContent);"
        "const weights = (row) => [...row.querySelectorAll('td')].map((each) => +each.style.getPropertyValue('--weight'));"
        "const rows = [...document.querySelectorAll('#attention tbody tr')].map(weights);"
        "return [texts('#attention thead th'), texts('#attention tbody th'), rows];"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_the_answers_in_a_browser_are_those_of_fastattn(name, browser, address, translators):
    translator, texts = translators[name], TEXTS[name]
    with without_complaint(browser, address):
        assert open_page(browser, address, f"?graphs=others/{name}") == "The model is ready."
        assert browser.find_element("id", "features").is_displayed() == (name == "features")
        for beam in (1, BEAM):
            with fastattn.use_backend("reference"):
                found = translator.search(texts, beam=beam, return_attention=translator.has_attention)
            for text, (expected, *_) in zip(texts, found, strict=True):
                assert ask(browser, text, beam) == expected.text
                shown = browser.find_element("id", "probability").text
                assert float(shown.removeprefix("Log probability: ")) == pytest.approx(expected.log_probability, abs=2e-4)
                check_attention(browser, translator, text, expected)


def check_attention(browser, translator, text, expected):
    source, answer, weights = table(browser)
    assert browser.find_element("id", "attention").is_displayed() == translator.has_attention
    if not translator.has_attention:
        assert (source, answer) == ([], [])
        return
    assert source == translator.source_vocabulary.tokenize(translator.sources([text])[0])
    assert answer == [*expected.tokens, *(["end"] if expected.ended else [])]
    np.testing.assert_allclose(weights, expected.attention, rtol=0, atol=6e-4)


@pytest.mark.slow
def test_the_page_says_what_it_cannot_do(browser, address):
    with without_complaint(browser, address):
        assert open_page(browser, address) == "The model is ready."
        assert ask(browser, "aqd q")
        assert status_of(browser) == "The model never saw these symbols, which are all one to it: q ␣"
        assert open_page(browser, address, "?graphs=others/features") == "The model is ready."
        ask(browser, "ab\t ")
        assert status_of(browser) == "The features are empty."
        assert not browser.find_element("id", "found").is_displayed()
    said = open_page(browser, address, "?graphs=nowhere")
    assert said == f"{address}/nowhere/about.json cannot be loaded. fastattn export writes it."
    assert not browser.find_element("id", "translate").is_enabled()
    assert [entry for entry in browser.get_log("browser") if "404" in entry["message"]]


@pytest.mark.slow
def test_everything_in_the_page_has_a_name(browser, address):
    """As a screen reader finds it."""
    open_page(browser, address)
    ask(browser, "abc")
    for kind in ("input", "button", "output", "[role=region]"):
        for element in browser.find_elements("css selector", kind):
            if element.is_displayed() and kind != "output":
                assert element.accessible_name, element.get_attribute("outerHTML")
    assert browser.find_element("id", "status").aria_role == "status"
    assert browser.find_element("css selector", "html").get_attribute("lang") == "en"
    assert len(browser.find_elements("css selector", "#attention th[scope=col]")) == 3
    assert len(browser.find_elements("css selector", "h1")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, address, scheme):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    open_page(browser, address)
    ask(browser, "abc")
    found = by_axe(browser)["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []
