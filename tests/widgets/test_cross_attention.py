"""The cross-attention view without a page: maps, words, bad input, memory."""

from __future__ import annotations

import gc
import io
import threading
from collections.abc import Iterator

import psutil
import pytest
import torch
from PIL import Image
from tiny_pipeline import tiny_pipeline

from course_utils.attention_maps import draw_with_maps
from course_utils.widgets._word_maps import (
    Drawn,
    change,
    change_on_object,
    draw,
    is_word,
    without,
)
from course_utils.widgets.attention import CrossAttention

PROMPT = "a dog, flat style"
STEPS = 4


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def drawn(pipeline) -> Drawn:
    return draw(pipeline, PROMPT, seed=3, num_steps=STEPS)


@pytest.fixture
def view(pipeline) -> Iterator[CrossAttention]:
    shown = CrossAttention(pipeline, PROMPT, seed=3, num_steps=STEPS)
    shown.wait()
    yield shown
    shown.close()
    assert shown.error is None, "no exception is swallowed"


# --- computing -----------------------------------------------------------------------------------


def test_it_is_what_draw_with_maps_gives(pipeline, drawn: Drawn) -> None:
    pictures, maps = draw_with_maps(pipeline, PROMPT, num_steps=STEPS, seed=3)
    torch.testing.assert_close(drawn.finished, pictures.pixels[0], atol=1e-5, rtol=0)
    assert drawn.maps.timesteps == maps.timesteps and drawn.words == maps.words[0]
    for side in maps.sides:
        torch.testing.assert_close(drawn.maps.by_size[side], maps.by_size[side])
    assert drawn.t(1) == maps.timesteps[0] + 1 and drawn.num_steps == STEPS
    torch.testing.assert_close(drawn.heat(2), maps.of("dog"))
    torch.testing.assert_close(drawn.heat(2, step=1, side=4), maps.of("dog", step=0, side=4))


def test_shares_sum_to_one(drawn: Drawn) -> None:
    for step in range(STEPS + 1):
        assert sum(drawn.shares(step)) == pytest.approx(1, abs=1e-5)
        assert drawn.shares(step)[2] == pytest.approx(float(drawn.heat(2, step).mean()))
    largest = max(float(drawn.heat(2, step).max()) for step in range(1, STEPS + 1))
    assert drawn.most(2) == pytest.approx(largest)


def test_the_network_is_left_alone(pipeline) -> None:
    from course_utils.widgets._word_maps import _twin

    twin = _twin(pipeline.unet)
    draw(pipeline, PROMPT, seed=3, num_steps=1)
    for module in pipeline.unet.modules():
        assert not module._forward_hooks
    for mine, theirs in zip(twin.parameters(), pipeline.unet.parameters(), strict=True):
        assert mine is theirs, "the twin needs no memory of its own"
    assert twin.conv_in is not pipeline.unet.conv_in


def test_a_report_that_raises_ends_the_drawing(pipeline) -> None:
    class Enough(Exception):
        pass

    told = []

    def report(share: float, words: str) -> None:
        told.append((share, words))
        if len(told) == 3:
            raise Enough

    with pytest.raises(Enough):
        draw(pipeline, PROMPT, seed=3, num_steps=STEPS, report=report)
    assert [round(share, 2) for share, _ in told] == [0.0, 0.2, 0.4]
    assert told[1][1] == "drawing: step 1 of 4"
    with pytest.raises(ValueError, match="guidance_scale is 0"):
        draw(pipeline, PROMPT, seed=3, guidance_scale=0)


def test_a_prompt_without_a_word(drawn: Drawn) -> None:
    assert [word.text for word in drawn.words][:4] == ["[start]", "a", "dog", ","]
    assert without(drawn, 2) == "a , flat style"
    assert not is_word(drawn.words[0]) and is_word(drawn.words[3])
    with pytest.raises(ValueError, match="word is \\[start\\]"):
        without(drawn, 0)


def test_what_moved(drawn: Drawn) -> None:
    assert float(change(drawn, drawn.finished).max()) == 0
    moved = change(drawn, drawn.finished.clone().fill_(-1))
    torch.testing.assert_close(moved, (drawn.finished + 1).mean(dim=0) * 127.5)
    plain = Drawn("", 0, torch.zeros(1, 3, 64, 64), drawn.maps, 0.0)
    assert plain.on_object(drawn.heat(1)) is None, "no object, no numbers"
    framed = torch.zeros(1, 3, 64, 64)
    framed[..., 16:48, 16:48] = 1
    square = Drawn("", 0, framed, drawn.maps, 0.0)
    heat = torch.zeros(8, 8)
    heat[2:6, 2:6] = 0.5
    assert square.on_object(heat) == (0.5, 0.0)
    assert change_on_object(square, torch.zeros(3, 64, 64)) == (127.5, 0.0)


