"""The step strip: pictures on their way from noise, frame by frame, with the timestep below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_utils.images import to_pil
from course_utils.samplers import Step

if TYPE_CHECKING:
    from PIL import Image

    from course_utils.pipeline import Pipeline

INK, PAPER = (51, 51, 51), (255, 255, 255)
FRAMES, MOST_ROWS = 8, 8


def frame_numbers(num_steps: int, frames: int = FRAMES) -> list[int]:
    """Which steps to show: first and last, and others at equal distances; rising."""
    frames = max(2, min(frames, num_steps + 1))
    return [round(i * num_steps / (frames - 1)) for i in range(frames)]


def step_strip(pipeline: Pipeline, steps: Sequence[Step], side: int = 192) -> Image.Image:
    """Decode the latents of some steps and lay them out, a row for each picture.

    Args:
        pipeline: whose VAE decodes.
        steps: at most ten or so, of the same loop; their `x` is (N, 4, h, w). Of many pictures the
            first eight are shown.
        side: of a frame, in pixels.

    Returns:
        A Pillow picture of about `side * len(steps)` by `side * N` pixels.

    Raises:
        ValueError: no steps.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not steps:
        raise ValueError("steps is empty; expected the steps to show")
    gap, size = max(2, side // 24), max(10, side // 9)
    rows, columns = min(len(steps[0].x), MOST_ROWS), len(steps)
    width = columns * (side + gap) + gap
    height = rows * (side + gap) + gap
    strip = Image.new("RGB", (width, height + 2 * size), PAPER)
    write, font = ImageDraw.Draw(strip), ImageFont.load_default(size)
    for column, step in enumerate(steps):
        left = gap + column * (side + gap)
        for row, pixels in enumerate(pipeline.decode(step.x[:rows])):
            frame = to_pil(pixels).resize((side, side), Image.Resampling.LANCZOS)
            strip.paste(frame, (left, gap + row * (side + gap)))
        label = f"t = {step.t}"
        if step.step in {0, step.num_steps}:
            label = ("picture, " if step.step else "noise, ") + label
        centre = (left + side / 2, height + size * 0.8)
        write.text(centre, label, fill=INK, font=font, anchor="mm")
    return strip
