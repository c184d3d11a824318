"""Latents, what they cost, and what a decoder makes of them.

Light stands for small and dark for large numbers, on one scale from white over the accent to ink,
so that panels read in grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from course_utils.images import to_uint8
from course_utils.plots.base import (
    ACCENT,
    GREY,
    INK,
    LIGHT,
    LINES,
    TINT,
    Curve,
    DescribedImage,
    canvas,
    describe,
    frame,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

# Inches, chosen so that at 160 pixels per inch a picture of 64 pixels is drawn exactly 2 (or, at a
# size of 1.2, 3) times as large: sharp, and small as a file.
SIZE = 0.8  # of a picture
GAP = 0.05  # between pictures
HEAD = 0.3  # for a line of text above
FOOT = 0.2  # and below
SIDE = 1.3  # for words on the left


def picture_rows(
    rows: Mapping[str, Tensor],
    alt: str,
    columns: Sequence[str] = (),
    size: float = SIZE,
    captions: Sequence[str] = (),
) -> DescribedImage:
    """Rows of pictures with a name for each row, and for each column if wanted.

    Args:
        rows: name -> pictures (N, 3, H, W) in [-1, 1], as many in each row.
        alt: what they show.
        columns: N names, above the pictures.
        size: of a picture, in inches.
        captions: N short texts below the last row.

    Raises:
        ValueError: rows of unequal length, or names that do not fit.
    """
    counts = {len(pictures) for pictures in rows.values()}
    if len(counts) != 1 or (columns and len(columns) not in counts):
        raise ValueError(
            f"rows has {sorted(counts)} pictures and columns {len(columns)} names; expected as "
            "many in each"
        )
    count = counts.pop()
    head, foot = HEAD if columns else GAP, FOOT if captions else 0.0
    width, height = SIDE + count * (size + GAP), head + len(rows) * (size + GAP) + foot
    with canvas(width, height, arrange=False) as figure:
        for i, (name, pictures) in enumerate(rows.items()):
            top = height - head - i * (size + GAP)
            figure.text(
                (SIDE - 0.1) / width, (top - size / 2) / height, name,
                ha="right", va="center", size=9.5, weight="bold",
            )  # fmt: skip
            for j, pixels in enumerate(pictures):
                left = SIDE + j * (size + GAP)
                box = (left / width, (top - size) / height, size / width, size / height)
                ax = figure.add_axes(box)
                ax.imshow(to_uint8(pixels).permute(1, 2, 0).numpy())
                frame(ax)
                if i == 0 and columns:
                    ax.set_title(columns[j], size=9, loc="center", pad=4)
                if i == len(rows) - 1 and captions:
                    ax.set_xlabel(captions[j], size=8.5, labelpad=2)
        return describe(figure, alt)


def latent_panels(
    pixels: Tensor, latents: Tensor, decoded: Tensor, alt: str, numbers: str = "value"
) -> DescribedImage:
    """A picture, each channel of its latents as a panel, and what the decoder makes of them.

    Args:
        pixels: (3, H, W) in [-1, 1].
        latents: (C, h, w).
        decoded: (3, H, W) in [-1, 1].
        alt: what it shows.
        numbers: what the scale beside the panels counts.
    """
    channels = len(latents)
    with canvas(9.2, 2.0) as figure:
        axes = figure.subplots(1, channels + 2)
        for ax, picture, title in ((axes[0], pixels, "picture"), (axes[-1], decoded, "decoded")):
            ax.imshow(to_uint8(picture).permute(1, 2, 0).numpy())
            ax.set_title(f"{title}\n{_size(picture)}", size=9, loc="center")
            frame(ax)
        low, high = float(latents.min()), float(latents.max())
        for i, ax in enumerate(axes[1:-1]):
            shades = ax.imshow(latents[i].cpu().numpy(), cmap=shade(), vmin=low, vmax=high)
            height, width = latents.shape[1:]
            ax.set_title(f"channel {i}\n1 × {height} × {width}", size=9, loc="center")
            frame(ax)
        bar = figure.colorbar(shades, ax=list(axes), fraction=0.02, pad=0.01)
        bar.set_label(numbers, size=9)
        bar.ax.tick_params(labelsize=8)
        return describe(figure, alt)


def table_of_shades(
    values: Tensor, rows: Sequence[str], columns: Sequence[str], alt: str, title: str = ""
) -> DescribedImage:
    """Numbers from -1 to 1 in cells that are darker the further they lie from 0.

    Args:
        values: (len(rows), len(columns)).
        rows, columns: names.
        alt: what the table shows.
        title: what the numbers are.
    """
    width, height = 1.2 + 0.95 * len(columns), 0.75 + 0.42 * len(rows)
    with canvas(width, height) as figure:
        ax = figure.subplots()
        ax.imshow(values.abs().cpu().numpy(), cmap=shade(), vmin=0, vmax=1.3, aspect="auto")
        for i, row in enumerate(values.tolist()):
            for j, value in enumerate(row):
                colour = "white" if abs(value) > 0.7 else INK
                ax.text(j, i, f"{value:+.2f}", ha="center", va="center", color=colour, size=9.5)
        ax.set_xticks(range(len(columns)), columns, size=9)
        ax.set_yticks(range(len(rows)), rows, size=9)
        ax.tick_params(length=0, labeltop=True, labelbottom=False, labelcolor=INK)
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set_visible(False)
        if title:
            ax.set_xlabel(title, size=9)
        return describe(figure, alt, colours=128)


def rate_distortion(
    lines: Sequence[Curve], alt: str, levels: Mapping[str, float] | None = None
) -> DescribedImage:
    """How good pictures get for a number of bits; further left and further up is better.

    Args:
        lines: up to four; x in bits per picture, mean in decibel.
        alt: what it shows, with its main numbers.
        levels: horizontal lines, by the name that stands on them.
    """
    with canvas(8.5, 4.0) as figure:
        ax = figure.subplots()
        for line, look in zip(lines, LINES, strict=False):
            ax.errorbar(
                line.x, line.mean, line.spread, label=line.label, capsize=3, markersize=5, **look
            )
        left = min(min(line.x) for line in lines)
        for name, value in (levels or {}).items():
            ax.axhline(value, color=INK, linewidth=1, linestyle=(0, (1, 2)))
            ax.text(left, value, name, ha="left", va="bottom", size=9)
        ax.set_xscale("log", base=2)
        _plain_ticks(ax)
        ax.set(xlabel="bits for a picture", ylabel="PSNR (dB): more is better")
        ax.legend(loc="lower right")
        return describe(figure, alt, colours=64)


def cost_of_positions(
    positions: Sequence[int], seconds: Curve, counted: Sequence[float], unit: str, alt: str
) -> DescribedImage:
    """Measured time and counted work against the number of positions, both on log axes.

    Args:
        positions: of the inputs, the smallest first.
        seconds: measured milliseconds at these positions.
        counted: operations at these positions; drawn so that they begin where the time does.
        unit: what the milliseconds are of, for the y axis.
        alt: what it shows, with its main numbers.
    """
    with canvas(8.5, 3.9) as figure:
        ax = figure.subplots()
        start = seconds.mean[0]
        straight = [start * n / positions[0] for n in positions]
        work = [start * c / counted[0] for c in counted]
        ax.plot(positions, straight, label="in step with the positions", **LINES[2])
        ax.plot(positions, work, label="counted operations", **LINES[1])
        ax.errorbar(
            seconds.x, seconds.mean, seconds.spread, label="measured time", capsize=3, **LINES[0]
        )
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        _plain_ticks(ax)
        sides = [round(n**0.5) for n in positions]
        names = [f"{n:,}\n({side} × {side})" for n, side in zip(positions, sides, strict=True)]
        ax.set_xticks(list(positions), names)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")
        ax.set(xlabel="positions that the U-Net looks at", ylabel=f"one look ({unit})")
        ax.legend(loc="upper left")
        return describe(figure, alt, colours=64)


def spectra(
    frequencies: Sequence[float],
    kept: tuple[Sequence[float], Sequence[float]],
    right: tuple[Sequence[float], Sequence[float]],
    edge: float,
    alt: str,
) -> DescribedImage:
    """How much of the fine detail comes back, and how much of it is where it was.

    Args:
        frequencies: in cycles per picture.
        kept: mean and error of the energy, as a share of the original's.
        right: mean and error of the agreement with the original, -1 to 1.
        edge: the finest frequency that one number for each latent position can hold.
        alt: what it shows, with its main numbers.
    """
    with canvas(8.5, 3.5) as figure:
        left, middle = figure.subplots(1, 2, sharex=True)
        names = "energy, share of the original's", "agreement with the original"
        for ax, (mean, error), title in zip((left, middle), (kept, right), names, strict=True):
            ax.errorbar(frequencies, mean, error, capsize=2, **(LINES[0] | {"markersize": 4}))
            ax.axvline(edge, color=INK, linewidth=1, linestyle=(0, (1, 2)))
            ax.text(edge * 1.08, 1.15, "latent grid", size=8.5, va="bottom")
            ax.axhline(1, color=LIGHT, linewidth=1)
            ax.set_title(title, size=10)
            ax.set_xscale("log", base=2)
            _plain_ticks(ax)
            ax.set(xlabel="detail (cycles per picture): finer to the right", ylim=(-0.05, 1.3))
        return describe(figure, alt, colours=64)


@dataclass(frozen=True)
class Cloud:
    """Where a small VAE with two latents puts its pictures, and what it draws from noise.

    Attributes:
        title: the weight of the KL.
        mean, sigma: (N, 2), of each picture.
        drawn: (M, 3, H, W) in [-1, 1], decoded from N(0, I).
    """

    title: str
    mean: Tensor
    sigma: Tensor
    drawn: Tensor


def clouds(found: Sequence[Cloud], alt: str, reach: float = 5.0) -> DescribedImage:
    """Scatter plots of latents with one ellipse a picture; decoded random draws below.

    Args:
        found: up to four VAEs.
        alt: what it shows.
        reach: of both axes; what lies outside is not drawn.
    """
    from matplotlib.patches import Circle, Ellipse

    with canvas(2.9 * len(found), 4.0) as figure:
        axes = figure.subplots(2, len(found), height_ratios=(4.2, 1), squeeze=False)
        for i, (cloud, (ax, below)) in enumerate(zip(found, axes.T, strict=True)):
            for (x, y), (w, h) in zip(cloud.mean.tolist(), cloud.sigma.tolist(), strict=True):
                oval = Ellipse(
                    (x, y), 2 * w, 2 * h, facecolor=TINT, edgecolor=GREY, linewidth=0.4, alpha=0.5
                )
                ax.add_patch(oval)
            ax.plot(*cloud.mean.T.tolist(), ".", color=ACCENT, markersize=3)
            ax.add_patch(
                Circle((0, 0), 2, fill=False, color=INK, linewidth=1.2, linestyle="--", zorder=4)
            )
            ticks = [-4, -2, 0, 2, 4]
            ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            ax.set(xticks=ticks, yticks=ticks, xlabel="latent number 0")
            ax.set_ylabel("latent number 1" if i == 0 else "")
            ax.set_title(cloud.title, size=10)
            strip = to_uint8(cloud.drawn).permute(2, 0, 3, 1).flatten(1, 2)  # (H, M * W, 3)
            below.imshow(strip.numpy())
            below.set_xlabel("decoded from random numbers", size=9)
            frame(below)
        return describe(figure, alt)


def shade() -> Colormap:
    """White for the smallest, over the accent, to ink for the largest."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shade", ["#ffffff", TINT, ACCENT, INK])


def _plain_ticks(ax: Axes) -> None:
    """1,024 and not 2^10."""
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def _size(picture: Tensor) -> str:
    return " × ".join(str(n) for n in picture.shape)
