"""The prompt lab without a page: what it computes, says and forgets."""

from __future__ import annotations

import gc
import io
import threading
from collections.abc import Iterator

import psutil
import pytest
from PIL import Image

from course_utils.widgets._drawings import shipped
from course_utils.widgets.prompts import EXAMPLES, OWN, PromptLab, found, table, verdict


@pytest.fixture
def view() -> Iterator[PromptLab]:
    shown = PromptLab()
    shown.wait()
    yield shown
    shown.close()
    assert shown.error is None, "no exception is swallowed"


def ask(view: PromptLab, **values: object) -> None:
    """Fill fields as a page does."""
    for name, value in values.items():
        view._moved(name, value)


def scores(example: str):
    drawings = [shipped().get(recipe) for recipe in EXAMPLES[example]]
    return [drawing.scores for drawing in drawings if drawing is not None]


def test_a_vague_prompt_leaves_more_to_the_seed() -> None:
    a, b = scores("vague against detailed")
    assert a.spread is not None and b.spread is not None and a.spread > 3 * b.spread
    assert (b.share("concept"), b.share("style"), b.share("background")) == (1, 1, 1)
    assert a.share("style") is None and found(a, "style").startswith("left open: ")
    assert found(b, "background") == "4 of 4 are blue"
    words = verdict(a, b)
    assert "The pictures of A differ 17 times as much as those of B" in words
    assert "A does not say which background, so the seeds pick 4." in words
    assert verdict(a, a).startswith("Both prompts leave about as much to the seed")


def test_the_table_holds_no_markup_of_others() -> None:
    from dataclasses import replace

    from course_utils.widgets._scores import Asked

    a, b = scores("a negative prompt")
    html = table(replace(a, asked=Asked("<b>house</b>")), b)
    assert "<b>" not in html and "&lt;b&gt;house" in html
    assert html.count("<tr>") == 7 and "0.79" in html


def test_it_opens_with_the_demonstration(view: PromptLab) -> None:
    assert view["prompt_a"] == "draw a cat"
    for side in "ab":
        assert len(view.part(f"grid_{side}")["items"]) == 4
    assert 'never met "draw"' in view.part("words_a")["text"]
    assert view.part("words_b")["text"] == "the model knows all of them"


def test_every_example_is_there_at_once(view: PromptLab) -> None:
    seen = set()
    for name, (a, b) in EXAMPLES.items():
        ask(view, example=name)
        assert not view.working
        assert (view["prompt_a"], view["negative_b"]) == (a.prompt, b.negative)
        assert view.part("table")["html"] not in seen
        seen.add(view.part("table")["html"])


def test_it_draws_what_is_asked_for(view: PromptLab) -> None:
    before = view.part("grid_a")["items"][0]["png"]
    ask(view, prompt_a="a frog", negative_a="green", scale_a=4, prompt_b="ein Frosch", scale_b=1)
    assert view["example"] == OWN
    assert "Press Draw both" in view.status["text"]
    assert "A: “draw a cat”" in view.part("grid_a")["label"], (
        "as long as the old pictures are there"
    )
    ask(view, seed=5, count=2, steps=2, draw=1)
    view.wait()
    assert view.part("grid_a")["label"] == "A: “a frog”, without “green”, w = 4"
    assert [item["caption"][:7] for item in view.part("grid_b")["items"]] == ["seed 5:", "seed 6:"]
    assert view.part("grid_a")["items"][0]["png"] != before
    assert "frosch" in view.part("words_b")["text"]
    assert "Computed live in" in view.status["text"]
    assert "nothing the judge knows" in view.part("table")["html"]


def test_own_prompts_are_read_first_and_the_examples_are_not(view: PromptLab) -> None:
    assert view["literal"] is True
    assert "Read first, it would be: a cat face." in view.part("words_a")["text"]
    ask(view, example=OWN)
    assert view["literal"] is False
    assert view.part("words_a")["text"] == "Read as: a cat face; left out: draw."
    ask(view, prompt_a="2 doggos pls", prompt_b="kartoon elefant", count=1, steps=1, draw=1)
    view.wait()
    assert "dog face" in view.part("table")["html"] and "elephant" in view.part("table")["html"]
    ask(view, example="vague against detailed")
    assert view["literal"] is True and len(view.part("grid_a")["items"]) == 4


def test_an_example_that_is_typed_is_recognised(view: PromptLab) -> None:
    ask(view, prompt_a="a dog")
    assert view["example"] == OWN
    ask(view, prompt_a="draw a cat")
    assert view["example"] == "vague against detailed" and view.status["text"] == ""


def test_one_picture_each_has_no_spread(view: PromptLab) -> None:
    ask(view, count=1, steps=1, draw=1)
    view.wait()
    assert "one picture has none" in view.part("table")["html"]
    assert "spread" not in view.part("verdict")["text"]


def test_words_on_scales_and_strange_prompts(view: PromptLab) -> None:
    ask(view, scale_a=1, negative_a="blue", scale_b=0)
    assert "the negative prompt has no effect" in view.part("words_a")["text"]
    assert "the prompt is not heard" in view.part("words_b")["text"]
    for prompt, words in {
        "": "The prompt is empty",
        "a cat" * 2_000: "10,000 letters",
        "🐱": "knows no word",
        "חתול": "knows no word",
    }.items():
        ask(view, prompt_a=prompt)
        assert words in view.part("words_a")["text"]
    ask(view, prompt_b="a \ud800 cat", steps=1, count=1, draw=1)
    view.wait(120)
    assert len(view.part("grid_b")["items"]) == 1


def test_a_second_drawing_ends_the_first(view: PromptLab) -> None:
    ask(view, prompt_a="a key", steps=50, count=8, draw=1)
    ask(view, prompt_a="a star", steps=1, count=1, draw=2)
    ask(view, prompt_a="a sun")  # while it computes
    view.wait(120)
    assert "a star" in view.part("grid_a")["label"] and view["prompt_a"] == "a sun"


def test_it_opens_with_prompts_of_ones_own() -> None:
    view = PromptLab("a robot", "a robot", negative_b="gray", count=1, num_steps=1)
    assert view["example"] == OWN
    view.wait(120)
    assert "without “gray”" in view.part("grid_b")["label"]
    view.close()
    with pytest.raises(TypeError, match="expected a text"):
        PromptLab(7)  # type: ignore[arg-type]


def test_the_fallback_shows_and_says_everything(view: PromptLab) -> None:
    with Image.open(io.BytesIO(view.fallback())) as picture:
        assert picture.format == "PNG" and picture.width > 600
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 50, "there are pictures on it"
    words = view.describe()
    assert "draw a cat" in words and "The judge sees cat face" in words and "17 times" in words


def test_two_hundred_moves_leave_nothing_behind(view: PromptLab) -> None:
    names = list(EXAMPLES)

    def move(times: int) -> None:
        for i in range(times):
            ask(view, example=names[i % 4])
            ask(view, scale_a=(i * 0.5) % 20, prompt_b="a cat" * (i % 3))

    process = psutil.Process()
    move(60)
    gc.collect()
    before = process.memory_info().rss, len(gc.get_objects()), threading.active_count()
    move(200)
    gc.collect()
    after = process.memory_info().rss, len(gc.get_objects()), threading.active_count()
    grown = (after[0] - before[0]) / 2**20
    print(f"200 moves: {grown:+.1f} MiB, {after[1] - before[1]:+d} objects")
    assert grown < 10 and after[1] - before[1] < 2_000 and after[2] == before[2]
