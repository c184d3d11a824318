"""Contestants of challenge 01: noise, answers that miss the idea, roundings, the reference."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Functions = Mapping[str, Callable[..., Any]]


# --- the reference -------------------------------------------------------------------------------


def betas_for(snr: Tensor, **hidden: Any) -> Tensor:
    """beta_t = (1 - SNR_t / SNR_{t-1}) / (1 + SNR_t): nothing near 1 is subtracted from 1."""
    before = torch.cat([torch.full_like(snr[:1], math.inf), snr[:-1]])
    return (1 - snr / before) / (1 + snr)


def rescale(betas: Tensor, terminal_snr: float, **hidden: Any) -> Tensor:
    """A straight line through sqrt(alpha-bar): the first stays, the last is what was ordered."""
    root = torch.cumprod(1 - betas, dim=0).sqrt()
    first, last = root[0], root[-1]
    end = math.sqrt(terminal_snr / (1 + terminal_snr))
    root = end + (root - last) * (first - end) / (first - last)
    alpha_bar = root**2
    return torch.cat([betas[:1], 1 - alpha_bar[1:] / alpha_bar[:-1]])


def timesteps_for(alpha_bar: Tensor, num_steps: int, **hidden: Any) -> Tensor:
    """As few jumps as a gap allows; the smallest gap that needs no more than there are."""
    log_snr = (alpha_bar.log() - torch.log1p(-alpha_bar)).tolist()
    low = max(a - b for a, b in itertools.pairwise(log_snr))  # some jump has it inside
    high = log_snr[0] - log_snr[-1]
    for _ in range(60):
        middle = (low + high) / 2
        if len(_chosen(log_snr, middle)) <= num_steps:
            high = middle
        else:
            low = middle
    chosen = _chosen(log_snr, high)
    unused = [t for t in range(len(log_snr)) if t not in set(chosen)]
    return torch.tensor(sorted(chosen + unused[: num_steps - len(chosen)], reverse=True))


def _chosen(log_snr: list[float], gap: float) -> list[int]:
    chosen = [0]
    for t in range(1, len(log_snr)):
        if log_snr[chosen[-1]] - log_snr[t] > gap:
            chosen.append(t - 1)
    return [*chosen, len(log_snr) - 1]


# --- the others ----------------------------------------------------------------------------------


def noise_betas(snr: Tensor, **hidden: Any) -> Tensor:
    return torch.rand(len(snr), dtype=torch.float64, generator=_generator(snr))


def noise_rescale(betas: Tensor, **hidden: Any) -> Tensor:
    return noise_betas(betas)


def noise_timesteps(alpha_bar: Tensor, num_steps: int, **hidden: Any) -> Tensor:
    inner = 1 + torch.randperm(len(alpha_bar) - 2, generator=_generator(alpha_bar))
    ends = torch.tensor([0, len(alpha_bar) - 1])
    return torch.cat([ends, inner])[:num_steps].sort(descending=True).values


def _generator(table: Tensor) -> torch.Generator:
    return torch.Generator().manual_seed(int(1e6 * float(table[0])))


def linear_betas(snr: Tensor, **hidden: Any) -> Tensor:
    scale = min(1000 / len(snr), 49.0)  # as the linear schedule is stretched to other lengths
    return scale * torch.linspace(1e-4, 0.02, len(snr), dtype=torch.float64)


def rescale_not(betas: Tensor, **hidden: Any) -> Tensor:
    return betas


def even_timesteps(alpha_bar: Tensor, num_steps: int, **hidden: Any) -> Tensor:
    return torch.linspace(len(alpha_bar) - 1, 0, num_steps).round().long()


def share_betas(snr: Tensor, **hidden: Any) -> Tensor:
    return 1 / (1 + snr)


def rescale_alpha_bar(betas: Tensor, terminal_snr: float, **hidden: Any) -> Tensor:
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    first, last = alpha_bar[0], alpha_bar[-1]
    end = terminal_snr / (1 + terminal_snr)
    alpha_bar = end + (alpha_bar - last) * (first - end) / (first - last)
    return torch.cat([betas[:1], 1 - alpha_bar[1:] / alpha_bar[:-1]])


def ratio_betas(snr: Tensor, **hidden: Any) -> Tensor:
    alpha_bar = snr / (1 + snr)
    return 1 - alpha_bar / torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])


def lesson_rescale(betas: Tensor, **hidden: Any) -> Tensor:
    return rescale(betas, 0.0)


def nearest_timesteps(alpha_bar: Tensor, num_steps: int, **hidden: Any) -> Tensor:
    log_snr = alpha_bar.log() - torch.log1p(-alpha_bar)
    marks = torch.linspace(float(log_snr[-1]), float(log_snr[0]), num_steps, dtype=torch.float64)
    nearest = (log_snr[None] - marks[:, None]).abs().argmin(dim=1).tolist()
    return torch.tensor(_distinct(nearest, len(alpha_bar)))


def _distinct(falling: list[int], rows: int) -> list[int]:
    """Timesteps moved apart where two are the same: down where there is room, up at the end."""
    for i in range(1, len(falling)):
        falling[i] = min(falling[i], falling[i - 1] - 1)
    falling[-1] = max(falling[-1], 0)
    for i in range(len(falling) - 2, -1, -1):
        falling[i] = max(falling[i], falling[i + 1] + 1)
    return falling


def _in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def rounded(**arguments: Any) -> Tensor:
        return function(
            **{k: v.float() if isinstance(v, Tensor) else v for k, v in arguments.items()}
        )

    return rounded


def _functions(betas: Any, rescaled: Any, timesteps: Any) -> Functions:
    return {"betas_for": betas, "rescale": rescaled, "timesteps_for": timesteps}


CONTESTANTS: Mapping[str, Functions] = {
    "noise: random betas and timesteps": _functions(noise_betas, noise_rescale, noise_timesteps),
    "naive: linear whatever was asked": _functions(linear_betas, rescale_not, even_timesteps),
    "without the ratio: noise shares as betas": _functions(
        share_betas, rescale_alpha_bar, even_timesteps
    ),
    "lesson 01's formulas in float32, nearest rows": _functions(
        _in_float32(ratio_betas), _in_float32(lesson_rescale), nearest_timesteps
    ),
    "right formulas in float32, nearest rows": _functions(
        _in_float32(ratio_betas), _in_float32(rescale), nearest_timesteps
    ),
    "right formulas in float64, nearest rows": _functions(ratio_betas, rescale, nearest_timesteps),
    "simplified formula in float32, best rows": _functions(
        _in_float32(betas_for), _in_float32(rescale), timesteps_for
    ),
    "reference": _functions(betas_for, rescale, timesteps_for),
}
