"""`course reset 03`: a fresh lesson or challenge; the old file stays beside it."""

from __future__ import annotations

import argparse
from typing import Any

from course_utils.authoring import shown
from course_utils.lessons import challenge_notebook, find_lesson, reset_notebook


def register(subparsers: Any) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "reset",
        description="Writes the notebook anew, with its blanks. The file that was there is kept "
        "beside it under its name and the time. Your progress is not touched.",
    )
    parser.add_argument(
        "lesson", help="a lesson's number, such as 03, or a challenge, such as 04_squeeze"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Reset one notebook.

    Raises:
        ValueError: there is no such lesson or challenge, or it is not written yet.
        OSError: no space, no permission; the old notebook is still there.
    """
    paths = challenge_notebook(args.lesson)
    if paths is None:
        lesson = find_lesson(args.lesson)
        paths = lesson.solution, lesson.notebook
    kept = reset_notebook(*paths)
    print(f"{shown(paths[1])} is fresh.")
    if kept is not None:
        print(f"What was there is kept as {shown(kept)}.")
    return 0
