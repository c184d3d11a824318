"""Pictures of lesson 03: the U-Net with the maps that run through it, and runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from course_utils.images import make_grid, to_uint8
from course_utils.plots.base import ACCENT, GREY, INK, DescribedImage, canvas, describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW, LARGEST, SMALLEST = 0.92, 0.66, 0.34  # of the drawing: a row, and sides of maps, in inches
LEFT, MIDDLE, RIGHT, WIDTH = 2.5, 4.4, 6.3, 8.8


@dataclass(frozen=True, eq=False)
class Stage:
    """One map inside a U-Net.

    Attributes:
        name: the module that made it.
        side: "down", "middle" or "up".
        map: (C, H, W), the first of the batch.
        joined: channels at the module's input, where a skip was joined; 0 elsewhere.
        grows: its result is made twice as large before the next module gets it.
    """

    name: str
    side: str
    map: Tensor
    joined: int = 0
    grows: bool = False


def trace(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> list[Stage]:
    """Run a U-Net once and keep the map of every stage.

    Args:
        unet: the course's `UNet`, diffusers', or any with the same module names.
        x_t, t, text_states: its inputs.

    Returns:
        The input, the way down, the middle, the way up, the output.
    """
    found: dict[str, Tensor] = {}
    stages: list[tuple[str, str, int, bool]] = []
    handles = []

    def watch(
        module: nn.Module, name: str, side: str, joined: int = 0, grows: bool = False
    ) -> None:
        def keep(_: nn.Module, __: Any, output: Any) -> None:
            output = getattr(output, "sample", output)
            found[name] = (output[0] if isinstance(output, tuple) else output)[0].detach().cpu()

        handles.append(module.register_forward_hook(keep))
        stages.append((name, side, joined, grows))

    def last_part(level: Any, i: int) -> nn.Module:
        return level.attentions[i] if hasattr(level, "attentions") else level.resnets[i]

    watch(unet.conv_in, "conv_in", "down")
    for n, level in enumerate(unet.down_blocks):
        for i in range(len(level.resnets)):
            watch(last_part(level, i), f"level {n}, layer {i}", "down")
        if getattr(level, "downsamplers", None):
            watch(level.downsamplers[0], f"level {n}, half size", "down")
    watch(unet.mid_block, "middle", "middle")
    for n, level in enumerate(unet.up_blocks):
        for i, resnet in enumerate(level.resnets):
            grows = bool(getattr(level, "upsamplers", None)) and i == len(level.resnets) - 1
            name = f"level {len(unet.up_blocks) - 1 - n}, layer {i} up"
            watch(last_part(level, i), name, "up", resnet.conv1.in_channels, grows)
    watch(unet.conv_out, "conv_out", "up")
    try:
        with torch.no_grad():
            unet(x_t, t, text_states)
    finally:
        for handle in handles:
            handle.remove()
    return [
        Stage("x_t", "down", x_t[0].detach().cpu()),
        *(Stage(name, side, found[name], joined, grows) for name, side, joined, grows in stages),
    ]


def unet_drawing(stages: Sequence[Stage], note: str = "") -> DescribedImage:
    """The U, with real maps and their sizes: down on the left, up on the right, skips across.

    Args:
        stages: of `trace`.
        note: a line below.
    """
    down = [stage for stage in stages if stage.side == "down"]
    middle = next(stage for stage in stages if stage.side == "middle")
    up = [stage for stage in stages if stage.side == "up"][::-1]  # the top one first
    if len(down) != len(up):
        raise ValueError(f"{len(down)} stages lead down and {len(up)} up; expected as many of each")
    height = (len(down) + 1) * ROW + 0.45
    largest = max(stage.map.shape[-1] for stage in stages)
    tops = [height - ROW * (i + 0.5) - 0.05 for i in range(len(down) + 1)]
    with canvas(WIDTH, height, arrange=False) as figure:
        ax = figure.add_axes((0, 0, 1, 1))
        for x, column, align in ((LEFT, down, "right"), (RIGHT, up, "left")):
            for stage, y in zip(column, tops, strict=False):
                _draw_stage(ax, stage, (x, y), largest, align)
        _draw_stage(ax, middle, (MIDDLE, tops[-1]), largest, "below")
        for i, (stage, y) in enumerate(zip(up, tops, strict=False)):
            half, other = _side(down[i], largest) / 2, _side(stage, largest) / 2
            if stage.joined:
                start, end = (LEFT + half, y), (RIGHT - other, y)
                _line(ax, start, end, ACCENT, 2.2)
                text = f"skip: {down[i].map.shape[0]} channels beside {_beside(stage, down[i])}"
                ax.text(MIDDLE, y + 0.06, text, color=ACCENT, size=8.5, ha="center", va="bottom")
            if i + 1 < len(down):
                below = tops[i + 1]
                _line(ax, (LEFT, y - half), (LEFT, below + _side(down[i + 1], largest) / 2))
                _line(ax, (RIGHT, below + _side(up[i + 1], largest) / 2), (RIGHT, y - other))
                if up[i + 1].grows:
                    at = (y - other + below + _side(up[i + 1], largest) / 2) / 2
                    ax.text(
                        RIGHT - 0.1, at, "size × 2", color=INK, size=8.5, ha="right", va="center"
                    )
        side = _side(middle, largest) / 2
        for x, column, turn in ((LEFT, down, 1), (RIGHT, up, -1)):
            corner = (x, tops[-2] - _side(column[-1], largest) / 2)
            ax.plot([x, x], [corner[1] - 0.02, tops[-1]], color=GREY, linewidth=1.4)
            ends = ((x, tops[-1]), (MIDDLE - turn * side, tops[-1]))
            if turn == 1:
                _line(ax, *ends)
            else:
                ax.plot([x, ends[1][0] + 0.02], [tops[-1]] * 2, color=GREY, linewidth=1.4)
        ax.text(WIDTH / 2, 0.1, note, color=GREY, size=9, ha="center", va="bottom")
        ax.set(xlim=(0, WIDTH), ylim=(0, height))
        ax.axis("off")
        return describe(figure, _drawing_alt(down, middle, up, note), colours=256)


def _beside(stage: Stage, skip: Stage) -> int:
    return stage.joined - skip.map.shape[0]


def _side(stage: Stage, largest: int) -> float:
    """How large a map is drawn: in steps that can be told apart, not in proportion."""
    share = stage.map.shape[-1] / largest
    return SMALLEST + (LARGEST - SMALLEST) * share


def _draw_stage(ax: Axes, stage: Stage, at: tuple[float, float], largest: int, align: str) -> None:
    (x, y), half = at, _side(stage, largest) / 2
    strength = stage.map.abs().mean(dim=0)  # (H, W)
    box = (x - half, x + half, y - half, y + half)
    ax.imshow(strength.numpy(), cmap="gray_r", extent=box, aspect="auto", zorder=3, vmin=0)
    ax.plot(
        [box[0], box[1], box[1], box[0], box[0]],
        [box[2], box[2], box[3], box[3], box[2]],
        color=INK,
        linewidth=1,
        zorder=4,
    )
    name = stage.name.removesuffix(" up")
    size = " × ".join(str(n) for n in stage.map.shape)
    if align == "below":
        ax.text(x, y - half - 0.05, f"{name}: {size}", color=INK, size=9, ha="center", va="top")
        return
    edge = x - LARGEST / 2 - 0.12 if align == "right" else x + LARGEST / 2 + 0.12
    ax.text(edge, y + 0.1, name, color=INK, size=9, ha=align, va="center", weight="bold")
    ax.text(edge, y - 0.11, size, color=INK, size=9, ha=align, va="center")


def _line(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str = GREY,
    width: float = 1.4,
) -> None:
    look = {"arrowstyle": "-|>", "color": colour, "linewidth": width, "shrinkA": 1, "shrinkB": 1}
    ax.annotate("", xy=end, xytext=start, arrowprops=look)


def _drawing_alt(down: Sequence[Stage], middle: Stage, up: Sequence[Stage], note: str) -> str:
    def sizes(stages: Sequence[Stage]) -> str:
        return ", ".join(
            f"{s.name.removesuffix(' up')} {' × '.join(map(str, s.map.shape))}" for s in stages
        )

    skips = sum(bool(stage.joined) for stage in up)
    return (
        f"Drawing of the U-Net. Down the left side: {sizes(down)}. At the bottom: "
        f"{sizes([middle])}. Up the right side: {sizes(up[::-1])}. {skips} arrows, the skips, lead "
        f"straight across from each map on the left to a layer on the right. {note}"
    )


def run_dots(
    groups: Mapping[str, Sequence[float]], xlabel: str, alt: str, hollow: Sequence[str] = ()
) -> DescribedImage:
    """Several runs of several kinds: a dot a run, and a bar for mean and standard deviation.

    Args:
        groups: what kind, and one number for each of its runs; the first stands on top.
        xlabel: with units.
        alt: what the plot shows, with its main numbers.
        hollow: kinds whose dots are drawn hollow, to tell them apart from their neighbours.
    """
    with canvas(8.5, 0.42 * len(groups) + 0.9) as figure:
        ax = figure.subplots()
        for row, (name, values) in enumerate(groups.items()):
            numbers = torch.tensor(values, dtype=torch.float64)
            mean = float(numbers.mean())
            spread = float(numbers.std()) if len(numbers) > 1 else 0.0
            ax.errorbar(mean, row, xerr=spread, color=INK, capsize=5, marker="|", markersize=14)
            face = "white" if name in hollow else ACCENT
            above = [row - 0.2] * len(values)
            ax.plot(values, above, "o", color=ACCENT, markerfacecolor=face, markersize=5)
        ax.set_yticks(range(len(groups)), list(groups))
        ax.tick_params(axis="y", colors=INK, length=0)
        ax.set(xlabel=xlabel, ylim=(len(groups) - 0.5, -0.6))
        ax.grid(visible=False, axis="y")
        return describe(figure, alt, colours=64)


def picture_rows(rows: Mapping[str, Tensor], alt: str, height: float = 0.95) -> DescribedImage:
    """Rows of pictures, each row with its name on the left.

    Args:
        rows: name to pictures (N, 3, H, W) in [-1, 1], as many in each row.
        alt: what they show.
        height: of a row, in inches.
    """
    count = max(len(pictures) for pictures in rows.values())
    pixels = next(iter(rows.values())).shape[-1]
    space = max(1, pixels // 16)  # between pictures, in pixels
    side, label, gap = height, 1.5, 0.08  # inches
    width = label + side * (count + (count - 1) * space / pixels)
    tall = len(rows) * (side + gap)
    with canvas(width, tall, arrange=False) as figure:
        for i, (name, pictures) in enumerate(rows.items()):
            grid = make_grid(pictures.cpu(), columns=count, gap=space)
            bottom = 1 - ((i + 1) * (side + gap) - gap / 2) / tall
            ax = figure.add_axes((label / width, bottom, 1 - label / width, side / tall))
            ax.imshow(to_uint8(grid).permute(1, 2, 0).numpy(), aspect="auto")
            ax.axis("off")
            middle = bottom + side / tall / 2
            figure.text((label - 0.12) / width, middle, name, ha="right", va="center", color=INK)
        return describe(figure, alt)
