"""Models, servers and a browser for the tests of the page and its interface."""

import contextlib
import shutil

import pytest
from serving.servers import Running, finish, small

import fastattn


@pytest.fixture(autouse=True)
def reference():
    with fastattn.use_backend("reference"):
        yield


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """The folders of two models."""
    folder = tmp_path_factory.mktemp("models")
    with fastattn.use_backend("reference"):
        small(0).save(folder / "one")
        small(1).save(folder / "two")
    return folder / "one", folder / "two"


@pytest.fixture
def serve():
    """serve(folder, "--timeout", 2) -> a server; ended after the test."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'fastattn[serve]'")
    with contextlib.ExitStack() as stack:

        def start(*arguments):
            running = Running(*arguments)
            stack.callback(finish, running)
            return running

        yield start


@pytest.fixture(scope="session")
def shared(folders):
    """A server of two models, for tests that leave it as it was."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'fastattn[serve]'")
    running = Running(*folders)
    yield running
    finish(running)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Headless Chromium, which finds no host but this one."""
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
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
        "host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ):
        options.add_argument(f"--{argument}")
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path_factory.mktemp("downloads"))})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    started.set_script_timeout(30)
    yield started
    started.quit()
