"""Fixtures that several tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tiny_pipeline import tiny_pipeline

if TYPE_CHECKING:
    from playwright.sync_api import Browser

sys.path.insert(0, str(Path(__file__).parent / "browser"))  # its harness starts Chromium


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a `tiny_pipeline`; tests that change files copy it first."""
    import torch

    return tiny_pipeline().save(tmp_path_factory.mktemp("models") / "tiny", torch.float32)


@pytest.fixture(scope="module", autouse=True)
def gradients_are_put_back() -> Iterator[None]:
    """A page's first cell turns gradients off; the next file's tests begin with them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_grad_enabled(True)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium: one for all files, since playwright runs once in a process."""
    required = os.environ.get("COURSE_BROWSER") == "required"
    if not required:
        pytest.importorskip("playwright", reason="playwright is not installed")
    from harness import FLAGS, chromium
    from playwright.sync_api import sync_playwright

    path = chromium()
    if path is None and not required:
        pytest.skip("there is no Chromium; install it, or name it in COURSE_CHROMIUM")
    assert path is not None, "COURSE_BROWSER=required, and there is no Chromium"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield running
        running.close()
