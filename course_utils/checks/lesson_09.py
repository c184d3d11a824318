"""Lesson 09, prompting: what is right, and what people get wrong."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_utils.checks.exercise import Case, Exercise, Mistake

if TYPE_CHECKING:
    from course_utils.vocabulary import Vocabulary

# --- ladder --------------------------------------------------------------------------------------


def ladder(thing: str, style: str, colour: str) -> list[str]:
    """Four prompts, each of which says one thing more than the one before it."""
    rungs = [f"draw a {thing}", f"a {thing}"]
    rungs.append(f"{rungs[-1]}, {style} style")
    rungs.append(f"{rungs[-1]}, on a {colour} background")
    return rungs


def _ladder_cases(generator: torch.Generator) -> Iterator[Case]:
    things = ["cat", "rocket", "pizza", "red heart", "panda"]
    styles, colours = ["3d", "flat", "noto", "twemoji"], ["blue", "white", "green", "pink"]
    order = torch.randperm(5, generator=generator).tolist()
    for i in order[:3]:
        yield Case((things[i], styles[i % 4], colours[(i + 1) % 4]))


def _ladder_without_draw(thing: str, style: str, colour: str) -> list[str]:
    return ladder(thing, style, colour)[1:]


def _ladder_each_alone(thing: str, style: str, colour: str) -> list[str]:
    return [f"draw a {thing}", f"a {thing}", f"{style} style", f"on a {colour} background"]


def _ladder_draw_everywhere(thing: str, style: str, colour: str) -> list[str]:
    first, *others = ladder(thing, style, colour)
    return [first, *(f"draw {rung}" for rung in others)]


def _ladder_background_first(thing: str, style: str, colour: str) -> list[str]:
    start = f"a {thing}, on a {colour} background"
    return [f"draw a {thing}", f"a {thing}", start, f"{start}, {style} style"]


def _ladder_without_word_style(thing: str, style: str, colour: str) -> list[str]:
    return [rung.replace(" style", "") for rung in ladder(thing, style, colour)]


def _ladder_one_text(thing: str, style: str, colour: str) -> str:
    return ladder(thing, style, colour)[-1]


# --- unknown words -------------------------------------------------------------------------------


def unknown_words(prompt: str, vocabulary: set[str]) -> list[str]:
    """The words of a prompt that the vocabulary lacks, each once, in their order."""
    words = re.findall(r"\w+", prompt.lower())
    return [word for word in dict.fromkeys(words) if word not in vocabulary]


def _unknown_cases(generator: torch.Generator) -> Iterator[Case]:
    known = {"a", "cat", "face", "3d", "style", "on", "blue", "background", "red", "apple"}
    prompts = [
        "draw a Cat",
        "a cat face, 3d style, on a blue background",
        "A zebra, a zebra and a Red apple.",
        "masterpiece, best quality, a cat face; masterpiece",
        "",
    ]
    for i in torch.randperm(5, generator=generator).tolist():
        yield Case((prompts[i], set(known)))


def _unknown_case_matters(prompt: str, vocabulary: set[str]) -> list[str]:
    return [w for w in dict.fromkeys(re.findall(r"\w+", prompt)) if w not in vocabulary]


def _unknown_split_only(prompt: str, vocabulary: set[str]) -> list[str]:
    return [word for word in dict.fromkeys(prompt.lower().split()) if word not in vocabulary]


def _unknown_repeats(prompt: str, vocabulary: set[str]) -> list[str]:
    return [word for word in re.findall(r"\w+", prompt.lower()) if word not in vocabulary]


def _unknown_is_known(prompt: str, vocabulary: set[str]) -> list[str]:
    words = re.findall(r"\w+", prompt.lower())
    return [word for word in dict.fromkeys(words) if word in vocabulary]


def _unknown_sorted(prompt: str, vocabulary: set[str]) -> list[str]:
    return sorted(unknown_words(prompt, vocabulary))


# --- spread --------------------------------------------------------------------------------------


def spread(pictures: Tensor) -> Tensor:
    """Mean root mean square difference over all pairs of pictures."""
    pairs = itertools.combinations(pictures, 2)
    return torch.stack([(a - b).square().mean().sqrt() for a, b in pairs]).mean()


def _spread_cases(generator: torch.Generator) -> Iterator[Case]:
    for count, size in ((2, 1), (3, 2), (5, 8)):
        yield Case((torch.rand(count, 3, size, size, generator=generator) * 2 - 1,))


def _spread_with_itself(pictures: Tensor) -> Tensor:
    a, b = pictures[:, None], pictures[None]
    return (a - b).square().mean(dim=(2, 3, 4)).sqrt().mean()


def _spread_without_root(pictures: Tensor) -> Tensor:
    pairs = itertools.combinations(pictures, 2)
    return torch.stack([(a - b).square().mean() for a, b in pairs]).mean()


def _spread_signed(pictures: Tensor) -> Tensor:
    pairs = itertools.combinations(pictures, 2)
    return torch.stack([(a - b).mean() for a, b in pairs]).mean()


def _spread_absolute(pictures: Tensor) -> Tensor:
    pairs = itertools.combinations(pictures, 2)
    return torch.stack([(a - b).abs().mean() for a, b in pairs]).mean()


def _spread_neighbours(pictures: Tensor) -> Tensor:
    return (pictures[1:] - pictures[:-1]).square().mean(dim=(1, 2, 3)).sqrt().mean()


def _spread_to_mean(pictures: Tensor) -> Tensor:
    return (pictures - pictures.mean(dim=0)).square().mean(dim=(1, 2, 3)).sqrt().mean()


def _spread_sum(pictures: Tensor) -> Tensor:
    pairs = itertools.combinations(pictures, 2)
    return torch.stack([(a - b).square().mean().sqrt() for a, b in pairs]).sum()


# --- the learner's own prompts -------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _vocabulary() -> Vocabulary:
    from course_utils.hub import DEFAULT_MODEL, find_folder
    from course_utils.vocabulary import Vocabulary

    found = Vocabulary.load(find_folder(DEFAULT_MODEL))
    assert found is not None, "the bundled weights say which words they know"
    return found


def _is_blank(value: Any) -> bool:
    return value is None or value is ... or (isinstance(value, str) and not value.strip())


def _text_problem(name: str, value: Any) -> str | None:
    if not isinstance(value, str):
        return f'{name} is of type {type(value).__name__}; expected a text, as in "a cat".'
    unknown = [word.word for word in _vocabulary().unknown_words(value)]
    if unknown:
        return f"The model has never met: {', '.join(unknown)}. Say it with words that it knows."
    return None


def prompt_problem(value: Any) -> str | None:
    """What a detailed prompt for a cat still lacks; None if nothing."""
    from course_utils.data.captions import BACKGROUND_WORDS, STYLE_WORDS

    problem = _text_problem("my_prompt", value)
    if problem:
        return problem
    words = set(re.findall(r"\w+", value.lower()))
    if not words & {"cat", "kitty"}:
        return "It does not name the cat. Say what to draw first."
    if not words & {ways[-1] for ways in STYLE_WORDS.values()}:
        return f"It names no style. The artists are {', '.join(STYLE_WORDS)}."
    if not words & {way for ways in BACKGROUND_WORDS.values() for way in ways}:
        return f"It says nothing of the background. The colours are {', '.join(BACKGROUND_WORDS)}."
    return None


def negative_problem(value: Any) -> str | None:
    """What is wrong with a negative prompt against green backgrounds; None if nothing."""
    from course_utils.data.captions import BACKGROUND_WORDS, STYLE_WORDS

    words = set(re.findall(r"\w+", str(value).lower()))
    if words & {"no", "not", "without"}:
        return (
            "A negative prompt names what you do not want, without a no: the minus sign is already "
            "in the formula."
        )
    problem = _text_problem("my_negative", value)
    if problem:
        return problem
    if "green" not in words:
        return "The task is to get away from green backgrounds. Which words do their captions hold?"
    others = {way for ways in BACKGROUND_WORDS.values() for way in ways} - {"green"}
    if words & (others | {ways[-1] for ways in STYLE_WORDS.values()}):
        return "It also names something that you do want to see; that would be pushed away too."
    return None


EXERCISES = (
    Exercise(
        "09.unknown_words",
        unknown_words,
        _unknown_cases,
        hints=(
            "Three steps: lower case, cut into words, keep those that the vocabulary lacks.",
            r'`re.findall(r"\w+", text)` gives the words without commas and stops. '
            "`dict.fromkeys(words)` drops repeats and keeps the order.",
            r'words = re.findall(r"\w+", prompt.lower()), then '
            "[word for word in dict.fromkeys(words) if word not in vocabulary]",
        ),
        difficulty=1,
        minutes=5,
        mistakes=(
            Mistake(
                "You compare words as they were typed. Captions are lower case, so lower the "
                "prompt first: the model knows Cat, but as cat.",
                _unknown_case_matters,
            ),
            Mistake(
                "A comma or a full stop still hangs on a word, so 'face,' is not found. "
                r"`str.split` cuts at spaces only; `re.findall(r'\w+', ...)` takes the words.",
                _unknown_split_only,
            ),
            Mistake(
                "A word that occurs twice is listed twice; each should come once.", _unknown_repeats
            ),
            Mistake(
                "You list the words that the model knows; the others are asked for.",
                _unknown_is_known,
            ),
            Mistake(
                "The words are right, but sorted; they should keep the order of the prompt.",
                _unknown_sorted,
            ),
        ),
    ),
    Exercise(
        "09.ladder",
        ladder,
        _ladder_cases,
        hints=(
            "Write the four texts for one example by hand, then put names where the words change.",
            'The second rung is f"a {thing}". The third is the second with a comma and the style.',
            'a = f"a {thing}"; b = f"{a}, {style} style"; '
            'c = f"{b}, on a {colour} background"; return [f"draw {a}", a, b, c]',
        ),
        difficulty=1,
        minutes=5,
        mistakes=(
            Mistake(
                "The first rung is missing: the vague order, as in 'draw a cat'.",
                _ladder_without_draw,
            ),
            Mistake(
                "Each rung says only what is new. It should also keep what the one before it said.",
                _ladder_each_alone,
            ),
            Mistake(
                "The word 'draw' belongs to the first rung only; the others are captions.",
                _ladder_draw_everywhere,
            ),
            Mistake(
                "Style comes before background: swap the last two steps.", _ladder_background_first
            ),
            Mistake("The word 'style' is missing, as in '3d style'.", _ladder_without_word_style),
            Mistake("You give one text; a list of four is asked for.", _ladder_one_text),
        ),
    ),
    Exercise(
        "09.spread",
        spread,
        _spread_cases,
        hints=(
            "The distance of two pictures is one number. How many pairs are there, and which do "
            "not count?",
            "`itertools.combinations(pictures, 2)` gives each pair once, none with itself.",
            "torch.stack([(a - b).square().mean().sqrt() for a, b in pairs]).mean()",
        ),
        difficulty=2,
        minutes=8,
        mistakes=(
            Mistake(
                "You also compare each picture with itself. Those distances are 0 and make the "
                "mean too small.",
                _spread_with_itself,
            ),
            Mistake(
                "The root is missing: without it this is the mean square, in squared units.",
                _spread_without_root,
            ),
            Mistake(
                "Differences of both signs cancel. Square them before you take the mean.",
                _spread_signed,
            ),
            Mistake(
                "You take the mean absolute difference; the root mean square is asked for.",
                _spread_absolute,
            ),
            Mistake("You compare neighbours only; all pairs are asked for.", _spread_neighbours),
            Mistake(
                "You measure the distance to the mean picture; the distance of pairs is asked for.",
                _spread_to_mean,
            ),
            Mistake("You add up the pairs; the mean over pairs is asked for.", _spread_sum),
        ),
        keeps_dtype=False,
    ),
    Exercise(
        "09.my_prompt",
        "a cat face, 3d style, on a blue background",
        lambda generator: [],
        hints=(
            "What does the artist need to know that 'draw a cat' leaves open?",
            "The captions of this model name a thing, a style and a background.",
            'my_prompt = "a cat face, flat style, on a green background"',
        ),
        difficulty=1,
        minutes=3,
        extra=prompt_problem,
        is_value=True,
        is_open=_is_blank,
    ),
    Exercise(
        "09.my_negative",
        "green background",
        lambda generator: [],
        hints=(
            "Which words stand in the captions of the pictures that you do not want?",
            "Name them plainly. The formula subtracts them, so no 'no' is needed.",
            'my_negative = "on a green background"',
        ),
        difficulty=1,
        minutes=3,
        extra=negative_problem,
        is_value=True,
        is_open=_is_blank,
    ),
)
