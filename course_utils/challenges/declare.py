"""What a challenge is: declared, so that it knows nothing of how a learner's code is run.

A part names the function that it calls, makes the inputs from a seed, measures what came back, and
turns the measurement into points by bands. The same declaration is used for a quick look in the
notebook, for `course verify` and for grading.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from course_utils.challenges.names import NAMES


class Refused(ValueError):
    """What came back can't be measured or breaks a rule; the message goes to the learner.

    Args:
        message: one or two sentences to the learner, without anything hidden in them.
        tampering: it is an attempt at a score by other means, and not a mistake.
    """

    def __init__(self, message: str, tampering: bool = False) -> None:
        super().__init__(message)
        self.tampering = tampering


@dataclass(frozen=True)
class Band:
    """From this measurement on there are these points.

    Attributes:
        limit: the least that is needed, or the most that is allowed where less is better.
        points: for reaching it.
        name: in reports, such as "pass" or "excellent".
    """

    limit: float
    points: float
    name: str = ""


@dataclass(frozen=True)
class Measurement:
    """What a part measured.

    Attributes:
        value: one number, compared with the bands; NaN fails all of them.
        notes: what else a learner should know, a sentence each.
        details: further numbers for instructors.
    """

    value: float
    notes: tuple[str, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """The most that one call may take.

    Attributes:
        seconds: of wall time.
        megabytes: of memory of the process that runs it, torch included.
        oracle_calls: of each oracle, by its name.
    """

    seconds: float = 30.0
    megabytes: int = 3000
    oracle_calls: Mapping[str, int] = field(default_factory=dict)


Oracle = Callable[..., Any]


@dataclass(frozen=True)
class FollowUp:
    """A further call of a part, made of what came back before, as decoding needs what was encoded.

    Attributes:
        function: the name of the learner's function.
        inputs: takes the inputs and what came back of all calls so far, and makes the keyword
            arguments of the next ones. Raises `Refused` where they can't be made.
        forget: nothing that the answer remembers reaches this step: where answers run in a process
            of their own, it is a new one.
    """

    function: str
    inputs: Callable[[Sequence[Mapping[str, Any]], Sequence[Any]], Sequence[Mapping[str, Any]]]
    forget: bool = False


@dataclass(frozen=True)
class Part:
    """One thing that is measured.

    Attributes:
        id: short, "a".
        title: what it is about.
        function: the name of the learner's function.
        inputs: makes the keyword arguments of each call from a random generator; JSON and arrays.
            What begins with an underscore stays with us: the answer never sees it.
        measure: takes the inputs and what came back (arrays as NumPy arrays), one for each call.
            Raises `Refused` with a sentence for the learner.
        bands: the best first.
        quantity: what `value` is, with its unit: "judge's accuracy, 0 to 1".
        better: whether "more" or "less" is better.
        advice: what to try next when not all points were reached.
        oracles: functions that the learner's function may call by name, such as a denoiser. They
            run on our side of the boundary, so that calls are counted where nobody can change it.
            Made anew for each call from its inputs.
        limits: of each call.
        then: calls that follow, each made of what came back before; `measure` sees all calls.
    """

    id: str
    title: str
    function: str
    inputs: Callable[[np.random.Generator], Sequence[Mapping[str, Any]]]
    measure: Callable[[Sequence[Mapping[str, Any]], Sequence[Any]], Measurement]
    bands: tuple[Band, ...]
    quantity: str
    better: Literal["more", "less"] = "more"
    advice: str = ""
    oracles: Callable[[Mapping[str, Any]], Mapping[str, Oracle]] | None = None
    limits: Limits = Limits()
    then: tuple[FollowUp, ...] = ()

    def __post_init__(self) -> None:
        points = [band.points for band in self.bands]
        limits = [band.limit for band in self.bands]
        if not points or points != sorted(points, reverse=True):
            raise ValueError(f"bands of part {self.id} have points {points}; the best comes first")
        if limits != sorted(limits, reverse=self.better == "more"):
            raise ValueError(f"bands of part {self.id} have limits {limits}; the best comes first")

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of all functions that it calls."""
        return (self.function, *(step.function for step in self.then))

    @property
    def points(self) -> float:
        """The most that it is worth."""
        return self.bands[0].points

    def band(self, value: float) -> Band | None:
        """The best band that a measurement reaches; None if none."""
        for band in self.bands:
            if value >= band.limit if self.better == "more" else value <= band.limit:
                return band
        return None


@dataclass(frozen=True)
class Challenge:
    """A notebook with answers to write, and what they are worth.

    Attributes:
        number: two digits.
        title: what it is called.
        answers: the ids of the cells that a learner fills, in the order in which they run. Nothing
            else of a learner's notebook is ever run.
        parts: what is measured.
        pass_points: from here on it is passed.
        setup: code that runs before the answers: imports, and what the brief promises.
        withheld: modules of `course_utils` that an answer may not use where it is graded, because
            they are what it is asked to write. What is not public (`visibility`) never may be.
        rests_on: folders of trained weights that it measures with; what was measured with others
            says nothing of these.
        minutes: for a learner.
    """

    number: str
    title: str
    answers: tuple[str, ...]
    parts: tuple[Part, ...]
    pass_points: float
    setup: str = "import torch"
    withheld: tuple[str, ...] = ()
    rests_on: tuple[str, ...] = ()
    minutes: int = 60

    @property
    def name(self) -> str:
        """Of its notebook, "01_noise_to_order"."""
        return f"{self.number}_{NAMES[self.number]}"

    @property
    def points(self) -> float:
        """The most that it is worth."""
        return sum(part.points for part in self.parts)


def every_challenge() -> list[Challenge]:
    """All that there are."""
    return [find_challenge(number) for number in NAMES]


@functools.lru_cache
def find_challenge(name: str) -> Challenge:
    """The challenge of a number or of a notebook's name.

    Args:
        name: "1", "01", "01_noise_to_order" or "01_noise_to_order.ipynb".

    Raises:
        ValueError: there is none.
    """
    wanted = str(name).removesuffix(".ipynb")
    for number, title in NAMES.items():
        if wanted in (number, number.lstrip("0"), f"{number}_{title}", title):
            module = f"course_utils.challenges.{title}.ask"
            found: Challenge = importlib.import_module(module).CHALLENGE
            return found
    known = ", ".join(f"{number}_{title}" for number, title in NAMES.items())
    raise ValueError(f"challenge is {name!r}; expected one of {known}")
