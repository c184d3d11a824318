"""Orders of challenge 05: what customers say, and whether a prompt says it to the network.

A customer's words stand in no caption; the dictionary that comes with an order says what they mean.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from course_utils.challenges.declare import Band, Measurement, Refused
from course_utils.challenges.network import pipeline
from course_utils.data.captions import BACKGROUND_WORDS, BACKGROUNDS, STYLES
from course_utils.models.tokenizer import split_words
from course_utils.vocabulary import words_of

WORDS_BANDS = (Band(1.0, 2, "every word"), Band(0.9, 1, "nearly"))
ORDERS = 30  # of part a
MOST_TEXT = 400  # characters of a prompt

Inputs = Sequence[Mapping[str, Any]]

# --- what customers say --------------------------------------------------------------------------

THINGS: dict[str, tuple[str, ...]] = {
    "cat face": ("tomcat", "feline"),
    "dog face": ("hound", "terrier"),
    "red heart": ("valentine", "token of affection"),
    "pizza": ("margherita", "neapolitan flatbread"),
    "rocket": ("moonship", "launch vehicle"),
    "red apple": ("pippin", "orchard fruit"),
    "star": ("pentagram", "five points"),
    "smiling face with sunglasses": ("beach guy", "dude in shades"),
    "panda": ("bamboo eater", "bearcat"),
    "hamburger": ("whopper", "patty in buns"),
    "sunflower": ("helianthus", "field bloom"),
    "frog": ("croaker", "pond hopper"),
    "ghost": ("spectre", "phantom"),
    "house": ("cottage", "bungalow"),
    "guitar": ("stratocaster", "six strings"),
    "penguin": ("antarctic bird", "tuxedo waddler"),
    "crying face": ("weeper", "tearful fellow"),
    "cactus": ("saguaro", "desert succulent"),
    "pig face": ("hog", "swine"),
    "doughnut": ("cruller", "glazed ring"),
    "sun": ("daystar", "solar disc"),
    "lion": ("leo", "savanna king"),
    "balloon": ("party inflatable", "helium globe"),
    "mushroom": ("fungus", "champignon"),
    "octopus": ("kraken", "eight arms"),
    "basketball": ("hoops ball", "slam dunker"),
    "banana": ("plantain", "curved fruit"),
    "fox": ("vixen", "reynard"),
    "smiling face with heart-eyes": ("smitten fellow", "admirer"),
    "umbrella": ("parasol", "brolly"),
    "strawberry": ("garden berry", "fraise"),
    "turtle": ("terrapin", "shelled swimmer"),
    "rainbow": ("prism arc", "spectrum bow"),
    "robot": ("android", "tin automaton"),
    "butterfly": ("monarch", "papillon"),
    "key": ("latchkey", "lock opener"),
    "watermelon": ("summer melon", "pastèque"),
    "owl": ("night hunter", "hooter"),
    "fire": ("blaze", "bonfire"),
    "crown": ("diadem", "regalia"),
}
STYLES_SAID: dict[str, tuple[str, ...]] = {
    "3d": ("shiny", "like a plastic toy", "modelled"),
    "flat": ("papercut", "poster look", "plain shapes"),
    "noto": ("android look", "phone look", "soft gradients"),
    "twemoji": ("chat look", "bird site look", "social feed look"),
}
BACKGROUNDS_SAID: dict[str, tuple[str, ...]] = {
    "white": ("ivory", "chalk"),
    "gray": ("slate", "ash"),
    "red": ("crimson", "scarlet"),
    "orange": ("tangerine", "amber"),
    "yellow": ("citron", "canary"),
    "green": ("emerald", "moss"),
    "teal": ("petrol", "lagoon"),
    "blue": ("navy", "cobalt"),
    "purple": ("violet", "mauve"),
    "pink": ("blush", "fuchsia"),
}
PRAISE = ("masterpiece", "8k", "award winning", "stunning", "highly detailed")
COMPLAINTS = ("blurry", "ugly", "watermark", "bad quality", "amateurish")
STYLE_WORD = {  # single words that say a style
    "3d": "3d",
    "glossy": "3d",
    "render": "3d",
    "flat": "flat",
    "design": "flat",
    "noto": "noto",
    "twemoji": "twemoji",
}


@dataclass(frozen=True)
class Order:
    """What a customer wants, in the words of the data; "" is left open."""

    thing: str
    style: str = ""
    background: str = ""
    no_styles: tuple[str, ...] = ()
    no_backgrounds: tuple[str, ...] = ()


def said(order: Order, random: np.random.Generator) -> dict[str, Any]:
    """The order in a customer's words, as the arguments of `write_prompt`."""
    dictionary: dict[str, dict[str, str]] = {}
    tables: dict[str, dict[str, tuple[str, ...]]]
    tables = {"thing": THINGS, "style": STYLES_SAID, "background": BACKGROUNDS_SAID}

    def say(kind: str, value: str) -> str:
        word = str(random.choice(tables[kind][value]))
        dictionary[word] = {"kind": kind, "means": value}
        return word

    asked = (("thing", order.thing), ("style", order.style), ("background", order.background))
    wants = [say(kind, value) for kind, value in asked if value]
    without = [say("style", style) for style in order.no_styles]
    without += [say("background", background) for background in order.no_backgrounds]
    if random.random() < 0.5:
        wants.append(str(random.choice(PRAISE)))
    if random.random() < 0.5:
        without.append(str(random.choice(COMPLAINTS)))
    for kind, table in tables.items():  # what other customers say stands there too
        for value in random.choice(list(table), 2, replace=False):
            if str(value) not in (order.thing, order.style, order.background):
                say(kind, str(value))
    words = random.permutation(list(dictionary)).tolist()
    return {
        "wants": random.permutation(wants).tolist(),
        "without": random.permutation(without).tolist() if without else [],
        "dictionary": {word: dictionary[word] for word in words},
        "_order": asdict(order),
    }


