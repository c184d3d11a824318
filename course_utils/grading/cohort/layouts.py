"""Whose a file is: the layouts in which learning platforms hand out what was handed in.

Sources, all of 2024: Canvas, "How do I download all student submissions for an assignment?"
(`muellermax_LATE_12345_678901_name-1.ipynb`: name, user, file, the learner's own name); Moodle,
"Download all submissions" (`Max Müller_1234_assignsubmission_file_/name.ipynb`, or one flat name);
Gradescope, "Export submissions" (`assignment_1_export/submission_2/name.ipynb`); nbgrader
(`submitted/max/ps1/name.ipynb`, `inbound/max+ps1+time+random/`, and the names of its zip collector,
`max_ps1_attempt_2018-01-30-15-30-10_name.ipynb`).
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence

from course_utils.challenges.names import NAMES

Parts = tuple[str, ...]
"""A path's folders, zips among them as `name.zip`, and at the end the file's name."""

UNDERSTOOD = (
    "`student/notebook.ipynb`, `student/assignment/notebook.ipynb` or "
    "`student_02_denoise_on_a_budget.ipynb`, and what learning platforms export"
)
DATE = re.compile(
    r"[\W_]*(?<!\d)(?:19|20)\d\d([-_.]?)[01]\d\1[0-3]\d"  # 2024-11-01, 20241101
    r"(?:[\W_T]+\d\d[-_.:h]?\d\d(?:[-_.:m]?\d\d)?(?:_\d+)?)?(?!\d)"
)
NAMED = r"(?:^|[\W_])(?:{number}[\W_]+)?{name}(?:[\W_].*)?$"
NUMBERED = r"(?:^|[\W_]){number}(?:\W.*)?$"
CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<user>\d+)_\d+_(?P<rest>.+)")
MOODLE = re.compile(r"(?P<name>.+_\d+)_assignsubmission_[a-z]+(?:_(?P<rest>.*))?")
COLLECTED = re.compile(r"(?P<name>.+?)_[^_].*?_attempt_[\d-]{19}_(?P<rest>.+)")
INBOUND = re.compile(r"(?P<name>[^+]+)\+[^+]+\+\d{4}-\d\d-\d\d .*")
GRADESCOPE = re.compile(r"submission_\d+")
WRAPPER = re.compile(
    r"(student[-_ ]?)?(submitted|submissions?|hand(ed)?[-_ ]?ins?|downloaded|inbound|collected|"
    r"released?|archive|extracted|exports?|upload(ed)?s?|inbox|files|notebooks|class|course|"
    r"assignment_\d+_export|abgaben?|autograded)([-_ ].*)?",
    re.IGNORECASE,
)
ASSIGNMENT = re.compile(
    r"(ps|hw|assignment|homework|lab|week|sheet|challenge|exercise|task|project|blatt|aufgabe)"
    r"[-_ ]*\d+.*",
    re.IGNORECASE,
)


class LayoutError(ValueError):
    """Nobody can tell whose a file is; the message says which layouts are understood."""


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


def known_person(name: str) -> tuple[str, str] | None:
    """A student and what is left of the name, where a platform's pattern tells; None elsewhere.

    The key is a name with its user's id, so that what is handed in again is the same person's.
    """
    if found := MOODLE.fullmatch(name) or COLLECTED.fullmatch(name):
        return found["name"], found["rest"] or ""
    if found := CANVAS.fullmatch(name):
        return f"{found['name']}_{found['user']}", found["rest"]
    if found := INBOUND.fullmatch(name):
        return found["name"], ""
    return (name, "") if GRADESCOPE.fullmatch(name) else None


def students(every: Sequence[Parts]) -> list[tuple[str, int] | LayoutError]:
    """Whose each of these files is, and which part of its path says so.

    A folder that wraps everything is skipped. Where a platform's own pattern stands in a path, it
    decides.

    Args:
        every: the paths of all notebooks together.
    """
    patterns = [_by_pattern(parts) for parts in every]
    try:
        plain = [parts for parts, known in zip(every, patterns, strict=True) if known is None]
        depth: int | LayoutError = _wrappers(plain)
    except LayoutError as error:
        depth = error
    found: list[tuple[str, int] | LayoutError] = []
    for parts, known in zip(every, patterns, strict=True):
        if known is not None or isinstance(depth, LayoutError):
            found.append(known or depth)  # type: ignore[arg-type]
        elif len(parts) > depth + 1 and not _is_zip(parts[depth]):
            found.append((parts[depth], depth))
        else:
            name = stem_of(parts[depth])
            found.append((_flat(parts[depth]) or split_name(name)[1] or name, depth))
    return found


def stem_of(name: str) -> str:
    """A file's name without its suffix."""
    return os.path.splitext(name)[0]


def is_assignment(name: str) -> bool:
    """Whether a folder's name is that of an assignment, and of nobody."""
    name = stem_of(name) if _is_zip(name) else name
    number, before = split_name(name)
    return bool(ASSIGNMENT.fullmatch(name)) or (number is not None and not before)


def _is_wrapper(name: str) -> bool:
    return bool(WRAPPER.fullmatch(stem_of(name) if _is_zip(name) else name))


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def _by_pattern(parts: Parts) -> tuple[str, int] | None:
    for number, part in enumerate(parts):
        is_folder = number + 1 < len(parts) and not _is_zip(part)
        if person := known_person(part if is_folder else stem_of(part)):
            return person[0], number
    return None


def _flat(name: str) -> str:
    """Who stands in a file's name, before the challenge's; "" for nobody."""
    number, before = split_name(stem_of(name))
    return before if number else ""


def _wrappers(every: Sequence[Parts]) -> int:
    """How many folders at the top are nobody's."""
    if not every:
        return 0
    folders = [parts[:-1] for parts in every]
    levels = zip(*folders, strict=False)
    common = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, levels))
    if any(len(path) == common for path in folders):
        return _above_files(every, common)
    below = {path[common] for path in folders}
    if not all(is_assignment(name) or _is_wrapper(name) for name in below):
        return common
    # Assignments are side by side: in one student's folder, or each with its students inside.
    above = [name for name in folders[0][:common] if not _is_wrapper(name)]
    if above:
        return _index(folders[0], above)
    if all(len(path) > common + 1 for path in folders):
        return common + 1
    raise _ambiguous(every)


def _above_files(every: Sequence[Parts], common: int) -> int:
    """Where some files lie in the innermost folder that all share."""
    here = [parts for parts in every if len(parts) == common + 1]
    if common == 0 or all(_flat(parts[-1]) for parts in here):
        return common
    folders = every[0][:common]
    if len(here) < len(every) and _is_wrapper(folders[-1]):
        return common
    people = [n for n in folders if not _is_wrapper(n) and not is_assignment(n)]
    return _index(folders, people) if people else common


def _index(folders: Parts, people: Sequence[str]) -> int:
    """The place of the one folder that can be a student's."""
    people = [name for name in people if not is_assignment(name)]
    people = [name for name in people if not _is_zip(name)] or people
    if len(people) != 1:
        raise _ambiguous([folders])
    return folders.index(people[0])


def _ambiguous(every: Sequence[Parts]) -> LayoutError:
    path = "/".join(every[0])
    return LayoutError(f"says not whose it is ({path}); understood are {UNDERSTOOD}")
