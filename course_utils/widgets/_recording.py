"""A denoising loop as frames: what the player plays, and what it writes as GIF or HTML."""

from __future__ import annotations

import html
import io
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_utils.files import write_atomically
from course_utils.images import to_uint8
from course_utils.plots.base import paper_t
from course_utils.predictions import to_epsilon
from course_utils.strip import frame_numbers
from course_utils.widgets._base import BASE_CSS, HERE
from course_utils.widgets._sheet import font

if TYPE_CHECKING:
    from PIL import Image

    from course_utils.pipeline import Pipeline
    from course_utils.samplers import Step

PLAYER_JS = (HERE / "player.js").read_text(encoding="utf-8")
PLAYER_CSS = (HERE / "player.css").read_text(encoding="utf-8")
MOST_FRAMES = 101  # of a long loop every k-th step is kept
LARGEST = 256  # pixels of a frame's side; larger pictures are shrunk
COLUMNS = 32
NAMES = {
    "dpm++2m": "DPM-Solver++ (2022)",
    "ddim": "DDIM (2021)",
    "euler": "Euler (2022)",
    "ddpm": "DDPM (2020)",
}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>
{css}
</style>
</head>
<body class="sn-page">
<main class="sn-view">
<h1 class="sn-title" dir="auto">{title}</h1>
<div id="player"></div>
<noscript><p>Here is the finished picture; playing it needs JavaScript.</p>
<img class="sn-pixels sn-still" alt="{alt}" src="data:image/png;base64,{still}"></noscript>
<p class="sn-how" dir="auto">{how}</p>
</main>
<script>
{js}
const meta = {meta};
const sheet = new Image();
sheet.onload = () => makePlayer(document.getElementById("player")).load(meta, sheet, 0);
sheet.src = "data:image/png;base64,{sheet}";
</script>
</body>
</html>
"""


@dataclass(frozen=True, eq=False)
class Recording:
    """One picture on its way from noise, frame by frame.

    Attributes:
        x, noise, clean: (F, 3, H, W) uint8: the picture, and what the network predicts when it
            looks at it: the noise in it and the finished picture. All three went through the
            decoder, noise too. The last frame is the picture; its predictions are blank.
        steps: number of each frame's step, from 0 to `num_steps`.
        t: its timestep as papers count, from T down to 0.
        alpha_bar: signal share of the variance; 1 at the end.
        num_steps, prompt, seed, sampler, guidance_scale: how it was drawn.
        seconds: how long it took.
    """

    x: Tensor
    noise: Tensor
    clean: Tensor
    steps: tuple[int, ...]
    t: tuple[int, ...]
    alpha_bar: tuple[float, ...]
    num_steps: int
    prompt: str
    seed: int
    sampler: str
    guidance_scale: float
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.x)

    def meta(self) -> dict[str, Any]:
        """What the page's player needs beside the sheet."""
        frames = zip(self.steps, self.t, self.alpha_bar, strict=True)
        return {
            "frames": [{"step": s, "t": t, "alpha_bar": a} for s, t, a in frames],
            "steps": self.num_steps,
            "columns": COLUMNS,
            "width": self.x.shape[-1],
            "height": self.x.shape[-2],
            "what": self.prompt or "a picture without a prompt",
        }

    def sheet(self) -> bytes:
        """All frames as tiles of one PNG: those of x, then of the noise, then of the prediction."""
        tiles = torch.cat([self.x, self.noise, self.clean])  # (3F, 3, H, W)
        rows = -(-len(tiles) // COLUMNS)
        blank = tiles.new_zeros(rows * COLUMNS - len(tiles), *tiles.shape[1:])
        grid = torch.cat([tiles, blank]).unflatten(0, (rows, COLUMNS))  # (rows, columns, 3, H, W)
        flat = grid.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)  # (rows*H, columns*W, 3)
        return _png(_image(flat), compress_level=3)

    def frame(self, index: int, kind: str = "x") -> Image.Image:
        """One frame as a Pillow picture; kind is x, noise or clean."""
        return _image(getattr(self, kind)[index].permute(1, 2, 0))

    def line(self, index: int) -> str:
        """The line below a frame: step and timestep."""
        step, t = self.steps[index], self.t[index]
        if step == 0:
            return f"step 0 of {self.num_steps}: pure random noise, t = {t}"
        if step == self.num_steps:
            return f"step {step} of {step}: the picture, t = {t}"
        return f"step {step} of {self.num_steps}, t = {t}"

    def how(self) -> str:
        """How it was drawn, in one sentence."""
        steps = f"{self.num_steps} step{'s' * (self.num_steps != 1)}"
        name = NAMES.get(self.sampler, self.sampler)
        return f"{steps} of {name}, seed {self.seed}, guidance scale {self.guidance_scale:g}"

    def gif(self, scale: int = 4, seconds: float = 4.0) -> bytes:
        """An animated GIF that rests on the picture and plays for ever.

        Args:
            scale: pixels of a picture's pixel.
            seconds: from noise to picture.
        """
        from PIL import Image, ImageDraw

        height, width = (scale * side for side in self.x.shape[-2:])
        letters = font(max(10, width // 18))
        foot = max(22, width // 10)
        each = max(40, round(1000 * seconds / max(1, len(self) - 1) / 10) * 10)
        frames = []
        for index in range(len(self)):
            image = Image.new("RGB", (width, height + foot), "white")
            picture = self.frame(index).resize((width, height), Image.Resampling.NEAREST)
            image.paste(picture, (0, 0))
            words = self.line(index).replace(": pure random noise", ": noise")
            ImageDraw.Draw(image).text(
                (width / 2, height + foot / 2), words, "#222222", letters, anchor="mm"
            )
            frames.append(image.quantize(128, dither=Image.Dither.NONE))
        times = [900, *[each] * (len(frames) - 2), 2200][: len(frames)]
        buffer = io.BytesIO()
        frames[0].save(
            buffer, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0,
            comment=self.how().encode(), disposal=1,
        )  # fmt: skip
        return buffer.getvalue()

    def page(self) -> str:
        """The player as one HTML file: no server, no network, nothing beside it."""
        title = self.prompt.strip() or "A picture without a prompt"
        meta = json.dumps(self.meta(), ensure_ascii=False).replace("<", "\\u003c")
        return PAGE.format(
            title=html.escape(title),
            css=f"{BASE_CSS}\n{PLAYER_CSS}",
            js=PLAYER_JS,
            meta=meta.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"),
            sheet=b64encode(self.sheet()).decode(),
            still=b64encode(_png(self.frame(-1))).decode(),
            alt=html.escape(f"What the model drew for: {title}"),
            how=html.escape(f"Drawn in {self.how()}, with the course Sculpting Noise."),
        )

    def strip(self, frames: int = 6, side: int = 128) -> bytes:
        """The fallback picture: some frames with their lines, and the two predictions below."""
        from PIL import Image, ImageDraw

        picked = frame_numbers(len(self) - 1, frames)
        gap, foot = 10, 24
        width = gap + len(picked) * (side + gap)
        image = Image.new("RGB", (width, 3 * (side + foot) + gap), "white")
        draw, letters = ImageDraw.Draw(image), font(12)
        for column, index in enumerate(picked):
            left = gap + column * (side + gap)
            last = index == len(self) - 1
            lines = (
                f"step {self.steps[index]}, t = {self.t[index]}",
                "predicted noise",
                "predicted picture",
            )
            for r, kind in enumerate(("x", "noise", "clean")):
                if last and r:
                    continue
                top = gap + r * (side + foot)
                tile = self.frame(index, kind).resize((side, side), Image.Resampling.NEAREST)
                image.paste(tile, (left, top))
                draw.text((left, top + side + 4), lines[r], "#222222", letters)
        return _png(image.quantize(256))


def record(
    pipeline: Pipeline,
    prompt: str,
    *,
    seed: int,
    num_steps: int,
    sampler: str,
    guidance_scale: float,
    on_step: Callable[[Step], object] = lambda step: None,
) -> Recording:
    """Draw one picture and keep what is seen on the way.

    Args:
        on_step: called with every `Step`; an exception that it raises ends the loop.

    The other arguments and the errors are those of `Pipeline.steps`.

    Raises:
        ValueError: the numbers left the range of floating point.
    """
    import time

    started = time.perf_counter()
    kept = set(frame_numbers(num_steps, MOST_FRAMES)) if isinstance(num_steps, int) else set()
    table = pipeline.schedule.alpha_bar
    frames: list[tuple[Step, float]] = []  # and the signal share
    x, noise, clean = [], [], []
    before: tuple[Step, float] | None = None
    for step in pipeline.steps(
        prompt, num_steps=num_steps, seed=seed, sampler=sampler, guidance_scale=guidance_scale
    ):
        on_step(step)
        if before is not None and before[0].step in kept and step.x0 is not None:
            looked_at, alpha_bar = before
            noise.append(to_epsilon(step.x0, looked_at.x, alpha_bar, "sample"))
            clean.append(step.x0)
        alpha_bar = 1.0 if step.step == num_steps else float(table[step.t])
        before = (step, alpha_bar)
        if step.step in kept:
            frames.append(before)
            x.append(step.x)
    latents = torch.cat([*x, *noise, *clean])
    if not bool(torch.isfinite(latents).all()):
        raise ValueError(
            f"The picture came out as not-a-number; try a guidance scale below {guidance_scale:g}"
        )
    pixels = _small(pipeline.decode(latents))
    count = len(x)
    blank = torch.full_like(pixels[:1], 128)
    return Recording(
        x=pixels[:count],
        noise=torch.cat([pixels[count : 2 * count - 1], blank]),
        clean=torch.cat([pixels[2 * count - 1 :], blank]),
        steps=tuple(step.step for step, _ in frames),
        t=tuple(paper_t(step) for step, _ in frames),
        alpha_bar=tuple(alpha_bar for _, alpha_bar in frames),
        num_steps=num_steps,
        prompt=prompt,
        seed=seed,
        sampler=sampler,
        guidance_scale=guidance_scale,
        seconds=time.perf_counter() - started,
    )


def _small(pixels: Tensor) -> Tensor:
    """(N, 3, H, W) in [-1, 1] to uint8, no side longer than `LARGEST`."""
    factor = -(-max(pixels.shape[-2:]) // LARGEST)
    return to_uint8(torch.nn.functional.avg_pool2d(pixels, factor) if factor > 1 else pixels)


def _image(pixels: Tensor) -> Image.Image:
    """(H, W, 3) uint8 to Pillow."""
    from PIL import Image

    return Image.fromarray(pixels.contiguous().numpy())


def _png(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def save(recording: Recording, path: str | Path) -> Path:
    """Write a recording as .gif or .html, whatever the path ends with.

    Raises:
        ValueError: another ending.
    """
    path = Path(path)
    if path.suffix not in {".gif", ".html"}:
        raise ValueError(f"path is {str(path)!r}; expected one that ends with .gif or .html")
    data = recording.gif() if path.suffix == ".gif" else recording.page().encode()
    write_atomically(path, data)
    return path
