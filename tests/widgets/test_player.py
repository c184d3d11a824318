"""View 1, the denoising player: recordings, files, cancelling."""

from __future__ import annotations

import io
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pipeline import tiny_pipeline

from course_utils.images import to_uint8
from course_utils.pipeline import Pipeline
from course_utils.samplers import SAMPLERS
from course_utils.widgets import DenoisingPlayer
from course_utils.widgets._recording import COLUMNS, MOST_FRAMES, Recording, record, save


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return tiny_pipeline()


def recorded(pipeline: Pipeline, prompt: str = "a cat", **options) -> Recording:
    settings = {"seed": 1, "num_steps": 4, "sampler": "ddim", "guidance_scale": 2.0} | options
    return record(pipeline, prompt, **settings)


def same(frame: torch.Tensor, pixels: torch.Tensor) -> None:
    """Equal but for the rounding of a batch of another size."""
    assert int((frame.int() - to_uint8(pixels)[0].int()).abs().max()) <= 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_recording_is_the_loop(pipeline: Pipeline, sampler: str) -> None:
    recording = recorded(pipeline, sampler=sampler)
    steps = list(pipeline.steps("a cat", num_steps=4, seed=1, sampler=sampler, guidance_scale=2.0))
    assert recording.steps == (0, 1, 2, 3, 4) and len(recording) == 5
    assert recording.t[0] >= 750 and recording.t[-1] == 0 and recording.alpha_bar[-1] == 1
    assert list(recording.alpha_bar) == sorted(recording.alpha_bar)
    with torch.no_grad():
        for k, step in enumerate(steps):
            same(recording.x[k], pipeline.decode(step.x))
        for k, step in enumerate(steps[1:]):  # what the network expects when it looks at frame k
            same(recording.clean[k], pipeline.decode(step.x0))


def test_noise_and_picture_make_up_the_frame(pipeline: Pipeline) -> None:
    from course_utils.predictions import to_epsilon

    steps = list(pipeline.steps("a cat", num_steps=4, seed=1, sampler="ddim", guidance_scale=2.0))
    recording = recorded(pipeline)
    for k in range(4):
        a = recording.alpha_bar[k]
        epsilon = to_epsilon(steps[k + 1].x0, steps[k].x, a, "sample")
        torch.testing.assert_close(a**0.5 * steps[k + 1].x0 + (1 - a) ** 0.5 * epsilon, steps[k].x)
        same(recording.noise[k], pipeline.decode(epsilon))


def test_a_long_loop_keeps_some_frames(pipeline: Pipeline) -> None:
    recording = recorded(pipeline, num_steps=150)
    assert len(recording) == MOST_FRAMES
    assert recording.steps[0] == 0 and recording.steps[-1] == 150
    assert len(recording.noise) == len(recording.clean) == MOST_FRAMES


def test_the_sheet_holds_every_tile(pipeline: Pipeline) -> None:
    recording = recorded(pipeline, num_steps=15)  # 48 tiles: more than one row
    with Image.open(io.BytesIO(recording.sheet())) as image:
        sheet = np.asarray(image)
    meta = recording.meta()
    assert (meta["columns"], meta["width"], meta["height"]) == (COLUMNS, 64, 64)
    tiles = [*recording.x, *recording.noise, *recording.clean]
    for index, tile in enumerate(tiles):
        top, left = index // COLUMNS * 64, index % COLUMNS * 64
        assert np.array_equal(sheet[top : top + 64, left : left + 64], tile.permute(1, 2, 0))


def test_lines(pipeline: Pipeline) -> None:
    recording = recorded(pipeline)
    assert recording.line(0).startswith("step 0 of 4: pure random noise, t = ")
    assert recording.line(4) == "step 4 of 4: the picture, t = 0"
    assert recording.how() == "4 steps of DDIM (2021), seed 1, guidance scale 2"


def test_gif(pipeline: Pipeline, tmp_path: Path) -> None:
    recording = recorded(pipeline)
    path = save(recording, tmp_path / "cat.gif")
    with Image.open(path) as image:
        assert image.n_frames == 5 and image.size == (256, 256 + 25)
        assert image.info["loop"] == 0 and image.info["duration"] == 900
        image.seek(4)
        assert image.info["duration"] == 2200
        last = np.asarray(image.convert("RGB"))[:256:4, :256:4].astype(int)
    assert np.abs(last - recording.x[4].permute(1, 2, 0).numpy()).mean() < 12
    with pytest.raises(ValueError, match=r"\.gif or \.html"):
        save(recording, tmp_path / "cat.png")


