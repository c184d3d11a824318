"""Pictures between tensors, Pillow and PNG files.

A picture in a tensor is float32 (3, H, W) or (B, 3, H, W) in [-1, 1].
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from course_utils.files import write_atomically

if TYPE_CHECKING:
    from PIL import Image


def to_uint8(pixels: Tensor) -> Tensor:
    """[-1, 1] -> 0..255, rounded and clipped; the shape stays."""
    return ((pixels.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()


def to_pil(pixels: Tensor, scale: int = 1) -> Image.Image:
    """(3, H, W) -> a Pillow picture, each pixel drawn as `scale` x `scale`."""
    from PIL import Image

    if pixels.ndim != 3 or pixels.shape[0] != 3:
        raise ValueError(f"pixels has shape {tuple(pixels.shape)}; expected (3, H, W).")
    image = Image.fromarray(to_uint8(pixels).permute(1, 2, 0).contiguous().numpy())
    if scale == 1:
        return image
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def from_pil(image: Image.Image) -> Tensor:
    """A Pillow picture -> (3, H, W) in [-1, 1]; transparency is drawn on white."""
    import numpy as np
    from PIL import Image

    if image.mode in {"RGBA", "LA", "P"}:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    array = np.asarray(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(array).permute(2, 0, 1) / 127.5 - 1


def make_grid(pixels: Tensor, columns: int = 8, gap: int = 2) -> Tensor:
    """Lay pictures (B, 3, H, W) out in rows with white gaps: (3, H', W')."""
    if pixels.ndim != 4 or not len(pixels):
        raise ValueError(
            f"pixels has shape {tuple(pixels.shape)}; expected (B, 3, H, W) with B > 0."
        )
    count, channels, height, width = pixels.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    grid = torch.ones(channels, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for i, picture in enumerate(pixels.detach().float().cpu()):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        grid[:, top : top + height, left : left + width] = picture
    return grid


def save_png(
    pixels: Tensor, path: str | Path, scale: int = 1, metadata: Mapping[str, str] | None = None
) -> None:
    """Write (3, H, W) as PNG in one step, with text entries in its metadata."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in (metadata or {}).items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()
    to_pil(pixels, scale).save(buffer, "PNG", pnginfo=info, optimize=True)
    write_atomically(path, buffer.getvalue())
