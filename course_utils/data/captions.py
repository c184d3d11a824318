"""What a picture's caption says, and how it may be said.

A picture shows one object, in one artist's style, on one plain background. The full caption names
all three::

    a cat face, 3d style, on a blue background

Training captions drop, reorder and reword these parts, so that "cat", "a cat on blue" and
"blue cat face 3d" are prompts that the model has met. Everything is lower case.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from random import Random
from typing import Protocol

STYLES = ("3d", "flat", "noto", "twemoji")
"""The four artists, in the order of every style axis and style id."""

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "gray": (134, 140, 150),
    "red": (216, 38, 44),
    "orange": (255, 140, 30),
    "yellow": (255, 224, 70),
    "green": (60, 176, 70),
    "teal": (0, 160, 170),
    "blue": (36, 84, 220),
    "purple": (140, 50, 200),
    "pink": (255, 160, 205),
}
"""Background name to sRGB (0 to 255), in the order of background ids."""

STYLE_WORDS: dict[str, tuple[str, ...]] = {
    "3d": ("3d style", "glossy 3d", "3d render", "3d"),
    "flat": ("flat style", "flat design", "flat"),
    "noto": ("noto style", "noto"),
    "twemoji": ("twemoji style", "twemoji"),
}
"""Ways to say a style. The first is the full caption's; the last is the one-word adjective."""

BACKGROUND_WORDS: dict[str, tuple[str, ...]] = {
    name: ("gray", "grey") if name == "gray" else (name,) for name in BACKGROUNDS
}
"""Ways to say a background colour. The first is the full caption's."""

HELD_OUT_TEMPLATES: tuple[str, ...] = (
    "{background} background with {object}, {style}",
    "{style}, {background} background: {object}",
    "a drawing of {object} in {style} with {a_background} background",
    "on {background}, {object} drawn in {style}",
    "{object}. {style}. {background}.",
)
"""Phrasings that `random_caption` never uses, to measure how well prompts generalise."""

# Templates of random captions by which of (style, background) they mention. {object} carries its
# article ("a cat face"), {bare} does not ("cat face"), {styled} has both article and style ("a flat
# cat face"); {style} is any of STYLE_WORDS, {adjective} the style's single word.
_TEMPLATES: dict[tuple[bool, bool], tuple[str, ...]] = {
    (True, True): (
        "{object}, {style}, on {a_background} background",
        "{object} on {a_background} background, {style}",
        "{object} on {background}, {style}",
        "{object}, {style}, on {background}",
        "{styled} on {a_background} background",
        "{styled} on {background}",
        "{bare}, {style}, {background} background",
        "{bare} {adjective} {background} background",
        "{adjective} {bare} {background} background",
        "{background} {bare} {adjective}",
    ),
    (True, False): (
        "{object}, {style}",
        "{object} in {style}",
        "{styled}",
        "{bare}, {style}",
        "{bare} {adjective}",
        "{adjective} {bare}",
    ),
    (False, True): (
        "{object} on {a_background} background",
        "{object} on {background}",
        "{bare} on {a_background} background",
        "{bare}, {background} background",
        "{bare} on {background}",
        "{background} background, {object}",
    ),
    (False, False): ("{object}", "{bare}", "a picture of {object}", "an emoji of {object}"),
}
_WITHOUT_OBJECT = ("{style}, on {a_background} background", "{style}, {background} background")

_FULL = 0.30  # share of full captions
_KEEP = 0.72  # chance that any other caption mentions the style; the same for the background
_SYNONYM = 0.35  # chance that any other caption says a synonym for the name
_DROP_OBJECT = 0.015  # chance that any other caption says nothing of the object

