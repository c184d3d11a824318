"""A sheet of drawn pictures with what was asked and what the judge saw, readable without colour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.evaluation.report import SPLITS, Report, Verdict
from course_utils.files import write_atomically
from course_utils.images import to_pil

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

SCALE = 3  # screen pixels for each pixel of a picture
GAP, LINE, HEAD = 12, 16, 30
RIGHT, WRONG = "ok", "X"


def picture_grid(report: Report, columns: int = 8, rows: int = 6) -> Image.Image:
    """Lay out the first seed of each prompt, at most `rows` rows of each split.

    Below each picture stand the object, the style and background asked for, and then "ok" or a line
    "X object: dog face" for each thing that the judge or the pixels say is wrong.
    """
    from PIL import Image, ImageDraw, ImageFont

    if columns < 1 or rows < 1:
        raise ValueError(f"columns={columns}, rows={rows}; expected at least 1 of each")
    side = report_side(report) * SCALE
    cell_width, cell_height = side + GAP, side + 5 * LINE + GAP
    chosen = {}
    for name, split in report.splits.items():
        seeds = split.pictures // split.prompts
        chosen[name] = list(range(0, split.pictures, seeds))[: columns * rows]
    height = sum(HEAD + -(-len(ids) // columns) * cell_height for ids in chosen.values()) + GAP
    sheet = Image.new("RGB", (columns * cell_width + GAP, height), "white")
    draw = ImageDraw.Draw(sheet)
    plain, heading = ImageFont.load_default(12), ImageFont.load_default(16)
    top = GAP
    for name, ids in chosen.items():
        split = report.splits[name]
        draw.text((GAP, top), SPLITS[name], fill="black", font=heading)
        top += HEAD
        for place, i in enumerate(ids):
            x = GAP + place % columns * cell_width
            y = top + place // columns * cell_height
            sheet.paste(to_pil(split.pixels[i], SCALE), (x, y))
            draw.rectangle((x - 1, y - 1, x + side, y + side), outline="gray")
            for n, text in enumerate(caption_lines(split.verdicts[i])):
                at = (x, y + side + 2 + n * LINE)
                draw.text(at, _shorten(draw, text, plain, side), fill="black", font=plain)
        top += -(-len(ids) // columns) * cell_height
    return sheet


def save_grid(report: Report, path: str | Path, columns: int = 8, rows: int = 6) -> None:
    """Write the sheet as PNG in one step.

    Raises:
        OSError: no space, no permission.
    """
    import io

    buffer = io.BytesIO()
    picture_grid(report, columns, rows).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def caption_lines(verdict: Verdict) -> list[str]:
    """What was asked, and "ok" or what is wrong: three to five lines."""
    mistakes = [f"{WRONG} {mistake}" for mistake in verdict.mistakes()]
    return [verdict.concept, f"{verdict.style}, on {verdict.background}", *(mistakes or [RIGHT])]


def report_side(report: Report) -> int:
    """Width of the pictures, in pixels."""
    return next(iter(report.splits.values())).pixels.shape[-1]


def _shorten(draw: ImageDraw.ImageDraw, text: str, font: object, width: int) -> str:
    """Cut a text so that it fits, with dots where something is missing."""
    if draw.textlength(text, font=font) <= width:  # type: ignore[arg-type]
        return text
    while text and draw.textlength(text + "...", font=font) > width:  # type: ignore[arg-type]
        text = text[:-1]
    return text + "..."
