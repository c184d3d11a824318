"""From what a person typed to a caption that a model was taught."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass

import regex

from course_utils.data.captions import STYLE_WORDS, spoken_name, with_article
from course_utils.spelling import plain

from .lexicon import Bit, Lexicon, Words, lexicon
from .scene import NOUNS, Phrase, Scene

LONGEST = 1000  # signs of a text that are read
MOST_WORDS = 8  # unknown words for which a thing that looks like them is looked for
ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+|(?<!\w)@\w+", re.IGNORECASE)
NAME = regex.compile(r"\b\p{Lu}\p{Ll}+(?: \p{Lu}\p{Ll}+)+")  # "Ada Lovelace" is no slip of spelling
SILENT = frozenset(
    {"silent", "stop", "breaks", "joins", "of", "units", "backgrounds", "wants", "resets"}
)


@dataclass(frozen=True)
class Reading:
    """How a text was read.

    Attributes:
        text: what was typed.
        caption: what the model is given instead. Without a thing it names style and background
            alone, or nothing, and the noise decides what appears.
        kept: the typed words that the caption stands for.
        left_out: the typed words that it does not say.
        replaced: pairs (typed words, what the caption says instead), where they differ.
        unsure: what a person should know before the picture: half a sentence each.
        thing, style, background: what the caption names; None where the text leaves it open.
        near: where the text names no thing that the model draws, up to three that come near.
    """

    text: str
    caption: str
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    replaced: tuple[tuple[str, str], ...] = ()
    unsure: tuple[str, ...] = ()
    thing: str | None = None
    style: str | None = None
    background: str | None = None
    near: tuple[str, ...] = ()

    def describe(self) -> str:
        """One sentence for the person who typed the text."""
        parts = [f"read as: {self.caption or 'no words, so that the noise decides'}"]
        told = [f'"{typed}" as {said}' for typed, said in self.replaced if _tells(typed, said)]
        if told:
            parts.append(f"taking {_some(told, 4)}")
        if self.left_out:
            parts.append(f"left out: {_some(self.left_out, 8)}")
        return "; ".join([*parts, *self.unsure])


def read(text: str, vocabulary: Words | None) -> Reading:
    """Read what a person typed as a caption that the model was taught.

    The longest names that are known are looked up; the last noun of the first noun phrase decides
    ("red sports car" is a car). Nothing is learned: the tables in `words/` are all there is. For
    the same reason DALL-E 3 has a language model rewrite prompts (Betker et al. 2023, "Improving
    image generation with better captions").

    Args:
        text: anything; what is beyond 1,000 signs is left out.
        vocabulary: what the model was taught; None for a model of which nobody wrote that down.

    Returns:
        The caption and what became of each word. Without a vocabulary the caption is the text.

    Raises:
        TypeError: `text` is not a text.
    """
    if not isinstance(text, str):
        raise TypeError(f"text is {text!r}; expected a text")
    if vocabulary is None:
        return Reading(text, text)
    known = lexicon(vocabulary)
    shown, unsure = text[:LONGEST], []
    if len(text) > LONGEST:
        unsure.append(f"the text is long, and only its first {LONGEST:,} signs are read")
    shown, addresses = ADDRESS.subn(" ", shown)
    if addresses:
        unsure.append("addresses are not read")
    people = {word for name in NAME.findall(shown) for word in plain(name).split()}
    scene = Scene(known.bits(shown, people))
    found = _choose(scene, known)
    return _reading(text, found, scene, known, unsure)


# --- the choice ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """The thing that is drawn, the words that name it, and what to say of the choice."""

    thing: str | None = None
    bits: tuple[Bit, ...] = ()
    unsure: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


def _choose(scene: Scene, known: Lexicon) -> _Found:
    """The one thing to draw: what is asked for before what stands around it, sure before vague."""
    order = (
        (_strong, "main"),
        (_near, "main"),
        (_strong, "break"),
        (_near, "break"),
        (_strong, "asks"),
        (_weak, "main"),
        (_weak, "break"),
    )
    for pick, role in order:
        for phrase in scene.phrases:
            if phrase.role == role:
                found = pick(phrase, known)
                if found is not None:
                    return found
    words = [bit.typed for bit in scene.bits if bit.kind in ("word", "near")]
    return _Found(near=known.nearest(words[:MOST_WORDS]))


def _strong(phrase: Phrase, known: Lexicon) -> _Found | None:
    """The last thing of a noun phrase; with its colour where that is another thing."""
    things = [i for i, bit in enumerate(phrase.bits) if bit.kind == "thing"]
    if not things:
        return None
    head = phrase.bits[things[-1]]
    if len(things) > 1 and known.is_kind_of(phrase.bits[things[-2]], head):
        head = phrase.bits[things[-2]]
    for bit in phrase.bits:
        if bit.kind == "colour":
            coloured = known.named(f"{bit.value or bit.typed} {head.typed}")
            if coloured is not None:
                return _Found(coloured, (bit, head))
    behind = phrase.bits[things[-1] + 1 :]
    unknown = [bit for bit in behind if bit.kind in ("word", "near") and not _is_doing(bit.typed)]
    if not unknown:
        return _Found(head.value, (head,))
    whole = " ".join(bit.typed for bit in (head, *unknown))
    return _Found(head.value, (head,), (f'"{whole}" is not known, only "{head.typed}"',))


def _near(phrase: Phrase, _: Lexicon) -> _Found | None:
    """What comes near the last noun of a phrase that the model was not taught."""
    bits = [bit for bit in phrase.bits if bit.kind == "near"]
    if not bits:
        return None
    bit = bits[-1]
    also = f"; as near are {_some(bit.near[1:], 2)}" if bit.near[1:] else ""
    return _Found(bit.value, (bit,), (f'"{bit.typed}" itself was not taught{also}',), bit.near)


def _weak(phrase: Phrase, _: Lexicon) -> _Found | None:
    """What words that rarely name a thing can mean: "sad" is a face where there is nothing else."""
    bits = [bit for bit in phrase.bits if bit.weak]
    return _Found(bits[-1].weak, (bits[-1],)) if bits else None


def _is_doing(word: str) -> bool:
    """Whether a word behind a noun says what it does or how, as far as its ending tells."""
    return word.endswith(("ing", "ed", "ly"))


# --- the caption ---------------------------------------------------------------------------------


def _reading(
    text: str, found: _Found, scene: Scene, known: Lexicon, unsure: Sequence[str]
) -> Reading:
    """Put the caption together, and account for each word."""
    notes = [*unsure, *found.unsure]
    style_bit, ground_bit = _style(scene, notes), _background(scene, notes)
    style = style_bit.value if style_bit else None
    background = ground_bit.value if ground_bit else None
    if scene.writes:
        notes.append("letters cannot be drawn")
    others = {
        bit.value
        for phrase in scene.phrases
        if phrase.role == "main" and not any(bit in found.bits for bit in phrase.bits)
        for bit in phrase.bits
        if bit.kind == "thing"
    }
    if found.thing and others - {found.thing}:
        notes.append("a picture shows one thing")
    parts: list[tuple[tuple[Bit, ...], str]] = []  # the typed bits, and what is said for them
    if found.thing:
        parts.append((found.bits, with_article(spoken_name(found.thing))))
    if style_bit:
        parts.append(((style_bit,), STYLE_WORDS[style_bit.value][0]))
    if ground_bit:
        parts.append(((ground_bit,), ground_bit.value))
    typed = [" ".join(dict.fromkeys(bit.typed for bit in bits)) for bits, _ in parts]
    kept = {bit.typed for bits, _ in parts for bit in bits}
    left_out = [b.typed for b in scene.bits if b.kind not in SILENT and b.typed not in kept]
    if found.thing is None:
        notes.append(_nothing(text, found.near, {bit.kind for bit in scene.bits}))
    return Reading(
        text=text,
        caption=_caption(found.thing, style, background),
        kept=tuple(typed),
        left_out=tuple(dict.fromkeys(left_out)),
        replaced=tuple(
            (mine, said) for mine, (_, said) in zip(typed, parts, strict=True) if mine != said
        ),
        unsure=tuple(notes),
        thing=found.thing,
        style=style,
        background=background,
        near=found.near,
    )


def _style(scene: Scene, notes: list[str]) -> Bit | None:
    """The style: one in its own words first, else the first that can be had."""
    can = [bit for bit in scene.styles if bit.value]
    chosen = next((bit for bit in can if bit.own), can[0] if can else None)
    if chosen is None and scene.styles:
        notes.append(f'the style "{scene.styles[0].typed}" is not known')
    if chosen is not None and any(bit.own and bit.value != chosen.value for bit in can):
        notes.append(f"of two styles it takes {chosen.value}")
    return chosen


def _background(scene: Scene, notes: list[str]) -> Bit | None:
    """The background: the first colour that can be had."""
    chosen = next((bit for bit in scene.backgrounds if bit.value), None)
    for bit in scene.backgrounds:
        if not bit.value:
            notes.append(f"no background is {bit.typed}")
    if scene.odd_backgrounds:
        notes.append(f'backgrounds are plain colours, not "{scene.odd_backgrounds[0]}"')
    if chosen is not None and any(bit.value not in ("", chosen.value) for bit in scene.backgrounds):
        notes.append(f"of two backgrounds it takes {chosen.value}")
    return chosen


def _caption(thing: str | None, style: str | None, background: str | None) -> str:
    """What training captions say of a picture, in the order of the full caption."""
    parts = [with_article(spoken_name(thing))] if thing else []
    if style:
        parts.append(STYLE_WORDS[style][0])
    ground = f"on {with_article(background)} background" if background else ""
    if style and ground:
        parts.append(ground)
    elif ground:
        parts = [f"{parts[0]} {ground}"] if parts else [f"{background} background"]
    return ", ".join(parts)


def _nothing(text: str, near: Sequence[str], kinds: Set[str]) -> str:
    """What to say where no thing is named; `kinds` are those of the text's bits."""
    such = f"try {_some([spoken_name(name) for name in near], 3, last='or')}"
    if not text.strip():
        return f"the text is empty; {such}"
    if "foreign" in kinds or any(sign.isalpha() and ord(sign) > 0x24F for sign in text):
        return f"only English is read; {such}"
    if kinds.isdisjoint(NOUNS):
        return f"it names no thing; {such}"
    return f"it names nothing that this model was taught; {such}"


def _tells(typed: str, said: str) -> bool:
    """Whether it is news that one stands for the other: "cat" for "a cat face" is none."""
    return not set(typed.split()) <= set(re.split(r"[ -]", said))


def _some(texts: Sequence[str], most: int, last: str = "") -> str:
    """A list for a sentence: the first few, and how many more there are."""
    shown = list(texts[:most])
    if last and len(shown) > 1:
        return f"{', '.join(shown[:-1])} {last} {shown[-1]}"
    more = len(texts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
