"""View 3, the guidance explorer, driven in JupyterLab."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from harness import PATIENCE, Notebook, View
from playwright.sync_api import Locator, expect

from course_utils.evaluation.sweep_results import Sweep

CODE = "from course_utils.widgets import GuidanceExplorer\nview = GuidanceExplorer()\nview"
DIAL = re.compile("guidance scale")
FOX, CAT = "a fox, 3d style, on a green background", "a cat"


@pytest.fixture(scope="module")
def shown(module_notebook: Notebook) -> View:
    view = module_notebook.run(CODE)
    view.expect_text("these", "alignment 1.00")
    return view


def field(view: View, name: str) -> Locator:
    """The control that Python calls `name`."""
    return view.part(name).locator("input, select")


def turn(view: View, scale: float) -> None:
    """Turn the dial and wait for the pictures of a scale that is drawn."""
    view.set_slider(DIAL, scale)
    view.expect_text("grid", f"w = {scale:g};")


def alignment_at(scale: float) -> str:
    """What the page says of the shipped sweep at a scale."""
    return f"alignment {Sweep.load().line('alignment').at(scale):.2f}"


def saturation(view: View) -> float:
    """The number that the page says of the pictures on show."""
    words = view.part("these").locator(".sn-text").inner_text()
    found = re.search(r"saturation (\d\.\d+)", words)
    assert found is not None, words
    return float(found[1])


def spread(view: View) -> float:
    """How far the four pictures on the page lie apart, in levels of 0 to 255."""
    every = np.stack([view.pixels("grid", i) for i in range(4)]).astype(float)
    return float(every.std(axis=0).mean())


def test_it_paints_within_a_second(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    seconds = notebook.first_paint()
    print(f"first paint after {seconds:.3f} s")
    assert seconds < 1
    assert all(shown.pixels("grid", i).shape == (64, 64, 3) for i in range(4))
    shown.screenshot(tmp_path / "guidance_light.png")


def test_keys_turn_the_dial(notebook: Notebook, shown: View) -> None:
    turn(shown, 2.5)
    before, dial = shown.pixels("grid"), shown.control(DIAL)
    mark = shown.part("alignment").locator("circle.sn-dot")
    at = float(mark.get_attribute("cx") or 0)
    dial.focus()
    dial.press("ArrowRight")
    shown.expect_text("grid", "w = 3;")
    shown.expect_pixels_change("grid", before)
    assert float(mark.get_attribute("cx") or 0) > at, "the mark moves along the curve"
    dial.press("End")
    shown.expect_text("measured", alignment_at(20))
    shown.expect_text("these", "object 1 of 4")
    assert "w = 20" in (shown.part("alignment").locator("svg").get_attribute("aria-label") or "")
    dial.press("Home")
    shown.expect_text("w", "the prompt is not heard")
    shown.expect_text("these", "alignment 0.00")


def test_guidance_takes_diversity_in_the_pixels_too(notebook: Notebook, shown: View) -> None:
    field(shown, "subject").select_option(CAT)
    turn(shown, 1)
    free, colour = spread(shown), saturation(shown)
    turn(shown, 7)
    assert spread(shown) < 0.75 * free, "the four seeds become more alike"
    assert saturation(shown) > colour + 0.05
    field(shown, "subject").select_option(FOX)
    turn(shown, 2.5)
    assert spread(shown) < 0.3 * free, "and so does a detailed prompt"


def test_a_drag_ends_on_the_last_value(notebook: Notebook, shown: View) -> None:
    turn(shown, 1)
    shown.slide(DIAL, 14)
    value = float(shown.control(DIAL).input_value())
    assert abs(value - 14) <= 1
    shown.expect_text("w", f"w = {value:g}")
    shown.expect_text("draw", f"Draw at w = {value:g}") if shown.part("draw").is_visible() else None
    notebook.expect_python("print(view['w'])", str(value))


def test_play_turns_it_up_and_a_click_into_a_curve_moves_it(
    notebook: Notebook, shown: View
) -> None:
    turn(shown, 18)
    shown.part("run").press("Enter")
    shown.expect_text("grid", "w = 20;")
    shown.expect_text("run", "Turn it up")
    box = shown.part("saturation").locator("svg").bounding_box()
    assert box is not None
    shown.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(shown.control(DIAL)).not_to_have_value("20", timeout=PATIENCE)
    assert 7 <= float(shown.control(DIAL).input_value()) <= 12


def test_the_sweet_spot_is_marked_on_every_curve(
    notebook: Notebook, shown: View, tmp_path: Path
) -> None:
    turn(shown, 3)
    shown.button("Mark as my sweet spot").press("Enter")
    shown.expect_text("spot", f"w = 3. A{alignment_at(3)[1:]}")
    turn(shown, 12)
    for name in ("alignment", "saturation", "diversity"):
        expect(shown.part(name).locator("line.sn-rule")).to_have_count(1, timeout=PATIENCE)
        expect(shown.part(name).locator("text.sn-mark").first).to_have_text("my spot")
    notebook.expect_python("print(view.sweet_spot)", "3.0")
    shown.screenshot(tmp_path / "guidance_spot.png")


def test_it_draws_a_prompt_of_ones_own(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    turn(shown, 2)
    before = shown.pixels("grid")
    shown.root.locator("summary").press("Enter")
    field(shown, "negative").fill("green")
    field(shown, "prompt").fill("a ferociuos panda")
    field(shown, "steps").fill("2")
    field(shown, "count").fill("2")
    shown.button("Draw at w = 2").press("Enter")
    shown.expect_text("grid", "2 seeds at w = 2; computed live in")
    shown.expect_message("left out: ferociuos")
    shown.expect_pixels_change("grid", before)
    expect(shown.part("grid").locator("img")).to_have_count(2)
    assert "panda, not green" in shown.part("subject").locator("option:checked").inner_text()
    shown.set_slider(DIAL, 6)
    shown.expect_text("grid", "w = 2, the nearest to 6 that is drawn")
    shown.expect_idle()
    shown.screenshot(tmp_path / "guidance_live.png")


def test_a_dial_that_moves_while_it_computes_and_stop(notebook: Notebook, shown: View) -> None:
    field(shown, "prompt").fill("a star")
    field(shown, "negative").fill("")
    field(shown, "steps").fill("50")
    shown.button("Draw at 16 scales").click()
    expect(shown.root.locator(".sn-progress")).to_be_visible(timeout=PATIENCE)
    field(shown, "subject").select_option(CAT)
    for scale in (1, 5.5, 16):
        turn(shown, scale)  # the page answers
    shown.button("Stop").click()
    shown.expect_idle()
    assert "w = 16" in shown.part("grid").inner_text()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "text is empty"),
        ("a fox" * 2_000, "only its first 1,000 signs are read"),
        ("a snorf", "nothing that this model was taught"),
        ("שועל כתום", "only English is read"),
    ],
)
def test_strange_prompts(notebook: Notebook, shown: View, prompt: str, words: str) -> None:
    field(shown, "steps").fill("1")
    field(shown, "count").fill("1")
    field(shown, "prompt").fill(prompt)
    shown.part("draw").click()
    shown.expect_message(words, role="alert")
    shown.expect_idle()
    expect(shown.part("grid").locator("img")).to_have_count(1, timeout=PATIENCE)


def test_two_views_are_independent(notebook: Notebook, shown: View) -> None:
    other = notebook.run("other = GuidanceExplorer(7)\nother")
    other.expect_text("grid", "w = 7;")
    field(shown, "subject").select_option(FOX)
    turn(shown, 2.5)
    other.expect_text("grid", "w = 7;")


def test_two_hundred_turns_leave_nothing_behind(notebook: Notebook, shown: View) -> None:
    memory = "import gc, psutil; gc.collect(); print(psutil.Process().memory_info().rss // 1024)"
    field(shown, "subject").select_option(FOX)
    dial = shown.control(DIAL)

    def turns(times: int) -> float:
        """Seconds from a key to the page's answer, on average."""
        start = time.perf_counter()
        for i in range(times):
            dial.press("ArrowRight" if i // 40 % 2 == 0 else "ArrowLeft")
            shown.expect_text("w", f"w = {float(dial.input_value()):g}")
        return (time.perf_counter() - start) / times

    dial.press("Home")
    turns(80)
    before = int(notebook.python(memory))
    each = turns(200)
    shown.expect_text("measured", "alignment")
    grown = (int(notebook.python(memory)) - before) / 1024
    print(f"200 turns: {grown:+.1f} MiB in the kernel, {1000 * each:.0f} ms each")
    assert grown < 15
    assert shown.page.locator("img[data-url]").count() < 40


def test_dark_and_narrow(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    page = notebook.page
    notebook.theme(dark=True)
    page.set_viewport_size({"width": 800, "height": 2000})
    wide = shown.root.evaluate("(el) => [el.scrollWidth, el.clientWidth]")
    assert wide[0] <= wide[1], "nothing sticks out at 800 pixels"
    shown.screenshot(tmp_path / "guidance_800_dark.png")
    notebook.theme(dark=False)
    page.set_viewport_size({"width": 1280, "height": 1000})
