"""The page on a server of its own, and the engine in a page of the browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playground_engine import Engine, served

from course_utils.playground.site import find_models

HERE = Path(__file__).parent

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what drives the browser."""
    for item in items:
        if HERE in item.path.parents and "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


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