# --- part a: the words ---------------------------------------------------------------------------


def words_inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    """Orders of every kind: style and background each named, open, or open but for something."""
    found = []
    things = random.permutation(list(THINGS)).tolist()
    for number in range(ORDERS):
        styles = random.permutation(STYLES).tolist()
        backgrounds = random.permutation(list(BACKGROUNDS)).tolist()
        style, background = number % 3, number // 3 % 3  # 0 named, 1 open, 2 something ruled out
        order = Order(
            thing=things[number % len(things)],
            style=styles[0] if style == 0 else "",
            background=backgrounds[0] if background == 0 else "",
            no_styles=(styles[1],) if style == 2 else (),
            no_backgrounds=tuple(backgrounds[1:3]) if background == 2 else (),
        )
        found.append(said(order, random))
    return found


@functools.lru_cache
def _names() -> dict[str, tuple[list[str], ...]]:
    """By thing, the words of its name and of each synonym that captions use."""
    vocabulary = pipeline().vocabulary
    assert vocabulary is not None
    return {c.name: tuple(words_of(t) for t in (c.name, *c.synonyms)) for c in vocabulary.concepts}


@dataclass(frozen=True)
class Said:
    """What a prompt says, by its words.

    Attributes:
        thing: whether the thing is named as captions name it.
        styles, backgrounds: that are named.
        unknown: words that no caption holds.
    """

    thing: bool
    styles: frozenset[str]
    backgrounds: frozenset[str]
    unknown: tuple[str, ...]


