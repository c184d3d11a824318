"""The architecture map as HTML: parts, arrows, tensors to scale, and what a part put out."""

from __future__ import annotations

import base64
import html as escaping
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from course_utils.widgets._base import as_png
from course_utils.widgets._shades import shaded

if TYPE_CHECKING:
    from torch import Tensor

    from course_utils.widgets._part_runs import Output

UNIT = 1.5  # pixels on the page for each number of a tensor
REACH = 3.0  # numbers beyond ±REACH look like it
# What the bundled model has; the map opens with it, before any model is read.
SIZES = {"ids": (1, 32), "states": (1, 32, 256), "latents": (1, 4, 8, 8), "pixels": (1, 3, 64, 64)}


@dataclass(frozen=True)
class Place:
    """A part of the map.

    Attributes:
        title: on its button.
        lesson: the number of the lesson that builds it.
        does: what it does, in a sentence.
        sizes: what goes in and what comes out; names in braces are those of `SIZES`.
        box: left, top, width and height on the map, in pixels.
    """

    title: str
    lesson: str
    does: str
    sizes: str
    box: tuple[int, int, int, int]


PLACES: dict[str, Place] = {
    "text": Place(
        "1 Text encoder",
        "05",
        "The tokenizer cuts the prompt into tokens and looks up a number for each; the text "
        "encoder turns each number into a row of numbers that depends on the words before it, too.",
        "ids {ids} → text states {states}",
        (0, 0, 160, 88),
    ),
    "noise": Place(
        "2 Noise",
        "01",
        "The seed fixes random numbers with mean 0 and variance 1: the block of marble. No prompt "
        "has any say in them.",
        "seed → noise {latents}",
        (0, 150, 92, 88),
    ),
    "unet": Place(
        "3 U-Net × {steps}",
        "03",
        "It looks at the noisy latents, the time and the text states, and says what is noise. The "
        "sampler takes a little of it away and asks again; guidance makes that two looks a step.",
        "latents {latents}, t, text states {states} → latents {latents}",
        (156, 150, 136, 88),
    ),
    "decoder": Place(
        "4 Decoder",
        "06",
        "It makes a red, a green and a blue number for each pixel out of 48 times fewer latents.",
        "latents {latents} → pixels {pixels}",
        (356, 150, 118, 88),
    ),
}
WIDTH, HEIGHT = 588, 282  # of the map


SHOTS = {
    "text": "the text states: a row for each token, a column for each of its numbers",
    "noise": "the four channels, and what the decoder would make of them",
    "unet": "the noisy latents on their way, as the decoder sees them",
    "decoder": "the picture",
}


# --- the map -------------------------------------------------------------------------------------


def map_html(
    sizes: Mapping[str, tuple[int, ...]], outputs: Mapping[str, Output], part: str, steps: int
) -> str:
    """The map as HTML: arrows, a button for each part, and the tensors to scale."""
    rows, columns = sizes["states"][1:]
    channels, side = sizes["latents"][1], sizes["latents"][-1]
    big = sizes["pixels"][-1]
    pieces = [_arrows()]
    for name, place in PLACES.items():
        pieces.append(_place(name, place, outputs.get(name), name == part, steps))
    states = outputs.get("text")
    pieces.append(
        _tensor(
            None if states is None else _shade(states.result[0]),
            (200, 20, columns * UNIT, rows * UNIT),
            f"text states {size_words(sizes['states'])}",
        )
    )
    for name, left in (("noise", 111), ("unet", 311)):
        output = outputs.get(name)
        for channel in range(channels):
            row, column = divmod(channel, 2)
            cell = side * UNIT + 2
            box = (left + column * cell, 181 + row * cell, side * UNIT, side * UNIT)
            png = None if output is None else _shade(output.result[0, channel])
            pieces.append(_tensor(png, box, ""))
        words = size_words(sizes["latents"])
        pieces.append(f'<span class="am-size" style="left:{left + 13}px;top:210px">{words}</span>')
    end = outputs.get("decoder")
    png = None if end is None else as_png(end.result[0])
    pieces.append(_tensor(png, (490, 146, big * UNIT, big * UNIT), size_words(sizes["pixels"])))
    scale = f'<span class="am-scale">drawn to scale: each number is {UNIT:g} pixels wide</span>'
    return f'<div class="am-map">{"".join(pieces)}{scale}</div>'


def _arrows() -> str:
    lines = (
        "M160 44 H195",  # text encoder to its states
        "M224 72 V146",  # text states to the U-Net
        "M92 194 H107",
        "M138 194 H152",
        "M292 194 H307",
        "M338 194 H352",
        "M474 194 H486",
        "M264 240 V262 H184 V243",  # again
    )
    paths = "".join(f'<path d="{line}" marker-end="url(#am-head)"/>' for line in lines)
    return (
        f'<svg class="am-arrows" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true"><defs>'
        '<marker id="am-head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="6" markerHeight="6" '
        'orient="auto-start-reverse"><path class="am-head" d="M0 0 L8 4 L0 8 z"/></marker></defs>'
        f'{paths}<text x="224" y="257" text-anchor="middle">again</text></svg>'
    )


