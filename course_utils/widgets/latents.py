"""`LatentStudio`: a picture, its four latent channels, and what the decoder makes of them.

    from course_utils.widgets import LatentStudio
    LatentStudio()

Paint on a channel, take channels from a second picture, mix the two, round the numbers; the decoded
picture follows. Below it, how much smaller latents are, drawn to scale.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.hub import DEFAULT_MODEL, find_folder
from course_utils.models import VAE
from course_utils.runtime import pick_device
from course_utils.widgets._base import View, as_png
from course_utils.widgets._latent_edits import (
    EXAMPLES,
    SEEN,
    Edits,
    apply,
    changed,
    example,
    psnr,
    to_scale,
)
from course_utils.widgets._parts import (
    Part,
    bar,
    button,
    check,
    column,
    custom,
    html,
    note,
    picture,
    row,
    select,
    slider,
    upload,
)
from course_utils.widgets._shades import shaded
from course_utils.widgets._sheet import sheet
from course_utils.widgets._upload import read_upload

if TYPE_CHECKING:
    from torch import Tensor

    from course_utils.models import VAE
    from course_utils.pipeline import Pipeline
    from course_utils.widgets._latent_edits import Cell

HERE = Path(__file__).parent
CHANNELS, SIDE = 4, 8  # of the latents of the bundled model: what the page has room for
REACH = 3.0  # numbers from -REACH to REACH have a shade of their own
OWN = "own"  # the option that stands for the learner's picture
MOST_UNDO = 50  # strokes that can be taken back
PAINT, ERASE = "paint", "erase"
BITS = {"exact": "exact (32 bits)"} | {
    str(bits): f"{bits} bit{'s' * (bits > 1)}: {2**bits} levels" for bits in (8, 6, 5, 4, 3, 2, 1)
}
NAMES = ("cat", "dog", "pizza", "rocket", "apple", "panda", "sunflower", "penguin")


@dataclass(frozen=True, eq=False)
class Source:
    """A picture and its latents.

    Attributes:
        pixels: (3, 64, 64) in [-1, 1].
        latents: (4, 8, 8), of about unit variance.
        decoded: (3, 64, 64), what the decoder makes of the latents as they are.
    """

    pixels: Tensor
    latents: Tensor
    decoded: Tensor


class LatentStudio(View):
    """Latents as a material: paint, swap, mix and round them, and see the picture follow.

    Args:
        pipeline: whose VAE to use; the bundled model if None, which is then read in the
            background. Its latents are (4, 8, 8), its pictures (3, 64, 64).
        a, b: the pictures to begin with: cat, dog, pizza, rocket, apple, panda, sunflower,
            penguin.

    Raises:
        ValueError: no such picture, or a VAE with latents of another size.
    """

    label = "Latent studio: 256 numbers, and the picture that comes out of them"
    js = (HERE / "latents.js").read_text(encoding="utf-8")
    css = (HERE / "latents.css").read_text(encoding="utf-8")

    def __init__(self, pipeline: Pipeline | None = None, a: str = "cat", b: str = "dog") -> None:
        for which, name in (("a", a), ("b", b)):
            if name not in NAMES:
                raise ValueError(f"{which} is {name!r}; expected one of {', '.join(NAMES)}")
        self._vae: VAE | None = None if pipeline is None else _fitting(pipeline.vae)
        self._sources: dict[str, Source] = {}  # "a" and "b"
        self._own: Tensor | None = None  # the learner's picture
        self._painted: dict[Cell, float] = {}
        self._history: list[dict[Cell, float]] = []
        self._strokes: list[str] = []  # the names of those that were painted last
        super().__init__(
            bar(
                select("a", "picture A", NAMES, a),
                select("b", "picture B", NAMES, b),
                upload("file", "or a picture of your own, as A"),
            ),
            row(
                picture("picture_a", "A, as it came", 140),
                picture("picture_b", "B, as it came", 140),
                picture("decoded", "decoded from the numbers below", 256),
            ),
            html("sheet_title", "what the four squares are", _sheet_title()),
            bar(*(_plane(channel) for channel in range(CHANNELS))),
            bar(
                select("tool", "click or drag to", TOOLS, PAINT),
                slider("brush", "the number to paint", -REACH, REACH, REACH, 0.25),
                button("undo", "undo", disabled=True),
                button("reset", "start again"),
            ),
            bar(
                slider("share", "mix: share of B in the other numbers", 0, 100, 0, 1, "%"),
                select("bits", "round each number to", BITS, "exact"),
            ),
            column(
                note("numbers", "what you changed", quiet=True),
                note("quality", "how much of A is left", quiet=True),
                note("cost", "what the numbers cost", quiet=True),
            ),
            html("scale", "how much smaller", to_scale((3, 64, 64), (CHANNELS, SIDE, SIDE))),
        )
        for name in ("a", "b"):
            self.on(name, functools.partial(self._choose, name))
        self.on("file", self._upload)
        for channel in range(CHANNELS):
            self.on(f"plane{channel}", functools.partial(self._paint, channel))
            self.on(f"swap{channel}", self._update)
        for name in ("share", "bits"):
            self.on(name, self._update)
        self.on("brush", self._brush)
        self.on("undo", self._undo)
        self.on("reset", self._reset)
        self._load(("a", "b"))

    # --- pictures ----------------------------------------------------------------------------

    def _load(self, which: tuple[str, ...]) -> None:
        """Read pictures and their latents in the worker thread."""
        wanted = {name: self[name] for name in which}

        def work(report: Any, cancelled: Any) -> tuple[VAE, dict[str, Source]]:
            report(None, "reading the model and the pictures")
            vae = self._vae or _bundled_vae()
            return vae, {name: self._source(vae, value) for name, value in wanted.items()}

        def done(found: tuple[VAE, dict[str, Source]]) -> None:
            self._vae = found[0]
            self._sources |= found[1]
            for name in found[1]:
                words = f"picture {name.upper()}: {_called(wanted[name])}"
                self.show(f"picture_{name}", found[1][name].pixels, words)
            missing = tuple(name for name in ("a", "b") if name not in self._sources)
            if missing:
                self._load(missing)
            else:
                self._update()

        self.busy(work, done=done, text="reading the model and the pictures")

    def _source(self, vae: VAE, value: str) -> Source:
        pixels = self._own if value == OWN and self._own is not None else example(value)
        latents = vae.to_latents(pixels[None].to(vae.device))
        decoded = vae.to_pixels(latents)
        return Source(pixels, latents[0].cpu(), decoded[0].cpu())

    def _choose(self, name: str, value: str) -> None:
        if name == "a":
            self._forget()
        self._sources.pop(name, None)
        self._load(tuple(key for key in ("a", "b") if key not in self._sources))

    def _upload(self, file: tuple[bytes, str]) -> None:
        try:
            self._own = read_upload(*file)
        except ValueError as error:
            self.say(f"{error}.", "warning")
            return
        self.say("")
        options = [[name, name] for name in NAMES] + [[OWN, "your own picture"]]
        for name in ("a", "b"):
            self.put(name, options=options)
        if self["b"] == OWN:
            self._sources.pop("b", None)
        self["a"] = OWN
        self._choose("a", OWN)

    # --- edits -------------------------------------------------------------------------------

    def _paint(self, channel: int, value: Any) -> None:
        """Strokes, as far as they have come; one that was seen before has only grown since.

        Args:
            channel: which.
            value: a list of {"name", "cells": [row * 8 + column, ...], "value": a number, or None
                to bring back what was there}.
        """
        if not self._sources.keys() >= {"a", "b"}:
            return
        for stroke in value:
            cells = [int(cell) for cell in stroke["cells"]]
            if not all(0 <= cell < SIDE * SIDE for cell in cells):
                raise ValueError(f"cells is {cells}; expected numbers from 0 to {SIDE * SIDE - 1}")
            before = dict(self._painted)
            for cell in cells:
                at = (channel, *divmod(cell, SIDE))
                if stroke["value"] is None:
                    self._painted.pop(at, None)
                else:
                    self._painted[at] = min(REACH, max(-REACH, float(stroke["value"])))
            if stroke["name"] not in self._strokes:
                self._strokes = [*self._strokes, str(stroke["name"])][-MOST_UNDO:]
                self._history = [*self._history, before][-MOST_UNDO:]
        self._update()

    def _brush(self, value: float) -> None:
        for channel in range(CHANNELS):
            self.put(f"plane{channel}", brush=value)

    def _undo(self, _: Any) -> None:
        if self._history:
            self._painted = self._history.pop()
            self._update()

    def _reset(self, _: Any) -> None:
        self._forget()
        for channel in range(CHANNELS):
            self[f"swap{channel}"] = False
        self["share"], self["bits"] = 0, "exact"
        self._update()

    def _forget(self) -> None:
        self._painted, self._history = {}, []

    # --- the result --------------------------------------------------------------------------

    def _update(self, _: Any = None) -> None:
        """Show the edited numbers now, and decode them in the worker thread."""
        vae = self._vae
        if vae is None or not self._sources.keys() >= {"a", "b"}:
            return  # `_load` is on its way and ends here
        a, b = self._sources["a"], self._sources["b"]
        swapped = frozenset(c for c in range(CHANNELS) if self[f"swap{c}"])
        bits = None if self["bits"] == "exact" else int(self["bits"])
        edits = Edits(swapped, self["share"] / 100, dict(self._painted), bits)
        latents = apply(edits, a.latents, b.latents)
        for channel in range(CHANNELS):
            numbers = [round(value, 3) for value in latents[channel].flatten().tolist()]
            painted = [row * SIDE + col for c, row, col in self._painted if c == channel]
            self.put(f"plane{channel}", numbers=numbers, painted=painted)
        self.put("undo", disabled=not self._history)
        self.put("numbers", text=_numbers(edits))
        self.put("cost", text=_cost(bits, a.pixels.numel(), latents.numel()))

        def work(report: Any, cancelled: Any) -> tuple[Tensor, float]:
            start = time.perf_counter()
            decoded = vae.to_pixels(latents[None].to(vae.device))[0].cpu()
            return decoded, time.perf_counter() - start

        def done(found: tuple[Tensor, float]) -> None:
            words = _quality(a, found[0])
            self.put("quality", text=words)
            caption = f"decoded live in {1000 * found[1]:.0f} ms"
            self.show("decoded", found[0], f"the decoded picture: {words}", caption)

        # Latents that wait are replaced by newer ones; those being decoded come to their end.
        self.busy(work, done=done, quiet=True, cancel=False)

    def fallback(self) -> bytes:
        """PNG of the present state, with the four channels as shades."""
        import torch

        items = []
        for channel in range(CHANNELS):
            numbers = self.part(f"plane{channel}")["numbers"]
            if numbers:
                values = torch.tensor(numbers).reshape(SIDE, SIDE)
                png = as_png(shaded(values, -REACH, REACH))
                items.append({"png": png, "caption": f"channel {channel}"})
        planes = {"kind": "pictures", "label": "channels", "size": 150, "items": items}
        shown = [self.part(name) for name in ("picture_a", "picture_b", "decoded")]
        words = [self.part(name) for name in ("numbers", "quality", "cost")]
        return sheet(self.label, [*shown, planes, *words, SCALE_IN_WORDS])


TOOLS = {PAINT: "paint", ERASE: "bring back"}
SCALE_IN_WORDS = {
    "kind": "note",
    "label": "how much smaller",
    "text": "64 x 64 = 4,096 positions against 8 x 8 = 64: 64 times fewer. "
    "3 x 64 x 64 = 12,288 numbers against 4 x 8 x 8 = 256: 48 times fewer.",
}


def _plane(channel: int) -> Any:
    """A channel as a sheet of squares, with the switch that takes it from B."""
    sheet: Part = custom(
        "plane",
        f"plane{channel}",
        f"channel {channel}",
        numbers=[],
        painted=[],
        side=SIDE,
        reach=REACH,
        brush=REACH,
    )
    return column(sheet, check(f"swap{channel}", f"channel {channel} from B"))


def _sheet_title() -> str:
    return (
        '<div class="ls-head"><strong>The latents: 4 channels of 8 × 8 numbers.</strong> '
        "Drag over a channel to paint on it, or walk with the arrow keys and press Enter. "
        f'<span class="ls-legend"><span>−{REACH:g}</span><span class="ls-ramp"></span>'
        f"<span>+{REACH:g}</span></span></div>"
    )


def _numbers(edits: Any) -> str:
    """The edits in words."""
    words = []
    count = len(edits.painted)
    if count:
        words.append(f"{count} of {CHANNELS * SIDE * SIDE} numbers painted")
    if edits.swapped:
        which = ", ".join(str(channel) for channel in sorted(edits.swapped))
        words.append(f"channel{'s' * (len(edits.swapped) > 1)} {which} from B")
    if edits.share:
        words.append(f"{edits.share:.0%} of B mixed in")
    if edits.bits is not None:
        words.append(f"every number rounded to one of {2**edits.bits} levels")
    return ("; ".join(words) or "nothing: these are the latents of A") + "."


def _cost(bits: int | None, pixels: int, numbers: int) -> str:
    each = bits or 32
    return (
        f"{numbers} numbers of {each} bit{'s' * (each > 1)} = {numbers * each:,} bits; the picture "
        f"has {pixels:,} numbers of 8 bits = {pixels * 8:,} bits."
    )


def _quality(a: Source, decoded: Tensor) -> str:
    """How far the decoded picture is from A, and from what the latents of A give."""
    now, best = psnr(decoded, a.pixels), psnr(a.decoded, a.pixels)
    far = changed(decoded, a.decoded)
    return (
        f"{now:.1f} dB ({best:.1f} dB if nothing is changed); {far:.0%} of the pixels moved by "
        f"more than {SEEN} of 255 levels."
    )


def _called(value: str) -> str:
    """What the alt text calls a picture."""
    if value == OWN:
        return "your own picture"
    thing, style, background = EXAMPLES[value]
    return f"{thing}, {style} style, on {background}"


def _bundled_vae() -> VAE:
    return _fitting(VAE.from_pretrained(find_folder(DEFAULT_MODEL) / "vae").to(pick_device()))


def _fitting(vae: VAE) -> VAE:
    """The VAE itself, if its latents are those that the page has room for."""
    c = vae.config
    side = c.sample_size // 2 ** (len(c.block_out_channels) - 1)
    if (c.latent_channels, side) != (CHANNELS, SIDE):
        raise ValueError(
            f"the VAE has latents of ({c.latent_channels}, {side}, {side}); expected "
            f"({CHANNELS}, {SIDE}, {SIDE}), those of the bundled model"
        )
    return vae
