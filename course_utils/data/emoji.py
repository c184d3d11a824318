"""Captioned emoji: the pictures and words that every lesson learns from.

Four artists drew the same things. A training picture is one of their drawings on a plain
background, composed on the fly, and its caption names object, style and background. A fixed set
of (concept, style) pairs is held out: a model that draws those well has learned to combine.

Example::

    data = CaptionedEmoji(subset="core")
    batch = data.sample_batch(64, torch.Generator().manual_seed(0))
    batch.images      # (64, 3, 64, 64) float32 in [-1, 1]
    batch.captions    # ["a cat face, 3d style, on a blue background", ...]
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .captions import BACKGROUNDS, STYLES, random_caption, require
from .concepts import SIZE, Concept, held_out_pairs, load_art, load_concepts, subsets

__all__ = [
    "BACKGROUNDS",
    "BACKGROUND_NAMES",
    "SIZE",
    "SPLITS",
    "STYLES",
    "Batch",
    "CaptionedEmoji",
    "Concept",
    "Example",
    "compose",
    "held_out_pairs",
    "load_art",
    "load_concepts",
    "nearest_background",
    "subsets",
]

SPLITS = ("train", "held_out", "all")
BACKGROUND_NAMES = tuple(BACKGROUNDS)


@dataclass(frozen=True)
class Example:
    """One captioned picture: image (3, 64, 64) float32 in [-1, 1], and the ids behind it."""

    image: Tensor
    caption: str
    concept: int
    style: int
    background: int


@dataclass(frozen=True)
class Batch:
    """B captioned pictures.

    Attributes:
        images: (B, 3, 64, 64) float32 in [-1, 1].
        captions: B captions.
        concept: (B,) int64 indices into the subset's concepts.
        style: (B,) int64 indices into `STYLES`.
        background: (B,) int64 indices into `BACKGROUND_NAMES`.
    """

    images: Tensor
    captions: list[str]
    concept: Tensor
    style: Tensor
    background: Tensor


def compose(rgba: Tensor | NDArray[np.uint8], rgb: Any) -> Tensor:
    """Lay a picture over a plain background.

    Per channel, with alpha a in [0, 1]: `out = a * picture + (1 - a) * background`, then 0..255
    becomes -1..1.

    Args:
        rgba: (..., 64, 64, 4) uint8, straight alpha.
        rgb: (..., 3) background colour in 0..255; its leading sizes broadcast against `rgba`'s.

    Returns:
        (..., 3, 64, 64) float32 in [-1, 1].
    """
    picture = torch.as_tensor(rgba)
    if picture.dtype != torch.uint8 or picture.ndim < 3 or picture.shape[-1] != 4:
        raise ValueError(
            f"rgba has dtype {picture.dtype} and shape {tuple(picture.shape)}: "
            "expected uint8 of shape (..., height, width, 4)"
        )
    colour = torch.as_tensor(rgb, dtype=torch.float32)
    if colour.ndim < 1 or colour.shape[-1] != 3:
        raise ValueError(f"rgb has shape {tuple(colour.shape)}: expected (..., 3)")
    planes = picture.movedim(-1, -3).float()  # (..., 4, H, W)
    alpha = planes[..., 3:, :, :] / 255  # (..., 1, H, W)
    colour = (colour / 127.5 - 1)[..., None, None]  # (..., 3, 1, 1)
    return torch.lerp(colour, planes[..., :3, :, :] / 127.5 - 1, alpha)


def nearest_background(images: Tensor) -> Tensor:
    """Tell the background of each picture from the pixels along its edge.

    Each pixel of a frame two pixels wide votes for the nearest of `BACKGROUNDS`. The 2x2 pixels in
    the corners together weigh twice as much as the rest: few objects reach into a corner, and
    where one covers two of them the rest of the frame decides.

    Args:
        images: (B, 3, H, W) float in [-1, 1].

    Returns:
        (B,) int64 indices into `BACKGROUND_NAMES`.

    Raises:
        ValueError: `images` has another shape.
    """
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 5:
        raise ValueError(f"images has shape {tuple(images.shape)}: expected (B, 3, H, W)")
    height, width = images.shape[2:]
    edge_y = torch.ones(height, dtype=torch.bool, device=images.device)
    edge_x = torch.ones(width, dtype=torch.bool, device=images.device)
    edge_y[2:-2], edge_x[2:-2] = False, False
    corner, frame = edge_y[:, None] & edge_x, edge_y[:, None] ^ edge_x  # (H, W) each
    known = torch.tensor(list(BACKGROUNDS.values()), device=images.device) / 127.5 - 1  # (10, 3)

    def share(where: Tensor) -> Tensor:
        pixels = images.detach()[:, :, where].float().mT  # (B, pixels, 3)
        nearest = torch.cdist(pixels, known).argmin(dim=2)  # (B, pixels)
        return torch.nn.functional.one_hot(nearest, len(known)).float().mean(dim=1)  # (B, 10)

    return (2 * share(corner) + share(frame)).argmax(dim=1)


@functools.lru_cache(maxsize=2)
def _shared_art(subset: str) -> Tensor:
    """The pictures of a subset, one copy for all splits: (concepts, styles, 64, 64, 4) uint8.

    All four styles, whichever a dataset uses, so that style ids mean the same everywhere.
    """
    return torch.from_numpy(load_art(subset))


def _indices(argument: str, value: Tensor | Sequence[int], count: int) -> Tensor:
    indices = torch.as_tensor(value, dtype=torch.int64)
    if indices.device.type != "cpu":  # to look at them would make the device wait; it checks itself
        return indices
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < count:
        wrong = indices[(indices < 0) | (indices >= count)].tolist()
        raise ValueError(f"{argument}={wrong}: expected indices from 0 to {count - 1}")
    return indices


class CaptionedEmoji(torch.utils.data.Dataset[Example]):
    """Emoji on plain backgrounds with captions, composed on the fly.

    `data[i]` shows pair `i` on a background and with a caption that depend on (seed, epoch, i)
    alone; call `set_epoch` to see the pairs in new clothes.

    Args:
        subset: "all" or the name of a file in `subsets/`.
        split: "train" (all but the held-out pairs), "held_out" or "all".
        styles: Which of `STYLES` to include.
        seed: Fixes backgrounds and captions.

    Attributes:
        concepts: The subset's concepts.
        pairs: (index into `concepts`, index into `STYLES`) of each item.
        epoch: What `set_epoch` set.

    Raises:
        ValueError: A subset, split or style is not known.
    """

    def __init__(
        self,
        subset: str = "all",
        split: str = "train",
        styles: Sequence[str] = STYLES,
        seed: int = 0,
    ) -> None:
        require("split", split, SPLITS)
        if isinstance(styles, str) or not styles:
            raise ValueError(f"styles={styles!r}: expected a sequence of names such as {STYLES}")
        for style in styles:
            require("style", style, STYLES)
        self.subset, self.split, self.seed, self.epoch = subset, split, seed, 0
        self.concepts = load_concepts(subset)
        held_out = held_out_pairs(subset)
        self.pairs = [
            (concept.index, style_i)
            for concept in self.concepts
            for style_i, style in enumerate(STYLES)
            if style in styles
            and style in concept.styles
            and (split == "all" or ((concept.index, style_i) in held_out) == (split == "held_out"))
        ]
        self._pairs = torch.tensor(self.pairs, dtype=torch.int64).reshape(-1, 2)
        self._colours = torch.tensor(list(BACKGROUNDS.values()), dtype=torch.float32)
        self._art = _shared_art(subset)

    @property
    def art(self) -> Tensor:
        """(concepts, styles, 64, 64, 4) uint8: the pictures before they get a background."""
        return self._art

    @property
    def colours(self) -> Tensor:
        """(backgrounds, 3) float32 in 0..255."""
        return self._colours

    @property
    def pair_ids(self) -> Tensor:
        """(N, 2) int64: `pairs` as a tensor, on the device of the pictures."""
        return self._pairs

    def to(self, device: torch.device | str) -> CaptionedEmoji:
        """Compose pictures on another device from now on; returns itself."""
        self._art, self._colours = self._art.to(device), self._colours.to(device)
        self._pairs = self._pairs.to(device)
        return self

    def __len__(self) -> int:
        return len(self.pairs)

    def set_epoch(self, epoch: int) -> None:
        """Choose new backgrounds and captions for every item."""
        self.epoch = epoch

    def __getitem__(self, i: int) -> Example:
        if not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is out of range for {len(self)} pairs")
        i %= len(self)
        rng = Random(f"{self.seed} {self.epoch} {i}")
        concept, style = self.pairs[i]
        background = rng.randrange(len(BACKGROUNDS))
        return Example(
            image=self.render(concept, style, background),
            caption=self._caption(concept, style, background, rng),
            concept=concept,
            style=style,
            background=background,
        )

    def _caption(self, concept: int, style: int, background: int, rng: Random) -> str:
        return random_caption(
            self.concepts[concept], STYLES[style], BACKGROUND_NAMES[background], rng
        )

    def render(self, concept: int, style: int, background: int) -> Tensor:
        """Compose one picture.

        Args:
            concept: Index into `concepts`.
            style: Index into `STYLES`.
            background: Index into `BACKGROUND_NAMES`.

        Returns:
            (3, 64, 64) float32 in [-1, 1].
        """
        return self.render_batch([concept], [style], [background])[0]

    def render_batch(
        self,
        concept: Tensor | Sequence[int],
        style: Tensor | Sequence[int],
        background: Tensor | Sequence[int],
    ) -> Tensor:
        """Compose B pictures at once.

        Args:
            concept: (B,) indices into `concepts`.
            style: (B,) indices into `STYLES`.
            background: (B,) indices into `BACKGROUND_NAMES`.

        Returns:
            (B, 3, 64, 64) float32 in [-1, 1].

        Raises:
            ValueError: An index is out of range.
        """
        concept = _indices("concept", concept, len(self.concepts))
        style = _indices("style", style, len(STYLES))
        background = _indices("background", background, len(BACKGROUNDS))
        return compose(self._art[concept, style], self._colours[background])

    def sample_batch(self, n: int, generator: torch.Generator) -> Batch:
        """Draw n pictures: pairs uniformly with replacement, random backgrounds and captions.

        Args:
            n: How many.
            generator: CPU generator; the same state gives the same batch.

        Returns:
            A `Batch` of n.
        """
        concept, style, background, captions = self._sample(n, generator)
        return Batch(
            images=self.render_batch(concept, style, background),
            captions=captions,
            concept=concept,
            style=style,
            background=background,
        )

    def sample_captions(self, n: int, generator: torch.Generator) -> list[str]:
        """Draw the n captions that `sample_batch` would draw, without its pictures."""
        return self._sample(n, generator)[3]

    def _sample(
        self, n: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        """Draw pairs, backgrounds and captions."""
        if n < 1:
            raise ValueError(f"n={n!r}: expected at least 1")
        if not self.pairs:
            raise ValueError(f"subset={self.subset!r}, split={self.split!r} holds no pictures")
        chosen = self._pairs[torch.randint(len(self), (n,), generator=generator)]
        concept, style = chosen[:, 0], chosen[:, 1]
        background = torch.randint(len(BACKGROUNDS), (n,), generator=generator)
        rng = Random(int(torch.randint(2**62, (), generator=generator)))
        ids = zip(concept.tolist(), style.tolist(), background.tolist(), strict=True)
        return concept, style, background, [self._caption(*each, rng) for each in ids]
