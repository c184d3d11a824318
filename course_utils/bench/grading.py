"""Submissions a minute: `course grade` beside nbgrader's autograder, on the same notebooks.

Both grade the same class, of one trivial exercise and of challenge 01. nbgrader runs each notebook
in a kernel, in the account of whoever grades; ours runs each answer in a sandbox and measures on
the other side of a boundary. Also measured here: what the sandbox costs, what a second process
gains, and the memory of the process that collects the results.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from course_utils.bench.timing import Row, summarize, time_pairs
from course_utils.challenges.declare import (
    Band,
    Challenge,
    Limits,
    Measurement,
    Part,
    find_challenge,
)
from course_utils.grading.answers.notebooks import answers_of, parse_notebook
from course_utils.grading.answers.process import OtherProcess
from course_utils.grading.answers.verify import verify
from course_utils.grading.cohort.attempts import Attempt
from course_utils.grading.cohort.gradebook import Gradebook
from course_utils.grading.cohort.grader import Job, grade, overall
from course_utils.grading.cohort.run import GradingSettings, faulty, grade_cohort
from course_utils.grading.cohort.submissions import Submission
from course_utils.grading.sandbox.bubblewrap import Sandbox, SandboxError
from course_utils.grading.sandbox.probe import require

ROOT = Path(__file__).resolve().parents[2]
SOLUTION = ROOT / "solutions" / "challenges" / "01_noise_to_order.ipynb"
ANSWER = "def twice(x):\n    return 2 * x"


def _inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    return [{"x": random.standard_normal(3)}]


def _measure(inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Any]) -> Measurement:
    return Measurement(float(np.abs(np.asarray(outputs[0]) - 2 * inputs[0]["x"]).max()))


TRIVIAL = Challenge(
    "01",
    "Doubling",
    ("answer",),
    (
        Part(
            id="a",
            title="doubling",
            function="twice",
            inputs=_inputs,
            measure=_measure,
            bands=(Band(1e-6, 1),),
            quantity="largest error",
            better="less",
            limits=Limits(10, 1500),
        ),
    ),
    pass_points=1,
    setup="",
)


def grade_trivial(order: Job) -> Attempt:
    """Grade the trivial exercise."""
    answers = answers_of(parse_notebook(order.data, "it"), TRIVIAL)
    with OtherProcess(TRIVIAL, answers, Sandbox.for_challenge(TRIVIAL).starter()) as caller:
        result = verify(TRIVIAL, caller, order.seed)
    verdict, message = overall(result)
    attempt = faulty(order, "")
    return replace(
        attempt, verdict=verdict, points=result.points, passed=result.passed, message=message
    )


def grade_at_once(order: Job) -> Attempt:
    """No grading at all, but a result of the usual size: for the memory of the other side."""
    return replace(faulty(order, "x" * 5000), verdict="wrong", points=0.0, passed=False)


def cell(id: str, source: str, **nbgrader: Any) -> dict[str, Any]:
    """A code cell, as nbgrader marks it."""
    marks = {"schema_version": 3, "grade_id": id, "locked": False, "grade": False, **nbgrader}
    metadata = {"nbgrader": {"solution": False, **marks}} if nbgrader else {}
    return {
        "cell_type": "code",
        "id": id,
        "metadata": metadata,
        "execution_count": None,
        "outputs": [],
        "source": source,
    }


def notebook(cells: Sequence[dict[str, Any]]) -> bytes:
    """A notebook of these cells."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    found = {"cells": list(cells), "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(found).encode()


def trivial_notebook() -> bytes:
    """The trivial exercise, answered, with nbgrader's test in it."""
    test = "import numpy as np\nassert np.allclose(twice(np.ones(3)), 2)"
    return notebook(
        [cell("answer", ANSWER, solution=True), cell("test", test, grade=True, points=1)]
    )


def challenge_notebook() -> bytes:
    """Challenge 01, answered; for nbgrader, the last cell measures in the learner's kernel."""
    cells = json.loads(SOLUTION.read_bytes())["cells"]
    by_id = {each["id"]: "".join(each["source"]) for each in cells}
    challenge = find_challenge("01")
    answers = [cell(id, by_id[id], solution=True) for id in challenge.answers]
    test = (
        "from course_utils.grading.answers.callers import InKernel\n"
        "from course_utils.challenges.declare import find_challenge\n"
        "from course_utils.grading.answers.verify import verify\n"
        'result = verify(find_challenge("01"), InKernel(globals()))\n'
        "assert result.points == result.most"
    )
    setup = cell("setup", challenge.setup)
    return notebook([setup, *answers, cell("test", test, grade=True, points=10)])


def submissions(data: bytes, count: int) -> Iterator[Submission]:
    """A class that hands in the same; each notebook differs in a blank."""
    for number in range(count):
        yield Submission(f"student{number:04}", "01", "", data + b" " * number, datetime.now(UTC))