def understood(text: str, thing: str) -> Said:
    """Read a prompt; the colour in "red apple" is no background."""
    vocabulary = pipeline().vocabulary
    assert vocabulary is not None
    words = words_of(text)
    unknown = tuple(dict.fromkeys(word for word in words if not vocabulary.knows(word)))
    found, rest = False, words
    for name in sorted(_names()[thing], key=len, reverse=True):
        for start in range(len(rest) - len(name) + 1):
            if rest[start : start + len(name)] == name:
                found, rest = True, [*rest[:start], *rest[start + len(name) :]]
                break
    colours = {word: name for name, each in BACKGROUND_WORDS.items() for word in each}
    # As the network reads them: "noto's" is noto, and "3 d" is 3d.
    pieces = split_words(" ".join(rest))
    pieces += [f"{a}{b}" for a, b in itertools.pairwise(pieces)]
    return Said(
        found,
        frozenset(STYLE_WORD[piece] for piece in pieces if piece in STYLE_WORD),
        frozenset(colours[piece] for piece in pieces if piece in colours),
        unknown,
    )


DEMANDS = {
    "thing": "the thing, by a name that captions use",
    "style": "the style, and no other; none where it is left open",
    "background": "the background, and no other; none where it is left open",
    "negative": "in the negative prompt what is ruled out, and nothing else of its kind",
    "words": "no word that no caption holds",
}


def demands(order: Order, prompt: str, negative: str) -> dict[str, bool]:
    """Which of `DEMANDS` two prompts meet."""
    asked, avoided = understood(prompt, order.thing), understood(negative, order.thing)

    def fits(found: frozenset[str], ruled_out: tuple[str, ...], wanted: str) -> bool:
        if ruled_out:
            return found == set(ruled_out)
        # What both prompts say cancels, so the rest of the order may stand there too.
        nothing = not order.no_styles and not order.no_backgrounds
        return found <= (set() if nothing else {wanted})

    return {
        "thing": asked.thing,
        "style": asked.styles == ({order.style} if order.style else set()),
        "background": asked.backgrounds == ({order.background} if order.background else set()),
        "negative": fits(avoided.styles, order.no_styles, order.style)
        and fits(avoided.backgrounds, order.no_backgrounds, order.background),
        "words": not asked.unknown and not avoided.unknown,
    }


def leaves_open(order: Order, prompt: str, negative: str) -> bool:
    """Whether two prompts name no style but one that is ruled out, and that as the negative."""
    asked, avoided = understood(prompt, order.thing), understood(negative, order.thing)
    named = asked.styles or not avoided.styles <= set(order.no_styles)
    return not named and not asked.unknown and not avoided.unknown


def measure_words(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part a: the share of demands that are met."""
    met: dict[str, list[bool]] = {name: [] for name in DEMANDS}
    for given, value in zip(inputs, outputs, strict=True):
        for name, good in demands(Order(**given["_order"]), *read_prompts(value)).items():
            met[name].append(good)
    shares = {name: float(np.mean(each)) for name, each in met.items()}
    missed = [
        f"{DEMANDS[name]} ({sum(not good for good in each)} of {len(each)} orders)"
        for name, each in met.items()
        if not all(each)
    ]
    notes = (f"Missing: {'; '.join(missed)}.",) if missed else ()
    return Measurement(float(np.mean(list(shares.values()))), notes, shares)


def read_prompts(value: Any) -> tuple[str, str]:
    """The prompt and the negative prompt that `write_prompt` gave.

    Raises:
        Refused: it gave something else.
    """
    if not isinstance(value, list) or len(value) != 2:
        kind = "nothing" if value is None else f"a {type(value).__name__}"
        if isinstance(value, list):
            kind = f"{len(value)} values"
        raise Refused(f"write_prompt gives {kind}; expected (prompt, negative_prompt).")
    for name, text in zip(("prompt", "negative_prompt"), value, strict=True):
        if not isinstance(text, str):
            raise Refused(f"write_prompt gives {text!r:.40} as the {name}; expected text.")
        if len(text) > MOST_TEXT:
            raise Refused(
                f"write_prompt gives a {name} of {len(text):,} characters; the network reads 30 "
                f"tokens, and at most {MOST_TEXT} characters are taken."
            )
    return value[0], value[1]
