"""What a learner has done, kept in one SQLite file in the user's data folder.

Events are only ever added. What an exercise's state is follows from its events: "done" (passed),
"shown" (passed or not, after its solution was shown), "stale" (passed, but the exercise has changed
since), "open". A folder that can't be written, a locked or a damaged file never stops a lesson.

`COURSE_PROGRESS` names another file; "off" keeps nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from platformdirs import user_data_dir

from course_utils.lessons import LESSONS, ROOT, Lesson

VARIABLE = "COURSE_PROGRESS"
EVENTS = ("passed", "wrong", "open", "hint", "shown")
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    exercise TEXT NOT NULL,
    event TEXT NOT NULL,
    fingerprint TEXT NOT NULL
)
"""

State = Literal["done", "shown", "stale", "open"]
WORDS = {
    "done": "done",
    "shown": "shown",
    "stale": "changed since you solved it",
    "open": "open",
}


@dataclass(frozen=True)
class Entry:
    """One exercise's standing.

    Attributes:
        state: "done", "shown", "stale" or "open".
        tries: how often it was checked with something in it.
        hints: how many were asked for.
        at: of the last event, in UTC; "" if there is none.
    """

    state: State = "open"
    tries: int = 0
    hints: int = 0
    at: str = ""


class Progress:
    """The file and what it says.

    Args:
        path: of the file; None keeps nothing.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)
        self._warned = False

    @classmethod
    def default(cls) -> Self:
        """The user's own."""
        named = os.environ.get(VARIABLE, "")
        if named == "off":
            return cls(None)
        try:
            if named:
                return cls(Path(named).expanduser())
            folder = Path(user_data_dir("sculpting-noise", appauthor=False)).expanduser()
            return cls(folder / "progress.sqlite")
        except (RuntimeError, OSError, KeyError):  # a user without a name or a home
            return cls(None)

    def record(self, exercise: str, event: str, fingerprint: str = "") -> bool:
        """Add an event.

        Args:
            exercise: its id.
            event: one of `EVENTS`.
            fingerprint: of the exercise as it is now.

        Returns:
            Whether it was kept. Where it was not, a warning says why, and nothing is raised.
        """
        if event not in EVENTS:
            raise ValueError(f"event is {event!r}; expected one of {', '.join(EVENTS)}")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        row = (now, exercise, event, fingerprint)
        sql = "INSERT INTO events (at, exercise, event, fingerprint) VALUES (?, ?, ?, ?)"
        try:
            with self._open() as connection:
                if connection is None:
                    return False
                connection.execute(sql, row)
                connection.commit()
        except (sqlite3.Error, OSError) as error:
            self._warn(error)
            return False
        return True

    def entries(self, current: dict[str, str]) -> dict[str, Entry]:
        """Where exercises stand.

        Args:
            current: exercise ids and the fingerprints that they have now.

        Returns:
            An entry for each id of `current`; all open where nothing can be read.
        """
        rows = self.events()
        found: dict[str, list[tuple[str, str, str, str]]] = {id: [] for id in current}
        for row in rows:
            if row[1] in found:
                found[row[1]].append(row)
        return {id: _entry(found[id], fingerprint) for id, fingerprint in current.items()}

    def events(self, start: str = "") -> list[tuple[str, str, str, str]]:
        """All events in their order: (at, exercise, event, fingerprint).

        Args:
            start: only of exercises whose id begins so.
        """
        rows: list[tuple[str, str, str, str]] = []
        try:
            with self._open(create=False) as connection:
                if connection is not None:
                    sql = "SELECT at, exercise, event, fingerprint FROM events ORDER BY id"
                    rows = connection.execute(sql).fetchall()
        except (sqlite3.Error, OSError) as error:
            self._warn(error)
        return [row for row in rows if row[1].startswith(start)]

    @contextlib.contextmanager
    def _open(self, create: bool = True) -> Iterator[sqlite3.Connection | None]:
        """A connection; None where nothing is kept, or where there is no file to read."""
        if self.path is None or not (create or self.path.exists()):
            yield None
            return
        if create:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, or no permission
                raise
            self._set_aside()
            connection = self._connect()
        with contextlib.closing(connection):
            yield connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(str(self.path), timeout=2.0)
        try:
            connection.execute(SCHEMA)
            connection.execute("SELECT count(*) FROM events").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self) -> None:
        """Keep a damaged file beside a new one."""
        assert self.path is not None
        now = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
        aside = self.path.with_name(f"{self.path.name}.damaged-{now}")
        os.replace(self.path, aside)
        warnings.warn(
            f"Your progress in {self.path} can't be read. It was kept as {aside.name}, and a new "
            "one was begun.",
            stacklevel=4,
        )

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"Your progress can't be kept in {self.path} ({error}). The lesson goes on without "
                f"it; the environment variable {VARIABLE} names another file.",
                stacklevel=3,
            )


