"""What the latent studio does to latents: swap channels, mix, paint, round. No widgets here.

The edits follow each other in this order, so that what is painted stays as it was painted until
the numbers are rounded:

    z = A, with some channels of B;  the others are (1 - share) A + share B
    z = z, with single numbers painted over
    z = z, each number rounded to one of 2^bits levels
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from course_utils.data.emoji import BACKGROUND_NAMES, STYLES, CaptionedEmoji

Cell = tuple[int, int, int]  # channel, row, column
EXAMPLES: dict[str, tuple[str, str, str]] = {
    "cat": ("cat face", "3d", "blue"),
    "dog": ("dog face", "twemoji", "pink"),
    "pizza": ("pizza", "noto", "green"),
    "rocket": ("rocket", "flat", "yellow"),
    "apple": ("red apple", "flat", "white"),
    "panda": ("panda", "3d", "teal"),
    "sunflower": ("sunflower", "twemoji", "purple"),
    "penguin": ("penguin", "noto", "orange"),
}
SUBSET = "starter"
SEEN = 8  # levels of 255: a pixel that moved further looks different


@dataclass(frozen=True)
class Edits:
    """What was done to the latents of picture A.

    Attributes:
        swapped: channels that come from B as a whole.
        share: of B in the other channels, 0 to 1.
        painted: single numbers, by channel, row and column.
        bits: a number, 1 or more; None rounds nothing.
    """

    swapped: frozenset[int] = frozenset()
    share: float = 0.0
    painted: Mapping[Cell, float] = field(default_factory=dict)
    bits: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:  # NaN fails too
            raise ValueError(f"share is {self.share}; expected a number from 0 to 1")
        if self.bits is not None and not 1 <= self.bits <= 16:
            raise ValueError(f"bits is {self.bits}; expected a whole number from 1 to 16, or None")


def apply(edits: Edits, a: Tensor, b: Tensor) -> Tensor:
    """The edited latents.

    Args:
        edits: what to do.
        a, b: latents (C, h, w) of the two pictures; they stay as they are.

    Returns:
        (C, h, w).

    Raises:
        ValueError: shapes that differ, or a channel or cell that is not there.
    """
    if a.ndim != 3 or a.shape != b.shape:
        raise ValueError(
            f"a and b have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected (C, h, w) twice"
        )
    z = torch.lerp(a, b, edits.share)
    for channel in edits.swapped:
        if not 0 <= channel < len(a):
            raise ValueError(f"channel is {channel}; expected 0 to {len(a) - 1}")
        z[channel] = b[channel]
    for cell, value in edits.painted.items():
        if not all(0 <= at < size for at, size in zip(cell, a.shape, strict=True)):
            raise ValueError(f"cell is {cell}; expected one of a sheet of {tuple(a.shape)}")
        z[cell] = value
    return z if edits.bits is None else rounded(z, edits.bits)


def rounded(latents: Tensor, bits: int) -> Tensor:
    """Each number becomes the middle of one of 2^bits equal steps.

    Args:
        latents: (C, h, w). The steps lie between the extremes of each channel.
        bits: 1 or more.

    Returns:
        (C, h, w).
    """
    low, high = latents.amin(dim=(1, 2), keepdim=True), latents.amax(dim=(1, 2), keepdim=True)
    step = ((high - low) / 2**bits).clamp(min=1e-9)  # (C, 1, 1)
    level = ((latents - low) / step).floor().clamp(0, 2**bits - 1)
    return low + (level + 0.5) * step


def psnr(picture: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio of two pictures (3, H, W) in [-1, 1], in dB; inf if equal."""
    error = float((picture - other).square().mean())
    return math.inf if error == 0 else 10 * math.log10(4 / error)


def changed(picture: Tensor, other: Tensor) -> float:
    """The share of pixels that differ by more than `SEEN` levels of 255 in some colour."""
    far = (picture - other).abs().amax(dim=-3) * 127.5 > SEEN
    return float(far.float().mean())


def compression(picture: Sequence[int], latents: Sequence[int]) -> tuple[float, float]:
    """How many times fewer numbers, and fewer positions, latents (c, h, w) have: 48 and 64.

    Args:
        picture: shape (C, H, W).
        latents: shape (c, h, w).
    """
    return math.prod(picture) / math.prod(latents), math.prod(picture[1:]) / math.prod(latents[1:])


def example(name: str) -> Tensor:
    """One picture of the course's data, (3, 64, 64) in [-1, 1].

    Args:
        name: a key of `EXAMPLES`.
    """
    thing, style, background = EXAMPLES[name]
    emoji = CaptionedEmoji(SUBSET, split="all")
    index = [concept.name for concept in emoji.concepts].index(thing)
    return emoji.render(index, STYLES.index(style), BACKGROUND_NAMES.index(background))


# --- the arithmetic, drawn to scale ---------------------------------------------------------------


def to_scale(picture: Sequence[int], latents: Sequence[int]) -> str:
    """SVG: positions as squares and numbers as bars, whose areas are the counts.

    Args:
        picture: shape (C, H, W).
        latents: shape (c, h, w).

    Returns:
        HTML that takes its colours from the page.
    """
    numbers, positions = compression(picture, latents)
    (C, H, W), (c, h, w) = picture, latents
    side = 180.0  # of the picture's square, in pixels
    small = side * w / W
    long, thick = 470.0, 26.0  # of the bar of the picture's numbers
    short = long / numbers
    x = 250.0
    words = (
        f"Drawn to scale. Positions: {H} × {W} = {H * W:,} in the picture, {h} × {w} = {h * w:,} "
        f"in the latents, {positions:g} times fewer. Numbers: {C} × {H} × {W} = {C * H * W:,} in "
        f"the picture, {c} × {h} × {w} = {c * h * w:,} in the latents, {numbers:g} times fewer."
    )
    return f"""
<svg class="ls-scale" viewBox="0 0 740 216" role="img" aria-label="{words}">
  <rect class="ls-big" x="1" y="1" width="{side}" height="{side}"/>
  <rect class="ls-small" x="1" y="{side - small + 1}" width="{small}" height="{small}"/>
  <text x="0" y="{side + 18}">positions: squares to scale</text>
  <text x="12" y="24">{H} × {W} = {H * W:,}</text>
  <text x="{small + 8}" y="{side - 6}">{h} × {w} = {h * w:,}</text>
  <text class="ls-ratio" x="{x}" y="30">{positions:g} × fewer positions</text>
  <text x="{x}" y="50">the places at which a network looks: they decide the time</text>
  <text class="ls-ratio" x="{x}" y="92">{numbers:g} × fewer numbers</text>
  <text x="{x}" y="112">what is stored, and what must be enough for the picture</text>
  <rect class="ls-big" x="{x}" y="124" width="{long}" height="{thick}"/>
  <text x="{x + 8}" y="142">{C} × {H} × {W} = {C * H * W:,} numbers</text>
  <rect class="ls-small" x="{x}" y="158" width="{short:.2f}" height="{thick}"/>
  <text x="{x + short + 8:.2f}" y="176">{c} × {h} × {w} = {c * h * w:,} numbers</text>
  <text x="{x}" y="{side + 18}">numbers: bars to scale</text>
</svg>"""
