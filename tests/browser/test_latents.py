"""View 4, the latent studio, driven in JupyterLab."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from harness import PATIENCE, Notebook, View
from PIL import Image
from playwright.sync_api import Locator, expect

expect.set_options(timeout=PATIENCE)  # a slow machine is no failure
CODE = "from course_utils.widgets import LatentStudio\nstudio = LatentStudio()\nstudio"
NOTHING = "nothing: these are the latents of A"
BRUSH, MIX, ROUND = "the number to paint", re.compile("mix"), re.compile("round each number")


@pytest.fixture(scope="module")
def opened(module_notebook: Notebook) -> View:
    view = module_notebook.run(CODE)
    view.seconds = module_notebook.first_paint()  # type: ignore[attr-defined]
    view.expect_text("quality", "dB")
    view.quality = view.part("quality").locator(".sn-text").inner_text()  # type: ignore[attr-defined]
    return view


@pytest.fixture
def shown(opened: View) -> View:
    """The view as it was when it opened."""
    if NOTHING not in opened.part("numbers").inner_text():
        opened.button("start again").click()
        opened.expect_text("numbers", NOTHING)
    opened.expect_idle()
    opened.expect_text("quality", opened.quality)  # type: ignore[attr-defined]
    return opened


def cells(view: View, channel: int) -> Locator:
    return view.part(f"plane{channel}").get_by_role("gridcell")


def colour(cell: Locator) -> tuple[int, ...]:
    words = cell.evaluate("(el) => getComputedStyle(el).backgroundColor")
    return tuple(int(number) for number in re.findall(r"\d+", words))


def decibel(view: View) -> float:
    """The quality that the page says."""
    return float(view.part("quality").locator(".sn-text").inner_text().split()[0])


def edited(view: View, words: str, before: np.ndarray) -> np.ndarray:
    """Wait until the page says what was changed and shows another picture."""
    view.expect_text("numbers", words)
    return view.expect_pixels_change("decoded", before)


def expect_close(view: View, target: np.ndarray, levels: float = 15) -> None:
    """Wait until the decoded picture is near another: what was moved last is decoded last."""
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline:
        far = float(np.abs(view.pixels("decoded").astype(float) - target).mean())
        if far < levels:
            return
        view.page.wait_for_timeout(50)
    raise AssertionError(f"the decoded picture stays {far:.0f} levels away")


def test_it_paints_within_a_second(notebook: Notebook, opened: View) -> None:
    seconds = opened.seconds  # type: ignore[attr-defined]
    print(f"first paint after {seconds:.3f} s")
    assert seconds < 1


def test_it_opens_with_a_picture_and_its_numbers(notebook: Notebook, shown: View) -> None:
    a, b, decoded = (shown.pixels(name) for name in ("picture_a", "picture_b", "decoded"))
    for pixels in (a, b, decoded):
        assert pixels.shape == (64, 64, 3) and pixels.std() > 20
    far = float(np.abs(a.astype(float) - decoded).mean())
    assert far < 15 < float(np.abs(b.astype(float) - decoded).mean())
    assert decibel(shown) > 20
    for channel in range(4):
        assert cells(shown, channel).count() == 64
    colours = {colour(cells(shown, 0).nth(i)) for i in range(64)}
    assert len(colours) > 20, "a channel shows its numbers"
    assert "64 times fewer" in (shown.part("scale").locator("svg").get_attribute("aria-label"))


def test_the_arithmetic_is_drawn_to_scale(notebook: Notebook, shown: View) -> None:
    boxes = [box.bounding_box() for box in shown.part("scale").locator("rect").all()]
    areas = [box["width"] * box["height"] for box in boxes if box]
    assert areas[0] / areas[1] == pytest.approx(64, rel=0.25)  # strokes are part of the box
    assert areas[2] / areas[3] == pytest.approx(48, rel=0.25)


def test_the_mouse_paints(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    before = shown.pixels("decoded")
    grid = shown.part("plane0").get_by_role("grid")
    grid.scroll_into_view_if_needed()
    first, last = cells(shown, 0).nth(9).bounding_box(), cells(shown, 0).nth(14).bounding_box()
    assert first and last
    mouse, y = notebook.page.mouse, first["y"] + first["height"] / 2
    mouse.move(first["x"] + first["width"] / 2, y)
    mouse.down()
    mouse.move(last["x"] + last["width"] / 2, y, steps=2)  # fast: squares between are filled in
    mouse.up()
    now = edited(shown, "6 of 256 numbers painted", before)
    assert {colour(cells(shown, 0).nth(i)) for i in range(9, 15)} == {(34, 34, 34)}
    moved = np.abs(now.astype(float) - before).mean(axis=2)
    assert moved[:24].mean() > 2 * moved[40:].mean(), "a number acts around its own place"
    assert "painted" in (cells(shown, 0).nth(10).get_attribute("aria-label") or "")
    shown.screenshot(tmp_path / "latents_painted.png")
    shown.button("undo").click()
    shown.expect_text("numbers", NOTHING)
    expect(shown.button("undo")).to_be_disabled()
    expect_close(shown, before, 0.01)  # as it was


def test_the_keyboard_paints(notebook: Notebook, shown: View) -> None:
    before = shown.pixels("decoded")
    shown.set_slider(BRUSH, -3)
    cells(shown, 2).nth(0).focus()
    page = notebook.page
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    shown.expect_text("numbers", "1 of 256 numbers painted")
    assert colour(cells(shown, 2).nth(10)) == (255, 255, 255)
    expect(cells(shown, 2).nth(10)).to_be_focused()
    expect(cells(shown, 2).nth(10)).to_have_attribute("aria-label", re.compile("−3.00, painted"))
    for _ in range(3):  # quick ones: none is lost
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
    now = edited(shown, "4 of 256 numbers painted", before)
    shown.control("click or drag to").select_option("erase")
    cells(shown, 2).nth(10).focus()
    page.keyboard.press("Enter")
    shown.expect_text("numbers", "3 of 256 numbers painted")
    shown.expect_pixels_change("decoded", now)
    shown.control("click or drag to").select_option("paint")
    shown.set_slider(BRUSH, 3)


def test_channels_from_b(notebook: Notebook, shown: View) -> None:
    before, quality = shown.pixels("decoded"), decibel(shown)
    old = colour(cells(shown, 1).nth(20))
    box = shown.control("channel 1 from B")
    box.focus()
    box.press("Space")
    now = edited(shown, "channel 1 from B", before)
    assert colour(cells(shown, 1).nth(20)) != old
    assert decibel(shown) < quality
    for channel in (0, 2, 3):
        shown.control(f"channel {channel} from B").check()
    edited(shown, "channels 0, 1, 2, 3 from B", now)
    expect_close(shown, shown.pixels("picture_b"))  # all four channels make B


def test_mixing_walks_from_a_to_b(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    a, before = shown.pixels("picture_a"), shown.pixels("decoded")
    far = [float(np.abs(before.astype(float) - a).mean())]
    for share in (25, 50, 75, 100):
        shown.set_slider(MIX, share)
        before = edited(shown, f"{share}% of B mixed in", before)
        far.append(float(np.abs(shown.pixels("decoded").astype(float) - a).mean()))
        if share == 50:
            shown.screenshot(tmp_path / "latents_halfway.png")
    assert far == sorted(far)
    expect_close(shown, shown.pixels("picture_b"))


def test_a_drag_ends_on_the_last_value(notebook: Notebook, shown: View) -> None:
    shown.slide(MIX, 70)
    value = shown.control(MIX).input_value()
    assert abs(int(value) - 70) < 6
    shown.expect_text("numbers", f"{value}% of B mixed in")
    shown.expect_idle()
    notebook.expect_python("print(studio['share'])", value)


def test_rounding_costs_quality(notebook: Notebook, shown: View) -> None:
    before, qualities = shown.pixels("decoded"), [decibel(shown)]
    for bits in (4, 2, 1):
        shown.control(ROUND).select_option(str(bits))
        shown.expect_text("cost", f"= {256 * bits:,} bits")
        shown.expect_text("numbers", f"rounded to one of {2**bits} levels")
        before = shown.expect_pixels_change("decoded", before)
        expect(shown.part("quality")).not_to_contain_text(f"{qualities[-1]:.1f} dB (")
        qualities.append(decibel(shown))
    assert qualities == sorted(qualities, reverse=True)
    colours = {colour(cells(shown, 3).nth(i)) for i in range(64)}
    assert len(colours) == 2, "one bit leaves two levels"


def test_other_pictures_and_your_own(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    a, before = shown.pixels("picture_a"), shown.pixels("decoded")
    shown.control("picture A").select_option("rocket")
    a = shown.expect_pixels_change("picture_a", a)
    before = shown.expect_pixels_change("decoded", before)
    mine = io.BytesIO()
    Image.new("RGB", (500, 200), (20, 200, 90)).save(mine, "JPEG")
    shown.control(re.compile("picture of your own")).set_input_files(
        {"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": mine.getvalue()}
    )
    a = shown.expect_pixels_change("picture_a", a)
    assert np.abs(a.astype(int) - (20, 200, 90)).max() < 12
    shown.expect_pixels_change("decoded", before)
    assert shown.control("picture A").input_value() == "own"
    shown.screenshot(tmp_path / "latents_own.png")
    shown.control(re.compile("picture of your own")).set_input_files(
        {"name": "words.txt", "mimeType": "text/plain", "buffer": b"not a picture"}
    )
    shown.expect_message("words.txt cannot be read as a picture", role="alert")
    huge = io.BytesIO()
    Image.new("1", (10_000, 5_000)).save(huge, "PNG")
    shown.control(re.compile("picture of your own")).set_input_files(
        {"name": "huge.png", "mimeType": "image/png", "buffer": huge.getvalue()}
    )
    shown.expect_message("50 megapixels", role="alert")
    assert (shown.pixels("picture_a") == a).all()
    shown.control("picture A").select_option("cat")
    shown.expect_pixels_change("picture_a", a)
    shown.expect_idle()


def test_time_of_an_update(notebook: Notebook, shown: View) -> None:
    """From a key on the slider to the new picture on the page."""
    slider, before, times = shown.control(MIX), shown.pixels("decoded"), []
    slider.focus()
    for _ in range(5):
        start = time.perf_counter()
        slider.press("ArrowRight")
        before = shown.expect_pixels_change("decoded", before)
        times.append(time.perf_counter() - start)
    print(f"update after {min(times):.3f} to {max(times):.3f} s")
    assert min(times) < 2


def test_two_views_are_independent(notebook: Notebook, shown: View) -> None:
    other = notebook.run("other = LatentStudio(a='pizza', b='panda')\nother")
    other.expect_text("quality", "dB")
    other.control("channel 0 from B").check()
    other.expect_text("numbers", "channel 0 from B")
    shown.expect_text("numbers", NOTHING)
    other.expect_idle()
    notebook.python("other.close()")


def test_dark_and_narrow(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    page = notebook.page
    light = shown.root.evaluate("(el) => getComputedStyle(el).backgroundColor")
    notebook.theme(dark=True)
    assert shown.root.evaluate("(el) => getComputedStyle(el).backgroundColor") != light
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    page.set_viewport_size({"width": 800, "height": 1000})
    wide = shown.root.evaluate("(el) => [el.scrollWidth, el.clientWidth]")
    assert wide[0] <= wide[1], "nothing sticks out at 800 pixels"
    tops = {box["y"] for box in (cells(shown, c).nth(0).bounding_box() for c in range(4)) if box}
    assert len(tops) == 1, "the four channels stand side by side"
    shown.screenshot(tmp_path / "latents_800_dark.png")
    notebook.theme(dark=False)
    page.set_viewport_size({"width": 1280, "height": 1000})


def test_a_restarted_kernel_is_told(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    notebook.page.evaluate(
        "() => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
    )
    shown.expect_message("The kernel was restarted: run this cell again.", role="alert")
    expect(shown.control(MIX)).to_be_disabled(timeout=PATIENCE)
    cells(shown, 0).nth(0).click()  # nothing happens, and nothing breaks
    shown.screenshot(tmp_path / "latents_gone.png")
    shown.root.locator(".sn-message .sn-error").evaluate("(el) => el.remove()")
