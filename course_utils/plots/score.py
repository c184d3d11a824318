"""Drawings of lesson 02: what a denoiser says at every place of the plane, and where it leads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_utils.plots.base import (
    ACCENT,
    GREY,
    INK,
    LIGHT,
    LINES,
    Curve,
    DescribedImage,
    canvas,
    describe,
)
from course_utils.predictions import expand_to
from course_utils.samplers import Step

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EDGE = 2.6  # drawings of the plane show [-EDGE, EDGE] along both axes
LONGEST = 1.6  # arrows that are longer are drawn this long


@dataclass(frozen=True)
class Panel:
    """One picture of the plane.

    Attributes:
        title: above it; "" for none.
        dots: points of a data set, (N, 2).
        arrows: one arrow at each place of `places()`, (G, 2), or None.
        steps: a sampling loop over points (B, 2) whose paths are drawn, or None.
    """

    title: str
    dots: Tensor
    arrows: Tensor | None = None
    steps: Sequence[Step] | None = None


def places(count: int = 15) -> Tensor:
    """A grid of `count` x `count` places in the plane, (count * count, 2)."""
    line = torch.linspace(-EDGE * 0.92, EDGE * 0.92, count)
    return torch.cartesian_prod(line, line)


def planes(
    rows: Sequence[Sequence[Panel]], alt: str, labels: Sequence[str] | None = None
) -> DescribedImage:
    """Pictures of the plane in rows: data as dots, a field as arrows, sampling as paths.

    Args:
        rows: of panels, each row of the same length.
        alt: what they show.
        labels: one to the left of each row.

    Raises:
        ValueError: rows of different lengths, or another number of labels than rows.
    """
    columns = len(rows[0])
    if any(len(row) != columns for row in rows):
        raise ValueError(f"rows have {[len(row) for row in rows]} panels; expected as many in each")
    if labels is not None and len(labels) != len(rows):
        raise ValueError(f"labels has {len(labels)} texts; expected {len(rows)}, one a row")
    side = min(8.6 / columns, 3.6)
    with canvas(columns * side + (0.5 if labels else 0), len(rows) * side + 0.35) as figure:
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for i, row in enumerate(rows):
            for ax, panel in zip(axes[i], row, strict=True):
                _plane(ax, panel)
            if labels is not None:
                axes[i, 0].set_ylabel(labels[i], rotation=0, ha="right", va="center", labelpad=8)
        return describe(figure, alt, colours=64)


def _plane(ax: Axes, panel: Panel) -> None:
    ax.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color=LIGHT)
    if panel.title:
        ax.set_title(panel.title, size=9.5)
    many = len(panel.dots) > 200
    size, alpha = (2.0, 0.35) if many else (16.0, 1.0)
    if panel.steps is not None:
        _paths(ax, panel.steps)
    x, y = panel.dots.T.cpu()
    ax.scatter(x, y, s=size, color=ACCENT, alpha=alpha, linewidths=0, zorder=3)
    if panel.arrows is not None:
        at, arrows = places(math.isqrt(len(panel.arrows))), panel.arrows.detach().cpu()
        length = arrows.norm(dim=1, keepdim=True)
        arrows = arrows * (length.clamp(max=LONGEST) / length.clamp(min=1e-9))
        look: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 5.2, "width": 0.006}
        ax.quiver(*at.T, *arrows.T, color=INK, zorder=4, **look)


def _paths(ax: Axes, steps: Sequence[Step]) -> None:
    """Each point's way through the loop: a grey line, an open ring where it ends."""
    ways = torch.stack([step.x for step in steps]).cpu()  # (steps + 1, B, 2)
    for way in ways.unbind(1):
        ax.plot(*way.T, color=GREY, linewidth=0.7, alpha=0.8, zorder=2)
    x, y = ways[-1].T
    ax.scatter(x, y, s=34, facecolors="none", edgecolors=INK, linewidths=1.1, zorder=5)


def rotation(alpha_bars: Sequence[float], alt: str) -> DescribedImage:
    """x_t and v as a turned pair of axes, for some shares of signal (Salimans & Ho 2022, app. D).

    Args:
        alpha_bars: one drawing for each, in [0, 1].
        alt: what they show.
    """
    with canvas(2.9 * len(alpha_bars), 2.1) as figure:
        for ax, alpha_bar in zip(
            figure.subplots(1, len(alpha_bars), squeeze=False)[0], alpha_bars, strict=True
        ):
            alpha, sigma = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
            ax.set(xlim=(-1.25, 1.35), ylim=(-0.15, 1.3), aspect="equal", xticks=[], yticks=[])
            ax.grid(False)
            ax.spines[:].set_visible(False)
            ax.set_title(rf"$\bar\alpha_t$ = {alpha_bar:g}", size=10, loc="center")
            arc = torch.linspace(0, math.pi, 100)
            ax.plot(arc.cos(), arc.sin(), color=LIGHT, linewidth=1)
            for (x, y), name, colour, dashes in (
                ((1.0, 0.0), "$x_0$", GREY, "--"),
                ((0.0, 1.0), r"$\epsilon$", GREY, "--"),
                ((alpha, sigma), "$x_t$", INK, "-"),
                ((-sigma, alpha), "$v$", ACCENT, "-"),
            ):
                look: dict[str, Any] = {"arrowstyle": "-|>", "linestyle": dashes, "color": colour}
                look |= {"linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
                ax.annotate("", xy=(x, y), xytext=(0, 0), arrowprops=look)
                ax.text(1.15 * x, 1.15 * y, name, color=colour, ha="center", va="center", size=12)
        return describe(figure, alt, colours=64)


def against_size(
    lines: Sequence[Curve], ylabel: str, alt: str, level: tuple[str, float] | None = None
) -> DescribedImage:
    """Measured lines over the number of training points, on a logarithmic axis.

    Args:
        lines: `x` holds numbers of training points.
        ylabel: with units.
        alt: what the plot shows, with its main numbers.
        level: a horizontal line to compare with, and its name.
    """
    with canvas(8.5, 3.6) as figure:
        ax = figure.subplots()
        for line, look in zip(lines, LINES, strict=False):
            ax.errorbar(
                line.x, line.mean, line.spread, label=line.label, capsize=3, markersize=5, **look
            )
        ax.set_xscale("log", base=2)
        ax.set_xticks(list(lines[0].x), [f"{n:,}" for n in lines[0].x])
        ax.set(xlabel="number of training points", ylabel=ylabel)
        ax.set_ylim(bottom=-0.05)
        if level is not None:
            ax.axhline(level[1], color=INK, linewidth=1, linestyle=(0, (1, 2)))
            ax.text(lines[0].x[0], level[1], level[0], ha="left", va="bottom", size=9)
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return describe(figure, alt, colours=64)


def blended(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    """How many data points the perfect denoiser blends into its guess: e to the entropy of weights.

    Args:
        x_t: noisy pictures, (B, ...).
        alpha_bar_t: shares of signal, (B,).
        data: the data points, (N, ...).

    Returns:
        (B,), from 1 (all weight on one) to N (equal weights).
    """
    x, points = x_t.flatten(1).double(), data.flatten(1).double()
    a = expand_to(alpha_bar_t.double(), x)
    exponent = (a.sqrt() * x @ points.T - a / 2 * points.square().sum(1)) / (1 - a)
    return torch.distributions.Categorical(logits=exponent).entropy().exp()
