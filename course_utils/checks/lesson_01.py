"""Lesson 01, forward noising: what is right, and what people get wrong."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from course_utils.checks.exercise import Case, Exercise, Mistake


def add_noise(x0: Tensor, epsilon: Tensor, alpha_bar: Tensor, t: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) epsilon."""
    alpha_bar_t = alpha_bar[t].view(-1, *[1] * (x0.ndim - 1))  # (B, 1, 1, 1)
    return alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t).sqrt() * epsilon


def _add_noise_cases(generator: torch.Generator) -> Iterator[Case]:
    alpha_bar = torch.linspace(0.999, 0.01, 50).cumprod(0).clamp(1e-4)
    for shape in ((2, 1, 1, 1), (3, 3, 4, 5), (4, 4, 8, 8), (5, 2)):
        x0, epsilon = torch.randn(2, *shape, generator=generator)
        t = torch.randint(1, 8, (shape[0],), generator=generator)
        yield Case((x0, epsilon, alpha_bar, t))


def _without_roots(x0: Tensor, epsilon: Tensor, alpha_bar: Tensor, t: Tensor) -> Tensor:
    a = alpha_bar[t].view(-1, *[1] * (x0.ndim - 1))
    return a * x0 + (1 - a) * epsilon


EXERCISES = (
    Exercise(
        "01.add_noise",
        add_noise,
        _add_noise_cases,
        hints=("Look at equation 4.", "Roots.", "a.sqrt() * x0 + (1 - a).sqrt() * epsilon"),
        difficulty=2,
        minutes=5,
        mistakes=(Mistake("The square roots are missing.", _without_roots),),
        gradients=("x0", "epsilon"),
        keeps_dtype=True,
        keeps_device=True,
    ),
)