def test_the_page_stands_alone(pipeline: Pipeline, tmp_path: Path) -> None:
    odd = '</script><script>alert("x")</script> & 🐱 قطة'
    page = save(recorded(pipeline, odd), tmp_path / "cat.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:)', page), "everything is in the file"
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert "default-src 'none'" in page
    assert page.count("<script>") == 1 and page.count("</script>") == 1
    assert "🐱 قطة" in page


def test_one_step(pipeline: Pipeline) -> None:
    recording = recorded(pipeline, num_steps=1)
    assert len(recording) == 2 and len(recording.gif()) and len(recording.strip())


def test_the_view_draws_and_describes(pipeline: Pipeline, tmp_path: Path) -> None:
    view = DenoisingPlayer("a red apple", num_steps=3, pipeline=pipeline)
    view.wait(60)
    assert view.error is None and view.part("player")["meta"]["steps"] == 3
    assert "computed live" in view.part("how")["text"]
    assert "a red apple" in view.describe() and view.part("draw")["label"] == "Draw"
    with Image.open(io.BytesIO(view.fallback())) as image:
        assert image.width > 400
    assert view.save_gif(tmp_path / "a").name == "a.gif"
    assert view.save_html(tmp_path / "a.html").stat().st_size > 10_000
    for ending, start in ((".gif", b"GIF89a"), (".html", b"<!doctype html>")):
        view._moved(ending[1:], 1)
        view.wait(60)
        file = view.part("file")
        assert file["file"] == f"a-red-apple{ending}" and file["data"].startswith(start)
    assert view.error is None
    view.close()


def test_a_second_click_changes_nothing_and_stop_cancels(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = DenoisingPlayer(num_steps=2, pipeline=pipeline)
    view.wait(60)
    before = view.recording
    going, real = threading.Event(), pipeline.decode

    def slow(latents):
        going.set()
        return real(latents)

    monkeypatch.setattr(pipeline, "decode", slow)
    view["num_steps"] = 100
    view._moved("draw", 1)
    assert going.wait(60)
    assert view.part("draw")["label"] == "Drawing" and view.part("gif")["disabled"]
    view._moved("draw", 2)  # the second half of a double click
    assert view.working and not view._worker._now.cancelled.is_set()
    view.stop()
    view.wait(60)
    assert view.recording is before and "Stopped" in view.status["text"]
    assert view.part("draw")["label"] == "Draw" and not view.part("gif")["disabled"]
    assert view.part("player")["preview"] is None and view.error is None
    view.close()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "text is empty"),
        ("word " * 2000, "only its first 1,000 signs are read"),
        ("a blorp", "left out: blorp"),
        ("🐱 قطة", "left out: قطة"),
    ],
)
def test_odd_prompts_are_drawn_with_a_note(pipeline: Pipeline, prompt: str, words: str) -> None:
    view = DenoisingPlayer(prompt, num_steps=1, pipeline=pipeline)
    view.wait(60)
    assert words in view.status["text"] and view.error is None and len(view.recording) == 2
    view.close()


def test_a_prompt_is_read_first_unless_it_is_taken_literally(pipeline: Pipeline) -> None:
    typed = "2 kittens pls, 3d render"
    view = DenoisingPlayer(typed, num_steps=1, pipeline=pipeline)
    view.wait(60)
    assert view.recording.prompt == "a cat face, 3d style"
    assert view.status["text"].startswith("Read as: a cat face, 3d style; ")
    assert view["prompt"] == typed and view.status["kind"] == "note"
    view._moved("literal", True)
    assert '"kittens"' in view.status["text"] and "Read as" not in view.status["text"]
    view._moved("draw", 1)
    view.wait(60)
    assert view.recording.prompt == typed
    view.close()


def test_what_cannot_be_drawn_is_a_sentence(pipeline: Pipeline) -> None:
    broken = tiny_pipeline()
    torch.nn.init.constant_(next(broken.unet.parameters()), float("nan"))
    view = DenoisingPlayer(num_steps=2, pipeline=broken)
    view.wait(60)
    assert "not-a-number" in view.status["text"] and view.status["kind"] == "warning"
    assert view.part("draw")["label"] == "Draw" and view.error is None
    with pytest.raises(ValueError, match="nothing was drawn yet"):
        _ = view.recording
    assert view.fallback() and "Nothing was drawn" in view.describe()
    view.close()


@pytest.mark.parametrize(
    "options",
    [{"num_steps": 0}, {"num_steps": 101}, {"sampler": "magic"}, {"seed": -1}, {"seed": 10**7}],
)
def test_bad_arguments(options: dict) -> None:
    with pytest.raises(ValueError):
        DenoisingPlayer(draw=False, **options)


def test_nothing_grows(pipeline: Pipeline) -> None:
    import gc
    import tracemalloc

    view = DenoisingPlayer(num_steps=2, pipeline=pipeline)
    view.wait(60)

    def use(times: int) -> None:
        for k in range(times):
            view._moved("player", k % 3)
            view._moved("seed", k)
            if k % 20 == 0:
                view._moved("draw", k)
                view.wait(60)

    use(40)
    gc.collect()
    tracemalloc.start()
    before, threads = tracemalloc.get_traced_memory()[0], threading.active_count()
    use(200)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert threading.active_count() == threads and view.error is None
    assert grown < 300 * 1024, f"{grown / 1024:.0f} KiB more after 200 moves and 10 drawings"
    view.close()
