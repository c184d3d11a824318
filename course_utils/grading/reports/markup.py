"""HTML in which text is always text: a string becomes an element's content only escaped.

`tag` escapes whatever it is given, except what it has made itself. There is no other way to make
markup, so nothing that a learner wrote can become an element or an attribute. Pages carry a policy
that forbids scripts, frames, forms, and everything from elsewhere; the one style sheet is named by
its hash.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable
from datetime import datetime

from course_utils.grading.reports.style import STYLE

# What HTML can't hold: control characters, halves of characters, and what Unicode keeps free.
NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
EMPTY = {"meta", "br", "hr"}


class Markup(str):
    """HTML that `tag` has made."""

    __slots__ = ()


Content = str | int | float | Iterable["Content"] | None


def escaped(value: str) -> str:
    """A string as HTML text, good for an attribute too."""
    if isinstance(value, Markup):
        return str(value)
    return html.escape(NO_TEXT.sub("\ufffd", value), quote=True)


def tag(name: str, *content: Content, **attributes: str | float | bool | None) -> Markup:
    """An element.

    Args:
        name: of the element, and never a learner's.
        content: strings are escaped, elements stay, None is nothing, iterables are flattened.
        attributes: "class_" is class, "aria_label" is aria-label; None and False leave one out.
    """
    opened = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        key = "viewBox" if key == "viewbox" else key
        opened.append(key if value is True else f'{key}="{escaped(str(value))}"')
    start = f"<{' '.join(opened)}>"
    return Markup(start if name in EMPTY else f"{start}{''.join(_flat(content))}</{name}>")


def _flat(content: Content) -> Iterable[str]:
    if content is None:
        return
    if isinstance(content, str):
        yield escaped(content)
    elif isinstance(content, int | float):
        yield escaped(number(content))
    else:
        for child in content:
            yield from _flat(child)


def name(text: str) -> Markup:
    """A learner's name or text within a line: its writing direction stays its own."""
    return tag("bdi", text)


def listed(items: Iterable[Content]) -> list[Content]:
    """Items with commas between them."""
    found: list[Content] = []
    for item in items:
        found += [", ", item] if found else [item]
    return found


def counted(n: int, what: str) -> str:
    """ "1 student", "2 students"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def number(value: float) -> str:
    """A number of points: no more digits than it needs."""
    return f"{round(float(value), 2):g}"


def moment(value: datetime) -> Markup:
    """A moment in UTC."""
    return tag("time", f"{value:%Y-%m-%d %H:%M} UTC", datetime=value.isoformat())


def table(
    head: Iterable[Content], rows: Iterable[Iterable[Content]], caption: str, class_: str = ""
) -> Markup:
    """A table; the first cell of each row is its heading.

    Args:
        head: the columns' headings.
        rows: contents of cells; a `td` or `th` that is one already stays.
        caption: what the table says.
        class_: of the table.
    """

    def made(content: Content, heading: bool) -> Content:
        if isinstance(content, Markup) and content.startswith(("<td", "<th ", "<th>")):
            return content
        return tag("th", content, scope="row") if heading else tag("td", content)

    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", (tag("th", column, scope="col") for column in head))),
            tag(
                "tbody",
                (tag("tr", (made(c, i == 0) for i, c in enumerate(row))) for row in rows),
            ),
            class_=class_ or None,
        ),
        class_="wide",
        role="region",
        aria_label=caption,
        tabindex="0",
    )


def page(title: str, *body: Content) -> bytes:
    """A whole page in UTF-8."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode("utf-8")).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="referrer", content="no-referrer"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    text = "<!DOCTYPE html>\n" + tag("html", head, tag("body", tag("main", *body)), lang="en")
    return text.encode("utf-8")
