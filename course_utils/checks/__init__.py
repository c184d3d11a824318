"""Exercises that say what is wrong, give hints, and never leave a learner stuck.

    add_noise = check("01.add_noise", add_noise)   # hands back yours if it is right, ours if not
    hint("01.add_noise")                           # three hints, one a call
    solution("01.add_noise")                       # the answer
    panel("01")                                    # at the top of a lesson: what is done
    summary("01")                                  # at its end: which exercises are open

One file for each lesson: `lesson_01.py` holds the exercises of lesson 01 in their order.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import textwrap
from typing import Any

from course_utils import lessons
from course_utils.checks.examine import Verdict, examine
from course_utils.checks.exercise import Case, Exercise, ModuleCase
from course_utils.checks.mistakes import Mistake, slips
from course_utils.checks.show import Note, show
from course_utils.lessons import find_lesson
from course_utils.progress import WORDS, Progress, standing

__all__ = [
    "Case",
    "Exercise",
    "Mistake",
    "ModuleCase",
    "Verdict",
    "check",
    "examine",
    "exercises",
    "find_exercise",
    "hint",
    "panel",
    "slips",
    "solution",
    "summary",
]

EXPECT = "COURSE_EXPECT"  # "solved" or "open": then `summary` fails where it is otherwise
MISSING = object()  # no answer was handed in
_session: dict[str, str] = {}  # exercise -> "done", "wrong", "open" or "shown", in this process
_hints: dict[str, int] = {}  # exercise -> hints given in this process


def exercises(lesson: str) -> tuple[Exercise, ...]:
    """The exercises of a lesson in their order; none if it has none yet.

    Args:
        lesson: its number, "01".
    """
    name = f"course_utils.checks.lesson_{lesson}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return ()
    found: tuple[Exercise, ...] = module.EXERCISES
    return found


def find_exercise(id: str) -> Exercise:
    """The exercise of an id, such as "01.add_noise".

    Raises:
        ValueError: there is none; names those that there are.
    """
    lesson = str(id).split(".")[0]
    known = exercises(lesson) if lesson.isdigit() else ()
    for exercise in known:
        if exercise.id == id:
            return exercise
    names = ", ".join(exercise.id for exercise in known) or "ids such as '01.add_noise'"
    raise ValueError(f"exercise is {id!r}; expected one of {names}")


def check(id: str, answer: Any = MISSING) -> Any:
    """Check an answer, show what was found, and hand back what the lesson goes on with.

    Args:
        id: of the exercise, "01.add_noise".
        answer: your function, class or value; what has the exercise's name where `check` is called,
            if it is left out. Where nothing has, because its cell did not run, that is said.

    Returns:
        `answer` if it is right and the page can go on with it, otherwise the course's own.

    Raises:
        ValueError: there is no such exercise.
    """
    exercise = find_exercise(id)
    if answer is MISSING:
        answer = sys._getframe(1).f_globals.get(exercise.name, MISSING)
    if answer is MISSING:
        verdict = Verdict(
            id,
            "open",
            f"There is no {exercise.name} yet. Run the cell that holds it; if that shows an error, "
            "such as a SyntaxError, mend it first.",
        )
    else:
        verdict = examine(exercise, answer)
    passed = verdict.state == "passed"
    if _session.get(id) not in ("done", "shown"):  # a later slip takes nothing away
        _session[id] = "done" if passed else verdict.state
    _record(exercise, verdict.state)
    show(_note(exercise, verdict))
    return answer if passed and verdict.goes_on else exercise.reference


def hint(id: str) -> None:
    """Show the next of three hints, each stronger than the one before."""
    exercise = find_exercise(id)
    number = min(_hints.get(id, 0) + 1, len(exercise.hints))
    last = _hints.get(id, 0) >= len(exercise.hints)
    _hints[id] = number
    if not last:
        _record(exercise, "hint")
    lines = [("", exercise.hints[number - 1])]
    if number == len(exercise.hints):
        lines.append(("", f'This is the last hint. solution("{id}") shows the answer.'))
    show(Note(f"Hint {number} of {len(exercise.hints)} for {exercise.name}", tuple(lines)))


def solution(id: str) -> None:
    """Show the answer, and remember that it was shown."""
    exercise = find_exercise(id)
    _session[id] = "shown"
    _record(exercise, "shown")
    if exercise.is_value:
        source = f"{exercise.name} = {exercise.reference!r}"
    else:
        source = textwrap.dedent(inspect.getsource(exercise.reference)).strip()
    show(Note(f"One answer to {exercise.name}", (("", "Yours may look different."),), code=source))


def panel(lesson: str) -> Note:
    """What is done and what is open in a lesson, for its top; remembered from earlier sessions.

    Args:
        lesson: its number, "01".
    """
    here = standing(find_lesson(lesson), exercises(lesson), Progress.default())
    number = here.lesson.number
    if not here.exercises:
        return Note(f"Lesson {number} has no exercises.")
    lines = []
    for exercise in here.exercises:
        entry = here.entries[exercise.id]
        tries = f", {entry.tries} tr{'y' if entry.tries == 1 else 'ies'}" if entry.tries else ""
        about = f"difficulty {exercise.difficulty} of 5, {exercise.minutes} min{tries}"
        lines.append((exercise.name, f"{WORDS[entry.state]} ({about})"))
    if here.open:
        left = f"about {here.minutes_left} minutes left"
        lines.append(("", f"Next: {here.open[0].name}; {left}."))
    done = len(here.exercises) - len(here.open)
    title = f"Your progress in lesson {number}: {done} of {len(here.exercises)} exercises"
    return Note(title, tuple(lines))


def summary(lesson: str) -> Note:
    """Which exercises this run of a lesson left open, for its end.

    Args:
        lesson: its number, "01".

    Raises:
        AssertionError: the environment variable `COURSE_EXPECT` says "solved" or "open", and some
            exercise is not; so tests can hold every notebook to it.
    """
    every = exercises(lesson)
    states = {exercise.id: _session.get(exercise.id, "open") for exercise in every}
    open_ids = [id for id, state in states.items() if state in ("open", "wrong")]
    expect = os.environ.get(EXPECT, "")
    if expect == "solved":
        assert not open_ids, f"lesson {lesson} is expected to be solved; open: {open_ids}"
    elif expect == "open":
        done = [id for id, state in states.items() if state != "open"]
        assert not done, f"lesson {lesson} is expected to be untouched; done or tried: {done}"
    if not every:
        return Note(f"Lesson {lesson} has no exercises.")
    lines = []
    for state, words in (("wrong", "not right yet"), ("open", "open"), ("shown", "shown")):
        names = [id.split(".", 1)[1] for id, found in states.items() if found == state]
        if names:
            lines.append((words, ", ".join(names)))
    count = len(every) - len(open_ids)
    title = f"Lesson {lesson}: {count} of {len(every)} exercises done, {len(open_ids)} open."
    if not open_ids:
        following = [x for x in lessons.LESSONS if x.number > lesson and x.written]
        if following:
            lines.append(("", f"Next: {following[0].number} {following[0].title}."))
    return Note(title, tuple(lines), strong=bool(open_ids))


def _record(exercise: Exercise, event: str) -> None:
    Progress.default().record(exercise.id, event, exercise.fingerprint)


def _note(exercise: Exercise, verdict: Verdict) -> Note:
    """A verdict on the page."""
    name = exercise.name
    lines: list[tuple[str, str]] = [("", verdict.message)]
    for label, text in (
        ("tried with", verdict.case),
        ("expected", verdict.expected),
        ("got", verdict.got),
        ("it printed", verdict.printed),
    ):
        if text:
            lines.append((label, text))
    if verdict.state == "passed":
        whose = "yours" if verdict.goes_on else "the course's own"
        return Note(f"{name}: right. The lesson goes on with {whose}.", tuple(lines))
    kind = "answer" if exercise.is_value else "own"
    lines.append(
        (
            "",
            f"Until yours is right, the lesson goes on with the course's {kind} {name}."
            if kind == "own"
            else "Until then, the lesson goes on with an example.",
        )
    )
    lines.append(("", f'A hint: hint("{exercise.id}")'))
    title = f"{name}: open." if verdict.state == "open" else f"{name}: not right yet."
    return Note(title, tuple(lines), strong=verdict.state == "wrong")
