"""View 7, the architecture map, driven in JupyterLab."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from harness import PATIENCE, ROOT, Notebook, View
from playwright.sync_api import Locator, expect

expect.set_options(timeout=PATIENCE)  # a slow machine is no failure
STEPS = 6
CODE = f"""from pathlib import Path
from course_utils.widgets import ArchitectureMap
system = ArchitectureMap(num_steps={STEPS}, lessons=Path.cwd() / "lessons here")
system"""
PARTS = {
    "text": ("1 Text encoder", "CLIP conditioning"),
    "noise": ("2 Noise", "Forward noising"),
    "unet": (f"3 U-Net × {STEPS}", "The U-Net"),
    "decoder": ("4 Decoder", "Latent VAE"),
}


@pytest.fixture(scope="module")
def shown(module_notebook: Notebook, lab_folder: Path) -> View:
    lessons = lab_folder / "lessons here"
    lessons.mkdir(exist_ok=True)
    for name in ("05_clip_conditioning", "03_unet"):
        shutil.copy(ROOT / "solutions" / f"{name}.ipynb", lessons)
    view = module_notebook.run(CODE)
    view.seconds = module_notebook.first_paint()  # type: ignore[attr-defined]
    expect(place(view, "decoder")).to_contain_text("ran in")
    view.expect_idle()
    return view


def place(view: View, part: str) -> Locator:
    """The button of a part on the map."""
    return view.part("map").locator(f'button[data-value="{part}"]')


def end(view: View) -> np.ndarray:
    """The finished picture on the map."""
    return view.pixels("map", index=9)


def run(view: View, part: str) -> None:
    """Click a part and wait until it ran."""
    place(view, part).click()
    view.expect_text("output", PARTS[part][0])
    view.expect_idle()


def test_it_paints_within_a_second(notebook: Notebook, shown: View) -> None:
    seconds = shown.seconds  # type: ignore[attr-defined]
    print(f"first paint after {seconds:.3f} s")
    assert seconds < 1


def test_tensors_are_drawn_to_scale(notebook: Notebook, shown: View) -> None:
    boxes = [img.bounding_box() for img in shown.part("map").locator("img").all()]
    sizes = [(round(box["width"]), round(box["height"])) for box in boxes if box]
    assert sizes == [(384, 48), *[(12, 12)] * 8, (96, 96)]
    own = [shown.pixels("map", index).shape for index in range(10)]
    assert own == [(32, 256, 3), *[(8, 8, 3)] * 8, (64, 64, 3)], "a pixel for each number"
    text = shown.part("map").inner_text()
    for size in ("(1, 32, 256)", "(1, 4, 8, 8)", "(1, 3, 64, 64)"):
        assert size in text


@pytest.mark.parametrize("part", PARTS)
def test_a_click_runs_a_part(notebook: Notebook, shown: View, part: str, tmp_path: Path) -> None:
    title, lesson = PARTS[part]
    runs = f"print(id(system._trace.outputs['{part}']))"
    before = notebook.python(runs)
    start = time.perf_counter()
    run(shown, part)
    print(f"{title} after {time.perf_counter() - start:.2f} s")
    expect(place(shown, part)).to_have_attribute("aria-pressed", "true")
    assert shown.part("map").locator('button[aria-pressed="true"]').count() == 1
    shown.expect_text("lesson", lesson)
    assert notebook.python("system.wait()\n" + runs) != before, "it ran again"
    shown.screenshot(tmp_path / f"architecture_{part}.png")


def test_what_comes_out(notebook: Notebook, shown: View) -> None:
    run(shown, "text")
    tokens = shown.part("output").locator(".am-token")
    assert tokens.locator("bdi").all_inner_texts()[:4] == ["[start]", "a", "cat", "face"]
    assert tokens.locator("small").nth(0).inner_text() == "2682"
    states = shown.pixels("output")
    assert states.shape == (32, 256, 3) and states.std() > 20
    expect(shown.part("shots")).to_be_hidden()
    run(shown, "noise")
    shown.expect_text("found", re.compile(r"256 numbers, mean [+−]0\.\d\d"))
    assert shown.part("shots").locator("img").count() == 5
    assert shown.pixels("shots", 0).shape == (8, 8, 3)
    run(shown, "unet")
    shown.expect_text("found", f"{2 * STEPS} looks in")
    count = shown.part("shots").locator("img").count()
    assert count == STEPS + 1 == shown.part("guesses").locator("img").count()
    noisy, guess = shown.pixels("shots", count - 1), shown.pixels("guesses", count - 1)
    picture = end(shown).astype(int)
    assert (noisy == guess).all(), "both rows end in the same picture"
    assert abs(noisy - picture).max() <= 1, "and that is the picture"
    assert (shown.pixels("shots", 0) != noisy).any()
    run(shown, "decoder")
    assert (shown.pixels("shots") == end(shown)).all()
    expect(shown.part("guesses")).to_be_hidden()


def test_the_keyboard_runs_a_part(notebook: Notebook, shown: View) -> None:
    run(shown, "text")
    place(shown, "text").focus()
    notebook.page.keyboard.press("Tab")
    expect(place(shown, "noise")).to_be_focused()
    notebook.page.keyboard.press("Enter")
    shown.expect_text("output", "2 Noise")
    shown.expect_idle()
    expect(place(shown, "noise")).to_be_focused()


def test_prompt_seed_and_steps_run_everything(notebook: Notebook, shown: View) -> None:
    before = end(shown)
    shown.control("prompt").fill("a pizza on a green background")
    shown.control("prompt").press("Enter")
    before = shown.expect_pixels_change("map", before, index=9)
    shown.expect_idle()
    noise = shown.pixels("map", 1)
    shown.control("seed").fill("11")
    shown.control("seed").press("Enter")
    shown.expect_pixels_change("map", noise, index=1)
    before = shown.expect_pixels_change("map", before, index=9)
    shown.expect_idle()
    shown.control("steps of the U-Net").fill("4")
    shown.control("steps of the U-Net").dispatch_event("change")
    expect(place(shown, "unet")).to_contain_text("3 U-Net × 4")
    shown.expect_pixels_change("map", before, index=9)
    shown.expect_idle()
    shown.button("Run all parts").click()
    shown.expect_idle()
    shown.control("steps of the U-Net").fill(str(STEPS))
    shown.control("steps of the U-Net").dispatch_event("change")
    expect(place(shown, "unet")).to_contain_text(f"3 U-Net × {STEPS}")
    shown.expect_idle()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "text is empty"),
        ("a walrus", "walrus"),
        ("cat " * 2500, "only its first 1,000 signs are read"),
        ("قطة <b>", "only English is read"),
    ],
    ids=["empty", "near", "long", "right to left"],
)
def test_odd_prompts(notebook: Notebook, shown: View, prompt: str, words: str) -> None:
    before = end(shown)
    shown.control("prompt").fill(prompt)
    shown.control("prompt").press("Enter")
    shown.expect_message(re.compile(words), role="alert")
    shown.expect_pixels_change("map", before, index=9)
    shown.expect_idle()


def test_a_lesson_that_is_not_here_is_named(notebook: Notebook, shown: View) -> None:
    run(shown, "decoder")
    shown.expect_text("lesson", "Lesson 06: Latent VAE")
    assert shown.part("lesson").get_by_role("link").count() == 0


def test_two_views_are_independent(notebook: Notebook, shown: View) -> None:
    other = notebook.run("other = ArchitectureMap(prompt='a star', num_steps=2)\nother")
    expect(place(other, "unet")).to_contain_text("3 U-Net × 2")
    expect(place(other, "decoder")).to_contain_text("ran in")
    place(other, "noise").click()
    other.expect_text("output", "2 Noise")
    other.expect_idle()
    shown.expect_text("output", "4 Decoder")
    notebook.python("other.close()")


def test_dark_and_narrow(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    page = notebook.page
    run(shown, "unet")
    light = shown.root.evaluate("(el) => getComputedStyle(el).backgroundColor")
    notebook.theme(dark=True)
    assert shown.root.evaluate("(el) => getComputedStyle(el).backgroundColor") != light
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    page.set_viewport_size({"width": 800, "height": 1000})
    for part in (shown.root, shown.part("map")):
        wide = part.evaluate("(el) => [el.scrollWidth, el.clientWidth]")
        assert wide[0] <= wide[1], "nothing sticks out at 800 pixels"
    shown.screenshot(tmp_path / "architecture_800_dark.png")
    notebook.theme(dark=False)
    page.set_viewport_size({"width": 1280, "height": 1000})


def test_the_link_opens_the_lesson(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    run(shown, "text")
    link = shown.part("lesson").get_by_role("link")
    expect(link).to_have_text("Open lesson 05: CLIP conditioning")
    assert (link.get_attribute("href") or "").endswith(
        "/lab/tree/lessons%20here/05_clip_conditioning.ipynb"
    )
    link.click()
    lesson = notebook.page.get_by_role("heading", name=re.compile("^05 CLIP conditioning"))
    expect(lesson).to_be_visible()
    expect(shown.root).to_be_hidden()
    notebook.page.screenshot(path=tmp_path / "architecture_lesson.png")
    notebook.command("docmanager:open", path=notebook.path.name)
    expect(shown.root).to_be_visible()
    notebook.page.wait_for_function(
        "(name) => window.jupyterapp.shell.currentWidget.title.label === name",
        arg=notebook.path.name,
    )


def test_a_restarted_kernel_is_told(notebook: Notebook, shown: View) -> None:
    notebook.page.evaluate(
        "() => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
    )
    shown.expect_message("The kernel was restarted: run this cell again.", role="alert")
    expect(place(shown, "unet")).to_be_disabled()
    shown.root.locator(".sn-message .sn-error").evaluate("(el) => el.remove()")
