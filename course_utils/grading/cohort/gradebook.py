"""Every attempt that was graded, in one SQLite file to which rows are only ever added.

What `Gradebook.add` has returned for is on disk, whatever happens next; an attempt is there whole
or not at all. Several processes may add at once. The schema itself refuses to change or remove an
attempt: a result is corrected by grading again, and both stay.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from course_utils.grading.cohort.attempts import FAULT, VERDICTS, Attempt, PartRecord
from course_utils.grading.cohort.policy import Grade, Late, Policy, grade_of

__all__ = [
    "FAULT",
    "VERDICTS",
    "Attempt",
    "Grade",
    "Gradebook",
    "GradebookError",
    "Late",
    "PartRecord",
    "Policy",
]

APPLICATION = 0x534E4742  # "SNGB": how SQLite's file header names what a file is for
BUSY_SECONDS = 30.0  # for other processes to finish writing
PAGE = 200  # attempts read at once

# Never change a step that was released; add one. `PRAGMA user_version` counts the steps done.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"PRAGMA application_id = {APPLICATION}",
        f"""
        CREATE TABLE attempts (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            student TEXT NOT NULL,
            challenge TEXT NOT NULL,
            submission TEXT NOT NULL,
            key TEXT NOT NULL,
            verdict TEXT NOT NULL,
            points REAL,
            most REAL NOT NULL,
            passed INTEGER,
            message TEXT NOT NULL,
            parts TEXT NOT NULL,
            answers TEXT NOT NULL,
            submitted TEXT NOT NULL,
            graded TEXT NOT NULL,
            record TEXT NOT NULL,
            CHECK ((verdict = '{FAULT}') = (points IS NULL))
        )
        """,
        "CREATE INDEX attempts_of ON attempts (student, challenge, submission, key)",
        """
        CREATE TRIGGER attempts_stay BEFORE UPDATE ON attempts
        BEGIN SELECT RAISE(ABORT, 'attempts are never changed'); END
        """,
        """
        CREATE TRIGGER attempts_remain BEFORE DELETE ON attempts
        BEGIN SELECT RAISE(ABORT, 'attempts are never removed'); END
        """,
        # INSERT OR REPLACE removes a row without asking the trigger above.
        """
        CREATE TRIGGER attempts_are_new BEFORE INSERT ON attempts
        WHEN EXISTS (SELECT 1 FROM attempts WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'attempts are never replaced'); END
        """,
    ),
)
COLUMNS = (
    "student, challenge, submission, verdict, points, most, passed, message, parts, answers, "
    "submitted, graded, record"
)


class GradebookError(OSError):
    """A gradebook that can't be opened, read or written; the message says why."""


