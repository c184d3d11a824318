"""`course demo`: all views as one page of Voila."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import PATIENCE, View, Views, free_port, new_page, server
from playwright.sync_api import Browser, expect

TABS = ["Denoise", "Add noise", "Guidance", "Latents", "Prompts", "Attention", "Architecture"]


@pytest.fixture(scope="module")
def demo(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Views]:
    """The page that the command serves, with the guidance explorer open."""
    folder, port = tmp_path_factory.mktemp("demo"), free_port()
    url = f"http://127.0.0.1:{port}"
    command = ["course_utils", "demo", "guidance", "--no-browser", f"--port={port}"]
    with server(command, f"{url}/voila/static/voila.js", folder):
        assert f"The demo is at {url}" in (folder / "server.log").read_text()
        page = new_page(browser)
        views = Views(page)
        page.goto(url, timeout=2 * PATIENCE)
        expect(page.locator(".sn-view").nth(1)).to_be_visible(timeout=2 * PATIENCE)
        yield views
        page.context.close()


@pytest.fixture(autouse=True)
def no_errors(demo: Views) -> Iterator[None]:
    yield
    demo.check()


def tab(demo: Views, name: str) -> View:
    """Open a tab; returns its view."""
    demo.view(0).root.get_by_role("tab", name=name, exact=True).click()
    shown = demo.view(0).root.get_by_role("tab", name=name, exact=True)
    expect(shown).to_have_attribute("aria-selected", "true", timeout=PATIENCE)
    return demo.view(1)


def test_the_page_has_all_views(demo: Views, tmp_path: Path) -> None:
    assert demo.page.title() == "Sculpting Noise: play with it"
    tabs = demo.view(0).root.get_by_role("tab")
    assert tabs.all_inner_texts() == TABS
    view = demo.view(1)
    view.expect_text("these", "alignment 1.00")
    before = view.pixels("grid")
    view.set_slider("guidance scale", 20)
    view.expect_text("these", "object 1 of 4")
    view.expect_pixels_change("grid", before)
    demo.page.screenshot(path=tmp_path / "demo_guidance.png", full_page=True)


def test_keys_walk_along_the_tabs(demo: Views, tmp_path: Path) -> None:
    tabs = demo.view(0).root.get_by_role("tab")
    tabs.nth(2).focus()
    demo.page.keyboard.press("ArrowRight")
    demo.page.keyboard.press("ArrowRight")
    expect(tabs.nth(4)).to_be_focused()
    demo.page.keyboard.press("Enter")
    view = demo.view(1)
    view.expect_text("verdict", "17 times as much")
    before = view.pixels("grid_b")
    view.control("example").select_option("a negative prompt")
    view.expect_pixels_change("grid_b", before)
    demo.page.screenshot(path=tmp_path / "demo_prompts.png", full_page=True)


def test_a_tab_keeps_its_state(demo: Views) -> None:
    view = tab(demo, "Guidance")
    view.set_slider("guidance scale", 3)
    view.expect_text("grid", "w = 3;")
    tab(demo, "Prompts").expect_text("verdict", "spread")
    tab(demo, "Guidance").expect_text("grid", "w = 3;")


@pytest.mark.parametrize("name", TABS)
def test_every_view_opens(demo: Views, name: str, tmp_path: Path) -> None:
    view = tab(demo, name)
    expect(demo.page.locator(".sn-view")).to_have_count(2, timeout=PATIENCE)
    expect(view.root.locator("img, canvas, svg").first).to_be_visible(timeout=PATIENCE)
    view.expect_idle()
    demo.page.screenshot(path=tmp_path / f"demo_{name}.png", full_page=True)