# --- the view ------------------------------------------------------------------------------------


def test_the_first_word_that_says_something_is_chosen(view: CrossAttention) -> None:
    assert 'aria-pressed="true" dir="auto"><span class="ca-word">dog<' in view.part("words")["html"]
    assert view.part("share")["text"].startswith("“dog” gets")
    assert len(view.part("strip")["items"]) == STEPS
    assert view.part("step")["text"] == "mean of all steps"


def test_words_steps_and_sizes_change_the_map(view: CrossAttention) -> None:
    seen = [view.part("map")["png"]]
    moves = (("words", "4"), ("step", 2), ("side", "4"), ("smooth", True), ("below", "finished"))
    for name, value in moves:
        view._moved(name, value)
        seen.append(view.part("map")["png"])
    assert len(set(seen)) == len(seen)
    assert "“flat”, step 2 of 4, t = " in view.part("map")["caption"]
    assert view.part("strip")["value"] == 1
    view._moved("strip", 3)
    assert view["step"] == 4 and "step 4 of 4" in view.part("step")["text"]
    with pytest.raises(ValueError, match="word is 99"):
        view._moved("words", "99")


def test_without_a_word(view: CrossAttention) -> None:
    assert view.part("without_word")["hidden"]
    view._moved("words", "0")
    assert view.part("remove")["disabled"], "every prompt has a start"
    view._moved("words", "2")
    assert view.part("remove")["label"] == "Draw it without “dog”"
    view._moved("remove", 1)
    view.wait()
    assert not view.part("without_word")["hidden"]
    assert view.part("without_word")["label"] == "without “dog”"
    assert "levels on average" in view.part("effect")["text"]
    view._moved("prompt", "a rocket")
    view.wait()
    assert view.part("without_word")["hidden"], "it belonged to the other picture"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "text is empty"),
        ("dog " * 2500, "only its first 1,000 signs are read"),
        ("a zzgrblfx", "left out: zzgrblfx"),
        ("🦊 <b>dog</b>", ""),
        ("كلب dog", "كلب"),
    ],
)
def test_odd_prompts_are_drawn_and_spoken_of(view: CrossAttention, prompt: str, words: str) -> None:
    view._moved("prompt", prompt)
    view.wait()
    assert words in view.status["text"]
    assert view.part("map")["png"] and "<b>" not in view.part("words")["html"]
    if not prompt:
        assert view.part("remove")["disabled"]


def test_the_same_prompt_is_drawn_once(view: CrossAttention) -> None:
    shown = view._drawn
    view._moved("draw", 1)
    view._moved("prompt", PROMPT)
    assert not view.working and view._drawn is shown
    view._moved("seed", 4)
    view.wait()
    assert view._drawn is not shown and view._drawn.seed == 4


def test_a_stopped_drawing_can_be_asked_for_again(view: CrossAttention) -> None:
    view._moved("seed", 5)
    view.stop()
    view.wait()
    if view._drawn.seed == 3:  # otherwise it was too quick
        assert "Stopped" in view.status["text"]
        view._moved("draw", 1)
        view.wait()
    assert view._drawn.seed == 5


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="num_steps"):
        CrossAttention(num_steps=0)
    with pytest.raises(TypeError, match="prompt"):
        CrossAttention(prompt=3)  # type: ignore[arg-type]


def test_words_and_picture_without_a_page(view: CrossAttention) -> None:
    with Image.open(io.BytesIO(view.fallback())) as image:
        assert image.width > 600 and len(image.convert("RGB").getcolors(10**6)) > 50
    assert "the map of “dog”" in view.describe()


def test_two_hundred_moves_leave_nothing_behind(view: CrossAttention) -> None:
    def play(count: int) -> None:
        for i in range(count):
            view._moved("step", i % (STEPS + 1))
            view._moved("words", str(i % 5))
            if i % 20 == 0:
                view._moved("seed", i % 7)
                view.wait()

    play(40)
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
