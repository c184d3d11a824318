"""A headless Chromium, the page on a server of its own, and the engine in a page of the browser.

They are skipped where there is no Chromium, unless COURSE_BROWSER is "required", as in
tests/browser.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from course_utils.playground.site import find_models

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "browser"))  # its harness knows how to start Chromium
from playground_engine import Engine, served  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Browser


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


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The address of the page with the bundled models."""
    with served(find_models()) as address:
        yield address


@pytest.fixture(scope="module")
def engine(browser: Browser, site: str) -> Iterator[Engine]:
    """The engine with the default model loaded."""
    page = browser.new_page()
    engine = Engine(page, site)
    engine.load(find_models()[0].name)
    yield engine
    page.close()
