"""Two small challenges to attack: 90 without torch, which starts in no time, and 91 with it.

Modules of graders' processes import this one, and it declares them there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from course_utils.challenges.declare import (
    Band,
    Challenge,
    FollowUp,
    Limits,
    Measurement,
    Part,
    Refused,
    find_challenge,
)
from course_utils.challenges.names import NAMES
from course_utils.grading.cohort.attempts import Attempt
from course_utils.grading.cohort.grader import Job, grade

Inputs = Sequence[Mapping[str, Any]]
SECONDS, MEGABYTES = 4.0, 300
QUESTIONS = 3  # of the oracle
LETTERS = 4  # that may be kept
STUB = "raise NotImplementedError"

# --- 90: numbers and text ------------------------------------------------------------------------


def numbers(random: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {"numbers": x.tolist(), "_expected": (2 * x).tolist()}
        for x in (random.standard_normal(n) for n in (3, 5))
    ]


def measure_double(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    errors = []
    for given, value in zip(inputs, outputs, strict=True):
        expected = given["_expected"]
        if not isinstance(value, list) or len(value) != len(expected):
            raise Refused("double gives no list as long as the one it got.")
        if not all(isinstance(v, int | float) and math.isfinite(v) for v in value):
            raise Refused("double gives a list with something else than numbers.")
        errors.append(max(abs(v - e) for v, e in zip(value, expected, strict=True)))
    return Measurement(max(errors))


def secret_sum(random: np.random.Generator) -> list[dict[str, Any]]:
    terms = random.integers(1, 1000, QUESTIONS).tolist()
    return [{"count": QUESTIONS, "_terms": terms}]


def oracles(given: Mapping[str, Any]) -> dict[str, Any]:
    def term(index: Any) -> int:
        if type(index) is not int or not 0 <= index < QUESTIONS:
            raise Refused(f"term has no number {index!r}.")
        found: int = given["_terms"][index]
        return found

    return {"term": term}


def measure_sum(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    if type(outputs[0]) is not int:
        raise Refused("total gives no whole number.")
    return Measurement(float(abs(outputs[0] - sum(inputs[0]["_terms"]))))


def digits(random: np.random.Generator) -> list[dict[str, Any]]:
    return [{"digits": random.integers(0, 10, LETTERS).tolist()}]


def kept(inputs: Inputs, outputs: Sequence[Any]) -> list[dict[str, Any]]:
    if not isinstance(outputs[0], str) or len(outputs[0]) > LETTERS:
        raise Refused(f"keep gives no text of at most {LETTERS} letters.")
    return [{"text": outputs[0]}]


def measure_kept(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    return Measurement(float(outputs[1] != inputs[0]["digits"]))


LIMITS = Limits(SECONDS, MEGABYTES, {"term": QUESTIONS})
EXACT = (Band(1e-9, 4),)
NUMBERS = Challenge(
    "90",
    "Numbers",
    ("double", "total", "keep"),
    (
        Part("a", "double", "double", numbers, measure_double, EXACT, "error", "less", "Twice.",
             limits=LIMITS),
        Part("b", "total", "total", secret_sum, measure_sum, (Band(0, 3),), "error", "less",
             oracles=oracles, limits=LIMITS),
        Part("c", "keep", "keep", digits, measure_kept, (Band(0, 3),), "error", "less",
             limits=LIMITS, then=(FollowUp("recall", kept, forget=True),)),
    ),
    pass_points=7,
    setup="import math",
)  # fmt: skip
DOUBLE = "def double(numbers):\n    return [2 * x for x in numbers]"
TOTAL = "def total(count, term):\n    return sum(term(i) for i in range(count))"
KEEP = """def keep(digits):
    return "".join(map(str, digits))

def recall(text):
    return [int(letter) for letter in text]"""
HONEST = {"double": DOUBLE, "total": TOTAL, "keep": KEEP}

# --- 91: tensors ---------------------------------------------------------------------------------


def tensors(random: np.random.Generator) -> list[dict[str, Any]]:
    return [{"x": x, "_expected": 2 * x} for x in random.standard_normal((1, 500_000))]


def measure_tensor(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    value, expected = outputs[0], inputs[0]["_expected"]
    if (
        not isinstance(value, np.ndarray)
        or value.shape != expected.shape
        or value.dtype.kind != "f"
    ):
        raise Refused("twice gives no tensor of numbers of the shape it got.")
    return Measurement(float(np.abs(value - expected).max()))


def measure_flags(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    value, expected = outputs[0], inputs[0]["x"] > 0
    if not isinstance(value, np.ndarray) or value.shape != expected.shape or value.dtype != bool:
        raise Refused("positive gives no tensor of bool of the shape it got.")
    return Measurement(float((value == expected).mean()))


TORCH_LIMITS = Limits(SECONDS, 900)
TENSORS = Challenge(
    "91",
    "Tensors",
    ("twice", "positive"),
    (
        Part("a", "twice", "twice", tensors, measure_tensor, EXACT, "error", "less",
             limits=TORCH_LIMITS),
        Part("b", "positive", "positive", tensors, measure_flags, (Band(1.0, 4),), "share",
             limits=TORCH_LIMITS),
    ),
    pass_points=8,
)  # fmt: skip
HONEST_TENSORS = {
    "twice": "def twice(x):\n    return 2 * x",
    "positive": "def positive(x):\n    return x > 0",
}
# 92: like 90, for those who use up all the time they have.
HURRIED = replace(
    NUMBERS,
    number="92",
    parts=tuple(replace(part, limits=replace(LIMITS, seconds=1.5)) for part in NUMBERS.parts),
)
CHALLENGES = {
    "90": ("red_team_numbers", NUMBERS, HONEST),
    "91": ("red_team_tensors", TENSORS, HONEST_TENSORS),
    "92": ("red_team_numbers_in_a_hurry", HURRIED, HONEST),
}


# --- where they are declared ---------------------------------------------------------------------


def declare() -> None:
    """Make them known in this process."""
    for number, (name, challenge, _) in CHALLENGES.items():
        NAMES[number] = name
        module = ModuleType(f"course_utils.challenges.{name}.ask")
        module.CHALLENGE = challenge  # type: ignore[attr-defined]
        module.__file__ = __file__
        sys.modules[module.__name__] = module
    find_challenge.cache_clear()


@contextmanager
def declared() -> Iterator[None]:
    """Known for a while, so that other tests see the real challenges alone."""
    declare()
    try:
        yield
    finally:
        for number, (name, *_) in CHALLENGES.items():
            NAMES.pop(number, None)
            sys.modules.pop(f"course_utils.challenges.{name}.ask", None)
        find_challenge.cache_clear()


def grade_tiny(order: Job) -> Attempt:
    """Grade, in a process that does not know them yet."""
    if "90" not in NAMES:
        declare()
    return grade(order)