def _entry(rows: list[tuple[str, str, str, str]], fingerprint: str) -> Entry:
    passed = [row for row in rows if row[2] == "passed"]
    current = [row for row in passed if row[3] == fingerprint]
    tries = sum(row[2] in ("passed", "wrong") for row in rows)
    hints = sum(row[2] == "hint" for row in rows)
    first_shown = next((i for i, row in enumerate(rows) if row[2] == "shown"), None)
    first_passed = next((i for i, row in enumerate(rows) if row[2] == "passed"), None)
    state: State = "open"
    if first_shown is not None and (first_passed is None or first_shown < first_passed):
        state = "shown"
    elif current:
        state = "done"
    elif passed:
        state = "stale"
    return Entry(state, tries, hints, rows[-1][0] if rows else "")


# --- lessons -------------------------------------------------------------------------------------


class Exercise(Protocol):
    """What is read of an exercise here."""

    @property
    def id(self) -> str:
        """Lesson and name, "01.add_noise"."""

    @property
    def name(self) -> str:
        """Its name, "add_noise"."""

    @property
    def minutes(self) -> int:
        """For a learner."""

    @property
    def difficulty(self) -> int:
        """1 to 5."""

    @property
    def fingerprint(self) -> str:
        """Changes when what is right does."""


@dataclass(frozen=True)
class Standing:
    """One lesson's exercises and where they stand.

    Attributes:
        lesson: which.
        exercises: in their order.
        entries: by exercise id.
    """

    lesson: Lesson
    exercises: tuple[Exercise, ...]
    entries: dict[str, Entry]

    @property
    def open(self) -> list[Exercise]:
        """Exercises still to do, those that changed included."""
        return [e for e in self.exercises if self.entries[e.id].state in ("open", "stale")]

    @property
    def minutes_left(self) -> int:
        """Of the open exercises, and of reading while nothing was tried."""
        reading = max(self.lesson.minutes - sum(e.minutes for e in self.exercises), 0)
        untouched = all(entry.at == "" for entry in self.entries.values())
        return sum(e.minutes for e in self.open) + (reading if untouched else 0)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "lesson": self.lesson.number,
            "title": self.lesson.title,
            "minutes_left": self.minutes_left,
            "exercises": {id: dataclasses.asdict(entry) for id, entry in self.entries.items()},
        }


def standing(lesson: Lesson, exercises: Sequence[Exercise], progress: Progress) -> Standing:
    """Where a lesson with these exercises stands."""
    entries = progress.entries({each.id: each.fingerprint for each in exercises})
    return Standing(lesson, tuple(exercises), entries)


def standings(
    exercises_of: Callable[[str], Sequence[Exercise]], progress: Progress
) -> list[Standing]:
    """Where all lessons stand that are written.

    Args:
        exercises_of: from a lesson's number to its exercises, as `course_utils.checks.exercises`.
        progress: the file.
    """
    written = [lesson for lesson in LESSONS if lesson.written]
    return [standing(lesson, exercises_of(lesson.number), progress) for lesson in written]


def next_exercise(standings: Iterable[Standing]) -> tuple[Lesson, Exercise] | None:
    """The first open exercise of the first lesson that has one; None if all are done."""
    return next(((here.lesson, here.open[0]) for here in standings if here.open), None)


# --- challenges ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChallengeStanding:
    """One challenge and what it was worth.

    Attributes:
        number: two digits.
        name: of its notebook, without suffix.
        passed: whether it was ever passed.
        tries: how often it was verified with something in it.
        best: the most points of a try; None before the first.
        most: possible; None before the first try.
    """

    number: str
    name: str
    passed: bool = False
    tries: int = 0
    best: float | None = None
    most: float | None = None

    @property
    def title(self) -> str:
        """In words."""
        from course_utils.challenges.names import TITLES

        return TITLES[self.number]

    def words(self) -> str:
        """For a list."""
        if not self.tries:
            return "not tried"
        tries = f"{self.tries} {'try' if self.tries == 1 else 'tries'}"
        state = "passed" if self.passed else "not passed yet"
        of = "" if self.most is None else f" of {self.most:g}"
        return f"{state}, {self.best:g}{of} points at best, {tries}"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"challenge": self.name, **dataclasses.asdict(self)}


def challenge_standings(progress: Progress) -> list[ChallengeStanding]:
    """Where the challenges stand that are written."""
    from course_utils.challenges.names import NAMES

    events = progress.events("challenge.")
    found = []
    for number, title in NAMES.items():
        name = f"{number}_{title}"
        if not (ROOT / "challenges" / f"{name}.ipynb").exists():
            continue
        own = [row for row in events if row[1] == f"challenge.{number}"]
        points = [_points(row[3]) for row in own]
        best, most = max(points, key=lambda each: each[0]) if points else (None, None)
        passed = any(row[2] == "passed" for row in own)
        found.append(ChallengeStanding(number, name, passed, len(own), best, most))
    return found


def _points(text: str) -> tuple[float, float | None]:
    """ "7/10" as numbers."""
    best, _, most = text.partition("/")
    try:
        return float(best), float(most) if most else None
    except ValueError:
        return 0.0, None


def next_challenge(progress: Progress) -> ChallengeStanding | None:
    """The first that was not passed; None if all were."""
    return next((each for each in challenge_standings(progress) if not each.passed), None)
