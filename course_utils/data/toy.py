"""Points in the plane: distributions small enough to see all of.

Each function draws n points and returns them as (n, 2) float32, shifted and scaled so that the
*distribution* (not the sample) has mean zero and variance one along each axis. So data and noise
live on the same scale, as the forward process assumes, and two draws can be laid over each other.

Every draw takes a `torch.Generator`; the same state gives the same points.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

_LETTER = (  # an "S", 7 columns by 9 rows
    ".#####.",
    "#######",
    "##.....",
    "######.",
    ".######",
    ".....##",
    ".....##",
    "#######",
    ".#####.",
)


def _uniform(n: int, generator: Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def _check(n: int) -> None:
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n={n!r}: expected a whole number of points, at least 1")


def _moons(n: int, generator: Generator) -> Tensor:
    angle = _uniform(n, generator, 0, math.pi)
    lower = _uniform(n, generator) < 0.5
    x = torch.where(lower, 1 - angle.cos(), angle.cos())
    y = torch.where(lower, 0.5 - angle.sin(), angle.sin())
    noise = 0.07 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return torch.stack([x, y], dim=1) + noise


def _spiral(n: int, generator: Generator) -> Tensor:
    # From 1.5 pi to 4.5 pi. The arm's length grows with the angle squared, so the root of a uniform
    # draw spreads the points evenly along it.
    angle = 1.5 * math.pi * _uniform(n, generator, 1, 9).sqrt()
    arm = torch.stack([angle * angle.cos(), angle * angle.sin()], dim=1)
    return arm + 0.3 * torch.randn(n, 2, generator=generator, dtype=torch.float64)


def _checkerboard(n: int, generator: Generator) -> Tensor:
    x = _uniform(n, generator, 0, 4)
    row = 2 * torch.randint(2, (n,), generator=generator) + x.floor() % 2
    return torch.stack([x, row + _uniform(n, generator)], dim=1)


def _ring(n: int, generator: Generator) -> Tensor:
    angle = torch.randint(8, (n,), generator=generator) * (math.tau / 8)
    centre = torch.stack([angle.cos(), angle.sin()], dim=1).double()
    return centre + 0.1 * torch.randn(n, 2, generator=generator, dtype=torch.float64)


def _heart(n: int, generator: Generator) -> Tensor:
    # Rejection from the box: (x^2 + y^2 - 1)^3 < x^2 y^3 is the inside of a heart.
    kept: list[Tensor] = []
    while sum(map(len, kept)) < n:
        x, y = (
            _uniform(2 * n + 16, generator, -1.3, 1.3),
            _uniform(2 * n + 16, generator, -1.1, 1.4),
        )
        inside = (x**2 + y**2 - 1) ** 3 < x**2 * y**3
        kept.append(torch.stack([x, y], dim=1)[inside])
    return torch.cat(kept)[:n]


def _letter(n: int, generator: Generator) -> Tensor:
    cells = torch.tensor(
        [
            (column, len(_LETTER) - 1 - row)
            for row, line in enumerate(_LETTER)
            for column, mark in enumerate(line)
            if mark == "#"
        ],
        dtype=torch.float64,
    )  # (cells, 2), y upwards
    chosen = cells[torch.randint(len(cells), (n,), generator=generator)]
    return chosen + torch.rand(n, 2, generator=generator, dtype=torch.float64)


@functools.cache
def _moments(draw: Callable[[int, Generator], Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a distribution, from a fixed large draw: each (2,)."""
    points = draw(200_000, Generator().manual_seed(0))
    return points.mean(dim=0), points.std(dim=0)


def _standard(draw: Callable[[int, Generator], Tensor], n: int, generator: Generator) -> Tensor:
    _check(n)
    mean, deviation = _moments(draw)
    return ((draw(n, generator) - mean) / deviation).float()


def two_moons(n: int, generator: Generator) -> Tensor:
    """Draw from two interleaved half circles with a little noise.

    Args:
        n: Number of points.
        generator: CPU generator.

    Returns:
        (n, 2) float32.

    Raises:
        ValueError: n is not a whole number of at least 1.
    """
    return _standard(_moons, n, generator)


def spiral(n: int, generator: Generator) -> Tensor:
    """Draw from one arm that winds outwards one and a half turns, evenly along its length.

    Args:
        n: Number of points.
        generator: CPU generator.

    Returns:
        (n, 2) float32.

    Raises:
        ValueError: n is not a whole number of at least 1.
    """
    return _standard(_spiral, n, generator)


def checkerboard(n: int, generator: Generator) -> Tensor:
    """Draw uniformly from the dark squares of a 4x4 board: sharp edges and holes.

    Args:
        n: Number of points.
        generator: CPU generator.

    Returns:
        (n, 2) float32.

    Raises:
        ValueError: n is not a whole number of at least 1.
    """
    return _standard(_checkerboard, n, generator)


def gaussian_ring(n: int, generator: Generator) -> Tensor:
    """Draw from eight equal Gaussians on a circle, whose score is known in closed form.

    After scaling the centres lie on a circle of radius 1.40 and each deviation is 0.14.

    Args:
        n: Number of points.
        generator: CPU generator.

    Returns:
        (n, 2) float32.

    Raises:
        ValueError: n is not a whole number of at least 1.
    """
    return _standard(_ring, n, generator)


def heart(n: int, generator: Generator) -> Tensor:
    """Draw uniformly from the inside of a heart.

    Args:
        n: Number of points.
        generator: CPU generator.

    Returns:
        (n, 2) float32.

    Raises:
        ValueError: n is not a whole number of at least 1.
    """
    return _standard(_heart, n, generator)


def letter(n: int, generator: Generator) -> Tensor:
    """Draw uniformly from the strokes of a letter S.

    Args:
        n: Number of points.
        generator: CPU generator.

    Returns:
        (n, 2) float32.

    Raises:
        ValueError: n is not a whole number of at least 1.
    """
    return _standard(_letter, n, generator)


TOY_DATA: dict[str, Callable[[int, Generator], Tensor]] = {
    "two moons": two_moons,
    "spiral": spiral,
    "checkerboard": checkerboard,
    "gaussian ring": gaussian_ring,
    "heart": heart,
    "letter": letter,
}
"""Every point set by its name, for menus and loops."""
