"""Recipes `clip` (the conditioner's text tower learns here) and `judge` (never used as
conditioner).
"""

from __future__ import annotations

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.data.captions import BACKGROUNDS, STYLES, full_caption
from course_utils.data.emoji import CaptionedEmoji
from course_utils.models.clip import CLIP, contrastive_loss
from course_utils.models.tokenizer import Tokenizer
from course_utils.training.bank import CaptionBank, generator_on


class CLIPTask:
    """Match pictures and captions (Radford et al. 2021, figure 3).

    Args:
        clip: the model; it is trained in place.
        tokenizer: turns captions into ids.
        subset: which concepts.
        batch_size: B; each picture has B - 1 wrong captions to be told from.
        augment: strength of what is done to the pictures, 0 to 1: shifts, noise and blur. The
            judge needs it, since it looks at drawn pictures and not only at data.
        name: "clip" or "judge"; also the name of its checkpoint.
        bank: captions that were cut into tokens beforehand, for a GPU; else they are drawn anew.
        siblings: in every other batch, show the same objects in all their styles with full
            captions. An object's other styles are then among the wrong captions, so that styles
            are learned as well as objects; the judge is asked for both.
    """

    def __init__(
        self,
        clip: CLIP,
        tokenizer: Tokenizer,
        subset: str,
        batch_size: int,
        augment: float = 0.3,
        name: str = "clip",
        siblings: bool = False,
        bank: CaptionBank | None = None,
    ) -> None:
        self.name = name
        self.siblings, self.bank = siblings, bank
        self.compute = self._compute
        self.model: nn.Module = clip
        self.tokenizer = tokenizer
        self.batch_size, self.augment = batch_size, augment
        self.data = CaptionedEmoji(subset, split="train")
        self.held_out = CaptionedEmoji(subset, split="held_out")
        if next(clip.parameters()).device.type == "cpu":
            clip.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, model: CLIP, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The contrastive loss of one batch, and how often the right caption came first."""
        device = next(model.parameters()).device
        draws = generator_on(device, generator)
        images, ids = self._draw(step, device, draws)
        pixels = augment(images, self.augment, draws)
        with torch.no_grad():  # Radford et al. 2021, section 2.5: never sharper than 100
            model.logit_scale.clamp_(max=math.log(100.0))
        return self.compute(model, ids, pixels.contiguous(memory_format=torch.channels_last))

    def _draw(
        self, step: int, device: torch.device, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Pictures and token ids of one batch, on the device."""
        siblings = self.siblings and step % 2 == 1
        if self.bank is not None:
            bank = self.bank if self.bank.ids.device == device else self.bank.to(device)
            draw = bank.sample_siblings if siblings else bank.sample
            return draw(self.batch_size, draws)
        if siblings:
            images, captions = sample_siblings(self.data, self.batch_size, draws)
        else:
            batch = self.data.sample_batch(self.batch_size, draws)
            images, captions = batch.images, batch.captions
        return images, self.tokenizer(captions)

    def _compute(self, model: CLIP, ids: Tensor, pixels: Tensor) -> dict[str, Tensor]:
        logits = model(ids, pixels)
        right = logits.argmax(dim=1) == torch.arange(len(logits), device=logits.device)
        return {"loss": contrastive_loss(logits), "accuracy": right.float().mean()}

    @torch.no_grad()
    def evaluate(self, model: CLIP) -> dict[str, float]:
        """Zero-shot accuracy over all concepts, on trained and on held-out pictures."""
        figures = {}
        for data, suffix in ((self.data, ""), (self.held_out, "_held_out")):
            if len(data):
                for name, value in zero_shot(model, self.tokenizer, data).items():
                    figures[name + suffix] = value
        return figures

    def sample_grid(self, model: CLIP) -> Tensor | None:
        """CLIP draws nothing."""
        return None


