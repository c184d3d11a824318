"""Captions of scenes say nothing false, in many words; phrasings for tests never occur."""

import re
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import pytest

from course_utils.data import scene_captions as captions
from course_utils.data.captions import BACKGROUND_WORDS, BACKGROUNDS, STYLE_WORDS
from course_utils.data.concepts import load_concepts
from course_utils.data.places import SCENERY
from course_utils.data.scenes import Scene, Thing, World, size_name, turn_name, zone


@pytest.fixture(scope="module")
def world() -> World:
    return World("scenes")


@pytest.fixture(scope="module")
def said(world: World) -> list[tuple[Scene, str]]:
    rng = Random(2)
    return [(s, captions.say(s, world.concepts, rng)) for s in world.draw(4000, rng)]


def has(text: str, phrases: Iterable[str]) -> bool:
    return any(re.search(rf"\b{re.escape(phrase)}\b", text) for phrase in phrases)


def share(found: list[bool]) -> float:
    return sum(found) / len(found)


def test_full_descriptions() -> None:
    concepts = load_concepts("scenes")
    names = [c.name for c in concepts]
    cat = Thing(names.index("cat face"), 0.2, 0.2, 0.35, 180)
    fish = replace(cat, concept=names.index("fish"), x=0.8, y=0.25)
    for scene, expected in (
        (
            Scene((cat,), "flat", "grass", "dark", "blur"),
            "a small cat, upside down, at the top left, on grass, at night, flat style, blurry",
        ),
        (Scene((cat, cat), "3d", "blue"), "two cats, on a blue background, 3d style, sharp"),
        (
            Scene((cat, fish), "noto", "orange", "warm"),
            "a cat on the left and a fish on the right, on an orange background, in warm light, "
            "noto style, sharp",
        ),
    ):
        assert captions.describe(scene, concepts, quality=True) == expected


def test_nothing_false_is_said(said: list[tuple[Scene, str]]) -> None:
    """A word for a place, light, style, size, turn, position or damage is that of the scene."""
    for scene, text in said:
        alone = len(scene.things) == 1
        first = scene.things[0]
        for style, words in STYLE_WORDS.items():
            assert style == scene.style or not has(text, words), (text, scene)
        for colour in BACKGROUNDS:
            if colour != scene.place:
                spoken = {f"{c} background" for c in BACKGROUND_WORDS[colour]}
                assert not has(text, spoken | {f"on {c}" for c in BACKGROUND_WORDS[colour]}), text
        for place in SCENERY:
            assert place == scene.place or not has(text, captions.SCENERY_WORDS[place]), text
        for light, words in captions.LIGHTS.items():
            assert light == scene.light or not has(text, words), text
        for kind, words in captions.DAMAGES.items():
            if scene.damage == "none" or kind != scene.damage:
                assert not has(text, set(words) - {"low quality"}), text
        assert scene.damage == "none" or not has(text, ("sharp", "high quality", "crisp")), text
        assert scene.damage != "none" or "low quality" not in text
        for size, words in captions.SIZES.items():
            assert (alone and size_name(first.size) == size) or not has(text, words), text
        for turn, words in captions.TURNS.items():
            assert (alone and turn_name(first) == turn) or not has(text, words), text
        if alone:
            across, down = zone(first.x, first.y)
            for side in ("left", "right", "top", "bottom"):
                if side not in (across, down):
                    leaning = f"(?:tilted|leaning) to the {side}"
                    rest = re.sub(leaning, "", text)
                    assert not has(rest, (f"on the {side}", f"to the {side}", f"at the {side}")), (
                        text
                    )
            if (across, down) != ("middle", "middle"):
                assert not has(text, ("in the middle", "in the center", "centered")), text


def test_numbers_are_said(said: list[tuple[Scene, str]]) -> None:
    for scene, text in said:
        kinds = {thing.concept for thing in scene.things}
        for count, words in captions.NUMBERS.items():
            same = len(kinds) == 1 and len(scene.things) == count
            assert same == has(text, words), text


def test_parts_are_missing_as_often_as_promised(said: list[tuple[Scene, str]]) -> None:
    place = [
        has(t, (*captions.SCENERY_WORDS.get(s.place, ()), *BACKGROUND_WORDS.get(s.place, ())))
        for s, t in said
    ]
    style = [has(t, STYLE_WORDS[s.style]) for s, t in said]
    light = [has(t, captions.LIGHTS[s.light]) for s, t in said if s.light != "plain"]
    damage = [has(t, captions.DAMAGES[s.damage]) for s, t in said if s.damage != "none"]
    praise = [has(t, captions.PRAISE) for s, t in said if s.damage == "none"]
    for found, asked in ((place, 0.65), (style, 0.45), (light, 0.7), (damage, 0.5), (praise, 0.25)):
        assert share(found) == pytest.approx(asked, abs=0.045)
    assert 0.2 < share([has(t, captions.fillers()) for _, t in said[:800]]) < 0.4


def test_most_captions_differ(said: list[tuple[Scene, str]]) -> None:
    texts = [text for _, text in said]
    assert len(set(texts)) > 0.95 * len(texts)
    assert all(text == text.lower().strip() and "  " not in text for text in texts)


def test_vague_captions_name_no_thing(world: World) -> None:
    rng = Random(5)
    for scene in world.draw(500, rng):
        text = captions.say_vaguely(scene, world.concepts, rng)
        for thing in scene.things:
            assert not has(text, captions.nouns(world.concepts[thing.concept]))


def test_held_out_phrasings_never_occur(world: World, said: list[tuple[Scene, str]]) -> None:
    starts = [re.split(r"[{]", p)[0].strip() for p in captions.HELD_OUT_PHRASINGS]
    marks = [s for s in starts if " " in s] + ["there should be", "for my daughter", "thank you"]
    assert not any(has(text, marks) for _, text in said)
    scene = world.draw(1, Random(0))[0]
    for i in range(len(captions.HELD_OUT_PHRASINGS)):
        text = captions.ask_otherwise(scene, world.concepts, i)
        assert captions.things_phrase(scene, world.concepts) in text
        assert captions.place_phrase(scene.place) in text
    with pytest.raises(ValueError, match="phrasing=9: expected 0 to 4"):
        captions.ask_otherwise(scene, world.concepts, 9)


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("cat", "cats"),
        ("fox", "foxes"),
        ("butterfly", "butterflies"),
        ("monkey", "monkeys"),
        ("fish", "fish"),
        ("octopus", "octopuses"),
        ("slice of pizza", "slices of pizza"),
        ("peach", "peaches"),
        ("face with tears of joy", "faces with tears of joy"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert captions.plural(one) == many


def test_everyday_words_come_first() -> None:
    first = {c.name: captions.nouns(c)[0] for c in load_concepts("scenes")}
    assert first["cat face"] == "cat" and first["red apple"] == "apple"
    assert first["automobile"] == "car" and first["rocket"] == "rocket"


def test_fillers_are_words_that_say_nothing() -> None:
    words = captions.fillers()
    assert len(words) == len(set(words)) > 2000
    named = {w for c in load_concepts("all") for n in captions.nouns(c) for w in n.split()}
    assert not named & set(words)
    assert not {"left", "dark", "small", "two", "blurry", "red"} & set(words)
