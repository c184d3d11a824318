"""Rows of dots: every measured value, and the mean with its spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from course_utils.plots.base import ACCENT, GREY, INK, DescribedImage, canvas, describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def dot_rows(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    alt: str,
    accent: str = "",
    limit: float | None = None,
) -> DescribedImage:
    """Groups of values side by side, one row a group, one panel a quantity.

    A small dot is one value, the large mark the mean, the bar one standard deviation to each side.

    Args:
        panels: the quantity with its unit -> the group -> its values. All panels have the same
            groups.
        alt: what the plot shows, with its main numbers.
        accent: the group to light up.
        limit: where every x axis ends; by default where the values do.

    Raises:
        ValueError: no panel, no values, or panels with different groups.
    """
    groups = [list(panel) for panel in panels.values()]
    if not groups or not groups[0] or any(names != groups[0] for names in groups):
        raise ValueError(f"panels have the groups {groups}; expected the same ones in each")
    if not all(len(values) for panel in panels.values() for values in panel.values()):
        raise ValueError("a group has no values; expected at least one in each")
    names = groups[0]
    with canvas(8.8, 0.9 + 0.5 * len(names)) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for ax, (xlabel, panel) in zip(axes, panels.items(), strict=True):
            for row, (name, values) in enumerate(panel.items()):
                colour = ACCENT if name == accent else INK
                _row(ax, row, [float(value) for value in values], colour)
            ax.set(xlabel=xlabel, ylim=(len(names) - 0.5, -0.5))
            ax.set_xlim(0, limit)
            ax.locator_params(axis="x", nbins=5)
        axes[0].set_yticks(range(len(names)), names)
        for label in axes[0].get_yticklabels():
            label.set(color=INK, weight="bold" if label.get_text() == accent else "normal")
        return describe(figure, alt, colours=64)


def _row(ax: Axes, row: int, values: list[float], colour: str) -> None:
    mean = sum(values) / len(values)
    spread = (sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1)) ** 0.5
    below = [row + 0.16] * len(values)
    ax.plot(values, below, linestyle="", marker="o", markersize=4, color=GREY, alpha=0.55)
    ax.errorbar([mean], [row - 0.12], xerr=[spread], fmt="D", markersize=7, capsize=4, color=colour)
