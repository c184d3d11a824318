"""The parts that views are made of: controls, pictures, charts, and boxes that arrange them.

Each function returns a node for `View`. `name` is how Python speaks of a part, `label` what a
person reads. The state of a part is a dictionary; `View.put` changes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_TEXT = 20_000  # characters of a text field
UNSAFE = range(0xD800, 0xE000)  # halves of characters, which no text may hold


@dataclass(frozen=True)
class Part:
    """One control, picture or chart: its name and its state when the view opens."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Box:
    """Nodes side by side ("row"), below each other ("column"), or folded away ("fold")."""

    kind: str
    items: Sequence[Part | Box]
    title: str = ""


def row(*items: Part | Box) -> Box:
    """Side by side where there is room, else below each other."""
    return Box("row", items)


def column(*items: Part | Box) -> Box:
    """Below each other."""
    return Box("column", items)


def bar(*items: Part | Box) -> Box:
    """Small controls in one line, aligned at their lower edge, which wraps."""
    return Box("bar", items)


def fold(title: str, *items: Part | Box) -> Box:
    """Behind a line that opens on a click or Enter."""
    return Box("fold", items, title)


# --- controls ----------------------------------------------------------------------------------


def slider(
    name: str,
    label: str,
    low: float,
    high: float,
    value: float,
    step: float = 1,
    unit: str = "",
    **more: Any,
) -> Part:
    """A number to drag, with its value beside it.

    `text`, if it is put, replaces the value that is shown (it is what a screen reader says, too).
    """
    state = {"low": low, "high": high, "step": step, "unit": unit, "value": value}
    return _part("slider", name, label, state, more)


def number(
    name: str, label: str, low: float, high: float, value: float, step: float = 1, **more: Any
) -> Part:
    """A number to type."""
    state = {"low": low, "high": high, "step": step, "value": value}
    return _part("number", name, label, state, more)


def text(name: str, label: str, value: str = "", lines: int = 1, **more: Any) -> Part:
    """A text to type; with several `lines` Enter is part of the text."""
    return _part("text", name, label, {"value": value, "lines": lines, "placeholder": ""}, more)


def select(
    name: str, label: str, options: Sequence[str] | Mapping[str, str], value: str, **more: Any
) -> Part:
    """One of a list. Options are values, or values with what the page shows for them."""
    shown = dict(options) if isinstance(options, Mapping) else {item: item for item in options}
    state = {"options": [[key, words] for key, words in shown.items()], "value": value}
    return _part("select", name, label, state, more)


def check(name: str, label: str, value: bool = False, **more: Any) -> Part:
    """Yes or no."""
    return _part("check", name, label, {"value": value}, more)


def button(name: str, label: str, primary: bool = False, **more: Any) -> Part:
    """A button; its handlers get how often it was pressed."""
    return _part("button", name, label, {"value": 0, "primary": primary}, more)


def play(name: str, label: str, target: str, step: float = 1, interval: int = 120) -> Part:
    """A button that moves the slider `target` by `step`, again and again, as a hand would.

    It stops at the slider's end and starts anew from there. `interval` is in milliseconds; it
    waits for Python to answer before the next move.
    """
    return Part(
        name,
        {
            "kind": "play",
            "label": label,
            "value": None,
            "target": target,
            "step": step,
            "interval": interval,
        },
    )


def download(name: str, label: str, **more: Any) -> Part:
    """A link to a file that Python has made, saved at once when it comes.

    State: data (bytes), file (its name), count (raised with each new file), mime.
    """
    state: dict[str, Any] = {"data": None, "file": "", "count": 0, "mime": "", "value": None}
    return _part("download", name, label, state, more)


def upload(name: str, label: str, accept: str = "image/*", **more: Any) -> Part:
    """A file of the learner's; its handlers get (bytes, file name). See `_upload.read_upload`."""
    return _part("upload", name, label, {"value": 0, "accept": accept, "file": ""}, more)


# --- what is shown -----------------------------------------------------------------------------