# Names that take no article: stuff that is not counted, activities, signs of the zodiac, and names
# that are no nouns.
_NO_ARTICLE = frozenset({
    "aquarius", "aries", "bacon", "badminton", "baggage claim", "baguette bread", "beer",
    "bowling", "bread", "broccoli", "butter", "camping", "cancer", "canned food", "capricorn",
    "cheese", "children crossing", "coffee", "construction", "cooked rice", "cooking", "copyright",
    "curry rice", "customs", "dashing away", "divide", "dizzy", "dna", "field hockey", "fire",
    "fleur-de-lis", "flower playing cards", "fog", "foggy", "garlic", "gemini", "ginger root",
    "herb", "high voltage", "hot springs", "ice", "ice hockey", "infinity", "information",
    "lacrosse", "left luggage", "leo", "libra", "lightning", "locked", "locked with key",
    "locked with pen", "luggage", "mate", "meat on bone", "minus", "money with wings",
    "mount fuji", "multiply", "nail polish", "non-potable water", "oden", "om", "ophiuchus",
    "passport control", "performing arts", "ping pong", "pisces", "plus", "poo", "poop",
    "popcorn", "potable water", "pouring liquid", "prohibited", "radioactive", "registered",
    "rolling on the floor laughing", "sagittarius", "sake", "salt", "scorpio", "shaved ice",
    "soap", "spaghetti", "star-struck", "sunshine", "sushi", "taurus", "tennis", "thread",
    "unlocked", "virgo", "wireless", "wood", "yarn", "zzz",
})  # fmt: skip
_PLURALS = frozenset(
    {"children", "dice", "feet", "geese", "men", "palms", "people", "teeth", "women"}
)
_PEOPLE = frozenset({"man", "men", "people", "person", "woman", "women"})
_SINGULAR_S = frozenset({
    "abacus", "bus", "cactus", "claus", "cross", "hibiscus", "hippopotamus", "kiss", "lens",
    "lotus", "minibus", "octopus", "rhinoceros", "trolleybus",
})  # fmt: skip
_PREPOSITION = re.compile(
    r"^(?:with|of|in|on|at|behind|over|and|without|for|from|under|to|showing|pointing|facing)$"
)
_SOUNDED_CONSONANT = re.compile(r"^(?:uni(?!n)|u[ks]|eu|one\b|one-|ufo|ute|uku)")
_COLOURS = frozenset(BACKGROUNDS) | {"grey", "brown", "black", "golden"}


class Captioned(Protocol):
    """Anything with a name and synonyms: a `Concept`."""

    @property
    def name(self) -> str: ...

    @property
    def synonyms(self) -> tuple[str, ...]: ...


def require(argument: str, value: object, known: Iterable[str]) -> str:
    """Return `value` if it is one of `known`; otherwise say what was expected.

    Args:
        argument: Name of the caller's argument, for the message.
        value: What the caller passed.
        known: Accepted values.

    Returns:
        `value`.

    Raises:
        ValueError: `value` is not known. The message suggests near ones.
    """
    known = tuple(known)
    if isinstance(value, str) and value in known:
        return value
    near = difflib.get_close_matches(str(value).lower(), known, n=3, cutoff=0.6)
    if near:
        expected = f"did you mean {' or '.join(repr(name) for name in near)}?"
    elif len(known) <= 12:
        expected = f"expected one of {', '.join(repr(name) for name in known)}"
    else:
        expected = f"expected one of {len(known)} names such as {known[0]!r} and {known[1]!r}"
    raise ValueError(f"{argument}={value!r} is not known: {expected}")


def spoken_name(name: str) -> str:
    """Return a CLDR name as a caption says it: lower case ASCII, no colons, quotes or brackets.

    Args:
        name: CLDR short name, such as "kiss: woman, man" or "woman’s hat".

    Returns:
        "kiss of woman and man", "woman's hat".
    """
    text = unicodedata.normalize("NFKD", name.replace("’", "'"))
    text = re.sub(r"[“”\"()!]", "", text.encode("ascii", "ignore").decode().lower()) or name
    head, colon, rest = text.partition(": ")
    if colon and head in ("kiss", "couple with heart", "family"):
        text = f"{head} of {rest}".replace(", ", " and ")
    elif colon:
        text = f"{head} {rest}".replace(",", "")
    return re.sub(r"\s+", " ", text.replace(",", "")).strip()


def head_noun(phrase: str) -> str:
    """Return the noun that a phrase is about: "face" of "face with tears of joy"."""
    head, *rest = phrase.split()
    acts = head in _PEOPLE  # "men holding hands": what follows says what they do
    for word in rest:
        if _PREPOSITION.match(word) or (acts and word.endswith("ing")):
            break
        head = word
    return head


