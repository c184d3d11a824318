"""Who is who: a roster gives the names of submissions' folders the ids of another system."""

from __future__ import annotations

import csv
import hashlib
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
        ids: set[str] = set()
        for person in people:
            if _key(person.student) in self._people:
                raise ValueError(f"the roster has the student {person.student!r} twice")
            if person.id and person.id in ids:
                raise ValueError(f"the roster has the id {person.id!r} twice")
            ids.add(person.id)
            self._people[_key(person.student)] = person

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a CSV file in UTF-8 with a heading.

        Args:
            path: of the file. The column "student" must be there; other columns are the fields of
                `Person`, and any further ones are ignored.

        Raises:
            ValueError: there is no column "student", or a student is there twice.
        """
        names = [field.name for field in fields(Person)]
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            headings = {
                heading: heading.strip().lower().replace(" ", "_")
                for heading in reader.fieldnames or []
            }
            if "student" not in headings.values():
                raise ValueError(f"{path} has no column 'student'; expected {', '.join(names)}")
            people = []
            for row in reader:
                values = {
                    headings[heading]: (value or "").strip()
                    for heading, value in row.items()
                    if heading is not None and headings[heading] in names
                }
                if values["student"]:
                    people.append(Person(**values))
        return cls(people)

    def __iter__(self) -> Iterator[Person]:
        return iter(self._people.values())

    def find(self, student: str) -> Person | None:
        """The person of a folder's name; None if the roster has none."""
        return self._people.get(_key(student))


def safe_name(text: str) -> str:
    """A file's name for a student: letters and digits, and never the same for two students."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:MOST_LETTERS].strip("_")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{words or 'student'}-{digest}"


def _key(student: str) -> str:
    """File systems write one letter in several ways."""
    return unicodedata.normalize("NFC", student.strip())
