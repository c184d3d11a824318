"""The gradebook keeps what it was given, through crashes, crowds and everybody's SQL."""

from __future__ import annotations

import dataclasses
import itertools
import math
import multiprocessing
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from made_up_class import DUE, HOSTILE, attempt, part

from course_utils.grading.cohort.gradebook import (
    FAULT,
    VERDICTS,
    Attempt,
    Gradebook,
    GradebookError,
    Late,
    PartRecord,
    Policy,
)

ZERO = timedelta(0)


@pytest.fixture
def book(tmp_path: Path) -> Gradebook:
    return Gradebook(tmp_path / "new folder" / "grades.sqlite")


# --- what goes in comes out ----------------------------------------------------------------------


def test_an_attempt_comes_back_as_it_was(book: Gradebook) -> None:
    given = attempt(
        parts=(
            part("a", 1.0, oracle_calls={"denoise": 8}, notes=("one", "two"), value=math.inf),
            part("b", 0.0, verdict="timeout", value=None, details={"worst": -math.inf}),
        ),
        answers={"sample": "def sample():\n\treturn '\x00\ud83d </script>'\r\n"},
        message="half \ud83d a character".encode("utf-8", "replace").decode(),
    )
    number = book.add(given)
    again = Gradebook(book.path)
    assert list(again.attempts()) == [given]
    assert book.add(given) > number
    assert [a.student for a in again.attempts("ada")] == ["ada", "ada"]
    assert list(again.attempts("ada", "another")) == list(again.attempts("bela")) == []


@pytest.mark.parametrize("student", HOSTILE, ids=range(len(HOSTILE)))
def test_any_name_is_kept_and_found(book: Gradebook, student: str) -> None:
    given = attempt(student, message=student, answers={student: student})
    book.add(given)
    (kept,) = book.attempts(student)
    assert kept.answers == given.answers
    assert book.graded(student, given.challenge, given.submission, "grader 1") == kept
    escaped = student.encode("utf-8", "backslashreplace").decode()
    assert (kept.student, kept.message) == (escaped, escaped)
    assert [g.student for g in book.grades()] == [escaped]


def test_more_than_a_page_comes_in_order(book: Gradebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("course_utils.grading.cohort.gradebook.PAGE", 3)
    for i in range(10):
        book.add(attempt(f"student {9 - i}"))
    assert [a.student[-1] for a in book.attempts()] == list("9876543210")
    assert [g.student[-1] for g in book.grades()] == list("0123456789")


def test_adding_while_reading_does_not_wait(book: Gradebook) -> None:
    for i in range(3):
        book.add(attempt(f"student {i}"))
    other = Gradebook(book.path)
    for number, _ in enumerate(book.attempts()):
        other.add(attempt(f"late {number}"))
    assert len(list(book.attempts())) == 6


def test_a_part_is_recorded_as_it_was_measured() -> None:
    from course_utils.grading.answers.verify import PartResult

    names = {field.name for field in dataclasses.fields(PartResult)}
    assert {field.name for field in dataclasses.fields(PartRecord)} == names
    result = PartResult("a", "A", 1.0, 2.0, "partial", 0.3, "so so", ("note",), "next", 0.1, {}, {})
    assert dataclasses.asdict(PartRecord.of(result)) == dataclasses.asdict(result)


def test_every_verdict_of_a_part_is_known() -> None:
    from typing import get_args

    from course_utils.grading.answers.verify import PartVerdict

    assert set(get_args(PartVerdict)) < set(VERDICTS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "great"}, "expected one of pass"),
        ({"points": None}, "only a fault"),
        ({"verdict": FAULT}, "only a fault"),
        ({"points": math.nan}, "points is nan"),
        ({"points": -1.0}, "points is -1.0"),
        ({"most": math.inf}, "most is inf"),
        ({"student": ""}, "student is empty"),
        ({"submitted": "2026-03-01T10:00:00"}, "no time zone"),
        ({"graded": "yesterday"}, "expected ISO 8601"),
        ({"record": {}}, "key None"),
    ],
)
def test_what_is_no_attempt_is_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(attempt(), **change)


