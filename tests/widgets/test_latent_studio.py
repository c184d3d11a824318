"""The latent studio without a page: edits, bad input, the fallback picture, memory."""

from __future__ import annotations

import gc
import io
import math
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import torch
from PIL import Image
from tiny_pipeline import tiny_pipeline

from course_utils.widgets._latent_edits import (
    EXAMPLES,
    Edits,
    apply,
    changed,
    compression,
    example,
    psnr,
    rounded,
    to_scale,
)
from course_utils.widgets._shades import shaded, tiles
from course_utils.widgets.latents import NAMES, OWN, LatentStudio


def two_sheets() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4, 8, 8, generator=generator) for _ in range(2))
    return a, b


@pytest.fixture
def view() -> Iterator[LatentStudio]:
    shown = LatentStudio(tiny_pipeline())
    shown.wait()
    yield shown
    shown.close()
    assert shown.error is None, "no exception is swallowed"


def stroke(view: LatentStudio, channel: int, name: str, cells: list[int], value: Any) -> None:
    view._moved(f"plane{channel}", [{"name": name, "cells": cells, "value": value}])
    view.wait()


# --- edits ---------------------------------------------------------------------------------------


def test_no_edits_change_nothing_and_nothing_is_changed_in_place() -> None:
    a, b = two_sheets()
    kept = a.clone(), b.clone()
    assert torch.equal(apply(Edits(), a, b), a)
    apply(Edits(frozenset({1}), 0.5, {(0, 0, 0): 3.0}, 2), a, b)
    assert torch.equal(a, kept[0]) and torch.equal(b, kept[1])


def test_channels_shares_and_cells() -> None:
    a, b = two_sheets()
    assert torch.equal(apply(Edits(share=1.0), a, b), b)
    torch.testing.assert_close(apply(Edits(share=0.25), a, b), 0.75 * a + 0.25 * b)
    z = apply(Edits(frozenset({2}), 0.25, {(2, 7, 0): -1.5}), a, b)
    assert float(z[2, 7, 0]) == -1.5, "what is painted lies above what is swapped"
    z[2, 7, 0] = b[2, 7, 0]
    assert torch.equal(z[2], b[2])
    torch.testing.assert_close(z[3], 0.75 * a[3] + 0.25 * b[3])


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_rounding_leaves_two_to_the_bits_levels(bits: int) -> None:
    a, b = two_sheets()
    z = apply(Edits(bits=bits), a, b)
    for channel, before in zip(z, a, strict=True):
        step = float(before.max() - before.min()) / 2**bits
        assert len(channel.unique()) <= 2**bits
        assert float((channel - before).abs().max()) <= step / 2 + 1e-5
    assert torch.isfinite(rounded(torch.zeros(4, 8, 8), bits)).all(), "a plane of one number"


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({"share": 1.2}, "share is 1.2"),
        ({"share": math.nan}, "share is nan"),
        ({"bits": 0}, "bits is 0"),
    ],
)
def test_edits_out_of_range_are_named(edits: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Edits(**edits)


def test_places_that_are_not_there_are_named() -> None:
    a, b = two_sheets()
    with pytest.raises(ValueError, match="channel is 4; expected 0 to 3"):
        apply(Edits(frozenset({4})), a, b)
    with pytest.raises(ValueError, match=r"cell is \(0, 8, 0\)"):
        apply(Edits(painted={(0, 8, 0): 1.0}), a, b)
    with pytest.raises(ValueError, match="a and b have shapes"):
        apply(Edits(), a, b[:2])


def test_measures() -> None:
    black, white = -torch.ones(3, 4, 4), torch.ones(3, 4, 4)
    assert psnr(black, white) == pytest.approx(0) and psnr(black, black) == math.inf
    half = black.clone()
    half[:, :2] = 1
    assert changed(black, half) == 0.5
    assert compression((3, 64, 64), (4, 8, 8)) == (48, 64)


def test_the_drawing_is_to_scale() -> None:
    import re

    svg = to_scale((3, 64, 64), (4, 8, 8))
    big, small, long, short = (
        float(w) * float(h)
        for w, h in re.findall(r'<rect[^>]* width="([\d.]+)" height="([\d.]+)"', svg)
    )
    assert big / small == pytest.approx(64) and long / short == pytest.approx(48, rel=1e-3)
    assert "64 times fewer" in svg and "48 times fewer" in svg


def test_examples_are_pictures_of_the_course() -> None:
    assert tuple(EXAMPLES) == NAMES
    cat, dog = example("cat"), example("dog")
    assert cat.shape == (3, 64, 64) and cat.abs().max() <= 1 and not torch.equal(cat, dog)


def test_shades_get_darker() -> None:
    grey = shaded(torch.tensor([[-9.0, -3.0, 0.0, 3.0, 9.0]]), -3, 3).mean(dim=0)[0]
    assert grey[0] == grey[1] == 1 and grey[3] == grey[4]
    assert grey[1] > grey[2] > grey[3]
    assert tiles(torch.zeros(4, 8, 8), -3, 3).shape == (3, 8, 35)
    with pytest.raises(ValueError, match="low is 3"):
        shaded(torch.zeros(2, 2), 3, 3)
    with pytest.raises(ValueError, match="values has shape"):
        shaded(torch.zeros(2), -3, 3)


# --- the view ------------------------------------------------------------------------------------


def test_it_opens_with_what_the_encoder_says(view: LatentStudio) -> None:
    vae, cat = tiny_pipeline().vae, example("cat")
    with torch.no_grad():
        wanted = vae.to_latents(cat[None])[0]
    numbers = [view.part(f"plane{channel}")["numbers"] for channel in range(4)]
    torch.testing.assert_close(torch.tensor(numbers).reshape(4, 8, 8), wanted, atol=1e-3, rtol=0)
    assert "nothing" in view.part("numbers")["text"]
    assert "8,192 bits" in view.part("cost")["text"] and "98,304" in view.part("cost")["text"]
    assert view.part("undo")["disabled"]


def test_strokes_undo_and_a_new_start(view: LatentStudio) -> None:
    first = view.part("decoded")["png"]
    stroke(view, 1, "one", [0, 1], 3.0)
    stroke(view, 1, "one", [0, 1, 2], 3.0)  # the same stroke, further on
    stroke(view, 2, "two", [63], -2.0)
    assert view.part("numbers")["text"].startswith("4 of 256 numbers painted")
    assert view.part("plane1")["numbers"][:3] == [3.0, 3.0, 3.0]
    assert view.part("plane1")["painted"] == [0, 1, 2] and view.part("plane2")["painted"] == [63]
    assert view.part("decoded")["png"] != first
    view._moved("undo", 1)
    assert view.part("numbers")["text"].startswith("3 of 256")
    view._moved("undo", 2)
    view.wait()
    assert view.part("undo")["disabled"] and view.part("decoded")["png"] == first
    stroke(view, 0, "three", [5], 1.0)
    stroke(view, 0, "four", [5], None)
    assert "nothing" in view.part("numbers")["text"], "the number from before is back"
    for name, value in (("swap3", True), ("share", 40), ("bits", "2")):
        view._moved(name, value)
    assert view.part("numbers")["text"] == (
        "channel 3 from B; 40% of B mixed in; every number rounded to one of 4 levels."
    )
    assert "256 numbers of 2 bits = 512 bits" in view.part("cost")["text"]
    view._moved("reset", 1)
    view.wait()
    assert view.part("decoded")["png"] == first and view["bits"] == "exact"


def test_all_of_b_is_b(view: LatentStudio) -> None:
    view._moved("share", 100)
    view.wait()
    mixed = view.part("decoded")["png"]
    view._moved("share", 0)
    for channel in range(4):
        view._moved(f"swap{channel}", True)
    view.wait()
    assert view.part("decoded")["png"] == mixed
    view._moved("a", "dog")
    view.wait()
    assert view.part("decoded")["png"] == mixed


def test_values_of_the_page_are_checked(view: LatentStudio) -> None:
    with pytest.raises(ValueError, match="cells is"):
        stroke(view, 0, "far", [64], 1.0)
    stroke(view, 0, "high", [0], 99.0)
    assert view.part("plane0")["numbers"][0] == 3.0
    with pytest.raises(ValueError, match="picture A"):
        view._moved("a", "nobody")


def test_a_picture_of_your_own(view: LatentStudio) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 100), "red").save(buffer, "PNG")
    view._upload((b"no picture", "words.txt"))
    assert view.status["kind"] == "warning" and "words.txt" in view.status["text"]
    assert view["a"] == "cat"
    stroke(view, 0, "lost", [0], 1.0)
    view._upload((buffer.getvalue(), "red.png"))
    view.wait()
    assert view["a"] == OWN and view.status["text"] == ""
    with Image.open(io.BytesIO(view.part("picture_a")["png"])) as image:
        assert image.size == (64, 64) and image.getpixel((32, 32))[:3] == (255, 0, 0)
    assert "nothing" in view.part("numbers")["text"], "a new picture begins anew"
    view._moved("b", OWN)
    view.wait()
    assert view.part("picture_b")["png"] == view.part("picture_a")["png"]


