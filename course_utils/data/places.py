"""Where a scene happens, in which light, and how well the picture is kept.

Ten places are the plain colours of `BACKGROUNDS`; seven are painted here, each time a little
differently: stars, waves and dunes are drawn from a generator. Light multiplies every pixel; damage
is what bad copies of pictures have. All of it is arithmetic on batches of pixels in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .captions import BACKGROUNDS, require

SCENERY = ("night sky", "space", "sunset", "grass", "sea", "snow", "desert")
"""Places that are painted."""

PLACES = (*BACKGROUNDS, *SCENERY)
"""All places, in the order of place ids: ten plain colours, then `SCENERY`."""

LIGHTS: dict[str, tuple[float, float, float]] = {
    "plain": (1.0, 1.0, 1.0),
    "dark": (0.48, 0.50, 0.64),
    "warm": (1.0, 0.78, 0.52),
}
"""What each light multiplies red, green and blue by, in the order of light ids."""

DAMAGES = ("none", "blur", "blocks", "clipped")
"""Ways in which a picture can be bad, in the order of damage ids."""


def paint_places(places: Sequence[str], size: int, generator: torch.Generator) -> Tensor:
    """Paint one background for each name.

    Args:
        places: B of `PLACES`.
        size: side of the pictures, in pixels.
        generator: where stars, waves and dunes come from.

    Returns:
        (B, 3, size, size) float32 in [0, 1].

    Raises:
        ValueError: a place is not known.
    """
    for place in places:
        require("place", place, PLACES)
    device = generator.device
    canvas = torch.empty(len(places), 3, size, size, device=device)
    for place in dict.fromkeys(places):
        rows = torch.tensor([p == place for p in places], device=device)
        if place in BACKGROUNDS:
            canvas[rows] = _rgb(BACKGROUNDS[place], device)
        else:
            canvas[rows] = _PAINTERS[place](int(rows.sum()), size, generator).clamp(0, 1)
    return canvas


def light_up(pixels: Tensor, lights: Sequence[str]) -> Tensor:
    """Multiply each picture (B, 3, H, W) in [0, 1] by its light's colour.

    Raises:
        ValueError: a light is not known.
    """
    factors = [LIGHTS[require("light", light, LIGHTS)] for light in lights]
    return pixels * torch.tensor(factors, device=pixels.device)[:, :, None, None]


def damage(pixels: Tensor, kinds: Sequence[str]) -> Tensor:
    """Spoil each picture (B, 3, H, W) in [0, 1] in its way; "none" leaves it as it is.

    "blur" is a Gaussian of standard deviation 1.8 pixels, "blocks" averages squares of 4x4 pixels
    as hard compression does, "clipped" raises the contrast until lights and shadows burn out.

    Raises:
        ValueError: a kind is not known.
    """
    for kind in kinds:
        require("damage", kind, DAMAGES)
    spoilt = pixels.clone()
    for kind, spoil in (("blur", _blur), ("blocks", _blocks), ("clipped", _clip)):
        rows = torch.tensor([k == kind for k in kinds], device=pixels.device)
        if bool(rows.any()):
            spoilt[rows] = spoil(pixels[rows])
    return spoilt


def _blur(pixels: Tensor) -> Tensor:
    at = torch.arange(-4, 5, device=pixels.device)
    kernel = torch.exp(-(at**2) / (2 * 1.8**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, 9)
    padded = F.pad(pixels, (4, 4, 4, 4), mode="replicate")
    across = F.conv2d(padded, kernel, groups=3)
    return F.conv2d(across, kernel.mT, groups=3)


def _blocks(pixels: Tensor) -> Tensor:
    return F.interpolate(F.avg_pool2d(pixels, 4), scale_factor=4, mode="nearest")


def _clip(pixels: Tensor) -> Tensor:
    return (0.5 + 1.8 * (pixels - 0.4)).clamp(0, 1)


# --- painters: (n, 3, size, size), a little different each time ----------------------------------


def _rgb(colour: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(colour, device=device, dtype=torch.float32)[:, None, None] / 255


def _draw(n: int, generator: torch.Generator, low: float, high: float) -> Tensor:
    """n uniform numbers, as (n, 1, 1, 1)."""
    drawn = torch.rand(n, 1, 1, 1, generator=generator, device=generator.device)
    return low + (high - low) * drawn


def _grid(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x (1, 1, 1, W) from left to right, y (1, 1, H, 1) from top to bottom, both from 0 to 1."""
    line = (torch.arange(size, device=device) + 0.5) / size
    return line.view(1, 1, 1, -1), line.view(1, 1, -1, 1)


