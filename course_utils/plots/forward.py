"""Pictures of the forward process: strips, schedules, clouds, and what is left to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.plots.base import (
    ACCENT,
    GREY,
    INK,
    LIGHT,
    LINES,
    PALE,
    TINT,
    Curve,
    DescribedImage,
    canvas,
    describe,
    put_picture,
)

SHADES = ((ACCENT, "white"), (TINT, INK), (PALE, INK))  # surface and text of a bar's parts
HATCHES = ("", "", "////")


def forward_strip(
    rows: Mapping[str, Tensor], columns: Sequence[str], alt: str, colours: int = 256
) -> DescribedImage:
    """Pictures on their way into the noise: a row for each schedule, a column for each time.

    Args:
        rows: what stands before the row -> (K, 3, H, W) in [-1, 1]; values beyond are clipped.
        columns: K texts, below the last row.
        alt: what the strip shows.
        colours: of the file; noise does not get by with few.

    Raises:
        ValueError: no row, or one that has not as many pictures as there are columns.
    """
    if not rows or any(len(row) != len(columns) for row in rows.values()):
        counts = {name: len(row) for name, row in rows.items()}
        raise ValueError(f"rows hold {counts} pictures; expected {len(columns)} in each")
    label = 0.9 if any(rows) else 0.0
    side = (8.8 - label) / len(columns)
    with canvas(8.8, side * len(rows) + 0.2 + 0.18 * max(c.count("\n") for c in columns)) as figure:
        axes = figure.subplots(len(rows), len(columns), squeeze=False)
        for line, (name, pixels) in zip(axes, rows.items(), strict=True):
            for ax, picture in zip(line, pixels, strict=True):
                put_picture(ax, picture)
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", weight="bold")
        for ax, text in zip(axes[-1], columns, strict=True):
            ax.set_xlabel(text, size=9.5, color=INK)
        return describe(figure, alt, colours=colours)


def schedule_curves(tables: Mapping[str, Tensor], alt: str) -> DescribedImage:
    """alpha-bar and SNR of up to four schedules against the timestep, and where SNR ends.

    Args:
        tables: name -> alpha_bar, (T,) in (0, 1).
        alt: what the curves show, with their ends.
    """
    with canvas(8.8, 3.9) as figure:
        left, right = figure.subplots(1, 2)
        for (name, alpha_bar), look in zip(tables.items(), LINES, strict=False):
            t = torch.arange(len(alpha_bar))
            every = max(1, len(alpha_bar) // 8)
            style: dict[str, Any] = {**look, "markersize": 5, "markevery": every, "label": name}
            left.plot(t, alpha_bar, **style)
            snr = alpha_bar / (1 - alpha_bar)
            right.plot(t, snr, **style)
            end = float(snr[-1])
            right.annotate(
                f"{end:.2g}",
                (float(t[-1]), end),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                size=9,
                color=look["color"],
                annotation_clip=False,
            )
        left.set(xlabel="timestep t", ylabel=r"$\bar\alpha_t$, the picture's share of the variance")
        right.set(xlabel="timestep t", ylabel="SNR(t), log axis", yscale="log")
        right.axhline(1, color=INK, linewidth=1, linestyle=(0, (1, 2)))
        right.text(0, 3e-9, "dotted line: SNR 1, as much\nnoise as picture", va="bottom", size=9)
        left.legend(loc="lower left")
        return describe(figure, alt, colours=64)


def compared_values(
    panels: Mapping[str, tuple[Tensor, Tensor]], names: tuple[str, str], xlabel: str, alt: str
) -> DescribedImage:
    """Two sets of numbers over each other in every panel: bars for one, a line for the other.

    Args:
        panels: title -> the two sets, tensors of any shape.
        names: of the two sets.
        xlabel: what the numbers are.
        alt: what the panels show.
    """
    edges = torch.linspace(-4, 4, 65)
    centres = ((edges[1:] + edges[:-1]) / 2).tolist()
    with canvas(8.8, 2.7) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False, sharex=True)[0]
        for ax, (title, sets) in zip(axes, panels.items(), strict=True):
            bars, line = (
                torch.histogram(values.flatten().float().cpu(), edges, density=True).hist.tolist()
                for values in sets
            )
            ax.bar(centres, bars, width=float(edges[1] - edges[0]), color=LIGHT, label=names[0])
            ax.step(centres, line, where="mid", color=ACCENT, linewidth=1.6, label=names[1])
            ax.set(title=title, xlabel=xlabel, yticks=[])
        axes[0].set_ylabel("share of the values")
        top = axes[0].get_ylim()[1]
        axes[0].set_ylim(0, 1.35 * top)
        axes[0].legend(loc="upper right", fontsize=9)
        return describe(figure, alt, colours=64)


def clouds(panels: Mapping[str, Tensor], alt: str) -> DescribedImage:
    """Points in the plane, one panel a moment; each point is a small dot.

    Args:
        panels: title -> (N, 2).
        alt: what the panels show.
    """
    with canvas(8.8, 8.8 / len(panels) + 0.2) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, (title, points) in zip(axes, panels.items(), strict=True):
            ax.plot(*points.T, linestyle="", marker=".", markersize=1.6, color=INK, alpha=0.6)
            ax.set(xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), aspect="equal", xticks=[], yticks=[])
            ax.set_title(title, size=9.5, loc="center")
            ax.spines[["top", "right"]].set_visible(True)
            for spine in ax.spines.values():
                spine.set_color(LIGHT)
        return describe(figure, alt, colours=32)


def backward_densities(
    x: Tensor, panels: Mapping[str, tuple[Tensor, Tensor]], alt: str
) -> DescribedImage:
    """What may have been before a step, exactly, and the single bump that comes nearest.

    Args:
        x: (N,) values.
        panels: title -> the exact density and that of the bump, (N,) each.
        alt: what the panels show.
    """
    with canvas(8.8, 2.8) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False, sharex=True)[0]
        for ax, (title, (exact, bump)) in zip(axes, panels.items(), strict=True):
            ax.fill_between(x, exact, color=TINT)
            ax.plot(x, exact, color=ACCENT, linewidth=2, label="exact")
            ax.plot(x, bump, color=INK, linestyle="--", label="one bump")
            ax.set(title=title, xlabel="value before the step", yticks=[])
            ax.set_ylim(0, 1.3 * float(torch.maximum(exact, bump).max()))
        axes[0].set_ylabel("how likely")
        axes[0].legend(loc="upper left", fontsize=9)
        return describe(figure, alt, colours=64)


def brightness_leak(panels: Mapping[str, tuple[Tensor, Tensor]], alt: str) -> DescribedImage:
    """One dot a picture: its mean before against the mean of what is left of it.

    Args:
        panels: title -> the means before and after, (N,) each.
        alt: what the dots show.
    """
    with canvas(8.8, 3.2) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
        for ax, (title, (before, after)) in zip(axes, panels.items(), strict=True):
            ax.axhline(0, color=GREY, linewidth=1)
            ax.plot(
                before, after, linestyle="", marker="o", markersize=3.5, color=ACCENT, alpha=0.5
            )
            ax.set(title=title, xlabel="mean of the clean picture")
        axes[0].set_ylabel("mean of $x_t$ at $t = 999$")
        return describe(figure, alt, colours=128)


def reading_curves(
    lines: Sequence[Curve], xlabel: str, alt: str, chance: float, chance_at: str = "left"
) -> DescribedImage:
    """How much is still read, in percent, with error bars and the level of guessing.

    Args:
        lines: up to four, in percent.
        xlabel: of the time or the noise level.
        alt: what the plot shows, with its main numbers.
        chance: percent that guessing gets.
        chance_at: "left" or "right", where the word stands.
    """
    with canvas(8.8, 3.8) as figure:
        ax = figure.subplots()
        for line, look in zip(lines, LINES, strict=False):
            ax.errorbar(
                line.x, line.mean, line.spread, label=line.label, capsize=3, markersize=5, **look
            )
        ax.axhline(chance, color=INK, linewidth=1, linestyle=(0, (1, 2)))
        every = [x for line in lines for x in line.x]
        end = min(every) if chance_at == "left" else max(every)
        ax.text(end, chance + 1, "chance", ha="left" if chance_at == "left" else "right", size=9)
        ax.set(xlabel=xlabel, ylabel="things named rightly (%)", ylim=(0, 106))
        ax.legend(loc="center left")
        return describe(figure, alt, colours=64)


def shares(rows: Mapping[str, Sequence[float]], parts: Sequence[str], alt: str) -> DescribedImage:
    """Bars of length 1, cut into up to three parts.

    Args:
        rows: name -> as many shares as there are parts, together 1.
        parts: what the parts are.
        alt: what the bars show, with their numbers.
    """
    with canvas(8.8, 0.9 + 0.5 * len(rows)) as figure:
        ax = figure.subplots()
        for row, values in enumerate(rows.values()):
            start = 0.0
            for part, value in enumerate(values):
                surface, ink = SHADES[part]
                ax.barh(
                    row,
                    value,
                    left=start,
                    height=0.66,
                    color=surface,
                    edgecolor=GREY,
                    linewidth=0.7,
                    hatch=HATCHES[part],
                    label=parts[part] if row == 0 else None,
                )
                if value > 0.045:
                    box = {"facecolor": surface, "edgecolor": "none", "pad": 1.2}
                    ax.text(
                        start + value / 2,
                        row,
                        f"{100 * value:.0f} %",
                        ha="center",
                        va="center",
                        color=ink,
                        bbox=box,
                    )
                start += value
        ax.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="share of the 1000 timesteps")
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        ax.set_yticks(range(len(rows)), rows)
        ax.tick_params(axis="y", labelcolor=INK)
        ax.grid(False)
        figure.legend(loc="outside upper center", ncols=len(parts), fontsize=9)
        return describe(figure, alt, colours=64)
