"""A headless Chromium, the page on a server of its own, and the engine in a page of the browser.

They are skipped where there is no Chromium, unless COURSE_BROWSER is "required", as in
tests/browser.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from course_utils.playground.serve import make_server
from course_utils.playground.site import Model, find_models

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "browser"))  # its harness knows how to start Chromium
if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what drives the browser."""
    for item in items:
        if HERE in item.path.parents and "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    required = os.environ.get("COURSE_BROWSER") == "required"
    if not required:
        pytest.importorskip("playwright", reason="playwright is not installed")
    from harness import FLAGS, chromium
    from playwright.sync_api import sync_playwright

    path = chromium()
    if path is None and not required:
        pytest.skip("there is no Chromium; install it, or name it in COURSE_CHROMIUM")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield running
        running.close()


@contextmanager
def served(models: list[Model]) -> Iterator[str]:
    """The page with these models on a free port; yields its address, without a last slash."""
    with make_server(0, models) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The address of the page with the bundled models."""
    with served(find_models()) as address:
        yield address


class Engine:
    """The page's modules in a browser, called from Python."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        page.goto(f"{address}/site.json")  # a page of the same origin without scripts of its own

    def run(self, code: str, argument: object = None) -> object:
        """`code` is the body of an async function of `given`; module("x.js") imports a module."""
        return self.page.evaluate(
            "async (given) => { const module = (name) => import(`/${name}`);"
            f" const list = (numbers) => Array.from(numbers); {code} }}",
            argument,
        )

    def load(self, model: str) -> None:
        """Make `pipeline` of a model that the server has."""
        self.run(
            """const { readFiles } = await module("files.js");
            const { Pipeline } = await module("pipeline.js");
            const base = `/models/${given}/`;
            window.pipeline = new Pipeline(await readFiles({ base, bytes: 1 }, () => {}));""",
            model,
        )


@pytest.fixture(scope="module")
def engine(browser: Browser, site: str) -> Iterator[Engine]:
    """The engine with the default model loaded."""
    page = browser.new_page()
    engine = Engine(page, site)
    engine.load(find_models()[0].name)
    yield engine
    page.close()
