"""Banks: what training draws from, on the device that trains, computed once.

On a GPU a step takes milliseconds. Composing pictures and cutting captions into tokens on the CPU
would take ten times as long as the step itself, so both are done before the first one.
"""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor

from course_utils.data.captions import STYLES, full_caption, random_caption
from course_utils.data.emoji import BACKGROUND_NAMES, CaptionedEmoji, compose
from course_utils.models.tokenizer import Tokenizer


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """A generator of `device` that continues `generator`: itself, if it is there already.

    Args:
        device: where random numbers are needed.
        generator: of the CPU; one number is drawn from it for another device.
    """
    if generator.device.type == device.type:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)


class CaptionBank:
    """Pictures with captions that were cut into tokens beforehand.

    Args:
        data: the pictures.
        tokenizer: cuts the captions.
        captions: how many captions each picture (pair and background) has.
        seed: fixes the captions.

    Attributes:
        ids: (pairs, backgrounds, captions, L) int16 token ids.
        full_ids: (pairs, backgrounds, L), the full caption of each picture.
        siblings: (concepts, 4) which pair shows a concept in a style, -1 where none does.
    """

    def __init__(
        self, data: CaptionedEmoji, tokenizer: Tokenizer, captions: int, seed: int = 0
    ) -> None:
        rng = Random(f"bank {seed}")
        texts, full = [], []
        for concept, style in data.pairs:
            for name in BACKGROUND_NAMES:
                each = data.concepts[concept]
                texts += [random_caption(each, STYLES[style], name, rng) for _ in range(captions)]
                full.append(full_caption(each.name, STYLES[style], name))
        shape = (len(data), len(BACKGROUND_NAMES))
        self.ids = tokenizer(texts).to(torch.int16).unflatten(0, (*shape, captions))
        self.full_ids = tokenizer(full).to(torch.int16).unflatten(0, shape)
        self.pairs = torch.tensor(data.pairs)
        self.art, self.colours = data.art, data.colours
        self.siblings = torch.full((len(data.concepts), len(STYLES)), -1)
        self.siblings[self.pairs[:, 0], self.pairs[:, 1]] = torch.arange(len(data))

    def to(self, device: torch.device) -> CaptionBank:
        """Move everything, in place."""
        for name, value in vars(self).items():
            setattr(self, name, value.to(device))
        return self

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n random pictures (n, 3, 64, 64) in [-1, 1], each with one of its captions (n, L).

        Args:
            n: how many.
            generator: of the bank's device.
        """
        pair = self._draw(len(self.pairs), n, generator)
        background = self._draw(self.ids.shape[1], n, generator)
        which = self._draw(self.ids.shape[2], n, generator)
        return self._render(pair, background), self.ids[pair, background, which].long()

    def sample_siblings(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n // 4 concepts in all their styles, with full captions; see `clip.sample_siblings`.

        In the place of a style that is held out, or was never drawn, stands any other picture.
        """
        n = min(n, 4 * len(self.siblings))
        order = torch.rand(len(self.siblings), generator=generator, device=self.pairs.device)
        pair = self.siblings[order.argsort()[: n // 4]].flatten()
        other = self._draw(len(self.pairs), len(pair), generator)
        pair = torch.where(pair < 0, other, pair)
        background = self._draw(self.ids.shape[1], len(pair), generator)
        return self._render(pair, background), self.full_ids[pair, background].long()

    def _render(self, pair: Tensor, background: Tensor) -> Tensor:
        concept, style = self.pairs[pair].unbind(1)
        return compose(self.art[concept, style], self.colours[background])

    def _draw(self, high: int, n: int, generator: torch.Generator) -> Tensor:
        return torch.randint(high, (n,), generator=generator, device=self.pairs.device)
