"""Lesson 00, start here: three prompts of the learner's own."""

from __future__ import annotations

from typing import Any

from course_utils.checks.compare import short
from course_utils.checks.exercise import Exercise

EXAMPLES = (
    "a pizza, twemoji style, on a white background",
    "a pizza, 3d style, on a white background",
    "a fox, noto style, on a teal background",
)


def is_empty(prompts: Any) -> bool:
    """Whether nothing was written yet: no list, or one of blanks."""
    if prompts is None or prompts is ...:
        return True
    return isinstance(prompts, list | tuple) and not any(
        not isinstance(prompt, str) or prompt.strip() for prompt in prompts
    )


def what_is_missing(prompts: Any) -> str | None:
    """What keeps `prompts` from being three different prompts; None if nothing does."""
    if isinstance(prompts, str):
        return (
            'my_prompts is one text; expected a list of three, as in ["a dog", "a cat", "a key"].'
        )
    if not isinstance(prompts, list | tuple):
        return f'my_prompts is {short(prompts)}; expected a list of texts, as in ["a red apple"].'
    strange = [prompt for prompt in prompts if not isinstance(prompt, str)]
    if strange:
        return f"my_prompts holds {short(strange[0])}; expected texts in quotes and nothing else."
    texts = [" ".join(prompt.lower().split()) for prompt in prompts]
    missing = 3 - len({text for text in texts if text})
    if missing <= 0:
        return None
    if len([text for text in texts if text]) >= 3:
        return f"Some of your prompts are the same; {missing} of 3 different ones are missing."
    return f"{missing} of 3 prompts {'is' if missing == 1 else 'are'} missing."


EXERCISES = (
    Exercise(
        "00.my_prompts",
        EXAMPLES,
        lambda generator: [],
        hints=(
            'Each prompt stands in quotes, and commas stand between them: ["pizza", "a frog"].',
            "Take a thing, a style and a colour from the lists above.",
            'my_prompts = ["a robot, flat style, on a pink background", '
            '"a robot, 3d style, on a pink background", "a robot"]',
        ),
        difficulty=1,
        minutes=3,
        extra=what_is_missing,
        is_value=True,
        is_open=is_empty,
    ),
)
