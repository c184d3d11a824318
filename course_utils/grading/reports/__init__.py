"""Pages about a cohort: one for each learner, one for the instructor, one of likenesses.

`index.html` and `similar.html` are for instructors; a page in `students/` is for its learner alone,
and links to nothing.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from course_utils.files import write_atomically
from course_utils.grading.cohort.attempts import Attempt
from course_utils.grading.cohort.gradebook import Gradebook
from course_utils.grading.cohort.policy import Grade, Policy
from course_utils.grading.reports.cohort import cohort_page
from course_utils.grading.reports.learner import learner_page
from course_utils.grading.reports.mistakes import Mistakes
from course_utils.grading.reports.people import safe_name
from course_utils.grading.reports.similar import Alike, compare
from course_utils.grading.reports.similar_page import SOLUTION, similar_page
from course_utils.lessons import LESSONS, ROOT


@dataclass(frozen=True)
class Reports:
    """Where the pages are.

    Attributes:
        index: of the cohort.
        similar: answers that are alike, side by side.
        students: a learner's own, by student.
        alike: what `similar` shows, by challenge.
    """

    index: Path
    similar: Path
    students: Mapping[str, Path]
    alike: Mapping[str, Sequence[Alike]]


def write(
    gradebook: Gradebook,
    folder: str | Path,
    policy: Policy,
    now: datetime | None = None,
    left: Sequence[tuple[str, str]] = (),
) -> Reports:
    """Write all pages; each is whole or as it was.

    Args:
        gradebook: to read.
        folder: for the pages; made if it is missing.
        policy: how attempts become grades.
        now: shown as the time of writing; the present if None.
        left: (what, why) of files and people that a person should look at.

    Raises:
        OSError: a page can't be written, or the gradebook can't be read.
    """
    folder = Path(folder)
    now = datetime.now(UTC) if now is None else now.astimezone(UTC)
    grades = gradebook.grades(policy)
    mistakes = Mistakes()
    pages: dict[str, Path] = {}
    of_student: dict[str, list[Grade]] = {}
    for grade in grades:
        of_student.setdefault(grade.student, []).append(grade)
    for student, own in of_student.items():
        history: dict[str, list[Attempt]] = {grade.challenge: [] for grade in own}
        for attempt in gradebook.attempts(student):
            mistakes.add(attempt)
            # One that came in after the grades were read waits for the next report.
            if attempt.challenge in history:
                history[attempt.challenge].append(attempt)
        path = folder / "students" / f"{safe_name(student)}.html"
        write_atomically(path, learner_page(own, [history[g.challenge] for g in own], now))
        pages[student] = path
    answers = _answers(grades)
    alike = {
        challenge: compare(sources, given_sources(challenge))
        for challenge, sources in answers.items()
    }
    similar = folder / "similar.html"
    write_atomically(similar, similar_page(alike, answers, now))
    index = folder / "index.html"
    links = {student: f"students/{path.name}" for student, path in pages.items()}
    write_atomically(index, cohort_page(grades, mistakes, links, alike, policy, now, left))
    return Reports(index, similar, pages, alike)


def given_sources(challenge: str) -> list[str]:
    """What everybody has: the template's code, and that of all lessons."""
    template = code_cells(ROOT / "challenges" / f"{challenge}.ipynb")
    return [*template.values(), *_lessons()]


@functools.lru_cache(maxsize=1)
def _lessons() -> tuple[str, ...]:
    return tuple(s for lesson in LESSONS for s in code_cells(lesson.solution).values())


def code_cells(path: Path) -> dict[str, str]:
    """Source by id of a notebook of ours; nothing where it is missing."""
    if not path.exists():
        return {}
    cells = json.loads(path.read_bytes())["cells"]
    return {c["id"]: "".join(c["source"]) for c in cells if c["cell_type"] == "code"}


def _answers(grades: Sequence[Grade]) -> dict[str, dict[str, Mapping[str, str]]]:
    """By challenge and student, of the attempts that count; our own solution is among them."""
    found: dict[str, dict[str, Mapping[str, str]]] = {}
    for grade in grades:
        if grade.attempt.answers and grade.attempt.verdict != "not attempted":
            found.setdefault(grade.challenge, {})[grade.student] = grade.attempt.answers
    for challenge, sources in found.items():
        cells = {cell for answer in sources.values() for cell in answer}
        ours = code_cells(ROOT / "solutions" / "challenges" / f"{challenge}.ipynb")
        own = {cell: source for cell, source in ours.items() if cell in cells}
        if own and SOLUTION not in sources:
            sources[SOLUTION] = own
    return found
