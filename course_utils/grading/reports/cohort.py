"""The cohort's page: scores, the parts that fail, the commonest mistakes, and who has what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from course_utils.grading.cohort.policy import Grade, Policy
from course_utils.grading.reports.challenge import challenge_section
from course_utils.grading.reports.learner import COURSE, challenge_title, short
from course_utils.grading.reports.markup import (
    Content,
    Markup,
    counted,
    listed,
    moment,
    name,
    number,
    page,
    table,
    tag,
)
from course_utils.grading.reports.mistakes import Mistakes
from course_utils.grading.reports.similar import Alike, groups


def cohort_page(
    grades: Sequence[Grade],
    mistakes: Mistakes,
    links: Mapping[str, str],
    alike: Mapping[str, Sequence[Alike]],
    policy: Policy,
    now: datetime,
    left: Sequence[tuple[str, str]] = (),
) -> bytes:
    """The instructor's page.

    Args:
        grades: of everybody, for everything.
        mistakes: of all attempts.
        links: to a learner's page, by student.
        alike: answers that are alike, by challenge.
        policy: how attempts became grades.
        now: when the page is written.
        left: (what, why) of files and people that a person should look at.
    """
    challenges = sorted({grade.challenge for grade in grades})
    submissions = sum(grade.submissions for grade in grades)
    body: list[Content] = [
        tag("p", f"{COURSE}: for instructors", class_="kicker"),
        tag("h1", "Cohort report"),
        tag(
            "p",
            f"{counted(len(links), 'student')}, {counted(len(challenges), 'challenge')}, "
            f"{counted(submissions, 'submission')}. As of ",
            moment(now),
            ".",
            class_="total",
        ),
        tag("p", _policy_words(policy, challenges), class_="small"),
        _faults(grades, links),
        _left(left),
        _unsandboxed(grades),
        _alike(alike),
    ]
    if not grades:
        body.append(tag("p", "Nothing is graded yet."))
    for number_, challenge in enumerate(challenges):
        own = [grade for grade in grades if grade.challenge == challenge]
        body.append(challenge_section(challenge, own, mistakes.of(challenge), f"c{number_}"))
    if grades:
        body.append(_students(grades, challenges, links))
    return page(f"{COURSE}: cohort report", *body)


def _policy_words(policy: Policy, challenges: Sequence[str]) -> Content:
    which = "best" if policy.attempt == "best" else "last"
    words: list[Content] = [f"The {which} attempt counts."]
    if policy.most_attempts is not None:
        words = [f"The {which} of the first {policy.most_attempts} attempts counts."]
    late = policy.late
    for challenge in challenges:
        if challenge in policy.due:
            due = policy.due[challenge].astimezone(UTC)
            words += [f" {challenge_title(challenge)} was due ", moment(due), "."]
    if any(challenge in policy.due for challenge in challenges):
        if late.percent_a_day:
            words.append(
                f" Each day begun costs {late.percent_a_day:g} percent of the points reached, at "
                f"most {late.at_most:g}."
            )
        if late.cut_off_days is not None:
            words.append(f" Nothing is accepted after {late.cut_off_days:g} days.")
        if late.grace_minutes:
            words.append(f" {late.grace_minutes:g} minutes late is still on time.")
    return words


def _student(student: str, links: Mapping[str, str]) -> Markup:
    shown = tag("bdi", student, class_="name")
    return tag("a", shown, href=links[student]) if student in links else shown


def _faults(grades: Sequence[Grade], links: Mapping[str, str]) -> Content:
    failed = [grade for grade in grades if grade.pending]
    if not failed:
        return None
    rows = [
        [
            _student(grade.student, links),
            challenge_title(grade.challenge),
            "no grade" if grade.points is None else "has a grade from another submission",
            tag("td", _why(grade), dir="auto"),
        ]
        for grade in failed
    ]
    return tag(
        "section",
        tag("h2", f"The grader failed on {counted(len(failed), 'answer')}"),
        tag("p", "No fault of the students', and no zeros: the next run tries these again."),
        table(["student", "challenge", "state", "what happened"], rows, "Failures of the grader"),
        class_="notice",
    )


def _why(grade: Grade) -> str:
    """What the grader noted for instructors, or else what the learner is told."""
    if grade.points is not None:
        return ""
    return short(str(grade.attempt.record.get("fault") or grade.attempt.message), 300)


def _left(left: Sequence[tuple[str, str]]) -> Content:
    if not left:
        return None
    return tag(
        "section",
        tag("h2", "Not graded, or worth a look"),
        tag("p", "Files that were not taken, and people whom the files or the roster lack."),
        table(["file or person", "what"], [[what, why] for what, why in left], "Worth a look"),
        class_="notice",
    )


def _unsandboxed(grades: Sequence[Grade]) -> Content:
    open_ = [grade for grade in grades if grade.points is not None and not grade.attempt.sandboxed]
    if not open_:
        return None
    return tag(
        "section",
        tag("h2", f"{counted(len(open_), 'result')} without the sandbox"),
        tag(
            "p",
            "The code that was graded could have reached the grader. Such points carry a † below. "
            "Grade again with the sandbox before you rely on them.",
        ),
        class_="notice",
    )


def _alike(alike: Mapping[str, Sequence[Alike]]) -> Content:
    lines = []
    for challenge, pairs in sorted(alike.items()):
        for group in groups(pairs):
            spread = listed(name(student) for student in group[:8])
            more = f" and {len(group) - 8} more" if len(group) > 8 else ""
            lines.append(tag("li", f"{challenge_title(challenge)}: ", spread, more))
    if not lines:
        return None
    return tag(
        "section",
        tag("h2", "Answers that are alike"),
        tag(
            "p",
            "Worth a look, and no more than that: ",
            tag("a", "side by side", href="similar.html"),
            ".",
        ),
        tag("ul", lines[:20], class_="notes"),
        tag("p", f"{len(lines) - 20} more groups") if len(lines) > 20 else None,
        class_="notice",
    )


# --- everybody -----------------------------------------------------------------------------------


def _students(
    grades: Sequence[Grade], challenges: Sequence[str], links: Mapping[str, str]
) -> Markup:
    of = {(grade.student, grade.challenge): grade for grade in grades}
    rows: list[list[Content]] = []
    for student in sorted(links, key=lambda s: (s.casefold(), s)):
        own = [of.get((student, challenge)) for challenge in challenges]
        total = sum(grade.points for grade in own if grade is not None and grade.points is not None)
        rows.append(
            [
                _student(student, links),
                *(tag("td", _points(grade), class_="n") for grade in own),
                tag("td", number(total), class_="n"),
            ]
        )
    head: list[Content] = ["student", *map(challenge_title, challenges), "total"]
    return tag(
        "section",
        tag("h2", "Students"),
        table(
            head,
            rows,
            "Points; ✓ passed, † without the sandbox, (late) less what that costs",
            "counts",
        ),
        class_="card",
    )


def _points(grade: Grade | None) -> Content:
    if grade is None:
        return ""
    if grade.points is None:
        return "grader failed"
    marks = " †" if not grade.attempt.sandboxed else ""
    late = " (late)" if grade.days_late else ""
    return f"{number(grade.points)}{' ✓' if grade.passed else ''}{marks}{late}"
