"""View 6, cross-attention, driven in JupyterLab."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from harness import PATIENCE, Notebook, View
from playwright.sync_api import Locator, expect

expect.set_options(timeout=PATIENCE)  # a slow machine is no failure
STEPS = 6
PROMPT = "a rocket, flat style, on a yellow background"
CODE = f"""from course_utils.widgets import CrossAttention
attention = CrossAttention(num_steps={STEPS})
attention"""


@pytest.fixture(scope="module")
def opened(module_notebook: Notebook) -> View:
    view = module_notebook.run(CODE)
    view.seconds = module_notebook.first_paint()  # type: ignore[attr-defined]
    expect(word(view, "rocket")).to_be_visible()
    return view


@pytest.fixture
def shown(opened: View) -> View:
    """The view with its first prompt, the word "rocket" and the mean of all steps."""
    if opened.control("prompt").input_value() != PROMPT:
        ask(opened, PROMPT)
    expect(word(opened, "rocket")).to_be_visible()
    opened.expect_idle()
    opened.set_slider("step", 0)
    word(opened, "rocket").click()
    opened.expect_text("map", "“rocket”, mean of all steps")
    return opened


def word(view: View, text: str) -> Locator:
    """The button of a word of the prompt."""
    found = view.root.locator(".ca-chip").filter(
        has=view.page.locator(f'.ca-word:text-is("{text}")')
    )
    return found.first


def ask(view: View, prompt: str) -> None:
    view.control("prompt").fill(prompt)
    view.control("prompt").press("Enter")
    view.button(re.compile("^Draw$")).click()
    view.expect_idle()


def red(pixels: np.ndarray) -> np.ndarray:
    """How much of the accent lies on each place of an overlay, (8, 8)."""
    colours = pixels.astype(float)
    return (colours[..., 0] - colours[..., 2]).reshape(8, 8, 8, 8).mean(axis=(1, 3))


def share(view: View) -> float:
    """The share of attention that the page says, in percent."""
    words = view.part("share").locator(".sn-text").inner_text()
    return float(re.findall(r"([\d.]+)%", words)[0])


def test_it_paints_within_a_second(notebook: Notebook, opened: View) -> None:
    seconds = opened.seconds  # type: ignore[attr-defined]
    print(f"first paint after {seconds:.3f} s")
    assert seconds < 1
    opened.expect_message(re.compile(rf"Computed live: {STEPS} steps in [\d.]+ s"))


def test_every_word_is_a_button_and_shares_sum_to_all(notebook: Notebook, shown: View) -> None:
    texts = shown.root.locator(".ca-word").all_inner_texts()
    assert [text.removeprefix("✓ ") for text in texts] == [
        "[start]", "a", "rocket", ",", "flat", "style", ",", "on", "a", "yellow", "background",
        "[end]",
    ]  # fmt: skip
    shares = [int(s.rstrip("%")) for s in shown.root.locator(".ca-share").all_inner_texts()]
    assert 94 <= sum(shares) <= 106


def test_a_click_on_a_word_moves_the_map(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    rocket = shown.pixels("map")
    assert rocket.shape == (64, 64, 3)
    heat = red(rocket)
    middle, corners = heat[2:6, 2:6].mean(), heat[[0, 0, 7], [0, 2, 7]].mean()
    assert middle > corners + 10, "the rocket's map lies on the rocket"
    shown.screenshot(tmp_path / "attention_rocket.png")
    word(shown, "[end]").click()
    shown.expect_text("share", "“[end]” gets")
    now = shown.expect_pixels_change("map", rocket)
    assert np.abs(red(now) - heat).max() > 10
    expect(word(shown, "[end]")).to_have_attribute("aria-pressed", "true")
    expect(word(shown, "rocket")).to_have_attribute("aria-pressed", "false")
    expect(shown.button("Draw it without this word")).to_be_disabled()


def test_words_are_reached_with_the_keyboard(notebook: Notebook, shown: View) -> None:
    before, said = shown.pixels("map"), share(shown)
    word(shown, "rocket").focus()
    notebook.page.keyboard.press("Tab")
    expect(word(shown, ",")).to_be_focused()
    notebook.page.keyboard.press("Enter")
    shown.expect_text("share", "“,” gets")
    shown.expect_pixels_change("map", before)
    expect(word(shown, ",")).to_be_focused()
    assert share(shown) != said


def test_the_slider_walks_through_the_steps(notebook: Notebook, shown: View) -> None:
    before, slider = shown.pixels("map"), shown.control("step")
    slider.focus()
    seen, times = [], []
    for step in range(1, STEPS + 1):
        start = time.perf_counter()
        slider.press("ArrowRight")
        before = shown.expect_pixels_change("map", before)
        times.append(time.perf_counter() - start)
        shown.expect_text("map", f"step {step} of {STEPS}, t = ")
        seen.append(shown.root.locator(".ca-share").all_inner_texts())
    print(f"update after {min(times):.3f} to {max(times):.3f} s")
    assert len({tuple(shares) for shares in seen}) > 1, "words gain and lose attention"
    shown.control("below the map").select_option("finished")
    finished = shown.expect_pixels_change("map", before) if STEPS > 6 else shown.pixels("map")
    slider.press("ArrowLeft")
    shown.expect_text("map", f"step {STEPS - 1} of {STEPS}")
    shown.control("below the map").select_option("guess")
    assert finished.shape == (64, 64, 3)


def test_a_drag_ends_on_the_last_value(notebook: Notebook, shown: View) -> None:
    shown.slide("step", 4)
    value = shown.control("step").input_value()
    assert value in {"3", "4", "5"}
    shown.expect_text("map", f"step {value} of {STEPS}")
    notebook.expect_python("print(attention['step'])", value)


def test_sizes_and_smoothing(notebook: Notebook, shown: View) -> None:
    fine = shown.pixels("map")
    shown.control("size of the map").select_option("4")
    shown.expect_text("share", "of 4 × 4 places")
    coarse = shown.expect_pixels_change("map", fine)
    shown.control("smooth").check()
    smooth = shown.expect_pixels_change("map", coarse)
    edges = [np.abs(np.diff(p.astype(float), axis=1))[:, 15::16].mean() for p in (coarse, smooth)]
    assert edges[0] > edges[1], "no more squares"
    shown.control("smooth").uncheck()
    shown.control("size of the map").select_option("8")
    shown.expect_text("share", "of 8 × 8 places")


def test_the_strip_chooses_a_step(notebook: Notebook, shown: View) -> None:
    items = shown.part("strip").get_by_role("button")
    assert items.count() == STEPS
    before = shown.pixels("map")
    items.nth(2).click()
    shown.expect_text("map", f"step 3 of {STEPS}")
    shown.expect_pixels_change("map", before)
    expect(items.nth(2)).to_have_attribute("aria-pressed", "true")
    assert shown.control("step").input_value() == "3"


def test_without_a_word(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    shown.button("Draw it without “rocket”").click()
    shown.expect_text("effect", re.compile(r"pixels move by \d+ of 255 levels on average"))
    shown.expect_idle()
    whole, less = shown.pixels("with_word"), shown.pixels("without_word")
    far = np.abs(whole.astype(float) - less).mean(axis=2)
    said = int(re.findall(r"by (\d+) of", shown.part("effect").inner_text())[0])
    assert abs(float(far.mean()) - said) < 2, "the page says what its pixels show"
    shown.screenshot(tmp_path / "attention_without.png")
    word(shown, "yellow").click()
    shown.button("Draw it without “yellow”").click()
    shown.expect_text("without_word", "without “yellow”")
    shown.expect_pixels_change("without_word", less)


def test_a_new_prompt_and_a_new_seed(notebook: Notebook, shown: View) -> None:
    before = shown.pixels("map")
    ask(shown, "a pizza on a blue background")
    expect(word(shown, "pizza")).to_have_attribute("aria-pressed", "true")
    before = shown.expect_pixels_change("map", before)
    expect(shown.part("without_word")).to_be_hidden()
    shown.control("seed").fill("8")
    shown.control("seed").press("Enter")
    shown.expect_pixels_change("map", before)
    shown.expect_idle()
    shown.control("seed").fill("7")
    shown.control("seed").press("Enter")
    shown.expect_idle()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "text is empty"),
        ("a walrus", "walrus"),
        ("rocket " * 1428, "only its first 1,000 signs are read"),
        ("صاروخ", "only English is read"),
    ],
    ids=["empty", "near", "long", "right to left"],
)
def test_odd_prompts(notebook: Notebook, shown: View, prompt: str, words: str) -> None:
    ask(shown, prompt)
    shown.expect_message(re.compile(words), role="alert")
    expect(shown.root.locator(".ca-chip").last).to_contain_text("[end]")


def test_a_second_drawing_cancels_the_first(notebook: Notebook, shown: View) -> None:
    for seed in (11, 12, 13):
        shown.control("seed").fill(str(seed))
        shown.control("seed").press("Enter")
    shown.expect_idle()
    assert notebook.python("attention.wait(); print(attention._drawn.seed)") == "13"
    shown.control("seed").fill("7")
    shown.control("seed").press("Enter")
    shown.expect_idle()


def test_two_views_share_a_model_and_nothing_else(notebook: Notebook, shown: View) -> None:
    other = notebook.run(f"other = CrossAttention(prompt='a cat', num_steps={STEPS})\nother")
    shown.control("seed").fill("9")
    shown.control("seed").press("Enter")  # both draw at the same time
    expect(word(other, "cat")).to_have_attribute("aria-pressed", "true")
    other.expect_idle()
    shown.expect_idle()
    expect(word(shown, "rocket")).to_have_attribute("aria-pressed", "true")
    assert notebook.python("print(len(other._drawn.guesses), len(attention._drawn.guesses))") == (
        f"{STEPS} {STEPS}"
    )
    notebook.python("other.close()")
    shown.control("seed").fill("7")
    shown.control("seed").press("Enter")
    shown.expect_idle()


def test_dark_and_narrow(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    page = notebook.page
    light = shown.root.evaluate("(el) => getComputedStyle(el).backgroundColor")
    notebook.theme(dark=True)
    assert shown.root.evaluate("(el) => getComputedStyle(el).backgroundColor") != light
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    page.set_viewport_size({"width": 800, "height": 1000})
    wide = shown.root.evaluate("(el) => [el.scrollWidth, el.clientWidth]")
    assert wide[0] <= wide[1], "nothing sticks out at 800 pixels"
    shown.screenshot(tmp_path / "attention_800_dark.png")
    notebook.theme(dark=False)
    page.set_viewport_size({"width": 1280, "height": 1000})


def test_a_restarted_kernel_is_told(notebook: Notebook, shown: View) -> None:
    notebook.page.evaluate(
        "() => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
    )
    shown.expect_message("The kernel was restarted: run this cell again.", role="alert")
    expect(word(shown, "rocket")).to_be_disabled()
    shown.root.locator(".sn-message .sn-error").evaluate("(el) => el.remove()")
