"""Contestants of challenge 02: noise, few or badly placed calls, no guidance, the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.challenges.network import Guided, pipeline, scene

Functions = Mapping[str, Callable[..., Any]]
Denoise = Callable[..., Tensor]
Plan = Callable[[Tensor], list[int]]


# --- timesteps -----------------------------------------------------------------------------------


def even(count: int) -> Plan:
    """Steps of the same length in t, from the last timestep down."""
    return lambda alpha_bar: [
        round(len(alpha_bar) * (1 - i / count)) - 1  # what "trailing" spacing is
        for i in range(count)
    ]


def by_log_snr(
    alpha_bar: Tensor, count: int = 8, low: float = -1.25, high: float = 2.0
) -> list[int]:
    """The last timestep, then even steps in log(alpha / sigma) from `low` to `high`."""
    log_ratio = (alpha_bar.double() / (1 - alpha_bar.double())).log() / 2
    marks = torch.linspace(low, high, count - 1, dtype=torch.float64)
    return [len(alpha_bar) - 1, *(int((log_ratio - mark).abs().argmin()) for mark in marks)]


# --- samplers ------------------------------------------------------------------------------------


def solver(plan: Plan, order: int) -> Callable[..., Tensor]:
    """DPM-Solver++ of first order, which is DDIM, or of second order with two answers (2M)."""

    def sample(x_T: Tensor, alpha_bar: Tensor, denoise: Denoise, **hidden: Any) -> Tensor:
        timesteps = plan(alpha_bar)
        a = [max(float(alpha_bar[t]), 2.0**-24) for t in timesteps]
        alpha, sigma = [v**0.5 for v in a], [(1 - v) ** 0.5 for v in a]
        log_snr = [math.log(u / v) for u, v in zip(alpha, sigma, strict=True)]  # half of it
        x, before = x_T, x_T
        for i, t in enumerate(timesteps):
            x0 = denoise(x, t)
            if i + 1 == len(timesteps):
                break
            h = log_snr[i + 1] - log_snr[i]
            target = x0
            if i > 0 and order == 2:
                target = x0 + (x0 - before) * h / (2 * (log_snr[i] - log_snr[i - 1]))
            x = sigma[i + 1] / sigma[i] * x - alpha[i + 1] * math.expm1(-h) * target
            before = x0
        return x0

    return sample


reference = solver(by_log_snr, order=2)


def noise(x_T: Tensor, **hidden: Any) -> Tensor:
    return x_T


def without_noise(x_T: Tensor, **arguments: Any) -> Tensor:
    """The same start for all pictures."""
    return reference(x_T=torch.zeros_like(x_T), **arguments)


def unguided(x_T: Tensor, alpha_bar: Tensor, denoise: Denoise, **hidden: Any) -> Tensor:
    if "_texts" in hidden:
        denoise = Guided(tuple(hidden["_texts"]), scale=1.0).x0
    return reference(x_T, alpha_bar, denoise)


def louder(x_T: Tensor, alpha_bar: Tensor, denoise: Denoise, **hidden: Any) -> Tensor:
    return 2 * reference(x_T, alpha_bar, denoise)


@torch.no_grad()
def real(x_T: Tensor, alpha_bar: Tensor, denoise: Denoise, **hidden: Any) -> Tensor:
    """Latents of the artists' own pictures of the prompts."""
    if "_asked" not in hidden:
        return reference(x_T, alpha_bar, denoise)
    asked: Tensor = hidden["_asked"]
    return pipeline().vae.to_latents(scene().render_pairs(asked[:, :2], asked[:, 2]))


def _contestants(functions: Sequence[tuple[str, Callable[..., Tensor]]]) -> dict[str, Functions]:
    return {name: {"sample": function} for name, function in functions}


CONTESTANTS: Mapping[str, Functions] = _contestants(
    [
        ("reference: 8 calls, second order, even log-SNR", reference),
        ("noise: x_T itself", noise),
        ("one call", solver(even(1), order=1)),
        ("DDIM, 4 calls, even steps", solver(even(4), order=1)),
        ("naive: DDIM, 8 calls, even steps", solver(even(8), order=1)),
        ("second order, 8 calls, even steps", solver(even(8), order=2)),
        ("DDIM, 8 calls, even log-SNR", solver(by_log_snr, order=1)),
        ("unguided reference", unguided),
        ("reference that starts from 0, not from x_T", without_noise),
        ("reference with latents twice as large", louder),
        ("real pictures, through the autoencoder", real),
    ]
)
