"""Grades in the formats of other systems.

nbgrader     the columns of nbgrader's own CSV export
canvas       Canvas' gradebook CSV, for "Import Grades"
moodle       a CSV for Moodle's grade import; "-" is its sign for no grade
gradescope   a folder with a `results.json` for each challenge and student
lti          for each challenge a list of score objects, one POST each (LTI 1.3, AGS 2.0)

A grade that is missing, or that the grader owes, is never a zero anywhere. A cell that a
spreadsheet would run begins with an apostrophe. With a roster, only its students are exported.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from course_utils.files import write_atomically
from course_utils.grading.cohort.gradebook import Grade, Gradebook, Policy
from course_utils.grading.reports.people import Person, Roster, safe_name

LTI_SCORE = "application/vnd.ims.lis.v1.score+json"  # the media type of one score object
MOODLE_IDENTIFIERS = {"Email address": "email", "ID number": "id", "Username": "login"}
FORMULA = set("=+-@|%")  # what spreadsheets run, wide forms included
PLAIN_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


@dataclass(frozen=True)
class Written:
    """What an export has written.

    Attributes:
        paths: the files.
        left_out: (student, reason) of those who have grades, and whom the export does not have.
    """

    paths: tuple[Path, ...]
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Job:
    """What every format needs."""

    grades: Mapping[tuple[str, str], Grade]
    people: Sequence[Person]
    challenges: Sequence[str]
    policy: Policy
    path: Path
    now: datetime
    identifier: str
    assignment_ids: Mapping[str, str]
    has_roster: bool

    def most(self, challenge: str) -> float:
        """The points possible, of the newest grading."""
        found = [g.attempt for (_, name), g in self.grades.items() if name == challenge]
        return max(found, key=lambda attempt: attempt.graded).most


def write(
    kind: str,
    gradebook: Gradebook,
    policy: Policy,
    path: str | Path,
    roster: Roster | str | Path | None = None,
    *,
    identifier: str = "Email address",
    assignment_ids: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> Written:
    """Export grades.

    Args:
        kind: one of `KINDS`.
        gradebook: to read.
        policy: how attempts become grades.
        path: of the CSV file; of a folder for "gradescope" and "lti".
        roster: ids of the other system, or the file with them; the folders' names stand for
            everything if None.
        identifier: the column by which Moodle finds users, one of `MOODLE_IDENTIFIERS`.
        assignment_ids: Canvas' own ids by challenge name; Canvas goes by the names if None.
        now: when a score changed, for LTI; the present if None.

    Raises:
        ValueError: an argument is none of those, or the roster is wrong.
        OSError: a file can't be written.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    if identifier not in MOODLE_IDENTIFIERS:
        known = ", ".join(MOODLE_IDENTIFIERS)
        raise ValueError(f"identifier is {identifier!r}; expected one of {known}")
    ids = dict(assignment_ids or {})
    for challenge, id in ids.items():
        if not str(id).isdecimal():
            raise ValueError(f"the assignment id of {challenge} is {id!r}; expected digits")
    if isinstance(roster, str | Path):
        roster = Roster.read(roster)
    grades = {(g.student, g.challenge): g for g in gradebook.grades(policy)}
    students = sorted({student for student, _ in grades})
    if roster is None:
        people, left_out = [Person(student) for student in students], []
    else:
        folder = {roster.find(s): s for s in students}
        left_out = [(s, "is not in the roster") for s in students if roster.find(s) is None]
        people = list(roster)
        grades = {
            (person.student, challenge): grade
            for person in people
            for (student, challenge), grade in grades.items()
            if folder.get(person) == student
        }
    moment = datetime.now(UTC) if now is None else now.astimezone(UTC)
    challenges = sorted({challenge for _, challenge in grades})
    job = _Job(
        grades, people, challenges, policy, Path(path), moment, identifier, ids, roster is not None
    )
    paths, more = KINDS[kind](job)
    return Written(tuple(paths), (*left_out, *more))


Done = tuple[list[Path], list[tuple[str, str]]]


# --- tables --------------------------------------------------------------------------------------


