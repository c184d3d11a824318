"""`course new lesson 10 editing`, `course new challenge "Mix colours"`: skeletons for authors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from course_utils.commands.new import challenge, lesson
from course_utils.files import write_atomically
from course_utils.lessons import ROOT

KINDS = (lesson, challenge)


def register(subparsers: Any) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "new",
        description="Writes the files that a new piece of the course needs, ready to be filled. "
        "CONTRIBUTING.md says what comes next.",
    )
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True, title="kinds")
    for kind in KINDS:
        kind.register(kinds)
        run = lambda args, kind=kind: write(kind.files(args), kind.changes(args))  # noqa: E731
        kinds.choices[kind.NAME].set_defaults(run=run)


def write(files: Mapping[Path, str], changes: Mapping[Path, str]) -> int:
    """Write new files, then changed ones, and name them.

    Raises:
        ValueError: a new one is there; nothing is written then.
    """
    if there := [path for path in files if path.exists()]:
        raise ValueError(f"{there[0].relative_to(ROOT)} is there already; choose another name")
    for path, text in {**files, **changes}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
        print(path.relative_to(ROOT))
    return 0