def picture(name: str, label: str, size: int = 256, **more: Any) -> Part:
    """A picture, `size` pixels wide on the page, each of its own pixels a crisp square.

    State: png (bytes; none: an empty frame), alt, caption (a line below).
    """
    return _part("picture", name, label, {"png": None, "alt": "", "size": size}, more)


def pictures(name: str, label: str, size: int = 128, choose: bool = False, **more: Any) -> Part:
    """Several pictures in rows that wrap.

    State: items, a list of {png, alt, caption}. With `choose` each is a button and `value` is the
    index of the chosen one.
    """
    state = {"items": [], "size": size, "choose": choose, "value": 0}
    return _part("pictures", name, label, state, more)


def note(name: str, label: str, text: str = "", **more: Any) -> Part:
    """A labelled line of text that Python changes, such as a number with its unit.

    With `quiet=True` a screen reader does not read changes aloud (they come while one drags).
    """
    return _part("note", name, label, {"text": text}, more)


def html(name: str, label: str, html: str = "", **more: Any) -> Part:
    """HTML of your own (escape what a person typed).

    An element with data-send="name" data-value="..." is a control: a click on it, or Enter,
    sets the value of that part. Make it a <button>.
    """
    return _part("html", name, label, {"html": html}, more)


def chart(name: str, label: str, x_label: str, y_label: str, **more: Any) -> Part:
    """Curves with marks.

    State: lines, a list of {label, x, y} (at most 200 points or so each; each line differs from
    the others in its dashes, too); marks, a list of {x, y, label} (dots) or {x, label} (rules);
    x_low, x_high, y_low, y_high; x_log, y_log; alt. A click sets `value` to the x at that place.
    """
    state: dict[str, Any] = {
        "x_label": x_label,
        "y_label": y_label,
        "lines": [],
        "marks": [],
        "alt": "",
        "x_low": 0,
        "x_high": 1,
        "y_low": 0,
        "y_high": 1,
        "x_log": False,
        "y_log": False,
        "value": None,
        "click": False,
        "width": 440,
        "height": 240,
    }
    return _part("chart", name, label, state, more)


def custom(kind: str, name: str, label: str, **state: Any) -> Part:
    """A part of a kind that the view's own `js` draws."""
    return _part(kind, name, label, {"value": None}, state)


def _part(kind: str, name: str, label: str, state: dict[str, Any], more: dict[str, Any]) -> Part:
    if not name.isidentifier():
        raise ValueError(f"name is {name!r}; expected letters, digits and underscores")
    if not label.strip():
        raise ValueError(f"the part {name} has no label; expected what a person reads")
    return Part(name, {"kind": kind, "label": label, **state, **more})


# --- for View ----------------------------------------------------------------------------------


def parts_of(node: Part | Box) -> Iterator[Part]:
    """All parts of a tree, in the order in which they are read."""
    if isinstance(node, Part):
        yield node
    else:
        for item in node.items:
            yield from parts_of(item)


def tree_of(node: Part | Box) -> dict[str, Any]:
    """The tree as JSON: boxes, and the names of parts."""
    if isinstance(node, Part):
        return {"part": node.name}
    return {"box": node.kind, "title": node.title, "items": [tree_of(item) for item in node.items]}


def clean_value(state: Mapping[str, Any], value: Any) -> Any:
    """A control's new value, brought into its range.

    Raises:
        TypeError, ValueError: it cannot be, because it is of the wrong type or no option.
    """
    kind = state["kind"]
    if kind in {"slider", "number"}:
        return _number(state, value)
    if kind == "text":
        if not isinstance(value, str):
            raise TypeError(f"{state['label']} is {value!r}; expected a text")
        return "".join("\ufffd" if ord(c) in UNSAFE else c for c in value[:MAX_TEXT])
    if kind == "select":
        known = [option[0] for option in state["options"]]
        if value not in known:
            raise ValueError(f"{state['label']} is {value!r}; expected one of {', '.join(known)}")
    if kind == "check":
        return bool(value)
    return value


def _number(state: Mapping[str, Any], value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{state['label']} is {value!r}; expected a number")
    low, high, step = state["low"], state["high"], state["step"]
    value = min(max(value, low), high)
    whole = all(float(item).is_integer() for item in (low, step))
    return round(value) if whole else float(value)
