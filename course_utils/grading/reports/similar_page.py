"""Answers that are alike, side by side, for a person to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from course_utils.grading.reports.learner import COURSE, challenge_title
from course_utils.grading.reports.markup import Content, Markup, listed, moment, name, page, tag
from course_utils.grading.reports.similar import Alike, groups

SOLUTION = "(the course's own solution)"
MOST_PAIRS = 60  # shown of a challenge
MOST_LINES = 300  # shown of a cell
MOST_COLUMNS = 300

Answers = Mapping[str, Mapping[str, Mapping[str, str]]]  # challenge, student, cell: source


def similar_page(alike: Mapping[str, Sequence[Alike]], answers: Answers, now: datetime) -> bytes:
    """The page.

    Args:
        alike: pairs by challenge, the most alike first.
        answers: what was compared.
        now: when the page is written.
    """
    body: list[Content] = [
        tag("p", f"{COURSE}: for instructors", class_="kicker"),
        tag("h1", "Answers that are alike"),
        tag("p", "As of ", moment(now), class_="small"),
        tag(
            "p",
            "A likeness is a question and never an answer. Two people may have worked together "
            "where that is allowed, may have read the same page, or may have found the one short "
            "way. Names, comments and layout are ignored; code of the template and of the lessons, "
            "and what more than a quarter of the class has, counts for nothing. Marked lines are "
            "those that both have.",
        ),
    ]
    if not any(alike.values()):
        body.append(tag("p", "No two answers are alike beyond that."))
    for challenge, pairs in sorted(alike.items()):
        if pairs:
            body.append(_challenge(challenge, pairs, answers[challenge]))
    return page(f"{COURSE}: answers that are alike", *body)


def _challenge(
    challenge: str, pairs: Sequence[Alike], answers: Mapping[str, Mapping[str, str]]
) -> Markup:
    found = groups(pairs)
    items = [tag("li", listed(name(student) for student in group)) for group in found]
    more = len(pairs) - MOST_PAIRS
    return tag(
        "section",
        tag("h2", challenge_title(challenge)),
        tag("p", "Who belongs together, directly or through others:"),
        tag("ul", items, class_="notes"),
        [_pair(pair, answers, open_=i == 0) for i, pair in enumerate(pairs[:MOST_PAIRS])],
        tag("p", f"{more} more pairs are less alike than these.") if more > 0 else None,
        class_="card",
    )


def _pair(pair: Alike, answers: Mapping[str, Mapping[str, str]], open_: bool) -> Markup:
    where = f" in {pair.cell}" if pair.cell else ""
    words = f"the same{where}" if pair.identical else f"{pair.share:.0%} alike{where}"
    columns = []
    for student, lines in zip((pair.first, pair.second), pair.lines, strict=True):
        cells = [
            [
                tag("p", cell, class_="small"),
                tag("pre", _lines(answers[student][cell], lines[cell]), tabindex="0"),
            ]
            for cell in lines
        ]
        columns.append(tag("div", tag("h3", name(student)), cells))
    return tag(
        "details",
        tag("summary", name(pair.first), " and ", name(pair.second), f": {words}"),
        tag("div", columns, class_="beside"),
        open_=open_,
    )


def _lines(source: str, hit: frozenset[int]) -> Content:
    lines = source.split("\n")
    shown: list[Content] = [
        tag("span", line[:MOST_COLUMNS], class_="hit" if i in hit else None)
        for i, line in enumerate(lines[:MOST_LINES], start=1)
    ]
    if len(lines) > MOST_LINES:
        shown.append(tag("span", f"… {len(lines) - MOST_LINES:,} more lines"))
    return shown
