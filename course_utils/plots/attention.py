"""Attention maps over pictures, and tables of numbers as shades: `overlay`, `map_grid`, `table`.

A map is drawn as the accent colour over a pale, grey copy of its picture: the more attention, the
darker and redder. It gets darker too, so it reads without colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.plots.base import (
    ACCENT,
    GREY,
    INK,
    LIGHT,
    DescribedImage,
    canvas,
    describe,
    put_picture,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK_OF_MAPS = (0.56, 0.17, 0.05)  # a darker accent, for the places with most attention
PALENESS = 0.55  # how far towards white the picture below a map goes


def overlay(
    pixels: Tensor, heat: Tensor, most: float | None = None, smooth: bool = False
) -> Tensor:
    """One map over its picture.

    Args:
        pixels: (3, H, W) in [-1, 1].
        heat: (h, w), 0 or more; H and W are multiples of h and w.
        most: the value that is drawn darkest; the largest of `heat` if None.
        smooth: interpolate between the places; otherwise each place is a square.

    Returns:
        (3, H, W) in [-1, 1].
    """
    size = (pixels.shape[-2], pixels.shape[-1])
    grey = (pixels * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0)  # (H, W)
    below = torch.lerp(grey, torch.ones_like(grey), PALENESS).expand(3, -1, -1)
    most = float(heat.max()) if most is None else most
    share = (heat.float() / max(most, 1e-12)).clamp(0, 1)[None, None]
    share = (
        F.interpolate(share, size, mode="bilinear")
        if smooth
        else F.interpolate(share, size, mode="nearest")
    )[0]  # (1, H, W)
    colour = 2 * torch.tensor(INK_OF_MAPS)[:, None, None] - 1
    return torch.lerp(below, colour.expand_as(below), 0.85 * share)


def map_grid(
    pixels: Tensor,
    heats: Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    alt: str,
    notes: Sequence[Sequence[str]] | None = None,
    row_scale: bool = True,
    size: float = 1.15,
    smooth: bool = False,
) -> DescribedImage:
    """A table of maps, each over its picture.

    Args:
        pixels: (3, H, W) for all, (columns, 3, H, W) or (rows, columns, 3, H, W), in [-1, 1].
        heats: (rows, columns, h, w); where a map is all NaN, the picture alone is drawn.
        rows, columns: their names.
        alt: what the maps show.
        notes: a few signs below each map.
        row_scale: the maps of a row share their darkest value; otherwise each has its own.
        size: of a map, in inches.
        smooth: as for `overlay`.
    """
    count = len(rows), len(columns)
    if tuple(heats.shape[:2]) != count:
        raise ValueError(f"heats has shape {tuple(heats.shape)}; expected {count} maps")
    pixels = pixels.expand(*count, *pixels.shape[-3:])
    low = 0.2 if notes is not None else 0.04
    side = 0.35 + 0.078 * max(len(name) for name in rows)
    with canvas(side + count[1] * (size + 0.07), count[0] * (size + low) + 0.32) as figure:
        axes = figure.subplots(*count, squeeze=False)
        for i, row in enumerate(rows):
            most = float(heats[i].nan_to_num(0).max()) if row_scale else None
            for j, column in enumerate(columns):
                ax, heat = axes[i, j], heats[i, j]
                plain = bool(heat.isnan().all())
                put_picture(
                    ax, pixels[i, j] if plain else overlay(pixels[i, j], heat, most, smooth)
                )
                if i == 0:
                    ax.set_title(column, size=9.5, loc="center")
                if notes is not None:
                    ax.set_xlabel(notes[i][j], size=8.5, color=GREY, labelpad=2)
            axes[i, 0].set_ylabel(row, rotation=0, ha="right", va="center", weight="bold", size=9.5)
        return describe(figure, alt)


def table(
    values: Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    alt: str,
    xlabel: str = "",
    ylabel: str = "",
    numbers: str | None = None,
    pictures: Tensor | None = None,
    cell: float = 0.42,
    low: float = 0.0,
    most: float | None = None,
) -> DescribedImage:
    """A table of numbers as shades from white to the accent colour.

    Args:
        values: (rows, columns).
        rows, columns: their names.
        alt: what it shows.
        xlabel, ylabel: what columns and rows are.
        numbers: how numbers are written into the cells, such as ".0%"; not at all if None. Cells
            that are exactly 0 stay empty.
        pictures: (rows, 3, H, W) in [-1, 1], drawn small beside the rows.
        cell: side of a cell, in inches.
        low, most: the values that are white and darkest; `most` is the largest of all if None.
    """
    from matplotlib.colors import LinearSegmentedColormap

    if tuple(values.shape) != (len(rows), len(columns)):
        raise ValueError(
            f"values has shape {tuple(values.shape)}; expected ({len(rows)}, {len(columns)})"
        )
    most = float(values.max()) if most is None else most
    shades = LinearSegmentedColormap.from_list("accent", ["white", "#e8bda9", ACCENT, "#5f1f0a"])
    beside = 0.0 if pictures is None else cell  # inches for the small pictures
    letter = 0.075  # width of one, in inches
    left = 0.15 + 0.3 * bool(ylabel) + letter * max(len(name) for name in rows) + beside
    left = max(left, 0.75 * letter * len(columns[0]))
    below = 0.2 + 0.25 * bool(xlabel) + 0.75 * letter * max(len(name) for name in columns)
    across, down = len(columns) * cell, len(rows) * cell
    width, height = left + across + 0.1, below + down + 0.1
    with canvas(width, height, arrange=False) as figure:
        ax = figure.add_axes((left / width, below / height, across / width, down / height))
        ax.imshow(values.numpy(), cmap=shades, vmin=low, vmax=most, aspect="auto")
        ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(rows)), rows)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.tick_params(length=0, labelsize=9, labelcolor=INK)
        ax.tick_params(axis="y", pad=4 + 72 * 1.05 * beside)
        ax.grid(False)
        ax.set_xticks([x - 0.5 for x in range(1, len(columns))], minor=True)
        ax.set_yticks([y - 0.5 for y in range(1, len(rows))], minor=True)
        ax.grid(True, which="minor", color=LIGHT, linewidth=0.5)
        ax.tick_params(which="minor", length=0)
        for spine in ax.spines.values():
            spine.set(visible=True, color=LIGHT)
        if numbers is not None:
            _write(ax, values, numbers, low, most)
        for i, pixels in enumerate(() if pictures is None else pictures):
            small = ax.inset_axes((-1.53, i - 0.46, 0.92, 0.92), transform=ax.transData)
            put_picture(small, pixels)
        return describe(figure, alt, colours=128)


def _write(ax: Axes, values: Tensor, numbers: str, low: float, most: float) -> None:
    for i, row in enumerate(values.tolist()):
        for j, value in enumerate(row):
            share = (value - low) / max(most - low, 1e-12)
            if value != 0:
                colour = "white" if share > 0.5 else INK
                text = format(value, numbers)
                ax.text(j, i, text, ha="center", va="center", size=8, color=colour)


def bars(
    groups: Sequence[str],
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    alt: str,
    levels: Mapping[str, float] | None = None,
    percent: bool = False,
) -> DescribedImage:
    """Horizontal bars with error bars, a few for each group.

    Args:
        groups: their names, from top to bottom.
        series: name -> (means, half lengths of the error bars), one value a group; up to three.
        xlabel: with units.
        alt: what it shows, with its main numbers.
        levels: vertical lines to compare with, by name.
        percent: values are shares; write them as percentages.
    """
    looks: tuple[dict[str, Any], ...] = (
        {"color": ACCENT},
        {"color": LIGHT, "edgecolor": INK, "hatch": "///"},
        {"color": "white", "edgecolor": INK},
    )
    if not 0 < len(series) <= len(looks):
        raise ValueError(f"there are {len(series)} series; expected 1 to {len(looks)}")
    thick = 0.8 / len(series)
    longest = max(abs(value) for means, _ in series.values() for value in means)
    with canvas(8.5, 0.9 + (0.17 + 0.22 * len(series)) * len(groups)) as figure:
        ax = figure.subplots()
        for n, ((name, (means, spread)), look) in enumerate(
            zip(series.items(), looks, strict=False)
        ):
            places = [g + (n - (len(series) - 1) / 2) * thick for g in range(len(groups))]
            ax.barh(
                places,
                means,
                thick * 0.92,
                xerr=spread,
                label=name,
                error_kw={"capsize": 2.5, "ecolor": INK, "elinewidth": 1},
                **look,
            )
            for place, value in zip(places, means, strict=True):
                if abs(value) < 0.005 * longest:  # a bar that nobody would see
                    text = " 0%" if percent else " 0"
                    ax.text(0, place, text, size=8.5, va="center", color=GREY)
        for name, value in (levels or {}).items():
            ax.axvline(value, color=INK, linewidth=1.4, linestyle=(0, (1, 2)), label=name)
        ax.set_yticks(range(len(groups)), groups)
        ax.set_ylim(len(groups) - 0.45, -0.6)
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.grid(False, axis="y")
        ax.set_axisbelow(True)
        ax.set_xlabel(xlabel)
        if percent:
            ax.xaxis.set_major_formatter("{x:.0%}")
        if len(series) > 1 or levels:
            ax.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=4)
        return describe(figure, alt, colours=64)