def test_what_is_not_json_leaves_nothing_behind(book: Gradebook) -> None:
    with pytest.raises(TypeError):
        book.add(dataclasses.replace(attempt(), record={"key": "k", "seed": object()}))
    assert list(book.attempts()) == []
    book.add(attempt())


# --- graded before -------------------------------------------------------------------------------


def test_what_was_graded_alike_is_found(book: Gradebook) -> None:
    first = attempt(points=3.0)
    asked = (first.student, first.challenge, first.submission)
    assert book.graded(*asked, "grader 1") is None
    book.add(first)
    book.add(attempt(points=5.0, key="grader 2"))
    assert book.graded(*asked, "grader 1") == first
    assert book.graded(*asked, "grader 3") is None
    for other in itertools.product(("bela", "ada"), ("99_made_up", "98"), (first.submission, "0")):
        if other != asked:
            assert book.graded(*other, "grader 1") is None


def test_a_fault_is_graded_again(book: Gradebook) -> None:
    fault = attempt(points=None)
    book.add(fault)
    asked = (fault.student, fault.challenge, fault.submission, "grader 1")
    assert book.graded(*asked) is None
    book.add(attempt(points=4.0))
    book.add(fault)
    found = book.graded(*asked)
    assert found is not None and found.points == 4.0


# --- nothing is ever changed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE attempts SET points = 10",
        "UPDATE OR REPLACE attempts SET id = 2 WHERE id = 1",
        "DELETE FROM attempts",
        "INSERT OR REPLACE INTO attempts SELECT * FROM attempts WHERE id = 1",
        "REPLACE INTO attempts SELECT * FROM attempts",
        "INSERT INTO attempts SELECT * FROM attempts WHERE true "
        "ON CONFLICT(id) DO UPDATE SET points = 10",
    ],
)
def test_the_file_itself_refuses_to_change_an_attempt(book: Gradebook, sql: str) -> None:
    book.add(attempt())
    book.add(attempt("bela"))
    before = list(book.attempts())
    connection = sqlite3.connect(book.path)
    with pytest.raises(sqlite3.IntegrityError, match="attempts are never"):
        connection.execute(sql)
    connection.close()
    assert list(book.attempts()) == before


def test_a_zero_can_not_stand_for_a_fault(book: Gradebook) -> None:
    book.add(attempt(points=None))
    sql = "SELECT * FROM attempts"
    connection = sqlite3.connect(book.path)
    connection.row_factory = sqlite3.Row
    row = dict(connection.execute(sql).fetchone()) | {"id": None, "points": 0.0}
    marks = ", ".join(f":{name}" for name in row)
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        connection.execute(f"INSERT INTO attempts ({', '.join(row)}) VALUES ({marks})", row)
    connection.close()


# --- the file ------------------------------------------------------------------------------------


def test_the_log_is_written_ahead_and_to_the_disk(book: Gradebook) -> None:
    with book._use() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        assert connection.execute("PRAGMA busy_timeout").fetchone()[0] >= 10_000