def grade_ours(
    folder: Path,
    data: bytes,
    count: int,
    jobs: int = 1,
    grader: Callable[[Job], Attempt] = grade,
    sandboxed: bool = True,
) -> None:
    """Grade a class into a new gradebook.

    Raises:
        RuntimeError: some submission did not get full marks.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        book = Gradebook(Path(name, "gradebook.sqlite"))
        settings = GradingSettings(b"0" * 32, jobs, sandboxed=sandboxed)
        tally = grade_cohort(submissions(data, count), book, settings, grader=grader)
        book.close()
    if tally.graded != {"pass": count}:
        raise RuntimeError(f"the benchmark's submissions gave {tally.graded}")


class TheirCourse:
    """An nbgrader course with one assignment and a class that has handed it in."""

    def __init__(self, folder: Path, data: bytes, count: int) -> None:
        self.folder, self.count = folder, count
        (folder / "source" / "ps1").mkdir(parents=True)
        (folder / "source" / "ps1" / "ps1.ipynb").write_bytes(data)
        (folder / "nbgrader_config.py").write_text("c = get_config()\n")
        self.run("generate_assignment", "ps1")
        for number in range(count):
            handed_in = folder / "submitted" / f"student{number:04}" / "ps1"
            handed_in.mkdir(parents=True)
            (handed_in / "ps1.ipynb").write_bytes(data)

    def run(self, *words: str) -> None:
        """Run an nbgrader command; it looks for its helper programs on the path."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        subprocess.run(
            [sys.executable, "-m", "nbgrader", *words],
            cwd=self.folder,
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        )

    def autograde(self) -> None:
        """Grade the whole class anew."""
        self.run("autograde", "ps1", "--force")


def grading(scratch: Path, count: int, pairs: int) -> list[Row]:
    """All rows; needs nbgrader and a sandbox.

    Args:
        scratch: an empty folder.
        count: submissions in a class.
        pairs: how often each comparison is timed.
    """
    rows = []
    for what, data, grader in (
        ("a trivial exercise", trivial_notebook(), grade_trivial),
        ("challenge 01", challenge_notebook(), grade),
    ):
        theirs = TheirCourse(scratch / what.replace(" ", "-"), data, count)
        rows.append(
            _row(
                f"{what}: course grade (1 process), nbgrader autograde",
                partial(grade_ours, scratch, data, count, 1, grader),
                theirs.autograde,
                count,
                pairs,
            )
        )
    data = challenge_notebook()
    rows.append(
        _row(
            "challenge 01: with a sandbox, without",
            partial(grade_ours, scratch, data, count),
            partial(grade_ours, scratch, data, count, sandboxed=False),
            count,
            pairs,
        )
    )
    rows.append(
        _row(
            "challenge 01: two processes, one",
            partial(grade_ours, scratch, data, count, 2),
            partial(grade_ours, scratch, data, count, 1),
            count,
            pairs,
        )
    )
    held, seconds = parent_memory(scratch)
    ratio = held[-1] / held[0]
    rows.append(
        Row(
            "grade",
            "memory of the collecting process after 1,000 submissions, after 100",
            "MB",
            held[-1],
            held[0],
            ratio,
            ratio,
            ratio,
            1,
            f"1,000 results of 5 kB were collected in {seconds:.0f} s",
        )
    )
    return rows


def why_not() -> str:
    """What is missing for these measurements; nothing where all is there."""
    import importlib.util

    if importlib.util.find_spec("nbgrader") is None:
        return "nbgrader is not installed; `make dev` does that"
    try:
        require()
    except SandboxError as error:
        return str(error)
    return ""


def _row(
    what: str, ours: Callable[[], None], theirs: Callable[[], None], count: int, pairs: int
) -> Row:
    seconds = time_pairs(ours, theirs, pairs, warm_up=0)
    check = f"each call grades {count} submissions, start of all processes included"
    return summarize("grade", what, "a minute", seconds, lambda s: 60 * count / s, check)


def parent_memory(scratch: Path, count: int = 1000) -> tuple[list[float], float]:
    """Memory of the process that collects results, while it collects many.

    Returns:
        Megabytes after each tenth of `count` submissions, and seconds for all.
    """
    import psutil

    own, found, seen = psutil.Process(), [], 0

    def look(_: Attempt) -> None:
        nonlocal seen
        seen += 1
        if seen % (count // 10) == 0:
            found.append(own.memory_info().rss / 2**20)

    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(dir=scratch) as name,
        Gradebook(Path(name, "g.sqlite")) as book,
    ):
        settings = GradingSettings(b"0" * 32, 2, sandboxed=False)
        large = challenge_notebook() + b" " * 100_000
        grade_cohort(submissions(large, count), book, settings, look, grader=grade_at_once)
    return found, time.monotonic() - started
