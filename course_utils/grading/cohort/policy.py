"""Which attempt counts, and what it is worth when it comes late."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from course_utils.grading.cohort.attempts import Attempt, parse_time

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Late:
    """What a late attempt loses.

    Attributes:
        percent_a_day: of the points that it reached, for each day begun after the due date.
        at_most: percent; no attempt loses more, however late, until the cut-off.
        cut_off_days: later than this many days after the due date nothing is accepted; 0 accepts
            nothing late at all, None always accepts.
        grace_minutes: an attempt that is late by no more than this is on time. Past it, days count
            from the due date.
    """

    percent_a_day: float = 0.0
    at_most: float = 100.0
    cut_off_days: float | None = None
    grace_minutes: float = 0.0

    def __post_init__(self) -> None:
        for name in ("percent_a_day", "at_most"):
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 to 100 percent")
        if self.cut_off_days is not None and not 0 <= self.cut_off_days < math.inf:
            raise ValueError(f"cut_off_days is {self.cut_off_days}; expected None, 0 or more")
        if not 0 <= self.grace_minutes < math.inf:
            raise ValueError(f"grace_minutes is {self.grace_minutes}; expected 0 or more")

    def days(self, submitted: datetime, due: datetime | None) -> int:
        """Days begun after the due date; 0 where it is on time."""
        behind = _behind(submitted, due)
        return 0 if behind <= self._grace else math.ceil(behind / DAY)

    def accepts(self, submitted: datetime, due: datetime | None) -> bool:
        """Whether it comes before the cut-off."""
        behind = _behind(submitted, due)
        if self.cut_off_days is None or behind <= self._grace:
            return True
        return behind <= DAY * self.cut_off_days

    def percent(self, submitted: datetime, due: datetime | None) -> float:
        """What it loses of its points; 100 where it is not accepted."""
        if not self.accepts(submitted, due):
            return 100.0
        return min(self.percent_a_day * self.days(submitted, due), self.at_most)

    @property
    def _grace(self) -> timedelta:
        return timedelta(minutes=self.grace_minutes)


@dataclass(frozen=True)
class Policy:
    """How attempts become grades.

    Attributes:
        attempt: "best", the one with the most points after the late rule, or "last", the one
            submitted last among those that are accepted.
        due: by challenge name, with a time zone; a challenge that is not in it is never late.
        late: the late rule.
        most_attempts: only so many different notebooks count, the earliest ones; None for all. Each
            one gets inputs of its own, so many tries are a lottery near a band.
    """

    attempt: Literal["best", "last"] = "best"
    due: Mapping[str, datetime] = field(default_factory=dict)
    late: Late = Late()
    most_attempts: int | None = None

    def __post_init__(self) -> None:
        if self.most_attempts is not None and self.most_attempts < 1:
            raise ValueError(f"most_attempts is {self.most_attempts}; expected None, 1 or more")
        if self.attempt not in ("best", "last"):
            raise ValueError(f"attempt is {self.attempt!r}; expected 'best' or 'last'")
        for challenge, due in self.due.items():
            if due.utcoffset() is None:
                raise ValueError(f"due of {challenge} is {due}, which has no time zone")


@dataclass(frozen=True)
class Grade:
    """What a student has for a challenge.

    Attributes:
        student, challenge: whose, for what.
        points: after the late rule; None where the grader has failed, which is never a zero.
        reached: before the late rule.
        most: possible.
        passed: whether the attempt that counts has passed, before any deduction, and was accepted.
        days_late: begun, of the attempt that counts.
        percent_lost: to the late rule.
        pending: the grader has failed on one of the student's submissions, so the grade may rise
            (or, where the last attempt counts, change).
        attempt: the one that counts.
        submitted: when, in UTC; the first time that these bytes came in.
        submissions: how many different notebooks were graded or tried.
    """

    student: str
    challenge: str
    points: float | None
    reached: float | None
    most: float
    passed: bool | None
    days_late: int
    percent_lost: float
    pending: bool
    attempt: Attempt
    submitted: datetime
    submissions: int


def grade_of(attempts: Iterable[Attempt], policy: Policy) -> Grade:
    """The grade of one student for one challenge.

    A notebook that was graded again counts once, with its newest result; a failure of the grader
    never replaces a result, nor does a result without the sandbox one with it. The same bytes
    handed in again are as early as they first came.

    Args:
        attempts: all of this student's for this challenge, oldest entry first; at least one.
        policy: how to choose.

    Raises:
        ValueError: there are no attempts.
    """
    newest: dict[str, Attempt] = {}
    first: dict[str, datetime] = {}
    for attempt in attempts:
        known, when = newest.get(attempt.submission), parse_time(attempt.submitted)
        if known is None or _trust(attempt) >= _trust(known):
            newest[attempt.submission] = attempt
        first[attempt.submission] = min(when, first.get(attempt.submission, when))
    if not newest:
        raise ValueError("attempts is empty; expected at least one")
    due = policy.due.get(next(iter(newest.values())).challenge)
    late = policy.late

    def worth(attempt: Attempt) -> float:
        if attempt.points is None:
            return -1.0  # an attempt with any result comes first
        percent = late.percent(first[attempt.submission], due)
        return round(attempt.points * (1 - percent / 100), 6)

    def accepted(attempt: Attempt) -> bool:
        return late.accepts(first[attempt.submission], due)

    counted = sorted(newest.values(), key=lambda a: first[a.submission])[: policy.most_attempts]
    candidates = [a for a in counted if accepted(a)] or counted
    if policy.attempt == "last":
        chosen = max(candidates, key=lambda a: first[a.submission])
    else:  # of equal ones the earliest, so that nobody is late without need
        chosen = min(candidates, key=lambda a: (-worth(a), first[a.submission]))
    submitted = first[chosen.submission]
    failed = chosen.points is None
    return Grade(
        student=chosen.student,
        challenge=chosen.challenge,
        points=None if failed else worth(chosen),
        reached=chosen.points,
        most=chosen.most,
        passed=None if failed else bool(chosen.passed) and accepted(chosen),
        days_late=late.days(submitted, due),
        percent_lost=0.0 if failed else late.percent(submitted, due),
        pending=any(a.fault for a in candidates),
        attempt=chosen,
        submitted=submitted,
        submissions=len(newest),
    )


def _trust(attempt: Attempt) -> int:
    return 0 if attempt.fault else 1 + attempt.sandboxed


def _behind(submitted: datetime, due: datetime | None) -> timedelta:
    """In UTC: two moments of one zone would be compared by the clock on the wall."""
    if due is None:
        return timedelta(0)
    return submitted.astimezone(UTC) - due.astimezone(UTC)
