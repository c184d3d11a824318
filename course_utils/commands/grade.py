"""`course grade SUBMISSIONS --out RESULTS`: grades a class, in sandboxes, and writes reports."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from course_utils.challenges.declare import every_challenge, find_challenge
from course_utils.grading import reports
from course_utils.grading.cohort.gradebook import Gradebook, Late, Policy
from course_utils.grading.cohort.layouts import known_person, stem_of
from course_utils.grading.cohort.run import GradingSettings, grade_cohort, secret_of
from course_utils.grading.cohort.submissions import find_submissions
from course_utils.grading.reports import exports
from course_utils.grading.reports.people import Roster

EXPORTS = ("nbgrader", "canvas", "moodle", "gradescope", "lti")


def register(subparsers: Any) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "grade",
        description="Takes a folder (or a zip) of challenge notebooks, "
        "`student/02_denoise_on_a_budget.ipynb` or `student_02_denoise_on_a_budget.ipynb`, and "
        "grades them in sandboxes without network. Can be stopped and run again: what is graded "
        "is not graded twice. RESULTS gets gradebook.sqlite, a page for each learner, a page for "
        "you, and the exports that you ask for. Files that are not taken are named. Exit status 0 "
        "where nothing failed on our side and everybody who handed in a file has a grade.",
    )
    parser.add_argument("submissions", type=Path, help="a folder or a zip")
    parser.add_argument("--out", type=Path, required=True, metavar="RESULTS", help="a folder")
    parser.add_argument("--challenge", help="of all of them, where the file names don't say")
    parser.add_argument("--jobs", type=int, help="processes at once; default: one a core")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="grade on this Dask cluster")
    parser.add_argument(
        "--count", choices=("best", "last"), default="best", help="which attempt counts"
    )
    parser.add_argument(
        "--most-attempts",
        type=int,
        metavar="N",
        help="only the first N different notebooks of a student count; each has inputs of its own, "
        "so that many tries are a lottery",
    )
    parser.add_argument(
        "--due",
        action="append",
        default=[],
        metavar="[NN=]WHEN",
        help="ISO 8601 with time zone, of one challenge or of all: 02=2027-01-31T23:59+01:00",
    )
    parser.add_argument("--late-percent", type=float, default=0.0, help="lost a day begun")
    parser.add_argument("--late-most", type=float, default=100.0, help="percent lost at most")
    parser.add_argument("--late-days", type=float, help="later than that is not accepted")
    parser.add_argument(
        "--grace", type=float, default=0.0, help="minutes that do not count as late"
    )
    parser.add_argument(
        "--export", action="append", default=[], choices=EXPORTS, help="may be given several times"
    )
    parser.add_argument("--roster", type=Path, help="CSV: student,id,email,...")
    parser.add_argument(
        "--unsafe-no-sandbox",
        action="store_true",
        help="for your own notebooks only: answers run as you, with your files and your network; "
        "every result is marked so",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Grade a class.

    Raises:
        ValueError: an argument makes no sense, or there are no submissions.
        RuntimeError: the sandbox is not in force here.
    """
    jobs = _jobs(args.jobs)
    challenge = find_challenge(args.challenge).number if args.challenge else None
    policy = _policy(args)
    roster = Roster.read(args.roster) if args.roster else None  # wrong ones are told before
    found = find_submissions(args.submissions, challenge)
    settings = GradingSettings(
        secret_of(args.out), jobs, args.scheduler, sandboxed=not args.unsafe_no_sandbox
    )
    if args.unsafe_no_sandbox:
        print("Without a sandbox: answers run as you. Every result is marked.", file=sys.stderr)
    with Gradebook(args.out / "gradebook.sqlite") as book, _Bar() as bar:
        try:
            tally = grade_cohort(found, book, settings, bar.tell)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped; {bar.count} graded and kept. The same command goes on from there."
            ) from None
        left = _left(tally, roster)
        reports.write(book, args.out / "reports", policy, left=left)
        _export(args, book, policy, roster)
    return _tell(args.out, tally, left)