def cell(value: object) -> str:
    """A value as a cell: numbers as numbers, text such that no spreadsheet runs it."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return f"{round(float(value), 4):.10g}"
    text = "".join(" " if unicodedata.category(c) == "Cc" else c for c in str(value))
    bare = "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cf")
    starts = unicodedata.normalize("NFKC", bare[:1])[:1]
    if starts in FORMULA and text != "-" and not PLAIN_NUMBER.fullmatch(text):
        return f"'{text}"
    # A control character in front, or what is left of it, is taken for nothing by some.
    return text.strip() if text != str(value) else text


def _table(path: Path, rows: Sequence[Sequence[object]]) -> list[Path]:
    """Write a table; all text stands in quotes, so that nothing in it parts or runs a cell."""

    def quoted(value: object) -> str:
        is_number = isinstance(value, int | float) or value is None
        text = cell(value).replace('"', '""')
        return text if is_number else f'"{text}"'

    lines = "".join(",".join(map(quoted, row)) + "\r\n" for row in rows)
    write_atomically(path, lines.encode("utf-8"))
    return [path]


def _nbgrader(job: _Job) -> Done:
    """`nbgrader.plugins.export.CsvExportPlugin`, nbgrader 0.9.6: times are in UTC without a zone.

    nbgrader itself writes 0 for who has handed in nothing; here that stays empty.
    """
    rows: list[list[object]] = [
        [
            "assignment",
            "duedate",
            "timestamp",
            "student_id",
            "last_name",
            "first_name",
            "email",
            "raw_score",
            "late_submission_penalty",
            "score",
            "max_score",
        ]
    ]
    for challenge in job.challenges:
        due = job.policy.due.get(challenge)
        for person in job.people:
            grade = job.grades.get((person.student, challenge))
            reached = None if grade is None else grade.reached
            points = None if grade is None else grade.points
            lost = None if reached is None or points is None else reached - points
            rows.append(
                [
                    challenge,
                    _naive(due),
                    _naive(None if grade is None else grade.submitted),
                    person.id or person.student,
                    person.last_name,
                    person.first_name,
                    person.email,
                    reached,
                    lost,
                    points,
                    job.most(challenge),
                ]
            )
    return _table(job.path, rows), []


def _canvas(job: _Job) -> Done:
    """The columns that Canvas' `GradebookImporter` looks for, and its row of possible points."""

    def heading(challenge: str) -> str:
        id = job.assignment_ids.get(challenge)
        return challenge if id is None else f"{challenge} ({id})"

    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    rows: list[list[object]] = [
        [*head, *map(heading, job.challenges)],
        ["    Points Possible", "", "", "", "", *map(job.most, job.challenges)],
    ]
    for person in job.people:
        # Canvas takes any row with these two words for the row above.
        name = person.full_name.replace("Points Possible", "Points-Possible")
        found = [job.grades.get((person.student, c)) for c in job.challenges]
        points = [None if grade is None else grade.points for grade in found]
        rows.append([name, person.id, person.sis_id, person.login, person.section, *points])
    return _table(job.path, rows), []


def _moodle(job: _Job) -> Done:
    """For "Import as CSV": map the first column to the user, the others to grade items.

    Moodle turns an empty cell of a new grade item into 0, and a row without a user into grades of
    the user before; so here a missing grade is "-", and a row without a user is left out.
    """
    rows: list[list[object]] = [[job.identifier, "First name", "Last name", *job.challenges]]
    left_out = []
    for person in job.people:
        field = MOODLE_IDENTIFIERS[job.identifier] if job.has_roster else "student"
        name = getattr(person, field)
        if name in ("", "0"):
            left_out.append((person.student, f"has no {job.identifier} in the roster"))
            continue
        found = [job.grades.get((person.student, c)) for c in job.challenges]
        points = ["-" if g is None or g.points is None else g.points for g in found]
        rows.append([name, person.first_name, person.last_name, *points])
    return _table(job.path, rows), left_out


def _naive(moment: datetime | None) -> str:
    return "" if moment is None else str(moment.astimezone(UTC).replace(tzinfo=None))


# --- objects -------------------------------------------------------------------------------------


