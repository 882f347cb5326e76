"""What the tests of pages share: a folder served on this host, and a browser that finds no other."""

import functools
import http.server
import json
import shutil
import threading
from contextlib import contextmanager

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
def headless_chromium(profile):
    """A browser that finds no host but this one. profile: an empty folder. Skips the test where there is no browser."""
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
        "host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    started.set_script_timeout(30)
    try:
        yield started
    finally:
        started.quit()


@contextmanager
def without_complaint(browser, address):
    """Whatever is opened in the block: nothing is asked of another host, and the console has no error."""
    browser.get_log("browser"), browser.get_log("performance")
    yield
    requested = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            requested.append(message["params"]["request"]["url"])
    assert requested
    own = "data:", "chrome:", "about:"  # of the page, and of the browser itself when it starts
    assert not [url for url in requested if not url.startswith((f"{address}/", *own))]
    assert not [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "ERROR")]
