"""Call an answer, measure what it gives, and turn bands into points."""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from course_utils.challenges.declare import Challenge, Limits, Oracle, Part, Refused, find_challenge
from course_utils.checks.show import Note, show
from course_utils.grading.answers.boundary import BoundaryError, to_bytes
from course_utils.grading.answers.callers import Caller, InKernel, Outcome
from course_utils.progress import Progress

MOST_RETURNED = 256 * 2**20  # bytes of what all calls of a part give together

PartVerdict = Literal[
    "pass",
    "partial",
    "wrong",
    "error",
    "refused",
    "tampered",
    "timeout",
    "out of time",
    "memory",
    "killed",
    "not attempted",
]


@dataclass(frozen=True)
class PartResult:
    """What one part gave.

    Attributes:
        id, title: of the part.
        points, most: reached, and possible.
        verdict: "pass" where all points were reached.
        value: what was measured; None if nothing was.
        message: a sentence to the learner.
        notes: further sentences.
        advice: what to try next; "" where all points were reached.
        seconds: of the longest call.
        oracle_calls: the most in one call.
        details: further numbers.
    """

    id: str
    title: str
    points: float
    most: float
    verdict: PartVerdict
    value: float | None
    message: str
    notes: tuple[str, ...] = ()
    advice: str = ""
    seconds: float = 0.0
    oracle_calls: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a challenge gave.

    Attributes:
        challenge: its name.
        seed: what the inputs came from; the same seed gives the same inputs.
        parts: in their order.
        passed: whether the points reach the challenge's mark.
    """

    challenge: str
    seed: str
    parts: tuple[PartResult, ...]
    passed: bool

    @property
    def points(self) -> float:
        """Reached in all."""
        return sum(part.points for part in self.parts)

    @property
    def most(self) -> float:
        """Possible in all."""
        return sum(part.most for part in self.parts)

    @property
    def attempted(self) -> bool:
        """Whether anything was written."""
        return any(part.verdict != "not attempted" for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            **asdict(self),
            "points": self.points,
            "most": self.most,
            "attempted": self.attempted,
        }

    def table(self) -> str:
        """For people, in a terminal."""
        lines = [f"Challenge {self.challenge}"]
        for part in self.parts:
            lines.append(f"  {part.id}  {part.points:g} of {part.most:g}  {part.title}")
            texts = [part.message, *part.notes]
            if part.advice:
                texts.append(f"Next: {part.advice}")
            lines += [f"       {text}" for text in texts]
        if not self.attempted:
            lines.append("Not attempted: no answer is written yet.")
        else:
            end = "passed" if self.passed else "not passed yet"
            lines.append(f"{self.points:g} of {self.most:g} points: {end}.")
        return "\n".join(lines)


def verify(
    challenge: Challenge,
    caller: Caller,
    seed: str | None = None,
    on_part: Callable[[int, Part], object] | None = None,
    seconds: float = math.inf,
) -> Result:
    """Verify an answer.

    Args:
        challenge: what was asked.
        caller: runs the answer.
        seed: fixes the inputs; fresh ones if None.
        on_part: called with the number and the part before each.
        seconds: that all calls together may take; parts beyond that are "out of time".
    """
    clock = _Clock(caller, time.monotonic() + seconds, seconds)
    seed = secrets.token_hex(8) if seed is None else seed
    results = []
    for number, part in enumerate(challenge.parts):
        if on_part is not None:
            on_part(number, part)
        results.append(verify_part(part, clock, generator(seed, challenge.number, part.id)))
    points = sum(result.points for result in results)
    return Result(challenge.name, seed, tuple(results), points >= challenge.pass_points)


class _Clock:
    """A caller with an end: beyond it nothing is called."""

    def __init__(self, caller: Caller, deadline: float, seconds: float) -> None:
        self.caller, self.deadline, self.seconds = caller, deadline, seconds
        self.sees_hidden = getattr(caller, "sees_hidden", False)

    def call(
        self,
        function: str,
        arguments: Mapping[str, Any],
        oracles: Mapping[str, Oracle],
        limits: Limits,
    ) -> Outcome:
        """Call one function, within what is left."""
        left = self.deadline - time.monotonic()
        if left > limits.seconds:
            return self.caller.call(function, arguments, oracles, limits)
        found = Outcome("timeout")
        if left > 0:
            found = self.caller.call(function, arguments, oracles, replace(limits, seconds=left))
        if found.status != "timeout":
            return found
        text = f"All parts together took more than {self.seconds:,.0f} seconds; this one was ended."
        return replace(found, status="out of time", text=text)

    def forget(self) -> None:
        """As the caller does."""
        if hasattr(self.caller, "forget"):
            self.caller.forget()


def generator(*words: str) -> np.random.Generator:
    """A random generator that depends on all of these words."""
    digest = hashlib.sha256("\x1f".join(words).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def verify_part(part: Part, caller: Caller, random: np.random.Generator) -> PartResult:
    """Call a part's function on its inputs, and measure."""
    function, inputs = part.function, [dict(arguments) for arguments in part.inputs(random)]
    outcomes: list[Outcome] = []
    refusal: Refused | None = None

    def call_all() -> bool:
        """Call the function on the inputs that had no call yet; whether all gave a value."""
        for arguments in inputs[len(outcomes) :]:
            oracles = part.oracles(arguments) if part.oracles is not None else {}
            given = arguments if getattr(caller, "sees_hidden", False) else visible(arguments)
            outcomes.append(caller.call(function, given, oracles, part.limits))
            if outcomes[-1].status == "value" and _bytes_of(outcomes) > MOST_RETURNED:
                text = (
                    f"{function} gives more than {MOST_RETURNED / 2**20:.0f} MB in all its calls."
                )
                outcomes[-1] = replace(outcomes[-1], status="refused", value=None, text=text)
            if outcomes[-1].status != "value":
                return False
        return True

    good = call_all()
    for step in part.then:
        if not good:
            break
        try:
            more = step.inputs(inputs, [outcome.value for outcome in outcomes])
            _can_be_sent(more, function, step.function)
        except Refused as refused:
            refusal = refused
            break
        if step.forget and hasattr(caller, "forget"):
            caller.forget()
        function = step.function
        inputs += [dict(arguments) for arguments in more]
        good = call_all()
    calls: dict[str, int] = {}
    for outcome in outcomes:
        for name, count in outcome.oracle_calls.items():
            calls[name] = max(calls.get(name, 0), count)

    def result(verdict: PartVerdict, points: float, message: str, **more: Any) -> PartResult:
        return PartResult(
            part.id,
            part.title,
            points,
            part.points,
            verdict,
            message=message,
            seconds=max((outcome.seconds for outcome in outcomes), default=0.0),
            oracle_calls=calls,
            **more,
        )

    if outcomes[-1].status != "value":
        verdict, message = _failure(part, function, outcomes[-1])
        advice = "" if verdict == "not attempted" else part.advice
        return result(verdict, 0.0, message, value=None, advice=advice)
    try:
        if refusal is not None:
            raise refusal
        measured = part.measure(inputs, [outcome.value for outcome in outcomes])
    except Refused as refusal:
        kind: PartVerdict = "tampered" if refusal.tampering else "wrong"
        return result(kind, 0.0, str(refusal), value=None, advice=part.advice)
    band = None if math.isnan(measured.value) else part.band(measured.value)
    points = 0.0 if band is None else band.points
    best = points >= part.points
    message = f"{part.quantity}: {measured.value:.4g}. {_band_words(part, band)}"
    return result(
        "pass" if best else "partial" if points > 0 else "wrong",
        points,
        message,
        value=measured.value,
        notes=tuple(measured.notes),
        advice="" if best else part.advice,
        details=dict(measured.details),
    )


