"""The drawing of the whole system: text encoder, noise, U-Net, decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from course_utils.images import to_uint8

if TYPE_CHECKING:
    from matplotlib.axes import Axes

from course_utils.plots.base import (
    ACCENT,
    GREY,
    INK,
    LIGHT,
    PALE,
    TINT,
    DescribedImage,
    canvas,
    describe,
    write,
)


@dataclass(frozen=True)
class SystemPart:
    """One box of the drawing of the whole system."""

    key: str
    title: str
    lines: tuple[str, ...]  # what it does; names in braces are sizes
    centre: tuple[float, float]  # in inches
    size: tuple[float, float]


PARTS = (
    SystemPart(
        "words",
        "1  Words",
        ("tokenizer: text → ids {ids}", "text encoder: ids → states {text_states}"),
        (3.75, 2.7),
        (3.7, 0.95),
    ),
    SystemPart("noise", "2  Noise", ("random numbers", "{latents}"), (1.9, 0.95), (1.6, 1.0)),
    SystemPart(
        "unet",
        "3  U-Net",
        ("takes out a little noise,", "{steps} times, {latents}"),
        (4.5, 0.95),
        (2.3, 1.0),
    ),
    SystemPart("decoder", "4  Decoder", ("latents → pixels", "{pixels}"), (7.0, 0.95), (1.7, 1.0)),
)
WIDTH, HEIGHT, SIDE = 9.4, 3.3, 0.95  # of the drawing and of the picture in it, in inches


def architecture(
    sizes: Mapping[str, Sequence[int]],
    highlight: str | None = None,
    steps: int = 25,
    result: Tensor | None = None,
) -> DescribedImage:
    """The four parts of a text-to-image system and what flows between them.

    Args:
        sizes: shapes of the tensors "ids", "text_states", "latents" and "pixels".
        highlight: the part to light up: "words", "noise", "unet" or "decoder"; None for none.
        steps: how often the U-Net works.
        result: a picture (3, H, W) to show at the end.

    Raises:
        ValueError: no such part, or a size that is missing.
    """
    keys = [part.key for part in PARTS]
    if highlight is not None and highlight not in keys:
        raise ValueError(f"highlight is {highlight!r}; expected one of {', '.join(keys)}, or None")
    missing = {"ids", "text_states", "latents", "pixels"} - set(sizes)
    if missing:
        raise ValueError(f"sizes lacks {', '.join(sorted(missing))}")
    values: dict[str, Any] = {name: _size(shape) for name, shape in sizes.items()}
    values["steps"] = steps
    words, noise, unet, decoder = PARTS
    with canvas(WIDTH, HEIGHT, arrange=False) as figure:
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
        ax.axis("off")
        for part in PARTS:
            _draw_part(ax, part, values, lit=part.key == highlight)
        for name, part in (("prompt", words), ("seed", noise)):
            write(ax, (0.4, part.centre[1]), name, INK)
            _arrow(ax, (0.72, part.centre[1]), (_left(part), part.centre[1]))
        _arrow(ax, (unet.centre[0], words.centre[1] - 0.48), (unet.centre[0], unet.centre[1] + 0.5))
        write(ax, (unet.centre[0] + 0.12, 1.85), "text states", GREY, ha="left")
        for left, right in ((noise, unet), (unet, decoder)):
            _arrow(ax, (_right(left), left.centre[1]), (_left(right), right.centre[1]))
        _loop(ax, unet)
        end = (8.8, decoder.centre[1])
        _arrow(ax, (_right(decoder), end[1]), (end[0] - SIDE / 2 - 0.02, end[1]))
        _place(ax, result, end, "picture")
        return describe(figure, _architecture_alt(values, highlight), colours=128)


def _architecture_alt(values: Mapping[str, Any], highlight: str | None) -> str:
    parts = "; ".join(f"{part.title}: {' '.join(part.lines)}" for part in PARTS)
    lit = next((part.title for part in PARTS if part.key == highlight), None)
    return (
        f"Drawing of the four parts. {parts.format(**values)}. The prompt goes into the words, a "
        "seed into the noise; text states and noise go into the U-Net, which works on its own "
        "result again and again; the last latents go through the decoder and become the picture. "
        + (f"Lit up: {lit}." if lit else "No part is lit up.")
    )


def _draw_part(ax: Axes, part: SystemPart, values: Mapping[str, Any], lit: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    (x, y), (width, height) = part.centre, part.size
    box = FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=TINT if lit else PALE,
        edgecolor=ACCENT if lit else LIGHT,
        linewidth=3 if lit else 1.2,
    )
    ax.add_patch(box)
    weight, colour = ("bold", INK) if lit else ("normal", GREY)
    top = y + 0.27
    write(ax, (x, top), part.title, ACCENT if lit else INK, weight="bold", size=11.5)
    for i, line in enumerate(part.lines):
        write(ax, (x, top - 0.28 - 0.23 * i), line.format(**values), colour, weight=weight)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], **options: Any) -> None:
    look = {"arrowstyle": "-|>", "color": GREY, "linewidth": 1.4, "shrinkA": 2, "shrinkB": 2}
    ax.annotate("", xy=end, xytext=start, arrowprops={**look, **options})


def _loop(ax: Axes, part: SystemPart) -> None:
    """The arrow from a part back into itself."""
    x, y = part.centre
    bottom = y - part.size[1] / 2
    bend = "bar,angle=0,fraction=-0.28"
    _arrow(ax, (x + 0.75, bottom), (x - 0.75, bottom), connectionstyle=bend)
    write(ax, (x, bottom - 0.15), "again", GREY)


def _place(ax: Axes, pixels: Tensor | None, at: tuple[float, float], name: str) -> None:
    """A picture in the drawing with its name below, or the name alone."""
    x, y = at
    if pixels is None:
        write(ax, at, name, INK)
        return
    box = (x - SIDE / 2, x + SIDE / 2, y - SIDE / 2, y + SIDE / 2)
    limits = ax.get_xlim(), ax.get_ylim()
    ax.imshow(to_uint8(pixels).permute(1, 2, 0).numpy(), extent=box, aspect="auto", zorder=3)
    ax.set(xlim=limits[0], ylim=limits[1])
    write(ax, (x, y - SIDE / 2 - 0.15), name, INK)


def _left(part: SystemPart) -> float:
    return part.centre[0] - part.size[0] / 2


def _right(part: SystemPart) -> float:
    return part.centre[0] + part.size[0] / 2


def _size(shape: Sequence[int]) -> str:
    return f"({', '.join(str(n) for n in shape)})"
