"""`course reset 03`: a fresh lesson; the old file stays beside it."""

from __future__ import annotations

import argparse
from typing import Any


def register(subparsers: Any) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "reset",
        help="a fresh copy of a lesson; yours is kept beside it",
        description="Writes the lesson's notebook anew, with its blanks. The file that was there "
        "is kept beside it under its name and the time. Your progress is not touched.",
    )
    parser.add_argument("lesson", help="its number, such as 03")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Reset one lesson.

    Raises:
        ValueError: there is no such lesson, or it is not written yet.
        OSError: no space, no permission; the old notebook is still there.
    """
    from course_utils.authoring import shown
    from course_utils.lessons import find_lesson, reset_lesson

    lesson = find_lesson(args.lesson)
    kept = reset_lesson(lesson)
    print(f"{shown(lesson.notebook)} is fresh.")
    if kept is not None:
        print(f"What was there is kept as {shown(kept)}.")
    return 0
