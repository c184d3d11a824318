"""The architecture map without a page: each part's run, the drawing to scale, memory."""

from __future__ import annotations

import gc
import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image
from tiny_pipeline import tiny_pipeline

from course_utils.widgets._map_html import PLACES, SIZES, UNIT
from course_utils.widgets._part_runs import PARTS, Trace, shapes
from course_utils.widgets.architecture import ArchitectureMap

PROMPT = "a dog, flat style"
STEPS = 8


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


@pytest.fixture
def view(pipeline) -> Iterator[ArchitectureMap]:
    shown = ArchitectureMap(pipeline, PROMPT, seed=3, num_steps=STEPS)
    shown.wait()
    yield shown
    shown.close()
    assert shown.error is None, "no exception is swallowed"


# --- running -------------------------------------------------------------------------------------


def test_a_part_runs_after_those_that_it_needs(pipeline) -> None:
    trace = Trace(pipeline, PROMPT, 3, STEPS)
    trace.run("decoder")
    assert set(trace.outputs) == set(PARTS)
    drawn = pipeline.draw(PROMPT, seed=3, num_steps=STEPS)
    torch.testing.assert_close(trace.outputs["decoder"].result, drawn.pixels)
    torch.testing.assert_close(trace.outputs["unet"].result, drawn.latents)
    alone = Trace(pipeline, PROMPT, 3, STEPS)
    alone.run("noise")
    assert set(alone.outputs) == {"noise"}
    with pytest.raises(ValueError, match="part is 'vae'"):
        trace.run("vae")


def test_sizes_are_those_of_the_tensors(pipeline) -> None:
    trace, sizes = Trace(pipeline, PROMPT, 3, STEPS), shapes(pipeline)
    trace.run("decoder")
    names = {"text": "states", "noise": "latents", "unet": "latents", "decoder": "pixels"}
    for part, name in names.items():
        assert tuple(trace.outputs[part].result.shape) == sizes[name]
    assert pipeline.tokenizer(PROMPT).shape == sizes["ids"]


def test_what_a_run_remembers(pipeline) -> None:
    trace = Trace(pipeline, PROMPT, 3, STEPS)
    trace.run("unet")
    text, unet = trace.outputs["text"], trace.outputs["unet"]
    assert (text.tokens[0][0], text.tokens[-1][0]) == ("[start]", "[end]")
    assert [number for _, number in text.tokens] == (
        pipeline.tokenizer(PROMPT)[0, : len(text.tokens)].tolist()
    )
    assert unet.runs == 2 * STEPS and unet.seconds > 0
    assert unet.weights == sum(p.numel() for p in pipeline.unet.parameters())
    assert [frame.t for frame in unet.frames] == sorted({f.t for f in unet.frames}, reverse=True)
    assert unet.frames[0].guess is None and unet.frames[-1].t == 0
    torch.testing.assert_close(unet.frames[-1].noisy, unet.frames[-1].guess)


def test_the_bundled_model_has_the_sizes_that_the_map_opens_with() -> None:
    import json

    from course_utils.hub import DEFAULT_MODEL, find_folder

    folder = find_folder(DEFAULT_MODEL)
    read = {
        name: json.loads((folder / name / "config.json").read_text())
        for name in ("unet", "vae", "text_encoder")
    }
    length, width = (
        read["text_encoder"]["max_position_embeddings"],
        read["unet"]["cross_attention_dim"],
    )
    side = read["unet"]["sample_size"]
    wanted = {
        "ids": (1, length),
        "states": (1, length, width),
        "latents": (1, read["vae"]["latent_channels"], side, side),
        "pixels": (1, 3, read["vae"]["sample_size"], read["vae"]["sample_size"]),
    }
    assert wanted == SIZES


# --- the view ------------------------------------------------------------------------------------


