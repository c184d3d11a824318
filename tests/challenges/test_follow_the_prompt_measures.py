"""Challenge 05: orders, what prompts say, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from course_utils.challenges import validation
from course_utils.challenges.declare import Refused
from course_utils.challenges.follow_the_prompt import ask as challenge_05
from course_utils.challenges.follow_the_prompt import pictures
from course_utils.challenges.follow_the_prompt.ask import CHALLENGE, SETUP
from course_utils.challenges.follow_the_prompt.orders import (
    BACKGROUNDS_SAID,
    COMPLAINTS,
    PRAISE,
    STYLES_SAID,
    THINGS,
    Order,
    demands,
    leaves_open,
    understood,
    words_inputs,
)
from course_utils.challenges.follow_the_prompt.pictures import Seen
from course_utils.challenges.network import SUBSET, pipeline
from course_utils.data.captions import BACKGROUNDS, STYLES
from course_utils.data.concepts import load_concepts
from course_utils.grading.answers.notebooks import read_notebook
from course_utils.vocabulary import words_of

ROOT = Path(__file__).resolve().parents[2]
FOX = Order("fox", background="blue", no_styles=("flat",))


def test_customers_say_no_word_of_the_captions_by_chance() -> None:
    vocabulary = pipeline().vocabulary
    assert vocabulary is not None
    tables = (THINGS, STYLES_SAID, BACKGROUNDS_SAID)
    said = [word for table in tables for words in table.values() for word in words]
    said += [*PRAISE, *COMPLAINTS]
    assert len(set(said)) == len(said), "a word of two meanings"
    for phrase in said:
        assert not all(vocabulary.knows(word) for word in words_of(phrase)), phrase
    assert set(THINGS) <= {concept.name for concept in vocabulary.concepts}
    assert set(THINGS) == {concept.name for concept in load_concepts(SUBSET)}
    assert tuple(STYLES_SAID) == STYLES and tuple(BACKGROUNDS_SAID) == tuple(BACKGROUNDS)
    assert set(challenge_05.PULLED) <= set(THINGS)


def test_orders_hold_what_their_dictionary_explains() -> None:
    kinds = set()
    for given in words_inputs(np.random.default_rng(0)):
        order = Order(**given["_order"])
        means = [
            given["dictionary"][w]["means"] for w in given["wants"] if w in given["dictionary"]
        ]
        wanted = [x for x in (order.thing, order.style, order.background) if x]
        assert sorted(means) == sorted(wanted)
        bad = [
            given["dictionary"][w]["means"] for w in given["without"] if w in given["dictionary"]
        ]
        assert sorted(bad) == sorted((*order.no_styles, *order.no_backgrounds))
        kinds.add((bool(order.style), bool(order.no_styles), bool(order.background)))
    assert len(kinds) == 6


@pytest.mark.parametrize(
    ("prompt", "negative", "missed"),
    [
        ("a fox, on a blue background", "a fox, flat style, on a blue background", set()),
        ("fox face on blue", "flat design", set()),
        ("a fox, on a blue background", "", {"negative"}),
        ("a fox, on a blue background", "anything but flat style", {"words"}),
        ("a fox, on a blue background", "flat style, 3d style", {"negative"}),
        ("a fox, on a blue background", "flat style, on a red background", {"negative"}),
        ("a fox, noto style, on a blue background", "flat style", {"style"}),
        ("a fox", "flat style", {"background"}),
        ("a vixen on a blue background", "flat style", {"thing", "words"}),
    ],
)
def test_demands(prompt: str, negative: str, missed: set[str]) -> None:
    met = demands(FOX, prompt, negative)
    assert {name for name, good in met.items() if not good} == missed


def test_a_colour_in_a_name_is_no_background() -> None:
    assert understood("a red apple, on a green background", "red apple").backgrounds == {"green"}
    assert understood("an apple, on grey", "red apple").backgrounds == {"gray"}
    assert understood("an orange background, 3d render", "sun").backgrounds == {"orange"}
    nothing = demands(Order("red apple"), "a red apple", "")
    assert all(nothing.values())
    assert not demands(Order("red apple"), "a red apple", "flat style")["negative"]


def seen(**other: Any) -> Seen:
    good = torch.ones(4, dtype=torch.bool)
    numbers = {"clipped": 0.0, "saturation": 0.0, "diversity": 0.1, "copies": 0.0}
    return Seen(good, good, good, **(numbers | other))


@pytest.mark.parametrize(
    ("other", "words"),
    [({"clipped": 0.2}, "oversat"), ({"diversity": 1e-4}, "same")],
)
def test_what_is_refused(other: dict[str, float], words: str) -> None:
    pictures.refuse_flaws(seen(copies=1.0), "c")
    with pytest.raises(Refused, match=words):
        pictures.refuse_flaws(seen(**other), "c")


def test_latents_and_noise_from_elsewhere_are_refused() -> None:
    random = np.random.default_rng(0)
    x_T, other, x0 = random.standard_normal((3, 2, 4, 8, 8)).astype(np.float32)
    alpha_bar = pipeline().schedule.alpha_bar.numpy()

    def given(first: np.ndarray) -> dict[str, Any]:
        trace = [{"used": first, "answer": x0, "t": 999}]
        return {"x_T": x_T, "alpha_bar": alpha_bar, "_trace": trace}

    pictures.refuse_other_latents(given(x_T), 0.3 * x_T - x0)
    for first, end in ((x_T, other), (other, x0), (x_T, x0 + 0.3 * other)):
        with pytest.raises(Refused, match="neither x_T nor an answer"):
            pictures.refuse_other_latents(given(first), end)


def test_questions_about_other_noise_are_refused() -> None:
    random = np.random.default_rng(0)
    x_T, other, x0 = random.standard_normal((3, 2, 4, 8, 8)).astype(np.float32)
    alpha_bar = pipeline().schedule.alpha_bar.numpy()

    def asked(x_t: np.ndarray, t: int) -> None:
        validation.refuse_other_noise(x_T, alpha_bar, [{"used": x_t, "t": t}])

    early, late = (int((alpha_bar > a).sum()) for a in (0.05, 0.3))
    for t in (999, early, late, 20):
        a = float(alpha_bar[t])
        asked(a**0.5 * x0 + (1 - a) ** 0.5 * x_T, t)
    asked(other, 20)  # a picture is there already
    mixed = 0.8 * x_T + 0.6 * other
    for x_t, t in ((-x_T, 999), (mixed, 999), (other, early), (other, late)):
        with pytest.raises(Refused, match="noise is not that of x_T"):
            asked(x_t, t)
    loud = 0.3**0.5 * 10 * x0 + 0.1 * x_T
    with pytest.raises(Refused, match="drowns its noise"):
        asked(loud, late)
    for factor, t in ((0.2, 999), (1.6, 999), (0.5, early), (3.0, early)):
        with pytest.raises(Refused, match=f"{factor:.2f} times as large"):
            asked(factor * x_T, t)


OPEN_STYLES = {
    "right": ("a fox, on a blue background", "a fox, flat style, on a blue background", True),
    "nothing to avoid": ("a fox, on a blue background", "", True),
    "a style": ("a fox, noto style", "flat style", False),
    "a style with 's": ("a fox in noto's style", "flat style", False),
    "a style in two words": ("a fox, 3 d", "flat style", False),
    "a style of another word": ("a glossy fox", "flat style", False),
    "a style as the negative": ("a fox", "a fox, noto style, on a blue background", False),
    "a word of no caption": ("a fox vulpes", "flat style", False),
}


@pytest.mark.parametrize(("prompt", "negative", "open"), OPEN_STYLES.values(), ids=OPEN_STYLES)
def test_the_style_has_to_stay_open(prompt: str, negative: str, open: bool) -> None:
    assert leaves_open(FOX, prompt, negative) == open


def test_noises_are_kept_from_which_the_network_draws_the_style_ruled_out() -> None:
    (given,) = challenge_05.open_inputs(np.random.default_rng(0))[:1]
    noise = np.random.default_rng(1).standard_normal((1, 4, 4, 8, 8)).astype(np.float32)
    scores = challenge_05._pull(Order(**given["_order"]), noise[0].tobytes())
    kept = challenge_05.pulled([given], noise)
    assert len(kept) == challenge_05.OPEN_SEEDS
    best = np.sort(np.argsort(scores)[-len(kept) :])
    assert np.array_equal(kept, noise[0, best])


def test_the_sampler_that_is_given_agrees_with_its_docstring_and_the_notebook() -> None:
    names: dict[str, Any] = {}
    exec(SETUP, names)
    asked = []

    def guess(x_t: torch.Tensor, t: int, step: int) -> torch.Tensor:
        asked.append(t)
        return 0 * x_t + 1.5

    alpha_bar = pipeline().schedule.alpha_bar
    end = names["carry"](torch.randn(2, 4, 8, 8), alpha_bar, guess)
    torch.testing.assert_close(end, torch.full((2, 4, 8, 8), 1.5))
    assert ", ".join(map(str, asked)) in " ".join(SETUP.split())
    for folder in ("challenges", "solutions/challenges"):
        notebook = read_notebook(ROOT / folder / f"{CHALLENGE.name}.ipynb")
        (cell,) = [cell for cell in notebook["cells"] if cell["id"] == "setup"]
        assert "".join(cell["source"]) == SETUP
