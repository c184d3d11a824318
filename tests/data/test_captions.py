"""Captions: grammar, promises, shares."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest

from course_utils.data import captions
from course_utils.data.captions import (
    BACKGROUNDS,
    HELD_OUT_TEMPLATES,
    STYLES,
    full_caption,
    held_out_caption,
    random_caption,
    spoken_name,
    with_article,
)
from course_utils.data.concepts import load_concepts

# Words that name a style or a background, wherever a caption says them.
STYLE_HINTS = {
    "3d": {"3d", "glossy", "render"},
    "flat": {"flat", "design"},
    "noto": {"noto"},
    "twemoji": {"twemoji"},
}
COLOURS = {**{name: {name} for name in BACKGROUNDS}, "gray": {"gray", "grey"}}


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("cat face", "a cat face"),
        ("face with tears of joy", "a face with tears of joy"),
        ("umbrella", "an umbrella"),
        ("unicorn", "a unicorn"),
        ("hourglass done", "an hourglass done"),
        ("euro banknote", "a euro banknote"),
        ("sos button", "an sos button"),
        ("eight-spoked asterisk", "an eight-spoked asterisk"),
        ("grapes", "grapes"),
        ("glasses", "glasses"),
        ("men holding hands", "men holding hands"),
        ("leftwards pushing hand", "a leftwards pushing hand"),
        ("woman holding hands", "a woman holding hands"),
        ("cactus", "a cactus"),
        ("octopus", "an octopus"),
        ("bus", "a bus"),
        ("fire", "fire"),
        ("slice of pizza", "a slice of pizza"),
        ("bunch of grapes", "a bunch of grapes"),
        ("five o'clock", "five o'clock"),
        ("woman's hat", "a woman's hat"),
        ("princess", "a princess"),
        ("no entry", "no entry"),
    ],
)
def test_articles(phrase: str, expected: str) -> None:
    assert with_article(phrase) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("T-Rex", "t-rex"),
        ("woman’s hat", "woman's hat"),
        ("kiss: woman, man", "kiss of woman and man"),
        ("man: red hair", "man red hair"),
        ("keycap: #", "keycap #"),
        ("Japanese “here” button", "japanese here button"),
        ("UP! button", "up button"),
        ("piñata", "pinata"),
        ("Mrs. Claus", "mrs. claus"),
    ],
)
def test_spoken_names(name: str, expected: str) -> None:
    assert spoken_name(name) == expected


def test_spoken_names_stay_apart() -> None:
    concepts = load_concepts()
    spoken = Counter(spoken_name(concept.name) for concept in concepts)
    assert len(spoken) == len(concepts)
    assert all(re.fullmatch(r"[a-z0-9#*'. -]+", name) for name in spoken)


def test_full_caption() -> None:
    assert full_caption("cat face", "3d", "blue") == "a cat face, 3d style, on a blue background"
    assert full_caption("T-Rex", "noto", "orange") == "a t-rex, noto style, on an orange background"
    assert full_caption("grapes", "flat", "red") == "grapes, flat style, on a red background"


@pytest.mark.parametrize("subset", ["core", "all"])
def test_random_captions_keep_their_promises(subset: str) -> None:
    rng = Random(0)
    concepts = load_concepts(subset)
    full = objects = styles = backgrounds = 0
    total = 12_000
    for _ in range(total):
        concept = rng.choice(concepts)
        style, background = rng.choice(STYLES), rng.choice(tuple(BACKGROUNDS))
        caption = random_caption(concept, style, background, rng)
        assert caption == caption.lower().strip()
        assert not re.search(r"[{}]|  | ,|\ba (?!one)[aio]|\ban? an? ", caption)
        said = [
            name
            for name in (spoken_name(concept.name), *concept.synonyms)
            if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", caption)
        ]
        # What is left of the caption besides the object's own words ("red heart").
        rest = caption.replace(max(said, key=len), " ") if said else caption
        words = set(re.findall(r"[a-z0-9]+", rest))
        told = {name for name, hints in STYLE_HINTS.items() if hints & words}
        colours = {name for name, hints in COLOURS.items() if hints & words}
        assert told <= {style}, caption
        assert colours <= {background}, caption
        full += caption == full_caption(concept.name, style, background)
        objects += bool(said)
        styles += bool(told)
        backgrounds += bool(colours)
    assert 0.28 < full / total < 0.36
    assert objects / total >= 0.97
    assert 0.77 < styles / total < 0.84
    assert 0.77 < backgrounds / total < 0.84


def test_random_caption_is_a_function_of_the_generator() -> None:
    concept = load_concepts("core")[0]
    draws = [[random_caption(concept, "3d", "blue", Random(seed)) for seed in range(50)]] * 2
    assert draws[0] == draws[1]
    assert len(set(draws[0])) > 15


def test_short_prompts_occur() -> None:
    cat = load_concepts("core")[0]
    rng = Random(0)
    drawn = {random_caption(cat, "3d", "blue", rng) for _ in range(20_000)}
    assert {"cat face", "a cat on blue", "blue cat face 3d", "a cat face", "kitty, 3d"} <= drawn


def test_a_colour_is_never_put_before_a_coloured_thing() -> None:
    heart = next(c for c in load_concepts("core") if c.name == "red heart")
    rng = Random(0)
    drawn = {random_caption(heart, "3d", "blue", rng) for _ in range(5_000)}
    assert not any("blue red heart" in caption for caption in drawn)


@pytest.mark.parametrize("subset", ["core", "all"])
def test_a_synonym_names_one_concept(subset: str) -> None:
    concepts = load_concepts(subset)
    names = {spoken_name(concept.name) for concept in concepts}
    owners = Counter(synonym for concept in concepts for synonym in concept.synonyms)
    assert all(count == 1 for count in owners.values())
    assert not names & owners.keys()
    assert not {"face", "animal", "food", "nature", "fruit"} & owners.keys()
    assert all(synonym == spoken_name(synonym) for synonym in owners)


def test_held_out_templates_are_never_drawn() -> None:
    rng = Random(0)
    concepts = load_concepts("core")
    fields = {"object": ".+", "style": ".+", "background": ".+", "a_background": ".+"}
    patterns = [
        re.compile(re.sub(r"\\\{(\w+)\\\}", lambda m: fields[m[1]], re.escape(template)))
        for template in HELD_OUT_TEMPLATES
    ]
    for _ in range(5_000):
        caption = random_caption(
            rng.choice(concepts), rng.choice(STYLES), rng.choice(tuple(BACKGROUNDS)), rng
        )
        assert not any(pattern.fullmatch(caption) for pattern in patterns), caption


def test_held_out_captions_name_everything() -> None:
    for template in range(len(HELD_OUT_TEMPLATES)):
        caption = held_out_caption(template, "owl", "noto", "orange")
        assert "an owl" in caption and "noto style" in caption and "orange" in caption
        assert "a orange" not in caption
    with pytest.raises(ValueError, match=r"template=5: expected 0 to 4"):
        held_out_caption(5, "owl", "noto", "orange")


def test_backgrounds_are_far_apart() -> None:
    assert list(BACKGROUNDS) == (
        "white gray red orange yellow green teal blue purple pink".split()  # noqa: SIM905
    )
    colours = list(BACKGROUNDS.values())
    distances = [
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
        for i, one in enumerate(colours)
        for other in colours[:i]
    ]
    assert min(distances) > 90


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: full_caption("cat", "3D", "blue"), r"style='3D' .* did you mean '3d'"),
        (
            lambda: full_caption("cat", "oil", "blue"),
            r"style='oil' .* expected one of '3d', 'flat'",
        ),
        (lambda: full_caption("cat", "3d", "bleu"), r"background='bleu' .* did you mean 'blue'"),
        (lambda: full_caption(" ", "3d", "blue"), r"name=' ' is empty"),
        (
            lambda: random_caption(load_concepts("core")[0], "notto", "blue", Random(0)),
            r"style='notto' .* did you mean 'noto'",
        ),
    ],
)
def test_errors_name_argument_value_and_expected(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_every_name_reads_well_in_every_word_order() -> None:
    # No template may leave a hole, whatever the name looks like.
    for concept in load_concepts():
        bare = spoken_name(concept.name)
        assert with_article(bare).endswith(bare)
        assert captions.head_noun(bare) in bare.split()
