"""The order in a text: noun phrases, the styles and backgrounds asked for, letters to write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .lexicon import Bit

NOUNS = frozenset({"thing", "near", "word"})


@dataclass
class Phrase:
    """A noun phrase: words in a row, and what stands before them: "main", "break", "without"."""

    role: str
    bits: list[Bit] = field(default_factory=list)


class Scene:
    """The bits of a text, sorted: noun phrases, styles, backgrounds, letters to be written.

    Attributes:
        bits: all of them.
        phrases: the noun phrases in their order.
        styles, backgrounds: bits of styles, and of colours that are a background's.
        odd_backgrounds: words for backgrounds that are no colour, such as "starry".
        writes: whether letters are asked for.
    """

    def __init__(self, bits: Sequence[Bit]) -> None:
        self.bits = list(bits)
        self.writes = False
        self.odd_backgrounds: list[str] = []
        self.backgrounds: list[Bit] = []
        rest = self._take_writing(self.bits)
        rest = self._take_backgrounds(rest)
        self.styles = [bit for bit in rest if bit.kind == "style"]
        self.phrases = self._phrases(bit for bit in rest if bit.kind != "style")

    def _take_writing(self, bits: list[Bit]) -> list[Bit]:
        """Take out what is to be written: from "saying" to the next stop."""
        kept, skipping = [], False
        for bit in bits:
            skipping = (skipping and bit.kind != "stop") or bit.kind == "writing"
            self.writes |= bit.kind == "writing"
            if not skipping:
                kept.append(bit)
        return kept

    def _take_backgrounds(self, bits: list[Bit]) -> list[Bit]:
        """Take out the colours that are a background's, and the words around them."""
        kept: list[Bit] = []
        at = 0
        while at < len(bits):
            bit = bits[at]
            behind = [b for b in bits[at + 1 :] if b.kind != "silent"]
            after = behind[0].kind if behind else "stop"
            before = [b for b in kept if b.kind != "silent"]
            if bit.kind == "backgrounds":
                colour = self._colour_after(bits, at)
                odd = kept[-1] if kept and kept[-1].kind in (*NOUNS, "describing") else None
                if colour is not None:
                    self.backgrounds.append(bits[colour])
                    at = colour
                elif odd is not None and (odd.kind != "thing" or self._other_thing(bits, odd)):
                    self.odd_backgrounds.append(odd.typed)
                    kept.pop()
                _drop_lead(kept)
            elif bit.kind == "colour" and after == "backgrounds":
                self.backgrounds.append(bit)
                _drop_lead(kept)
                at = bits.index(behind[0], at)
            elif (
                bit.kind == "colour"
                and after not in (*NOUNS, "describing", "colour", "numbers", "units")
                and before
                and before[-1].kind == "breaks"
            ):  # "on blue"
                self.backgrounds.append(bit)
                _drop_lead(kept)
            else:
                kept.append(bit)
            at += 1
        return kept

    @staticmethod
    def _colour_after(bits: list[Bit], at: int) -> int | None:
        """Where the colour of "background: green" or "the background is green" stands."""
        for place in range(at + 1, min(at + 4, len(bits))):
            bit = bits[place]
            if bit.kind == "colour":
                ends = place + 1 == len(bits) or bits[place + 1].kind not in (*NOUNS, "backgrounds")
                return place if ends else None
            if bit.kind != "silent" and bit.typed not in (":", "in", "of"):
                return None
        return None

    @staticmethod
    def _other_thing(bits: list[Bit], this: Bit) -> bool:
        return any(bit.kind == "thing" and bit is not this for bit in bits)

    def _phrases(self, bits: Iterable[Bit]) -> list[Phrase]:
        """Cut what is left into noun phrases."""
        phrases = [Phrase("main")]
        for bit in bits:
            role = phrases[-1].role
            if bit.kind in (*NOUNS, "describing", "colour", "numbers"):
                nouns = any(b.kind in NOUNS for b in phrases[-1].bits)
                if nouns and bit.kind == "numbers":
                    phrases.append(Phrase("break"))
                phrases[-1].bits.append(bit)
            elif bit.kind == "wants":
                for phrase in phrases:
                    phrase.role = "asks"
                phrases.append(Phrase("main"))
            elif bit.kind in ("stop", "asking", "resets"):
                phrases.append(Phrase("main"))
            elif bit.kind in ("joins", "of", "units"):
                phrases.append(Phrase(role))
            elif bit.kind == "breaks":
                phrases.append(Phrase("break"))
            elif bit.kind == "without":
                phrases.append(Phrase("without"))
            elif any(b.kind in NOUNS for b in phrases[-1].bits):  # "the robot holds | a balloon"
                phrases.append(Phrase("break"))
        return [phrase for phrase in phrases if phrase.bits]


def _drop_lead(kept: list[Bit]) -> None:
    """Take "on a", "with a light", "in front of a" off the end."""
    while kept and kept[-1].kind in ("silent", "breaks"):
        kept.pop()
