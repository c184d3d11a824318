"""The guidance explorer without a page: what it computes, says and forgets."""

from __future__ import annotations

import gc
import io
import threading
from collections.abc import Iterator

import psutil
import pytest
from PIL import Image

from course_utils.evaluation.sweep_results import Sweep
from course_utils.widgets.guidance import (
    GRID_PROMPTS,
    GRID_SCALES,
    METRICS,
    OWN,
    GuidanceExplorer,
    nearest,
)


@pytest.fixture
def view() -> Iterator[GuidanceExplorer]:
    shown = GuidanceExplorer()
    yield shown
    shown.close()
    assert shown.error is None, "no exception is swallowed"


def ask(view: GuidanceExplorer, **values: object) -> None:
    """Fill fields as a page does."""
    for name, value in values.items():
        view._moved(name, value)


def test_the_nearest_scale() -> None:
    assert nearest(7.5, GRID_SCALES) == 7
    assert nearest(1.75, GRID_SCALES) == 1.5, "the lower one of two equally near ones"


def test_it_opens_with_pictures_and_the_courses_curves(view: GuidanceExplorer) -> None:
    assert not view.working, "nothing has to be computed"
    sweep = Sweep.load()
    assert len(view.part("grid")["items"]) == 4
    assert "precomputed" in view.part("grid")["label"]
    for metric in METRICS:
        line = next(line for line in view.part(metric)["lines"] if line["style"] == 0)
        assert line["x"] == list(sweep.line(metric).scales)
        assert line["y"] == list(sweep.line(metric).values)
        assert view.part(metric)["marks"][-1]["y"] == pytest.approx(sweep.line(metric).at(2.5))


def test_every_prompt_and_scale_is_there_at_once(view: GuidanceExplorer) -> None:
    seen = set()
    for prompt in GRID_PROMPTS:
        ask(view, subject=prompt)
        for scale in GRID_SCALES:
            ask(view, w=scale)
            assert f"at w = {scale:g}; precomputed" in view.part("grid")["label"]
            assert not view.working
            seen.add(view.part("grid")["items"][0]["png"])
    assert len(seen) == len(GRID_PROMPTS) * len(GRID_SCALES)


def test_between_two_drawn_scales_it_says_so(view: GuidanceExplorer) -> None:
    ask(view, w=7.5)
    assert "w = 7, the nearest to 7.5 that is drawn" in view.part("grid")["label"]
    assert "diffusers" in view.part("w")["text"]
    assert view.part("draw")["label"] == "Draw at w = 7.5"


def test_the_numbers_fall_when_guidance_breaks_the_picture(view: GuidanceExplorer) -> None:
    ask(view, w=2)
    assert (
        "alignment 1.00 (object 4 of 4, style 4 of 4, background 4 of 4)"
        in view.part("these")["text"]
    )
    ask(view, w=12)
    assert "alignment 0.00 (object 0 of 4" in view.part("these")["text"]
    ask(view, subject="a cat")
    assert "style not asked" in view.part("these")["text"]


def test_the_sweet_spot_is_marked_on_every_curve(view: GuidanceExplorer) -> None:
    assert view.sweet_spot is None
    ask(view, w=3, mark=1)
    ask(view, w=9)
    assert view.sweet_spot == 3
    for metric in METRICS:
        spot, dial = view.part(metric)["marks"]
        assert (spot["x"], spot["label"], dial["x"]) == (3, "my spot", 9)
    measured = Sweep.load().line("alignment").at(3)
    assert f"w = 3. Alignment {measured:.2f}" in view.part("spot")["text"]
    ask(view, alignment=4.3)  # a click into a chart
    assert view["w"] == 4.5


def test_it_draws_what_is_asked_for(view: GuidanceExplorer) -> None:
    ask(view, w=1.5, prompt="a pizza", negative="teal", seed=3, count=2, steps=2, draw=1)
    view.wait()
    assert view["subject"] == OWN
    assert "2 seeds at w = 1.5; computed live in" in view.part("grid")["label"]
    items = view.part("grid")["items"]
    assert [item["caption"][:7] for item in items] == ["seed 3:", "seed 4:"]
    assert "pizza" in items[0]["alt"]
    ask(view, w=8)
    assert "w = 1.5, the nearest to 8" in view.part("grid")["label"]
    ask(view, subject=GRID_PROMPTS[1])
    assert "precomputed" in view.part("grid")["label"] and view["prompt"] == GRID_PROMPTS[1]


