"""The fallback picture of a view: its pictures and charts on one sheet, drawn with Pillow."""

from __future__ import annotations

import functools
import importlib.util
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

WIDTH, GAP, SIZE = 980, 16, 13
INK, GREY, RULE, PAPER, ACCENT = "#222222", "#6f6f6f", "#c9c9c9", "#ffffff", "#b4451f"


def sheet(title: str, parts: Sequence[Mapping[str, Any]]) -> bytes:
    """Lay out what is shown: pictures side by side, then charts, then lines of text.

    Args:
        title: the first line.
        parts: states of parts, see `_parts`; controls become one line with their values.

    Returns:
        The bytes of a PNG, 980 pixels wide.
    """
    from PIL import Image

    tiles = [tile for part in parts for tile in _tiles(part)]
    lines = [text for part in parts if (text := _line(part))]
    rows = _rows(tiles)
    wrapped = [short for text in lines for short in textwrap.wrap(text, 118)[:4]]
    tall = sum(max(tile.height for tile in row) + GAP for row in rows)
    image = Image.new("RGB", (WIDTH, 2 * GAP + 24 + tall + len(wrapped) * 18 + GAP), PAPER)
    draw, y = _draw(image), GAP
    draw.text((GAP, y), title, INK, font(17))
    y += 24 + GAP // 2
    for row in rows:
        x = GAP
        for tile in row:
            image.paste(tile, (x, y))
            x += tile.width + GAP
        y += max(tile.height for tile in row) + GAP
    for short in wrapped:
        draw.text((GAP, y), _plain(short), GREY, font(SIZE))
        y += 18
    buffer = io.BytesIO()
    image.quantize(256).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _rows(tiles: Sequence[Image.Image]) -> list[list[Image.Image]]:
    rows: list[list[Image.Image]] = []
    room = 0
    for tile in tiles:
        if not rows or tile.width > room:
            rows.append([])
            room = WIDTH - 2 * GAP
        rows[-1].append(tile)
        room -= tile.width + GAP
    return rows


def _tiles(part: Mapping[str, Any]) -> list[Image.Image]:
    """The pictures of a part."""
    if part["kind"] == "picture" and part.get("png"):
        return [_framed(part["png"], min(part["size"], 256), part["label"], part.get("caption"))]
    if part["kind"] == "pictures":
        size = min(part["size"], 192)
        return [_framed(one["png"], size, "", one.get("caption")) for one in part["items"][:16]]
    if part["kind"] == "chart" and part["lines"]:
        return [_chart(part)]
    return []


def _line(part: Mapping[str, Any]) -> str:
    """The line of text that stands for a part."""
    if part["kind"] == "note":
        return f"{part['label']}: {part['text']}" if part["text"] else ""
    if part["kind"] in {"slider", "number", "select", "text"}:
        value = part.get("text") or dict(part.get("options", ())).get(part["value"], part["value"])
        return f"{part['label']}: {value}"
    return ""


def _framed(png: bytes, size: int, name: str, caption: str | None) -> Image.Image:
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(png)) as file:
        picture = file.convert("RGB")
    picture = picture.resize(
        (size, max(1, round(size * picture.height / picture.width))), Image.Resampling.NEAREST
    )
    lines = [name] * bool(name) + textwrap.wrap(caption or "", max(12, size // 7))[:3]
    bordered = ImageOps.expand(picture, 1, RULE)
    tile = Image.new("RGB", (bordered.width, bordered.height + 4 + 17 * len(lines)), PAPER)
    tile.paste(bordered, (0, 0))
    for i, text in enumerate(lines):
        _draw(tile).text((0, bordered.height + 4 + 17 * i), _plain(text), INK, font(SIZE))
    return tile


def _chart(part: Mapping[str, Any]) -> Image.Image:
    """The curves and marks of a chart; its axes carry their ends."""
    from PIL import Image

    width, height = part["width"], part["height"]
    left, right, top, bottom = 52, width - 22, 34, height - 44
    image = Image.new("RGB", (width, height), PAPER)
    draw = _draw(image)

    def place(value: float, axis: str, start: int, end: int) -> float:
        low, high = part[f"{axis}_low"], part[f"{axis}_high"]
        if part[f"{axis}_log"]:
            low, high, value = (math.log10(max(v, 1e-30)) for v in (low, high, value))
        share = (value - low) / (high - low) if high != low else 0.0
        return start + min(1.0, max(0.0, share)) * (end - start)

    draw.line([(left, top), (left, bottom), (right, bottom)], GREY)
    draw.text((4, 4), _plain(f"{part['label']}: {part['y_label']}"), INK, font(12))
    draw.text(((left + right) / 2, height - 8), part["x_label"], INK, font(12), anchor="ms")
    for end, at in (("low", left), ("high", right)):
        draw.text((at, bottom + 5), f"{part[f'x_{end}']:g}", GREY, font(12), anchor="mt")
    for end, at in (("low", bottom), ("high", top)):
        draw.text((left - 5, at), f"{part[f'y_{end}']:g}", GREY, font(12), anchor="rm")
    for i, line in enumerate(part["lines"]):
        points = [
            (place(x, "x", left, right), place(y, "y", bottom, top))
            for x, y in zip(line["x"], line["y"], strict=True)
            if y is not None and math.isfinite(y)
        ]
        style = line.get("style", i)
        draw.line(points, {0: ACCENT, 1: INK, "faint": RULE}.get(style, GREY), 2 if style else 3)
    for mark in part["marks"]:
        x = place(mark["x"], "x", left, right)
        if mark.get("y") is None:
            draw.line([(x, top), (x, bottom)], INK)
            y = float(top + 8)
        else:
            y = place(mark["y"], "y", bottom, top)
            draw.ellipse((x - 5, y - 5, x + 5, y + 5), ACCENT, PAPER)
        anchor = "rm" if x > width * 0.6 else "lm"
        at = (x - 9 if anchor == "rm" else x + 9, y)
        draw.text(at, _plain(mark.get("label", "")), INK, font(12), anchor=anchor)
    return image


def _plain(text: str) -> str:
    """What the font can draw; the alt text has all of it."""
    return "".join(c if c.isprintable() and ord(c) < 0x2E80 else "\ufffd" for c in text)


def _draw(image: Image.Image) -> ImageDraw.ImageDraw:
    from PIL import ImageDraw

    return ImageDraw.Draw(image)


@functools.cache
def font(size: int) -> Any:
    """DejaVu Sans, which comes with matplotlib and has the letters of mathematics."""
    from PIL import ImageFont

    home = importlib.util.find_spec("matplotlib")  # does not import it, which takes half a second
    if home is not None and home.origin is not None:
        file = Path(home.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if file.is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)