def test_a_vae_of_another_size_is_refused() -> None:
    from course_utils.models import VAE

    pipeline = tiny_pipeline()
    pipeline.vae = VAE(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=64,
    )
    with pytest.raises(ValueError, match=r"latents of \(4, 32, 32\)"):
        LatentStudio(pipeline)
    with pytest.raises(ValueError, match="a is 'zebra'"):
        LatentStudio(a="zebra")


def test_words_and_picture_without_a_page(view: LatentStudio) -> None:
    with Image.open(io.BytesIO(view.fallback())) as image:
        assert image.width > 600 and len(image.convert("RGB").getcolors(10**6)) > 50
    words = view.describe()
    assert "cat face, 3d style, on blue" in words and "dB" in words


def test_two_hundred_strokes_leave_nothing_behind(view: LatentStudio) -> None:
    def play(count: int, name: str) -> None:
        for i in range(count):
            stroke(view, i % 4, f"{name} {i}", [i % 64], (i % 13 - 6) / 2)
            view._moved("share", i % 101)
        view.wait()

    play(40, "warm up")
    gc.collect()
    objects, rss = len(gc.get_objects()), psutil.Process().memory_info().rss
    threads = threading.active_count()
    play(200, "measured")
    gc.collect()
    grown = (psutil.Process().memory_info().rss - rss) / 2**20
    print(f"memory {grown:+.1f} MiB, {len(gc.get_objects()) - objects:+d} objects")
    assert len(gc.get_objects()) - objects < 2_000
    assert grown < 15
    assert threading.active_count() == threads
    assert len(view._history) <= 50 and len(view._strokes) <= 50
