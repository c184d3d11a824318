"""A learner's own picture: from the bytes of a file to (3, 64, 64)."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from course_utils.images import from_pil

if TYPE_CHECKING:
    from torch import Tensor

MOST_MEGAPIXELS = 40  # about 160 MB while it is read


def read_upload(data: bytes, name: str = "the file", size: int = 64) -> Tensor:
    """Read a picture, crop its middle to a square, and shrink it.

    Args:
        data: the bytes of a file of any kind that Pillow reads.
        name: of the file, for error messages.
        size: width and height of the result, in pixels.

    Returns:
        (3, size, size) in [-1, 1]; what was transparent is white.

    Raises:
        ValueError: the file is empty, is no picture, is damaged, or has too many pixels. Its
            pixels are not read before their number is known.
    """
    import numpy as np
    from PIL import Image, ImageOps

    name = name if len(name) <= 60 else f"{name[:57]}..."
    if not data:
        raise ValueError(f"{name} is empty; expected a picture such as a PNG or JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data)) as file:  # reads the header alone
                megapixels = file.width * file.height / 1e6
                if megapixels > MOST_MEGAPIXELS:
                    raise _TooLarge(
                        f"{name} has {file.width:,} × {file.height:,} pixels, "
                        f"{megapixels:.0f} megapixels; at most {MOST_MEGAPIXELS} are read"
                    )
                file.draft("RGB", (4 * size, 4 * size))  # a large JPEG is decoded small
                whole = ImageOps.exif_transpose(file)
                whole.load()
        except _TooLarge:
            raise
        except Image.DecompressionBombError:
            raise ValueError(
                f"{name} has far more than {MOST_MEGAPIXELS} megapixels; choose a smaller picture"
            ) from None
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise ValueError(
                f"{name} cannot be read as a picture; expected a PNG, JPEG, WebP or GIF"
            ) from error
    if whole.mode.startswith(("I", "F")):  # 16 or 32 bits a pixel
        values = np.asarray(whole, dtype=np.float32)
        spread = max(float(np.ptp(values)), 1e-9)
        whole = Image.fromarray(((values - values.min()) * (255 / spread)).astype(np.uint8))
    whole = whole.convert("RGBA" if whole.has_transparency_data else "RGB")
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    square = whole.crop(
        (left, top, left + side, top + side)
    )  # first: what is cut off leaves no rim
    method = Image.Resampling.LANCZOS if side > size else Image.Resampling.BICUBIC
    square = square.resize((size, size), method)
    return from_pil(square)


class _TooLarge(ValueError):
    """More pixels than are read; kept apart from Pillow's own ValueErrors."""