def _ramp(stops: Sequence[tuple[float, tuple[int, int, int]]], y: Tensor) -> Tensor:
    """A vertical gradient through colours at given heights: (1 or n, 3, H, 1)."""
    height, colour = stops[0]
    rgb = _rgb(colour, y.device) + 0 * y
    for above, shade in stops[1:]:
        share = ((y - height) / (above - height)).clamp(0, 1)
        rgb = torch.lerp(rgb, _rgb(shade, y.device).expand_as(rgb), share)
        height = above
    return rgb


def _noise(n: int, cells: int, size: int, generator: torch.Generator) -> Tensor:
    """Smooth noise in [0, 1] with `cells` cells a side: (n, 1, size, size)."""
    drawn = torch.rand(n, 1, cells, cells, generator=generator, device=generator.device)
    return F.interpolate(drawn, (size, size), mode="bicubic", align_corners=False).clamp(0, 1)


def _stars(n: int, size: int, share: float, generator: torch.Generator) -> Tensor:
    """Soft bright points: (n, 1, size, size), mostly 0, up to 1."""
    shape = (n, 1, size, size)
    where = torch.rand(shape, generator=generator, device=generator.device) < share
    points = where * torch.rand(shape, generator=generator, device=generator.device)
    halo = F.avg_pool2d(points, 3, stride=1, padding=1) * 2.5
    return torch.maximum(points, halo)


def _night_sky(n: int, size: int, generator: torch.Generator) -> Tensor:
    _, y = _grid(size, generator.device)
    sky = _ramp(((0.0, (10, 14, 48)), (1.0, (46, 62, 122))), y)
    return sky + 0.9 * _stars(n, size, 0.006, generator)


def _space(n: int, size: int, generator: torch.Generator) -> Tensor:
    cloud = (_noise(n, 3, size, generator) - 0.4).clamp_min(0) * 1.4
    nebula = cloud * _rgb((190, 60, 220), generator.device)
    return 0.03 + nebula + 0.9 * _stars(n, size, 0.006, generator)


def _sunset(n: int, size: int, generator: torch.Generator) -> Tensor:
    _, y = _grid(size, generator.device)
    horizon = _draw(n, generator, 0.7, 0.8)
    sky = _ramp(
        ((0.0, (92, 52, 132)), (0.35, (226, 88, 112)), (0.7, (255, 170, 84))),
        y,
    )
    ground = _rgb((66, 30, 56), y.device)
    return torch.where(y > horizon, ground, sky)


def _grass(n: int, size: int, generator: torch.Generator) -> Tensor:
    _, y = _grid(size, generator.device)
    sky = _ramp(((0.0, (126, 196, 250)), (0.6, (206, 234, 252))), y)
    blades = 0.8 + 0.35 * _noise(n, 14, size, generator)
    meadow = _rgb((86, 164, 58), y.device) * blades
    return torch.where(y > _draw(n, generator, 0.42, 0.55), meadow, sky)


def _sea(n: int, size: int, generator: torch.Generator) -> Tensor:
    x, y = _grid(size, generator.device)
    sky = _ramp(((0.0, (150, 208, 246)), (0.4, (224, 240, 250))), y)
    phase = _draw(n, generator, 0.0, 2 * math.pi)
    waves = torch.sin(55 * y + 2.2 * torch.sin(9 * x + phase) + phase)
    water = _rgb((28, 104, 178), y.device) * (1 + 0.22 * waves)
    return torch.where(y > _draw(n, generator, 0.34, 0.44), water, sky)


def _snow(n: int, size: int, generator: torch.Generator) -> Tensor:
    x, y = _grid(size, generator.device)
    sky = _ramp(((0.0, (146, 166, 196)), (0.6, (196, 210, 228))), y)
    hill = _draw(n, generator, 0.55, 0.66) + 0.04 * torch.sin(
        5 * x + _draw(n, generator, 0.0, 2 * math.pi)
    )
    ground = _rgb((240, 245, 252), y.device).expand(n, 3, size, size)
    return torch.where(y > hill, ground, sky) + 0.5 * _stars(n, size, 0.010, generator)


def _desert(n: int, size: int, generator: torch.Generator) -> Tensor:
    x, y = _grid(size, generator.device)
    sky = _ramp(((0.0, (120, 190, 226)), (0.55, (246, 228, 188))), y)
    picture = sky.expand(n, 3, size, size)
    for height, colour in ((0.5, (226, 176, 104)), (0.72, (202, 146, 78))):
        phase = _draw(n, generator, 0.0, 2 * math.pi)
        dune = height + 0.07 * torch.sin(6 * x + phase)
        picture = torch.where(y > dune, _rgb(colour, y.device), picture)
    return picture


_PAINTERS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "night sky": _night_sky,
    "space": _space,
    "sunset": _sunset,
    "grass": _grass,
    "sea": _sea,
    "snow": _snow,
    "desert": _desert,
}
