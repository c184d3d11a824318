"""Numbers as shades, and tensors to scale: what several views draw without matplotlib."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.plots.base import ACCENT, INK, TINT

STOPS = ("#ffffff", TINT, ACCENT, INK)  # as `plots.latents.shade`: light is small, dark is large


def shaded(values: Tensor, low: float, high: float) -> Tensor:
    """Numbers as shades from white over the accent to ink, so that they read in grey.

    Args:
        values: (H, W).
        low, high: the values that are white and ink; those beyond look like them.

    Returns:
        (3, H, W) in [-1, 1].

    Raises:
        ValueError: `values` has another shape, or `low` is not below `high`.
    """
    if values.ndim != 2 or not low < high:
        raise ValueError(
            f"values has shape {tuple(values.shape)}, low is {low} and high is {high}; expected "
            "(H, W) and low < high"
        )
    stops = torch.tensor([_rgb(stop) for stop in STOPS])  # (stops, 3)
    at = ((values.detach().float().cpu() - low) / (high - low)).nan_to_num(0.5).clamp(0, 1)
    at = at * (len(stops) - 1)
    below = at.floor().clamp(max=len(stops) - 2).long()  # (H, W)
    mixed = torch.lerp(stops[below], stops[below + 1], (at - below)[..., None])  # (H, W, 3)
    return mixed.permute(2, 0, 1) / 127.5 - 1


def tiles(planes: Tensor, low: float, high: float, gap: int = 1) -> Tensor:
    """The channels of a latent side by side.

    Args:
        planes: (C, h, w).
        low, high: as for `shaded`.
        gap: grey columns between them.

    Returns:
        (3, h, C * (w + gap) - gap) in [-1, 1].
    """
    rule = torch.full((3, planes.shape[1], gap), 0.58)
    parts: list[Tensor] = []
    for plane in planes:
        parts += [shaded(plane, low, high), rule]
    return torch.cat(parts[:-1], dim=2)


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return float(red), float(green), float(blue)
