"""Every submission gets exactly one result, whatever dies, stops or is run again."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import cohort_graders
import pytest
import tiny_challenge
from running import family, still

from course_utils import cli
from course_utils.grading.cohort.attempts import FAULT, Attempt
from course_utils.grading.cohort.gradebook import Gradebook
from course_utils.grading.cohort.grader import environment_hash
from course_utils.grading.cohort.run import CohortError, GradingSettings, grade_cohort, secret_of
from course_utils.grading.cohort.submissions import Ignored, Submission

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
WHEN = datetime(2026, 3, 2, 12, tzinfo=UTC)
SETTINGS = GradingSettings(b"x" * 32, 2, sandboxed=False)


@pytest.fixture(autouse=True)
def _declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("COURSE_TEST_MARKS", str(tmp_path / "marks"))
    with tiny_challenge.declared():
        yield


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Gradebook]:
    with Gradebook(tmp_path / "results" / "gradebook.sqlite") as book:
        yield book


def handed_in(*students: str, data: bytes = b"") -> list[Submission | Ignored]:
    return [Submission(s, "90", s, data or s.encode(), WHEN) for s in students]


def run(
    book: Gradebook, given: list[Submission | Ignored], settings: GradingSettings = SETTINGS
) -> tuple[dict[str, int], int]:
    tally = grade_cohort(given, book, settings, grader=cohort_graders.pretend)
    return tally.graded, tally.before


def results(book: Gradebook) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for attempt in book.attempts():
        found.setdefault(attempt.student, []).append(attempt.verdict)
    return found


def test_what_is_graded_is_not_graded_twice(book: Gradebook) -> None:
    assert run(book, handed_in("ada", "bo")) == ({"pass": 2}, 0)
    assert run(book, handed_in("ada", "bo", "cy", "bo")) == ({"pass": 1}, 3)
    assert run(book, handed_in("ada", data=b"changed")) == ({"pass": 1}, 0)
    assert results(book) == {"ada": ["pass", "pass"], "bo": ["pass"], "cy": ["pass"]}
    other = GradingSettings(SETTINGS.secret, 2, sandboxed=False, threads=2)
    assert run(book, handed_in("ada", "bo"), other) == ({"pass": 2}, 0)  # other conditions


def test_one_notebook_of_two_students_counts_for_both(book: Gradebook) -> None:
    assert run(book, handed_in("ada", "bo", data=b"same")) == ({"pass": 2}, 0)
    first, second = book.attempts()
    assert first.submission == second.submission and first.student != second.student


def test_a_grader_that_dies_is_a_fault_and_takes_nobody_with_it(book: Gradebook) -> None:
    students = [f"student {n}" for n in range(4)]
    given = handed_in(*students[:2], "dies", "raises", "dies once", "fault once", *students[2:])
    graded, before = run(book, given)
    assert (graded, before) == ({"pass": 5, FAULT: 3}, 0)
    every: list[Attempt] = list(book.attempts())
    assert len(every) == len(given) == len({a.student for a in every})
    for attempt in every:
        expected = attempt.student in ("dies", "raises", "fault once")
        assert attempt.fault == expected and (attempt.points is None) == expected
        assert not attempt.fault or attempt.passed is None
    graded, before = run(book, given)  # faults are tried again, and nothing else
    assert (graded, before) == ({"pass": 1, FAULT: 2}, 5)
    assert results(book)["fault once"] == [FAULT, "pass"]


def test_files_that_are_none_and_challenges_that_are_none_are_told(book: Gradebook) -> None:
    unknown = Submission("ada", None, "ada/x.ipynb", b"", WHEN)
    sources = ["x", "ada/x.ipynb", "ada/98.ipynb"]
    later = Submission("ada", "98", "ada/98.ipynb", b"", WHEN)
    tally = grade_cohort(
        [Ignored("x", "is a link"), unknown, later, *handed_in("bo")], book, SETTINGS,
        grader=cohort_graders.pretend,
    )  # fmt: skip
    assert tally.graded == {"pass": 1} and [i.source for i in tally.ignored] == sources


# --- stopped -------------------------------------------------------------------------------------


def elsewhere(results: Path, count: int, marks: Path, *more: str) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{HERE}:{HERE.parent}",
        "COURSE_TEST_MARKS": str(marks),
        "COURSE_TEST_SECONDS": "0.1",
    }
    command = [sys.executable, str(HERE / "cohort_graders.py"), str(results), str(count), *more]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def count_of(results: Path) -> int:
    path = results / "gradebook.sqlite"
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM attempts").fetchone()[0])
    except sqlite3.Error:
        return 0


def wait_for(results: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while count_of(results) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def exactly_once(results: Path, count: int) -> None:
    with Gradebook(results / "gradebook.sqlite") as book:
        students = Counter(attempt.student for attempt in book.attempts())
        assert set(students.values()) == {1} and len(students) == count
        assert len({a.record["key"] for a in book.attempts()}) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on(how: signal.Signals, tmp_path: Path) -> None:
    out, marks, count = tmp_path / "out", tmp_path / "marks", 60  # far from done when it stops
    chance = random.Random(int(how))
    for _ in range(2):
        process = elsewhere(out, count, marks)
        wait_for(out, count_of(out) + chance.randint(1, 8), process)
        time.sleep(chance.random() / 5)
        started = family(process.pid)
        process.send_signal(how)
        _, error = process.communicate(timeout=60)
        assert process.returncode != 0
        if how is signal.SIGINT:
            assert "KeyboardInterrupt" in error
        assert not still(started, 30)
    before = count_of(out)
    assert 2 <= before < count
    process = elsewhere(out, count, marks)
    printed, error = process.communicate(timeout=120)
    assert printed.split() == [str(count - before), str(before)], error
    exactly_once(out, count)


# --- the secret, the mark, the command -----------------------------------------------------------


def test_the_secret_is_its_owner_s_alone_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    secret = secret_of(folder)
    assert len(secret) == 32 and secret_of(folder) == secret
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600
    assert secret_of(tmp_path / "other") != secret
    for damaged in ("", "abcd", "no hexadecimal digits" * 9, "é" * 64):
        (folder / "secret").write_text(damaged, encoding="utf-8")
        with pytest.raises(CohortError, match="holds no secret"):
            secret_of(folder)


def test_without_a_sandbox_every_result_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in" / "ada"
    folder.mkdir(parents=True)
    (folder / "01_noise_to_order.ipynb").write_text("{}")
    command = ["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert cli.main([*command, "--unsafe-no-sandbox"]) == 0
    said = capsys.readouterr()
    assert "Graded 1: 1 unreadable." in said.out and "Every result is marked" in said.err
    with Gradebook(tmp_path / "out" / "gradebook.sqlite") as book:
        (attempt,) = book.attempts()
    assert attempt.record["sandboxed"] is False and not attempt.sandboxed
    assert attempt.points == 0 and attempt.message


def test_results_with_a_sandbox_do_not_stand_for_those_without(
    sandboxed: None, book: Gradebook
) -> None:
    assert run(book, handed_in("ada")) == ({"pass": 1}, 0)
    assert run(book, handed_in("ada"), GradingSettings(SETTINGS.secret, 1)) == ({"pass": 1}, 0)
    assert [attempt.sandboxed for attempt in book.attempts()] == [False, True]


def test_where_packages_are_looked_for_is_no_condition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Importing setuptools puts a folder with other packages on the path, in one process only.
    (tmp_path / "brought_along-1.0.dist-info").mkdir()
    (tmp_path / "brought_along-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: brought-along\nVersion: 1.0\n"
    )
    before = environment_hash.__wrapped__()
    monkeypatch.syspath_prepend(tmp_path)
    assert metadata.version("brought-along") == "1.0"
    assert environment_hash.__wrapped__() == before
