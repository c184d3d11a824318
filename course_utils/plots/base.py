"""What all pictures of the course are made of: colours, canvas, words, pictures, measured lines."""

from __future__ import annotations

import base64
import html
import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from course_utils.files import write_atomically
from course_utils.images import to_pil, to_uint8
from course_utils.samplers import Step
from course_utils.strip import frame_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCENT = "#b4451f"  # terracotta; 5.3 : 1 against white, so that text in it is readable
TINT = "#f6e3da"  # the accent, for surfaces
INK = "#222222"  # text and what matters
GREY = "#6f6f6f"  # what stands back, still readable
LIGHT = "#c9c9c9"  # rules and frames
PALE = "#f4f4f4"  # surfaces
STYLE: dict[str, Any] = {
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 10,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
}
# How the first, second, ... line of a plot is drawn: each differs in more than its colour.
LINES: tuple[dict[str, Any], ...] = (
    {"color": ACCENT, "linestyle": "-", "marker": "o"},
    {"color": INK, "linestyle": "--", "marker": "s"},
    {"color": GREY, "linestyle": ":", "marker": "^"},
    {"color": GREY, "linestyle": "-.", "marker": "D"},
)
PIXELS_PER_INCH = 100  # on a page; files hold more, for sharp screens
SHARPNESS = 1.6
CAPTION_LINES = 4
SUMMARY = "<small>the picture in words</small>"


class DescribedImage:
    """A PNG and the words for it.

    Args:
        png: the file's bytes.
        alt: what it shows, for those who don't see it; not empty.
        width: on the page, in pixels; the file's own width if None.
    """

    def __init__(self, png: bytes, alt: str, width: int | None = None) -> None:
        if not alt.strip():
            raise ValueError("alt is empty; expected a sentence that says what the picture shows")
        self.png, self.alt, self.width = png, " ".join(alt.split()), width

    def save(self, path: str | Path) -> None:
        """Write the PNG in one step."""
        write_atomically(path, self.png)

    def __repr__(self) -> str:
        return f"Picture: {self.alt}"

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": repr(self)}
        size = {} if self.width is None else {"width": self.width}
        return data, {"image/png": {"alt": self.alt, **size}}

    def _ipython_display_(self) -> None:
        """Show the picture, and its words folded below: not every front end reads `alt`."""
        from IPython.display import display

        data, metadata = self._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)
        words = f"<details><summary>{SUMMARY}</summary>{html.escape(self.alt)}</details>"
        display({"text/html": words, "text/plain": ""}, raw=True)


@contextmanager
def canvas(width: float, height: float, arrange: bool = True) -> Iterator[Figure]:
    """An empty figure in the style of the course, to draw on inside the `with` block.

    Args:
        width, height: in inches; 8.5 fills the width of a page.
        arrange: let matplotlib find room for labels; False where every place is given.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(cast(Any, STYLE)):
        yield Figure(figsize=(width, height), layout="constrained" if arrange else None)


def describe(figure: Figure, alt: str, colours: int | None = None) -> DescribedImage:
    """The finished figure as a PNG with its alt text.

    Args:
        figure: drawn on.
        alt: what it shows, for those who don't see it.
        colours: for drawings that get by with up to 256 colours, which makes small files.
    """
    from PIL import Image

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A prompt may hold signs that the font lacks; a box stands for each of them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=PIXELS_PER_INCH * SHARPNESS)
    image = Image.open(buffer).convert("RGB")
    if colours is not None:
        image = image.quantize(colours, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    width = round(figure.get_size_inches()[0] * PIXELS_PER_INCH)
    return DescribedImage(buffer.getvalue(), alt, width)


# --- pictures ------------------------------------------------------------------------------------


def picture(pixels: Tensor, alt: str, scale: int = 4) -> DescribedImage:
    """One picture, each of its pixels drawn as `scale` x `scale`.

    Args:
        pixels: (3, H, W) in [-1, 1].
        alt: what it shows.
        scale: 1 or more.
    """
    buffer = io.BytesIO()
    to_pil(pixels, scale).save(buffer, "PNG", optimize=True)
    return DescribedImage(buffer.getvalue(), alt)


def picture_grid(
    pixels: Tensor, captions: Sequence[str], alt: str, columns: int = 4, size: float = 1.9
) -> DescribedImage:
    """Pictures in rows, each with its caption below.

    Args:
        pixels: (N, 3, H, W) in [-1, 1].
        captions: N texts; long ones are broken into lines, very long ones cut.
        alt: what the pictures show.
        columns: pictures in a row.
        size: of a picture, in inches.
    """
    check_pixels(pixels)
    if len(captions) != len(pixels):
        raise ValueError(f"captions has {len(captions)} texts; expected {len(pixels)}, one each")
    columns = min(columns, len(pixels))
    rows = -(-len(pixels) // columns)
    texts = [
        textwrap.fill(caption, int(size * 12), max_lines=CAPTION_LINES, placeholder=" …")
        for caption in captions
    ]
    lines = max(text.count("\n") + 1 for text in texts)
    with canvas(columns * (size + 0.15), rows * (size + 0.2 + 0.19 * lines)) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for i, ax in enumerate(axes.flat):
            if i >= len(pixels):
                ax.axis("off")
            else:
                put_picture(ax, pixels[i])
                write(ax, (0.5, -0.03), texts[i], INK, size=9, va="top", transform=ax.transAxes)
        return describe(figure, alt)


def step_strip(
    steps: Sequence[Step],
    decode: Callable[[Tensor], Tensor],
    alt: str,
    frames: int = 8,
    picture: int = 0,
) -> DescribedImage:
    """The way from noise to picture: noisy pictures above, the model's guesses below.

    Under each frame stands its timestep as papers count it, from T (pure noise) to 0 (done).

    Args:
        steps: every step of one loop, from step 0 on.
        decode: latents (N, 4, h, w) -> pictures (N, 3, H, W) in [-1, 1].
        alt: what the strip shows.
        frames: how many steps to show.
        picture: which picture of the loop.
    """
    if len(steps) < 2 or steps[0].step != 0:
        raise ValueError("steps is not a whole loop; expected step 0 and at least one more")
    chosen = [steps[number] for number in frame_numbers(len(steps) - 1, frames)]
    noisy = decode(torch.stack([step.x[picture] for step in chosen]))
    guesses = decode(torch.stack([step.x0[picture] for step in chosen if step.x0 is not None]))
    with canvas(8.8, 8.8 / (len(chosen) + 0.8) * 2 + 0.6) as figure:
        axes = figure.subplots(2, len(chosen), squeeze=False)
        for column, step in enumerate(chosen):
            put_picture(axes[0, column], noisy[column])
            if step.x0 is None:
                ax = axes[1, column]
                frame(ax)
                ax.set(facecolor=PALE, aspect="equal", xlim=(0, 1), ylim=(0, 1))
                write(ax, (0.5, 0.5), "no guess\nyet", GREY, size=9)
            else:
                put_picture(axes[1, column], guesses[column - 1])
            bold = "bold" if column in (0, len(chosen) - 1) else "normal"
            axes[1, column].set_xlabel(
                f"step {step.step}\nt = {paper_t(step)}", weight=bold, size=9.5
            )
        names = "noisy\npicture\n$x_t$", "guess of\nthe end\n$\\hat{x}_0$"
        for ax, label in zip(axes[:, 0], names, strict=True):
            ax.set_ylabel(label, rotation=0, ha="right", va="center", weight="bold")
        return describe(figure, alt)


def paper_t(step: Step) -> int:
    """A step's t as papers count it: T .. 1 while noise is left, 0 when the picture is done.

    In code the noise levels are the indices 0 .. T - 1 of a table, so they are one smaller.
    """
    return 0 if step.step == step.num_steps else step.t + 1


def put_picture(ax: Axes, pixels: Tensor) -> None:
    """One picture (3, H, W) on axes, with a thin frame so that a white one ends somewhere."""
    ax.imshow(to_uint8(pixels).permute(1, 2, 0).numpy())
    frame(ax)


def frame(ax: Axes) -> None:
    """A thin frame, and nothing else of an axis."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color=LIGHT, linewidth=0.8)


