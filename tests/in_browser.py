"""What the tests of pages share: a folder served on this host, and a browser that finds no other."""

import functools
import http.server
import json
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    """``with served(folder) as address:`` the folder under http://127.0.0.1:PORT."""
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def headless_chromium(profile, *, finds_this_host=True, downloads=None):
    """A browser that finds no host but this one, or none at all. Skips the test where there is no browser.

    profile: an empty folder. downloads: where files go that are downloaded.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install 'fastattn[browser]'")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no browser: Debian's packages are chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1300,1000",
        f"user-data-dir={profile}",
        "host-resolver-rules=MAP * ~NOTFOUND" + (" , EXCLUDE 127.0.0.1" if finds_this_host else ""),
    ):
        options.add_argument(f"--{argument}")
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    started.set_script_timeout(30)
    try:
        yield started
    finally:
        started.quit()


def requested(browser):
    """The addresses that were asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def by_axe(browser):
    """What axe finds in the page that is open. Skips the test where axe is not installed."""
    axe = pytest.importorskip("axe_core_python", reason="axe is not installed: pip install 'fastattn[browser]'")
    browser.execute_script(Path(axe.__file__).with_name("axe.min.js").read_text(encoding="utf-8"))
    return browser.execute_async_script("axe.run(document).then(arguments[0])")


@contextmanager
def without_complaint(browser, address):
    """Whatever is opened in the block: nothing is asked of another host, and the console has no error."""
    browser.get_log("browser"), browser.get_log("performance")
    yield
    asked = requested(browser)
    assert asked
    own = "data:", "chrome:", "about:"  # of the page, and of the browser itself when it starts
    assert not [url for url in asked if not url.startswith((f"{address}/", *own))]
    assert not [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "ERROR")]