def with_article(phrase: str) -> str:
    """Put "a" or "an" before a noun phrase, unless it is a plural or cannot be counted.

    Args:
        phrase: Lower-case noun phrase: "cat face", "face with tears of joy", "grapes".

    Returns:
        "a cat face", "a face with tears of joy", "grapes".
    """
    words = phrase.split()
    if phrase in _NO_ARTICLE or words[0] in ("a", "an", "the", "no"):
        return phrase
    if phrase.endswith(("o'clock", "-thirty")):
        return phrase
    head = head_noun(phrase)
    if words[0] in _PLURALS or (
        head.endswith("s") and head not in _SINGULAR_S and not head.endswith(("ss", "'s"))
    ):
        return phrase
    vowel = re.match(r"[aeiou]|8|11|18|hour|heir|x-ray|sos|ng |m ", phrase)
    sounds_vowel = bool(vowel) and not _SOUNDED_CONSONANT.match(phrase)
    return f"{'an' if sounds_vowel else 'a'} {phrase}"


def full_caption(name: str, style: str, background: str) -> str:
    """Return the caption that names everything the picture shows.

    Args:
        name: CLDR name of the concept, or any noun phrase.
        style: One of `STYLES`.
        background: One of `BACKGROUNDS`.

    Returns:
        Such as "a cat face, 3d style, on a blue background".

    Raises:
        ValueError: The style or background is not known, or the name is empty.
    """
    require("style", style, STYLES)
    require("background", background, BACKGROUNDS)
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"name={name!r} is empty: expected a concept's name such as 'cat face'")
    spoken = spoken_name(name)
    return (
        f"{with_article(spoken)}, {STYLE_WORDS[style][0]}, on {with_article(background)} background"
    )


def random_caption(concept: Captioned, style: str, background: str, rng: Random) -> str:
    """Draw one of the many true captions of a picture.

    About 30 % are the full caption. The others keep the object (98 %), the style and the
    background (72 % each) in one of several word orders, and 35 % of them say a synonym.

    Args:
        concept: What the picture shows: its `name` and `synonyms`.
        style: One of `STYLES`.
        background: One of `BACKGROUNDS`.
        rng: Source of randomness; the same state gives the same caption.

    Returns:
        A lower-case caption that says nothing false of the picture.

    Raises:
        ValueError: The style or background is not known.
    """
    require("style", style, STYLES)
    require("background", background, BACKGROUNDS)
    if rng.random() < _FULL:
        return full_caption(concept.name, style, background)
    has_style, has_background = rng.random() < _KEEP, rng.random() < _KEEP
    bare = spoken_name(concept.name)
    if concept.synonyms and rng.random() < _SYNONYM:
        bare = rng.choice(concept.synonyms)
    templates = _TEMPLATES[has_style, has_background]
    if rng.random() < _DROP_OBJECT:
        templates = _WITHOUT_OBJECT
    elif not _COLOURS.isdisjoint(re.split(r"[ -]", bare)):
        # "blue red heart" would read as a heart of two colours.
        templates = tuple(t for t in templates if "{background} {bare}" not in t)
    style_words = STYLE_WORDS[style]
    adjective = style_words[-1]
    countable = with_article(bare) != bare
    colour = rng.choice(BACKGROUND_WORDS[background])
    caption = rng.choice(templates).format(
        object=with_article(bare),
        bare=bare,
        style=rng.choice(style_words),
        styled=f"a {adjective} {bare}" if countable else f"{adjective} {bare}",
        adjective=adjective,
        background=colour,
        a_background=with_article(colour),
    )
    return caption.replace("in 3d render", "as a 3d render")


def held_out_caption(template: int, name: str, style: str, background: str) -> str:
    """Say what a picture shows in a phrasing that training never uses.

    Args:
        template: Index into `HELD_OUT_TEMPLATES`.
        name: CLDR name of the concept.
        style: One of `STYLES`.
        background: One of `BACKGROUNDS`.

    Returns:
        The filled template.

    Raises:
        ValueError: The template, style or background does not exist.
    """
    require("style", style, STYLES)
    require("background", background, BACKGROUNDS)
    if not 0 <= template < len(HELD_OUT_TEMPLATES):
        raise ValueError(f"template={template!r}: expected 0 to {len(HELD_OUT_TEMPLATES) - 1}")
    return HELD_OUT_TEMPLATES[template].format(
        object=with_article(spoken_name(name)),
        style=STYLE_WORDS[style][0],
        background=background,
        a_background=with_article(background),
    )
