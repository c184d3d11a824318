"""Graders for tests of a class: they import nothing that takes time and do as the student says.

A student's name is what happens: "dies", "dies once", "raises", "fault", "fault once"; any other
one passes. COURSE_TEST_MARKS is a folder where they leave marks.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tiny_challenge import declare

from course_utils.challenges.declare import find_challenge
from course_utils.challenges.names import NAMES
from course_utils.grading.cohort.attempts import FAULT, Attempt
from course_utils.grading.cohort.grader import Job, conditions


def first_time(order: Job) -> bool:
    """Whether this order comes for the first time; leaves a mark."""
    folder = Path(os.environ["COURSE_TEST_MARKS"])
    number = len(list(folder.glob(f"{order.student}.*")))
    (folder / f"{order.student}.{number}").touch()
    return number == 0


def pretend(order: Job) -> Attempt:
    """Grade without running anything."""
    if "90" not in NAMES:
        declare()
    first = first_time(order)
    if order.student == "dies" or (order.student == "dies once" and first):
        os._exit(1)
    if order.student == "raises":
        raise RuntimeError("a grader that fails")
    if order.student == "interrupts":
        sys.exit(3)
    time.sleep(float(os.environ.get("COURSE_TEST_SECONDS", "0")))
    fault = order.student == "fault" or (order.student == "fault once" and first)
    challenge = find_challenge(order.challenge)
    return Attempt(
        student=order.student,
        challenge=challenge.name,
        submission=order.submission,
        verdict=FAULT if fault else "pass",
        points=None if fault else challenge.points,
        most=challenge.points,
        passed=None if fault else True,
        message="",
        parts=(),
        answers={},
        submitted=order.submitted,
        graded=datetime.now(UTC).isoformat(timespec="seconds"),
        record={"key": conditions(order)["key"], "sandboxed": order.sandboxed},
    )


def main() -> None:
    """Grade a class of so many, as another process: RESULTS COUNT [SCHEDULER]."""
    from datetime import timedelta

    from course_utils.grading.cohort.gradebook import Gradebook
    from course_utils.grading.cohort.run import GradingSettings, grade_cohort, secret_of
    from course_utils.grading.cohort.submissions import Submission

    declare()
    results, count, *scheduler = sys.argv[1:]
    when = datetime(2026, 3, 2, tzinfo=UTC)
    handed_in = [
        Submission(f"student {n}", "90", f"{n}", b"%d" % n, when + timedelta(hours=n))
        for n in range(int(count))
    ]
    settings = GradingSettings(secret_of(Path(results)), 2, *scheduler, sandboxed=False)
    with Gradebook(Path(results) / "gradebook.sqlite") as book:
        tally = grade_cohort(handed_in, book, settings, grader=by_name())
    print(sum(tally.graded.values()), tally.before)


def by_name():  # type: ignore[no-untyped-def]
    """`pretend`, as other processes know it: this module is another one when it is run."""
    import cohort_graders

    return cohort_graders.pretend


if __name__ == "__main__":
    main()