def test_tensors_are_drawn_to_scale(view: ArchitectureMap) -> None:
    html = view.part("map")["html"]
    boxes = [
        (float(width), float(height))
        for width, height in re.findall(
            r'class="am-tensor" style="[^"]*width:([\d.]+)px">.*?height:([\d.]+)px', html
        )
    ]
    _, length, width = view._sizes["states"]
    latents = [(8 * UNIT, 8 * UNIT)] * 4
    assert boxes == [(width * UNIT, length * UNIT), *latents, *latents, (64 * UNIT, 64 * UNIT)]
    assert "(1, 4, 8, 8)" in html and "(1, 3, 64, 64)" in html
    assert "am-none" not in html and html.count("data:image/png") == 10, "all have run"


def test_a_click_runs_a_part_and_shows_its_output(view: ArchitectureMap) -> None:
    words, images = set(), set()
    for part in PLACES:
        before = view._trace.outputs[part]
        view._moved("map", part)
        view.wait()
        assert view._trace.outputs[part] is not before, "it ran again"
        words.add(view.part("found")["text"])
        images.add(tuple(shot["png"] for shot in view.part("shots")["items"]))
        assert PLACES[part].title.format(steps=STEPS) in view.part("output")["html"]
        assert view.part("lesson")["number"] == PLACES[part].lesson
        assert view.part("guesses")["hidden"] == (part != "unet")
    assert len(words) == 4 and len(images) == 4
    with pytest.raises(ValueError, match="part is 'roof'"):
        view._moved("map", "roof")


def test_another_prompt_seed_or_number_of_steps_runs_all(view: ArchitectureMap) -> None:
    for name, value in (("prompt", "a rocket"), ("seed", 9), ("steps", 3)):
        before = view._trace
        view._moved(name, value)
        view.wait()
        assert view._trace is not before and set(view._trace.outputs) == set(PARTS)
    assert "3 U-Net × 3" in view.part("map")["html"]
    view._moved("seed", 9)
    assert not view.working, "nothing changed, nothing runs"


@pytest.mark.parametrize("prompt", ["", "dog " * 2500, "<b>dog</b>", "🦊 كلب", "zzgrblfx"])
def test_odd_prompts(view: ArchitectureMap, prompt: str) -> None:
    view._moved("prompt", prompt)
    view.wait()
    assert set(view._trace.outputs) == set(PARTS)
    assert view.status["text"], "something is said on it"
    assert "<b>" not in view.part("output")["html"]


def test_lessons_are_found(pipeline, tmp_path: Path) -> None:
    (tmp_path / "05_clip_conditioning.ipynb").write_text("{}")
    view = ArchitectureMap(pipeline, PROMPT, num_steps=1, lessons=tmp_path)
    assert view.part("lesson")["path"].endswith("/05_clip_conditioning.ipynb")
    view._moved("map", "decoder")
    assert view.part("lesson")["path"] == "" and view.part("lesson")["title"] == "Latent VAE"
    view.wait()
    view.close()
    assert view.error is None
    assert ArchitectureMap(pipeline, num_steps=1)._lesson("03")["path"].endswith("03_unet.ipynb")


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="num_steps"):
        ArchitectureMap(num_steps=51)
    with pytest.raises(ValueError, match="seed"):
        ArchitectureMap(seed=-1)


def test_words_and_picture_without_a_page(view: ArchitectureMap) -> None:
    with Image.open(io.BytesIO(view.fallback())) as image:
        assert image.width > 600 and len(image.convert("RGB").getcolors(10**6)) > 50
    words = view.describe()
    assert "4 Decoder: latents (1, 4, 8, 8) → pixels (1, 3, 64, 64)" in words


def test_two_hundred_clicks_leave_nothing_behind(view: ArchitectureMap) -> None:
    view._moved("steps", 1)

    def play(count: int) -> None:
        for i in range(count):
            view._moved("map", PARTS[i % 4])
            view.wait()

    play(20)
    gc.collect()
    objects, rss = len(gc.get_objects()), psutil.Process().memory_info().rss
    threads = threading.active_count()
    play(200)
    gc.collect()
    grown = (psutil.Process().memory_info().rss - rss) / 2**20
    print(f"memory {grown:+.1f} MiB, {len(gc.get_objects()) - objects:+d} objects")
    assert len(gc.get_objects()) - objects < 2_000
    assert grown < 15
    assert threading.active_count() == threads
