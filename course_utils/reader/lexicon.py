"""What a reader knows of words: the things of one vocabulary, styles, colours, plain English."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator, Set
from dataclasses import dataclass
from typing import Any, Protocol

import regex

from course_utils.data.captions import BACKGROUND_WORDS, STYLE_WORDS, spoken_name, with_article
from course_utils.data.concepts import Concept, load_concepts, subsets
from course_utils.spelling import plain, without_accents

from .slips import Slips
from .tables import table, word_list

_SIGN = r"\p{Extended_Pictographic}"
_WORD = r"[\p{L}\p{M}\p{N}]+"
# Emoji, of one sign or of several that U+200D joins; words of any script; "&"; stops.
PIECE = regex.compile(
    rf"(?P<word>{_SIGN}(?:\u200d{_SIGN})*|{_WORD}(?:'{_WORD})*|[&+])"
    r"|(?P<stop>(?<!\b(?:mrs?|ms|dr|st))\.|[,;:!?()\[\]{}|/\n#\u2013\u2014\u3001\u3002]|--)"
)
LONGEST = 5  # words of a phrase
KINDS = frozenset({"animal", "bird", "bug", "fish", "flower", "fruit", "tree", "vegetable"})
MEANT = frozenset({"thing", "near", "style", "colour", "backgrounds"})  # worth a slip put right


class Named(Protocol):
    """Anything with a name and synonyms."""

    @property
    def name(self) -> str: ...

    @property
    def synonyms(self) -> tuple[str, ...]: ...


class Words(Hashable, Protocol):
    """What a reader needs of a `Vocabulary`: what the model was taught to draw."""

    @property
    def subset(self) -> str: ...

    @property
    def concepts(self) -> tuple[Named, ...]: ...

    @property
    def styles(self) -> tuple[str, ...]: ...

    @property
    def backgrounds(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Bit:
    """Some words of a text and what they are.

    Attributes:
        kind: "thing", "near", "style", "colour", "word" (an unknown one), "stop", or a kind of
            `words/grammar.txt`.
        typed: the words as they were typed.
        value: the thing's, style's or colour's name; "" where the model has none such.
        weak: the thing that these words mean where the text names nothing else.
        own: whether a style is asked for in its own words.
        near: for "near", up to three things.
    """

    kind: str
    typed: str
    value: str = ""
    weak: str = ""
    own: bool = False
    near: tuple[str, ...] = ()


@dataclass(frozen=True)
class Token:
    """A word, an emoji or a stop; `word` is its plain spelling."""

    word: str
    typed: str
    stop: bool = False


class Lexicon:
    """Everything that words can mean to one vocabulary.

    Args:
        vocabulary: what the model was taught.
        tables: where the other words for things stand, the surest first.
        real: words that are never taken for a slip; by default those of `real_words.txt`.
    """

    def __init__(
        self,
        vocabulary: Words,
        tables: tuple[str, ...] = ("things", "wordnet"),
        real: Set[str] | None = None,
    ) -> None:
        self.names = [concept.name for concept in vocabulary.concepts]
        self._bits: dict[str, Bit] = {}
        self._weak: dict[str, str] = {}
        every = _data(vocabulary.subset)
        self._emoji = {plain(concept.char): spoken_name(concept.name) for concept in every}
        self._subgroups = {concept.name: concept.subgroup for concept in every}
        self._plurals = {plural: words[0] for plural, words in table("plurals")}
        for concept in vocabulary.concepts:
            for name in (spoken_name(concept.name), concept.name):
                self._add(name, Bit("thing", name, concept.name))
        for style, words in table("styles"):
            value = style if style in vocabulary.styles else ""
            own = words[0] == f"{style} style"
            for word in words:
                self._add(word, Bit("style", word, value, own=own))
        for colour, words in table("colours"):
            value = colour if colour in vocabulary.backgrounds else ""
            for word in (*BACKGROUND_WORDS.get(colour, ()), *words):
                self._add(word, Bit("colour", word, value))
        for kind, words in table("grammar"):
            for word in words:
                self._add(word, Bit(kind, word))
        self._add_other_words(vocabulary, tables)
        known = set(self.names)
        for line, things in table("near"):
            near = tuple(thing for thing in things if thing in known)
            for word in line.split(", ") if near else ():
                self._add(word, Bit("near", word, near[0], near=near))
        self._words = {word for phrase in (*self._bits, *self._weak) for word in phrase.split()}
        meant = [p for p, bit in self._bits.items() if bit.kind in MEANT] + list(self._weak)
        likely = (word for phrase in meant for word in phrase.split())
        self._slips = Slips(likely, word_list("real_words") if real is None else real)

    def _add_other_words(self, vocabulary: Words, tables: tuple[str, ...]) -> None:
        """What else names a thing, the surest first; what also is plain English names it weakly."""
        known = set(self.names)
        pairs = [(concept.name, concept.synonyms) for concept in vocabulary.concepts]
        pairs += [pair for source in tables for pair in table(source)]
        for name, words in pairs:
            for word in words if name in known else ():
                bit = self._add(word, Bit("thing", word, name)) if word[-1] != "*" else None
                if bit is None or bit.kind != "thing":
                    self._weak.setdefault(" ".join(_keys(word)), name)

    def _add(self, phrase: str, bit: Bit) -> Bit:
        """What a phrase means: the first that was said of it."""
        return self._bits.setdefault(" ".join(_keys(phrase)), bit)

    def as_dict(self, vocabulary: Words) -> dict[str, Any]:
        """All of it as plain lists, for a reader in another language: the playground's.

        Pairs instead of dictionaries: an object of JavaScript has names of its own and reorders
        numbers.
        """
        return {
            "things": [(n, spoken_name(n), with_article(spoken_name(n))) for n in self.names],
            "subgroups": [(n, self._subgroups[n]) for n in self.names if n in self._subgroups],
            "styles": [(s, STYLE_WORDS[s][0]) for s in vocabulary.styles if s in STYLE_WORDS],
            "backgrounds": [(colour, with_article(colour)) for colour in vocabulary.backgrounds],
            "phrases": [(p, b.kind, b.value, b.own, b.near) for p, b in self._bits.items()],
            "weak": list(self._weak.items()),
            "emoji": list(self._emoji.items()),
            "plurals": list(self._plurals.items()),
            "likely": self._slips.known,
            "real": sorted(self._slips.real),
        }

    # --- a text, bit by bit --------------------------------------------------------------------

    def bits(self, text: str, spelt: Set[str] = frozenset()) -> list[Bit]:
        """Cut a text into bits: the longest phrase that is known, from left to right.

        Args:
            text: what a person typed.
            spelt: words that are no slips of spelling, whatever they look like.
        """
        tokens = [
            token if token.word in spelt else self._mended(token) for token in self._tokens(text)
        ]
        bits, at = [], 0
        while at < len(tokens):
            bit, length = self._longest(tokens, at)
            bits.append(bit)
            at += length
        return bits

    def _tokens(self, text: str) -> Iterator[Token]:
        """Words and stops; an emoji becomes its name, with a stop before and behind it."""
        for piece in _pieces(text):
            name = self._emoji.get(piece.word) or self._emoji.get(piece.word.split("\u200d")[0])
            if name is None:
                yield piece
                continue
            yield Token("", "", stop=True)
            for word in _keys(name):
                yield Token(word, piece.typed)
            yield Token("", "", stop=True)

    def _mended(self, token: Token) -> Token:
        """The token with a slip of spelling put right."""
        if token.stop or self.knows(token.word):
            return token
        return Token(self.meant(token.word) or token.word, token.typed)

    def knows(self, word: str) -> bool:
        """Whether a word, or what it is the plural of, stands in a table."""
        return any(form in self._words for form in self._forms(word))

    def meant(self, word: str) -> str | None:
        """The word of a table that an unknown one is a slip of; None where there is none."""
        found = (self._slips.meant(form) for form in self._forms(word) if word.isascii())
        return next((word for word in found if word is not None), None)

    def _forms(self, word: str) -> list[str]:
        """A word, and what it may be the plural or the genitive of."""
        forms = [word, without_accents(word)]
        word = word.removesuffix("'s").removesuffix("s'")
        forms.append(word)
        if word in self._plurals:
            forms.append(self._plurals[word])
        elif word.endswith("s") and not word.endswith("ss") and len(word) > 3:
            forms.append(word[:-1])
            if word.endswith("ies"):
                forms.append(word[:-3] + "y")
            elif word.endswith(("ches", "shes", "xes", "sses", "zes", "oes")):
                forms.append(word[:-2])
            elif word.endswith("ves"):
                forms += [word[:-3] + "f", word[:-3] + "fe"]
        return list(dict.fromkeys(forms))

    def _longest(self, tokens: list[Token], at: int) -> tuple[Bit, int]:
        """The bit that begins at a token, and how many tokens it takes."""
        if tokens[at].stop:
            return Bit("stop", tokens[at].typed), 1
        run = tokens[at : at + LONGEST]
        ends = [i for i, token in enumerate(run) if token.stop]
        for length in range(ends[0] if ends else len(run), 0, -1):
            head = " ".join(token.word for token in run[: length - 1])
            typed = " ".join(dict.fromkeys(token.typed for token in run[:length]))
            forms = [f"{head} {form}".lstrip() for form in self._forms(run[length - 1].word)]
            if length == 2 and min(len(token.word) for token in run[:2]) > 2:
                # "pop corn", and "father christmas" the other way round
                forms += [run[0].word + run[1].word, f"{run[1].word} {run[0].word}"]
            for phrase in forms:
                bit, weak = self._bits.get(phrase), self._weak.get(phrase, "")
                if bit is not None:
                    bit = Bit(bit.kind, typed, bit.value, weak or bit.weak, bit.own, bit.near)
                    return bit, length
                if weak:
                    return Bit("word", typed, weak=weak), length
        return Bit("word", run[0].typed), 1

    def named(self, phrase: str) -> str | None:
        """The thing that a phrase names, or None."""
        bit = self._bits.get(" ".join(_keys(phrase)))
        return bit.value if bit is not None and bit.kind == "thing" else None

    def is_kind_of(self, bit: Bit, kind: Bit) -> bool:
        """Whether one thing only says more of another: "rose" in "rose flower"."""
        if not KINDS.isdisjoint(self._forms(kind.typed)) and bit.value != kind.value:
            return self._subgroups.get(bit.value, "") == self._subgroups.get(kind.value)
        return False

    # --- what is near --------------------------------------------------------------------------

    def nearest(self, words: list[str], count: int = 3) -> tuple[str, ...]:
        """The things whose names look most like one of some words: by shared pairs of letters."""
        scores: dict[str, float] = {}
        for mine in (_pairs(plain(word)) for word in words):
            for name, theirs in self._name_pairs:
                shared = 2 * len(mine & theirs) / (len(mine) + len(theirs))
                scores[name] = max(shared, scores.get(name, 0))
        best = sorted(scores, key=lambda name: -scores[name]) or self.names
        return tuple(best[:count])

    @functools.cached_property
    def _name_pairs(self) -> list[tuple[str, frozenset[str]]]:
        return [(name, _pairs(spoken_name(name))) for name in self.names]


@functools.lru_cache(maxsize=8)
def lexicon(vocabulary: Words) -> Lexicon:
    """The lexicon of a vocabulary, built once."""
    return Lexicon(vocabulary)


def _pieces(text: str) -> Iterator[Token]:
    """Words, emoji and stops of a text; other signs are passed over."""
    for found in PIECE.finditer(plain(text)):
        yield Token(found["word"] or "", found[0], stop=found["word"] is None)


def _keys(phrase: str) -> list[str]:
    """The plain words of a phrase of a table."""
    return [token.word for token in _pieces(phrase) if not token.stop]


def _pairs(word: str) -> frozenset[str]:
    """The pairs of neighbouring letters in a word, with its ends."""
    return frozenset(word[i : i + 2] for i in range(len(word) - 1)) | {f"^{word[:1]}"}


def _data(subset: str) -> tuple[Concept, ...]:
    """Every concept of the data, if a vocabulary is a subset of it; none for another model's."""
    return load_concepts() if subset in subsets() else ()