def _left(tally: Any, roster: Any) -> list[tuple[str, str]]:
    """(what, why) of all that a person should look at."""
    found = [(each.source, f"was not graded: it {each.why}.") for each in tally.ignored]
    found += [(each.source, f"{each.text}.") for each in tally.notices]
    if roster is not None:
        here = {roster.find(student) for student in tally.students}
        found += [(p.student, "is in the roster and has no file.") for p in roster if p not in here]
        found += [
            (student, "has a file and is not in the roster.")
            for student in sorted(tally.students)
            if roster.find(student) is None
        ]
    return found


def _tell(out: Path, tally: Any, left: list[tuple[str, str]]) -> int:
    graded = sum(tally.graded.values())
    if not graded and not tally.before:
        print("No submissions were found.", file=sys.stderr)
    else:
        verdicts = ", ".join(f"{n} {name}" for name, n in sorted(tally.graded.items()))
        before = f" {tally.before} had been graded before." if tally.before else ""
        print(f"Graded {graded}{': ' + verdicts if verdicts else ''}.{before}")
        print(f"Reports: {out / 'reports' / 'index.html'}")
    for what, why in left:
        print(f"{what} {why}", file=sys.stderr)
    if tally.faults:
        print(
            f"The grader failed at {tally.faults}; they have no points, not zero. Run the same "
            "command to try them again.",
            file=sys.stderr,
        )
    lost = _lost(tally)
    if lost:
        print(f"Nothing was graded of: {', '.join(lost)}.", file=sys.stderr)
    return 1 if tally.faults or lost or not (graded or tally.before) else 0


def _lost(tally: Any) -> list[str]:
    """Whose files were all not taken; folders, or files at the top, by name."""

    def person(source: str) -> str:
        name = source.replace(":", "/").split("/")[0]
        found = known_person(name) or known_person(stem_of(name))
        return found[0] if found else name

    graded = {person(source) for source in tally.sources}
    ignored = [person(each.source) for each in tally.ignored]
    return sorted({name for name in ignored if name not in graded})


def _jobs(asked: int | None) -> int:
    if asked is None:
        cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
        return max(1, cores or 1)
    if asked < 1:
        raise ValueError(f"--jobs is {asked}; expected 1 or more")
    return asked


def _policy(args: argparse.Namespace) -> Any:
    names = {each.number: each.name for each in every_challenge()}
    due: dict[str, datetime] = {}
    for text in args.due:
        number, _, when = text.rpartition("=")
        try:
            moment = datetime.fromisoformat(when)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise ValueError(
                f"--due is {text!r}; expected a date and time with its zone, such as "
                "02=2027-01-31T23:59+01:00"
            )
        if number and number.zfill(2) not in names:
            raise ValueError(f"--due names challenge {number!r}; known are {', '.join(names)}")
        wanted = [number.zfill(2)] if number else [n for n in names if names[n] not in due]
        due |= {names[n]: moment for n in wanted}
    late = Late(args.late_percent, args.late_most, args.late_days, args.grace)
    return Policy(args.count, due, late, args.most_attempts)


def _export(args: argparse.Namespace, book: Any, policy: Any, roster: Any) -> None:
    if not args.export:
        return
    for kind in args.export:
        folder = args.out / "exports"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (kind if kind in ("gradescope", "lti") else f"{kind}.csv")
        written = exports.write(kind, book, policy, path, roster)
        print(f"Export for {kind}: {path}")
        for student, why in written.left_out:
            print(f"Not in the export for {kind}: {student} {why}.", file=sys.stderr)


class _Bar:
    """A progress bar on a terminal; elsewhere a line now and then."""

    def __init__(self) -> None:
        self.bar = tqdm(unit=" notebooks", desc="grading", mininterval=1, file=sys.stderr)
        self.count = 0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def tell(self, attempt: Any) -> None:
        self.count += 1
        self.bar.set_postfix_str(f"{attempt.student[:20]}: {attempt.verdict}", refresh=False)
        self.bar.update()
