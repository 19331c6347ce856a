"""A server and a browser that the tests of one module share, and a page on which every trouble is noted."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next((path for path in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser")) if path.exists()), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
DONE = "[data-testid=stApp][data-test-script-state=notRunning]"
STILL = """() => {
  const height = document.querySelector("[data-testid=stMain]").scrollHeight;
  const still = window.lastHeight === height;
  window.lastHeight = height;
  return still;
}"""

Serve = Callable[..., AbstractContextManager[str]]


@contextmanager
def serving(*arguments: str) -> Generator[str]:
    """Run ``benchmark site`` and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmark", "site", *arguments, "--port", str(port), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="session")
def serve() -> Serve:
    return serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine; the site is driven in a real browser")
    api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of the browser; ``troubles`` are errors of the page, of its console and of what it loads, and dialogs."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    opened.troubles = []
    opened.on("pageerror", lambda error: opened.troubles.append(str(error)))
    opened.on("dialog", lambda dialog: (opened.troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    opened.on("console", lambda said: _is_trouble(said) and opened.troubles.append(f"{said.text} {said.location['url']}"))
    yield opened
    context.close()


def _is_trouble(said: Any) -> bool:
    """Streamlit looks for its server below the page's own path first and finds nothing there; it then looks at the root."""
    below = said.location["url"].endswith(("/_stcore/health", "/_stcore/host-config")) and "404" in said.text
    return said.type == "error" and not below


def visit(page: Any, address: str) -> None:
    """Open an address and wait until the page is drawn."""
    page.goto(address)
    page.wait_for_selector("h1")
    page.wait_for_selector(DONE)
    page.wait_for_function(STILL, polling=200)  # charts and tables take their places after the server is done
