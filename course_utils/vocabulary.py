"""The words of a model: those of its training captions, and those of a prompt that it never met."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import regex

from course_utils.data import load_concepts, subsets
from course_utils.files import write_atomically
from course_utils.spelling import plain


@dataclass(frozen=True)
class UnknownWord:
    """A word of a prompt that no training caption held, and known ones near it, best first."""

    word: str
    suggestions: tuple[str, ...]

    def __str__(self) -> str:
        near = f" (near: {', '.join(self.suggestions)})" if self.suggestions else ""
        return f'"{self.word}"{near}'


@dataclass(frozen=True)
class Concept:
    """One thing that the model can draw: its name and other words for it."""

    name: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """What the captions of a model's training data said: the file `concepts.json`.

    Attributes:
        subset: name of the data's subset, see `course_utils.data`.
        concepts: everything the model can draw.
        styles, backgrounds: the art styles and background colours.
        held_out: pairs (concept, style) that were never trained on.
        words: every word of the training captions.
        kind: "emoji", one centred thing on a plain colour, or "scenes".
    """

    subset: str
    concepts: tuple[Concept, ...]
    styles: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    held_out: tuple[tuple[str, str], ...] = ()
    words: frozenset[str] = field(default_factory=frozenset)
    kind: str = "emoji"

    def __post_init__(self) -> None:
        given = {word for text in self.words for word in words_of(text)}
        named = {word for c in self.concepts for t in (c.name, *c.synonyms) for word in words_of(t)}
        object.__setattr__(self, "words", frozenset(given | named))

    @property
    def is_read(self) -> bool:
        """Whether prompts are read before they are drawn; captions of scenes are as people type."""
        return self.kind == "emoji"

    def knows(self, word: str) -> bool:
        """Whether a training caption held the word; "cat's" counts as "cat"."""
        return word in self.words or word.removesuffix("'s") in self.words

    def unknown_words(self, prompt: str) -> list[UnknownWord]:
        """The prompt's words that no training caption held, in their order."""
        unknown = [word for word in dict.fromkeys(words_of(prompt)) if not self.knows(word)]
        related = _concepts_by_keyword(self.subset) if unknown else {}
        names = [concept.name for concept in self.concepts]
        found = []
        for word in unknown:
            same = [*related.get(word, ()), *related.get(word.removesuffix("s"), ())]
            near = difflib.get_close_matches(word, [*names, *sorted(self.words)], n=3, cutoff=0.75)
            found.append(UnknownWord(word, tuple(dict.fromkeys([*same, *near]))[:3]))
        return found

    def notes(self, prompt: str) -> list[str]:
        """One sentence on the unknown words, or none."""
        words, unknown = dict.fromkeys(words_of(prompt)), self.unknown_words(prompt)
        if not words:
            return ["the prompt holds no word, so the model has nothing to go by; it draws anyway"]
        if not unknown:
            return []
        listed = first_few([str(word) for word in unknown], 8, quote=False)
        if len(unknown) < len(words):
            them = "it" if len(unknown) == 1 else "them"
            return [
                f"the model has never met {listed}; it reads {them} piece by piece and may take a "
                f"piece for another word, so the prompt says more without {them}"
            ]
        examples = ", ".join(concept.name for concept in self.concepts[:4])
        return [
            f"the model knows no word of this prompt: {listed}. It was taught English names of "
            f"{len(self.concepts)} things, such as {examples}; it draws anyway"
        ]

    def save(self, folder: str | Path) -> None:
        """Write `concepts.json` into `folder`."""
        data = dataclasses.asdict(self) | {"words": sorted(self.words)}
        text = json.dumps(data, ensure_ascii=False, indent=1) + "\n"
        write_atomically(Path(folder) / "concepts.json", text.encode())

    @classmethod
    def load(cls, folder: str | Path) -> Vocabulary | None:
        """Read `concepts.json` of a pipeline folder; None where there is none.

        Raises:
            WeightsError: the file is damaged.
        """
        path = Path(folder) / "concepts.json"
        if not path.is_file():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                subset=data["subset"],
                concepts=tuple(
                    Concept(c["name"], tuple(c.get("synonyms", ()))) for c in data["concepts"]
                ),
                styles=tuple(data.get("styles", ())),
                backgrounds=tuple(data.get("backgrounds", ())),
                held_out=tuple((str(name), str(style)) for name, style in data.get("held_out", ())),
                words=frozenset(data.get("words", ())),
                kind=str(data.get("kind", "emoji")),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            from course_utils.models.base import WeightsError  # torch, which the page goes without

            raise WeightsError(f"{path} is not a list of concepts ({error!r})") from error


def words_of(text: str) -> list[str]:
    """The words of a text, spelt plainly: runs of letters and digits, and each emoji as a word."""
    letters = r"[\p{L}\p{M}\p{N}]+"
    emoji = r"\p{Extended_Pictographic}(?:\u200D\p{Extended_Pictographic})*"
    return regex.findall(rf"{letters}(?:'{letters})*|{emoji}", plain(text))


def _concepts_by_keyword(subset: str) -> dict[str, list[str]]:
    """Keyword or emoji to the names of the concepts it is attached to, most typical first."""
    if subset not in subsets():
        return {}
    ranked: dict[str, list[tuple[int, str]]] = {}
    for concept in load_concepts(subset):
        for rank, word in enumerate((plain(concept.char), *concept.keywords)):
            ranked.setdefault(word, []).append((rank, concept.name))
    return {word: [name for _, name in sorted(names)] for word, names in ranked.items()}


def first_few(texts: Sequence[str], most: int, quote: bool = True) -> str:
    """A list for a sentence: the first few, and how many more there are."""
    shown = [f'"{text}"' if quote else text for text in texts[:most]]
    more = len(texts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
