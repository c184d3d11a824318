"""What is kept of a submission that was graded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from course_utils.grading.answers.verify import PartResult

FAULT = "grader fault"
VERDICTS = (
    "pass",
    "partial",
    "wrong",
    "error",
    "timeout",
    "out of time",
    "memory",
    "killed",
    "tampered",
    "not attempted",
    "refused",
    "unreadable",
    FAULT,
)


@dataclass(frozen=True)
class PartRecord:
    """What one part of a challenge gave; the fields of `verify.PartResult`.

    Attributes:
        id, title: of the part.
        points, most: reached, and possible.
        verdict: as of an attempt.
        message: a sentence to the learner.
        notes: further sentences.
        advice: what to try next; "" where all points were reached.
        value: what was measured; None if nothing was.
        seconds: of the longest call.
        oracle_calls: the most in one call.
        details: further numbers, for instructors alone.
    """

    id: str
    title: str
    points: float
    most: float
    verdict: str
    message: str
    notes: tuple[str, ...] = ()
    advice: str = ""
    value: float | None = None
    seconds: float = 0.0
    oracle_calls: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, result: PartResult) -> Self:
        """The record of a part's result."""
        return cls(**{f.name: getattr(result, f.name) for f in fields(cls)})


@dataclass(frozen=True)
class Attempt:
    """One submission, graded once.

    Attributes:
        student: whose.
        challenge: its name, "02_denoise_on_a_budget".
        submission: SHA-256 of the notebook's bytes.
        verdict: one of `VERDICTS`.
        points: reached; None for a grader fault, which is never a zero.
        most: possible.
        passed: whether the points reach the challenge's mark; None for a grader fault.
        message: a sentence to the learner.
        parts: in their order.
        answers: source by cell id.
        submitted: when, ISO 8601 in UTC.
        graded: when, ISO 8601 in UTC.
        record: what it takes to grade it again in the same way; JSON. "key" is equal for attempts
            that were graded alike; "sandboxed" says whether the sandbox was in force.
    """

    student: str
    challenge: str
    submission: str
    verdict: str
    points: float | None
    most: float
    passed: bool | None
    message: str
    parts: tuple[PartRecord, ...]
    answers: Mapping[str, str]
    submitted: str
    graded: str
    record: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.student:
            raise ValueError("student is empty; expected a name")
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict is {self.verdict!r}; expected one of {', '.join(VERDICTS)}")
        if self.fault != (self.points is None):
            raise ValueError(
                f"points are {self.points} for {self.verdict!r}; only a fault has none"
            )
        for name in ("points", "most"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; expected a number from 0 on")
        for text in (self.submitted, self.graded):
            parse_time(text)
        key = self.record.get("key")
        if not isinstance(key, str) or not key:
            raise ValueError(f"record has the key {key!r}; expected a text")

    @property
    def fault(self) -> bool:
        """Whether the grader has failed, and not the answer."""
        return self.verdict == FAULT

    @property
    def sandboxed(self) -> bool:
        """Whether the sandbox was in force."""
        return self.record.get("sandboxed") is True


def parse_time(text: str) -> datetime:
    """A moment in UTC from ISO 8601 with a time zone.

    Raises:
        ValueError: it is none, or has no time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError(f"time is {text!r}; expected ISO 8601 in UTC") from None
    if moment.utcoffset() is None:
        raise ValueError(f"time is {text!r}, which has no time zone; expected ISO 8601 in UTC")
    return moment.astimezone(UTC)
