"""Who is who: a roster gives the names of submissions' folders the ids of another system."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

MOST_LETTERS = 40  # of a name in a file's name


@dataclass(frozen=True)
class Person:
    """A student, as another system knows them; what it does not need may be empty.

    Attributes:
        student: the name of the folder with the submissions.
        id: in the system that an export goes to.
        email: address.
        name: in full.
        first_name, last_name: apart.
        login: to sign in.
        sis_id: in the institution's own student records.
        section: of the course.
        lti_user_id: the "sub" of LTI launches.
    """

    student: str
    id: str = ""
    email: str = ""
    name: str = ""
    first_name: str = ""
    last_name: str = ""
    login: str = ""
    sis_id: str = ""
    section: str = ""
    lti_user_id: str = ""

    @property
    def full_name(self) -> str:
        """A name to show."""
        return self.name or f"{self.first_name} {self.last_name}".strip() or self.student


class Roster:
    """All students of a course, in the order of the file.

    Args:
        people: each student once.

    Raises:
        ValueError: a student or an id is there twice.
    """

    def __init__(self, people: list[Person]) -> None:
        self._people: dict[str, Person] = {}
        self._ids: dict[str, Person] = {}
        for person in people:
            self._add(person)

    def _add(self, person: Person) -> None:
        if _key(person.student) in self._people:
            raise ValueError(f"the roster has the student {person.student!r} twice")
        if person.id and person.id in self._ids:
            raise ValueError(f"the roster has the id {person.id!r} twice")
        self._ids[person.id] = person
        self._people[_key(person.student)] = person

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a table of text with a heading, as spreadsheets and learning platforms write it.

        Columns may be parted by commas, semicolons or tabs, and the letters be UTF-8, UTF-16 or
        Windows' cp1252. Canvas' second heading, the points possible, is no student.

        Args:
            path: of the file. The column "student" must be there; other columns are the fields of
                `Person`, and any further ones are ignored.

        Raises:
            ValueError: it is no such table, or a student is there twice; names the line.
            OSError: it can't be read.
        """
        names = [field.name for field in fields(Person)]
        text = _decoded(Path(path).read_bytes())
        heading = text.split("\n", 1)[0]
        parted = max(",;\t", key=heading.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=parted, strict=True)
        columns: list[str] = []
        people: list[Person] = []
        roster, line = cls([]), 1
        try:
            for row in reader:
                first, line = line, reader.line_num + 1
                if not columns:
                    columns = [_column(word) for word in row]
                    if "student" not in columns:
                        raise ValueError(f"has no column 'student'; expected {', '.join(names)}")
                    continue
                if len(row) > len(columns) and any(row[len(columns) :]):
                    raise ValueError(f"has {len(row)} cells in a table of {len(columns)} columns")
                if any("\n" in value for value in row):
                    raise ValueError("has a cell of several lines; is a quote left open?")
                values = {
                    column: value.strip()
                    for column, value in zip(columns, row, strict=False)
                    if column in names
                }
                student = values.get("student", "")
                if student and not student.startswith("Points Possible"):
                    people.append(Person(**values))
                    roster._add(people[-1])  # says who is there twice, with the line
        except csv.Error as error:
            raise ValueError(f"{path}, line {line}: {error}; is a quote left open?") from None
        except ValueError as error:
            raise ValueError(f"{path}, line {first}: {error}") from None
        if not people:
            raise ValueError(f"{path} has no students below its heading")
        return roster

    def __iter__(self) -> Iterator[Person]:
        return iter(self._people.values())

    def find(self, student: str) -> Person | None:
        """The person of a folder's name; None if the roster has none.

        What Canvas and Moodle hand out ends in the user's id, which finds the person too.
        """
        named = self._people.get(_key(student))
        id = re.search(r"_(\d+)$", student)
        return named or (self._ids.get(id[1]) if id else None)


ALIASES = {
    "sis_user_id": "sis_id",
    "sis_login_id": "login",
    "email_address": "email",
    "id_number": "id",
    "user_id": "id",
    "username": "login",
    "surname": "last_name",
}
"""What Canvas and Moodle call the fields of `Person`."""


def _column(heading: str) -> str:
    name = re.sub(r"\W+", "_", heading.strip().lower()).strip("_")
    return ALIASES.get(name, name)


def _decoded(data: bytes) -> str:
    """Text from bytes: UTF-8, UTF-16 or cp1252, which has a letter for nearly every byte."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    if b"\0" in data[:200]:
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def safe_name(text: str) -> str:
    """A file's name for a student: letters and digits, and never the same for two students."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:MOST_LETTERS].strip("_")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{words or 'student'}-{digest}"


def _key(student: str) -> str:
    """File systems write one letter in several ways."""
    return unicodedata.normalize("NFC", student.strip())
