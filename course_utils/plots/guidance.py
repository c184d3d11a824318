"""Figures of lesson 08: guidance as arrows, in the plane, and what a sweep over scales found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from course_utils.evaluation.sweep_results import Line, Sweep, pareto_front
from course_utils.plots.base import (
    ACCENT,
    GREY,
    INK,
    LIGHT,
    LINES,
    TINT,
    DescribedImage,
    canvas,
    describe,
)

NAMES = {"plain": "plain", "rescale": "rescaled, φ = 0.7", "interval": "in an interval"}
"""How the variants of a sweep are called in legends."""
LABELS = {
    "alignment": "alignment (0 to 1)",
    "saturation": "saturation (0 to 1)",
    "clipped": "values at 0 or 255 (share)",
    "diversity": "diversity over seeds\n(1 - cosine)",
    "pixel_diversity": "diversity over seeds\n(pixels, -1 .. 1)",
    "frechet": "Fréchet distance to the data",
    "saturation_excess": "saturation above the\nreal pictures' (0 to 1)",
    "clipped_excess": "clipped values above the\nreal pictures' (share)",
    "probability": "judge's probability of\nobject and style",
}
LOGARITHMIC = frozenset({"diversity", "frechet"})


def arrows(scales: Sequence[float]) -> DescribedImage:
    """Guidance in one drawing: from the answer without the prompt, along the difference.

    Args:
        scales: guidance scales to mark on the line, at least 0.
    """
    uncond, step = (0.0, 0.0), (1.0, 0.28)
    with canvas(8.5, 2.6) as figure:
        ax = figure.subplots()
        far = max(scales)
        ax.plot([0, far * step[0]], [0, far * step[1]], color=LIGHT, linewidth=2, zorder=1)
        arrow = {"arrowstyle": "-|>", "color": ACCENT, "linewidth": 2.4, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", xy=step, xytext=uncond, arrowprops=arrow, zorder=2)
        names = {0: "uncond", 1: "cond"}
        for scale in scales:
            at = (scale * step[0], scale * step[1])
            own = scale in names
            ax.plot(*at, marker="o", color=INK if own else ACCENT, markersize=8, zorder=3)
            ax.annotate(
                f"w = {scale:g}",
                at,
                (0, 10),
                textcoords="offset points",
                ha="right" if scale else "center",
                weight="bold",
            )
            if own:
                ax.annotate(
                    names[int(scale)],
                    at,
                    (0, -20),
                    textcoords="offset points",
                    ha="center",
                    color=GREY,
                )
        middle, below = (0.5 * step[0], 0.5 * step[1]), (0, -22)
        ax.annotate(
            "cond - uncond",
            middle,
            below,
            textcoords="offset points",
            ha="center",
            color=ACCENT,
            weight="bold",
        )
        ax.set(xlim=(-0.12 * far, 1.06 * far), ylim=(-0.55, far * step[1] + 0.45), aspect="auto")
        ax.axis("off")
        return describe(
            figure,
            "A straight line. It starts at the answer without the prompt, w = 0. An arrow leads "
            "to the answer with the prompt, w = 1. Guidance goes on in the same direction: "
            + ", ".join(f"w = {scale:g}" for scale in scales if scale > 1)
            + " lie on the line beyond, at that many times the arrow's length.",
            colours=64,
        )


def plane(
    clouds: Mapping[str, Tensor], centres: Tensor, width: float, alt: str, chosen: int = 0
) -> DescribedImage:
    """Samples in the plane, a panel each, over circles that show where the classes are.

    Args:
        clouds: (N, 2) points by the title of their panel.
        centres: (classes, 2) means of the classes.
        width: standard deviation of each class; circles have radius 2 `width`.
        alt: what the panels show.
        chosen: class that was asked for; its circle is drawn in full.
    """
    from matplotlib.patches import Circle

    reach = max(2.2, 1.08 * max(float(cloud.abs().max()) for cloud in clouds.values()))
    with canvas(8.6, 8.6 / len(clouds) + 0.45) as figure:
        row = figure.subplots(1, len(clouds), squeeze=False, sharex=True, sharey=True)[0]
        for ax, (title, cloud) in zip(row, clouds.items(), strict=True):
            for i, centre in enumerate(centres.tolist()):
                asked = i == chosen
                circle = Circle(
                    centre,
                    2 * width,
                    facecolor=TINT if asked else "none",
                    edgecolor=ACCENT if asked else GREY,
                    linestyle="-" if asked else "--",
                    linewidth=1.8 if asked else 1.0,
                    zorder=1,
                )
                ax.add_patch(circle)
            ax.scatter(*cloud.T.tolist(), s=5, color=INK, alpha=0.6, linewidths=0, zorder=2)
            ax.set_title(title, fontsize=10)
            ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            ax.tick_params(labelsize=8)
            ax.set_axisbelow(True)
        return describe(figure, alt, colours=64)


def sweep_panels(
    shipped: Sweep | None,
    live: Sweep,
    metrics: Sequence[str],
    alt: str,
    columns: int = 3,
) -> DescribedImage:
    """Metrics against the guidance scale: the shipped sweep as lines, the live one as marks.

    Args:
        shipped: a line with error bars for each of its variants; None leaves them out.
        live: marks with error bars for its variant "plain".
        metrics: a panel each.
        alt: what the panels show.
        columns: panels in a row.
    """
    rows = -(-len(metrics) // columns)
    with canvas(8.8, 2.75 * rows + 0.5) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax, metric in zip(axes.flat, metrics, strict=False):
            if shipped is not None:
                for name, look in zip(_variants(shipped), LINES, strict=False):
                    line = shipped.line(metric, name)
                    _bars(ax, line, label=NAMES[name], markersize=3.5, capsize=1.5, **look)
                _reference(ax, shipped, metric)
            _bars(
                ax,
                live.line(metric),
                label="live, plain",
                color=INK,
                linestyle="none",
                marker="D",
                markersize=6,
                markerfacecolor="white",
                capsize=3,
            )
            ax.set_xlabel("guidance scale w", fontsize=9)
            ax.set_ylabel(LABELS[metric], fontsize=9)
            ax.tick_params(labelsize=8)
            if metric in LOGARITHMIC:
                seen = [
                    live.line(metric),
                    *(shipped.line(metric, n) for n in _variants(shipped) if shipped),
                ]
                least = min(value for line in seen for value in line.values if value > 0)
                ax.set_yscale("log")
                ax.set_ylim(bottom=least / 3)  # an interval may reach to 0
        for ax in list(axes.flat)[len(metrics) :]:
            ax.axis("off")
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize=9)
        return describe(figure, alt, colours=64)


def pareto(
    sweep: Sweep, gain: str, others: Mapping[str, bool], alt: str, variant: str = "plain"
) -> DescribedImage:
    """One metric against others, a point for each scale; what nothing beats is filled.

    Args:
        sweep: what was measured.
        gain: metric of the vertical axis; more is better.
        others: metrics of the horizontal axes, a panel each: whether more of it is better.
        alt: what the panels show.
        variant: of the sweep.
    """
    with canvas(8.6, 3.7) as figure:
        row = figure.subplots(1, len(others), squeeze=False, sharey=True)[0]
        up = sweep.line(gain, variant)
        for ax, (metric, more_is_better) in zip(row, others.items(), strict=True):
            across = sweep.line(metric, variant)
            costs = [-x if more_is_better else x for x in across.values]
            front = pareto_front(costs, up.values)
            ax.plot(across.values, up.values, color=LIGHT, linewidth=1.2, zorder=1)
            for i, (x, y) in enumerate(zip(across.values, up.values, strict=True)):
                ax.errorbar(
                    x,
                    y,
                    xerr=_reach(across, i),
                    yerr=_reach(up, i),
                    color=LIGHT,
                    linewidth=0.8,
                    zorder=2,
                )
                ax.plot(
                    x,
                    y,
                    marker="o",
                    markersize=8 if front[i] else 6,
                    color=ACCENT if front[i] else GREY,
                    markerfacecolor=ACCENT if front[i] else "white",
                    zorder=3,
                )
            if metric in LOGARITHMIC:
                ax.set_xscale("log")
            else:
                ax.locator_params(axis="x", nbins=5)
            _label_scales(ax, up.scales, list(zip(across.values, up.values, strict=True)), front)
            arrow = "more is better →" if more_is_better else "← less is better"
            name = LABELS[metric].replace("\n", " ")
            ax.set_xlabel(f"{name}\n{arrow}", fontsize=9)
        row[0].set_ylabel(f"{LABELS[gain]}\nmore is better →", fontsize=9)
        return describe(figure, alt, colours=64)


def _label_scales(
    ax: Any, scales: Sequence[float], points: list[tuple[float, float]], front: Sequence[bool]
) -> None:
    """Write scales beside their points: all of the front, of the others those that find room."""
    ax.autoscale_view()
    place = (ax.transScale + ax.transLimits).transform(points)  # in parts of the axes
    taken: list[tuple[float, float]] = []
    last = len(scales) - 1
    for i in sorted(range(len(scales)), key=lambda i: (not front[i], i != last, i)):
        x, y = place[i][0] + 0.04, place[i][1] + (0.02 if front[i] else -0.03)  # of the text
        near = any(abs(x - a) < 0.07 and abs(y - b) < 0.05 for a, b in taken)
        over = any(abs(x - a) < 0.03 and abs(y - b) < 0.03 for a, b in place)
        if (near or over) and not front[i] and i != last:
            continue
        taken.append((x, y))
        ax.annotate(
            f"{scales[i]:g}",
            points[i],
            (7, 4) if front[i] else (7, -10),
            textcoords="offset points",
            fontsize=9 if front[i] else 8,
            color=INK,
            weight="bold" if front[i] else "normal",
            zorder=4,
        )


def _variants(sweep: Sweep | None) -> tuple[str, ...]:
    return () if sweep is None else sweep.settings.variants


def _bars(ax: Any, line: Line, **look: Any) -> None:
    below, above = zip(*(_sides(line, i) for i in range(len(line.scales))), strict=True)
    look = {"linewidth": 1.3, "elinewidth": 0.9, **look}
    ax.errorbar(line.scales, line.values, (below, above), **look)


def _sides(line: Line, i: int) -> tuple[float, float]:
    """How far the interval reaches below and above a value; 0 where that is not known."""
    value, low, high = line.values[i], line.low[i], line.high[i]
    return tuple(max(0.0, x) if math.isfinite(x) else 0.0 for x in (value - low, high - value))  # type: ignore[return-value]


def _reach(line: Line, i: int) -> list[list[float]]:
    below, above = _sides(line, i)
    return [[below], [above]]


def _reference(ax: Any, sweep: Sweep, metric: str) -> None:
    """A horizontal line at what the artists' own pictures have."""
    real = sweep.references.get("real", {}).get(metric)
    if real is None or metric == "nearest_rmse":
        return
    ax.axhline(real.value, color=GREY, linewidth=1, linestyle=(0, (1, 2)), label="real pictures")