def write(ax: Axes, at: tuple[float, float], text: str, colour: str, **options: Any) -> None:
    """A line of text, centred."""
    options = {"ha": "center", "va": "center", "size": 9.5, **options}
    ax.text(*at, text, color=colour, parse_math=False, **options)  # a prompt may hold a "$"


def check_pixels(pixels: Tensor) -> None:
    """Raise a ValueError for what is no batch of pictures."""
    if pixels.ndim != 4 or pixels.shape[1] != 3 or not len(pixels):
        raise ValueError(
            f"pixels has shape {tuple(pixels.shape)}; expected (N, 3, H, W) with N > 0"
        )


# --- measurements --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """A measured line: what it is, where it was measured, the mean and how far values spread."""

    label: str
    x: Sequence[float]
    mean: Sequence[float]
    spread: Sequence[float]  # half the length of the error bars, in units of `mean`

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.mean) == len(self.spread) > 0:
            raise ValueError(
                f"x, mean and spread have {len(self.x)}, {len(self.mean)} and {len(self.spread)} "
                "values; expected as many of each, and at least one"
            )


def curves(
    lines: Sequence[Curve],
    xlabel: str,
    ylabel: str,
    alt: str,
    levels: Mapping[str, float] | None = None,
    ticks: Sequence[float] | None = None,
) -> DescribedImage:
    """Measured lines with error bars, told apart by marker and dash as well as by grey.

    Args:
        lines: up to four.
        xlabel, ylabel: with units.
        alt: what the plot shows, with its main numbers.
        levels: horizontal lines to compare with, by the name that stands on them.
        ticks: where the x axis has its numbers.
    """
    if not 0 < len(lines) <= len(LINES):
        raise ValueError(f"there are {len(lines)} lines; expected 1 to {len(LINES)}")
    with canvas(8.5, 3.6) as figure:
        ax = figure.subplots()
        for line, look in zip(lines, LINES, strict=False):
            ax.errorbar(
                line.x, line.mean, line.spread, label=line.label, capsize=3, markersize=5, **look
            )
        right = max(max(line.x) for line in lines)
        for name, value in (levels or {}).items():
            ax.axhline(value, color=INK, linewidth=1, linestyle=(0, (1, 2)))
            ax.text(right, value, name, ha="right", va="bottom", size=9)
        highest = max(
            [m + s for line in lines for m, s in zip(line.mean, line.spread, strict=True)]
        )
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.set_ylim(0, 1.1 * max(highest, *(levels or {"": 0.0}).values()))
        if ticks is not None:
            ax.set_xticks(list(ticks))
        if len(lines) > 1:
            ax.legend(loc="best")
        return describe(figure, alt, colours=64)
