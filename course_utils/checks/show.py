"""How verdicts, hints and summaries look: words, a coloured rule beside them, plain text too."""

from __future__ import annotations

import html
import sys
from dataclasses import dataclass
from typing import Any

ACCENT, GREY, INK = "#b4451f", "#6f6f6f", "#222222"


@dataclass(frozen=True)
class Note:
    """A short message on a page.

    Attributes:
        title: one line, bold.
        lines: (label, text); an empty label makes a paragraph.
        strong: draws the eye.
        code: shown as code at the end.
    """

    title: str
    lines: tuple[tuple[str, str], ...] = ()
    strong: bool = False
    code: str = ""

    def __str__(self) -> str:
        width = max((len(label) for label, _ in self.lines), default=0) + 2
        rows = [self.title]
        for label, text in self.lines:
            indent = " " * (2 + (width if label else 0))
            body = text.replace("\n", "\n" + indent)
            rows.append(f"  {(label + ':').ljust(width) if label else ''}{body}")
        if self.code:
            rows += ["", self.code]
        return "\n".join(rows)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        rule = ACCENT if self.strong else GREY
        rows = []
        for label, text in self.lines:
            body = html.escape(text).replace("\n", "<br>")
            if label:
                body = f"<code style='white-space:pre-wrap'>{body}</code>"
                body = f"<span style='opacity:.75'>{html.escape(label)}:</span> {body}"
            rows.append(f"<div>{body}</div>")
        if self.code:
            rows.append(f"<pre style='margin:.5em 0 0'>{html.escape(self.code)}</pre>")
        page = (
            f"<div role='status' style='border-left:4px solid {rule};"
            "padding:.3em .8em;margin:.3em 0'>"
            f"<b>{html.escape(self.title)}</b>{''.join(rows)}</div>"
        )
        return {"text/plain": str(self), "text/html": page}


def show(value: Any) -> None:
    """Display in a notebook; print anywhere else."""
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from IPython.display import display

        display(value)
    else:
        print(value)