def _bytes_of(outcomes: Sequence[Outcome]) -> int:
    """What the arrays take that came back so far."""

    def size(value: Any) -> int:
        if isinstance(value, np.ndarray):
            return value.nbytes
        if isinstance(value, dict):
            value = value.values()
        elif not isinstance(value, list):
            return 0
        return sum(map(size, value))

    return sum(size(outcome.value) for outcome in outcomes)


def _can_be_sent(inputs: Sequence[Mapping[str, Any]], before: str, after: str) -> None:
    """Refuse what an answer gave for its own next call, and what is too much for that."""
    for arguments in inputs:
        try:
            to_bytes({"arguments": visible(arguments)})
        except BoundaryError as error:
            raise Refused(f"What {before} gives can't be handed to {after}: {error}.") from None


def visible(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer is given: names that begin with an underscore are for `measure` alone."""
    return {key: value for key, value in arguments.items() if not key.startswith("_")}


def _band_words(part: Part, reached: Any) -> str:
    """What the next band asks for."""
    index = part.bands.index(reached) if reached is not None else len(part.bands)
    if index == 0:
        return "Full marks."
    following = part.bands[index - 1]
    than = "at least" if part.better == "more" else "at most"
    points = "1 point" if following.points == 1 else f"{following.points:g} points"
    return f"{than.capitalize()} {following.limit:.4g} gives {points}."


def _failure(part: Part, name: str, outcome: Outcome) -> tuple[PartVerdict, str]:
    """A verdict and its sentence for a call of `name` that gave no value."""
    limits = part.limits
    if outcome.status == "open":
        return "not attempted", f"Not attempted: {name} is not written yet."
    if outcome.status == "out of time":
        return "out of time", outcome.text
    if outcome.status == "timeout":
        return "timeout", f"{name} did not come back within {limits.seconds:g} seconds."
    if outcome.status == "memory":
        return "memory", f"{name} took more than {limits.megabytes:,} MB of memory."
    if outcome.status == "refused":
        return "refused", outcome.text
    if outcome.status == "killed":
        return "killed", f"The process that runs {name} ended before it gave an answer."
    where = f" in {outcome.line}" if outcome.line else ""
    hint = next((hint for kind, hint in HINTS if kind in outcome.text), "")
    return "error", f"{name} fails{where}: {outcome.text}{hint}"


HINTS = (
    (
        "NameError: name '",
        ". Only answer cells count: what another cell imports or defines is not there, so the "
        "answer cell has to do it",
    ),
    (
        "SyntaxError: ",
        ". An answer cell is Python alone; commands of notebooks (%magic, !command, name?) are not",
    ),
)
"""What an error of an answer often comes from."""


def quick_look(number: str, names: Mapping[str, Any], seed: str | None = None) -> Result:
    """Verify in the notebook's own process, on fresh inputs, and show the result.

    Args:
        number: of the challenge, "02".
        names: where your functions are: `globals()`.
        seed: repeats the inputs of an earlier look.
    """
    challenge = find_challenge(number)
    result = verify(challenge, InKernel(names), seed)
    lines = []
    for part in result.parts:
        text = " ".join([part.message, *part.notes])
        if part.advice:
            text += f"\nNext: {part.advice}"
        lines.append((f"{part.id} {part.title}: {part.points:g} of {part.most:g}", text))
    if not result.attempted:
        title = f"Challenge {challenge.number} {challenge.title}: not attempted."
    else:
        end = "passed" if result.passed else "not passed yet"
        title = f"Challenge {challenge.number}: {result.points:g} of {result.most:g}, {end}."
    _hold_to_promise(result)
    show(Note(title, tuple(lines), strong=not result.passed))
    remember(challenge, result)
    return result


def _hold_to_promise(result: Result) -> None:
    """Where tests say so: solutions reach full marks, untouched notebooks are not attempted."""
    expect = os.environ.get("COURSE_EXPECT", "")
    if expect == "solved":
        assert result.points == result.most, result.table()
    elif expect == "open":
        assert all(part.verdict == "not attempted" for part in result.parts), result.table()


def remember(challenge: Challenge, result: Result) -> None:
    """Keep a result in the learner's progress."""
    if result.attempted:
        event = "passed" if result.passed else "wrong"
        points = f"{result.points:g}/{result.most:g}"
        Progress.default().record(f"challenge.{challenge.number}", event, points)
