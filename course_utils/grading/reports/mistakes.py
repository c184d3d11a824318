"""The commonest mistakes of a cohort: what was diagnosed, in which part, for how many students."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from course_utils.grading.cohort.attempts import FAULT, Attempt, PartRecord
from course_utils.grading.cohort.policy import Grade
from course_utils.grading.reports.markup import Content, name, table, tag

MOST_MISTAKES = 12  # rows of a heat map
SHADES = 5
NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?%?|inf|nan|infinity)(?!\w)"
)
ERROR = re.compile(r"^\w+ fails(?: in line \d+ of cell \S+)?: ([A-Za-z_]\w*)\b")
WORDS = {
    "timeout": "took longer than the limit",
    "memory": "took more memory than the limit",
    "killed": "the process ended before an answer",
    "not attempted": "not attempted",
}


class Mistakes:
    """Who has made which mistake in which part, in any attempt."""

    def __init__(self) -> None:
        self._who: dict[tuple[str, str, str], set[str]] = {}

    def add(self, attempt: Attempt) -> None:
        """Count an attempt's parts that did not reach all points."""
        for part in attempt.parts:
            kind = mistake(part)
            if kind:
                key = (attempt.challenge, part.id, kind)
                self._who.setdefault(key, set()).add(attempt.student)

    def of(self, challenge: str) -> dict[str, Counter[str]]:
        """For each kind of mistake the number of students by part; the commonest first."""
        found: dict[str, Counter[str]] = {}
        everyone: dict[str, set[str]] = {}
        for (where, part, kind), students in self._who.items():
            if where == challenge:
                found.setdefault(kind, Counter())[part] = len(students)
                everyone.setdefault(kind, set()).update(students)
        order = sorted(found, key=lambda kind: (-len(everyone[kind]), kind))
        return {kind: found[kind] for kind in order}


def mistake(part: PartRecord) -> str:
    """What kind of mistake a part shows, the same for all that differ in numbers alone.

    Returns:
        "" where all points were reached.
    """
    if part.verdict in ("pass", FAULT) or (part.verdict == "partial" and part.points >= part.most):
        return ""
    if part.verdict in WORDS:
        return WORDS[part.verdict]
    if part.verdict == "error":
        error = ERROR.match(part.message)
        return f"error: {error.group(1)[:40]}" if error else "error"
    if part.value is not None:
        return "measured, some of the points" if part.points > 0 else "measured, no points"
    text = NUMBER.sub("#", " ".join(part.message.split()))
    text = re.sub(r"\(#(?:, ?#)*,?\)", "(#)", text)
    return f"{part.verdict}: {short_sentence(text)}"


def short_sentence(text: str, most: int = 110) -> str:
    """The first sentence, or its beginning."""
    first = re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]
    return first if len(first) <= most else f"{first[:most].rstrip()} …"


def heat_map(grades: Sequence[Grade], mistakes: Mapping[str, Counter[str]]) -> Content:
    if not mistakes:
        return None
    titles = {part.id: part.title for grade in grades for part in grade.attempt.parts}
    parts = sorted(titles)
    shown = dict(list(mistakes.items())[:MOST_MISTAKES])
    highest = max(max(counts.values()) for counts in shown.values())
    rows: list[list[Content]] = []
    for kind, counts in shown.items():
        cells: list[Content] = []
        for part in parts:
            count = counts[part]
            shade = math.ceil(SHADES * count / highest)
            cells.append(tag("td", f"{count}" if count else "·", class_=f"n h{shade}"))
        rows.append([tag("th", name(kind), scope="row"), *cells])
    head: list[Content] = ["mistake", *(f"{part} · {titles[part]}" for part in parts)]
    left = len(mistakes) - len(shown)
    return [
        tag("h3", "The commonest mistakes"),
        table(
            head,
            rows,
            "Students who made a mistake in a part in any attempt; # stands for a number",
            "mistakes",
        ),
        tag("p", f"and {left} rarer kinds of mistake", class_="small") if left else None,
    ]
