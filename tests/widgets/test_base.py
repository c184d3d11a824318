"""What every view is made of, without a browser."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import threading
import time
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pipeline import tiny_pipeline

from course_utils.widgets import _base
from course_utils.widgets._base import View, as_png
from course_utils.widgets._course_model import prompt_notes, read_prompt
from course_utils.widgets._parts import (
    chart,
    check,
    clean_value,
    column,
    fold,
    note,
    number,
    picture,
    pictures,
    row,
    select,
    slider,
    text,
)
from course_utils.widgets._upload import read_upload


class Doubler(View):
    """The example of the module, with one part of most kinds."""

    label = "A number and its double"

    def __init__(self) -> None:
        self.finals: list[float] = []
        super().__init__(
            row(slider("n", "number n", 0, 9, 2), number("x", "factor", 0.0, 1.0, 0.5, step=0.1)),
            column(note("out", "twice n"), picture("pic", "a picture")),
            fold("more", check("yes", "really"), text("words", "words"), pictures("all", "all")),
            select("which", "which", {"a": "the first", "b": "the second"}, "a"),
            chart("curve", "a curve", "x", "y"),
        )
        self.on("n", lambda n: self.put("out", text=f"{2 * n}"))
        self.on("n", self.finals.append, final=True)


def move(view: View, name: str, value: Any, final: bool = True) -> None:
    """What the page sends when a control moves."""
    item = {"name": name, "value": value, "final": final}
    view._receive(None, {"type": "set", "view": "test", "items": [item]}, [])


@pytest.fixture
def view():
    view = Doubler()
    yield view
    view.close()


# --- controls ------------------------------------------------------------------------------------


def test_a_control_calls_its_handlers(view: Doubler) -> None:
    move(view, "n", 4, final=False)
    assert (view["n"], view.part("out")["text"], view.finals) == (4, "8", [])
    move(view, "n", 5)
    assert (view["n"], view.part("out")["text"], view.finals) == (5, "10", [5])
    assert view.error is None


def test_setting_a_value_in_python_calls_no_handler(view: Doubler) -> None:
    view["n"] = 7
    assert view["n"] == 7 and view.part("out")["text"] == ""


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("n", 99, 9),
        ("n", -1, 0),
        ("n", 3.4, 3),
        ("x", 2, 1.0),
        ("yes", 1, True),
        ("words", "a" * 50_000, "a" * 20_000),
        ("words", "a\ud800b", "a\ufffdb"),
        ("words", "سلام 🐱", "سلام 🐱"),
        ("which", "b", "b"),
    ],
)
def test_values_are_brought_into_range(view: Doubler, name: str, value: Any, kept: Any) -> None:
    move(view, name, value)
    assert view[name] == kept and view.error is None


@pytest.mark.parametrize(
    ("name", "value"), [("n", "3"), ("n", float("nan")), ("n", True), ("words", 3), ("which", "c")]
)
def test_what_is_no_value_is_an_error(view: Doubler, name: str, value: Any) -> None:
    before = view[name]
    move(view, name, value)
    assert isinstance(view.error, TypeError | ValueError) and view[name] == before
    assert view.status["kind"] == "error"


def test_a_picture_is_sent_once(view: Doubler, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[dict, list]] = []
    monkeypatch.setattr(
        view, "_send", lambda message, buffers=None: sent.append((message, buffers))
    )
    view.show("pic", torch.zeros(3, 64, 64), "grey", "a caption")
    assert len(sent) == 1 and len(sent[0][1]) == 1, "one message with the bytes of one picture"
    view.put("pic", caption="another caption", value=3)
    assert len(sent) == 2 and not sent[1][1], "the picture is not sent again"
    assert view.part("pic")["png"].startswith(b"\x89PNG")
    assert view.part("pic")["caption"] == "another caption"


def test_unknown_parts_are_named(view: Doubler) -> None:
    with pytest.raises(KeyError, match="no part 'm'; expected one of n, x, out"):
        view.part("m")
    with pytest.raises(KeyError):
        view.on("m", print)


def test_clean_value_of_a_float_slider() -> None:
    state = slider("s", "scale", 0.0, 20.0, 7.5, step=0.5).state
    assert clean_value(state, 3) == 3.0 and isinstance(clean_value(state, 3), float)


# --- computing -----------------------------------------------------------------------------------


def test_busy_reports_and_hands_over(view: Doubler) -> None:
    seen, threads = [], []

    def work(report, cancelled):
        threads.append(threading.current_thread())
        assert not torch.is_grad_enabled()
        report(0.5, "half")
        return 42

    view.busy(work, done=seen.append)
    view.wait(10)
    assert seen == [42] and threads[0] is not threading.main_thread()
    assert not view.working and not view.progress["running"] and view.error is None


def test_a_second_start_cancels_the_first(view: Doubler) -> None:
    started, seen, stopped = threading.Event(), [], []

    def endless(report, cancelled):
        started.set()
        while True:
            report(0.1, "still")
            time.sleep(0.005)

    view.busy(endless, done=seen.append, stopped=lambda: stopped.append("first"))
    assert started.wait(10)
    view.busy(lambda report, cancelled: "second", done=seen.append)
    view.wait(10)
    assert seen == ["second"] and stopped == ["first"]


def test_only_the_last_of_what_waits_is_computed(view: Doubler) -> None:
    free, started, seen = threading.Event(), threading.Event(), []

    def first(report, cancelled):
        started.set()
        assert free.wait(10)
        return "first"

    view.busy(first, done=seen.append)
    assert started.wait(10)
    for k in range(5):
        view.busy(lambda report, cancelled, k=k: k, done=seen.append, cancel=False)
    free.set()
    view.wait(10)
    assert seen == ["first", 4]


def test_stop(view: Doubler) -> None:
    started, seen, stopped = threading.Event(), [], []

    def endless(report, cancelled):
        started.set()
        while not cancelled():
            time.sleep(0.005)

    view.busy(endless, done=seen.append, stopped=lambda: stopped.append(1))
    assert started.wait(10)
    view._receive(None, {"type": "stop", "view": "test"}, [])
    view.wait(10)
    assert not seen and stopped == [1]


def test_an_exception_is_shown_and_kept(view: Doubler) -> None:
    view.busy(lambda report, cancelled: 1 / 0)
    view.wait(10)
    assert isinstance(view.error, ZeroDivisionError)
    assert view.status["kind"] == "error" and "ZeroDivisionError" in view.status["text"]
    view.busy(lambda report, cancelled: 1, done=lambda _: view.say("fine"))  # the thread goes on
    view.wait(10)
    assert view.status["text"] == "fine"


def test_a_handlers_exception_is_shown_and_kept(view: Doubler) -> None:
    view.on("yes", lambda value: [][1])
    move(view, "yes", True)
    assert isinstance(view.error, IndexError) and view.status["kind"] == "error"


def test_handlers_may_start_work_while_work_ends(view: Doubler) -> None:
    """The view's lock and the worker's never wait for each other."""
    view.on("n", lambda n: view.busy(lambda report, cancelled: n, done=lambda _: None))
    for k in range(200):
        move(view, "n", k % 10)
    view.wait(10)
    assert view.error is None


def test_close_ends_the_thread() -> None:
    before = threading.active_count()
    view = Doubler()
    view.busy(lambda report, cancelled: None)
    view.wait(10)
    assert threading.active_count() == before + 1
    view.close()
    assert threading.active_count() == before


# --- without a front end -------------------------------------------------------------------------


def filled(view: Doubler) -> Doubler:
    view.show("pic", torch.zeros(3, 64, 64), "a grey square", "grey")
    view.put("all", items=[{"png": as_png(torch.ones(3, 8, 8)), "alt": "white", "caption": "✓"}])
    line = {"label": "f", "x": [0, 0.5, 1], "y": [0.1, float("nan"), 1]}
    marks = [{"x": 0.5, "y": 0.5, "label": "here"}, {"x": 0.2, "label": "rule"}]
    view.put("curve", lines=[line], marks=marks, alt="a line that rises")
    return view


def test_fallback_and_words(view: Doubler) -> None:
    bare = view.fallback()
    picture = filled(view).fallback()
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "PNG" and image.width == 980
    assert len(picture) > len(bare)
    for words in ("A number and its double.", "a grey square", "white", "a line that rises"):
        assert words in view.describe()


Shown = list[tuple[dict, dict]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What is displayed: data and metadata of each output."""
    outputs: Shown = []
    monkeypatch.setattr(
        "IPython.display.display",
        lambda data, metadata=None, raw=False: outputs.append((data, metadata or {})),
    )
    return outputs