def test_all_scales_make_a_line_of_their_own(view: GuidanceExplorer) -> None:
    ask(view, w=0, prompt="a panda", count=1, steps=1, draw_all=1)
    ask(view, w=20)  # while it computes
    view.wait(120)
    assert view["w"] == 20 and "at w = 20; computed live" in view.part("grid")["label"]
    own = view.part("saturation")["lines"][3]
    assert own["x"] == list(GRID_SCALES) and None not in own["y"]
    assert view.part("diversity")["lines"][3]["y"] == [None] * len(GRID_SCALES), "one picture"


def test_a_second_drawing_ends_the_first_and_stop_ends_it_too(view: GuidanceExplorer) -> None:
    ask(view, prompt="a star", steps=50, count=8, draw_all=1)
    ask(view, prompt="an owl", steps=1, count=1, w=2, draw=1)
    view.wait(120)
    assert view["subject"] == OWN and "owl" in view.part("subject")["options"][-1][1]
    before = view.part("grid")
    ask(view, prompt="a key", steps=50, count=8, draw_all=2)
    view.stop()
    view.wait(120)
    assert view.part("grid") == before, "what was stopped leaves everything as it was"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "text is empty"),
        ("a fox" * 2_000, "only its first 1,000 signs are read"),
        ("a ferociuos walrus", "left out: ferociuos"),
        ("a snorf", "nothing that this model was taught"),
        ("שועל כתום", "only English is read"),
    ],
)
def test_what_it_says_on_strange_prompts(view: GuidanceExplorer, prompt: str, words: str) -> None:
    ask(view, prompt=prompt, steps=1, count=1, draw=1)
    view.wait(120)
    assert words in view.status["text"] and view.status["kind"] == "warning"
    assert view.part("grid")["items"][0]["png"].startswith(b"\x89PNG")


def test_a_negative_prompt_without_guidance_does_nothing(view: GuidanceExplorer) -> None:
    ask(view, w=1, negative="blue", steps=1, count=1, draw=1)
    view.wait()
    assert "the negative prompt has no effect" in view.status["text"]


@pytest.mark.parametrize("scale", [-1, 21, float("nan"), 1e9])
def test_scales_out_of_range(scale: float) -> None:
    with pytest.raises(ValueError, match="0 to"):
        GuidanceExplorer(scale)
    with pytest.raises(TypeError):
        GuidanceExplorer("loud")  # type: ignore[arg-type]


def test_a_sweep_of_ones_own() -> None:
    sweep = Sweep.load()
    few = [p for p in sweep.points if p.scale in {1.0, 4.0, 9.0}]
    import dataclasses

    view = GuidanceExplorer(4.0, sweep=dataclasses.replace(sweep, points=tuple(few)))
    assert view.part("alignment")["lines"][2]["x"] == [1.0, 4.0, 9.0]
    view._moved("w", 20)
    assert view.error is None
    view.close()


def test_the_fallback_shows_and_says_everything(view: GuidanceExplorer) -> None:
    ask(view, w=5.5, mark=1)
    with Image.open(io.BytesIO(view.fallback())) as picture:
        assert picture.format == "PNG" and picture.width > 600 and picture.height > 500
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 50, "there are pictures on it"
    words = view.describe()
    for part in (GRID_PROMPTS[0], "w = 5.5", "alignment", "saturation", "diversity", "sweet spot"):
        assert part in words
    data, metadata = view._repr_mimebundle_()
    assert {"image/png", "text/plain"} <= set(data) and metadata["image/png"]["alt"] == words


def test_two_views_are_independent() -> None:
    one, two = GuidanceExplorer(1.0), GuidanceExplorer(9.0)
    one._moved("w", 3)
    one._moved("mark", 1)
    assert (two["w"], two.sweet_spot, one.sweet_spot) == (9.0, None, 3.0)
    one.close()
    two.close()


def test_two_hundred_moves_leave_nothing_behind(view: GuidanceExplorer) -> None:
    def move(times: int) -> None:
        for i in range(times):
            ask(view, subject=GRID_PROMPTS[i % 3], w=(i * 0.5) % 20)
            if i % 20 == 0:
                ask(view, mark=i)

    process = psutil.Process()
    move(130)
    gc.collect()
    before = process.memory_info().rss, len(gc.get_objects()), threading.active_count()
    move(200)
    gc.collect()
    after = process.memory_info().rss, len(gc.get_objects()), threading.active_count()
    grown = (after[0] - before[0]) / 2**20
    print(f"200 moves: {grown:+.1f} MiB, {after[1] - before[1]:+d} objects")
    assert grown < 10 and after[1] - before[1] < 2_000 and after[2] == before[2]