def _place(name: str, place: Place, output: Output | None, chosen: bool, steps: int) -> str:
    """The button of a part."""
    left, top, width, height = place.box
    lines = []
    if output is None:
        lines.append("not run yet")
    else:
        if output.weights:
            lines.append(f"{output.weights / 1e6:.1f} million weights")
        lines.append(f"ran in {_time(output.seconds)}")
    small = "".join(f'<span class="am-line">{line}</span>' for line in lines)
    title = place.title.format(steps=steps)
    return (
        f'<button type="button" class="am-part" data-send="map" data-value="{name}" data-kernel '
        f'aria-pressed="{str(chosen).lower()}" '
        f'style="left:{left}px;top:{top}px;width:{width}px;height:{height}px">'
        f'<span class="am-name">{title}</span>{small}</button>'
    )


def _tensor(png: bytes | None, box: Sequence[float], words: str) -> str:
    """A tensor to scale, filled with its numbers if they are known."""
    left, top, width, height = box
    place = f"left:{left:.1f}px;top:{top:.1f}px;width:{width:.1f}px"
    inside = (
        f'<span class="am-none" style="height:{height:.1f}px"></span>'
        if png is None
        else f'<img class="am-image" alt="" style="height:{height:.1f}px" src="{_address(png)}">'
    )
    name = f'<span class="am-size">{words}</span>' if words else ""
    return f'<span class="am-tensor" style="{place}">{inside}{name}</span>'


# --- the output of a part ------------------------------------------------------------------------


def explained(title: str, does: str, sizes: str, output: Output | None) -> str:
    """What a part does, as HTML; with the tokens and states of the text encoder."""
    parts = [
        f'<div class="am-title">{title}</div><p class="am-does">{does}</p>',
        f'<p class="am-sizes">{sizes}</p>',
    ]
    if output is not None and output.part == "text":
        chips = "".join(
            f'<span class="am-token"><bdi>{escaping.escape(token)}</bdi>'
            f"<small>{number}</small></span>"
            for token, number in output.tokens
        )
        heat = _address(_shade(output.result[0]))
        rows, columns = output.result.shape[1:]
        parts.append(f'<div class="sn-name">the tokens and their ids</div><div>{chips}</div>')
        parts.append(f'<div class="sn-name">{SHOTS["text"]}</div>')
        alt = f"text states, {rows} rows of {columns} numbers, dark is large; see the numbers below"
        parts.append(f'<img class="am-states" alt="{alt}" src="{heat}">')
    return f'<div class="am-output">{"".join(parts)}</div>'


def shots(output: Output | None) -> list[dict[str, Any]]:
    """The pictures of an output."""
    if output is None:
        return []
    if output.part == "noise":
        shots: list[dict[str, Any]] = [
            {
                "png": _shade(plane),
                "alt": f"channel {i} of the noise: light and dark squares without order",
                "caption": f"channel {i}",
            }
            for i, plane in enumerate(output.result[0])
        ]
        decoded = {"alt": "blotches of all colours", "caption": "decoded"}
        return shots + [{"png": as_png(frame.noisy), **decoded} for frame in output.frames]
    if output.part == "unet":
        return [
            {
                "png": as_png(frame.noisy),
                "alt": f"the noisy picture after {frame.step} steps",
                "caption": f"t = {frame.t}",
            }
            for frame in output.frames
        ]
    if output.part == "decoder":
        alt = "the finished picture"
        return [{"png": as_png(output.result[0]), "alt": alt, "caption": "the finished picture"}]
    return []


def guesses(output: Output | None) -> list[dict[str, Any]]:
    """The U-Net's guesses of the end, one for each of its pictures; none of other parts."""
    if output is None or output.part != "unet":
        return []
    import torch

    items = []
    for frame in output.frames:
        grey = torch.zeros_like(frame.noisy)
        words = f"the guess of the end after {frame.step} steps"
        some = frame.guess is not None
        items.append(
            {
                "png": as_png(frame.guess if frame.guess is not None else grey),
                "alt": words if some else "nothing: no guess before the first step",
                "caption": f"step {frame.step}" if some else "no guess yet",
            }
        )
    return items


def found(output: Output) -> str:
    """What an output measures, in words."""
    values = output.result
    mean, spread = float(values.mean()), float(values.std())
    n = values.numel()
    each = f"{n:,} numbers, mean {mean:+.2f}, standard deviation {spread:.2f}".replace("-", "−")
    took = _time(output.seconds)
    if output.part == "text":
        used = f"{len(output.tokens)} of {values.shape[1]} tokens are used, the rest is padding"
        return f"{used}; {each}; {took}"
    if output.part == "noise":
        return f"{each}; expected 0 ± {2 / n**0.5:.2f} and 1 ± {2 / (2 * n) ** 0.5:.2f}; {took}"
    if output.part == "unet":
        look = output.seconds / output.runs
        return f"{output.runs} looks in {took}, {_time(look)} each; at the end {each}"
    return f"{each}, in [−1, 1]; {took}"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.01 else f"{1000 * seconds:.2g} ms"


def size_words(shape: Sequence[int]) -> str:
    """A shape as it is written."""
    return f"({', '.join(str(n) for n in shape)})"


def _shade(values: Tensor) -> bytes:
    """(H, W) as a PNG with a pixel for each number."""
    return as_png(shaded(values, -REACH, REACH))


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
