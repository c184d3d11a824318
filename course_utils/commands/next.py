"""`course next`: open the next thing to do, or name it where nothing can be opened."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any

from course_utils.checks import exercises
from course_utils.lessons import ROOT
from course_utils.progress import Progress, next_challenge, next_exercise, standings


def register(subparsers: Any) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "next",
        description="Says what comes next: the first open exercise of the first lesson that has "
        "one, then the first challenge that you have not passed.",
    )
    parser.add_argument("--open", action="store_true", help="open it in JupyterLab")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Say it, and open it if asked to."""
    progress = Progress.default()
    following = next_exercise(standings(exercises, progress))
    if following is None:
        challenge = next_challenge(progress)
        if challenge is None:
            print("Everything that is written is done. `course progress` lists it.")
            return 0
        path = f"challenges/{challenge.name}.ipynb"
        print(f"Challenge {challenge.number} {challenge.title} ({challenge.words()})\n{path}")
    else:
        lesson, exercise = following
        try:
            path = lesson.notebook.relative_to(ROOT).as_posix()
        except ValueError:
            path = str(lesson.notebook)
        print(
            f"{exercise.name}, lesson {lesson.number} {lesson.title} (difficulty "
            f"{exercise.difficulty} of 5, about {exercise.minutes} minutes)\n{path}"
        )
    if not args.open:
        print(f"Open it: `course next --open`, or `jupyter lab {path}`")
        return 0
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={ROOT}"]
    return subprocess.call([*command, f"--LabApp.default_url=/lab/tree/{path}"])
