"""What people say of a scene: true captions in many words, vague ones, and phrasings held out.

Captions on the web name some of what a picture shows, in any order, between words that say nothing
of it; and some are vague, or belong to another picture. `say` gives a true caption of that kind,
`say_vaguely` one that fits a thousand pictures. Which share of all captions is vague or foreign is
the caller's number (see `Captions`): lesson 08 changes it and watches the best guidance scale move.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from .captions import (
    BACKGROUND_WORDS,
    BACKGROUNDS,
    STYLE_WORDS,
    head_noun,
    spoken_name,
    with_article,
)
from .concepts import Concept
from .scenes import Scene, Thing, size_name, turn_name, zone

NUMBERS = {2: ("two", "2", "a pair of", "a couple of"), 3: ("three", "3")}
SIZES = {"small": ("small", "little", "tiny"), "large": ("big", "large", "huge", "giant")}
TURNS = {
    "tilted left": ("tilted to the left", "leaning to the left"),
    "tilted right": ("tilted to the right", "leaning to the right"),
    "upside down": ("upside down", "turned upside down", "on its head"),
}
SCENERY_WORDS = {
    "night sky": ("in the night sky", "under the stars", "in a starry sky"),
    "space": ("in space", "in outer space"),
    "sunset": ("at sunset", "in front of a sunset", "at dusk"),
    "grass": ("on grass", "in a meadow", "on the lawn", "in a green field"),
    "sea": ("in the sea", "at sea", "on the ocean"),
    "snow": ("in the snow", "in snow", "in winter"),
    "desert": ("in the desert", "on sand dunes", "on desert sand"),
}
LIGHTS = {
    "dark": ("at night", "in the dark", "in dim light"),
    "warm": ("in warm light", "at golden hour", "in candlelight"),
}
DAMAGES = {
    "blur": ("blurry", "out of focus", "low quality"),
    "blocks": ("pixelated", "blocky", "low quality"),
    "clipped": ("overexposed", "harsh contrast", "low quality"),
}
PRAISE = ("sharp", "high quality", "detailed", "crisp", "sharp, high quality")
"""Said of some pictures that nothing is wrong with, and of no other."""

OPENERS = (
    "a picture of",
    "an image of",
    "a photo of",
    "a drawing of",
    "draw",
    "paint",
    "please draw",
    "show me",
    "i want",
    "make me",
    "can you draw",
    "an emoji of",
)
HELD_OUT_PHRASINGS = (
    "could you please sketch {things} {where} for my daughter",
    "i would love to see {things} {where}",
    "{where} there should be {things}",
    "generate {things}, {where}, thank you",
    "a lovely illustration showing {things} {where}",
)
"""Ways to ask that no training caption has; the first of its words may occur."""

# What a thing may be called when nobody looks closely, by Unicode subgroup or group.
CLASSES = {
    "animal": ("animal-mammal", "animal-bird", "animal-reptile", "animal-amphibian"),
    "creature": ("animal-marine", "animal-bug", "face-costume"),
    "fruit": ("food-fruit",),
    "snack": ("food-prepared", "food-sweet", "food-asian"),
    "plant": ("plant-flower", "plant-other"),
    "vehicle": ("transport-ground", "transport-air", "transport-water"),
    "building": ("place-building", "place-religious"),
    "face": ("face-smiling", "face-concerned", "face-affection", "face-glasses"),
}


EVERYDAY = {"automobile": "car"}  # where the everyday word is no part of the name
_SAME_IN_PLURAL = frozenset({"fish", "sheep", "deer", "scissors", "glasses", "grapes"})


def class_of(concept: Concept) -> str:
    """The word for things of this kind: "animal", "fruit", ..., or "thing"."""
    for name, subgroups in CLASSES.items():
        if concept.subgroup in subgroups:
            return name
    return "thing"


def nouns(concept: Concept) -> tuple[str, ...]:
    """What a thing may be called by name, the everyday word first: "cat", "kitty", "cat face"."""
    name = spoken_name(concept.name)
    shorter = [word for word in concept.synonyms if word in name]  # "apple" of "red apple"
    first = EVERYDAY.get(name, min((name, *shorter), key=len))
    return tuple(dict.fromkeys((first, name, *concept.synonyms)))


def plural(phrase: str) -> str:
    """A noun phrase in the plural: "foxes", "slices of pizza", "fish"."""
    head = head_noun(phrase)
    if head in _SAME_IN_PLURAL:
        many = head
    elif head.endswith(("s", "x", "ch", "sh", "z")):
        many = head + "es"
    elif head.endswith("y") and head[-2:-1] not in "aeiou":
        many = head[:-1] + "ies"
    else:
        many = head + "s"
    before, _, after = phrase.partition(head)
    return before + many + after


@functools.cache
def fillers() -> tuple[str, ...]:
    """Common English words that say nothing of a scene: the file `fillers.txt`."""
    text = (Path(__file__).parent / "fillers.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


# --- the parts of a caption ----------------------------------------------------------------------


def things_phrase(
    scene: Scene, concepts: Sequence[Concept], rng: Random | None = None, adjectives: str = ""
) -> str:
    """Name the things and their number: "two small cats", "a fox and a key".

    Args:
        scene: what is shown.
        concepts: of the world.
        rng: chooses among words; without it the first of each is taken.
        adjectives: words before the noun, such as "small".
    """
    kinds = [thing.concept for thing in scene.things]

    def noun(kind: int) -> str:
        names = nouns(concepts[kind])
        if rng is None or rng.random() < 0.6:
            return names[0]
        return class_of(concepts[kind]) if rng.random() < 0.15 else rng.choice(names)

    def one(kind: int) -> str:
        return with_article(f"{adjectives} {noun(kind)}".strip())

    if len(set(kinds)) == len(kinds) == 1:
        return (
            one(kinds[0]) if rng is None or rng.random() < 0.8 else one(kinds[0]).split(" ", 1)[-1]
        )
    if len(set(kinds)) == 1:
        number = _pick(NUMBERS[len(kinds)], rng)
        return " ".join(filter(None, (number, adjectives, plural(noun(kinds[0])))))
    first, second = scene.things
    return _pair(first, second, one, rng)


def _pair(first: Thing, second: Thing, one: Callable[[int], str], rng: Random | None) -> str:
    if rng is not None and rng.random() < 0.5:
        first, second = second, first
    if rng is not None and rng.random() < 0.5:
        return f"{one(first.concept)} and {one(second.concept)}"
    if abs(first.x - second.x) > abs(first.y - second.y):
        sides = ("left", "right") if first.x < second.x else ("right", "left")
        if rng is None or rng.random() < 0.5:
            return (
                f"{one(first.concept)} on the {sides[0]} and {one(second.concept)} on the "
                f"{sides[1]}"
            )
        return f"{one(first.concept)} {sides[0]} of {one(second.concept)}"
    word = "above" if first.y < second.y else "below"
    return f"{one(first.concept)} {word} {one(second.concept)}"


def position_phrase(thing: Thing, rng: Random | None = None) -> str:
    """Where a thing is: "on the left", "at the top right", "in the middle"."""
    across, down = zone(thing.x, thing.y)
    if rng is not None and rng.random() < 0.25:  # a person may name one of the two
        across, down = rng.choice(((across, "middle"), ("middle", down)))
    if across == down == "middle":
        # Only where nothing was dropped is it true.
        if zone(thing.x, thing.y) != ("middle", "middle"):
            return ""
        return _pick(("in the middle", "in the center", "centered"), rng)
    if down == "middle":
        return _pick((f"on the {across}", f"on the {across} side", f"to the {across}"), rng)
    if across == "middle":
        return _pick((f"at the {down}", f"in the {down} part"), rng)
    return _pick((f"at the {down} {across}", f"in the {down} {across} corner"), rng)


def place_phrase(place: str, rng: Random | None = None) -> str:
    """Where it happens: "on a blue background", "in the snow"."""
    if place not in BACKGROUNDS:
        return _pick(SCENERY_WORDS[place], rng)
    colour = _pick(BACKGROUND_WORDS[place], rng)
    words = (f"on {with_article(colour)} background", f"on {colour}", f"{colour} background")
    return _pick(words, rng)


def _pick(words: Sequence[str], rng: Random | None) -> str:
    return words[0] if rng is None else rng.choice(words)


# --- whole captions ------------------------------------------------------------------------------


def describe(scene: Scene, concepts: Sequence[Concept], quality: bool = False) -> str:
    """Say everything that a scene shows, in fixed words: the full description.

    Args:
        scene: what is shown.
        concepts: of the world.
        quality: also say how well the picture is kept.

    Returns:
        Such as "a small cat, upside down, at the top left, on grass, at night, flat style".
    """
    first = scene.things[0]
    alone = len(scene.things) == 1
    size = size_name(first.size) if alone else "medium"
    parts = [things_phrase(scene, concepts, None, "" if size == "medium" else SIZES[size][0])]
    if alone:
        if turn_name(first) in TURNS:
            parts.append(TURNS[turn_name(first)][0])
        parts.append(position_phrase(first))
    parts.append(place_phrase(scene.place))
    if scene.light in LIGHTS:
        parts.append(LIGHTS[scene.light][0])
    parts.append(STYLE_WORDS[scene.style][0])
    if quality:
        parts.append(DAMAGES[scene.damage][0] if scene.damage in DAMAGES else PRAISE[0])
    return ", ".join(filter(None, parts))


def say(scene: Scene, concepts: Sequence[Concept], rng: Random) -> str:
    """Draw one of the many true captions of a scene.

    Each part may be missing: place 35 %, style 55 %, position 50 %, size 40 %, turn 25 %, light
    30 %. Damage is said in half of the damaged pictures, praise of a quarter of the others. Three
    captions in ten have words that say nothing of the scene.

    Args:
        scene: what is shown.
        concepts: of the world.
        rng: the same state gives the same caption.

    Returns:
        A caption in lower case that says nothing false.
    """
    first = scene.things[0]
    alone = len(scene.things) == 1
    size = size_name(first.size) if alone else "medium"
    adjectives = rng.choice(SIZES[size]) if size != "medium" and rng.random() < 0.6 else ""
    if rng.random() < 0.12:
        adjectives = f"{rng.choice(fillers())} {adjectives}".strip()
    head = things_phrase(scene, concepts, rng, adjectives)
    parts = []
    if alone and turn_name(first) in TURNS and rng.random() < 0.75:
        parts.append(rng.choice(TURNS[turn_name(first)]))
    if alone and rng.random() < 0.5:
        parts.append(position_phrase(first, rng))
    if rng.random() < 0.65:
        parts.append(place_phrase(scene.place, rng))
    if scene.light in LIGHTS and rng.random() < 0.7:
        parts.append(rng.choice(LIGHTS[scene.light]))
    if rng.random() < 0.45:
        parts.append(rng.choice(STYLE_WORDS[scene.style]))
    if scene.damage in DAMAGES and rng.random() < 0.5:
        parts.append(rng.choice(DAMAGES[scene.damage]))
    elif scene.damage == "none" and rng.random() < 0.25:
        parts.append(rng.choice(PRAISE))
    if rng.random() < 0.12:
        parts.append(" ".join(rng.choices(fillers(), k=rng.randint(1, 4))))
    parts = [part for part in parts if part]
    rng.shuffle(parts)
    if rng.random() < 0.25:
        head = f"{rng.choice(OPENERS)} {head}"
    elif parts and rng.random() < 0.2:
        parts.append(head)
        head = parts.pop(0)
    text = head
    for part in parts:
        text += rng.choice((", ", " ", " ")) + part
    return text


def say_vaguely(scene: Scene, concepts: Sequence[Concept], rng: Random) -> str:
    """A caption that is true and says next to nothing: "an animal", "a nice picture"."""
    kind = class_of(concepts[scene.things[0].concept])
    word = rng.choice(fillers())
    return rng.choice(
        (
            with_article(kind),
            kind,
            f"{rng.choice(OPENERS)} {with_article(kind)}",
            f"a {word} picture",
            f"{word} {rng.choice(fillers())}",
            rng.choice(STYLE_WORDS[scene.style]),
            place_phrase(scene.place, rng),
            rng.choice(("picture", "image", "an emoji", "art", "")),
        )
    )


def ask_otherwise(scene: Scene, concepts: Sequence[Concept], phrasing: int) -> str:
    """Ask for a scene in a phrasing that training never has.

    Args:
        scene: what is asked for; things and place are named.
        concepts: of the world.
        phrasing: index into `HELD_OUT_PHRASINGS`.

    Raises:
        ValueError: there is no such phrasing.
    """
    if not 0 <= phrasing < len(HELD_OUT_PHRASINGS):
        raise ValueError(f"phrasing={phrasing!r}: expected 0 to {len(HELD_OUT_PHRASINGS) - 1}")
    things, where = things_phrase(scene, concepts), place_phrase(scene.place)
    return HELD_OUT_PHRASINGS[phrasing].format(things=things, where=where)
