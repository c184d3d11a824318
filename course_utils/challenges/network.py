"""What challenges with pictures share: the shipped network, the judge's scene, finished pictures.

All of it runs on our side of the boundary.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.data.captions import BACKGROUNDS, STYLES, full_caption
from course_utils.data.emoji import CaptionedEmoji
from course_utils.evaluation import Judge
from course_utils.evaluation.measure import Scene
from course_utils.guidance import Conditioning, guide
from course_utils.pipeline import Pipeline
from course_utils.predictions import to_x0
from course_utils.samplers import sample

SUBSET = "starter"  # what is asked for: 40 things that any judge tells apart, and any person
GUIDANCE = 2.5
BACKGROUND_NAMES = tuple(BACKGROUNDS)

Array = np.ndarray[Any, Any]


@functools.lru_cache
def pipeline() -> Pipeline:
    """The shipped model, on the CPU, where the same noise gives the same picture everywhere."""
    return Pipeline.load(device="cpu")


@functools.lru_cache
def scene() -> Scene:
    """The pinned judge among `SUBSET`'s concepts, the data, and the pairs that were trained on."""
    data = CaptionedEmoji(SUBSET, split="train")
    names = tuple(concept.name for concept in data.concepts)
    return Scene(Judge.load().among(names), SUBSET, names, data.pairs, round_trip)


@torch.no_grad()
def round_trip(pixels: Tensor) -> Tensor:
    """Pictures through the autoencoder and back."""
    vae = pipeline().vae
    return vae.to_pixels(vae.to_latents(pixels))


def latent_shape() -> tuple[int, int, int]:
    """(channels, height, width) of one picture's latents."""
    config = pipeline().unet.config
    return config.in_channels, config.sample_size, config.sample_size


@dataclass(frozen=True)
class Guided:
    """The network with guidance, for pictures that were asked for by these texts."""

    texts: tuple[str, ...]
    scale: float = GUIDANCE

    @torch.no_grad()
    def output(self, x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        """The guided prediction of v, `(N, C, h, w)`."""
        return guide(pipeline().unet, self.scale)(x_t, t, _conditioning(self.texts))

    def x0(self, x_t: Tensor, t: int) -> Tensor:
        """The picture that it expects, `(N, C, h, w)`."""
        schedule = pipeline().schedule
        output = self.output(x_t, torch.full((len(x_t),), t, dtype=torch.int64))
        return to_x0(output, x_t, schedule.alpha_bar[t], schedule.prediction_type)


@functools.lru_cache(maxsize=8)
@torch.no_grad()
def _conditioning(texts: tuple[str, ...]) -> Any:
    encode = pipeline().encode_prompt
    return Conditioning(encode(texts), encode([""] * len(texts)))


@functools.lru_cache(maxsize=256)
def finished(texts: tuple[str, ...], noise: bytes, guidance_scale: float, num_steps: int) -> Tensor:
    """The latents that the right chain reaches from the noise, with DPM-Solver++(2M)."""
    x_T = torch.from_numpy(np.frombuffer(noise, np.float32).copy())
    x_T = x_T.view(len(texts), *latent_shape())
    denoiser = Guided(texts, guidance_scale).output
    return sample(denoiser, x_T, pipeline().schedule, num_steps=num_steps)


def captions_of(asked: Array) -> list[str]:
    """The full captions of (N, 3) concepts, styles and backgrounds."""
    return [
        full_caption(scene().names[concept], STYLES[style], BACKGROUND_NAMES[background])
        for concept, style, background in asked.tolist()
    ]
