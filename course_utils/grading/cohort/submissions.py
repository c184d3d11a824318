"""The notebooks that were handed in: whose they are, of which challenge, and their bytes.

They lie in a folder or in a zip, and zips may lie in both; `layouts` says whose they are. Nothing
is unpacked: entries are read one at a time, up to a limit, whatever a zip says of itself. Links are
never followed. What is not taken is named.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import stat
import struct
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from course_utils.grading.answers.notebooks import MOST_BYTES, challenge_of
from course_utils.grading.answers.text import printable
from course_utils.grading.cohort.layouts import (
    LayoutError,
    Parts,
    split_name,
    stem_of,
    students,
)

MOST_ENTRIES = 20_000  # of a zip of the whole class
MOST_OWN = 50  # notebooks of a student's own zip
MOST_ZIP = 200 * 2**20  # bytes of a zip in a zip
DEEPEST = 3  # zips in zips
MOST_LETTERS = 200  # of a name
IGNORED = {"__MACOSX", ".ipynb_checkpoints", ".DS_Store", "Thumbs.db", "desktop.ini", ".git"}
QUIET = {".OTTER_LOG", "__zip_filename__", "submission_metadata.yml", "timestamp.txt", "user.txt"}
SUFFIX = ".ipynb"
ARCHIVES = (".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")
METADATA = "submission_metadata.yml"


class SubmissionsError(ValueError):
    """What was given holds no submissions; the message says why."""


@dataclass(frozen=True)
class Submission:
    """One notebook.

    Attributes:
        student: whose.
        challenge: its number, "02"; None where neither cells nor name tell.
        source: where it was found, for messages.
        data: its bytes, at most one more than `MOST_BYTES`.
        submitted: when it was handed in: the file's time, that of a zip's entry where the zip is
            the platform's, and that of the zip where it is the student's own.
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


@dataclass(frozen=True)
class Notice:
    """Something that was taken, and that a person should look at."""

    source: str
    text: str


@dataclass(frozen=True)
class _File:
    """A file in a folder or a zip.

    Attributes:
        parts: its path; a zip that it lies in is one of them.
        source: for messages.
        times: of the outermost zip or file first, of the file itself last.
        read: gives at most so many bytes.
        zips: how many of `parts` lead to each zip around it.
    """

    parts: Parts
    source: str
    times: tuple[datetime, ...]
    read: Callable[[int], bytes]
    zips: tuple[int, ...] = ()


def find_submissions(
    path: str | Path, challenge: str | None = None
) -> Iterator[Submission | Ignored | Notice]:
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
        every = list(_in_folder(path))
    elif zipfile.is_zipfile(path):
        every = list(_in_zip(_kept_open(path), _Around(printable(path.name), (), (), ())))
    else:
        what = "is neither a folder nor a zip" if path.exists() else "is not there"
        raise SubmissionsError(f"{path} {what}; expected a folder or a zip of notebooks")
    files = [each for each in every if isinstance(each, _File)]
    people: dict[str, list[str]] = {}
    for file in files:
        if file.parts[-1] == METADATA:
            people |= _submitters(file.read(MOST_BYTES))
    names = students([file.parts for file in files])
    whose = {id(file): name for file, name in zip(files, names, strict=True)}
    own = Counter(_own_zip(file, name) for file, name in zip(files, names, strict=True))
    spellings: dict[str, str] = {}
    told: set[Parts] = set()
    for found in every:
        if not isinstance(found, _File):
            yield found
            continue
        who = whose[id(found)]
        if found.parts[-1] == METADATA:
            continue
        if isinstance(who, LayoutError):
            yield Ignored(found.source, str(who))
            continue
        zip_ = _own_zip(found, who)
        if zip_ and own[zip_] > MOST_OWN:
            if zip_ not in told:
                text = f"has {own[zip_]:,} notebooks of one student; at most {MOST_OWN}"
                yield Ignored(printable("/".join(zip_)), text)
            told.add(zip_)
            continue
        try:
            data = found.read(MOST_BYTES + 1)
        except Exception as error:  # a decompressor's own, and each has others
            yield Ignored(found.source, f"can't be read: {printable(error)}")
            continue
        number = challenge or challenge_of(data)
        number = number or split_name(stem_of(found.parts[-1]))[0]
        time = found.times[found.zips.index(len(zip_))] if zip_ else found.times[-1]
        for student in people.get(who[0], [who[0]]):
            name = clean(student)
            other = spellings.setdefault(_looks(name), name)
            if other != name:
                text = f"looks like {other!r} and is another student; is it the same person?"
                yield Notice(name, text)
                spellings[_looks(name)] = name
            yield Submission(name, number, found.source, data, time)


