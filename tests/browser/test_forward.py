"""View 2, forward noising, driven in JupyterLab."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from harness import PATIENCE, Notebook, View
from PIL import Image
from playwright.sync_api import expect

CODE = "from course_utils.widgets import ForwardNoising\nview = ForwardNoising()\nview"
T = re.compile("timestep t")
GONE = "The kernel was restarted: run this cell again."


@pytest.fixture(scope="module")
def shown(module_notebook: Notebook) -> View:
    view = module_notebook.run(CODE)
    view.expect_text("snr", "1.5 (+2 dB)")
    return view


def numbers(view: View) -> tuple[float, str]:
    """The signal share and the SNR that the page says."""
    share = view.part("share").locator(".sn-text").inner_text()
    return float(share), view.part("snr").locator(".sn-text").inner_text()


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference of two pictures, in levels of 0 to 255."""
    return float(np.abs(a.astype(float) - b).mean())


def test_it_paints_within_a_second(notebook: Notebook, shown: View) -> None:
    seconds = notebook.first_paint()
    print(f"first paint after {seconds:.3f} s")
    assert seconds < 1


def test_the_slider_drowns_the_picture(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    clean = shown.pixels("clean")
    assert clean.shape == (64, 64, 3) and clean.std() > 20
    shown.set_slider(T, 0)
    shown.expect_text("snr", "infinite (no noise)")
    assert distance(shown.pixels("noisy"), clean) == 0
    before, far, shares = clean, [0.0], [1.0]
    for t in (200, 500, 1000):
        shown.set_slider(T, t)
        shown.expect_text("noisy", f"at t = {t}")
        now = shown.expect_pixels_change("noisy", before)
        far.append(distance(now, clean))
        shares.append(numbers(shown)[0])
        before = now
    assert far == sorted(far) and far[-1] > 60, "the picture drowns, more and more"
    assert shares == sorted(shares, reverse=True) and shares[-1] < 0.01
    shown.screenshot(tmp_path / "forward_1000.png")


def test_a_move_is_answered_quickly(notebook: Notebook, shown: View) -> None:
    seconds = shown.update_time(T, [10.0 * k for k in range(20, 60)], "noisy")
    print(f"{1000 * seconds:.0f} ms from a move to the picture")
    assert seconds < 1


def test_keys_move_the_slider_and_the_mark(notebook: Notebook, shown: View) -> None:
    shown.set_slider(T, 400)
    shown.expect_text("noisy", "at t = 400")
    curve = shown.part("alpha_bar").locator("svg")
    expect(curve).to_have_attribute("aria-label", re.compile("t = 400"), timeout=PATIENCE)
    mark = shown.part("alpha_bar").locator("circle.sn-dot")
    at = float(mark.get_attribute("cx") or 0), float(mark.get_attribute("cy") or 0)
    share, before = numbers(shown)[0], shown.pixels("noisy")
    slider = shown.control(T)
    slider.focus()
    for _ in range(5):
        slider.press("ArrowRight")
    shown.expect_text("noisy", "at t = 405")
    shown.expect_pixels_change("noisy", before)
    assert numbers(shown)[0] < share
    expect(curve).to_have_attribute("aria-label", re.compile("t = 405"), timeout=PATIENCE)
    now = float(mark.get_attribute("cx") or 0), float(mark.get_attribute("cy") or 0)
    assert now[0] > at[0] and now[1] > at[1], "the mark moves to the right and down"
    slider.press("End")
    shown.expect_text("noisy", "at t = 1000")


def test_a_drag_ends_on_the_last_value(notebook: Notebook, shown: View) -> None:
    shown.set_slider(T, 100)
    shown.slide(T, 700)
    value = shown.control(T).input_value()
    assert abs(int(value) - 700) < 15
    shown.expect_text("noisy", f"at t = {value}")
    notebook.expect_python("print(view['t'])", value)


def test_schedules_change_the_curves_and_the_numbers(notebook: Notebook, shown: View) -> None:
    shown.set_slider(T, 1000)
    shown.expect_text("noisy", "at t = 1000")
    said, drawn = {}, {}
    for name in ("linear", "cosine", "scaled_linear", "zero_snr"):
        before = numbers(shown)[1]
        shown.control("noise schedule").select_option(name)
        shown.page.wait_for_function(
            "([text, words]) => text.textContent !== words",
            arg=[shown.part("snr").locator(".sn-text").element_handle(), before],
        )
        said[name] = numbers(shown)[1]
        drawn[name] = shown.part("alpha_bar").locator("path.sn-curve-0").get_attribute("d")
    assert said["zero_snr"] == "0 (pure noise)"
    assert len(set(said.values())) == 4 and len(set(drawn.values())) == 4
    shown.control("noise schedule").select_option("scaled_linear")


def test_another_picture_and_other_noise(notebook: Notebook, shown: View) -> None:
    shown.set_slider(T, 300)
    shown.expect_text("noisy", "at t = 300")
    clean, noisy, noise = (shown.pixels(name) for name in ("clean", "noisy", "noise"))
    shown.control("picture").select_option("pizza")
    shown.expect_pixels_change("clean", clean)
    noisy = shown.expect_pixels_change("noisy", noisy)
    assert distance(shown.pixels("noise"), noise) == 0, "the same noise on another picture"
    shown.button("Other noise").click()
    shown.expect_pixels_change("noise", noise)
    shown.expect_pixels_change("noisy", noisy)


def test_play_walks_to_the_end(notebook: Notebook, shown: View) -> None:
    shown.set_slider(T, 900)
    button = shown.part("run")
    button.press("Enter")
    shown.expect_text("noisy", "at t = 1000")
    shown.expect_text("run", "Play")


def test_an_upload_of_your_own(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    wide = Image.new("RGB", (900, 300), (255, 0, 0))
    wide.paste((0, 128, 255), (300, 0, 600, 300))  # the middle, which is kept
    buffer = io.BytesIO()
    wide.save(buffer, "PNG")
    before = shown.pixels("clean")
    shown.control("or your own").set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    )
    shown.expect_message("mine.png: its middle")
    now = shown.expect_pixels_change("clean", before)
    assert now.shape == (64, 64, 3)
    assert np.abs(now.astype(int) - (0, 128, 255)).max() <= 3
    assert shown.control("picture").input_value() == "your own"
    shown.screenshot(tmp_path / "forward_upload.png")


def test_what_is_no_picture_and_what_is_too_large(notebook: Notebook, shown: View) -> None:
    before = shown.pixels("clean")
    shown.control("or your own").set_input_files(
        {"name": "words.txt", "mimeType": "text/plain", "buffer": b"not a picture"}
    )
    shown.expect_message("words.txt cannot be read as a picture", role="alert")
    huge = io.BytesIO()
    Image.new("1", (10_000, 5_000)).save(huge, "PNG")
    shown.control("or your own").set_input_files(
        {"name": "huge.png", "mimeType": "image/png", "buffer": huge.getvalue()}
    )
    shown.expect_message("50 megapixels", role="alert")
    assert distance(shown.pixels("clean"), before) == 0
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), np.uint8)
    large = io.BytesIO()
    Image.fromarray(noise).save(large, "PNG")  # 6.8 MB: more than one message
    assert len(large.getvalue()) > 2**22
    shown.control("or your own").set_input_files(
        {"name": "large.png", "mimeType": "image/png", "buffer": large.getvalue()}
    )
    shown.expect_message("large.png: its middle")


