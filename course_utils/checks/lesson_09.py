"""Lesson 09, prompting: what is right, and what people get wrong."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.mistakes import slips
from course_utils.data.captions import BACKGROUND_WORDS, STYLE_WORDS
from course_utils.hub import DEFAULT_MODEL, find_folder
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
        "an app on the back of a cat",
        "",
    ]
    for i in torch.randperm(6, generator=generator).tolist():
        yield Case((prompts[i], set(known)))


# --- spread --------------------------------------------------------------------------------------


def spread(pictures: Tensor) -> Tensor:
    """Mean root mean square difference over all pairs of pictures."""
    pairs = itertools.combinations(pictures, 2)
    return torch.stack([(a - b).square().mean().sqrt() for a, b in pairs]).mean()


def _spread_cases(generator: torch.Generator) -> Iterator[Case]:
    for count, size in ((2, 1), (3, 2), (5, 8)):
        yield Case((torch.rand(count, 3, size, size, generator=generator) * 2 - 1,))


# --- the learner's own prompts -------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _vocabulary() -> Vocabulary:
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
    problem = _text_problem("my_prompt", value)
    if problem:
        return problem
    words = re.findall(r"\w+", value.lower())
    if not {"cat", "kitty"} & set(words):
        return "It does not name the cat. Say what to draw first."
    styles = {ways[-1] for ways in STYLE_WORDS.values()} & set(words)
    if not styles:
        return f"It names no style. The artists are {', '.join(STYLE_WORDS)}."
    if len(styles) > 1:
        return f"It names {len(styles)} styles, {' and '.join(sorted(styles))}. A picture has one."
    colours = {way for ways in BACKGROUND_WORDS.values() for way in ways} & set(words)
    if not colours:
        return f"It says nothing of the background. The colours are {', '.join(BACKGROUND_WORDS)}."
    if len(colours) > 1:
        return f"It names {len(colours)} colours, {' and '.join(sorted(colours))}. Choose one."
    return None


def negative_problem(value: Any) -> str | None:
    """What is wrong with a negative prompt against green backgrounds; None if nothing."""
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
    asked_for = {"cat", "rocket", "panda", "pizza", "frog"}  # what the page draws
    if words & (others | asked_for | {ways[-1] for ways in STYLE_WORDS.values()}):
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
            r'words = re.findall(r"\w+", ...), then [word for word in dict.fromkeys(words) if ...]',
        ),
        difficulty=1,
        minutes=5,
        mistakes=slips(
            r"""
            case_matters: `.lower()` -> ``
                You compare words as they were typed. Captions are lower case, so lower the prompt
                first: the model knows Cat, but as cat.
            split_at_spaces: `re.findall(r"\w+", prompt.lower())` -> `prompt.lower().split()`
                A comma or a full stop still hangs on a word, so 'face,' is not found. `str.split`
                cuts at spaces only; `re.findall(r'\w+', ...)` takes the words.
            repeats: `dict.fromkeys(words)` -> `words`
                A word that occurs twice is listed twice; each should come once.
            known_words: `not in` -> `in`
                You list the words that the model knows; the others are asked for.
            sorted: `dict.fromkeys(words)` -> `sorted(set(words))`
                The words are right, but sorted; they should keep the order of the prompt.
            parts_of_words: `not in vocabulary` -> `not in " ".join(vocabulary)`
                You look for the word inside of a text, where 'app' stands in 'apple'. Ask the set
                itself: `word not in vocabulary` compares whole words.
            """
        ),
    ),
    Exercise(
        "09.ladder",
        ladder,
        _ladder_cases,
        hints=(
            "Write the four texts for one example by hand, then put names where the words change.",
            'The second rung is f"a {thing}". The third is the second with a comma and the style.',
            'a = f"a {thing}"; b = f"{a}, {style} style"; c = f"{b}, ..."; the list '
            "begins with the vague order.",
        ),
        difficulty=1,
        minutes=5,
        mistakes=slips(
            """
            no_draw: `return rungs` -> `return rungs[1:]`
                The first rung is missing: the vague order, as in 'draw a cat'.
            each_alone: `{rungs[-1]}, {style}` -> `{style}`
                `{rungs[-1]}, on` -> `on`
                Each rung says only what is new. It should also keep what the one before it said.
            draw_everywhere: `f"a {thing}"` -> `f"draw a {thing}"`
                The word 'draw' belongs to the first rung only; the others are captions.
            background_first:
                `, {style} style")\\n    rungs.append(f"{rungs[-1]}, on a {colour} background")`
                -> `, on a {colour} background")\\n    rungs.append(f"{rungs[-1]}, {style} style")`
                Style comes before background: swap the last two steps.
            no_word_style: `{style} style` -> `{style}`
                The word 'style' is missing, as in '3d style'.
            one_text: `return rungs` -> `return rungs[-1]`
                You give one text; a list of four is asked for.
            """
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
            "torch.stack([(a - b).square()... for a, b in pairs]).mean()",
        ),
        difficulty=2,
        minutes=8,
        mistakes=slips(
            """
            with_itself: `combinations(pictures, 2)` -> `product(pictures, repeat=2)`
                You also compare each picture with itself. Those distances are 0 and make the mean
                too small.
            no_root: `.sqrt()` -> ``
                The root is missing: without it this is the mean square, in squared units.
            signed: `.square().mean().sqrt()` -> `.mean()`
                Differences of both signs cancel. Square them before you take the mean.
            absolute: `.square().mean().sqrt()` -> `.abs().mean()`
                You take the mean absolute difference; the root mean square is asked for.
            neighbours: `combinations(pictures, 2)` -> `pairwise(pictures)`
                You compare neighbours only; all pairs are asked for.
            to_the_mean: `combinations(pictures, 2)` -> `product(pictures, [pictures.mean(dim=0)])`
                You measure the distance to the mean picture; the distance of pairs is asked for.
            sum: `pairs]).mean()` -> `pairs]).sum()`
                You add up the pairs; the mean over pairs is asked for.
            """
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
            'my_prompt = "a cat face, ... style, on a ... background"',
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
            'my_negative = "... background"',
        ),
        difficulty=1,
        minutes=3,
        extra=negative_problem,
        is_value=True,
        is_open=_is_blank,
    ),
)