def _own_zip(file: _File, who: tuple[str, int] | LayoutError) -> Parts:
    """The path of the zip that a student made; empty where a file lies in none, or a platform's.

    A zip is the student's where its own name, or a folder around it, says whose it is. The times
    of what is in it are the student's too, so they say nothing.
    """
    for depth in file.zips:
        if isinstance(who, tuple) and who[1] < depth:
            return file.parts[:depth]
    return ()


# --- folders and zips ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Around:
    """What is around the entries of a zip."""

    source: str
    parts: Parts
    times: tuple[datetime, ...]
    zips: tuple[int, ...]


def _in_folder(folder: Path) -> Iterator[_File | Ignored | Notice]:
    for root, folders, files in os.walk(folder):  # links to folders are not followed
        folders[:] = sorted(name for name in folders if name not in IGNORED)
        for name in [*sorted(files), *(n for n in folders if Path(root, n).is_symlink())]:
            path = Path(root, name)
            where = path.relative_to(folder)
            source = printable(where)
            if name in IGNORED or name.startswith("._"):
                continue
            try:
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode):
                    yield Ignored(source, "is a link or no plain file")
                    continue
                time = datetime.fromtimestamp(status.st_mtime, UTC)
                if path.suffix.lower() == ".zip":
                    if not zipfile.is_zipfile(path):
                        yield Ignored(source, "is no zip, whatever its name says")
                        continue
                    parts = where.parts
                    around = _Around(source, parts, (time,), (len(parts),))
                    yield from _in_zip(_kept_open(path), around)
                    continue
                if (path.suffix.lower() == SUFFIX or name == METADATA) and not os.access(
                    path, os.R_OK
                ):
                    yield Ignored(source, "can't be read: Permission denied")
                    continue
            except OSError as error:
                yield Ignored(source, f"can't be read: {error.strerror}")
                continue
            yield from _taken(where.parts, source, (time,), (), _reader(path))


def _reader(path: Path) -> Callable[[int], bytes]:
    def read(count: int) -> bytes:
        with path.open("rb") as file:
            return file.read(count)

    return read


def _taken(
    parts: Parts,
    source: str,
    times: tuple[datetime, ...],
    zips: tuple[int, ...],
    read: Callable[[int], bytes],
) -> Iterator[_File | Ignored]:
    """A file that may be a submission, or why it is none."""
    name = parts[-1].lower()
    if name.endswith(SUFFIX) or parts[-1] == METADATA:
        yield _File(parts, source, times, read, zips)
    elif name.endswith(ARCHIVES):
        yield Ignored(source, "is an archive that is not read; unpack it, or make it a zip")
    elif parts[-1] not in QUIET:
        yield Ignored(source, "is no notebook (.ipynb)")


Archive = Callable[[], zipfile.ZipFile]


def _kept_open(path: Path) -> Archive:
    """Opens a zip once."""
    return functools.cache(lambda: zipfile.ZipFile(path))


