"""Pictures of the course: one accent colour and greys, and words for those who don't see them.

Every function returns a `DescribedImage`: a PNG with its alt text. A notebook shows it when it is
the last line of a cell. What colour says, shape says too (thick lines, markers, dashes), so that
each figure reads in grey.
"""

from course_utils.plots.base import (
    ACCENT,
    CAPTION_LINES,
    GREY,
    INK,
    LIGHT,
    LINES,
    PALE,
    PIXELS_PER_INCH,
    SHARPNESS,
    STYLE,
    SUMMARY,
    TINT,
    Curve,
    DescribedImage,
    canvas,
    curves,
    describe,
    frame,
    paper_t,
    picture,
    picture_grid,
    put_picture,
    step_strip,
)
from course_utils.plots.system import architecture

__all__ = [
    "ACCENT",
    "CAPTION_LINES",
    "GREY",
    "INK",
    "LIGHT",
    "LINES",
    "PALE",
    "PIXELS_PER_INCH",
    "SHARPNESS",
    "STYLE",
    "SUMMARY",
    "TINT",
    "Curve",
    "DescribedImage",
    "architecture",
    "canvas",
    "curves",
    "describe",
    "frame",
    "paper_t",
    "picture",
    "picture_grid",
    "put_picture",
    "step_strip",
]