def test_a_newer_gradebook_is_refused(book: Gradebook) -> None:
    book.close()
    with sqlite3.connect(book.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(GradebookError, match="newer course"):
        Gradebook(book.path)


def test_missing_steps_of_the_schema_are_taken_once(
    book: Gradebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    from course_utils.grading.cohort import gradebook

    book.add(attempt())
    book.close()
    more = (
        *gradebook.MIGRATIONS,
        ("CREATE TABLE more (id INTEGER)", "INSERT INTO more VALUES (1)"),
    )
    monkeypatch.setattr(gradebook, "MIGRATIONS", more)
    for _ in range(2):
        again = Gradebook(book.path)
        with again._use() as connection:
            assert connection.execute("PRAGMA user_version").fetchone()[0] == 2
            assert connection.execute("SELECT count(*) FROM more").fetchone()[0] == 1
        assert len(list(again.attempts())) == 1


def test_a_step_that_fails_leaves_the_old_schema(
    book: Gradebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    from course_utils.grading.cohort import gradebook

    book.add(attempt())
    book.close()
    step = ("CREATE TABLE more (id INTEGER)", "INSERT INTO missing VALUES (1)")
    with monkeypatch.context() as patch:
        patch.setattr(gradebook, "MIGRATIONS", (*gradebook.MIGRATIONS, step))
        with pytest.raises(GradebookError, match="missing"):
            Gradebook(book.path)
    again = Gradebook(book.path)
    with again._use() as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
        assert not connection.execute("SELECT 1 FROM sqlite_schema WHERE name='more'").fetchall()
    assert len(list(again.attempts())) == 1


def test_other_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE attempts (id INTEGER)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(GradebookError, match="no gradebook"):
        Gradebook(path)
    assert path.read_bytes() == before
    text = tmp_path / "grades.csv"
    text.write_text("student,points\n" * 200)
    with pytest.raises(GradebookError, match="not a database"):
        Gradebook(text)
    with pytest.raises(GradebookError):
        Gradebook(tmp_path)  # a folder


def test_it_can_be_sent_to_another_process(book: Gradebook) -> None:
    book.add(attempt())
    assert len(list(pickle.loads(pickle.dumps(book)).attempts())) == 1
    with book:
        pass
    book.add(attempt())  # opens again


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_opens_its_own(book: Gradebook) -> None:
    book.add(attempt())
    child = os.fork()
    if child == 0:
        status = 1
        try:
            book.add(attempt("child"))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    book.add(attempt("parent"))
    assert [a.student for a in book.attempts()] == ["ada", "child", "parent"]


def _add_many(path: Path, name: str, count: int, start: float) -> None:
    time.sleep(max(start - time.time(), 0))
    book = Gradebook(path)
    for i in range(count):
        book.add(attempt(f"{name} {i}", answers={"sample": "x" * 5000}))


def test_several_processes_make_and_fill_one_gradebook(tmp_path: Path) -> None:
    path = tmp_path / "grades.sqlite"
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    start = time.time() + 0.1
    every = [context.Process(target=_add_many, args=(path, n, 12, start)) for n in "abcd"]
    for process in every:
        process.start()
    for process in every:
        process.join(60)
    assert [process.exitcode for process in every] == [0, 0, 0, 0]
    students = [a.student for a in Gradebook(path).attempts()]
    assert sorted(students) == sorted(f"{n} {i}" for n in "abcd" for i in range(12))


WRITER = """
import sys
from made_up_class import attempt
from course_utils.grading.cohort.gradebook import Gradebook
book = Gradebook(sys.argv[1])
i = 0
while True:
    number = book.add(attempt(f"student {i}", answers={"sample": str(i) * 30000}))
    sys.stdout.write(f"{number} {i}\\n")
    sys.stdout.flush()
    i += 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
def test_killed_at_any_moment_nothing_is_lost_or_half_written(tmp_path: Path) -> None:
    path = tmp_path / "grades.sqlite"
    random_ = random.Random(0)
    promised: dict[int, str] = {}
    for round_ in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        )
        assert writer.stdout is not None
        if round_ < 4:  # perhaps while the file is being made
            lines = []
            time.sleep(0.04 + random_.random() * 0.1)
        else:
            lines = [writer.stdout.readline() for _ in range(random_.randint(1, 8))]
            time.sleep(random_.random() * 0.02)
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait()
        whole = [line.split() for line in lines if line.endswith("\n")]
        promised |= {int(number): word for number, word in whole}
    book = Gradebook(path)
    with book._use() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        kept = dict(connection.execute("SELECT id, student FROM attempts"))
    assert len(promised) >= 8
    assert {n: f"student {word}" for n, word in promised.items()}.items() <= kept.items()
    assert len(kept) <= len(promised) + 12  # at most the one in the air at each kill
    for found in book.attempts():
        number = found.student.split()[-1]
        assert found.answers == {"sample": number * 30000}


# --- grades --------------------------------------------------------------------------------------


def graded(policy: Policy, *attempts: Attempt):
    """The one grade of these, however they are ordered in time."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, Gradebook(Path(folder) / "g.sqlite") as book:
        for one in attempts:
            book.add(one)
        (grade,) = book.grades(policy)
        return grade


def policy(attempt: str = "best", **late: float) -> Policy:
    return Policy(attempt, {"99_made_up": DUE}, Late(**late))  # type: ignore[arg-type]


def at(points: float | None, after: timedelta, bytes_: str | None = None, **more) -> Attempt:
    return attempt(points=points, submitted=DUE + after, bytes_=bytes_ or f"{after}", **more)


@pytest.mark.parametrize(
    ("after", "late", "days", "points"),
    [
        (-timedelta(days=3), {"percent_a_day": 10}, 0, 8),
        (ZERO, {"percent_a_day": 10}, 0, 8),
        (timedelta(microseconds=1), {"percent_a_day": 10}, 1, 7.2),
        (timedelta(days=1), {"percent_a_day": 10}, 1, 7.2),
        (timedelta(days=1, seconds=1), {"percent_a_day": 10}, 2, 6.4),
        (timedelta(days=30), {"percent_a_day": 10, "at_most": 40}, 30, 4.8),
        (timedelta(days=30), {"percent_a_day": 10}, 30, 0),
        (timedelta(minutes=15), {"percent_a_day": 10, "grace_minutes": 15}, 0, 8),
        (timedelta(minutes=16), {"percent_a_day": 10, "grace_minutes": 15}, 1, 7.2),
        (timedelta(minutes=1), {"cut_off_days": 0}, 1, 0),
        (timedelta(minutes=1), {"cut_off_days": 0, "grace_minutes": 5}, 0, 8),
        (timedelta(days=2), {"cut_off_days": 2, "percent_a_day": 5}, 2, 7.2),
        (timedelta(days=2, seconds=1), {"cut_off_days": 2, "percent_a_day": 5}, 3, 0),
        (timedelta(days=2), {}, 2, 8),
    ],
)
def test_the_late_rule(after: timedelta, late: dict, days: int, points: float) -> None:
    grade = graded(policy(**late), at(8.0, after))
    assert (grade.days_late, grade.points, grade.reached) == (days, pytest.approx(points), 8.0)


def test_days_are_counted_through_the_change_of_clocks() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    due = datetime(2026, 3, 28, 23, 0, tzinfo=berlin)  # clocks go forward in that night
    rule = Policy("best", {"99_made_up": due}, Late(percent_a_day=10))
    one_day = datetime(2026, 3, 29, 23, 0, tzinfo=berlin)  # 23 hours later
    grade = graded(rule, attempt(points=10.0, submitted=one_day))
    assert (grade.days_late, grade.points) == (1, 9.0)
    grade = graded(rule, attempt(points=10.0, submitted=one_day + timedelta(hours=2)))
    assert grade.days_late == 2
    west = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)  # half an hour past due
    assert graded(rule, attempt(points=10.0, submitted=west)).days_late == 1


def test_another_challenge_is_never_late() -> None:
    grade = graded(policy(cut_off_days=0), at(8.0, timedelta(days=9), challenge="98_other"))
    assert (grade.points, grade.days_late) == (8.0, 0)


def test_the_best_attempt_counts_after_the_late_rule() -> None:
    early, late = at(6.0, -timedelta(days=1)), at(7.0, timedelta(hours=1))
    assert graded(policy(percent_a_day=20), early, late).points == 6.0
    assert graded(policy(percent_a_day=20), late, early).points == 6.0
    assert graded(policy(percent_a_day=10), early, late).points == pytest.approx(6.3)
    tie = graded(policy(), at(6.0, timedelta(hours=1)), early)
    assert (tie.days_late, tie.submissions) == (0, 2)


@pytest.mark.parametrize("late", [{"percent_a_day": 50}, {"cut_off_days": 0}, {}])
def test_a_late_attempt_never_lowers_the_best(late: dict) -> None:
    early = at(6.0, -timedelta(days=1))
    for points in (0.0, 3.0, 6.0, 10.0, None):
        grade = graded(policy(**late), early, at(points, timedelta(days=1)))
        assert grade.points is not None and grade.points >= 6.0


def test_the_last_attempt_counts_though_it_is_worse() -> None:
    early, late = at(6.0, -timedelta(days=1)), at(5.0, timedelta(hours=1))
    assert graded(policy("last"), early, late).points == 5.0
    assert graded(policy("last"), late, early).points == 5.0  # added in another order
    assert graded(policy("last", percent_a_day=10), early, late).points == 4.5
    # What is not accepted does not count as the last.
    assert graded(policy("last", cut_off_days=0), early, late).points == 6.0
    only = graded(policy("last", cut_off_days=0), late)
    assert (only.points, only.passed) == (0.0, False)


def test_a_notebook_that_was_graded_again_counts_once() -> None:
    generous, strict = at(9.0, ZERO, "same"), at(4.0, ZERO, "same", key="grader 2")
    grade = graded(policy(), generous, strict)
    assert (grade.points, grade.submissions) == (4.0, 1)
    assert graded(policy("last"), at(7.0, timedelta(hours=-1)), generous, strict).points == 4.0


def test_a_result_without_the_sandbox_never_replaces_one_with_it() -> None:
    safe = at(4.0, ZERO, "same")
    unsafe = at(9.0, ZERO, "same", key="no sandbox", sandboxed=False)
    for pair in itertools.permutations((safe, unsafe)):
        assert graded(policy(), *pair).points == 4.0
    assert graded(policy(), unsafe).points == 9.0


def test_the_same_bytes_are_as_early_as_they_first_came() -> None:
    first, again = at(9.0, -timedelta(days=1), "same"), at(9.0, timedelta(days=5), "same")
    grade = graded(policy(percent_a_day=10), first, again)
    assert (grade.points, grade.days_late) == (9.0, 0)


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_fault_is_never_a_zero(which: str) -> None:
    grade = graded(policy(which), at(None, ZERO))
    assert (grade.points, grade.reached, grade.passed, grade.pending) == (None, None, None, True)
    # Neither before nor after does it stand for a result of the same bytes.
    for pair in itertools.permutations((at(8.0, ZERO, "same"), at(None, ZERO, "same"))):
        grade = graded(policy(which), *pair)
        assert (grade.points, grade.passed, grade.pending) == (8.0, True, False)


def test_a_fault_on_another_notebook_leaves_the_grade_open() -> None:
    good, failed = at(8.0, -timedelta(days=2)), at(None, -timedelta(days=1))
    best = graded(policy(), good, failed)
    assert (best.points, best.pending) == (8.0, True)
    last = graded(policy("last"), good, failed)
    assert (last.points, last.pending) == (None, True)
    over = graded(policy(), at(0.0, -timedelta(days=2)), failed)
    assert (over.points, over.pending) == (0.0, True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Policy("worst"), "expected 'best' or 'last'"),  # type: ignore[arg-type]
        (lambda: Policy(due={"x": datetime(2026, 1, 1)}), "no time zone"),
        (lambda: Late(percent_a_day=-1), "0 to 100"),
        (lambda: Late(at_most=101), "0 to 100"),
        (lambda: Late(cut_off_days=-1), "cut_off_days"),
        (lambda: Late(grace_minutes=math.nan), "grace_minutes"),
    ],
)
def test_rules_that_make_no_sense_are_refused(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