class Gradebook:
    """The file of all attempts.

    Args:
        path: of the file; it and its folder are made if they are missing.

    Raises:
        GradebookError: it can't be opened, is no gradebook, or is one of a newer course.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        with self._use():
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def add(self, attempt: Attempt) -> int:
        """Add an attempt; returns once it is on disk.

        Returns:
            Its number; later ones have greater numbers.

        Raises:
            GradebookError: no space, no permission, or others wrote for too long.
        """
        row = (
            _text(attempt.student),
            _text(attempt.challenge),
            _text(attempt.submission),
            attempt.verdict,
            attempt.points,
            attempt.most,
            attempt.passed,
            _text(attempt.message),
            json.dumps([asdict(part) for part in attempt.parts]),
            json.dumps(dict(attempt.answers)),
            attempt.submitted,
            attempt.graded,
            json.dumps(dict(attempt.record)),
            _text(attempt.record["key"]),
        )
        marks = ", ".join("?" * len(row))
        sql = f"INSERT INTO attempts ({COLUMNS}, key) VALUES ({marks})"
        with self._use() as connection, _transaction(connection):
            number = connection.execute(sql, row).lastrowid
        assert number is not None
        return number

    def graded(self, student: str, challenge: str, submission: str, key: str) -> Attempt | None:
        """The newest result of a submission that was graded in just this way.

        Args:
            student, challenge, submission: as in an attempt.
            key: of the reproducibility record.

        Returns:
            None where there is none; a grader fault is none.
        """
        sql = (
            f"SELECT {COLUMNS} FROM attempts WHERE student = ? AND challenge = ? AND "
            "submission = ? AND key = ? AND verdict != ? ORDER BY id DESC LIMIT 1"
        )
        texts = [_text(text) for text in (student, challenge, submission, key)]
        with self._use() as connection:
            row = connection.execute(sql, (*texts, FAULT)).fetchone()
        return None if row is None else _attempt(row)

    def attempts(
        self, student: str | None = None, challenge: str | None = None
    ) -> Iterator[Attempt]:
        """All attempts in the order in which they were added.

        Args:
            student: of this one alone.
            challenge: for this one alone.
        """
        for _, attempt in self._pages("id", student, challenge):
            yield attempt

    def grades(self, policy: Policy | None = None) -> list[Grade]:
        """What each student has for each challenge that has an attempt of theirs.

        Args:
            policy: which attempt counts, and what it loses; the best, never late, if None.

        Returns:
            Sorted by student, then by challenge.
        """
        policy = Policy() if policy is None else policy
        every = (attempt for _, attempt in self._pages("student, challenge, id"))
        groups = itertools.groupby(every, key=lambda a: (a.student, a.challenge))
        return [grade_of(attempts, policy) for _, attempts in groups]

    def _pages(
        self, order: str, student: str | None = None, challenge: str | None = None
    ) -> Iterator[tuple[int, Attempt]]:
        """Attempts that are there now, a page at a time: a slow reader holds nobody up."""
        wanted = {"student": student, "challenge": challenge}
        given = {name: _text(value) for name, value in wanted.items() if value is not None}
        where = " AND ".join([*(f"{name} = :{name}" for name in given), "1"])
        with self._use() as connection:
            sql = f"SELECT id FROM attempts WHERE {where} ORDER BY {order}"
            numbers = [row[0] for row in connection.execute(sql, given)]
        for start in range(0, len(numbers), PAGE):
            some = numbers[start : start + PAGE]
            marks = ", ".join("?" * len(some))
            sql = f"SELECT id, {COLUMNS} FROM attempts WHERE id IN ({marks})"
            with self._use() as connection:
                rows = {row[0]: row[1:] for row in connection.execute(sql, some)}
            for number in some:
                yield number, _attempt(rows[number])

    # --- the file --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """The connection of this process; what SQLite says becomes one sentence."""
        with self._lock:
            try:
                if self._connection is None or self._process != os.getpid():
                    self._connection = self._open()
                    self._process = os.getpid()
                yield self._connection
            except sqlite3.Error as error:
                raise GradebookError(f"The gradebook {self.path}: {error}.") from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Settings of the connection; then the schema's missing steps."""

        def number(name: str) -> int:
            return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

        def check() -> int:
            if number("application_id") != APPLICATION:
                if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                    raise GradebookError(f"{self.path} is an SQLite file, but no gradebook.")
                return 0
            version = number("user_version")
            if version > len(MIGRATIONS):
                raise GradebookError(
                    f"{self.path} has version {version}, and this course knows {len(MIGRATIONS)}. "
                    "It was written by a newer course; update this one."
                )
            return version

        check()
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")
        if check() < len(MIGRATIONS):
            with _transaction(connection):
                for step in MIGRATIONS[check() :]:  # another process may have been first
                    for statement in step:
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; SQLite does not wait for others here, so this does."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            if mode != "wal":
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            if mode != "wal":
                raise GradebookError(
                    "The gradebook needs a file system on which SQLite's write-ahead log works, "
                    "such as a local disk."
                )
            return


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; only one process at a time is inside."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _attempt(row: tuple[Any, ...]) -> Attempt:
    values = dict(zip(COLUMNS.split(", "), row, strict=True))
    for name in ("parts", "answers", "record"):
        values[name] = json.loads(values[name])
    values["parts"] = tuple(
        PartRecord(**{**part, "notes": tuple(part["notes"])}) for part in values["parts"]
    )
    if values["passed"] is not None:
        values["passed"] = bool(values["passed"])
    return Attempt(**values)


def _text(text: str) -> str:
    """What a file name or a notebook may hold and UTF-8 may not is written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
