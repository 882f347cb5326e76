"""Models, servers and a browser for the tests of the page and its interface."""

import contextlib

import pytest
from in_browser import headless_chromium
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
    profile, downloads = (tmp_path_factory.mktemp(name) for name in ("profile", "downloads"))
    with headless_chromium(profile, downloads=downloads) as browser:
        yield browser