def sample_siblings(
    data: CaptionedEmoji, n: int, generator: torch.Generator
) -> tuple[Tensor, list[str]]:
    """Draw objects without replacement and show each in all its styles, each on its own background.

    Args:
        data: what to draw from.
        n: about how many pictures; the last object is shown whole or not at all.
        generator: CPU generator.

    Returns:
        Pictures (at most n, 3, 64, 64) in [-1, 1], and the full caption of each.
    """
    styles: dict[int, list[int]] = {}
    for concept, style in data.pairs:
        styles.setdefault(concept, []).append(style)
    order = list(styles)
    chosen: list[tuple[int, int]] = []
    for i in torch.randperm(len(order), generator=generator).tolist():
        if len(chosen) + len(styles[order[i]]) > n:
            break
        chosen += [(order[i], s) for s in styles[order[i]]]
    background = torch.randint(len(BACKGROUNDS), (len(chosen),), generator=generator)
    colours = [list(BACKGROUNDS)[i] for i in background.tolist()]
    captions = [
        full_caption(data.concepts[c].name, STYLES[s], colour)
        for (c, s), colour in zip(chosen, colours, strict=True)
    ]
    concepts, all_styles = [c for c, _ in chosen], [s for _, s in chosen]
    return data.render_batch(concepts, all_styles, background), captions


def augment(pixels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Shift, blur, recolour and add noise, each picture by its own amount.

    Args:
        pixels: (B, 3, H, W) in [-1, 1].
        strength: 0 changes nothing; 1 shifts by up to 8 pixels, scales by up to 15 %, takes the
            finest detail from half of the pictures, changes contrast and saturation by up to
            25 %, adds noise of up to 0.3.
        generator: of the pictures' device.
    """
    if strength <= 0:
        return pixels
    count, _, height, width = pixels.shape
    device = pixels.device
    rand = torch.rand(count, 8, generator=generator, device=device)
    # An affine map of the sampling grid: scale by 1 +- 0.15, shift by up to an eighth.
    scale = 1 + strength * 0.3 * (rand[:, 0] - 0.5)
    shift = strength * 0.5 * (rand[:, 1:3] - 0.5)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = shift
    grid = F.affine_grid(theta, [count, 3, height, width], align_corners=False)
    out = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    blurred = F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    weight = (strength * rand[:, 3] * (rand[:, 3] > 0.3))[:, None, None, None]
    out = torch.lerp(out, blurred, weight)
    # Half the resolution and back: what drawn and decoded pictures lack most is fine detail.
    coarse = F.interpolate(F.avg_pool2d(out, 2), (height, width), mode="bilinear")
    is_coarse = (rand[:, 5] < 0.5 * strength)[:, None, None, None]
    out = torch.where(is_coarse, coarse, out)
    contrast, saturation = (1 + strength * 0.5 * (rand[:, 6:8] - 0.5)).T[..., None, None, None]
    grey = out.mean(dim=1, keepdim=True)
    out = contrast * (grey + saturation * (out - grey))
    sigma = (strength * 0.3 * rand[:, 4].square())[:, None, None, None]
    return out + sigma * torch.randn(out.shape, generator=generator, device=device)


@torch.no_grad()
def concept_texts(clip: CLIP, tokenizer: Tokenizer, data: CaptionedEmoji) -> Tensor:
    """A unit vector for each concept: the mean over styles and backgrounds, (concepts, dim).

    Averaging over prompts is Radford et al. 2021, section 3.1.4, "prompt ensembling".
    """
    rng = random.Random(0)
    colours = list(BACKGROUNDS)
    device = next(clip.parameters()).device
    rows = []
    for concept in data.concepts:
        texts = [f"a {concept.name}"] + [
            full_caption(concept.name, style, colour)
            for style in STYLES
            for colour in rng.sample(colours, 3)
        ]
        mean = clip.embed_text(tokenizer(texts).to(device)).mean(dim=0)
        rows.append(F.normalize(mean, dim=-1))
    return torch.stack(rows)


@torch.no_grad()
def zero_shot(
    clip: CLIP, tokenizer: Tokenizer, data: CaptionedEmoji, most: int = 600
) -> dict[str, float]:
    """Share of pictures whose concept comes first, or among the first five, of all concepts."""
    texts = concept_texts(clip, tokenizer, data)
    every = -(-len(data) // most)
    top1 = top5 = count = 0
    for start in range(0, len(data), 64 * every):
        items = [data[i] for i in range(start, min(start + 64 * every, len(data)), every)]
        pixels = torch.stack([item.image for item in items]).to(texts.device)
        scores = clip.embed_image(pixels) @ texts.T
        best = scores.topk(min(5, len(texts)), dim=1).indices.cpu()
        truth = torch.tensor([item.concept for item in items])[:, None]
        top1 += int((best[:, :1] == truth).sum())
        top5 += int((best == truth).any(dim=1).sum())
        count += len(items)
    return {"top1": top1 / count, "top5": top5 / count}
