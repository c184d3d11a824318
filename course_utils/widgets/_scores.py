"""What is measured on the pictures of one prompt while somebody plays with it.

The definitions are those of `course_utils.evaluation`, for a prompt that somebody typed:
`read_prompt` finds the object, style and background that it asks for; nothing else is scored.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from course_utils.data.captions import BACKGROUND_WORDS, STYLES
from course_utils.data.emoji import BACKGROUND_NAMES
from course_utils.evaluation import metrics
from course_utils.vocabulary import words_of

if TYPE_CHECKING:
    from torch import Tensor

    from course_utils.evaluation.judge import Judge
    from course_utils.vocabulary import Vocabulary

LONGEST = 400  # letters of a prompt that are read


@dataclass(frozen=True)
class Asked:
    """What a prompt asks for, as far as the judge can look for it; None: it leaves that open."""

    concept: str | None = None
    style: str | None = None
    background: str | None = None

    def __str__(self) -> str:
        found = [
            self.concept,
            None if self.style is None else f"{self.style} style",
            None if self.background is None else f"{self.background} background",
        ]
        return ", ".join(part for part in found if part is not None) or "nothing the judge knows"


def read_prompt(prompt: str, vocabulary: Vocabulary | None) -> Asked:
    """Find out what a prompt asks for.

    Args:
        prompt: any text.
        vocabulary: whose concepts are looked for, by name or synonym; the longest match wins, the
            first of equally long ones. Words of the object's name say nothing of the background.

    Returns:
        The object, style and background that it names.
    """
    words = words_of(prompt[:LONGEST])
    concept, place = _find_concept(words, vocabulary)
    rest = [word for i, word in enumerate(words) if i not in place]
    style = next((word for word in rest if word in STYLES), None)
    names = {word: name for name, ways in BACKGROUND_WORDS.items() for word in ways}
    colours = [i for i, word in enumerate(rest) if word in names]
    # "a red fox on blue": the colour that is said of the background is the asked one.
    sure = [
        i
        for i in colours
        if rest[i + 1 : i + 2] == ["background"]
        or rest[max(0, i - 1) : i] == ["on"]
        or rest[max(0, i - 2) : i] in (["on", "a"], ["on", "an"])
    ]
    background = names[rest[(sure or colours)[0]]] if colours else None
    return Asked(concept, style, background)


def _find_concept(words: Sequence[str], vocabulary: Vocabulary | None) -> tuple[str | None, range]:
    """The concept that a prompt names, and where its words stand."""
    there = set(words)
    best: tuple[int, int] | None = None
    found: tuple[str | None, range] = (None, range(0))
    for concept in () if vocabulary is None else vocabulary.concepts:
        for text in (concept.name, *concept.synonyms):
            phrase = _phrase(text)
            if not there.issuperset(phrase):  # of hundreds of concepts, nearly all
                continue
            for start in range(len(words) - len(phrase) + 1):
                if tuple(words[start : start + len(phrase)]) != phrase:
                    continue
                rank = (-len(phrase), start)
                if best is None or rank < best:
                    best, found = rank, (concept.name, range(start, start + len(phrase)))
    return found


@functools.cache
def _phrase(text: str) -> tuple[str, ...]:
    """The words of a name or synonym; there are a few thousand of them."""
    return tuple(words_of(text))


@dataclass(frozen=True)
class Seen:
    """What the judge sees in one picture."""

    concept: str
    probability: float  # of this concept, 0 to 1
    style: str
    background: str

    def __str__(self) -> str:
        return f"{self.concept} ({self.probability:.0%}), {self.style}, on {self.background}"


@dataclass(frozen=True)
class Scores:
    """What was measured on the K pictures of one prompt.

    Attributes:
        asked: what the prompt asks for.
        seen: what the judge sees in each picture.
        probability: the judge's mean probability of the asked object, 0 to 1; None: none asked.
        saturation: mean of HSV's saturation, 0 to 1.
        diversity: mean 1 - cosine between the judge's features of two seeds; None for one picture.
        spread: mean root mean square difference of two seeds, pixels in [-1, 1]; lesson 09.
        sharpness: mean difference of neighbouring pixels, in levels of 0 to 255.
    """

    asked: Asked
    seen: tuple[Seen, ...]
    probability: float | None
    saturation: float
    diversity: float | None
    spread: float | None
    sharpness: float

    def share(self, what: str) -> float | None:
        """Share of pictures whose "concept", "style" or "background" is the asked one."""
        wanted = getattr(self.asked, what)
        if wanted is None:
            return None
        return sum(getattr(seen, what) == wanted for seen in self.seen) / len(self.seen)

    @property
    def alignment(self) -> float | None:
        """Mean of the shares of what was asked for, 0 to 1; None where nothing was."""
        shares = [self.share(what) for what in ("concept", "style", "background")]
        known = [share for share in shares if share is not None]
        return sum(known) / len(known) if known else None

    def to_json(self) -> dict[str, Any]:
        """Plain values, numbers rounded."""
        return {
            key: round(value, 5) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        } | {
            "seen": [[s.concept, round(s.probability, 4), s.style, s.background] for s in self.seen]
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Scores:
        """Read what `to_json` gave."""
        asked, seen = Asked(**data["asked"]), tuple(Seen(*one) for one in data["seen"])
        return cls(**{**data, "asked": asked, "seen": seen})


def score(pixels: Tensor, prompt: str, judge: Judge, vocabulary: Vocabulary | None) -> Scores:
    """Measure the pictures of one prompt.

    Args:
        pixels: (K, 3, 64, 64) in [-1, 1], K seeds of one prompt.
        prompt: what they were drawn for.
        judge: chooses among the concepts that it was given.
        vocabulary: of the model; what a prompt may ask for.

    Returns:
        The scores. As in the sweep of lesson 08, the style is read with the captions of the asked
        object where there is one.
    """
    import torch

    pixels = pixels.float().cpu().clamp(-1, 1)
    asked = read_prompt(prompt, vocabulary)
    index = judge.concepts.index(asked.concept) if asked.concept in judge.concepts else None
    verdicts = judge.classify(pixels, None if index is None else [index] * len(pixels))
    chances = verdicts.objects.exp()  # (K, concepts)
    colours = metrics.background_colour(pixels)[0]  # (K,)
    seen = tuple(
        Seen(
            judge.concepts[int(verdicts.concept[i])],
            float(chances[i].max()),
            STYLES[int(verdicts.style[i])],
            BACKGROUND_NAMES[int(colours[i])],
        )
        for i in range(len(pixels))
    )
    several = len(pixels) > 1
    return Scores(
        asked=asked if index is not None else Asked(None, asked.style, asked.background),
        seen=seen,
        probability=None if index is None else float(chances[:, index].mean()),
        saturation=float(metrics.saturation(pixels).mean()),
        diversity=float(metrics.diversity(verdicts.features[None])[0]) if several else None,
        spread=float(torch.pdist(pixels.flatten(1)).mean() / pixels[0].numel() ** 0.5)
        if several
        else None,
        sharpness=_sharpness(pixels),
    )


def _sharpness(pixels: Tensor) -> float:
    across = (pixels[..., 1:] - pixels[..., :-1]).abs().mean()
    down = (pixels[..., 1:, :] - pixels[..., :-1, :]).abs().mean()
    return float(127.5 * (across + down) / 2)