def _in_zip(
    archive: Archive, around: _Around, depth: int = 1
) -> Iterator[_File | Ignored | Notice]:
    try:
        entries = archive().infolist()
        if len(entries) > MOST_ENTRIES:
            why = f"has {len(entries):,} entries; at most {MOST_ENTRIES:,}"
            yield Ignored(around.source, why)
            return
        for entry in sorted(entries, key=lambda each: each.filename):
            name, sure = _entry_name(entry)
            inner = tuple(p for p in name.replace("\\", "/").split("/") if p not in ("", "."))
            source = printable(f"{around.source}:{name}")
            if entry.is_dir() or not inner or IGNORED & set(inner) or inner[-1].startswith("._"):
                continue
            if stat.S_ISLNK(entry.external_attr >> 16):
                yield Ignored(source, "is a link")
                continue
            if name.startswith(("/", "\\")) or ".." in inner:
                yield Ignored(source, "has a name that leads out of the zip")
                continue
            if not sure:
                text = "has letters in its name that are not UTF-8, and may read otherwise"
                yield Notice(source, text)
            try:
                time = datetime(*entry.date_time).astimezone(UTC)
            except (ValueError, OverflowError):
                time = around.times[-1] if around.times else datetime.now(UTC)
            parts, times = (*around.parts, *inner), (*around.times, time)
            read = _entry_reader(archive, entry)
            if not inner[-1].lower().endswith(".zip"):
                yield from _taken(parts, source, times, around.zips, read)
            elif depth >= DEEPEST:
                yield Ignored(source, f"is a zip in {depth} zips; at most {DEEPEST} are read")
            else:
                yield from _inner_zip(
                    read, _Around(source, parts, times, (*around.zips, len(parts))), depth
                )
    except Exception as error:  # names that can't be decoded, numbers that make no sense
        yield Ignored(around.source, f"is a damaged zip: {printable(error)}")


def _inner_zip(
    read: Callable[[int], bytes], around: _Around, depth: int
) -> Iterator[_File | Ignored | Notice]:
    try:
        data = read(MOST_ZIP + 1)
    except Exception as error:  # as for any entry
        yield Ignored(around.source, f"can't be read: {printable(error)}")
        return
    if len(data) > MOST_ZIP:
        yield Ignored(around.source, f"has more than {MOST_ZIP / 2**20:.0f} MB")
    elif not zipfile.is_zipfile(io.BytesIO(data)):
        yield Ignored(around.source, "is no zip, whatever its name says")
    else:  # read anew for each of its few files, so that it takes no memory in between
        again = lambda: zipfile.ZipFile(io.BytesIO(read(MOST_ZIP + 1)))  # noqa: E731
        yield from _in_zip(again, around, depth + 1)


def _entry_reader(archive: Archive, entry: zipfile.ZipInfo) -> Callable[[int], bytes]:
    def read(count: int) -> bytes:
        with archive().open(entry) as stream:
            return stream.read(count)

    return read


def _entry_name(entry: zipfile.ZipInfo) -> tuple[str, bool]:
    """The name of an entry, and whether its letters are sure.

    Zips without the mark for UTF-8 are read as code page 437; many hold UTF-8 all the same, or have
    it in a field of their own (Info-ZIP's 0x7075).
    """
    if entry.flag_bits & 0x800:
        return entry.filename, True
    extra = entry.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == 0x7075 and size > 5:
            return extra[9 : 4 + size].decode("utf-8", "replace"), True
        extra = extra[4 + size :]
    try:
        raw = entry.filename.encode("cp437")
        return raw.decode("utf-8"), True
    except UnicodeEncodeError:
        return entry.filename, True
    except UnicodeDecodeError:
        return entry.filename, False


def _submitters(data: bytes) -> dict[str, list[str]]:
    """Gradescope's list of who handed in what: names by the folder of a submission."""
    found: dict[str, list[str]] = {}
    folder = name = ""
    for line in data.decode("utf-8", "replace").splitlines():
        if match := re.match(r":?(submission_\d+)", line):
            folder = match[1]
        elif match := re.match(r"\s+-?\s*:(name|sid|email): *(.+)", line):
            kind, value = match[1], match[2].strip().strip("'\"")
            if kind == "name":
                name = value
                found.setdefault(folder, []).append(name)
            elif kind == "sid" and folder in found:
                found[folder][-1] = f"{name}_{value}"
    return found


# --- names ---------------------------------------------------------------------------------------


def clean(name: str) -> str:
    """A student's name as it can be shown; never empty, and other names stay other names."""
    text = unicodedata.normalize("NFC", name)
    text = re.sub(r"^ +| +$|(?<= ) +", lambda found: r"\x20" * len(found[0]), text)
    text = printable(text)
    if len(text) > MOST_LETTERS:
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        text = f"{text[:MOST_LETTERS]}~{digest}"
    return text or "(no name)"


def _looks(name: str) -> str:
    """What two names have in common that nobody tells apart."""
    plain = re.sub(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|[nrt])", "", name)
    return "".join(unicodedata.normalize("NFKC", plain).casefold().split())
