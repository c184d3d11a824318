"""The notebooks that were handed in: whose they are, of which challenge, and their bytes.

Known layouts: `student/02_denoise_on_a_budget.ipynb` (deeper folders too, as nbgrader and Moodle
make them) and `student_02_denoise_on_a_budget.ipynb` (as Canvas gives), in a folder, in a zip, or
in zips in a folder. Nothing is unpacked: entries are read one at a time, up to a limit, whatever a
zip says of itself. Links are never followed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from course_utils.challenges.declare import every_challenge
from course_utils.challenges.names import NAMES
from course_utils.grading.answers.notebooks import MOST_BYTES

MOST_ENTRIES = 20_000  # of a zip of the whole class
MOST_OWN = 50  # of a zip in a folder, which is one student's
MOST_LETTERS = 200  # of a name
JOINERS = "\u200c\u200d"  # invisible, and part of names and of emoji
IGNORED = {"__MACOSX", ".ipynb_checkpoints", ".DS_Store"}
SUFFIX = ".ipynb"
DATE = re.compile(
    r"[\W_]*(?<!\d)(?:19|20)\d\d([-_.]?)[01]\d\1[0-3]\d"  # 2024-11-01, 20241101
    r"(?:[\W_T]+\d\d[-_.:h]?\d\d(?:[-_.:m]?\d\d)?)?(?!\d)"
)
NAMED = r"(?:^|[\W_])(?:{number}[\W_]+)?{name}(?:[\W_].*)?$"
NUMBERED = r"(?:^|[\W_]){number}(?:\W.*)?$"


class SubmissionsError(ValueError):
    """What was given holds no submissions; the message says why."""


@dataclass(frozen=True)
class Submission:
    """One notebook.

    Attributes:
        student: whose; the first folder's name, or what stands before the challenge's name.
        challenge: its number, "02"; None where neither name nor cells tell.
        source: where it was found, for messages.
        data: its bytes, at most one more than `MOST_BYTES`.
        submitted: when the file was last changed.
    """

    student: str
    challenge: str | None
    source: str
    data: bytes
    submitted: datetime

    @property
    def hash(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Ignored:
    """A file that is no submission, and why."""

    source: str
    why: str


def find_submissions(
    path: str | Path, challenge: str | None = None
) -> Iterator[Submission | Ignored]:
    """Read what was handed in, in the order of names.

    Args:
        path: a folder or a zip.
        challenge: of all of them, where the names don't say; a number.

    Raises:
        SubmissionsError: there is no such folder or zip.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() == SUFFIX:
        raise SubmissionsError(
            f"{path} is one notebook; expected a folder or a zip of them. `course verify {path}` "
            "says what one notebook is worth."
        )
    if path.is_dir():
        yield from _in_folder(path, challenge)
    elif zipfile.is_zipfile(path):
        yield from _in_zip(path, None, challenge)
    else:
        what = "is neither a folder nor a zip" if path.exists() else "is not there"
        raise SubmissionsError(f"{path} {what}; expected a folder or a zip of notebooks")


def _in_folder(folder: Path, challenge: str | None) -> Iterator[Submission | Ignored]:
    for root, folders, files in os.walk(folder):  # links to folders are not followed
        folders[:] = sorted(name for name in folders if name not in IGNORED)
        for name in sorted(files):
            path = Path(root, name)
            where = path.relative_to(folder)
            if name in IGNORED or path.suffix.lower() not in (SUFFIX, ".zip"):
                continue
            try:
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode):
                    yield Ignored(printable(where), "is a link or no plain file")
                    continue
                if path.suffix.lower() == ".zip":
                    student = where.parts[0] if len(where.parts) > 1 else None
                    if zipfile.is_zipfile(path):
                        yield from _in_zip(path, student or path.stem, challenge, printable(where))
                    else:
                        yield Ignored(printable(where), "is no zip, whatever its name says")
                    continue
                with path.open("rb") as file:
                    data = file.read(MOST_BYTES + 1)
            except OSError as error:
                yield Ignored(printable(where), f"can't be read: {error.strerror}")
                continue
            moment = datetime.fromtimestamp(status.st_mtime, UTC)
            yield _submission(PurePosixPath(where.as_posix()), data, moment, None, challenge)


