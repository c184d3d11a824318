"""`course progress`: which exercises are done, and what is next."""

from __future__ import annotations

import argparse
import json
from typing import Any

from course_utils.checks import exercises
from course_utils.lessons import find_lesson
from course_utils.progress import (
    WORDS,
    Progress,
    challenge_standings,
    next_challenge,
    next_exercise,
    standing,
    standings,
)


def register(subparsers: Any) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "progress",
        description="Shows every lesson's exercises: done, open, shown (its solution was looked "
        "at), or changed since you solved it; and what the challenges were worth.",
    )
    parser.add_argument("lesson", nargs="?", help="only this one, such as 03")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table.

    Raises:
        ValueError: there is no such lesson.
    """
    progress = Progress.default()
    every = standings(exercises, progress)
    if args.lesson:
        asked = find_lesson(args.lesson)
        shown = [standing(asked, exercises(asked.number), progress)]
    else:
        shown = every
    challenges = [] if args.lesson else challenge_standings(progress)
    if args.json:
        found = {
            "lessons": [each.to_json() for each in shown],
            "challenges": [each.to_json() for each in challenges],
        }
        print(json.dumps(found, indent=1))
        return 0
    for here in shown:
        done = len(here.exercises) - len(here.open)
        count = f"{done} of {len(here.exercises)}" if here.exercises else "no exercises"
        left = f", about {here.minutes_left} minutes left" if here.open else ""
        print(f"{here.lesson.number} {here.lesson.title}: {count}{left}")
        for exercise in here.exercises:
            entry = here.entries[exercise.id]
            mark = {"done": "x", "shown": "s", "stale": "!", "open": " "}[entry.state]
            tries = f", {entry.tries} {'try' if entry.tries == 1 else 'tries'}"
            more = WORDS[entry.state] + (tries if entry.tries else "")
            print(f"  [{mark}] {exercise.name:<28} {more}")
    if challenges:
        passed = sum(each.passed for each in challenges)
        print(f"Challenges: {passed} of {len(challenges)} passed")
        for each in challenges:
            mark = "x" if each.passed else "~" if each.tries else " "
            print(f"  [{mark}] {each.number} {each.title:<25} {each.words()}")
    following, challenge = next_exercise(every), next_challenge(progress)
    if following is not None:
        lesson, exercise = following
        print(f"\nNext: {exercise.name} in lesson {lesson.number} (`course next --open` opens it)")
    elif challenge is not None:
        print(f"\nNext: challenge {challenge.number}, challenges/{challenge.name}.ipynb")
    else:
        print("\nEverything that is written is done.")
    if progress.path is not None:
        print(f"Kept in {progress.path}")
    return 0
