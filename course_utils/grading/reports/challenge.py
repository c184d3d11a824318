"""One challenge in the cohort's report: scores, parts, mistakes."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from course_utils.grading.cohort.attempts import PartRecord
from course_utils.grading.cohort.policy import Grade
from course_utils.grading.reports.learner import challenge_title
from course_utils.grading.reports.markup import Content, Markup, counted, number, table, tag
from course_utils.grading.reports.mistakes import heat_map

MOST_BARS = 12


def challenge_section(
    challenge: str, grades: Sequence[Grade], mistakes: Mapping[str, Counter[str]], id: str
) -> Markup:
    points = [grade.points for grade in grades if grade.points is not None]
    facts: list[Content] = []
    if points:
        most = max(grade.most for grade in grades)
        passed = sum(grade.passed is True for grade in grades)
        quarters = statistics.quantiles(points, method="inclusive") if len(points) > 1 else None
        facts = [
            _fact(f"{len(points)}", "graded"),
            _fact(f"{passed} ({passed / len(points):.0%})", "passed"),
            _fact(f"{number(statistics.median(points))} of {number(most)}", "median"),
            _fact(number(statistics.fmean(points)), "mean"),
            _fact(f"{number(quarters[0])} to {number(quarters[2])}", "middle half")
            if quarters
            else None,
        ]
    return tag(
        "section",
        tag("h2", challenge_title(challenge)),
        tag("ul", facts, class_="numbers"),
        histogram(points, max(grade.most for grade in grades), id) if points else None,
        _parts(grades),
        heat_map(grades, mistakes),
        class_="card",
    )


def _fact(value: str, what: str) -> Markup:
    return tag("li", tag("b", value), tag("span", what))


def histogram(points: Sequence[float], most: float, id: str) -> Markup:
    """How many students reached how many points, as a picture with words for it.

    Args:
        points: of each student, not empty.
        most: possible; it has a bar of its own.
        id: for this picture's parts, unlike all others on the page.
    """
    top = max(most, max(points))
    step = max(math.ceil(top / (MOST_BARS - 1)), 1) if top > 0 else 1
    starts = [step * i for i in range(math.floor(top / step) + 1)]
    counts = [sum(start <= value < start + step for value in points) for start in starts]

    def words(start: int) -> str:
        last = min(start + step - 1, math.ceil(top))
        return f"{start}" if last <= start else f"{start} to {last}"

    width, height, bottom, roof = 700, 190, 40, 20
    wide = width / len(starts)
    scale = (height - bottom - roof) / max(counts)
    bars: list[Content] = []
    for i, (start, count) in enumerate(zip(starts, counts, strict=True)):
        middle, tall = round((i + 0.5) * wide, 1), round(count * scale, 1)
        ground = height - bottom
        if count:
            bars.append(
                tag(
                    "rect",
                    x=round(i * wide + 0.1 * wide, 1),
                    y=round(ground - tall, 1),
                    width=round(0.8 * wide, 1),
                    height=tall,
                )
            )
            above = round(ground - tall - 5, 1)
            bars.append(tag("text", f"{count}", x=middle, y=above, text_anchor="middle"))
        label = words(start)
        bars.append(tag("text", label, x=middle, y=ground + 16, text_anchor="middle"))
    said = "; ".join(
        f"{words(start)} points: {counted(count, 'student')}"
        for start, count in zip(starts, counts, strict=True)
        if count
    )
    return tag(
        "svg",
        tag("title", f"Histogram of the points of {counted(len(points), 'student')}", id=f"{id}t"),
        tag("desc", f"{said}.", id=f"{id}d"),
        tag("line", x1=0, y1=height - bottom, x2=width, y2=height - bottom),
        bars,
        tag(
            "text",
            "points; above each bar, how many students",
            x=width / 2,
            y=height - 4,
            text_anchor="middle",
            class_="quiet",
        ),
        class_="chart",
        viewbox=f"0 0 {width} {height}",
        role="img",
        aria_labelledby=f"{id}t {id}d",
    )


def _parts(grades: Sequence[Grade]) -> Content:
    """Which part fails most."""
    records: dict[str, list[PartRecord]] = {}
    for grade in grades:
        if grade.points is not None:
            for part in grade.attempt.parts:
                records.setdefault(part.id, []).append(part)
    if not records:
        return None
    empty = {id: sum(p.points <= 0 for p in parts) / len(parts) for id, parts in records.items()}
    worst = max(empty, key=lambda id: empty[id])
    rows = []
    for id in sorted(records):
        parts = records[id]
        full = sum(part.points >= part.most for part in parts)
        none = sum(part.points <= 0 for part in parts)
        values = [p.value for p in parts if p.value is not None and math.isfinite(p.value)]
        mean = statistics.fmean(part.points for part in parts)
        most = max(part.most for part in parts)
        rows.append(
            [
                f"{id} · {parts[0].title}",
                *(
                    tag("td", words, class_="n")
                    for words in (
                        f"{full} ({full / len(parts):.0%})",
                        f"{len(parts) - full - none}",
                        f"{none} ({none / len(parts):.0%})",
                        f"{number(mean)} of {number(most)}",
                        f"{statistics.median(values):.3g}" if values else "–",
                    )
                ),
            ]
        )
    head = ["part", "all points", "some", "none", "mean points", "median measured"]
    words = (
        f"Part {worst} fails most: {empty[worst]:.0%} have no points in it."
        if empty[worst] > 0
        else "No part leaves anybody without points."
    )
    return [tag("h3", "Parts"), tag("p", words), table(head, rows, "Students by part", "counts")]