def _gradescope(job: _Job) -> Done:
    """`CHALLENGE/STUDENT/results.json`; none where the grader failed, which Gradescope shows so.

    Texts are marked as plain: by its default Gradescope renders the first one as HTML.
    """
    paths, left_out = [], []
    for (student, challenge), grade in job.grades.items():
        if grade.points is None:
            left_out.append((student, f"waits for the grader in {challenge}"))
            continue
        path = job.path / safe_name(challenge) / safe_name(student) / "results.json"
        _write_json(path, gradescope_result(grade))
        paths.append(path)
    return paths, left_out


def gradescope_result(grade: Grade) -> dict[str, Any]:
    """The `results.json` of a grade.

    Source: https://gradescope-autograders.readthedocs.io/en/latest/specs/, "Output format".

    Raises:
        ValueError: the grader failed, so there is no score.
    """
    if grade.points is None:
        raise ValueError(f"{grade.student} has no points in {grade.challenge}; nothing to export")
    return {
        "score": grade.points,
        "output": " ".join(filter(None, [grade.attempt.message, late_words(grade)])),
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "visibility": "visible",
        "tests": [
            {
                "name": f"{part.id}: {part.title}",
                "name_format": "text",
                "score": part.points,
                "max_score": part.most,
                "status": "passed" if part.points >= part.most else "failed",
                "output": "\n".join(
                    [part.message, *part.notes, *([f"Next: {part.advice}"] if part.advice else [])]
                ),
                "output_format": "text",
                "visibility": "visible",
            }
            for part in grade.attempt.parts
        ],
    }


def _lti(job: _Job) -> Done:
    """`CHALLENGE.json`, a list; each entry is the body of one POST to the line item's scores."""
    paths = []
    for challenge in job.challenges:
        people = [p for p in job.people if (p.student, challenge) in job.grades]
        scores = [lti_score(job.grades[p.student, challenge], p, job.now) for p in people]
        path = job.path / f"{safe_name(challenge)}.json"
        _write_json(path, scores)
        paths.append(path)
    return paths, []


def lti_score(grade: Grade, person: Person, now: datetime) -> dict[str, Any]:
    """A score object of LTI's Assignment and Grade Services.

    Who has handed in nothing gets none: a score without points clears what the platform has. A
    platform refuses a score with a timestamp that is not later than that of the one before.

    Source: https://www.imsglobal.org/spec/lti-ags/v2p0, section 3.4, "Score publish service".

    Args:
        grade: to send.
        person: whose; platforms know them by `lti_user_id`, or else by `id`.
        now: when the score changed.
    """
    score: dict[str, Any] = {
        "userId": person.lti_user_id or person.id or person.student,
        "timestamp": now.astimezone(UTC).isoformat(timespec="milliseconds"),
    }
    if grade.points is None:
        return score | {
            "activityProgress": "Submitted",
            "gradingProgress": "PendingManual",
            "comment": "Not graded yet: the grader failed, and not your answer.",
        }
    # No word of a learner's: platforms differ in whether a comment is text or markup.
    parts = ", ".join(f"{p.id} {p.points:g} of {p.most:g}" for p in grade.attempt.parts)
    return score | {
        "scoreGiven": grade.points,
        "scoreMaximum": grade.most,
        "activityProgress": "Completed",
        "gradingProgress": "FullyGraded",
        "comment": ". ".join(filter(None, [parts, late_words(grade)])),
    }


def late_words(grade: Grade) -> str:
    """What the late rule did; "" if nothing."""
    if not grade.days_late:
        return ""
    days = f"{grade.days_late} day{'s' if grade.days_late > 1 else ''} late"
    if not grade.percent_lost:
        return f"Handed in {days}; nothing is lost."
    return f"Handed in {days}, which costs {grade.percent_lost:g} percent of the points reached."


def _write_json(path: Path, value: object) -> None:
    write_atomically(path, json.dumps(value, indent=1, allow_nan=False).encode("utf-8"))


KINDS: Mapping[str, Callable[[_Job], Done]] = {
    "nbgrader": _nbgrader,
    "canvas": _canvas,
    "moodle": _moodle,
    "gradescope": _gradescope,
    "lti": _lti,
}
