"""Classifier-free guidance: how loudly the prompt speaks.

A denoiser is any callable `(x_t, t, cond) -> output`. `guide` wraps one whose `cond` is a tensor of
text states into one whose `cond` is a `Conditioning`: the text to follow and the text to avoid.

    code        paper                          meaning
    scale       w (Imagen), 1 + w (Ho)         guidance scale; 1 is off
    cond        epsilon(z, c)                  prediction with the prompt
    uncond      epsilon(z)                     prediction with the negative, or the empty, prompt
    rescale     phi                            share of the rescaled prediction

    guided = uncond + scale * (cond - uncond)

Ho & Salimans 2022, "Classifier-Free Diffusion Guidance", eq. 6, in the convention of Saharia et al.
2022 (Imagen), sec. 2.2, and of diffusers. The formula holds for predictions of epsilon, x0 and v
alike, because each is a linear function of the others at a given x_t.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor, Any], Tensor]
MAX_SCALE = 100.0  # far beyond any useful value (5 to 10): a larger one is a slip of the keyboard


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a picture should and should not show, as states of the text encoder.

    Args:
        text_states: the prompt, `(B, L, D)`; in general any tensor with batch size B.
        negative_states: the negative prompt, of the same shape; the states of the empty prompt
            where there is none. May be None if guidance is off.

    Raises:
        ValueError: the two shapes differ.
    """

    text_states: Tensor
    negative_states: Tensor | None = None

    def __post_init__(self) -> None:
        if self.negative_states is None or self.negative_states.shape == self.text_states.shape:
            return
        raise ValueError(
            f"negative_states has shape {tuple(self.negative_states.shape)}; expected that of "
            f"text_states, {tuple(self.text_states.shape)}"
        )

    @functools.cached_property
    def both(self) -> Tensor:
        """`(2B, L, D)`, the negative half first: joined once, and one and the same in every step.

        Raises:
            ValueError: there are no negative states.
        """
        if self.negative_states is None:
            raise ValueError("negative_states is None; expected those of the negative prompt")
        return torch.cat([self.negative_states, self.text_states])


def check_guidance_scale(scale: object) -> float:
    """Return `scale` as a float, or say what is wrong with it.

    Raises:
        TypeError: not a number.
        ValueError: NaN, infinite, negative, or above `MAX_SCALE`.
    """
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise TypeError(f"guidance_scale is {scale!r}; expected a number from 0 to {MAX_SCALE:g}")
    if not (math.isfinite(scale) and 0 <= scale <= MAX_SCALE):
        raise ValueError(
            f"guidance_scale is {scale}; expected a finite number from 0 to {MAX_SCALE:g} "
            "(1 is off, 5 to 10 is usual)"
        )
    return float(scale)


def combine(cond: Tensor, uncond: Tensor, scale: float | Tensor) -> Tensor:
    """Guided prediction from the two predictions, `(B, ...)` (Ho & Salimans 2022, eq. 6)."""
    return uncond + scale * (cond - uncond)


def rescale_guided(guided: Tensor, cond: Tensor, rescale: float) -> Tensor:
    """Give a guided prediction the contrast of the conditional one, against oversaturation.

    Lin et al. 2024, "Common Diffusion Noise Schedules and Sample Steps are Flawed", sec. 3.4,
    eqs. 14 to 16; diffusers' `rescale_noise_cfg`.

    Args:
        guided: result of `combine`, `(B, ...)`.
        cond: prediction with the prompt, `(B, ...)`.
        rescale: phi in [0, 1]; 0 changes nothing, the paper uses 0.7.

    Returns:
        `(B, ...)`; at `rescale=1` each picture's standard deviation is that of `cond`.
    """
    axes = list(range(1, guided.ndim))
    ratio = cond.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)  # (B, 1, ..., 1)
    return rescale * (guided * ratio) + (1 - rescale) * guided


@dataclass(frozen=True)
class GuidedDenoiser:
    """A denoiser that follows the prompt more, or less, than the one inside it.

    At scale 1 and outside the interval it makes one evaluation with the prompt, at scale 0 one with
    the negative prompt; otherwise one evaluation of a batch of 2B, negative half first.
    diffusers switches guidance off at every scale up to 1; here, scales from 0 to 1 interpolate.

    Args:
        denoiser: `(x_t, t, text_states) -> output`.
        scale: guidance scale from 0 to `MAX_SCALE`; 1 is off.
        rescale: phi of `rescale_guided`, from 0 (off) to 1. Not applied at scale 0 or 1.
        interval: guide only at timesteps `low <= t < high`; elsewhere follow the prompt plainly
            (Kynkäänniemi et al. 2024, "Applying Guidance in a Limited Interval Improves Sample and
            Distribution Quality", with timesteps in place of noise levels). None: everywhere.

    Raises:
        TypeError: `scale` is not a number.
        ValueError: a number that is out of range or NaN.
    """

    denoiser: Denoiser
    scale: float
    rescale: float = 0.0
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_guidance_scale(self.scale)
        if not 0 <= self.rescale <= 1:  # NaN fails too
            raise ValueError(f"rescale is {self.rescale!r}; expected a number from 0 to 1")
        if self.interval is None:
            return
        if len(self.interval) != 2 or not 0 <= self.interval[0] <= self.interval[1]:
            raise ValueError(
                f"interval is {self.interval!r}; expected None, or timesteps (low, high) with "
                "0 <= low <= high"
            )

    def __call__(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """Predict with guidance.

        Args:
            x_t: noisy pictures, `(B, ...)`.
            t: timesteps, `(B,)`.
            cond: what to follow and what to avoid, batch size B.

        Returns:
            The guided prediction, `(B, ...)`, of the same type as the inner denoiser's.

        Raises:
            TypeError: `cond` is not a `Conditioning`.
            ValueError: batch sizes differ, or guidance is on without `negative_states`.
        """
        if not isinstance(cond, Conditioning):
            raise TypeError(f"cond is a {type(cond).__name__}; expected a Conditioning")
        if len(cond.text_states) != len(x_t):
            raise ValueError(
                f"cond.text_states has batch size {len(cond.text_states)}; expected {len(x_t)}"
            )
        # Looking at t would make an accelerator wait at every step, so not for the default.
        everywhere = somewhere = True
        if self.interval is not None:
            low, high = self.interval
            inside = (t >= low) & (t < high)  # (B,)
            everywhere, somewhere = bool(inside.all()), bool(inside.any())
        if self.scale == 1 or not somewhere:
            return self.denoiser(x_t, t, cond.text_states)
        if cond.negative_states is None:
            raise ValueError(
                f"cond.negative_states is None; guidance_scale {self.scale} needs the states of "
                "the negative prompt, or of the empty prompt"
            )
        if self.scale == 0 and everywhere:
            return self.denoiser(x_t, t, cond.negative_states)

        both = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), cond.both)  # (2B, ...)
        without, with_prompt = both.chunk(2)  # (B, ...) each
        guided = combine(with_prompt, without, self.scale)
        if self.rescale > 0 and self.scale > 0:
            guided = rescale_guided(guided, with_prompt, self.rescale)
        if everywhere:
            return guided
        inside = inside.reshape(-1, *[1] * (x_t.ndim - 1))  # (B, 1, ..., 1)
        return torch.where(inside, guided, with_prompt)


def guide(
    denoiser: Denoiser,
    scale: float,
    rescale: float = 0.0,
    interval: tuple[float, float] | None = None,
) -> GuidedDenoiser:
    """Wrap a denoiser in classifier-free guidance; arguments and errors as for `GuidedDenoiser`."""
    return GuidedDenoiser(denoiser, scale, rescale, interval)
