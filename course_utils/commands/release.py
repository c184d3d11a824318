"""`course release`: write the learners' notebooks from the solutions, or check that they agree."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from course_utils.authoring import AuthoringError, check, execute, release, shown, solution_paths
from course_utils.checks.agree import disagreements

ROOT = Path(__file__).resolve().parents[2]


def register(subparsers: Any) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "release",
        description="Writes the learner's version of each notebook: stubs where solutions stand, "
        "no outputs, all else the same.",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where the two differ"
    )
    parser.add_argument(
        "--execute", action="store_true", help="first run each solution and save its outputs"
    )
    parser.add_argument(
        "--force", action="store_true", help="write over notebooks in which somebody has worked"
    )
    parser.add_argument(
        "lessons",
        nargs="*",
        metavar="LESSON",
        help="with --execute: run only these, such as 10",
    )
    parser.add_argument(
        "--solutions", type=Path, default=ROOT / "solutions", help="default: solutions/"
    )
    parser.add_argument(
        "--notebooks", type=Path, default=ROOT / "notebooks", help="default: notebooks/"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Release or check; returns the exit status."""
    if args.check and (args.execute or args.force):
        print("course release: --check writes nothing; leave out the others.", file=sys.stderr)
        return 2
    try:
        return _check(args) if args.check else _release(args)
    except KeyboardInterrupt:
        print("course release: stopped; no file is left half written", file=sys.stderr)
        return 130
    except (AuthoringError, OSError) as error:
        print(f"course release: {error}", file=sys.stderr)
        return 1


def _release(args: argparse.Namespace) -> int:
    for solutions, notebooks in _folders(args):
        if args.execute:
            for path in solution_paths(solutions):
                is_asked = solutions == args.solutions and path.name[:2] in args.lessons
                if args.lessons and not is_asked:
                    continue
                print(f"running {shown(path)}", flush=True)
                execute(path)
        for path, written in release(solutions, notebooks, args.force).items():
            print(f"{shown(path)}: {'written' if written else 'was up to date'}")
    return 0


def _folders(args: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Folders of solutions, and where the learner's versions of each go."""
    folders = [(args.solutions, args.notebooks)]
    challenges = args.solutions / "challenges"
    if challenges.is_dir():
        folders.append((challenges, args.notebooks.parent / "challenges"))
    return folders


def _check(args: argparse.Namespace) -> int:
    folders = _folders(args)
    found = [difference for pair in folders for difference in check(*pair)]
    found += disagreements(args.solutions)
    for difference in found:
        print(difference, file=sys.stderr)
    if found:
        count = f"{len(found)} place{'s' * (len(found) > 1)}"
        print(f"course release: {count} to mend, see above.", file=sys.stderr)
        return 1
    notebooks = sum(len(solution_paths(solutions)) for solutions, _ in folders)
    print(f"{notebooks} notebooks agree with their solutions.")
    return 0
