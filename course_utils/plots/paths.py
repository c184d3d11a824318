"""Pictures of lesson 04: where samplers go, what they assume on the way, how fast they get there.

Points live in the plane, `(B, 2)`; a path is `(steps + 1, B, 2)`, the noise first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

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
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REACH = 2.7  # of the plane, to each side
COLUMN = 2.83  # inches, three to a page


def paths(
    panels: Mapping[str, Tensor], target: Tensor, alt: str, width: float = COLUMN
) -> DescribedImage:
    """The ways of a few points from noise to data, one panel a sampler.

    Args:
        panels: title -> path, (steps + 1, B, 2) with a small B.
        target: (N, 2) points of the data, drawn as a grey cloud behind.
        alt: what the picture shows.
        width: of a panel, in inches.
    """
    with canvas(width * len(panels), width + 0.3) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, (title, path) in zip(axes, panels.items(), strict=True):
            _plane(ax, target)
            few = len(path) <= 60
            for way in path.unbind(1):
                ax.plot(
                    way[:, 0].numpy(),
                    way[:, 1].numpy(),
                    color=ACCENT,
                    linewidth=1.4 if few else 0.5,
                    marker="o" if few else "",
                    markersize=3.5 if len(path) <= 25 else 1.5,
                )
            ax.scatter(path[0, :, 0], path[0, :, 1], s=34, c="white", edgecolors=INK, zorder=3)
            ax.scatter(path[-1, :, 0], path[-1, :, 1], s=38, c=INK, marker="s", zorder=4)
            ax.set_title(title, size=10.5)
        return describe(figure, alt, colours=128)


def clouds(rows: Mapping[str, Mapping[int, Tensor]], target: Tensor, alt: str) -> DescribedImage:
    """Many finished points for each sampler (rows) and number of steps (columns).

    Args:
        rows: sampler -> number of steps -> (B, 2) finished points; the same numbers in each row.
        target: (N, 2) points of the data, in a last column.
        alt: what the picture shows.
    """
    counts = list(next(iter(rows.values())))
    size = 8.5 / (len(counts) + 1.25)
    with canvas(8.5, size * len(rows) + 0.12) as figure:
        axes = figure.subplots(len(rows), len(counts) + 1, squeeze=False)
        for line, (name, clouds_of) in zip(axes, rows.items(), strict=True):
            for ax, points in zip(line, [*clouds_of.values(), target], strict=True):
                _plane(ax)
                colour = GREY if ax is line[-1] else ACCENT
                x, y = points[:1500].T.numpy()
                ax.scatter(x, y, s=1.2, c=colour, linewidths=0, alpha=0.6)
                ax.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
            line[0].set_ylabel(name, weight="bold")
        for ax, count in zip(axes[0], counts, strict=False):
            ax.set_title(f"{count} step{'s' * (count != 1)}", size=10)
        axes[0, -1].set_title("the target", size=10)
        return describe(figure, alt, colours=64)


def posterior(
    x_t: float, x0: float, alpha_bar_t: float, alpha_bar_next: float, alt: str
) -> DescribedImage:
    """One DDPM step in one dimension: two opinions on x_{t-1}, and their product.

    Args:
        x_t: where the noisy value is.
        x0: the guess of the clean value.
        alpha_bar_t, alpha_bar_next: signal share of the variance before and after the step.
        alt: what the picture shows.
    """
    alpha = alpha_bar_t / alpha_bar_next
    opinions = (
        ("from the guess $\\hat{x}_0$", alpha_bar_next**0.5 * x0, 1 - alpha_bar_next),
        ("from the noisy $x_t$", x_t / alpha**0.5, (1 - alpha) / alpha),
    )
    precision = sum(1 / variance for _, _, variance in opinions)
    mean = sum(centre / variance for _, centre, variance in opinions) / precision
    both = ("both together", mean, 1 / precision)
    grid = torch.linspace(-2.0, 4.5, 600)
    looks: tuple[dict[str, Any], ...] = (
        {"color": GREY, "linestyle": "--", "linewidth": 1.6},
        {"color": INK, "linestyle": ":", "linewidth": 2.0},
        {"color": ACCENT, "linestyle": "-", "linewidth": 2.6},
    )
    with canvas(8.5, 2.9) as figure:
        ax = figure.subplots()
        for (name, centre, variance), look in zip((*opinions, both), looks, strict=True):
            density = (-((grid - centre) ** 2) / (2 * variance)).exp()
            density /= math.sqrt(2 * math.pi * variance)
            ax.plot(grid.numpy(), density.numpy(), **look)
            label = f"{name}\nmean {centre:.2f}, deviation {variance**0.5:.2f}"
            place = {"ha": "center", "va": "bottom", "size": 9.5, "color": look["color"]}
            ax.text(centre, 1.04 * float(density.max()), label, **place)
        top = 1.25 * ax.get_ylim()[1]
        for value, name in ((x0, "$\\hat{x}_0$"), (x_t, "$x_t$")):
            ax.plot([value], [0], marker="^", color=INK, markersize=9, clip_on=False, zorder=4)
            ax.text(value, 0.06 * top, name, ha="center", va="bottom", size=12)
        ax.set(xlabel="$x_{t-1}$", ylabel="density", yticks=[], xlim=(-2.0, 4.5), ylim=(0, top))
        return describe(figure, alt, colours=64)


def held_guesses(
    lambdas: Tensor, guesses: Tensor, looks: Sequence[int], alt: str
) -> DescribedImage:
    """What DDIM and DPM-Solver++(2M) take the guess to be between two looks.

    Args:
        lambdas: (N,) rising: half the log SNR along one exact path.
        guesses: (N,) one coordinate of the exact guess there.
        looks: rising indices of the places where the sampler asks the network.
        alt: what the picture shows.
    """
    at, said = lambdas[list(looks)], guesses[list(looks)]
    low, high = float(guesses.min()), float(guesses.max())
    room = 0.25 * (high - low)
    with canvas(8.5, 3.1) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for ax, second in zip(axes, (False, True), strict=True):
            ax.plot(lambdas.numpy(), guesses.numpy(), color=GREY, linewidth=2, label="the guess")
            for i in range(len(looks) - 1):
                part = slice(looks[i], looks[i + 1] + 1)
                level = float(said[i])
                if second and i > 0:
                    slope = float((said[i] - said[i - 1]) / (at[i] - at[i - 1]))
                    middle = float(at[i] + at[i + 1]) / 2
                    level += slope * (middle - float(at[i]))
                    ends = [float(at[i - 1]), middle]
                    ax.plot(
                        ends,
                        [float(said[i - 1]), level],
                        color=INK,
                        linewidth=1,
                        linestyle=(0, (3, 2)),
                        label="line through two looks" if i == 1 else None,
                    )
                ax.fill_between(
                    lambdas[part].numpy(), guesses[part].numpy(), level, color=TINT, linewidth=0
                )
                ax.plot(
                    [float(at[i]), float(at[i + 1])],
                    [level, level],
                    color=ACCENT,
                    linewidth=2.6,
                    label="what the step uses" if i == 0 else None,
                )
            ax.plot(at.numpy(), said.numpy(), "o", color=INK, markersize=5, label="a look")
            ax.set(
                xlabel="$\\lambda$ = half the log SNR (noise left, data right)",
                ylim=(low - room, high + room),
            )
            ax.set_title("DPM-Solver++(2M)" if second else "DDIM", size=11)
            ax.legend(loc="lower left", fontsize=8.5)
        axes[0].set_ylabel("guess $\\hat{x}_0$, one coordinate")
        return describe(figure, alt, colours=128)


def log_curves(
    panels: Mapping[str, Sequence[Curve]],
    xlabel: str,
    ylabel: str,
    alt: str,
    ticks: Sequence[int],
    levels: Mapping[str, float] | None = None,
    lowest: float | None = None,
) -> DescribedImage:
    """Measured lines with error bars, both axes logarithmic, panels side by side.

    Args:
        panels: title -> up to four lines.
        xlabel, ylabel: with units.
        alt: what the plot shows, with its main numbers.
        ticks: where the x axis has its numbers.
        levels: horizontal lines to compare with, by the name that stands on them.
        lowest: where the y axis begins.
    """
    with canvas(8.5, 3.7) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (title, lines) in zip(axes, panels.items(), strict=True):
            ax.set(xscale="log", yscale="log", xlabel=xlabel)
            for line, look in zip(lines, LINES, strict=False):
                below = [min(s, 0.9 * m) for m, s in zip(line.mean, line.spread, strict=True)]
                ax.errorbar(
                    line.x,
                    line.mean,
                    [below, line.spread],
                    label=line.label,
                    capsize=3,
                    markersize=5,
                    **look,
                )
            left = min(min(line.x) for line in lines)
            for name, value in (levels or {}).items():
                ax.axhline(value, color=INK, linewidth=1, linestyle=(0, (1, 2)))
                ax.text(left, value, name, ha="left", va="bottom", size=9)
            ax.set_xticks(list(ticks), [str(tick) for tick in ticks])
            ax.minorticks_off()
            ax.legend(loc="best", fontsize=9)
            if title:
                ax.set_title(title, size=10.5)
        axes[0].set_ylabel(ylabel)
        if lowest is not None:
            axes[0].set_ylim(bottom=lowest)
        return describe(figure, alt, colours=64)


def _plane(ax: Axes, target: Tensor | None = None) -> None:
    """Empty square axes, with the data as a grey cloud behind."""
    ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color=LIGHT, linewidth=0.8)
    if target is not None:
        x, y = target.T.numpy()
        ax.scatter(x, y, s=3, c=LIGHT, linewidths=0, alpha=0.7, zorder=0)
