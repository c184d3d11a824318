"""A learner's page: points and measurements of each part, and what to try next.

Nothing that is for instructors alone (`details`) comes near it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from course_utils.challenges.declare import Challenge, Part, find_challenge
from course_utils.grading.cohort.attempts import Attempt, PartRecord, parse_time
from course_utils.grading.cohort.policy import Grade
from course_utils.grading.reports.exports import late_words
from course_utils.grading.reports.markup import (
    Content,
    Markup,
    moment,
    name,
    number,
    page,
    table,
    tag,
)

MOST_TEXT = 1500  # characters of one message
COURSE = "Sculpting Noise"


def learner_page(
    grades: Sequence[Grade], history: Sequence[Sequence[Attempt]], now: datetime
) -> bytes:
    """The page of one learner.

    Args:
        grades: one a challenge, at least one.
        history: for each grade all attempts, oldest first.
        now: when the page is written.
    """
    student = grades[0].student
    points = sum(grade.points or 0.0 for grade in grades)
    most = sum(grade.most for grade in grades if grade.points is not None)
    waiting = sum(grade.points is None for grade in grades)
    total: list[Content] = [f"{number(points)} of {number(most)} points"]
    if waiting:
        total.append(f"; {waiting} challenge{'s' if waiting > 1 else ''} not graded yet")
    sections = [_section(grade, attempts) for grade, attempts in zip(grades, history, strict=True)]
    return page(
        f"{student}: {COURSE}",
        tag("p", f"{COURSE}: results", class_="kicker"),
        tag("h1", name(student)),
        tag("p", total, class_="total"),
        tag("p", "As of ", moment(now), class_="small"),
        sections,
    )


def challenge_title(challenge: str) -> str:
    """ "02_denoise_on_a_budget" in words."""
    number, _, words = challenge.partition("_")
    if number.isdecimal() and words:
        return f"{number} {words.replace('_', ' ').capitalize()}"
    return challenge


def declared(challenge: str) -> Challenge | None:
    """What the course says of a challenge; None if it has none of this name."""
    try:
        return find_challenge(challenge)
    except ValueError:
        return None


def short(text: str, most: int = MOST_TEXT) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"


def verdict_chip(verdict: str) -> Markup:
    """A verdict as a word in a frame."""
    kind = {"pass": " good", "partial": "", "not attempted": ""}.get(verdict, " bad")
    return tag("span", verdict, class_=f"chip{kind}")


def points_words(points: float | None, most: float) -> Content:
    """Points of points; a dash where there are none yet."""
    return [number(points) if points is not None else "–", tag("small", f" of {number(most)}")]


def _section(grade: Grade, attempts: Sequence[Attempt]) -> Markup:
    chosen = grade.attempt
    if grade.points is None:
        state = tag("span", "not graded yet", class_="chip")
    elif grade.passed:
        state = tag("span", "passed", class_="chip good")
    else:
        state = tag("span", "not passed yet", class_="chip bad")
    lines: list[Content] = [tag("p", "Handed in ", moment(grade.submitted), ".", class_="small")]
    late = late_words(grade)
    if late and grade.reached is not None:
        kept = f" {number(grade.reached)} points became {number(grade.points or 0)}."
        lines.append(tag("p", late, kept if grade.percent_lost else ""))
    if grade.points is None:
        lines.append(
            tag(
                "div",
                tag("p", "The grader failed, and not your answer. It will be graded again."),
                class_="notice",
            )
        )
    elif chosen.message:
        lines.append(tag("p", short(chosen.message), dir="auto"))
    if grade.pending and grade.points is not None:
        lines.append(tag("p", "Another of your submissions waits to be graded again."))
    if not chosen.sandboxed and grade.points is not None:
        lines.append(tag("p", "Graded without the sandbox.", class_="small"))
    challenge = declared(chosen.challenge)
    parts = {part.id: part for part in challenge.parts} if challenge is not None else {}
    return tag(
        "section",
        tag(
            "div",
            tag("h2", challenge_title(grade.challenge)),
            tag(
                "div",
                state,
                " ",
                tag("span", points_words(grade.points, grade.most)),
                class_="points",
            ),
            class_="top",
        ),
        lines,
        [_part(record, parts.get(record.id)) for record in chosen.parts],
        _history(grade, attempts),
        class_="card",
    )


def _part(record: PartRecord, part: Part | None) -> Markup:
    facts = []
    if record.seconds >= 0.005:
        facts.append(f"longest call {record.seconds:.2g} s")
    facts += [f"calls of {oracle}: {count}" for oracle, count in record.oracle_calls.items()]
    share = min(max(record.points / record.most, 0.0), 1.0) if record.most else 0.0
    return tag(
        "article",
        tag(
            "div",
            tag("h3", f"{record.id} · {record.title}"),
            tag("div", verdict_chip(record.verdict), " ", points_words(record.points, record.most)),
            class_="top",
        ),
        tag(
            "svg",
            tag("rect", class_="all", width=100, height=6, rx=1),
            tag("rect", class_="got", width=round(100 * share, 1), height=6, rx=1),
            class_="bar",
            viewbox="0 0 100 6",
            preserveAspectRatio="none",
            aria_hidden="true",
        ),
        tag("p", short(record.message), dir="auto"),
        _bands(record, part),
        tag("ul", (tag("li", short(n), dir="auto") for n in record.notes), class_="notes")
        if record.notes
        else None,
        tag("div", tag("b", "What to try next. "), short(record.advice), class_="next")
        if record.advice
        else None,
        tag("p", ", ".join(facts), class_="facts") if facts else None,
        class_="part",
    )


def _bands(record: PartRecord, part: Part | None) -> Content:
    """What was measured, among the bands; nothing where the course's bands are others now."""
    if part is None or record.value is None or part.points != record.most:
        return None
    reached = None if record.value != record.value else part.band(record.value)
    if (reached.points if reached else 0.0) != record.points:
        return None
    than = "at least" if part.better == "more" else "at most"
    items = []
    for band in reversed(part.bands):
        here = band is reached
        words = f"{than} {band.limit:.4g} gives {number(band.points)}"
        items.append(
            tag("li", words, " (reached)" if here else "", class_="here" if here else None)
        )
    return tag("ul", items, class_="bands", aria_label=f"points for {part.quantity}")


def _history(grade: Grade, attempts: Sequence[Attempt]) -> Content:
    if len(attempts) < 2:
        return None
    rows = [
        [
            moment(parse_time(attempt.submitted)),
            verdict_chip(attempt.verdict),
            points_words(attempt.points, attempt.most),
            "counts" if attempt is grade.attempt or attempt == grade.attempt else "",
        ]
        for attempt in attempts
    ]
    words = f"All {len(attempts)} gradings of your submissions, before what lateness costs"
    return table(["handed in", "result", "points", ""], rows, words)
