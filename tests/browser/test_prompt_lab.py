"""View 5, the prompt lab, driven in JupyterLab."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from harness import PATIENCE, Notebook, View
from playwright.sync_api import Locator, expect

CODE = "from course_utils.widgets import PromptLab\nview = PromptLab()\nview"
VAGUE, NEGATIVE = "vague against detailed", "a negative prompt"


@pytest.fixture(scope="module")
def shown(module_notebook: Notebook) -> View:
    view = module_notebook.run(CODE)
    view.expect_text("verdict", "17 times as much")
    return view


def field(view: View, name: str) -> Locator:
    """The control that Python calls `name`."""
    return view.part(name).locator("input, select")


def spread(view: View, part: str) -> float:
    """How far the pictures of one side lie apart, in levels of 0 to 255."""
    count = view.part(part).locator("img").count()
    every = np.stack([view.pixels(part, i) for i in range(count)]).astype(float)
    return float(every.std(axis=0).mean())


def test_it_paints_within_a_second(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    seconds = notebook.first_paint()
    print(f"first paint after {seconds:.3f} s")
    assert seconds < 1
    shown.expect_text("words_a", 'never met "draw"')
    shown.expect_text("words_b", "knows all of them")
    shown.screenshot(tmp_path / "prompts_light.png")


def test_the_demonstration(notebook: Notebook, shown: View) -> None:
    assert spread(shown, "grid_a") > 3 * spread(shown, "grid_b"), "the page's own pixels say so"
    rows = shown.part("table").locator("tbody tr")
    expect(rows).to_have_count(6)
    expect(rows.nth(2)).to_contain_text("left open: ")
    expect(rows.nth(2)).to_contain_text("4 of 4 are 3d")
    expect(rows.nth(3)).to_contain_text("4 of 4 are blue")
    bars = rows.nth(4).locator(".sn-meter > span")
    widths = [bars.nth(i).evaluate("(el) => el.getBoundingClientRect().width") for i in (0, 1)]
    assert widths[0] > 3 * widths[1]


def test_every_example_is_there_at_once(notebook: Notebook, shown: View) -> None:
    seconds = []
    before = shown.pixels("grid_b")
    for name in ("with words of praise", NEGATIVE, "words it has never met", VAGUE):
        start = time.perf_counter()
        field(shown, "example").select_option(name)
        before = shown.expect_pixels_change("grid_b", before)
        seconds.append(time.perf_counter() - start)
    print(f"an example after {1000 * max(seconds):.0f} ms at most")
    shown.expect_text("verdict", "17 times")


def test_a_negative_prompt_changes_the_colours(notebook: Notebook, shown: View) -> None:
    field(shown, "example").select_option(NEGATIVE)
    shown.expect_text("grid_b", "without “red background”")
    assert field(shown, "negative_b").input_value() == "red background"

    def warmth(part: str) -> float:
        edges = [shown.pixels(part, i)[:3].astype(float) for i in range(4)]
        return float(np.mean([edge[..., 0].mean() - edge[..., 2].mean() for edge in edges]))

    assert warmth("grid_a") > 50 and warmth("grid_b") < -50, "from warm to cold"


def test_it_draws_what_is_typed(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    field(shown, "example").select_option(VAGUE)
    shown.expect_text("grid_a", "draw a cat")
    before = shown.pixels("grid_a")
    field(shown, "prompt_a").fill("ein Frosch")
    shown.expect_text("words_a", "frosch")
    shown.expect_message("Press Draw both")
    expect(field(shown, "example")).to_have_value("my own")
    field(shown, "prompt_b").fill("a frog, flat style, on a pink background")
    field(shown, "negative_a").fill("red")
    for _ in range(3):
        field(shown, "scale_a").press("ArrowRight")
    shown.expect_text("scale_a", "4")
    field(shown, "steps").fill("6")
    field(shown, "count").fill("2")
    field(shown, "seed").fill("3")
    shown.button("Draw both").press("Enter")
    shown.expect_text("grid_a", "A: “ein Frosch”, without “red”, w = 4")
    shown.expect_message("Computed live in")
    shown.expect_pixels_change("grid_a", before)
    shown.expect_text("grid_b", "seed 3: frog")
    shown.expect_text("table", "are pink")
    expect(shown.part("grid_a").locator("img")).to_have_count(2)
    shown.screenshot(tmp_path / "prompts_live.png")


def test_a_second_click_starts_anew_and_stop_stops(notebook: Notebook, shown: View) -> None:
    field(shown, "steps").fill("50")
    field(shown, "count").fill("8")
    field(shown, "prompt_a").fill("a key")
    shown.button("Draw both").click()
    expect(shown.root.locator(".sn-progress")).to_be_visible(timeout=PATIENCE)
    field(shown, "steps").fill("1")
    field(shown, "count").fill("1")
    field(shown, "prompt_a").fill("a star")
    shown.button("Draw both").click()
    shown.expect_text("grid_a", "a star")
    field(shown, "steps").fill("49")
    field(shown, "count").fill("8")
    shown.button("Draw both").click()
    shown.button("Stop").click()
    shown.expect_idle()
    expect(shown.part("grid_a").locator("img")).to_have_count(1)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "The prompt is empty"),
        ("a cat" * 2_000, "10,000 letters"),
        ("a ctopus", "octopus"),
        ("🐙", "knows no word"),
        ("תמנון", "knows no word"),
        ("<img src=x onerror=alert(1)>", "never met"),
    ],
)
def test_strange_prompts(notebook: Notebook, shown: View, prompt: str, words: str) -> None:
    field(shown, "steps").fill("1")
    field(shown, "count").fill("1")
    field(shown, "prompt_b").fill(prompt)
    if "onerror" not in prompt:
        shown.expect_text("words_b", words)
    shown.button("Draw both").click()
    shown.expect_text("grid_b", f"B: “{prompt.strip()}”")
    shown.expect_idle()


def test_two_views_are_independent(notebook: Notebook, shown: View) -> None:
    other = notebook.run("other = PromptLab()\nother")
    other.expect_text("verdict", "17 times")
    field(shown, "example").select_option(NEGATIVE)
    shown.expect_text("grid_a", "a house")
    other.expect_text("grid_a", "draw a cat")


def test_two_hundred_changes_leave_nothing_behind(notebook: Notebook, shown: View) -> None:
    memory = "import gc, psutil; gc.collect(); print(psutil.Process().memory_info().rss // 1024)"
    titles = {VAGUE: "draw a cat", NEGATIVE: "a house"}

    def changes(times: int) -> float:
        start = time.perf_counter()
        for i in range(times):
            name = (VAGUE, NEGATIVE)[i % 2]
            field(shown, "example").select_option(name)
            shown.expect_text("grid_a", titles[name])
        return (time.perf_counter() - start) / times

    changes(40)
    before = int(notebook.python(memory))
    each = changes(200)
    grown = (int(notebook.python(memory)) - before) / 1024
    print(f"200 changes: {grown:+.1f} MiB in the kernel, {1000 * each:.0f} ms each")
    assert grown < 15
    assert shown.page.locator("img[data-url]").count() < 40


def test_dark_and_narrow(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    page = notebook.page
    notebook.theme(dark=True)
    page.set_viewport_size({"width": 800, "height": 2000})
    wide = shown.root.evaluate("(el) => [el.scrollWidth, el.clientWidth]")
    assert wide[0] <= wide[1], "nothing sticks out at 800 pixels"
    shown.screenshot(tmp_path / "prompts_800_dark.png")
    notebook.theme(dark=False)
    page.set_viewport_size({"width": 1280, "height": 1000})