def _in_zip(
    path: Path, student: str | None, challenge: str | None, name: str = ""
) -> Iterator[Submission | Ignored]:
    name = name or printable(path.name)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_ENTRIES:
                yield Ignored(name, f"has {len(entries):,} entries; at most {MOST_ENTRIES:,}")
                return
            count = sum(entry.filename.lower().endswith(SUFFIX) for entry in entries)
            if student is not None and count > MOST_OWN:
                yield Ignored(name, f"has {count:,} notebooks of one student; at most {MOST_OWN}")
                return
            for entry in sorted(entries, key=lambda each: each.filename):
                where = PurePosixPath(entry.filename.replace("\\", "/"))
                source = printable(f"{name}:{entry.filename}")
                if entry.is_dir() or where.suffix.lower() != SUFFIX or IGNORED & set(where.parts):
                    continue
                if stat.S_ISLNK(entry.external_attr >> 16):
                    yield Ignored(source, "is a link")
                    continue
                if where.is_absolute() or ".." in where.parts:
                    yield Ignored(source, "has a name that leads out of the zip")
                    continue
                try:
                    with archive.open(entry) as file:
                        data = file.read(MOST_BYTES + 1)
                except Exception as error:  # its own, and each decompressor has others
                    yield Ignored(source, f"can't be read: {printable(error)}")
                    continue
                try:
                    moment = datetime(*entry.date_time).astimezone(UTC)
                except (ValueError, OverflowError):
                    moment = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                yield _submission(where, data, moment, student, challenge, source)
    except Exception as error:  # names that can't be decoded, numbers that make no sense
        yield Ignored(name, f"is a damaged zip: {printable(error)}")


def _submission(
    where: PurePosixPath,
    data: bytes,
    moment: datetime,
    student: str | None,
    challenge: str | None,
    source: str | None = None,
) -> Submission:
    inside = challenge_of(data)
    named, before = split_name(where.stem, inside)
    if student is None:
        student = where.parts[0] if len(where.parts) > 1 else before or where.stem
    number = challenge or inside or named
    return Submission(clean(student), number, source or printable(where), data, moment)


def split_name(stem: str, inside: str | None = None) -> tuple[str | None, str]:
    """The challenge's number in a file's name, and what stands before it.

    `alice_02_denoise_on_a_budget`, `alice-02`, and `02_denoise_on_a_budget-1 (2)`, as browsers and
    Canvas rename it, all are challenge 02. The 01 of a date is no challenge.

    Args:
        stem: of the file.
        inside: the challenge that the cells tell, which is looked for first.
    """
    rest = DATE.sub("", stem)
    order = [inside, *NAMES] if inside else list(NAMES)
    for pattern in (NAMED, NUMBERED):
        for number in order:
            text = pattern.format(number=number, name=NAMES[number])
            if found := re.search(text, rest, re.IGNORECASE):
                return number, rest[: found.start()].strip("_-. ")
    return None, rest.strip("_-. ")


def challenge_of(data: bytes) -> str | None:
    """The challenge whose answer cells a notebook has."""
    if len(data) > MOST_BYTES:
        return None
    try:
        ids = {cell.get("id") for cell in json.loads(data)["cells"]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    fitting = [each for each in every_challenge() if ids.issuperset(each.answers)]
    return fitting[0].number if len(fitting) == 1 else None


def clean(name: str) -> str:
    """A student's name as it can be shown; never empty, and other names stay other names."""
    text = printable(unicodedata.normalize("NFC", name))
    if len(text) > MOST_LETTERS:
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        text = f"{text[:MOST_LETTERS]}~{digest}"
    return text or "(no name)"


def printable(text: object) -> str:
    """Text for a terminal or a page: what can't be seen there is written as an escape."""
    return "".join(
        c if c.isprintable() or c in JOINERS else c.encode("unicode_escape").decode()
        for c in " ".join(str(text).split())
    )
