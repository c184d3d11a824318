"""Fixtures of the tests in a real browser: a server a session, a notebook with a kernel a module.

They are skipped where there is no Chromium, unless COURSE_BROWSER is "required".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

HERE = Path(__file__).parent
if TYPE_CHECKING:
    from harness import Notebook
    from playwright.sync_api import Browser


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: drives a page in a headless Chromium")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder is a browser test."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def lab_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebooks of the session lie."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="session")
def lab(browser: Browser, lab_folder: Path) -> Iterator[str]:
    """The URL of a JupyterLab."""
    from harness import jupyterlab

    with jupyterlab(lab_folder) as url:
        yield url


@pytest.fixture(scope="module")
def module_notebook(
    request: pytest.FixtureRequest, browser: Browser, lab: str, lab_folder: Path
) -> Iterator[Notebook]:
    """A notebook with a kernel, for all tests of a module."""
    from harness import Notebook, new_page

    page = new_page(browser)
    yield Notebook(page, lab, lab_folder, request.module.__name__)
    page.context.close()


@pytest.fixture
def notebook(module_notebook: Notebook) -> Iterator[Notebook]:
    """The module's notebook; a test that ends with an error on the page fails."""
    module_notebook.console.clear()
    yield module_notebook
    module_notebook.check()