LIVE = "application/vnd.jupyter.widget-view+json"


def test_a_page_without_kernel_shows_the_picture_and_its_words(view: Doubler, shown: Shown) -> None:
    from nbconvert import HTMLExporter

    filled(view)._ipython_display_()
    outputs = [nbformat.v4.new_output("display_data", data=d, metadata=m) for d, m in shown]
    assert outputs[0].data[LIVE]["model_id"] == view.model_id
    assert "a line that rises" in outputs[0].metadata["image/png"]["alt"]
    cell = nbformat.v4.new_code_cell("view", outputs=outputs)
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert "a line that rises" in page and "data:image/png;base64," in page


def test_the_output_keeps_a_picture_of_what_was_computed(
    view: Doubler, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    view._ipython_display_()
    assert len(shown) == 2 and "image/png" in shown[0][0]
    shown.clear()
    view.busy(lambda report, cancelled: time.sleep(0.2), done=lambda _: filled(view))
    view._ipython_display_()
    live, still, words = shown
    assert live[0][LIVE]["model_id"] == view.model_id and "image/png" not in live[0]
    assert still[0][LIVE]["model_id"] == words[0][LIVE]["model_id"] == ""  # JupyterLab hides these
    assert "image/png" in still[0] and "a grey square" in words[0]["text/html"]
    assert "a grey square" in still[1]["image/png"]["alt"]
    shown.clear()
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5")
    view._ipython_display_()
    assert len(shown) == 1 and "image/png" not in shown[0][0]


def test_importing_is_quick() -> None:
    code = (
        "import torch, sys, time; start = time.process_time(); "
        "import course_utils.widgets._base; print(time.process_time() - start); "
        "assert 'matplotlib.pyplot' not in sys.modules and 'diffusers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1


def test_nothing_grows(view: Doubler) -> None:
    """200 moves of a control, 40 computations: no more objects, threads or handlers after them."""
    from ipywidgets.widgets.widget import _instances

    def work(report, cancelled):
        report(0.5, "half")
        return torch.rand(3, 64, 64)

    def use(times: int) -> None:
        for k in range(times):
            move(view, "n", k % 10)
            if k % 5 == 0:
                view.busy(work, done=lambda pixels: view.show("pic", pixels, "noise"))
        view.wait(30)

    use(40)
    gc.collect()
    before = len(gc.get_objects()), threading.active_count(), len(_instances)
    use(200)
    gc.collect()
    after = len(gc.get_objects()), threading.active_count(), len(_instances)
    assert after[0] - before[0] < 200, "one object a move would be 200"
    assert after[1:] == before[1:]


# --- prompts and uploads -------------------------------------------------------------------------


def test_prompt_notes() -> None:
    pipeline = tiny_pipeline()
    assert prompt_notes(pipeline, "a cat face") == ""
    assert "is empty" in prompt_notes(pipeline, "  ")
    assert '"zebra"' in prompt_notes(pipeline, "a cat face and a zebra")
    assert "near: " in prompt_notes(pipeline, "a rockett")
    for odd in ("🐱🚀", "قطة على خلفية زرقاء", "\u202eabc", "<script>alert(1)</script>"):
        assert isinstance(prompt_notes(pipeline, odd), str)
    started = time.process_time()
    long = prompt_notes(pipeline, "word " * 2000)
    assert "10,000 letters" in long and len(long) < 600 and time.process_time() - started < 2
    with pytest.raises(TypeError):
        prompt_notes(pipeline, 3)  # type: ignore[arg-type]


def test_read_prompt() -> None:
    pipeline = tiny_pipeline()
    read = read_prompt(pipeline, "please draw a cat")
    assert read.caption == "a cat face" and read.said.startswith("Read as: a cat face; left out: ")
    assert not read.odd and read_prompt(pipeline, "a snorf").odd
    literal = read_prompt(pipeline, "please draw a cat", literal=True)
    assert literal.caption == "please draw a cat"
    assert literal.said == prompt_notes(pipeline, "please draw a cat")
    pipeline.vocabulary = None
    assert read_prompt(pipeline, "please draw a cat") == ("please draw a cat", "", False)
    with pytest.raises(TypeError):
        read_prompt(pipeline, 3)  # type: ignore[arg-type]


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK"])
def test_uploads_of_every_mode(mode: str) -> None:
    image = Image.new("L", (300, 100), 255).convert(mode if mode != "I;16" else "I")
    image = image.convert("I;16") if mode == "I;16" else image
    pixels = read_upload(file_of(image, "TIFF" if mode == "CMYK" else "PNG"))
    assert pixels.shape == (3, 64, 64) and pixels.dtype == torch.float32
    assert float(pixels.min()) >= -1 and float(pixels.max()) <= 1


def test_uploads_are_cropped_turned_and_of_any_size() -> None:
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste("blue", (30, 0, 60, 30))
    assert torch.equal(read_upload(file_of(wide))[2], torch.ones(64, 64))
    assert read_upload(file_of(Image.new("RGB", (1, 1)))).shape == (3, 64, 64)
    half = Image.new("RGB", (64, 64), "black")
    half.paste("white", (0, 0, 64, 32))  # the upper half; the camera was turned
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_upload(file_of(half, "JPEG", exif=exif, quality=95))
    assert turned[:, :, 40:].mean() > 0.9 > -0.9 > turned[:, :, :24].mean()
    clear = read_upload(file_of(Image.new("RGBA", (64, 64), (255, 0, 0, 0))))
    assert torch.equal(clear, torch.ones(3, 64, 64))
    assert read_upload(file_of(Image.new("L", (6000, 4000)), "JPEG")).shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"not a picture", "cannot be read as a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cannot be read as a picture"),
        (file_of(Image.new("RGB", (64, 64)))[:60], "cannot be read as a picture"),
        (file_of(Image.new("1", (10_000, 5_000))), "50 megapixels; at most 40"),
        (file_of(Image.new("1", (30_000, 10_000))), "megapixels"),
    ],
)
def test_uploads_that_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_upload(data, "mine.png")
    assert "mine.png" in str(caught.value)


def test_a_file_comes_in_pieces(view: Doubler) -> None:
    got: list[tuple[bytes, str]] = []
    view.on("pic", got.append)
    head = {"type": "upload", "view": "test", "name": "pic", "file": "a.png", "count": 3}
    for index in range(3):
        view._receive(None, head | {"index": index}, [bytes([index]) * 4])
    assert got == [(b"\0\0\0\0\1\1\1\1\2\2\2\2", "a.png")] and not view._uploads


def test_a_file_that_is_too_large(view: Doubler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_base, "MAX_UPLOAD", 2**20)
    head = {"type": "upload", "view": "test", "name": "pic", "file": "a.png", "count": 2}
    view._receive(None, head | {"index": 0}, [bytes(2**21)])
    assert "more than 1 MiB" in view.status["text"] and not view._uploads
    view._receive(None, head | {"index": 1}, [b"rest"])
    assert view.error is None and not view._uploads


def test_as_png_keeps_every_pixel() -> None:
    pixels = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with Image.open(io.BytesIO(as_png(pixels))) as image:
        expected = ((pixels + 1) * 127.5).round().permute(1, 2, 0).numpy()
        assert np.array_equal(np.asarray(image), expected)