def test_two_views_are_independent(notebook: Notebook, shown: View) -> None:
    other = notebook.run("other = ForwardNoising(t=50, schedule='cosine')\nother")
    other.expect_text("noisy", "at t = 50")
    shown.set_slider(T, 600)
    shown.expect_text("noisy", "at t = 600")
    other.set_slider(T, 70)
    other.expect_text("noisy", "at t = 70")
    shown.expect_text("noisy", "at t = 600")


USAGE = """
import gc, threading, psutil, ipywidgets
gc.collect()
widgets = len(ipywidgets.widgets.widget._instances)
memory = psutil.Process().memory_info().rss // 2**10
print(memory, len(gc.get_objects()), threading.active_count(), widgets)
"""


def usage(notebook: Notebook) -> list[int]:
    """Of the kernel: memory in KiB, objects, threads, widgets. Of the page: elements, pictures."""
    page = notebook.page.evaluate("() => [document.querySelectorAll('*').length, window.pictures]")
    return [*map(int, notebook.python(USAGE).split()), *page]


def test_200_moves_leave_nothing_behind(notebook: Notebook, shown: View) -> None:
    """Each step of 200 key presses changes the picture; what must not grow is counted."""
    notebook.page.evaluate(
        """() => {
            window.pictures = 0; // addresses that keep a picture in the page's memory
            const make = URL.createObjectURL, drop = URL.revokeObjectURL;
            URL.createObjectURL = (blob) => { window.pictures++; return make.call(URL, blob); };
            URL.revokeObjectURL = (url) => { window.pictures--; drop.call(URL, url); };
        }"""
    )
    slider = shown.control(T)

    def press_keys(start: int, count: int) -> None:
        shown.set_slider(T, start)
        shown.expect_text("noisy", f"at t = {start}")
        slider.focus()
        for k in range(1, count + 1):
            slider.press("ArrowRight")
            shown.expect_text("noisy", f"at t = {start + k}")

    press_keys(100, 30)
    before = usage(notebook)
    press_keys(200, 200)
    after = usage(notebook)
    names = ("kernel KiB", "objects", "threads", "widgets", "elements", "pictures")
    print({name: (a, b) for name, a, b in zip(names, before, after, strict=True)})
    grown = [b - a for a, b in zip(before, after, strict=True)]
    assert grown[0] < 6 * 1024, "200 noisy pictures as tensors would be 10 MiB"
    assert grown[1] < 800, "an observer or message kept from each move would be more"
    assert grown[2] <= 1 and grown[3] == 0
    assert grown[4] < 100, "elements of the page: only those of this test's own new cell"
    assert grown[5] == 0, "every picture gives its address back"


def test_dark_and_narrow(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    page = notebook.page
    light = shown.root.evaluate("(el) => getComputedStyle(el).backgroundColor")
    notebook.theme(dark=True)
    dark = shown.root.evaluate("(el) => getComputedStyle(el).backgroundColor")
    assert light != dark
    shown.screenshot(tmp_path / "forward_dark.png")
    page.set_viewport_size({"width": 800, "height": 900})
    wide = shown.root.evaluate("(el) => [el.scrollWidth, el.clientWidth]")
    assert wide[0] <= wide[1], "nothing sticks out at 800 pixels"
    shown.screenshot(tmp_path / "forward_800_dark.png")
    notebook.theme(dark=False)
    page.set_viewport_size({"width": 1280, "height": 1000})


def test_a_restarted_kernel_is_told(notebook: Notebook, shown: View, tmp_path: Path) -> None:
    notebook.restart()
    shown.expect_message(GONE, role="alert")
    assert shown.control(T).is_disabled()
    shown.screenshot(tmp_path / "forward_gone.png")
    notebook.forgive(GONE)
